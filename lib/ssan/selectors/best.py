"""Targets that are the attention on one variant: the best, or the best if it is better enough."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ssan.selectors.contract import Chunk, Clean


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
class Margin(Best):
    """The attention on the best-scoring variant where that beats the clean input by more than `margin`, else the clean.

    On examples that the model is sure of, the best variant is a draw among near-ties, whose map says little; these
    keep the map they have. Our design.

    Args:
        margin: how much better the score must be, in the score's own units, at least 0.
    """

    margin: float = 0.1
    _clean: Clean = field(init=False, repr=False)
    _score: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.margin >= 0:
            raise ValueError(f"margin must be at least 0, got {self.margin}")

    def start(self, clean: Clean) -> None:
        super().start(clean)
        self._clean, self._score = clean, clean.score.clone()

    def update(self, chunk: Chunk, improved: Tensor) -> None:
        super().update(chunk, improved)
        self._score[chunk.rows[improved]] = chunk.score[improved]

    def finish(self) -> Tensor:
        better = self._score - self._clean.score > self.margin
        return torch.where(better[:, None], self._attention, self._clean.attention)
