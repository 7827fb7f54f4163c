"""One task, one seed: trains baselines, finds surrogates and runs conditions, keeping everything it made on disk."""

from __future__ import annotations

import dataclasses
import functools
import math
import platform
import sys
import time
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from ssan.attention import AttentionModel
from ssan.files import config_hash, read_json, save_model, write_json
from ssan.models.ensemble import Ensemble
from ssan.regions import Regions
from ssan.runtime import pick_device
from ssan.samplers import Sampler
from ssan.search import Surrogates, find_surrogates
from ssan.study.conditions import AUGMENTED, CONDITIONS, PLAIN, Condition, Target, condition, unsupervised
from ssan.study.maps import MAPS
from ssan.study.masking import Masking
from ssan.study.measure import Quality
from ssan.study.plans import Settings
from ssan.study.rivals import OBJECTIVES, Together
from ssan.study.store import Store
from ssan.study.targets import make_target
from ssan.task import Batch, Task
from ssan.training import Supervision, fit


class Experiment:
    """One task, one seed. Every trained net and every search is made once and read from `folder` afterwards.

    Args:
        settings: what decides the rows.
        seed: names the training subset, the initial weights and the order of batches.
        task: already cut to its training subset.
        make_model: `(task, seed) -> model` with initial weights.
        folder: where checkpoints, surrogates and rows of this seed are kept.
        device: where to train and search.
    """

    def __init__(
        self, settings: Settings, seed: int, task: Task, make_model: Callable, folder: Path, device: str = "auto"
    ) -> None:
        self.settings, self.seed, self.task = settings, seed, task
        self.make_model, self.store, self.device = make_model, Store(folder), device
        self.hash = config_hash(settings, seed, task.fingerprint())

    @cached_property
    def train_batch(self) -> Batch:
        """All training examples in memory."""
        return self.task.train.select(torch.arange(len(self.task.train)))

    @cached_property
    def quality(self) -> Quality:
        """Measures attention on held-out examples."""
        rows = torch.arange(0, len(self.task.test), self.settings.quality_every)[: self.settings.n_quality]
        return Quality(self.task.test.select(rows), self.regions)

    @cached_property
    def baseline_drop(self) -> Tensor | None:
        """(B, R): what each word costs the first baseline when it is left out; None for images."""
        if self.quality.batch.image is not None:
            return None
        return self.quality.drop(self.baseline(0), self.device)

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
        return self.regions.exists(self.train_batch)

    def net(
        self,
        name: str,
        seed: int,
        supervision: Supervision | None = None,
        condition: Condition = PLAIN,
        start: str = "scratch",
    ) -> AttentionModel:
        """The net called `name`: loaded if it was trained before, else trained and saved.

        Args:
            name: of the checkpoint, together with a hash of everything that decides it.
            seed: of initial weights, dropout and batch order.
            supervision, condition: the targets, and what it says of them, of epochs and of augmentation.
            start: `scratch`, or `continued` from the baseline.
        """
        decided_by = dataclasses.replace(condition, name="", role="", starts=(), tags=(), shows=None)
        made_from = config_hash(self.hash, name, seed, start, decided_by)
        # Asked for whether or not the net is there already: what it goes on from is a part of its cost.
        origin = self.baseline(0) if start == "continued" else None

        def train(path: Path) -> None:
            model = self.make_model(self.task, seed)
            if origin is not None:
                model.load_state_dict(origin.state_dict())
            task = self.masking.task_for(model) if condition.augment else self.task
            config = self.settings.training(condition, seed, start)
            if condition.objective is not None:
                model.auxiliary_loss = functools.partial(OBJECTIVES[condition.objective], model, regions=self.regions)
            fitted = fit(model, task, config, supervision, device=self.device)
            save_model(path, model, made_from, seconds=f"{fitted.seconds:.3f}")

        return self.store.net(name, made_from, lambda: self.make_model(self.task, seed), train)

    def baseline(self, k: int, *, augmented: bool = False) -> AttentionModel:
        """The k-th baseline, `augmented` on masked inputs; they differ in initial weights and batch order."""
        plain = unsupervised(augmented=augmented)
        return self.net(f"{plain.name}-{k}", self.seed + 1000 * k, condition=plain)

    def surrogates(
        self,
        name: str,
        teachers: list[AttentionModel],
        selector: str,
        score: str,
        *,
        sampler: Sampler | None = None,
        regions: Regions | None = None,
    ) -> Surrogates:
        """What `teachers` find on the training examples: loaded if it was searched before, else searched and saved.

        Args:
            name: says who the teachers are; no two sets may share one.
            teachers, selector, score: see `find_surrogates`.
            sampler, regions: other masks, and what they hide; by default the study's and the task's.
        """
        sampler, regions = sampler or self.settings.sampler, regions or self.regions
        together = self.settings.together if selector in self.settings.together else (selector,)

        def search() -> tuple[dict[str, Surrogates], float]:
            began = time.perf_counter()
            options = {"selector": Together(together), "score": score, "regions": regions, "device": self.device}
            result = find_surrogates(teachers, self.train_batch, sampler, **options)
            return Together.apart(result, together), time.perf_counter() - began

        def hash_of(each: str) -> str:
            return config_hash(self.hash, name, len(teachers), each, score, sampler, regions)

        return self.store.surrogates(selector, score, {each: hash_of(each) for each in together}, search)

    def target(self, target: Target) -> Tensor:
        """(N, R): the targets of a condition, distributions over the regions that exist."""
        return make_target(self, target)

    def supervision(self, target: Tensor, weight: float, condition: Condition = PLAIN) -> Supervision:
        """The study's attention loss with these targets, or the loss, weight and schedule that a condition brings."""
        loss = condition.loss or self.settings.loss
        weight = weight if condition.weight is None else condition.weight
        return Supervision(self.train_batch.ids, target, loss, weight, condition.schedule)

    def trained(self, name: str | Condition, start: str = "scratch") -> AttentionModel:
        """The net of a condition, trained if it was not before; a ValueError if it has no such start."""
        chosen = condition(name)
        if start not in chosen.starts:
            raise ValueError(f"condition {chosen.name!r} starts from {' or '.join(chosen.starts)}, got {start!r}")
        if chosen.ensemble:
            return Ensemble(self.baseline(k) for k in range(chosen.ensemble))
        called = chosen.name.partition(":")[0]  # baseline:rollout is a map of the baseline's net
        if called in (PLAIN.name, AUGMENTED.name) and chosen.target is None:
            return self.baseline(0, augmented=chosen.augment)
        supervision = None
        if chosen.target is not None:
            weight = self.settings.weight if start == "scratch" else self.settings.continued_weight
            supervision = self.supervision(self.target(chosen.target), weight, chosen)
        # Cells of several ablations may be the same condition under other names: they are trained once.
        called = called if called in CONDITIONS else "cell"
        return self.net(f"{called}-{start}", self.seed, supervision, chosen, start)

    def run(self, name: str | Condition, start: str) -> dict[str, object]:
        """Train and measure one condition.

        Returns:
            Accuracies, attention quality on test, quality of the targets on training examples, and what it cost:
            `trainings` (of the usual length) and `searches` that it needed, those it shares with other conditions
            included, and the `seconds` all of them took when they were made; `forwards`, the passes a map costs.
        """
        chosen = condition(name)
        others = self.baseline_drop
        self.store.needed.clear()
        net = self.trained(chosen, start)
        cost = self.store.cost()
        cost["trainings"] += chosen.longer and start == "scratch"
        shown, forwards = None, 1.0
        if chosen.shows is not None:
            examples, (make, each) = self.quality.batch.to(pick_device(self.device)), MAPS[chosen.shows]
            shown = make(self, net.to(examples.device), examples)
            forwards = float((self.regions.count(examples) + 1).double().mean()) if each is None else float(each)
        row: dict[str, object] = self.quality.of_model(net, self.task, self.device, shown, others)
        if chosen.target is not None and shown is None:
            row |= self.quality.of_targets(self.target(chosen.target), self.train_batch)
        return row | {"forwards": forwards} | cost

    def row(self, name: str | Condition, start: str, profile: str, **named: object) -> dict[str, object]:
        """`run`, with columns that name the row (`profile`, `named`); read from disk if this row was made before.

        A ValueError if what is on disk was changed or is another row, or a measured number is NaN or infinite.
        """
        chosen = condition(name)
        key = config_hash(self.hash, dataclasses.replace(chosen, tags=()), start, named)
        path = self.store.folder / "rows" / f"{chosen.name}-{start}-{key}.json"
        row = {"task": self.task.name, "condition": chosen.name, "start": start, "seed": self.seed, "profile": profile}
        row |= {"n_train": len(self.task.train)} | named
        if path.exists():
            made = read_json(path)
            wrong = {name: made.get(name) for name, value in (row | {"config": key}).items() if made.get(name) != value}
            if wrong:
                raise ValueError(f"{path} is another row than {row}, its {wrong}: delete it, and it is made anew")
            return made
        row |= self.run(chosen, start)
        if bad := [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]:
            raise ValueError(f"{', '.join(bad)} of the row {path.name} is no finite number, so it was not kept")
        row |= provenance(key)
        write_json(path, row)
        return row


def provenance(made_from: str) -> dict[str, str]:
    """What a row was made from and on: config hash, versions, host."""
    used = ["ssan", "torch", "torchvision", "numpy", *(["transformers"] if "transformers" in sys.modules else [])]
    versions = " ".join(f"{name} {version(name)}" for name in used)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    host = f"{platform.system()} {platform.machine()}, {device}, {torch.get_num_threads()} thread"
    return {"config": made_from, "versions": f"python {platform.python_version()} {versions}", "host": host}
