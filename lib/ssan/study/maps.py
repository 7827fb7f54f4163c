"""Maps that are judged in the place of a net's attention: such as know nothing, and explanations made afterwards.

All explain the true class's score, as the measures do. Explanations with a sign are moved up until their least is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssan.attention import AttentionModel, Output, as_distribution, evaluating
from ssan.metrics import box_distribution, leave_one_out
from ssan.models.attach import AttachedModel, batch_inputs
from ssan.regions import Regions
from ssan.samplers import rng
from ssan.search import SCORES
from ssan.task import Batch

if TYPE_CHECKING:
    from ssan.study.experiment import Experiment

STEPS, SAMPLES = 20, 100  # of integrated gradients; variants of KernelSHAP
GROUP = 32  # examples that a gradient is taken of together


def early(batch: Batch, regions: Regions) -> Tensor:
    """(B, R): the earlier a word, the more weight; no model is asked."""
    exists = regions.exists(batch)
    return as_distribution(torch.arange(exists.shape[1], 0, -1, device=exists.device) * exists.float(), exists)


def chance(batch: Batch, regions: Regions) -> Tensor:
    """(B, R): weights drawn at random, by the ids of the examples."""
    exists = regions.exists(batch)
    drawn = rng.uniform(0, batch.ids, torch.zeros_like(batch.ids), exists.shape[1])
    return as_distribution(drawn + 1e-6, exists)


def centre(grid: tuple[int, int]) -> Tensor:
    """(R,): all weight evenly on the cells nearest to the middle of the grid: 1, 2 or 4."""
    rows, columns = (((torch.arange(n) - (n - 1) / 2).abs() < 1).float() for n in grid)
    return as_distribution((rows[:, None] * columns).flatten())


def attention_x_gradient(model: AttentionModel, batch: Batch, score: str = "log_odds") -> Tensor:
    """(B, R): attention times the gradient of the true class's score with respect to it, clipped at 0, normalised.

    With several heads each is multiplied before they are averaged. Grad-CAM's idea, on weights; the authors' earlier
    supervision of attention takes such maps for targets. Uniform where no product is above 0.
    """
    parts = []
    for rows in torch.arange(len(batch), device=batch.device).split(GROUP):
        some = batch.select(rows)
        with evaluating([model]), torch.enable_grad():
            if isinstance(model, AttachedModel):
                with model.watching(some) as seen:
                    seen.append(model._call(some))
                logits, weights = model._logits(seen[0]), seen[1]
            else:
                logits, weights = model(some)
            (gradient,) = torch.autograd.grad(SCORES[score](logits, some.label).sum(), weights)
            product = (weights * gradient).detach().clamp(min=0) + 1e-12
            if isinstance(model, AttachedModel):
                parts.append(model.map_of(product, some).cpu())
            else:
                parts.append(as_distribution(model.attention_map(Output(logits, product))).cpu())
    return _joined(parts)


def rollout(model: AttachedModel, batch: Batch, regions: Regions) -> Tensor:
    """(B, R): attention through all layers, the product of `(A + I) / 2` at `[CLS]` (Abnar and Zuidema 2020)."""
    module, parts = model.detach(), []
    before = module.config._attn_implementation
    module.set_attn_implementation("eager")
    try:
        for rows in torch.arange(len(batch), device=batch.device).split(GROUP):
            some = batch.select(rows)
            with torch.no_grad(), evaluating([module]):
                layers = module(**batch_inputs(module.config, some), output_attentions=True).attentions
            through = torch.eye(layers[0].shape[-1], device=some.device)
            for weights in layers:
                through = (weights.mean(1) + torch.eye(weights.shape[-1], device=some.device)) / 2 @ through
            parts.append(as_distribution(regions.pool(through[:, 0], some), regions.exists(some)).cpu())
    finally:
        module.set_attn_implementation(before)
        model.open()
    return _joined(parts)


def integrated_gradients(model: AttachedModel, batch: Batch, regions: Regions) -> Tensor:
    """(B, R): captum's integrated gradients (Sundararajan et al. 2017) of word vectors, from all words hidden."""
    from captum.attr import LayerIntegratedGradients

    parts = []
    layer = model.module.get_input_embeddings()
    for rows in torch.arange(len(batch), device=batch.device).split(GROUP):
        some = batch.select(rows)

        def score(tokens: Tensor, lengths: Tensor, words: Tensor, label: Tensor) -> Tensor:
            given = Batch(torch.arange(len(tokens)), label, tokens=tokens, lengths=lengths, words=words)
            return SCORES["log_odds"](model._logits(model._call(given)), label)

        exists = regions.exists(some)
        nothing = regions.hide(some, torch.zeros_like(exists)).tokens
        with evaluating([model]), torch.enable_grad():
            given = {"baselines": nothing, "additional_forward_args": (some.lengths, some.words, some.label)}
            given |= {"n_steps": STEPS, "internal_batch_size": 64}
            made = LayerIntegratedGradients(score, layer).attribute(some.tokens, **given)
        parts.append(_raised(regions.pool(made.sum(-1).detach(), some), exists))
    return _joined(parts)


def kernel_shap(model: AttachedModel, batch: Batch, regions: Regions) -> Tensor:
    """(B, R): KernelSHAP of the words with `SAMPLES` variants, captum's. Source: Lundberg and Lee 2017."""
    from captum._utils.models.linear_model import LinearModel
    from captum.attr import KernelShap

    parts, state = [], torch.random.get_rng_state()
    for row in range(len(batch)):
        one = batch.select(slice(row, row + 1))
        one = one.replace(tokens=one.tokens[:, : int(one.lengths)], words=one.words[:, : int(one.lengths)])

        def score(tokens: Tensor, one: Batch = one) -> Tensor:
            n = len(tokens)
            given = Batch(torch.arange(n), one.label.expand(n), tokens=tokens, lengths=one.lengths.expand(n))
            return SCORES["log_odds"](model._logits(model._call(given)), given.label)

        exists = regions.exists(one)
        group = one.words.where(one.words >= 0, exists.shape[1])  # special pieces, which nothing hides, together
        torch.manual_seed(int(one.ids))
        with evaluating([model]), torch.no_grad():
            nothing = regions.hide(one, torch.zeros_like(exists)).tokens
            options = {"feature_mask": group, "n_samples": SAMPLES, "perturbations_per_eval": 32}
            method = KernelShap(score)
            method.interpretable_model = LinearModel(train_fn=least_squares)
            made = method.attribute(one.tokens, baselines=nothing, **options)
        values = torch.zeros(exists.shape).scatter(1, group.clamp(max=exists.shape[1] - 1), made.float())
        parts.append(_raised(values, exists))
    torch.random.set_rng_state(state)
    return _joined(parts)


def least_squares(model, dataloader, **_) -> dict:
    """Weighted linear regression for captum's `LinearModel`: captum's own needs scikit-learn."""
    inputs, outputs, weights = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
    root = weights.sqrt().double()[:, None]
    design = torch.cat([inputs.double(), torch.ones(len(inputs), 1).double()], 1)
    solution = torch.linalg.lstsq(root * design, root * outputs.double().view(-1, 1), driver="gelsd").solution.float()
    model._construct_model_params(norm_type=None, weight_values=solution[:-1].T, bias_value=solution[-1])
    return {}


def _raised(values: Tensor, exists: Tensor) -> Tensor:
    """(B, R): values of any sign, moved until the least of each example is 0, and normalised."""
    least = values.masked_fill(~exists, torch.inf).amin(1, keepdim=True)
    return as_distribution((values - least).masked_fill(~exists, 0), exists).cpu()


def _joined(parts: list[Tensor]) -> Tensor:
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])


def _constant(experiment: Experiment) -> Tensor:
    """(R,): all weight on the cell that true boxes cover most in the training images."""
    boxes, size = experiment.train_batch.boxes, tuple(experiment.train_batch.image.shape[-2:])
    mean = box_distribution(boxes, size, experiment.regions.grid).mean(0)
    return torch.nn.functional.one_hot(mean.argmax(), len(mean)).float()


def _occlusion(e: Experiment, net: AttentionModel, batch: Batch) -> Tensor:
    drop = leave_one_out(net, batch, e.regions, score="log_odds")
    exists = e.regions.exists(batch)
    return _raised(drop.masked_fill(~exists, 0), exists)


# What a condition may show: the map, and its cost in forward passes an example, where a backward pass counts as two;
# None stands for one pass more than there are regions.
MAPS: dict[str, tuple[Callable[[Experiment, AttentionModel, Batch], Tensor], int | None]] = {
    "early": (lambda e, _, batch: early(batch, e.regions), 0),
    "chance": (lambda e, _, batch: chance(batch, e.regions), 0),
    "centre": (lambda e, _, batch: centre(e.regions.grid).expand(len(batch), -1), 0),
    "constant": (lambda e, _, batch: _constant(e).expand(len(batch), -1), 0),
    "attention_x_gradient": (lambda _, net, batch: attention_x_gradient(net, batch), 3),
    "rollout": (lambda e, net, batch: rollout(net, batch, e.regions), 1),
    "integrated_gradients": (lambda e, net, batch: integrated_gradients(net, batch, e.regions), 3 * STEPS),
    "kernel_shap": (lambda e, net, batch: kernel_shap(net, batch, e.regions), SAMPLES),
    "leave_one_out": (_occlusion, None),
}
