"""Generates the `shapes` data set as files: `python data_scripts/make_shapes.py FOLDER --n-train 500 --seed 1`.

A thin command line around `ssan.data.vqa.shapes_task`; the library generates the same data by itself, in memory. Writes
train, valid and test as safetensors files (see `ssan.data.export`) and prints how often each answer occurs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ssan.data.export import export_task
from ssan.data.shape_questions import KINDS
from ssan.data.vqa import answer_balance, shapes_task


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="where to write")
    for name, default, meaning in (
        ("n-train", 4000, "training images"),
        ("n-valid", 500, "validation images"),
        ("n-test", 1000, "test images"),
        ("seed", 0, "names the data set"),
        ("non-relational", 2, "questions about single objects per image"),
        ("relational", 2, "questions that relate objects per image"),
        ("size", 64, "side of the images in pixels"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{meaning} (default {default})")
    settings = vars(parser.parse_args(arguments))
    folder = settings.pop("folder")
    try:
        task = shapes_task(**settings)
    except ValueError as error:
        parser.error(str(error))
    for path in export_task(task, folder, settings):
        print(path)
    balance = answer_balance(task.train, task.class_names)
    print(balance.set_axis([KINDS[kind] for kind in balance.index]).rename_axis("kind").round(3).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
