"""The text model: padding is nothing, the batch is nothing, vectors are used; and what `as_released` does instead."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ssan.data.task import Task
from ssan.models.attention import attention_map, check_output
from ssan.models.text import SelfAttentiveLSTM, TextConfig, make_model
from tests.helpers import PAD, exists, generator, random_images, random_sentences, sentences, text_model, text_task

CONFIGS = {
    "plain": {},
    "hops": {"hops": 4},
    "mlp": {"mlp_dim": 8},
    "linear mlp": {"mlp_dim": 8, "mlp_relu": False},
    "bias": {"attention_bias": True, "hops": 2},
    "fixed": {"fixed_length": 12},
}


def released(**changes):
    """The released configuration, its sizes made small."""
    small = {"embedding_dim": 6, "hidden": 5, "attention_dim": 7, "hops": 3, "mlp_dim": 9, "fixed_length": 12}
    config = dataclasses.replace(TextConfig.as_released(), **small, **changes)
    torch.manual_seed(1)
    return SelfAttentiveLSTM(20, 3, config).eval()


@pytest.fixture(autouse=True)
def _own_random_state():
    with torch.random.fork_rng(devices=[]):
        yield


# --- the plain model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_sentence_alone_is_the_same_as_in_a_batch(config):
    model, batch = text_model(2, **config).eval(), random_sentences(12, seed=3)
    together = model(batch)
    check_output(together, batch.label, batch.lengths)
    for row in range(len(batch)):
        n = int(batch.lengths[row])
        alone = model(sentences([batch.tokens[row, :n].tolist()]))
        torch.testing.assert_close(alone.logits[0], together.logits[row], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(alone.attention[0, :, :n], together.attention[row, :, :n], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_padding_gets_exactly_nothing_whatever_stands_there(config):
    model, batch = text_model(2, **config).eval(), random_sentences(12, seed=3)
    output = model(batch)
    width = config.get("fixed_length", batch.tokens.shape[1])
    assert output.attention.shape == (12, config.get("hops", 1), width)
    real = torch.arange(width) < batch.lengths[:, None]
    assert (output.attention.transpose(1, 2)[~real] == 0).all()
    assert (output.attention.transpose(1, 2)[real] > 0).all()
    other = batch.replace(tokens=batch.tokens.masked_fill(~exists(batch), 7))
    assert torch.equal(model(other).logits, output.logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_are_those_of_packed_sequences(dtype):
    """However they are computed: a BiLSTM that stops at the last word of each sentence. The gradients too."""
    model, batch = text_model(2, dtype=dtype, hidden=8), random_sentences(9, seed=4)
    words = model.embedding(batch.tokens).detach().requires_grad_()
    packed = pack_padded_sequence(words, batch.lengths, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(model.lstm(packed)[0], batch_first=True, total_length=words.shape[1])[0]
    found = model._states(words, batch.lengths)
    parameters = [words, *model.lstm.parameters()]
    weights = torch.randn(expected.shape, generator=generator(1), dtype=dtype)
    gradients = [torch.autograd.grad((states * weights).sum(), parameters) for states in (expected, found)]
    tolerance = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 1e-12, "rtol": 1e-9}
    torch.testing.assert_close(found, expected, **tolerance)
    for of_expected, of_found in zip(*gradients, strict=True):
        torch.testing.assert_close(of_found, of_expected, **tolerance)


def test_word_order_matters():
    """So that equality above is not the equality of a bag of words."""
    model = text_model(2).eval()
    assert not torch.allclose(model(sentences([[2, 3, 4]])).logits, model(sentences([[4, 3, 2]])).logits, atol=1e-3)


def test_the_formula_by_hand():
    """H from the LSTM; A = softmax(W2 tanh(W1 H)); logits = W (A H), hop by hop, in numpy."""
    model = text_model(5, hops=2, dtype=torch.float64).eval()
    batch = sentences([[3, 8, 2, 11]])
    states = model.lstm(model.embedding(batch.tokens))[0][0].detach().numpy()
    w1, w2 = (getattr(model, name).weight.detach().numpy() for name in ("attention_in", "attention_out"))
    scores = w2 @ np.tanh(w1 @ states.T)
    attention = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    layer = model.classifier[0]
    logits = layer.weight.detach().numpy() @ (attention @ states).reshape(-1) + layer.bias.detach().numpy()
    output = model(batch)
    np.testing.assert_allclose(output.attention[0].detach(), attention, rtol=1e-10)
    np.testing.assert_allclose(output.logits[0].detach(), logits, rtol=1e-10)


def test_dropout_acts_in_training_alone():
    model, batch = text_model(dropout=0.5), random_sentences(4)
    assert not torch.equal(model.train()(batch).logits, model(batch).logits)
    assert torch.equal(model.eval()(batch).logits, model(batch).logits)


def test_switches_change_the_layers():
    def shape(**config):
        return [type(layer).__name__ for layer in text_model(**config).classifier]

    assert shape() == ["Linear"]
    assert shape(mlp_dim=8) == ["Linear", "ReLU", "Linear"]
    assert shape(mlp_dim=8, mlp_relu=False) == ["Linear", "Linear"]
    assert text_model().attention_in.bias is None
    assert text_model(attention_bias=True).attention_out.bias is not None


def test_a_linear_mlp_is_one_linear_map():
    model = text_model(mlp_dim=8, mlp_relu=False, dtype=torch.float64)
    x = torch.randn(3, 4, 10, dtype=torch.float64, generator=generator(0))
    f = model.classifier
    torch.testing.assert_close(f(x[0] + x[1]) - f(x[1]), f(x[0] + x[2]) - f(x[2]))
    curved = text_model(mlp_dim=8, dtype=torch.float64).classifier
    assert not torch.allclose(curved(x[0] + x[1]) - curved(x[1]), curved(x[0] + x[2]) - curved(x[2]))


# --- vectors ---------------------------------------------------------------------------------------------------------


def vectors(v=20, d=6):
    return torch.randn(v, d, generator=generator(8))


def test_vectors_are_used_and_trained_further():
    given = vectors()
    model = SelfAttentiveLSTM(20, 3, TextConfig(embedding_dim=6), vectors=given)
    assert torch.equal(model.embedding.weight, given)
    assert model.embedding.weight.requires_grad
    with torch.no_grad():
        model.embedding.weight += 1
    assert torch.equal(given, vectors()), "training must not change the task's vectors"
    batch = sentences([[4, 9]])
    assert torch.equal(model.embedding(batch.tokens)[0], vectors()[[4, 9]] + 1)


def test_as_released_vectors_are_not_used():
    config = dataclasses.replace(TextConfig.as_released(), embedding_dim=6, hidden=3, mlp_dim=4)
    models = []
    for given in (vectors(), None):
        torch.manual_seed(0)
        models.append(SelfAttentiveLSTM(20, 3, config, vectors=given))
    assert torch.equal(models[0].embedding.weight, models[1].embedding.weight)
    assert not torch.isclose(models[0].embedding.weight, vectors()).all(-1).any()


@pytest.mark.parametrize("shape", [(20, 5), (19, 6), (20,)])
def test_vectors_of_the_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"word vectors have shape \(.*\), expected \(20, 6\) \(vocabulary, embedding"):
        SelfAttentiveLSTM(20, 3, TextConfig(embedding_dim=6), vectors=torch.zeros(shape))


def with_vectors() -> Task:
    return dataclasses.replace(text_task(), vectors=vectors())


def test_make_model_fits_the_task():
    model = make_model(with_vectors(), 0)
    assert torch.equal(model.embedding.weight, vectors())
    assert model(with_vectors().train).logits.shape == (24, 3)
    plain = make_model(text_task(), 0)
    assert plain.embedding.weight.shape == (20, TextConfig().embedding_dim)
    with pytest.raises(ValueError, match=r"word vectors have shape \(20, 6\), expected \(20, 50\)"):
        make_model(with_vectors(), 0, TextConfig())


def test_make_model_is_a_function_of_the_seed():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = make_model(text_task(), 3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = make_model(text_task(), 3).state_dict(), make_model(text_task(), 4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if "bias" not in name)


def test_make_model_does_not_seed_other_devices(monkeypatch):
    def seeded(_):
        raise AssertionError("the generators of CUDA devices were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    make_model(text_task(), 3)


# --- as released -----------------------------------------------------------------------------------------------------


def test_the_released_sizes():
    model = SelfAttentiveLSTM(30, 6, TextConfig.as_released())
    assert model.embedding.weight.shape == (30, 300)
    assert model.lstm.hidden_size == 256
    assert model.attention_in.weight.shape == (350, 512)
    assert model.attention_out.weight.shape == (30, 350)
    assert [tuple(layer.weight.shape) for layer in model.classifier] == [(2000, 15360), (6, 2000)]
    assert model.dropout.p == 0
    with torch.no_grad():
        output = model.eval()(random_sentences(2, vocabulary=30))
    assert output.attention.shape == (2, 30, 200)
    assert attention_map(model, output).shape == (2, 200)


def test_as_released_padding_is_read_and_attended_to():
    model, batch = released(), random_sentences(6, seed=3)
    output = model(batch)
    padding = torch.arange(12) >= batch.lengths[:, None]
    assert output.attention.shape == (6, 3, 12)
    assert (output.attention.transpose(1, 2)[padding] > 0).all()
    torch.testing.assert_close(output.attention.sum(-1), torch.ones(6, 3))
    check_output(output, batch.label, batch.lengths, padding_attends=model.padding_attends)
    with pytest.raises(ValueError, match="attention on padding"):
        check_output(output, batch.label, batch.lengths)
    other = batch.replace(tokens=batch.tokens.masked_fill(~exists(batch), 7))
    assert not torch.allclose(model(other).logits, output.logits, atol=1e-4)


def test_as_released_q_att_is_a_softmax_of_summed_hops():
    model, batch = released(), random_sentences(6, seed=3)
    output = model(batch)
    for row in range(6):
        weights = np.exp(output.attention[row].detach().double().numpy().sum(0))
        np.testing.assert_allclose(attention_map(model, output)[row].detach(), weights / weights.sum(), rtol=1e-5)


def test_as_released_does_not_depend_on_the_batch_since_the_length_is_fixed():
    model, batch = released(), random_sentences(6, seed=3)
    together = model(batch)
    for row in range(6):
        alone = model(sentences([batch.tokens[row, : int(batch.lengths[row])].tolist()]))
        torch.testing.assert_close(alone.logits[0], together.logits[row], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(alone.attention[0], together.attention[row], atol=1e-6, rtol=1e-6)


def test_fixed_length_pads_with_the_pad_word():
    model, batch = released(), sentences([[2, 3]])
    wide = batch.replace(tokens=torch.tensor([[2, 3, *[PAD] * 10]]))
    assert torch.equal(model(batch).logits, model(wide).logits)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        other = SelfAttentiveLSTM(20, 3, model.config, pad_id=5).eval()
    other.load_state_dict(model.state_dict())
    assert not torch.allclose(other(batch).logits, model(batch).logits, atol=1e-5)


# --- bad input -------------------------------------------------------------------------------------------------------


def test_sentences_longer_than_the_fixed_length():
    with pytest.raises(ValueError, match="a sentence has 13 tokens, the model is fixed to 12"):
        released()(sentences([[2] * 13]))


def test_tokens_are_needed():
    with pytest.raises(ValueError, match="SelfAttentiveLSTM needs a batch with tokens and lengths"):
        text_model()(random_images(2))


def test_only_unknown_words_are_fine():
    batch = sentences([[0, 0, 0], [0]])
    output = text_model().eval()(batch)
    check_output(output, batch.label, batch.lengths)
    assert output.attention[1, 0].tolist() == [1, 0, 0]
