"""Ablations: one thing varied at a time around the same middle; each value as its difference to the baseline.

Drawn from the rows in TASK_ablations.csv.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from ssan import plots
from ssan.study import METRICS, plan

TASKS = {
    "shapes": ("shapes", "pointing"),
    "trec": ("TREC", "faithfulness_beyond_position"),
}


def differences(rows: pd.DataFrame, task: str, metrics: tuple[str, ...]) -> pd.DataFrame:
    """Axis, value, metric and `difference` to the baseline of the same seed of every row, in the study's order."""
    base = rows[rows["condition"] == "baseline"].drop_duplicates("seed").set_index("seed")
    tables = []
    for cell in plan(f"{task}_ablations", "full").variations:
        mine = rows[(rows["axis"] == cell.axis) & (rows["value"].astype(str) == cell.value)]
        for metric in metrics:
            apart = mine[metric] - mine["seed"].map(base[metric])
            told = {"axis": cell.axis, "value": cell.value, "metric": METRICS[metric].split(" (")[0]}
            tables.append(pd.DataFrame({"difference": apart}).assign(**told))
    return pd.concat(tables, ignore_index=True).dropna()


def draw(table: pd.DataFrame, title: str) -> plt.Figure:
    """A panel for every axis but the losses, accuracy and attention quality in each."""
    names = [name for name in table["axis"].unique() if not name.startswith("loss ")]
    lines = int(np.ceil(len(names) / 3))
    figure = plt.figure(figsize=(13.5, 3.1 * lines))
    grid = figure.add_gridspec(lines, 3)
    for place, name in enumerate(names):
        line, column = divmod(place, 3)
        wide = name == names[-1] and column < 2  # the last one takes what is left of its line
        ax = figure.add_subplot(grid[line, column:] if wide else grid[line, column])
        style = {"linestyle": "none", "linewidth": 1, "markersize": 5, "dodge": 0.2}
        panel, palette = table[table["axis"] == name], [plots.COLOURS[0], plots.ROLE_COLOURS["control"]]
        common = {"x": "value", "y": "difference", "hue": "metric", "palette": palette, "errorbar": plots.interval}
        sns.pointplot(panel, **common, **style, err_kws={"linewidth": 1.6}, ax=ax)
        ax.axhline(0, color="0.4", lw=1)
        ax.set(xlabel="", ylabel="")
        ax.set_title(name, loc="left", fontsize=10)
        handles, labels = ax.get_legend_handles_labels()
        ax.get_legend().remove()
        if panel["value"].str.len().max() > 6:
            turned = {} if wide else {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
            words = [label.get_text() for label in ax.get_xticklabels()]
            ax.set_xticks(ax.get_xticks(), [textwrap.fill(each, 17) for each in words] if wide else words, **turned)
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    return figure


def draw_losses(table: pd.DataFrame, title: str) -> plt.Figure:
    """Every loss with its weights from left to right; accuracy above, attention quality below."""
    table = table[table["axis"].str.startswith("loss ")]
    loss, weight = table["axis"].str.removeprefix("loss "), table["value"]
    table = table.assign(loss=loss, cell=loss + " " + weight)
    cells = table.drop_duplicates("cell")
    metrics = table["metric"].unique()
    figure, axes = plt.subplots(len(metrics), 1, figsize=(12.5, 3.1 * len(metrics)), sharex=True)
    colours = dict(zip(loss.unique(), plots.COLOURS * 2, strict=False))
    for ax, metric in zip(axes, metrics, strict=True):
        common = {"x": "cell", "y": "difference", "hue": "loss", "palette": colours, "legend": False}
        style = {"errorbar": plots.interval, "err_kws": {"linewidth": 1.6}, "markersize": 5, "linewidth": 1}
        sns.pointplot(table[table["metric"] == metric], **common, **style, ax=ax)
        ax.axhline(0, color="0.4", lw=1)
        ax.set(xlabel="", ylabel=f"{metric},\nminus baseline")
    middle = cells.groupby("loss", sort=False).cumcount() == cells.groupby("loss")["cell"].transform("size") // 2
    named = [
        f"{w}\n{name if there else ''}" for w, name, there in zip(cells["value"], cells["loss"], middle, strict=True)
    ]
    axes[-1].set_xticks(range(len(cells)), named, fontsize=8.5)
    figure.suptitle(title)
    return figure


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    names = []
    for task, (title, other) in TASKS.items():
        path = results / f"{task}_ablations.csv"
        if not path.exists():
            continue
        rows = pd.read_csv(path)
        table, lines = (
            differences(rows, task, ("accuracy", other)),
            f"mean and 95% interval over {rows['seed'].nunique()} seeds",
        )
        title_of = f"{title}: minus the baseline of the same seed, {lines}"
        plots.save(draw(table, title_of), out, f"ablations_{task}", f"Ablations on {title}: accuracy, {other}.")
        names.append(f"ablations_{task}")
        if table["axis"].str.startswith("loss ").any():
            losses = draw_losses(table, f"{title}: losses, each with its weights; {lines}")
            plots.save(losses, out, f"losses_{task}", f"Losses and weights on {title}.")
            names.append(f"losses_{task}")
    return names
