"""The method as one drawing."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_CMAP = mpl.colormaps["Blues"]
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "0.35"
# Made-up weights: a drawing of the idea, not of anything measured.
_CLEAN = (0.25, 0.15, 0.2, 0.25, 0.15)
_SURROGATE = (0.05, 0.08, 0.1, 0.7, 0.07)


def three_steps() -> Figure:
    """Train, hide and keep the best look, train again: the three steps of the method side by side."""
    figure, axes = plt.subplots(1, 3, figsize=(10.8, 2.9), gridspec_kw={"width_ratios": [1, 1.5, 1]})
    for ax, width in zip(axes, (10, 15, 10), strict=True):
        ax.set(xlim=(0, width), ylim=(0, 8.3), aspect="equal")
        ax.axis("off")
    _train(axes[0])
    _search(axes[1])
    _train_again(axes[2])
    return figure


def _map(ax: Axes, x: float, y: float, weights: Sequence[float]) -> None:
    """An attention map: five regions in a row, darker is more attention."""
    for k, weight in enumerate(weights):
        ax.add_patch(mpl.patches.Rectangle((x + k, y), 1, 0.9, fc=_CMAP(weight / 0.7), ec="0.6", lw=0.8))


def _input(ax: Axes, x: float, y: float, hidden: Sequence[int] = ()) -> None:
    """An input of five regions, the hidden ones hatched."""
    for k in range(5):
        hatch = "/////" if k in hidden else None
        ax.add_patch(mpl.patches.Rectangle((x + k, y), 1, 0.9, fc="white", ec="0.6", hatch=hatch, lw=0.8))


def _net(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    box = mpl.patches.FancyBboxPatch((x, y), 4.4, 1.2, boxstyle="round,pad=0.1", fc="white", ec=colour, lw=1.8)
    ax.add_patch(box)
    ax.text(x + 2.2, y + 0.6, text, ha="center", va="center", color=colour)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], style: str = "-|>", **options) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": style, "color": _GREY, "lw": 1.4} | options)


def _train(ax: Axes) -> None:
    ax.set_title("1  Train: the baseline", loc="left", fontsize=11)
    ax.text(0.2, 0.35, "five regions of an input", color=_GREY, fontsize=8.5)
    _input(ax, 0.2, 1.2)
    _arrow(ax, (2.7, 2.2), (2.7, 3.1))
    _net(ax, 0.5, 3.3, "network", _BLUE)
    _arrow(ax, (2.7, 4.7), (2.7, 5.7))
    _map(ax, 0.2, 5.8, _CLEAN)
    ax.text(0.2, 7.1, "attention: taught by nobody", color=_GREY, fontsize=8.5)
    _arrow(ax, (5.1, 3.9), (6.4, 3.9))
    ax.text(6.5, 3.9, "answer\n$\\leftarrow$ label", va="center", color="black", fontsize=9.5)


def _search(ax: Axes) -> None:
    ax.set_title("2  Hide, score, keep the best look", loc="left", fontsize=11)
    ax.text(0.2, 0.35, "masked variants", color=_GREY, fontsize=8.5)
    ax.text(5.6, 0.35, "score of the true class", color=_GREY, fontsize=8.5, ha="left")
    variants = (((), 2.2), ((0, 1), 1.5), ((0, 3), 0.7), ((1, 2), 3.3), ((3, 4), 0.5))
    for row, (hidden, score) in enumerate(variants):
        y, best = 5.8 - 1.15 * row, score == 3.3
        _input(ax, 0.2, y, hidden)
        colour = _ORANGE if best else "0.75"
        ax.add_patch(mpl.patches.Rectangle((5.6, y + 0.15), score, 0.6, fc=colour, lw=0))
        if best:
            ax.text(5.6 + score + 0.2, y + 0.45, "best", va="center", color=_ORANGE, fontsize=9.5)
            _arrow(ax, (10.7, y + 0.5), (12.3, 5.2), color=_ORANGE, connectionstyle="arc3,rad=0.35")
    _map(ax, 9.6, 5.4, _SURROGATE)
    ax.text(9.6, 6.7, "its attention:\nthe surrogate", color=_ORANGE, fontsize=8.5)


def _train_again(ax: Axes) -> None:
    ax.set_title("3  Train again: supervised", loc="left", fontsize=11)
    ax.text(0.2, 0.35, "the input, nothing hidden", color=_GREY, fontsize=8.5)
    _input(ax, 0.2, 1.2)
    _arrow(ax, (2.7, 2.2), (2.7, 3.1))
    _net(ax, 0.5, 3.3, "new network", _BLUE)
    _arrow(ax, (2.7, 4.7), (2.7, 5.2))
    _map(ax, 0.2, 5.3, (0.1, 0.1, 0.15, 0.55, 0.1))
    _map(ax, 0.2, 7.1, _SURROGATE)
    ax.text(5.4, 7.5, "surrogate", va="center", color=_ORANGE, fontsize=9.5)
    ax.text(5.4, 5.75, "attention", va="center", fontsize=9.5)
    _arrow(ax, (2.7, 6.3), (2.7, 7.0), style="<->", color=_ORANGE)
    ax.text(3.0, 6.65, "pulled together", va="center", color=_ORANGE, fontsize=8.5)
    _arrow(ax, (5.1, 3.9), (6.4, 3.9))
    ax.text(6.5, 3.9, "answer\n$\\leftarrow$ label", va="center", color="black", fontsize=9.5)
