"""Do two maps order the regions alike?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssan.metrics.checks import check_exists, check_finite, check_same_shape, precise

HAT_SIDE, HAT_POOL = 448, 32


def rank_correlation(a: Tensor, b: Tensor, exists: Tensor | None = None) -> Tensor:
    """Spearman's rank correlation of two maps, over the regions that exist.

    Pearson's correlation of the ranks, equal values sharing the mean of their ranks. Range [-1, 1], higher is more
    alike, 0 on average for unrelated maps. Blind to how much weight anything has: any increasing function of either
    map gives the same value. Sensitive to the order among near-zero weights, which a map of many small values has by
    accident, and for few regions it jumps in large steps. Source: Spearman 1904; equals `scipy.stats.spearmanr`.

    A constant map has no order, so the value is NaN, as for fewer than two regions: average with `nanmean` and say how
    many were left out.

    Args:
        a, b: (B, R), finite where `exists`; may be negative.
        exists: (B, R) bool, which regions count; by default all. What the maps hold elsewhere is never read.

    Returns:
        (B,) float64.

    Raises:
        ValueError: on shapes that do not match, or NaN or infinity on an existing region.
    """
    check_same_shape(a=a, b=b)
    exists = check_exists(exists, a)
    ranks_a, ranks_b = _centred_ranks("a", a, exists), _centred_ranks("b", b, exists)
    norm = ranks_a.square().sum(-1).sqrt() * ranks_b.square().sum(-1).sqrt()
    correlation = (ranks_a * ranks_b).sum(-1) / norm
    return torch.where(norm > 0, correlation.clamp(-1, 1), torch.nan)


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


def vqa_hat_correlation(model_map: Tensor, human_maps: Tensor) -> Tensor:
    """Rank correlation of attention with human attention maps, by the recipe in use for VQA-HAT.

    Every map is resized to 448x448 (bilinear), average-pooled by 32 to 14x14, flattened and normalised to sum 1; then
    Spearman's correlation of the model's map with each human map. The figure to report is the mean over all pairs of a
    model map with one of its human maps: `vqa_hat_correlation(...).nanmean()`. Constant maps are dropped: their pairs
    are NaN, which also serves for missing human maps (fill their slots with zeros). Range [-1, 1], higher is better.
    Sensitive to the resizing, to the grid of the model and to the number of human maps per question; published values
    of one and the same architecture differ widely between implementations. Sources: Das et al. 2016 (the maps and the
    measure); the steps from the thesis behind github.com/goncalomcorreia/vqa_human_attention; the filter of the
    resizing is our choice.

    Args:
        model_map: (B, 196) of a 14x14 grid, or (B, h, w) of any grid; non-negative.
        human_maps: (B, K, H, W), non-negative, of any one size.

    Returns:
        (B, K) float64.

    Raises:
        ValueError: on other shapes, NaN or negative values.
    """
    if model_map.dim() == 2 and model_map.shape[1] == (HAT_SIDE // HAT_POOL) ** 2:
        model_map = model_map.unflatten(1, (HAT_SIDE // HAT_POOL, HAT_SIDE // HAT_POOL))
    if model_map.dim() != 3 or human_maps.dim() != 4 or len(model_map) != len(human_maps):
        raise ValueError(
            f"expected model_map (B, 196) or (B, h, w) and human_maps (B, K, H, W), "
            f"got {tuple(model_map.shape)} and {tuple(human_maps.shape)}"
        )
    check_finite(model_map=model_map, human_maps=human_maps)
    for name, value in (("model_map", model_map), ("human_maps", human_maps)):
        if bool((value < 0).any()):
            raise ValueError(f"{name} must be non-negative, its smallest value is {float(value.min()):.4g}")
    n, k = human_maps.shape[:2]
    ours = _hat_grid(model_map).repeat_interleave(k, 0)
    return rank_correlation(ours, _hat_grid(human_maps.flatten(0, 1))).view(n, k)


def _hat_grid(maps: Tensor) -> Tensor:
    """(N, H, W) -> (N, 196), summing to 1 (or all zero)."""
    maps = precise(maps)
    if maps.shape[1:] != (HAT_SIDE // HAT_POOL, HAT_SIDE // HAT_POOL):
        size = (HAT_SIDE, HAT_SIDE)
        if maps.shape[1:] != size:
            maps = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False, antialias=True)[:, 0]
        maps = F.avg_pool2d(maps[:, None], HAT_POOL)[:, 0]
        # Interpolating a flat area leaves rounding errors, which would break ties that are there: take them out.
        unit = maps.amax((1, 2), keepdim=True).clamp(min=1e-300) * 1e-12
        maps = (maps / unit).round() * unit
    pooled = maps.flatten(1)
    return pooled / pooled.sum(-1, keepdim=True).clamp(min=1e-300)
