"""Attention by low-rank bilinear pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssan.models.attention import Output
from ssan.models.cnn import GridCNN
from ssan.models.grid_question import GridQuestionModel
from ssan.models.pooling import PoolingTerms
from ssan.regions import Encoded


class BilinearAttention(GridQuestionModel):
    """Question and image fused by low-rank bilinear pooling (MLB, Kim et al. 2017), for attention and for the answer.

    p = softmax(w (tanh(U q) * tanh(V v_i))), answer from tanh(U' q) * tanh(V' sum_i p_i v_i), with * elementwise: every
    product of a question feature and an image feature may count, at the price of a matrix of rank `rank`. Compact
    bilinear pooling (MCB) approximates the same product by random projections.

    Args:
        cnn, n_words, n_classes: see `GridQuestionModel`, as are `embedding`, `hidden` and `word_attention`.
        rank: size of the products.
    """

    def __init__(self, cnn: GridCNN, n_words: int, n_classes: int, *, rank: int = 64, **sizes) -> None:
        super().__init__(cnn, n_words, n_classes, **sizes)
        self.query, self.key = nn.Linear(self.hidden, rank), nn.Linear(self.feature_dim, rank)
        self.score = nn.Linear(rank, 1)
        self.question_side, self.image_side = nn.Linear(self.hidden, rank), nn.Linear(self.feature_dim, rank)
        self.classifier = nn.Linear(rank, n_classes)

    def attend(self, encoded: Encoded) -> Output:
        """Logits (B, C), attention (B, R)."""
        attention = torch.softmax(self._scores(encoded), dim=-1)
        seen = (attention[:, None] @ encoded.features).squeeze(1)
        return Output(self._answer(encoded.context, seen), attention)

    def pooling_terms(self, encoded: Encoded) -> PoolingTerms:
        """The same in parts, for searches that need no forward pass per variant. Cells are averaged behind V'."""
        asked = torch.tanh(self.question_side(encoded.context))
        return PoolingTerms(
            self._scores(encoded)[:, None],
            self.image_side(encoded.features)[:, None],
            lambda pooled, rows: self.classifier(asked[rows] * torch.tanh(pooled.squeeze(1))),
        )

    def _scores(self, encoded: Encoded) -> Tensor:
        fused = torch.tanh(self.query(encoded.context))[:, None] * torch.tanh(self.key(encoded.features))
        return self.score(fused).squeeze(-1)

    def _answer(self, question: Tensor, seen: Tensor) -> Tensor:
        return self.classifier(torch.tanh(self.question_side(question)) * torch.tanh(self.image_side(seen)))
