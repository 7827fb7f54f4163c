"""Two processes against one, through torchrun as a user would run it."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from ssan import commands, study
from ssan.commands import make_sampler
from ssan.distributed import Processes
from ssan.losses import LOSS_NAMES
from ssan.regions import FeatureGrid, TokenRegions
from ssan.samplers import KeepWindows, Pairs, RandomMasks, Rise
from ssan.search_store import load_surrogates, search_to_disk
from ssan.training import Supervision, TrainConfig, fit
from tests.helpers import exists, random_maps, text_model, text_task

ROOT = Path(__file__).resolve().parents[1]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9), st.integers(1, 5))
def test_the_mean_over_processes_is_the_mean_over_the_batch(losses, world):
    losses, total, seen = torch.tensor(losses, dtype=torch.float64), 0, []
    for rank in range(world):
        own, share = Processes(rank, world).part(len(losses))
        assert len(losses[own])
        total += losses[own].mean() * share / world
        seen += torch.arange(len(losses))[own].tolist() if share else []
    assert sorted(seen) == list(range(len(losses)))
    torch.testing.assert_close(total, losses.mean())


def test_shares_cover_everything_once():
    shares = [Processes(rank, 3).share(list(range(10))) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(10))
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="rank must be in"):
            Processes(rank, world)


def test_what_torchrun_says(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Processes.from_environment() == Processes(0, 1, 0)
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Processes.from_environment() == Processes(5, 8, 1)
    assert Processes.from_environment().device("cpu") == torch.device("cpu")
    assert Processes.from_environment().device("cuda") == torch.device("cuda", 1)
    assert Processes.from_environment().device("cuda:0") == torch.device("cuda", 0)


class Torchrun:
    """`script` under torchrun with two processes; none of them outlives the `with` block."""

    def __init__(self, script, *arguments):
        self.script, self.arguments = script, map(str, arguments)

    def __enter__(self):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        self.log = self.script.with_suffix(".log").open("w+")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = psutil.Popen(
            [*command, str(self.script), *self.arguments], stdout=self.log, stderr=subprocess.STDOUT, env=environment
        )
        return self

    def __exit__(self, *_):
        self.kill()
        self.log.close()

    def kill(self):
        """SIGKILL for all of them. torchrun's children are sessions of their own and would go on without it."""
        if self.process.is_running():
            self.process.suspend()
            family = [self.process, *self.process.children(recursive=True)]
            for one in family:
                one.kill()
            psutil.wait_procs(family, timeout=30)
        self.process.wait()

    def finish(self):
        code = self.process.wait(timeout=240)
        self.log.seek(0)
        assert code == 0, self.log.read()


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


PRELUDE = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from ssan.distributed import Processes, connected
from tests import test_distributed as here
"""

TRAIN = (
    PRELUDE
    + """
processes = Processes.from_environment()
with connected(processes, torch.device("cpu")):
    model, history = here.train(processes)
torch.save([model.state_dict(), history], Path(sys.argv[1]) / f"{processes.rank}.pt")
"""
)


def train(processes=None):
    """Supervised training whose last batch is too small for two, in double precision and without dropout."""
    task = text_task(25)
    supervision = Supervision(task.train.ids, random_maps(exists(task.train), 1, torch.float64), "kl", 0.5)
    # 25 examples in batches of 8 leave a batch of one.
    config = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01, seed=3, hop_penalty=0.1)
    # Processes start from different weights: those of the first must count.
    rank = 0 if processes is None else processes.rank
    model = text_model(rank, scale=1.0, dtype=torch.float64, hops=2, dropout=0.0)
    return model, fit(model, task, config, supervision, device="cpu", processes=processes).history


def test_training_with_two_processes_matches_one(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    with Torchrun(script, tmp_path) as run:
        model, history = train()
        run.finish()
    for rank in range(2):
        weights, told = torch.load(tmp_path / f"{rank}.pt")
        for name, value in model.state_dict().items():
            torch.testing.assert_close(weights[name], value, rtol=1e-9, atol=1e-9)
        for ours, theirs in zip(told, history, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5)
    # Something was learnt, so that equality is not that of two models which stood still.
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]


SEARCH = PRELUDE + "here.search(Path(sys.argv[1]), Processes.from_environment())\n"


def search(folder, processes=None):
    task = text_task(600, seed=1, longest=12)
    search_to_disk(text_model(1), task.train, Pairs(), folder, examples_per_shard=20, processes=processes)


def test_two_processes_killed_and_resumed_write_the_bytes_of_one(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    search(tmp_path / "one")
    whole = contents(tmp_path / "one")
    with Torchrun(script, tmp_path / "two") as run:
        while len(list((tmp_path / "two").glob("shard-*.safetensors"))) < 3 and run.process.is_running():
            time.sleep(0.002)
        run.kill()
    left = contents(tmp_path / "two")
    assert len(left.keys() & whole.keys()) < len(whole)
    assert all(whole[name] == left[name] for name in left.keys() & whole.keys())
    with Torchrun(script, tmp_path / "two") as run:
        run.finish()
    assert contents(tmp_path / "two") == whole


@pytest.mark.parametrize(
    ("name", "options", "regions", "expected"),
    [
        ("pairs", {}, TokenRegions(), Pairs()),
        ("random", {"n_masks": 9, "keep": 0.3, "seed": 4}, TokenRegions(), RandomMasks(9, 0.3, 4)),
        ("keep_windows", {"window": 2}, FeatureGrid((4, 4)), KeepWindows(2, (4, 4))),
        ("rise", {"n_masks": 9, "cells": 3, "task": "trec"}, TokenRegions(), Rise(9, 3)),
    ],
)
def test_samplers_by_name(name, options, regions, expected):
    assert make_sampler(name, {"k": None, "out": "x"} | options, regions) == expected


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("pairs", {"n_masks": 3}, "'pairs' takes no n_masks"),
        ("random", {"window": 3}, "'random' takes no window, needs n_masks"),
        ("keep_k", {"n_masks": 3}, "'keep_k' needs k"),
    ],
)
def test_samplers_by_name_with_the_wrong_options(name, options, told):
    with pytest.raises(ValueError, match=told):
        make_sampler(name, options, TokenRegions())


@pytest.fixture
def tiny(monkeypatch):
    """A task of the study that needs no data."""
    monkeypatch.setattr(study, "load_task", lambda settings, seed: text_task(settings.n_train, seed))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return ["--task", "trec", "--n-train", "24", "--device", "cpu"]


def test_the_command_lines_train_search_and_supervise(tiny, tmp_path, capsys):
    baseline, found, supervised = (str(tmp_path / name) for name in ("base.safetensors", "found", "sup.safetensors"))
    commands.train([*tiny, "--out", baseline, "--epochs", "2"])
    assert set(json.loads(capsys.readouterr().out)) == {"epoch", "loss", "attention_loss", "valid_accuracy"}
    arguments = [*tiny, "--checkpoint", baseline, "--out", found, "--examples-per-shard", "10"]
    commands.search([*arguments, "--selector", "importance"])
    assert load_surrogates(found).ids.tolist() == text_task(24).train.ids.tolist()
    commands.train([*tiny, "--out", supervised, "--epochs", "2", "--surrogates", found])
    assert json.loads(capsys.readouterr().out)["attention_loss"] > 0
    ours, theirs = load_file(baseline), load_file(supervised)
    assert ours.keys() == theirs.keys()
    assert not torch.equal(ours["attention_out.weight"], theirs["attention_out.weight"])

    with pytest.raises(SystemExit, match="checkpoint was"):
        commands.search([*tiny, "--checkpoint", supervised, "--out", found, "--examples-per-shard", "10"])
    with pytest.raises(SystemExit, match="ids or order differ"):
        commands.train([*tiny[:3], "12", *tiny[4:], "--out", supervised, "--surrogates", found])
    (tmp_path / "base.safetensors").write_bytes(b"short")
    with pytest.raises(SystemExit, match="not a whole checkpoint"):
        commands.search([*arguments, "--selector", "importance"])


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_the_command_line_of_training_knows_every_loss(tiny, tmp_path, capsys, loss):
    """Those that learn and those that compare batches too."""
    task, found = text_task(24), tmp_path / "found"
    search_to_disk(text_model(1), task.train, Pairs(), found, regions=task.regions)
    one_epoch = [*tiny, "--epochs", "1", "--learning-rate", "0.02", "--keep", "last"]
    for name, weight in (("without", "0"), ("with", "20")):
        out = str(tmp_path / f"{name}.safetensors")
        commands.train([*one_epoch, "--out", out, "--surrogates", str(found), "--loss", loss, "--weight", weight])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["attention_loss"] > 0
    without, with_loss = (load_file(tmp_path / f"{name}.safetensors") for name in ("without", "with"))
    assert not torch.equal(without["attention_out.weight"], with_loss["attention_out.weight"])


@pytest.mark.parametrize("module", ["ssan.search", "ssan.training"])
def test_the_modules_run(module):
    shown = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert f"python -m {module}" in shown.stdout
    assert "--task" in shown.stdout


@pytest.mark.parametrize(("asked", "used"), [([], 445), (["--n-train", "all"], None), (["--n-train", "12"], 12)])
def test_the_number_of_training_examples(monkeypatch, tmp_path, asked, used):
    class Loaded(Exception):  # noqa: N818
        pass

    def load(settings, _):
        assert settings.n_train == used
        raise Loaded

    monkeypatch.setattr(study, "load_task", load)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    with pytest.raises(Loaded):
        commands.train(["--task", "trec", "--device", "cpu", "--out", str(tmp_path / "x"), *asked])
