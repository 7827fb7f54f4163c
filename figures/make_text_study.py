"""Text: every condition minus the baseline, seed by seed, in accuracy and in faithfulness.

Drawn from the rows in TASK.csv of each text task that has been run.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import plots

TASKS = {"trec": "TREC questions", "movie": "movie snippets"}
METRICS = {"accuracy": "test accuracy", "faithfulness": "faithfulness (Spearman)"}


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    found = [task for task in TASKS if (results / f"{task}.csv").exists()]
    for task in found:
        rows = pd.read_csv(results / f"{task}.csv")
        figure, axes = plt.subplots(1, len(METRICS), figsize=(10.5, 5.2), sharey=True)
        for ax, (metric, label) in zip(axes, METRICS.items(), strict=True):
            plots.difference_plot(rows, metric, label, ax=ax)
        n, seeds = int(rows["n_train"].iloc[0]), rows["seed"].nunique()
        figure.suptitle(f"{TASKS[task]}: {n} training examples, {seeds} seeds; diamonds: mean and 95% interval")
        plots.role_legend(figure, ("method", "control"), loc="outside lower center", ncols=3)
        plots.save(
            figure,
            out,
            f"text_study_{task}",
            f"Differences to the baseline in accuracy and faithfulness on {TASKS[task]}, one dot per seed.",
        )
    return [f"text_study_{task}" for task in found]
