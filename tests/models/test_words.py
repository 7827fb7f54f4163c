"""Attention over question words: the search against a loop over pairs of words, and training with what it finds."""

import dataclasses

import pytest
import torch

from ssan.data.task import Task
from ssan.losses import attention_loss, prepare_target
from ssan.models.attention import check_output
from ssan.models.vqa import MODELS
from ssan.models.words import QuestionWords
from ssan.regions import FeatureGrid, TokenRegions
from ssan.samplers import HideWindows, Pairs
from ssan.search import find_surrogates
from ssan.seeding import seeded
from ssan.training import Supervision, TrainConfig, fit, predict
from tests.helpers import exists, random_maps
from tests.models.grids import CLASSES, GRID, WORDS, questions, small_cnn

ALL = pytest.mark.parametrize("name", sorted(MODELS))


def model(name="one_hop", seed=0, scale=1.0, word_attention=True):
    """Small and random; a `scale` above 1 makes attention uneven."""
    with seeded(seed):
        made = MODELS[name](small_cnn(), WORDS, CLASSES, embedding=6, hidden=8, word_attention=word_attention)
    with torch.no_grad():
        for parameter in made.question.parameters():
            parameter.mul_(scale)
    return made.double()


def batch(n=6, seed=0):
    found = questions(n, seed)
    return found.replace(image=found.image.double())


def task(n=16):
    splits = (batch(n, seed) for seed in range(3))
    return Task("seen", *splits, tuple("abcde"), FeatureGrid(GRID), words=tuple(map(str, range(WORDS))))


@ALL
def test_it_is_the_same_model_attending_to_words(name):
    of, inputs = model(name).eval(), batch()
    words = QuestionWords(of)
    output, own = of(inputs), words(inputs)
    assert torch.equal(own.logits, output.logits)
    assert torch.equal(own.attention, output.question_attention)
    check_output(own, inputs.label, inputs.lengths)
    assert list(map(id, words.parameters())) == list(map(id, of.parameters()))


def brute_force(of, inputs, row, tolerance=1e-10):
    """Pairs of words hidden one after the other, in the released order, nothing batched or padded."""
    n, label = int(inputs.lengths[row]), int(inputs.label[row])
    hidden = [(), *((i, j) for i in range(n) for j in range(i + 1, n))]
    best = None
    for index, places in enumerate(hidden):
        one = inputs.select([row])
        for place in places:
            one.tokens[0, place] = 0
        with torch.no_grad():
            output = of(one)
        score = float(output.logits[0, label])
        if best is None or score > best[1] + tolerance * max(1, abs(best[1])):
            best = index, score, output.question_attention[0]
    return best


@ALL
def test_surrogates_are_those_of_a_loop_over_pairs_of_words(name):
    of, inputs = model(name, scale=3.0).eval(), batch(8)
    found = find_surrogates(QuestionWords(of), inputs, Pairs(), perturbations_per_eval=13)
    improved = 0
    for row in range(len(inputs)):
        index, score, attention = brute_force(of, inputs, row)
        n = int(inputs.lengths[row])
        assert int(found.index[row]) == index
        assert float(found.score[row]) == pytest.approx(score, abs=1e-9)
        torch.testing.assert_close(found.attention[row, :n], attention, atol=1e-9, rtol=0)
        assert (found.attention[row, n:] == 0).all()
        improved += index > 0
    assert improved > 3
    assert found.attention.shape == (8, 7)


@pytest.mark.parametrize("selector", ["importance", "ridge", "top_k", "weighted", "margin"])
def test_every_selector_makes_targets_of_words(selector):
    inputs = batch(8)
    teachers = [QuestionWords(model(seed=seed, scale=3.0)) for seed in range(2)]
    found = find_surrogates(teachers, inputs, Pairs(), selector=selector, score="probability")
    assert (found.attention[~exists(inputs)] == 0).all()
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(8).double())


CONFIG = TrainConfig(epochs=12, batch_size=5, learning_rate=2e-2, keep="last", validate=False)


def distances(of, on, image, words):
    """Mean KL of both attentions from their targets."""
    maps = [predict(net, on.train)[1] for net in (of, QuestionWords(of))]
    pairs = zip(maps, (image, words), (None, exists(on.train)), strict=True)
    return [float(attention_loss("kl")(*pair).mean()) for pair in pairs]


def test_words_are_supervised_beside_the_image_or_instead_of_it():
    on = task()
    image = random_maps(torch.ones(16, 16, dtype=torch.bool), 1, torch.float64)
    words = random_maps(exists(on.train), 2, torch.float64)
    of_image = Supervision(on.train.ids, image, weight=5.0)
    of_words = Supervision(on.train.ids, words, weight=5.0, of="question_attention")
    found, told = {}, {}
    for name, supervision in {
        "none": None,
        "image": of_image,
        "words": of_words,
        "both": [of_image, of_words],
    }.items():
        net = model()
        told[name] = fit(net, on, CONFIG, supervision).history
        found[name] = distances(net, on, image, words)
    assert found["words"][1] < 0.8 * found["none"][1]
    assert found["image"][0] < 0.9 * found["none"][0]
    assert found["both"][0] < 0.9 * found["none"][0]
    assert found["both"][1] < 0.8 * found["none"][1]
    assert "question_attention_loss" not in told["image"][-1]
    assert told["words"][-1]["attention_loss"] == 0
    assert told["both"][-1]["question_attention_loss"] < told["both"][0]["question_attention_loss"]
    assert told["both"][-1]["attention_loss"] < told["both"][0]["attention_loss"]


def test_from_search_to_supervised_training():
    """Full circle: what is found on the words pulls the attention over words, each question's to its own target."""
    on, teacher = task(), model(scale=3.0)
    found = find_surrogates(QuestionWords(teacher), on.train, Pairs(), selector="importance")
    target = prepare_target(found.attention, exists(on.train))
    net = model(seed=1)
    fit(net, on, CONFIG, Supervision(on.train.ids, target, weight=20.0, of="question_attention"))
    _, maps = predict(QuestionWords(net), on.train)
    kl = attention_loss("kl")
    long = on.train.lengths > 1
    before = kl(predict(QuestionWords(model(seed=1)), on.train)[1], target, exists(on.train))[long].mean()
    assert kl(maps, target, exists(on.train))[long].mean() < 0.5 * before


def test_adversarial_and_transport_losses_on_words():
    on = task()
    words = random_maps(exists(on.train), 2, torch.float64)
    for loss in ("adversarial_image", "adversarial_pixel", "emd"):
        supervision = Supervision(on.train.ids, words, loss=loss, of="question_attention")
        history = fit(model(), on, dataclasses.replace(CONFIG, epochs=2), supervision).history
        assert history[-1]["question_attention_loss"] > 0


def test_models_without_attention_over_words():
    plain, on = model(word_attention=False), task()
    with pytest.raises(ValueError, match="QuestionAttention returned no question_attention: make it with word_att"):
        find_surrogates(QuestionWords(plain), on.train, Pairs())
    supervision = Supervision(on.train.ids, random_maps(exists(on.train)), of="question_attention")
    with pytest.raises(ValueError, match="question_attention is supervised, but the model returned none"):
        fit(plain, on, CONFIG, supervision)


def test_the_image_is_searched_as_before():
    """Word attention does not stand in the way of masks on feature cells."""
    of, inputs = model(), batch()
    found = find_surrogates(of, inputs, HideWindows(2, grid=GRID), regions=FeatureGrid(GRID))
    assert found.attention.shape == (6, 16)
    assert QuestionWords(of).regions == TokenRegions()
