"""Devices, global generators, and processes: two against one, as a user would run them."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssan import Pairs, TrainConfig, fit, search_to_disk
from ssan.runtime import Processes, pick_device, seeded
from tests.helpers import GPU, contents, text_model, text_task
from tests.trained import assert_close, targets_for


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_the_seed_decides_inside_and_nothing_changes_outside(monkeypatch, device):
    def touched(*_):
        raise AssertionError("the generators of CUDA devices were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched)
    if device == "cpu":
        monkeypatch.setattr(torch.cuda, "manual_seed", touched)
    read = torch.get_rng_state if device == "cpu" else torch.cuda.get_rng_state
    state, draws = read(), []
    for seed in (3, 3, 4):
        with suppress(ZeroDivisionError), seeded(seed, device):
            draws.append(torch.rand(5, device=device).tolist())
            raise ZeroDivisionError
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] == torch.rand(5, generator=torch.Generator(device).manual_seed(3), device=device).tolist()
    assert torch.equal(read(), state)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9), st.integers(1, 5))
def test_the_mean_over_processes_is_the_mean_over_the_batch(losses, world):
    losses, total, seen = torch.tensor(losses, dtype=torch.float64), 0, []
    for rank in range(world):
        places, share = Processes(rank, world).part(len(losses))
        assert len(losses[places])
        total += losses[places].mean() * share / world
        seen += torch.arange(len(losses))[places].tolist() if share else []
    assert sorted(seen) == list(range(len(losses)))
    torch.testing.assert_close(total, losses.mean())


def test_devices_shares_and_what_torchrun_says(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    shares = [Processes(rank, 3).share(list(range(10))) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(10))
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="rank must be in"):
            Processes(rank, world)
    for values, expected in ((("", "", ""), (0, 1, 0)), (("5", "8", "1"), (5, 8, 1))):
        for name, value in zip(("RANK", "WORLD_SIZE", "LOCAL_RANK"), values, strict=True):
            monkeypatch.setenv(name, value)
        assert Processes.from_environment() == Processes(*expected)
    devices = [Processes(5, 8, 1).device(name) for name in ("cpu", "cuda", "cuda:0")]
    assert devices == [torch.device("cpu"), torch.device("cuda", 1), torch.device("cuda", 0)]


PRELUDE = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from ssan.runtime import Processes, connected
from tests import test_runtime as here
processes, folder = Processes.from_environment(), Path(sys.argv[1])
"""
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def train(processes=None):
    """Supervised training in double precision without dropout; the last batch, of one, is too small for two."""
    task = text_task(25)
    supervision = targets_for(task, 0, torch.float64, loss="kl", weight=0.5)
    config = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01, seed=3, hop_penalty=0.1, entropy_penalty=0.1)
    rank = processes.rank if processes else 0  # processes start from different weights: those of the first must count
    model = text_model(rank, scale=1.0, dtype=torch.float64, hops=2, dropout=0.0)
    return model, fit(model, task, config, supervision, device="cpu", processes=processes).history


TRAIN = """
with connected(processes, torch.device("cpu")):
    model, history = here.train(processes)
torch.save([model.state_dict(), history], folder / f"{processes.rank}.pt")
"""


def test_training_with_two_processes_matches_training_with_one(tmp_path):
    (tmp_path / "train.py").write_text(PRELUDE + TRAIN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.Popen([*torchrun, tmp_path / "train.py", tmp_path], env=ENVIRONMENT, stderr=subprocess.PIPE)
    model, history = train()
    _, errors = run.communicate(timeout=240)
    assert run.returncode == 0, errors.decode()
    for rank in range(2):
        weights, theirs = torch.load(tmp_path / f"{rank}.pt")
        assert_close(weights, model.state_dict())
        for ours, epoch in zip(history, theirs, strict=True):
            assert ours == pytest.approx(epoch, rel=1e-5)
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]  # it is not that two models stood still


def search(folder, processes=None):
    task = text_task(600, seed=1, longest=12)
    search_to_disk(text_model(1), task.train, Pairs(), folder, examples_per_shard=20, processes=processes)


def test_two_processes_killed_and_resumed_by_another_write_the_bytes_of_one(tmp_path):
    search(tmp_path / "single")
    whole, folder = contents(tmp_path / "single"), tmp_path / "killed"
    command = [sys.executable, "-c", PRELUDE + "here.search(folder, processes)", folder]
    ranks = [ENVIRONMENT | {"WORLD_SIZE": "2", "RANK": str(rank)} for rank in range(2)]
    runs = [subprocess.Popen(command, env=environment) for environment in ranks]
    try:
        while len(list(folder.glob("shard-*.safetensors"))) < 3 and all(run.poll() is None for run in runs):
            time.sleep(0.002)
    finally:
        for run in runs:
            run.kill()
            run.wait()
    left = contents(folder)
    assert 3 < len(left.keys() & whole.keys()) < len(whole)  # shards and the description
    assert all(whole[name] == left[name] for name in left.keys() & whole.keys())
    search(folder)
    assert contents(folder) == whole


def test_two_searches_may_share_a_folder(tmp_path):
    search(tmp_path / "single")
    command = [sys.executable, "-c", PRELUDE + "here.search(folder)", tmp_path / "both"]
    environment = ENVIRONMENT | {"WORLD_SIZE": "1", "RANK": "0"}
    runs = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    for run in runs:
        _, errors = run.communicate(timeout=240)
        assert run.returncode == 0, errors.decode()
    assert contents(tmp_path / "both") == contents(tmp_path / "single")
