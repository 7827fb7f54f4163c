"""A sampler that hides whole blocks of cells: the masks of another sampler, drawn on a coarser grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ssan.variants import Sampler, Variants


@dataclass(frozen=True)
class Blocks(Sampler):
    """Lets a sampler see blocks of cells as its regions, while the model keeps its own finer grid. Our design.

    Example:
        >>> Blocks(Singles(), grid=(4, 4), blocks=(2, 2)).masks(16, 1, 0).view(4, 4)   # hides the upper left quarter
        tensor([[False, False,  True,  True],
                [False, False,  True,  True],
                [ True,  True,  True,  True],
                [ True,  True,  True,  True]])

    Args:
        sampler: draws the masks of the blocks; if it is made for a grid, for that of the blocks.
        grid: (rows, columns) of the cells.
        blocks: (rows, columns) of the blocks; must divide the grid.

    Raises:
        ValueError: if the blocks do not divide the grid, or the sampler is made for another number of blocks.
    """

    sampler: Sampler
    grid: tuple[int, int]
    blocks: tuple[int, int]

    def __post_init__(self) -> None:
        if any(side < 1 or room % side for side, room in zip(self.blocks, self.grid, strict=True)):
            raise ValueError(f"a grid of {self.grid} cells cannot be cut into {self.blocks} equal blocks")
        self.sampler.count(self._n)

    @property
    def _n(self) -> int:
        return self.blocks[0] * self.blocks[1]

    def variants_of(self, n):
        return 0 * n + self.sampler.variants_of(self._n)

    def kept(self, of):
        coarse = self.sampler.kept(Variants(torch.full_like(of.n, self._n), of.index, of.example_id, self._n))
        (rows, columns), (down, across) = self.grid, self.blocks
        place = of.region.clamp(max=rows * columns - 1)
        return coarse[:, place // columns * down // rows * across + place % columns * across // columns]
