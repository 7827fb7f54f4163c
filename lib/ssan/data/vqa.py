"""Questions about coloured shapes as a task: generated, with boxes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ssan.data import shape_questions
from ssan.data.pixels import ImageSplit, check_grid
from ssan.data.questions import encode_questions, vocabulary
from ssan.data.shape_questions import ANSWERS, KINDS
from ssan.data.shapes import COLOURS, SHAPES, scene_chunks
from ssan.regions import ImageGrid
from ssan.task import Task


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
    """Questions about six coloured shapes: generated, with the boxes of the objects that each answer depends on,
    and of the `others`.

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

    A ValueError if a number is out of range, or the grid does not divide the image.
    """
    check_grid(grid, (size, size))
    table = [shape_questions.words_of(kind, colour) for kind in KINDS for colour in COLOURS]
    words = vocabulary(table)
    tokens, lengths = encode_questions(table, words)
    splits = {}
    for stream, (name, n) in enumerate({"train": n_train, "valid": n_valid, "test": n_test}.items()):
        parts = []
        for scenes, generator in scene_chunks(n, seed, stream, size=size):
            questions = shape_questions.all_questions(scenes)
            asked = shape_questions.pick(questions, generator, non_relational, relational)
            parts.append((*scenes, questions.answer, questions.depends_on, asked))
        images, boxes, shapes, answer, depends_on, asked = map(np.concatenate, zip(*parts, strict=True))
        image_of, question = map(torch.from_numpy, asked.nonzero())
        splits[name] = ImageSplit(
            ids=image_of * asked.shape[1] + question,
            label=torch.from_numpy(answer[asked]),
            images=torch.from_numpy(images),
            image_of=image_of,
            tokens=tokens[question],
            lengths=lengths[question],
            boxes=_first(boxes[image_of.numpy()], depends_on[asked]),
            others=_first(boxes[image_of.numpy()], ~depends_on[asked]),
            kind=question // len(COLOURS),
            presence=torch.nn.functional.one_hot(torch.from_numpy(shapes), len(SHAPES)).flatten(1).float(),
        )
    return Task(name="shapes", class_names=ANSWERS, regions=ImageGrid(grid, fill), words=words, **splits)


def _first(boxes: np.ndarray, wanted: np.ndarray) -> Tensor:
    """Boxes (N, K, 4) with the wanted ones moved to the first slots and the others zeroed."""
    order = np.argsort(~wanted, axis=1, kind="stable")
    kept = np.where(wanted[..., None], boxes, 0)
    return torch.from_numpy(np.take_along_axis(kept, order[..., None], 1)).float()
