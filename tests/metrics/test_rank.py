"""Rank correlation against scipy and cases worked by hand."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.metrics import partial_rank_correlation, rank_correlation


def spearman(x, y) -> float:
    """scipy's value; NaN, without its warning, where there is no order."""
    x, y = np.asarray(x), np.asarray(y)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return scipy.stats.spearmanr(x, y).statistic


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), levels=st.sampled_from([2, 4, 1000]))
def test_equals_scipy_with_ties_and_missing_regions(seed, n, levels):
    rng = np.random.default_rng(seed)
    a, b = (torch.from_numpy(rng.integers(0, levels, (6, n)) / levels) for _ in range(2))
    exists = torch.from_numpy(rng.random((6, n)) < 0.7)
    found, every = rank_correlation(a, b, exists), rank_correlation(a, b)
    for i in range(6):
        kept = exists[i]
        assert found[i].item() == pytest.approx(spearman(a[i][kept], b[i][kept]), abs=1e-12, nan_ok=True)
        assert every[i].item() == pytest.approx(spearman(a[i], b[i]), abs=1e-12, nan_ok=True)


def test_by_hand():
    a = torch.tensor([[1.0, 2, 3, 4], [1, 2, 3, 4], [1, 2, 2, 3], [-5, 0, 1, 9]])
    b = torch.tensor([[10.0, 20, 30, 99], [4, 3, 2, 1], [1, 2, 3, 4], [1, 3, 2, 4]])
    # Third: ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    assert rank_correlation(a, b).tolist() == pytest.approx([1, -1, 4.5 / (4.5 * 5) ** 0.5, 0.8])


def test_blind_to_increasing_functions_and_to_the_sign_of_zero():
    a = torch.tensor([[0.0, -0.0, 1.0, 2.0]])
    assert rank_correlation(a, torch.tensor([[5.0, 5.0, 6.0, 7.0]])).item() == pytest.approx(1)
    assert rank_correlation(a[:0], a[:0]).shape == (0,)
    a, b = (torch.randn(8, 20, generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1))
    assert torch.equal(rank_correlation(a, b), rank_correlation(torch.exp(a), b**3))


def test_constant_maps_are_nan():
    a = torch.tensor([[1 / 3] * 3, [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    b = torch.tensor([[0.1, 0.2, 0.7]] * 2 + [[0.3, 0.4, 0.3]])
    exists = torch.tensor([[True] * 3, [True] * 3, [True, True, False]])
    found = rank_correlation(a, b, exists)
    assert found.isnan().tolist() == [True, False, True]
    assert found.nanmean().item() == pytest.approx(1)


def test_what_does_not_exist_is_never_read():
    a, b = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0))
    exists = torch.arange(6) < torch.tensor([2, 3, 4, 6])[:, None]
    expected = rank_correlation(a.masked_fill(~exists, 0), b.masked_fill(~exists, 5), exists)
    assert not expected.isnan().any()
    assert torch.equal(rank_correlation(a.masked_fill(~exists, torch.nan), b, exists), expected)


@pytest.mark.parametrize(
    ("a", "b", "exists", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), None, r"a \(2, 3\), b \(2, 4\)"),
        (torch.ones(3), torch.ones(3), None, r"one shape \(B, R\)"),
        (torch.ones(1, 3), torch.ones(1, 3), torch.ones(1, 2, dtype=torch.bool), "exists must be bool"),
        (torch.tensor([[1.0, torch.nan]]), torch.ones(1, 2), None, "a holds NaN"),
        (torch.ones(1, 2), torch.tensor([[1.0, torch.inf]]), None, "b holds NaN"),
    ],
)
def test_bad_input(a, b, exists, message):
    with pytest.raises(ValueError, match=message):
        rank_correlation(a, b, exists)


def test_partial_correlation_is_that_of_what_a_regression_on_the_third_leaves():
    rng = np.random.default_rng(3)
    a, b, given = (torch.from_numpy(rng.integers(0, 9, (5, 12))).double() for _ in range(3))
    a, b = a + given, b + 2 * given
    ranks = [np.apply_along_axis(scipy.stats.rankdata, 1, each.numpy()) for each in (a, b, given)]
    for row, found in enumerate(partial_rank_correlation(a, b, given).tolist()):
        x, y, z = (each[row] for each in ranks)
        left = [v - np.polyval(np.polyfit(z, v, 1), z) for v in (x, y)]
        assert found == pytest.approx(np.corrcoef(*left)[0, 1])
    position = torch.arange(12.0).expand(5, -1)
    assert partial_rank_correlation(position * 3, b, position).tolist() == [0] * 5
    assert partial_rank_correlation(torch.ones(5, 12), b, position).isnan().all()
