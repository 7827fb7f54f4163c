"""Every condition minus the baseline, seed by seed, in accuracy and in the quality of attention.

Drawn from the rows in TASK.csv of each task that has been run.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import plots
from ssan.study.conditions import role_of

TASKS = {
    "trec": "TREC questions",
    "movie": "movie snippets",
    "shapes": "questions about shapes",
    "shapes_mlb": "questions about shapes, bilinear fusion",
    "cluttered_fashion": "cluttered Fashion-MNIST",
}
TEXT = {"accuracy": "test accuracy", "faithfulness": "faithfulness (Spearman)"}
IMAGES = {"accuracy": "test accuracy", "pointing": "pointing", "mass_in_box": "mass in box"}


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    tasks = [task for task in TASKS if (results / f"{task}.csv").exists()]
    for task in tasks:
        rows = pd.read_csv(results / f"{task}.csv")
        images = "pointing" in rows
        metrics = IMAGES if images else TEXT
        n_rows = rows.drop_duplicates(["condition", "start"]).shape[0] - 1
        size = (4.2 * len(metrics) + 2.2, 0.3 * n_rows + 1.8)
        figure, axes = plt.subplots(1, len(metrics), figsize=size, sharey=True)
        for ax, (metric, label) in zip(axes, metrics.items(), strict=True):
            plots.difference_plot(rows, metric, label, ax=ax)
        n, seeds = int(rows["n_train"].iloc[0]), rows["seed"].nunique()
        figure.suptitle(f"{TASKS[task]}: {n} training examples, {seeds} seeds; diamonds: mean and 95% interval")
        used = {role_of(name) for name in rows["condition"]} - {"baseline"}
        roles = [role for role in plots.ROLE_COLOURS if role in used]
        plots.role_legend(figure, roles, loc="outside lower center", ncols=len(roles) + 1)
        measures = " and ".join(metrics.values())
        plots.save(
            figure, out, f"study_{task}", f"Differences to the baseline in {measures} on {TASKS[task]}, by seed."
        )
    return [f"study_{task}" for task in tasks]
