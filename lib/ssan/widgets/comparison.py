"""Attention and answers of two models on the same examples: the before/after browser without widgets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.data.task import Split, Task
from ssan.gallery import OUTCOMES, outcomes, pick
from ssan.training import predict
from ssan.widgets import drawing
from ssan.widgets.canvas import FAINT, Canvas
from ssan.widgets.subject import cell_name, quoted, says, words_of

WIDTH = 760
# What may be asked for: those that changed from wrong to right, the reverse, right twice, or all of them.
FILTERS = (*OUTCOMES, "all")


@dataclass(frozen=True)
class Comparison:
    """What two models make of the same N examples.

    Attributes:
        name: what menus call it.
        task: where words, class names and the grid are read off.
        batch: the examples.
        before, after: (N, C) probabilities.
        map_before, map_after: (N, R) attention.

    Raises:
        ValueError: if the two were not made of the same number of examples.
    """

    name: str
    task: Task
    batch: Batch
    before: Tensor
    after: Tensor
    map_before: Tensor
    map_after: Tensor

    def __post_init__(self) -> None:
        sizes = {len(self.batch), *(len(one) for one in (self.before, self.after, self.map_before, self.map_after))}
        if len(sizes) > 1 or not len(self.batch):
            raise ValueError(f"{self.name!r} compares predictions for different numbers of examples: {sorted(sizes)}")

    @classmethod
    def of(
        cls,
        name: str,
        task: Task,
        before: nn.Module,
        after: nn.Module,
        split: Split | None = None,
        n: int | None = None,
    ) -> Comparison:
        """Run both models on the first `n` examples of `split`, by default on all of the test split."""
        split = task.test if split is None else split
        batch = split.select(torch.arange(len(split))[:n])
        found = [predict(model, batch, device="cpu") for model in (before, after)]
        probability, maps = ([one[k] for one in found] for k in (0, 1))
        return cls(name, task, batch, *(logits.softmax(-1) for logits in probability), *maps)

    def rows(self, which: str) -> Tensor:
        """The examples of one of `FILTERS`, those whose attention moved most first.

        Raises:
            ValueError: if there is no such filter.
        """
        if which not in FILTERS:
            raise ValueError(f"unknown filter {which!r}: expected one of {', '.join(FILTERS)}")
        chosen = torch.ones(len(self.batch), dtype=torch.bool)
        if which != "all":
            chosen = outcomes(self.before, self.after, self.batch.label)[which]
        return pick(self.map_before, self.map_after, chosen, len(self.batch))


@dataclass(frozen=True)
class Browsing:
    """What the controls of the before/after browser say.

    Attributes:
        which: one of `FILTERS`.
        place: which of them, from 0: the one whose attention moved most.
    """

    which: str = "fixed"
    place: int = 0


def find(compared: Comparison, state: Browsing) -> int | None:
    """The example that `state` speaks of; None where there is no example of this kind.

    Raises:
        ValueError: if there are examples of this kind, but not so many.
    """
    rows = compared.rows(state.which)
    if not len(rows):
        return None
    if not 0 <= state.place < len(rows):
        raise ValueError(f"{compared.name} has {len(rows)} examples that are {state.which}, got place {state.place}")
    return int(rows[state.place])


def describe(compared: Comparison, state: Browsing) -> str:
    """What the picture shows, in words."""
    row, n = find(compared, state), len(compared.rows(state.which))
    counts = outcomes(compared.before, compared.after, compared.batch.label)
    of = f"Of {len(compared.batch)} test examples " + ", ".join(
        f"{int(chosen.sum())} {'right twice' if name == 'kept' else name}" for name, chosen in counts.items()
    )
    if row is None:
        return f"{of}. There is none that is {state.which}."
    truth = int(compared.batch.label[row])
    maps = _maps(compared, row)
    moved = float((maps[1] - maps[0]).abs().sum()) / 2
    looks = [quoted(_region(compared, row, int(one.argmax()))) for one in maps]
    answers = [compared.task.class_names[int(one[row].argmax())] for one in (compared.before, compared.after)]
    sure = [float(one[row, truth]) for one in (compared.before, compared.after)]
    kind = f"all {n}" if state.which == "all" else f"the {n} that are {state.which}"
    return (
        f"{of}. Number {state.place + 1} of {kind}: "
        f"{says(compared.task, compared.batch, row)} Answer: {answers[0]}, then {answers[1]}; probability of the "
        f"truth {sure[0]:.2f}, then {sure[1]:.2f}. Looks most at {looks[0]}, then {looks[1]}; share of attention "
        f"that moved: {moved:.2f}."
    )


def draw(compared: Comparison, state: Browsing) -> bytes:
    """Attention and answer before and after, one above or beside the other: a PNG file."""
    row = find(compared, state)
    if row is None:
        canvas = Canvas(WIDTH, 60)
        canvas.text(10, 30, f"There is no example that is {state.which}.", colour=FAINT)
        return canvas.png()
    return (_text if compared.batch.image is None else _image)(compared, row)


def _maps(compared: Comparison, row: int) -> Tensor:
    """(2, R): the maps before and after, over the regions that the example has."""
    n = int(compared.task.regions.count(compared.batch.select([row])))
    return torch.stack([compared.map_before[row, :n], compared.map_after[row, :n]])


def _region(compared: Comparison, row: int, place: int) -> str:
    words = words_of(compared.task, compared.batch, row)
    return words[place] if compared.batch.image is None else cell_name(place, compared.task.regions.grid)


def _caption(compared: Comparison, row: int, when: str) -> str:
    probability = (compared.before if when == "before" else compared.after)[row]
    answer = int(probability.argmax())
    right = "right" if answer == int(compared.batch.label[row]) else "wrong"
    return f"{when}: {compared.task.class_names[answer]} ({float(probability[answer]):.2f}), {right}"


def _text(compared: Comparison, row: int) -> bytes:
    words, maps = words_of(compared.task, compared.batch, row), _maps(compared, row)
    lines = drawing.lines_of(Canvas(1, 1), words, WIDTH - 20)
    tall = len(lines) * drawing.LINE_HEIGHT + 32
    canvas = Canvas(WIDTH, 2 * tall + 52)
    top = float(maps.max())
    canvas.text(10, 14, f"truth: {compared.task.class_names[int(compared.batch.label[row])]}", bold=True)
    for k, when in enumerate(("before", "after")):
        canvas.text(10, 40 + k * tall, _caption(compared, row, when), 12, bold=k == 1)
        drawing.sentence(canvas, 10, 50 + k * tall, lines, maps[k].double().numpy(), top)
    drawing.scale_bar(canvas, 10, 2 * tall + 38, 250, top, "Blues")
    return canvas.png()


def _image(compared: Comparison, row: int) -> bytes:
    side, grid, maps = 232, compared.task.regions.grid, _maps(compared, row)
    canvas = Canvas(WIDTH, side + 86)
    picture, top = drawing.picture_of(compared.batch.image[row]), float(maps.max())
    question = " ".join(words_of(compared.task, compared.batch, row))
    truth = compared.task.class_names[int(compared.batch.label[row])]
    canvas.text(10, 14, f"“{question}?”  truth: {truth}" if question else f"truth: {truth}", bold=True)
    shown = [("input", picture)]
    for k, when in enumerate(("before", "after")):
        shown.append((_caption(compared, row, when), drawing.with_map(picture, maps[k].numpy(), grid, top)))
    for k, (caption, one) in enumerate(shown):
        x = 10 + k * (side + 16)
        canvas.text(x, 40, caption, 12, bold=k == 2)
        canvas.paste(x, 52, one, side)
        if compared.batch.boxes is not None:
            drawing.boxes(canvas, x, 52, side, compared.batch.boxes[row], picture.shape[1])
    drawing.scale_bar(canvas, 10 + side + 16, side + 70, 2 * side, top, "viridis")
    return canvas.png()
