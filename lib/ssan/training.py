"""The one training loop, for all tasks, with and without supervision of the attention."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from ssan.batch import Batch
from ssan.data.task import Split, Task
from ssan.distributed import Processes, mean_over_processes, replicated
from ssan.losses import attention_loss, hop_penalty
from ssan.models.attention import Output, attention_map, check_output, evaluating
from ssan.seeding import seeded


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
        seed: of batch order and dropout.
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

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1 or not self.learning_rate > 0:
            raise ValueError(f"epochs must be >= 0, batch_size >= 1 and learning_rate > 0, got {self}")
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


@dataclass(frozen=True)
class Supervision:
    """Targets for the attention of the training examples: adds `weight * mean distance(attention, target)` to the loss.

    Attributes:
        ids: (N,) int64, which examples the targets belong to; must be the training split's, in its order.
        target: (N, R), distributions over regions.
        loss: name of the distance, see `ssan.losses.attention_loss`.
        weight: of the attention loss beside the cross-entropy.
        schedule: fraction of the training done, in [0, 1) -> factor on the weight; None keeps it constant.
    """

    ids: Tensor
    target: Tensor
    loss: str = "kl"
    weight: float = 0.2
    schedule: Callable[[float], float] | None = None

    def __post_init__(self) -> None:
        attention_loss(self.loss)
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


@dataclass
class Fitted:
    """A trained model and how it came about: `history` holds one dict per epoch."""

    model: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def fit(
    model: nn.Module,
    task: Task,
    config: TrainConfig,
    supervision: Supervision | None = None,
    *,
    device: str | torch.device = "auto",
    processes: Processes | None = None,
    show_progress: bool = False,
) -> Fitted:
    """Train `model` in place: cross-entropy, plus the attention loss where there is supervision.

    The outcome is a pure function of the model's weights, the task and the config (on one device and thread count);
    the global random state is left as it was.

    Args:
        model: returns `Output`. A method `auxiliary_loss(batch, output)`, if it has one, is added to the loss.
        task: trained on `task.train`, validated on `task.valid`.
        config: how to train.
        supervision: targets for the attention, or None for the baseline.
        device: where to train.
        processes: which of how many connected processes this is, all of which call `fit` alike. Each computes its part
            of every batch, and gradients are averaged (DistributedDataParallel): the steps are those of one process, to
            rounding, but for dropout, whose draws differ, and for batch statistics, which are each process's own.
        show_progress: show a progress bar over epochs.

    Raises:
        ValueError: if the training split is empty, the targets do not belong to it, the output breaks the contract, or
            the loss becomes NaN.
    """
    device, processes = pick_device(device), processes or Processes()
    if not len(task.train):
        raise ValueError(f"the training split of {task.name} is empty: there is nothing to train on")
    if supervision is not None:
        supervision.check(task.train)
    model.to(device)
    _check_model(model, task, device)
    start = time.perf_counter()
    fitted = Fitted(model)
    optimizer = _optimizer(model, config)
    replica = replicated(model, processes, device)
    best, best_state = -1.0, None
    with seeded(config.seed + processes.rank, device):
        order = torch.Generator().manual_seed(config.seed)
        for epoch in tqdm(range(config.epochs), unit="epoch", leave=False, disable=not show_progress):
            if config.recreate_optimizer:
                optimizer = _optimizer(model, config)
            losses = _epoch(model, replica, task, config, supervision, optimizer, order, epoch, device, processes)
            fitted.history.append({"epoch": epoch + 1, **losses})
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


def _check_model(model: nn.Module, task: Task, device: torch.device) -> None:
    """One forward pass against the output contract, before any work is done."""
    probe = task.train.select(torch.arange(min(4, len(task.train)))).to(device)
    with torch.no_grad(), evaluating([model]):
        output = model(probe)
    if output.logits.shape[-1] < task.n_classes:
        raise ValueError(f"the model has {output.logits.shape[-1]} classes, {task.name} has {task.n_classes}")
    n_regions = probe.lengths
    if probe.image is not None:  # on images every region the attention covers exists
        n_regions = torch.full_like(probe.label, output.attention.shape[-1])
    check_output(output, probe.label, n_regions, padding_attends=getattr(model, "padding_attends", False))


def _epoch(
    model: nn.Module,
    replica: nn.Module,
    task: Task,
    config: TrainConfig,
    supervision: Supervision | None,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
    epoch: int,
    device: torch.device,
    processes: Processes,
) -> dict[str, float]:
    replica.train()
    batches = torch.randperm(len(task.train), generator=order).split(config.batch_size)
    totals = torch.zeros(2, device=device)  # stays on the device: reading it every step would make the CPU wait
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
        if supervision is not None:
            distance = supervised_distance(model, batch, output, supervision, rows[own])
            done = (epoch + step / len(batches)) / config.epochs
            factor = 1.0 if supervision.schedule is None else supervision.schedule(done)
            loss = loss + supervision.weight * factor * distance
            totals[1] += distance.detach() * share * len(rows) / len(task.train)
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
    return {"loss": float(totals[0]), "attention_loss": float(totals[1])}


def supervised_distance(
    model: nn.Module, batch: Batch, output: Output, supervision: Supervision, rows: Tensor
) -> Tensor:
    """Mean distance between the attention on `batch` and the targets at `rows` of the supervision; a scalar."""
    attention = attention_map(model, output)
    target = supervision.target[rows.to(supervision.target.device)].to(attention.device, attention.dtype)
    width = attention.shape[1]
    # Batches are cut to their longest sentence, targets are as wide as the longest of all: only zeros are cut or added.
    target = F.pad(target, (0, max(0, width - target.shape[1])))[:, :width]
    exists = None
    if batch.image is None and not getattr(model, "padding_attends", False):
        exists = torch.arange(width, device=attention.device) < batch.lengths[:, None]
    return attention_loss(supervision.loss)(attention, target, exists).mean()


@torch.no_grad()
def predict(
    model: nn.Module, split: Split, *, device: str | torch.device = "auto", batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and the one attention map (N, R) of every example of `split`, on the CPU, in evaluation mode.

    Raises:
        ValueError: if the split is empty.
    """
    if not len(split):
        raise ValueError("the split has no examples to predict; training without validation needs validate=False")
    device = pick_device(device)
    model.to(device)
    logits, maps = [], []
    with evaluating([model]):
        for rows in torch.arange(len(split)).split(batch_size):
            output = model(split.select(rows).to(device))
            logits.append(output.logits.cpu())
            maps.append(attention_map(model, output).cpu())
    width = max(attention.shape[1] for attention in maps)
    return torch.cat(logits), torch.cat([F.pad(attention, (0, width - attention.shape[1])) for attention in maps])


def evaluate(model: nn.Module, split: Split, *, device: str | torch.device = "auto") -> float:
    """Accuracy on `split`, in [0, 1]."""
    logits, _ = predict(model, split, device=device)
    return float((logits.argmax(-1) == split.label.cpu()).double().mean())


if __name__ == "__main__":
    from ssan.commands import train

    train()
