"""Targets that are not surrogates: the controls that tell what the surrogates themselves are worth.

A control is trained like the supervised model, but its targets carry no new information. If it does as well, the
gain is regularisation or longer training, and not where the surrogates point.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssan import rng
from ssan.models.attention import as_distribution


def shuffled(target: Tensor, exists: Tensor, seed: int) -> Tensor:
    """Every example gets the target of another one, drawn at random; a single example keeps its own.

    Maps are cut to the regions the receiving example has and normalised again; where nothing is left they are uniform.

    Args:
        target: (B, R).
        exists: (B, R) bool.
        seed: of the permutation.

    Returns:
        (B, R).
    """
    n = len(target)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(target.device)
    # Walking the random order as one cycle gives everyone somebody else's target.
    source = torch.empty_like(order)
    source[order] = order.roll(1)
    return as_distribution(target[source], exists)


def uniform(exists: Tensor) -> Tensor:
    """(B, R): the same weight on every region that exists."""
    return as_distribution(torch.zeros(exists.shape, device=exists.device), exists)


def inverted(target: Tensor, exists: Tensor) -> Tensor:
    """(B, R): most weight where `target` has least: `max - target`, normalised; uniform where the target is flat."""
    top = target.masked_fill(~exists, 0).amax(-1, keepdim=True)
    return as_distribution((top - target).clamp(min=0), exists)


def product(first: Tensor, second: Tensor, exists: Tensor, eps: float = 1e-4) -> Tensor:
    """(B, R): the normalised product of two maps, each with `eps` added: weight where both have it. Our design."""
    return as_distribution((first + eps) * (second + eps), exists)


def geometric_mean(maps: Sequence[Tensor], exists: Tensor, eps: float = 1e-4) -> Tensor:
    """(B, R): the normalised geometric mean of several maps, each with `eps` added.

    Weight where all have it: one map that rules a region out counts for more than in the plain mean. Of two maps it is
    their `product` at temperature 2, of one the map itself; unlike a product it does not get sharper with their number.
    It is the distribution with the least mean KL(itself || map) (the logarithmic pool of opinions, Genest and Zidek
    1986). Our design.

    Args:
        maps: (B, R) each, at least one.
        exists: (B, R) bool.
        eps: at least 0; with 0, a region where any map has none gets none.

    Raises:
        ValueError: if there is no map.
    """
    if not len(maps):
        raise ValueError("a geometric mean needs at least one map, got none")
    logarithm = torch.stack([(one + eps).log() for one in maps]).mean(0)
    # Lifted to a largest weight of 1 before the exponential, so that small weights do not vanish together.
    top = logarithm.masked_fill(~exists, -torch.inf).amax(-1, keepdim=True)
    return as_distribution((logarithm - top.clamp(min=torch.finfo(top.dtype).min)).exp(), exists)


def random_variant(n_variants: Tensor, ids: Tensor, seed: int) -> Tensor:
    """(B,) int64: for every example a variant drawn uniformly from 0 to `n_variants` - 1, for `ssan.search.replay`."""
    draw = rng.uniform(seed, ids, torch.zeros_like(ids), 1).squeeze(1)
    return (draw.double() * n_variants).long().clamp(max=n_variants - 1)
