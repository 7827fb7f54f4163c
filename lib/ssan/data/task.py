"""The one shape in which every data set reaches the rest of the library."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ssan.batch import Batch
from ssan.regions import Regions


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
        """The same task with `n_train` training examples drawn at random; subsets of one seed are nested.

        Raises:
            ValueError: if `n_train` is not in [1, number of training examples].
        """
        if not 1 <= n_train <= len(self.train):
            raise ValueError(f"n_train must be in [1, {len(self.train)}], got {n_train}")
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        return self.training_on(order[:n_train].sort().values)

    def training_on(self, rows: Tensor) -> Task:
        """The same task with the training examples at `rows` (indices) alone."""
        of = self.train
        return dataclasses.replace(self, train=of.part(rows) if hasattr(of, "part") else of.select(rows))

    def fingerprint(self) -> str:
        """Short hash of the examples of all splits: changes whenever ids, order or labels do."""
        digest = hashlib.sha256(self.name.encode())
        for split in (self.train, self.valid, self.test):
            digest.update(split.ids.cpu().numpy().tobytes())
            digest.update(split.label.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]
