"""One mask, drawn by hand: what it does to score, answer and attention. The mask painter without widgets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssan.batch import Batch
from ssan.models.attention import attention_map, evaluating
from ssan.regions import Regions
from ssan.scorer import SCORES
from ssan.search import find_surrogates
from ssan.widgets import drawing
from ssan.widgets.canvas import FAINT, Canvas
from ssan.widgets.sampling import Sampling, make_sampler
from ssan.widgets.subject import Subject, quoted, signed

WIDTH = 640
# The classes with the largest probabilities; more would not fit.
MOST_CLASSES = 8


@dataclass(frozen=True)
class Painting:
    """What the controls of the mask painter say.

    Attributes:
        example: place among the subject's examples.
        kept: which regions are kept, one entry for each; None keeps all.
        fill: what hidden regions show, a name in `Subject.hidings`; None for the task's own.
        score: what the input is judged by.
    """

    example: int = 0
    kept: tuple[bool, ...] | None = None
    fill: str | None = None
    score: str = "logit"


@dataclass(frozen=True)
class Painted:
    """The clean input and the masked one, side by side; entries 0 and 1 of every tensor.

    Attributes:
        subject, state: what was asked for.
        example: a batch of one.
        regions: what was hidden, and how.
        kept: (R,) bool.
        score: (2,).
        probability: (2, C).
        attention: (2, R).
        image: (2, C, H, W), what the model saw; None for text.
    """

    subject: Subject
    state: Painting
    example: Batch
    regions: Regions
    kept: Tensor
    score: Tensor
    probability: Tensor
    attention: Tensor
    image: Tensor | None


def paint(subject: Subject, state: Painting) -> Painted:
    """Run the model on the clean input and on the one that is masked as `state` says.

    Raises:
        ValueError: if `state` names what is not there, or its mask has another number of regions.
    """
    example = subject.example(state.example)
    regions = subject.hiding(state.fill)
    n = int(subject.task.regions.count(example))
    if state.kept is not None and len(state.kept) != n:
        raise ValueError(f"the mask has {len(state.kept)} entries, the example has {n} regions")
    if state.score not in SCORES:
        raise ValueError(f"unknown score {state.score!r}: expected one of {', '.join(SCORES)}")
    kept = torch.tensor(state.kept or (True,) * n, device=example.device)
    masks = torch.stack([torch.ones_like(kept), kept])
    both = example.select([0, 0])
    with torch.inference_mode(), evaluating([subject.model]):
        if regions.on_features:
            output = subject.model.attend(regions.hide(subject.model.encode(both), masks))
        else:
            both = regions.hide(both, masks)
            output = subject.model(both)
    return Painted(
        subject,
        state,
        example,
        regions,
        kept,
        SCORES[state.score](output.logits, both.label),
        torch.softmax(output.logits, -1),
        attention_map(subject.model, output)[:, :n],
        both.image,
    )


def best_mask(subject: Subject, state: Painting) -> tuple[bool, ...]:
    """The mask of the best variant that the task's usual sampler finds: pairs of words, windows of 2 x 2 cells."""
    example = subject.example(state.example)
    n = int(subject.task.regions.count(example))
    usual = "pairs" if subject.grid is None else "hide windows"
    sampler = make_sampler(Sampling(sampler=usual), n, subject.grid)
    found = find_surrogates(subject.model, example, sampler, score=state.score, regions=subject.hiding(state.fill))
    return tuple(sampler.masks(n, found.index, example.ids)[0].tolist())


def describe(found: Painted) -> str:
    """What the picture shows, in words."""
    names = found.subject.region_names(found.example)
    hidden = [name for name, kept in zip(names, found.kept.tolist(), strict=True) if not kept]
    clean, masked = found.score.tolist()
    if not hidden:
        what = "Nothing is hidden."
    elif found.subject.grid is None:
        what = "Hidden: " + ", ".join(quoted(name) for name in hidden) + "."
    else:
        what = f"{len(hidden)} of {len(names)} cells are hidden."
    answers = [found.subject.task.class_names[k] for k in found.probability.argmax(-1).tolist()]
    moved = float((found.attention[1] - found.attention[0]).abs().sum()) / 2
    looks = names[int(found.attention[1].argmax())]
    return (
        f"{found.subject.says(found.example)} {what} Score ({found.state.score.replace('_', ' ')}): {clean:.2f} with "
        f"all regions, {masked:.2f} with these ({signed(masked - clean)}). Answer: {answers[0]}, then {answers[1]}. "
        f"Share of attention that moved: {moved:.2f}; most of it is now at {quoted(looks)} "
        f"({float(found.attention[1].max()):.2f})."
    )


def draw(found: Painted) -> bytes:
    """Input and attention before and after, and the probabilities of the classes: a PNG file."""
    shown = _classes(found)
    names = [found.subject.task.class_names[k] for k in shown]
    probability = found.probability[:, shown].double().numpy()
    truth = shown.index(int(found.example.label))
    top = float(found.attention.max())
    if found.image is None:
        return _text(found, names, probability, truth, top)
    return _images(found, names, probability, truth, top)


def _classes(found: Painted) -> list[int]:
    """The classes to show, in their own order: the likeliest ones, the true one always among them."""
    likely = found.probability.amax(0)
    likely[found.example.label] = 2
    return sorted(likely.argsort(descending=True, stable=True)[:MOST_CLASSES].tolist())


def _legend(canvas: Canvas, x: float, y: float) -> None:
    canvas.text(x, y, "probability: grey before, blue now; the true class in bold", 11, FAINT)


def _text(found: Painted, names: list[str], probability: np.ndarray, truth: int, top: float) -> bytes:
    words = found.subject.words(found.example)
    lines = drawing.lines_of(Canvas(1, 1), words, WIDTH - 110)
    row = len(lines) * drawing.LINE_HEIGHT + 10
    canvas = Canvas(WIDTH, 2 * row + 50 + len(names) * drawing.BAR_HEIGHT)
    masks = (None, found.kept.numpy())
    for k, (caption, kept) in enumerate(zip(("all words", "these words"), masks, strict=True)):
        y = 8 + k * row
        canvas.text(88, y + 11, caption, 12, align="right", bold=k == 1)
        drawing.sentence(canvas, 98, y, lines, found.attention[k].double().numpy(), top, kept)
    y = 2 * row + 22
    drawing.scale_bar(canvas, 10, y, 250, top, "Blues")
    _legend(canvas, 300, y)
    drawing.bars(canvas, 10, y + 22, WIDTH - 20, names, *probability, truth)
    return canvas.png()


def _images(found: Painted, names: list[str], probability: np.ndarray, truth: int, top: float) -> bytes:
    side, grid = 172, found.subject.grid
    canvas = Canvas(WIDTH, 2 * (side + 22) + 40)
    for k, caption in enumerate(("all cells", "these cells")):
        seen = drawing.picture_of(found.image[k])
        looked = drawing.with_map(seen, found.attention[k].numpy(), grid, top)
        if k and found.regions.on_features:
            seen = drawing.with_hidden(seen, found.kept.numpy(), grid)
        for down, picture, what in ((0, seen, caption), (side + 22, looked, f"attention: {caption}")):
            x = 10 + k * (side + 12)
            canvas.text(x, down + 10, what, 12, bold=k == 1)
            canvas.paste(x, down + 20, picture, side)
    x = 2 * (side + 12) + 30
    drawing.scale_bar(canvas, 10, 2 * (side + 22) + 16, 2 * side, top, "viridis")
    canvas.text(x, 10, "probability", 12)
    canvas.text(x, 28, "grey: all cells, blue: these; bold: true", 11, FAINT)
    drawing.bars(canvas, x, 48, WIDTH - x - 6, names, *probability, truth)
    words = found.subject.words(found.example)
    y = 66 + len(names) * drawing.BAR_HEIGHT
    for line in drawing.lines_of(canvas, words, WIDTH - x - 10) if words else ():
        canvas.text(x, y, " ".join(word for _, word in line), bold=True)
        y += drawing.LINE_HEIGHT
    return canvas.png()
