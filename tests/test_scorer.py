"""The scorer under autocast. What it computes otherwise is tested through the search."""

import pytest
import torch

from ssan.regions import FeatureGrid
from ssan.samplers import Pairs
from ssan.search import find_surrogates
from tests.helpers import PatchModel, random_images, random_sentences, text_model


def clear_winners(model, batch, **options):
    """The surrogates in full precision, and which examples have a winner ahead of all others by a tenth."""
    full = find_surrogates(model, batch, Pairs(), **options)
    ahead = find_surrogates(model, batch, Pairs(), tie_tolerance=0.1, **options)
    return full, full.index == ahead.index


def test_text_in_bfloat16_selects_the_same_variants_where_the_race_is_not_close():
    model, batch = text_model(1, hidden=16, hops=2, scale=4.0), random_sentences(40, seed=2)
    full, clear = clear_winners(model, batch)
    half = find_surrogates(model, batch, Pairs(), autocast=torch.bfloat16)
    assert clear.sum() > 25
    assert len(full.index[clear].unique()) > 8
    assert torch.equal(half.index[clear], full.index[clear])
    assert half.score.dtype == half.attention.dtype == torch.float32
    torch.testing.assert_close(half.score, full.score, rtol=0.03, atol=0.1)
    torch.testing.assert_close(half.attention.sum(1), torch.ones(40))
    assert not torch.equal(half.score, full.score)


def test_features_in_bfloat16():
    model, batch = PatchModel(seed=1).float(), random_images(20, seed=3)
    batch = batch.replace(image=batch.image.float())
    full, clear = clear_winners(model, batch, regions=FeatureGrid((2, 3)))
    half = find_surrogates(model, batch, Pairs(), regions=FeatureGrid((2, 3)), autocast=torch.bfloat16)
    assert clear.sum() > 5
    assert torch.equal(half.index[clear], full.index[clear])
    torch.testing.assert_close(half.attention.sum(1), torch.ones(20))


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_equal_variants_tie_in_any_precision(autocast):
    # A model that ignores its input: nothing may beat the clean variant by rounding.
    model, batch = text_model(2), random_sentences(20, seed=4)
    with torch.no_grad():
        model.embedding.weight.copy_(model.embedding.weight[:1].expand_as(model.embedding.weight))
    assert find_surrogates(model, batch, Pairs(), autocast=autocast).index.tolist() == [0] * 20
