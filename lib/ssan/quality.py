"""What a study measures of a model and of its targets: one dict of numbers for a row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssan import metrics
from ssan.batch import Batch
from ssan.data.task import Task
from ssan.regions import Regions
from ssan.training import evaluate, pick_device, predict

# Transport is solved map by map, and deletion curves run the model on dozens of variants: both on the first examples.
MOST_TRANSPORTED, MOST_DELETED, DELETION_STEPS = 200, 100, 16


def _mean(values: Tensor) -> float:
    """Mean over the examples for which a metric is defined (it is NaN for the others)."""
    return float(torch.nanmean(values.double()))


def map_quality(attention: Tensor, batch: Batch, regions: Regions) -> dict[str, float]:
    """Where maps (B, R) look: entropy; against boxes mass, pointing, IoU, rank correlation and earth mover's distance.

    `entropy` is in nats over the log of the number of regions, so 1 is uniform; regions are the real ones.
    """
    n = regions.count(batch).cpu()
    attention, batch = attention[:, : int(n.max())].cpu(), batch.to("cpu")
    exists = torch.arange(attention.shape[1]) < n[:, None]
    found = {"entropy": _mean(metrics.entropy(attention, exists, normalised=True)[n > 1])}
    if batch.boxes is not None and batch.image is not None:
        size, grid = tuple(batch.image.shape[-2:]), regions.grid
        box_map = metrics.box_map(batch.boxes, size, grid)
        found |= {
            "mass_in_box": _mean(metrics.mass_in_box(attention, box_map)),
            "pointing": _mean(metrics.pointing(attention, batch.boxes, size, grid)),
            "iou": _mean(metrics.iou_at_box_area(attention, box_map)),
            "rank_correlation": _mean(metrics.rank_correlation(attention, box_map)),
        }
        boxed = box_map.sum(-1) > 0
        if boxed.any():
            few = boxed.nonzero().squeeze(1)[:MOST_TRANSPORTED]
            found["emd"] = _mean(metrics.earth_movers_distance(attention[few], box_map[few], grid=grid))
    return found


@dataclass(frozen=True)
class Quality:
    """Measures models on held-out examples.

    Args:
        batch: the examples on which attention is measured.
        regions: what their regions are.
    """

    batch: Batch
    regions: Regions

    def of_model(self, model: nn.Module, task: Task, device: str = "auto") -> dict[str, float]:
        """Test and validation accuracy, and the quality of the attention on `batch`.

        Beside what `map_quality` says: faithfulness, insertion and deletion about the true class; for images on the
        first examples of `batch` alone, since each of them is run on some hundred variants.
        """
        row = {
            "accuracy": evaluate(model, task.test, device=device),
            "valid_accuracy": evaluate(model, task.valid, device=device),
        }
        _, attention = predict(model, self.batch, device=device)
        row |= map_quality(attention, self.batch, self.regions)
        few = slice(None) if self.batch.image is None else slice(0, MOST_DELETED)
        batch, attention = self.batch.select(few).to(pick_device(device)), attention[few].to(pick_device(device))
        row["faithfulness"] = _mean(metrics.faithfulness(model, batch, self.regions))
        curves = metrics.insertion_deletion(model, batch, self.regions, attention, steps=DELETION_STEPS)
        return row | {"insertion": _mean(curves.insertion), "deletion": _mean(curves.deletion)}

    def of_targets(self, target: Tensor, batch: Batch) -> dict[str, float]:
        """The same of targets on the training examples `batch`: a target no better than the clean map cannot teach."""
        return {f"target_{name}": value for name, value in map_quality(target, batch, self.regions).items()}
