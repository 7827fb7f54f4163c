"""Questions about shapes: every answer against a plain loop, what is not decidable, and which are picked."""

import math

import numpy as np
import pytest

from ssan.data.shape_questions import ANSWERS, KINDS, NON_RELATIONAL, Questions, all_questions, pick, words_of
from ssan.data.shapes import COLOURS, SHAPES, Scenes, scene_chunks


def some(n, seed=0, **geometry) -> Scenes:
    return next(scene_chunks(n, seed, 0, **geometry))[0]


def by_hand(boxes, shapes, size, kind, asked):
    """Answer, decidable, objects it depends on: one question about one scene."""
    centres = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes.tolist()]
    others = [k for k in range(len(boxes)) if k != asked]
    if kind == "shape":
        return SHAPES[shapes[asked]], True, {asked}
    if kind == "side":
        return ("right" if centres[asked][0] > size / 2 else "left"), centres[asked][0] != size / 2, {asked}
    if kind == "height":
        return ("bottom" if centres[asked][1] > size / 2 else "top"), centres[asked][1] != size / 2, {asked}
    if kind == "count":
        same = {k for k in range(len(boxes)) if shapes[k] == shapes[asked]}
        return str(len(same)), True, same
    ranked = sorted(others, key=lambda k: math.dist(centres[k], centres[asked]), reverse=kind == "furthest")
    first, second = (math.dist(centres[k], centres[asked]) for k in ranked[:2])
    return SHAPES[shapes[ranked[0]]], not math.isclose(first, second), {asked, ranked[0]}


# Small images, where ties are frequent, and the usual ones.
@pytest.mark.parametrize(("seed", "geometry"), [(0, {}), (1, {"size": 24, "sides": (4, 5), "gap": 1})])
def test_every_answer_against_a_plain_loop(seed, geometry):
    found = some(120, seed, **geometry)
    questions = all_questions(found)
    undecidable = 0
    for i in range(len(found)):
        for q in range(len(KINDS) * len(COLOURS)):
            kind, asked = KINDS[q // len(COLOURS)], q % len(COLOURS)
            size = found.images.shape[-1]
            answer, decidable, objects = by_hand(found.boxes[i], found.shapes[i], size, kind, asked)
            assert questions.decidable[i, q] == decidable
            if decidable:
                assert ANSWERS[questions.answer[i, q]] == answer
                assert set(questions.depends_on[i, q].nonzero()[0]) == objects
            undecidable += not decidable
    assert undecidable > 0


def test_words_name_the_colour_and_no_other():
    for kind in KINDS:
        for colour in COLOURS:
            assert [name for name in COLOURS if name in words_of(kind, colour).split()] == [colour]


def picked(seed, *numbers, n=100):
    return pick(all_questions(some(n)), np.random.default_rng(seed), *numbers)


def test_numbers_of_questions():
    chosen = picked(0, 2, 3)
    half = len(NON_RELATIONAL) * len(COLOURS)
    assert (chosen[:, :half].sum(1) == 2).all()
    assert (chosen[:, half:].sum(1) == 3).all()
    assert picked(0, 0, 1).sum() == 100


def test_fewer_are_a_subset_and_groups_do_not_touch_each_other():
    assert not (picked(0, 2, 0) & ~picked(0, 5, 7)).any()
    assert np.array_equal(picked(0, 2, 3)[:, :18], picked(0, 2, 0)[:, :18])
    assert np.array_equal(picked(0, 2, 3)[:, 18:], picked(0, 0, 3)[:, 18:])
    assert np.array_equal(picked(0, 2, 3, n=30), picked(0, 2, 3)[:30])
    assert not np.array_equal(picked(0, 2, 3), picked(1, 2, 3))


def test_only_decidable_questions_are_asked():
    found = some(200, 1, size=24, sides=(4, 5), gap=1)
    questions = all_questions(found)
    chosen = pick(questions, np.random.default_rng(0), 12, 12)
    assert not questions.decidable.all()
    assert not (chosen & ~questions.decidable).any()


def test_fewer_questions_where_fewer_are_decidable():
    decidable = np.zeros((3, 36), dtype=bool)
    decidable[0, [2, 7]] = True
    decidable[1, [0, 20, 21, 22]] = True
    questions = Questions(np.zeros((3, 36), dtype=int), decidable, np.zeros((3, 36, 6), dtype=bool))
    assert np.array_equal(pick(questions, np.random.default_rng(0), 3, 3), decidable)


def test_every_question_has_its_turn():
    times = picked(0, 2, 2, n=250).sum(0)
    assert times.min() > 10


@pytest.mark.parametrize("numbers", [(0, 0), (-1, 2), (2, 13)])
def test_bad_numbers(numbers):
    with pytest.raises(ValueError, match=f"got non_relational={numbers[0]}, relational={numbers[1]}"):
        picked(0, *numbers)
