"""How the weight of an attention loss may change: the fraction of the training done, in [0, 1) -> factor on the weight.

Frozen dataclasses can be compared, hashed and written into the hash of a config; `Supervision` takes any function.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AnnealOut:
    """The full weight at first, then evenly less, until `fraction`, in (0, 1], is done: shown the way, then left."""

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is the part of the training that it takes, in (0, 1], got {self.fraction}")

    def __call__(self, progress: float) -> float:
        return 1.0 - min(1.0, progress / self.fraction)
