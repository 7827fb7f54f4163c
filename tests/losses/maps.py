"""Random maps that the tests of losses share."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from tests.helpers import generator, random_maps

LENGTHS = [7, 3, 1, 5, 2]
EXISTS = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
WHOLE = torch.ones_like(EXISTS)
seeds = st.integers(0, 10**6)


def pair(seed=0, exists=EXISTS):
    """Attention and target, in double precision."""
    return (random_maps(exists, seed + k, torch.float64) for k in (1, 2))


def peaked(seed, n=6, dim=200):
    """Maps as uneven as attention can be, from one-hot to flat, where half the squared distance is up to 1."""
    scores = torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)
    return torch.softmax(scores * torch.linspace(0, 60, n, dtype=torch.float64)[:, None], -1)
