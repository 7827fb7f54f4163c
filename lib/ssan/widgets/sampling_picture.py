"""The sampling explorer's picture, and the same in words."""

from __future__ import annotations

import numpy as np
import torch

from ssan import metrics
from ssan.widgets import drawing
from ssan.widgets.canvas import FAINT, Canvas
from ssan.widgets.sampling import Explored
from ssan.widgets.subject import quoted, signed

WIDTH = 960
TALL = 158  # of the upper part: histogram and, for images, three pictures
THUMB = 98


def draw(found: Explored) -> bytes:
    """The clean attention beside the surrogate, a histogram of the scores, and a gallery of variants: a PNG file."""
    return _of_text(found) if found.example.image is None else _of_images(found)


def describe(found: Explored) -> str:
    """What the picture shows, for readers who cannot see it and for those who can."""
    score, names = found.score, found.subject.region_names(found.example)
    clean, best = float(score[0]), float(score[found.best])
    above = int((score[1:] > score[0]).sum())
    said = [found.subject.says(found.example)]
    said.append(
        f"{len(score) - 1} masked variants ({found.state.sampler}). The clean input scores {clean:.2f} "
        f"({found.state.score.replace('_', ' ')}); "
        + (
            f"the variants score {float(score[1:].min()):.2f} to {float(score[1:].max()):.2f}, "
            if len(score) > 1
            else ""
        )
        + f"{above} of them more than the clean input."
    )
    if found.best:
        said.append(f"Best is variant {found.best}, without {_hidden(found)}: {best:.2f} ({signed(best - clean)}).")
    else:
        said.append("No variant beats the clean input.")
    said.append(
        f"The {found.state.selector.replace('_', ' ')} surrogate looks most at {_most(found.surrogate, names)}; "
        f"the clean attention at {_most(found.clean, names)}. "
        f"Share of attention that differs: {float((found.surrogate - found.clean).abs().sum()) / 2:.2f}."
    )
    if found.example.boxes is not None and found.subject.grid is not None:
        inside = [f"{_in_box(found, weights):.2f}" for weights in (found.clean, found.surrogate)]
        said.append(f"Attention inside the true boxes: clean {inside[0]}, surrogate {inside[1]}.")
    return " ".join(said)


def _hidden(found: Explored) -> str:
    names = found.subject.region_names(found.example)
    hidden = [name for name, kept in zip(names, found.kept[found.best].tolist(), strict=True) if kept < 0.5]
    if found.subject.grid is None and len(hidden) <= 4:
        return " and ".join(quoted(word) for word in hidden)
    return f"{len(hidden)} of {len(names)} regions"


def _most(weights: torch.Tensor, names: list[str]) -> str:
    place = int(weights.argmax())
    return f"{quoted(names[place])} ({float(weights[place]):.2f})"


def _in_box(found: Explored, weights: torch.Tensor) -> float:
    size = tuple(found.example.image.shape[-2:])
    box_map = metrics.box_map(found.example.boxes.float(), size, found.subject.grid)
    return float(metrics.mass_in_box(weights[None].float(), box_map.float()))


def _top(found: Explored) -> float:
    """One colour scale for all maps of the picture, so that equal colours are equal weights."""
    return float(torch.cat([found.clean[None], found.surrogate[None], found.shown_attention]).max())


def _scores(canvas: Canvas, found: Explored, x: float, width: float) -> None:
    marks = {"clean input": float(found.score[0]), "best variant": float(found.score[found.best])}
    of = f"score ({found.state.score.replace('_', ' ')}) of {len(found.score)} variants"
    drawing.histogram(canvas, x, 8, width, TALL, found.score.double().numpy(), marks, of)


def _captions(found: Explored) -> list[str]:
    """Index and score of each variant of the gallery."""
    return [
        ("clean" if not index else f"#{index}") + f"  {float(found.score[index]):.2f}" for index in found.shown.tolist()
    ]


def _of_text(found: Explored) -> bytes:
    words = found.subject.words(found.example)
    left, room = 172, WIDTH - 172 - 10
    lines = drawing.lines_of(Canvas(1, 1), words, room)
    row = len(lines) * drawing.LINE_HEIGHT + 8
    rows = 2 + len(found.shown)
    canvas = Canvas(WIDTH, TALL + 20 + rows * row + 42)
    _scores(canvas, found, 10, WIDTH - 270)
    canvas.text(WIDTH - 240, 40, f"true class: {_truth(found)}", bold=True)
    for k, said in enumerate(("words are as dark as their attention;", "struck through: hidden")):
        canvas.text(WIDTH - 240, 66 + 18 * k, said, 12, FAINT)
    top = _top(found)
    drawing.scale_bar(canvas, WIDTH - 240, 116, 230, top, "Blues")

    y = TALL + 20

    def put(caption: str, weights: torch.Tensor, kept: np.ndarray | None = None, bold: bool = False) -> None:
        nonlocal y
        canvas.text(left - 10, y + drawing.LINE_HEIGHT / 2, caption, 12, align="right", bold=bold)
        drawing.sentence(canvas, left, y, lines, weights.double().numpy(), top, kept)
        y += row

    put("clean attention", found.clean, bold=True)
    put(f"surrogate: {found.state.selector}", found.surrogate, bold=True)
    canvas.line(10, y + 4, WIDTH - 10, y + 4)
    canvas.text(10, y + 20, "variants, best to worst: number, score, attention", 12, FAINT)
    y += 34
    for caption, index, weights in zip(_captions(found), found.shown.tolist(), found.shown_attention, strict=True):
        put(caption, weights, found.kept[index].numpy())
    return canvas.png()


def _of_images(found: Explored) -> bytes:
    canvas = Canvas(WIDTH, TALL + 90 + 2 * THUMB)
    grid, top, side = found.subject.grid, _top(found), TALL - 24
    clean = drawing.picture_of(found.example.image[0])
    upper = (
        ("input", clean),
        ("clean attention", drawing.with_map(clean, found.clean.numpy(), grid, top)),
        (f"surrogate: {found.state.selector}", drawing.with_map(clean, found.surrogate.numpy(), grid, top)),
    )
    for k, (caption, picture) in enumerate(upper):
        x = 10 + k * (side + 12)
        canvas.text(x, 14, caption, 12, bold=k > 0)
        canvas.paste(x, 26, picture, side)
        if found.example.boxes is not None:
            drawing.boxes(canvas, x, 26, side, found.example.boxes[0], clean.shape[1])
    _scores(canvas, found, 3 * (side + 12) + 40, WIDTH - 3 * (side + 12) - 60)
    drawing.scale_bar(canvas, 10, TALL + 18, 3 * (side + 12) - 22, top, "viridis")
    question = " ".join(found.subject.words(found.example))
    asked = f"“{question}?”  true answer: " if question else "true class: "
    canvas.text(3 * (side + 12) + 40, TALL + 18, asked + _truth(found), 12, bold=True)

    y = TALL + 46
    canvas.text(10, y, "variants, best to worst: number, score; what the model saw, and where it looked", 12, FAINT)
    y += 14
    images = found.shown_image
    for k, (caption, index) in enumerate(zip(_captions(found), found.shown.tolist(), strict=True)):
        x = 10 + k * (THUMB + 7)
        picture = drawing.picture_of(images[k])
        looked = drawing.with_map(picture, found.shown_attention[k].numpy(), grid, top)
        if found.regions.on_features:
            picture = drawing.with_hidden(picture, found.kept[index].numpy(), grid)
        canvas.text(x + THUMB / 2, y + 8, caption, 11, align="centre")
        canvas.paste(x, y + 18, picture, THUMB)
        canvas.paste(x, y + 22 + THUMB, looked, THUMB)
    return canvas.png()


def _truth(found: Explored) -> str:
    return found.subject.task.class_names[int(found.example.label)]
