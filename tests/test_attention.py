"""The contract between models and the rest: defaults of the hooks, one map from several hops, every breach named."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import ssan
from ssan import AttentionModel, Output, Pairs, TokenRegions, as_distribution
from ssan.attention import check_output, evaluating, reduce_hops
from tests.helpers import additive, generator, random_maps, random_sentences, text_model, text_task

seeds = st.integers(0, 10**6)


def hops(seed=0, n=4, h=3, r=5):
    return random_maps(torch.ones(n * h, r, dtype=torch.bool), seed, torch.float64).view(n, h, r)


def test_every_hook_has_a_default_that_does_nothing():
    """`Additive` defines `forward` and no more; the tests of search and training use it and others as they are."""
    model, batch, output = additive(), random_sentences(3), Output(torch.zeros(4, 2), hops())
    assert (model.regions, model.hop_reduction, model.padding_attends) == (None, "mean", False)
    assert model.auxiliary_loss(batch, model(batch)) is None
    assert model.prepared(batch) is batch
    assert model.fast_scorer([model], TokenRegions()) is None
    assert torch.equal(model.attention_map(output), hops().mean(1))
    model.hop_reduction = "last"
    assert torch.equal(model.attention_map(output), hops()[:, -1])
    with pytest.raises(NotImplementedError, match=r"AttentionModel must define forward\(batch\) and return an ssan"):
        AttentionModel()(batch)


class Foreign(nn.Module):
    def forward(self, _):
        raise AssertionError("must not be run")


def test_a_plain_module_is_refused_by_name(tmp_path):
    task, wrong, config, index = text_task(), Foreign(), ssan.TrainConfig(), torch.zeros(24, dtype=torch.long)
    uses = [(ssan.fit, wrong, task, config), (ssan.predict, wrong, task.test), (ssan.evaluate, wrong, task.test)]
    for models in (wrong, [text_model(), wrong]):
        uses += [(ssan.find_surrogates, models, task.train, Pairs())]
        uses += [(ssan.search_to_disk, models, task.train, Pairs(), tmp_path / "new")]
        uses += [(ssan.metrics.replay, models, task.train, Pairs(), index)]
    for use, *arguments in uses:
        with pytest.raises(TypeError, match=r"Foreign is no ssan\.AttentionModel: derive .* or ssan\.attach it"):
            use(*arguments)
    assert not (tmp_path / "new").exists()


@settings(max_examples=20)
@given(seed=seeds, h=st.integers(1, 5))
def test_reductions_by_hand(seed, h):
    maps = hops(seed, h=h)
    for row in range(4):
        total = sum(maps[row, k].numpy() for k in range(h))
        np.testing.assert_allclose(reduce_hops(maps)[row], total / h)
        np.testing.assert_allclose(reduce_hops(maps, "last")[row], maps[row, h - 1])
        np.testing.assert_allclose(reduce_hops(maps, "softmax_of_sum")[row], np.exp(total) / np.exp(total).sum())
    single = maps[:, 0]
    assert all(reduce_hops(single, how) is single for how in ("mean", "last", "softmax_of_sum"))


def test_the_released_reduction_is_flat_and_gives_weight_to_padding():
    """Two softmaxes on one another: 10 tokens that get all of the attention of 30 hops lose half of it to padding."""
    maps = torch.zeros(1, 30, 200, dtype=torch.float64)
    maps[..., :10] = 0.1
    assert float(reduce_hops(maps, "softmax_of_sum")[0, 10:].sum()) == pytest.approx(0.486, abs=5e-4)
    with pytest.raises(ValueError, match="unknown hop reduction 'max': expected 'mean', 'last' or 'softmax_of_sum'"):
        reduce_hops(maps, "max")
    with pytest.raises(ValueError, match=r"floating point \(B, R\) or \(B, H, R\), got torch.float32 \(5,\)"):
        reduce_hops(torch.ones(5))


def test_evaluating_restores_each_module_even_after_an_error():
    model, other = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout())).train(), nn.Dropout().eval()
    model[1].eval()
    modules = [*model.modules(), other]
    before = [m.training for m in modules]
    with suppress(RuntimeError), evaluating([model, other, model]):
        assert not any(m.training for m in modules)
        raise RuntimeError
    assert [m.training for m in modules] == before == [True, True, False, False, False]


LABEL, N_REGIONS = torch.tensor([0, 1, 2, 0]), torch.tensor([5, 4, 1, 5])
LOGITS, MAPS = torch.randn(4, 3, generator=generator(0)), random_maps(torch.arange(5) < N_REGIONS[:, None])


def spoilt(value, row=1, column=4):
    attention = MAPS.clone()
    attention[row, column] = value
    return attention


def test_good_outputs_pass():
    for maps in (MAPS, torch.stack([MAPS, MAPS], 1), nn.functional.pad(MAPS, (0, 3)), MAPS * (1 + 5e-4)):
        check_output(Output(LOGITS, maps), LABEL, N_REGIONS)
    check_output(Output(LOGITS, MAPS * 1.01), LABEL, N_REGIONS, atol=0.02)
    check_output(Output(LOGITS, torch.full((4, 5), 0.2)), LABEL, N_REGIONS, padding_attends=True)
    check_output(Output(LOGITS[:0], MAPS[:0]), LABEL[:0], N_REGIONS[:0])


def test_every_breach_is_named():
    for logits, attention, message in (
        (LOGITS[0], MAPS, r"logits must be \(B, C\) with B=4, got shape \(3,\)"),
        (LOGITS, MAPS[None, None], r"got shape \(1, 1, 4, 5\)"),
        (LOGITS, MAPS[:, :4], "attention covers 4 regions, but an example has 5"),
        (LOGITS[:, :2], MAPS, "labels run from 0 to 2, but the model has 2 classes"),
        (LOGITS * float("inf"), MAPS, "logits hold NaN or infinity"),
        (LOGITS, spoilt(float("nan")), "attention hold NaN or infinity"),
        (LOGITS, spoilt(-0.25), "attention must be non-negative, its smallest value is -0.25"),
        (LOGITS, spoilt(0.5), "attention must sum to 1 over regions, sums run from 1 to 1.5; .*as_distribution"),
        (LOGITS, spoilt(5e-4), "attention must be exactly 0 where an example has no region .*found 0.0005: mask pad"),
        (LOGITS, torch.stack([MAPS, spoilt(5e-4)], 1), "attention must be exactly 0 where an example has no region"),
        (LOGITS, torch.stack([MAPS, MAPS / 2], 1), "sum to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            check_output(Output(logits, attention), LABEL, N_REGIONS)


def test_labels_below_zero_and_other_types():
    with pytest.raises(ValueError, match="labels run from -1 to 2"):
        check_output(Output(LOGITS, MAPS), torch.tensor([0, 1, 2, -1]), N_REGIONS)
    with pytest.raises(TypeError, match=r"returned Tensor, expected ssan\.Output"):
        check_output(LOGITS, LABEL, N_REGIONS)


@settings(max_examples=30)
@given(seed=seeds, scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_as_distribution_by_hand(seed, scale):
    g = generator(seed)
    weights, exists = torch.rand(3, 6, generator=g, dtype=torch.float64) * scale, torch.rand(3, 6, generator=g) < 0.7
    maps = as_distribution(weights, exists)
    for row in range(3):
        kept = [float(w) if e else 0.0 for w, e in zip(weights[row], exists[row], strict=True)]
        total = sum(kept) if any(exists[row]) else 1  # an example without regions gets no weight
        assert maps[row].tolist() == pytest.approx([w / total for w in kept], rel=1e-9)
    torch.testing.assert_close(as_distribution(weights)[0], weights[0] / weights[0].sum())


def test_as_distribution_of_nothing_is_uniform_and_has_gradients():
    exists, third = torch.tensor([[True, True, False, True]]), pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    zero = torch.zeros(1, 4, requires_grad=True)
    maps = as_distribution(zero, exists)
    maps[0, 0].backward()
    assert torch.isfinite(zero.grad).all()
    assert maps[0].tolist() == as_distribution(torch.tensor([[0.0, 0.0, 5.0, 0.0]]), exists)[0].tolist() == third
    assert as_distribution(torch.zeros(0, 3)).shape == (0, 3)
    weights = torch.rand(2, 3, 4, dtype=torch.float64, generator=generator(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: as_distribution(w, exists), weights)


@pytest.mark.parametrize("bad", [-0.5, float("nan"), float("inf")])
def test_as_distribution_refuses_what_is_no_weight(bad):
    weights = torch.tensor([0.1, bad])
    with pytest.raises(ValueError, match="weights must be finite and non-negative, they run from"):
        as_distribution(weights)
    assert as_distribution(weights, torch.tensor([True, False])).tolist() == [1, 0]  # padding is not looked at
