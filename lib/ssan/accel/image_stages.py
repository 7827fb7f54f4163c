"""Exact search with masks on images: what variants, questions and teachers have in common is computed once.

For models that say what their `ImageStages` are. Three things are shared. Layers that look at few cells are run on a
few patterns instead of on every variant (`ssan.accel.patterns`), where masks keep or hide whole cells. Questions about
the same image share these patterns. Teachers that see through the same layers (a frozen CNN, of which each has a copy)
have them run once.

What is left to run on every variant is run in a faster form (`ssan.accel.folding`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssan.accel.folding import folded
from ssan.accel.painting import enlarge, paint
from ssan.accel.patterns import Patterns
from ssan.accel.reach import leaves
from ssan.regions import Encoded, ImageGrid, Regions
from ssan.scorer import Scorer
from ssan.selectors import Chunk

# Places of the maps of one chunk of variants: enough to keep `attend` busy.
CHUNK_PLACES = 2**15


@dataclass
class StageScorer(Scorer):
    """Scores variants of images stage by stage. Its arguments are those of `Scorer`; see `accepts`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._stages = [teacher.image_stages() for teacher in self.teachers]
        self._contexts = [stages.context(self.batch) for stages in self._stages]
        distinct, self._layers_of = distinct_layers([stages.layers for stages in self._stages])
        self._layers = [nn.Sequential(*folded(leaves(layers))) for layers in distinct]
        self._patterns = [self._patterns_for(layers) for layers in self._layers]
        self._tables: list[dict[int, Tensor]] = [{} for _ in self._layers]
        images = self.batch.image
        shared = firsts(images) if any(self._patterns) else range(len(images))
        self._image_of = torch.tensor(shared, device=images.device)

    @staticmethod
    def accepts(teachers: list[nn.Module], regions: Regions) -> bool:
        """Whether masks are laid on images, and all teachers say what their stages are."""
        if type(regions) is not ImageGrid:
            return False
        return all(hasattr(teacher, "image_stages") and teacher.image_stages() for teacher in teachers)

    def __call__(self, rows: Tensor, indices: Tensor) -> Chunk:
        """Run variants `indices` (N,) of the examples `rows` (N,)."""
        if all(self._patterns):
            n = self.regions.count(self.batch)[rows]
            kept = self.sampler.masks(
                n, indices, self.batch.ids[rows], width=self.regions.grid[0] * self.regions.grid[1]
            )
        else:
            variant, kept = self.regions.variants(self.batch, self.batch, rows, indices, self.sampler)
        maps = [
            layers(variant.image) if patterns is None else patterns.rest(self._gathered(number, rows, kept))
            for number, (layers, patterns) in enumerate(zip(self._layers, self._patterns, strict=True))
        ]
        outputs = []
        for teacher, stages, number, context in zip(
            self.teachers, self._stages, self._layers_of, self._contexts, strict=True
        ):
            context = None if context is None else context[rows]
            outputs.append(teacher.attend(Encoded(stages.features(maps[number]), context)))
        score, attention = self._mean(outputs, self.batch.label[rows])
        return self.chunk(rows, indices, kept, score, lambda positions: attention[positions])

    def order(self) -> Tensor:
        """Examples of one image together."""
        return torch.argsort(self._image_of, stable=True)

    def chunk_size(self) -> int:
        """How many variants make a chunk when nobody says."""
        if not all(self._patterns):
            return self.forward_size()
        return max(1, CHUNK_PLACES // max(patterns.size[0] * patterns.size[1] for patterns in self._patterns))

    def _patterns_for(self, layers: nn.Sequential) -> Patterns | None:
        """How `layers` are shared between variants, or None where masks shade or variants are too few to pay for it."""
        if hasattr(self.sampler, "pixel_masks"):
            return None
        patterns = Patterns.of(list(layers), self.batch.image, self.regions.grid, self.sampler.most_hidden)
        fewest = int(self.sampler.count(self.regions.count(self.batch)).min()) - 1
        return patterns if patterns is not None and fewest >= 2 * len(patterns.masks) else None

    def _gathered(self, number: int, rows: Tensor, kept: Tensor) -> Tensor:
        """(N, D, h, w): the maps of variants in front of the layers that are run on each."""
        patterns = self._patterns[number]
        images, counts = torch.unique_consecutive(self._image_of[rows], return_counts=True)
        tables = self._tables_of(number, images.tolist())
        numbers = patterns.numbers(kept).split(counts.tolist())
        maps = [patterns.maps(table, own) for table, own in zip(tables, numbers, strict=True)]
        maps = maps[0] if len(maps) == 1 else torch.cat(maps)
        return maps.unflatten(1, patterns.size).permute(0, 3, 1, 2)

    def _tables_of(self, number: int, images: list[int]) -> list[Tensor]:
        """The tables of `images`; those of the chunk before are kept, since an example may go on in the next."""
        held, patterns = self._tables[number], self._patterns[number]
        missing = [image for image in dict.fromkeys(images) if image not in held]
        if missing:
            own = self.batch.image[torch.tensor(missing, device=self.batch.device)]
            fill, n_patterns = self.regions.filling(own), len(patterns.masks)

            def piece(start: int, stop: int) -> Tensor:
                flat = torch.arange(start, stop, device=own.device)
                pixels = enlarge(patterns.masks[flat % n_patterns], self.regions.grid, tuple(own.shape[-2:]))
                return patterns.first(paint(own, fill, flat // n_patterns, pixels))

            maps = torch.cat(list(self.halving.pieces(piece, len(missing) * n_patterns, self.forward_size())))
            held = held | dict(zip(missing, patterns.table(maps), strict=True))
        self._tables[number] = {image: held[image] for image in images}
        return [held[image] for image in images]


def distinct_layers(layers: list[nn.Module]) -> tuple[list[nn.Module], list[int]]:
    """The layers that differ, and for each of `layers` the number of the one among these that it is equal to."""
    found: list[nn.Module] = []
    numbers = []
    for own in layers:
        number = next((i for i, other in enumerate(found) if same_layers(own, other)), len(found))
        if number == len(found):
            found.append(own)
        numbers.append(number)
    return found, numbers


def same_layers(one: nn.Module, other: nn.Module) -> bool:
    """Whether two stacks of layers are built alike and have the same weights, to the last bit."""
    if one is other:
        return True
    first, second = one.state_dict(), other.state_dict()
    if repr(one) != repr(other) or first.keys() != second.keys():
        return False
    return all(torch.equal(value, second[name]) for name, value in first.items())


def firsts(images: Tensor) -> list[int]:
    """For each of `images` (B, channels, H, W) the number of the first one that is equal to it."""
    found: list[int] = []
    of_sum: dict[float, list[int]] = {}
    for number, total in enumerate(images.flatten(1).sum(1).tolist()):
        alike = of_sum.setdefault(total, [])
        first = next((other for other in alike if torch.equal(images[other], images[number])), number)
        if first == number:
            alike.append(number)
        found.append(first)
    return found
