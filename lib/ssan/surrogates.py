"""What the search returns and keeps: the surrogate attention map of every training example."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ssan.checkpoint import write_atomically


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
    """

    ids: Tensor
    attention: Tensor
    index: Tensor
    score: Tensor
    clean_score: Tensor
    clean_attention: Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def gain(self) -> Tensor:
        """(B,): how much better the best variant scores than the clean input; never negative."""
        return self.score - self.clean_score

    def to(self, device: torch.device | str) -> Surrogates:
        """The same on `device`."""
        return Surrogates(**{f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)})

    def select(self, rows: Tensor) -> Surrogates:
        """The surrogates at `rows`."""
        return Surrogates(**{f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self)})

    def save(self, path: str | Path, header: dict | None = None) -> None:
        """Write a safetensors file with a JSON header, atomically: the file is whole or not there.

        Args:
            path: where to; folders are made.
            header: what the maps were made from (hashes, sampler, seed, versions), checked again by `load`. Whatever
                JSON can hold.
        """
        # Cloned, because safetensors refuses fields that share memory: targets may be the clean maps themselves.
        tensors = {
            f.name: getattr(self, f.name).cpu().clone(memory_format=torch.contiguous_format)
            for f in dataclasses.fields(self)
        }
        metadata = {"ssan": json.dumps(header or {}, sort_keys=True)}
        write_atomically(Path(path), safetensors.torch.save(tensors, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path, header: dict | None = None) -> Surrogates:
        """Read what `save` wrote.

        Args:
            path: the file.
            header: if given, every entry must equal the file's: a mismatch is an error, never a silent reuse.

        Raises:
            ValueError: if the file is damaged, or was made from something else than `header` says.
        """
        with _whole(path) as (file, found):
            result = cls(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        for key, expected in json.loads(json.dumps(header or {})).items():  # as JSON has it: tuples are lists
            if key not in found or found[key] != expected:
                made = f"with {key}={found[key]!r}" if key in found else f"without {key}"
                raise ValueError(
                    f"{path} was made {made}, asked for is {expected!r}: "
                    "use another file name, or delete the file to search again"
                )
        return result


def peek(path: str | Path) -> tuple[dict, Tensor]:
    """The header and the ids (B,) of what `save` wrote. The maps are not read, but a file cut short is noticed.

    Raises:
        ValueError: if the file is damaged.
    """
    with _whole(path) as (file, header):
        return header, file.get_tensor("ids")


@contextmanager
def _whole(path: str | Path) -> Iterator[tuple[safe_open, dict]]:
    """The opened file and its header; whatever is wrong with the file is said in the same words."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file, dict(json.loads((file.metadata() or {}).get("ssan", "{}")))
    except (SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a whole surrogate file ({error}): delete it and search again") from error


def concatenate(parts: list[Surrogates]) -> Surrogates:
    """One `Surrogates` from several, maps padded with zeros to the widest."""
    width = max(part.attention.shape[1] for part in parts)

    def joined(name: str) -> Tensor:
        values = [getattr(part, name) for part in parts]
        if values[0].dim() == 2:
            values = [torch.nn.functional.pad(value, (0, width - value.shape[1])) for value in values]
        return torch.cat(values)

    return Surrogates(**{f.name: joined(f.name) for f in dataclasses.fields(Surrogates)})
