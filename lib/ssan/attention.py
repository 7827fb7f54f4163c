"""The contract between models and everything else: `Output`, what a forward pass returns, and `AttentionModel`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ssan.regions import Regions
    from ssan.search.scorer import Scorer
    from ssan.task import Batch, Split


class Output(NamedTuple):
    """What `model(batch)` returns.

    Attributes:
        logits: (B, C), unnormalised class scores.
        attention: (B, R), or (B, H, R) for H hops or heads. Non-negative, sums to 1 over the regions that exist;
            regions that do not exist (padding) get exactly 0.
    """

    logits: Tensor
    attention: Tensor


class AttentionModel(nn.Module):
    """A classifier whose forward pass returns an `Output`. The one method to write is `forward(batch)`.

    Everything else has a default that does nothing.

    Example:
        >>> class Mine(AttentionModel):
        ...     def forward(self, batch):
        ...         words = self.embed(batch.tokens)
        ...         padding = torch.arange(words.shape[1]) >= batch.lengths[:, None]
        ...         attention = self.score(words).squeeze(-1).masked_fill(padding, -torch.inf).softmax(-1)
        ...         return Output(self.answer((attention[..., None] * words).sum(1)), attention)

    Attributes:
        regions: what the attention covers and masks hide, where that is not what the task says; or None.
        hop_reduction: how several maps become one, see `reduce_hops`.
        padding_attends: whether padding takes part in the softmax, as in the released code.
    """

    regions: Regions | None = None
    hop_reduction: str = "mean"
    padding_attends: bool = False

    def forward(self, batch: Batch) -> Output:
        """Logits and attention."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(batch) and return an ssan.Output")

    def attention_map(self, output: Output) -> Tensor:
        """(B, R): the one map per example of `output`."""
        return reduce_hops(output.attention, self.hop_reduction)

    def auxiliary_loss(self, batch: Batch, output: Output) -> Tensor | None:  # noqa: ARG002
        """A scalar that `fit` adds to the loss, or None."""
        return None

    def prepared(self, split: Split) -> Split:
        """`split`, with what need not be computed in every epoch computed once (the features of a frozen network)."""
        return split

    @classmethod
    def fast_scorer(cls, teachers: Sequence[AttentionModel], regions: Regions) -> type[Scorer] | None:  # noqa: ARG003
        """A way to score variants that gives the same scores for these models and regions with less work, or None."""
        return None


def reduce_hops(attention: Tensor, how: str = "mean") -> Tensor:
    """One map per example from the maps of several hops or heads. The one place where this happens.

    Args:
        attention: (B, R), returned as it is, or (B, H, R).
        how: `mean` over hops; `last` hop (stacked attention: the one the answer is read from); or
            `softmax_of_sum`, the released code's `q_att`: a second softmax over the sum of the hops, which is far
            flatter than these and gives weight to padding.

    Returns:
        (B, R). A ValueError if `how` is unknown, or `attention` no floating point with two or three axes.
    """
    if how not in ("mean", "last", "softmax_of_sum"):
        raise ValueError(f"unknown hop reduction {how!r}: expected 'mean', 'last' or 'softmax_of_sum'")
    if attention.dim() not in (2, 3) or not attention.is_floating_point():
        what = f"{attention.dtype} {tuple(attention.shape)}"
        raise ValueError(f"attention must be floating point (B, R) or (B, H, R), got {what}")
    if attention.dim() == 2:
        return attention
    if how == "mean":
        return attention.mean(dim=1)
    if how == "last":
        return attention[:, -1]
    return torch.softmax(attention.sum(dim=1), dim=-1)


def as_models(models: nn.Module | Sequence[nn.Module]) -> list[AttentionModel]:
    """One model or several as a list; a ValueError if there is none, a TypeError if one is no `AttentionModel`."""
    models = [models] if isinstance(models, nn.Module) else list(models)
    if not models:
        raise ValueError("expected at least one model, got an empty list")
    for model in models:
        if not isinstance(model, AttentionModel):
            raise TypeError(
                f"{type(model).__name__} is no ssan.AttentionModel: derive from that class or ssan.attach it"
            )
    return models


@contextmanager
def evaluating(models: Iterable[nn.Module]) -> Iterator[None]:
    """Put `models` into evaluation mode, and every one of their modules back into its own mode afterwards."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for module, training in modes:
            if training:  # setting an attribute of a module is slow, and most are in evaluation mode already
                module.training = False
        yield
    finally:
        for module, training in modes:
            if module.training != training:
                module.training = training


def check_type(output: object) -> None:
    if not isinstance(output, Output):
        raise TypeError(f"the model returned {type(output).__name__}, expected ssan.Output(logits, attention)")


def check_output(
    output: Output, label: Tensor, n_regions: Tensor, *, padding_attends: bool = False, atol: float = 1e-3
) -> None:
    """Check an output against the contract, once, before work is built on it.

    `label` (B,) are the true classes, `n_regions` (B,) how many regions each example has; `padding_attends` allows
    weight on padding, as the released code has it; `atol` is how far a map's sum may be from 1.

    Raises:
        TypeError: if the output is not an `Output`.
        ValueError: naming the field, what was given and what was expected.
    """
    check_type(output)
    logits, attention, n = output.logits.detach(), output.attention.detach(), label.shape[0]
    if not (logits.is_floating_point() and attention.is_floating_point()):
        raise ValueError(f"logits and attention must be floating point, got {logits.dtype} and {attention.dtype}")
    if logits.dim() != 2 or logits.shape[0] != n:
        raise ValueError(f"logits must be (B, C) with B={n}, got shape {tuple(logits.shape)}")
    if attention.dim() not in (2, 3) or attention.shape[0] != n:
        raise ValueError(f"attention must be (B, R) or (B, H, R) with B={n}, got shape {tuple(attention.shape)}")
    if n == 0:
        return
    width, most = attention.shape[-1], int(n_regions.max())
    if width < most:
        raise ValueError(
            f"the attention covers {width} regions, but an example has {most}: model and masks must speak of the same "
            "regions, see ssan.Regions"
        )
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(f"labels run from {low} to {high}, but the model has {logits.shape[1]} classes")
    for name, values in (("logits", logits), ("attention", attention)):
        if not torch.isfinite(values).all():
            raise ValueError(f"{name} hold NaN or infinity: a model that has diverged, a softmax over nothing?")
    if float(attention.min()) < 0:
        raise ValueError(f"attention must be non-negative, its smallest value is {float(attention.min()):.4g}")
    sums = attention.sum(-1)
    if float((sums - 1).abs().max()) > atol:
        raise ValueError(
            f"attention must sum to 1 over regions, sums run from {float(sums.min()):.4g} to {float(sums.max()):.4g}; "
            "maps that are not distributions (sigmoid) need ssan.as_distribution"
        )
    beyond = torch.arange(width, device=attention.device) >= n_regions[:, None]
    leak = float((attention * (beyond if attention.dim() == 2 else beyond[:, None])).max())
    if leak > 0 and not padding_attends:
        raise ValueError(
            f"attention must be exactly 0 where an example has no region (the map covers {width}, the examples have "
            f"{int(n_regions.min())} to {most}), found {leak:.4g}: mask padding before the softmax, or give regions "
            "that fit the map"
        )


def as_distribution(weights: Tensor, exists: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """Turn non-negative weights into a distribution over regions: `w / sum(w)`, uniform where all weights are 0.

    This is the stated rule by which sigmoid maps (Attention Branch Network, CBAM) enter a distribution loss. Our
    design; the paper's rule is not known.

    Args:
        weights: (..., R), finite and non-negative.
        exists: bool, broadcastable to `weights`; False gets exactly 0.
        eps: sums below this count as no weight at all.

    Returns:
        (..., R), non-negative, summing to 1. A ValueError if a weight is negative, or NaN, or a sum is infinite.
    """
    exists = torch.ones_like(weights, dtype=torch.bool) if exists is None else exists
    sides = zip(exists.shape[::-1], weights.shape[::-1], strict=False)
    fits = exists.dim() <= weights.dim() and all(side in (1, expected) for side, expected in sides)
    if exists.dtype != torch.bool or not weights.is_floating_point() or not fits:
        given = f"{weights.dtype} {tuple(weights.shape)} and {exists.dtype} {tuple(exists.shape)}"
        raise ValueError(f"weights must be floating point and exists bool, with as many regions; got {given}")
    exists = exists.expand_as(weights)
    weights = weights.masked_fill(~exists, 0)
    total = weights.sum(-1, keepdim=True)
    if weights.numel() and not (weights.min() >= 0 and total.max() < torch.inf):  # also where either is NaN
        low, high = weights.detach().aminmax()
        raise ValueError(f"weights must be finite and non-negative, they run from {low:.4g} to {high:.4g}")
    uniform = exists.to(weights.dtype) / exists.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(total > eps, weights / total.clamp(min=eps), uniform)
