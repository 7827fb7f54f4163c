"""Scores and attention of variants, as they are: what the search makes targets of, seen one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssan.attention import AttentionModel, evaluating
from ssan.metrics.checks import check_weights, precise
from ssan.regions import Regions
from ssan.runtime import pick_device
from ssan.samplers import Sampler, Variants
from ssan.search import Scorer
from ssan.search.find import GROUP, check_search, regions_of
from ssan.task import Batch, Split


@dataclass(frozen=True)
class Given(Sampler):
    """A sampler whose variants are given: variant i has the masks `table[i - 1]`; `example_id` is their row.

    Args:
        table: masks (B, R) bool, True = kept; without any there is the clean input alone.
    """

    table: tuple[Tensor, ...] = ()

    def n_variants(self, n, grid=None):  # noqa: ARG002
        return 0 * n + len(self.table)

    def kept(self, variants: Variants) -> Tensor:
        return torch.stack(self.table)[variants.index - 1, variants.example_id, : variants.width]


def variant_scores(
    model: AttentionModel,
    batch: Batch,
    regions: Regions,
    sampler: Sampler,
    *,
    score: str = "probability",
    perturbations_per_eval: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The score of every variant of every example, and the clean attention.

    Args:
        model: run in evaluation mode, afterwards in the mode it was in.
        batch: B examples, on the model's device.
        regions, sampler, score, perturbations_per_eval: as in `ssan.find_surrogates`.

    Returns:
        (B, V) float64, V the largest number of variants, NaN beyond an example's own; and (B, R) float64, R the largest
        number of regions, 0 beyond an example's own.

    A ValueError on an unknown score, an empty batch, a chunk below 1, or outputs outside the contract.
    """
    (model,) = check_search(model, "best", score, perturbations_per_eval)
    if not len(batch):
        raise ValueError("expected a batch with at least one example, got an empty one")
    n_regions = regions.count(batch)
    n_variants = sampler.count(n_regions, regions.grid)
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


def replay(
    model_or_teachers: AttentionModel | Sequence[AttentionModel],
    examples: Split | Batch,
    sampler: Sampler,
    index: Tensor,
    *,
    score: str = "logit",
    regions: Regions | None = None,
    device: str | torch.device = "auto",
) -> tuple[Tensor, Tensor]:
    """Run one given variant of every example: masks are a pure function of their index, so any can be seen again.

    Args:
        model_or_teachers, examples, sampler, score, regions, device: as in `find_surrogates`.
        index: (B,) int64, a variant index for each example.

    Returns:
        Scores (B,) and attention (B, R), on the CPU.

    A ValueError as `variant_scores`, or if an index is missing or does not exist.
    """
    if not len(examples) or index.shape != (len(examples),):
        raise ValueError(f"expected an index (B,) of B > 0 examples, got {tuple(index.shape)} for {len(examples)}")
    teachers = check_search(model_or_teachers, "best", score, None)
    device, regions = pick_device(device), regions or regions_of(teachers, examples)
    parts = []
    with torch.inference_mode(), evaluating([teacher.to(device) for teacher in teachers]):
        for rows in torch.arange(len(examples)).split(GROUP):
            batch = examples.select(rows.to(examples.ids.device)).to(device)
            scorer = Scorer(teachers, batch, sampler, regions, score)
            scorer.clean()  # the outputs are checked there
            chunk = scorer(torch.arange(len(rows), device=device), index[rows].to(device))
            parts.append((chunk.score.cpu(), chunk.attention(slice(None)).cpu()))
    width = max(maps.shape[1] for _, maps in parts)
    scores = torch.cat([score for score, _ in parts])
    return scores, torch.cat([F.pad(maps, (0, width - maps.shape[1])) for _, maps in parts])


def places(attention: Tensor, exists: Tensor) -> Tensor:
    """(B, R) int64: 0 for the most attended region of each example, 1 for the next, …; equals in order of index."""
    order = attention.masked_fill(~exists, -1).argsort(dim=-1, descending=True, stable=True)
    return order.argsort(-1)


def fitting(attention: Tensor, batch: Batch, regions: Regions) -> Tensor:
    """`attention` checked against the regions of `batch`, and cut to (B, R) for R the largest number of regions.

    A ValueError if it is no map, has other examples, too few regions, or regions nobody knows what to do with.
    """
    check_weights(attention=attention)
    if not len(batch):
        raise ValueError("expected a batch with at least one example, got an empty one")
    n_regions = regions.count(batch)
    width = int(n_regions.max())
    # Padding may be wider than the longest sentence; more cells than the grid has means another grid.
    wrong = attention.shape[1] != width if regions.grid is not None else attention.shape[1] < width
    if len(attention) != len(batch) or wrong:
        raise ValueError(
            f"attention has shape {tuple(attention.shape)}, expected ({len(batch)}, {width}): "
            f"one row per example, one column per region of {regions}"
        )
    return attention[:, :width]
