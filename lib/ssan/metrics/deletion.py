"""What happens to the answer as the most attended regions are taken away, or brought in?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ssan.attention import AttentionModel
from ssan.metrics.checks import precise
from ssan.metrics.variants import fitting, places, variant_scores
from ssan.regions import Regions
from ssan.samplers import Sampler
from ssan.samplers.base import whole
from ssan.task import Batch


class InsertionDeletion(NamedTuple):
    """What `insertion_deletion` returns; P is the largest number of points of a curve, NaN beyond an example's own.

    Attributes:
        insertion: (B,) area under the insertion curve; higher is better.
        deletion: (B,) area under the deletion curve; lower is better.
        insertion_curve: (B, P) score with the share of most attended regions kept, all others hidden.
        deletion_curve: (B, P) score with the share of most attended regions hidden, all others kept.
        share: (B, P) from 0 to 1, the share of regions inserted or deleted.
    """

    insertion: Tensor
    deletion: Tensor
    insertion_curve: Tensor
    deletion_curve: Tensor
    share: Tensor


@dataclass(frozen=True)
class ByAttention(Sampler):
    """A sampler that hides, then keeps, the most attended regions; `example_id` is the row of `place`.

    With S steps for an example: index i of 0 to S hides the first share i / S, index S + i of 1 to S - 1 keeps it.

    Args:
        place: (B, R) int64, 0 for the most attended region of each example, 1 for the next, ….
        steps: at most so many steps, or None for one region at a time.
    """

    place: Tensor
    steps: int | None

    def n_steps(self, n: Tensor) -> Tensor:
        """How many steps for inputs of `n` regions."""
        return n if self.steps is None else n.clamp(max=self.steps)

    def amount(self, step: Tensor, n: Tensor) -> Tensor:
        """How many of `n` regions the first `step` steps take: the nearest whole number, halves upwards."""
        steps = self.n_steps(n)
        return (2 * step * n + steps) // (2 * steps)

    def n_variants(self, n, grid=None):  # noqa: ARG002
        return 2 * self.n_steps(n) - 1

    def kept(self, variants):
        steps, place = self.n_steps(variants.n), self.place[variants.example_id, : variants.width]
        hides = variants.index <= steps
        step = torch.where(hides, variants.index, variants.index - steps)
        taken = place < self.amount(step, variants.n)[:, None]
        return torch.where(hides[:, None], ~taken, taken)


def insertion_deletion(
    model: AttentionModel,
    batch: Batch,
    regions: Regions,
    attention: Tensor,
    *,
    steps: int | None = None,
    score: str = "probability",
    perturbations_per_eval: int | None = None,
) -> InsertionDeletion:
    """Insertion and deletion: areas under the score as regions come or go in the order of attention.

    Deletion hides the most attended regions first: lower is better, since the score falls at once if those carried the
    answer. Insertion starts from the input with everything hidden and brings the most attended back first: higher is
    better. Areas by the trapezoid rule over the share of regions, range [0, 1] for `probability`; equally attended
    regions go in order of index. Sensitive to `steps`, to what stands for a hidden region (`regions`), and to how sure
    the model is. Source: Petsiuk et al. 2018 (RISE), who score the predicted class; here it is the true class.

    Args:
        model, batch, regions, score, perturbations_per_eval: as in `leave_one_out`.
        attention: (B, R), the maps to judge.
        steps: take the regions in at most so many equal steps; by default one region at a time.

    Returns:
        `InsertionDeletion`, float64.

    A ValueError as `leave_one_out`, if `attention` does not fit the regions, or `steps` is below 1.
    """
    if steps is not None:
        whole("steps", steps, 1)
    n = regions.count(batch)
    attention = fitting(attention, batch, regions)
    exists = regions.exists(batch, attention.shape[1])
    sampler = ByAttention(places(attention, exists), steps)
    rows = torch.arange(len(batch), device=n.device)
    scores, _ = variant_scores(
        model, batch.replace(ids=rows), regions, sampler, score=score, perturbations_per_eval=perturbations_per_eval
    )

    last = sampler.n_steps(n)[:, None]
    step = torch.arange(int(last.max()) + 1, device=n.device).expand(len(batch), -1)
    beyond = step > last
    # The two ends of the insertion curve are variants of the deletion curve: all hidden, and the clean input.
    inserted = torch.where(step == 0, last, torch.where(step == last, 0, last + step))
    deletion_curve = scores.gather(1, step.where(~beyond, 0)).masked_fill(beyond, torch.nan)
    insertion_curve = scores.gather(1, inserted.where(~beyond, 0)).masked_fill(beyond, torch.nan)
    share = (precise(sampler.amount(step, n[:, None])) / n[:, None]).masked_fill(beyond, torch.nan)
    areas = [torch.nansum((c[:, 1:] + c[:, :-1]) / 2 * share.diff(dim=1), 1) for c in (insertion_curve, deletion_curve)]
    return InsertionDeletion(areas[0], areas[1], insertion_curve, deletion_curve, share)
