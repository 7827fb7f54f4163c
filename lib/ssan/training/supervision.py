"""Targets for attention while a model trains: what they are, and how far the attention on a batch is from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssan.attention import AttentionModel, Output, as_distribution
from ssan.losses import make_loss
from ssan.regions import Regions
from ssan.task import Batch, Split


@dataclass(frozen=True)
class Supervision:
    """Targets for the attention of the training examples: adds `weight * mean distance(attention, target)` to the loss.

    Attributes:
        ids: (N,) int64, which examples the targets belong to; must be the training split's, in its order.
        target: (N, R), distributions over regions: non-negative, sum 1.
        loss: name of the distance, see `ssan.losses`.
        weight: of the attention loss beside the cross-entropy, finite and at least 0.
        schedule: fraction of the training done, in [0, 1) -> factor on the weight; None keeps it constant, and
            `lambda done: 1 - done` lets it fade.

    A ValueError names the field, what was given and what is expected.
    """

    ids: Tensor
    target: Tensor
    loss: str = "kl"
    weight: float = 0.2
    schedule: Callable[[float], float] | None = None

    def __post_init__(self) -> None:
        make_loss(self.loss)
        if not isinstance(self.weight, int | float) or not math.isfinite(self.weight) or self.weight < 0:
            raise ValueError(f"weight must be a finite number of at least 0, got {self.weight!r}")
        if self.target.dim() != 2 or len(self.target) != len(self.ids):
            raise ValueError(f"targets must be (N, R) with N={len(self.ids)} ids, got shape {tuple(self.target.shape)}")
        if not (torch.isfinite(self.target) & (self.target >= 0)).all():
            raise ValueError("targets must be finite and non-negative")
        sums = self.target.sum(1)
        if len(sums) and float((sums - 1).abs().max()) > 1e-3:
            raise ValueError(
                f"targets must sum to 1, sums run from {float(sums.min()):.4g} to {float(sums.max()):.4g}: "
                "ssan.prepare_target makes distributions of non-negative maps"
            )

    def check(self, split: Split) -> None:
        """Raise ValueError unless the targets belong to exactly the examples of `split`, in its order."""
        if not torch.equal(self.ids.cpu(), split.ids.cpu()):
            raise ValueError(
                f"the supervision has targets for {len(self.ids)} examples, the training split has {len(split)}, and "
                "their ids or order differ: search for surrogates on this very split"
            )

    def factor(self, progress: float) -> float:
        """On the weight, when the fraction `progress` of the training is done."""
        return 1.0 if self.schedule is None else self.schedule(progress)

    def distance(self, model: AttentionModel, batch: Batch, output: Output, rows: Tensor, regions: Regions) -> Tensor:
        """Mean distance between the attention on `batch`, over `regions`, and the targets at `rows`; a scalar."""
        attention = model.attention_map(output)
        if torch.is_grad_enabled() and not attention.requires_grad:
            raise ValueError("the attention carries no gradient, supervision can teach it nothing: see ssan.check")
        target = self.target[rows.to(self.target.device)].to(attention.device, attention.dtype)
        width = attention.shape[1]
        # Batches are cut to their longest sentence, targets are as wide as the longest of all: zeros are cut or added.
        target = F.pad(target, (0, max(0, width - target.shape[1])))[:, :width]
        everywhere = regions.grid is not None or model.padding_attends
        exists = None if everywhere else regions.exists(batch, width)
        return make_loss(self.loss, regions.grid)(attention, target, exists).mean()


def prepare_target(target: Tensor, exists: Tensor, temperature: float = 1.0, eps: float = 1e-4) -> Tensor:
    """Make a target a distribution over the regions that exist: nothing elsewhere, sum 1, sharpened if asked.

    `eps` is added to every existing region before the temperature, so that no region is ruled out for good; a
    temperature below 1 sharpens (`p^(1 / temperature)`), one above 1 flattens. Renormalising over real regions
    matters: weight left on padding would tell the model the sentence's length. Our design.

    Args:
        target: (B, R), non-negative, as is what is returned.
        exists: (B, R) bool.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")
    if target.shape != exists.shape or target.dim() != 2:
        raise ValueError(f"target and exists must be (B, R), got {tuple(target.shape)} and {tuple(exists.shape)}")
    soft = as_distribution(target, exists) + eps
    return as_distribution(soft.pow(1 / temperature), exists)
