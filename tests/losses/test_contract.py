"""What every loss in `LOSSES` is held to: range, zeros, gradients, pairing, padding, shapes. Formulas are elsewhere."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad

from ssan import LOSSES, make_loss
from ssan.losses import UNPAIRED, GridEMD, entropy_penalty, kl
from tests.helpers import EXISTS, WHOLE, generator, pair, peaked

seeds = st.integers(0, 10**6)

# On a grid that maps of 7 regions fit, with iterations enough to come to rest.
ALL = {**LOSSES, "emd on a grid": GridEMD((7, 1), epsilon=1.0, iterations=100)}
EACH = pytest.mark.parametrize("name", ALL)
PAIRED = pytest.mark.parametrize("name", sorted(ALL.keys() - UNPAIRED))
# `rank` asks for the target's order, and has no least value that is reached.
DISTANCES = pytest.mark.parametrize("name", sorted(ALL.keys() - UNPAIRED - {"rank"}))
# Losses that are small by their scale are brought up to where checks can see them.
SCALE = {"mmd_batch": 1e4, "mmd_released": 1e4, "coral": 1e2}
LOG_EPS = -math.log(1e-8)
# The largest value there is for maps of 7 regions, and the value of one region against its neighbour.
KERNEL = 2 - 2 * math.exp(-2 / 200**2)
LARGEST = {"kl": LOG_EPS, "reverse_kl": LOG_EPS, "js": math.log(2), "mse": 2 / 7, "cosine": 1, "emd": 6}
LARGEST |= {"emd on a grid": 6, "rank": math.log(1 + 1e8), "mmd_released": KERNEL, "mmd_batch": KERNEL}
LARGEST |= {"coral": 1 / (2 * 7**2)}
# Of pairs, one is put the wrong way round and five are left open; a batch of one has no covariance.
ONE_HOT = LARGEST | {"emd": 1, "emd on a grid": 1, "rank": (math.log(1 + 1e8) + 5 * math.log(2)) / 6, "coral": 0}


@EACH
@settings(max_examples=20)
@given(seed=seeds)
def test_range(name, seed):
    attention, target = peaked(seed, n=20, dim=7), peaked(seed + 1, n=20, dim=7).flip(0)
    value = ALL[name](attention, target)
    assert (value.shape, value.dtype) == ((20,), torch.float64)
    short = 7e-8 if name in ("kl", "reverse_kl", "js") else 0  # where maps are below eps: R eps
    assert -short - 1e-12 <= value.min() <= value.max() <= LARGEST[name] * (1 + 1e-12)


@EACH
@pytest.mark.parametrize("masked", [True, False])
def test_gradients(name, masked):
    """Through a softmax, as in training, and of the map itself."""
    exists = EXISTS if masked else WHOLE
    loss, (attention, target), argument = ALL[name], pair(exists=exists), exists if masked else None
    scores = torch.randn(5, 7, generator=generator(5), dtype=torch.float64, requires_grad=True)

    def of_scores(scores):
        return SCALE.get(name, 1) * loss(torch.softmax(scores.masked_fill(~exists, -torch.inf), -1), target, argument)

    assert torch.autograd.gradcheck(of_scores, scores)
    (gradient,) = torch.autograd.grad(of_scores(scores).sum(), scores)
    assert gradient.abs().max() > 1e-3
    if not isinstance(loss, GridEMD):  # its gradient is along maps of one sum, which is all that a softmax needs
        inside, whole = attention.clamp(min=0.01).requires_grad_(), target.clamp(min=0.01)
        assert torch.autograd.gradcheck(lambda a: SCALE.get(name, 1) * loss(a, whole, argument), inside)


@DISTANCES
@settings(max_examples=25)
@given(seed=seeds)
def test_zero_if_and_only_if_equal(name, seed):
    loss, (attention, target) = ALL[name], pair(seed)
    rest = 1e-8 if isinstance(loss, GridEMD) else 1e-15
    assert loss(attention, attention.clone(), EXISTS).abs().max() < rest
    value, differ = loss(attention, target, EXISTS), (attention - target).abs().amax(-1) > 0
    assert differ.tolist() == [True, True, False, True, True]  # a single region leaves no choice
    assert (value[differ] > 2 * rest).all()
    assert (value[~differ].abs() < rest).all()


@PAIRED
@settings(max_examples=25)
@given(st.data())
def test_each_map_is_compared_with_its_own_target(name, data):
    loss, (attention, target) = ALL[name], pair(data.draw(seeds))
    order = torch.tensor(data.draw(st.permutations(range(5))))
    value = loss(attention, target, EXISTS)
    torch.testing.assert_close(loss(attention[order], target[order], EXISTS[order]), value[order], atol=0, rtol=1e-12)
    for row in range(5):
        alone = loss(attention[row : row + 1], target[row : row + 1], EXISTS[row : row + 1])
        torch.testing.assert_close(alone[0], value[row], atol=1e-15, rtol=1e-12)
    attention, target = pair(exists=WHOLE)
    assert not torch.isclose(loss(attention, target).sum(), loss(attention, target.roll(1, 0)).sum(), rtol=1e-3)


@EACH
@settings(max_examples=15)
@given(seed=seeds, more=st.integers(1, 9))
def test_padding_does_not_matter(name, seed, more):
    loss, (attention, target) = ALL[name], pair(seed)
    value = loss(attention, target, EXISTS)
    if not isinstance(loss, GridEMD):
        torch.testing.assert_close(loss(*(pad(x, (0, more)) for x in (attention, target, EXISTS))), value)
    # Whatever stands on padding is not looked at, and nothing flows back into it.
    noisy = (attention + 0.3 * ~EXISTS).requires_grad_()
    again = loss(noisy, target + 0.1 * ~EXISTS, EXISTS)
    torch.testing.assert_close(again, value)
    (gradient,) = torch.autograd.grad(again.sum(), noisy)
    assert (gradient[~EXISTS] == 0).all()


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_single_regions_against_others_are_finite_with_finite_gradients_in_any_precision(name, dtype):
    attention = torch.eye(7, dtype=dtype)[:1].requires_grad_()
    value = ALL[name](attention, torch.eye(7, dtype=dtype)[1:2])
    value.sum().backward()
    assert torch.isfinite(attention.grad).all()
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(ONE_HOT[name], rel=1e-5)
    assert torch.isfinite(entropy_penalty(attention)).all()


@EACH
def test_maps_of_nothing_are_no_nan(name):
    """An example without regions, or maps without weight: no map to pull, and no reason to spoil the batch's mean."""
    attention, target = pair()
    exists = EXISTS.clone()
    exists[2] = False
    if name not in UNPAIRED:
        value, whole = ALL[name](attention, target, exists), ALL[name](attention, target, EXISTS)
        torch.testing.assert_close(value, whole.index_fill(0, torch.tensor([2]), 0))
    nothing = torch.zeros_like(attention)
    given = [(attention, target, exists), (attention, target, torch.zeros_like(EXISTS))]
    for maps in [*given, (nothing, nothing.clone()), (nothing, target), (attention, nothing)]:
        free = maps[0].clone().requires_grad_()
        value = ALL[name](free, *maps[1:])
        assert torch.isfinite(value).all()
        assert torch.isfinite(torch.autograd.grad(value.sum(), free)[0]).all()


@EACH
def test_maps_of_other_shapes_are_refused(name):
    attention, target = pair(exists=WHOLE)
    wrongs = [(attention, target[:1], None), (attention, target[:, :6], None), (attention, target, EXISTS[:1])]
    wrongs += [(attention[0], target[0], None), (attention, target.long(), None), (attention, target, WHOLE.int())]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"maps must be floating point, exists bool, all of one shape"):
            ALL[name](*wrong)


def test_losses_by_name():
    with pytest.raises(ValueError, match="unknown attention loss 'hinge': expected one of coral, cosine, emd, js, "):
        make_loss("hinge")
    assert all(make_loss(name) is LOSSES[name] for name in LOSSES)
    assert make_loss("emd", grid=(2, 3)) == GridEMD((2, 3))
    assert make_loss("kl", grid=(2, 3)) is kl
