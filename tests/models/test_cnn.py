"""Checked images, grids, and sums of attention maps."""

import pytest
import torch

from ssan.models.cnn import GridCNN, cells, checked_image, halvings
from tests.helpers import sentences
from tests.models.grids import pictures


def test_halvings():
    for size, grid, n in (((64, 64), (8, 8), 3), ((32, 16), (8, 4), 2), ((8, 8), (8, 8), 0)):
        assert halvings(size, grid) == n
        assert GridCNN(1, size, grid, width=8).eval()(torch.rand(2, 1, *size)).shape == (2, 8, *grid)
    for size, grid in (((64, 64), (7, 8)), ((64, 32), (8, 8)), ((48, 48), (8, 8)), ((4, 4), (8, 8))):
        with pytest.raises(ValueError, match=f"{grid[0]}x{grid[1]} grid cannot be made from {size[0]}x{size[1]}"):
            halvings(size, grid)


def test_a_cell_sees_what_lies_in_it():
    """A pixel reaches its own cell and two on every side of it: four convolutions, three with strides."""
    cnn = GridCNN(1, (32, 32), (4, 4), width=8).eval()
    with torch.no_grad():
        for parameter in cnn.parameters():
            parameter.abs_()  # so that no path is shut and none takes away what another gives
    image = torch.zeros(1, 1, 32, 32)
    for row, column in ((0, 3), (3, 0), (0, 0)):
        changed = image.clone()
        changed[0, 0, 8 * row + 4, 8 * column + 4] = 1
        difference = (cnn(image) - cnn(changed)).abs().sum(1)[0]
        far = torch.ones(4, 4, dtype=torch.bool)
        far[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = False
        assert difference[row, column] > 0
        assert difference[far].abs().max() == 0


def test_cells_are_numbered_row_by_row():
    assert cells(torch.arange(24).view(1, 2, 3, 4))[0, 5].tolist() == [5, 17]


def test_good_images_pass_as_they_are():
    batch = pictures()
    large = batch.replace(image=torch.full_like(batch.image, 3e38))  # their sum is infinite, none of them is
    assert checked_image(large, 3, (16, 16)) is large.image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(6, 3, 32, 32), "built for 3x16x16 images, the batch has 3x32x32"),
        (torch.rand(6, 1, 16, 16), "the batch has 1x16x16"),
        (torch.zeros(6, 3, 16, 16, dtype=torch.uint8), "Batch.image must be floating point, got torch.uint8"),
        (None, "needs a batch with images"),
    ],
)
def test_strange_images(image, message):
    with pytest.raises(ValueError, match=message):
        checked_image(pictures().replace(image=image) if image is not None else sentences([[2, 3]]), 3, (16, 16))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_pixels_that_are_no_numbers(value):
    batch = pictures()
    batch.image[2, 1, 3, 4] = batch.image[5, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"NaN or infinite pixels \(example ids \[42, 45\]\)"):
        checked_image(batch, 3, (16, 16))
