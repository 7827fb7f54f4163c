"""The streaming search for surrogates: the only loop over variants.

For every example: run the trained model on the clean input and on every masked variant, and let a selector make a
target of the scores and the attention maps. Memory holds one chunk of variants and the selector's running state, so
it depends on the chunk and never on the number of masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ssan.attention import AttentionModel, as_models, evaluating
from ssan.regions import Regions, default_regions
from ssan.runtime import pick_device
from ssan.samplers import Sampler
from ssan.search.chunks import Halving
from ssan.search.scorer import SCORES, Scorer
from ssan.search.surrogates import Surrogates, concatenate
from ssan.selectors import Chunk, Selector, make_selector
from ssan.task import Batch, Split

# Examples worked on together; selectors keep their running state for this many.
GROUP = 256


def find_surrogates(
    model_or_teachers: AttentionModel | Sequence[AttentionModel],
    examples: Split | Batch,
    sampler: Sampler,
    *,
    selector: str | Selector = "best",
    score: str = "logit",
    regions: Regions | None = None,
    perturbations_per_eval: int | None = None,
    tie_tolerance: float | None = None,
    accelerate: bool = True,
    autocast: torch.dtype | None = None,
    device: str | torch.device = "auto",
    result_device: str | torch.device = "cpu",
    show_progress: bool = False,
) -> Surrogates:
    """Find the surrogate attention map of every example.

    Example:
        >>> surrogates = ssan.find_surrogates(baseline, task.train, ssan.Pairs(), selector="importance")
        >>> surrogates.attention.shape, surrogates.index[:4]
        (torch.Size([445, 31]), tensor([ 0, 17,  3,  0]))

    The result does not depend on `perturbations_per_eval` or on what else is in the batch, to the rounding of the
    model's arithmetic. Source: the released text code (`best`, `logit`, `Pairs`); everything else is our design.

    Args:
        model_or_teachers: a model, or several: scores and attention are then averaged. They are moved to `device`.
        examples: B examples, in memory or not.
        sampler: which variants to try; variant 0 is the clean input, always a candidate.
        selector: `best`, `importance`, `ridge`, or a selector, see `ssan.selectors`.
        score: what a variant is judged by: `logit`, `probability` or `log_odds` of the true class.
        regions: what masks hide; by default the model's own `regions` if it has them, else tokens or an 8x8 grid.
        perturbations_per_eval: variants per forward pass; by default as many as suit the device. If memory runs out,
            this number is halved until they fit, which a warning says once.
        tie_tolerance: a later variant must score higher than the best so far by more than this times
            max(1, |best|), else the lower index wins: equal inputs need not score equal to the last bit in other
            batches. Default 1e-5 in single, 1e-10 in double precision, and 1/128 under `autocast`.
        accelerate: use a model's faster way to the same scores where it has one; False runs every variant plainly.
        autocast: `torch.bfloat16` (or `torch.float16` on CUDA) runs the models under autocast, plainly; scores
            then have two to three digits, so that close races may have another winner.
        device: where to search; `auto` is CUDA where there is one, else the CPU.
        result_device: where the result is put.
        show_progress: show a progress bar over variants.

    Returns:
        `Surrogates`; `index`, `score` are those of the best variant, whatever the selector makes of the scores.

    A ValueError on unknown names, no examples, a sampler that does not fit the regions, outputs outside the contract,
    labels outside the classes, or NaN in scores or maps. A TypeError if a model is no AttentionModel.
    """
    teachers = check_search(model_or_teachers, selector, score, perturbations_per_eval, tie_tolerance)
    if not len(examples):
        raise ValueError("find_surrogates got no examples")
    device = pick_device(device)
    for teacher in teachers:
        teacher.to(device)
    regions = regions or regions_of(teachers, examples)
    scorer_of = Scorer
    if accelerate and autocast is None:
        scorer_of = teachers[0].fast_scorer(teachers, regions) or Scorer
    halving, parts, order, total = Halving(perturbations_per_eval), [], torch.arange(len(examples)), None
    if isinstance(examples, Batch):
        # Examples of like size share chunks, so little is spent on padding; the order is undone at the end.
        counts = sampler.count(regions.count(examples), regions.grid)
        order, total = torch.argsort(counts, stable=True).cpu(), int(counts.sum())
    with (
        torch.inference_mode(),
        evaluating(teachers),
        tqdm(total=total, unit="variant", unit_scale=True, disable=not show_progress) as bar,
    ):
        for rows in order.split(GROUP):
            batch = examples.select(rows.to(examples.ids.device)).to(device)
            scorer = scorer_of(teachers, batch, sampler, regions, score, halving, autocast)
            parts.append(_search(scorer, make_selector(selector), tie_tolerance, bar).to(result_device))
    return concatenate(parts).select(torch.argsort(order).to(parts[0].ids.device))


def check_search(
    model_or_teachers: AttentionModel | Sequence[AttentionModel],
    selector: str | Selector,
    score: str,
    perturbations_per_eval: int | None,
    tie_tolerance: float | None = None,
) -> list[AttentionModel]:
    """The teachers as a list, once all that a search is given by name or number makes sense."""
    teachers = as_models(model_or_teachers)
    if score not in SCORES:
        raise ValueError(f"unknown score {score!r}: expected one of {', '.join(SCORES)}")
    if perturbations_per_eval is not None and perturbations_per_eval < 1:
        raise ValueError(f"perturbations_per_eval must be at least 1, got {perturbations_per_eval}")
    if tie_tolerance is not None and not 0 <= tie_tolerance < torch.inf:
        raise ValueError(f"tie_tolerance must be a finite number of at least 0, got {tie_tolerance}")
    make_selector(selector)
    return teachers


def regions_of(models: Sequence[AttentionModel], examples: Split | Batch) -> Regions:
    """What the first model says its attention covers, else what such examples are divided into by default."""
    return models[0].regions or default_regions(examples.select(torch.arange(1, device=examples.ids.device)))


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
    for place, row, value in zip(position.tolist(), rows[position].tolist(), score[position].tolist(), strict=True):
        if row != current:
            winners.append(place)
        elif value > height:
            winners[-1] = place
        else:
            continue
        current, height = row, float(kind(value) + tolerance * max(abs(kind(value)), one))
    winner = torch.tensor(winners, dtype=torch.long, device=rows.device)
    best[rows[winner]] = score[winner]
    return winner
