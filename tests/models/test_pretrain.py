"""Pretraining on what is in an image, not where."""

import dataclasses

import pytest
import torch

from ssan.data.pixels import ImageSplit
from ssan.data.vqa import shapes_task
from ssan.models import pretrain
from ssan.models.pretrain import PresenceHead, pretrain_cnn, pretrained_cnn
from tests.helpers import generator, text_task

QUICK = {"width": 8, "steps": 3, "batch_size": 8}


@pytest.fixture(scope="module")
def task():
    return shapes_task(40, n_valid=1, n_test=1)


def same(first, second):
    second = second.state_dict()
    return all(torch.equal(value, second[name]) for name, value in first.state_dict().items())


def with_train(task, **changes):
    return dataclasses.replace(task, train=dataclasses.replace(task.train, **changes))


def test_frozen_and_reproducible(task):
    before = torch.random.get_rng_state()
    cnn = pretrain_cnn(task, 0, **QUICK)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not cnn.training
    assert not any(parameter.requires_grad for parameter in cnn.parameters())
    assert same(cnn, pretrain_cnn(task, 0, **QUICK))
    assert not same(cnn, pretrain_cnn(task, 1, **QUICK))


def test_only_images_and_their_labels_are_looked_at(task):
    split = task.train
    blind = with_train(
        task, label=split.label.flip(0), tokens=split.tokens.flip(0), lengths=split.lengths.flip(0), boxes=None
    )
    blind = dataclasses.replace(blind, valid=blind.train, test=blind.train)
    assert same(pretrain_cnn(task, 0, **QUICK), pretrain_cnn(blind, 0, **QUICK))
    other = with_train(task, presence=1 - split.presence)
    assert not same(pretrain_cnn(task, 0, **QUICK), pretrain_cnn(other, 0, **QUICK))


def test_unknown_labels_teach_nothing(task):
    unknown = with_train(task, presence=torch.full_like(task.train.presence, float("nan")))
    cnn = pretrain_cnn(unknown, 0, **QUICK)
    assert all(torch.isfinite(value).all() for value in cnn.state_dict().values())
    weights = dict(cnn.named_parameters())
    for name, value in pretrain_cnn(unknown, 0, **QUICK | {"steps": 9}).named_parameters():
        assert torch.equal(value, weights[name])


def test_it_learns_what_is_there():
    """A bright square somewhere, or none: a few steps tell the two apart on images not seen before."""
    g = generator(0)
    images = torch.randint(60, (80, 1, 16, 16), generator=g, dtype=torch.uint8)
    there = torch.rand(80, generator=g) < 0.5
    for i in there.nonzero().squeeze(1).tolist():
        y, x = torch.randint(13, (2,), generator=g).tolist()
        images[i, 0, y : y + 4, x : x + 4] = 255
    of = {"ids": torch.arange(40), "label": torch.zeros(40).long(), "image_of": torch.arange(40)}
    split = ImageSplit(**of, images=images[:40], presence=there[:40, None].float())
    kept = []
    original = PresenceHead.__init__

    def remember(self, *sizes):
        original(self, *sizes)
        kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PresenceHead, "__init__", remember)
        cnn = pretrain_cnn(
            dataclasses.replace(shapes_task(1, n_valid=1, n_test=1), train=split), 0, grid=(4, 4), width=8, steps=60
        )
    with torch.no_grad():
        logits = kept[0](cnn(images[40:].float() / 255)).squeeze(1)
    assert ((logits > 0) == there[40:]).float().mean() > 0.9


def test_turns_keep_the_pixels():
    images = torch.rand(2, 3, 6, 6, generator=generator(1))
    seen = set()
    for _ in range(60):
        turned = pretrain._turned(images)
        assert torch.equal(turned.flatten(2).sort(-1).values, images.flatten(2).sort(-1).values)
        seen.add(turned.numpy().tobytes())
    assert len(seen) == 8
    assert pretrain._turned(torch.rand(1, 1, 4, 6)).shape == (1, 1, 4, 6)


def test_once_in_a_process(task):
    first = pretrained_cnn(task, **QUICK)
    assert pretrained_cnn(shapes_task(40, n_valid=1, n_test=1), **QUICK) is first
    assert pretrained_cnn(task, **QUICK | {"width": 9}) is not first
    assert pretrained_cnn(with_train(task, images=255 - task.train.images), **QUICK) is not first
    assert pretrained_cnn(with_train(task, presence=1 - task.train.presence), **QUICK) is not first


def test_a_subset_pretrains_on_its_own_images(task):
    some, all_of_it = task.subset(20, seed=0), task.train
    used = all_of_it.image_of[torch.isin(all_of_it.ids, some.train.ids)].unique()
    assert len(used) < len(all_of_it.images)
    image_of = torch.zeros_like(all_of_it.image_of)
    own = with_train(task, images=all_of_it.images[used], presence=all_of_it.presence[used], image_of=image_of)
    assert same(pretrain_cnn(some, 0, **QUICK), pretrain_cnn(own, 0, **QUICK))
    assert not same(pretrain_cnn(some, 0, **QUICK), pretrain_cnn(task, 0, **QUICK))


@pytest.mark.parametrize("of", ["text", "none"])
def test_nothing_to_pretrain_on(task, of):
    task = text_task() if of == "text" else with_train(task, presence=None)
    with pytest.raises(ValueError, match="no image-level labels"):
        pretrain_cnn(task, 0, **QUICK)
