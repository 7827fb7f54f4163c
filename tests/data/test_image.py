"""Cluttered Fashion-MNIST from files made up here: items whole in their boxes, fragments others' and off the item."""

import struct

import numpy as np
import pytest
import torch

from ssan.data import image
from ssan.data.image import CHUNK, FASHION, cluttered_fashion_task, scatter, shrink
from ssan.regions import ImageGrid


def flat_items(n, first=1):  # of one grey each, all different
    return np.repeat(np.arange(first, first + n, dtype=np.uint8), 256).reshape(n, 16, 16)


def random_items(n):
    return np.random.default_rng(0).integers(1, 256, (n, 16, 16)).astype(np.uint8)


def test_items_are_whole_in_their_boxes_and_one_fragment_is_a_cut_of_another_item():
    items = random_items(40)
    images, boxes, others = scatter(items, items, np.arange(40), seed=1, stream=0, n_fragments=1)
    assert images.shape == (40, 1, 64, 64)
    cuts = np.lib.stride_tricks.sliding_window_view(items, (8, 8), axis=(1, 2))
    for i, (canvas, ((x0, y0, x1, y1),)) in enumerate(zip(images[:, 0], boxes, strict=True)):
        assert np.array_equal(canvas[y0:y1, x0:x1], items[i])
        canvas[y0:y1, x0:x1] = 0
        ys, xs = canvas.nonzero()
        patch = canvas[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        assert patch.shape == (8, 8)
        assert others[i].tolist() == [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]
        assert (cuts == patch).all((-1, -2)).any((1, 2)).nonzero()[0].tolist() not in ([], [i])


def test_no_item_is_cluttered_by_itself_and_the_brighter_pixel_shows():
    images, boxes, _ = scatter(flat_items(3).repeat(50, 0), flat_items(3), np.arange(3).repeat(50), seed=0, stream=0)
    for i, (canvas, ((x0, y0, x1, y1),)) in enumerate(zip(images[:, 0], boxes, strict=True)):
        canvas[y0:y1, x0:x1] = 0
        assert set(np.unique(canvas)) - {0} == {1, 2, 3} - {1 + i // 50}
    # Items outside of the pool may have any fragment.
    outside = {"places": np.full(60, -1), "seed": 0, "stream": 0}
    images, *_ = scatter(flat_items(60), flat_items(2, first=200), n_fragments=40, **outside)
    assert all({200, 201} <= set(np.unique(canvas)) for canvas in images)
    assert (images == 201).sum() > 1.2 * (images == 200).sum()


def test_few_are_the_first_of_many_items_are_everywhere_and_streams_differ():
    items, few = random_items(2 * CHUNK + 30), CHUNK + 20
    many = scatter(items, items, np.arange(len(items)), seed=5, stream=1, n_fragments=3)
    first = scatter(items[:few], items, np.arange(few), seed=5, stream=1, n_fragments=3)
    assert all(np.array_equal(a, b[:few]) for a, b in zip(first, many, strict=True))
    for other in ({"seed": 6, "stream": 1}, {"seed": 5, "stream": 2}):
        _, boxes, _ = scatter(items[:50], items, np.arange(50), **other)
        assert (boxes == many[1][:50]).all((1, 2)).mean() < 0.1
    assert (many[1][:CHUNK] == many[1][CHUNK : 2 * CHUNK]).all((1, 2)).mean() < 0.1
    corners = many[1][:, 0, :2]
    assert (corners.min(), corners.max()) == (0, 48)
    assert abs(corners.mean(0) - 24).max() < 2


def test_shrinking_averages():
    checkers = (torch.arange(28)[:, None] + torch.arange(28)) % 2 * 255
    small = shrink(torch.stack([checkers, torch.full((28, 28), 77)]).to(torch.uint8), 14)
    assert small.dtype == torch.uint8
    assert (small[0, 1:-1, 1:-1].float() - 127.5).abs().max() < 2
    assert (small[1] == 77).all()


def write_fashion(root, counts=(90, 40)):
    """Random items whose labels are their place modulo ten, in IDX files where torchvision looks for them."""
    raw, items = root / "FashionMNIST/raw", []
    raw.mkdir(parents=True)
    for name, n in zip(("train", "t10k"), counts, strict=True):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 28, 28)).astype(np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, n, 28, 28) + pixels.tobytes())
        labels = (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, n) + labels.tobytes())
        items.append(shrink(torch.from_numpy(pixels), 16))
    return items


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    return (root := tmp_path_factory.mktemp("fashion")), *write_fashion(root)


def clutter(root, n_train=50, **arguments):
    return cluttered_fashion_task(n_train, root=root, **{"n_valid": 20, "n_test": 30, "seed": 1} | arguments)


def test_every_canvas_shows_an_item_of_its_label(fashion):
    root, train_items, test_items = fashion
    task, shown = clutter(root), []
    for split, items in ((task.train, train_items), (task.valid, train_items), (task.test, test_items)):
        places = []
        for canvas, (x0, y0, x1, y1) in zip(split.images[:, 0], split.boxes[:, 0].long().tolist(), strict=True):
            places += (items == canvas[y0:y1, x0:x1]).all((1, 2)).nonzero().squeeze(1).tolist()
        assert len(set(places)) == len(places) == len(split)
        assert [place % 10 for place in places] == split.label.tolist()
        shown.append(set(places))
    assert not shown[0] & shown[1]
    assert (task.class_names, task.regions) == (FASHION, ImageGrid((8, 8), "zero"))
    batch = task.test.select([0, 1, 2]).image
    assert (batch.shape, batch.dtype) == ((3, 1, 64, 64), torch.float32)
    assert batch.min() == 0
    assert 0.6 < batch.max() <= 1


def test_items_know_their_place_in_the_pool(fashion, monkeypatch):
    calls = []
    monkeypatch.setattr(image, "_POOL", 25)
    monkeypatch.setattr(
        image, "scatter", lambda *arrays, **numbers: calls.append(arrays) or scatter(*arrays, **numbers)
    )
    clutter(fashion[0])
    for (items, pool, places), n in zip(calls, (50, 20, 30), strict=True):
        assert places.tolist() == [i if i < 25 else -1 for i in range(n)]
        assert all(np.array_equal(pool[place], item) for item, place in zip(items, places, strict=True) if place >= 0)


def test_subsets_are_nested_and_the_task_is_the_same_again(fashion):
    task, small = clutter(fashion[0]), clutter(fashion[0], 13)
    for name in ("ids", "label", "images", "boxes", "others"):
        assert torch.equal(getattr(small.train, name), getattr(task.train, name)[:13])
    assert torch.equal(small.test.images, task.test.images)
    assert clutter(fashion[0]).fingerprint() == task.fingerprint() != clutter(fashion[0], seed=2).fingerprint()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_train": 71}, r"n_train must be in \[1, 70\], got 71"),
        ({"n_test": 41}, r"n_test must be in \[1, 40\], got 41"),
        ({"n_valid": 0}, r"n_valid must be in"),
        ({"n_valid": 91}, r"n_train must be in"),
        ({"seed": -1}, "seed must not be negative"),
        ({"grid": (6, 8)}, "6x8 cells does not divide 64x64"),
        ({"size": 31, "grid": (1, 1)}, "do not fit a canvas of 31"),
        ({"fragment": 17}, "fragments of 17 pixels"),
        ({"fragment": 0}, "1 <= fragment"),
        ({"n_fragments": -1}, "-1 fragments"),
        ({"n_valid": 89, "n_train": 1}, "needs at least 2, it has 1"),
    ],
)
def test_bad_numbers(fashion, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        clutter(fashion[0], **arguments)
    with pytest.raises(FileNotFoundError, match="no Fashion-MNIST under"):
        clutter(tmp_path)
