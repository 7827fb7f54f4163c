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


def _mean(values: Tensor) -> float:
    """Mean over the examples for which a metric is defined (it is NaN for the others)."""
    return float(torch.nanmean(values.double()))


def map_quality(attention: Tensor, batch: Batch, regions: Regions) -> dict[str, float]:
    """Where maps (B, R) look: entropy, and against boxes mass, pointing, IoU and rank correlation where there are any.

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
        """Test and validation accuracy, and the quality of the attention on `batch`; faithfulness on text."""
        row = {
            "accuracy": evaluate(model, task.test, device=device),
            "valid_accuracy": evaluate(model, task.valid, device=device),
        }
        _, attention = predict(model, self.batch, device=device)
        row |= map_quality(attention, self.batch, self.regions)
        if self.batch.image is None:
            batch = self.batch.to(pick_device(device))
            row["faithfulness"] = _mean(metrics.faithfulness(model, batch, self.regions))
        return row

    def of_targets(self, target: Tensor, batch: Batch) -> dict[str, float]:
        """The same of targets on the training examples `batch`: a target no better than the clean map cannot teach."""
        return {f"target_{name}": value for name, value in map_quality(target, batch, self.regions).items()}
