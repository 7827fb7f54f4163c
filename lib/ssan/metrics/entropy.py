"""How spread out a map is."""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.metrics.checks import check_exists, check_weights, precise


def entropy(attention: Tensor, exists: Tensor | None = None, *, normalised: bool = False) -> Tensor:
    """Shannon entropy of the map, in nats: `-Σ_r a_r ln a_r`.

    Range [0, ln n] for n existing regions, ln n for uniform weights; `normalised` divides by ln n, range [0, 1].
    Neither direction is better: it says how sharp a map is, not whether it is right. Source: Shannon 1948.

    Args:
        attention: (B, R), non-negative; divided by its sum over the existing regions.
        exists: (B, R) bool, which regions are there; by default all. Weight elsewhere is left out.
        normalised: divide by ln n. NaN for examples of a single region, which have no choice to make.

    Returns:
        (B,) float64.

    A ValueError on other shapes, NaN, negative weights, or a map without any weight on existing regions.
    """
    check_weights(attention=attention)
    exists = check_exists(exists, attention)
    weights = precise(attention).masked_fill(~exists, 0)
    check_weights(attention=weights)
    nats = torch.special.entr(weights / weights.sum(-1, keepdim=True)).sum(-1)
    if not normalised:
        return nats
    n = exists.sum(-1)
    return torch.where(n > 1, nats / torch.log(n.to(nats.dtype)), torch.nan)
