"""Ablations: one thing varied at a time around the same middle; each value as its difference to the baseline.

Drawn from the rows in TASK_ablations.csv.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ssan import plots
from ssan.statistics import paired_difference

TASKS = {
    "shapes": ("shapes", "pointing"),
    "cluttered_fashion": ("cluttered Fashion-MNIST", "pointing"),
    "trec": ("TREC", "faithfulness"),
}
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
# An interval from fewer seeds than this says more about Student's t than about the method: the range is shown then.
LEAST_FOR_INTERVALS = 4
# Axes whose values are all numbers are drawn as curves, the others as dots.
CURVES = ("number of masks", "teachers", "rounds", "temperature")


def differences(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Axis, value -> mean difference to the baseline of the same seed, in the rows' order.

    With `low` and `high`: its 95% interval, or with few seeds the least and the largest difference.
    """
    base = rows[rows["condition"] == "baseline"].drop_duplicates("seed").set_index("seed")[metric]
    found = []
    for (axis, value), own in rows[rows["axis"].notna()].groupby(["axis", "value"], sort=False):
        if axis.startswith("training set"):
            continue
        pair = own.set_index("seed")[metric]
        seeds = pair.index.intersection(base.index)
        apart = pair[seeds].to_numpy() - base[seeds].to_numpy()
        low, high = apart.min(), apart.max()
        if len(seeds) >= LEAST_FOR_INTERVALS:
            difference = paired_difference(pair[seeds].to_numpy(), base[seeds].to_numpy())
            low, high = difference.low, difference.high
        told = {"axis": axis, "value": str(value), "mean": apart.mean(), "n": len(seeds)}
        found.append(told | {"low": low, "high": high})
    return pd.DataFrame(found)


def shown(rows: pd.DataFrame) -> str:
    """What the lines are, for titles."""
    n = rows["seed"].nunique()
    return f"mean and {'95% interval' if n >= LEAST_FOR_INTERVALS else 'range'} over {n} seeds"


def panel(ax: Axes, table: pd.DataFrame, colour: str, label: str, shift: float) -> None:
    """One axis of the grid: values from left to right."""
    places = np.arange(len(table)) + shift
    ax.vlines(places, table["low"], table["high"], color=colour, lw=1.6, alpha=0.7)
    numbers = pd.to_numeric(table["value"], errors="coerce").notna().all()
    style = "o-" if numbers and table["axis"].iloc[0] in CURVES else "o"
    ax.plot(places, table["mean"], style, color=colour, ms=5, lw=1, label=label)
    ax.set_xticks(range(len(table)), table["value"])


def draw(rows: pd.DataFrame, title: str, other: str) -> plt.Figure:
    """A panel for every axis but the losses, accuracy and attention quality in each."""
    tables = {metric: differences(rows, metric) for metric in ("accuracy", other)}
    names = [name for name in tables["accuracy"]["axis"].unique() if not name.startswith("loss ")]
    columns = 3
    lines = int(np.ceil(len(names) / columns))
    figure, axes = plt.subplots(lines, columns, figsize=(13.5, 3.1 * lines), squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        for (metric, table), colour, shift in zip(tables.items(), (BLUE, ORANGE), (-0.1, 0.1), strict=True):
            panel(ax, table[table["axis"] == name], colour, metric, shift)
        ax.axhline(0, color="0.4", lw=1)
        ax.set_title(name, loc="left", fontsize=10)
        longest = max(len(text.get_text()) for text in ax.get_xticklabels())
        if longest > 6:
            ax.tick_params(axis="x", labelrotation=30)
            plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(f"{title}: minus the baseline of the same seed, {shown(rows)}")
    return figure


def draw_losses(rows: pd.DataFrame, title: str, other: str) -> plt.Figure:
    """Every loss in a column, its weights from left to right; accuracy above, attention quality below."""
    figure, axes = plt.subplots(2, 1, figsize=(12.5, 6.2), sharex=True)
    for ax, metric in zip(axes, ("accuracy", other), strict=True):
        table = differences(rows, metric)
        table = table[table["axis"].str.startswith("loss ")]
        names = list(dict.fromkeys(table["axis"]))
        for place, name in enumerate(names):
            own = table[table["axis"] == name].sort_values("value", key=lambda v: v.astype(float))
            x = place + np.linspace(-0.25, 0.25, len(own)) if len(own) > 1 else np.array([float(place)])
            ax.vlines(x, own["low"], own["high"], color=BLUE, lw=1.6, alpha=0.6)
            ax.plot(x, own["mean"], "o-", color=BLUE, ms=5, lw=1)
            if metric == other:
                for at, weight in zip(x, own["value"], strict=True):
                    ax.annotate(
                        f"{float(weight):g}",
                        (at, 0),
                        (0, -4),
                        xycoords=("data", "axes fraction"),
                        textcoords="offset points",
                        ha="center",
                        va="top",
                        fontsize=6.5,
                        rotation=90,
                    )
        ax.axhline(0, color="0.4", lw=1)
        ax.set_ylabel(f"{metric},\nminus baseline")
        ax.set_xticks(range(len(names)), [name.removeprefix("loss ").replace("_", "\n") for name in names])
    axes[1].tick_params(axis="x", pad=30, length=0)
    figure.suptitle(f"{title}: losses, each with its weights; {shown(rows)}")
    return figure


def draw_sizes(found: dict[str, pd.DataFrame]) -> plt.Figure:
    """Accuracy and pointing against the size of the training set."""
    figure, axes = plt.subplots(len(found), 2, figsize=(10, 3.6 * len(found)), squeeze=False)
    colours = {"baseline": "#000000", "self": ORANGE, "supervised_ridge": BLUE, "oracle": GREEN}
    for line, (title, rows) in zip(axes, found.items(), strict=True):
        for ax, metric in zip(line, ("accuracy", "pointing"), strict=True):
            for name, colour in colours.items():
                own = rows[(rows["condition"] == name)]
                curve = own.groupby("n_images")[metric].agg(["mean", "min", "max"])
                if len(curve):
                    ax.plot(curve.index, curve["mean"], "o-", color=colour, label=name.replace("_", " "), ms=5)
                    ax.fill_between(curve.index, curve["min"], curve["max"], color=colour, alpha=0.12, lw=0)
            ax.set(xscale="log", xlabel="training images", ylabel=metric, title=f"{title}: {metric}")
            ticks = sorted(rows["n_images"].unique())
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
        line[0].legend(frameon=False, fontsize=9)
    return figure


def all_sizes(of_size: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Rows of other sizes, and those of the study itself for the same seeds, with the number of images."""
    found = [of_size.assign(n_images=of_size["value"].astype(float))]
    if path.exists():
        rows, per_image = pd.read_csv(path), of_size["n_train"].iloc[0] / float(of_size["value"].iloc[0])
        rows = rows[rows["seed"].isin(of_size["seed"]) & (rows["start"] == "scratch")]
        found.append(rows.assign(n_images=rows["n_train"] / per_image))
    return pd.concat(found)


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    names, sizes = [], {}
    for task, (title, other) in TASKS.items():
        path = results / f"{task}_ablations.csv"
        if not path.exists():
            continue
        rows = pd.read_csv(path)
        plots.save(draw(rows, title, other), out, f"ablations_{task}", f"Ablations on {title}: accuracy and {other}.")
        names.append(f"ablations_{task}")
        if rows["axis"].str.startswith("loss ", na=False).any():
            plots.save(draw_losses(rows, title, other), out, f"losses_{task}", f"Losses and weights on {title}.")
            names.append(f"losses_{task}")
        of_size = rows[rows["axis"].str.startswith("training set", na=False)]
        if len(of_size):
            sizes[title] = all_sizes(of_size, results / f"{task}.csv")
    if sizes:
        plots.save(draw_sizes(sizes), out, "training_size", "Accuracy and pointing against the number of images.")
        names.append("training_size")
    return names
