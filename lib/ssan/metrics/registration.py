"""Do the cells of attention lie over the pixels they speak of?"""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.attention import AttentionModel, evaluating
from ssan.metrics.checks import precise
from ssan.regions import Regions, default_regions
from ssan.task import Batch


def registration_offset(
    model: AttentionModel, batch: Batch, *, patch: int | tuple[int, int] | None = None, regions: Regions | None = None
) -> tuple[float, float]:
    """Centre of the cells as drawn - centroid of the pixels that their attention hangs on, by occlusion, in pixels.

    Patch by patch the images are painted over with their mean colour. What that changes of a cell's log attention,
    beyond the median change over the cells (the softmax's normaliser, effects on the whole image), is squared: the
    weight of the patch's centre in the cell's centroid. Cells at the border see a part only and are left out; the
    others count by their total weight. About 0 for cells drawn where they look; half a cell (less half a pixel) where
    3x3 convolutions of stride 2 and padding 1 make the grid. Sensitive to how the patches meet the cells. Our design.

    Args:
        model: run in evaluation mode, once for every patch; afterwards in the mode it was in.
        batch: examples with images, on the model's device; four are enough for an estimate to a pixel.
        patch: side in pixels, or (height, width); by default half a cell's. Those at the lower and right edge of the
            image are cut where patches do not divide it.
        regions: whose grid the attention covers; by default the model's, else those of the kind of data.

    Returns:
        (x, y): positive where cells are drawn right of, or below, the pixels they speak of.

    Raises:
        ValueError: without examples, images or a grid of at least 3x3 cells; on a bad patch; if the attention does not
            fit the grid, or hangs on no patch.
    """
    regions = regions or model.regions or default_regions(batch)
    grid, image = regions.grid, batch.image
    if image is None or not len(batch) or grid is None or min(grid) < 3:
        given = "without images" if image is None else f"of {len(batch)} examples"
        raise ValueError(f"expected images and a grid of at least 3x3 cells, got a batch {given} and {regions}")
    (height, width), (tall, wide) = image.shape[-2:], (image.shape[-2] / grid[0], image.shape[-1] / grid[1])
    step = (max(1, int(tall / 2)), max(1, int(wide / 2))) if patch is None else patch
    step = (step, step) if isinstance(step, int) else step
    if len(step) != 2 or min(step) < 1:
        raise ValueError(f"patch must be a side of at least 1 pixel, or (height, width), got {patch!r}")
    y, x = (torch.arange(1, n - 1, device=image.device) for n in grid)
    inner = (y[:, None] * grid[1] + x).flatten()
    centres = precise(torch.cartesian_prod(y, x).flip(1) + 0.5) * precise(torch.tensor([wide, tall])).to(inner.device)
    fill, total, moment = image.mean((-2, -1), keepdim=True), 0.0, 0.0
    with torch.no_grad(), evaluating([model]):
        clean = _logs(model, batch, image, grid)
        for top in range(0, height, step[0]):
            for left in range(0, width, step[1]):
                painted, bottom, right = image.clone(), min(top + step[0], height), min(left + step[1], width)
                painted[..., top:bottom, left:right] = fill
                change = _logs(model, batch, painted, grid) - clean
                change = change.masked_fill(~change.isfinite(), torch.nan)  # what was or became exactly 0 says nothing
                weight = (change - change.nanmedian(1, keepdim=True).values).square().nan_to_num(0)[:, inner].sum(0)
                total = total + weight.sum()
                moment = moment + weight @ (centres - centres.new_tensor([left + right, top + bottom]) / 2)
    if not total > 0:
        raise ValueError("hiding pixels changes no attention, so there is nothing to say of where it looks")
    return tuple((moment / total).tolist())


def _logs(model: AttentionModel, batch: Batch, image: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, R) float64: log attention of the model on the batch with other images."""
    attention = model.attention_map(model(batch.replace(image=image)))
    if attention.shape != (len(batch), grid[0] * grid[1]):
        raise ValueError(f"attention has shape {tuple(attention.shape)}, expected a region for every cell of {grid}")
    return precise(attention).log()
