"""Mean ranks against scipy and by hand; the critical difference against published values."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ssan.critical_difference import Ranking, critical_difference, draw, rank


def test_the_sister_papers_value():
    assert critical_difference(6, 5) == pytest.approx(3.3722, abs=5e-5)


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)])
def test_demsars_table(k, q):
    # Demšar 2006, table 5(a), alpha = .05; the table has 2.343 for k = 3, where 2.3437 rounds to 2.344.
    assert critical_difference(k, 7) == pytest.approx(q * (k * (k + 1) / 42) ** 0.5, rel=5e-4)


@pytest.mark.parametrize(("k", "n"), [(1, 5), (3, 0)])
def test_too_few_conditions_or_seeds(k, n):
    with pytest.raises(ValueError, match="at least 2 conditions"):
        critical_difference(k, n)


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 6), st.integers(2, 8), st.integers(0, 1000), st.booleans())
def test_ranks_are_scipys(k, n, seed, higher):
    values = pd.DataFrame(np.random.default_rng(seed).integers(0, 4, size=(n, k)), columns=list("abcdef")[:k])
    signed = -values if higher else values
    expected = np.mean([stats.rankdata(row) for row in signed.to_numpy()], axis=0)
    found = rank(values, higher_is_better=higher)
    assert found.ranks[list(values.columns)].to_numpy() == pytest.approx(expected)
    assert found.ranks.is_monotonic_increasing
    assert found.n_blocks == n


def test_friedman():
    values = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 4)), columns=list("abcd"))
    assert rank(values).p == pytest.approx(stats.friedmanchisquare(*values.to_numpy().T).pvalue)
    assert np.isnan(rank(values[["a", "b"]]).p)


def test_seeds_without_all_values_are_left_out():
    values = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [0.0, 5.0, 1.0]})
    assert rank(values).ranks.to_dict() == {"a": 1.0, "b": 2.0}
    with pytest.raises(ValueError, match="no seed"):
        rank(values.iloc[1:2])


def test_cliques_by_hand():
    ranks = pd.Series({"a": 1.0, "b": 1.6, "c": 2.4, "d": 3.9, "e": 4.1})
    assert Ranking(ranks, 10, 1.0, 0.01).cliques == [("a", "b"), ("b", "c"), ("d", "e")]
    assert Ranking(ranks, 10, 9.0, 0.01).cliques == [tuple("abcde")]
    assert Ranking(ranks, 10, 0.1, 0.01).cliques == []


def test_the_diagram_says_every_rank_and_the_difference():
    ranks = pd.Series({"first": 1.25, "second": 1.75, "third": 3.0})
    ax = draw(Ranking(ranks, 8, 0.9, 0.01))
    said = " ".join(text.get_text() for text in ax.texts)
    assert all(f"{value:.2f}" in said and name in said for name, value in ranks.items())
    assert "0.90" in said
    plt.close(ax.figure)
