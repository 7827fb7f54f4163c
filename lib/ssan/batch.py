"""What a model is given: one batch of examples of any of the three tasks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Examples of one task, in memory; also serves as a whole split of a small data set.

    Text uses `tokens` and `lengths`; image classification uses `image`; visual question answering uses all three.
    Rows are examples. Padding of `tokens` is on the right; which id pads is the vocabulary's business, `lengths` says
    what is real.

    Attributes:
        ids: (B,) int64. Names of the examples: stable across epochs, processes and subsets; what seeds their masks.
        label: (B,) int64, the ground-truth class in [0, C).
        tokens: (B, T) int64 word ids, or None.
        lengths: (B,) int64, number of real tokens, 1 <= length <= T, or None.
        image: (B, channels, H, W) float, or None.
        features: (B, R, D), what a frozen network makes of the images, computed beforehand, in their place; or None.
        boxes: (B, K, 4) float, ground-truth boxes (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; unused slots are
            all zero. None where the data has none.
        kind: (B,) int64, a code for the kind of example (for questions: the question type), or None.

    Raises:
        ValueError: if the fields do not describe the same number of examples, or a length is not in [1, T].
    """

    ids: Tensor
    label: Tensor
    tokens: Tensor | None = None
    lengths: Tensor | None = None
    image: Tensor | None = None
    boxes: Tensor | None = None
    kind: Tensor | None = None
    features: Tensor | None = None

    def __post_init__(self) -> None:
        n = self.ids.shape[0]
        for name, value in self._tensors().items():
            if value.shape[:1] != (n,):
                raise ValueError(f"Batch.{name} has shape {tuple(value.shape)}, but ids names {n} examples")
        if (self.tokens is None) != (self.lengths is None):
            raise ValueError("Batch needs tokens and lengths together: got only one of them")
        if self.tokens is not None and n:
            low, high = int(self.lengths.min()), int(self.lengths.max())
            if low < 1 or high > self.tokens.shape[1]:
                bad = self.ids[(self.lengths < 1) | (self.lengths > self.tokens.shape[1])][:5].tolist()
                raise ValueError(
                    f"Batch.lengths must be in [1, {self.tokens.shape[1]}], got {low} to {high} (example ids {bad}); "
                    "an empty sentence has no region to attend to: drop it or give it an unknown token"
                )

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @property
    def shows(self) -> bool:
        """Whether there is something to see: images, or what a network made of them."""
        return self.image is not None or self.features is not None

    def _tensors(self) -> dict[str, Tensor]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if value is not None}

    def to(self, device: torch.device | str) -> Batch:
        """The same examples on `device`."""
        return Batch(**{name: value.to(device) for name, value in self._tensors().items()})

    def select(self, rows: Tensor | slice | list[int]) -> Batch:
        """The examples at `rows` (indices, a slice or a bool mask), their tokens cut to the longest that is left."""
        if isinstance(rows, list):
            rows = torch.tensor(rows, dtype=torch.long, device=self.device)
        picked = {name: value[rows] for name, value in self._tensors().items()}
        if self.tokens is not None and picked["lengths"].numel():
            picked["tokens"] = picked["tokens"][:, : int(picked["lengths"].max())]
        return Batch(**picked)

    def replace(self, **changes: Tensor | None) -> Batch:
        """A copy with some fields changed; features of other images than the new ones are left out."""
        if "image" in changes:
            changes.setdefault("features", None)
        return dataclasses.replace(self, **changes)
