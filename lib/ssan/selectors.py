"""Selectors: streaming reducers that turn the variants' scores and attention into one target per example.

A selector sees the variants in chunks and keeps running sums or a running best, never all variants at once. It is used
as `start(...)`, `update(...)` for every chunk, `finish()`. Variants of one example arrive in the order of their index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ssan.models.attention import as_distribution


@dataclass(frozen=True)
class Clean:
    """What is known of the clean inputs before any variant is tried.

    Attributes:
        score: (B,).
        attention: (B, W), W >= R columns where the model attends to padding.
        exists: (B, W) bool, which regions exist.
    """

    score: Tensor
    attention: Tensor
    exists: Tensor


@dataclass(frozen=True)
class Chunk:
    """N variants, of any examples.

    Attributes:
        rows: (N,) which example each belongs to, one run per example.
        indices: (N,) variant indices, ascending within an example, all above 0.
        kept: (N, R) bool, or in [0, 1] for masks that shade.
        score: (N,).
        attention: positions (K,) -> maps (K, W). A function, because only the variants that win are ever asked for.
    """

    rows: Tensor
    indices: Tensor
    kept: Tensor
    score: Tensor
    attention: Callable[[Tensor], Tensor]


class Selector(Protocol):
    """See the module's docstring."""

    def start(self, clean: Clean) -> None:
        """Begin with the clean inputs, which are variant 0."""

    def update(self, chunk: Chunk, improved: Tensor) -> None:
        """Take in a chunk; `improved` (K,) are its positions that hold their example's best so far, one an example."""

    def finish(self) -> Tensor:
        """(B, W): the targets."""


@dataclass
class Best:
    """The attention on the best-scoring variant: the paper's selector, as the released text code has it.

    The first maximum wins; the clean input is variant 0, so it wins ties.
    """

    _attention: Tensor = field(init=False, repr=False)

    def start(self, clean: Clean) -> None:
        self._attention = clean.attention.clone()

    def update(self, chunk: Chunk, improved: Tensor) -> None:
        if improved.numel():
            attention = chunk.attention(improved)
            rows, width = chunk.rows[improved], attention.shape[1]
            self._attention[rows, :width] = attention
            # What is left of a wider map: weight on padding, in models that attend to it.
            self._attention[rows, width:] = 0

    def finish(self) -> Tensor:
        return self._attention


@dataclass
class Importance:
    """Occlusion importance: mean score with a region kept minus mean score with it hidden, clipped at 0, normalised.

    Our design (RISE, Petsiuk 2018, centred), from the same forward passes as `Best`. An example where no region
    helps by more than the scores' rounding, or with nothing to hide, keeps its clean map.
    """

    _clean: Clean = field(init=False, repr=False)
    _sums: Tensor = field(init=False, repr=False)

    def start(self, clean: Clean) -> None:
        self._clean = clean
        # Per region: sum of kept, sum of kept * score; per example: number of variants, sum of scores. In double, so
        # that the order in which chunks arrive does not show. Scores are taken relative to the clean one.
        batch, width = clean.attention.shape
        self._kept = torch.ones(batch, width, dtype=torch.float64, device=clean.score.device)
        self._kept_score = torch.zeros_like(self._kept)
        self._n = torch.ones(batch, 1, dtype=torch.float64, device=clean.score.device)
        self._score = torch.zeros_like(self._n)

    def update(self, chunk: Chunk, improved: Tensor) -> None:  # noqa: ARG002
        kept = chunk.kept.to(torch.float64)
        score = (chunk.score - self._clean.score[chunk.rows]).to(torch.float64)[:, None]
        width = kept.shape[1]
        self._kept[:, :width].index_add_(0, chunk.rows, kept)
        self._kept_score[:, :width].index_add_(0, chunk.rows, kept * score)
        self._n.index_add_(0, chunk.rows, torch.ones_like(score))
        self._score.index_add_(0, chunk.rows, score)

    def values(self) -> Tensor:
        """(B, W): the signed importance of every region; 0 where a region was never hidden or never kept."""
        hidden, hidden_score = self._n - self._kept, self._score - self._kept_score
        both = (self._kept > 1e-9) & (hidden > 1e-9) & self._clean.exists
        difference = self._kept_score / self._kept.clamp(min=1e-9) - hidden_score / hidden.clamp(min=1e-9)
        return difference.masked_fill(~both, 0)

    def finish(self) -> Tensor:
        return _positive_part(self.values(), self._clean)


@dataclass
class Ridge:
    """Per-example ridge regression of the score on the keep-mask, clipped at 0, normalised. Our design (LIME's idea).

    With X (M, R) the masks of an example, y (M,) its scores and bars for means over its variants, the coefficients
    solve `(Xc^T Xc + strength I) w = Xc^T yc`: overlapping windows share the credit instead of all claiming it.
    An example where no region helps by more than the scores' rounding keeps its clean map.

    Args:
        strength: lambda, above 0.
    """

    strength: float = 3.0

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise ValueError(f"ridge strength must be above 0, got {self.strength}")

    def start(self, clean: Clean) -> None:
        self._clean = clean
        batch, width = clean.attention.shape
        options = {"dtype": torch.float64, "device": clean.score.device}
        # The mask enters as "hidden" (1 - kept), so the clean variant adds nothing to any sum but the count.
        self._hidden = torch.zeros(batch, width, **options)
        self._hidden_score = torch.zeros(batch, width, **options)
        self._gram = torch.zeros(batch, width, width, **options)
        self._n = torch.ones(batch, 1, **options)
        self._score = torch.zeros(batch, 1, **options)

    def update(self, chunk: Chunk, improved: Tensor) -> None:  # noqa: ARG002
        hidden = 1 - chunk.kept.to(torch.float64)
        score = (chunk.score - self._clean.score[chunk.rows]).to(torch.float64)[:, None]
        width = hidden.shape[1]
        self._hidden[:, :width].index_add_(0, chunk.rows, hidden)
        self._hidden_score[:, :width].index_add_(0, chunk.rows, hidden * score)
        self._n.index_add_(0, chunk.rows, torch.ones_like(score))
        self._score.index_add_(0, chunk.rows, score)
        rows, counts = torch.unique_consecutive(chunk.rows, return_counts=True)
        for row, own in zip(rows.tolist(), hidden.split(counts.tolist()), strict=True):
            self._gram[row, :width, :width].addmm_(own.T, own)

    def values(self) -> Tensor:
        """(B, W): the coefficients."""
        mean, mean_score = self._hidden / self._n, self._score / self._n
        covariance = self._gram - self._n[..., None] * mean[:, :, None] * mean[:, None, :]
        right = self._hidden_score - self._n * mean * mean_score
        eye = torch.eye(mean.shape[1], dtype=mean.dtype, device=mean.device)
        # Hiding lowers the score where a region matters, hence the sign.
        return -torch.linalg.solve(covariance + self.strength * eye, right).masked_fill(~self._clean.exists, 0)

    def finish(self) -> Tensor:
        return _positive_part(self.values(), self._clean)


def _positive_part(values: Tensor, clean: Clean) -> Tensor:
    positive = values.clamp(min=0)
    # Equal variants (of a sentence of unknown words, say) score a few roundings apart when they are batched
    # differently; normalised, these would make a sharp map of nothing. Measured: up to 3 roundings; 16 leave room.
    rounding = torch.finfo(clean.score.dtype).eps * clean.score.abs().clamp(min=1)
    helps = positive.amax(-1, keepdim=True) > 16 * rounding[:, None]
    target = as_distribution(positive, clean.exists, eps=1e-12).to(clean.attention.dtype)
    return torch.where(helps, target, clean.attention)


SELECTORS = {"best": Best, "importance": Importance, "ridge": Ridge}


def make_selector(selector: str | Selector) -> Selector:
    """A selector from its name (`best`, `importance`, `ridge`), or the selector itself.

    Raises:
        ValueError: if the name is unknown.
    """
    if not isinstance(selector, str):
        return selector
    if selector not in SELECTORS:
        raise ValueError(f"unknown selector {selector!r}: expected one of {', '.join(sorted(SELECTORS))}")
    return SELECTORS[selector]()
