"""Pictures of attention and of rows; used by the notebooks and by every script in figures/.

Colours are safe for colour-blind readers: Okabe and Ito's palette for kinds of things, one dark-to-light scale for
amounts, purple against orange for gains and losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ssan.conditions import CONDITIONS
from ssan.statistics import by_seed, compare

ROLE_COLOURS = {"baseline": "#000000", "method": "#0072B2", "control": "#E69F00", "ceiling": "#009E73"}
# The same for text, dark enough to be read on white (contrast of at least 4.5 to 1).
ROLE_TEXT = {"baseline": "#000000", "method": "#0072B2", "control": "#8A5A00", "ceiling": "#00765A"}
ROLE_LABELS = {
    "baseline": "baseline",
    "method": "supervised with surrogates",
    "control": "control",
    "ceiling": "ceiling (true regions)",
}

# One style for all figures: readable in a README column and reproducible to the byte.
STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 150,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "ssan",
    "svg.fonttype": "none",
    "figure.facecolor": "white",
}


def use_style() -> None:
    """Make `STYLE` the style of this process's figures."""
    mpl.rcParams.update(STYLE)


def save(figure: Figure, folder: Path, name: str, alt: str) -> None:
    """Write `name`.svg and `name`.png to `folder`, the same bytes whenever the same thing is drawn.

    Args:
        figure: what to write; it is closed.
        folder: where to; made if it is not there.
        name: without an ending.
        alt: what the figure shows, for readers who cannot see it; goes into the files' metadata.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Description": alt})
    figure.savefig(folder / f"{name}.png", metadata={"Software": None, "Description": alt})
    plt.close(figure)


def token_strip(words: Sequence[str], maps: dict[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Sentences as rows of coloured words: one row per map, darker is more attention.

    Args:
        words: T words.
        maps: label of the row -> (T,) weights in [0, 1]; all rows share one colour scale.
        ax: where to draw; a new figure of fitting size by default.
    """
    values = np.stack([np.asarray(weights, dtype=float)[: len(words)] for weights in maps.values()])
    # Columns are as wide as their words, so that long words fit and short ones take no room.
    edges = np.concatenate([[0], np.cumsum([max(len(word), 2) + 1.5 for word in words])])
    if ax is None:
        _, ax = plt.subplots(figsize=(min(13.0, 0.095 * edges[-1] + 2.5), 0.42 * len(maps) + 0.9))
    top = max(float(values.max()), 1e-9)
    rows = np.arange(len(maps) + 1)
    mesh = ax.pcolormesh(edges, rows, values, cmap="Blues", vmin=0, vmax=top, edgecolors="white", linewidth=1.5)
    # Long sentences in a narrow figure get smaller letters: a letter is about 0.6 of its height wide.
    room = ax.figure.get_figwidth() * 72 * 0.8 / edges[-1]
    size = min(9.0, room / 0.62)
    for row in range(len(maps)):
        for column, word in enumerate(words):
            colour = "white" if values[row, column] > 0.6 * top else "black"
            middle = (edges[column] + edges[column + 1]) / 2
            ax.text(middle, row + 0.5, word, ha="center", va="center", fontsize=size, color=colour)
    ax.invert_yaxis()
    ax.set_yticks(rows[:-1] + 0.5, list(maps))
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.figure.colorbar(mesh, ax=ax, label="attention", fraction=0.04, pad=0.01)
    return ax


def passages(rows: Sequence[tuple[str, Sequence[str], np.ndarray]], columns: int = 88) -> Figure:
    """Sentences as running text, every word on a ground as dark as its attention; all share one colour scale.

    Args:
        rows: (caption, T words, at least T weights in [0, 1]) of each sentence.
        columns: characters in a line; longer sentences go on in the next.

    Raises:
        ValueError: if a sentence has more words than weights.
    """
    placed, captions, y = [], [], 0.0  # x in characters, y in lines
    for caption, words, weights in rows:
        if len(words) > len(weights):
            raise ValueError(f"{caption!r} has {len(words)} words, but only {len(weights)} weights")
        captions.append((caption, y))
        x, y = 0, y + 1
        for word, weight in zip(words, weights, strict=False):
            if x and x + len(word) > columns:
                x, y = 0, y + 1
            placed.append((x, y, word, float(weight)))
            x += len(word) + 1
        y += 1.6
    top = max([weight for *_, weight in placed] + [1e-9])
    # Set in type of one width, so that places are known before anything is drawn: a character is 0.602 of the size.
    size, line = 9.5, 1.5
    figure = plt.figure(figsize=((columns + 2) * 0.602 * size / 72, y * line * size / 72), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-1, columns + 1), ylim=(y - 0.9, -0.7))
    ax.axis("off")
    for caption, at in captions:
        ax.text(0, at, caption, va="center", fontsize=size, color="0.35")
    for x, at, word, weight in placed:
        ground = mpl.colormaps["Blues"](weight / top)
        ax.add_patch(mpl.patches.Rectangle((x - 0.4, at - 0.43), len(word) + 0.8, 0.86, color=ground, lw=0))
        colour = "white" if weight > 0.6 * top else "black"
        ax.text(x, at, word, va="center", family="DejaVu Sans Mono", fontsize=size, color=colour)
    return figure


def pair_matrix(words: Sequence[str], change: np.ndarray, label: str, ax: Axes | None = None) -> Axes:
    """What hiding two words does to the score: a cell for every pair, the best one framed.

    Args:
        words: T words.
        change: (T, T), symmetric, score of the variant minus score of the clean input; NaN on the diagonal.
        label: of the colour bar.
        ax: where to draw; a new figure of fitting size by default.

    Raises:
        ValueError: if `change` is not (T, T).
    """
    n = len(words)
    if np.shape(change) != (n, n):
        raise ValueError(f"change must be ({n}, {n}) for {n} words, got shape {np.shape(change)}")
    if ax is None:
        _, ax = plt.subplots(figsize=(0.42 * n + 2.6, 0.42 * n + 1.2))
    largest = max(float(np.nanmax(np.abs(change))), 1e-9)
    image = ax.imshow(change, cmap="PuOr", vmin=-largest, vmax=largest)
    i, j = np.unravel_index(np.nanargmax(change), change.shape)
    for row, column in ((i, j), (j, i)):
        ax.add_patch(mpl.patches.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=2.5, ec="black"))
    ax.set_xticks(range(n), words, rotation=90)
    ax.set_yticks(range(n), words)
    ax.tick_params(length=0)
    ax.figure.colorbar(image, ax=ax, label=label, fraction=0.046, pad=0.03)
    return ax


def difference_plot(
    rows: pd.DataFrame, metric: str, label: str, reference: str = "baseline/scratch", ax: Axes | None = None
) -> Axes:
    """Each condition minus the baseline: a dot for every seed, the mean and its 95% interval.

    Args:
        rows: one task's rows.
        metric: column of the rows.
        label: what the axis calls it.
        reference: what is subtracted, seed by seed.
        ax: where to draw.
    """
    found = compare(rows, metric, reference).drop(index=reference)
    seeds = by_seed(rows, metric)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 0.36 * len(found) + 1.4))
    places = np.arange(len(found))[::-1]
    for place, (name, row) in zip(places, found.iterrows(), strict=True):
        colour = ROLE_COLOURS[CONDITIONS[name.split("/")[0]].role]
        each = (seeds[name] - seeds[reference]).dropna().to_numpy()
        ax.plot(each, np.full(len(each), place), "o", ms=4, alpha=0.35, color=colour, mew=0, zorder=2)
        if np.isfinite(row["low"]):
            ax.plot([row["low"], row["high"]], [place, place], "-", lw=2.5, color=colour, zorder=3)
        ax.plot(row["difference"], place, "D", ms=6, color=colour, mec="white", zorder=4)
    ax.axvline(0, color="0.4", lw=1, zorder=1)
    ax.set_yticks(places, [name.replace("/", ", ").replace("_", " ") for name in found.index])
    ax.set_xlabel(f"{label}, minus baseline")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.set_ylim(-0.6, len(found) - 0.4)
    return ax


# Okabe and Ito's colours but black, and a sign for each, so that colour is not all that tells losses apart.
LOSS_MARKS = tuple(
    zip(
        ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B59F00") * 2,
        ("o", "s", "^", "v", "P", "X", "<", ">", "p", "h", "*", "8", "H", "d", "D", "o"),
        strict=True,
    )
)


def trade_off(rows: pd.DataFrame, metric: str, label: str, chosen: tuple[str, float] | None = None, ax=None) -> Axes:
    """Accuracy against the quality of attention: a line for each loss, a point for each weight, means over seeds.

    Args:
        rows: of one task, with columns `loss`, `weight`, `seed`, `accuracy` and `metric`; weight 0 is no supervision.
        metric: the quality of attention.
        label: what the axis calls it.
        chosen: (loss, weight) to ring, with its seeds as small dots; the other losses are drawn pale, their weights
            left out. None rings nothing.
        ax: where to draw.

    Raises:
        ValueError: if there are more losses than marks to tell them apart.
    """
    losses = list(dict.fromkeys(rows.loc[rows["weight"] > 0, "loss"]))
    if len(losses) > len(LOSS_MARKS):
        raise ValueError(f"{len(losses)} losses are more than the {len(LOSS_MARKS)} that can be told apart: {losses}")
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 4.2))
    for loss, (colour, sign) in zip(losses, LOSS_MARKS, strict=False):
        mean = rows[(rows["loss"] == loss) & (rows["weight"] > 0)].groupby("weight")[["accuracy", metric]].mean()
        pale = chosen is not None and loss != chosen[0]
        style = {"color": colour, "lw": 1, "ms": 6, "mec": "white", "alpha": 0.4 if pale else 1.0, "label": loss}
        ax.plot(mean[metric], mean["accuracy"], sign + "-", **style)
        for k, (weight, point) in enumerate(() if pale else mean.iterrows()):
            # Above and below in turn, since neighbours lie close, and with a white rim, since lines run behind.
            ax.annotate(
                f"{weight:g}",
                (point[metric], point["accuracy"]),
                (8, -13 if k % 2 else 6),
                textcoords="offset points",
                size=8,
                zorder=6,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
    plain = rows[rows["weight"] == 0]
    if len(plain):
        ax.plot(plain[metric].mean(), plain["accuracy"].mean(), "D", color="black", ms=7, mec="white", label="none")
    if chosen is not None:
        own = rows[(rows["loss"] == chosen[0]) & (rows["weight"] == chosen[1])]
        if len(own) > 1:
            ax.plot(own[metric], own["accuracy"], ".", color="0.45", ms=5, zorder=1, label="seeds of the ringed point")
        middle = own[metric].mean(), own["accuracy"].mean()
        ax.plot(*middle, "o", ms=16, mfc="none", mec="black", mew=2, zorder=5)
    ax.set(xlabel=label, ylabel="test accuracy")
    ax.margins(0.12)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), title="loss, by weight")
    return ax


def role_legend(figure: Figure, roles: Sequence[str], **options) -> None:
    """A legend of the roles' colours for `difference_plot`s."""
    handles = [
        plt.Line2D([], [], marker="D", ls="-", lw=2.5, mec="white", color=ROLE_COLOURS[role], label=ROLE_LABELS[role])
        for role in roles
    ]
    handles.append(plt.Line2D([], [], marker="o", ls="", ms=4, alpha=0.5, color="0.4", mew=0, label="one seed"))
    figure.legend(handles=handles, frameon=False, **options)


def image_map(image: np.ndarray, weights: np.ndarray | None = None, grid: tuple[int, int] = (8, 8), ax=None, top=None):
    """An image, with an attention map laid over it.

    Args:
        image: (channels, H, W) in [0, 1].
        weights: (R,) or None for the image alone.
        grid: rows and columns of the map.
        ax: where to draw.
        top: weight drawn in the strongest colour; by default the map's own maximum.
    """
    ax = ax or plt.subplots(figsize=(2, 2))[1]
    picture = np.clip(np.moveaxis(np.asarray(image, dtype=float), 0, -1), 0, 1)
    ax.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
    if weights is not None:
        height, width = picture.shape[:2]
        values = np.asarray(weights, dtype=float).reshape(grid)
        shown = ax.imshow(
            values, extent=(-0.5, width - 0.5, height - 0.5, -0.5), cmap="viridis", vmin=0, vmax=top, alpha=0.65
        )
        shown.set_interpolation("nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def outline(ax: Axes, box: tuple[float, float, float, float]) -> None:
    """Dash the outline of a box (x0, y0, x1, y1), in pixels, on an `image_map`."""
    x0, y0, x1, y1 = box
    for colour, style in (("black", "-"), ("white", (0, (2, 2)))):
        patch = mpl.patches.Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=colour, lw=1.2, ls=style)
        ax.add_patch(patch)
