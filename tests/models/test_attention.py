"""The output contract: hops become one map in one place, every breach is named, modes come back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ssan.batch import Batch
from ssan.models.attention import (
    AttentionAdapter,
    Output,
    as_distribution,
    attention_map,
    check_output,
    evaluating,
    reduce_hops,
)
from tests.helpers import generator, random_images, random_maps, random_sentences, text_model

seeds = st.integers(0, 10**6)


def hops(seed=0, n=4, h=3, r=5):
    return random_maps(torch.ones(n * h, r, dtype=torch.bool), seed, torch.float64).view(n, h, r)


# --- hops ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(seed=seeds, h=st.integers(1, 5))
def test_reductions_by_hand(seed, h):
    maps = hops(seed, h=h)
    for row in range(4):
        total = sum(maps[row, k].numpy() for k in range(h))
        np.testing.assert_allclose(reduce_hops(maps)[row], total / h)
        np.testing.assert_allclose(reduce_hops(maps, "last")[row], maps[row, h - 1])
        weights = np.exp(total)
        np.testing.assert_allclose(reduce_hops(maps, "softmax_of_sum")[row], weights / weights.sum())
    for how in ("mean", "last", "softmax_of_sum"):
        torch.testing.assert_close(reduce_hops(maps, how).sum(-1), torch.ones(4, dtype=torch.float64))


def test_the_released_reduction_is_flat_and_gives_weight_to_padding():
    """Two softmaxes on one another: 10 tokens that get all of the attention of 30 hops lose half of it to padding."""
    maps = torch.zeros(1, 30, 200, dtype=torch.float64)
    maps[..., :10] = 0.1
    reduced = reduce_hops(maps, "softmax_of_sum")
    assert float(reduced[0, 10:].sum()) == pytest.approx(0.486, abs=5e-4)
    one_hot = torch.eye(10, dtype=torch.float64)[None, :1]
    assert float(reduce_hops(one_hot, "softmax_of_sum").max()) == pytest.approx(np.e / (np.e + 9))


def test_a_single_map_is_returned_as_it_is():
    maps = hops()[:, 0]
    for how in ("mean", "last", "softmax_of_sum"):
        assert reduce_hops(maps, how) is maps


def test_unknown_reductions_and_shapes():
    with pytest.raises(ValueError, match="unknown hop reduction 'max': expected 'mean', 'last' or 'softmax_of_sum'"):
        reduce_hops(hops()[:, 0], "max")
    with pytest.raises(ValueError, match=r"attention must be \(B, R\) or \(B, H, R\), got shape \(5,\)"):
        reduce_hops(torch.ones(5))


def test_attention_map_asks_the_model():
    model, output = nn.Module(), Output(torch.zeros(4, 2), hops())
    assert torch.equal(attention_map(model, output), hops().mean(1))
    model.hop_reduction = "last"
    assert torch.equal(attention_map(model, output), hops()[:, -1])


# --- modes -----------------------------------------------------------------------------------------------------------


def test_evaluating_restores_each_module_even_after_an_error():
    model, other = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout())).train(), nn.Dropout().eval()
    model[1].eval()
    before = [m.training for m in model.modules()]
    modes = []

    def broken():
        with evaluating([model, other]):
            modes.extend(m.training for m in [*model.modules(), other])
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        broken()
    assert modes == [False] * 5
    assert [m.training for m in model.modules()] == before == [True, True, False, False]
    assert not other.training


def test_evaluating_a_model_twice_restores_it():
    model = nn.Dropout().train()
    with evaluating([model, model]):
        assert not model.training
    assert model.training


# --- check_output ----------------------------------------------------------------------------------------------------

LABEL, N_REGIONS = torch.tensor([0, 1, 2, 0]), torch.tensor([5, 4, 1, 5])


def good():
    exists = torch.arange(5) < N_REGIONS[:, None]
    return Output(torch.randn(4, 3, generator=generator(0)), random_maps(exists))


def spoilt(value, row=1, column=4):
    attention = good().attention.clone()
    attention[row, column] = value
    return Output(good().logits, attention)


def test_good_outputs_pass():
    check_output(good(), LABEL, N_REGIONS)
    maps = good().attention
    check_output(Output(good().logits, torch.stack([maps, maps], 1)), LABEL, N_REGIONS)
    check_output(Output(good().logits, nn.functional.pad(maps, (0, 3))), LABEL, N_REGIONS)
    check_output(Output(torch.zeros(0, 3), torch.zeros(0, 5)), LABEL[:0], N_REGIONS[:0])
    model, batch = text_model(), random_sentences(9)
    check_output(model.eval()(batch), batch.label, batch.lengths)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (Output(good().logits[0], good().attention), r"logits must be \(B, C\) with B=4, got shape \(3,\)"),
        (Output(good().logits[:3], good().attention), r"logits must be \(B, C\) with B=4, got shape \(3, 3\)"),
        (Output(good().logits, good().attention[0]), r"attention must be .* with B=4, got shape \(5,\)"),
        (Output(good().logits, good().attention[:2]), r"attention must be .* with B=4, got shape \(2, 5\)"),
        (Output(good().logits, good().attention[None, None]), r"got shape \(1, 1, 4, 5\)"),
        (Output(good().logits, good().attention[:, :4]), "attention covers 4 regions, but an example has 5"),
        (Output(good().logits[:, :2], good().attention), "labels run from 0 to 2, but the model has 2 classes"),
        (Output(good().logits * float("inf"), good().attention), "logits hold NaN or infinity"),
        (spoilt(float("nan")), "attention holds NaN or infinity"),
        (spoilt(-0.25), "attention must be non-negative, its smallest value is -0.25"),
        (spoilt(0.5), "attention must sum to 1 over regions, sums run from 1 to 1.5; .*as_distribution"),
        (spoilt(5e-4), "attention on padding must be exactly 0, found 0.0005: mask it before the softmax"),
    ],
)
def test_every_breach_is_named(output, message):
    with pytest.raises(ValueError, match=message):
        check_output(output, LABEL, N_REGIONS)


def test_breaches_in_one_of_several_hops():
    maps = good().attention
    broken = torch.stack([maps, spoilt(5e-4).attention], 1)
    with pytest.raises(ValueError, match="attention on padding"):
        check_output(Output(good().logits, broken), LABEL, N_REGIONS)
    with pytest.raises(ValueError, match="sum to 1"):
        check_output(Output(good().logits, torch.stack([maps, maps / 2], 1)), LABEL, N_REGIONS)


def test_labels_below_zero():
    with pytest.raises(ValueError, match="labels run from -1 to 2"):
        check_output(good(), torch.tensor([0, 1, 2, -1]), N_REGIONS)


def test_padding_may_attend_where_it_is_said_to():
    attention = torch.full((4, 5), 0.2)
    check_output(Output(good().logits, attention), LABEL, N_REGIONS, padding_attends=True)
    with pytest.raises(ValueError, match="on padding"):
        check_output(Output(good().logits, attention), LABEL, N_REGIONS)


def test_the_tolerance_of_sums():
    loose = Output(good().logits, good().attention * 1.01)
    check_output(loose, LABEL, N_REGIONS, atol=0.02)
    with pytest.raises(ValueError, match="sum to 1"):
        check_output(loose, LABEL, N_REGIONS)


def test_messages_name_things_that_exist():
    import ssan.models.attention as module

    with pytest.raises(TypeError, match="returned Tensor") as error:
        check_output(torch.zeros(4, 3), LABEL, N_REGIONS)
    for name in ("Output", "AttentionAdapter"):
        assert f"ssan.models.attention.{name}" in str(error.value)
        assert hasattr(module, name)


# --- as_distribution -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(seed=seeds, scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_as_distribution_by_hand(seed, scale):
    g = generator(seed)
    weights = torch.rand(3, 6, generator=g, dtype=torch.float64) * scale
    exists = torch.rand(3, 6, generator=g) < 0.7
    found = as_distribution(weights, exists)
    for row in range(3):
        kept = [float(w) if e else 0.0 for w, e in zip(weights[row], exists[row], strict=True)]
        if not any(exists[row]):
            assert found[row].tolist() == [0] * 6
            continue
        assert found[row].tolist() == pytest.approx([w / sum(kept) for w in kept], rel=1e-9)
    torch.testing.assert_close(as_distribution(weights)[0], weights[0] / weights[0].sum())


def test_as_distribution_of_nothing_is_uniform():
    exists = torch.tensor([[True, True, False, True]])
    assert as_distribution(torch.zeros(1, 4), exists)[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    on_padding = torch.tensor([[0.0, 0.0, 5.0, 0.0]])
    assert as_distribution(on_padding, exists)[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert as_distribution(torch.full((1, 4), 1e-12))[0].tolist() == [0.25] * 4


def test_as_distribution_broadcasts_and_has_gradients():
    weights = torch.rand(2, 3, 4, dtype=torch.float64, generator=generator(1)).requires_grad_()
    exists = torch.tensor([True, True, True, False])
    assert torch.autograd.gradcheck(lambda w: as_distribution(w, exists), weights)
    zero = torch.zeros(1, 3, requires_grad=True)
    as_distribution(zero)[0, 0].backward()
    assert torch.isfinite(zero.grad).all()


def test_as_distribution_refuses_negative_weights():
    with pytest.raises(ValueError, match=r"weights must be non-negative, the smallest is -0\.5"):
        as_distribution(torch.tensor([0.1, -0.5]))
    assert as_distribution(torch.zeros(0, 3)).shape == (0, 3)


# --- adapter ---------------------------------------------------------------------------------------------------------


def test_adapter_wraps_any_module():
    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(24, 3).double()

        def forward(self, image):
            cells = nn.functional.adaptive_avg_pool2d(image, (3, 4)).flatten(1)
            return {"scores": self.linear(cells), "heads": torch.softmax(cells.view(-1, 2, 12), -1)}

    net, batch = Foreign(), random_images(5)
    model = AttentionAdapter(
        net, inputs=lambda b: (b.image,), read=lambda out: Output(out["scores"], out["heads"]), hop_reduction="last"
    )
    output = model(batch)
    check_output(output, batch.label, torch.full((5,), 12))
    assert torch.equal(output.logits, net(batch.image)["scores"])
    assert torch.equal(attention_map(model, output), output.attention[:, 1])
    assert [p is q for p, q in zip(model.parameters(), net.parameters(), strict=True)] == [True, True]


def test_an_adapter_that_forgets_something_says_what():
    batch = Batch(ids=torch.arange(2), label=torch.zeros(2, dtype=torch.long), image=torch.rand(2, 3, 4, 4))
    with pytest.raises(TypeError, match="must return a tuple of arguments, got Tensor"):
        AttentionAdapter(nn.Identity(), inputs=lambda b: b.image, read=lambda out: out)(batch)
    with pytest.raises(TypeError, match=r"expected ssan\.models\.attention\.Output"):
        AttentionAdapter(nn.Identity(), inputs=lambda b: (b.image,), read=lambda out: out)(batch)
