"""One seed of a study: what is made once, what is read again, and what each condition is trained on."""

import dataclasses
import json

import pytest
import torch

from ssan.conditions import CONDITIONS, Condition, CrossFitted, Round, Snapshots, Target
from ssan.experiment import Experiment, Settings
from ssan.gallery import outcomes, pick, surrogate_rows, text_examples
from ssan.losses import prepare_target
from ssan.models.ensemble import Ensemble
from ssan.models.text import TextConfig, make_model
from ssan.rounds import folds
from ssan.samplers import Pairs, Singles
from ssan.schedules import AnnealOut
from ssan.search import find_surrogates
from ssan.targets import product
from ssan.training import TrainConfig, fit, predict
from tests.helpers import text_task

TRAIN = TrainConfig(epochs=2, batch_size=8, learning_rate=1e-2, keep="last", validate=False)
SMALL = TextConfig(embedding_dim=6, hidden=5, attention_dim=7, dropout=0.1)


def build(folder, seed: int = 3) -> Experiment:
    settings = Settings("tiny", None, Pairs(), TRAIN, n_quality=8)
    return Experiment(settings, seed, text_task(), lambda task, s: make_model(task, s, SMALL), folder, "cpu")


def weights(model) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return build(tmp_path_factory.mktemp("one"))


def test_nets_and_surrogates_are_made_once(one):
    first = weights(one.baseline(0))
    files = {path: path.stat().st_mtime_ns for path in one.folder.glob("*.safetensors")}
    assert torch.equal(first, weights(one.baseline(0)))
    assert all(path.stat().st_mtime_ns == made for path, made in files.items())
    assert not torch.equal(first, weights(one.baseline(1)))


def test_another_seed_or_setting_is_not_read_by_mistake(one):
    mine = weights(one.baseline(0))
    before = set(one.folder.glob("*.safetensors"))
    assert not torch.equal(weights(build(one.folder, seed=4).baseline(0)), mine)
    assert len(set(one.folder.glob("*.safetensors")) - before) == 1
    assert torch.equal(weights(one.baseline(0)), mine)


def test_a_checkpoint_under_a_foreign_name_is_an_error(tmp_path):
    ours, other = build(tmp_path / "3"), build(tmp_path / "4", seed=4)
    paths = []
    for each in (ours, other):
        each.baseline(0)
        paths += each.folder.glob("baseline-0-*.safetensors")
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(ValueError, match="trained from config"):
        other.baseline(0)


def test_targets_are_distributions_over_the_words_there_are(one):
    for condition in CONDITIONS.values():
        if condition.target is None or condition.target.rounds[-1].gives == "oracle":
            continue
        target = one.target(condition.target)
        assert torch.allclose(target.sum(-1), torch.ones(len(target)), atol=1e-5), condition.name
        assert float(target.min()) >= 0
        assert float(target.masked_fill(one.exists, 0).abs().max()) == 0, condition.name


def test_self_is_the_teachers_clean_attention(one):
    _, attention = predict(one.baseline(0), one.train_batch, device="cpu")
    target = one.target(Target((Round("attention"),)))
    assert torch.allclose(target, attention, atol=2e-3)
    _, second = predict(one.baseline(1), one.train_batch, device="cpu")
    _, third = predict(one.baseline(2), one.train_batch, device="cpu")
    mean = (attention + second + third) / 3
    assert torch.allclose(one.target(Target((Round("attention"),), teachers=3)), mean, atol=2e-3)


def test_best_targets_are_what_the_search_finds(one):
    found = find_surrogates(one.baseline(0), one.train_batch, Pairs(), regions=one.regions)
    assert torch.allclose(one.target(Target()), found.attention, atol=2e-3)


def test_the_second_round_is_searched_by_students(one):
    sharp = Round(temperature=0.5)
    once, twice = (one.target(Target(rounds, "ridge")) for rounds in ((sharp,), (sharp, Round("product"))))
    assert not torch.allclose(once, twice, atol=1e-3)
    student = one.make_model(one.task, one.seed)
    fit(student, one.task, dataclasses.replace(TRAIN, seed=one.seed), one.supervision(once, one.settings.weight))
    found = find_surrogates(student, one.train_batch, Pairs(), selector="ridge", regions=one.regions)
    parts = [prepare_target(maps, one.exists) for maps in (found.attention, found.clean_attention)]
    assert torch.allclose(twice, prepare_target(product(*parts, one.exists), one.exists), atol=1e-5)


def test_teachers_may_have_seen_masked_inputs(one):
    plain, augmented = (Target((Round("attention"),), augmented=augmented) for augmented in (False, True))
    _, attention = predict(one.trained("augmentation"), one.train_batch, device="cpu")
    assert torch.allclose(one.target(augmented), attention, atol=2e-3)
    assert not torch.allclose(one.target(plain), one.target(augmented), atol=1e-3)


def test_crossfitted_teachers_have_not_seen_what_they_search(one):
    of = CrossFitted(selector="importance", score="probability", teachers=2, folds=3)
    target, fold = one.target(of), folds(one, 3)
    assert sorted(torch.bincount(fold).tolist())[0] >= len(fold) // 3
    for k in range(3):
        others, own = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
        nets = []
        for j in range(2):
            seed = one.seed + 1000 * j
            net, task = one.make_model(one.task, seed), one.task.training_on(others)
            assert not set(task.train.ids.tolist()) & set(one.train_batch.ids[own].tolist())
            fit(net, task, dataclasses.replace(TRAIN, seed=seed))
            nets.append(net)
        batch = one.train_batch.select(own)
        found = find_surrogates(nets, batch, Pairs(), selector="importance", score="probability", regions=one.regions)
        assert torch.allclose(target[own, : found.attention.shape[1]], found.attention, atol=2e-3)
    assert not torch.allclose(target, one.target(Target(selector="importance", score="probability")), atol=1e-3)
    with pytest.raises(ValueError, match="at least two folds"):
        CrossFitted(folds=1)


def test_snapshots_are_one_training_looked_at_on_the_way(tmp_path):
    one = build(tmp_path)
    early, end = one.snapshots(2, "baseline-0", one.seed)
    assert torch.equal(weights(end), weights(build(tmp_path / "plain").baseline(0)))
    assert torch.equal(weights(end), weights(one.baseline(0)))  # and the file is read as the baseline
    short = one.make_model(one.task, one.seed)
    fit(short, one.task, dataclasses.replace(TRAIN, seed=one.seed, epochs=1))
    assert torch.equal(weights(early), weights(short))
    again = one.snapshots(2, "baseline-0", one.seed)
    assert all(torch.equal(weights(a), weights(b)) for a, b in zip(again, (early, end), strict=True))
    with pytest.raises(ValueError, match="as many epochs"):
        one.snapshots(3, "baseline-0", one.seed)


def test_snapshots_teach_for_the_price_of_one_training(tmp_path):
    one = build(tmp_path)
    rounds = (Round(temperature=0.5), Round(temperature=0.5))
    row = one.run(Condition("cheap", Snapshots(rounds, "ridge", teachers=2), ("scratch",)), "scratch")
    assert (row["trainings"], row["searches"]) == (3, 2)
    first = one.target(Snapshots(rounds[:1], "ridge", teachers=2))
    teachers = one.snapshots(2, "baseline-0", one.seed)
    found = find_surrogates(teachers, one.train_batch, Pairs(), selector="ridge", regions=one.regions)
    assert torch.allclose(first, prepare_target(found.attention, one.exists, 0.5), atol=1e-5)


def test_a_target_may_have_masks_of_its_own(one):
    own = one.target(Target(selector="importance", score="probability", sampler=Singles()))
    found = find_surrogates(one.baseline(0), one.train_batch, Singles(), selector="importance", score="probability")
    assert torch.allclose(own, found.attention, atol=2e-3)
    with pytest.raises(ValueError, match="for cells of images"):
        one.target(Target(fill="zero"))


def test_a_condition_may_have_a_loss_of_its_own(one):
    of = Condition("other", Target(), ("scratch",), loss="mse", weight=7.0, schedule=AnnealOut(0.5))
    supervision = one.supervision(one.target(Target()), 0.2, of)
    assert (supervision.loss, supervision.weight, supervision.schedule) == ("mse", 7.0, AnnealOut(0.5))
    net = one.make_model(one.task, one.seed)
    fit(net, one.task, dataclasses.replace(TRAIN, seed=one.seed), supervision)
    assert torch.equal(weights(one.trained(of)), weights(net))


def test_the_same_condition_under_another_name_is_not_trained_again(one):
    of = Condition("one", Target(), ("scratch",), weight=3.0)
    first = weights(one.trained(of))
    before = set(one.folder.glob("*.safetensors"))
    assert torch.equal(weights(one.trained(dataclasses.replace(of, name="other"))), first)
    assert set(one.folder.glob("*.safetensors")) == before
    assert not torch.equal(weights(one.trained(dataclasses.replace(of, weight=0.1))), first)


@pytest.mark.parametrize(
    "wrong", [{"rounds": ()}, {"teachers": 0}, {"change": "upside down"}], ids=["no rounds", "no teachers", "change"]
)
def test_impossible_targets(wrong):
    with pytest.raises(ValueError, match=r"at least one|must be one of"):
        Target(**wrong)
    with pytest.raises(ValueError, match="a round gives one of"):
        Round("nothing")


def test_rows_say_what_a_condition_needed(tmp_path):
    one = build(tmp_path)
    rows = {name: one.run(name, "scratch") for name in ("baseline", "supervised_best", "supervised_ridge_3", "self_3")}
    counted = {name: (row["trainings"], row["searches"]) for name, row in rows.items()}
    # Three baselines, three students and the net itself; a search by the former and one by the latter.
    assert counted == {
        "baseline": (1, 0),
        "supervised_best": (2, 1),
        "supervised_ridge_3": (7, 2),
        "self_3": (4, 0),
    }
    assert all(row["seconds"] > 0 for row in rows.values())
    again = build(tmp_path).run("supervised_ridge_3", "scratch")
    assert again == rows["supervised_ridge_3"]  # what was made once took the time that it took


@pytest.mark.parametrize(("name", "trainings"), [("baseline_longer", 2), ("uniform", 2), ("supervised_best", 2)])
def test_what_a_net_goes_on_from_is_a_part_of_its_cost_also_when_it_is_there_already(tmp_path, name, trainings):
    made = build(tmp_path).run(name, "continued")
    assert made["trainings"] == trainings
    assert build(tmp_path).run(name, "continued") == made


def test_the_oracle_needs_boxes(one):
    with pytest.raises(ValueError, match="boxes"):
        one.target(Target((Round("oracle"),)))


def test_starts_and_length_are_what_they_are_called(one):
    scratch, continued = one.trained("self", "scratch"), one.trained("self", "continued")
    base = weights(one.baseline(0))
    near = (weights(continued) - base).abs().mean()
    far = (weights(scratch) - weights(make_model(one.task, one.seed, SMALL))).abs().mean()
    assert not torch.equal(weights(continued), weights(scratch))
    assert near > 0
    assert far > 0
    with pytest.raises(ValueError, match="starts from scratch"):
        one.trained("baseline", "continued")
    with pytest.raises(ValueError, match="unknown condition"):
        one.trained("nonsense", "scratch")


def test_the_ensemble_averages_probabilities(one):
    members = [one.baseline(k) for k in range(3)]
    logits, attention = predict(Ensemble(members), one.task.test, device="cpu")
    parts = [predict(member, one.task.test, device="cpu") for member in members]
    mean = torch.stack([part.softmax(-1) for part, _ in parts]).mean(0)
    assert torch.allclose(logits.exp(), mean, atol=1e-6)
    assert torch.allclose(attention, torch.stack([part for _, part in parts]).mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble([])


def test_rows_are_deterministic_and_read_again(one, tmp_path):
    row = one.row("supervised_importance", "continued", "smoke")
    again = one.row("supervised_importance", "continued", "smoke")
    assert row == again
    fresh = build(tmp_path).row("supervised_importance", "continued", "smoke")
    timed = {"seconds"}
    assert {k: v for k, v in row.items() if k not in timed} == {k: v for k, v in fresh.items() if k not in timed}
    for column in ("task", "condition", "start", "seed", "accuracy", "faithfulness", "config", "versions", "host"):
        assert column in row
    (path,) = (one.folder / "rows").glob("supervised_importance-continued-*.json")
    assert json.loads(path.read_text()) == row


def test_outcomes_and_the_choice_of_examples():
    label = torch.tensor([0, 0, 1, 1])
    right, wrong = torch.eye(2)[label], torch.eye(2)[1 - label]
    before, after = torch.stack([right[0], wrong[1], right[2], wrong[3]]), torch.stack([*right[:2], wrong[2], wrong[3]])
    found = outcomes(before, after, label)
    assert {name: which.nonzero().flatten().tolist() for name, which in found.items()} == {
        "fixed": [1],
        "broken": [2],
        "kept": [0],
    }
    old = torch.tensor([[1.0, 0], [1, 0], [1, 0], [1, 0]])
    new = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0, 1], [0.5, 0.5]])
    assert pick(old, new, torch.tensor([True, True, False, True]), 2).tolist() == [1, 3]


def test_gallery_rows_are_what_the_nets_say(one):
    rows = text_examples(one, [("supervised_best", "continued")], n=1)
    logits, attention = predict(one.trained("supervised_best", "continued"), one.task.test, device="cpu")
    for example, words in rows.groupby("example"):
        position = one.task.test.ids.tolist().index(example)
        length = int(one.task.test.lengths[position])
        assert words["after"].tolist() == pytest.approx(attention[position, :length].tolist(), abs=1e-5)
        assert words["answer_after"].iloc[0] == one.task.class_names[int(logits[position].argmax())]
    shown = surrogate_rows(one, n=2, longest=9)
    assert shown.groupby("example")["best"].sum().tolist() == pytest.approx([1, 1], abs=1e-3)
