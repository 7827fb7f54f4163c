"""Targets for attention while a model trains: what they are, and how far the attention on a batch is from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.data.task import Split, Task
from ssan.distributed import Processes
from ssan.losses import AttentionLoss, check_loss, make_loss
from ssan.models.attention import Output, attention_map

SUPERVISED = ("attention", "question_attention")


@dataclass(frozen=True)
class Supervision:
    """Targets for the attention of the training examples: adds `weight * mean distance(attention, target)` to the loss.

    Attributes:
        ids: (N,) int64, which examples the targets belong to; must be the training split's, in its order.
        target: (N, R), distributions over regions.
        loss: name of the distance, see `ssan.losses`.
        weight: of the attention loss beside the cross-entropy.
        schedule: fraction of the training done, in [0, 1) -> factor on the weight, see `ssan.schedules`; None keeps it
            constant.
        of: what is supervised: the model's `attention`, or its `question_attention` over the words of the question.
            Whether the paper supervises the latter is not known; variable names in the released code hint at it. Our
            reading.
        grid: (rows, columns) of the regions, for the loss `emd`; None takes the task's.
    """

    ids: Tensor
    target: Tensor
    loss: str = "kl"
    weight: float = 0.2
    schedule: Callable[[float], float] | None = None
    of: str = "attention"
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_loss(self.loss)
        if self.of not in SUPERVISED:
            raise ValueError(f"of must be one of {', '.join(SUPERVISED)}, got {self.of!r}")
        if self.target.dim() != 2 or len(self.target) != len(self.ids):
            raise ValueError(f"targets must be (N, R) with N={len(self.ids)} ids, got shape {tuple(self.target.shape)}")
        if not (torch.isfinite(self.target) & (self.target >= 0)).all():
            raise ValueError("targets must be finite and non-negative")

    def check(self, split: Split) -> None:
        """Raise ValueError unless the targets belong to exactly the examples of `split`, in its order."""
        if not torch.equal(self.ids.cpu(), split.ids.cpu()):
            raise ValueError(
                f"the supervision has targets for {len(self.ids)} examples, the training split has {len(split)}, and "
                "their ids or order differ: search for surrogates on this very split"
            )

    def factor(self, done: float) -> float:
        """On the weight, when the fraction `done` of the training is done."""
        return 1.0 if self.schedule is None else self.schedule(done)


@dataclass(frozen=True)
class Pull:
    """A supervision at work in one training, with the loss made for it."""

    supervision: Supervision
    loss: AttentionLoss

    @classmethod
    def of(cls, supervision: Supervision, task: Task, seed: int, processes: Processes) -> Pull:
        """For a training on `task`; `seed` is of the initial weights of discriminators, if the loss has any.

        Raises:
            ValueError: if the targets do not belong to the training split.
        """
        supervision.check(task.train)
        grid = supervision.grid
        if grid is None and supervision.of == "attention":
            grid = getattr(task.regions, "grid", None)
        width = supervision.target.shape[1]
        return cls(supervision, make_loss(supervision.loss, grid=grid, n_regions=width, seed=seed, processes=processes))

    def distance(self, model: nn.Module, batch: Batch, output: Output, rows: Tensor, share: float) -> Tensor:
        """Mean distance between the attention on `batch` and the targets at `rows`; a scalar.

        A loss that learns takes its step first. `share` is the weight of this process's part of the whole batch.
        """
        maps = supervised_maps(model, batch, output, self.supervision, rows)
        if hasattr(self.loss, "observe"):
            self.loss.observe(*maps, share=share)
        return self.loss(*maps).mean()


def supervised_maps(
    model: nn.Module, batch: Batch, output: Output, supervision: Supervision, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a loss compares: the attention on `batch` (B, R), the targets at `rows`, and which regions exist.

    Raises:
        ValueError: if the attention over question words is supervised and the model has none.
    """
    if supervision.of == "question_attention":
        attention, of_words = output.question_attention, True
        if attention is None:
            raise ValueError(
                "question_attention is supervised, but the model returned none: make it with word_attention=True"
            )
    else:
        attention, of_words = attention_map(model, output), not batch.shows
    target = supervision.target[rows.to(supervision.target.device)].to(attention.device, attention.dtype)
    width = attention.shape[1]
    # Batches are cut to their longest sentence, targets are as wide as the longest of all: only zeros are cut or added.
    target = F.pad(target, (0, max(0, width - target.shape[1])))[:, :width]
    exists = None
    if of_words and not getattr(model, "padding_attends", False):
        exists = torch.arange(width, device=attention.device) < batch.lengths[:, None]
    return attention, target, exists


def supervised_distance(
    model: nn.Module, batch: Batch, output: Output, supervision: Supervision, rows: Tensor
) -> Tensor:
    """Mean distance between the attention on `batch` and the targets at `rows` of the supervision; a scalar.

    For losses that do not learn. `emd` is along a line unless the supervision says what the grid is.
    """
    maps = supervised_maps(model, batch, output, supervision, rows)
    return make_loss(supervision.loss, grid=supervision.grid)(*maps).mean()
