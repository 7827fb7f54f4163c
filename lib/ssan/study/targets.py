"""How the targets of a condition come about: teachers, what they hand on, and the students who teach the next round.

Controls are trained like the supervised model on targets that carry no new information. If they do as well, the gain is
regularisation or longer training, and not where the surrogates point.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssan.attention import AttentionModel, as_distribution
from ssan.metrics import box_distribution, replay
from ssan.runtime import pick_device
from ssan.samplers import rng
from ssan.study.conditions import Condition, Round, Target, unsupervised
from ssan.study.maps import attention_x_gradient, centre
from ssan.training import predict, prepare_target

if TYPE_CHECKING:
    from ssan.study.experiment import Experiment


def make_target(experiment: Experiment, target: Target) -> Tensor:
    """(N, R): the targets of a condition, distributions over the regions that exist."""
    last = target.rounds[-1]
    if last.gives == "uniform":
        maps = as_distribution(torch.zeros(experiment.exists.shape), experiment.exists)
    else:
        if last.gives == "centre":
            made = centre(_grid(experiment)).repeat(len(experiment.exists), 1)
        else:
            made = _boxes(experiment) if last.gives == "oracle" else _handed_on(experiment, target, last)
        maps = prepare_target(made, _exists(experiment, made), last.temperature)
    if target.change == "aligned":
        occluded = _handed_on(experiment, target, Round(), "ridge")
        return aligned(maps, occluded, _grid(experiment))
    changes = {"shuffled": functools.partial(shuffled, seed=experiment.seed), "inverted": inverted, "average": average}
    return changes[target.change](maps, _exists(experiment, maps)) if target.change else maps


def teachers(experiment: Experiment, target: Target) -> tuple[str, list[AttentionModel]]:
    """The teachers of the last round, and a name that says who they are."""
    condition, supervision = unsupervised(augmented=target.augmented), None
    kind, name = condition.name, f"{'augmented' if target.augmented else 'baseline'}-x{target.teachers}"
    if len(target.rounds) > 1:
        before = dataclasses.replace(target, rounds=target.rounds[:-1], change=None)
        condition = Condition("student", before, starts=("scratch",), augment=target.augmented)
        supervision = experiment.supervision(make_target(experiment, before), experiment.settings.weight)
        kind, name = "student", f"students of {before}"
    seeds = [experiment.seed + 1000 * k for k in range(target.teachers)]
    return name, [experiment.net(f"{kind}-{k}", seed, supervision, condition) for k, seed in enumerate(seeds)]


def shuffled(target: Tensor, exists: Tensor, seed: int) -> Tensor:
    """Every example gets the target of another one, drawn at random; a single example keeps its own.

    Maps (B, R) are cut to the regions the receiver has (`exists`) and normalised again; uniform where nothing is left.
    """
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed)).to(target.device)
    # Walking the random order as one cycle gives everyone somebody else's target.
    source = torch.empty_like(order)
    source[order] = order.roll(1)
    return as_distribution(target[source], exists)


def inverted(target: Tensor, exists: Tensor) -> Tensor:
    """(B, R): most weight where `target` has least: `max - target`, normalised; uniform where the target is flat."""
    top = target.masked_fill(~exists, 0).amax(-1, keepdim=True)
    return as_distribution((top - target).clamp(min=0), exists)


def average(target: Tensor, exists: Tensor) -> Tensor:
    """(B, R): every example gets the mean of all targets, cut to its own regions and normalised again."""
    return as_distribution(target.mean(0).expand_as(target), exists)


def shifted(target: Tensor, grid: tuple[int, int], by: tuple[float, float]) -> Tensor:
    """Maps (B, R) moved by (x, y) cells, bilinear, and normalised again; what leaves the grid is lost."""
    cells = [torch.arange(n, dtype=target.dtype, device=target.device) for n in grid]
    y, x = ((1 - (k[:, None] - k - step).abs()).clamp(min=0) for k, step in zip(cells, by[::-1], strict=True))
    return as_distribution((y @ target.unflatten(1, tuple(grid)) @ x.T).flatten(1))


def aligned(target: Tensor, occluded: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps (B, R) moved by the one shift of at most a cell that brings them closest to maps from hidden pixels.

    Shifts of -1, -1/2, 0, 1/2, 1 cells in x and in y; that of the largest mean cosine with `occluded` (B, R), of equals
    the shortest. It looks at no boxes: what it mends is how cells lie over pixels, not what is looked at. Our design.
    """
    steps = sorted(itertools.product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=2), key=lambda by: math.hypot(*by))
    tried = [shifted(target, grid, by) for by in steps]
    closeness = torch.stack([torch.cosine_similarity(maps, occluded, dim=-1).mean() for maps in tried])
    return tried[int(closeness.argmax())]


def product(first: Tensor, second: Tensor, exists: Tensor, eps: float = 1e-4) -> Tensor:
    """(B, R): the normalised product of two maps, each with `eps` added: weight where both have it. Our design."""
    return as_distribution((first + eps) * (second + eps), exists)


def random_variant(n_variants: Tensor, ids: Tensor, seed: int) -> Tensor:
    """(B,) int64: for every example a variant drawn uniformly from 0 to `n_variants` - 1."""
    draw = rng.uniform(seed, ids, torch.zeros_like(ids), 1).squeeze(1)
    return (draw.double() * n_variants).long().clamp(max=n_variants - 1)


def _handed_on(experiment: Experiment, target: Target, last: Round, selector: str | None = None) -> Tensor:
    (name, nets), batch = teachers(experiment, target), experiment.train_batch
    if last.gives == "attention":
        return torch.stack([predict(net, batch, device=experiment.device)[1] for net in nets]).mean(0)
    if last.gives == "gradient":
        batch = batch.to(pick_device(experiment.device))
        return torch.stack([attention_x_gradient(net, batch) for net in nets]).mean(0)
    sampler, regions = target.sampler or experiment.settings.sampler, experiment.regions
    if last.gives == "random_variant":
        index = random_variant(sampler.count(regions.count(batch), regions.grid), batch.ids, experiment.seed)
        return replay(nets, batch, sampler, index, regions=regions, device=experiment.device)[1]
    selector = selector or target.selector
    surrogates = experiment.surrogates(name, nets, selector, target.score, sampler=sampler, regions=regions)
    if last.gives == "surrogate":
        return surrogates.attention
    exists = _exists(experiment, surrogates.attention)
    return product(*(prepare_target(m, exists) for m in (surrogates.attention, surrogates.clean_attention)), exists)


def _boxes(experiment: Experiment) -> Tensor:
    boxes, image = experiment.train_batch.boxes, experiment.train_batch.image
    if boxes is None:
        raise ValueError(f"the oracle needs true boxes, {experiment.task.name} has none")
    return box_distribution(boxes, tuple(image.shape[-2:]), experiment.regions.grid)


def _grid(experiment: Experiment) -> tuple[int, int]:
    if experiment.regions.grid is None:
        raise ValueError(f"centre and aligned targets need cells of a grid, {experiment.task.name} has none")
    return experiment.regions.grid


def _exists(experiment: Experiment, maps: Tensor) -> Tensor:
    """(N, R) bool: which regions exist, as wide as `maps` (models that attend to padding have wider maps)."""
    return torch.nn.functional.pad(experiment.exists, (0, maps.shape[1] - experiment.exists.shape[1]))
