"""The training loop: against one written out by hand, bit for bit the same per seed, and pulled by its targets."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from ssan import training
from ssan.data.task import Task
from ssan.losses import attention_loss, hop_penalty
from ssan.models.attention import Output, attention_map
from ssan.regions import ImageGrid
from ssan.training import Supervision, TrainConfig, evaluate, fit, pick_device, predict, supervised_distance
from tests.helpers import (
    Additive,
    PatchModel,
    Returns,
    exists,
    random_images,
    random_maps,
    random_sentences,
    text_model,
    text_task,
)

QUICK = TrainConfig(epochs=3, batch_size=10, learning_rate=1e-2)


def targets_for(task, seed=0, dtype=torch.float32, **options):
    target = random_maps(exists(task.train), seed, dtype)
    return Supervision(task.train.ids, target, **options)


def right_reason(task, classes=3):
    """All weight on the word that tells the class."""
    tells = (task.train.tokens > 1) & (task.train.tokens < classes + 2) & exists(task.train)
    return tells.float() / tells.sum(-1, keepdim=True)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def trained(config=QUICK, supervision=None, task=None, **model):
    net = text_model(1, scale=1.0, **model)
    fitted = fit(net, task or text_task(), config, supervision, device="cpu")
    assert fitted.model is net
    return net, fitted


# --- against a loop written out by hand ------------------------------------------------------------------------------


def by_hand(model, task, config, supervision=None, penalty_of=None):
    """Whole batches, double precision, AdamW and both ways of taming gradients in plain formulas."""
    batch, parameters = task.train, dict(model.named_parameters())
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    losses = []
    for epoch in range(config.epochs):
        if epoch == 0 or config.recreate_optimizer:
            moments, step = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in parameters.items()}, 0
        output = model(batch)
        loss = -torch.log_softmax(output.logits, -1)[torch.arange(len(batch)), batch.label].mean()
        loss = loss + config.hop_penalty * hop_penalty(output.attention).mean()
        if penalty_of is not None:
            loss = loss + penalty_of(output)
        if supervision is not None:
            total = 0
            for row in range(len(batch)):
                n = int(batch.lengths[row])
                a, t = output.attention[row].mean(0)[:n], supervision.target[row, :n]
                total = total + attention_loss(supervision.loss)(a[None], t[None])[0]
            factor = supervision.schedule(epoch / config.epochs) if supervision.schedule else 1
            loss = loss + supervision.weight * factor * total / len(batch)
        gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
        losses.append(float(loss.detach()))
        if config.clamp_gradient is not None:
            gradients = {k: g.clamp(-config.clamp_gradient, config.clamp_gradient) for k, g in gradients.items()}
        if config.clip_norm is not None:
            norm = torch.sqrt(sum(g.square().sum() for g in gradients.values()))
            gradients = {k: g * min(1.0, config.clip_norm / float(norm + 1e-6)) for k, g in gradients.items()}
        step += 1
        with torch.no_grad():
            for name, p in parameters.items():
                m, v = moments[name]
                m.mul_(beta1).add_((1 - beta1) * gradients[name])
                v.mul_(beta2).add_((1 - beta2) * gradients[name] ** 2)
                p.mul_(1 - config.learning_rate * config.weight_decay)
                p.sub_(config.learning_rate * (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + eps))
    return losses


PLAIN = TrainConfig(
    epochs=5, batch_size=1000, learning_rate=3e-2, clip_norm=None, keep="last", validate=False, weight_decay=0.0
)
CASES = {
    "plain": {},
    "clip norm": {"clip_norm": 0.05},
    "clamp": {"clamp_gradient": 0.004},
    "clamp, then clip": {"clamp_gradient": 0.004, "clip_norm": 0.01},
    "recreate": {"recreate_optimizer": True},
    "weight decay": {"weight_decay": 0.5},
    "hop penalty": {"hop_penalty": 0.7},
    "as released": {"recreate_optimizer": True, "clamp_gradient": 0.004},
}


def double_run(config, supervision=None, by=fit, **options):
    model = text_model(1, scale=1.0, hops=2, dropout=0.0, dtype=torch.float64)
    result = by(model, text_task(), config, supervision, **options)
    return state(model), result


def assert_close(a, b):
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-9, rtol=1e-7)


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


@pytest.mark.parametrize("loss", ["kl", "mse", "mmd_released"])
@pytest.mark.parametrize("schedule", [None, lambda done: 1 - done, lambda _: 0.0])
def test_supervision_equals_the_loop_by_hand(loss, schedule):
    weight = {"kl": 0.3, "mse": 3.0, "mmd_released": 1e4}[loss]
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


def test_targets_may_be_wider_than_the_task():
    """As they are when found on a larger batch, or by a model of fixed length."""
    task = text_task()
    narrow = targets_for(task)
    wide = dataclasses.replace(narrow, target=F.pad(narrow.target, (0, 30)))
    assert same(state(trained(supervision=narrow)[0]), state(trained(supervision=wide)[0]))


def test_targets_narrower_than_the_task_are_zero_beyond():
    task = text_task()
    target = F.one_hot(torch.zeros(len(task.train), dtype=torch.long), 2).float()
    narrow = Supervision(task.train.ids, target)
    wide = Supervision(task.train.ids, F.pad(target, (0, task.train.tokens.shape[1] - 2)))
    assert same(state(trained(supervision=narrow)[0]), state(trained(supervision=wide)[0]))


def test_supervision_of_a_model_that_attends_to_padding_counts_padding():
    task = text_task()
    released = {"padding_attends": True, "fixed_length": 12, "hops": 3, "hop_reduction": "softmax_of_sum"}
    model = text_model(1, **released).eval()
    target = random_maps(torch.ones(len(task.train), 12, dtype=torch.bool))
    supervision = Supervision(task.train.ids, target, loss="mmd_released", weight=1e4)
    rows = torch.tensor([3, 1])
    batch = task.train.select(rows)
    output = model(batch)
    found = supervised_distance(model, batch, output, supervision, rows)
    squared = (attention_map(model, output) - target[rows]).square().sum(-1)
    torch.testing.assert_close(1e4 * found, 0.5 * squared.mean(), rtol=1e-4, atol=0)
    config = dataclasses.replace(TrainConfig.as_released(), epochs=1)
    _, fitted = trained(config, supervision, dropout=0.0, **released)
    assert fitted.history[0]["attention_loss"] > 0


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


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.ones(3), r"targets must be \(N, R\) with N=3 ids, got shape \(3,\)"),
        (torch.ones(2, 4), r"targets must be \(N, R\) with N=3 ids, got shape \(2, 4\)"),
        (torch.tensor([[1.0, float("nan")]] * 3), "targets must be finite and non-negative"),
        (torch.tensor([[1.5, -0.5]] * 3), "targets must be finite and non-negative"),
    ],
)
def test_bad_targets(target, message):
    with pytest.raises(ValueError, match=message):
        Supervision(torch.arange(3), target)


def test_unknown_losses_are_refused_at_once():
    with pytest.raises(ValueError, match="unknown attention loss 'coral'"):
        Supervision(torch.arange(3), torch.ones(3, 2), loss="coral")


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


# --- predict and evaluate --------------------------------------------------------------------------------------------


def test_predictions_are_in_order_and_padded():
    model, batch = text_model(hops=2).train(), random_sentences(11, seed=4)
    logits, maps = predict(model, batch, batch_size=3)
    assert model.training
    model.eval()
    for row in range(11):
        output = model(batch.select([row]))
        n = int(batch.lengths[row])
        torch.testing.assert_close(logits[row], output.logits[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(maps[row, :n], output.attention[0].mean(0), atol=1e-6, rtol=1e-5)
        assert (maps[row, n:] == 0).all()
    assert maps.shape == (11, int(batch.lengths.max()))
    whole = predict(model, batch)
    torch.testing.assert_close((logits, maps), whole, atol=1e-6, rtol=1e-5)


def test_predicted_maps_can_be_targets():
    _, maps = predict(text_model(), random_sentences(3))
    attention = maps.clone().requires_grad_()
    attention_loss("mse")(attention, maps).sum().backward()
    (attention * maps).sum().backward()
    assert attention.grad is not None


def test_accuracy_by_hand():
    weight = torch.zeros(20, 3)
    weight[2:5] = torch.eye(3)
    model, task = Additive(weight, torch.zeros(20)), text_task()
    assert evaluate(model, task.train) == 1.0  # it reads the one word that tells the class
    wrong = task.test.replace(label=torch.cat([(task.test.label[:3] + 1) % 3, task.test.label[3:]]))
    assert evaluate(model, wrong) == pytest.approx(9 / 12)


def test_nothing_to_predict():
    with pytest.raises(ValueError, match="the split has no examples to predict"):
        evaluate(text_model(), random_sentences(3).select([]))


# --- manners ---------------------------------------------------------------------------------------------------------


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device(torch.device("meta")).type == "meta"


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
