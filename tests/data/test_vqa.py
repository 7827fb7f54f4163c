"""Questions about shapes: scenes pixel by pixel, answers by a plain loop, and a task whose parts belong together."""

import math

import numpy as np
import pytest
import torch

from ssan.data.shape_questions import ANSWERS, KINDS, Questions, all_questions, pick, words_of
from ssan.data.shapes import CHUNK, COLOURS, SHAPES, Scenes, scene_chunks
from ssan.data.vqa import shapes_task
from ssan.regions import ImageGrid

# Small images, where ties and undecidable questions are frequent.
TIGHT = {"size": 24, "sides": (4, 5), "gap": 1}


def draw(n, seed=0, stream=0, **geometry) -> Scenes:
    parts = (part for part, _ in scene_chunks(n, seed, stream, **geometry))
    return Scenes(*map(np.concatenate, zip(*parts, strict=True)))


def test_chunks_seeds_and_streams_differ():
    boxes = draw(2 * CHUNK).boxes
    for other in (boxes[CHUNK:], draw(CHUNK, seed=1).boxes, draw(CHUNK, stream=1).boxes):
        assert not (other == boxes[:CHUNK]).all((1, 2)).any()


@pytest.mark.parametrize(("sides", "gap", "size"), [((10, 14), 2, 64), ((5, 5), 0, 32)])
def test_objects_lie_inside_and_apart(sides, gap, size):
    for boxes in draw(60, sides=sides, gap=gap, size=size).boxes:
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            assert min(x0, y0) >= 0
            assert max(x1, y1) <= size
            assert sides[0] <= x1 - x0 == y1 - y0 <= sides[1]
            for u0, v0, u1, v1 in boxes[:i]:
                assert max(x0 - u1, u0 - x1, y0 - v1, v0 - y1) >= gap


def test_places_sides_and_shapes_are_spread_evenly():
    scenes = draw(1000)
    side = scenes.boxes[..., 2] - scenes.boxes[..., 0]
    centre = (scenes.boxes[..., :2] + scenes.boxes[..., 2:]) / 2
    assert abs(scenes.shapes.mean(0) - 0.5).max() < 0.06
    assert abs(centre.mean((0, 1)) - 32).max() < 0.7
    assert np.bincount(side.ravel(), minlength=15)[10:].min() > 500


def test_drawing_pixel_by_pixel():
    for image, boxes, shapes in zip(*draw(5, size=40, sides=(4, 7)), strict=True):
        expected = np.zeros((3, 40, 40), dtype=np.uint8)
        for (x0, y0, x1, y1), shape, colour in zip(boxes, shapes, COLOURS.values(), strict=True):
            for y in range(y0, y1):
                for x in range(x0, x1):
                    off = (x + 0.5 - (x0 + x1) / 2) ** 2 + (y + 0.5 - (y0 + y1) / 2) ** 2
                    if SHAPES[shape] == "square" or off <= ((x1 - x0) / 2) ** 2:
                        expected[:, y, x] = colour
        assert np.array_equal(image, expected)


def by_hand(boxes, shapes, size, kind, asked):
    """Answer, decidable, objects it depends on: one question about one scene."""
    centres = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes.tolist()]
    if kind == "shape":
        return SHAPES[shapes[asked]], True, {asked}
    if kind == "side":
        return ("right" if centres[asked][0] > size / 2 else "left"), centres[asked][0] != size / 2, {asked}
    if kind == "height":
        return ("bottom" if centres[asked][1] > size / 2 else "top"), centres[asked][1] != size / 2, {asked}
    if kind == "count":
        same = {k for k in range(len(boxes)) if shapes[k] == shapes[asked]}
        return str(len(same)), True, same
    others = [k for k in range(len(boxes)) if k != asked]
    ranked = sorted(others, key=lambda k: math.dist(centres[k], centres[asked]), reverse=kind == "furthest")
    first, second = (math.dist(centres[k], centres[asked]) for k in ranked[:2])
    return SHAPES[shapes[ranked[0]]], not math.isclose(first, second), {asked, ranked[0]}


@pytest.mark.parametrize(("seed", "geometry"), [(0, {}), (1, TIGHT)])
def test_every_answer_against_a_plain_loop(seed, geometry):
    scenes = draw(120, seed, **geometry)
    questions = all_questions(scenes)
    for i in range(120):
        for q in range(len(KINDS) * len(COLOURS)):
            kind, asked = KINDS[q // len(COLOURS)], q % len(COLOURS)
            size = scenes.images.shape[-1]
            answer, decidable, objects = by_hand(scenes.boxes[i], scenes.shapes[i], size, kind, asked)
            assert questions.decidable[i, q] == decidable
            if decidable:
                assert ANSWERS[questions.answer[i, q]] == answer
                assert set(questions.depends_on[i, q].nonzero()[0]) == objects
    assert not questions.decidable.all()


def picked(seed, *numbers, n=100, **geometry):
    return pick(all_questions(draw(n, **geometry)), np.random.default_rng(seed), *numbers)


def test_picked_questions():
    chosen = picked(0, 2, 3)
    assert (chosen[:, :18].sum(1) == 2).all()
    assert (chosen[:, 18:].sum(1) == 3).all()
    # Fewer are a subset, and groups do not touch each other.
    assert not (picked(0, 2, 0) & ~picked(0, 5, 7)).any()
    assert np.array_equal(chosen, picked(0, 2, 0) | picked(0, 0, 3))
    assert np.array_equal(picked(0, 2, 3, n=30), chosen[:30])
    assert not np.array_equal(chosen, picked(1, 2, 3))
    assert picked(0, 2, 2, n=250).sum(0).min() > 10  # every question has its turn
    assert not (picked(0, 12, 12, n=200, **TIGHT) & ~all_questions(draw(200, **TIGHT)).decidable).any()
    decidable = np.zeros((2, 36), dtype=bool)
    decidable[[0, 0, 1, 1, 1, 1], [2, 7, 0, 20, 21, 22]] = True
    questions = Questions(np.zeros((2, 36), dtype=int), decidable, np.zeros((2, 36, 6), dtype=bool))
    assert np.array_equal(pick(questions, np.random.default_rng(0), 3, 3), decidable)


@pytest.fixture(scope="module")
def task():
    return shapes_task(260, n_valid=40, n_test=50, seed=3)


def test_task_has_its_numbers_classes_and_regions_and_is_the_same_again(task):
    for split, n in ((task.train, 260), (task.valid, 40), (task.test, 50)):
        assert (len(split.images), len(split), len(split.ids.unique())) == (n, 4 * n, 4 * n)
    assert task.class_names == ANSWERS
    assert task.regions == ImageGrid((8, 8), "zero")
    images = [image.numpy().tobytes() for split in (task.train, task.valid, task.test) for image in split.images]
    assert len(set(images)) == 350
    again = shapes_task(260, n_valid=40, n_test=50, seed=3)
    assert again.fingerprint() == task.fingerprint()
    assert torch.equal(again.train.images, task.train.images)
    assert shapes_task(260, n_valid=40, n_test=50, seed=4).fingerprint() != task.fingerprint()


def test_small_training_sets_are_the_beginning_of_larger_ones(task):
    small = shapes_task(CHUNK + 3, n_valid=40, n_test=50, seed=3)
    for name in ("ids", "label", "image_of", "tokens", "lengths", "boxes", "kind"):
        assert torch.equal(getattr(small.train, name), getattr(task.train, name)[: len(small.train)])
    assert torch.equal(small.train.images, task.train.images[: CHUNK + 3])
    assert torch.equal(small.test.ids, task.test.ids)
    fewer = shapes_task(70, n_valid=40, n_test=50, seed=3, relational=0, non_relational=1)
    assert set(fewer.train.ids.tolist()) < set(small.train.ids.tolist())


def test_question_image_boxes_and_answer_belong_together(task):
    batch, scenes = task.train.select(slice(0, 300)), draw(260, seed=3)
    assert np.array_equal(task.train.images, scenes.images)
    assert (batch.image.dtype, batch.image.min(), batch.image.max()) == (torch.float32, 0, 1)
    for i in range(len(batch)):
        scene, question = divmod(int(batch.ids[i]), 36)
        kind, asked = KINDS[question // 6], question % 6
        answer, _, objects = by_hand(scenes.boxes[scene], scenes.shapes[scene], 64, kind, asked)
        assert (KINDS[batch.kind[i]], task.class_names[batch.label[i]]) == (kind, answer)
        words = [task.words[word] for word in batch.tokens[i, : batch.lengths[i]].tolist()]
        assert " ".join(words) == words_of(kind, list(COLOURS)[asked])
        assert [word for word in words if word in COLOURS] == [list(COLOURS)[asked]]
        assert torch.equal(batch.image[i] * 255, torch.from_numpy(scenes.images[scene]).float())
        boxes = [scenes.boxes[scene][k].tolist() for k in sorted(objects)]
        assert batch.boxes[i].tolist() == boxes + [[0] * 4] * (6 - len(boxes))
        others = [scenes.boxes[scene][k].tolist() for k in sorted(set(range(6)) - objects)]
        assert batch.others[i].tolist() == others + [[0] * 4] * (6 - len(others))
    expected = np.stack([scenes.shapes == 0, scenes.shapes == 1], axis=-1)
    assert np.array_equal(task.train.presence.view(-1, 6, 2), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least 1, got 0"),
        ({"seed": -1}, "seed=-1"),
        ({"sides": (14, 10)}, r"sides=\(14, 10\)"),
        ({"sides": (2, 10)}, "3 <= sides"),
        ({"sides": (10, 70)}, "<= 64"),
        ({"gap": -1}, "gap=-1"),
        ({"sides": (25, 25)}, "no room for 6 objects of 25 to 25 pixels"),
        ({"grid": (7, 8)}, "7x8 cells does not divide 64x64"),
        ({"relational": 0, "non_relational": 0}, "not 0 of both, got non_relational=0, relational=0"),
        ({"relational": -1}, "relational=-1"),
        ({"non_relational": 13}, "non_relational=13"),
    ],
)
def test_bad_numbers(arguments, message):
    scenes = {"n", "sides", "gap", "seed"} & set(arguments)
    with pytest.raises(ValueError, match=message):
        draw(**{"n": 1} | arguments) if scenes else shapes_task(5, n_valid=5, n_test=5, **arguments)
