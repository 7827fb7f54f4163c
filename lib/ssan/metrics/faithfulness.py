"""Does attention weigh the regions by what the model's answer depends on? Needs no annotation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.metrics.checks import check_weights, precise
from ssan.metrics.rank import rank_correlation
from ssan.models.attention import evaluating
from ssan.regions import Regions
from ssan.samplers import Sampler, Singles
from ssan.search import GROUP, SCORES, Scorer


def variant_scores(
    model: nn.Module,
    batch: Batch,
    regions: Regions,
    sampler: Sampler,
    *,
    score: str = "probability",
    perturbations_per_eval: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The score of every variant of every example, and the clean attention.

    Args:
        model: returns `Output`; run in evaluation mode, afterwards in the mode it was in.
        batch: B examples, on the model's device.
        regions: what is hidden.
        sampler: which variants.
        score: `logit`, `probability` or `log_odds` of the ground-truth class.
        perturbations_per_eval: variants per forward pass; by default chosen by size.

    Returns:
        (B, V) float64, V the largest number of variants, NaN beyond an example's own; and (B, R) float64, R the largest
        number of regions, 0 beyond an example's own.

    Raises:
        ValueError: on an unknown score, an empty batch, a chunk below 1, or outputs outside the contract.
    """
    if score not in SCORES:
        raise ValueError(f"unknown score {score!r}: expected one of {', '.join(SCORES)}")
    if not len(batch):
        raise ValueError("expected a batch with at least one example, got an empty one")
    if perturbations_per_eval is not None and perturbations_per_eval < 1:
        raise ValueError(f"perturbations_per_eval must be at least 1, got {perturbations_per_eval}")
    n_regions = regions.count(batch)
    n_variants = sampler.count(n_regions)
    # Made outside of inference mode, so that callers may go on computing with them.
    scores = precise(torch.full((len(batch), int(n_variants.max())), torch.nan, device=batch.device))
    attention = torch.zeros_like(scores[:, :1]).repeat(1, int(n_regions.max()))
    with torch.inference_mode(), evaluating([model]):
        # Examples of like size together, so that little is spent on padding.
        for rows in torch.argsort(n_variants, stable=True).split(GROUP):
            scorer = Scorer([model], batch.select(rows), sampler, regions, score)
            clean = scorer.clean()
            width = min(clean.attention.shape[1], attention.shape[1])
            scores[rows, 0] = precise(clean.score)
            attention[rows, :width] = precise(clean.attention * clean.exists)[:, :width]
            for within, indices in scorer.plan(perturbations_per_eval):
                scores[rows[within], indices] = precise(scorer(within, indices).score)
    return scores, attention


def fitting(attention: Tensor, batch: Batch, regions: Regions) -> Tensor:
    """`attention` checked against the regions of `batch`, and cut to (B, R) for R the largest number of regions.

    Raises:
        ValueError: if it is no map, has other examples, too few regions, or regions nobody knows what to do with.
    """
    check_weights(attention=attention)
    n_regions = regions.count(batch)
    width = int(n_regions.max())
    # Padding may be wider than the longest sentence; more cells than the grid has means another grid.
    is_text = batch.lengths is not None and torch.equal(n_regions, batch.lengths)
    if len(attention) != len(batch) or attention.shape[1] < width or (attention.shape[1] > width and not is_text):
        raise ValueError(
            f"attention has shape {tuple(attention.shape)}, expected ({len(batch)}, {width}): "
            f"one row per example, one column per region of {regions}"
        )
    return attention[:, :width]


def leave_one_out(
    model: nn.Module,
    batch: Batch,
    regions: Regions,
    *,
    score: str = "probability",
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """How much the ground-truth score drops when one region is hidden.

    `score(x) - score(x without r)` for every region r. Positive: the model used the region for the right answer;
    negative: it was misled by it. A property of the model, not of its attention. Sensitive to what stands for a hidden
    region (`regions`), to the score (`probability` flattens where the model is sure), and blind to regions that can
    stand in for each other. Source: occlusion (Zeiler and Fergus 2014), for words Li et al. 2016.

    Args:
        model, batch, regions, score, perturbations_per_eval: as in `variant_scores`. Regions on features need a model
            with `encode` and `attend`.

    Returns:
        (B, R) float64, R the largest number of regions; NaN beyond an example's own regions.

    Raises:
        ValueError: as `variant_scores`.
    """
    scores, _ = variant_scores(
        model, batch, regions, Singles(), score=score, perturbations_per_eval=perturbations_per_eval
    )
    return scores[:, :1] - scores[:, 1:]


def faithfulness(
    model: nn.Module,
    batch: Batch,
    regions: Regions,
    attention: Tensor | None = None,
    *,
    score: str = "probability",
    perturbations_per_eval: int | None = None,
) -> Tensor:
    """Spearman's correlation of attention with the leave-one-out drop of the ground-truth score.

    Range [-1, 1], higher is better: the model attends to what its right answers depend on. Blind to the amount of
    attention, sensitive to everything `leave_one_out` and `rank_correlation` are. NaN where it means nothing: fewer
    than 3 regions (a correlation of two points is always ±1), a constant map, or no drop anywhere. Source: Jain and
    Wallace 2019, section 4.1, who use Kendall's coefficient and the change of the output distribution; here Spearman
    and the ground-truth score.

    Args:
        model, batch, regions, score, perturbations_per_eval: as in `leave_one_out`.
        attention: (B, R), the maps to judge; by default the model's own on the clean input.

    Returns:
        (B,) float64.

    Raises:
        ValueError: as `variant_scores`, or if `attention` does not fit the regions.
    """
    if attention is not None:
        attention = fitting(attention, batch, regions)
    scores, own = variant_scores(
        model, batch, regions, Singles(), score=score, perturbations_per_eval=perturbations_per_eval
    )
    drop = scores[:, :1] - scores[:, 1:]
    exists = ~drop.isnan()
    correlation = rank_correlation(own if attention is None else attention, drop, exists)
    return torch.where(exists.sum(-1) >= 3, correlation, torch.nan)
