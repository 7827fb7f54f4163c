"""What the widgets look at: a task, a model trained on it, and the examples one may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.data.task import Task
from ssan.regions import FeatureGrid, ImageGrid, Regions, TokenRegions


@dataclass(frozen=True)
class Subject:
    """A task with a trained model.

    Attributes:
        name: what menus call it.
        task: where words, class names and the grid are read off.
        model: returns `Output`; on the device of `examples`.
        examples: those one may choose from.

    Raises:
        ValueError: if there are no examples.
    """

    name: str
    task: Task
    model: nn.Module
    examples: Batch

    def __post_init__(self) -> None:
        if not len(self.examples):
            raise ValueError(f"the subject {self.name!r} has no examples to look at")

    @classmethod
    def of(cls, name: str, task: Task, model: nn.Module, n: int = 100, lengths: tuple[int, int] = (4, 24)) -> Subject:
        """The first `n` training examples; of text `n` by lot, as files have an order, with `lengths` words each."""
        rows = torch.arange(len(task.train))
        if task.train.select(rows[:1]).image is None:
            n_words = task.train.select(rows).lengths
            rows = rows[(n_words >= lengths[0]) & (n_words <= lengths[1])]
            rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
        return cls(name, task, model, task.train.select(rows[:n]))

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the regions of images; None where words are the regions."""
        return getattr(self.task.regions, "grid", None)

    @property
    def hidings(self) -> dict[str, Regions]:
        """Name -> what may be hidden and what then stands in its place; the task's own way first."""
        if self.grid is None:
            own = self.task.regions
            # Words are in order from frequent to rare, behind `<unk>` and `<pad>`.
            frequent = 3 if own.hidden_id == 2 else 2
            return {self.task.words[k]: TokenRegions(k) for k in (own.hidden_id, frequent)}
        found = {self.task.regions.fill: self.task.regions}
        found |= {fill: ImageGrid(self.grid, fill) for fill in ("zero", "mean", "blur") if fill not in found}
        if hasattr(self.model, "encode") and hasattr(self.model, "attend"):
            found |= {f"{fill} features": FeatureGrid(self.grid, fill) for fill in ("zero", "mean")}
        return found

    def hiding(self, name: str | None) -> Regions:
        """The one of `hidings` called `name`; None for the task's own.

        Raises:
            ValueError: if there is none of that name.
        """
        hidings = self.hidings
        if name is None:
            return next(iter(hidings.values()))
        if name not in hidings:
            raise ValueError(f"unknown fill {name!r} for {self.name}: expected one of {', '.join(hidings)}")
        return hidings[name]

    def example(self, place: int) -> Batch:
        """The example at `place` as a batch of one.

        Raises:
            ValueError: if there is none.
        """
        if not 0 <= place < len(self.examples):
            raise ValueError(f"{self.name} has examples 0 to {len(self.examples) - 1}, got {place}")
        return self.examples.select([place])

    def words(self, example: Batch) -> list[str]:
        """The words of an example (a batch of one): of the sentence, or of the question; none without text."""
        return words_of(self.task, example, 0)

    def says(self, example: Batch) -> str:
        """What the example is, in words: its number, its question if it has one, its true class."""
        return says(self.task, example, 0)

    def region_names(self, example: Batch) -> list[str]:
        """What to call the regions of an example: its words, or the rows and columns of its cells, from 1."""
        if self.grid is None:
            return self.words(example)
        return [cell_name(place, self.grid) for place in range(self.grid[0] * self.grid[1])]


def by_name(subjects: Sequence[Subject]) -> dict[str, Subject]:
    """Name -> subject, in their order.

    Raises:
        ValueError: if there are none, or two of the same name.
    """
    found = {subject.name: subject for subject in subjects}
    if not found or len(found) < len(subjects):
        raise ValueError(f"expected subjects of different names, got {[subject.name for subject in subjects]}")
    return found


def words_of(task: Task, batch: Batch, row: int) -> list[str]:
    """The words of the example at `row`; none where there is no text."""
    if batch.tokens is None:
        return []
    return [task.words[i] for i in batch.tokens[row, : int(batch.lengths[row])].tolist()]


def says(task: Task, batch: Batch, row: int) -> str:
    """What the example at `row` is, in words: its number, its question if it has one, its true class."""
    truth = task.class_names[int(batch.label[row])]
    if batch.image is None:
        return f"Sentence {int(batch.ids[row])}; true class: {truth}."
    if batch.tokens is None:
        return f"Image {int(batch.ids[row])}; true class: {truth}."
    return f"Question {int(batch.ids[row])}: “{' '.join(words_of(task, batch, row))}?”; true answer: {truth}."


def cell_name(place: int, grid: tuple[int, int]) -> str:
    """Row and column of a cell, counted from 1."""
    return f"row {place // grid[1] + 1}, column {place % grid[1] + 1}"


def quoted(region_name: str) -> str:
    """A region's name as it stands in a sentence: words in quotation marks, cells as they are."""
    return region_name if region_name.startswith("row ") else f"“{region_name}”"


def signed(change: float) -> str:
    """A change with its sign and two digits; what rounds to nothing has a plus."""
    return f"{round(change, 2) + 0.0:+.2f}"


def shown_image(image: Tensor) -> Tensor:
    """(C, H, W) in [0, 1] of an image (C, H, W) as models see it: one that leaves [0, 1] is stretched to fit."""
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        return image
    return (image - low) / max(high - low, 1e-9)
