"""Files: whole or not there whatever happens, exact when read again, refused when they are not what was asked for."""

import dataclasses
import errno
import os

import pytest
import torch

from ssan import TrainConfig
from ssan.files import (
    config_hash,
    load_model,
    load_tensors,
    notes_of,
    read_json,
    save_model,
    save_tensors,
    weights_hash,
    write_atomically,
    write_json,
)
from tests.helpers import contents, text_model


def test_round_trip_is_exact(tmp_path):
    path, model, other = tmp_path / "deep" / "a.safetensors", text_model(0), text_model(1)
    save_model(path, model, "x", cost="3 s")
    assert load_model(path, other, "x") is other
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert notes_of(path).items() > {"trained_from": "x", "cost": "3 s"}.items()


def test_checkpoints_that_are_not_what_was_asked_for(tmp_path):
    path, cases = tmp_path / "a", [(None, "y", 5, "trained from config x, asked for is y")]
    cases += [(None, "x", 6, "does not fit the model")]
    for keep, asked, hidden, message in cases + [(keep, "x", 5, "a is not a whole file") for keep in (0, 5, 200, -1)]:
        save_model(path, text_model(hidden=5), "x")
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ValueError, match=message):
            load_model(path, text_model(hidden=hidden), asked)


def raising(error, halve=False):
    """Instead of a step of writing: half of the file is written, if so asked, then this happens."""

    def instead(first, *_):
        if halve:
            os.ftruncate(first, os.fstat(first).st_size // 2)
        raise error

    return instead


ERRORS = (KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"))
FAILURES = [(call, raising(error, halve=call == "fsync")) for call in ("replace", "fsync") for error in ERRORS]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("call", "failing"), FAILURES)
def test_a_failure_before_the_end_leaves_what_was_there(monkeypatch, tmp_path, call, failing, before):
    if before:
        write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(os, call, failing)
    with pytest.raises((KeyboardInterrupt, OSError)) as caught:
        write_atomically(tmp_path / "a", b"new" * 9999)
    monkeypatch.undo()
    if isinstance(caught.value, OSError):
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))
        assert "No space left" in str(caught.value)
    assert [(tmp_path / name).read_bytes() for name in contents(tmp_path)] == [b"old"] * before
    umask = os.umask(0o027)
    write_atomically(tmp_path / "a", b"new")
    os.umask(umask)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640  # others may read what the umask lets them


def test_every_changed_bit_is_found_and_named(tmp_path):
    tensors = {"a": torch.tensor([[1.5, -2.0]]), "b": torch.tensor([True, False]), "c": torch.arange(3).bfloat16()}
    notes = {"seed": 3, "of": ["x", None], "share": 0.1}
    for name, write, read in (
        ("rows.json", lambda path: write_json(path, notes), lambda path: ({}, read_json(path))),
        ("t.safetensors", lambda path: save_tensors(path, tensors, notes), load_tensors),
    ):
        path = tmp_path / name
        write(path)
        held, said = read(path)
        assert said == notes
        assert all(torch.equal(held[key], tensors[key]) and held[key].dtype == tensors[key].dtype for key in held)
        blob = path.read_bytes()
        for position in range(8 * len(blob)):
            flipped = bytearray(blob)
            flipped[position // 8] ^= 1 << position % 8
            path.write_bytes(flipped)
            try:
                again, same = read(path)
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017
            else:  # a blank, or a bit of \u00e9 against \u00E9: the content is the same
                assert same == notes
                assert len(again) == len(held)
                assert all(torch.equal(again[key], held[key]) for key in held)
    for text in ("[]", "3", "null", "{}", '"x"', "[" * 100_000, '{"sha256": 1}', ""):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a whole file"):
            read_json(path)


def test_the_hash_follows_every_field_and_every_bit():
    plain = TrainConfig()
    assert config_hash(plain) == config_hash(TrainConfig())
    changed = {"keep": "last", "clip_norm": None, "recreate_optimizer": True, "clamp_gradient": 0.1, "validate": False}
    for field in dataclasses.fields(plain):
        more = {"keep": "last"} if field.name == "validate" else {}
        other = dataclasses.replace(plain, **more | {field.name: changed.get(field.name, 7)})
        assert config_hash(other) != config_hash(plain), field.name
    assert config_hash(plain, 1) != config_hash(plain, 2)
    kinds = [dataclasses.make_dataclass(name, [("x", float)], frozen=True) for name in ("WarmUp", "AnnealOut")]
    assert len({config_hash({"schedule": kind(x)}) for kind in kinds for x in (0.3, 0.4, 0.3)}) == 4
    model = text_model(1)
    before = weights_hash(model)
    assert weights_hash(text_model(1)) == before
    model.attention_out.weight.data.view(torch.int32)[0, 0] ^= 1
    assert weights_hash(model) != before
