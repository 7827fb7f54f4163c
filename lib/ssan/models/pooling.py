"""What a model says of itself when its attention is a softmax over cells whose values are then averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PoolingTerms:
    """The parts of softmax pooling: `logits = head(sum over cells of softmax(scores) * values)`.

    A model whose `attend(encoded)` can be written like this may have a method `pooling_terms(encoded) -> PoolingTerms`,
    and the search then needs no forward pass per variant. The terms of a cell must depend on this cell's features and
    on `encoded.context` alone, and `head` not on the features: then hiding a cell changes the terms of no other.

    Example:
        >>> def pooling_terms(self, encoded):                                   # one hop, linear classes
        ...     scores = (encoded.features @ self.query)[:, None]               # (B, 1, R)
        ...     values = self.classes(encoded.features)[:, None]                # (B, 1, R, C)
        ...     return PoolingTerms(scores, values, lambda pooled, _: pooled[:, 0])

    Attributes:
        scores: (B, H, R), what the softmax is taken of, for H hops or heads side by side.
        values: (B, H, R, K), what is averaged.
        head: (pooled (N, H, K), rows (N,)) -> class logits (N, C); `rows` says which of the B examples each belongs to.
    """

    scores: Tensor
    values: Tensor
    head: Callable[[Tensor, Tensor], Tensor]
