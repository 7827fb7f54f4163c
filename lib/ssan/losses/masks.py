"""What all attention losses do first: leave out what does not exist."""

from __future__ import annotations

from torch import Tensor


def masked(exists: Tensor | None, *maps: Tensor) -> tuple[Tensor, ...]:
    """The maps (B, R), with 0 where `exists` (B, R) is False; as they are where there is no `exists`.

    Nothing flows back into what is left out.
    """
    return maps if exists is None else tuple(one.masked_fill(~exists, 0) for one in maps)
