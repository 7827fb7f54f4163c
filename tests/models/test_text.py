"""The text model: padding is nothing, the batch is nothing, vectors are used; and what `as_released` does instead."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ssan import Batch, Pairs, TokenRegions, find_surrogates
from ssan.attention import check_output
from ssan.models.text import SelfAttentiveLSTM, TextConfig
from ssan.runtime import seeded
from tests.helpers import PAD, exists, generator, random_images, random_sentences, sentences, text_model

MLPS = {"mlp": {"mlp_dim": 8}, "linear mlp": {"mlp_dim": 8, "mlp_relu": False}}
CONFIGS = {"plain": {}, "bias": {"attention_bias": True, "hops": 2}, "fixed": {"fixed_length": 12}} | MLPS


def made(config, **options):
    with seeded(1):
        return SelfAttentiveLSTM(20, 3, config, **options).eval()


def released(**changes):
    """The released configuration, its sizes made small."""
    small = {"embedding_dim": 6, "hidden": 5, "attention_dim": 7, "hops": 3, "mlp_dim": 9, "fixed_length": 12}
    return dataclasses.replace(TextConfig.as_released(), **small | changes)


@pytest.mark.parametrize("config", [*CONFIGS.values(), None], ids=[*CONFIGS, "as released"])
def test_a_sentence_alone_is_the_same_as_in_a_batch_and_padding_is_nothing(config):
    """The former also where padding is read as words are, since the length is fixed then."""
    batch = random_sentences(12, seed=3)
    model = made(released()) if config is None else text_model(2, **config).eval()
    together = model(batch)
    check_output(together, batch.label, batch.lengths, padding_attends=config is None)
    other = model(batch.replace(tokens=batch.tokens.masked_fill(~exists(batch), 7)))
    assert torch.equal(other.logits, together.logits) == (config is not None)
    for row, n in enumerate(batch.lengths.tolist()):
        alone = model(sentences([batch.tokens[row, :n].tolist()]))
        torch.testing.assert_close(alone.logits[0], together.logits[row], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(alone.attention[0, :, :n], together.attention[row, :, :n], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_are_those_of_packed_sequences(dtype):
    """However they are computed: a BiLSTM that stops at the last word of each sentence. The gradients too."""
    model, batch = text_model(2, dtype=dtype, hidden=8), random_sentences(9, seed=4)
    words = model.embedding(batch.tokens).detach().requires_grad_()
    packed = pack_padded_sequence(words, batch.lengths, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(model.lstm(packed)[0], batch_first=True, total_length=words.shape[1])[0]
    states, parameters = model._states(words, batch.lengths), [words, *model.lstm.parameters()]
    weights = torch.randn(expected.shape, generator=generator(1), dtype=dtype)
    ours, theirs = (torch.autograd.grad((each * weights).sum(), parameters) for each in (states, expected))
    tolerance = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 1e-12, "rtol": 1e-9}
    torch.testing.assert_close([states, *ours], [expected, *theirs], **tolerance)


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
    # Not the equality of a bag of words: order matters.
    assert not torch.allclose(model(sentences([[11, 2, 8, 3]])).logits, output.logits, atol=1e-3)


def test_switches_change_the_layers_and_dropout_acts_in_training_alone():
    layers = {
        name: [type(layer).__name__ for layer in text_model(**config).classifier] for name, config in MLPS.items()
    }
    assert layers == {"mlp": ["Linear", "ReLU", "Linear"], "linear mlp": ["Linear", "Linear"]}
    assert text_model().attention_in.bias is None
    assert text_model(attention_bias=True).attention_out.bias is not None
    model, batch = text_model(dropout=0.5), random_sentences(4)
    assert not torch.equal(model.train()(batch).logits, model(batch).logits)
    assert torch.equal(model.eval()(batch).logits, model(batch).logits)


def test_vectors_are_used_and_trained_further_but_not_as_released():
    given = torch.randn(20, 6, generator=generator(8))
    weight, before = made(TextConfig(embedding_dim=6), vectors=given).embedding.weight, given.clone()
    assert torch.equal(weight, given)
    with torch.no_grad():
        weight += 1
    assert weight.requires_grad
    assert torch.equal(given, before), "training must not change the task's vectors"
    used, unused = (made(released(), vectors=each).embedding.weight for each in (given, None))
    assert torch.equal(used, unused)
    for shape in ((20, 5), (19, 6), (20,)):
        with pytest.raises(ValueError, match=r"word vectors have shape \(.*\), expected \(20, 6\) \(vocabulary, emb"):
            made(TextConfig(embedding_dim=6), vectors=torch.zeros(shape))


def test_the_released_sizes():
    model = SelfAttentiveLSTM(30, 6, TextConfig.as_released())
    shapes = {name.removesuffix(".weight"): tuple(weight.shape) for name, weight in model.named_parameters()}
    assert (shapes["embedding"], shapes["lstm.weight_hh_l0"]) == ((30, 300), (4 * 256, 256))
    assert (shapes["attention_in"], shapes["attention_out"]) == ((350, 512), (30, 350))
    assert (shapes["classifier.0"], shapes["classifier.1"]) == ((2000, 15360), (6, 2000))
    assert model.dropout.p == 0


def released_search(model, sentences, labels):
    """What the released loop computes, sentence by sentence: the number of the winner and its map."""
    found = []
    for words, label in zip(sentences, labels, strict=True):
        n, best = len(words), None
        candidates = [words + [1] * (200 - n)]
        for i in range(n):
            for j in range(i + 1, n):
                ids = [0 if place in (i, j) else word for place, word in enumerate(words)]
                candidates.append(ids + [0] * (200 - n))
        for number, ids in enumerate(candidates):
            with torch.no_grad():
                batch = Batch(torch.tensor([0]), torch.tensor([label]), torch.tensor([ids]), torch.tensor([200]))
                output = model(batch)
            logit = output.logits[0, label].item()
            if best is None or logit > best[0]:
                best = logit, number, torch.softmax(output.attention[0].sum(0), 0)
        found.append(best[1:])
    return found


def test_the_released_search_index_by_index():
    """Its masked variants carry another padding than the clean sentence, and padding attends."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor([1, 2, 3, 5, 7, 9, 10, 12, 6, 8])
    tokens = torch.randint(2, 30, (10, 12), generator=generator)
    tokens = torch.where(torch.arange(12) < lengths[:, None], tokens, 1)
    batch = Batch(torch.arange(10), torch.randint(6, (10,), generator=generator), tokens, lengths)
    with seeded(1):
        model = SelfAttentiveLSTM(30, 6, released(hops=5, mlp_dim=20, fixed_length=200)).double().eval()
    sentences = [row[:n] for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    theirs = released_search(model, sentences, batch.label.tolist())
    ours = find_surrogates(model, batch, Pairs(), tie_tolerance=0.0)
    assert ours.index.tolist() == [index for index, _ in theirs]
    assert torch.allclose(ours.attention, torch.stack([attention for _, attention in theirs]), atol=1e-7)
    # With the padding left as it is, another variant wins in some sentences: it is not a detail.
    plain = find_surrogates(model, batch, Pairs(), regions=TokenRegions(), tie_tolerance=0.0)
    assert not torch.equal(plain.index, ours.index)


def test_hiding_padding_needs_a_length():
    with pytest.raises(ValueError, match="hides_padding=True needs fixed_length"):
        made(TextConfig(hides_padding=True))


def test_as_released_padding_is_read_and_attended_to_and_hops_are_summed():
    model, batch = made(released()), random_sentences(6, seed=3)
    output = model(batch)
    assert output.attention.shape == (6, 3, 12)
    assert (output.attention > 0).all()
    with pytest.raises(ValueError, match="exactly 0 where an example has no region"):
        check_output(output, batch.label, batch.lengths)
    weights = np.exp(output.attention.detach().double().numpy().sum(1))
    np.testing.assert_allclose(model.attention_map(output).detach(), weights / weights.sum(1, keepdims=True), rtol=1e-5)


def test_fixed_length_pads_with_the_pad_word():
    model, batch = made(released()), sentences([[2, 3]])
    wide = batch.replace(tokens=torch.tensor([[2, 3, *[PAD] * 10]]))
    assert torch.equal(model(batch).logits, model(wide).logits)
    other = made(released(), pad_id=5)
    assert not torch.allclose(other(batch).logits, model(batch).logits, atol=1e-5)
    with pytest.raises(ValueError, match="a sentence has 13 tokens, the model is fixed to 12"):
        model(sentences([[2] * 13]))


def test_tokens_are_needed_and_may_be_unknown():
    with pytest.raises(ValueError, match="SelfAttentiveLSTM needs a batch with tokens and lengths"):
        text_model()(random_images(2))
    batch = sentences([[0, 0, 0], [0]])
    output = text_model().eval()(batch)
    check_output(output, batch.label, batch.lengths)
    assert output.attention[1, 0].tolist() == [1, 0, 0]
