"""Selectors: what streams in chunks equals the formula over all variants at once, and known importance is recovered."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.samplers import HideWindows, KeepK, KeepWindows, Pairs, RandomMasks, Rise, Singles
from ssan.search import find_surrogates
from ssan.selectors import SELECTORS, Best, Chunk, Clean, Importance, Ridge, make_selector
from tests.helpers import additive, exists, generator, random_sentences, sentences, text_model

SAMPLERS = [Pairs(), Singles(), RandomMasks(7, 0.4, 3), KeepWindows(2), HideWindows(2), KeepK(6, 2), Rise(8, cells=3)]
LENGTHS = (4, 1, 7, 3)


class Stream:
    """Random scores and maps for every variant of examples of `LENGTHS` regions, and the chunks they come in."""

    def __init__(self, sampler, seed=0, shaded=False):
        g = generator(seed)
        self.width = max(LENGTHS)
        self.masks, self.scores, self.maps = [], [], []
        for example, n in enumerate(LENGTHS):
            m = sampler.count(n)
            mask = sampler.masks(n, torch.arange(m), example)
            if shaded:
                mask = torch.rand(mask.shape, generator=g).index_fill(0, torch.tensor([0]), 1.0)
            self.masks.append(mask)
            self.scores.append(torch.randn(m, generator=g, dtype=torch.float64))
            weights = torch.rand(m, n, generator=g, dtype=torch.float64)
            self.maps.append(weights / weights.sum(-1, keepdim=True))
        attention = torch.stack([self.padded(maps[0], 0) for maps in self.maps])
        mask = torch.arange(self.width) < torch.tensor(LENGTHS)[:, None]
        self.clean = Clean(torch.stack([score[0] for score in self.scores]), attention, mask)

    def padded(self, values, fill, width=None):
        return torch.nn.functional.pad(values, (0, (width or self.width) - values.shape[-1]), value=fill)

    def run(self, selector, size):
        flat = [(row, index) for row, scores in enumerate(self.scores) for index in range(1, len(scores))]
        best = [float(scores[0]) for scores in self.scores]
        selector.start(self.clean)
        for start in range(0, len(flat), size):
            part = flat[start : start + size]
            width = max(LENGTHS[row] for row, _ in part)
            kept = torch.stack([self.padded(self.masks[row][index], True, width) for row, index in part])
            maps = torch.stack([self.padded(self.maps[row][index], 0, width) for row, index in part])
            rows, indices = (torch.tensor(column) for column in zip(*part, strict=True))
            score = torch.stack([self.scores[row][index] for row, index in part])
            improved = {}
            for position, (row, _) in enumerate(part):
                if float(score[position]) > best[row]:
                    best[row], improved[row] = float(score[position]), position
            selector.update(
                Chunk(rows, indices, kept, score, maps.__getitem__), torch.tensor(list(improved.values())).long()
            )
        return selector.finish()


def clipped(values, clean):
    positive = np.clip(values, 0, None)
    return positive / positive.sum() if positive.max() > 1e-12 else clean


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


def ridge_formula(masks, scores, strength):
    """Least squares with sqrt(strength) on the diagonal as further observations of zero; the intercept is free."""
    x, y = masks.astype(float), scores - scores.mean()
    x = np.vstack([x - x.mean(0), np.sqrt(strength) * np.eye(x.shape[1])])
    return np.linalg.lstsq(x, np.concatenate([y, np.zeros(masks.shape[1])]), rcond=None)[0]


def check(stream, selector, formula, size):
    found = stream.run(selector, size)
    values = selector.values()
    for row, n in enumerate(LENGTHS):
        expected = formula(stream.masks[row].numpy(), stream.scores[row].numpy())
        np.testing.assert_allclose(values[row, :n], expected, atol=1e-11)
        target = clipped(expected, stream.maps[row][0].numpy())
        np.testing.assert_allclose(found[row, :n], target, atol=1e-9)
        assert (found[row, n:] == 0).all()
        assert (values[row, n:] == 0).all()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_importance_is_the_formula_over_all_masks(sampler, size):
    check(Stream(sampler), Importance(), importance_formula, size)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_ridge_is_least_squares_with_augmented_rows(sampler, size):
    for strength in (0.5, 3.0):
        check(Stream(sampler), Ridge(strength), lambda m, s, k=strength: ridge_formula(m, s, k), size)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 30))
def test_shaded_masks_count_by_how_much_is_kept(seed, size):
    stream = Stream(RandomMasks(6, seed=seed), seed, shaded=True)
    check(stream, Importance(), importance_formula, size)
    check(stream, Ridge(), lambda masks, scores: ridge_formula(masks, scores, 3.0), size)


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


def test_ridge_with_little_strength_recovers_the_weights():
    model, batch = additive(2), sentences([[5, 6, 7, 8, 9], [10, 11, 12]], [0, 2])
    for row in range(2):
        selector = Ridge(strength=1e-9)
        one = batch.select([row])
        find_surrogates(model, one, RandomMasks(60, seed=1), selector=selector)
        torch.testing.assert_close(selector.values()[0], weights_of(model, one, 0), atol=1e-6, rtol=0)


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


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_targets_are_distributions(name):
    batch = random_sentences(30, 5)
    found = find_surrogates(text_model(1), batch, Pairs(), selector=name)
    mask = exists(batch)
    assert found.attention.dtype == found.clean_attention.dtype
    assert (found.attention >= 0).all()
    assert (found.attention[~mask] == 0).all()
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(30))


def test_make_selector():
    assert isinstance(make_selector("ridge"), Ridge)
    assert make_selector("importance") is not make_selector("importance")
    mine = Ridge(2.0)
    assert make_selector(mine) is mine
    with pytest.raises(ValueError, match="unknown selector 'worst': expected one of best, importance, ridge"):
        make_selector("worst")


@pytest.mark.parametrize("strength", [0, -1.0, float("nan")])
def test_ridge_strength_must_be_positive(strength):
    with pytest.raises(ValueError, match="ridge strength must be above 0"):
        Ridge(strength)
