"""Pictures of attention and of rows; used by the notebooks, the widgets and every script in figures/.

Colours are safe for colour-blind readers: Okabe and Ito's palette for kinds of things, one dark-to-light scale for
amounts, purple against orange for gains and losses. `ax` is where to draw, by default a new figure of fitting size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ssan.study.conditions import role_of
from ssan.study.statistics import by_seed, paired_difference

ROLE_COLOURS = {"baseline": "#000000", "method": "#0072B2", "control": "#E69F00", "ceiling": "#009E73"}
ROLE_COLOURS["map"] = "#7F7F7F"
# The same for text, dark enough to be read on white (contrast of at least 4.5 to 1).
ROLE_TEXT = {"baseline": "#000000", "method": "#0072B2", "control": "#8A5A00", "ceiling": "#00765A", "map": "#5A5A5A"}
ROLE_LABELS = {role: role for role in ROLE_COLOURS}
ROLE_LABELS |= {
    "method": "supervised with surrogates",
    "ceiling": "ceiling (true regions)",
    "map": "no network of its own",
}
# For kinds of things that have no role: Okabe and Ito's colours but black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B59F00")
LIGHT = np.array([1.0, 0.75, 0.1])  # of what attention falls on

# One style for all figures: readable in a README column and reproducible to the byte.
STYLE = {"figure.dpi": 110, "savefig.dpi": 150, "font.size": 10, "figure.facecolor": "white"}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True}
STYLE |= {"svg.hashsalt": "ssan", "svg.fonttype": "none"}


def use_style() -> None:
    """Make `STYLE` the style of this process's figures."""
    mpl.rcParams.update(STYLE)


def save(figure: Figure, folder: Path, name: str, alt: str) -> None:
    """Write `name`.svg and `name`.png to `folder`, the same bytes whenever the same thing is drawn, and close it.

    `alt`, what the figure shows, for readers who cannot see it, goes into the files' metadata.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(STYLE["savefig.dpi"])
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # everything has its place by now, up to last digits, which differ by run
    for ax in figure.axes:
        ax.set_position(np.round(ax.get_position(original=True).bounds, 6))
    figure.savefig(folder / f"{name}.png", metadata={"Software": None, "Description": alt})
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Description": alt})
    plt.close(figure)


def token_strip(words: Sequence[str], maps: dict[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Sentences as rows of coloured words: one row per map, darker is more attention.

    `maps` is label of the row -> (T,) weights in [0, 1] of the T `words`; all rows share one colour scale.
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
    size = min(9.0, ax.figure.get_figwidth() * 72 * 0.8 / edges[-1] / 0.62)
    for (row, column), value in np.ndenumerate(values):
        colour, middle = "white" if value > 0.6 * top else "black", edges[column : column + 2].mean()
        ax.text(middle, row + 0.5, words[column], ha="center", va="center", fontsize=size, color=colour)
    ax.invert_yaxis()
    ax.set_yticks(rows[:-1] + 0.5, list(maps))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.figure.colorbar(mesh, ax=ax, label="attention", fraction=0.04, pad=0.01)
    return ax


def passages(rows: Sequence[tuple[str, Sequence[str], np.ndarray]], columns: int = 88) -> Figure:
    """Sentences as running text, every word on a ground as dark as its attention; all share one colour scale.

    `rows` are (caption, T words, at least T weights in [0, 1]) of each sentence, `columns` is how many characters fit
    into a line. Raises a ValueError if a sentence has more words than weights.
    """
    placed, y = [], 0.0  # x in characters, y in lines; captions have no weight
    for caption, words, weights in rows:
        if len(words) > len(weights):
            raise ValueError(f"{caption!r} has {len(words)} words, but only {len(weights)} weights")
        placed.append((0, y, caption, None))
        x, y = 0, y + 1
        for word, weight in zip(words, weights, strict=False):
            if x and x + len(word) > columns:
                x, y = 0, y + 1
            placed.append((x, y, word, float(weight)))
            x += len(word) + 1
        y += 1.6
    top = max([weight for *_, weight in placed if weight is not None] + [1e-9])
    # Set in type of one width, so that places are known before anything is drawn: a character is 0.602 of the size.
    size, line = 9.5, 1.5
    figure = plt.figure(figsize=((columns + 2) * 0.602 * size / 72, y * line * size / 72), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-1, columns + 1), ylim=(y - 0.9, -0.7))
    ax.axis("off")
    for x, at, word, weight in placed:
        style = {"va": "center", "fontsize": size, "color": "0.35"}
        if weight is not None:
            ground = mpl.colormaps["Blues"](weight / top)
            ax.add_patch(Rectangle((x - 0.4, at - 0.43), len(word) + 0.8, 0.86, color=ground, lw=0))
            style |= {"family": "DejaVu Sans Mono", "color": "white" if weight > 0.6 * top else "black"}
        ax.text(x, at, word, **style)
    return figure


def pair_matrix(words: Sequence[str], change: np.ndarray, label: str, ax: Axes | None = None) -> Axes:
    """What hiding two words does to the score: a cell for every pair, the best one framed.

    Args:
        words: T words.
        change: (T, T), symmetric, score of the variant minus score of the clean input; NaN on the diagonal.
        label: of the colour bar.

    A ValueError if `change` is not (T, T).
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
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=2.5, ec="black"))
    ax.set_xticks(range(n), words, rotation=90)
    ax.set_yticks(range(n), words)
    ax.tick_params(length=0)
    ax.figure.colorbar(image, ax=ax, label=label, fraction=0.046, pad=0.03)
    return ax


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95% t interval of the mean of differences, as the tables have it, for seaborn's `errorbar`."""
    difference = paired_difference(values, np.zeros(len(values)))
    return difference.low, difference.high


def difference_plot(
    rows: pd.DataFrame, metric: str, label: str, reference: str = "baseline/scratch", ax: Axes | None = None
) -> Axes:
    """Each condition minus the `reference`, seed by seed: a dot for every seed, the mean and its 95% interval.

    `rows` are one task's, `metric` is a column of them, which the axis calls `label`.
    """
    seeds = by_seed(rows, metric)
    names = [name for name in dict.fromkeys(rows["condition"] + "/" + rows["start"]) if name != reference]
    shown = {name: name.removesuffix("/scratch").replace("/", ", ").replace("_", " ") for name in names}
    apart = seeds[names].sub(seeds[reference], axis=0).rename(columns=shown)
    apart = apart.melt(var_name="condition", value_name="difference")
    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 0.36 * len(names) + 1.4))
    roles = {shown[name]: role_of(name.split("/")[0]) for name in names}
    apart["role"] = apart["condition"].map(roles)
    style = {"x": "difference", "y": "condition", "hue": "role", "palette": ROLE_COLOURS, "legend": False, "ax": ax}
    sns.stripplot(apart, jitter=False, size=4, alpha=0.35, zorder=2, **style)
    marks = {"marker": "D", "markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.8, "linestyle": "none"}
    sns.pointplot(apart, errorbar=interval, err_kws={"linewidth": 2.5, "zorder": 2.5}, zorder=3, **marks, **style)
    ax.axvline(0, color="0.4", lw=1, zorder=1)
    ax.set(xlabel=f"{label}, minus baseline", ylabel="")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    return ax


def role_legend(figure: Figure, roles: Sequence[str], **options) -> None:
    """A legend of the roles' colours for `difference_plot`s."""
    mean = {"marker": "D", "ls": "-", "lw": 2.5, "mec": "white"}
    handles = [plt.Line2D([], [], color=ROLE_COLOURS[role], label=ROLE_LABELS[role], **mean) for role in roles]
    handles.append(plt.Line2D([], [], marker="o", ls="", ms=4, alpha=0.5, color="0.4", mew=0, label="one seed"))
    figure.legend(handles=handles, frameon=False, **options)


def attended(image: np.ndarray, weights: np.ndarray | None, grid: tuple[int, int], top: float | None = None):
    """An image in its own colours, dim where nobody looks, bright and framed where the attention is.

    Args:
        image: (1 or 3 channels, H, W) in [0, 1].
        weights: (R,), or None for the image as it is.
        grid: rows and columns of the map.
        top: weight of the brightest cells; by default the map's own maximum.

    Returns:
        (H', W', 3) in [0, 1], enlarged to at least 16 pixels a cell.
    """
    picture = np.moveaxis(np.asarray(image, dtype=float), 0, -1).clip(0, 1)
    for axis in (0, 1):
        picture = picture.repeat(max(1, -(-16 * grid[axis] // picture.shape[axis])), axis)
    picture = np.broadcast_to(picture, (*picture.shape[:2], 3))
    if weights is None:
        return picture
    values = np.asarray(weights, dtype=float).reshape(grid)
    share = (values / max(values.max() if top is None else top, 1e-12)).clip(0, 1) ** 0.6  # small weights show, too
    # Where the middle of each row and column of pixels lies in its cell, in (0, 1).
    (row, y), (column, x) = (
        np.divmod((np.arange(n) + 0.5) * k / n, 1) for n, k in zip(picture.shape, grid, strict=False)
    )
    share = share[row.astype(int)[:, None], column.astype(int)][..., None]
    lit = (0.55 + 0.45 * share) * picture + 0.45 * share * (1 - picture) * LIGHT
    edge = (np.abs(y - 0.5) > 0.43)[:, None] | (np.abs(x - 0.5) > 0.43)
    return np.where(edge[..., None], lit + share * (LIGHT - lit), lit)


def image_map(image: np.ndarray, weights: np.ndarray | None = None, grid: tuple[int, int] = (8, 8), ax=None, top=None):
    """An image, `attended` where an attention map is given; `ax` is where to draw. Its pixels are the axes' units."""
    ax = ax or plt.subplots(figsize=(2, 2))[1]
    height, width = np.shape(image)[-2:]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(attended(image, weights, grid, top), extent=extent, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def outline(ax: Axes, box: tuple[float, float, float, float]) -> None:
    """Dash the outline of a box (x0, y0, x1, y1), in pixels, on an `image_map`."""
    x0, y0, x1, y1 = box
    for colour, style in (("black", "-"), ("white", (0, (2, 2)))):
        ax.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=colour, lw=1.2, ls=style))
