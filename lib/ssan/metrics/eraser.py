"""Are the most attended regions needed for the answer, are they enough, and does the first of them count most?"""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.attention import AttentionModel
from ssan.metrics.checks import precise
from ssan.metrics.faithfulness import attention_and_drop
from ssan.metrics.variants import Given, fitting, places, variant_scores
from ssan.regions import Regions
from ssan.task import Batch


def _lost(model, batch, regions, attention, share: float, *, keep_top: bool, **options) -> Tensor:
    """(B,): how far the score falls if the most attended regions are hidden, or all others."""
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    if attention is None:
        _, attention = variant_scores(model, batch, regions, Given(), **options)
    attention = fitting(attention, batch, regions)
    exists = regions.exists(batch)
    # 0.07 of 100 regions are 7, though the product is a little more than that in floating point.
    k = (share * precise(exists.sum(-1)) - 1e-9).ceil().clamp(min=1)
    top = places(attention, exists) < k[:, None]
    batch = batch.replace(ids=torch.arange(len(batch), device=top.device))
    scores, _ = variant_scores(model, batch, regions, Given((top if keep_top else ~top,)), **options)
    return scores[:, 0] - scores[:, 1]


def comprehensiveness(
    model: AttentionModel,
    batch: Batch,
    regions: Regions,
    attention: Tensor | None = None,
    *,
    share: float = 0.2,
    score: str = "probability",
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """How much of the score is lost without the most attended regions: `score(x) - score(x without the top k)`.

    Higher is better, range [-1, 1] for `probability`. k is `share` of an example's regions, rounded up; equally
    attended regions go in order of index, in a constant map too. An example of 1 region loses it. Sensitive to what
    `insertion_deletion` is, and to `share`. Source: DeYoung et al. 2020 (ERASER), who score the predicted class; here
    it is the true class. Their k is the mean length of people's rationales, or they average over several shares.

    Args:
        model, batch, regions, score, perturbations_per_eval: as in `leave_one_out`.
        attention: (B, R), the maps to judge; by default the model's own on the clean input.
        share: how many of its regions to take from an example, above 0 and at most 1.

    Returns:
        (B,) float64, never NaN.

    A ValueError as `leave_one_out`, if `attention` does not fit the regions, or `share` is out of range.
    """
    options = {"score": score, "perturbations_per_eval": perturbations_per_eval}
    return _lost(model, batch, regions, attention, share, keep_top=False, **options)


def sufficiency(model, batch, regions, attention=None, *, share=0.2, score="probability", perturbations_per_eval=None):
    """How much of the score is lost with the most attended regions alone: `score(x) - score(only the top k)`.

    Lower is better, below 0 where the answer gets surer; 0 where the top k are all there is. Everything else is as in
    `comprehensiveness`.
    """
    options = {"score": score, "perturbations_per_eval": perturbations_per_eval}
    return _lost(model, batch, regions, attention, share, keep_top=True, **options)


def top_1(
    model, batch, regions, attention=None, *, drop=None, score="probability", perturbations_per_eval=None
) -> Tensor:
    """1.0 where the most attended region is the one whose removal costs most of the score, 0.0 elsewhere.

    Averages to 1 / R for unrelated maps, R the number of regions. Of equal weights and of equal drops the lowest index
    counts. NaN where there is no such region: a constant map (so also 1 region), or no drop above 0. Ours; the drops
    are those of `leave_one_out`. Arguments, their `drop` included, and errors as of `faithfulness`.

    Returns:
        (B,) float64.
    """
    options = {"score": score, "perturbations_per_eval": perturbations_per_eval}
    attention, drop, exists = attention_and_drop(model, batch, regions, attention, drop, **options)
    lowest = precise(attention).masked_fill(~exists, torch.inf).amin(-1)
    attention, drop = (precise(values).masked_fill(~exists, -torch.inf) for values in (attention, drop))
    uneven = attention.amax(-1) > lowest
    hit = precise(attention.argmax(-1) == drop.argmax(-1))
    return torch.where(uneven & (drop.amax(-1) > 0), hit, torch.nan)
