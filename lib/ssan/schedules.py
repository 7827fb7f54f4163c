"""How the weight of an attention loss changes while a model trains.

A schedule gives the factor on the weight for the fraction of the training that is done, in [0, 1). These are frozen
dataclasses, so that they can be compared, hashed, and written into the hash of a config; `Supervision` takes any other
function of the fraction as well.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """The same weight throughout."""

    def __call__(self, done: float) -> float:  # noqa: ARG002
        """1."""
        return 1.0


@dataclass(frozen=True)
class _Ramp:
    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is the part of the training that it takes, in (0, 1], got {self.fraction}")

    def _climbed(self, done: float) -> float:
        return min(1.0, done / self.fraction)


@dataclass(frozen=True)
class WarmUp(_Ramp):
    """Nothing at first, then evenly more: the full weight once `fraction` of the training is done.

    Args:
        fraction: in (0, 1].
    """

    def __call__(self, done: float) -> float:
        """The factor in [0, 1] when the fraction `done` of the training is done."""
        return self._climbed(done)


@dataclass(frozen=True)
class AnnealOut(_Ramp):
    """The full weight at first, then evenly less: nothing once `fraction` of the training is done.

    Attention is shown the way, then left alone.

    Args:
        fraction: in (0, 1].
    """

    def __call__(self, done: float) -> float:
        """The factor in [0, 1] when the fraction `done` of the training is done."""
        return 1.0 - self._climbed(done)
