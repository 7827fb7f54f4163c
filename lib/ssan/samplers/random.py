"""Samplers that keep or hide each region by chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ssan import rng
from ssan.variants import Sampler, whole


def check_random(n_masks: int, seed: int, keep: float = 0.5) -> None:
    """Raise a ValueError or TypeError that names what is wrong with a random sampler's arguments."""
    whole("n_masks", n_masks, 1)
    if n_masks >= 2**32:
        raise ValueError(f"n_masks must be below 2**32, got {n_masks}")
    if not 0 < keep < 1:
        raise ValueError(f"keep is the probability that a region is kept and must lie between 0 and 1, got {keep!r}")
    rng.check_seed(seed)


@dataclass(frozen=True)
class RandomMasks(Sampler):
    """Keeps every region with probability `keep`, independently.

    Args:
        n_masks: number of random masks, >= 1; the clean input comes on top.
        keep: probability that a region is kept, in (0, 1); used to the nearest multiple of 2**-24.
        seed: any int64.
    """

    n_masks: int
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_random(self.n_masks, self.seed, self.keep)

    def variants_of(self, n):
        return 0 * n + self.n_masks

    def kept(self, of):
        return rng.bernoulli(self.keep, self.seed, of.example_id, of.index, of.width)


@dataclass(frozen=True)
class KeepK(Sampler):
    """Keeps exactly min(k, n) of n regions, every such set being equally likely.

    Every region draws a random word and the k lowest win (of equal words the lower region).

    Args:
        n_masks: number of random masks, >= 1; the clean input comes on top.
        k: how many regions are kept, >= 1.
        seed: any int64.
    """

    n_masks: int
    k: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_random(self.n_masks, self.seed)
        whole("k", self.k, 1)

    def variants_of(self, n):
        return 0 * n + self.n_masks

    def kept(self, of):
        key = rng.words(self.seed, of.example_id, of.index, of.width).masked_fill(of.beyond, 2**32)
        winners = key.argsort(dim=1, stable=True)[:, : self.k]
        return torch.zeros_like(of.beyond).scatter(1, winners, True)
