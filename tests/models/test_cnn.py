"""Checked images, grids, and sums of attention maps."""

import pytest
import torch

from ssan.models.cnn import GridCNN, ResidualUnit, as_grid, cells, checked_image, halvings, mass_on_grid
from ssan.seeding import seeded
from tests.helpers import generator, sentences
from tests.models.grids import pictures


@pytest.mark.parametrize(("size", "grid", "n"), [((64, 64), (8, 8), 3), ((32, 16), (8, 4), 2), ((8, 8), (8, 8), 0)])
def test_halvings(size, grid, n):
    assert halvings(size, grid) == n
    assert GridCNN(1, size, grid, width=8).eval()(torch.rand(2, 1, *size)).shape == (2, 8, *grid)


@pytest.mark.parametrize(
    ("size", "grid"), [((64, 64), (7, 8)), ((64, 32), (8, 8)), ((48, 48), (8, 8)), ((4, 4), (8, 8))]
)
def test_grids_that_halving_does_not_reach(size, grid):
    with pytest.raises(ValueError, match=f"{grid[0]}x{grid[1]} grid cannot be made from {size[0]}x{size[1]}"):
        halvings(size, grid)


def test_cells_are_numbered_row_by_row():
    features = torch.arange(24).view(1, 2, 3, 4)
    assert cells(features)[0, 5].tolist() == [5, 17]
    assert torch.equal(as_grid(cells(features), (3, 4)), features)


def test_a_cell_sees_what_lies_in_it():
    """A pixel reaches its own cell, one cell before it and two behind: four convolutions, three with strides."""
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
        far[max(row - 1, 0) : row + 3, max(column - 1, 0) : column + 3] = False
        assert difference[row, column] > 0
        assert difference[far].abs().max() == 0


def test_mass_is_summed():
    maps = torch.rand(3, 8, 12, generator=generator(0))
    summed = mass_on_grid(maps, (4, 3))
    for b in range(3):
        for r in range(4):
            for c in range(3):
                expected = sum(maps[b, y, x] for y in (2 * r, 2 * r + 1) for x in range(4 * c, 4 * c + 4))
                assert summed[b, 3 * r + c] == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(mass_on_grid(maps, (8, 12)), maps.flatten(1))
    with pytest.raises(ValueError, match="8x12 cells cannot be summed into a grid of 3x3"):
        mass_on_grid(maps, (3, 3))


def test_residual_units_start_from_their_input():
    unit = ResidualUnit(4, 4).eval()
    torch.nn.init.zeros_(unit.conv_2.weight)
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(unit(x), x)
    assert ResidualUnit(4, 6, stride=2)(x).shape == (2, 6, 3, 3)


@pytest.mark.parametrize("size", [8, 9])
def test_the_shortcut_of_a_strided_unit_is_a_strided_convolution(size):
    with seeded(4):
        unit = ResidualUnit(4, 6, stride=2).double().eval()
    x = torch.randn(3, 4, size, size, generator=generator(1), dtype=torch.double, requires_grad=True)
    active = torch.relu(unit.norm_1(x))
    rest = unit.conv_2(torch.relu(unit.norm_2(unit.conv_1(active))))
    expected = torch.nn.functional.conv2d(active, unit.shortcut.weight, stride=2) + rest
    torch.testing.assert_close(unit(x), expected)
    weights = torch.randn(expected.shape, generator=generator(2), dtype=torch.double)
    ours, plain = (torch.autograd.grad((y * weights).sum(), x, retain_graph=True)[0] for y in (unit(x), expected))
    torch.testing.assert_close(ours, plain)


def test_strided_units_of_a_large_image_survive_their_backward_pass():
    """The size at which a strided 1x1 convolution of torch 2.14.1 corrupts memory on processors with AVX-512."""
    with seeded(5):
        unit = ResidualUnit(8, 8, stride=2)
    for _ in range(3):
        x = (
            torch.randn(32, 8, 64, 64, generator=generator(3))
            .to(memory_format=torch.channels_last)
            .requires_grad_(True)
        )
        unit(x).sum().backward()
        assert torch.isfinite(x.grad).all()


def test_good_images_pass_as_they_are():
    batch = pictures()
    assert checked_image(batch, 3, (16, 16)) is batch.image
    large = batch.replace(image=torch.full_like(batch.image, 3e38))
    assert checked_image(large, 3, (16, 16)) is large.image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(6, 3, 32, 32), "built for 3x16x16 images, the batch has 3x32x32"),
        (torch.rand(6, 1, 16, 16), "the batch has 1x16x16"),
        (torch.zeros(6, 3, 16, 16, dtype=torch.uint8), "images must be floats, got torch.uint8"),
    ],
)
def test_strange_images(image, message):
    with pytest.raises(ValueError, match=message):
        checked_image(pictures().replace(image=image), 3, (16, 16))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_pixels_that_are_no_numbers(value):
    batch = pictures()
    batch.image[2, 1, 3, 4] = value
    batch.image[5, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"NaN or infinite pixels \(example ids \[42, 45\]\)"):
        checked_image(batch, 3, (16, 16))


def test_no_images():
    with pytest.raises(ValueError, match="needs a batch with images"):
        checked_image(sentences([[2, 3]]), 3, (16, 16))
