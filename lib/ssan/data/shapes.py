"""Scenes of coloured circles and squares, in the manner of Sort-of-CLEVR, with the box of every object.

After the data set of Santoro et al. 2017, "A simple neural network module for relational reasoning"; drawn anew here,
with colours that colour-blind readers can tell apart (Okabe and Ito) on a black ground.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (213, 94, 0),
    "yellow": (240, 228, 66),
    "green": (0, 158, 115),
    "blue": (0, 114, 178),
    "purple": (204, 121, 167),
    "white": (255, 255, 255),
}
SHAPES = ("circle", "square")

# Scenes are drawn in chunks, each from its own stream, so that n scenes are always the first n of any larger number.
CHUNK = 250
_PROPOSALS = 8192
_MAX_TRIALS = 100


class Scenes(NamedTuple):
    """N scenes of one object per colour; object k has the k-th colour of `COLOURS`."""

    images: np.ndarray  # (N, 3, size, size) uint8
    boxes: np.ndarray  # (N, 6, 4) int64, (x0, y0, x1, y1) in pixels, x1 and y1 exclusive
    shapes: np.ndarray  # (N, 6) int64, index into `SHAPES`


def scene_chunks(
    n: int, seed: int, stream: int, *, size: int = 64, sides: tuple[int, int] = (10, 14), gap: int = 2
) -> Iterator[tuple[Scenes, np.random.Generator]]:
    """Draw `n` scenes chunk by chunk; each comes with the generator that goes on where the drawing stopped.

    Args:
        n: how many scenes in all, at least 1.
        seed, stream: name the data set and the split; scenes of different streams are drawn independently.
        size, sides: of the images; smallest and largest of an object, both included; in pixels.
        gap: pixels that must lie between two objects' boxes.

    Yields:
        (scenes, generator): up to 250 scenes. Scene i depends on (seed, stream, i) and the geometry alone.

    A ValueError if a number is out of range, or six such objects do not fit into the image.
    """
    if n < 1:
        raise ValueError(f"the number of scenes must be at least 1, got {n}")
    if seed < 0 or stream < 0:
        raise ValueError(f"seed and stream must not be negative, got seed={seed}, stream={stream}")
    if not 3 <= sides[0] <= sides[1] <= size or gap < 0:
        raise ValueError(f"expected 3 <= sides[0] <= sides[1] <= {size} and gap >= 0, got sides={sides}, gap={gap}")
    for start in range(0, n, CHUNK):
        generator = np.random.default_rng([seed, stream, start // CHUNK])
        boxes = _place(generator, CHUNK, size, sides, gap)
        shapes = generator.integers(len(SHAPES), size=boxes.shape[:2])
        boxes, shapes = boxes[: n - start], shapes[: n - start]
        yield Scenes(draw(boxes, shapes, size), boxes, shapes), generator


def draw(boxes: np.ndarray, shapes: np.ndarray, size: int) -> np.ndarray:
    """Boxes (N, 6, 4), shapes (N, 6) -> (N, 3, size, size) uint8. A circle touches the sides of its box; hard edges."""
    pixel = np.arange(size) + 0.5
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)[..., None]
    in_x, in_y = (pixel > x0) & (pixel < x1), (pixel > y0) & (pixel < y1)
    from_x, from_y = (pixel - (x0 + x1) / 2) ** 2, (pixel - (y0 + y1) / 2) ** 2
    inside = in_y[..., None] & in_x[..., None, :]
    round_ = from_y[..., None] + from_x[..., None, :] <= ((x1 - x0) / 2)[..., None] ** 2
    covered = inside & (round_ | (shapes == SHAPES.index("square"))[..., None, None])
    palette = np.array(list(COLOURS.values()), dtype=np.uint8)
    images = np.zeros((len(boxes), size, size, 3), dtype=np.uint8)
    for k, colour in enumerate(palette):
        images[covered[:, k]] = colour
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


def _place(generator: np.random.Generator, n: int, size: int, sides: tuple[int, int], gap: int) -> np.ndarray:
    """(n, 6, 4) boxes, uniform among all placements without overlap: whole scenes are proposed and rejected."""
    first, second = np.triu_indices(len(COLOURS), 1)
    accepted = np.empty((0, len(COLOURS), 4), dtype=np.int64)
    for trial in range(_MAX_TRIALS):
        if trial == 5 and not len(accepted):
            break  # not one in 40,000: it would take forever, or never end
        side = generator.integers(sides[0], sides[1] + 1, size=(_PROPOSALS, len(COLOURS)))
        corner = (generator.random((_PROPOSALS, len(COLOURS), 2)) * (size - side[..., None] + 1)).astype(np.int64)
        boxes = np.concatenate([corner, corner + side[..., None]], axis=-1)
        a, b = boxes[:, first], boxes[:, second]
        apart = (a[..., :2] >= b[..., 2:] + gap) | (b[..., :2] >= a[..., 2:] + gap)
        accepted = np.concatenate([accepted, boxes[apart.any(-1).all(-1)]])
        if len(accepted) >= n:
            return accepted[:n]
    raise ValueError(
        f"no room for {len(COLOURS)} objects of {sides[0]} to {sides[1]} pixels with gaps of {gap} in a "
        f"{size}x{size} image: take a larger image or smaller objects"
    )
