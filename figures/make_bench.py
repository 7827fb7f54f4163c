"""Speed: how many times faster the search is than its alternatives, what it costs beside its limits, and how it grows.

Drawn from figures/results/bench.csv, which `make bench` writes; it belongs to no profile and is drawn with `full`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ssan import plots

# Beginnings of the names of rows, and what the figure calls them.
FASTER = ("text pairs", "image pairs", "64 grid cells", "512 random masks")
COSTS = ("image masks", "training step", "memory")
GROWTH = {
    "number of masks": ("number of masks", "#0072B2", "o"),
    "sentence length": ("words of a sentence", "#009E73", "s"),
    "sentence length, plain batch": ("words of a sentence, plain batches", "#E69F00", "D"),
    "image size": ("side of the image in pixels", "#CC79A7", "^"),
}


def bars(ax: Axes, rows: pd.DataFrame, colour: str) -> None:
    """A bar for every row from 1 to its ratio, with a line as long as the spread over repetitions."""
    places = np.arange(len(rows))[::-1]
    ax.barh(places, rows["ratio"] - 1, left=1, color=colour, height=0.62)
    half = rows["ratio"] * rows["spread"] / 2
    ax.hlines(places, rows["ratio"] - half, rows["ratio"] + half, color="black", lw=1.2)
    for place, ratio, reach in zip(places, rows["ratio"], half, strict=True):
        ax.annotate(f"{ratio:.3g}", (max(ratio + reach, 1), place), (4, 0), textcoords="offset points", va="center")
    ax.axvline(1, color="0.4", lw=1)
    ax.set_yticks(places, rows["name"])
    ax.tick_params(axis="y", length=0)


def growth(ax: Axes, rows: pd.DataFrame) -> None:
    """Cost against size, relative to the smallest, with the fitted exponent in the legend."""
    for name, (label, colour, marker) in GROWTH.items():
        own = rows[rows["name"].str.match(rf"cost, {name} = \d+$")]
        exponent = rows.loc[rows["name"] == f"exponent, {name}", "ratio"]
        if len(own) and len(exponent):
            size = own["name"].str.extract(r"(\d+)$")[0].astype(float)
            text = f"{label}: exponent {exponent.iloc[0]:.2f}"
            ax.plot(size / size.iloc[0], own["ratio"], marker=marker, color=colour, label=text)
    ax.set(xscale="log", yscale="log", xlabel="size, relative to the smallest", ylabel="cost, relative to the smallest")
    ax.legend(frameon=False, loc="upper left", fontsize=8.5)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * 6)  # room for the legend


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    path = results.parent / "bench.csv"
    if results.name != "full" or not path.exists():
        return []
    rows = pd.read_csv(path)
    quicker = rows[rows["name"].str.startswith(FASTER)]
    costs = rows[rows["name"].str.startswith(COSTS)]
    figure = plt.figure(figsize=(11, 9))
    heights = [len(quicker) + 1, len(costs) + 1, 10]
    top, middle, bottom = figure.subplots(3, 1, gridspec_kw={"height_ratios": heights})
    bars(top, quicker, "#0072B2")
    top.set(xscale="log", xlabel="times faster than this (medians; lines: spread over repetitions)")
    top.set_xlim(right=quicker["ratio"].max() * 2)
    bars(middle, costs, "#E69F00")
    middle.set(xlabel="times what this takes (1 is the least)")
    middle.set_xlim(right=max(1.2, costs["ratio"].max() * 1.08))
    growth(bottom, rows)
    plots.save(
        figure,
        out,
        "bench",
        "Bars: how many times faster the search is than its alternatives, and what it costs beside its limits. "
        "Lines: cost against number of masks, sentence length and image size.",
    )
    return ["bench"]
