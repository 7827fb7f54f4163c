"""Ridge regression of the score on the mask."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ssan.selectors.base import Chunk, Clean
from ssan.selectors.importance import positive_part


@dataclass
class Ridge:
    """Per-example ridge regression of the score on the keep-mask, clipped at 0, normalised. Our design (LIME's idea).

    With Xc (M, R) the masks of an example and yc (M,) its scores, both less their means over the variants, `w` solves
    `(Xc^T Xc + strength I) w = Xc^T yc`: overlapping windows share the credit instead of all claiming it. An example
    where no region helps by more than the scores' rounding keeps its clean map.

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
        width = chunk.kept.shape[1]
        score = (chunk.score - self._clean.score[chunk.rows]).to(torch.float64)
        rows, counts = torch.unique_consecutive(chunk.rows, return_counts=True)
        self._n.index_add_(0, rows, counts[:, None].to(torch.float64))
        self._score.index_add_(0, chunk.rows, score[:, None])
        sums, products = self._hidden[:, :width], self._hidden_score[:, :width]
        kept = chunk.kept.unflatten(0, (len(rows), -1)) if (counts == counts[0]).all() else None
        if kept is not None and (kept == kept[:1]).all():
            # All examples have the same masks: what depends on masks alone is computed once.
            hidden = 1 - kept[0].to(torch.float64)
            sums.index_add_(0, rows, hidden.sum(0).expand(len(rows), -1))
            products.index_add_(0, rows, score.view(len(rows), -1) @ hidden)
            gram = hidden.T @ hidden
            self._gram[:, :width, :width].index_add_(0, rows, gram.expand(len(rows), -1, -1))
            return
        hidden = 1 - chunk.kept.to(torch.float64)
        sums.index_add_(0, chunk.rows, hidden)
        products.index_add_(0, chunk.rows, hidden * score[:, None])
        for row, masks in zip(rows.tolist(), hidden.split(counts.tolist()), strict=True):
            self._gram[row, :width, :width].addmm_(masks.T, masks)

    def values(self) -> Tensor:
        """(B, W): the coefficients."""
        mean, mean_score = self._hidden / self._n, self._score / self._n
        right = self._hidden_score - self._n * mean * mean_score
        first, counts = self._runs()
        values = []
        for row, part in zip(first, right.split(counts), strict=True):
            covariance = self._gram[row] - self._n[row] * mean[row, :, None] * mean[row]
            values.append(self._solve(covariance, part))
        # Hiding lowers the score where a region matters, hence the sign.
        return -torch.cat(values).masked_fill(~self._clean.exists, 0)

    def _solve(self, covariance: Tensor, right: Tensor) -> Tensor:
        """(K, W): coefficients for K right sides (K, W) of one covariance (W, W)."""
        return torch.linalg.solve(covariance + self.strength * torch.eye(len(covariance)).to(covariance), right.T).T

    def _runs(self) -> tuple[list[int], list[int]]:
        """First row and number of rows of every run of examples with the same masks: one matrix serves them all.

        Sums of products of zeros and ones are exact, so equal masks have equal sums. Examples are sorted by their
        number of variants, so those with equal masks are neighbours.
        """
        new = self._n[1:, 0] != self._n[:-1, 0]
        new |= (self._hidden[1:] != self._hidden[:-1]).any(1) | (self._gram[1:] != self._gram[:-1]).flatten(1).any(1)
        first = [0, *(new.nonzero().squeeze(1) + 1).tolist()]
        return first, [b - a for a, b in pairwise([*first, len(self._n)])]

    def finish(self) -> Tensor:
        return positive_part(self.values(), self._clean)
