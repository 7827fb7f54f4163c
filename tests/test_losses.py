"""Attention losses: gradients, zeros, pairing, and independent implementations of each, the released one included."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.losses import LOSSES, attention_loss, hop_penalty, kl, mmd_released, mse, prepare_target
from tests.helpers import generator, random_maps

LENGTHS = [7, 3, 1, 5, 2]
EXISTS = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
seeds = st.integers(0, 10**6)


def pair(seed=0, exists=EXISTS):
    return (random_maps(exists, seed + k, torch.float64) for k in (1, 2))


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("masked", [True, False])
def test_gradients(name, masked):
    """Through a softmax, as in training, and of the map itself."""
    exists = EXISTS if masked else torch.ones_like(EXISTS)
    loss, (attention, target) = attention_loss(name), pair(exists=exists)
    argument = exists if masked else None
    scores = torch.randn(5, 7, generator=generator(5), dtype=torch.float64, requires_grad=True)

    def of_scores(scores):
        return loss(torch.softmax(scores.masked_fill(~exists, -torch.inf), -1), target, argument)

    assert torch.autograd.gradcheck(of_scores, scores)
    inside = attention.clamp(min=0.01).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: loss(a, target.clamp(min=0.01), argument), inside)


@pytest.mark.parametrize("name", sorted(LOSSES))
@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_zero_if_and_only_if_equal(name, seed):
    loss, (attention, target) = attention_loss(name), pair(seed)
    assert loss(attention, attention.clone(), EXISTS).abs().max() < 1e-15
    value = loss(attention, target, EXISTS)
    differ = (attention - target).abs().amax(-1) > 0
    assert differ.tolist() == [True, True, False, True, True]  # a single region leaves no choice
    assert (value[differ] > 0).all()
    assert (value[~differ] == 0).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_each_map_is_compared_with_its_own_target(name, data):
    loss, (attention, target) = attention_loss(name), pair(data.draw(seeds))
    order = torch.tensor(data.draw(st.permutations(range(5))))
    value = loss(attention, target, EXISTS)
    assert value.shape == (5,)
    assert torch.equal(loss(attention[order], target[order], EXISTS[order]), value[order])
    for row in range(5):
        alone = loss(attention[row : row + 1], target[row : row + 1], EXISTS[row : row + 1])
        torch.testing.assert_close(alone[0], value[row], atol=1e-15, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_dealing_targets_to_others_changes_the_loss(name):
    whole = torch.ones(5, 7, dtype=torch.bool)
    attention, target = pair(exists=whole)
    loss = attention_loss(name)
    assert not torch.isclose(loss(attention, target).sum(), loss(attention, target.roll(1, 0)).sum(), rtol=1e-3)


@pytest.mark.parametrize("name", sorted(LOSSES))
@settings(deadline=None, max_examples=15)
@given(seed=seeds, more=st.integers(1, 9))
def test_padding_does_not_matter(name, seed, more):
    loss, (attention, target) = attention_loss(name), pair(seed)
    value = loss(attention, target, EXISTS)
    wide = [torch.nn.functional.pad(x, (0, more)) for x in (attention, target, EXISTS)]
    torch.testing.assert_close(loss(*wide), value)
    # Whatever stands on padding is not looked at, and nothing flows back into it.
    noisy = (attention + 0.3 * ~EXISTS).requires_grad_()
    found = loss(noisy, target + 0.1 * ~EXISTS, EXISTS)
    torch.testing.assert_close(found, value)
    (gradient,) = torch.autograd.grad(found.sum(), noisy)
    assert (gradient[~EXISTS] == 0).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_one_hot_against_another_is_finite_with_finite_gradients(name):
    attention = torch.eye(4)[:1].requires_grad_()
    value = attention_loss(name)(attention, torch.eye(4)[1:2])
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(attention.grad).all()
    largest = {"mse": 2 / 4, "kl": -np.log(1e-8), "mmd_released": 2 - 2 * np.exp(-2 / 200**2)}[name]
    assert float(value.detach()) == pytest.approx(largest, rel=1e-5)


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown attention loss 'coral': expected one of kl, mmd_released, mse"):
        attention_loss("coral")
    assert attention_loss("kl") is kl


# --- each of them ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_mse_is_the_mean_over_regions(seed):
    attention, target = pair(seed)
    value = mse(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        expected = np.mean((attention[row, :n].numpy() - target[row, :n].numpy()) ** 2)
        assert float(value[row]) == pytest.approx(expected, rel=1e-12)
    whole = torch.ones(5, 7, dtype=torch.bool)
    attention, target = pair(seed, whole)
    expected = torch.nn.functional.mse_loss(attention, target)
    torch.testing.assert_close(mse(attention, target).mean(), expected)


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


def peaked(seed, n=6, dim=200):
    """Maps as uneven as attention can be, from one-hot to flat, where half the squared distance is up to 1."""
    scores = torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)
    return torch.softmax(scores * torch.linspace(0, 60, n, dtype=torch.float64)[:, None], -1)


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


# --- hops and targets ------------------------------------------------------------------------------------------------


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
