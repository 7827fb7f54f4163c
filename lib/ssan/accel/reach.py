"""How far layers look: which cells of a grid laid over an image a place of a feature map depends on.

A convolution whose kernel has k rows, with steps of s and p rows of padding, computes its row o from the rows s o - p
to s o - p + k - 1 of what it is given. Through a stack of layers that stays one stretch: row o depends on the image's
rows first + step o to last + step o. Padding is the same whatever the image shows, so what lies beyond the image does
not count. Kernels, steps and paddings are read off the layers; at a layer that is not known here the stack ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

# Layers that change every place of a map by itself; so does batch normalisation in evaluation mode.
POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity)


def leaves(layers: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested `nn.Sequential`s, in order."""
    if type(layers) is not nn.Sequential:
        yield layers
        return
    for layer in layers:
        yield from leaves(layer)


def is_constant_normalisation(layer: nn.Module) -> bool:
    """Whether it is batch normalisation by constants: in evaluation mode, with means that it has kept."""
    return type(layer) is nn.BatchNorm2d and not layer.training and layer.running_mean is not None


def is_zero_padded_convolution(layer: nn.Module) -> bool:
    """Whether it is a convolution whose padding is a number of zeros."""
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _along(value: int | tuple[int, int], axis: int) -> int:
    return value if isinstance(value, int) else value[axis]


@dataclass(frozen=True)
class Reach:
    """Along one axis: place o of a map depends on the pixels first + step o to last + step o.

    Attributes:
        size: how many places the map has.
        step, first, last: in pixels; of the image itself 1, 0, 0.
    """

    size: int
    step: int = 1
    first: int = 0
    last: int = 0

    def through(self, layer: nn.Module, axis: int) -> Reach | None:
        """The reach behind one more layer, or None if the layer is not known here. Axis 0 are rows, 1 columns."""
        if type(layer) in POINTWISE or is_constant_normalisation(layer):
            return self
        if is_zero_padded_convolution(layer) or (type(layer) is nn.MaxPool2d and not layer.return_indices):
            dilation = _along(layer.dilation, axis)
        elif type(layer) is nn.AvgPool2d:
            dilation = 1
        else:
            return None
        if getattr(layer, "ceil_mode", False):
            return None
        kernel, stride, padding = (_along(value, axis) for value in (layer.kernel_size, layer.stride, layer.padding))
        width = dilation * (kernel - 1)
        return Reach(
            (self.size + 2 * padding - width - 1) // stride + 1,
            self.step * stride,
            self.first - self.step * padding,
            self.last + self.step * (width - padding),
        )

    def cells(self, cell: int, n_cells: int) -> list[tuple[int, int]]:
        """For every place the first and the last of `n_cells` cells, of `cell` pixels each, that it depends on."""
        starts = [self.first + self.step * place for place in range(self.size)]
        return [(max(0, start // cell), min(n_cells - 1, (start + self.last - self.first) // cell)) for start in starts]


def nearsighted(
    layers: Sequence[nn.Module], size: tuple[int, int], grid: tuple[int, int], most_cells: int
) -> tuple[int, list[list[tuple[int, int]]]]:
    """How many of `layers`, from the first on, depend on at most `most_cells` cells of a grid at every place.

    Args:
        layers: one after the other, in evaluation mode.
        size: (height, width) of the image.
        grid: (rows, columns) of the cells; must divide the image.
        most_cells: of the rectangle of cells that the furthest-looking place depends on.

    Returns:
        Their number; and of the map behind them, for rows and for columns, what `Reach.cells` says.
    """
    reach: list[Reach | None] = [Reach(side) for side in size]
    found, cells = 0, []
    for layer in layers:
        before, reach = reach, [along.through(layer, axis) for axis, along in enumerate(reach)]
        if None in reach:
            break
        if reach != before or not cells:
            own = [along.cells(side // n, n) for along, side, n in zip(reach, size, grid, strict=True)]
            if math.prod(widest(along) for along in own) > most_cells:
                break
            cells = own
        found += 1
    return found, cells


def widest(cells: list[tuple[int, int]]) -> int:
    """How many cells the furthest-looking place depends on, of what `Reach.cells` says."""
    return max(last - first + 1 for first, last in cells)
