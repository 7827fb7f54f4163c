"""What layers depend on, as read off their settings, against what changes when a pixel changes."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from ssan.accel.reach import Reach, leaves, nearsighted, widest
from ssan.models.cnn import GridCNN


@st.composite
def layer(draw):
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, kernel // 2))
    kind = draw(st.sampled_from(["convolution", "dilated", "average", "maximum", "pointwise"]))
    if kind == "average":
        return nn.AvgPool2d(kernel, stride, padding)
    if kind == "maximum":
        return nn.MaxPool2d(kernel, stride, padding, dilation=draw(st.integers(1, 2)))
    if kind == "pointwise":
        return draw(st.sampled_from([nn.ReLU(), nn.BatchNorm2d(1), nn.LeakyReLU()]))
    dilation = 2 if kind == "dilated" else 1
    made = nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=draw(st.booleans()))
    nn.init.constant_(made.weight, 0.3)
    return made


def depends(stack, side, size):
    """(size, side) bool: which rows of the output change when a row of the image does."""
    image = torch.rand(1, 1, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    changed = image.repeat(side + 1, 1, 1, 1)
    changed[torch.arange(side), :, torch.arange(side)] += 5
    with torch.no_grad():
        *found, before = stack(changed)
    assert before.shape[1] == size
    return ((torch.stack(found) - before).abs() > 1e-9).any(1).any(2).T


def reached(layers, side):
    reach = Reach(side)
    for one in layers:
        reach = reach.through(one, 0)
    return reach


@given(st.lists(layer(), max_size=4), st.integers(13, 17))
@settings(deadline=None, max_examples=80)
def test_nothing_changes_with_a_pixel_out_of_reach(layers, side):
    stack = nn.Sequential(*layers).eval().double()
    assume(all(reached(layers[:n], side).size > 0 for n in range(1, len(layers) + 1)))
    reach = reached(layers, side)
    for place, pixels in enumerate(depends(stack, side, reach.size)):
        first, last = reach.first + reach.step * place, reach.last + reach.step * place
        assert not pixels[: max(first, 0)].any()
        assert not pixels[max(last + 1, 0) :].any()


@pytest.mark.parametrize("kernels", [[(3, 2, 1)] * 3, [(5, 2, 2), (3, 1, 1)], [(2, 2, 0), (3, 1, 0)], [(4, 3, 1)]])
def test_the_ends_of_the_reach_are_reached(kernels):
    layers = [nn.Conv2d(1, 1, *kernel, bias=False) for kernel in kernels]
    for one in layers:
        nn.init.constant_(one.weight, 0.3)
    reach = reached(layers, 20)
    inside = 0
    for place, pixels in enumerate(depends(nn.Sequential(*layers).double(), 20, reach.size)):
        first, last = reach.first + reach.step * place, reach.last + reach.step * place
        if first >= 0 and last < 20:
            inside += 1
            assert pixels[first : last + 1].all()
    assert inside


def test_rows_and_columns_apart():
    wide = nn.Conv2d(1, 1, (3, 7), (1, 2), (1, 0), (1, 2))
    assert Reach(20).through(wide, 0) == Reach(20, 1, -1, 1)
    assert Reach(20).through(wide, 1) == Reach(4, 2, 0, 12)


@pytest.mark.parametrize(
    "unknown",
    [
        nn.BatchNorm2d(1).train(),
        nn.BatchNorm2d(1, track_running_stats=False).eval(),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Softmax(1),
        nn.Flatten(),
        type("Mine", (nn.ReLU,), {})(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_is_not_known(unknown):
    assert Reach(8).through(unknown, 0) is None
    assert nearsighted([nn.ReLU(), unknown, nn.ReLU()], (8, 8), (4, 4), 4)[0] == 1


def test_cells_are_those_of_the_stretch_of_pixels():
    reach = Reach(8, step=8, first=-7, last=7)
    for cell in (4, 8, 16, 32):
        n = 64 // cell
        for place, (first, last) in enumerate(reach.cells(cell, n)):
            pixels = [pixel for pixel in range(8 * place - 7, 8 * place + 8) if 0 <= pixel < 64]
            assert (first, last) == (min(pixels) // cell, max(pixels) // cell)
    assert widest(reach.cells(8, 8)) == 2
    assert widest(reach.cells(4, 16)) == 4


def test_leaves_of_nested_stacks():
    parts = [nn.ReLU(), nn.Tanh(), nn.ELU(), nn.Sigmoid()]
    nested = nn.Sequential(parts[0], nn.Sequential(nn.Sequential(parts[1]), nn.Sequential(), parts[2]), parts[3])
    assert list(leaves(nested)) == parts


@pytest.mark.parametrize(("side", "grid"), [(64, (8, 8)), (32, (8, 8)), (64, (4, 8)), (16, (8, 8))])
def test_the_strided_layers_of_a_grid_cnn_look_at_two_cells_each_way(side, grid):
    cnn = GridCNN(3, (side, side), (8, 8)).eval()
    every = list(leaves(cnn.layers))
    found, cells = nearsighted(every, (side, side), grid, 4)
    assert found == len(every) - 3  # all but the last convolution, its normalisation and its ReLU
    assert [len(along) for along in cells] == [8, 8]
    assert nearsighted(every, (side, side), grid, 3)[0] < found
    assert nearsighted(every, (side, side), (1, 1), 1)[0] == len(every)
