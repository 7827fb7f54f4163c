"""Critical-difference diagrams: which conditions can be told apart by their ranks over seeds (Friedman, Nemenyi).

The instrument of the sister paper. Drawn from the rows in TASK.csv of each task whose conditions share their seeds.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import critical_difference, plots
from ssan.conditions import CONDITIONS
from ssan.statistics import by_seed

TEXT = {"accuracy": "accuracy", "faithfulness": "faithfulness"}
IMAGES = {"accuracy": "accuracy", "pointing": "pointing"}
TASKS = {
    "trec": ("TREC", TEXT),
    "movie": ("movie snippets", TEXT),
    "shapes": ("shapes", IMAGES),
    "shapes_mlb": ("shapes, bilinear fusion", IMAGES),
    "cluttered_fashion": ("cluttered Fashion-MNIST", IMAGES),
}


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    names = []
    for task, (title, metrics) in TASKS.items():
        path = results / f"{task}.csv"
        if not path.exists():
            continue
        rows = pd.read_csv(path)
        rows = rows[rows["start"] == "scratch"]
        if rows["seed"].nunique() < 3:
            continue
        figure, axes = plt.subplots(len(metrics), 1, figsize=(10, 3.1 * len(metrics)))
        for ax, (metric, label) in zip(axes, metrics.items(), strict=True):
            values = by_seed(rows, metric).rename(columns=lambda name: name.split("/")[0])
            colours = {name.replace("_", " "): plots.ROLE_TEXT[CONDITIONS[name].role] for name in values}
            ranking = critical_difference.rank(values.rename(columns=lambda name: name.replace("_", " ")))
            critical_difference.draw(ranking, colours, ax)
            p = "" if pd.isna(ranking.p) else f", Friedman p = {ranking.p:.1g}"
            ax.set_title(f"{title}: mean rank in {label}{p}", loc="left", fontsize=10)
        said = " and ".join(metrics.values())
        plots.save(figure, out, f"critical_{task}", f"Mean ranks of all conditions in {said} on {title}.")
        names.append(f"critical_{task}")
    return names
