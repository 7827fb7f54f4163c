"""What is run of each task: everything named exists, profiles are parts of each other, and all of it is data."""

import importlib
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssan.data.fetching import FetchError
from ssan.losses import LOSSES, make_loss
from ssan.selectors import SELECTORS
from ssan.study import CONDITIONS, MAIN_TASKS, Round, Target, condition, plan, plans, profile_name
from ssan.study.ablations import LOSS_WEIGHTS
from ssan.study.conditions import role_of, tagged
from ssan.study.schedules import AnnealOut

EVERY = pytest.mark.parametrize("name", list(plans._plans()))
TEXT = """baseline baseline_longer supervised_best supervised_importance self shuffled random_variant uniform inverted
    sharper"""
IMAGE = """baseline supervised_best supervised_ridge_3 supervised_masked_3 self_3 masked_self_3_twice aligned_self
    shuffled_ridge augmentation ensemble_3 oracle"""


def test_tags_say_where_conditions_are_run():
    assert list(tagged("text")) == TEXT.split()
    assert list(tagged("image")) == IMAGE.split()
    assert set(CONDITIONS) - set(tagged("text", "image")) == {"supervised_ridge"}  # of the smaller profiles


@EVERY
def test_profiles_are_small_and_lean(name):
    full, default, smoke = (plan(name, profile) for profile in ("full", "default", "smoke"))
    assert condition(full.units[0][0]) == CONDITIONS["baseline"]
    assert len(set(full.units)) == len(full.units) <= 14
    assert {role_of(condition(each).name) for each in full.conditions} <= {
        "baseline",
        "method",
        "control",
        "ceiling",
        "map",
    }
    if full.quick is None:
        assert default.settings == full.settings
    assert default.conditions == smoke.conditions
    assert len(default.units) <= 9
    assert set(smoke.seeds) <= set(default.seeds) <= set(full.seeds)
    assert smoke.settings.train.epochs < full.settings.train.epochs
    cells = full.variations
    assert len({cell.condition.name for cell in cells}) == len(cells)
    assert len({(cell.axis, cell.value) for cell in cells}) == len(cells)


def test_transformers_are_judged_by_log_odds_and_share_one_search():
    full, rivals = plan("trec_minilm", "full"), plan("trec_minilm_rivals", "full")
    targets = [condition(each).target for each in (*full.conditions, *(cell.condition for cell in rivals.variations))]
    searched = [each for each in targets if each is not None and each.rounds[-1].gives == "surrogate"]
    assert {each.score for each in searched} == {"log_odds"}
    assert {each.selector for each in searched} <= set(full.settings.together)
    assert plan("trec_minilm_maps", "full").settings == rivals.settings == full.settings


@pytest.mark.parametrize(("error", "first"), [(None, "trec_minilm"), (FetchError(), "movie_minilm")])
def test_without_trec_the_transformer_is_shown_on_movie(error, first, monkeypatch):
    run = importlib.import_module("ssan.study.run")
    monkeypatch.setattr(run, "fetch", Mock(side_effect=error))
    assert run._default_tasks() == [first, *MAIN_TASKS]
    run.fetch.assert_called_once_with("trec")


def test_profiles_come_from_the_argument_the_environment_or_are_default(monkeypatch):
    for environment, argument, profile in (("smoke", None, "smoke"), ("smoke", "full", "full"), ("", None, "default")):
        monkeypatch.setenv("SSAN_PROFILE", environment)
        assert profile_name(argument) == profile
    monkeypatch.setenv("SSAN_PROFILE", "quick")
    with pytest.raises(ValueError, match="unknown profile 'quick'"):
        plan("trec")
    with pytest.raises(ValueError, match="unknown task 'trek'"):
        plan("trek", "full")


def test_every_loss_and_selector_is_ablated():
    cells = plan("shapes_ablations", "full").variations
    varied = {cell.condition.loss for cell in cells if cell.axis.startswith("loss ")}
    assert varied == set(LOSS_WEIGHTS) == set(LOSSES) - {"reverse_kl", "cosine"}
    assert {cell.value for cell in cells if cell.axis == "selector"} - {"self", "ridge × self"} == set(SELECTORS)
    for loss, weights in LOSS_WEIGHTS.items():
        make_loss(loss, (8, 8))
        assert list(weights) == sorted(weights)


def test_impossible_targets():
    for changes, message in (
        ({"rounds": ()}, "at least one round"),
        ({"teachers": 0}, "one teacher"),
        ({"change": "upside down"}, "change must be one of shuffled, inverted"),
    ):
        with pytest.raises(ValueError, match=message):
            Target(**changes)
    with pytest.raises(ValueError, match="a round gives one of"):
        Round("nothing")


@given(st.floats(0.01, 1), st.floats(0, 1, exclude_max=True))
def test_schedules_are_lines(fraction, done):
    assert AnnealOut(fraction)(done) == pytest.approx(max(1 - done / fraction, 0))
    for bad in (0, -fraction, 1 + fraction, float("nan")):
        with pytest.raises(ValueError, match="fraction is the part of the training"):
            AnnealOut(bad)
