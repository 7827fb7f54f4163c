"""The streaming search for surrogates: the only loop over variants.

For every example: run the trained model on the clean input and on every masked variant, and let a selector make a
target of the scores and the attention maps. Memory holds one chunk of variants and the selector's running state, so
it depends on the chunk and never on the number of masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from ssan.accel.image_stages import StageScorer
from ssan.accel.prefix_lstm import PrefixScorer
from ssan.accel.softmax_pooling import PoolingScorer
from ssan.batch import Batch
from ssan.memory import Halving
from ssan.models.attention import evaluating
from ssan.regions import Regions, default_regions
from ssan.samplers import Sampler
from ssan.scorer import SCORES, Scorer
from ssan.selectors import Chunk, Selector, make_selector
from ssan.surrogates import Surrogates, concatenate

# Examples worked on together; selectors keep their running state for this many.
GROUP = 256
# Faster ways to the same scores, each for some models and regions.
FAST_SCORERS = (PrefixScorer, PoolingScorer, StageScorer)


def find_surrogates(
    model_or_teachers: nn.Module | Sequence[nn.Module],
    batch: Batch,
    sampler: Sampler,
    *,
    selector: str | Selector = "best",
    score: str = "logit",
    regions: Regions | None = None,
    perturbations_per_eval: int | None = None,
    tie_tolerance: float | None = None,
    show_progress: bool = False,
    accelerate: bool = True,
    autocast: torch.dtype | None = None,
) -> Surrogates:
    """Find the surrogate attention map of every example of `batch`.

    Example:
        >>> found = find_surrogates(baseline, task.train, Pairs(), selector="importance", score="probability")
        >>> found.attention.shape, found.index[:4]
        (torch.Size([445, 31]), tensor([ 0, 17,  3,  0]))

    The result does not depend on `perturbations_per_eval` or on what else is in the batch, to the rounding of the
    model's arithmetic. Source: the released text code (`best`, `logit`, `Pairs`); everything else is our design.

    Args:
        model_or_teachers: a model that returns `Output`, or several: scores and attention are then averaged.
        batch: B examples, on the models' device.
        sampler: which variants to try; variant 0 is the clean input and always a candidate.
        selector: `best`, `margin`, `top_k`, `weighted`, `importance`, `ridge`, or a selector, see `ssan.selectors`.
        score: what a variant is judged by: `logit`, `probability` or `log_odds` of the ground-truth class.
        regions: what masks hide; by default the model's own `regions` if it has them, else tokens or an 8x8 grid.
        perturbations_per_eval: variants per forward pass; by default as many as make about a million input numbers.
            If memory runs out, this number is halved until they fit, which a warning says once.
        tie_tolerance: a later variant must score higher than the best so far by more than this times
            max(1, |best|), else the lower index wins. Batched arithmetic rounds differently from batch to batch, so
            equal inputs need not score equal to the last bit. Default 1e-5 in single, 1e-10 in double precision, and
            1/128 under `autocast`, where numbers have 8 bits.
        show_progress: show a progress bar over variants.
        accelerate: use a faster way to the same scores where `ssan.accel` has one for these models and regions. False
            runs every variant through the model, which is the same to rounding.
        autocast: `torch.bfloat16` (or `torch.float16` on CUDA) runs the models under PyTorch's autocast, the plain way;
            scores then have two to three digits, so that close races may have another winner.

    Returns:
        `Surrogates`; `index`, `score` are those of the best variant, whatever the selector makes of the scores.

    Raises:
        ValueError: on unknown names, outputs outside the contract, labels outside the classes, or NaN scores.
    """
    teachers = checked(model_or_teachers, selector, score, perturbations_per_eval)
    if not len(batch):
        raise ValueError("find_surrogates got a batch without examples")
    regions = regions or getattr(teachers[0], "regions", None) or default_regions(batch)
    n_variants = sampler.count(regions.count(batch))

    # Examples of like size share chunks, so little is spent on padding; the order is undone at the end.
    order = torch.argsort(n_variants, stable=True)
    fast = fast_scorer(teachers, regions) if accelerate and autocast is None else None
    halving = Halving(perturbations_per_eval)
    parts = []
    with (
        torch.inference_mode(),
        evaluating(teachers),
        tqdm(total=int(n_variants.sum()), unit="variant", unit_scale=True, disable=not show_progress) as bar,
    ):
        for rows in order.split(GROUP):
            scorer = (fast or Scorer)(teachers, batch.select(rows), sampler, regions, score, halving, autocast)
            parts.append(_search(scorer, make_selector(selector), tie_tolerance, bar))
    found = concatenate(parts)
    return found.select(torch.argsort(order))


def checked(
    model_or_teachers: nn.Module | Sequence[nn.Module],
    selector: str | Selector,
    score: str,
    perturbations_per_eval: int | None,
) -> list[nn.Module]:
    """The teachers as a list, once all that a search is told by name or number makes sense."""
    teachers = [model_or_teachers] if isinstance(model_or_teachers, nn.Module) else list(model_or_teachers)
    if not teachers:
        raise ValueError("find_surrogates needs at least one model, got an empty list of teachers")
    if score not in SCORES:
        raise ValueError(f"unknown score {score!r}: expected one of {', '.join(SCORES)}")
    if perturbations_per_eval is not None and perturbations_per_eval < 1:
        raise ValueError(f"perturbations_per_eval must be at least 1, got {perturbations_per_eval}")
    make_selector(selector)
    return teachers


def fast_scorer(teachers: list[nn.Module], regions: Regions) -> type[Scorer] | None:
    """The scorer that gives the same scores for these models and regions with less work, if there is one."""
    return next((scorer for scorer in FAST_SCORERS if scorer.accepts(teachers, regions)), None)


def _search(scorer: Scorer, selector: Selector, tie_tolerance: float | None, bar: tqdm) -> Surrogates:
    clean = scorer.clean()
    if tie_tolerance is None:
        exact = 1e-10 if clean.score.dtype == torch.float64 else 1e-5
        tie_tolerance = exact if scorer.autocast is None else 2**-7
    best, index = clean.score.clone(), torch.zeros_like(scorer.batch.ids)
    selector.start(clean)
    bar.update(len(best))
    for chunk in _chunks(scorer):
        improved = _improve(best, chunk.rows, chunk.score, tie_tolerance)
        index[chunk.rows[improved]] = chunk.indices[improved]
        selector.update(chunk, improved)
        bar.update(len(chunk.rows))
    return Surrogates(scorer.batch.ids, selector.finish(), index, best, clean.score, clean.attention)


def _chunks(scorer: Scorer) -> Iterator[Chunk]:
    """All variants but the clean ones, in the chunks that were planned, or smaller ones once memory ran out."""
    for rows, indices in scorer.plan():

        def piece(start: int, stop: int, rows: Tensor = rows, indices: Tensor = indices) -> Chunk:
            return scorer(rows[start:stop], indices[start:stop])

        yield from scorer.halving.pieces(piece, len(rows), len(rows))


def _improve(best: Tensor, rows: Tensor, score: Tensor, tie_tolerance: float) -> Tensor:
    """Update `best` (B,) in place as if variants came one by one; return the winning position of each changed row.

    Going through the records one by one, instead of taking the chunk's maximum, is what makes the outcome the same
    for every chunk size: "better by more than the tolerance" depends on what was best before.
    """
    bar = best + tie_tolerance * best.abs().clamp(min=1)
    # What does not beat the best so far will not beat a better one. The others leave the device together.
    position = (score > bar[rows]).nonzero().squeeze(1)
    kind = np.float64 if best.dtype == torch.float64 else np.float32
    one, tolerance = kind(1), kind(tie_tolerance)
    winners, current, height = [], None, 0.0
    for own, row, value in zip(position.tolist(), rows[position].tolist(), score[position].tolist(), strict=True):
        if row != current:
            winners.append(own)
        elif value > height:
            winners[-1] = own
        else:
            continue
        current, height = row, float(kind(value) + tolerance * max(abs(kind(value)), one))
    winner = torch.tensor(winners, dtype=torch.long, device=rows.device)
    best[rows[winner]] = score[winner]
    return winner


def replay(
    model_or_teachers: nn.Module | Sequence[nn.Module],
    batch: Batch,
    sampler: Sampler,
    index: Tensor,
    *,
    score: str = "logit",
    regions: Regions | None = None,
) -> tuple[Tensor, Tensor]:
    """Run one given variant of every example: masks are a pure function of their index, so any can be seen again.

    Args:
        model_or_teachers, batch, sampler, score, regions: as in `find_surrogates`.
        index: (B,) int64, a variant index for each example.

    Returns:
        Scores (B,) and attention (B, R).
    """
    teachers = [model_or_teachers] if isinstance(model_or_teachers, nn.Module) else list(model_or_teachers)
    regions = regions or getattr(teachers[0], "regions", None) or default_regions(batch)
    with torch.inference_mode(), evaluating(teachers):
        parts = []
        for rows in torch.arange(len(batch), device=batch.device).split(GROUP):
            scorer = Scorer(teachers, batch.select(rows), sampler, regions, score)
            chunk = scorer(torch.arange(len(rows), device=batch.device), index[rows])
            parts.append((chunk.score, chunk.attention(slice(None))))
    width = max(attention.shape[1] for _, attention in parts)
    scores = torch.cat([score for score, _ in parts])
    return scores, torch.cat([F.pad(attention, (0, width - attention.shape[1])) for _, attention in parts])


if __name__ == "__main__":
    from ssan.commands import search

    search()
