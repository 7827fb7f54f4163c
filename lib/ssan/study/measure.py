"""What a study measures: of a model and of its targets, numbers for a row; of a training, rows epoch by epoch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from ssan import metrics
from ssan.attention import AttentionModel
from ssan.models import WordRegions
from ssan.models.minilm import FrozenBelow
from ssan.regions import Regions
from ssan.runtime import pick_device
from ssan.study.conditions import condition
from ssan.study.maps import early
from ssan.task import Batch, Task
from ssan.training import evaluate, fit, predict

if TYPE_CHECKING:
    from ssan.study.experiment import Experiment

# Deletion curves run the model on dozens of variants, and so does leaving out cells: on the first examples alone.
MOST_DELETED, DELETION_STEPS = 100, 16
BY_DROPS, ERASER = ("faithfulness", "top_1"), ("comprehensiveness", "sufficiency")


def _mean(values: Tensor) -> float:
    """Mean over the examples for which a metric is defined (it is NaN for the others)."""
    return float(torch.nanmean(values.double()))


def map_quality(attention: Tensor, batch: Batch, regions: Regions) -> dict[str, float]:
    """Where maps (B, R) look: entropy; against boxes mass, pointing (also strict), rank correlation, offset, selection.

    `entropy` is in nats over the log of the number of regions, so 1 is uniform; regions are the real ones. What is
    defined for no example (an offset without any near a box, the order of uniform maps) is left out.
    """
    n = regions.count(batch).cpu()
    attention, batch = attention[:, : int(n.max())].cpu(), batch.to("cpu")
    exists = torch.arange(attention.shape[1]) < n[:, None]
    values = {"entropy": _mean(metrics.entropy(attention, exists, normalised=True)[n > 1])}
    if batch.boxes is not None and batch.image is not None:
        size, grid = tuple(batch.image.shape[-2:]), regions.grid
        box_map = metrics.box_map(batch.boxes, size, grid)
        values |= {
            "mass_in_box": _mean(metrics.mass_in_box(attention, box_map)),
            "pointing": _mean(metrics.pointing(attention, batch.boxes, size, grid)),
            "strict_pointing": _mean(metrics.pointing(attention, batch.boxes, size, grid, tolerance=0.0)),
            "rank_correlation": _mean(metrics.rank_correlation(attention, box_map)),
        }
        values |= dict(
            zip(("offset_x", "offset_y"), map(_mean, metrics.offset(attention, batch.boxes, size, grid).T), strict=True)
        )
        if batch.others is not None:
            values["selection"] = _mean(metrics.selection(attention, batch.boxes, batch.others, size, grid))
    return {name: value for name, value in values.items() if value == value}  # NaN is not equal to itself


@dataclass(frozen=True)
class Quality:
    """Measures models; their attention on the held-out examples `batch`, which are divided into `regions`."""

    batch: Batch
    regions: Regions
    # What frozen layers made of sentences, for all nets that share these layers.
    states: dict[bytes, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def remembering(self, model: AttentionModel) -> AbstractContextManager:
        """Inside, frozen layers read no sentence twice."""
        return model.remembering(self.states) if isinstance(model, FrozenBelow) else nullcontext()

    def drop(self, model: AttentionModel, device: str = "auto") -> Tensor:
        """(B, R): what leaving out each region of the examples costs the true class; on the first ones of images."""
        device = pick_device(device)
        with self.remembering(model):
            return metrics.leave_one_out(model.to(device), self._few.to(device), self.regions)

    @property
    def _few(self) -> Batch:
        """Images have so many regions that only the first are measured against the model itself."""
        return self.batch if self.batch.image is None else self.batch.select(slice(0, MOST_DELETED))

    def of_model(
        self,
        model: AttentionModel,
        task: Task,
        device: str = "auto",
        shown: Tensor | None = None,
        others: Tensor | None = None,
    ) -> dict[str, float]:
        """Test and validation accuracy, and the quality of the attention on `batch`, or of the map `shown` (B, R).

        Beside what `map_quality` says: faithfulness, top-1, comprehensiveness, sufficiency, insertion and deletion
        about the true class. Of text `faithfulness_beyond_position` too; and where `others` (B, R) are the drops of
        another model, how those of this one, and this map, agree with them in rank.
        """
        device = pick_device(device)
        with self.remembering(model):
            splits = [task.test, task.valid]
            if isinstance(self.regions, WordRegions):  # in batches of like length: half the time
                splits = [split.select(split.lengths.argsort()) for split in splits]
            accuracies = (evaluate(model, split, device=device) for split in splits)
            row = dict(zip(("accuracy", "valid_accuracy"), accuracies, strict=True))
            attention = predict(model, self.batch, device=device)[1] if shown is None else shown
            row |= map_quality(attention, self.batch, self.regions)
            few = self._few.to(device)
            drop, attention = self.drop(model, device), attention[: len(few)].to(device)
            given = (model, few, self.regions, attention)
            row |= {name: _mean(getattr(metrics, name)(*given, drop=drop)) for name in BY_DROPS}
            row |= {name: _mean(getattr(metrics, name)(*given)) for name in ERASER}
            if few.image is None:
                row |= self._beyond_position(attention, drop, few, others)
            few, attention = few.select(slice(0, MOST_DELETED)), attention[:MOST_DELETED]
            curves = metrics.insertion_deletion(model, few, self.regions, attention, steps=DELETION_STEPS)
        return row | {"insertion": _mean(curves.insertion), "deletion": _mean(curves.deletion)}

    def _beyond_position(self, attention: Tensor, drop: Tensor, batch: Batch, others: Tensor | None) -> dict:
        exists = self.regions.exists(batch)
        attention, drop = attention[:, : exists.shape[1]], drop.masked_fill(~exists, 0)
        beyond = metrics.partial_rank_correlation(attention, drop, early(batch, self.regions), exists)
        row = {"faithfulness_beyond_position": _mean(beyond)}
        if others is not None:
            others = others.to(drop.device).masked_fill(~exists, 0)
            row["drops_as_baseline"] = _mean(metrics.rank_correlation(drop, others, exists))
            row["map_as_baseline_drops"] = _mean(metrics.rank_correlation(attention, others, exists))
        return row

    def of_targets(self, target: Tensor, batch: Batch) -> dict[str, float]:
        """The same of the targets of the training examples `batch`."""
        return {f"target_{name}": value for name, value in map_quality(target, batch, self.regions).items()}


# Enough test examples for a smooth curve, few enough to look at after every other epoch.
N_EXAMPLES = 400


def epoch_rows(experiment: Experiment, names: list[str], every: int = 2) -> pd.DataFrame:
    """Train each condition once more from scratch and measure it after `every` so many epochs.

    Returns:
        Rows: task, seed, condition, epoch, train_loss, attention_loss, accuracy (on the first test examples), and what
        `map_quality` says of the attention there.
    """
    task, rows = experiment.task, []
    test = task.test.select(torch.arange(min(N_EXAMPLES, len(task.test))))
    for name in names:
        chosen, supervision, measured = condition(name), None, {}
        if chosen.target is not None:
            target = experiment.target(chosen.target)
            supervision = experiment.supervision(target, experiment.settings.weight, chosen)

        def after_epoch(epoch: int, model: AttentionModel, measured: dict = measured) -> None:
            if epoch % every == 0:
                logits, attention = predict(model, test, device=experiment.device)
                accuracy = float((logits.argmax(1) == test.label).double().mean())
                measured[epoch] = {"accuracy": accuracy} | map_quality(attention, test, experiment.regions)

        model, config = (
            experiment.make_model(task, experiment.seed),
            experiment.settings.training(chosen, experiment.seed),
        )
        fitted = fit(model, task, config, supervision, device=experiment.device, after_epoch=after_epoch)
        for epoch, values in measured.items():
            named = {"task": task.name, "seed": experiment.seed, "condition": name, "epoch": epoch}
            history = fitted.history[epoch - 1]
            losses = {"train_loss": history["loss"], "attention_loss": history["attention_loss"]}
            rows.append(named | values | losses)
    return pd.DataFrame(rows)
