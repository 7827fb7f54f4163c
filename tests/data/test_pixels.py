"""Splits of bytes: what is selected, and what is refused."""

import pytest
import torch

from ssan.data.pixels import ImageSplit, as_float, check_grid
from tests.helpers import generator


def fields(n=6, images=4, channels=3, size=8):
    g = generator(0)
    return {
        "ids": torch.arange(n) + 100,
        "label": torch.randint(3, (n,), generator=g),
        "images": torch.randint(256, (images, channels, size, size), generator=g, dtype=torch.uint8),
        "image_of": torch.randint(images, (n,), generator=g),
        "tokens": torch.randint(9, (n, 5), generator=g),
        "lengths": torch.tensor([1, 2, 5, 3, 2, 2])[:n],
        "boxes": torch.tensor([[[0.0, 1, 8, 8], [0, 0, 0, 0]]]).expand(n, 2, 4).clone(),
        "kind": torch.arange(n),
    }


@pytest.mark.parametrize("rows", [[4, 0], slice(1, 5), torch.tensor([3, 3, 1]), torch.tensor([True] + [False] * 5)])
def test_select_row_by_row(rows):
    of = fields()
    batch = ImageSplit(**of).select(rows)
    chosen = torch.arange(6)[rows] if not isinstance(rows, list) else torch.tensor(rows)
    assert len(batch) == len(chosen)
    for i, row in enumerate(chosen.tolist()):
        assert torch.equal(batch.image[i], of["images"][of["image_of"][row]] / 255)
        for name in ("ids", "label", "lengths", "boxes", "kind"):
            assert torch.equal(getattr(batch, name)[i], of[name][row])
        assert torch.equal(batch.tokens[i], of["tokens"][row, : batch.tokens.shape[1]])
    assert batch.tokens.shape[1] == of["lengths"][chosen].max()


def test_a_part_selects_what_the_whole_selects():
    whole = ImageSplit(**fields(), presence=torch.rand(4, 3), features=torch.rand(4, 6, 2))
    rows = torch.tensor([5, 0, 3])
    part = whole.part(rows)
    assert len(part.images) == len(part.presence) == len(whole.image_of[rows].unique())
    for name in ("ids", "label", "features", "boxes", "tokens", "lengths", "kind"):
        assert torch.equal(getattr(part.select(slice(0, 3)), name), getattr(whole.select(rows), name)), name
    for k, row in enumerate(rows.tolist()):
        assert torch.equal(part.presence[part.image_of[k]], whole.presence[whole.image_of[row]])
    bare = ImageSplit(torch.arange(2), torch.zeros(2, dtype=torch.long), fields()["images"], torch.tensor([3, 1]))
    assert torch.equal(bare.part(torch.tensor([1])).select([0]).image, bare.select([1]).image)


def test_features_go_with_their_images():
    of = fields() | {"features": torch.rand(4, 6, 2)}
    assert torch.equal(ImageSplit(**of).select([5, 0]).features, of["features"][of["image_of"][[5, 0]]])
    with pytest.raises(ValueError, match="features describes 3 images, there are 4"):
        ImageSplit(**of | {"features": torch.rand(3, 6, 2)})


def test_only_images():
    of = {name: value for name, value in fields().items() if name in ("ids", "label", "images", "image_of")}
    batch = ImageSplit(**of).select([0, 1])
    assert batch.tokens is None
    assert batch.boxes is None
    assert batch.image.dtype == torch.float32


def test_normalisation():
    split = ImageSplit(**fields(), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    pixel = split.images[split.image_of[2]][1, 3, 4].item()
    assert split.select([2]).image[0, 1, 3, 4].item() == pytest.approx((pixel / 255 - 0.2) / 0.25, rel=1e-5)
    assert torch.equal(as_float(split.images), split.images / 255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(4, 2, 8, 8, dtype=torch.uint8)}, r"1 or 3, H, W\), got shape \(4, 2, 8, 8\)"),
        ({"images": torch.zeros(4, 8, 8, dtype=torch.uint8)}, r"got shape \(4, 8, 8\)"),
        ({"images": torch.zeros(4, 3, 8, 8)}, "must be uint8 in .* got torch.float32"),
        ({"label": torch.zeros(5, dtype=torch.long)}, "label describes 5 examples, ids names 6"),
        ({"image_of": torch.tensor([0, 1, 2, 3, 4, 0])}, "runs from 0 to 4, but there are 4 images"),
        ({"image_of": torch.tensor([0, 1, 2, 3, -1, 0])}, "runs from -1 to 3"),
        ({"presence": torch.zeros(6, 2)}, "presence describes 6 images, there are 4"),
        ({"mean": (0.5, 0.5)}, "mean has 2 numbers for 3 channels"),
        ({"boxes": torch.zeros(6, 4)}, r"must be \(N, K, 4\)"),
    ],
)
def test_bad_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        ImageSplit(**fields() | changes)


@pytest.mark.parametrize(
    "box", [[0, 0, 9, 8], [-1, 0, 4, 4], [0, 0, 8, 8.5], [3, 3, 3, 6], [5, 0, 2, 4], [0, 0, float("nan"), 4]]
)
def test_bad_boxes_are_named(box):
    boxes = fields()["boxes"]
    boxes[3, 1] = torch.tensor(box)
    with pytest.raises(ValueError, match="of example 103 does not lie in its 8x8 image"):
        ImageSplit(**fields() | {"boxes": boxes})


@pytest.mark.parametrize("grid", [(3, 8), (8, 3), (0, 8)])
def test_grids_that_do_not_divide(grid):
    with pytest.raises(ValueError, match=f"{grid[0]}x{grid[1]} cells does not divide 64x64"):
        check_grid(grid, (64, 64))
