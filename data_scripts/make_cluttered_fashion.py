"""Generates `cluttered_fashion` as files: `python data_scripts/make_cluttered_fashion.py FOLDER --n-train 1000`.

A thin command line around `ssan.data.image.cluttered_fashion_task`; the library generates the same data by itself, in
memory. Fetches Fashion-MNIST if it is not in the cache. Writes train, valid and test as safetensors files (see
`ssan.data.export`) and prints how often each class occurs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ssan.data.export import export_task
from ssan.data.image import cluttered_fashion_task
from ssan.data.vqa import answer_balance


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="where to write")
    parser.add_argument("--root", metavar="DIR", help="folder that holds FashionMNIST/raw (default: fetched)")
    for name, default, meaning in (
        ("n-train", 1000, "training images"),
        ("n-valid", 1000, "validation images"),
        ("n-test", 2000, "test images"),
        ("seed", 0, "names the data set"),
        ("item", 16, "side of the item in pixels"),
        ("n-fragments", 16, "fragments per image"),
        ("fragment", 8, "side of a fragment in pixels"),
        ("size", 64, "side of the images in pixels"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{meaning} (default {default})")
    settings = vars(parser.parse_args(arguments))
    folder, root = settings.pop("folder"), settings.pop("root")
    try:
        task = cluttered_fashion_task(root=root, **settings)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    for path in export_task(task, folder, settings):
        print(path)
    print(answer_balance(task.train, task.class_names).round(3).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
