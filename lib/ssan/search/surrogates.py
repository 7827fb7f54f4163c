"""What the search returns and keeps: the surrogate attention map of every training example."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssan.files import load_tensors, save_tensors


@dataclass(frozen=True)
class Surrogates:
    """Targets for attention, one per example.

    Attributes:
        ids: (B,) int64, the examples' ids.
        attention: (B, R), the surrogate maps: non-negative, sum 1, zero on regions that do not exist.
        index: (B,) int64, which variant scored best; 0 is the clean input.
        score: (B,), that variant's score.
        clean_score: (B,), the score of the clean input; `score - clean_score` is the gain.
        clean_attention: (B, R), the map on the clean input.

    A ValueError if a field has another shape, or holds NaN, infinity or a negative weight.
    """

    ids: Tensor
    attention: Tensor
    index: Tensor
    score: Tensor
    clean_score: Tensor
    clean_attention: Tensor

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            n, dim = self.ids.numel(), 2 if name.endswith("attention") else 1
            if value.dim() != dim or len(value) != n:
                expected = f"{dim} axes and {n} rows, as many as ids"
                raise ValueError(f"Surrogates.{name} must have {expected}; got shape {tuple(value.shape)}")
            good = value.isfinite() & ((value >= 0) | (dim == 1))
            if not good.all():
                ids = self.ids[~good.view(n, -1).all(1)][:5].tolist()
                raise ValueError(f"Surrogates.{name} of examples {ids} holds NaN, infinity or a negative weight")

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def gain(self) -> Tensor:
        """(B,): how much better the best variant scores than the clean input; never negative."""
        return self.score - self.clean_score

    def to(self, device: torch.device | str) -> Surrogates:
        """The same on `device`."""
        return Surrogates(**{name: value.to(device) for name, value in vars(self).items()})

    def select(self, rows: Tensor) -> Surrogates:
        """The surrogates at `rows`."""
        return Surrogates(**{name: value[rows] for name, value in vars(self).items()})

    def save(self, path: str | Path, header: dict | None = None) -> None:
        """Write a safetensors file, atomically. `header` (what JSON can hold) is what the maps were made from."""
        save_tensors(path, vars(self), header or {})

    @classmethod
    def load(cls, path: str | Path, header: dict | None = None) -> Surrogates:
        """Read what `save` wrote; a ValueError if it is damaged, or made from something else than `header` says."""
        tensors, metadata = load_tensors(path)
        for key, expected in json.loads(json.dumps(header or {})).items():  # as JSON has it: tuples are lists
            if key not in metadata or metadata[key] != expected:
                made = f"with {key}={metadata[key]!r}" if key in metadata else f"without {key}"
                advice = "use another file name, or delete the file to search again"
                raise ValueError(f"{path} was made {made}, asked for is {expected!r}: {advice}")
        try:
            return cls(**tensors)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no surrogates ({error}): delete it and search again") from error


def concatenate(parts: list[Surrogates]) -> Surrogates:
    """One `Surrogates` from several, maps padded with zeros to the widest."""
    width = max(max(part.attention.shape[1], part.clean_attention.shape[1]) for part in parts)

    def joined(name: str) -> Tensor:
        values = [getattr(part, name) for part in parts]
        if values[0].dim() == 2:
            values = [torch.nn.functional.pad(value, (0, width - value.shape[1])) for value in values]
        return torch.cat(values)

    return Surrogates(**{f.name: joined(f.name) for f in dataclasses.fields(Surrogates)})
