"""Masked images in one go: sample the masks, enlarge them, fill, and write the variants.

On CUDA a Triton kernel does all of it in one pass over memory, without a mask in memory; elsewhere the plain path below
does, which is the definition of what the kernel computes. Both give the same bits for the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssan import regions
from ssan.regions import enlarge, paint
from ssan.samplers import RandomMasks, Rise, Sampler, rng
from ssan.samplers.base import pair

# Smooth masks that the plain path holds at a time.
BLOCK = 128

# What one program of the kernel holds (pixels times channels), how many programs are enough to keep a large GPU busy,
# and the most nodes that fit into the registers of a program. Reasoned, not measured.
TILE, PROGRAMS, MOST_NODES = 4096, 4096, 4096
KERNEL_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def masked_variants(
    image: Tensor,
    fill: Tensor,
    rows: Tensor,
    indices: Tensor,
    example_id: Tensor,
    sampler: RandomMasks | Rise,
    grid: tuple[int, int],
) -> Tensor:
    """Variants of images, painted over where the sampler hides them.

    The kept pixels of `RandomMasks` are the image's, the others the fill's. `Rise` mixes them: m * image + (1 - m) *
    fill with the smooth mask m, computed in float32 and rounded once to the type of the image. There is no gradient.

    Args:
        image: (B, channels, H, W) float; the kernel does float32, bfloat16 and float16, the plain path any.
        fill: what hidden pixels show, of the same type and broadcastable to the images.
        rows: (N,) int64, which image each variant is of; fastest if variants of one image stand together.
        indices: (N,) int64, which variant; 0 is the clean image.
        example_id: (B,) int64, the names of the images.
        sampler: `RandomMasks` over the cells of `grid`, or `Rise`.
        grid: (rows, columns) of the cells; must divide the image. `Rise` has its own lattice.

    Returns:
        (N, channels, H, W) of the type of the image.

    Raises:
        ValueError: if the sampler is of another kind, shapes do not fit, or a row or an index does not exist.
        RuntimeError: for images on a CUDA device where triton is not installed.
    """
    _check(image, fill, rows, indices, example_id, sampler, grid)
    smooth = isinstance(sampler, Rise)
    cells = (sampler.cells, sampler.cells) if smooth else tuple(grid)
    plan = Plan.make(image, len(rows), cells, smooth)
    if image.is_cuda and image.dtype in KERNEL_TYPES and plan.nodes <= MOST_NODES:
        threshold = rng.threshold(sampler.keep)
        return kernel().launch(image, fill, rows, indices, example_id, threshold, sampler.seed, plan)
    return plain(image, fill, rows, indices, example_id, sampler, grid)


def plain(image, fill, rows, indices, example_id, sampler, grid) -> Tensor:
    """The same in torch, on any device. Arguments as of `masked_variants`."""
    ids, size = example_id[rows], tuple(image.shape[2:])
    if not isinstance(sampler, Rise):
        cells = grid[0] * grid[1]
        kept = sampler.masks(cells, indices, ids, grid=grid, width=cells)
        return paint(image, fill, rows, enlarge(kept, grid, size))
    out = image.new_empty(len(rows), *image.shape[1:])
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        out[part] = paint(image, fill, rows[part], sampler.pixel_masks(size, indices[part], ids[part]))
    return out


def kernel():
    """The module with the Triton kernel.

    Raises:
        RuntimeError: if triton is not installed.
    """
    try:
        from ssan.kernels import mask_kernel
    except ImportError as error:
        raise RuntimeError(
            "masked variants on a CUDA device need triton, which is not installed here: `pip install triton`, or move "
            "the images to the CPU, where the plain path needs nothing"
        ) from error
    return mask_kernel


def _if_served(image, fill, rows, indices, example_id, sampler: Sampler, grid) -> Tensor | None:
    if type(sampler) not in (RandomMasks, Rise):
        return None
    return masked_variants(image, fill, rows, indices, example_id, sampler, grid)


regions.FUSED["cuda"] = _if_served


def _check(image, fill, rows, indices, example_id, sampler, grid) -> None:
    if type(sampler) not in (RandomMasks, Rise):
        raise ValueError(f"masked_variants draws the masks of RandomMasks and Rise, not of {sampler}")
    if image.dim() != 4 or not image.is_floating_point():
        raise ValueError(f"image must be float (B, channels, H, W), got {image.dtype} {tuple(image.shape)}")
    try:
        fits = torch.broadcast_shapes(fill.shape, image.shape) == image.shape
    except RuntimeError:
        fits = False
    if not fits or fill.dtype != image.dtype:
        raise ValueError(
            f"fill must be {image.dtype} and broadcast to the images {tuple(image.shape)}, "
            f"got {fill.dtype} {tuple(fill.shape)}"
        )
    if rows.dim() != 1 or rows.shape != indices.shape or example_id.shape != image.shape[:1]:
        raise ValueError(
            f"expected rows (N,), indices (N,) and example_id ({image.shape[0]},), got {tuple(rows.shape)}, "
            f"{tuple(indices.shape)} and {tuple(example_id.shape)}"
        )
    pair("grid", tuple(grid))
    if not isinstance(sampler, Rise) and (image.shape[2] % grid[0] or image.shape[3] % grid[1]):
        raise ValueError(f"a grid of {grid[0]}x{grid[1]} cells does not divide images {tuple(image.shape[2:])}")
    # One question to the device for a whole chunk.
    images, n_masks = image.shape[0], sampler.n_masks
    if bool(((rows < 0) | (rows >= images) | (indices < 0) | (indices > n_masks)).any()):
        raise ValueError(
            f"rows must be in [0, {images}) and indices in [0, {n_masks}], got rows {int(rows.min())} to "
            f"{int(rows.max())} and indices {int(indices.min())} to {int(indices.max())}"
        )


@dataclass(frozen=True)
class Plan:
    """How the kernel's work is cut into programs.

    Attributes:
        cells: cells, or lattice steps, along rows and columns.
        smooth: bilinear and shifted, else nearest.
        channels: power of two, at least as many as the image has.
        pixels: power of two, pixels of a tile.
        tiles: how many tiles cover an image.
        per_program: how many variants of its tile a program writes, one after the other.
    """

    cells: tuple[int, int]
    smooth: bool
    channels: int
    pixels: int
    tiles: int
    per_program: int

    @classmethod
    def make(cls, image: Tensor, n_variants: int, cells: Sequence[int], smooth: bool) -> Plan:
        """The plan for `n_variants` variants of images like `image` (B, channels, H, W)."""
        channels = _power_of_two(image.shape[1])
        pixels = min(1024, max(32, TILE // channels))
        tiles = -(-image.shape[2] * image.shape[3] // pixels)
        # Each further variant in a program saves reading the image again, as long as there are programs enough.
        per_program = max(1, min(64, n_variants * tiles // PROGRAMS))
        return cls((cells[0], cells[1]), smooth, channels, pixels, tiles, per_program)

    @property
    def nodes(self) -> int:
        """Power of two, at least as many as nodes are drawn."""
        beyond = 2 if self.smooth else 0
        return _power_of_two((self.cells[0] + beyond) * (self.cells[1] + beyond))


def _power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()
