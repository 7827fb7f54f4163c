"""What all rows of one task share: data, masks, training, model, loss."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ssan.conditions import Condition
from ssan.samplers import Sampler
from ssan.training import TrainConfig


@dataclass(frozen=True)
class Settings:
    """Everything that decides the rows of one task, but the seed and the condition.

    Attributes:
        task: name of the task, see `ssan.study.load_task`.
        n_train: number of training examples (for `shapes`: images); None takes all there are.
        sampler: which masks are tried, unless a condition says otherwise.
        train: how every net is trained; the seed is replaced.
        model: keyword arguments of the task's model factory.
        loss: the attention loss.
        weight: of the attention loss, training from scratch.
        continued_weight: the same, continuing from the baseline.
        n_quality: on how many test examples attention quality is measured (the first ones, so None, which is all, where
            the order of the test set says something of the label).
        task_options: further keyword arguments of the task's loader.
    """

    task: str
    n_train: int | None
    sampler: Sampler
    train: TrainConfig
    model: tuple[tuple[str, object], ...] = ()
    loss: str = "kl"
    weight: float = 0.2
    continued_weight: float = 0.5
    n_quality: int | None = 500
    task_options: tuple[tuple[str, object], ...] = ()

    def training(self, of: Condition, seed: int, start: str = "scratch") -> TrainConfig:
        """How the nets of a condition are trained, the targets aside."""
        twice = of.longer and start == "scratch"  # continued, the baseline's epochs are behind it
        return dataclasses.replace(
            self.train,
            seed=seed,
            epochs=(1 + twice) * self.train.epochs,
            entropy_penalty=of.entropy_penalty or self.train.entropy_penalty,
        )
