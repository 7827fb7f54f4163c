"""Do two maps order the regions alike?"""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.metrics.checks import check_exists, check_finite, check_same_shape, precise


def rank_correlation(a: Tensor, b: Tensor, exists: Tensor | None = None) -> Tensor:
    """Spearman's rank correlation of two maps, over the regions that exist.

    Range [-1, 1], higher is more alike, 0 on average for unrelated maps. Blind to how much weight anything has: any
    increasing function of either map gives the same value. Sensitive to the order among near-zero weights, which a map
    of many small values has by accident. A constant map has no order: NaN, as for fewer than two regions. Source:
    Spearman 1904; equals `scipy.stats.spearmanr`.

    Args:
        a, b: (B, R), finite where `exists`; may be negative.
        exists: (B, R) bool, which regions count; by default all. What the maps hold elsewhere is never read.

    Returns:
        (B,) float64.

    A ValueError on shapes that do not match, or NaN or infinity on an existing region.
    """
    check_same_shape(a=a, b=b)
    exists = check_exists(exists, a)
    ranks_a, ranks_b = _centred_ranks("a", a, exists), _centred_ranks("b", b, exists)
    norm = ranks_a.square().sum(-1).sqrt() * ranks_b.square().sum(-1).sqrt()
    correlation = (ranks_a * ranks_b).sum(-1) / norm
    return torch.where(norm > 0, correlation.clamp(-1, 1), torch.nan)


def partial_rank_correlation(a: Tensor, b: Tensor, given: Tensor, exists: Tensor | None = None) -> Tensor:
    """Spearman's correlation of two maps with a third partialled out: what they share beyond what `given` explains.

    `(r_ab - r_ag r_bg) / sqrt((1 - r_ag^2) (1 - r_bg^2))`, each r a `rank_correlation`. Where `given` is the position
    of a word, an order that both maps owe to it counts for nothing. 0 where one map has just the order of `given`, or
    its reverse: nothing of it is left. NaN where a correlation is. Arguments, range and errors as there. Source: Yule
    1907, on ranks.
    """
    ab, ag, bg = (rank_correlation(*pair, exists) for pair in ((a, b), (a, given), (b, given)))
    left = (1 - ag.square()) * (1 - bg.square())
    partial = (ab - ag * bg) / left.clamp(min=1e-12).sqrt()
    return torch.where(left > 1e-9, partial.clamp(-1, 1), 0 * ab)


def _centred_ranks(name: str, values: Tensor, exists: Tensor) -> Tensor:
    values = precise(values).masked_fill(~exists, 0)
    check_finite(**{name: values})
    # Regions that do not exist go last, where they move no other region's rank.
    values = values.masked_fill(~exists, torch.inf)
    ordered = values.sort(-1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    ranks = precise(below + up_to + 1) / 2
    # The mean of n ranks is (n + 1) / 2 however they are tied, so a constant map is centred to exactly 0.
    return (ranks - precise(exists.sum(-1, keepdim=True) + 1) / 2).masked_fill(~exists, 0)
