"""Attention over training epochs: baseline, supervised, oracle.

Drawn from the rows in TASK_epochs.csv.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import plots

COLOURS = {
    "baseline": "#000000",
    "supervised_best": "#56B4E9",
    "supervised_importance": "#0072B2",
    "supervised_ridge": "#0072B2",
    "oracle": "#009E73",
}
TASKS = {
    "shapes": ("accuracy", "pointing", "mass_in_box", "rank_correlation"),
    "cluttered_fashion": ("accuracy", "pointing", "mass_in_box", "rank_correlation"),
    "trec": ("accuracy", "entropy"),
    "movie": ("accuracy", "entropy"),
}


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    found = {task: results / f"{task}_epochs.csv" for task in TASKS if (results / f"{task}_epochs.csv").exists()}
    names = []
    for task, path in found.items():
        rows, metrics = pd.read_csv(path), TASKS[task]
        figure, axes = plt.subplots(1, len(metrics), figsize=(3.4 * len(metrics) + 0.4, 3.2))
        for ax, metric in zip(axes, metrics, strict=True):
            for condition, own in rows.groupby("condition", sort=False):
                colour = COLOURS[condition]
                for _, line in own.groupby("seed"):
                    ax.plot(line["epoch"], line[metric], color=colour, alpha=0.25, lw=1)
                mean = own.groupby("epoch")[metric].mean()
                ax.plot(mean.index, mean, color=colour, lw=2, label=condition.replace("_", " "))
            ax.set(xlabel="epoch", title=metric.replace("_", " "))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        figure.suptitle(
            f"{task}: while training, on held-out examples; pale: {rows['seed'].nunique()} seeds, bold: mean"
        )
        plots.save(figure, out, f"epochs_{task}", f"Accuracy and attention of {task} over training epochs.")
        names.append(f"epochs_{task}")
    return names
