"""The question-answering models: the contract of all three, one hop by hand, and the factory."""

import dataclasses

import pytest
import torch

from ssan.data.vqa import shapes_task
from ssan.models import pretrain
from ssan.models.attention import attention_map
from ssan.models.vqa import MODELS, make_model
from ssan.seeding import seeded
from tests.models.grids import (
    CLASSES,
    WORDS,
    check_contract,
    check_feature_grid,
    check_gradients,
    check_reproducible,
    questions,
    small_cnn,
)


def model(name, seed=0, **sizes):
    with seeded(seed):
        return MODELS[name](small_cnn(), WORDS, CLASSES, **{"embedding": 6, "hidden": 8} | sizes)


ALL = pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("one_hop", {}),
        ("one_hop", {"word_attention": True, "dropout": 0.5}),
        ("san", {}),
        ("san", {"hops": 3, "word_attention": True}),
        ("mlb", {}),
        ("mlb", {"rank": 5, "word_attention": True}),
    ],
)


@ALL
def test_contract(name, sizes):
    check_contract(model(name, **sizes), questions())


@ALL
def test_gradients_reach_everything(name, sizes):
    check_gradients(model(name, **sizes), questions(12))


@ALL
def test_masks_on_features(name, sizes):
    check_feature_grid(model(name, **sizes), questions())


@ALL
def test_attention_can_be_supervised(name, sizes):
    """Gradients of the one map alone reach what makes it."""
    of = model(name, **sizes).train()
    attention_map(of, of(questions())).square().sum().backward()
    assert of.question.embedding.weight.grad.abs().sum() > 0


def test_one_hop_by_hand():
    of = model("one_hop").eval()
    batch = questions()
    output = of(batch)
    encoded = of.encode(batch)
    part = of.attention
    for b in range(len(batch)):
        scores = []
        for v in encoded.features[b]:
            h = torch.tanh(part.of_feature.weight @ v + part.of_query.weight @ encoded.context[b] + part.of_query.bias)
            scores.append(part.score.weight[0] @ h + part.score.bias[0])
        p = torch.softmax(torch.stack(scores), 0)
        seen = sum(w * v for w, v in zip(p, encoded.features[b], strict=True))
        torch.testing.assert_close(output.attention[b], p)
        torch.testing.assert_close(output.logits[b], of.classifier(torch.cat([encoded.context[b], seen])))


@pytest.fixture(scope="module")
def task():
    return shapes_task(30, n_valid=1, n_test=1)


@pytest.fixture
def quick(monkeypatch):
    """A pretraining that takes no time."""
    real = pretrain.pretrain_cnn
    monkeypatch.setattr(pretrain, "pretrain_cnn", lambda *of, **settings: real(*of, **settings | {"steps": 2}))
    monkeypatch.setattr(pretrain, "_PRETRAINED", {})


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", MODELS)
def test_factory(task, name):
    check_reproducible(lambda seed: make_model(task, seed, name))
    made = make_model(task, 0, name, cnn_width=16, hidden=24).eval()
    output = made(task.train.select([0, 1, 2]))
    assert output.logits.shape == (3, task.n_classes)
    assert output.attention.shape[-1] == 64
    assert made.cnn.width == 16
    assert made.hidden == 24


@pytest.mark.usefixtures("quick")
def test_all_seeds_see_through_the_same_eyes_but_share_no_weights(task):
    first, second = make_model(task, 0), make_model(task, 1)
    for a, b in zip(first.cnn.parameters(), second.cnn.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()


def test_own_cnn(task):
    from ssan.models.cnn import GridCNN

    with seeded(3):
        cnn = GridCNN(3, (64, 64), width=8).eval()
    made = make_model(task, 0, cnn=cnn)
    assert torch.equal(made.cnn.state_dict()["layers.0.0.weight"], cnn.state_dict()["layers.0.0.weight"])
    assert all(parameter.requires_grad for parameter in cnn.parameters())


def test_bad_factory_calls(task):
    with pytest.raises(ValueError, match="unknown model 'mcb': expected one of"):
        make_model(task, 0, "mcb")
    with pytest.raises(ValueError, match="no image-level labels"):
        make_model(dataclasses.replace(task, train=dataclasses.replace(task.train, presence=None)), 0)


def test_images_of_another_size(task):
    with pytest.raises(ValueError, match="built for 3x16x16 images, the batch has 3x64x64"):
        model("san")(task.train.select([0, 1]))
