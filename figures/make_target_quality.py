"""Can a target teach? Its quality on training images against what training on it gains on test images.

Drawn from the rows in TASK.csv and TASK_ablations.csv of the image tasks: every target of one map per example.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from scipy import stats

from ssan import plots
from ssan.study import CONDITIONS

PALETTE = {plots.ROLE_LABELS[role]: colour for role, colour in plots.ROLE_COLOURS.items()}
TASKS = {"shapes": "shapes", "cluttered_fashion": "cluttered Fashion-MNIST"}


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Every row with targets: quality of its target, and its gain over the baseline of the same seed."""
    base = rows[rows["condition"] == "baseline"].drop_duplicates("seed").set_index("seed")
    axis = rows.get("axis", pd.Series("", index=rows.index)).fillna("")
    taught = rows[rows["target_pointing"].notna() & ~axis.str.startswith("loss ")]  # which share their targets
    return taught.assign(
        gain=taught["accuracy"] - taught["seed"].map(base["accuracy"]),
        moved=taught["pointing"] - taught["seed"].map(base["pointing"]),
    )


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    paths = {task: results / f"{task}.csv" for task in TASKS if (results / f"{task}.csv").exists()}
    if not paths:
        return []
    figure, axes = plt.subplots(len(paths), 2, figsize=(11, 4.3 * len(paths)), squeeze=False)
    for line, (task, path) in zip(axes, paths.items(), strict=True):
        tables = [pd.read_csv(p) for p in (path, results / f"{task}_ablations.csv") if p.exists()]
        rows = pd.concat([gains(table) for table in tables], ignore_index=True)
        roles = rows["condition"].map(lambda name: CONDITIONS[name].role if name in CONDITIONS else "method")
        for ax, (what, label) in zip(line, (("moved", "pointing"), ("gain", "accuracy")), strict=True):
            kinds = {"hue": roles.map(plots.ROLE_LABELS), "palette": PALETTE, "legend": ax is axes[0, 0]}
            sns.scatterplot(rows, x="target_pointing", y=what, **kinds, s=13, alpha=0.6, lw=0, ax=ax)
            rho = stats.spearmanr(rows["target_pointing"], rows[what]).statistic
            ax.axhline(0, color="0.4", lw=1)
            ax.set(xlabel="pointing of the target, training images", ylabel=f"gain in {label}, test images")
            ax.set_title(f"{TASKS[task]}: {len(rows)} trainings, Spearman {rho:.2f}", loc="left", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    plots.save(figure, out, "target_quality", "Quality of targets against the gain of training on them.")
    return ["target_quality"]
