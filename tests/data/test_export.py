"""Exported files hold what the task holds."""

import json

import pytest
import torch
from safetensors import safe_open

from ssan.data.export import export_task
from ssan.data.vqa import shapes_task
from tests.helpers import text_task


def test_files_hold_the_splits(tmp_path):
    task = shapes_task(6, n_valid=3, n_test=4)
    paths = export_task(task, tmp_path / "out", {"seed": 0})
    assert [path.name for path in paths] == ["train.safetensors", "valid.safetensors", "test.safetensors"]
    for path, split in zip(paths, (task.train, task.valid, task.test), strict=True):
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["ssan"])
            for name in file.keys():  # noqa: SIM118
                assert torch.equal(file.get_tensor(name), getattr(split, name))
            expected = {"ids", "label", "images", "image_of", "tokens", "lengths", "boxes", "kind", "presence"}
            assert set(file.keys()) == expected
        assert header["task"] == "shapes"
        assert header["settings"] == {"seed": 0}
        assert tuple(header["classes"]) == task.class_names
        assert tuple(header["words"]) == task.words


def test_the_same_bytes_every_time(tmp_path):
    task = shapes_task(6, n_valid=3, n_test=4)
    first, second = (export_task(task, tmp_path / name, {"seed": 0}) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a Batch, only an ImageSplit"):
        export_task(text_task(), tmp_path, {})
