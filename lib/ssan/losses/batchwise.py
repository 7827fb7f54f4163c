"""Losses that compare the attention maps of a batch with its targets as a whole.

The sister paper (arXiv 1911.08618) compares with them. Their value is the same however the targets are dealt out within
the batch, so they cannot say that an example should look at its own target. Each returns it once for every example.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.losses.base import masked


def coral(attention: Tensor, target: Tensor, exists: Tensor | None = None) -> Tensor:
    """Squared distance of the covariances over the batch: `||C_a - C_t||^2 / (4 R^2)`, R regions that any example has.

    C is the (R, R) covariance of the maps of the batch, with B - 1 in the denominator; a batch of one has none, and no
    loss.

    Range [0, 1 / (2 R^2)], since the trace of a covariance of maps is at most 1. 0 where the covariances are equal:
    for equal maps, for dealt-out ones, and for any two constant maps. Source: Sun and Saenko 2016 (Deep CORAL).

    Returns:
        (B,), the same value B times.
    """
    attention, target = masked(exists, attention, target)
    n = max(1, attention.shape[-1]) if exists is None else exists.any(0).sum().clamp(min=1)
    gap = _covariance(attention) - _covariance(target)
    return (gap.square().sum() / (4 * n**2)).expand(len(attention))


def mmd_batch(attention: Tensor, target: Tensor, exists: Tensor | None = None, dim: int = 200) -> Tensor:
    """The released kernel distance as it stands, on a whole batch: `mean kxx + mean kyy - 2 mean kxy`.

    x are the attention maps, y the targets, means go over all pairs, and k(x, y) = exp(-||x - y||^2 / dim^2). For maps
    it is very nearly `2 ||mean x - mean y||^2 / dim^2`: what it sees is the mean map of the batch. For a batch of one
    it is `mmd_released`.

    Range [0, 2 - 2 exp(-2 / dim^2)]; 0 where every map of the one side occurs as often on the other, whoever it
    belongs to. Source: the released text code, whose batches hold one example; Gretton et al. 2012.

    Returns:
        (B,), the same value B times.
    """
    attention, target = masked(exists, attention, target)

    def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
        """Less 1, which the three terms add up to 0 times; so its digits do not cost those of the rest."""
        return torch.expm1(-(x[:, None] - y[None]).square().sum(-1) / dim**2).mean()

    value = mean_kernel(attention, attention) + mean_kernel(target, target) - 2 * mean_kernel(attention, target)
    return value.expand(len(attention))


def _covariance(maps: Tensor) -> Tensor:
    centred = maps - maps.mean(0)
    return centred.T @ centred / max(1, len(maps) - 1)
