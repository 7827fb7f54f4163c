"""Does attention weigh the regions by what the model's answer depends on? Needs no annotation."""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.attention import AttentionModel
from ssan.metrics.checks import check_finite
from ssan.metrics.rank import rank_correlation
from ssan.metrics.variants import Given, fitting, variant_scores
from ssan.regions import Regions
from ssan.samplers import Singles
from ssan.task import Batch


def leave_one_out(
    model: AttentionModel,
    batch: Batch,
    regions: Regions,
    *,
    score: str = "probability",
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """How much the score of the true class drops when one region is hidden.

    `score(x) - score(x without r)` for every region r: a property of the model, not of its attention. Sensitive to what
    stands for a hidden region (`regions`), to the score (`probability` flattens where the model is sure), and blind to
    regions that can stand in for each other. Source: occlusion (Zeiler and Fergus 2014), for words Li et al. 2016.
    Arguments and errors as of `variant_scores`.

    Returns:
        (B, R) float64, R the largest number of regions; NaN beyond an example's own regions.
    """
    scores, _ = variant_scores(
        model, batch, regions, Singles(), score=score, perturbations_per_eval=perturbations_per_eval
    )
    return scores[:, :1] - scores[:, 1:]


def attention_and_drop(
    model: AttentionModel, batch: Batch, regions: Regions, attention: Tensor | None, drop: Tensor | None, **options
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention, drops and which regions exist, (B, R) each; the model runs only for what is not given."""
    if attention is not None:
        attention = fitting(attention, batch, regions)
    if attention is None or drop is None:
        scores, clean = variant_scores(model, batch, regions, Singles() if drop is None else Given(), **options)
        attention = clean if attention is None else attention
        drop = scores[:, :1] - scores[:, 1:] if drop is None else drop
    exists = regions.exists(batch)
    if drop.shape != exists.shape:
        raise ValueError(f"drop has shape {tuple(drop.shape)}, expected {tuple(exists.shape)}, as from leave_one_out")
    check_finite(drop=drop.masked_fill(~exists, 0))
    return attention, drop, exists


def faithfulness(
    model: AttentionModel,
    batch: Batch,
    regions: Regions,
    attention: Tensor | None = None,
    *,
    drop: Tensor | None = None,
    score: str = "probability",
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """Spearman's correlation of attention with the leave-one-out drop of the score of the true class.

    Range [-1, 1], higher is better: the model attends to what its right answers depend on. Sensitive to everything
    `leave_one_out` and `rank_correlation` are. NaN where it means nothing: fewer than 3 regions, a constant map, or no
    drop anywhere. Source: Jain and Wallace 2019, section 4.1, who use Kendall's coefficient and the change of the
    output distribution.

    Args:
        model, batch, regions, score, perturbations_per_eval: as in `leave_one_out`.
        attention: (B, R), the maps to judge; by default the model's own on the clean input.
        drop: (B, R), what `leave_one_out` returned for this score, where it is at hand; by default it is computed.

    Returns:
        (B,) float64.

    A ValueError as `variant_scores`, or if `attention` or `drop` does not fit the regions.
    """
    attention, drop, exists = attention_and_drop(
        model, batch, regions, attention, drop, score=score, perturbations_per_eval=perturbations_per_eval
    )
    return torch.where(exists.sum(-1) >= 3, rank_correlation(attention, drop, exists), torch.nan)
