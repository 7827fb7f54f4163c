"""What all attention losses do first: leave out what does not exist."""

from __future__ import annotations

import torch
from torch import Tensor


def masked(exists: Tensor | None, *maps: Tensor) -> tuple[Tensor, ...]:
    """The maps (B, R), with 0 and no gradient where `exists` (B, R) is False; half precision is made single.

    In half precision the smallest weights that losses tell from 0 are 0, and their logarithms infinite.

    A ValueError if they do not have one shape (B, R) and type: floating point, bool for `exists`.
    """
    given = {(tuple(each.shape), str(each.dtype)) for each in (*maps, *(() if exists is None else (exists,)))}
    wrong = not all(each.is_floating_point() for each in maps) or (exists is not None and exists.dtype != torch.bool)
    if wrong or len({shape for shape, _ in given}) > 1 or maps[0].dim() != 2:
        raise ValueError(f"maps must be floating point, exists bool, all of one shape (B, R); got {sorted(given)}")
    maps = tuple(each.to(torch.promote_types(each.dtype, torch.float32)) for each in maps)
    return maps if exists is None else tuple(each.masked_fill(~exists, 0) for each in maps)
