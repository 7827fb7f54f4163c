"""The streaming search for surrogates: the only loop over variants.

For every example: run the trained model on the clean input and on every masked variant, and let a selector make a
target of the scores and the attention maps. Memory holds one chunk of variants and the selector's running state, so
it depends on the chunk and never on the number of masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from ssan.batch import Batch
from ssan.models.attention import Output, attention_map, check_output, evaluating
from ssan.regions import Regions, default_regions
from ssan.samplers import Sampler
from ssan.selectors import Chunk, Clean, Selector, make_selector
from ssan.surrogates import Surrogates, concatenate

# Examples worked on together; selectors keep their running state for this many.
GROUP = 256
# Input numbers (tokens, pixels, features) in one chunk of variants when `perturbations_per_eval` is left open.
CHUNK_NUMBERS = 2**20


def logit(logits: Tensor, label: Tensor) -> Tensor:
    """(B,): the raw logit of the ground-truth class, as the released code scores."""
    return logits.gather(1, label[:, None]).squeeze(1)


def probability(logits: Tensor, label: Tensor) -> Tensor:
    """(B,): the softmax probability of the ground-truth class, in [0, 1]."""
    return logit(torch.softmax(logits, -1), label)


def log_odds(logits: Tensor, label: Tensor) -> Tensor:
    """(B,): log(p / (1 - p)) of the ground-truth class: the logit against all others; does not saturate."""
    others = logits.scatter(1, label[:, None], -torch.inf)
    return logit(logits, label) - torch.logsumexp(others, -1)


SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit": logit,
    "probability": probability,
    "log_odds": log_odds,
}


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
        selector: `best`, `importance`, `ridge`, or a selector.
        score: what a variant is judged by: `logit`, `probability` or `log_odds` of the ground-truth class.
        regions: what masks hide; by default the model's own `regions` if it has them, else tokens or an 8x8 grid.
        perturbations_per_eval: variants per forward pass; by default as many as make about a million input numbers.
        tie_tolerance: a later variant must score higher than the best so far by more than this times
            max(1, |best|), else the lower index wins. Batched arithmetic rounds differently from batch to batch, so
            equal inputs need not score equal to the last bit. Default 1e-5 in single, 1e-10 in double precision.
        show_progress: show a progress bar over variants.

    Returns:
        `Surrogates`; `index`, `score` are those of the best variant, whatever the selector makes of the scores.

    Raises:
        ValueError: on unknown names, outputs outside the contract, labels outside the classes, or NaN scores.
    """
    teachers = [model_or_teachers] if isinstance(model_or_teachers, nn.Module) else list(model_or_teachers)
    if not teachers:
        raise ValueError("find_surrogates needs at least one model, got an empty list of teachers")
    if score not in SCORES:
        raise ValueError(f"unknown score {score!r}: expected one of {', '.join(SCORES)}")
    if perturbations_per_eval is not None and perturbations_per_eval < 1:
        raise ValueError(f"perturbations_per_eval must be at least 1, got {perturbations_per_eval}")
    if not len(batch):
        raise ValueError("find_surrogates got a batch without examples")
    make_selector(selector)
    regions = regions or getattr(teachers[0], "regions", None) or default_regions(batch)
    n_variants = sampler.count(regions.count(batch))

    # Examples of like size share chunks, so little is spent on padding; the order is undone at the end.
    order = torch.argsort(n_variants, stable=True)
    parts = []
    with (
        torch.inference_mode(),
        evaluating(teachers),
        tqdm(total=int(n_variants.sum()), unit="variant", unit_scale=True, disable=not show_progress) as bar,
    ):
        for rows in order.split(GROUP):
            scorer = Scorer(teachers, batch.select(rows), sampler, regions, score)
            parts.append(_search(scorer, make_selector(selector), perturbations_per_eval, tie_tolerance, bar))
    found = concatenate(parts)
    return found.select(torch.argsort(order))


@dataclass
class Scorer:
    """Variants of some examples -> ground-truth score and attention, averaged over the teachers.

    Args:
        teachers: the models, in evaluation mode.
        batch: B examples.
        sampler: makes the masks.
        regions: applies them.
        score: name of the score.
    """

    teachers: list[nn.Module]
    batch: Batch
    sampler: Sampler
    regions: Regions
    score: str

    def __post_init__(self) -> None:
        on_features = self.regions.on_features
        self._run = [teacher.attend if on_features else teacher for teacher in self.teachers]
        self._sources = [teacher.encode(self.batch) if on_features else self.batch for teacher in self.teachers]

    def clean(self) -> Clean:
        """Score and attention of the clean inputs, checked against the output contract."""
        n_regions = self.regions.count(self.batch)
        outputs = [run(source) for run, source in zip(self._run, self._sources, strict=True)]
        for teacher, output in zip(self.teachers, outputs, strict=True):
            check_output(
                output, self.batch.label, n_regions, padding_attends=getattr(teacher, "padding_attends", False)
            )
        score, attention = self._mean(outputs, self.batch.label)
        exists = torch.arange(attention.shape[1], device=attention.device) < n_regions[:, None]
        return Clean(score, attention, exists)

    def __call__(self, rows: Tensor, indices: Tensor) -> Chunk:
        """Run variants `indices` (N,) of the examples `rows` (N,)."""
        outputs, variant, kept = [], None, None
        for run, source in zip(self._run, self._sources, strict=True):
            if variant is None or self.regions.on_features:
                variant, kept = self.regions.variants(source, self.batch, rows, indices, self.sampler)
            outputs.append(run(variant))
        score, attention = self._mean(outputs, self.batch.label[rows])
        if not torch.isfinite(score).all():
            bad = int((~torch.isfinite(score)).nonzero()[0])
            raise ValueError(
                f"the score of variant {int(indices[bad])} of example {int(self.batch.ids[rows[bad]])} is "
                f"{float(score[bad])}: the model gives NaN or infinity on masked inputs"
            )
        return Chunk(rows, indices, kept, score, lambda positions: attention[positions])

    def _mean(self, outputs: list[Output], label: Tensor) -> tuple[Tensor, Tensor]:
        scores = [SCORES[self.score](output.logits, label) for output in outputs]
        maps = [attention_map(teacher, output) for teacher, output in zip(self.teachers, outputs, strict=True)]
        return torch.stack(scores).mean(0), torch.stack(maps).mean(0)

    def plan(self, perturbations_per_eval: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Chunks (rows, indices) over all variants but the clean ones, example after example, in order of index."""
        if perturbations_per_eval is None:
            # A token becomes a vector as soon as it is read; a pixel already is what the model computes on.
            numbers = 64 * self.batch.tokens[0].numel() if self.batch.image is None else self.batch.image[0].numel()
            perturbations_per_eval = max(1, CHUNK_NUMBERS // numbers)
        n_variants = self.sampler.count(self.regions.count(self.batch)) - 1
        ends = n_variants.cumsum(0)
        for start in range(0, int(ends[-1]), perturbations_per_eval):
            stop = min(start + perturbations_per_eval, int(ends[-1]))
            flat = torch.arange(start, stop, device=ends.device)
            rows = torch.searchsorted(ends, flat, right=True)
            yield rows, flat - (ends - n_variants)[rows] + 1


def _search(
    scorer: Scorer, selector: Selector, perturbations_per_eval: int | None, tie_tolerance: float | None, bar: tqdm
) -> Surrogates:
    clean = scorer.clean()
    if tie_tolerance is None:
        tie_tolerance = 1e-10 if clean.score.dtype == torch.float64 else 1e-5
    best, index = clean.score.clone(), torch.zeros_like(scorer.batch.ids)
    selector.start(clean)
    bar.update(len(best))
    for rows, indices in scorer.plan(perturbations_per_eval):
        chunk = scorer(rows, indices)
        improved = _improve(best, rows, chunk.score, tie_tolerance)
        index[rows[improved]] = indices[improved]
        selector.update(chunk, improved)
        bar.update(len(rows))
    return Surrogates(scorer.batch.ids, selector.finish(), index, best, clean.score, clean.attention)


def _improve(best: Tensor, rows: Tensor, score: Tensor, tie_tolerance: float) -> Tensor:
    """Update `best` (B,) in place as if variants came one by one; return the winning position of each changed row.

    Going through the records one by one, instead of taking the chunk's maximum, is what makes the outcome the same
    for every chunk size: "better by more than the tolerance" depends on what was best before.
    """
    position = torch.arange(len(rows), device=rows.device)
    winner = torch.full_like(best, -1, dtype=torch.long)
    while True:
        held = best[rows]
        better = (score > held + tie_tolerance * held.abs().clamp(min=1)) & (position > winner[rows])
        candidates = position[better]
        if not candidates.numel():
            return winner[winner >= 0]
        owner = rows[candidates]
        first = torch.ones_like(owner, dtype=torch.bool)
        first[1:] = owner[1:] != owner[:-1]
        winner[owner[first]] = candidates[first]
        best[owner[first]] = score[candidates[first]]


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
