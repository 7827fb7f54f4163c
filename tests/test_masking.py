"""Masked inputs in training: what is hidden, and that features made beforehand are those of the masked images."""

import dataclasses

import pytest
import torch

from ssan import masking
from ssan.data.task import Task
from ssan.masking import HideAtRandom, HideFeaturesAtRandom, Masking
from ssan.models.vqa import QuestionAttention
from ssan.regions import ImageGrid, TokenRegions
from ssan.samplers import HideWindows, Pairs, RandomMasks
from ssan.seeding import seeded
from ssan.training import TrainConfig, fit
from tests.helpers import generator, random_sentences
from tests.models.grids import CLASSES, GRID, WORDS, questions, small_cnn
from tests.models.test_grid_question import split_of

SAMPLER = HideWindows(2, grid=GRID)


def model(seed=0):
    with seeded(seed):
        return QuestionAttention(small_cnn(), WORDS, CLASSES)


def task(fill="zero"):
    split = split_of(questions(12))
    shuffled = torch.tensor([5, 0, 3, 1, 11, 2, 10, 4, 7, 6, 9, 8])
    split = dataclasses.replace(split, ids=split.ids[shuffled] * 3)
    return Task("tiny", split, split, split, tuple("abcde"), ImageGrid(GRID, fill))


def test_words_are_hidden_by_the_samplers_masks():
    batch = random_sentences(40)
    hidden = HideAtRandom(Pairs(), TokenRegions())(batch, generator(0))
    changed = hidden.tokens != batch.tokens
    assert changed.any()
    assert int(hidden.tokens[changed].sum()) == 0
    assert int(changed.sum(-1).max()) <= 2
    padding = torch.arange(batch.tokens.shape[1]) >= batch.lengths[:, None]
    assert torch.equal(hidden.tokens[padding], batch.tokens[padding])
    assert not torch.equal(hidden.tokens, HideAtRandom(Pairs(), TokenRegions())(batch, generator(1)).tokens)


@pytest.mark.parametrize("fill", ["zero", "mean", (0.2, 0.5, 0.9)])
def test_features_are_those_of_the_same_masked_images(fill):
    of, net = task(fill), model()
    made = Masking(of, SAMPLER).of(net)
    assert isinstance(made.augment, HideFeaturesAtRandom)
    rows = torch.arange(12)
    ready = made.augment(made.train.select(rows), generator(4))
    masked = HideAtRandom(SAMPLER, of.regions)(of.train.select(rows), generator(4))
    torch.testing.assert_close(ready.features, net.look(masked.image))
    assert ready.image is None


def test_training_is_the_same_either_way(monkeypatch):
    config = TrainConfig(epochs=3, batch_size=5, keep="last", validate=False)
    nets = []
    for most in (2**30, 0):
        monkeypatch.setattr(masking, "MOST_BYTES", most)
        net = model(1)
        made = Masking(task(), SAMPLER).of(net)
        assert isinstance(made.augment, HideFeaturesAtRandom if most else HideAtRandom)
        fit(net, made, config, device="cpu")
        nets.append(net)
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_images_are_looked_at_once_for_all_models_with_the_same_eyes():
    of = Masking(task(), SAMPLER)
    first = of.of(model(0))
    assert of.of(model(1)) is first
    other = model(2)
    with torch.no_grad():
        other.cnn.layers[0][0].weight.mul_(1.5)
    assert of.of(other) is not first


def test_masks_of_each_example_are_drawn_as_images():
    assert isinstance(Masking(task(), RandomMasks(5)).of(model()).augment, HideAtRandom)
