"""Samplers that keep or hide one window of regions after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssan.variants import Sampler, Variants, pair, whole


@dataclass(frozen=True)
class _Windows(Sampler):
    """Windows at every `stride`-th place, and a last one that ends with the input.

    Along a line of n regions they start at 0, stride, 2 stride, … and at n - window, so that every region is in one
    where stride <= window; on a grid likewise along rows and columns, row by row.
    """

    window: int | tuple[int, int]
    grid: tuple[int, int] | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        whole("stride", self.stride, 1)
        if self.grid is None:
            whole("window (without a grid)", self.window, 1)
            return
        pair("grid", self.grid)
        pair("window (on a grid)", self._sides())
        if any(side > room for side, room in zip(self._sides(), self.grid, strict=True)):
            raise ValueError(f"a window of {self.window} does not fit into the grid {self.grid}")
        if self._sides() == self.grid:
            raise ValueError(f"a window of {self.window} is all of the grid {self.grid}: make it smaller")

    def _sides(self) -> tuple[int, int]:
        return (self.window, self.window) if isinstance(self.window, int) else self.window

    def _places(self, n, window: int):
        """How many windows there are along a line of `n` > window regions."""
        return (n - window + self.stride - 1) // self.stride + 1

    def variants_of(self, n):
        if self.grid is not None:
            rows, columns = (self._places(room, side) for room, side in zip(self.grid, self._sides(), strict=True))
            return 0 * n + rows * columns
        return self._places(n, self.window) * (n > self.window)

    def _inside(self, of: Variants) -> Tensor:
        place = of.index[:, None] - 1
        if self.grid is None:
            start = torch.minimum(place * self.stride, of.n[:, None] - self.window)
            return (of.region >= start) & (of.region < start + self.window)
        (rows, columns), (height, width) = self.grid, self._sides()
        across = self._places(columns, width)
        top = (place // across * self.stride).clamp(max=rows - height)
        left = (place % across * self.stride).clamp(max=columns - width)
        row, column = of.region // columns, of.region % columns
        return (row >= top) & (row < top + height) & (column >= left) & (column < left + width)


@dataclass(frozen=True)
class KeepWindows(_Windows):
    """Keeps one window and hides everything else.

    Args:
        window: number of consecutive regions (text), or with a `grid` its side or (rows, columns) in cells.
        grid: (rows, columns) of the cells, or None for regions in a line.
        stride: distance of the windows, >= 1. A last window ends with the input, whatever the stride.

    An input of no more than `window` regions has the clean variant only: hiding nothing is no variant.
    """

    def kept(self, of):
        return self._inside(of)


@dataclass(frozen=True)
class HideWindows(_Windows):
    """Hides one window and keeps everything else (occlusion).

    Args:
        window: number of consecutive regions (text), or with a `grid` its side or (rows, columns) in cells.
        grid: (rows, columns) of the cells, or None for regions in a line.
        stride: distance of the windows, >= 1. A last window ends with the input, whatever the stride.

    An input of no more than `window` regions has the clean variant only: hiding everything would leave nothing.
    """

    def kept(self, of):
        return ~self._inside(of)
