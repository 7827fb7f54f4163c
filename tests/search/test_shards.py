"""The search on disk: killed, resumed, shared out and tampered with. Real processes are in `tests/test_runtime.py`."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from ssan import ImageGrid, Pairs, RandomMasks, Surrogates, files, find_surrogates, load_surrogates, search_to_disk
from ssan.files import weights_hash, write_json
from ssan.runtime import Processes
from ssan.search import shards
from ssan.search.shards import MANIFEST
from tests.helpers import PatchModel, contents, random_images, random_sentences, text_model

MODEL, BATCH = text_model(1, hops=2), random_sentences(23, seed=1)


def search(folder, model=MODEL, batch=BATCH, sampler=Pairs(), **options):  # noqa: B008 (a value)
    return search_to_disk(model, batch, sampler, folder, **{"examples_per_shard": 5} | options)


def test_the_result_is_that_of_a_search_in_memory_and_says_what_was_searched(tmp_path):
    paths = search(tmp_path, selector="importance", score="probability")
    assert [path.name for path in paths] == [f"shard-0000{i}-of-00005.safetensors" for i in range(5)]
    assert set(contents(tmp_path)) == {MANIFEST, *(path.name for path in paths)}
    loaded = load_surrogates(tmp_path)
    whole = find_surrogates(MODEL, BATCH, Pairs(), selector="importance", score="probability")
    assert torch.equal(loaded.ids, BATCH.ids)
    assert torch.equal(loaded.index, whole.index)
    for name in ("attention", "score", "clean_score", "clean_attention"):
        torch.testing.assert_close(getattr(loaded, name), getattr(whole, name), rtol=1e-5, atol=1e-5)
    described = json.loads((tmp_path / MANIFEST).read_text())
    expected = {"sampler": "Pairs()", "selector": "Importance()", "regions": "TokenRegions(hidden_id=0)"}
    assert described.items() > expected.items()
    assert described["checkpoint"] == [weights_hash(MODEL)]
    assert f"torch {torch.__version__}" in described["versions"]


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("world", [2, 7])
def test_any_number_of_processes_writes_the_same_bytes(tmp_path, images, world):
    options = {"sampler": RandomMasks(50, seed=1), "selector": "ridge"}
    if images:
        options |= {"model": PatchModel(), "batch": random_images(12), "regions": ImageGrid((2, 3))}
    search(tmp_path / "single", **options)
    for rank in reversed(range(world)):
        search(tmp_path / "many", processes=Processes(rank, world), **options)
    assert contents(tmp_path / "many") == contents(tmp_path / "single")


def test_only_shards_that_are_missing_are_searched_and_litter_is_cleared_away(tmp_path, monkeypatch):
    paths, seen = search(tmp_path), []
    before = contents(tmp_path)
    paths[3].unlink()
    (tmp_path / f"{paths[0].name}.ssan.part").write_bytes(b"half of a shard, by a process that was killed")
    monkeypatch.setattr(shards, "find_surrogates", lambda *a, **o: seen.append(a[1].ids) or find_surrogates(*a, **o))
    search(tmp_path)
    assert [ids.tolist() for ids in seen] == [BATCH.ids[15:20].tolist()]
    assert contents(tmp_path) == before


def test_another_search_is_refused(tmp_path):
    search(tmp_path, sampler=RandomMasks(10, seed=1))
    before = contents(tmp_path)
    for change, message in (
        ({"selector": "importance"}, "selector was 'Best"),
        ({"score": "probability"}, "score was 'logit', is now 'probability'"),
        ({"examples_per_shard": 6}, "examples_per_shard was 5, is now 6"),
        *(({name: value}, "config was") for name, value in (("tie_tolerance", 0.1), ("accelerate", False))),
        ({"autocast": torch.bfloat16}, "config was"),
        ({"sampler": RandomMasks(10, seed=2)}, r"sampler was .*seed=1.*, is now .*seed=2"),
        *(({"model": model}, "checkpoint was") for model in (text_model(2, hops=2), [MODEL, MODEL])),
        ({"batch": BATCH.select(torch.arange(22, -1, -1))}, "examples was"),
    ):
        with pytest.raises(ValueError, match=f"holds another search .*{message}"):
            search(tmp_path, **{"sampler": RandomMasks(10, seed=1)} | change)
    search(tmp_path, sampler=RandomMasks(10, seed=1))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_or_misplaced_shard_is_named_and_nothing_else_is_touched(tmp_path, keep):
    paths = search(tmp_path)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:keep])
    before = contents(tmp_path)
    for attempt in (search, load_surrogates):
        with pytest.raises(ValueError, match=r"shard-00002-of-00005\S* is not a whole file .*delete"):
            attempt(tmp_path)
    assert contents(tmp_path) == before
    paths[2].unlink()
    search(tmp_path)
    assert paths[2].read_bytes() == whole
    Surrogates.load(paths[2]).save(paths[2], {"of": "the same examples"})
    for message in ("made without", "made with shard=0, asked for is 2"):
        for attempt in (search, load_surrogates):
            with pytest.raises(ValueError, match=rf"shard-00002-of-00005\S* was {message}"):
                attempt(tmp_path)
        paths[2].write_bytes(paths[0].read_bytes())


def test_disk_full_keeps_what_is_finished_and_goes_on_later(tmp_path, monkeypatch):
    calls = iter(range(99))

    def full(_):
        if next(calls) == 3:  # the description and two shards fit
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="2 of 5 shards are whole: make room and run the same search again") as caught:
        search(tmp_path)
    assert caught.value.errno == errno.ENOSPC
    left = contents(tmp_path)
    assert len(left) == 3
    search(tmp_path)
    assert contents(tmp_path).items() > left.items()


def test_what_cannot_be_searched_or_loaded(tmp_path):
    for change, message in (
        ({"examples_per_shard": 0}, "examples_per_shard must be at least 1, got 0"),
        ({"batch": BATCH.select([])}, "without examples"),
        ({"selector": "worst"}, "unknown selector"),
        ({"tie_tolerance": float("nan")}, "tie_tolerance must be"),
    ):
        with pytest.raises(ValueError, match=message):
            search(tmp_path, **change)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="holds no search"):
        load_surrogates(tmp_path)
    search(tmp_path, processes=Processes(1, 2))
    with pytest.raises(FileNotFoundError, match=r"holds 2 of 00005 shards, .* is shard-00000-of-00005"):
        load_surrogates(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    for attempt in (search, load_surrogates):
        with pytest.raises(ValueError, match=r"search.json is not a whole file"):
            attempt(tmp_path)
    write_json(tmp_path / MANIFEST, {"n_examples": 10**12, "examples_per_shard": 1})
    with pytest.raises(FileNotFoundError, match=r"holds 2 of 1000000000000 shards"):
        load_surrogates(tmp_path)
    for wrong in ({}, {"n_examples": 1, "examples_per_shard": 0}, {"n_examples": "x", "examples_per_shard": 1}):
        write_json(tmp_path / MANIFEST, wrong)
        with pytest.raises(ValueError, match="does not describe a search"):
            load_surrogates(tmp_path)


def killed_at(patch, moment):
    """The process dies at the `moment`-th step of writing files; a dead process tidies nothing up.

    Steps are: before a file is opened, with half of it written, before it gets its name, and right after that.
    """
    steps = iter(range(10**6))

    def dies(module, name, before=lambda *_: None, after=False):
        function = getattr(module, name)

        def instead(*args, **options):
            result = None
            for step in ("before", "after")[: 1 + after]:
                if next(steps) == moment:
                    before(*args)
                    patch.setattr(Path, "unlink", lambda *_, **__: None)
                    raise KeyboardInterrupt
                result = function(*args, **options) if step == "before" else result
            return result

        patch.setattr(module, name, instead)

    dies(files, "FileLock")
    dies(os, "fsync", before=lambda descriptor: os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2))
    dies(os, "replace", after=True)


def test_killed_between_any_two_steps_of_writing(tmp_path):
    batch = BATCH.select(torch.arange(8))
    search(tmp_path / "whole", batch=batch)
    whole, halves = contents(tmp_path / "whole"), 0
    for moment in range(4 * len(whole) + 1):
        folder = tmp_path / str(moment)
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, moment)
            if moment < 4 * len(whole):
                with pytest.raises(KeyboardInterrupt):
                    search(folder, batch=batch)
            else:  # there is no such step: all have been tried
                search(folder, batch=batch)
        left = contents(folder) if folder.exists() else {}
        assert all(name.endswith(".part") or whole[name] == value for name, value in left.items())
        halves += any(name.endswith(".part") for name in left)
        search(folder, batch=batch)
        assert contents(folder) == whole  # and what was half written is cleared away
    assert halves == 2 * len(whole)
