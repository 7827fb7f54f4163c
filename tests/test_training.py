"""The training loop: against one written out by hand, bit for bit the same per seed, and pulled by its targets."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from ssan import training
from ssan.data.task import Task
from ssan.losses import LOSSES, UNPAIRED, attention_loss
from ssan.metrics import entropy
from ssan.models.attention import Output, attention_map
from ssan.regions import ImageGrid
from ssan.schedules import AnnealOut, WarmUp
from ssan.training import Supervision, TrainConfig, evaluate, fit, predict
from tests.helpers import (
    Additive,
    PatchModel,
    Returns,
    exists,
    random_images,
    random_maps,
    text_model,
    text_task,
)
from tests.trained import PLAIN, QUICK, assert_close, by_hand, double_run, same, state, targets_for, trained


def right_reason(task, classes=3):
    """All weight on the word that tells the class."""
    tells = (task.train.tokens > 1) & (task.train.tokens < classes + 2) & exists(task.train)
    return tells.float() / tells.sum(-1, keepdim=True)


# --- against a loop written out by hand ------------------------------------------------------------------------------


CASES = {
    "plain": {},
    "clip norm": {"clip_norm": 0.05},
    "clamp": {"clamp_gradient": 0.004},
    "clamp, then clip": {"clamp_gradient": 0.004, "clip_norm": 0.01},
    "recreate": {"recreate_optimizer": True},
    "weight decay": {"weight_decay": 0.5},
    "hop penalty": {"hop_penalty": 0.7},
    "entropy penalty": {"entropy_penalty": 0.7},
    "as released": {"recreate_optimizer": True, "clamp_gradient": 0.004},
}


@pytest.mark.parametrize("change", CASES.values(), ids=CASES)
def test_equals_the_loop_by_hand(change):
    config = dataclasses.replace(PLAIN, **change)
    weights, fitted = double_run(config)
    expected, losses = double_run(config, by=by_hand)
    assert_close(weights, expected)
    assert [epoch["loss"] for epoch in fitted.history] == pytest.approx(losses, rel=1e-5)
    if change:
        plain, _ = double_run(PLAIN)
        assert max(float((weights[name] - plain[name]).abs().max()) for name in weights) > 1e-3, (
            "the switch did nothing"
        )


@pytest.mark.parametrize("loss", sorted(LOSSES.keys() - UNPAIRED))
@pytest.mark.parametrize("schedule", [None, WarmUp(0.7), AnnealOut(0.5), lambda done: 1 - done, lambda _: 0.0])
def test_supervision_equals_the_loop_by_hand(loss, schedule):
    weight = {"mse": 3.0, "mmd_released": 1e4}.get(loss, 0.3)
    supervision = targets_for(text_task(), dtype=torch.float64, loss=loss, weight=weight, schedule=schedule)
    weights, fitted = double_run(PLAIN, supervision)
    expected, losses = double_run(PLAIN, supervision, by=by_hand)
    assert_close(weights, expected)
    assert [epoch["loss"] for epoch in fitted.history] == pytest.approx(losses, rel=1e-5)


def test_a_schedule_of_zero_is_no_supervision():
    task = text_task()
    off = targets_for(task, weight=5.0, schedule=lambda _: 0.0)
    assert same(state(trained()[0]), state(trained(supervision=off)[0]))
    assert not same(state(trained()[0]), state(trained(supervision=targets_for(task, weight=5.0))[0]))


def test_the_schedule_is_asked_for_the_fraction_done():
    asked = []
    supervision = targets_for(text_task(), schedule=lambda done: asked.append(done) or 1.0)
    trained(supervision=supervision)  # 24 examples in batches of 10: three steps an epoch
    assert asked == pytest.approx([step / 9 for step in range(9)])


def test_auxiliary_losses_are_added():
    def penalty(output):
        return 0.9 * output.attention.square().sum(-1).mean()

    weights = []
    for by in (fit, by_hand):
        model = text_model(1, scale=1.0, hops=2, dropout=0.0, dtype=torch.float64)
        if by is fit:
            model.auxiliary_loss = lambda batch, output: penalty(output)  # noqa: ARG005
            fit(model, text_task(), PLAIN)
        else:
            by_hand(model, text_task(), PLAIN, penalty_of=penalty)
        weights.append(state(model))
    assert_close(*weights)
    assert not torch.allclose(weights[0]["attention_in.weight"], double_run(PLAIN)[0]["attention_in.weight"])


def test_history_is_the_mean_over_examples_whatever_the_batches():
    task = text_task()
    still = dataclasses.replace(QUICK, learning_rate=1e-30, epochs=1)
    supervision = targets_for(task, weight=2.0)
    model, fitted = trained(still, supervision, dropout=0.0)
    with torch.no_grad():
        output = model(task.train)
    distance = float(attention_loss("kl")(attention_map(model, output), supervision.target, exists(task.train)).mean())
    entropy = float(F.cross_entropy(output.logits, task.train.label))
    assert fitted.history[0]["loss"] == pytest.approx(entropy + 2 * distance, rel=1e-5)
    assert fitted.history[0]["attention_loss"] == pytest.approx(distance, rel=1e-5)
    assert fitted.history[0]["epoch"] == 1


# --- determinism -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("supervised", [False, True])
def test_the_outcome_is_a_function_of_the_seed(supervised):
    supervision = targets_for(text_task()) if supervised else None
    outcomes = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        model, fitted = trained(dataclasses.replace(QUICK, seed=seed), supervision, dropout=0.5)
        outcomes.append((state(model), fitted.history))
    assert same(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]
    assert not same(outcomes[0][0], outcomes[2][0])


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    trained(dropout=0.5, supervision=targets_for(text_task()))
    assert torch.equal(torch.get_rng_state(), before)


def test_other_devices_are_not_seeded(monkeypatch):
    def touched(*_):
        raise AssertionError("the generators of CUDA devices were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched)
    trained()


@pytest.mark.parametrize(("weight", "way"), [(0.5, -1), (-0.5, 1)])
def test_the_entropy_penalty_sharpens_attention_without_any_target(weight, way):
    """Or flattens it, with a negative weight."""
    config = TrainConfig(epochs=25, batch_size=8, learning_rate=1e-2, keep="last", validate=False)
    found = []
    for penalty in (0.0, weight):
        model, fitted = trained(dataclasses.replace(config, entropy_penalty=penalty), dropout=0.0, hops=2)
        _, maps = predict(model, text_task().train, device="cpu")
        found.append(float(entropy(maps, exists(text_task().train)).mean()))
        assert fitted.history[-1]["attention_loss"] == 0
    assert way * (found[1] - found[0]) > 0.1


def test_no_entropy_penalty_changes_nothing():
    assert same(state(trained()[0]), state(trained(dataclasses.replace(QUICK, entropy_penalty=0.0))[0]))
    assert not same(state(trained()[0]), state(trained(dataclasses.replace(QUICK, entropy_penalty=1e-3))[0]))


# --- what supervision does -------------------------------------------------------------------------------------------


def distance_to(model, task, target):
    _, maps = predict(model, task.train, device="cpu")
    return float(attention_loss("kl")(maps, target, exists(task.train)).mean())


def test_supervision_lowers_the_attention_loss():
    task = text_task()
    target = right_reason(task)
    baseline, _ = trained()
    supervised, fitted = trained(supervision=Supervision(task.train.ids, target, weight=1.0))
    assert distance_to(supervised, task, target) < 0.95 * distance_to(baseline, task, target)
    assert fitted.history[-1]["attention_loss"] < fitted.history[0]["attention_loss"]


def test_a_heavy_weight_pulls_attention_to_the_target():
    task = text_task()
    target = right_reason(task)
    config = TrainConfig(epochs=40, batch_size=8, learning_rate=2e-2, keep="last", validate=False)
    model, fitted = trained(config, Supervision(task.train.ids, target, weight=50.0), dropout=0.0)
    _, maps = predict(model, task.train, device="cpu")
    assert ((maps * target).sum(-1) > 0.9).all()
    assert fitted.history[-1]["attention_loss"] < 0.1 * fitted.history[0]["attention_loss"]


def test_every_example_is_pulled_to_its_own_target():
    """Targets in another order are another training: the pairing is kept through shuffled batches."""
    task = text_task(n_train=16, longest=6)
    target = right_reason(task)
    config = TrainConfig(epochs=25, batch_size=5, learning_rate=1e-2, keep="last", validate=False)
    model, _ = trained(config, Supervision(task.train.ids, target, weight=50.0), task, dropout=0.0)
    _, maps = predict(model, task.train, device="cpu")
    own = attention_loss("mse")(maps, target, exists(task.train)).mean()
    others = attention_loss("mse")(maps, target.roll(1, 0), exists(task.train)).mean()
    assert own < 0.2 * others


def test_ids_of_other_examples_are_refused():
    task, other = text_task(), text_task(seed=5)
    good = targets_for(task)
    model = text_model()
    before = state(model)
    for ids in (other.train.ids, good.ids.flip(0)):
        with pytest.raises(ValueError, match="their ids or order differ: search for surrogates on this very split"):
            fit(model, task, QUICK, dataclasses.replace(good, ids=ids))
    smaller = task.subset(8, seed=0)
    with pytest.raises(ValueError, match="targets for 24 examples, the training split has 8"):
        fit(model, smaller, QUICK, good)
    assert same(state(model), before)


# --- best and last ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracies", "kept"), [([0.2, 0.9, 0.5, 0.9], 2), ([0.5, 0.5, 0.5, 0.5], 1), ([0.0, 0.1, 0.2, 0.3], 4)]
)
def test_best_keeps_the_first_best_epoch_and_last_the_last(monkeypatch, accuracies, kept):
    after = [state(trained(dataclasses.replace(QUICK, epochs=n, keep="last"))[0]) for n in (1, 2, 3, 4)]
    script = iter(accuracies * 2)
    monkeypatch.setattr(training, "evaluate", lambda *_, **__: next(script))
    best, fitted = trained(dataclasses.replace(QUICK, epochs=4, keep="best"))
    assert [epoch["valid_accuracy"] for epoch in fitted.history] == accuracies
    assert [same(state(best), weights) for weights in after] == [n == kept for n in (1, 2, 3, 4)]
    last, _ = trained(dataclasses.replace(QUICK, epochs=4, keep="last"))
    assert same(state(last), after[-1])


def test_history_holds_the_accuracy_on_the_validation_split():
    config = TrainConfig(epochs=8, batch_size=8, learning_rate=0.15, keep="best")
    model, fitted = trained(config)
    accuracies = [epoch["valid_accuracy"] for epoch in fitted.history]
    assert len(set(accuracies)) > 1
    assert evaluate(model, text_task().valid) == max(accuracies)
    last, fitted = trained(dataclasses.replace(config, keep="last"))
    assert evaluate(last, text_task().valid) == fitted.history[-1]["valid_accuracy"]


def test_without_validation_nothing_is_validated():
    config = dataclasses.replace(QUICK, keep="last", validate=False)
    task = dataclasses.replace(text_task(), valid=text_task().valid.select([]))
    model, fitted = trained(config, task=task)
    assert all("valid_accuracy" not in epoch for epoch in fitted.history)
    assert same(state(model), state(trained(dataclasses.replace(QUICK, keep="last"))[0]))


@pytest.mark.parametrize("keep", ["best", "last"])
def test_no_epochs_change_nothing(keep):
    config = dataclasses.replace(QUICK, epochs=0, keep=keep)
    model, fitted = trained(config, targets_for(text_task()))
    assert fitted.history == []
    assert same(state(model), state(text_model(1, scale=1.0)))
    with pytest.raises(ValueError, match="ids or order differ"):
        trained(config, targets_for(text_task(seed=5)))


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_it_learns():
    config = TrainConfig(epochs=12, batch_size=8, learning_rate=2e-2)
    model, fitted = trained(config, task=text_task(n_train=60), dropout=0.0)
    assert evaluate(model, text_task(n_train=60).train) > 0.9
    assert fitted.history[-1]["loss"] < 0.5 * fitted.history[0]["loss"]
    assert fitted.seconds > 0


def image_task():
    return Task("images", *(random_images(n, n) for n in (11, 5, 5)), ("a", "b", "c"), ImageGrid((2, 3)))


def test_images_with_targets_on_every_region():
    task = image_task()
    target = random_maps(torch.ones(11, 6, dtype=torch.bool), 0, torch.float64)
    config = TrainConfig(epochs=15, batch_size=4, learning_rate=3e-2, keep="last")
    model = PatchModel((2, 3))
    fitted = fit(model, task, config, Supervision(task.train.ids, target, loss="kl", weight=5.0))
    assert fitted.history[-1]["attention_loss"] < fitted.history[0]["attention_loss"]
    baseline = PatchModel((2, 3))
    fit(baseline, task, config)
    distances = [attention_loss("kl")(predict(net, task.train)[1], target).mean() for net in (model, baseline)]
    assert distances[0] < distances[1]


def test_augmentation_changes_training_batches_alone():
    seen = []

    def augment(batch, generator):
        seen.append((len(batch), float(torch.rand(1, generator=generator))))
        return batch.replace(tokens=batch.tokens.masked_fill(exists(batch), 0))

    task = dataclasses.replace(text_task(), augment=augment)
    model, _ = trained(task=task)
    assert [n for n, _ in seen] == [10, 10, 4] * 3
    assert len({draw for _, draw in seen}) == 9
    again, _ = trained(task=task)
    assert seen[:9] == seen[9:]
    assert same(state(model), state(again))
    assert not same(state(model), state(trained()[0]))


# --- errors ----------------------------------------------------------------------------------------------------------


def test_a_loss_that_becomes_nan_is_an_error():
    with pytest.raises(ValueError, match=r"the loss became (nan|inf) in epoch \d: lower the learning rate or weights"):
        trained(dataclasses.replace(QUICK, learning_rate=1e30, clip_norm=None, keep="last", validate=False))


def test_an_attention_loss_that_becomes_nan_is_an_error():
    task = text_task()
    supervision = targets_for(task, weight=1.0, schedule=lambda done: float("nan") if done > 0.5 else 1.0)
    with pytest.raises(ValueError, match="the loss became nan in epoch 2"):
        trained(supervision=supervision)


def test_outputs_are_checked_before_any_step():
    honest = text_model()
    model = Returns(lambda batch: Output(honest(batch).logits, honest(batch).attention * 0.5))
    model.weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="attention must sum to 1"):
        fit(model, text_task(), QUICK)
    assert model.training
    with pytest.raises(ValueError, match="the model has 2 classes, tiny has 3"):
        fit(text_model(classes=2), text_task(), QUICK)


def test_an_empty_training_split():
    empty = dataclasses.replace(text_task(), train=text_task().train.select([]))
    with pytest.raises(ValueError, match="the training split of tiny is empty"):
        fit(text_model(), empty, QUICK)


def test_the_hop_penalty_needs_hops():
    model = Additive(torch.zeros(20, 3), torch.zeros(20))
    with pytest.raises(ValueError, match=r"the hop penalty needs attention \(B, H, R\)"):
        fit(model, text_task(), dataclasses.replace(QUICK, hop_penalty=0.1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entropy_penalty": float("nan")}, "entropy_penalty must be a finite number, got nan"),
        ({"epochs": -1}, "epochs must be >= 0"),
        ({"batch_size": 0}, "batch_size >= 1"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"learning_rate": float("nan")}, "learning_rate > 0"),
        ({"keep": "first"}, "keep must be 'best' or 'last', got 'first'"),
        ({"validate": False}, "keep='best' needs validate=True"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0, or None"),
        ({"clamp_gradient": -0.1}, "clamp_gradient must be above 0, or None"),
    ],
)
def test_bad_configs(change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)


def test_the_released_config():
    config = TrainConfig.as_released(seed=4)
    assert (config.epochs, config.batch_size, config.learning_rate, config.seed) == (10, 1, 1e-3, 4)
    assert (config.clamp_gradient, config.clip_norm) == (0.1, None)
    assert config.recreate_optimizer
    assert config.keep == "last"


# --- manners ---------------------------------------------------------------------------------------------------------


def test_progress(capsys):
    fit(text_model(), text_task(), QUICK, show_progress=True)
    assert "/3 [" in capsys.readouterr().err
    fit(text_model(), text_task(), QUICK)
    assert capsys.readouterr().err == ""


def test_frozen_parameters_stay():
    model = text_model(1)
    model.embedding.weight.requires_grad_(False)
    before = state(model)
    fit(model, text_task(), QUICK)
    assert torch.equal(model.embedding.weight, before["embedding.weight"])
    assert not torch.equal(model.lstm.weight_ih_l0, before["lstm.weight_ih_l0"])


def test_one_may_look_after_every_epoch():
    task, config = text_task(), TrainConfig(epochs=3, keep="last", validate=False)
    seen = []
    looked, plain = text_model(), text_model()

    def look(epoch, model):
        seen.append((epoch, predict(model, task.test, device="cpu")[0]))

    fit(looked, task, config, device="cpu", after_epoch=look)
    fit(plain, task, config, device="cpu")
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert torch.equal(seen[-1][1], predict(plain, task.test, device="cpu")[0])
    assert not torch.equal(seen[0][1], seen[1][1])
