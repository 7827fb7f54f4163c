"""The study: rows that survive a kill, what a changed setting redoes, examples beside them, and a CSV of all seeds."""

import contextlib
import dataclasses
import importlib
import json
import math
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest

from ssan.files import read_json, write_json
from ssan.samplers import Pairs
from ssan.study import Experiment, Plan, Settings, condition, plan, run
from ssan.study.ablations import Variation, losses
from ssan.study.examples import load_examples
from tests.helpers import text_task
from tests.study.tiny import SMALL, TRAIN, make_model

module = importlib.import_module("ssan.study.run")
CELLS = (losses()[3], Variation("target", "self", condition("self")))
TINY = Plan(
    Settings("tiny", None, Pairs(), TRAIN, n_quality=6),
    ("baseline", "supervised_best", "self"),
    (0, 1),
    starts=("scratch", "continued"),
    variations=CELLS,
)


@pytest.fixture
def run_seed(monkeypatch):
    """Studies of a made-up task, in this process."""
    monkeypatch.setattr(module, "load_task", lambda _, n_train, seed: text_task(n_train or 24, seed))
    monkeypatch.setattr(module, "make_model", lambda task, seed: make_model(task, seed, config=SMALL))
    return lambda study, seed, runs: module.run_seed(study, seed, "smoke", runs, "cpu")


def test_a_study_that_is_killed_goes_on_where_it_stopped(run_seed, tmp_path, monkeypatch):
    whole = run_seed(TINY, 0, tmp_path / "whole")
    assert [row["n_train"] for row in whole] == [24] * 7
    assert [row.get("axis") for row in whole] == [None] * 5 + ["loss mse", "target"]
    original, calls = Experiment.run, []

    def dies(self, name, start):
        calls.append((name.name, start))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, name, start)

    monkeypatch.setattr(Experiment, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        run_seed(TINY, 0, tmp_path / "cut")
    assert module._rows_made(TINY, "smoke", tmp_path / "cut") == 2
    resumed = run_seed(TINY, 0, tmp_path / "cut")
    assert [row | {"seconds": 0} for row in resumed] == [row | {"seconds": 0} for row in whole]
    # What was measured before the kill was not measured again.
    made = [*TINY.units, *((cell.condition.name, "scratch") for cell in CELLS)]
    assert calls == [*made[:3], *made[2:]]
    assert run_seed(TINY, 0, tmp_path / "cut") == resumed
    assert module._rows_made(TINY, "smoke", tmp_path / "cut") == len(made)
    # Changed settings start anew beside the old.
    changed = dataclasses.replace(TINY, settings=dataclasses.replace(TINY.settings, weight=0.7), variations=())
    assert run_seed(changed, 0, tmp_path / "cut")[0]["config"] != resumed[0]["config"]
    assert len(list((tmp_path / "cut" / "smoke").iterdir())) == 2


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_study_that_is_killed_leaves_no_worker(tmp_path, kind):
    code = "import sys; from ssan.study.run import *; run(['shapes'], 'full', workers=2, runs=Path(sys.argv[1]))"
    study = subprocess.Popen([sys.executable, "-c", code, tmp_path], stderr=subprocess.DEVNULL)
    workers: list[psutil.Process] = []
    try:
        parent, end = psutil.Process(study.pid), time.monotonic() + 240
        while len(workers) < 2:  # both must be at work, not still importing
            assert study.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
            spawned = [each for each in parent.children() if "spawn_main" in " ".join(each.cmdline())]
            workers = [each for each in spawned if each.cpu_times().user > 10]
        study.send_signal(kind)
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert not alive
        assert study.wait(timeout=5) != 0
    finally:
        for process in [*workers, study]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


NO_ROW = {"[]": "is not a whole", "{}": "is not a whole", "null": "is not a whole"}
CHANGED = [{"accuracy": 0.99}, {"accuracy": math.nan}, {"accuracy": 9.9}]
OTHERS = [{"seed": 7}, {"task": "other"}, {"condition": "self"}, {"config": "0" * 12}, {"profile": "full"}]


def test_rows_that_are_not_what_they_should_be_are_named_and_never_used(run_seed, tmp_path, monkeypatch):
    study = dataclasses.replace(TINY, conditions=("baseline",), variations=())
    run_seed(study, 0, tmp_path)
    (path,) = tmp_path.glob("smoke/*/seed-0/rows/baseline-*.json")
    text, row = path.read_text(), read_json(path)
    cases = [*NO_ROW.items(), *((json.dumps(json.loads(text) | change), "SHA-256") for change in CHANGED)]
    cases += [(other, "another row") for other in OTHERS]
    for change, message in cases:
        if isinstance(change, str):
            path.write_text(change)
        else:
            write_json(path, row | change)
        with pytest.raises(ValueError, match=rf"{path.name} is .*{message}|{path.name} {message}"):
            run_seed(study, 0, tmp_path)
    path.unlink()
    monkeypatch.setattr(Experiment, "run", lambda *_: {"accuracy": math.nan, "seconds": 1.0})
    with pytest.raises(ValueError, match=r"accuracy of the row baseline-\S+ is no finite number"):
        run_seed(study, 0, tmp_path)
    assert not path.exists()


@pytest.mark.usefixtures("run_seed")
def test_examples_and_epochs_are_written_beside_the_rows(tmp_path):
    study = dataclasses.replace(TINY, conditions=(*TINY.conditions, "supervised_importance"), variations=())
    module._write_examples("trec", study, "full", tmp_path / "runs", tmp_path)
    rows = load_examples(tmp_path / "trec_examples.safetensors")
    assert {"changed", "clean", "variant", "target"} >= set(rows["what"]) >= {"clean", "variant", "target"}
    epochs = pd.read_csv(tmp_path / "trec_epochs.csv")
    assert epochs["seed"].unique().tolist() == [0, 1]
    assert epochs["condition"].unique().tolist() == ["baseline", "supervised_best", "supervised_importance"]
    assert len(list(tmp_path.glob("[!.]*.*"))) == 2


@pytest.mark.usefixtures("data_mirror")
def test_seeds_run_in_processes_of_their_own_and_become_a_csv(tmp_path, monkeypatch):
    small = plan("movie", "smoke")
    settings = dataclasses.replace(small.settings, task_options=(("vectors", None),))
    small = dataclasses.replace(small, settings=settings, conditions=("baseline",))
    monkeypatch.setattr(module, "plan", lambda *_: small)
    made = {}
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        where = {"runs": folder / "runs", "results": folder / "results", "show_progress": False}
        made[workers] = run(["movie"], "smoke", workers=workers, **where)
        assert made[workers]["seed"].tolist() == list(small.seeds)
        written = pd.read_csv(folder / "results" / "smoke" / "movie.csv")
        pd.testing.assert_frame_equal(written, made[workers], check_dtype=False)
    pd.testing.assert_frame_equal(*(rows.drop(columns="seconds") for rows in made.values()), check_exact=True)
