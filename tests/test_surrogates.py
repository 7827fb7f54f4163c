"""Surrogates on disk: the round trip, and that whatever goes wrong leaves a whole file or none."""

import dataclasses
import errno
import json
import os

import pytest
import safetensors.torch
import torch

from ssan.samplers import Pairs
from ssan.search import find_surrogates
from ssan.surrogates import Surrogates, concatenate
from tests.helpers import random_sentences, text_model

HEADER = {"config": "a1b2", "seed": 3, "sampler": ("Pairs", [1, 2]), "versions": {"torch": "2"}}


@pytest.fixture(scope="module")
def found():
    return find_surrogates(text_model(), random_sentences(7), Pairs())


def equal(a, b):
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(Surrogates))


def folder_of(path):
    return sorted(p.name for p in path.parent.iterdir()) if path.parent.exists() else []


def test_round_trip(found, tmp_path):
    path = tmp_path / "deep" / "er" / "maps.safetensors"
    found.save(path, HEADER)
    assert folder_of(path) == ["maps.safetensors"]
    for header in (None, {}, HEADER, {"seed": 3}):
        loaded = Surrogates.load(path, header)
        assert equal(loaded, found)
        assert loaded.index.dtype == torch.int64
        assert loaded.attention.dtype == found.attention.dtype


def test_round_trip_in_double_without_a_header(tmp_path):
    found = find_surrogates(text_model(dtype=torch.float64), random_sentences(3), Pairs())
    found.save(tmp_path / "x")
    loaded = Surrogates.load(str(tmp_path / "x"))
    assert equal(loaded, found)
    assert loaded.score.dtype == torch.float64


def test_fields_that_share_memory_or_are_not_contiguous_can_be_saved(found, tmp_path):
    shared = dataclasses.replace(found, attention=found.clean_attention, score=found.clean_score)
    columns = dataclasses.replace(found, attention=found.attention.T.contiguous().T)
    views = found.select(slice(1, 3))
    for what in (shared, columns, views):
        what.save(tmp_path / "x")
        assert equal(Surrogates.load(tmp_path / "x"), what)


def test_saving_again_replaces(found, tmp_path):
    path = tmp_path / "x"
    found.save(path, {"seed": 1})
    found.select(torch.tensor([2])).save(path, {"seed": 2})
    assert len(Surrogates.load(path, {"seed": 2})) == 1


def test_any_safetensors_reader_can_read_it(found, tmp_path):
    found.save(tmp_path / "x", HEADER)
    assert torch.equal(safetensors.torch.load_file(tmp_path / "x")["attention"], found.attention)
    with safetensors.safe_open(tmp_path / "x", framework="pt") as file:
        assert json.loads(file.metadata()["ssan"])["seed"] == 3


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"seed": 4}, r"made with seed=3, asked for is 4: use another file name, or delete the file"),
        ({"config": "ffff"}, "made with config='a1b2', asked for is 'ffff'"),
        ({"checkpoint": "c"}, "made without checkpoint, asked for is 'c'"),
        ({"sampler": ("Pairs", [1])}, "made with sampler="),
    ],
)
def test_a_file_made_from_something_else_is_never_reused(found, tmp_path, header, message):
    found.save(tmp_path / "x", HEADER)
    with pytest.raises(ValueError, match=message):
        Surrogates.load(tmp_path / "x", header)


def test_an_entry_of_none_is_not_a_missing_entry(found, tmp_path):
    found.save(tmp_path / "x", {})
    with pytest.raises(ValueError, match="made without limit, asked for is None"):
        Surrogates.load(tmp_path / "x", {"limit": None})


def damage(path, how):
    whole = path.read_bytes()
    if how == "other tensors":
        safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    elif how == "header":
        tensors = safetensors.torch.load_file(path)
        safetensors.torch.save_file(tensors, path, metadata={"ssan": "{not json"})
    elif how == "header is a list":
        tensors = safetensors.torch.load_file(path)
        safetensors.torch.save_file(tensors, path, metadata={"ssan": "[1, 2]"})
    elif how == "a field is missing":
        tensors = safetensors.torch.load_file(path)
        safetensors.torch.save_file({k: v for k, v in tensors.items() if k != "index"}, path)
    else:
        cut = {"truncated": whole[: len(whole) // 2], "one byte short": whole[:-1], "header cut": whole[:20]}
        path.write_bytes({"text": b"attention: none\n", "empty": b"", **cut}[how])


@pytest.mark.parametrize(
    "how",
    [
        *("truncated", "one byte short", "header cut", "text", "empty"),
        *("other tensors", "header", "header is a list", "a field is missing"),
    ],
)
def test_damaged_files_are_named(found, tmp_path, how):
    path = tmp_path / "maps.safetensors"
    found.save(path, HEADER)
    damage(path, how)
    with pytest.raises(ValueError, match=r"maps.safetensors is not a whole surrogate file .*delete it and search"):
        Surrogates.load(path, {"seed": 3})


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Surrogates.load(tmp_path / "none")


# --- atomic ----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def killed(*_args, **_options):
    raise Killed


def disk_full(*_args, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("call", "error"), [("replace", Killed), ("fsync", Killed), ("fsync", OSError)])
@pytest.mark.parametrize("before", [True, False])
def test_a_failure_before_the_end_leaves_what_was_there(monkeypatch, found, tmp_path, call, error, before):
    path = tmp_path / "maps"
    if before:
        found.save(path, {"seed": 1})
    monkeypatch.setattr(os, call, killed if error is Killed else disk_full)
    with pytest.raises(error):
        found.select(torch.tensor([0])).save(path, {"seed": 2})
    monkeypatch.undo()
    assert folder_of(path) == (["maps"] if before else [])
    if before:
        assert equal(Surrogates.load(path, {"seed": 1}), found)


def test_a_full_disk_leaves_nothing(monkeypatch, found, tmp_path):
    """Half of the bytes are written, then the disk is full."""
    opened = os.fdopen

    def full(handle, mode):
        file = opened(handle, mode)
        write = file.write

        class Full:
            def write(self, blob):
                write(blob[: len(blob) // 2])
                file.flush()
                assert any(p.stat().st_size for p in tmp_path.iterdir())
                disk_full()

            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

        return Full()

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left"):
        found.save(tmp_path / "maps")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full (Linux)")
def test_a_disk_that_really_is_full(monkeypatch, found, tmp_path):
    opened = os.fdopen

    def full(handle, mode):
        os.close(handle)
        return opened(os.open("/dev/full", os.O_WRONLY), mode)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left"):
        found.save(tmp_path / "maps")
    assert list(tmp_path.iterdir()) == []


# --- in memory -------------------------------------------------------------------------------------------------------


def test_gain_length_and_select(found):
    assert len(found) == 7
    assert torch.equal(found.gain, found.score - found.clean_score)
    assert (found.gain >= 0).all()
    assert (found.gain > 0).any()
    rows = torch.tensor([5, 0])
    chosen = found.select(rows)
    for f in dataclasses.fields(Surrogates):
        assert torch.equal(getattr(chosen, f.name), getattr(found, f.name)[rows])


def test_concatenate_pads_maps_with_zeros(found):
    narrow = dataclasses.replace(found, attention=found.attention[:, :4], clean_attention=found.clean_attention[:, :4])
    both = concatenate([narrow.select(torch.tensor([1])), found, narrow])
    width = found.attention.shape[1]
    assert both.attention.shape == both.clean_attention.shape == (15, width)
    assert torch.equal(both.attention[1:8], found.attention)
    assert torch.equal(both.attention[8:, :4], found.attention[:, :4])
    assert (both.attention[8:, 4:] == 0).all()
    assert both.ids.tolist() == [int(found.ids[1]), *found.ids.tolist() * 2]
    assert equal(concatenate([found]), found)


def test_to_moves_every_field(found):
    moved = found.to("meta")
    assert all(getattr(moved, f.name).device.type == "meta" for f in dataclasses.fields(Surrogates))
