"""What holds for attention losses by name: gradients, zeros, pairing, padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.losses import LOSS_NAMES, LOSSES, UNPAIRED, GridEMD, attention_loss, kl, make_loss
from ssan.losses.adversarial import Adversary, ImageDiscriminator, PixelDiscriminators
from tests.helpers import generator
from tests.losses.maps import EXISTS, WHOLE, pair, seeds

PAIRED = sorted(LOSSES.keys() - UNPAIRED)
# `rank` asks for the target's order, and has no least value that is reached.
DISTANCES = [name for name in PAIRED if name != "rank"]


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("masked", [True, False])
def test_gradients(name, masked):
    """Through a softmax, as in training, and of the map itself."""
    exists = EXISTS if masked else WHOLE
    loss, (attention, target) = attention_loss(name), pair(exists=exists)
    argument = exists if masked else None
    # Losses that are small by their scale are brought up to where the check can see them.
    scale = {"mmd_batch": 1e4, "mmd_released": 1e4, "coral": 1e2}.get(name, 1)
    scores = torch.randn(5, 7, generator=generator(5), dtype=torch.float64, requires_grad=True)

    def of_scores(scores):
        return scale * loss(torch.softmax(scores.masked_fill(~exists, -torch.inf), -1), target, argument)

    assert torch.autograd.gradcheck(of_scores, scores)
    (gradient,) = torch.autograd.grad(of_scores(scores).sum(), scores)
    assert gradient.abs().max() > 1e-3
    inside = attention.clamp(min=0.01).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: scale * loss(a, target.clamp(min=0.01), argument), inside)


@pytest.mark.parametrize("name", DISTANCES)
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


@pytest.mark.parametrize("name", PAIRED)
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


@pytest.mark.parametrize("name", PAIRED)
def test_dealing_targets_to_others_changes_the_loss(name):
    attention, target = pair(exists=WHOLE)
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


ONE_HOT = {
    "mse": 2 / 4,
    "kl": -np.log(1e-8),
    "reverse_kl": -np.log(1e-8),
    "js": np.log(2),
    "cosine": 1,
    "emd": 1,
    "rank": (np.log(1 + 1e8) + 2 * np.log(2)) / 3,  # one pair is put the wrong way round, two are left open
    "mmd_released": 2 - 2 * np.exp(-2 / 200**2),
    "mmd_batch": 2 - 2 * np.exp(-2 / 200**2),
    "coral": 0,  # a batch of one has no covariance
}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_one_hot_against_another_is_finite_with_finite_gradients(name):
    attention = torch.eye(4)[:1].requires_grad_()
    value = attention_loss(name)(attention, torch.eye(4)[1:2])
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(attention.grad).all()
    assert float(value.detach()) == pytest.approx(ONE_HOT[name], rel=1e-5)


def test_unknown_names():
    names = "adversarial_image, adversarial_pixel, coral, cosine, emd, js, kl, mmd_batch, mmd_released, mse, rank, rev"
    for make in (attention_loss, make_loss):
        with pytest.raises(ValueError, match=f"unknown attention loss 'hinge': expected one of {names}"):
            make("hinge")
    assert attention_loss("kl") is kl


def test_losses_are_made_by_name():
    assert set(LOSS_NAMES) == {*LOSSES, "adversarial_image", "adversarial_pixel"}
    assert all(make_loss(name) is LOSSES[name] for name in LOSSES)
    assert make_loss("emd", grid=[2, 3]) == GridEMD((2, 3))
    assert make_loss("kl", grid=(2, 3), n_regions=6) is kl
    kinds = {"adversarial_image": ImageDiscriminator, "adversarial_pixel": PixelDiscriminators}
    for name, kind in kinds.items():
        with pytest.raises(ValueError, match=f"'{name}' needs n_regions"):
            make_loss(name)
        with pytest.raises(ValueError, match=f"'{name}' is no plain function"):
            attention_loss(name)
        made = make_loss(name, n_regions=5)
        assert isinstance(made, Adversary)
        assert isinstance(made.discriminator, kind)
