"""Small items somewhere on a canvas among fragments of other items, in the manner of cluttered MNIST."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Canvases are drawn in chunks, each from its own stream, so that n canvases are the first n of any larger number.
CHUNK = 250


@dataclass(frozen=True)
class Canvases:
    """N canvases with one item each.

    Attributes:
        images: (N, 1, size, size) uint8.
        boxes: (N, 1, 4) int64, where the item was put: (x0, y0, x1, y1), x1 and y1 exclusive.
    """

    images: np.ndarray
    boxes: np.ndarray


def shrink(items: Tensor, side: int) -> Tensor:
    """(M, H, W) uint8 -> (M, side, side) uint8, bilinear with antialiasing."""
    small = F.interpolate(items[:, None].float(), size=(side, side), mode="bilinear", antialias=True)
    return small.squeeze(1).round().clamp(0, 255).to(torch.uint8)


def scatter(
    items: np.ndarray,
    pool: np.ndarray,
    own: np.ndarray,
    *,
    seed: int,
    stream: int,
    size: int = 64,
    n_fragments: int = 16,
    fragment: int = 8,
) -> Canvases:
    """Put each item at a random place of its own canvas, among fragments of other items.

    Fragments are square cuts of whole items, from random places; they keep off the item's box and, where they meet
    each other, the brighter pixel shows.

    Args:
        items: (N, side, side) uint8, the items.
        pool: (M, side, side) uint8, what fragments are cut from.
        own: (N,) the place of each item in the pool, so that none is cluttered by itself; -1 if it is not in there.
        seed: names the data set.
        stream: names the split; canvases of different streams are drawn independently.
        size: side of the canvas in pixels.
        n_fragments: fragments per canvas.
        fragment: their side in pixels.

    Returns:
        N canvases; canvas i depends on (seed, stream, i), item i and the pool alone.

    Raises:
        ValueError: if item and fragments do not fit on the canvas beside each other, or the pool is too small.
    """
    side = items.shape[-1]
    if not 1 <= fragment <= side or side + 2 * fragment > size or n_fragments < 0:
        raise ValueError(
            f"items of {side} and {n_fragments} fragments of {fragment} pixels do not fit a canvas of {size}: "
            "expected 1 <= fragment <= item and item + 2 fragments <= canvas"
        )
    if len(pool) < 2:
        raise ValueError(f"fragments come from other items: the pool needs at least 2, it has {len(pool)}")
    images = np.zeros((len(items), size, size), dtype=np.uint8)
    corners = np.empty((len(items), 2), dtype=np.int64)
    for start in range(0, len(items), CHUNK):
        generator = np.random.default_rng([seed, stream, start // CHUNK])
        here = slice(start, min(start + CHUNK, len(items)))
        n = here.stop - here.start
        # Numbers are always drawn for a whole chunk, so that a shorter last one repeats the beginning of a full one.
        corner = generator.integers(size - side + 1, size=(CHUNK, 2))
        corners[here] = corner[:n]
        for _ in range(n_fragments):
            inside = own[here] >= 0
            source = (generator.random(CHUNK)[:n] * (len(pool) - inside)).astype(np.int64)
            source += inside & (source >= own[here])  # passes over the item itself
            cut = generator.integers(side - fragment + 1, size=(CHUNK, 2))[:n]
            place = _beside(generator, corner, side, fragment, size)[:n]
            _brighten(images[here], place, _windows(pool, source, cut, fragment))
        _brighten(images[here], corners[here], items[here])
    boxes = np.concatenate([corners, corners + side], axis=1)[:, None]
    return Canvases(images[:, None], boxes)


def _beside(generator: np.random.Generator, item: np.ndarray, side: int, fragment: int, size: int) -> np.ndarray:
    """(CHUNK, 2) corners (x, y), uniform among the places where a fragment does not touch the item's box."""
    place = np.empty_like(item)
    sought = np.ones(len(item), dtype=bool)
    while sought.any():
        proposed = generator.integers(size - fragment + 1, size=item.shape)
        place[sought] = proposed[sought]
        sought &= ((place > item - fragment) & (place < item + side)).all(1)
    return place


def _windows(pool: np.ndarray, source: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    step = np.arange(side)
    return pool[source[:, None, None], corner[:, 1, None, None] + step[:, None], corner[:, 0, None, None] + step]


def _brighten(canvas: np.ndarray, corner: np.ndarray, patch: np.ndarray) -> None:
    """Write patches (n, side, side) at corners (x, y) into canvases (n, size, size), in place, the brighter wins."""
    step = np.arange(patch.shape[-1])
    at = (
        np.arange(len(canvas))[:, None, None],
        corner[:, 1, None, None] + step[:, None],
        corner[:, 0, None, None] + step,
    )
    canvas[at] = np.maximum(canvas[at], patch)
