"""The training loop against one written out by hand, bit for bit the same per seed; predictions of what is trained."""

import dataclasses
import importlib
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from ssan import LOSSES, Output, TrainConfig, evaluate, fit, predict
from tests.helpers import Additive, Returns, additive, exists, random_sentences, text_model, text_task
from tests.trained import PLAIN, QUICK, assert_close, by_hand, double_run, same, state, targets_for, trained

CHANGES = [{}, {"clip_norm": 0.05}, {"clamp_gradient": 0.004}, {"clamp_gradient": 0.004, "clip_norm": 0.01}]
CHANGES += [{"recreate_optimizer": True}, {"recreate_optimizer": True, "clamp_gradient": 0.004}, {"weight_decay": 0.5}]
CHANGES += [{"hop_penalty": 0.7}, {"entropy_penalty": 0.7}]
SCHEDULES = [None, lambda done: 1 - done, lambda done: min(1, done / 0.7), lambda _: 0.0]
WEIGHTS = dict.fromkeys(LOSSES, 0.3) | {"mse": 3.0, "mmd_released": 1e4, "mmd_batch": 1e6, "coral": 1e4}


@pytest.mark.parametrize(
    ("change", "loss", "schedule"), [*((change, None, None) for change in CHANGES), *product([{}], LOSSES, SCHEDULES)]
)
def test_equals_the_loop_by_hand(change, loss, schedule):
    options = {"dtype": torch.float64, "loss": loss, "weight": WEIGHTS.get(loss), "schedule": schedule}
    supervision = loss and targets_for(text_task(), **options)
    config = dataclasses.replace(PLAIN, **change)
    weights, fitted = double_run(config, supervision)
    expected, losses = double_run(config, supervision, by=by_hand)
    assert_close(weights, expected)
    assert [epoch["loss"] for epoch in fitted.history] == pytest.approx(losses, rel=1e-5)
    if change or (loss and schedule is None):
        plain, _ = double_run(PLAIN)
        moved = max(float((weights[name] - plain[name]).abs().max()) for name in weights)
        assert moved > 1e-3, "the switch did nothing"


def test_auxiliary_losses_are_added():
    def penalty(output):
        return 0.9 * output.attention.square().sum(-1).mean()

    weights = []
    for by, options in ((fit, {}), (by_hand, {"penalty_of": penalty})):
        model = text_model(1, scale=1.0, hops=2, dropout=0.0, dtype=torch.float64)
        model.auxiliary_loss = lambda batch, output: penalty(output)  # noqa: ARG005
        by(model, text_task(), PLAIN, **options)
        weights.append(state(model))
    assert_close(*weights)
    assert not torch.allclose(weights[0]["attention_in.weight"], double_run(PLAIN)[0]["attention_in.weight"])


def test_history_is_the_mean_over_examples_whatever_the_batches():
    task = text_task()
    supervision = targets_for(task, weight=2.0)
    model, fitted = trained(dataclasses.replace(QUICK, learning_rate=1e-30, epochs=1), supervision, dropout=0.0)
    logits, maps = predict(model, task.train)
    distance = float(LOSSES["kl"](maps, supervision.target, exists(task.train)).mean())
    loss = float(F.cross_entropy(logits, task.train.label)) + 2 * distance
    expected = {"epoch": 1, "loss": loss, "attention_loss": distance}
    assert {name: fitted.history[0][name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("supervised", [False, True])
def test_the_outcome_is_a_function_of_the_seed_and_the_global_state_is_left_alone(supervised):
    supervision, outcomes = targets_for(text_task()) if supervised else None, []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        model, fitted = trained(dataclasses.replace(QUICK, seed=seed), supervision, dropout=0.5)
        assert torch.equal(torch.get_rng_state(), before)
        outcomes.append((state(model), fitted.history))
    assert same(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]
    assert not same(outcomes[0][0], outcomes[2][0])


@pytest.mark.parametrize(("accuracies", "kept"), [([0.2, 0.9, 0.5, 0.9], 2), ([0.5] * 4, 1), ([0.0, 0.1, 0.2, 0.3], 4)])
def test_best_keeps_the_first_best_epoch_and_last_the_last(monkeypatch, accuracies, kept):
    after = [state(trained(dataclasses.replace(QUICK, epochs=n, keep="last"))[0]) for n in (1, 2, 3, 4)]
    script = iter(accuracies * 2)
    monkeypatch.setattr(importlib.import_module("ssan.training.fit"), "evaluate", lambda *_, **__: next(script))
    best, fitted = trained(dataclasses.replace(QUICK, epochs=4, keep="best"))
    assert [epoch["valid_accuracy"] for epoch in fitted.history] == accuracies
    assert [same(state(best), weights) for weights in after] == [n == kept for n in (1, 2, 3, 4)]
    assert same(state(trained(dataclasses.replace(QUICK, epochs=4, keep="last"))[0]), after[-1])


def test_history_holds_the_accuracy_on_the_validation_split():
    config = TrainConfig(epochs=8, batch_size=8, learning_rate=0.15, keep="best")
    model, fitted = trained(config)
    accuracies = [epoch["valid_accuracy"] for epoch in fitted.history]
    last, _ = trained(dataclasses.replace(config, keep="last"))
    measured = [evaluate(each, text_task().valid) for each in (model, last)]
    assert min(accuracies) < max(accuracies)
    assert measured == [max(accuracies), accuracies[-1]]
    # Without validation nothing is validated, and nothing else changes.
    config = dataclasses.replace(config, keep="last", validate=False)
    blind, fitted = trained(config, task=dataclasses.replace(text_task(), valid=text_task().valid.select([])))
    assert not any("valid_accuracy" in epoch for epoch in fitted.history)
    assert same(state(blind), state(last))


def test_it_learns(capsys):
    task, model = text_task(n_train=60), text_model(1, scale=1.0, dropout=0.0)
    fitted = fit(model, task, TrainConfig(epochs=12, batch_size=8, learning_rate=2e-2))
    assert capsys.readouterr().err == ""
    assert evaluate(model, task.train) > 0.9
    assert fitted.seconds > 0
    fit(model, task, QUICK, show_progress=True)
    assert "/3 [" in capsys.readouterr().err


def emptied(batch):
    return batch.replace(tokens=batch.tokens.masked_fill(exists(batch), 0))


def test_augmentation_changes_training_batches_alone():
    seen = []

    def augment(batch, generator):
        seen.append((len(batch), float(torch.rand(1, generator=generator))))
        return emptied(batch)

    task = dataclasses.replace(text_task(), augment=augment)
    first, again = (state(trained(task=task)[0]) for _ in range(2))
    assert [n for n, _ in seen[:9]] == [10, 10, 4] * 3
    assert len(set(seen[:9])) == 9
    assert seen[:9] == seen[9:]
    assert same(first, again)
    assert not same(first, state(trained()[0]))


def test_what_a_model_prepares_is_trained_on_unless_batches_are_augmented():
    runs = []
    for augment in (None, lambda batch, _: batch):
        model = text_model(1, scale=1.0)
        model.prepared = emptied
        fit(model, dataclasses.replace(text_task(), augment=augment), QUICK)
        runs.append(state(model))
    task = dataclasses.replace(text_task(), train=emptied(text_task().train))
    assert same(runs[0], state(trained(task=task)[0]))
    assert same(runs[1], state(trained()[0]))


def test_users_may_look_after_every_epoch():
    task, config, seen = text_task(), TrainConfig(epochs=3, keep="last", validate=False), []
    looked, plain = text_model(), text_model()
    fit(looked, task, config, after_epoch=lambda n, net: seen.append((n, predict(net, task.test)[0])))
    fit(plain, task, config)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert torch.equal(seen[-1][1], predict(plain, task.test)[0])
    assert not torch.equal(seen[0][1], seen[1][1])
    plain.embedding.weight.requires_grad_(False)  # frozen parameters stay
    before = state(plain)
    fit(plain, task, config)
    moved = {name for name, value in plain.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == before.keys() - {"embedding.weight"}


def test_a_loss_that_becomes_nan_is_an_error():
    with pytest.raises(ValueError, match=r"the loss became (nan|inf) in epoch \d: lower the learning rate or weights"):
        trained(dataclasses.replace(PLAIN, learning_rate=1e30))
    supervision = targets_for(text_task(), schedule=lambda done: float("nan") if done > 0.5 else 1.0)
    with pytest.raises(ValueError, match="the loss became nan in epoch 2"):
        trained(supervision=supervision)


def test_what_cannot_be_trained_is_refused_before_any_step():
    honest, task, penalty = text_model(), text_task(), dataclasses.replace(QUICK, hop_penalty=0.1)
    halved = Returns(lambda batch: Output(honest(batch).logits, honest(batch).attention * 0.5))
    halved.weight = torch.nn.Parameter(torch.ones(1))
    for model, change, config, message in (
        (halved, {}, QUICK, "attention must sum to 1"),
        (text_model(classes=2), {}, QUICK, "the model has 2 classes, tiny has 3"),
        (text_model(), {"train": task.train.select([])}, QUICK, "the training split of tiny is empty"),
        (additive(), {}, penalty, r"the hop penalty needs floating point attention \(B, H, R\)"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(model, dataclasses.replace(task, **change), config)
        assert model.training


def test_predictions_are_in_order_and_padded_and_can_be_targets():
    model, batch = text_model(hops=2).train(), random_sentences(11, seed=4)
    logits, maps = predict(model, batch, batch_size=3)
    assert model.training
    for row in range(11):
        output, n = model.eval()(batch.select([row])), int(batch.lengths[row])
        torch.testing.assert_close(logits[row], output.logits[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(maps[row, :n], output.attention[0].mean(0), atol=1e-6, rtol=1e-5)
        assert (maps[row, n:] == 0).all()
    assert maps.shape == (11, int(batch.lengths.max()))
    attention = maps.clone().requires_grad_()
    LOSSES["mse"](attention, maps / 2).sum().backward()
    assert torch.isfinite(attention.grad).all()


def test_accuracy_by_hand():
    weight = torch.zeros(20, 3)
    weight[2:5] = torch.eye(3)
    model, task = Additive(weight, torch.zeros(20)), text_task()  # it reads the word that tells the class
    wrong = task.test.replace(label=torch.cat([(task.test.label[:3] + 1) % 3, task.test.label[3:]]))
    assert [evaluate(model, split) for split in (task.train, wrong)] == pytest.approx([1, 9 / 12])
    with pytest.raises(ValueError, match="the split has no examples to predict"):
        evaluate(model, task.test.select([]))
