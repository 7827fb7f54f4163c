"""Does the map look at the true boxes?

Grid cells are numbered row by row; positions are in pixels, continuous, with the image's upper left corner at (0, 0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.attention import as_distribution
from ssan.metrics.checks import check_finite, check_same_shape, check_weights, precise

# Examples worked on together: bounds the memory of the elementary rectangles.
GROUP = 1024


def _check_boxes(boxes: Tensor, image_size: tuple[int, int], grid: tuple[int, int]) -> None:
    if boxes.dim() != 3 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must be (B, K, 4) with (x0, y0, x1, y1), got shape {tuple(boxes.shape)}")
    for name, value in (("image_size (H, W)", image_size), ("grid (rows, columns)", grid)):
        if len(value) != 2 or min(value) < 1:
            raise ValueError(f"{name} must be two numbers of at least 1, got {value}")
    check_finite(boxes=boxes)
    height, width = image_size
    x0, y0, x1, y1 = boxes.unbind(-1)
    outside = (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height)
    flat = ((x1 <= x0) | (y1 <= y0)) & (boxes != 0).any(-1)
    for wrong, what in (
        (outside, f"lies outside the image of height {height} and width {width}"),
        (flat, "has no area: expected x0 < x1 and y0 < y1, or all zero for an unused slot"),
    ):
        if bool(wrong.any()):
            row, slot = wrong.nonzero()[0].tolist()
            raise ValueError(f"box {slot} of example {row}, {boxes[row, slot].tolist()}, {what}")


def box_map(boxes: Tensor, image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """How much of each grid cell the boxes cover: the true region map.

    `area(cell ∩ (box_1 ∪ box_2 ∪ …)) / area(cell)`, exact also for overlapping boxes and for edges inside a cell: the
    edges of boxes and cells cut the image into rectangles, each of which is either covered or not.

    Args:
        boxes: (B, K, 4), (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; slots of zeros are unused.
        image_size: (height, width) in pixels.
        grid: (rows, columns); need not divide the image.

    Returns:
        (B, R) in [0, 1], R = rows * columns, in the dtype of `boxes`; all zero for examples without boxes.

    Raises:
        ValueError: on another shape, NaN, a box outside the image or without area.
    """
    _check_boxes(boxes, image_size, grid)
    dtype = boxes.dtype if boxes.is_floating_point() else torch.get_default_dtype()
    covers = [_cover(part, image_size, grid) for part in precise(boxes).split(GROUP)]
    return torch.cat(covers).flatten(1).to(dtype)


def _intervals(low: Tensor, high: Tensor, side: int, cells: int) -> tuple[Tensor, Tensor]:
    """Cut an axis at all edges: which boxes hold each interval (B, K, N), and its share of each cell (B, N, cells)."""
    edges = torch.arange(cells + 1, dtype=low.dtype, device=low.device) * (side / cells)
    cuts = torch.cat([low, high, edges.expand(len(low), -1)], 1).sort(1).values
    middle = ((cuts[:, 1:] + cuts[:, :-1]) / 2).contiguous()
    held = (middle[:, None] >= low[..., None]) & (middle[:, None] < high[..., None])
    owner = (torch.searchsorted(edges, middle, right=True) - 1).clamp(0, cells - 1)
    share = torch.nn.functional.one_hot(owner, cells) * (cuts.diff(dim=1) * (cells / side))[..., None]
    return held.to(low.dtype), share


def _cover(boxes: Tensor, image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    x0, y0, x1, y1 = boxes.unbind(-1)
    held_x, share_x = _intervals(x0, x1, image_size[1], grid[1])
    held_y, share_y = _intervals(y0, y1, image_size[0], grid[0])
    covered = (held_y.mT @ held_x > 0).to(boxes.dtype)
    return (share_y.mT @ covered @ share_x).clamp(0, 1)


def box_distribution(boxes: Tensor, image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The true region map as a distribution: what the oracle is supervised with.

    `box_map / Σ box_map` (B, R); uniform for examples without boxes, for which all metrics of boxes are NaN. Arguments
    and errors as of `box_map`.
    """
    return as_distribution(box_map(boxes, image_size, grid))


def _check_box_map(attention: Tensor, box_map: Tensor) -> None:
    check_same_shape(attention=attention, box_map=box_map)
    check_weights(attention=attention)
    check_finite(box_map=box_map)
    if bool(((box_map < 0) | (box_map > 1)).any()):
        raise ValueError(
            f"box_map must be the share of each cell that is covered, in [0, 1]; "
            f"it runs from {float(box_map.min()):.4g} to {float(box_map.max()):.4g}"
        )


def mass_in_box(attention: Tensor, box_map: Tensor) -> Tensor:
    """Share of the attention that lies on the boxes.

    `Σ_r a_r m_r / Σ_r a_r`: the weight of a cell counts by the share of it that is covered. Range [0, 1], higher is
    better; a uniform map gets the share of the image that is covered. Sensitive to the temperature of the attention and
    to how the grid meets the boxes. Source: the energy-based pointing game of Wang et al. 2020 (Score-CAM).

    Args:
        attention, box_map: (B, R), non-negative; the second from `box_map`.

    Returns:
        (B,) float64; NaN for examples without boxes.

    Raises:
        ValueError: on shapes that do not match, NaN, negative or missing weight, a box map outside [0, 1].
    """
    _check_box_map(attention, box_map)
    weights, cover = precise(attention), precise(box_map)
    mass = (weights * cover).sum(-1) / weights.sum(-1)
    return torch.where(cover.sum(-1) > 0, mass, torch.nan)


def _pointed(attention: Tensor, boxes: Tensor, image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The centre (x, y) of the cell with the most weight, (B, 1, 2); the lowest index of equals. Checks what is given.

    Raises:
        ValueError: as `box_map`, or if the attention does not fit the grid or is no map.
    """
    _check_boxes(boxes, image_size, grid)
    check_weights(attention=attention)
    if attention.shape != (len(boxes), grid[0] * grid[1]):
        raise ValueError(
            f"attention has shape {tuple(attention.shape)}, expected ({len(boxes)}, {grid[0] * grid[1]}): "
            f"one row per example with boxes, one region per cell of the grid {tuple(grid)}"
        )
    cell = precise(attention).argmax(-1, keepdim=True)
    y = (precise(cell // grid[1]) + 0.5) * (image_size[0] / grid[0])
    x = (precise(cell % grid[1]) + 0.5) * (image_size[1] / grid[1])
    return torch.stack([x, y], -1)


def _aside(centre: Tensor, boxes: Tensor) -> Tensor:
    """How far points (B, 1, 2) lie beside boxes (B, K, 4), in x and in y: (B, K, 2), infinite for unused slots."""
    low, high = precise(boxes).split(2, -1)
    aside = torch.maximum(low - centre, centre - high).clamp(min=0)
    return aside.masked_fill((high <= low).any(-1, keepdim=True), torch.inf)


def pointing(
    attention: Tensor,
    boxes: Tensor,
    image_size: tuple[int, int],
    grid: tuple[int, int],
    *,
    tolerance: float | None = None,
) -> Tensor:
    """The pointing game: 1 if the maximum of the map points at a box, else 0.

    The centre of the cell with the most weight must lie in a box, or no further than `tolerance` from one. Values 0
    and 1, higher is better. Equal maxima: the lowest index is taken, so a uniform map points at the upper left cell.
    Sensitive to `tolerance` and to the grid: a box smaller than a cell may hold no centre at all, and many networks see
    half a cell beside the cell that is drawn (`registration_offset`). Source: Zhang et al. 2016 (Excitation Backprop),
    who allow 15 pixels.

    Args:
        attention: (B, R), non-negative.
        boxes, image_size, grid: as in `box_map`.
        tolerance: Euclidean distance in pixels; None is half the shorter side of a cell, 0 is strict.

    Returns:
        (B,) float64; NaN for examples without boxes.

    Raises:
        ValueError: as `box_map`; if the attention does not fit the grid or is no map; on a negative tolerance.
    """
    centre = _pointed(attention, boxes, image_size, grid)
    if tolerance is None:
        tolerance = min(image_size[0] / grid[0], image_size[1] / grid[1]) / 2
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be a distance in pixels of at least 0, got {tolerance}")
    aside = _aside(centre, boxes)
    # Boxes are open to the right and below: without a tolerance, a centre on that edge lies outside.
    near = (aside == 0).all(-1) & (centre < precise(boxes)[..., 2:]).all(-1)
    hit = near | ((aside.norm(dim=-1) <= float(tolerance)) & (tolerance > 0) & aside.isfinite().all(-1))
    used = (boxes[..., 2] > boxes[..., 0]).any(-1)
    return torch.where(used, precise(hit.any(-1)), torch.nan)


def selection(
    attention: Tensor, boxes: Tensor, others: Tensor, image_size: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """1 if the object nearest to where the map points is a right one, else 0: which object, however registered.

    Distance is that of a box from the centre of the cell with the most weight (`pointing`), 0 inside; equally near
    counts as right. Blind to being off by less than half the gap between objects. Our design.

    Args:
        attention, boxes, image_size, grid: as in `pointing`.
        others: (B, J, 4), the boxes of the other objects; slots of zeros are unused.

    Returns:
        (B,) float64; NaN for examples without boxes, or without others.

    Raises:
        ValueError: as `pointing`, also of `others`.
    """
    _check_boxes(others, image_size, grid)
    centre = _pointed(attention, boxes, image_size, grid)
    if len(others) != len(boxes):
        raise ValueError(f"others are of {len(others)} examples, boxes of {len(boxes)}")
    none = centre.new_full((len(boxes), 1), torch.inf)  # so that there is a smallest one where there are no slots
    right, wrong = (torch.cat([_aside(centre, b).norm(dim=-1), none], 1).amin(1) for b in (boxes, others))
    return torch.where(right.isfinite() & wrong.isfinite(), precise(right <= wrong), torch.nan)


def offset(attention: Tensor, boxes: Tensor, image_size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """By how much the map points beside a box it is near: centre of the cell - centre of the nearest box, in pixels.

    Near is a cell's centre at most one cell's width beside the box and at most one cell's height above or below it;
    the nearest box is that of the smallest distance (`selection`), the first of equals. Of a map that follows the
    objects the mean is 0; a constant one is an error of registration. Our design.

    Args:
        attention, boxes, image_size, grid: as in `pointing`.

    Returns:
        (B, 2) float64, x (positive: right of the box's centre) and y (below it); NaN where no box is near.

    Raises:
        ValueError: as `pointing`.
    """
    centre = _pointed(attention, boxes, image_size, grid)
    boxes = torch.cat([precise(boxes), centre.new_zeros(len(boxes), 1, 4)], 1)  # an unused slot, so that there is one
    aside = _aside(centre, boxes)
    row, nearest = torch.arange(len(boxes), device=boxes.device), aside.norm(dim=-1).argmin(1)
    low, high = boxes[row, nearest].split(2, -1)
    cell = centre.new_tensor([image_size[1] / grid[1], image_size[0] / grid[0]])
    near = (aside[row, nearest] <= cell).all(-1, keepdim=True)
    return torch.where(near, centre.squeeze(1) - (low + high) / 2, torch.nan)
