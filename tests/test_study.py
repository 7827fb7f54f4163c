"""The study: profiles, rows that survive a kill, and what a changed setting redoes."""

import dataclasses
import json

import pandas as pd
import pytest

from ssan import study
from ssan.conditions import CONDITIONS, TEXT_CONDITIONS
from ssan.models.text import TextConfig, make_model
from ssan.samplers import Pairs
from ssan.training import TrainConfig
from tests.helpers import text_task

TINY = study.Plan(
    study.Settings("tiny", None, Pairs(), TrainConfig(epochs=1, keep="last", validate=False), n_quality=6),
    ("baseline", "supervised_best", "self"),
    (0, 1),
)


@pytest.fixture
def tiny(monkeypatch):
    """Studies of a made-up task, in this process."""
    config = TextConfig(embedding_dim=6, hidden=5, attention_dim=7)
    monkeypatch.setattr(study, "load_task", lambda _, seed: text_task(seed=seed))
    monkeypatch.setattr(study, "make_model", lambda _, task, seed: make_model(task, seed, config))


def plain(rows: list[dict]) -> list[dict]:
    """Rows without what depends on the clock."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_profiles_come_from_the_argument_the_environment_or_are_default(monkeypatch):
    monkeypatch.setenv("SSAN_PROFILE", "smoke")
    assert study.profile_name() == "smoke"
    assert study.profile_name("full") == "full"
    monkeypatch.delenv("SSAN_PROFILE")
    assert study.profile_name() == "default"
    monkeypatch.setenv("SSAN_PROFILE", "quick")
    with pytest.raises(ValueError, match="unknown profile 'quick'"):
        study.profile_name()


def test_plans_of_a_task_share_settings_and_nest_seeds():
    full, default, smoke = (study.plan("trec", profile) for profile in ("full", "default", "smoke"))
    assert full.settings == default.settings
    assert set(default.seeds) < set(full.seeds)
    assert len(full.seeds) >= 8
    assert smoke.settings.n_train < full.settings.n_train
    assert full.units[0] == ("baseline", "scratch")
    assert {name for name, _ in full.units} == set(TEXT_CONDITIONS)
    assert all(start in CONDITIONS[name].starts for name, start in full.units)
    with pytest.raises(ValueError, match="unknown task 'trek'"):
        study.plan("trek")


def test_a_study_that_is_killed_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):  # noqa: ARG001
    whole = study.run_seed(TINY, 0, "smoke", tmp_path / "whole", "cpu")
    original, calls = study.Experiment.run, []

    def dies(self, name, start):
        calls.append((name, start))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, name, start)

    monkeypatch.setattr(study.Experiment, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        study.run_seed(TINY, 0, "smoke", tmp_path / "cut", "cpu")
    resumed = study.run_seed(TINY, 0, "smoke", tmp_path / "cut", "cpu")
    assert plain(resumed) == plain(whole)
    # What was measured before the kill was not measured again.
    assert calls == [*TINY.units[:3], *TINY.units[2:]]


def test_rows_that_are_there_are_read_and_changed_settings_start_anew(tiny, tmp_path):  # noqa: ARG001
    first = study.run_seed(TINY, 0, "smoke", tmp_path, "cpu")
    assert study.run_seed(TINY, 0, "smoke", tmp_path, "cpu") == first
    longer = dataclasses.replace(TINY.settings.train, epochs=2)
    changed = dataclasses.replace(TINY, settings=dataclasses.replace(TINY.settings, train=longer))
    second = study.run_seed(changed, 0, "smoke", tmp_path, "cpu")
    assert {row["config"] for row in second}.isdisjoint(row["config"] for row in first)
    assert len(list((tmp_path / "smoke").iterdir())) == 2


def test_rows_say_what_they_were_made_from(tiny, tmp_path):  # noqa: ARG001
    for row in study.run_seed(TINY, 1, "smoke", tmp_path, "cpu"):
        assert {"task", "condition", "start", "seed", "profile", "n_train", "accuracy", "seconds"} <= set(row)
        assert "torch" in row["versions"]
        assert row["host"]
        assert row["seed"] == 1
        json.dumps(row)


@pytest.mark.usefixtures("data_mirror")
def test_seeds_run_in_processes_of_their_own_and_become_a_csv(tmp_path, monkeypatch):
    of = dataclasses.replace(study.plan("movie", "smoke"), conditions=("baseline",))
    monkeypatch.setattr(study, "plan", lambda *_: of)
    where = {"runs": tmp_path / "runs", "results": tmp_path / "results", "show_progress": False}
    rows = study.run(["movie"], "smoke", workers=2, **where)
    assert rows["seed"].tolist() == list(of.seeds)
    path = tmp_path / "results" / "smoke" / "movie.csv"
    pd.testing.assert_frame_equal(pd.read_csv(path), rows, check_dtype=False)
    before = path.read_bytes()
    study.run(["movie"], "smoke", workers=1, **where)
    assert path.read_bytes() == before
