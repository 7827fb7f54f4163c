"""Exact search with softmax pooling over feature cells, without a forward pass per variant.

Where attention is a softmax over cells and what follows sees only the weighted mean of the cells, every variant is a
ratio of sums of terms that each belong to one cell: with e the exponential of a cell's score and v its value, of the
cells themselves where kept and of the fill where hidden,

    pooled = sum(e v) / sum(e).

The masks times a table of the terms give the sums of all variants in one matrix product per example. What a model must
say of itself for this is `ssan.models.pooling.PoolingTerms`. Where a second hop looks at what the first one saw, the
terms of a cell depend on all others: such models run `attend` on every variant, after one `encode`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssan.models.attention import Output, attention_map
from ssan.models.pooling import PoolingTerms
from ssan.regions import Encoded, FeatureGrid, Regions
from ssan.scorer import SCORES, Scorer
from ssan.selectors import Chunk

# Numbers in the masks and sums of one chunk: few enough to stay near the processor, many enough to keep it busy.
CHUNK_NUMBERS = 2**19
# Sums of exponentials, the largest of which is 1, below this have lost digits: that variant goes the plain way.
SMALLEST_SUM = 1e-25


class Table:
    """The terms of every cell of some examples, and of a hidden cell.

    Args:
        terms: of R cells and, behind them, of the fill.
    """

    def __init__(self, terms: PoolingTerms) -> None:
        scores, self.head = terms.scores, terms.head
        self.weights = (scores - scores.amax(-1, keepdim=True)).exp()  # (B, H, R + 1)
        sums = torch.cat([self.weights[..., None], self.weights[..., None] * terms.values], -1)
        self.hops, self.width = sums.shape[1], sums.shape[3]
        self.sums = sums.transpose(1, 2).flatten(2)  # (B, R + 1, H * (1 + K))

    def pooled(self, rows: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H) sums of exponentials and (N, H, K) pooled values of variants of the examples `rows` (N,), in runs.

        Args:
            rows: (N,).
            cells: (N, R + 1), how often each cell and the fill are there.
        """
        examples, runs = torch.unique_consecutive(rows, return_counts=True)
        longest = int(runs.max())
        if longest * len(runs) == len(rows):
            summed = (cells.view(len(runs), longest, -1) @ self.sums[examples]).flatten(0, 1)
        else:
            run = torch.repeat_interleave(torch.arange(len(runs), device=rows.device), runs)
            place = torch.arange(len(rows), device=rows.device) - (runs.cumsum(0) - runs)[run]
            padded = cells.new_zeros(len(runs), longest, cells.shape[1])
            padded[run, place] = cells
            summed = (padded @ self.sums[examples])[run, place]
        total, weighted = summed.view(-1, self.hops, self.width).tensor_split([1], -1)
        return total.squeeze(-1), weighted / total

    def attention(self, rows: Tensor, kept: Tensor, total: Tensor) -> Tensor:
        """(N, H, R): the maps of variants with masks `kept` (N, R) and sums of exponentials `total` (N, H)."""
        weights = self.weights[rows]
        return torch.where(kept[:, None], weights[..., :-1], weights[..., -1:]) / total[..., None]


@dataclass
class PoolingScorer(Scorer):
    """Scores variants by their sums of terms. Its arguments are those of `Scorer`; see `accepts`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tables = [Table(self._terms(*pair)) for pair in zip(self.teachers, self._sources, strict=True)]

    @staticmethod
    def accepts(teachers: list[nn.Module], regions: Regions) -> bool:
        """Whether masks replace features, and all teachers say what their terms are."""
        return type(regions) is FeatureGrid and all(hasattr(teacher, "pooling_terms") for teacher in teachers)

    def __call__(self, rows: Tensor, indices: Tensor) -> Chunk:
        """Score variants `indices` (N,) of the examples `rows` (N,)."""
        n_regions = self.regions.count(self.batch)
        kept = self.sampler.masks(n_regions[rows], indices, self.batch.ids[rows], width=int(n_regions.max()))
        label, scores, totals = self.batch.label[rows], [], []
        cells = self._tables[0].sums.new_empty(len(kept), kept.shape[1] + 1)
        cells[:, :-1] = kept
        cells[:, -1] = kept.shape[1] - cells[:, :-1].sum(1)
        for table in self._tables:
            total, pooled = table.pooled(rows, cells)
            scores.append(SCORES[self.score](table.head(pooled, rows), label))
            totals.append(total)
        score = torch.stack(scores).mean(0)
        lost = torch.stack([(total < SMALLEST_SUM).any(1) for total in totals]).any(0)
        plain = super().__call__(rows[lost], indices[lost]) if lost.any() else None
        if plain is not None:
            score[lost] = plain.score

        def attention(positions: Tensor) -> Tensor:
            own = rows[positions], kept[positions]
            maps = [
                attention_map(teacher, Output(score, table.attention(*own, total[positions])))
                for teacher, table, total in zip(self.teachers, self._tables, totals, strict=True)
            ]
            mean = torch.stack(maps).mean(0)
            if plain is not None:
                place = lost.cumsum(0)[positions] - 1
                mean[lost[positions]] = plain.attention(place[lost[positions]])
            return mean

        return self.chunk(rows, indices, kept, score, attention)

    def chunk_size(self) -> int:
        """How many variants make a chunk when nobody says: all of some examples, where these are not too many."""
        numbers = sum(sum(table.sums.shape[1:]) for table in self._tables)
        size = max(1, CHUNK_NUMBERS // numbers)
        each = int(self.sampler.count(self.regions.count(self.batch)).max()) - 1
        return size // each * each if 0 < each <= size else size

    def _terms(self, teacher: nn.Module, source: Encoded) -> PoolingTerms:
        # What a hidden cell shows, put behind the others as one more cell.
        nothing = torch.zeros(source.features.shape[:2], dtype=torch.bool, device=source.features.device)
        fill = self.regions.hide(source, nothing).features[:, :1]
        return teacher.pooling_terms(Encoded(torch.cat([source.features, fill], 1), source.context))
