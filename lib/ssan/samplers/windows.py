"""Samplers that keep or hide one window of regions after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssan.samplers.base import Grid, Sampler, Variants, pair, whole


@dataclass(frozen=True)
class _Windows(Sampler):
    """Windows at every `stride`-th place, and a last one that ends with the input.

    Along a line of n regions they start at 0, stride, 2 stride, … and at n - window, so that every region is in one
    where stride <= window; on a grid likewise along rows and columns, row by row. In a line of no more than `window`
    regions there is the clean variant only: hiding nothing is no variant, and hiding everything leaves nothing.

    Args:
        window: number of consecutive regions in a line; on a grid its side, or (rows, columns), in cells.
        stride: distance of the windows, >= 1. A last window ends with the input, whatever the stride.

    A ValueError on other numbers; when used, if a window of (rows, columns) meets regions without a grid, or the window
    does not fit into the grid, or is all of it.
    """

    window: int | tuple[int, int]
    stride: int = 1

    def __post_init__(self) -> None:
        whole("stride", self.stride, 1)
        if isinstance(self.window, tuple):
            pair("window", self.window)
        else:
            whole("window", self.window, 1)

    def _sides(self, grid: Grid) -> tuple[int, int]:
        sides = (self.window, self.window) if isinstance(self.window, int) else self.window
        if any(side > room for side, room in zip(sides, grid, strict=True)) or sides == tuple(grid):
            raise ValueError(f"a window of {self.window} does not fit into the grid {grid} with something beside it")
        return sides

    def _places(self, n, window: int):
        """How many windows there are along a line of `n` > window regions."""
        return (n - window + self.stride - 1) // self.stride + 1

    def n_variants(self, n, grid=None):
        if grid is not None:
            rows, columns = (self._places(room, side) for room, side in zip(grid, self._sides(grid), strict=True))
            return 0 * n + rows * columns
        if isinstance(self.window, tuple):
            raise ValueError(f"{self} needs regions on a grid, these stand in a line: say the window as one number")
        return self._places(n, self.window) * (n > self.window)

    def _inside(self, variants: Variants) -> Tensor:
        place, region = variants.index[:, None] - 1, variants.region
        if variants.grid is None:
            start = torch.minimum(place * self.stride, variants.n[:, None] - self.window)
            return (region >= start) & (region < start + self.window)
        (rows, columns), (height, width) = variants.grid, self._sides(variants.grid)
        across = self._places(columns, width)
        top = (place // across * self.stride).clamp(max=rows - height)
        left = (place % across * self.stride).clamp(max=columns - width)
        row, column = region // columns, region % columns
        return (row >= top) & (row < top + height) & (column >= left) & (column < left + width)


@dataclass(frozen=True)
class KeepWindows(_Windows):
    __doc__ = f"Keeps one window and hides everything else.\n\n    {_Windows.__doc__}"

    def kept(self, variants):
        return self._inside(variants)


@dataclass(frozen=True)
class HideWindows(_Windows):
    __doc__ = f"Hides one window and keeps everything else (occlusion).\n\n    {_Windows.__doc__}"

    def kept(self, variants):
        return ~self._inside(variants)
