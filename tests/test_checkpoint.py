"""Checkpoints: round trip, and refusal of everything that is not what was asked for."""

import dataclasses
import os

import pytest
import torch

from ssan import checkpoint
from ssan.training import TrainConfig
from tests.helpers import text_model


def test_round_trip_is_exact(tmp_path):
    model, other = text_model(0), text_model(1)
    checkpoint.save_model(tmp_path / "deep" / "a.safetensors", model, "x")
    checkpoint.load_model(tmp_path / "deep" / "a.safetensors", other, "x")
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
    checkpoint.save_model(tmp_path / "a", text_model(), "one")
    with pytest.raises(ValueError, match="trained from config one, asked for is two"):
        checkpoint.load_model(tmp_path / "a", text_model(), "two")


def test_a_checkpoint_of_another_size_is_refused(tmp_path):
    checkpoint.save_model(tmp_path / "a", text_model(hidden=5), "x")
    with pytest.raises(ValueError, match="does not fit the model"):
        checkpoint.load_model(tmp_path / "a", text_model(hidden=6), "x")


@pytest.mark.parametrize("keep", [0, 5, 200])
def test_a_truncated_checkpoint_is_refused(tmp_path, keep):
    checkpoint.save_model(tmp_path / "a", text_model(), "x")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        checkpoint.load_model(tmp_path / "a", text_model(), "x")


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    checkpoint.write_atomically(tmp_path / "a", b"old")

    def fails(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        checkpoint.write_atomically(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_the_hash_follows_every_field():
    plain = TrainConfig()
    assert checkpoint.config_hash(plain) == checkpoint.config_hash(TrainConfig())
    changed = {"keep": "last", "clip_norm": None, "recreate_optimizer": True, "clamp_gradient": 0.1}
    for field in dataclasses.fields(plain):
        value = changed.get(field.name, 7)
        if field.name == "validate":
            other = dataclasses.replace(plain, validate=False, keep="last")
        else:
            other = dataclasses.replace(plain, **{field.name: value})
        assert checkpoint.config_hash(other) != checkpoint.config_hash(plain), field.name
    assert checkpoint.config_hash(plain, 1) != checkpoint.config_hash(plain, 2)
