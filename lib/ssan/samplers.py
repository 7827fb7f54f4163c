"""Which regions to hide: samplers number the variants of an input and give the mask of each.

A mask is a pure function of (seed, example, index, region). It does not depend on what else is asked for in the same
call, so a search can be cut into chunks, spread over processes and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssan import rng
from ssan.variants import Sampler, Variants, whole

# Positions on RISE's coarse lattice are fixed-point numbers with this many bits after the point: the product of two
# bilinear weights has 20, so sums of them are exact in float32 whatever the order, and equal on every device.
LATTICE_BITS = 10


def _random(n_masks: int, seed: int, keep: float = 0.5) -> None:
    whole("n_masks", n_masks, 1)
    if n_masks >= 2**32:
        raise ValueError(f"n_masks must be below 2**32, got {n_masks}")
    if not 0 < keep < 1:
        raise ValueError(f"keep is the probability that a region is kept and must lie between 0 and 1, got {keep!r}")
    rng.check_seed(seed)


def _pair(name: str, value, at_least: int = 1) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"{name} must be (rows, columns), got {value!r}")
    for side in value:
        whole(name, side, at_least)


@dataclass(frozen=True)
class Pairs(Sampler):
    """Hides two regions at a time: the paper's scheme for text, in the order of the released code's double loop.

    Index 1 hides regions 0 and 1, index 2 hides 0 and 2, and so on. An input of one region has the clean variant only.
    """

    def variants_of(self, n):
        return n * (n - 1) // 2

    @staticmethod
    def pair(n_regions: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Regions i < j that variant `index` >= 1 hides, exact for up to a million regions.

        Counted from the last pair backwards, the rows of the triangle of pairs hold 1, 2, 3, … pairs, so the row is
        found by a square root, whose rounding is put right in integers.
        """
        back = n_regions * (n_regions - 1) // 2 - index
        # float32, since not every device has float64; for a million regions it is off by less than one row.
        row = ((torch.sqrt((8 * back + 1).to(torch.float32)) - 1) / 2).long()
        row = torch.where(row * (row + 1) // 2 > back, row - 1, row)
        row = torch.where((row + 1) * (row + 2) // 2 <= back, row + 1, row)
        return n_regions - 2 - row, n_regions - 1 - (back - row * (row + 1) // 2)

    def kept(self, of):
        i, j = self.pair(of.n, of.index)
        return (of.region != i[:, None]) & (of.region != j[:, None])


@dataclass(frozen=True)
class Singles(Sampler):
    """Hides one region at a time (leave one out): index i hides region i - 1."""

    def variants_of(self, n):
        return n

    def kept(self, of):
        return of.region != of.index[:, None] - 1


@dataclass(frozen=True)
class RandomMasks(Sampler):
    """Keeps every region with probability `keep`, independently.

    Args:
        n_masks: number of random masks, >= 1; the clean input comes on top.
        keep: probability that a region is kept, in (0, 1); used to the nearest multiple of 2**-24.
        seed: any int64.
    """

    n_masks: int
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        _random(self.n_masks, self.seed, self.keep)

    def variants_of(self, n):
        return 0 * n + self.n_masks

    def kept(self, of):
        return rng.bernoulli(self.keep, self.seed, of.example_id, of.index, of.width)


@dataclass(frozen=True)
class KeepK(Sampler):
    """Keeps exactly min(k, n) of n regions, every such set being equally likely.

    Every region draws a random word and the k lowest win (of equal words the lower region).

    Args:
        n_masks: number of random masks, >= 1; the clean input comes on top.
        k: how many regions are kept, >= 1.
        seed: any int64.
    """

    n_masks: int
    k: int
    seed: int = 0

    def __post_init__(self) -> None:
        _random(self.n_masks, self.seed)
        whole("k", self.k, 1)

    def variants_of(self, n):
        return 0 * n + self.n_masks

    def kept(self, of):
        key = rng.words(self.seed, of.example_id, of.index, of.width).masked_fill(of.beyond, 2**32)
        winners = key.argsort(dim=1, stable=True)[:, : self.k]
        return torch.zeros_like(of.beyond).scatter(1, winners, True)


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
        _pair("grid", self.grid)
        _pair("window (on a grid)", self._sides())
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


def lattice_positions(cells: int, n: int | Tensor, places: Tensor) -> Tensor:
    """Where the centres of `places` out of `n` lie on a lattice of `cells` steps, in units of 2**-LATTICE_BITS."""
    return ((2 * places + 1) * (cells << LATTICE_BITS)) // (2 * n)


def _interpolate(nodes: Tensor, position: Tensor) -> Tensor:
    """Linear interpolation of `nodes` (M, K, …) at fixed-point positions (M, L): (M, L, …), without rounding."""
    node = position >> LATTICE_BITS
    rest = (position & ((1 << LATTICE_BITS) - 1)).to(torch.float32) * 0.5**LATTICE_BITS
    each = torch.arange(len(nodes), device=nodes.device)[:, None]
    return torch.lerp(nodes[each, node], nodes[each, node + 1], rest.view(*rest.shape, *[1] * (nodes.dim() - 2)))


@dataclass(frozen=True)
class Rise(Sampler):
    """Smooth random masks: a coarse random grid, bilinearly enlarged and randomly shifted (RISE, Petsiuk et al. 2018).

    A lattice whose nodes are kept with probability `keep` is laid over the input, `cells` steps to a side, shifted by
    a random part of a step along each axis. Between nodes the mask is interpolated bilinearly. Two nodes more than
    steps are drawn along each axis, so that the mask has mean `keep` everywhere; RISE stretches its grid instead.
    Shifts and positions are rounded down to 1/1024 of a step, which makes the mask exact arithmetic.

    Args:
        n_masks: number of random masks, >= 1; the clean input comes on top.
        cells: lattice steps along each side (along the line for text), >= 1.
        keep: probability that a node is kept, in (0, 1).
        seed: any int64.
        grid: (rows, columns) of the regions that `masks` speaks of, or None for regions in a line (text).
    """

    n_masks: int
    cells: int = 7
    keep: float = 0.5
    seed: int = 0
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _random(self.n_masks, self.seed, self.keep)
        whole("cells", self.cells, 1)
        if self.grid is not None:
            _pair("grid", self.grid)

    def variants_of(self, n):
        return 0 * n + self.n_masks

    def _lattice(self, example_id: Tensor, index: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
        """(M, 2) shifts in units of 2**-LATTICE_BITS along rows and columns, and (M, nodes) float32, 0 or 1."""
        # The first four draws are for the shifts, so that where they are does not depend on the number of nodes.
        draws = rng.words(self.seed, example_id, index, 4 + nodes)
        kept = (draws[:, 4:] >> 8 < rng.threshold(self.keep)) | (index == 0)[:, None]
        return draws[:, :2] >> (32 - LATTICE_BITS), kept.to(torch.float32)

    def _columns(self, size: tuple[int, int], example_id: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The lattice interpolated along its columns only, (M, cells + 2, W), and the positions of the rows, (M, H)."""
        side = self.cells + 2
        shift, nodes = self._lattice(example_id, index, side * side)
        rows, columns = (
            lattice_positions(self.cells, n, torch.arange(n, device=index.device)) + shift[:, axis, None]
            for axis, n in enumerate(size)
        )
        return _interpolate(nodes.view(-1, side, side).transpose(1, 2), columns).transpose(1, 2).contiguous(), rows

    def kept(self, of):
        """The smooth mask at the centres of the regions, kept where it is at least 0.5."""
        place = torch.minimum(of.region, of.n[:, None] - 1)
        if self.grid is not None:
            field = _interpolate(*self._columns(self.grid, of.example_id, of.index))
            return field.flatten(1).gather(1, place) >= 0.5
        shift, nodes = self._lattice(of.example_id, of.index, self.cells + 2)
        return _interpolate(nodes, lattice_positions(self.cells, of.n[:, None], place) + shift[:, :1]) >= 0.5

    def pixel_masks(self, size: tuple[int, int], indices: Tensor | list[int] | int, example_id: int | Tensor) -> Tensor:
        """The smooth masks themselves, at the centres of pixels.

        Args:
            size: (H, W) of the image.
            indices: (M,) int64, a list or an int in [0, n_masks]. Their device is the result's.
            example_id: an int or (M,) int64; any int64.

        Returns:
            (M, H, W) float32 in [0, 1], multiples of 2**-20: how much of each pixel is kept. Index 0: all ones.

        Raises:
            ValueError: on an index that does not exist, or an empty image.
        """
        return _interpolate(*self._columns(size, *self._of_images(size, indices, example_id)))

    def cell_means(
        self, size: tuple[int, int], grid: tuple[int, int], indices: Tensor | list[int] | int, example_id: int | Tensor
    ) -> Tensor:
        """The mean of `pixel_masks` over each cell of a grid laid over the image, without making the pixels.

        Args:
            size: (H, W) of the image.
            grid: (rows, columns) of the cells; must divide the image.
            indices: (M,) int64, a list or an int in [0, n_masks]. Their device is the result's.
            example_id: an int or (M,) int64; any int64.

        Returns:
            (M, rows x columns) float32 in [0, 1]: how much of each cell is kept. Index 0: all ones.

        Raises:
            ValueError: on an index that does not exist, an empty image, or a grid that does not divide it.
        """
        _pair("grid", tuple(grid))
        ids, index = self._of_images(size, indices, example_id)
        if size[0] % grid[0] or size[1] % grid[1]:
            raise ValueError(f"a grid of {grid[0]}x{grid[1]} cells does not divide a {size[0]}x{size[1]} image")
        # Interpolation is linear in the nodes, so that rows and columns can be averaged one after the other.
        half, rows = self._columns(size, ids, index)
        half = half.unflatten(2, (grid[1], -1)).mean(-1)
        return _interpolate(half, rows).unflatten(1, (grid[0], -1)).mean(2).flatten(1)

    def _of_images(self, size, indices, example_id) -> tuple[Tensor, Tensor]:
        _pair("size", tuple(size))
        index, _, ids = self.arguments(self._cells() or 1, indices, example_id)
        return ids, index
