"""Paints variants of images over where a mask hides them, reading every image once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Variants painted at a time: their pixels should stay in the processor's cache.
BLOCK = 16


def _stretches(rows: Tensor) -> Iterator[tuple[Tensor | int, slice]]:
    """Where to paint at a time, and the image (or images) it is of."""
    if rows.device.type != "cpu":
        yield rows, slice(None)  # One kernel for everything; looking at the rows would wait for the device.
        return
    values, start = rows.tolist(), 0
    for stop in range(1, len(values) + 1):
        if stop == len(values) or values[stop] != values[start] or stop - start == BLOCK:
            yield values[start], slice(start, stop)
            start = stop


def paint(image: Tensor, fill: Tensor, rows: Tensor, pixels: Tensor) -> Tensor:
    """Variants of images: what the mask keeps is the image's, the rest the fill's.

    Variants of one image that stand together are painted from that image where it lies, instead of from copies of it.

    Args:
        image: (B, channels, H, W) float.
        fill: what hidden pixels show; of the same type, broadcastable to the images.
        rows: (N,) int64 in [0, B), which image each variant is of.
        pixels: (N, H, W) bool, True = kept; or float32 m in [0, 1]: then m * image + (1 - m) * fill, computed in
            float32 (float64 for float64 images) and rounded once to the type of the image.

    Returns:
        (N, channels, H, W) of the type of the image.
    """
    fill, pixels = fill.expand(image.shape), pixels[:, None]
    wide = torch.promote_types(image.dtype, torch.float32)
    out = image.new_empty(len(rows), *image.shape[1:])
    # Straight into its place where nobody asks for a gradient and the types are the same.
    direct = not (torch.is_grad_enabled() and (image.requires_grad or fill.requires_grad)) and image.dtype == wide
    for row, where in _stretches(rows):
        mask = pixels[where]
        room = out[where] if direct and isinstance(where, slice) else None
        if mask.dtype == torch.bool:
            painted = torch.where(mask, image[row], fill[row], out=room)
        else:
            painted = torch.mul(mask, image[row].to(wide), out=room).add_((1 - mask) * fill[row].to(wide))
        if room is None:
            out[where] = painted
    return out


def enlarge(cells: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Masks (N, rows x columns) of the cells of `grid` as masks (N, H, W) of the pixels of `size`."""
    tall, wide = size[0] // grid[0], size[1] // grid[1]
    return cells.unflatten(1, tuple(grid)).repeat_interleave(tall, 1).repeat_interleave(wide, 2)
