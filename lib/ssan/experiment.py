"""One task, one seed: trains baselines, finds surrogates and runs conditions, keeping everything it made on disk."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from ssan import targets
from ssan.batch import Batch
from ssan.checkpoint import config_hash, load_model, save_model, write_atomically
from ssan.conditions import PLAIN, Condition, Target, condition
from ssan.data.task import Task
from ssan.losses import prepare_target
from ssan.metrics import box_distribution
from ssan.models.ensemble import Ensemble
from ssan.quality import Quality
from ssan.regions import Regions
from ssan.samplers import Sampler
from ssan.search import find_surrogates, replay
from ssan.surrogates import Surrogates
from ssan.training import Supervision, TrainConfig, fit, pick_device


@dataclass(frozen=True)
class Settings:
    """Everything that decides the rows of one task, but the seed.

    Attributes:
        task: name of the task, see `ssan.study.load_task`.
        n_train: number of training examples (for `shapes`: images); None takes all there are.
        sampler: which masks are tried.
        train: how every net is trained; the seed is replaced.
        model: keyword arguments of the task's model factory.
        loss: the attention loss.
        weight: of the attention loss, training from scratch.
        continued_weight: the same, continuing from the baseline.
        n_quality: on how many test examples attention quality is measured (the first ones); None takes all.
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


class Experiment:
    """One task, one seed. Every trained net and every search is made once and read from `folder` afterwards.

    Args:
        settings: what decides the rows.
        seed: names the training subset, the initial weights and the order of batches.
        task: the task, already cut to its training subset.
        make_model: `(task, seed) -> model` with initial weights.
        folder: where checkpoints, surrogates and rows of this seed are kept.
        device: where to train and search.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int,
        task: Task,
        make_model: Callable[[Task, int], nn.Module],
        folder: Path,
        device: str = "auto",
    ) -> None:
        self.settings, self.seed, self.task = settings, seed, task
        self.make_model, self.folder, self.device = make_model, Path(folder), device
        self.hash = config_hash(settings, seed, task.fingerprint())

    @cached_property
    def train_batch(self) -> Batch:
        """All training examples in memory."""
        return self.task.train.select(torch.arange(len(self.task.train)))

    @cached_property
    def quality(self) -> Quality:
        """Measures attention on held-out examples."""
        n = self.settings.n_quality or len(self.task.test)
        return Quality(self.task.test.select(torch.arange(min(n, len(self.task.test)))), self.regions)

    @property
    def regions(self) -> Regions:
        return self.task.regions

    @cached_property
    def exists(self) -> Tensor:
        """(N, R) bool: which regions the training examples have."""
        n = self.regions.count(self.train_batch)
        return torch.arange(int(n.max())) < n[:, None]

    def net(
        self,
        name: str,
        seed: int,
        supervision: Supervision | None = None,
        *,
        start: str = "scratch",
        of: Condition = PLAIN,
    ) -> nn.Module:
        """The net called `name`: loaded if it was trained before, else trained and saved.

        Args:
            name: names the checkpoint.
            seed: of initial weights, dropout and batch order.
            supervision: targets, or None.
            start: `scratch`, or `continued` from the baseline.
            of: the condition, for what it says of epochs and augmentation.
        """
        path = self.folder / f"{name}.safetensors"
        trained_from = config_hash(self.hash, name, seed, of)
        model = self.make_model(self.task, seed)
        if path.exists():
            return load_model(path, model, trained_from)
        config = dataclasses.replace(self.settings.train, seed=seed)
        if start == "continued":
            model.load_state_dict(self.baseline(0).state_dict())
        elif of.longer:
            config = dataclasses.replace(config, epochs=2 * config.epochs)
        task = self.task
        if of.augment:
            task = dataclasses.replace(task, augment=self._hide_at_random)
        fit(model, task, config, supervision, device=self.device)
        save_model(path, model, trained_from)
        return model

    def _hide_at_random(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Every example as one of its variants, drawn anew each time; the search's masks used as augmentation."""
        n = self.settings.sampler.count(self.regions.count(batch)).cpu()
        index = (torch.rand(len(batch), generator=generator) * n).long().clamp(max=n - 1).to(batch.device)
        rows = torch.arange(len(batch), device=batch.device)
        return self.regions.variants(batch, batch, rows, index, self.settings.sampler)[0]

    def baseline(self, k: int) -> nn.Module:
        """The k-th baseline; they differ in initial weights and batch order, the 0-th is *the* baseline."""
        return self.net(f"baseline-{k}", self.seed + 1000 * k)

    def surrogates(self, name: str, teachers: list[nn.Module], selector: str, score: str) -> Surrogates:
        """What `teachers` find on the training examples: loaded if it was searched before, else searched and saved."""
        path = self.folder / f"surrogates-{name}-{selector}-{score}.safetensors"
        header = {"from": config_hash(self.hash, name, len(teachers), selector, score)}
        if path.exists():
            return Surrogates.load(path, header)
        batch = self._on_device(teachers)
        found = find_surrogates(
            teachers, batch, self.settings.sampler, selector=selector, score=score, regions=self.regions
        ).to("cpu")
        found.save(path, header)
        return found

    def _on_device(self, teachers: list[nn.Module]) -> Batch:
        """The training examples on the device, where the teachers are put too."""
        device = pick_device(self.device)
        for teacher in teachers:
            teacher.to(device)
        return self.train_batch.to(device)

    def target(self, of: Target) -> Tensor:
        """(N, R): the targets of a condition, distributions over the regions that exist."""
        if of.kind == "uniform":
            return targets.uniform(self.exists)
        if of.kind == "oracle":
            return self._oracle()
        teachers = [self.baseline(k) for k in range(of.teachers)]
        name = f"baseline-x{of.teachers}"
        if of.kind == "random_variant":
            n = self.settings.sampler.count(self.regions.count(self.train_batch))
            index = targets.random_variant(n, self.train_batch.ids, self.seed)
            batch = self._on_device(teachers)
            index = index.to(batch.device)
            _, attention = replay(teachers, batch, self.settings.sampler, index, regions=self.regions)
            return self._distribution(attention)
        found = self.surrogates(name, teachers, of.selector, of.score)
        if of.kind == "self":
            return self._distribution(found.clean_attention)
        first = self._distribution(found.attention, of.temperature)
        if of.kind == "shuffled":
            return targets.shuffled(first, self._exists_as(first), self.seed)
        if of.kind == "inverted":
            return targets.inverted(first, self._exists_as(first))
        return first if of.rounds == 1 else self._second_round(of, first)

    def _second_round(self, of: Target, first: Tensor) -> Tensor:
        """Students of the first targets become the teachers; what they find is weighed with where they look."""
        supervision = self.supervision(first, self.settings.weight)
        name = f"student-{of.selector}-{of.score}-x{of.teachers}"
        students = [self.net(f"{name}-{k}", self.seed + 1000 * k, supervision) for k in range(of.teachers)]
        found = self.surrogates(name, students, of.selector, of.score)
        target = self._distribution(found.attention)
        clean = self._distribution(found.clean_attention)
        return targets.product(target, clean, self._exists_as(target))

    def _oracle(self) -> Tensor:
        boxes, image = self.train_batch.boxes, self.train_batch.image
        if boxes is None:
            raise ValueError(f"the oracle needs ground-truth boxes, {self.task.name} has none")
        return self._distribution(box_distribution(boxes, tuple(image.shape[-2:]), self.regions.grid))

    def _exists_as(self, target: Tensor) -> Tensor:
        """`exists`, as wide as `target` (models that attend to padding have wider maps)."""
        return torch.nn.functional.pad(self.exists, (0, target.shape[1] - self.exists.shape[1]))

    def _distribution(self, target: Tensor, temperature: float = 1.0) -> Tensor:
        target = target.cpu()
        return prepare_target(target, self._exists_as(target), temperature)

    def supervision(self, target: Tensor, weight: float) -> Supervision:
        return Supervision(self.train_batch.ids, target, self.settings.loss, weight)

    def trained(self, name: str, start: str) -> nn.Module:
        """The net of a condition, trained if it was not before.

        Raises:
            ValueError: if the condition is unknown or has no such start.
        """
        of = condition(name)
        if start not in of.starts:
            raise ValueError(f"condition {name!r} starts from {' or '.join(of.starts)}, got {start!r}")
        if of.ensemble:
            return Ensemble(self.baseline(k) for k in range(of.ensemble))
        if of == PLAIN:
            return self.baseline(0)
        supervision = None
        if of.target is not None:
            weight = self.settings.weight if start == "scratch" else self.settings.continued_weight
            supervision = self.supervision(self.target(of.target), weight)
        return self.net(f"{name}-{start}", self.seed, supervision, start=start, of=of)

    def run(self, name: str, start: str) -> dict[str, object]:
        """Train and measure one condition.

        Returns:
            The row: task, condition, start, seed, accuracies, attention quality on test, quality of the targets on
            training examples, seconds, config hash, versions and host.
        """
        began = time.perf_counter()
        net = self.trained(name, start)
        row: dict[str, object] = self.quality.of_model(net, self.task, self.device)
        target = condition(name).target
        if target is not None:
            row |= self.quality.of_targets(self.target(target), self.train_batch)
        return row | {"seconds": round(time.perf_counter() - began, 2)}

    def row(self, name: str, start: str, profile: str) -> dict[str, object]:
        """`run`, with what names the row; read from disk if this very row was made before."""
        path = self.folder / "rows" / f"{name}-{start}.json"
        if path.exists():
            return json.loads(path.read_text())
        named = {"task": self.task.name, "condition": name, "start": start, "seed": self.seed, "profile": profile}
        row = named | {"n_train": len(self.task.train)} | self.run(name, start) | provenance(self.hash)
        write_atomically(path, json.dumps(row).encode())
        return row


def provenance(made_from: str) -> dict[str, str]:
    """What a row was made from and on: config hash, versions, host."""
    versions = " ".join(f"{name} {version(name)}" for name in ("ssan", "torch", "torchvision", "numpy"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    host = f"{platform.system()} {platform.machine()}, {device}, {torch.get_num_threads()} thread"
    return {"config": made_from, "versions": f"python {platform.python_version()} {versions}", "host": host}
