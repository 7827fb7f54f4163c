"""What all attention losses do first: leave out what does not exist."""

from __future__ import annotations

import torch
from torch import Tensor


def masked(exists: Tensor | None, *maps: Tensor) -> tuple[Tensor, ...]:
    """The maps (B, R), with 0 and no gradient where `exists` (B, R) is False; half precision is made single.

    In half precision the smallest weights that losses tell from 0 are 0, and their logarithms infinite.
    A ValueError if they do not have one shape (B, R) and type: floating point, bool for `exists`.
    """
    tensors = maps if exists is None else (*maps, exists)
    fits = all(each.is_floating_point() for each in maps) and (exists is None or exists.dtype == torch.bool)
    if not fits or maps[0].dim() != 2 or any(each.shape != maps[0].shape for each in tensors):
        given = ", ".join(f"{each.dtype} {tuple(each.shape)}" for each in tensors)
        raise ValueError(f"maps must be floating point, exists bool, all of one shape (B, R); got {given}")
    maps = tuple(each.to(torch.promote_types(each.dtype, torch.float32)) for each in maps)
    return maps if exists is None else tuple(each.masked_fill(~exists, 0) for each in maps)
