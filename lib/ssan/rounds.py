"""How the targets of a condition come about: teachers, what they hand on, and the students who teach the next round."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssan import targets
from ssan.conditions import Condition, CrossFitted, Round, Snapshots, Target, unsupervised
from ssan.data.pixels import ImageSplit
from ssan.losses import prepare_target
from ssan.metrics import box_distribution
from ssan.regions import ImageGrid, Regions
from ssan.search import replay
from ssan.training import predict

if TYPE_CHECKING:
    from ssan.experiment import Experiment


def make_target(one: Experiment, of: Target) -> Tensor:
    """(N, R): the targets of a condition, distributions over the regions that exist."""
    last = of.rounds[-1]
    if last.gives == "uniform":
        target = targets.uniform(one.exists)
    elif last.gives == "oracle":
        target = _distribution(one, _boxes(one), last)
    else:
        target = _given(one, of, last)
    if of.change == "shuffled":
        return targets.shuffled(target, exists_as(one, target), one.seed)
    if of.change == "inverted":
        return targets.inverted(target, exists_as(one, target))
    return target


def teachers(one: Experiment, of: Target) -> tuple[str, list[nn.Module]]:
    """The teachers of the last round, and a name that says who they are."""
    snapshots = isinstance(of, Snapshots)
    if len(of.rounds) == 1 and snapshots:
        first = unsupervised(augmented=of.augmented)
        nets = one.snapshots(of.teachers, f"{first.name}-0", one.seed, of=first)
        return f"{first.name}, {of.teachers} snapshots", nets
    if len(of.rounds) == 1:
        name = f"{'augmented' if of.augmented else 'baseline'}-x{of.teachers}"
        return name, [one.baseline(k, augmented=of.augmented) for k in range(of.teachers)]
    before = dataclasses.replace(of, rounds=of.rounds[:-1], change=None)
    student = Condition("student", before, starts=("scratch",), augment=of.augmented)
    supervision = one.supervision(make_target(one, before), one.settings.weight)
    if snapshots:
        return f"students of {before}", one.snapshots(of.teachers, "student-0", one.seed, supervision, of=student)
    nets = [one.net(f"student-{k}", one.seed + 1000 * k, supervision, of=student) for k in range(of.teachers)]
    return f"students of {before}", nets


def regions_of(one: Experiment, of: Target) -> Regions:
    """What masks hide: the task's regions, with the target's own fill where it names one.

    Raises:
        ValueError: if there is a fill and no image to fill.
    """
    if of.fill is None:
        return one.regions
    if not isinstance(one.regions, ImageGrid):
        raise ValueError(f"fill={of.fill!r} is for cells of images, {one.task.name} has {type(one.regions).__name__}")
    return dataclasses.replace(one.regions, fill=of.fill)


def folds(one: Experiment, n: int) -> Tensor:
    """(N,) int64 in [0, n): the fold of each training example, of nearly equal sizes; an image is in one fold."""
    split = one.task.train
    group = split.image_of.unique(return_inverse=True)[1] if isinstance(split, ImageSplit) else torch.arange(len(split))
    order = torch.randperm(int(group.max()) + 1, generator=torch.Generator().manual_seed(one.seed))
    return order[group] % n


def _crossfitted(one: Experiment, of: CrossFitted) -> Tensor:
    """(N, R): what the teachers of each fold, who have not been trained on it, find on it.

    A pretrained CNN is the same for all of them: it has seen every image, but no question and no answer.
    """
    fold, first = folds(one, of.folds), unsupervised(augmented=of.augmented)
    found: list[Tensor] = []
    for k in range(of.folds):
        name, others, own = f"without-{k}-of-{of.folds}", (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
        nets = [
            one.net(f"{first.name}-{name}-{j}", one.seed + 1000 * j, of=first, rows=others) for j in range(of.teachers)
        ]
        chosen = {"sampler": of.sampler, "regions": regions_of(one, of), "rows": own}
        found.append(one.surrogates(f"{first.name} {name}", nets, of.selector, of.score, **chosen).attention)
    width = max(maps.shape[1] for maps in found)
    target = torch.zeros(len(fold), width)
    for k, maps in enumerate(found):
        target[fold == k, : maps.shape[1]] = maps
    return target


def _given(one: Experiment, of: Target, last: Round) -> Tensor:
    if isinstance(of, CrossFitted):
        return _distribution(one, _crossfitted(one, of), last)
    name, nets = teachers(one, of)
    if last.gives == "random_variant":
        sampler, regions = of.sampler or one.settings.sampler, regions_of(one, of)
        n = sampler.count(regions.count(one.train_batch))
        index = targets.random_variant(n, one.train_batch.ids, one.seed)
        batch = one.on_device(nets)
        return _distribution(one, replay(nets, batch, sampler, index.to(batch.device), regions=regions)[1], last)
    if last.gives == "attention":
        return _distribution(one, _attention(one, nets), last)
    found = one.surrogates(name, nets, of.selector, of.score, sampler=of.sampler, regions=regions_of(one, of))
    if last.gives == "surrogate":
        return _distribution(one, found.attention, last)
    target, clean = (_distribution(one, maps, Round()) for maps in (found.attention, found.clean_attention))
    return _distribution(one, targets.product(target, clean, exists_as(one, target)), last)


def _attention(one: Experiment, nets: list[nn.Module]) -> Tensor:
    """(N, R): the mean attention of `nets` on the clean training examples."""
    return torch.stack([predict(net, one.train_batch, device=one.device)[1] for net in nets]).mean(0)


def _boxes(one: Experiment) -> Tensor:
    boxes, image = one.train_batch.boxes, one.train_batch.image
    if boxes is None:
        raise ValueError(f"the oracle needs ground-truth boxes, {one.task.name} has none")
    return box_distribution(boxes, tuple(image.shape[-2:]), one.regions.grid)


def exists_as(one: Experiment, target: Tensor) -> Tensor:
    """(N, R) bool: which regions exist, as wide as `target` (models that attend to padding have wider maps)."""
    return torch.nn.functional.pad(one.exists, (0, target.shape[1] - one.exists.shape[1]))


def _distribution(one: Experiment, target: Tensor, of: Round) -> Tensor:
    target = target.cpu()
    return prepare_target(target, exists_as(one, target), of.temperature)
