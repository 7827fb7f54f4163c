"""Every loss against an independent formula: numpy, scipy, torch, loops, the released code; and what is special in it.

What holds for all of them is in `test_contract.py`, the earth mover's distance on grids in `test_transport.py`.
"""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan import LOSSES, losses
from ssan.losses import UNPAIRED, coral, cosine, js, kl, mmd_batch, mmd_released, mse, rank, reverse_kl
from tests.helpers import EXISTS, LENGTHS, WHOLE, generator, pair, peaked, random_maps

seeds = st.integers(0, 10**6)


def ranked(a, t):
    """Over all pairs that the target puts into an order."""
    pairs = [(t[i] - t[j], a[i] / (a[i] + a[j])) for i in range(len(a)) for j in range(len(a)) if t[i] > t[j]]
    return -sum(w * math.log(p) for w, p in pairs) / sum(w for w, _ in pairs) if pairs else 0.0


# Attention and target of one example, in numpy -> the loss.
FORMULAS = {
    mse: lambda a, t: np.mean((a - t) ** 2),
    cosine: scipy.spatial.distance.cosine,
    kl: lambda a, t: scipy.stats.entropy(t, a),
    reverse_kl: scipy.stats.entropy,
    js: lambda a, t: scipy.spatial.distance.jensenshannon(a, t) ** 2,
    mmd_released: lambda a, t: 2 - 2 * np.exp(-np.sum((a - t) ** 2) / 200**2),
    rank: ranked,
    losses.emd: lambda a, t: scipy.stats.wasserstein_distance(range(len(a)), range(len(a)), a, t),
    lambda attention, *_: losses.entropy_penalty(attention): lambda a, _: scipy.stats.entropy(a),
}


@pytest.mark.parametrize(("loss", "formula"), FORMULAS.items())
@settings(max_examples=25)
@given(seed=seeds)
def test_against_numpy_and_scipy(loss, formula, seed):
    attention, target = pair(seed)
    value = loss(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        expected = formula(attention[row, :n].numpy(), target[row, :n].numpy())
        assert float(value[row]) == pytest.approx(expected, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize(("loss", "step", "largest"), [(cosine, 1e-3, 1e-6), (mmd_released, 0.5, 1e-7)])
def test_the_digits_of_close_maps_survive_in_single_precision(loss, step, largest):
    """`1 - cos` and `2 - 2 exp(-x)` would have none left."""
    attention, target = (m.float() for m in pair(3, torch.ones(4, 200, dtype=torch.bool)))
    target = attention + step * (target - attention)
    exact = loss(attention.double(), target.double())
    assert 0 < exact.max() < largest
    torch.testing.assert_close(loss(attention, target).double(), exact, rtol=1e-2, atol=0)


@settings(max_examples=15)
@given(seed=seeds)
def test_the_ranking_loss_pulls_by_the_order_of_the_target_alone_and_goes_on_to_sharpen(seed):
    attention, target = pair(seed, WHOLE)
    scores = attention.log().requires_grad_()
    rank(torch.softmax(scores, -1), target).sum().backward()
    order = target.argsort(-1)
    assert (scores.grad.gather(1, order[:, -1:]) < 0).all()
    assert (scores.grad.gather(1, order[:, :1]) > 0).all()
    sharp = torch.softmax(20 * target / target.amax(1, keepdim=True), -1)
    assert (rank(sharp, target) < rank(target, target)).all()
    assert rank(attention, torch.full_like(target, 1 / 7)).tolist() == [0] * 5  # a flat target has no order
    torch.testing.assert_close(rank(torch.full_like(target, 1 / 7), target), torch.full((5,), math.log(2)).double())


def released_mmd(x, y):
    """The biased MMD estimate of two samples of maps (B, dim), with the released kernel, pair by pair, in numpy."""

    def mean_kernel(a, b):
        return np.mean([[np.exp(-np.mean((u - v) ** 2) / len(u)) for v in b] for u in a])

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


@settings(max_examples=15)
@given(seed=seeds, dim=st.sampled_from([200, 7]))
def test_mmd_is_the_released_formula_on_one_example_and_on_a_batch(seed, dim):
    attention, target = pair(seed, torch.ones(3, dim, dtype=torch.bool))
    value = mmd_released(attention, target, dim=dim)
    for row in range(3):
        example = [maps[row : row + 1] for maps in (attention, target)]
        assert float(value[row]) == pytest.approx(released_mmd(*(maps.numpy() for maps in example)), abs=1e-14)
        assert float(mmd_batch(*example, dim=dim)) == pytest.approx(float(value[row]), rel=1e-12, abs=1e-18)
    together = released_mmd(attention.numpy(), target.numpy())
    assert mmd_batch(attention, target, dim=dim).tolist() == pytest.approx([together] * 3, abs=1e-14)


@settings(max_examples=25)
@given(seed=seeds)
def test_ten_thousand_times_the_released_loss_is_half_the_squared_distance(seed):
    attention, target = peaked(seed), peaked(seed + 1).flip(0)
    squared = (attention - target).square().sum(-1)
    assert squared.max() > 0.1
    # The second term of the series is below 1e-5 but for maps that are all but one-hot, on different places.
    gap = (10000 * mmd_released(attention, target) - squared / 2).abs()
    assert (gap < torch.where(squared < 1.26, 1e-5, 2.5e-5)).all()
    # On a batch it sees the mean map alone, very nearly.
    means = 2 * (attention.mean(0) - target.mean(0)).square().sum() / 200**2
    assert float(mmd_batch(attention, target)[0]) == pytest.approx(float(means), rel=1e-3)


@pytest.mark.parametrize("name", sorted(UNPAIRED))
@settings(max_examples=30)
@given(st.data())
def test_neither_value_nor_gradient_change_when_targets_are_dealt_out_anew(name, data):
    seed, order = data.draw(seeds), torch.tensor(data.draw(st.permutations(range(6))))
    loss, attention, target = LOSSES[name], peaked(seed).requires_grad_(), peaked(seed + 1)
    value, dealt = loss(attention, target), loss(attention, target[order])
    torch.testing.assert_close(dealt, value, rtol=1e-9, atol=1e-16)
    assert (value == value[0]).all()
    assert value[0] > 0
    first, second = (torch.autograd.grad(1e4 * each.mean(), attention)[0] for each in (value, dealt))
    torch.testing.assert_close(first, second, rtol=1e-7, atol=1e-14)
    # So maps that are all wrong, one for another, have no loss, where a paired loss sees it.
    maps = attention.detach()
    assert loss(maps, maps.roll(1, 0)).abs().max() < 1e-15
    assert mmd_released(maps, maps.roll(1, 0)).sum() > 1e-4


@settings(max_examples=25)
@given(seed=seeds)
def test_coral_against_the_covariances_of_numpy_and_where_it_is_blind(seed):
    attention, target = pair(seed, WHOLE)
    gap = np.cov(attention.numpy(), rowvar=False) - np.cov(target.numpy(), rowvar=False)
    assert coral(attention, target).tolist() == pytest.approx([np.sum(gap**2) / (4 * 7**2)] * 5)
    places = torch.eye(4)
    assert coral(places[[0, 1]], places[[2, 3]]).tolist() == pytest.approx([1 / (2 * 4**2)] * 2)  # its largest value
    for n in (3, 1):  # it does not see the mean map, and a batch of one has no covariance
        assert coral(places[[0] * n], places[[2] * n]).tolist() == [0] * n
        assert (mmd_batch(places[[0] * n], places[[2] * n]) > 0).all()


@settings(max_examples=15)
@given(seed=seeds, hops=st.integers(1, 4))
def test_hop_penalty_against_a_loop(seed, hops):
    attention = random_maps(torch.ones(3 * hops, 5, dtype=torch.bool), seed, torch.float64).view(3, hops, 5)
    for maps, value in zip(attention, losses.hop_penalty(attention), strict=True):
        total = sum((float(maps[i] @ maps[j]) - (i == j)) ** 2 for i in range(hops) for j in range(hops))
        assert float(value) == pytest.approx(total / hops**2, rel=1e-9)
        assert 0 <= float(value) <= 1


def test_penalties_at_their_extremes_and_their_gradients():
    assert losses.hop_penalty(torch.eye(5)[None, :3]).tolist() == [0]
    assert float(losses.hop_penalty(torch.eye(5)[[2, 2, 2]][None])) == pytest.approx(6 / 9)
    assert losses.entropy_penalty(torch.eye(4)).tolist() == [0] * 4
    assert losses.entropy_penalty(torch.full((1, 8), 1 / 8)).tolist() == pytest.approx([math.log(8)])
    scores = torch.randn(2, 3, 7, dtype=torch.float64, generator=generator(0), requires_grad=True)

    def of_scores(scores):
        maps = torch.softmax(scores.masked_fill(~EXISTS[0], -torch.inf), -1)
        return losses.hop_penalty(maps), losses.entropy_penalty(maps[:, 0])

    assert torch.autograd.gradcheck(of_scores, scores)
    with pytest.raises(ValueError, match=r"floating point attention \(B, H, R\), got torch.float32 \(3, 5\)"):
        losses.hop_penalty(torch.eye(5)[:3])
