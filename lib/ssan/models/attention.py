"""The contract between models and everything else: what a forward pass returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssan.batch import Batch


class Output(NamedTuple):
    """What `model(batch)` returns.

    Attributes:
        logits: (B, C), unnormalised class scores.
        attention: (B, R), or (B, H, R) for H hops or heads. Non-negative, sums to 1 over the regions that exist;
            regions that do not exist (padding) get exactly 0.
        question_attention: (B, T) over question words, for the VQA models that attend to them; else None.
    """

    logits: Tensor
    attention: Tensor
    question_attention: Tensor | None = None


def reduce_hops(attention: Tensor, how: str = "mean") -> Tensor:
    """One map per example from the maps of several hops or heads. The one place where this happens.

    Args:
        attention: (B, R), returned as it is, or (B, H, R).
        how: `mean` over hops; `last` hop (stacked attention: the one the answer is read from); or
            `softmax_of_sum`, the released code's `q_att`: a second softmax over the sum of the hops. The latter is
            far flatter than the hops it is made from and gives weight to padding.

    Returns:
        (B, R).

    Raises:
        ValueError: if `how` is unknown or `attention` has neither two nor three axes.
    """
    if how not in ("mean", "last", "softmax_of_sum"):
        raise ValueError(f"unknown hop reduction {how!r}: expected 'mean', 'last' or 'softmax_of_sum'")
    if attention.dim() == 2:
        return attention
    if attention.dim() != 3:
        raise ValueError(f"attention must be (B, R) or (B, H, R), got shape {tuple(attention.shape)}")
    if how == "mean":
        return attention.mean(dim=1)
    if how == "last":
        return attention[:, -1]
    return torch.softmax(attention.sum(dim=1), dim=-1)


def attention_map(model: Callable[..., Output], output: Output) -> Tensor:
    """(B, R): the one map per example of `output`, reduced the way `model.hop_reduction` says (`mean` if unsaid)."""
    return reduce_hops(output.attention, getattr(model, "hop_reduction", "mean"))


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


def _check_type(output: object) -> None:
    if not isinstance(output, Output):
        raise TypeError(
            f"the model returned {type(output).__name__}, expected ssan.models.attention.Output(logits, attention); "
            "wrap a foreign module in ssan.models.attention.AttentionAdapter"
        )


def check_output(
    output: Output, label: Tensor, n_regions: Tensor, *, padding_attends: bool = False, atol: float = 1e-3
) -> None:
    """Check an output against the contract, once, before work is built on it.

    Args:
        output: what the model returned.
        label: (B,) ground-truth classes.
        n_regions: (B,) how many regions each example has.
        padding_attends: allow weight on padding, as the released code has it.
        atol: how far a map's sum may be from 1.

    Raises:
        TypeError: if the output is not an `Output`.
        ValueError: naming the field, what was found and what was expected.
    """
    _check_type(output)
    logits, attention = output.logits.detach(), output.attention.detach()
    n = label.shape[0]
    if logits.dim() != 2 or logits.shape[0] != n:
        raise ValueError(f"logits must be (B, C) with B={n}, got shape {tuple(logits.shape)}")
    if attention.dim() not in (2, 3) or attention.shape[0] != n:
        raise ValueError(f"attention must be (B, R) or (B, H, R) with B={n}, got shape {tuple(attention.shape)}")
    if n == 0:
        return
    if attention.shape[-1] < int(n_regions.max()):
        raise ValueError(f"attention covers {attention.shape[-1]} regions, but an example has {int(n_regions.max())}")
    if int(label.min()) < 0 or int(label.max()) >= logits.shape[1]:
        raise ValueError(
            f"labels run from {int(label.min())} to {int(label.max())}, but the model has {logits.shape[1]} classes"
        )
    if not torch.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinity: the model has diverged or its input is broken")
    if not torch.isfinite(attention).all():
        raise ValueError("attention holds NaN or infinity: a softmax over no region, or a broken input")
    if float(attention.min()) < 0:
        raise ValueError(f"attention must be non-negative, its smallest value is {float(attention.min()):.4g}")
    if float((attention.sum(-1) - 1).abs().max()) > atol:
        sums = attention.sum(-1)
        raise ValueError(
            f"attention must sum to 1 over regions, sums run from {float(sums.min()):.4g} to {float(sums.max()):.4g}; "
            "maps that are not distributions (sigmoid) need ssan.models.attention.as_distribution"
        )
    if not padding_attends:
        exists = torch.arange(attention.shape[-1], device=attention.device) < n_regions[:, None]
        if attention.dim() == 3:
            exists = exists[:, None]
        leak = float(attention.masked_fill(exists, 0).abs().max())
        if leak > 0:
            raise ValueError(f"attention on padding must be exactly 0, found {leak:.4g}: mask it before the softmax")


def as_distribution(weights: Tensor, exists: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """Turn non-negative weights into a distribution over regions: `w / sum(w)`, uniform where all weights are 0.

    This is the stated rule by which sigmoid maps (Attention Branch Network, Residual Attention Network) enter a
    distribution loss. Our design; the paper's rule is not known.

    Args:
        weights: (..., R), non-negative.
        exists: bool, broadcastable to `weights`; False gets exactly 0.
        eps: sums below this count as no weight at all.

    Returns:
        (..., R), non-negative, summing to 1.

    Raises:
        ValueError: if a weight is negative.
    """
    if weights.numel() and float(weights.detach().min()) < 0:
        raise ValueError(f"weights must be non-negative, the smallest is {float(weights.detach().min()):.4g}")
    exists = torch.ones_like(weights, dtype=torch.bool) if exists is None else exists.expand_as(weights)
    weights = weights.masked_fill(~exists, 0)
    total = weights.sum(-1, keepdim=True)
    uniform = exists.to(weights.dtype) / exists.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(total > eps, weights / total.clamp(min=eps), uniform)


class AttentionAdapter(nn.Module):
    """Lets any module be trained and searched: give it a function from batch to inputs and one that finds attention.

    Example:
        >>> net = MyClassifier()                                         # returns (logits, weights)
        >>> model = AttentionAdapter(net, inputs=lambda batch: (batch.image,), read=lambda out: Output(*out))
        >>> model(batch).attention.shape
        torch.Size([B, R])

    Args:
        module: the module to wrap; its parameters are the adapter's.
        inputs: `Batch -> tuple` of positional arguments for the module.
        read: what the module returns -> `Output`.
        hop_reduction: see `reduce_hops`.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Callable[[Batch], tuple[Any, ...]],
        read: Callable[[Any], Output],
        hop_reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.module, self.inputs, self.read, self.hop_reduction = module, inputs, read, hop_reduction

    def forward(self, batch: Batch) -> Output:
        inputs = self.inputs(batch)
        if not isinstance(inputs, tuple):
            raise TypeError(f"`inputs` must return a tuple of arguments, got {type(inputs).__name__}: add a comma?")
        output = self.read(self.module(*inputs))
        _check_type(output)
        return output
