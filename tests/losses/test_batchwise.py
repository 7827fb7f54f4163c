"""Losses over a batch: their formulas, and the proof that they ignore which target belongs to whom."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.losses import LOSSES, coral, mmd_batch, mmd_released
from tests.losses.maps import EXISTS, WHOLE, pair, peaked, seeds
from tests.losses.test_distances import released_mmd

BATCHWISE = pytest.mark.parametrize("name", ["coral", "mmd_batch"])


@BATCHWISE
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_value_does_not_change_when_targets_are_dealt_out_anew(name, data):
    seed, order = data.draw(seeds), torch.tensor(data.draw(st.permutations(range(6))))
    loss, attention, target = LOSSES[name], peaked(seed), peaked(seed + 1)
    value = loss(attention, target)
    torch.testing.assert_close(loss(attention, target[order]), value, rtol=1e-9, atol=1e-16)
    assert value.shape == (6,)
    assert (value == value[0]).all()
    assert value[0] > 0


@BATCHWISE
@settings(deadline=None, max_examples=20)
@given(st.data())
def test_nor_does_the_gradient(name, data):
    seed, order = data.draw(seeds), torch.tensor(data.draw(st.permutations(range(6))))
    attention, target = peaked(seed).requires_grad_(), peaked(seed + 1)
    first, second = (
        torch.autograd.grad(1e4 * LOSSES[name](attention, own).mean(), attention)[0] for own in (target, target[order])
    )
    torch.testing.assert_close(first, second, rtol=1e-7, atol=1e-14)
    assert first.abs().max() > 0


@BATCHWISE
def test_maps_that_are_all_wrong_one_for_another_have_no_loss(name):
    attention = peaked(0)
    torch.testing.assert_close(
        LOSSES[name](attention, attention.roll(1, 0)), torch.zeros(6).double(), atol=1e-15, rtol=0
    )
    assert mmd_released(attention, attention.roll(1, 0)).sum() > 1e-4


def test_coral_does_not_even_see_the_mean_map():
    attention, target = torch.eye(4)[[0, 0, 0]], torch.eye(4)[[2, 2, 2]]
    assert coral(attention, target).tolist() == [0, 0, 0]
    assert (mmd_batch(attention, target) > 0).all()


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_coral_against_the_covariances_of_numpy(seed):
    attention, target = pair(seed, WHOLE)
    gap = np.cov(attention.numpy(), rowvar=False) - np.cov(target.numpy(), rowvar=False)
    expected = np.sum(gap**2) / (4 * 7**2)
    torch.testing.assert_close(coral(attention, target), torch.full((5,), expected).double())
    assert 0 < expected <= 1 / (2 * 7**2)


def test_coral_at_its_largest():
    """One side has half of its maps on one region and half on another, the other side likewise on two others."""
    attention, target = torch.eye(4)[[0, 1]], torch.eye(4)[[2, 3]]
    assert coral(attention, target).tolist() == pytest.approx([1 / (2 * 4**2)] * 2)


@pytest.mark.parametrize("dim", [200, 7])
@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_mmd_batch_is_the_released_formula_on_the_batch(dim, seed):
    whole = torch.ones(5, dim, dtype=torch.bool)
    attention, target = pair(seed, whole)
    expected = released_mmd(attention.numpy(), target.numpy())
    assert mmd_batch(attention, target, dim=dim).tolist() == pytest.approx([expected] * 5, abs=1e-14)


def test_mmd_batch_of_one_is_the_released_loss():
    attention, target = pair()
    for row in range(5):
        one = [x[row : row + 1] for x in (attention, target, EXISTS)]
        torch.testing.assert_close(mmd_batch(*one), mmd_released(*one), rtol=1e-12, atol=1e-18)


def test_a_batch_of_one_has_no_covariance():
    attention = torch.eye(3)[:1].requires_grad_()
    value = coral(attention, torch.eye(3)[1:2])
    value.sum().backward()
    assert value.tolist() == [0]
    assert attention.grad.tolist() == [[0, 0, 0]]
