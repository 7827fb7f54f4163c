"""The question encoder, the cells' centres, and the frozen CNN."""

import dataclasses

import pytest
import torch

from ssan.data.pixels import ImageSplit
from ssan.data.task import Task
from ssan.models import grid_question
from ssan.models.attention import evaluating
from ssan.models.grid_question import QuestionEncoder, cell_centres
from ssan.models.vqa import QuestionAttention
from ssan.regions import ImageGrid
from ssan.seeding import seeded
from ssan.training import TrainConfig, fit
from tests.models.grids import CLASSES, GRID, WORDS, pictures, questions, small_cnn


def encoder(word_attention=False):
    with seeded(0):
        return QuestionEncoder(WORDS, 5, 6, word_attention)


@pytest.mark.parametrize("word_attention", [False, True])
def test_padding_says_nothing(word_attention):
    batch = questions()
    vectors, weights = encoder(word_attention)(batch)
    for i in range(len(batch)):
        alone, own = encoder(word_attention)(batch.select([i]))
        torch.testing.assert_close(alone[0], vectors[i])
        if word_attention:
            n = int(batch.lengths[i])
            torch.testing.assert_close(own[0], weights[i, :n])
            assert weights[i, n:].abs().sum() == 0
            assert weights[i].sum().item() == pytest.approx(1, abs=1e-5)


def test_the_vector_is_the_state_at_the_last_word():
    batch, of = questions(), encoder()
    vectors, _ = of(batch)
    for i in range(len(batch)):
        state = None
        for token in batch.tokens[i, : batch.lengths[i]]:
            _, state = of.lstm(of.embedding(token)[None], state)
        torch.testing.assert_close(vectors[i], state[0][0], atol=1e-6, rtol=1e-5)


def test_word_attention_weighs_states():
    batch, of = questions(), encoder(word_attention=True)
    vectors, weights = of(batch)
    for i in range(len(batch)):
        states, _ = of.lstm(of.embedding(batch.tokens[i, : batch.lengths[i]]))
        scores = of.word_score(states).squeeze(-1)
        expected = sum(w * s for w, s in zip(torch.softmax(scores, 0), states, strict=True))
        torch.testing.assert_close(vectors[i], expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(weights[i, : len(states)], torch.softmax(scores, 0))


def test_equal_questions_are_read_once(monkeypatch):
    batch, of = questions(), encoder(word_attention=True)
    twice = batch.select([0, 2, 0, 0, 2, 1])
    read = []
    original = QuestionEncoder._read
    monkeypatch.setattr(QuestionEncoder, "_read", lambda self, *words: read.append(words) or original(self, *words))
    for found, once in zip(of(twice), of(batch), strict=True):
        torch.testing.assert_close(found, once[[0, 2, 0, 0, 2, 1]])
    assert [len(lengths) for _, lengths in read] == [3, len(batch)]


def test_no_questions_and_unknown_ids():
    with pytest.raises(ValueError, match="needs a batch with questions"):
        encoder()(pictures())
    batch = questions()
    batch.tokens[3, 0] = WORDS
    with pytest.raises(ValueError, match=f"to {WORDS}, the model knows {WORDS} words"):
        encoder()(batch)


def test_centres():
    centres = cell_centres((2, 4))
    assert centres.shape == (8, 2)
    assert centres[5].tolist() == [-0.25, 0.5]  # second row, second column


def test_centres_are_appended_to_features():
    with seeded(0):
        model = QuestionAttention(small_cnn(), WORDS, CLASSES).eval()
    batch = questions()
    features = model.encode(batch).features
    assert torch.equal(features[0, :, -2:], cell_centres(GRID))
    assert torch.equal(features[..., :-2], model.cnn(batch.image).flatten(2).transpose(1, 2))


def test_the_cnn_stays_what_it_is():
    cnn = small_cnn()
    before = {name: value.clone() for name, value in cnn.state_dict().items()}
    with seeded(0):
        model = QuestionAttention(cnn, WORDS, CLASSES)
    model.train()
    assert model.question.training
    assert not model.cnn.training
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(questions()).logits.sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.cnn.state_dict().items())
    assert not any(name.startswith("cnn") for name, p in model.named_parameters() if p.requires_grad)


def test_question_attention_comes_from_forward_alone():
    with seeded(0):
        model = QuestionAttention(small_cnn(), WORDS, CLASSES, word_attention=True).eval()
    batch = questions()
    output = model(batch)
    torch.testing.assert_close(output.question_attention, model.question(batch)[1])
    assert model.attend(model.encode(batch)).question_attention is None


def test_a_grid_that_does_not_divide_the_image():
    with pytest.raises(ValueError, match="3x4 cells does not divide 16x16 images"):
        ImageGrid((3, 4)).count(questions())


def model():
    with seeded(0):
        return QuestionAttention(small_cnn(), WORDS, CLASSES)


def split_of(batch):
    """The same examples in bytes, two questions about each image."""
    images = (batch.image * 255).round().to(torch.uint8)[::2].contiguous()
    image_of = torch.arange(len(batch)) // 2
    return ImageSplit(batch.ids, batch.label, images, image_of, batch.tokens, batch.lengths)


def test_features_made_beforehand_change_nothing():
    of = model()
    split = split_of(questions())
    prepared = of.prepared(split)
    assert prepared.features.shape == (3, GRID[0] * GRID[1], of.feature_dim)
    with evaluating([of]), torch.no_grad():
        plain, ready = of(split.select(slice(None))), of(prepared.select(slice(None)))
    torch.testing.assert_close(ready.logits, plain.logits)
    torch.testing.assert_close(ready.attention, plain.attention)


def test_training_runs_the_frozen_cnn_once_over_every_image(monkeypatch):
    split = split_of(questions())
    task = Task("tiny", split, split, split, tuple("abcde"), ImageGrid(GRID))
    config = TrainConfig(epochs=3, batch_size=2, keep="last", validate=False)
    seen, nets = [], {}
    for name in ("prepared", "plain"):
        nets[name] = model()
        nets[name].cnn.register_forward_hook(lambda _, given, __, name=name: seen.append((name, len(given[0]))))
    monkeypatch.setattr(nets["plain"], "prepared", lambda split: split)
    for net in nets.values():
        fit(net, task, config, device="cpu")
    check = 4  # images in the check of the output before training
    assert [n for name, n in seen if name == "prepared"] == [check, 3]
    assert sum(n for name, n in seen if name == "plain") == check + 3 * len(split)
    for one, other in zip(nets["prepared"].parameters(), nets["plain"].parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_features_of_other_models_and_of_too_many_images(monkeypatch):
    of, split = model(), split_of(questions())
    strange = dataclasses.replace(split, features=torch.zeros(3, 16, 5))
    with pytest.raises(ValueError, match=r"features of \(16, 5\) \(R, D\), the model makes \(16, 14\)"):
        of(strange.select([0]))
    monkeypatch.setattr(grid_question, "MOST_BYTES", 100)
    assert of.prepared(split) is split
    assert of.prepared(questions()).features is None
