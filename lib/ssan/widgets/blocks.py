"""A sampler that hides whole blocks of cells: the masks of another sampler, drawn on a coarser grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ssan.samplers import Sampler, Variants


@dataclass(frozen=True)
class Blocks(Sampler):
    """Lets a sampler see blocks of cells as its regions, while the model keeps its own finer grid. Our design.

    Example:
        >>> Blocks(Singles(), (2, 2)).masks(16, 1, 0, grid=(4, 4)).view(4, 4)   # hides the upper left quarter
        tensor([[False, False,  True,  True],
                [False, False,  True,  True],
                [ True,  True,  True,  True],
                [ True,  True,  True,  True]])

    Args:
        sampler: draws the masks of the blocks.
        blocks: (rows, columns) of the blocks; must divide the grid of the cells.

    A ValueError when used, if the blocks do not divide the grid, or the regions have none.
    """

    sampler: Sampler
    blocks: tuple[int, int]

    def n_variants(self, n, grid=None):
        if grid is None or any(side < 1 or room % side for side, room in zip(self.blocks, grid, strict=True)):
            raise ValueError(f"a grid of {grid} cells cannot be cut into {self.blocks} equal blocks")
        return 0 * n + self.sampler.count(self.blocks[0] * self.blocks[1], self.blocks) - 1

    def kept(self, variants):
        (rows, columns), (down, across) = variants.grid, self.blocks
        n = torch.full_like(variants.n, down * across)
        coarse = self.sampler.kept(Variants(n, variants.index, variants.example_id, down * across, self.blocks))
        place = variants.region.clamp(max=rows * columns - 1)
        return coarse[:, place // columns * down // rows * across + place % columns * across // columns]
