"""The parts that the widgets' pictures are made of: sentences, images with maps, histograms, bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ssan.widgets.canvas import BLUE, FAINT, INK, LINE, ORANGE, SIZE, Canvas, colours
from ssan.widgets.subject import shown_image

LINE_HEIGHT = 22


def lines_of(canvas: Canvas, words: Sequence[str], width: float, size: float = SIZE) -> list[list[tuple[float, str]]]:
    """Words set in lines of at most `width`: for each line its words and where they begin. At least one line."""
    lines: list[list[tuple[float, str]]] = [[]]
    x = 0.0
    for word in words:
        long = canvas.length(word, size) + 8
        if lines[-1] and x + long > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, word))
        x += long
    return lines


def sentence(
    canvas: Canvas,
    x: float,
    y: float,
    lines: list[list[tuple[float, str]]],
    weights: np.ndarray,
    top: float,
    kept: np.ndarray | None = None,
) -> None:
    """Words on grounds as dark as their attention; those that are hidden are struck through.

    Args:
        canvas: where to draw.
        x, y: upper left corner.
        lines: from `lines_of`.
        weights: (T,), one a word.
        top: weight of the darkest ground.
        kept: (T,), which words are kept; None for all.
    """
    grounds, place = colours(weights, top, "Blues"), 0
    for number, line in enumerate(lines):
        middle = y + (number + 0.5) * LINE_HEIGHT
        for at, word in line:
            long = canvas.length(word) + 6
            canvas.box(x + at, middle - 9, long, 18, fill=tuple(grounds[place].tolist()))
            ink = "white" if weights[place] > 0.6 * top else INK
            canvas.text(x + at + 3, middle, word, colour=ink)
            if kept is not None and kept[place] < 0.5:
                canvas.line(x + at, middle, x + at + long, middle, ORANGE, 2)
            place += 1


def picture_of(image: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of an image (1 or 3 channels, H, W)."""
    shown = shown_image(image).mul(255).round().byte().numpy()
    return np.moveaxis(np.broadcast_to(shown, (3, *shown.shape[1:])), 0, -1)


def with_map(picture: np.ndarray, weights: np.ndarray, grid: tuple[int, int], top: float) -> np.ndarray:
    """A picture (H, W, 3) with an attention map (R,) laid over it."""
    cells = colours(np.asarray(weights, dtype=float).reshape(grid), top, "viridis").astype(np.float32)
    over = _enlarged(cells, picture.shape[:2])
    return (0.35 * picture.astype(np.float32) + 0.65 * over).round().astype(np.uint8)


def with_hidden(picture: np.ndarray, kept: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) with the cells that are not kept (R,) hatched: for masks that act on features."""
    hidden = _enlarged(np.asarray(kept).reshape(grid) < 0.5, picture.shape[:2])
    rows, columns = np.indices(picture.shape[:2])
    stripe = (rows + columns) % 4 < 2
    hatched = np.where(stripe[..., None], np.array([213, 94, 0], np.uint8), picture)
    return np.where(hidden[..., None], hatched, picture)


def boxes(canvas: Canvas, x: float, y: float, side: float, corners: Tensor, width: int) -> None:
    """The true boxes (K, 4) of an image `width` pixels wide, drawn `side` wide: in white, which shows on every map."""
    for x0, y0, x1, y1 in (corners * side / width).tolist():
        if x1 > x0:
            canvas.box(x + x0, y + y0, x1 - x0, y1 - y0, outline="white", line=1.5)


def _enlarged(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cells (rows, columns, …) on every pixel of an image of `size`."""
    row = np.arange(size[0]) * cells.shape[0] // size[0]
    column = np.arange(size[1]) * cells.shape[1] // size[1]
    return cells[row[:, None], column]


def scale_bar(canvas: Canvas, x: float, y: float, width: float, top: float, name: str) -> None:
    """Which colour is which attention, from 0 to `top`."""
    canvas.text(x, y, "attention 0", 11, FAINT)
    start = x + canvas.length("attention 0 ", 11)
    room = width - (start - x) - 40
    for k, colour in enumerate(colours(np.arange(64), 63, name).tolist()):
        canvas.box(start + k * room / 64, y - 5, room / 64 + 1, 10, fill=tuple(colour))
    canvas.text(start + room + 5, y, f"{top:.2g}", 11, FAINT)


def histogram(
    canvas: Canvas,
    x: float,
    y: float,
    width: float,
    height: float,
    values: np.ndarray,
    marks: dict[str, float],
    of: str,
) -> None:
    """How often which value occurs, with some values marked.

    Args:
        canvas: where to draw.
        x, y, width, height: the whole of it, labels included.
        values: (M,), any numbers.
        marks: label -> value; the first in orange, the second in blue.
        of: what the values are.
    """
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(values, bins=40, range=(low, high))
    bottom, ceiling = y + height - 34, y + 30
    step = width / 40

    def place(value: float) -> float:
        return x + (value - low) / (high - low) * width

    for k, count in enumerate(counts):
        tall = (bottom - ceiling) * count / counts.max()
        if count:
            canvas.box(x + k * step, bottom - max(tall, 1), step - 1, max(tall, 1), fill="#8c8c8c")
    canvas.line(x, bottom, x + width, bottom, INK)
    for tick in MaxNLocator(6).tick_values(low, high):
        if low <= tick <= high:
            canvas.line(place(tick), bottom, place(tick), bottom + 4, INK)
            canvas.text(place(tick), bottom + 11, f"{tick:g}", 11, FAINT, align="centre")
    canvas.text(x + width / 2, bottom + 27, of, 11, FAINT, align="centre")
    # Labels stand to the right of their lines, the greater value's below; where there is no room, to the left, and then
    # the greater value's stand above: so no line runs through a label that is not its own.
    ordered = sorted(zip(marks.items(), (ORANGE, BLUE), strict=False), key=lambda mark: mark[0][1])
    lengths = [canvas.length(label, 11) for (label, _), _ in ordered]
    room = all(place(value) + 10 + long <= x + width for ((_, value), _), long in zip(ordered, lengths, strict=True))
    for k, (((label, value), colour), long) in enumerate(zip(ordered, lengths, strict=True)):
        at, level = place(value), k if room else len(ordered) - 1 - k
        canvas.line(at, y + 14 * level + 8, at, bottom, colour, 2)
        canvas.text(at + 4 if room else at - 4 - long, y + 14 * level + 6, label, 11, colour)


def bars(
    canvas: Canvas,
    x: float,
    y: float,
    width: float,
    names: Sequence[str],
    before: np.ndarray,
    after: np.ndarray,
    truth: int,
) -> None:
    """Probabilities of classes, a pair of bars each: before in grey, after in blue; the true class in bold.

    Args:
        canvas: where to draw.
        x, y, width: upper left corner and width of the whole.
        names: of the classes to show.
        before, after: their probabilities.
        truth: place of the true class among them.
    """
    wide = max(canvas.length(name, bold=True) for name in names) + 10
    room = width - wide - 44
    for k, name in enumerate(names):
        top = y + k * BAR_HEIGHT
        canvas.text(x + wide - 8, top + BAR_HEIGHT / 2 - 2, name, align="right", bold=k == truth)
        canvas.line(x + wide, top, x + wide, top + BAR_HEIGHT - 4, LINE)
        for value, down, colour in ((before[k], 0, "#8c8c8c"), (after[k], 10, BLUE)):
            canvas.box(x + wide, top + down, max(1.0, room * float(value)), 8, fill=colour)
        canvas.text(x + wide + room + 6, top + BAR_HEIGHT / 2 - 2, f"{after[k]:.2f}", 11, BLUE)


BAR_HEIGHT = 24
