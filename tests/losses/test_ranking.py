"""The ranking loss: against a loop over pairs, and what it does to the order of attention."""

import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings

from ssan.losses import rank
from tests.helpers import generator, random_maps
from tests.losses.maps import EXISTS, LENGTHS, WHOLE, pair, seeds


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_against_a_loop_over_pairs(seed):
    attention, target = pair(seed)
    value = rank(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        total = weight = 0.0
        for i in range(n):
            for j in range(n):
                ahead = float(target[row, i] - target[row, j])
                if ahead > 0:
                    a, b = float(attention[row, i]), float(attention[row, j])
                    total -= ahead * math.log(a / (a + b))
                    weight += ahead
        assert float(value[row]) == pytest.approx(total / weight if n > 1 else 0.0, rel=1e-9)


def test_known_values():
    target = torch.tensor([[0.6, 0.3, 0.1]])
    assert float(rank(torch.full((1, 3), 1 / 3), target)) == pytest.approx(math.log(2))
    right, wrong = torch.tensor([[0.9, 0.09, 0.01]]), torch.tensor([[0.01, 0.09, 0.9]])
    assert float(rank(right, target)) < 0.1 < 1 < float(rank(wrong, target))
    # It goes on to sharpen, so the target itself is not where it is least …
    assert float(rank(right, target)) < float(rank(target, target))
    # … and has nothing to say of a target without an order.
    assert float(rank(right, torch.full((1, 3), 1 / 3))) == 0


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_only_the_order_of_the_target_says_which_way_to_pull(seed):
    """The gradient lifts the target's first region and lowers its last, whatever their weights."""
    attention, target = pair(seed, WHOLE)
    scores = attention.log().requires_grad_()
    rank(torch.softmax(scores, -1), target).sum().backward()
    order = target.argsort(-1)
    assert (scores.grad.gather(1, order[:, -1:]) < 0).all()
    assert (scores.grad.gather(1, order[:, :1]) > 0).all()


def test_descending_it_brings_regions_into_order():
    target = random_maps(torch.ones(3, 8, dtype=torch.bool), 1, torch.float64)
    scores = torch.randn(3, 8, generator=generator(2), dtype=torch.float64).requires_grad_()
    before = [scipy.stats.spearmanr(s, t).statistic for s, t in zip(scores.detach(), target, strict=True)]
    optimizer = torch.optim.Adam([scores], 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        rank(torch.softmax(scores, -1), target).sum().backward()
        optimizer.step()
    after = [scipy.stats.spearmanr(s, t).statistic for s, t in zip(scores.detach(), target, strict=True)]
    assert max(before) < 0.7
    assert after == pytest.approx([1, 1, 1])
