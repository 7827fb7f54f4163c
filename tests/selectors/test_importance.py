"""Occlusion importance: what streams in chunks equals the formula over all variants, and known importance is found."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.samplers import HideWindows, KeepWindows, Pairs, RandomMasks, Singles
from ssan.search import find_surrogates
from ssan.selectors import Importance
from tests.helpers import additive, exists, random_sentences, sentences, text_model
from tests.selectors.stream import SAMPLERS, Stream, check


def importance_formula(masks, scores):
    """Over all masks of one example, region by region."""
    values = []
    for region in range(masks.shape[1]):
        kept = masks[:, region].astype(float)
        if kept.sum() == 0 or kept.sum() == len(kept):
            values.append(0.0)
        else:
            values.append((kept * scores).sum() / kept.sum() - ((1 - kept) * scores).sum() / (1 - kept).sum())
    return np.array(values)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_importance_is_the_formula_over_all_masks(sampler, size):
    check(Stream(sampler), Importance(), importance_formula, size)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 30))
def test_shaded_masks_count_by_how_much_is_kept(seed, size):
    stream = Stream(RandomMasks(6, seed=seed), seed, shaded=True)
    check(stream, Importance(), importance_formula, size)


# --- through the search, on models whose importance is known -------------------------------------------------------


def weights_of(model, batch, row):
    return model.weight[batch.tokens[row, : int(batch.lengths[row])], int(batch.label[row])].detach()


def test_importance_of_an_additive_model_in_closed_form():
    """Hiding one region at a time: kept minus hidden is `w_r (1 + 1/n) - W / n`, worked out by hand."""
    model, batch, selector = additive(1), random_sentences(20, 1), Importance()
    find_surrogates(model, batch, Singles(), selector=selector)
    checked = 0
    order = torch.argsort(batch.lengths, stable=True)
    for row, values in zip(order.tolist(), selector.values(), strict=True):
        w = weights_of(model, batch, row)
        n = len(w)
        torch.testing.assert_close(values[:n], w * (1 + 1 / n) - w.sum() / n)
        checked += n
    assert checked == int(batch.lengths.sum())


@pytest.mark.parametrize("selector", ["importance", "ridge"])
@pytest.mark.parametrize("sampler", [Pairs(), Singles(), HideWindows(1), KeepWindows(1)])
def test_known_ranking_is_recovered(selector, sampler):
    model = additive()
    with torch.no_grad():
        model.weight[:, 0] = torch.arange(20) - 8.0
    sentence = [9, 17, 11, 3, 13, 2]
    found = find_surrogates(model, sentences([sentence]), sampler, selector=selector)
    positive = [t for t in np.argsort(sentence) if found.attention[0, t] > 0]
    ranks = found.attention[0, positive].tolist()
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks) >= 2
    assert found.attention[0].argmax() == 1
    if not isinstance(sampler, KeepWindows):  # there, the clean input's high score is shared out to every region
        assert found.attention[0, 3] == found.attention[0, 5] == 0  # these two lower the score


@pytest.mark.parametrize("selector", ["importance", "ridge"])
def test_clean_map_where_no_region_helps(selector):
    model = additive()
    with torch.no_grad():
        model.weight.copy_(-model.weight.abs())
        model.weight[7] = 0
    # Only zeros; a single token; nothing but words that hurt equally.
    batch = sentences([[7, 7, 0], [4], [5, 5]])
    found = find_surrogates(model, batch, Pairs(), selector=selector)
    assert torch.equal(found.attention, found.clean_attention)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("score", ["logit", "probability", "log_odds"])
@pytest.mark.parametrize("selector", ["importance", "ridge"])
def test_rounding_is_no_importance(selector, score, dtype):
    """Variants of unknown words are all equal, but score a few roundings apart: that must not become a map."""
    batch = random_sentences(12, 3, longest=10)
    batch = batch.replace(tokens=batch.tokens.masked_fill(exists(batch), 0))
    for scale in (1.0, 8.0):
        model = text_model(4, dtype=dtype, scale=scale)
        found = find_surrogates(model, batch, Pairs(), selector=selector, score=score, perturbations_per_eval=37)
        assert torch.equal(found.attention, found.clean_attention)
