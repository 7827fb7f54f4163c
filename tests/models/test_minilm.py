"""MiniLM: weights as fetched and a seeded head, frozen layers that are run once, and the study's measures of it."""

import copy
import dataclasses

import pytest
import safetensors.torch
import torch

import ssan
from ssan.data.fetching import fetch
from ssan.models.attach import AttachedModel
from ssan.models.minilm import FrozenBelow
from ssan.runtime import seeded
from ssan.study.measure import Quality
from tests.trained import same

QUICK = ssan.TrainConfig(epochs=2, batch_size=8, learning_rate=2e-4, keep="last", validate=False, seed=4)
BELOW = ("bert.embeddings.", *(f"bert.encoder.layer.{k}." for k in range(4)))


@pytest.fixture(scope="module")
def task(data_mirror):  # noqa: ARG001
    whole, few = ssan.load_task("trec_minilm", n_train=24, seed=1), torch.arange(12)
    return dataclasses.replace(whole, valid=whole.valid.select(few), test=whole.test.select(few))


@pytest.fixture
def model(task):
    return ssan.make_model(task, 1)


def test_weights_are_those_of_the_file_and_the_head_is_the_seeds(task, model):
    before, file = torch.get_rng_state(), safetensors.torch.load_file(fetch("minilm") / "model.safetensors")
    again, other = (ssan.make_model(task, seed).state_dict() for seed in (1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    del file["embeddings.position_ids"]
    assert same(file, model.module.bert.state_dict())
    assert same(model.state_dict(), again)
    assert [name for name in again if not torch.equal(again[name], other[name])] == ["classifier.weight"]


def test_what_is_frozen_is_neither_trained_nor_dropped_out_nor_saved(task, model):
    trained = {name for name, _ in model.module.named_parameters() if not name.startswith(BELOW)}
    assert set(model.state_dict()) == trained
    twin, before = copy.deepcopy(model), copy.deepcopy(model.module.state_dict())
    assert type(twin) is FrozenBelow
    ssan.fit(model, task, QUICK)
    for name, module in model.train().module.named_modules():
        assert module.training is not f"{name}.".startswith(BELOW), name
    after = model.module.state_dict()
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == trained
    assert same(twin.module.state_dict(), before)
    twin.load_state_dict(model.state_dict())
    assert same(twin.module.state_dict(), after)
    with pytest.raises(RuntimeError, match="Missing key"):
        twin.load_state_dict({})


def test_how_much_is_frozen(task):
    whole = ssan.make_model(task, 1, frozen=0).train()
    assert all(value.requires_grad for value in whole.parameters())
    assert whole.prepared(task.train) is task.train
    assert whole.module.bert.embeddings.training
    with pytest.raises(ValueError, match="of the 6 layers"):
        ssan.make_model(task, 1, frozen=6)


def test_prepared_states_give_the_numbers_of_the_tokens(task, model):
    batch = task.train.select(torch.argsort(task.train.lengths, stable=True))  # the order in which they are made
    ready = model.prepared(batch)
    for mode in (False, True):  # dropout above the frozen layers draws alike
        outputs = []
        for each in (batch, ready):
            with seeded(5):
                outputs.append(model.train(mode)(each))
        assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    masks = ssan.RandomMasks(1).masks(task.regions.count(batch), torch.ones(24, dtype=torch.long), batch.ids)
    assert task.regions.hide(ready, masks).features is None
    model.double().eval()  # in other company to rounding
    ready = model.prepared(task.train)
    for rows in ([7], slice(3, 20)):
        for a, b in zip(model(ready.select(rows)), model(task.train.select(rows)), strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_the_study_measures_it_by_what_is_erased(task, model):
    row = Quality(task.test, task.regions).of_model(model.eval(), task, "cpu")
    for name in ("faithfulness", "top_1", "comprehensiveness", "sufficiency"):
        each = getattr(ssan.metrics, name)(model, task.test, task.regions)
        assert row[name] == pytest.approx(float(each.nanmean()), abs=1e-5)


def test_what_the_frozen_layers_made_is_looked_up(task, model):
    states = {}
    model.eval()
    quality = Quality(task.test, task.regions, states)
    plain = ssan.metrics.leave_one_out(model, task.test, task.regions)
    first = quality.drop(model, "cpu")
    n = len(states)
    assert n >= int(task.regions.count(task.test).sum())  # a sentence and each of its words left out, at least once
    torch.testing.assert_close(first, plain, atol=1e-6, rtol=1e-5, equal_nan=True)
    torch.testing.assert_close(quality.drop(model, "cpu"), first, atol=1e-6, rtol=1e-5, equal_nan=True)
    assert len(states) == n
    other = ssan.make_model(task, 2).eval()  # another head on the same frozen layers
    with other.remembering(states), torch.no_grad():
        looked = other(task.test)
    assert len(states) == n  # however much they are padded
    torch.testing.assert_close(looked.logits, other(task.test).logits, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_the_last_layer_is_computed_for_the_first_position_alone(task, model):
    """The same logits and attention as the whole module gives, with half of the sentences padded."""
    for frozen in (4, 0):
        model = ssan.make_model(task, 1, frozen=frozen).double().eval()
        short = model(task.train)
        with model.watching(task.train) as seen:
            seen.append(AttachedModel._call(model, task.train))
        torch.testing.assert_close(short.logits, seen[0].logits, atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(short.attention, model.map_of(seen[1], task.train))  # a softmax in single precision
