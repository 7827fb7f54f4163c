"""Do the cells of attention lie over the pixels they speak of?"""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.attention import AttentionModel, evaluating
from ssan.metrics.checks import precise
from ssan.metrics.variants import fitting
from ssan.regions import Regions, default_regions
from ssan.task import Batch


def registration_offset(
    model: AttentionModel, batch: Batch, *, patch: int | None = None, regions: Regions | None = None
) -> tuple[float, float]:
    """Centre of the cells as drawn - centroid of the pixels that their attention hangs on, by occlusion, in pixels.

    Patch by patch the images are painted over with their mean colour. What that changes of a cell's log attention,
    beyond the median change over the cells (the softmax's normaliser, effects on the whole image), is squared: the
    weight of the patch's centre in the cell's centroid. Cells at the border see a part only and are left out; the
    others count by their total weight. About 0 for cells drawn where they look; half a cell (less half a pixel) where
    3x3 convolutions of stride 2 and padding 1 make the grid. Sensitive to how the patches meet the cells. Our design.

    Args:
        model: run once for every patch, in evaluation mode; afterwards in the mode it was in.
        batch: examples with images, on the model's device; four are enough for an estimate to a pixel.
        patch: side in pixels, by default half a cell's; cut at the edge of the image where patches do not divide it.
        regions: whose grid the attention covers; by default the model's, else those of the kind of data.

    Returns:
        (x, y): positive where cells are drawn right of, or below, the pixels they speak of.
        A ValueError without images or a grid of at least 3x3 cells, on a patch below 1, or if the attention does not
        fit the grid or hangs on no patch.
    """
    regions, image = regions or model.regions or default_regions(batch), batch.image
    grid = regions.grid
    if image is None or not len(batch) or grid is None or min(grid) < 3:
        given = "without images" if image is None else f"of {len(batch)} examples"
        raise ValueError(f"expected images and a grid of at least 3x3 cells, got a batch {given} and {regions}")
    size = image.shape[-2:]
    cell = [side / n for side, n in zip(size, grid, strict=True)]
    step = [max(1, int(side / 2)) if patch is None else patch for side in cell]
    if min(step) < 1:
        raise ValueError(f"patch must be a side of at least 1 pixel, got {patch!r}")
    inner = torch.cartesian_prod(*(torch.arange(1, n - 1, device=image.device) + 0.5 for n in grid))
    centres = precise(inner) * precise(image).new_tensor(cell)
    fill, total, moment = image.mean((-2, -1), keepdim=True), 0.0, 0.0

    def logs(image: Tensor) -> Tensor:
        return precise(fitting(model.attention_map(model(batch.replace(image=image))), batch, regions)).log()

    with torch.no_grad(), evaluating([model]):
        clean = logs(image)
        for low in torch.cartesian_prod(*map(torch.arange, (0, 0), size, step)).tolist():
            high = [min(each) for each in zip(map(sum, zip(low, step, strict=True)), size, strict=True)]
            painted = image.clone()
            painted[..., low[0] : high[0], low[1] : high[1]] = fill
            change = logs(painted) - clean
            change = change.masked_fill(~change.isfinite(), torch.nan)  # what was or became exactly 0 says nothing
            weight = (change - change.nanmedian(1, keepdim=True).values).square().nan_to_num(0).sum(0)
            weight = weight.view(grid)[1:-1, 1:-1].flatten()
            total = total + weight.sum()
            moment = moment + weight @ (centres - centres.new_tensor([low, high]).mean(0))
    if not total > 0:
        raise ValueError("hiding pixels changes no attention, so there is nothing to say of where it looks")
    y, x = (moment / total).tolist()
    return x, y
