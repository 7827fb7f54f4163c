"""Visual question answering as tasks: `shapes` (generated, with boxes) and `easy_vqa` (published)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssan.data import shape_questions
from ssan.data.easy_vqa import easy_vqa_task
from ssan.data.pixels import ImageSplit, check_grid
from ssan.data.questions import encode_questions, vocabulary
from ssan.data.shape_questions import ANSWERS, KINDS
from ssan.data.shapes import COLOURS, SHAPES, scene_chunks
from ssan.data.task import Split, Task
from ssan.regions import ImageGrid

__all__ = ["answer_balance", "easy_vqa_task", "shapes_task"]

_STREAMS = {"train": 0, "valid": 1, "test": 2}


def shapes_task(
    n_train: int = 4000,
    *,
    n_valid: int = 500,
    n_test: int = 1000,
    seed: int = 0,
    non_relational: int = 2,
    relational: int = 2,
    size: int = 64,
    grid: tuple[int, int] = (8, 8),
    fill: str = "zero",
) -> Task:
    """Questions about six coloured shapes: generated, with the boxes of the objects that each answer depends on.

    Non-relational questions ask for one object's shape or place, relational ones for the shape of the object closest to
    or furthest from another, or how many have the same shape. `kind` of the splits indexes `shape_questions.KINDS`.
    Images are (3, size, size) floats in [0, 1] on a black ground, so that the default fill 0 is the ground itself.
    `presence` of the splits says for each image which pairs of colour and shape it shows. Example ids are
    image * 36 + question, the same in every subset.

    Args:
        n_train: number of training **images**. Smaller training sets of one seed are the beginnings of larger ones.
        n_valid, n_test: numbers of images; the three splits are drawn from independent streams.
        seed: names the data set.
        non_relational, relational: how many questions of each group to ask about an image, 0 to 12.
        size: height and width of the images in pixels.
        grid, fill: of the regions that masks hide by default, see `ssan.regions.ImageGrid`.

    Raises:
        ValueError: if a number is out of range, or the grid does not divide the image.
    """
    check_grid(grid, (size, size))
    words = vocabulary(shape_questions.words_of(kind, colour) for kind in KINDS for colour in COLOURS)
    table = [shape_questions.words_of(kind, colour) for kind in KINDS for colour in COLOURS]
    tokens, lengths = encode_questions(table, words)
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    splits = {
        name: _shapes_split(tokens, lengths, counts[name], seed, stream, (non_relational, relational), size)
        for name, stream in _STREAMS.items()
    }
    return Task(name="shapes", class_names=ANSWERS, regions=ImageGrid(grid, fill), words=words, **splits)


def _shapes_split(tokens, lengths, n, seed, stream, asked, size) -> ImageSplit:
    parts = []
    for scenes, generator in scene_chunks(n, seed, stream, size=size):
        questions = shape_questions.all_questions(scenes)
        parts.append((scenes, questions, shape_questions.pick(questions, generator, *asked)))
    picked = np.concatenate([chosen for _, _, chosen in parts])
    image_of, question = (torch.from_numpy(axis) for axis in picked.nonzero())
    boxes = np.concatenate([scenes.boxes for scenes, _, _ in parts])
    depends_on = np.concatenate([questions.depends_on for _, questions, _ in parts])[picked]
    shapes = torch.from_numpy(np.concatenate([scenes.shapes for scenes, _, _ in parts]))
    return ImageSplit(
        ids=image_of * picked.shape[1] + question,
        label=torch.from_numpy(np.concatenate([questions.answer for _, questions, _ in parts])[picked]),
        images=torch.from_numpy(np.concatenate([scenes.images for scenes, _, _ in parts])),
        image_of=image_of,
        tokens=tokens[question],
        lengths=lengths[question],
        boxes=_first(boxes[image_of.numpy()], depends_on),
        kind=question // len(COLOURS),
        presence=torch.nn.functional.one_hot(shapes, len(SHAPES)).flatten(1).float(),
    )


def _first(boxes: np.ndarray, wanted: np.ndarray) -> Tensor:
    """Boxes (N, K, 4) with the wanted ones moved to the first slots and the others zeroed."""
    order = np.argsort(~wanted, axis=1, kind="stable")
    kept = np.where(wanted[..., None], boxes, 0)
    return torch.from_numpy(np.take_along_axis(kept, order[..., None], 1)).float()


def answer_balance(split: Split, class_names: tuple[str, ...]) -> pd.DataFrame:
    """Share of each answer within each kind of question, a row per kind (code) that adds up to 1."""
    kind = getattr(split, "kind", None)
    kind = torch.zeros_like(split.label) if kind is None else kind
    names = np.array(class_names)[split.label.numpy()]
    table = pd.crosstab(pd.Series(kind.numpy(), name="kind"), pd.Series(names, name="answer"), normalize="index")
    return table.reindex(columns=[name for name in class_names if name in table.columns])
