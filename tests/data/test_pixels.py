"""Splits of bytes: what is selected, and what is refused."""

import pytest
import torch

from ssan.data.pixels import ImageSplit, as_float, check_grid
from tests.helpers import generator


def fields():
    g = generator(0)
    return {
        "ids": torch.arange(6) + 100,
        "label": torch.randint(3, (6,), generator=g),
        "images": torch.randint(256, (4, 3, 8, 8), generator=g, dtype=torch.uint8),
        "image_of": torch.randint(4, (6,), generator=g),
        "tokens": torch.randint(9, (6, 5), generator=g),
        "lengths": torch.tensor([1, 2, 5, 3, 2, 2]),
        "boxes": torch.tensor([[[0.0, 1, 8, 8], [0, 0, 0, 0]]]).repeat(6, 1, 1),
        "others": torch.tensor([[[0.0, 0, 2, 1]]]).repeat(6, 1, 1),
        "kind": torch.arange(6),
    }


@pytest.mark.parametrize("rows", [[4, 0], slice(1, 5), torch.tensor([3, 3, 1]), torch.tensor([True] + [False] * 5)])
def test_select_row_by_row(rows):
    values = fields()
    batch = ImageSplit(**values).select(rows)
    chosen = torch.arange(6)[rows] if not isinstance(rows, list) else torch.tensor(rows)
    assert len(batch) == len(chosen)
    for i, row in enumerate(chosen.tolist()):
        assert torch.equal(batch.image[i], values["images"][values["image_of"][row]] / 255)
        for name in ("ids", "label", "lengths", "boxes", "others", "kind"):
            assert torch.equal(getattr(batch, name)[i], values[name][row])
        assert torch.equal(batch.tokens[i], values["tokens"][row, : batch.tokens.shape[1]])
    assert batch.tokens.shape[1] == values["lengths"][chosen].max()


def test_a_part_selects_what_the_whole_selects_and_features_go_with_their_images():
    whole = ImageSplit(**fields(), presence=torch.rand(4, 3), features=torch.rand(4, 6, 2))
    rows = torch.tensor([5, 0, 3])
    part, batch = whole.part(rows), whole.select(rows)
    assert torch.equal(batch.features, whole.features[whole.image_of[rows]])
    assert batch.image is None
    assert len(part.images) == len(part.presence) == len(whole.image_of[rows].unique())
    for name in ("ids", "label", "features", "boxes", "others", "tokens", "lengths", "kind"):
        assert torch.equal(getattr(part.select(slice(0, 3)), name), getattr(batch, name)), name
    assert torch.equal(part.presence[part.image_of], whole.presence[whole.image_of[rows]])


def test_only_images_and_normalisation():
    values = {name: value for name, value in fields().items() if name in ("ids", "label", "images", "image_of")}
    split = ImageSplit(**values)
    batch = split.select([1])
    assert (batch.tokens, batch.boxes, batch.features) == (None, None, None)
    assert batch.image.dtype == torch.float32
    assert torch.equal(split.part(torch.tensor([1])).select([0]).image, batch.image)
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
        ({"label": torch.zeros(5, dtype=torch.long)}, "label describes 5 examples, there are 6"),
        ({"kind": torch.zeros(7, dtype=torch.long)}, "kind describes 7 examples, there are 6"),
        ({"image_of": torch.tensor([0, 1, 2, 3, 4, 0])}, "runs from 0 to 4, but there are 4 images"),
        ({"image_of": torch.tensor([0, 1, 2, 3, -1, 0])}, "runs from -1 to 3"),
        ({"presence": torch.zeros(6, 2)}, "presence describes 6 images, there are 4"),
        ({"features": torch.rand(3, 6, 2)}, "features describes 3 images, there are 4"),
        ({"mean": (0.5, 0.5)}, "mean has 2 numbers for 3 channels"),
        ({"boxes": torch.zeros(6, 4)}, r"must be \(N, K, 4\)"),
        ({"others": torch.ones(6, 2, 4)}, r"box \[1.0, 1.0, 1.0, 1.0\] of example 100 does not lie"),
        ({"others": torch.zeros(5, 2, 4)}, "others describes 5 examples, there are 6"),
    ],
)
def test_bad_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        ImageSplit(**fields() | changes)


@pytest.mark.parametrize(
    "box", [[0, 0, 9, 8], [-1, 0, 4, 4], [0, 0, 8, 8.5], [3, 3, 3, 6], [5, 0, 2, 4], [0, 0, float("nan"), 4]]
)
def test_bad_boxes_are_named(box):
    values = fields()
    values["boxes"][3, 1] = torch.tensor(box)
    with pytest.raises(ValueError, match="of example 103 does not lie in its 8x8 image"):
        ImageSplit(**values)


@pytest.mark.parametrize("grid", [(3, 8), (8, 3), (0, 8)])
def test_grids_that_do_not_divide(grid):
    with pytest.raises(ValueError, match=f"{grid[0]}x{grid[1]} cells does not divide 64x64"):
        check_grid(grid, (64, 64))
