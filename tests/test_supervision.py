"""Supervision: whose targets, of which attention, with which loss and schedule."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from ssan.checkpoint import config_hash
from ssan.data.task import Task
from ssan.losses import LOSS_NAMES, UNPAIRED, GridEMD, make_loss
from ssan.models.attention import attention_map
from ssan.regions import ImageGrid
from ssan.schedules import AnnealOut, Constant, WarmUp
from ssan.training import Supervision, TrainConfig, fit, predict, supervised_distance
from tests.helpers import PatchModel, exists, random_images, random_maps, text_model, text_task
from tests.test_distributed import TRAIN, Torchrun
from tests.trained import PLAIN, QUICK, assert_close, by_hand, double_run, same, state, targets_for, trained

# --- widths ----------------------------------------------------------------------------------------------------------


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


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(UNPAIRED))
def test_losses_over_batches_and_those_that_learn_against_the_loop_by_hand(name):
    """The discriminators' step comes first, with the maps of the very batch."""
    task, weight = text_task(), {"mmd_batch": 1e6, "coral": 1e4}.get(name, 1.0)
    supervision = targets_for(task, dtype=torch.float64, loss=name, weight=weight)
    weights, fitted = double_run(dataclasses.replace(PLAIN, seed=5), supervision)
    loss, told = make_loss(name, n_regions=supervision.target.shape[1], seed=5), []

    def pull(output):
        maps = output.attention.mean(1), supervision.target, exists(task.train)
        if name.startswith("adversarial"):
            loss.observe(*maps)
        told.append(loss(*maps).mean())
        return weight * told[-1]

    expected, _ = double_run(PLAIN, by=by_hand, penalty_of=pull)
    assert_close(weights, expected)
    assert [epoch["attention_loss"] for epoch in fitted.history] == pytest.approx([float(x.detach()) for x in told])
    plain, _ = double_run(PLAIN)
    assert max(float((weights[name] - plain[name]).abs().max()) for name in weights) > 1e-3


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_every_loss_trains_as_its_seed_says_and_a_weight_of_zero_changes_nothing(name):
    task = text_task()
    config = dataclasses.replace(QUICK, epochs=2, seed=3)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, off = (
        trained(config, targets_for(task, loss=name, weight=weight), dropout=0.5)[0] for weight in (10.0, 10.0, 0.0)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert same(state(first), state(again))
    plain, _ = trained(config, dropout=0.5)
    assert same(state(off), state(plain))
    assert not same(state(first), state(plain))


@pytest.mark.parametrize("name", ["adversarial_image", "adversarial_pixel"])
def test_adversarial_losses_pull_attention_to_where_targets_are(name):
    """All targets are on the first word: that is a distribution, which needs no pairing."""
    task = text_task(40)
    first = F.one_hot(torch.zeros(40, dtype=torch.long), task.train.tokens.shape[1]).float()
    config = TrainConfig(epochs=30, batch_size=10, learning_rate=1e-2, keep="last", validate=False)
    on_first = []
    for supervision in (None, Supervision(task.train.ids, first, loss=name, weight=1.0)):
        model, _ = trained(config, supervision, task, dropout=0.0)
        on_first.append(float(predict(model, task.train, device="cpu")[1][:, 0].mean()))
    assert on_first[1] > on_first[0] + 0.2


def test_targets_narrower_than_the_attention_are_too_narrow_for_discriminators():
    task = text_task()
    narrow = Supervision(task.train.ids, torch.ones(24, 2) / 2, loss="adversarial_image")
    with pytest.raises(ValueError, match="discriminators take maps of up to 2 regions, got 5: make targets as wide"):
        trained(supervision=narrow)


# --- grids -----------------------------------------------------------------------------------------------------------


def image_task(grid=(2, 3)):
    return Task("images", *(random_images(n, n) for n in (11, 5, 5)), ("a", "b", "c"), ImageGrid(grid))


def test_distances_are_measured_on_the_grid_of_the_task_unless_told_otherwise():
    task = image_task()
    target = random_maps(torch.ones(11, 6, dtype=torch.bool), 0, torch.float64)
    still = TrainConfig(epochs=1, batch_size=20, learning_rate=1e-30, keep="last", validate=False)
    _, maps = predict(PatchModel((2, 3)), task.train)

    def told(of, task=task):
        return fit(PatchModel((2, 3)), task, still, of).history[0]["attention_loss"]

    of = Supervision(task.train.ids, target, loss="emd")
    assert told(of) == pytest.approx(float(GridEMD((2, 3))(maps, target).mean()), rel=1e-5)
    line = dataclasses.replace(of, grid=(1, 6))
    assert told(line) == pytest.approx(float(GridEMD((1, 6))(maps, target).mean()), rel=1e-5)
    assert told(line) != pytest.approx(told(of), rel=0.05)
    # A task that divides images otherwise than the model attends: said before any step.
    with pytest.raises(ValueError, match="a grid of 2x2 cells does not fit maps of 6 regions"):
        told(of, image_task((2, 2)))


# --- several at once -------------------------------------------------------------------------------------------------


def test_several_supervisions_add_up():
    """Two halves of one weight are one whole; each is told of in the unweighted sum."""
    task = text_task()
    whole = targets_for(task, dtype=torch.float64, weight=1.0)
    half = dataclasses.replace(whole, weight=0.5)
    one, told = double_run(PLAIN, whole)
    two, twice = double_run(PLAIN, [half, half])
    assert_close(one, two)
    for a, b in zip(told.history, twice.history, strict=True):
        assert b["attention_loss"] == pytest.approx(2 * a["attention_loss"])
        assert b["loss"] == pytest.approx(a["loss"])
    other = targets_for(task, 1, torch.float64, loss="mse", weight=3.0)
    mixed, _ = double_run(PLAIN, [whole, other])
    assert max(float((mixed[name] - one[name]).abs().max()) for name in one) > 1e-3


def test_none_at_all_is_the_baseline():
    assert same(state(trained(supervision=[])[0]), state(trained()[0]))


def test_every_supervision_must_belong_to_the_split():
    good, bad = targets_for(text_task()), targets_for(text_task(seed=5))
    with pytest.raises(ValueError, match="ids or order differ"):
        trained(supervision=[good, bad])


# --- schedules -------------------------------------------------------------------------------------------------------


def test_annealing_out_leaves_the_later_steps_alone():
    """From where the weight is zero, training goes on as if there had been no supervision."""
    task = text_task()
    told = [
        trained(dataclasses.replace(QUICK, epochs=4), targets_for(task, weight=5.0, schedule=schedule))[1].history
        for schedule in (Constant(), AnnealOut(0.25), WarmUp(1.0))
    ]
    distance = [[epoch["attention_loss"] for epoch in history] for history in told]
    assert distance[1][-1] > distance[0][-1]
    assert distance[2][0] > distance[0][0]


def test_schedules_enter_the_hash_of_a_config():
    schedules = [Constant(), WarmUp(0.3), WarmUp(0.4), AnnealOut(0.3)]
    assert len({config_hash({"schedule": one}) for one in schedules}) == 4
    assert config_hash(WarmUp(0.3)) == config_hash(WarmUp(0.3))


# --- errors ----------------------------------------------------------------------------------------------------------


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
    with pytest.raises(ValueError, match="unknown attention loss 'hinge'"):
        Supervision(torch.arange(3), torch.ones(3, 2), loss="hinge")


def test_unknown_attention():
    with pytest.raises(ValueError, match="of must be one of attention, question_attention, got 'words'"):
        Supervision(torch.arange(3), torch.ones(3, 2), of="words")


# --- several processes -----------------------------------------------------------------------------------------------


def train(processes=None):
    """Two adversaries and an entropy penalty, in double precision; the last batch is too small for two processes."""
    task = text_task(25)
    of = [
        targets_for(task, k, torch.float64, loss=f"adversarial_{kind}", weight=1.0)
        for k, kind in enumerate(("image", "pixel"))
    ]
    config = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01, seed=3, entropy_penalty=0.1)
    model = text_model(1, scale=1.0, dtype=torch.float64, hops=2, dropout=0.0)
    return model, fit(model, task, config, of, device="cpu", processes=processes).history


def test_two_processes_train_the_same_discriminators_as_one(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAIN.replace("test_distributed", "test_supervision"))
    with Torchrun(script, tmp_path) as run:
        model, history = train()
        run.finish()
    for rank in range(2):
        weights, told = torch.load(tmp_path / f"{rank}.pt")
        assert_close(weights, model.state_dict())
        for ours, theirs in zip(told, history, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5)
    assert history[-1]["loss"] < history[0]["loss"]
