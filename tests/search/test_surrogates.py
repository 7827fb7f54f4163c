"""Surrogates in memory and in a file: the round trip, and that no file made otherwise, or damaged, is ever used."""

import dataclasses
import json

import pytest
import safetensors.torch
import torch

from ssan import Pairs, Surrogates, find_surrogates
from ssan.files import save_tensors
from ssan.search.surrogates import concatenate
from tests.helpers import contents, random_sentences, text_model

HEADER = {"config": "a1b2", "seed": 3, "sampler": ("Pairs", [1, 2]), "versions": {"torch": "2"}}
SURROGATES = find_surrogates(text_model(), random_sentences(7), Pairs())


def equal(a, b):
    return all(torch.equal(value, vars(b)[name]) for name, value in vars(a).items())


CHANGES = [{}, {"attention": SURROGATES.clean_attention}, {"score": SURROGATES.score.double()}]
CHANGES += [{"attention": SURROGATES.attention.T.contiguous().T}]


@pytest.mark.parametrize("change", CHANGES)
def test_round_trip_whatever_the_memory_looks_like(tmp_path, change):
    path, saved = tmp_path / "deep" / "er" / "maps.safetensors", dataclasses.replace(SURROGATES, **change)
    SURROGATES.select(torch.tensor([2])).save(path, {"seed": 1})
    saved.select(slice(1, 5)).save(path, HEADER)  # what was there is replaced
    assert [*contents(path.parent)] == ["maps.safetensors"]
    for header in (None, {}, HEADER, {"seed": 3}):
        loaded = Surrogates.load(str(path), header)
        assert equal(loaded, saved.select(slice(1, 5)))
        assert (loaded.score.dtype, loaded.index.dtype) == (saved.score.dtype, torch.int64)
    with safetensors.safe_open(path, framework="pt") as file:  # any reader of safetensors can read it
        assert json.loads(file.metadata()["ssan"])["seed"] == 3
        assert torch.equal(file.get_tensor("attention"), loaded.attention)


def test_a_file_made_from_something_else_is_never_reused(tmp_path):
    SURROGATES.save(tmp_path / "x", HEADER)
    for header, message in (
        ({"seed": 4}, r"made with seed=3, asked for is 4: use another file name, or delete the file"),
        ({"checkpoint": "c"}, "made without checkpoint, asked for is 'c'"),
        ({"limit": None}, "made without limit, asked for is None"),
        ({"sampler": ("Pairs", [1])}, "made with sampler="),
    ):
        with pytest.raises(ValueError, match=message):
            Surrogates.load(tmp_path / "x", header)


DAMAGES = {
    "truncated": lambda blob, _: blob[: len(blob) // 2],
    "one byte short": lambda blob, _: blob[:-1],
    "header cut": lambda blob, _: blob[:20],
    "text": lambda *_: b"attention: none\n",
    "empty": lambda *_: b"",
    "no json": lambda _, tensors: safetensors.torch.save(tensors, metadata={"ssan": "{not json"}),
    "a list": lambda _, tensors: safetensors.torch.save(tensors, metadata={"ssan": "[1, 2]"}),
    "no header": lambda _, tensors: safetensors.torch.save(tensors),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_named(tmp_path, damage):
    path = tmp_path / "maps.safetensors"
    SURROGATES.save(path, HEADER)
    path.write_bytes(damage(path.read_bytes(), safetensors.torch.load_file(path)))
    with pytest.raises(ValueError, match=r"maps.safetensors is not a whole file .*delete it and make it again"):
        Surrogates.load(path, {"seed": 3})


IDS = SURROGATES.ids.tolist()
WRONG = {
    "no index": (lambda tensors: tensors.pop("index"), "index"),
    "another field": (lambda tensors: tensors.update(more=tensors["ids"]), "more"),
    "three axes": (lambda tensors: tensors.update(attention=tensors["attention"][..., None]), "must have 2 axes"),
    "no axis": (lambda tensors: tensors.update(ids=tensors["ids"][0]), "ids must have 1 axes and 1 rows"),
    "too short": (lambda tensors: tensors.update(score=tensors["score"][:-1]), "must have 1 axes and 7 rows"),
    "NaN": (
        lambda tensors: tensors["clean_attention"][3].fill_(torch.nan),
        f"n_attention of examples .{IDS[3]}. holds",
    ),
    "infinity": (
        lambda tensors: tensors["score"][2:4].fill_(torch.inf),
        f"score of examples .{IDS[2]}, {IDS[3]}. ho",
    ),
    "negative": (lambda tensors: tensors["attention"][6].neg_(), f"attention of examples .{IDS[6]}. holds NaN, inf"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_surrogate_is_refused_in_memory_and_from_a_file(tmp_path, change, message):
    tensors = {name: value.clone() for name, value in vars(SURROGATES).items()}
    change(tensors)
    with pytest.raises((TypeError, ValueError), match=message):
        Surrogates(**tensors)
    save_tensors(tmp_path / "x", tensors, {})
    with pytest.raises(ValueError, match=rf"x holds no surrogates .*{message}"):
        Surrogates.load(tmp_path / "x")


def test_in_memory():
    assert len(SURROGATES) == 7
    assert torch.equal(SURROGATES.gain, SURROGATES.score - SURROGATES.clean_score)
    assert 0 == SURROGATES.gain.min() < SURROGATES.gain.max()
    rows, moved = torch.tensor([5, 0]), SURROGATES.to("cpu")
    for name, value in vars(SURROGATES).items():
        assert torch.equal(getattr(SURROGATES.select(rows), name), value[rows])
        assert torch.equal(getattr(moved, name), value)
    # Put together, maps are padded with zeros.
    narrow = dataclasses.replace(SURROGATES, attention=SURROGATES.attention[:, :4])
    both = concatenate([narrow.select(torch.tensor([1])), SURROGATES, narrow])
    assert equal(both.select(slice(1, 8)), SURROGATES)
    assert torch.equal(both.attention[8:, :4], SURROGATES.attention[:, :4])
    assert (both.attention[8:, 4:] == 0).all()
