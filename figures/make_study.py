"""Every condition minus the baseline, seed by seed, in accuracy and in the quality of attention.

Drawn from the rows in TASK.csv of each task that has been run.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import plots
from ssan.study.conditions import role_of
from ssan.study.report import METRICS, metrics_in

TASKS = {
    "trec": "TREC questions",
    "movie": "movie snippets",
    "shapes": "questions about shapes",
    "shapes_mlb": "questions about shapes, bilinear fusion",
    "cluttered_fashion": "cluttered Fashion-MNIST",
}
TEXT = ("accuracy", "faithfulness_beyond_position", "comprehensiveness")
IMAGES = ("accuracy", "pointing", "selection", "comprehensiveness")


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    tasks = [task for task in TASKS if (results / f"{task}.csv").exists()]
    for task in tasks:
        rows = pd.read_csv(results / f"{task}.csv")
        if "pointing" in rows:  # maps that know nothing of the image lie so low that they would hide what else differs
            rows = rows[rows["condition"].map(role_of) != "map"]
        wanted = IMAGES if "pointing" in rows else TEXT
        metrics = {name: METRICS[name].split(" (")[0] for name in wanted if name in metrics_in(rows)}
        n_rows = rows["condition"].nunique() - 1
        lines = 1 if len(metrics) < 4 else 2
        columns = len(metrics) // lines
        size = (4.2 * columns + 2.2, (0.3 * n_rows + 0.6) * lines + 1.2)
        figure, axes = plt.subplots(lines, columns, figsize=size, sharey=True)
        for ax, (metric, label) in zip(axes.flat, metrics.items(), strict=True):
            plots.difference_plot(rows, metric, label, ax=ax)
        n, seeds = int(rows["n_train"].iloc[0]), rows["seed"].nunique()
        figure.suptitle(f"{TASKS[task]}: {n} training examples, {seeds} seeds; diamonds: mean and 95% interval")
        used = {role_of(name) for name in rows["condition"]} - {"baseline"}
        roles = [role for role in plots.ROLE_COLOURS if role in used]
        plots.role_legend(figure, roles, loc="outside lower center", ncols=len(roles) + 1)
        alt = f"Differences to the baseline in {', '.join(metrics.values())} on {TASKS[task]}, by seed."
        plots.save(figure, out, f"study_{task}", alt)
    return [f"study_{task}" for task in tasks]
