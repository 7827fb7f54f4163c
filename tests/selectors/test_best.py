"""The best variant, and the best variant if it is better enough."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.samplers import Pairs
from ssan.search import find_surrogates
from ssan.selectors import Best, Chunk, Clean, Margin
from tests.helpers import random_sentences, text_model
from tests.selectors.stream import LENGTHS, Stream


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 60))
def test_best_is_the_map_of_the_first_maximum(seed, size):
    stream = Stream(Pairs(), seed)
    found = stream.run(Best(), size)
    for row in range(len(LENGTHS)):
        best = int(np.argmax(stream.scores[row].numpy()))
        torch.testing.assert_close(found[row], stream.padded(stream.maps[row][best], 0), rtol=0, atol=0)


def test_best_leaves_nothing_of_a_wider_map():
    clean = Clean(torch.zeros(1), torch.full((1, 4), 0.25), torch.ones(1, 4, dtype=torch.bool))
    selector = Best()
    selector.start(clean)
    narrow = torch.tensor([[0.5, 0.5]])
    selector.update(
        Chunk(torch.tensor([0]), torch.tensor([1]), torch.ones(1, 2), torch.ones(1), narrow.__getitem__),
        torch.tensor([0]),
    )
    assert selector.finish().tolist() == [[0.5, 0.5, 0, 0]]
    assert clean.attention.tolist() == [[0.25] * 4]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 60), margin=st.floats(0, 3))
def test_margin_keeps_the_clean_map_unless_the_best_is_better_enough(seed, size, margin):
    stream = Stream(Pairs(), seed)
    found = stream.run(Margin(margin), size)
    for row in range(len(LENGTHS)):
        scores = stream.scores[row].numpy()
        best = int(np.argmax(scores))
        chosen = best if scores[best] - scores[0] > margin else 0
        assert torch.equal(found[row], stream.padded(stream.maps[row][chosen], 0))


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_margin_through_the_search(score):
    batch = random_sentences(40, 2)
    best = find_surrogates(text_model(1), batch, Pairs(), score=score)
    margin = float(best.gain.median())
    found = find_surrogates(text_model(1), batch, Pairs(), score=score, selector=Margin(margin))
    better = best.gain > margin
    assert 0 < better.sum() < 40
    assert torch.equal(found.attention[better], best.attention[better])
    assert torch.equal(found.attention[~better], best.clean_attention[~better])
    # What is said of the best variant does not depend on what the selector makes of it.
    assert torch.equal(found.index, best.index)


@pytest.mark.parametrize("margin", [-0.1, float("nan")])
def test_margin_must_not_be_negative(margin):
    with pytest.raises(ValueError, match="margin must be at least 0"):
        Margin(margin)
