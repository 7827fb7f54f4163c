"""Squared distances and the angle between an attention map and its target."""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.losses.base import masked


def mse(attention: Tensor, target: Tensor, exists: Tensor | None = None) -> Tensor:
    """Mean squared difference over the regions that exist: `sum((a - t)^2) / R`.

    Range [0, 2 / R]; 0 if and only if the maps are equal. Source: sister paper (arXiv 1911.08618) lists it; formula
    standard.
    """
    attention, target = masked(exists, attention, target)
    n = attention.shape[-1] if exists is None else exists.sum(-1).clamp(min=1)
    return (attention - target).square().sum(-1) / n


def cosine(attention: Tensor, target: Tensor, exists: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """One minus the cosine of the angle between the maps: `1 - a·t / (|a| |t|)`.

    Computed as half the squared distance of the maps brought to length 1, which is the same and does not cancel where
    they are close. Lengths below `eps` count as `eps`.

    Range [0, 1] for maps, 1 where they share no region; 0 if and only if they are equal. Source: standard; our choice.
    """
    a, t = (each / each.norm(dim=-1, keepdim=True).clamp(min=eps) for each in masked(exists, attention, target))
    return (a - t).square().sum(-1) / 2


def mmd_released(attention: Tensor, target: Tensor, exists: Tensor | None = None, dim: int = 200) -> Tensor:
    """The released code's kernel distance, for one example at a time: `2 - 2 exp(-||a - t||^2 / dim^2)`.

    The released formula is the biased MMD estimate with kernel k(x, y) = exp(-mean((x - y)^2) / dim), on maps of
    `dim` = 200 positions and batches of one; kxx and kyy are then 1. To first order it is `2 ||a - t||^2 / dim^2`, so
    the released weight of 10000 makes it half the squared distance, to 2.5e-5 for the most distant maps there are.

    Range [0, 2 - 2 exp(-2 / dim^2)] (1e-4 for 200 positions); 0 if and only if the maps are equal. `expm1` keeps the
    digits that `2 - 2 exp` would cancel.
    """
    attention, target = masked(exists, attention, target)
    return -2 * torch.expm1(-(attention - target).square().sum(-1) / dim**2)
