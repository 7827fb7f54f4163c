"""Questions about scenes of coloured shapes: their words, their answers, and the objects the answer depends on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssan.data.shapes import COLOURS, SHAPES, Scenes

# The code of a kind is its index; the first three look at one object, the last three relate objects.
TEMPLATES: dict[str, str] = {
    "shape": "what shape is the {} object",
    "side": "is the {} object on the left or on the right",
    "height": "is the {} object at the top or at the bottom",
    "closest": "what shape is the object closest to the {} object",
    "furthest": "what shape is the object furthest from the {} object",
    "count": "how many objects have the same shape as the {} object",
}
KINDS = tuple(TEMPLATES)
ANSWERS = (*SHAPES, "left", "right", "top", "bottom", *(str(n) for n in range(1, len(COLOURS) + 1)))


class Questions(NamedTuple):
    """Every question that can be asked about N scenes: Q = kinds x colours, question kind * 6 + colour.

    An answer depends on the asked object; for `closest` and `furthest` on the other one too; for `count` on all that
    are counted, the asked one among them. Undecidable: two objects are equally close or far, or one is on the midline.
    """

    answer: np.ndarray  # (N, Q) int64, index into `ANSWERS`
    decidable: np.ndarray  # (N, Q) bool
    depends_on: np.ndarray  # (N, Q, 6) bool


def words_of(kind: str, colour: str) -> str:
    """The question of one kind about one colour, in words."""
    return TEMPLATES[kind].format(colour)


def all_questions(scenes: Scenes) -> Questions:
    """Answer every question about every scene.

    `closest` and `furthest` compare the distances of box centres. `count` includes the asked object, as in
    Sort-of-CLEVR, so it runs from 1 to 6.
    """
    n, k = scenes.shapes.shape
    size = scenes.images.shape[-1]
    # Twice the centre: whole numbers, so that ties are exact.
    twice = scenes.boxes[..., :2] + scenes.boxes[..., 2:]
    distance = ((twice[:, :, None] - twice[:, None]) ** 2).sum(-1)
    itself = np.eye(k, dtype=bool)
    always = np.ones((n, k), dtype=bool)
    asked = np.broadcast_to(itself, (n, k, k))

    def other(key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        key = np.where(itself, np.iinfo(np.int64).max, key)
        place, unique = key.argmin(-1), (key == key.min(-1, keepdims=True)).sum(-1) == 1
        return np.take_along_axis(scenes.shapes, place, 1), unique, asked | itself[place]

    same = scenes.shapes[:, :, None] == scenes.shapes[:, None]
    sides, heights, counts = ANSWERS.index("left"), ANSWERS.index("top"), ANSWERS.index("1")
    table = {
        "shape": (scenes.shapes, always, asked),
        "side": (sides + (twice[..., 0] > size), twice[..., 0] != size, asked),
        "height": (heights + (twice[..., 1] > size), twice[..., 1] != size, asked),
        "closest": other(distance),
        "furthest": other(-distance),
        "count": (counts + same.sum(-1) - 1, always, same),
    }
    answer, decidable, depends_on = zip(*(table[kind] for kind in KINDS), strict=True)
    return Questions(np.concatenate(answer, 1), np.concatenate(decidable, 1), np.concatenate(depends_on, 1))


def pick(questions: Questions, generator: np.random.Generator, non_relational: int, relational: int) -> np.ndarray:
    """(N, Q) bool: for every scene, so many decidable questions of each of the two groups, drawn at random.

    Fewer questions of a group are a subset of more of it, and no group's draw depends on the other's number.

    A ValueError if a number is not in [0, 12], or both are 0.
    """
    most = 12  # of the 18 in a group; so many are decidable in all but freak scenes
    if not (0 <= non_relational <= most and 0 <= relational <= most and non_relational + relational):
        raise ValueError(
            f"ask 0 to {most} questions of each group per image and not 0 of both, "
            f"got non_relational={non_relational}, relational={relational}"
        )
    keys = np.where(questions.decidable, generator.random(questions.answer.shape), 2.0)
    groups = zip(np.split(keys, 2, axis=1), (non_relational, relational), strict=True)
    return np.concatenate([(key.argsort(-1).argsort(-1) < n) & (key < 2) for key, n in groups], axis=1)
