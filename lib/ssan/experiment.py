"""One task, one seed: trains baselines, finds surrogates and runs conditions, keeping everything it made on disk."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.checkpoint import config_hash, load_model, notes_of, save_model, write_atomically
from ssan.conditions import CONDITIONS, PLAIN, Condition, Target, condition, unsupervised
from ssan.data.task import Task
from ssan.masking import Masking
from ssan.models.ensemble import Ensemble
from ssan.quality import Quality
from ssan.regions import Regions
from ssan.rounds import make_target
from ssan.samplers import Sampler
from ssan.search import find_surrogates
from ssan.settings import Settings
from ssan.surrogates import Surrogates, peek
from ssan.training import Supervision, fit, pick_device


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
        # Files that were needed since `cost` was last asked: seconds it took to make each.
        self._needed: dict[Path, float] = {}

    @cached_property
    def train_batch(self) -> Batch:
        """All training examples in memory."""
        return self.task.train.select(torch.arange(len(self.task.train)))

    @cached_property
    def quality(self) -> Quality:
        """Measures attention on held-out examples."""
        n = self.settings.n_quality or len(self.task.test)
        return Quality(self.task.test.select(torch.arange(min(n, len(self.task.test)))), self.regions)

    @cached_property
    def masking(self) -> Masking:
        """The task with training inputs masked at random, by the same masks that the search uses."""
        return Masking(self.task, self.settings.sampler)

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
        rows: Tensor | None = None,
    ) -> nn.Module:
        """The net called `name`: loaded if it was trained before, else trained and saved.

        Args:
            name: names the checkpoint, together with a hash of everything that decides it.
            seed: of initial weights, dropout and batch order.
            supervision: targets, or None.
            start: `scratch`, or `continued` from the baseline.
            of: the condition, for what it says of targets, epochs and augmentation.
            rows: which training examples it sees, None for all; `name` must say so.
        """
        return self._nets(1, name, seed, supervision, start, of, rows)[0]

    def snapshots(
        self, n: int, name: str, seed: int, supervision: Supervision | None = None, *, of: Condition = PLAIN
    ) -> list[nn.Module]:
        """`n` nets from one training: `net` at evenly spaced times, the last of them the end.

        Raises:
            ValueError: if there are fewer epochs than snapshots, or the training keeps another epoch than the last.
        """
        config = self.settings.train
        if config.keep != "last" or not 1 <= n <= config.epochs:
            raise ValueError(f"{n} snapshots need as many epochs and keep='last', got {config}")
        return self._nets(n, name, seed, supervision, "scratch", of, None)

    def _nets(self, n, name, seed, supervision, start, of, rows) -> list[nn.Module]:
        """The snapshots, the last of which is the net itself; read if all are there, else all made in one training."""
        bare = dataclasses.replace(of, name="", role="", starts=())
        trained_from = config_hash(self.hash, name, seed, start, bare)
        config = self.settings.training(of, seed, start)
        # Asked for whether or not the net is there already: what it goes on from is a part of its cost.
        origin = self.baseline(0) if start == "continued" else None
        times = [config.epochs * (k + 1) // n for k in range(n)]
        hashes = {t: config_hash(trained_from, "epoch", t) for t in times[:-1]} | {times[-1]: trained_from}
        paths = {t: self.folder / f"{name}-{h}.safetensors" for t, h in hashes.items()}
        end = paths[times[-1]]
        if all(path.exists() for path in paths.values()):
            self._needed[end] = float(notes_of(end).get("seconds", "nan"))
            return [load_model(paths[t], self.make_model(self.task, seed), hashes[t]) for t in times]

        def look(epoch: int, model: nn.Module) -> None:
            if epoch in hashes and epoch != times[-1]:
                save_model(paths[epoch], model, hashes[epoch])

        model = self.make_model(self.task, seed)
        if origin is not None:
            model.load_state_dict(origin.state_dict())
        task = self.task if rows is None else self.task.training_on(rows)
        if of.augment:
            masking = self.masking if rows is None else Masking(task, self.settings.sampler)
            task = masking.of(model)
        fitted = fit(model, task, config, supervision, device=self.device, after_epoch=look)
        save_model(end, model, trained_from, seconds=f"{fitted.seconds:.3f}")
        self._needed[end] = fitted.seconds
        earlier = [load_model(paths[t], self.make_model(self.task, seed), hashes[t]) for t in times[:-1]]
        return [*earlier, model]

    def baseline(self, k: int, *, augmented: bool = False) -> nn.Module:
        """The k-th baseline; they differ in initial weights and batch order, the 0-th is *the* baseline.

        Args:
            k: which.
            augmented: trained on inputs with regions hidden at random.
        """
        of = unsupervised(augmented=augmented)
        return self.net(f"{of.name}-{k}", self.seed + 1000 * k, of=of)

    def surrogates(
        self,
        name: str,
        teachers: list[nn.Module],
        selector: str,
        score: str,
        *,
        sampler: Sampler | None = None,
        regions: Regions | None = None,
        rows: Tensor | None = None,
    ) -> Surrogates:
        """What `teachers` find on the training examples: loaded if it was searched before, else searched and saved.

        Args:
            name: says who the teachers are; two sets of teachers must not share one.
            teachers: the nets.
            selector, score: see `find_surrogates`.
            sampler, regions: other masks, and what they hide; by default the study's and the task's.
            rows: which training examples, None for all; `name` must say so.
        """
        sampler, regions = sampler or self.settings.sampler, regions or self.regions
        made_from = config_hash(self.hash, name, len(teachers), selector, score, sampler, regions)
        path = self.folder / f"surrogates-{selector}-{score}-{made_from}.safetensors"
        if path.exists():
            self._needed[path] = float(peek(path)[0].get("seconds", "nan"))
            return Surrogates.load(path, {"from": made_from})
        batch, began = self.on_device(teachers), time.perf_counter()
        if rows is not None:
            batch = batch.select(rows.to(batch.device))
        found = find_surrogates(teachers, batch, sampler, selector=selector, score=score, regions=regions).to("cpu")
        self._needed[path] = seconds = round(time.perf_counter() - began, 3)
        found.save(path, {"from": made_from, "seconds": seconds})
        return found

    def on_device(self, teachers: list[nn.Module]) -> Batch:
        """The training examples on the device, where the teachers are put too."""
        device = pick_device(self.device)
        for teacher in teachers:
            teacher.to(device)
        return self.train_batch.to(device)

    def target(self, of: Target) -> Tensor:
        """(N, R): the targets of a condition, distributions over the regions that exist."""
        return make_target(self, of)

    def supervision(self, target: Tensor, weight: float, of: Condition = PLAIN) -> Supervision:
        """The study's attention loss with these targets, or the loss, weight and schedule of a condition of its own."""
        loss = of.loss or self.settings.loss
        weight = weight if of.weight is None else of.weight
        return Supervision(self.train_batch.ids, target, loss, weight, of.schedule)

    def trained(self, name: str | Condition, start: str = "scratch") -> nn.Module:
        """The net of a condition, trained if it was not before.

        Raises:
            ValueError: if the condition is unknown or has no such start.
        """
        of = condition(name) if isinstance(name, str) else name
        if start not in of.starts:
            raise ValueError(f"condition {of.name!r} starts from {' or '.join(of.starts)}, got {start!r}")
        if of.ensemble:
            return Ensemble(self.baseline(k) for k in range(of.ensemble))
        if of in (PLAIN, condition("augmentation")):
            return self.baseline(0, augmented=of.augment)
        supervision = None
        if of.target is not None:
            weight = self.settings.weight if start == "scratch" else self.settings.continued_weight
            supervision = self.supervision(self.target(of.target), weight, of)
        # Cells of several ablations may be the same condition under other names: they are trained once.
        called = of.name if of.name in CONDITIONS else "cell"
        return self.net(f"{called}-{start}", self.seed, supervision, start=start, of=of)

    def run(self, name: str | Condition, start: str) -> dict[str, object]:
        """Train and measure one condition.

        Returns:
            The row: accuracies, attention quality on test, quality of the targets on training examples, and what it
            cost: `trainings` (of the usual length) and `searches` that it needed, those it shares with other conditions
            included, and the `seconds` all of them took when they were made.
        """
        of = condition(name) if isinstance(name, str) else name
        self._needed.clear()
        net = self.trained(of, start)
        needed = dict(self._needed)
        searches = sum(path.name.startswith("surrogates-") for path in needed)
        row: dict[str, object] = self.quality.of_model(net, self.task, self.device)
        if of.target is not None:
            row |= self.quality.of_targets(self.target(of.target), self.train_batch)
        trainings = len(needed) - searches + (of.longer and start == "scratch")
        cost = {"trainings": trainings, "searches": searches, "seconds": round(sum(needed.values()), 2)}
        return row | cost

    def row(self, name: str | Condition, start: str, profile: str, **named: object) -> dict[str, object]:
        """`run`, with what names the row; read from disk if this very row was made before.

        Args:
            name, start: see `trained`.
            profile: the study's profile, for the row.
            **named: further columns.
        """
        of = condition(name) if isinstance(name, str) else name
        key = config_hash(self.hash, of, start, named)
        path = self.folder / "rows" / f"{of.name}-{start}-{key}.json"
        if path.exists():
            return json.loads(path.read_text())
        says = {"task": self.task.name, "condition": of.name, "start": start, "seed": self.seed, "profile": profile}
        says |= {"n_train": len(self.task.train)} | named
        row = says | self.run(name, start) | provenance(key)
        write_atomically(path, json.dumps(row).encode())
        return row


def provenance(made_from: str) -> dict[str, str]:
    """What a row was made from and on: config hash, versions, host."""
    versions = " ".join(f"{name} {version(name)}" for name in ("ssan", "torch", "torchvision", "numpy"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    host = f"{platform.system()} {platform.machine()}, {device}, {torch.get_num_threads()} thread"
    return {"config": made_from, "versions": f"python {platform.python_version()} {versions}", "host": host}
