"""Targets as they are before attention is pulled towards them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.losses import prepare_target
from tests.helpers import generator
from tests.losses.maps import EXISTS, LENGTHS, seeds


@settings(deadline=None, max_examples=25)
@given(seed=seeds, temperature=st.floats(0.2, 3), eps=st.sampled_from([0.0, 1e-4, 0.1]))
def test_prepare_target_by_hand(seed, temperature, eps):
    weights = torch.rand(5, 7, generator=generator(seed), dtype=torch.float64)  # on padding too
    found = prepare_target(weights, EXISTS, temperature, eps)
    for row, n in enumerate(LENGTHS):
        p = weights[row, :n].numpy() / weights[row, :n].sum().item() + eps
        expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        np.testing.assert_allclose(found[row, :n], expected, rtol=1e-9)
        assert (found[row, n:] == 0).all()


def test_prepare_target_leaves_no_region_out_and_sharpens():
    target = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.0, 0.0, 0.0, 0.9]])
    exists = torch.tensor([[True, True, True, False], [True, True, False, False]])
    soft = prepare_target(target, exists)
    assert (soft > 0).tolist() == exists.tolist()
    assert soft[1].tolist() == [0.5, 0.5, 0, 0]  # nothing but padding was meant: uniform
    sharp, flat = prepare_target(target, exists, 0.5), prepare_target(target, exists, 2.0)
    assert sharp[0, 0] > soft[0, 0] > flat[0, 0]
    torch.testing.assert_close(soft.sum(-1), torch.ones(2))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_prepare_target_temperature(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        prepare_target(torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), temperature)


def test_prepare_target_refuses_negative_weights():
    with pytest.raises(ValueError, match="weights must be non-negative"):
        prepare_target(torch.tensor([[-0.1, 1.1]]), torch.ones(1, 2, dtype=torch.bool))
