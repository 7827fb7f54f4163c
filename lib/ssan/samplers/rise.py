"""Smooth random masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssan import rng
from ssan.samplers.random import check_random
from ssan.variants import Sampler, pair, whole

# Positions on RISE's coarse lattice are fixed-point numbers with this many bits after the point: the product of two
# bilinear weights has 20, so sums of them are exact in float32 whatever the order, and equal on every device.
LATTICE_BITS = 10


def lattice_positions(cells: int, n: int | Tensor, places: Tensor) -> Tensor:
    """Where the centres of `places` out of `n` lie on a lattice of `cells` steps, in units of 2**-LATTICE_BITS."""
    return ((2 * places + 1) * (cells << LATTICE_BITS)) // (2 * n)


def _interpolate(nodes: Tensor, position: Tensor) -> Tensor:
    """Linear interpolation of `nodes` (M, K, …) at fixed-point positions (M, L): (M, L, …), without rounding."""
    each = torch.arange(len(nodes), device=nodes.device)[:, None] * nodes.shape[1]
    node, flat = ((position >> LATTICE_BITS) + each).flatten(), nodes.flatten(0, 1)
    rest = (position & ((1 << LATTICE_BITS) - 1)).to(torch.float32) * 0.5**LATTICE_BITS
    low, high = (flat.index_select(0, own).view(*position.shape, *nodes.shape[2:]) for own in (node, node + 1))
    return torch.lerp(low, high, rest.view(*rest.shape, *[1] * (nodes.dim() - 2)))


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
        check_random(self.n_masks, self.seed, self.keep)
        whole("cells", self.cells, 1)
        if self.grid is not None:
            pair("grid", self.grid)

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
        return self._means(self._field(size, grid, indices, example_id), grid)

    def shades(
        self, size: tuple[int, int], grid: tuple[int, int], indices: Tensor | list[int] | int, example_id: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """`pixel_masks` (M, H, W) and `cell_means` (M, rows x columns), drawn once for both. Arguments as of these."""
        field = self._field(size, grid, indices, example_id)
        return _interpolate(*field), self._means(field, grid)

    def _field(self, size, grid, indices, example_id) -> tuple[Tensor, Tensor]:
        """What `_columns` gives, once the grid is known to divide the image."""
        pair("grid", tuple(grid))
        ids, index = self._of_images(size, indices, example_id)
        if size[0] % grid[0] or size[1] % grid[1]:
            raise ValueError(f"a grid of {grid[0]}x{grid[1]} cells does not divide a {size[0]}x{size[1]} image")
        return self._columns(size, ids, index)

    def _means(self, field: tuple[Tensor, Tensor], grid: tuple[int, int]) -> Tensor:
        # Interpolation is linear in the nodes, so that rows and columns can be averaged one after the other.
        half, rows = field
        half = half.unflatten(2, (grid[1], -1)).mean(-1)
        return _interpolate(half, rows).unflatten(1, (grid[0], -1)).mean(2).flatten(1)

    def _of_images(self, size, indices, example_id) -> tuple[Tensor, Tensor]:
        pair("size", tuple(size))
        index, _, ids = self.arguments(self._cells() or 1, indices, example_id)
        return ids, index
