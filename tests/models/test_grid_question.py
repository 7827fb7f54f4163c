"""The question encoder, the cells' centres, and the frozen CNN."""

import pytest
import torch

from ssan.models.grid_question import QuestionEncoder, cell_centres
from ssan.models.vqa import QuestionAttention
from ssan.regions import ImageGrid
from ssan.seeding import seeded
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
