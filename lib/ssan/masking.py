"""The search's masks as augmentation: every training input shows one of its variants, drawn anew each time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.data.pixels import ImageSplit, as_float
from ssan.data.task import Task
from ssan.models.attention import evaluating
from ssan.regions import ImageGrid, Regions
from ssan.samplers import HideWindows, KeepWindows, Pairs, Sampler, Singles

if TYPE_CHECKING:
    from ssan.models.grid_question import GridQuestionModel

# Samplers whose masks are the same for every input of one size.
SHARED = (HideWindows, KeepWindows, Pairs, Singles)
# Features of variants beyond this are not kept in memory.
MOST_BYTES = 2**30


@dataclass(frozen=True)
class HideAtRandom:
    """Every example as one of its variants, the clean one among them, all equally likely. A `Task.augment`.

    Args:
        sampler: makes the masks.
        regions: applies them.
    """

    sampler: Sampler
    regions: Regions

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        index = draw(self.sampler, self.regions, batch, generator)
        rows = torch.arange(len(batch), device=batch.device)
        return self.regions.variants(batch, batch, rows, index, self.sampler)[0]


def draw(sampler: Sampler, regions: Regions, batch: Batch, generator: torch.Generator) -> Tensor:
    """(B,) int64: a variant of every example."""
    n = sampler.count(regions.count(batch)).cpu()
    return (torch.rand(len(batch), generator=generator) * n).long().clamp(max=n - 1).to(batch.device)


@dataclass(frozen=True)
class HideFeaturesAtRandom:
    """The same draws for models with a frozen CNN, which then need not see the masked images: it saw them all before.

    Args:
        features: (V, M, R, D), what the CNN makes of each variant of each image.
        ids: (N,) int64, ascending: the training examples.
        image_of: (N,) int64, which image each of them looks at.
    """

    features: Tensor
    ids: Tensor
    image_of: Tensor

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        n = len(self.features)
        index = (torch.rand(len(batch), generator=generator) * n).long().clamp(max=n - 1)
        image = self.image_of[torch.searchsorted(self.ids, batch.ids.cpu())]
        return batch.replace(features=self.features[index, image].to(batch.device))


class Masking:
    """`task` with masked inputs in training.

    Where a model has a frozen CNN and memory allows it, what the CNN makes of all variants is computed once, and handed
    to every further model with the same CNN.

    Args:
        task: whose training inputs are masked.
        sampler: makes the masks.
    """

    def __init__(self, task: Task, sampler: Sampler) -> None:
        self.task, self.sampler = task, sampler
        self._seen_by: list[Tensor] = []
        self._seen: Task | None = None

    def of(self, model: nn.Module) -> Task:
        """The task for training `model`; the same draws whichever way."""
        if not (hasattr(model, "look") and self._fits(model)):
            return dataclasses.replace(self.task, augment=HideAtRandom(self.sampler, self.task.regions))
        cnn = list(model.cnn.state_dict().values())
        if self._seen is None or not all(torch.equal(a, b) for a, b in zip(cnn, self._seen_by, strict=True)):
            self._seen_by, self._seen = [value.clone() for value in cnn], self._look_at_all(model)
        return self._seen

    def _fits(self, model: GridQuestionModel) -> bool:
        split, regions = self.task.train, self.task.regions
        if not isinstance(split, ImageSplit) or type(regions) is not ImageGrid or type(self.sampler) not in SHARED:
            return False
        cells = regions.grid[0] * regions.grid[1]
        numbers = self.sampler.count(cells) * len(split.images) * cells * model.feature_dim
        return numbers * model.centres.element_size() <= MOST_BYTES

    def _look_at_all(self, model: GridQuestionModel) -> Task:
        split, regions = self.task.train, self.task.regions
        cells = regions.grid[0] * regions.grid[1]
        masks = self.sampler.masks(cells, torch.arange(self.sampler.count(cells)), 0)
        features = torch.empty(len(masks), len(split.images), cells, model.feature_dim)
        with torch.no_grad(), evaluating([model]):
            for start in range(0, len(split.images), 64):
                image = as_float(split.images[start : start + 64], split.mean, split.std).to(model.centres.device)
                some = Batch(torch.arange(len(image)), torch.zeros(len(image), dtype=torch.long), image=image)
                for v, mask in enumerate(masks):
                    hidden = regions.hide(some, mask.to(image.device).expand(len(image), -1))
                    features[v, start : start + 64] = model.look(hidden.image).cpu()
        order = split.ids.argsort()
        hide = HideFeaturesAtRandom(features, split.ids[order], split.image_of[order])
        return dataclasses.replace(self.task, train=model.prepared(split), augment=hide)
