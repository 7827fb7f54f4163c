"""One seed of a study: what is made once, what is read again, what each condition is trained on, and what it costs."""

import dataclasses

import pytest
import torch

from ssan.files import read_json
from ssan.models.ensemble import Ensemble
from ssan.samplers import Singles
from ssan.search import find_surrogates
from ssan.study import CONDITIONS, Condition, Round, Target
from ssan.study.schedules import AnnealOut
from ssan.study.targets import aligned, centre, product
from ssan.training import fit, predict, prepare_target
from tests.study.tiny import SMALL, TRAIN, of_images, of_text, weights

SHARP, LOOK = Round(temperature=0.5), Round("attention")
IMPORTANCE = {"selector": "importance", "score": "probability"}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return of_text(tmp_path_factory.mktemp("text"))


def search(experiment, teachers, sampler=None, batch=None, **options):
    options = {"regions": experiment.regions, "device": "cpu"} | options
    return find_surrogates(teachers, batch or experiment.train_batch, sampler or experiment.settings.sampler, **options)


def fresh(experiment, seed=None, task=None, supervision=None, **config):
    """A net trained outside of the experiment."""
    seed = seed or experiment.seed
    net = experiment.make_model(experiment.task, seed)
    fit(net, task or experiment.task, dataclasses.replace(TRAIN, seed=seed, **config), supervision, device="cpu")
    return net


def assert_target(experiment, target, maps, temperature=1.0):
    expected = prepare_target(maps, experiment.exists, temperature)
    torch.testing.assert_close(experiment.target(target), expected, atol=1e-6, rtol=0)


def test_nets_are_made_once_and_told_apart_by_seed_and_condition(experiment):
    folder, chosen = experiment.store.folder, Condition("cell", Target(), ("scratch",), weight=3.0)
    first, cell = weights(experiment.baseline(0)), weights(experiment.trained(chosen))
    files = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert torch.equal(first, weights(experiment.baseline(0)))
    assert torch.equal(cell, weights(experiment.trained(dataclasses.replace(chosen, name="other", tags=("text",)))))
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")} == files
    assert torch.equal(first, weights(fresh(experiment)))
    for other in (of_text(folder, seed=4).baseline(0), experiment.baseline(1)):
        assert not torch.equal(first, weights(other))
    assert not torch.equal(cell, weights(experiment.trained(dataclasses.replace(chosen, weight=0.1))))
    ours, theirs = (next(folder.glob(f"baseline-{k}-*.safetensors")) for k in (0, 1))
    kept = theirs.read_bytes()
    theirs.write_bytes(ours.read_bytes())
    with pytest.raises(ValueError, match="trained from config"):
        experiment.baseline(1)
    theirs.write_bytes(kept)


def test_rows_are_deterministic_and_read_again(experiment, tmp_path):
    unit = "supervised_importance", "continued", "smoke"
    row, again = (each.row(*unit) for each in (experiment, of_text(tmp_path)))
    assert experiment.row(*unit) == row
    assert row | {"seconds": 0} == again | {"seconds": 0}
    named = {"condition": unit[0], "start": unit[1], "profile": unit[2], "task": "tiny", "seed": 3, "n_train": 24}
    assert row | named == row
    assert row.keys() >= {"accuracy", "faithfulness", "config", "host", "versions"}
    (path,) = (experiment.store.folder / "rows").glob("supervised_importance-continued-*.json")
    assert read_json(path) == row


def test_targets_are_distributions_over_the_words_there_are(experiment):
    for condition in CONDITIONS.values():
        if condition.target is not None and condition.name not in ("oracle", "aligned_self"):
            target = experiment.target(condition.target)
            assert torch.allclose(target.sum(-1), torch.ones(len(target)), atol=1e-5), condition.name
            assert float(target.min()) >= 0
            assert float(target.masked_fill(experiment.exists, 0).abs().max()) == 0, condition.name
    with pytest.raises(ValueError, match="the oracle needs true boxes, tiny has none"):
        experiment.target(Target((Round("oracle"),)))
    for target in (Target((Round("centre"),)), Target((LOOK,), change="aligned")):
        with pytest.raises(ValueError, match="centre and aligned targets need cells of a grid, tiny has none"):
            experiment.target(target)


def test_the_oracle_on_images(tmp_path):
    experiment, inside = of_images(tmp_path), torch.zeros(24, 4, 4)
    inside[:, 1:3, 1:3] = 0.25
    assert_target(experiment, Target((Round("oracle"),)), inside.flatten(1))
    assert_target(experiment, Target((Round("centre"),)), centre((4, 4)).repeat(24, 1))
    teachers = [experiment.baseline(k) for k in range(2)]
    attention = sum(predict(net, experiment.train_batch, device="cpu")[1] for net in teachers) / 2
    found = search(experiment, teachers, selector="ridge").attention
    shown = prepare_target(attention, experiment.exists)
    expected = {"aligned": aligned(shown, found, (4, 4)), "average": shown.mean(0).repeat(24, 1)}
    for change, maps in expected.items():
        torch.testing.assert_close(experiment.target(Target((LOOK,), teachers=2, change=change)), maps)


def test_teachers_give_attention_or_what_the_search_finds_with_the_targets_own_masks(experiment):
    maps = [predict(experiment.baseline(k), experiment.train_batch, device="cpu")[1] for k in range(3)]
    assert_target(experiment, Target((LOOK,)), maps[0])
    assert_target(experiment, Target((LOOK,), teachers=3), sum(maps) / 3)
    _, masked = predict(experiment.trained("augmentation"), experiment.train_batch, device="cpu")
    assert_target(experiment, Target((LOOK,), augmented=True), masked)
    assert not torch.allclose(maps[0], masked, atol=1e-3)
    net = experiment.baseline(0)
    assert_target(experiment, Target(), search(experiment, net).attention)
    singles = search(experiment, net, Singles(), **IMPORTANCE).attention
    assert_target(experiment, Target((SHARP,), sampler=Singles(), **IMPORTANCE), singles, 0.5)


def test_the_second_round_is_searched_by_students(experiment):
    once, twice = (Target(rounds, "ridge") for rounds in ((SHARP,), (SHARP, Round("product"))))
    student = fresh(experiment, supervision=experiment.supervision(experiment.target(once), 0.2))
    found = search(experiment, student, selector="ridge")
    parts = [prepare_target(maps, experiment.exists) for maps in (found.attention, found.clean_attention)]
    assert_target(experiment, twice, product(*parts, experiment.exists))
    assert not torch.allclose(experiment.target(once), experiment.target(twice), atol=1e-3)


def test_models_that_attend_to_padding_have_wider_targets(tmp_path):
    experiment = of_text(tmp_path, config=dataclasses.replace(SMALL, padding_attends=True, fixed_length=12))
    for gives in ("attention", "surrogate", "random_variant"):
        target = experiment.target(Target((Round(gives),), change="inverted"))
        assert (target.shape, float(target[:, 7:].abs().max())) == ((24, 12), 0)


def test_nets_are_trained_as_their_condition_says(experiment):
    own_loss = Condition("other", Target(), ("scratch",), loss="mse", weight=7.0, schedule=AnnealOut(0.5))
    supervision = experiment.supervision(experiment.target(Target()), 0.2, own_loss)
    assert (supervision.loss, supervision.weight, supervision.schedule) == ("mse", 7.0, AnnealOut(0.5))
    look = experiment.supervision(experiment.target(CONDITIONS["self"].target), 0.2)
    continued, config = experiment.baseline(0), dataclasses.replace(TRAIN, seed=experiment.seed)
    fit(continued, experiment.task, config, dataclasses.replace(look, weight=0.5), device="cpu")
    for name, start, net in (
        (own_loss, "scratch", fresh(experiment, supervision=supervision)),
        ("self", "scratch", fresh(experiment, supervision=look)),
        ("self", "continued", continued),
        ("baseline_longer", "scratch", fresh(experiment, epochs=4)),
        ("sharper", "scratch", fresh(experiment, entropy_penalty=0.1)),
        ("ensemble_3", "scratch", Ensemble(experiment.baseline(k) for k in range(3))),
    ):
        assert torch.equal(weights(experiment.trained(name, start)), weights(net)), name
    with pytest.raises(ValueError, match="starts from scratch"):
        experiment.trained("baseline", "continued")
    with pytest.raises(ValueError, match="unknown condition"):
        experiment.trained("nonsense", "scratch")


def test_rows_say_what_a_condition_needed(tmp_path):
    """The same whether it was made just now or read, to the last digit of the seconds."""
    for name, start, counted in (
        ("supervised_best", "scratch", (2, 1)),
        # Three baselines, three students and the net itself; a search by the former and one by the latter.
        ("supervised_ridge_3", "scratch", (7, 2)),
        ("self_3", "scratch", (4, 0)),
        # What a net goes on from is a part of its cost, and twice the epochs are two trainings.
        ("baseline_longer", "scratch", (2, 0)),
        ("baseline_longer", "continued", (2, 0)),
    ):
        made, read = (of_text(tmp_path / f"{name}-{start}").run(name, start) for _ in range(2))
        assert (made["trainings"], made["searches"]) == counted, name
        assert made == read
        assert made["seconds"] > 0


def test_seconds_are_those_in_the_files(experiment, monkeypatch):
    """Whatever the clock says: every file's seconds are rounded once, when it is written, and their sum when shown."""
    ticks = iter(range(10**6))
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks) * 0.03335)
    target, needed = Target((SHARP,), teachers=2, score="log_odds"), []
    for _ in range(2):
        experiment.store.needed.clear()
        experiment.target(target)
        needed.append(dict(experiment.store.needed))
        cost = {"trainings": 2, "searches": 1, "seconds": round(sum(needed[0].values()), 2)}
        assert experiment.store.cost() == cost
    assert needed[0] == needed[1]
    assert all(seconds == round(seconds, 3) for seconds in needed[0].values())
