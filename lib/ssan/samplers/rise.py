"""Smooth random masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssan.samplers import rng
from ssan.samplers.base import Grid, Sampler, pair, whole
from ssan.samplers.random import check_random

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
    low, high = (flat.index_select(0, place).view(*position.shape, *nodes.shape[2:]) for place in (node, node + 1))
    return torch.lerp(low, high, rest.view(*rest.shape, *[1] * (nodes.dim() - 2)))


@dataclass(frozen=True)
class Rise(Sampler):
    """Smooth random masks: a coarse random grid, bilinearly enlarged and randomly shifted (RISE, Petsiuk et al. 2018).

    A lattice whose nodes are kept with probability `keep` is laid over the input, `cells` steps to a side, shifted by
    a random part of a step along each axis, and interpolated bilinearly. Two nodes more than steps are drawn along each
    axis, so that the mask has mean `keep` everywhere; RISE stretches its grid instead. Shifts and positions are rounded
    down to 1/1024 of a step, which makes the mask exact arithmetic.

    Args:
        n_masks: number of random masks, >= 1; the clean input comes on top.
        cells: lattice steps along each side (along the line for text), >= 1.
        keep: probability that a node is kept, in (0, 1).
        seed: any int64.
    """

    n_masks: int
    cells: int = 7
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_random(self.n_masks, self.seed, self.keep)
        whole("cells", self.cells, 1)

    def n_variants(self, n, grid=None):  # noqa: ARG002
        return 0 * n + self.n_masks

    def _lattice(self, example_id: Tensor, index: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
        """(M, 2) shifts in units of 2**-LATTICE_BITS along rows and columns, and (M, nodes) float32, 0 or 1."""
        # The first four draws are for the shifts, so that where they are does not depend on the number of nodes.
        draws = rng.words(self.seed, example_id, index, 4 + nodes)
        kept = (draws[:, 4:] >> 8 < rng.threshold(self.keep)) | (index == 0)[:, None]
        return draws[:, :2] >> (32 - LATTICE_BITS), kept.to(torch.float32)

    def _columns(self, size: Grid, example_id: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The lattice interpolated along its columns only, (M, cells + 2, W), and the positions of the rows, (M, H)."""
        side = self.cells + 2
        shift, nodes = self._lattice(example_id, index, side * side)
        rows, columns = (
            lattice_positions(self.cells, n, torch.arange(n, device=index.device)) + shift[:, axis, None]
            for axis, n in enumerate(size)
        )
        return _interpolate(nodes.view(-1, side, side).transpose(1, 2), columns).transpose(1, 2).contiguous(), rows

    def kept(self, variants):
        """The smooth mask at the centres of the regions, kept where it is at least 0.5."""
        place = torch.minimum(variants.region, variants.n[:, None] - 1)
        if variants.grid is not None:
            field = _interpolate(*self._columns(variants.grid, variants.example_id, variants.index))
            return field.flatten(1).gather(1, place) >= 0.5
        shift, nodes = self._lattice(variants.example_id, variants.index, self.cells + 2)
        return _interpolate(nodes, lattice_positions(self.cells, variants.n[:, None], place) + shift[:, :1]) >= 0.5

    def shades(
        self, size: Grid, grid: Grid, indices: Tensor | list[int] | int, example_id: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        """The smooth masks themselves, at the centres of pixels, and their mean over each cell of a grid.

        Args:
            size: (H, W) of the image.
            grid: (rows, columns) of the cells; must divide the image.
            indices: (M,) int64, a list or an int in [0, n_masks]. Their device is the result's.
            example_id: an int or (M,) int64; any int64.

        Returns:
            (M, H, W) float32 in [0, 1], multiples of 2**-20: how much of each pixel is kept; and (M, rows x columns)
            float32 in [0, 1], how much of each cell. Index 0: all ones.

        A ValueError on an index that does not exist, an empty image, or a grid that does not divide it.
        """
        field = self._field(size, grid, indices, example_id)
        return _interpolate(*field), self._means(field, grid)

    def cell_means(self, size: Grid, grid: Grid, indices, example_id) -> Tensor:
        """The second of the two `shades` without making the first."""
        return self._means(self._field(size, grid, indices, example_id), grid)

    def pixel_masks(self, size: Grid, indices, example_id) -> Tensor:
        """The first of the two `shades` without making the second."""
        return _interpolate(*self._field(size, (1, 1), indices, example_id))

    def _field(self, size, grid, indices, example_id) -> tuple[Tensor, Tensor]:
        pair("grid", tuple(grid))
        pair("size", tuple(size))
        index, _, ids = self.arguments(1, indices, example_id, None)
        if size[0] % grid[0] or size[1] % grid[1]:
            raise ValueError(f"a grid of {grid[0]}x{grid[1]} cells does not divide a {size[0]}x{size[1]} image")
        return self._columns(size, ids, index)

    def _means(self, field: tuple[Tensor, Tensor], grid: Grid) -> Tensor:
        # Interpolation is linear in the nodes, so that rows and columns can be averaged one after the other.
        half, rows = field
        half = half.unflatten(2, (grid[1], -1)).mean(-1)
        return _interpolate(half, rows).unflatten(1, (grid[0], -1)).mean(2).flatten(1)
