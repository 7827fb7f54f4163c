"""The search on disk: killed, resumed, shared out and tampered with."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from ssan import search_store
from ssan.distributed import Processes
from ssan.models.image import AttentionPoolingCNN
from ssan.regions import ImageGrid
from ssan.samplers import KeepWindows, Pairs, RandomMasks
from ssan.search import find_surrogates
from ssan.search_store import MANIFEST, load_surrogates, search_to_disk, weights_hash
from ssan.seeding import seeded
from tests.helpers import random_sentences, text_model
from tests.models.grids import CLASSES, GRID, SIZE, pictures

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def model():
    return text_model(1, hops=2)


@pytest.fixture
def batch():
    return random_sentences(23, seed=1)


def small_classifier():
    with seeded(0):
        return AttentionPoolingCNN(3, SIZE, CLASSES, grid=GRID, width=12)


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def search(model, batch, folder, **options):
    return search_to_disk(model, batch, Pairs(), folder, **{"examples_per_shard": 5} | options)


def test_what_is_found_is_what_is_found_in_memory(model, batch, tmp_path):
    paths = search(model, batch, tmp_path / "new", selector="importance", score="probability")
    assert [path.name for path in paths] == [f"shard-0000{i}-of-00005.safetensors" for i in range(5)]
    assert set(contents(tmp_path / "new")) == {MANIFEST, *(path.name for path in paths)}
    found = load_surrogates(tmp_path / "new")
    whole = find_surrogates(model, batch, Pairs(), selector="importance", score="probability")
    assert torch.equal(found.ids, batch.ids)
    assert torch.equal(found.index, whole.index)
    for name in ("attention", "score", "clean_score", "clean_attention"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("world", [2, 3, 7])
def test_any_number_of_processes_writes_the_same_bytes(model, batch, tmp_path, world):
    search(model, batch, tmp_path / "one")
    for rank in reversed(range(world)):
        search(model, batch, tmp_path / "many", processes=Processes(rank, world))
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_any_number_of_processes_writes_the_same_bytes_for_images(tmp_path):
    model, images = small_classifier(), pictures(7)
    for world, folder in ((1, "one"), (2, "two")):
        for rank in range(world):
            options = {"regions": ImageGrid(GRID), "processes": Processes(rank, world), "examples_per_shard": 2}
            search_to_disk(model, images, RandomMasks(50, seed=1), tmp_path / folder, selector="ridge", **options)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_finished_shards_are_not_searched_again(model, batch, tmp_path, monkeypatch):
    paths = search(model, batch, tmp_path)
    before = contents(tmp_path)
    paths[3].unlink()
    searched = []

    def spy(teachers, batch, *args, **options):
        searched.append(batch.ids)
        return find_surrogates(teachers, batch, *args, **options)

    monkeypatch.setattr(search_store, "find_surrogates", spy)
    search(model, batch, tmp_path)
    assert [ids.tolist() for ids in searched] == [batch.ids[15:20].tolist()]
    assert contents(tmp_path) == before


def test_what_a_killed_process_left_is_cleared_away(model, batch, tmp_path):
    paths = search(model, batch, tmp_path)
    before = contents(tmp_path)
    paths[1].unlink()
    (tmp_path / f"{paths[1].name}abc.part").write_bytes(b"half of a shard")
    search(model, batch, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"selector": "importance"}, "selector was 'Best"),
        ({"score": "probability"}, "score was 'logit', is now 'probability'"),
        ({"examples_per_shard": 6}, "examples_per_shard was 5, is now 6"),
        ({"tie_tolerance": 0.1}, "config was"),
        ({"autocast": torch.bfloat16}, "config was"),
        ({"accelerate": False}, "config was"),
    ],
)
def test_another_search_is_refused(model, batch, tmp_path, changed, told):
    search(model, batch, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds another search") as caught:
        search(model, batch, tmp_path, **changed)
    assert told in str(caught.value)
    assert contents(tmp_path) == before


def test_another_checkpoint_sampler_or_data_set_is_refused(model, batch, tmp_path):
    sampler = RandomMasks(10, seed=1)
    search_to_disk(model, batch, sampler, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="checkpoint was"):
        search_to_disk(text_model(2, hops=2), batch, sampler, tmp_path)
    with pytest.raises(ValueError, match="checkpoint was"):
        search_to_disk([model, model], batch, sampler, tmp_path)
    with pytest.raises(ValueError, match=r"sampler was .*seed=1.*; seed was 1, is now 2"):
        search_to_disk(model, batch, RandomMasks(10, seed=2), tmp_path)
    with pytest.raises(ValueError, match="examples was"):
        search_to_disk(model, batch.select(torch.arange(22, -1, -1)), sampler, tmp_path)
    assert contents(tmp_path) == before
    search_to_disk(model, batch, sampler, tmp_path)


def test_one_changed_bit_is_another_checkpoint(model):
    before = weights_hash(model)
    assert weights_hash(text_model(1, hops=2)) == before
    weight = model.attention_out.weight.data.view(torch.int32)
    weight[0, 0] ^= 1
    assert weights_hash(model) != before


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_shard_is_named_and_nothing_else_is_touched(model, batch, tmp_path, keep):
    paths = search(model, batch, tmp_path)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:keep])
    before = contents(tmp_path)
    for attempt in (lambda: search(model, batch, tmp_path), lambda: load_surrogates(tmp_path)):
        with pytest.raises(ValueError, match=r"shard-00002-of-00005\S* is not a whole surrogate file .*delete"):
            attempt()
    assert contents(tmp_path) == before
    paths[2].unlink()
    search(model, batch, tmp_path)
    assert paths[2].read_bytes() == whole


def test_a_shard_in_another_ones_place_is_noticed(model, batch, tmp_path):
    paths = search(model, batch, tmp_path)
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(ValueError, match=r"shard-00001-of-00005\S* belongs to another search"):
        search(model, batch, tmp_path)
    with pytest.raises(ValueError, match="made with shard=0, asked for is 1"):
        load_surrogates(tmp_path)


def test_disk_full_keeps_what_is_finished_and_goes_on_later(model, batch, tmp_path, monkeypatch):
    search(model, batch, tmp_path / "one")
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 4:  # the description and two shards fit
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="2 of 5 shards are whole: make room and run the same search again") as caught:
            search(model, batch, tmp_path / "two")
    assert caught.value.errno == errno.ENOSPC
    kept = contents(tmp_path / "two")
    assert kept == {name: value for name, value in contents(tmp_path / "one").items() if name in kept}
    assert len(kept) == 3
    search(model, batch, tmp_path / "two")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_an_unfinished_search_is_not_loaded(model, batch, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no search"):
        load_surrogates(tmp_path)
    search(model, batch, tmp_path, processes=Processes(1, 2))
    with pytest.raises(FileNotFoundError, match=r"3 of 5 shards are missing .* shard-00000-of-00005"):
        load_surrogates(tmp_path)


def test_bad_arguments(model, batch, tmp_path):
    with pytest.raises(ValueError, match="examples_per_shard must be at least 1, got 0"):
        search(model, batch, tmp_path, examples_per_shard=0)
    with pytest.raises(ValueError, match="without examples"):
        search(model, batch.select([]), tmp_path)
    with pytest.raises(ValueError, match="unknown selector"):
        search(model, batch, tmp_path, selector="worst")
    with pytest.raises(ValueError, match="unknown score"):
        search(model, batch, tmp_path, score="worst")
    assert not list(tmp_path.iterdir())
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="not a search's description"):
        search(model, batch, tmp_path)


def test_the_description_says_what_was_searched(model, batch, tmp_path):
    search_to_disk(model, batch, KeepWindows(2), tmp_path)
    told = json.loads((tmp_path / MANIFEST).read_text())
    assert told["sampler"] == "KeepWindows(window=2, grid=None, stride=1)"
    assert told["checkpoint"] == [weights_hash(model)]
    assert told["regions"].startswith("TokenRegions")
    assert f"torch {torch.__version__}" in told["versions"]
    assert told["seed"] is None


class Dead(BaseException):
    """Where the process is killed in `test_killed_between_any_two_steps_of_writing`."""


def killed_at(patch, moment):
    """The process dies at the `moment`-th step of writing files; a dead process tidies nothing up.

    Steps are: before a file is opened, with half of it written, before it gets its name, and right after that.
    """
    steps = iter(range(10**6))

    def dies(function, *, before=None, after=False):
        def instead(*args, **options):
            if next(steps) == moment:
                if before:
                    before(*args)
                patch.setattr(Path, "unlink", lambda *_, **__: None)
                raise Dead
            result = function(*args, **options)
            if after and next(steps) == moment:
                patch.setattr(Path, "unlink", lambda *_, **__: None)
                raise Dead
            return result

        return instead

    def halve(descriptor):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)

    patch.setattr(tempfile, "mkstemp", dies(tempfile.mkstemp))
    patch.setattr(os, "fsync", dies(os.fsync, before=halve))
    patch.setattr(os, "replace", dies(os.replace, after=True))


def test_killed_between_any_two_steps_of_writing(model, batch, tmp_path):
    batch = batch.select(torch.arange(8))
    search(model, batch, tmp_path / "one")
    whole, moment, halves = contents(tmp_path / "one"), 0, 0
    while True:
        folder = tmp_path / str(moment)
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, moment)
            try:
                search(model, batch, folder)
            except Dead:
                pass
            else:
                break  # no such step: all have been tried
        left = contents(folder) if folder.exists() else {}
        assert all(name.endswith(".part") or whole[name] == value for name, value in left.items())
        halves += any(name.endswith(".part") for name in left)
        search(model, batch, folder)
        after = contents(folder)
        # What was half-written of the description stays beside it; a shard's is cleared away.
        assert {name: value for name, value in after.items() if not name.endswith(".part")} == whole
        assert all(name.startswith(MANIFEST) for name in after.keys() - whole.keys())
        moment += 1
    assert moment == 4 * len(whole)
    assert halves == 2 * len(whole)


KILLED = """
import sys, torch
torch.set_num_threads(1)
from tests.test_search_store import search
from ssan.seeding import seeded
from tests.helpers import random_sentences, text_model
from tests.models.grids import CLASSES, GRID, SIZE, pictures
search(text_model(1, hops=2), random_sentences(400, seed=2, longest=12), sys.argv[1], examples_per_shard=10)
"""


def test_killed_at_any_moment_and_resumed_the_files_are_the_same(tmp_path):
    batch, model = random_sentences(400, seed=2, longest=12), text_model(1, hops=2)
    search(model, batch, tmp_path / "one", examples_per_shard=10)
    folder = tmp_path / "two"
    for shards in (1, 17):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT)
        try:
            while len(list(folder.glob("shard-*.safetensors"))) < shards and process.poll() is None:
                time.sleep(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL
    assert not set(contents(tmp_path / "one")) <= set(contents(folder))
    search(model, batch, folder, examples_per_shard=10)
    assert contents(folder) == contents(tmp_path / "one")
