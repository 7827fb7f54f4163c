"""What every model on image grids is held to, and small inputs to do it with."""

from __future__ import annotations

import re

import torch
from torch import nn

from ssan.batch import Batch
from ssan.models.attention import check_output, evaluating
from ssan.models.cnn import GridCNN
from ssan.regions import FeatureGrid
from ssan.samplers import HideWindows
from ssan.search import find_surrogates
from ssan.seeding import seeded
from tests.helpers import generator

GRID = (4, 4)
SIZE = (16, 16)
CLASSES = 5
WORDS = 11


def pictures(n=6, channels=3, seed=0) -> Batch:
    g = generator(seed)
    return Batch(
        ids=torch.arange(n) + 40,
        label=torch.randint(CLASSES, (n,), generator=g),
        image=torch.rand(n, channels, *SIZE, generator=g),
    )


def questions(n=6, seed=0) -> Batch:
    g = generator(seed + 1)
    lengths = torch.randint(1, 8, (n,), generator=g)
    lengths[0], lengths[1] = 7, 1
    tokens = torch.randint(2, WORDS, (n, 7), generator=g)
    tokens = torch.where(torch.arange(7) < lengths[:, None], tokens, 1)
    return pictures(n, seed=seed).replace(tokens=tokens, lengths=lengths)


def small_cnn(seed=0) -> GridCNN:
    """A random CNN whose normalisation has seen data, so that its features are of a trained one's size."""
    with seeded(seed):
        cnn = GridCNN(3, SIZE, GRID, width=12)
        cnn.train()
        for k in range(5):
            cnn(pictures(16, seed=k).image)
    return cnn.eval()


def check_contract(model: nn.Module, batch: Batch) -> None:
    """Output contract, `attend(encode(batch))`, independence of the rest of the batch and of padding, in evaluation."""
    with evaluating([model]), torch.no_grad():
        output = model(batch)
        check_output(output, batch.label, torch.full((len(batch),), GRID[0] * GRID[1]))
        again = model.attend(model.encode(batch))
        assert torch.equal(output.logits, again.logits)
        assert torch.equal(output.attention, again.attention)
        for i in range(len(batch)):
            alone = model(batch.select([i]))
            torch.testing.assert_close(alone.logits[0], output.logits[i], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(alone.attention[0], output.attention[i], atol=1e-5, rtol=1e-4)


def check_gradients(model: nn.Module, batch: Batch) -> None:
    """Cross-entropy reaches every trainable parameter, also where the attention alone is read.

    All but one kind: what is added to every score of a map before a softmax cancels out, so its gradient is rounding
    noise, and on some processors exactly zero.
    """
    model.train()
    output = model(batch)
    loss = nn.functional.cross_entropy(output.logits, batch.label)
    if hasattr(model, "auxiliary_loss"):
        loss = loss + model.auxiliary_loss(batch, output)
    loss.backward()
    cancelled = re.compile(r"(^|\.)(word_)?score(\.\d+)?\.bias$")
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all(parameter.grad is not None for parameter in trained.values())
    still = [name for name, p in trained.items() if not p.grad.abs().sum() > 0 and not cancelled.search(name)]
    assert still == []
    assert all(p.grad.abs().max() < 1e-5 for name, p in trained.items() if cancelled.search(name))


def check_feature_grid(model: nn.Module, batch: Batch) -> None:
    """Masks on encoded cells: the search against a plain loop, and a hidden cell that is really gone."""
    regions = FeatureGrid(GRID)
    sampler = HideWindows((2, 2), grid=GRID)
    found = find_surrogates(model, batch, sampler, regions=regions)
    plain = find_surrogates(model, batch, sampler, regions=regions, accelerate=False)
    torch.testing.assert_close(found.score, plain.score, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.attention, plain.attention, atol=1e-4, rtol=1e-4)
    with evaluating([model]), torch.no_grad():
        encoded = model.encode(batch)
        masks = torch.ones(len(batch), GRID[0] * GRID[1], dtype=torch.bool)
        masks[:, 5] = False
        hidden = regions.hide(encoded, masks)
        spoiled = type(encoded)(encoded.features.clone(), encoded.context)
        spoiled.features[:, 5] = torch.randn(spoiled.features.shape[-1], generator=generator(3)) * 9
        torch.testing.assert_close(model.attend(hidden).logits, model.attend(regions.hide(spoiled, masks)).logits)
        assert (model.attend(hidden).logits - model.attend(encoded).logits).abs().amax(1).min() > 0


def check_reproducible(make) -> None:
    """`make(seed)`: the seed alone decides the weights, and the global random state stays where it was."""
    before = torch.random.get_rng_state()
    first, second, other = make(0), make(0), make(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    states = [model.state_dict() for model in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    trainable = [
        name for name, parameter in first.named_parameters() if parameter.requires_grad and parameter.dim() > 1
    ]
    assert not any(torch.equal(states[0][name], states[2][name]) for name in trainable)
