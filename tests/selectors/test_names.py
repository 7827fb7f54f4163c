"""What holds for selectors by name."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.samplers import Pairs
from ssan.search import find_surrogates
from ssan.selectors import SELECTORS, Ridge, TopK, make_selector
from tests.helpers import exists, random_sentences, text_model
from tests.selectors.stream import SAMPLERS, Stream


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_targets_are_distributions(name):
    batch = random_sentences(30, 5)
    found = find_surrogates(text_model(1), batch, Pairs(), selector=name)
    mask = exists(batch)
    assert found.attention.dtype == found.clean_attention.dtype
    assert (found.attention >= 0).all()
    assert (found.attention[~mask] == 0).all()
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(30))


@pytest.mark.parametrize("name", sorted(SELECTORS))
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), sampler=st.sampled_from(SAMPLERS), size=st.integers(1, 60))
def test_chunks_make_no_difference(name, seed, sampler, size):
    stream = Stream(sampler, seed)
    whole = stream.run(make_selector(name), 10**6)
    clean = stream.attention.clone()
    torch.testing.assert_close(stream.run(make_selector(name), size), whole, rtol=1e-9, atol=1e-11)
    assert torch.equal(stream.attention, clean)  # what a selector was given is not changed


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_models_that_attend_to_padding_keep_maps_of_their_width(name):
    model = text_model(2, hops=3, padding_attends=True, fixed_length=11, hop_reduction="softmax_of_sum")
    batch = random_sentences(9, 3)
    found = find_surrogates(model, batch, Pairs(), selector=name)
    assert found.attention.shape == (9, 11)
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(9))


def test_make_selector():
    assert repr(make_selector("top_k")) == repr(TopK(5))
    assert isinstance(make_selector("ridge"), Ridge)
    assert make_selector("importance") is not make_selector("importance")
    mine = Ridge(2.0)
    assert make_selector(mine) is mine
    with pytest.raises(
        ValueError, match="unknown selector 'worst': expected one of best, importance, margin, ridge, top_k, weighted"
    ):
        make_selector("worst")
