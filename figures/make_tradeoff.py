"""Accuracy against the quality of attention, and what it costs: every condition a point, with the front of the best.

Drawn from the rows in TASK.csv of the image tasks.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ssan import plots
from ssan.conditions import CONDITIONS
from ssan.statistics import compare

TASKS = {"shapes": "shapes", "cluttered_fashion": "cluttered Fashion-MNIST"}


def front(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Places of the points that no other beats in both, by ascending x."""
    order = np.lexsort((-y, -x))
    best = np.maximum.accumulate(y[order])
    kept = np.r_[True, y[order][1:] > best[:-1]]
    return order[kept][::-1]


def annotate(ax: Axes, x: np.ndarray, y: np.ndarray, names: list[str]) -> None:
    """Names beside their points, above each other where points are close."""
    span = np.ptp(y) or 1.0
    taken: list[tuple[float, float]] = []
    for i in np.argsort(y):
        height = y[i]
        while any(abs(height - b) < 0.035 * span and abs(x[i] - a) < 0.35 * (np.ptp(x) or 1) for a, b in taken):
            height += 0.035 * span
        taken.append((x[i], height))
        ax.annotate(
            names[i],
            (x[i], y[i]),
            (x[i] + 0.02 * np.ptp(x), height),
            fontsize=7.5,
            va="center",
            arrowprops={"arrowstyle": "-", "color": "0.7", "lw": 0.5},
        )


def points(ax: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """One point a condition, coloured by role."""
    colours = [plots.ROLE_COLOURS[CONDITIONS[name].role] for name in table.index]
    ax.scatter(table[x], table[y], c=colours, s=34, zorder=3)
    annotate(ax, table[x].to_numpy(), table[y].to_numpy(), [name.replace("_", " ") for name in table.index])


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy, pointing, mass, cost and recovered gain of every condition trained from scratch."""
    rows = rows[rows["start"] == "scratch"]
    table = rows.groupby("condition", sort=False)[
        ["accuracy", "pointing", "mass_in_box", "trainings", "seconds"]
    ].mean()
    for metric in ("accuracy", "pointing"):
        found = compare(rows, metric).rename(index=lambda name: name.split("/")[0])
        table[f"recovered_{metric}"] = found["recovered"]
    return table


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    names = []
    found = {task: results / f"{task}.csv" for task in TASKS if (results / f"{task}.csv").exists()}
    if not found:
        return names
    figure, axes = plt.subplots(1, len(found), figsize=(7.2 * len(found), 5.6), squeeze=False)
    costs, cost_axes = plt.subplots(len(found), 2, figsize=(13, 4.6 * len(found)), squeeze=False, sharey="row")
    for column, (task, path) in enumerate(found.items()):
        table = means(pd.read_csv(path))
        ax = axes[0, column]
        points(ax, table, "pointing", "accuracy")
        line = table.iloc[front(table["pointing"].to_numpy(), table["accuracy"].to_numpy())]
        ax.plot(line["pointing"], line["accuracy"], color="0.6", lw=1, zorder=1)
        ax.set(xlabel="pointing, mean over seeds", ylabel="test accuracy, mean over seeds", title=TASKS[task])
        ax.margins(x=0.16, y=0.06)
        for ax, metric in zip(cost_axes[column], ("accuracy", "pointing"), strict=True):
            rest = table.drop(index=["oracle", "baseline"], errors="ignore").dropna(subset=[f"recovered_{metric}"])
            points(ax, rest, "trainings", f"recovered_{metric}")
            ax.axhline(0, color="0.4", lw=1)
            ax.axhline(1, color=plots.ROLE_COLOURS["ceiling"], lw=1, ls="--")
            ax.set(xlabel="networks trained", ylabel="recovered gain", title=f"{TASKS[task]}: {metric}")
            ax.margins(x=0.2, y=0.08)
    plots.save(figure, out, "tradeoff", "Test accuracy against pointing of every condition, with the Pareto front.")
    plots.save(costs, out, "cost", "Recovered gain in accuracy and pointing against the number of trained networks.")
    return ["tradeoff", "cost"]
