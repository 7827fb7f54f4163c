"""Canvases: the item is whole and where its box says, fragments are others' and keep off it."""

import numpy as np
import pytest
import torch

from ssan.data.clutter import CHUNK, scatter, shrink


def flat_items(n, side=16, first=1):
    """Items of one grey each, all different."""
    return np.repeat(np.arange(first, first + n, dtype=np.uint8), side * side).reshape(n, side, side)


def random_items(n, side=16, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (n, side, side)).astype(np.uint8)


def inside(box):
    x0, y0, x1, y1 = box
    return slice(y0, y1), slice(x0, x1)


def test_items_are_whole_in_their_boxes():
    items = random_items(60)
    canvases = scatter(items, items, np.arange(60), seed=0, stream=0)
    assert canvases.images.shape == (60, 1, 64, 64)
    assert canvases.boxes.shape == (60, 1, 4)
    for image, box, item in zip(canvases.images[:, 0], canvases.boxes[:, 0], items, strict=True):
        assert np.array_equal(image[inside(box)], item)


def test_one_fragment_is_a_cut_of_another_item():
    items = random_items(40)
    canvases = scatter(items, items, np.arange(40), seed=1, stream=0, n_fragments=1)
    for i, (image, box) in enumerate(zip(canvases.images[:, 0], canvases.boxes[:, 0], strict=True)):
        rest = image.copy()
        rest[inside(box)] = 0
        ys, xs = rest.nonzero()
        patch = rest[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        assert patch.shape == (8, 8)
        cuts = np.lib.stride_tricks.sliding_window_view(items, (8, 8), axis=(1, 2))
        assert (cuts == patch).all((-1, -2)).any((1, 2)).nonzero()[0].tolist() not in ([], [i])


def test_no_item_is_cluttered_by_itself():
    items = flat_items(3)
    canvases = scatter(items.repeat(50, axis=0), items, np.arange(3).repeat(50), seed=0, stream=0)
    for i, (image, box) in enumerate(zip(canvases.images[:, 0], canvases.boxes[:, 0], strict=True)):
        rest = image.copy()
        rest[inside(box)] = 0
        assert set(np.unique(rest)) - {0} == {1, 2, 3} - {1 + i // 50}


def test_items_outside_of_the_pool_may_have_any_fragment():
    canvases = scatter(flat_items(60), flat_items(2, first=200), np.full(60, -1), seed=0, stream=0)
    assert all({200, 201} <= set(np.unique(image)) for image in canvases.images)


def test_overlapping_fragments_show_the_brighter_pixel():
    one = scatter(flat_items(30), flat_items(2, first=100), np.full(30, -1), seed=0, stream=0, n_fragments=40)
    dark = (one.images[:, 0] == 100).sum()
    bright = (one.images[:, 0] == 101).sum()
    assert bright > 1.2 * dark


def test_few_are_the_first_of_many_and_streams_differ():
    items = random_items(2 * CHUNK + 30)
    own = np.arange(len(items))
    many = scatter(items, items, own, seed=5, stream=1)
    few = scatter(items[: CHUNK + 20], items, own[: CHUNK + 20], seed=5, stream=1)
    assert np.array_equal(few.images, many.images[: CHUNK + 20])
    assert np.array_equal(few.boxes, many.boxes[: CHUNK + 20])
    for other in ({"seed": 6, "stream": 1}, {"seed": 5, "stream": 2}):
        assert (scatter(items[:50], items, own[:50], **other).boxes == many.boxes[:50]).all((1, 2)).mean() < 0.1


def test_items_are_everywhere():
    items = random_items(500)
    corners = scatter(items, items, np.arange(500), seed=0, stream=0, n_fragments=0).boxes[:, 0, :2]
    assert corners.min() == 0
    assert corners.max() == 48
    assert abs(corners.mean(0) - 24).max() < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 31}, "do not fit a canvas of 31"),
        ({"fragment": 17}, "fragments of 17 pixels"),
        ({"fragment": 0}, "1 <= fragment"),
        ({"n_fragments": -1}, "-1 fragments"),
        ({"pool": flat_items(1)}, "needs at least 2, it has 1"),
    ],
)
def test_bad_numbers(arguments, message):
    items = flat_items(4)
    with pytest.raises(ValueError, match=message):
        scatter(items, **{"pool": items, "own": np.arange(4), "seed": 0, "stream": 0} | arguments)


def test_shrinking_averages():
    checkers = (torch.arange(28)[:, None] + torch.arange(28)) % 2 * 255
    small = shrink(checkers[None].to(torch.uint8), 14)
    assert small.dtype == torch.uint8
    assert (small[0, 1:-1, 1:-1].float() - 127.5).abs().max() < 2
    assert torch.equal(shrink(torch.full((2, 28, 28), 77, dtype=torch.uint8), 16), torch.full((2, 16, 16), 77).byte())
