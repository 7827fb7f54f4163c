"""Divergences against those of scipy and torch."""

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch
from hypothesis import given, settings

from ssan.losses import js, kl, reverse_kl
from tests.losses.maps import EXISTS, LENGTHS, WHOLE, pair, seeds


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_kl_is_the_relative_entropy_of_scipy_and_torch(seed):
    attention, target = pair(seed)
    value = kl(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        expected = scipy.stats.entropy(target[row, :n].numpy(), attention[row, :n].numpy())
        assert float(value[row]) == pytest.approx(expected, rel=1e-9, abs=1e-14)
    safe = attention.clamp(min=1e-300).log()
    expected = torch.nn.functional.kl_div(safe, target, reduction="none").sum(-1)
    torch.testing.assert_close(value, expected)


def test_kl_ignores_regions_without_target():
    attention = torch.tensor([[0.5, 0.5, 0.0]])
    assert float(kl(attention, torch.tensor([[1.0, 0.0, 0.0]]))) == pytest.approx(np.log(2))
    assert float(kl(attention, torch.tensor([[0.0, 0.0, 1.0]]))) == pytest.approx(-np.log(1e-8), rel=1e-6)
    assert float(kl(attention, torch.tensor([[0.0, 0.0, 1.0]]), eps=1e-3)) == pytest.approx(-np.log(1e-3), rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_reverse_kl_is_the_relative_entropy_the_other_way_round(seed):
    attention, target = pair(seed)
    value = reverse_kl(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        expected = scipy.stats.entropy(attention[row, :n].numpy(), target[row, :n].numpy())
        assert float(value[row]) == pytest.approx(expected, rel=1e-9, abs=1e-14)
    torch.testing.assert_close(value, kl(target, attention, EXISTS))


def test_reverse_kl_is_content_with_a_part_of_the_target():
    """Attention on one half of the target costs log 2 this way round, and nearly everything the other way."""
    attention, target = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.5, 0.0]])
    assert float(reverse_kl(attention, target)) == pytest.approx(np.log(2), rel=1e-6)
    assert float(kl(attention, target)) > 8
    # Attention where there is no target is what it punishes.
    astray = torch.tensor([[0.5, 0.0, 0.5]])
    assert float(reverse_kl(astray, target)) > 8


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_js_is_the_square_of_the_jensen_shannon_distance_of_scipy(seed):
    attention, target = pair(seed)
    value = js(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        expected = scipy.spatial.distance.jensenshannon(attention[row, :n].numpy(), target[row, :n].numpy()) ** 2
        assert float(value[row]) == pytest.approx(expected, abs=1e-14)
    torch.testing.assert_close(value, js(target, attention, EXISTS))
    assert (js(*pair(seed, WHOLE)) < np.log(2)).all()


def test_js_of_maps_that_share_nothing_is_log_two():
    attention, target = torch.tensor([[0.3, 0.7, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.9, 0.1]])
    assert float(js(attention, target)) == pytest.approx(np.log(2), rel=1e-6)
