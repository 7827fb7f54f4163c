"""Losses on the attention alone, without any target."""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.losses.base import masked


def hop_penalty(attention: Tensor) -> Tensor:
    """Mean of `(A A^T - I)^2` over pairs of hops, per example: keeps hops from all looking at the same place.

    Source: Lin et al. 2017, as their code has it (the mean, not the Frobenius norm of the paper).

    Args:
        attention: (B, H, R).

    Returns:
        (B,), in [0, 1] for attention maps; 0 when every hop is one-hot on a region of its own.
    """
    if attention.dim() != 3 or not attention.is_floating_point():
        given = f"{attention.dtype} {tuple(attention.shape)}"
        raise ValueError(f"the hop penalty needs floating point attention (B, H, R), got {given}")
    overlap = attention @ attention.transpose(1, 2)
    identity = torch.eye(attention.shape[1], dtype=attention.dtype, device=attention.device)
    return (overlap - identity).square().mean((1, 2))


def entropy_penalty(attention: Tensor, eps: float = 1e-8) -> Tensor:
    """Entropy of each map, `-sum(a log a)`, in nats: minimised, it sharpens attention without saying where.

    Source: entropy minimisation (Grandvalet and Bengio 2005), here of the attention: a control that has no target.
    Inside the logarithm attention counts as at least `eps`, so that the gradient is finite where it is 0.

    Args:
        attention: (B, R).

    Returns:
        (B,), in [0, log R]; 0 for one-hot maps, log R for uniform ones.
    """
    (attention,) = masked(None, attention)
    return -(attention * attention.clamp(min=eps).log()).sum(-1)
