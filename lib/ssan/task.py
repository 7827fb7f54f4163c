"""What data looks like: a `Batch` of examples, a `Split` that batches are taken from, a `Task` of three splits."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ssan.regions import Regions


@dataclass(frozen=True)
class Batch:
    """Examples of one task, in memory; also serves as a whole split of a small data set.

    Text uses `tokens`, padded on the right, and `lengths`; image classification `image`; questions on images all three.

    Attributes:
        ids: (B,) int64, names of the examples: stable across epochs, processes and subsets; what seeds their masks.
        label: (B,) int64, the true class in [0, C).
        tokens: (B, T) int64 word ids, or None.
        lengths: (B,) int64, number of real tokens, 1 <= length <= T, or None.
        image: (B, channels, H, W) float, or None.
        boxes, others: (B, K, 4) float, true boxes (x0, y0, x1, y1) in pixels, x1 and y1 exclusive, and those of objects
            that the label does not depend on; unused slots are all zero. None where the data has none.
        kind: (B,) int64, a code for the kind of example (for questions: the question type), or None.
        words: (B, T) int64, the word each token is a piece of, -1 for none; or None, where every token is a word.
        features: (B, R, D), what a frozen network makes of the images, computed beforehand, in their place; or None.

    A ValueError if a field is no tensor of its type and number of examples, or a length is not in [1, T].
    """

    ids: Tensor
    label: Tensor
    tokens: Tensor | None = None
    lengths: Tensor | None = None
    image: Tensor | None = None
    boxes: Tensor | None = None
    kind: Tensor | None = None
    features: Tensor | None = None
    words: Tensor | None = None
    others: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in self._tensors().items():
            if not isinstance(value, Tensor):
                raise ValueError(f"Batch.{name} must be a tensor, got {type(value).__name__}")
            dim = {"tokens": 2, "words": 2, "boxes": 3, "others": 3, "features": 3, "image": 4}.get(name, 1)
            if value.dim() != dim or value.shape[:1] != self.ids.shape[:1]:
                given = f"{tuple(value.shape)}, ids has {tuple(self.ids.shape)}"
                raise ValueError(f"Batch.{name} must have {dim} axes and a row for every id; it has shape {given}")
            floats = name in ("image", "boxes", "others", "features")
            if not value.is_floating_point() if floats else value.dtype != torch.int64:
                raise ValueError(f"Batch.{name} must be {'floating point' if floats else 'int64'}, got {value.dtype}")
        if (self.tokens is None) != (self.lengths is None):
            raise ValueError("Batch needs tokens and lengths together: got only one of them")
        if self.words is not None and (self.tokens is None or self.words.shape != self.tokens.shape):
            raise ValueError(f"Batch.words must have the shape of tokens, got {tuple(self.words.shape)}")
        if self.tokens is not None and len(self):
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
            longest = int(picked["lengths"].max())
            picked |= {name: picked[name][:, :longest] for name in ("tokens", "words") if name in picked}
        return Batch(**picked)

    def replace(self, **changes: Tensor | None) -> Batch:
        """A copy with some fields changed; features of other images than the new ones are left out."""
        if "image" in changes:
            changes.setdefault("features", None)
        return dataclasses.replace(self, **changes)


class Split(Protocol):
    """Examples that can be counted and selected. A `Batch` is a split held in memory; others may read from disk."""

    ids: Tensor
    label: Tensor

    def __len__(self) -> int:
        """How many examples."""

    def select(self, rows: Tensor) -> Batch:
        """The examples at `rows`, in memory."""


@dataclass(frozen=True)
class Task:
    """A data set ready for training, search and evaluation.

    Attributes:
        name: what rows and figures call it.
        train, valid, test: splits with disjoint examples; example ids are unique within a split.
        class_names: one per class; labels index it.
        regions: what masks hide by default.
        words: (V,) word of each token id; empty where there is no text.
        vectors: (V, D) pretrained word vectors, a row per word (zero where unknown), or None.
        augment: `(batch, generator) -> batch`, applied to training batches, or None.

    A ValueError if a label is not a class.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    class_names: tuple[str, ...]
    regions: Regions
    words: tuple[str, ...] = ()
    vectors: Tensor | None = None
    augment: Callable[[Batch, torch.Generator], Batch] | None = None

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test"):
            label = getattr(self, name).label
            if len(label) and (int(label.min()) < 0 or int(label.max()) >= len(self.class_names)):
                raise ValueError(
                    f"{self.name}.{name} has labels from {int(label.min())} to {int(label.max())}, "
                    f"but there are {len(self.class_names)} classes {self.class_names}"
                )

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    def subset(self, n_train: int, seed: int) -> Task:
        """The same task with `n_train` (at most all) random training examples; subsets of one seed are nested."""
        if not 1 <= n_train <= len(self.train):
            raise ValueError(f"n_train must be in [1, {len(self.train)}], got {n_train}")
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        return self.training_on(order[:n_train].sort().values)

    def training_on(self, rows: Tensor) -> Task:
        """The same task with the training examples at `rows` (indices) alone."""
        split = self.train
        return dataclasses.replace(self, train=split.part(rows) if hasattr(split, "part") else split.select(rows))

    def fingerprint(self) -> str:
        """Short hash of the examples of all splits: changes whenever ids, order or labels do."""
        digest = hashlib.sha256(self.name.encode())
        for split in (self.train, self.valid, self.test):
            digest.update(split.ids.cpu().numpy().tobytes())
            digest.update(split.label.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]
