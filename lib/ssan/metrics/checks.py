"""What all metrics ask of the maps they are given."""

from __future__ import annotations

import torch
from torch import Tensor


def precise(values: Tensor) -> Tensor:
    """`values` in float64, or in float32 on devices that have no float64 (Apple's MPS)."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def check_same_shape(**maps: Tensor) -> None:
    """A ValueError with names and shapes unless all maps are (B, R) for the same B and R."""
    shapes = {name: tuple(value.shape) for name, value in maps.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"expected maps of one shape (B, R), got {given}; several hops become one map by "
            "ssan.attention.reduce_hops, two-dimensional maps by flatten(1)"
        )


def check_finite(**values: Tensor) -> None:
    """A ValueError with the name and the first example unless there is no NaN and no infinity."""
    for name, value in values.items():
        bad = ~torch.isfinite(value)
        if bool(bad.any()):
            raise ValueError(f"{name} holds NaN or infinity, first in example {int(bad.nonzero()[0, 0])}")


def check_weights(**maps: Tensor) -> None:
    """Maps (B, R) that are finite and non-negative and not zero everywhere.

    A ValueError naming the map, the first example that breaks this, and what was found.
    """
    check_same_shape(**maps)
    check_finite(**maps)
    for name, value in maps.items():
        negative = (value < 0).any(-1)
        if bool(negative.any()):
            row = int(negative.nonzero()[0, 0])
            raise ValueError(f"{name} must be non-negative, its smallest value in example {row} is {value[row].min()}")
        empty = ~(value > 0).any(-1)
        if bool(empty.any()):
            raise ValueError(
                f"{name} has no weight on any region in example {int(empty.nonzero()[0, 0])}; "
                "ssan.attention.as_distribution makes such a map uniform"
            )


def check_exists(exists: Tensor | None, like: Tensor) -> Tensor:
    """`exists` as bool (B, R); all True if it is None.

    A ValueError if it is not bool, or of another shape than `like`.
    """
    if exists is None:
        return torch.ones_like(like, dtype=torch.bool)
    if exists.dtype != torch.bool or exists.shape != like.shape:
        raise ValueError(f"exists must be bool {tuple(like.shape)}, got {exists.dtype} {tuple(exists.shape)}")
    return exists
