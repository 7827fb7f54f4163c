"""Generated data sets as files, for use outside of this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from ssan.checkpoint import write_atomically
from ssan.data.pixels import ImageSplit
from ssan.data.task import Task


def export_task(task: Task, folder: str | Path, settings: Mapping[str, object]) -> list[Path]:
    """Write the splits of a task with images to `folder`: train, valid and test, each as one safetensors file.

    Every file holds the tensors of its `ImageSplit` under their own names (images are bytes), and in its header, under
    `ssan` and as JSON, the task's name, the names of classes and words, and `settings`. The same task always makes the
    same bytes.

    Args:
        task: its splits must be `ImageSplit`s.
        folder: made if it is missing; files of the same name are replaced.
        settings: what the task was made with, for the record.

    Returns:
        The three paths.

    Raises:
        ValueError: if a split is not an `ImageSplit`.
    """
    splits = {"train": task.train, "valid": task.valid, "test": task.test}
    for name, split in splits.items():
        if not isinstance(split, ImageSplit):
            raise ValueError(f"{task.name}.{name} is a {type(split).__name__}, only an ImageSplit can be exported")
    described = {"task": task.name, "classes": task.class_names, "words": task.words, "settings": dict(settings)}
    header = {"ssan": json.dumps(described)}  # one entry: safetensors writes several in no fixed order
    paths = []
    for name, split in splits.items():
        tensors = {key: value.contiguous() for key, value in vars(split).items() if isinstance(value, Tensor)}
        paths.append(Path(folder) / f"{name}.safetensors")
        write_atomically(paths[-1], save(tensors, header))
    return paths
