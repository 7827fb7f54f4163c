"""The one training loop, for all tasks, with and without supervision of the attention."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from ssan.attention import AttentionModel, as_models, check_output, evaluating
from ssan.losses import entropy_penalty, hop_penalty
from ssan.runtime import Processes, mean_over_processes, pick_device, replicated, seeded
from ssan.task import Task
from ssan.training.config import TrainConfig
from ssan.training.predict import evaluate
from ssan.training.supervision import Supervision


@dataclass
class Fitted:
    """A trained model and how it came about: `history` holds one dict per epoch.

    Its `attention_loss` is the mean distance of the attention from its targets, unweighted (0 without targets).
    """

    model: AttentionModel
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    model: AttentionModel,
    task: Task,
    config: TrainConfig,
    supervision: Supervision | None = None,
    *,
    device: str | torch.device = "auto",
    processes: Processes | None = None,
    show_progress: bool = False,
    after_epoch: Callable[[int, AttentionModel], None] | None = None,
) -> Fitted:
    """Train `model` in place: cross-entropy, plus the attention loss where there is supervision.

    Example:
        >>> supervision = ssan.Supervision(surrogates.ids, surrogates.attention, loss="kl", weight=0.2)
        >>> ssan.fit(model, task, ssan.TrainConfig(epochs=20, seed=1), supervision).history[-1]["valid_accuracy"]

    The outcome is a pure function of the model's weights, the task and the config (on one device and thread count);
    the global random state is left as it was.

    Args:
        model: trained in place; what it may say of itself beside `forward` is in `AttentionModel`.
        task: trained on `task.train`, validated on `task.valid`.
        config: how to train.
        supervision: targets for the attention; None for the baseline.
        device: where to train; `auto` is CUDA where there is one, else the CPU.
        processes: which of how many connected processes this is, all of which call `fit` alike. Each computes its part
            of every batch, and gradients are averaged (DistributedDataParallel): the steps are those of one process, to
            rounding, but for dropout, batch statistics and losses over a batch, which are each process's own.
        show_progress: show a progress bar over epochs.
        after_epoch: called with the number of epochs done and the model, after each of them; to look, not to touch.

    A ValueError if the training split is empty, the targets do not belong to it or do not fit the attention, the output
    breaks the contract, or the loss becomes NaN. A TypeError if the model is no `AttentionModel`.
    """
    (model,), processes = as_models(model), processes or Processes()
    if not len(task.train):
        raise ValueError(f"the training split of {task.name} is empty: there is nothing to train on")
    if supervision is not None:
        supervision.check(task.train)
    training = _Training(model, task, config, supervision, pick_device(device), processes)
    model.to(training.device)
    training.check()
    began = time.perf_counter()
    history = training.run(show_progress, after_epoch)
    return Fitted(model, history, time.perf_counter() - began)


@dataclass
class _Training:
    model: AttentionModel
    task: Task
    config: TrainConfig
    supervision: Supervision | None
    device: torch.device
    processes: Processes

    def __post_init__(self) -> None:
        self.regions = self.model.regions or self.task.regions

    def check(self) -> None:
        """One forward pass against the output contract and the targets, before any work is done."""
        model, task = self.model, self.task
        probe = task.train.select(torch.arange(min(4, len(task.train)), device=task.train.ids.device)).to(self.device)
        with torch.no_grad(), evaluating([model]):
            output = model(probe)
            check_output(output, probe.label, self.regions.count(probe), padding_attends=model.padding_attends)
            if output.logits.shape[-1] < task.n_classes:
                raise ValueError(f"the model has {output.logits.shape[-1]} classes, {task.name} has {task.n_classes}")
            if self.supervision is not None:
                self.supervision.distance(model, probe, output, torch.arange(len(probe)), self.regions)

    def run(self, show_progress: bool, after_epoch: Callable[[int, AttentionModel], None] | None) -> list[dict]:
        """Train; one dict for every epoch."""
        model, config, history = self.model, self.config, []
        if self.task.augment is None:
            self.task = dataclasses.replace(self.task, train=model.prepared(self.task.train))
        self.optimizer = self._new_optimizer()
        self.replica = replicated(model, self.processes, self.device)
        best, best_state = -1.0, None
        with seeded(config.seed + self.processes.rank, self.device):
            self.order = torch.Generator().manual_seed(config.seed)
            for epoch in tqdm(range(config.epochs), unit="epoch", leave=False, disable=not show_progress):
                if config.recreate_optimizer:
                    self.optimizer = self._new_optimizer()
                history.append({"epoch": epoch + 1, **self._epoch(epoch)})
                if after_epoch is not None:
                    after_epoch(epoch + 1, model)
                if not config.validate:
                    continue
                valid = history[-1]["valid_accuracy"] = evaluate(model, self.task.valid, device=self.device)
                if config.keep == "best" and valid > best:
                    best, best_state = valid, copy.deepcopy(model.state_dict())
        if best_state is not None:
            model.load_state_dict(best_state)
        return history

    def _new_optimizer(self) -> torch.optim.Optimizer:
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        rate, decay = self.config.learning_rate, self.config.weight_decay
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)

    def _epoch(self, epoch: int) -> dict[str, float]:
        config, train = self.config, self.task.train
        self.replica.train()
        batches = torch.randperm(len(train), generator=self.order).split(config.batch_size)
        # Stays on the device: reading it every step would make the CPU wait.
        totals = torch.zeros(2, device=self.device)
        for step, rows in enumerate(batches):
            losses = self._step(rows, (epoch + step / len(batches)) / config.epochs)
            totals += torch.stack(losses) * (len(rows) / len(train))
        values = mean_over_processes(totals, self.processes)
        if not torch.isfinite(values).all():
            raise ValueError(
                f"the loss became {float(values[0])} in epoch {epoch + 1}: lower the learning rate or weights"
            )
        return dict(zip(("loss", "attention_loss"), values.tolist(), strict=True))

    def _step(self, rows: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """One step on the examples `rows`: the loss and the distance of the attention, as this process's share."""
        model, config, train = self.model, self.config, self.task.train
        places, share = self.processes.part(len(rows))
        if self.task.augment is None:
            batch = train.select(rows[places].to(train.ids.device)).to(self.device)
        else:  # as a whole, so that all processes draw alike
            whole = train.select(rows.to(train.ids.device)).to(self.device)
            batch = self.task.augment(whole, self.order).select(places)
        output = self.replica(batch)
        loss = F.cross_entropy(output.logits, batch.label)
        auxiliary = model.auxiliary_loss(batch, output)
        if auxiliary is not None:
            loss = loss + auxiliary
        if config.hop_penalty:
            loss = loss + config.hop_penalty * hop_penalty(output.attention).mean()
        if config.entropy_penalty:
            loss = loss + config.entropy_penalty * entropy_penalty(model.attention_map(output)).mean()
        distance = torch.zeros((), device=self.device)
        if self.supervision is not None:
            distance = self.supervision.distance(model, batch, output, rows[places], self.regions)
            loss = loss + self.supervision.weight * self.supervision.factor(progress) * distance
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss * share
        loss.backward()
        if config.clamp_gradient is not None:
            nn.utils.clip_grad_value_(model.parameters(), config.clamp_gradient)
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        self.optimizer.step()
        return loss.detach(), distance.detach() * share
