"""Squared distances and the angle, each against an independent implementation, the released one included."""

import numpy as np
import pytest
import scipy.spatial.distance
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.losses import cosine, mmd_released, mse
from tests.losses.maps import EXISTS, LENGTHS, WHOLE, pair, peaked, seeds


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_mse_is_the_mean_over_regions(seed):
    attention, target = pair(seed)
    value = mse(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        expected = np.mean((attention[row, :n].numpy() - target[row, :n].numpy()) ** 2)
        assert float(value[row]) == pytest.approx(expected, rel=1e-12)
    attention, target = pair(seed, WHOLE)
    expected = torch.nn.functional.mse_loss(attention, target)
    torch.testing.assert_close(mse(attention, target).mean(), expected)


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_cosine_is_the_distance_of_scipy_and_torch(seed):
    attention, target = pair(seed)
    value = cosine(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        expected = scipy.spatial.distance.cosine(attention[row, :n].numpy(), target[row, :n].numpy())
        assert float(value[row]) == pytest.approx(expected, abs=1e-14)
        assert 0 <= float(value[row]) <= 1
    torch.testing.assert_close(value, 1 - torch.cosine_similarity(attention, target))


def test_cosine_keeps_its_digits_where_maps_are_close():
    """`1 - cos` would have none left in single precision."""
    attention, target = (m.float() for m in pair(3, torch.ones(4, 64, dtype=torch.bool)))
    target = attention + 1e-3 * (target - attention)
    exact = cosine(attention.double(), target.double())
    assert exact.max() < 1e-6
    torch.testing.assert_close(cosine(attention, target).double(), exact, rtol=1e-2, atol=0)
    assert ((1 - torch.cosine_similarity(attention, target)).double() - exact).abs().max() > 0.01 * exact.max()


# --- the released kernel loss ----------------------------------------------------------------------------------------


def released_mmd(x, y):
    """The biased MMD estimate of two samples of maps (B, dim), with the released kernel, pair by pair, in numpy."""

    def mean_kernel(a, b):
        return np.mean([[np.exp(-np.mean((u - v) ** 2) / len(u)) for v in b] for u in a])

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, dim=st.sampled_from([200, 7]))
def test_mmd_is_the_released_formula_on_one_example(seed, dim):
    whole = torch.ones(3, dim, dtype=torch.bool)
    attention, target = pair(seed, whole)
    value = mmd_released(attention, target, dim=dim)
    for row in range(3):
        expected = released_mmd(attention[row : row + 1].numpy(), target[row : row + 1].numpy())
        assert float(value[row]) == pytest.approx(expected, abs=1e-14)


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_ten_thousand_times_the_released_loss_is_half_the_squared_distance(seed):
    attention, target = peaked(seed), peaked(seed + 1).flip(0)
    for x, y in zip(attention, target, strict=True):
        squared = float((x - y).square().sum())
        # The second term of the series is below 1e-5 but for maps that are all but one-hot, on different places.
        tolerance = 1e-5 if squared < 1.26 else 2.5e-5
        assert float(10000 * mmd_released(x[None], y[None])) == pytest.approx(squared / 2, abs=tolerance, rel=0)
        assert 10000 * released_mmd(x[None].numpy(), y[None].numpy()) == pytest.approx(
            squared / 2, abs=tolerance, rel=0
        )


def test_half_the_squared_distance_is_not_vacuous():
    distances = (peaked(0) - peaked(1).flip(0)).square().sum(-1)
    assert ((distances > 0.1) & (distances < 1.26)).any()


def test_the_digits_survive_in_single_precision():
    """`2 - 2 exp(-x)` has none left for maps this close; `expm1` keeps them."""
    attention, target = (m.float() for m in pair(3, torch.ones(4, 200, dtype=torch.bool)))
    target = attention + 0.5 * (target - attention)
    exact = mmd_released(attention.double(), target.double())
    assert exact.max() < 1e-7
    torch.testing.assert_close(mmd_released(attention, target).double(), exact, rtol=1e-5, atol=0)


def test_the_released_formula_on_a_batch_forgets_which_target_belongs_to_whom():
    """Why the loss is taken one example at a time: on a batch the formula is the same for permuted targets."""
    x, y = peaked(0).numpy(), peaked(1).numpy()
    together = released_mmd(x, y)
    for order in (np.roll(range(6), 1), np.random.default_rng(0).permutation(6)):
        assert released_mmd(x, y[order]) == pytest.approx(together, rel=1e-9, abs=1e-15)
    # What it sees is the mean map alone …
    means = 2 * np.sum((x.mean(0) - y.mean(0)) ** 2) / 200**2
    assert together == pytest.approx(means, rel=1e-3)
    # … so that maps which are all wrong, one for another, have no loss.
    assert released_mmd(x, np.roll(x, 1, 0)) == pytest.approx(0, abs=1e-15)
    assert mmd_released(torch.from_numpy(x), torch.from_numpy(np.roll(x, 1, 0))).sum() > 1e-4
