"""Ridge regression: against least squares with augmented rows, and one matrix for all examples with the same masks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.regions import ImageGrid
from ssan.samplers import HideWindows, Pairs, RandomMasks, Singles
from ssan.search import find_surrogates
from ssan.selectors import Ridge
from tests.helpers import PatchModel, additive, random_images, sentences
from tests.selectors.stream import SAMPLERS, Stream, check
from tests.selectors.test_importance import weights_of


def ridge_formula(masks, scores, strength):
    """Least squares with sqrt(strength) on the diagonal as further observations of zero; the intercept is free."""
    x, y = masks.astype(float), scores - scores.mean()
    x = np.vstack([x - x.mean(0), np.sqrt(strength) * np.eye(x.shape[1])])
    return np.linalg.lstsq(x, np.concatenate([y, np.zeros(masks.shape[1])]), rcond=None)[0]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_ridge_is_least_squares_with_augmented_rows(sampler, size):
    for strength in (0.5, 3.0):
        check(Stream(sampler), Ridge(strength), lambda m, s, k=strength: ridge_formula(m, s, k), size)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 30))
def test_shaded_masks_count_by_how_much_is_kept(seed, size):
    stream = Stream(RandomMasks(6, seed=seed), seed, shaded=True)
    check(stream, Ridge(), lambda masks, scores: ridge_formula(masks, scores, 3.0), size)


def test_ridge_with_little_strength_recovers_the_weights():
    model, batch = additive(2), sentences([[5, 6, 7, 8, 9], [10, 11, 12]], [0, 2])
    for row in range(2):
        selector = Ridge(strength=1e-9)
        one = batch.select([row])
        find_surrogates(model, one, RandomMasks(60, seed=1), selector=selector)
        torch.testing.assert_close(selector.values()[0], weights_of(model, one, 0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("strength", [0, -1.0, float("nan")])
def test_ridge_strength_must_be_positive(strength):
    with pytest.raises(ValueError, match="ridge strength must be above 0"):
        Ridge(strength)


# --- one matrix for all that have the same masks ---------------------------------------------------------------------


@pytest.fixture
def solved(monkeypatch):
    """How many right-hand sides each system that is solved has."""
    found, solve = [], torch.linalg.solve

    def counting(matrix, right):
        found.append(right.shape[1])
        return solve(matrix, right)

    monkeypatch.setattr(torch.linalg, "solve", counting)
    return found


@pytest.mark.parametrize(
    ("sampler", "lengths", "expected"),
    [
        (Pairs(), (3, 3, 5, 5, 5, 6), [2, 3, 1]),
        (Singles(), (4, 4, 4), [3]),
        (HideWindows(2, grid=(2, 3)), (6,) * 5, [5]),
        (RandomMasks(9), (6,) * 4, [1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 7, 1000])
def test_examples_with_the_same_masks_share_a_matrix_and_others_do_not(solved, sampler, lengths, expected, size):
    stream = Stream(sampler, lengths=lengths)
    selector = Ridge()
    stream.run(selector, size)
    selector.values()
    assert solved[-len(expected) :] == expected
    check(stream, Ridge(), lambda masks, scores: ridge_formula(masks, scores, 3.0), size)


@pytest.mark.parametrize("size", [3, 49, 100, 10**6])
def test_together_or_alone_the_coefficients_are_the_same(size):
    """To the rounding of double precision, whether the matrix is shared or an example has its own."""
    lengths, sampler = (64,) * 12, HideWindows(2, grid=(8, 8))
    stream, selector = Stream(sampler, lengths=lengths), Ridge()
    stream.run(selector, size)
    together = selector.values()
    for row in range(12):
        one, alone = Stream(sampler, lengths=(64,)), Ridge()
        one.masks, one.scores, one.maps = stream.masks[:1], stream.scores[row : row + 1], stream.maps[row : row + 1]
        one.attention = stream.attention[row : row + 1]
        one.run(alone, 1000)
        torch.testing.assert_close(together[row], alone.values()[0], rtol=1e-12, atol=1e-14)
    assert together.abs().max() > 0.1


def test_equal_and_other_masks_side_by_side():
    """Masks that happen to be equal are shared, and an example between them with other masks is not drawn in."""
    stream = Stream(RandomMasks(9), lengths=(6,) * 5)
    for row in (0, 1, 3, 4):
        stream.masks[row] = stream.masks[0]
    stream.masks[4] = stream.masks[4].clone()
    stream.masks[4][-1] = ~stream.masks[4][-1]  # differs in the last variant alone
    for size in (2, 9, 1000):
        check(stream, Ridge(), lambda masks, scores: ridge_formula(masks, scores, 3.0), size)


def test_images_searched_together_or_one_by_one(solved):
    model, batch = PatchModel((4, 6)), random_images(20)
    options = {"regions": ImageGrid((4, 6)), "selector": "ridge"}
    sampler = HideWindows(2, grid=(4, 6))
    found = find_surrogates(model, batch, sampler, perturbations_per_eval=23, **options)
    assert solved == [20]
    for row in range(20):
        one = find_surrogates(model, batch.select([row]), sampler, **options)
        torch.testing.assert_close(one.attention[0], found.attention[row], rtol=1e-9, atol=1e-12)
