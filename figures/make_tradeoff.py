"""Accuracy against the quality of attention: every condition a point, with the front of the best.

Drawn from the rows in TASK.csv of the image tasks.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ssan import plots
from ssan.study.conditions import role_of

TASKS = {"shapes": "shapes", "cluttered_fashion": "cluttered Fashion-MNIST"}


def front(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Places of the points that no other beats in both, by ascending x."""
    order = np.lexsort((-y, -x))
    best = np.maximum.accumulate(y[order])
    kept = np.r_[True, y[order][1:] > best[:-1]]
    return order[kept][::-1]


def spaced(wanted: np.ndarray, gap: float, top: float = 1.0) -> np.ndarray:
    """Heights at least `gap` apart and at most `top`, in the order of the `wanted` ones and near them."""
    order = np.argsort(wanted, kind="stable")
    placed = wanted[order].astype(float)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    above = top
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], above)
        above = placed[i] - gap
    heights = np.empty_like(placed)
    heights[order] = placed
    return heights


def annotate(ax: Axes, x: np.ndarray, y: np.ndarray, names: list[str], colours: list[str]) -> None:
    """Names in a column to the right of the axes, by height, each with a line to its point."""
    low, high = ax.get_ylim()
    heights = spaced((y - low) / (high - low), 0.043, 1.02)
    for i, name in enumerate(names):
        ax.annotate(
            name,
            (x[i], y[i]),
            (1.03, heights[i]),
            textcoords="axes fraction",
            fontsize=8,
            va="center",
            color=colours[i],
            arrowprops={"arrowstyle": "-", "color": "0.8", "lw": 0.6, "relpos": (0, 0.5), "shrinkB": 3},
        )


def points(ax: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """One point a condition, coloured by role."""
    roles = [role_of(name) for name in table.index]
    sns.scatterplot(table, x=x, y=y, hue=roles, palette=plots.ROLE_COLOURS, legend=False, s=40, zorder=3, ax=ax)
    ax.margins(x=0.05, y=0.06)
    names = [name.replace("_", " ") for name in table.index]
    annotate(ax, table[x].to_numpy(), table[y].to_numpy(), names, [plots.ROLE_TEXT[role] for role in roles])


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy and pointing of every network; maps without one are left out."""
    rows = rows[rows["condition"].map(role_of) != "map"]
    return rows.groupby("condition", sort=False)[["accuracy", "pointing"]].mean()


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    paths = {task: results / f"{task}.csv" for task in TASKS if (results / f"{task}.csv").exists()}
    if not paths:
        return []
    figure, axes = plt.subplots(1, len(paths), figsize=(7.6 * len(paths), 5.2), squeeze=False)
    for ax, (task, path) in zip(axes[0], paths.items(), strict=True):
        table = means(pd.read_csv(path))
        points(ax, table, "pointing", "accuracy")
        ax.autoscale(False)
        # Who knows the boxes does not compete.
        free = table[[role_of(name) != "ceiling" for name in table.index]]
        line = free.iloc[front(free["pointing"].to_numpy(), free["accuracy"].to_numpy())]
        ax.plot(line["pointing"], line["accuracy"], color="0.6", lw=1, zorder=1)
        ax.set(xlabel="pointing, mean over seeds", ylabel="test accuracy, mean over seeds", title=TASKS[task])
    alt = "Accuracy against pointing of every condition, with the front of those without boxes."
    plots.save(figure, out, "tradeoff", alt)
    return ["tradeoff"]
