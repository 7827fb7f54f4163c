"""Means over variants: the k best, and all of them weighted by their scores."""

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.samplers import Pairs, RandomMasks
from ssan.search import find_surrogates
from ssan.selectors import Best, TopK, Weighted
from tests.helpers import additive, generator, random_sentences, sentences, text_model
from tests.selectors.stream import LENGTHS, SAMPLERS, Stream

numbers = st.integers(0, 10**6)


def mean_of_best(stream, row, k):
    """By sorting all variants of an example, the lower index first among equals."""
    scores = stream.scores[row].tolist()
    best = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:k]
    return stream.padded(stream.maps[row][best].mean(0), 0)


@settings(deadline=None, max_examples=40)
@given(seed=numbers, k=st.integers(1, 30), size=st.integers(1, 60), sampler=st.sampled_from(SAMPLERS))
def test_top_k_is_the_mean_of_the_k_best(seed, k, size, sampler):
    stream = Stream(sampler, seed)
    found = stream.run(TopK(k), size)
    for row in range(len(LENGTHS)):
        torch.testing.assert_close(found[row], mean_of_best(stream, row, k))


@settings(deadline=None, max_examples=60)
@given(seed=numbers, k=st.integers(1, 8), size=st.integers(1, 60), levels=st.integers(1, 5))
def test_ties_go_to_the_lower_index_whatever_the_rounding(seed, k, size, levels):
    stream = Stream(Pairs(), seed)
    g = generator(seed)
    stream.scores = [torch.randint(0, levels, scores.shape, generator=g).double() for scores in stream.scores]
    exact = stream.run(TopK(k), size)
    for row in range(len(LENGTHS)):
        torch.testing.assert_close(exact[row], mean_of_best(stream, row, k))
    noise = [1e-12 * torch.randn(scores.shape, generator=g, dtype=torch.float64) for scores in stream.scores]
    stream.scores = [scores + own for scores, own in zip(stream.scores, noise, strict=True)]
    assert torch.equal(stream.run(TopK(k), size), exact)


def test_of_equal_variants_the_first_k_are_taken():
    stream = Stream(Pairs(), lengths=(5,))
    stream.scores = [torch.zeros(11).double()]
    expected = stream.maps[0][:4].mean(0)
    for size in (1, 3, 20):
        torch.testing.assert_close(stream.run(TopK(4), size)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_best_one_is_best(dtype):
    batch = random_sentences(60, 4)
    for model in (text_model(3, dtype=dtype), additive(1, dtype=dtype)):
        found, best = (
            find_surrogates(model, batch, Pairs(), selector=one, perturbations_per_eval=50) for one in (TopK(1), Best())
        )
        assert torch.equal(found.attention, best.attention)
        assert (best.index > 0).any()


def test_examples_with_fewer_variants_take_all_of_them():
    batch = sentences([[5], [6, 7], [8, 9, 10]])
    model = text_model(1, dtype=torch.float64)
    found = find_surrogates(model, batch, Pairs(), selector=TopK(4))
    assert torch.equal(found.attention[0], found.clean_attention[0])
    hidden = model.eval()(sentences([[0, 0]])).attention.mean(1)
    torch.testing.assert_close(found.attention[1, :2], (found.clean_attention[1, :2] + hidden[0]) / 2)


def test_a_wider_tolerance_can_be_asked_for():
    stream = Stream(RandomMasks(20), 1, lengths=(6,))
    torch.testing.assert_close(stream.run(TopK(1, tie_tolerance=100.0), 7), stream.attention)
    assert not torch.equal(stream.run(TopK(1), 7), stream.attention)


# --- weighted by scores ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(seed=numbers, size=st.integers(1, 60), temperature=st.floats(0.05, 20), scale=st.sampled_from([1.0, 1e4, 1e-3]))
def test_weighted_is_the_softmax_mean(seed, size, temperature, scale):
    stream = Stream(Pairs(), seed)
    stream.scores = [scale * scores for scores in stream.scores]
    found = stream.run(Weighted(temperature), size)
    assert torch.isfinite(found).all()
    for row in range(len(LENGTHS)):
        weights = scipy.special.softmax(stream.scores[row].numpy() / temperature)
        expected = (weights[:, None] * stream.maps[row].numpy()).sum(0)
        np.testing.assert_allclose(found[row, : LENGTHS[row]], expected, atol=1e-10)
        assert (found[row, LENGTHS[row] :] == 0).all()


def test_a_temperature_near_zero_gives_the_best_and_a_high_one_the_mean():
    stream = Stream(Pairs(), 3)
    torch.testing.assert_close(stream.run(Weighted(1e-6), 9), stream.run(Best(), 9))
    for row, n in enumerate(LENGTHS):
        torch.testing.assert_close(stream.run(Weighted(1e9), 9)[row, :n], stream.maps[row].mean(0))


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_bad_settings(value):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Weighted(value)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        TopK(0)
