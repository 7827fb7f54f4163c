"""What is done to a target before attention is pulled towards it."""

from __future__ import annotations

from torch import Tensor

from ssan.models.attention import as_distribution


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
