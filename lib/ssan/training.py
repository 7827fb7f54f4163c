"""The one training loop, for all tasks, with and without supervision of the attention."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from ssan.data.task import Task
from ssan.distributed import Processes, mean_over_processes, replicated
from ssan.losses import entropy_penalty, hop_penalty
from ssan.models.attention import attention_map, check_output, evaluating
from ssan.prediction import evaluate, pick_device, predict
from ssan.seeding import seeded
from ssan.supervision import Pull, Supervision, supervised_distance, supervised_maps

__all__ = [
    "Fitted",
    "Supervision",
    "TrainConfig",
    "evaluate",
    "fit",
    "pick_device",
    "predict",
    "supervised_distance",
]


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Travels with checkpoints and rows.

    Attributes:
        epochs: passes over the training split; 0 is allowed and leaves the model as it is.
        batch_size: examples per step.
        learning_rate: of Adam.
        weight_decay: decoupled (AdamW).
        clip_norm: gradients are scaled down to this norm; None leaves them.
        clamp_gradient: every gradient entry is clamped to [-x, x], as the released code does with 0.1; None does not.
        recreate_optimizer: a new optimiser every epoch, as the released code has it: its moments start from zero.
        keep: `best` weights by validation accuracy (the first on ties), or `last`.
        hop_penalty: weight of the penalty on hops that look at the same place (Lin et al. 2017).
        validate: compute validation accuracy after every epoch; needed to keep the best.
        seed: of batch order, dropout, and the discriminators of adversarial losses.
        entropy_penalty: weight of the mean entropy of the attention, in nats: above 0 it sharpens attention without
            any target, a control; below 0 it flattens.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    clamp_gradient: float | None = None
    recreate_optimizer: bool = False
    keep: str = "best"
    hop_penalty: float = 0.0
    validate: bool = True
    seed: int = 0
    entropy_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError(f"epochs must be >= 0, batch_size >= 1 and learning_rate > 0, got {self}")
        if not math.isfinite(self.entropy_penalty):
            raise ValueError(f"entropy_penalty must be a finite number, got {self.entropy_penalty}")
        for name in ("clip_norm", "clamp_gradient"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be above 0, or None to leave gradients as they are, got {limit}")
        if self.keep not in ("best", "last"):
            raise ValueError(f"keep must be 'best' or 'last', got {self.keep!r}")
        if self.keep == "best" and not self.validate:
            raise ValueError("keep='best' needs validate=True; to train without validation say keep='last'")

    @classmethod
    def as_released(cls, seed: int = 0) -> TrainConfig:
        """The released code's training: batches of one, optimiser recreated each epoch, entries clamped to 0.1."""
        return cls(
            epochs=10,
            batch_size=1,
            learning_rate=1e-3,
            clip_norm=None,
            clamp_gradient=0.1,
            recreate_optimizer=True,
            keep="last",
            seed=seed,
        )


@dataclass
class Fitted:
    """A trained model and how it came about: `history` holds one dict per epoch.

    Its `attention_loss` is the mean distance of the attention from its targets, unweighted (0 without targets);
    `question_attention_loss` is there where the attention over question words is supervised.
    """

    model: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    model: nn.Module,
    task: Task,
    config: TrainConfig,
    supervision: Supervision | Sequence[Supervision] | None = None,
    *,
    device: str | torch.device = "auto",
    processes: Processes | None = None,
    show_progress: bool = False,
    after_epoch: Callable[[int, nn.Module], None] | None = None,
) -> Fitted:
    """Train `model` in place: cross-entropy, plus the attention loss where there is supervision.

    The outcome is a pure function of the model's weights, the task and the config (on one device and thread count);
    the global random state is left as it was.

    Args:
        model: returns `Output`. A method `auxiliary_loss(batch, output)`, if it has one, is added to the loss. A method
            `prepared(split)`, if it has one, may add to the training split what need not be computed in every epoch.
        task: trained on `task.train`, validated on `task.valid`.
        config: how to train.
        supervision: targets for the attention, or several of them (of the image and of the question, say), whose losses
            add up; None for the baseline.
        device: where to train.
        processes: which of how many connected processes this is, all of which call `fit` alike. Each computes its part
            of every batch, and gradients are averaged (DistributedDataParallel): the steps are those of one process, to
            rounding, but for dropout, whose draws differ, and for batch statistics and losses over a batch (`coral`,
            `mmd_batch`), which are each process's own.
        show_progress: show a progress bar over epochs.
        after_epoch: called with the number of epochs done and the model, after each of them; to look, not to touch.

    Raises:
        ValueError: if the training split is empty, the targets do not belong to it or do not fit the attention, the
            output breaks the contract, or the loss becomes NaN.
    """
    device, processes = pick_device(device), processes or Processes()
    if not len(task.train):
        raise ValueError(f"the training split of {task.name} is empty: there is nothing to train on")
    supervision = () if supervision is None else supervision
    given = (supervision,) if isinstance(supervision, Supervision) else tuple(supervision)
    pulls = [Pull.of(one, task, config.seed, processes) for one in given]
    model.to(device)
    _check_model(model, task, pulls, device)
    start = time.perf_counter()
    if task.augment is None and hasattr(model, "prepared"):
        task = dataclasses.replace(task, train=model.prepared(task.train))
    fitted = Fitted(model)
    optimizer = _optimizer(model, config)
    replica = replicated(model, processes, device)
    best, best_state = -1.0, None
    with seeded(config.seed + processes.rank, device):
        order = torch.Generator().manual_seed(config.seed)
        for epoch in tqdm(range(config.epochs), unit="epoch", leave=False, disable=not show_progress):
            if config.recreate_optimizer:
                optimizer = _optimizer(model, config)
            losses = _epoch(model, replica, task, config, pulls, optimizer, order, epoch, device, processes)
            fitted.history.append({"epoch": epoch + 1, **losses})
            if after_epoch is not None:
                after_epoch(epoch + 1, model)
            if not config.validate:
                continue
            valid = fitted.history[-1]["valid_accuracy"] = evaluate(model, task.valid, device=device)
            if config.keep == "best" and valid > best:
                best, best_state = valid, copy.deepcopy(model.state_dict())
    if best_state is not None:
        model.load_state_dict(best_state)
    fitted.seconds = time.perf_counter() - start
    return fitted


def _optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _check_model(model: nn.Module, task: Task, pulls: list[Pull], device: torch.device) -> None:
    """One forward pass against the output contract and the targets, before any work is done."""
    probe = task.train.select(torch.arange(min(4, len(task.train)))).to(device)
    with torch.no_grad(), evaluating([model]):
        output = model(probe)
    n_regions = probe.lengths
    if probe.shows:  # on images every region the attention covers exists
        n_regions = torch.full_like(probe.label, output.attention.shape[-1])
    check_output(output, probe.label, n_regions, padding_attends=getattr(model, "padding_attends", False))
    if output.logits.shape[-1] < task.n_classes:
        raise ValueError(f"the model has {output.logits.shape[-1]} classes, {task.name} has {task.n_classes}")
    for pull in pulls:
        with torch.no_grad():
            pull.loss(*supervised_maps(model, probe, output, pull.supervision, torch.arange(len(probe))))


def _epoch(
    model: nn.Module,
    replica: nn.Module,
    task: Task,
    config: TrainConfig,
    pulls: list[Pull],
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
    epoch: int,
    device: torch.device,
    processes: Processes,
) -> dict[str, float]:
    replica.train()
    batches = torch.randperm(len(task.train), generator=order).split(config.batch_size)
    names = ["loss", *dict.fromkeys(["attention_loss", *(f"{pull.supervision.of}_loss" for pull in pulls)])]
    # Stays on the device: reading it every step would make the CPU wait.
    totals = torch.zeros(len(names), device=device)
    for step, rows in enumerate(batches):
        own, share = processes.part(len(rows))
        if task.augment is None:
            batch = task.train.select(rows[own]).to(device)
        else:  # as a whole, so that all processes draw alike
            batch = task.augment(task.train.select(rows).to(device), order).select(own)
        output = replica(batch)
        loss = F.cross_entropy(output.logits, batch.label)
        if hasattr(model, "auxiliary_loss"):
            loss = loss + model.auxiliary_loss(batch, output)
        if config.hop_penalty:
            loss = loss + config.hop_penalty * hop_penalty(output.attention).mean()
        if config.entropy_penalty:
            loss = loss + config.entropy_penalty * entropy_penalty(attention_map(model, output)).mean()
        for pull in pulls:
            distance = pull.distance(model, batch, output, rows[own], share)
            factor = pull.supervision.factor((epoch + step / len(batches)) / config.epochs)
            loss = loss + pull.supervision.weight * factor * distance
            name = names.index(f"{pull.supervision.of}_loss")
            totals[name] += distance.detach() * share * len(rows) / len(task.train)
        optimizer.zero_grad(set_to_none=True)
        loss = loss * share
        loss.backward()
        if config.clamp_gradient is not None:
            nn.utils.clip_grad_value_(model.parameters(), config.clamp_gradient)
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        totals[0] += loss.detach() * len(rows) / len(task.train)
    totals = mean_over_processes(totals, processes)
    if not torch.isfinite(totals).all():
        raise ValueError(f"the loss became {float(totals[0])} in epoch {epoch + 1}: lower the learning rate or weights")
    return dict(zip(names, totals.tolist(), strict=True))


if __name__ == "__main__":
    from ssan.commands import train

    train()
