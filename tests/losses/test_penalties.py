"""Penalties on the attention alone."""

import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.losses import entropy_penalty, hop_penalty
from tests.helpers import generator, random_maps
from tests.losses.maps import EXISTS, LENGTHS, pair, seeds


@settings(deadline=None, max_examples=15)
@given(seed=seeds, hops=st.integers(1, 4))
def test_hop_penalty_against_a_loop(seed, hops):
    attention = random_maps(torch.ones(3 * hops, 5, dtype=torch.bool), seed, torch.float64).view(3, hops, 5)
    found = hop_penalty(attention)
    for maps, value in zip(attention, found, strict=True):
        total = 0.0
        for i in range(hops):
            for j in range(hops):
                total += (float(sum(a * b for a, b in zip(maps[i], maps[j], strict=True))) - (i == j)) ** 2
        assert float(value) == pytest.approx(total / hops**2, rel=1e-9)
        assert 0 <= float(value) <= 1


def test_hop_penalty_extremes():
    assert hop_penalty(torch.eye(5)[None, :3]).tolist() == [0]
    same = torch.eye(5)[[2, 2, 2]][None]
    assert float(hop_penalty(same)) == pytest.approx(6 / 9)
    scores = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: hop_penalty(torch.softmax(s, -1)), scores)
    with pytest.raises(ValueError, match=r"needs attention \(B, H, R\), got shape \(3, 5\)"):
        hop_penalty(torch.eye(5)[:3])


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_entropy_is_that_of_scipy(seed):
    attention, _ = pair(seed)
    value = entropy_penalty(attention)
    for row, n in enumerate(LENGTHS):
        assert float(value[row]) == pytest.approx(scipy.stats.entropy(attention[row, :n].numpy()), abs=1e-14)


def test_entropy_extremes_and_gradients():
    assert entropy_penalty(torch.eye(4)).tolist() == [0] * 4
    assert entropy_penalty(torch.full((1, 8), 1 / 8)).tolist() == pytest.approx([math.log(8)])
    scores = torch.randn(5, 7, dtype=torch.float64, generator=generator(0), requires_grad=True)

    def of_scores(scores):
        return entropy_penalty(torch.softmax(scores.masked_fill(~EXISTS, -torch.inf), -1))

    assert torch.autograd.gradcheck(of_scores, scores)
    (gradient,) = torch.autograd.grad(of_scores(scores).sum(), scores)
    assert (gradient[~EXISTS] == 0).all()
