"""Writes generated data sets to files: `python data_scripts/generate.py shapes FOLDER --n-train 500 --seed 1`.

The library generates the same data by itself, in memory; the options are the arguments of its loaders. For use outside
of this package. Prints the files, and how often each answer or class occurs among the training examples.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssan.data.image import cluttered_fashion_task
from ssan.data.pixels import ImageSplit
from ssan.data.shape_questions import KINDS
from ssan.data.vqa import shapes_task
from ssan.files import save_tensors
from ssan.task import Split, Task

LOADERS = {"shapes": shapes_task, "cluttered_fashion": cluttered_fashion_task}


def export_task(task: Task, folder: str | Path, settings: Mapping[str, object]) -> list[Path]:
    """Write the splits of a task with images to `folder`: train, valid and test, each as one safetensors file.

    Every file holds the tensors of its `ImageSplit` under their own names (images are bytes), and in its header, under
    `ssan` and as JSON, the task's name, the names of classes and words, `settings`, and the SHA-256 of all. The same
    task always makes the same bytes.

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
    paths = []
    for name, split in splits.items():
        tensors = {key: value for key, value in vars(split).items() if isinstance(value, Tensor)}
        paths.append(Path(folder) / f"{name}.safetensors")
        save_tensors(paths[-1], tensors, described)
    return paths


def answer_balance(split: Split, class_names: tuple[str, ...]) -> pd.DataFrame:
    """Share of each answer within each kind of question, a row per kind (code) that adds up to 1."""
    kind = getattr(split, "kind", None)
    kind = torch.zeros_like(split.label) if kind is None else kind
    names = np.array(class_names)[split.label.numpy()]
    table = pd.crosstab(pd.Series(kind.numpy(), name="kind"), pd.Series(names, name="answer"), normalize="index")
    return table.reindex(columns=[name for name in class_names if name in table.columns])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    style = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(description=__doc__, **style)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, loader in LOADERS.items():
        command = commands.add_parser(name, description=inspect.getdoc(loader), **style)
        command.add_argument("folder", metavar="FOLDER", help="where to write")
        for option, parameter in inspect.signature(loader).parameters.items():
            if isinstance(parameter.default, int) or option == "root":
                flag, default = f"--{option.replace('_', '-')}", parameter.default
                command.add_argument(
                    flag, type=str if option == "root" else int, default=default, metavar="X", help=f"default {default}"
                )
    settings = vars(parser.parse_args(arguments))
    name, folder = settings.pop("name"), settings.pop("folder")
    try:
        task = LOADERS[name](**settings)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    settings.pop("root", None)
    for path in export_task(task, folder, settings):
        print(path)
    balance = answer_balance(task.train, task.class_names)
    kinds = [KINDS[kind] if name == "shapes" else name for kind in balance.index]
    print(balance.set_axis(kinds).rename_axis("kind").round(3).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
