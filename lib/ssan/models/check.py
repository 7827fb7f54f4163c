"""`check`: what a model shows of its attention, told in plain words before any work is done with it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ssan.attention import AttentionModel, Output, as_models, check_output, evaluating
from ssan.metrics import registration_offset, variant_scores
from ssan.models.attach import AttachedModel
from ssan.regions import Regions, default_regions
from ssan.samplers import Singles
from ssan.task import Batch


def check(model: AttentionModel, batch: Batch, *, regions: Regions | None = None) -> list[str]:
    """Print what can be said of a model's attention from a few examples. Our design.

    Sums, the share on regions, the gradient, what regions there are, whether hiding them changes scores, what a variant
    costs, and of images how far the cells lie beside the pixels they speak of (`metrics.registration_offset`).

    Example:
        >>> assert not ssan.check(ssan.attach(hf_classifier, tokenizer=tokenizer), batch)

    Args:
        model: looked at in evaluation and in training mode; its weights and its mode stay as they were.
        batch: a few examples, on the model's device.
        regions: by default the model's, else those of the kind of data.

    Returns:
        What is wrong, a sentence each; empty if nothing is.
    """
    (model,) = as_models(model)
    regions, wrong = regions or model.regions or default_regions(batch), []
    with evaluating([model]):
        try:
            output = model(batch)
            check_output(output, batch.label, regions.count(batch), padding_attends=model.padding_attends)
        except (ValueError, TypeError, IndexError, NotImplementedError) as error:
            return _told([f"the forward pass: {error}"], [])
    n = regions.count(batch)
    lines = [
        f"regions: {int(n.min())} to {int(n.max())} an example, {regions}; attention {tuple(output.attention.shape)}"
    ]
    lines += _sums(model, "")
    summed_to_1 = _sum_to_1(model)
    lines.append(_gradient(model, output, wrong))
    if int(n.max()) > 1 and float(model.attention_map(output).detach().amax(1).min()) > 0.999:
        wrong.append(
            "all attention is on one region of every example: a model that reads left to right needs query='mean'"
        )
    with torch.random.fork_rng(devices=[batch.device] if batch.device.type == "cuda" else []), _untouched(model):
        model.train()
        model(batch)
    lines += _sums(model, " in training")
    if summed_to_1 and not _sum_to_1(model):
        wrong.append("the weights do not sum to 1 in training: they are read after dropout")
    began = time.perf_counter()
    scores, _ = variant_scores(model, batch, regions, Singles(), score="log_odds")
    taken = (time.perf_counter() - began) / int((n + 1).sum())
    changes = (scores[:, 1:] - scores[:, :1]).abs()
    changed = float((changes[~changes.isnan()] > 1e-6).double().mean())
    lines.append(f"hiding one region: {changed:.0%} of the scores change; {1000 * taken:.3g} ms a variant")
    if changed == 0:
        wrong.append("hiding regions changes no score: does `hide` reach what the model reads?")
    if regions.grid is not None and batch.image is not None:
        lines.append(f"registration: {_registration(model, batch, regions, taken)}")
    return _told(wrong, lines)


def _gradient(model: AttentionModel, output: Output, wrong: list[str]) -> str:
    """How many parameters the attention depends on."""
    attention = model.attention_map(output)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not attention.requires_grad or not learning:
        wrong.append("the attention carries no gradient: it was detached, or nothing before it learns")
        return "gradient: none"
    gradients = torch.autograd.grad(attention.square().sum(), learning, allow_unused=True)
    reached = sum(gradient is not None and bool(gradient.any()) for gradient in gradients)
    if not reached:
        wrong.append("the attention depends on no parameter that learns")
    return f"gradient: reaches {reached} of {len(learning)} learning parameters"


def _registration(model: AttentionModel, batch: Batch, regions: Regions, taken: float) -> str:
    """How far cells lie aside, told by the first examples: as many, up to four, as there is time for."""
    seconds = 4 * math.prod(regions.grid) * taken  # for one example: four patches a cell
    if seconds > 10:
        return f"would take {seconds:.0f} s, see ssan.metrics.registration_offset"
    try:
        few = min(4, int(10 / seconds))
        x, y = registration_offset(model, batch.select(slice(0, few)), regions=regions)
    except ValueError as error:
        return f"not measured: {error}"
    half = batch.image.shape[-1] / regions.grid[1] / 2
    return f"cells lie {x:+.1f}, {y:+.1f} px beside the pixels they speak of (half a cell is {half:g} px)"


@contextmanager
def _untouched(model: AttentionModel) -> Iterator[None]:
    """Inside, a forward pass in training mode is tried; modes and what layers count (batch statistics) are put back."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.no_grad(), evaluating([model]):
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)


def _sum_to_1(model: AttentionModel) -> bool:
    return isinstance(model, AttachedModel) and float((model.total - 1).abs().max()) < 1e-2


def _sums(model: AttentionModel, when: str) -> list[str]:
    if not isinstance(model, AttachedModel):
        return []
    total = model.total
    share, low, high = float((model.on_regions / total).mean()), float(total.min()), float(total.max())
    return [f"weights{when}: sum to {low:.3g} to {high:.3g}, {share:.0%} of it on regions"]


def _told(wrong: list[str], lines: list[str]) -> list[str]:
    print(*lines, *(f"WRONG: {line}" for line in wrong), *([] if wrong else ["nothing is wrong"]), sep="\n")
    return wrong
