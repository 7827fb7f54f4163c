"""Does the map look at the true boxes?

Grid cells are numbered row by row; positions are in pixels, continuous, with the image's upper left corner at (0, 0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.attention import as_distribution
from ssan.data.pixels import check_boxes
from ssan.metrics.checks import check_finite, check_same_shape, check_weights, precise

# Examples worked on together: bounds the memory of the elementary rectangles.
GROUP = 1024
Size = tuple[int, int]


def _check_boxes(boxes: Tensor, image_size: Size, grid: Size) -> None:
    for name, value in (("image_size (H, W)", image_size), ("grid (rows, columns)", grid)):
        if len(value) != 2 or min(value) < 1:
            raise ValueError(f"{name} must be two numbers of at least 1, got {value}")
    check_finite(boxes=boxes)
    check_boxes(boxes, *image_size, torch.arange(len(boxes)))


def box_map(boxes: Tensor, image_size: Size, grid: Size) -> Tensor:
    """How much of each grid cell the boxes cover: the true region map.

    `area(cell ∩ (box_1 ∪ box_2 ∪ …)) / area(cell)`, exact also for overlapping boxes and for edges inside a cell: the
    edges of boxes and cells cut the image into rectangles, each of which is either covered or not.

    Args:
        boxes: (B, K, 4), (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; slots of zeros are unused.
        image_size: (height, width) in pixels.
        grid: (rows, columns); need not divide the image.

    Returns:
        (B, R) in [0, 1], R = rows * columns, in the dtype of `boxes`; all zero for examples without boxes.

    A ValueError on another shape, NaN, a box outside the image or without area.
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


def _cover(boxes: Tensor, image_size: Size, grid: Size) -> Tensor:
    x0, y0, x1, y1 = boxes.unbind(-1)
    held_x, share_x = _intervals(x0, x1, image_size[1], grid[1])
    held_y, share_y = _intervals(y0, y1, image_size[0], grid[0])
    covered = (held_y.mT @ held_x > 0).to(boxes.dtype)
    return (share_y.mT @ covered @ share_x).clamp(0, 1)


def box_distribution(boxes: Tensor, image_size: Size, grid: Size) -> Tensor:
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

    A ValueError on shapes that do not match, NaN, negative or missing weight, a box map outside [0, 1].
    """
    _check_box_map(attention, box_map)
    weights, cover = precise(attention), precise(box_map)
    mass = (weights * cover).sum(-1) / weights.sum(-1)
    return torch.where(cover.sum(-1) > 0, mass, torch.nan)


def _pointed(attention: Tensor, boxes: Tensor, image_size: Size, grid: Size) -> tuple[Tensor, Tensor, Tensor]:
    """Centres (x, y) of the most attended cells (B, 1, 2); boxes and one unused slot more (B, K + 1, 4); and how far
    the centres lie beside those in x and in y (B, K + 1, 2), 0 inside, infinite if unused."""
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
    centre, boxes = torch.stack([x, y], -1), torch.nn.functional.pad(precise(boxes), (0, 0, 0, 1))
    low, high = boxes.split(2, -1)
    aside = torch.maximum(low - centre, centre - high).clamp(min=0)
    return centre, boxes, aside.masked_fill((high <= low).any(-1, keepdim=True), torch.inf)


def pointing(
    attention: Tensor, boxes: Tensor, image_size: Size, grid: Size, *, tolerance: float | None = None
) -> Tensor:
    """The pointing game: 1 if the maximum of the map points at a box, else 0.

    The centre of the cell with the most weight must lie in a box, or no further than `tolerance` from one. Values 0
    and 1, higher is better. Equal maxima: the lowest index is taken, so a uniform map points at the upper left cell.
    Sensitive to `tolerance` and to the grid: a box smaller than a cell may hold no centre at all, and many networks see
    half a cell beside the cell as drawn (`registration_offset`). Source: Zhang et al. 2016 (Excitation Backprop), who
    allow 15 pixels.

    Args:
        attention: (B, R), non-negative.
        boxes, image_size, grid: as in `box_map`.
        tolerance: Euclidean distance in pixels; None is half the shorter side of a cell, 0 is strict.

    Returns:
        (B,) float64; NaN for examples without boxes.

    A ValueError as `box_map`; if the attention does not fit the grid or is no map; on a negative tolerance.
    """
    centre, boxes, aside = _pointed(attention, boxes, image_size, grid)
    if tolerance is None:
        tolerance = min(image_size[0] / grid[0], image_size[1] / grid[1]) / 2
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be a distance in pixels of at least 0, got {tolerance}")
    distance = aside.norm(dim=-1)
    inside = (distance == 0) & (centre < boxes[..., 2:]).all(-1)  # the right and lower edges lie outside
    hit = inside | ((distance <= float(tolerance)) & (tolerance > 0) & distance.isfinite())
    return torch.where(distance.isfinite().any(-1), precise(hit.any(-1)), torch.nan)


def selection(attention: Tensor, boxes: Tensor, others: Tensor, image_size: Size, grid: Size) -> Tensor:
    """1 if the box nearest to where the map points is one of `boxes`, 0 if of `others` (B, J, 4): which object it is.

    Near the centre of the most attended cell, that is; equally near counts as right. Insensitive to registration as
    far as objects lie apart. Our design. Arguments and errors as of `pointing`.

    Returns:
        (B,) float64; NaN for examples without boxes, or without others.
    """
    right, wrong = (_pointed(attention, each, image_size, grid)[2].norm(dim=-1).amin(1) for each in (boxes, others))
    return torch.where(right.isfinite() & wrong.isfinite(), precise(right <= wrong), torch.nan)


def offset(attention: Tensor, boxes: Tensor, image_size: Size, grid: Size) -> Tensor:
    """Centre of the most attended cell - centre of the nearest box (the first of equals), where that is near.

    Near is no further from the box than a cell's width in x and its height in y. In the mean over examples 0 for maps
    that follow the objects; else an error of registration. Our design. Arguments and errors as of `pointing`.

    Returns:
        (B, 2) float64, (x, y) in pixels, positive right of and below the box's centre; NaN where no box is near.
    """
    centre, boxes, aside = _pointed(attention, boxes, image_size, grid)
    row, nearest = torch.arange(len(boxes), device=boxes.device), aside.norm(dim=-1).argmin(1)
    cell = centre.new_tensor([image_size[1] / grid[1], image_size[0] / grid[0]])
    near = (aside[row, nearest] <= cell).all(-1, keepdim=True)
    return torch.where(near, centre[:, 0] - boxes[row, nearest].unflatten(1, (2, 2)).mean(1), torch.nan)
