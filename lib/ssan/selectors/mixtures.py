"""Targets that are means of the attention on several variants."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ssan.selectors.contract import Chunk, Clean

# What stands in a place that no variant has taken yet: taken before all others.
EMPTY = torch.iinfo(torch.long).max


@dataclass
class TopK:
    """Mean attention of the `k` best-scoring variants, the clean input among the candidates. Our design.

    Variants are taken one by one: a later one gets a place if it scores higher than the worst that has one, by more
    than the tolerance, and takes it from the latest of those that are the worst. So ties go to the lower index, `k` = 1
    is `best`, and the outcome does not depend on the size of chunks. Examples with fewer variants take all of them.

    Args:
        k: at least 1.
        tie_tolerance: scores closer than this times max(1, |worst|) count as equal, because batched arithmetic rounds
            differently from batch to batch. Default 1e-5 in single, 1e-10 in double precision, as in the search.
    """

    k: int = 5
    tie_tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    def start(self, clean: Clean) -> None:
        batch, width = clean.attention.shape
        exact = clean.score.dtype == torch.float64
        self._tolerance = (1e-10 if exact else 1e-5) if self.tie_tolerance is None else self.tie_tolerance
        # (B, k) places; the lowest finite number instead of minus infinity, of which tolerances cannot be taken.
        self._score = clean.score.new_full((batch, self.k), torch.finfo(clean.score.dtype).min)
        self._index = torch.full((batch, self.k), EMPTY, device=clean.score.device)
        self._attention = clean.attention.new_zeros(batch, self.k, width)
        self._score[:, 0], self._index[:, 0], self._attention[:, 0] = clean.score, 0, clean.attention

    def update(self, chunk: Chunk, improved: Tensor) -> None:  # noqa: ARG002
        came = torch.full_like(self._index, -1)  # which position of this chunk took the place
        rows, score = chunk.rows, chunk.score
        position = torch.arange(len(rows), device=rows.device)
        while True:
            bar = self._bar(self._score.amin(1))
            # What does not beat the worst so far will not beat a better worst: only the others are looked at again.
            better = score > bar[rows]
            rows, score, position = rows[better], score[better], position[better]
            if not position.numel():
                break
            first = torch.ones_like(rows, dtype=torch.bool)
            first[1:] = rows[1:] != rows[:-1]
            own = rows[first]
            worst = self._score[own] <= self._bar(self._score[own].amin(1))[:, None]
            place = self._index[own].masked_fill(~worst, -1).argmax(1)
            self._score[own, place] = score[first]
            self._index[own, place] = chunk.indices[position[first]]
            came[own, place] = position[first]
            rows, score, position = rows[~first], score[~first], position[~first]
        taken = came >= 0
        if taken.any():
            maps = chunk.attention(came[taken])
            self._attention[taken] = torch.nn.functional.pad(maps, (0, self._attention.shape[2] - maps.shape[1]))

    def _bar(self, score: Tensor) -> Tensor:
        return score + self._tolerance * score.abs().clamp(min=1)

    def finish(self) -> Tensor:
        n = (self._index != EMPTY).sum(1, keepdim=True)
        return self._attention.sum(1) / n


@dataclass
class Weighted:
    """Attention averaged over all variants, the clean input included, with weights softmax(score / temperature).

    A temperature near 0 gives `best`, a large one the plain mean over variants. Weights are kept relative to the
    largest so far, so that they neither overflow nor need all scores at once. It asks for the attention on every
    variant, where others ask for a few. Our design.

    Args:
        temperature: in the score's own units, above 0.
    """

    temperature: float = 1.0
    _clean: Clean = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    def start(self, clean: Clean) -> None:
        self._clean = clean
        # In double, so that the order in which chunks arrive does not show. Scores are relative to the clean one.
        self._attention = clean.attention.to(torch.float64, copy=True)
        self._total = torch.ones_like(self._attention[:, 0])
        self._largest = torch.zeros_like(self._total)

    def update(self, chunk: Chunk, improved: Tensor) -> None:  # noqa: ARG002
        rows = chunk.rows
        score = (chunk.score.double() - self._clean.score[rows].double()) / self.temperature
        largest = self._largest.scatter_reduce(0, rows, score, "amax")
        fade = torch.exp(self._largest - largest)
        weight = torch.exp(score - largest[rows])
        attention = chunk.attention(torch.arange(len(rows), device=rows.device))
        self._largest = largest
        self._total.mul_(fade).index_add_(0, rows, weight)
        self._attention.mul_(fade[:, None])
        self._attention[:, : attention.shape[1]].index_add_(0, rows, weight[:, None] * attention)

    def finish(self) -> Tensor:
        return (self._attention / self._total[:, None]).to(self._clean.attention.dtype)
