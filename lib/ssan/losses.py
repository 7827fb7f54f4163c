"""Attention supervision by name: how far an attention map is from its surrogate.

Every loss takes `(attention (B, R), target (B, R), exists (B, R) bool or None)` and returns one number per example,
(B,), so that each map is compared with its own target. A loss computed on batch averages cannot tell which target
belongs to whom: the released kernel loss, evaluated on more than one example at a time, is of that kind.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssan.models.attention import as_distribution

AttentionLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _squared(attention: Tensor, target: Tensor, exists: Tensor | None) -> Tensor:
    difference = (attention - target).square()
    return difference if exists is None else difference.masked_fill(~exists, 0)


def mse(attention: Tensor, target: Tensor, exists: Tensor | None = None) -> Tensor:
    """Mean squared difference over the regions that exist: `sum((a - t)^2) / R`.

    Range [0, 2 / R]; 0 if and only if the maps are equal. Source: sister paper (arXiv 1911.08618) lists it; formula
    standard.
    """
    n = attention.shape[-1] if exists is None else exists.sum(-1)
    return _squared(attention, target, exists).sum(-1) / n


def kl(attention: Tensor, target: Tensor, exists: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """KL(target || attention) = `sum(t log(t / a))`, in nats.

    Range [0, -log eps]; 0 if and only if the maps are equal. Regions where the target is 0 add nothing; `eps` bounds
    the logarithm where the attention is 0: attention below it counts as `eps`, and is not pulled. Our design: the
    default of this package.
    """
    if exists is not None:
        target, attention = target.masked_fill(~exists, 0), attention.masked_fill(~exists, 0)
    return (torch.xlogy(target, target) - target * attention.clamp(min=eps).log()).sum(-1)


def mmd_released(attention: Tensor, target: Tensor, exists: Tensor | None = None, dim: int = 200) -> Tensor:
    """The released code's kernel distance, for one example at a time: `2 - 2 exp(-||a - t||^2 / dim^2)`.

    The released formula is the biased MMD estimate with kernel k(x, y) = exp(-mean((x - y)^2) / dim), on maps of
    `dim` = 200 positions and batches of one; kxx and kyy are then 1. To first order it is `2 ||a - t||^2 / dim^2`, so
    the released weight of 10000 makes it half the squared distance: less by its square / 40000, which is below 1e-5 for
    a squared distance up to 1.26 and 2.5e-5 at the most distant maps there are.

    Range [0, 2 - 2 exp(-2 / dim^2)] (1e-4 for 200 positions); 0 if and only if the maps are equal. `expm1` keeps the
    digits that `2 - 2 exp` would cancel.
    """
    return -2 * torch.expm1(-_squared(attention, target, exists).sum(-1) / dim**2)


LOSSES: dict[str, AttentionLoss] = {"mse": mse, "kl": kl, "mmd_released": mmd_released}


def attention_loss(name: str) -> AttentionLoss:
    """The loss called `name`.

    Raises:
        ValueError: if there is none, with the names there are.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown attention loss {name!r}: expected one of {', '.join(sorted(LOSSES))}")
    return LOSSES[name]


def hop_penalty(attention: Tensor) -> Tensor:
    """Mean of `(A A^T - I)^2` over pairs of hops, per example: keeps hops from all looking at the same place.

    Source: Lin et al. 2017, as their code has it (the mean, not the Frobenius norm of the paper).

    Args:
        attention: (B, H, R).

    Returns:
        (B,), in [0, 1] for attention maps; 0 when every hop is one-hot on a region of its own.
    """
    if attention.dim() != 3:
        raise ValueError(f"the hop penalty needs attention (B, H, R), got shape {tuple(attention.shape)}")
    overlap = attention @ attention.transpose(1, 2)
    identity = torch.eye(attention.shape[1], dtype=attention.dtype, device=attention.device)
    return (overlap - identity).square().mean((1, 2))


def prepare_target(target: Tensor, exists: Tensor, temperature: float = 1.0, eps: float = 1e-4) -> Tensor:
    """Make a target a distribution over the regions that exist: nothing elsewhere, sum 1, sharpened if asked.

    `eps` is added to every existing region before the temperature, so that no region is ruled out for good; a
    temperature below 1 sharpens (`p^(1 / temperature)`), one above 1 flattens. Renormalising over real regions
    matters: weight left on padding would tell the model the sentence's length. Our design.

    Args:
        target: (B, R), non-negative.
        exists: (B, R) bool.

    Returns:
        (B, R).
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    soft = as_distribution(target, exists) + eps
    return as_distribution(soft.pow(1 / temperature), exists)
