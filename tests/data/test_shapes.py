"""Scenes: what is drawn, where it may lie, and that few are the first of many."""

import numpy as np
import pytest

from ssan.data.shapes import CHUNK, COLOURS, SHAPES, Scenes, draw, scene_chunks


def scenes(n, seed=0, stream=0, **geometry) -> Scenes:
    parts = [part for part, _ in scene_chunks(n, seed, stream, **geometry)]
    return Scenes(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "boxes", "shapes")))


def test_few_are_the_first_of_many():
    few, many = scenes(CHUNK + 7), scenes(2 * CHUNK + 1)
    for name in ("images", "boxes", "shapes"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[: CHUNK + 7])


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": 1}])
def test_seeds_and_streams_differ(other):
    assert not (scenes(40).boxes == scenes(40, **other).boxes).all((1, 2)).any()


def test_chunks_differ():
    boxes = scenes(2 * CHUNK).boxes
    assert not (boxes[:CHUNK] == boxes[CHUNK:]).all((1, 2)).any()


@pytest.mark.parametrize(("sides", "gap", "size"), [((10, 14), 2, 64), ((5, 5), 0, 32)])
def test_objects_lie_inside_and_apart(sides, gap, size):
    for boxes in scenes(60, sides=sides, gap=gap, size=size).boxes:
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            assert x0 >= 0
            assert y0 >= 0
            assert x1 <= size
            assert y1 <= size
            assert x1 - x0 == y1 - y0
            assert sides[0] <= x1 - x0 <= sides[1]
            for u0, v0, u1, v1 in boxes[:i]:
                assert x0 - u1 >= gap or u0 - x1 >= gap or y0 - v1 >= gap or v0 - y1 >= gap


def test_places_sides_and_shapes_are_spread_evenly():
    found = scenes(1000)
    side = found.boxes[..., 2] - found.boxes[..., 0]
    centre = (found.boxes[..., :2] + found.boxes[..., 2:]) / 2
    assert abs(found.shapes.mean(0) - 0.5).max() < 0.06
    assert abs(centre.mean((0, 1)) - 32).max() < 0.7
    assert np.bincount(side.ravel(), minlength=15)[10:].min() > 500


def by_hand(boxes, shapes, size):
    """The same picture pixel by pixel."""
    image = np.zeros((3, size, size), dtype=np.uint8)
    for (x0, y0, x1, y1), shape, colour in zip(boxes, shapes, COLOURS.values(), strict=True):
        for y in range(y0, y1):
            for x in range(x0, x1):
                off = (x + 0.5 - (x0 + x1) / 2) ** 2 + (y + 0.5 - (y0 + y1) / 2) ** 2
                if SHAPES[shape] == "square" or off <= ((x1 - x0) / 2) ** 2:
                    image[:, y, x] = colour
    return image


def test_drawing_pixel_by_pixel():
    found = scenes(5, size=40, sides=(4, 7))
    assert np.array_equal(draw(found.boxes, found.shapes, 40), found.images)
    for image, boxes, shapes in zip(found.images, found.boxes, found.shapes, strict=True):
        assert np.array_equal(image, by_hand(boxes, shapes, 40))


def test_circles_touch_their_boxes_and_leave_the_corners():
    found = scenes(50)
    for image, boxes, shapes in zip(found.images, found.boxes, found.shapes, strict=True):
        for (x0, y0, x1, y1), shape in zip(boxes, shapes, strict=True):
            seen = image[:, y0:y1, x0:x1].any(0)
            assert seen.any(0).all()
            assert seen.any(1).all()
            assert seen[0, 0] == seen[-1, -1] == (SHAPES[shape] == "square")


def test_colours_are_distinct():
    colours = np.array(list(COLOURS.values())).astype(int)
    apart = abs(colours[:, None] - colours).sum(-1) + 999 * np.eye(len(colours), dtype=int)
    assert apart.min() > 100


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
    ],
)
def test_bad_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        scenes(**{"n": 1} | arguments)
