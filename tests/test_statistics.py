"""Statistics against scipy, by-hand cases and simulations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ssan import statistics

values = st.lists(st.floats(-10, 10), min_size=3, max_size=12)


@given(values, st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_the_t_interval_is_scipys(first, seed):
    a = np.array(first)
    b = a + np.random.default_rng(seed).normal(size=len(a))
    found = statistics.paired_difference(a, b)
    reference = stats.ttest_rel(a, b)
    interval = reference.confidence_interval(0.95)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.distinguishable == (interval.low > 0 or interval.high < 0)


def test_pairs_without_both_values_are_left_out():
    found = statistics.paired_difference([1, 2, np.nan, 5], [0, 1, 1, np.nan])
    assert (found.mean, found.n) == (1.0, 2)


def test_equal_differences_have_an_interval_of_no_width():
    assert statistics.paired_difference([1, 2, 3], [0, 1, 2]).p == 0
    same = statistics.paired_difference([1, 2], [1, 2])
    assert (same.p, same.distinguishable) == (1.0, False)


def test_one_pair_says_nothing():
    found = statistics.paired_difference([1.0], [0.0])
    assert not found.distinguishable
    assert np.isnan(found.p)
    assert "one seed" in str(found)


@pytest.mark.parametrize(("a", "b"), [([1, 2], [1]), ([np.nan], [1.0]), ([], [])])
def test_what_cannot_be_paired_is_an_error(a, b):
    with pytest.raises(ValueError, match=r"pair"):
        statistics.paired_difference(a, b)


def test_holm_by_hand():
    # Sorted .01, .02, .04 -> .03, .04, .04; NaN takes no part.
    found = statistics.holm([0.04, np.nan, 0.01, 0.02])
    assert found[[0, 2, 3]] == pytest.approx([0.04, 0.03, 0.04])
    assert np.isnan(found[1])


def test_the_bootstrap_covers_and_is_reproducible():
    sample = np.random.default_rng(0).normal(1, 1, size=40)
    low, high = statistics.bootstrap_interval(sample)
    assert (low, high) == statistics.bootstrap_interval(sample)
    half = stats.t.ppf(0.975, 39) * sample.std(ddof=1) / 40**0.5
    assert low == pytest.approx(sample.mean() - half, abs=0.1)
    assert high == pytest.approx(sample.mean() + half, abs=0.1)
    with pytest.raises(ValueError, match="two values"):
        statistics.bootstrap_interval([1.0])


def test_recovered_gain_is_the_share_of_the_ceiling():
    rng = np.random.default_rng(1)
    baseline = rng.normal(0.5, 0.01, 20)
    share, low, high = statistics.recovered_gain(baseline + 0.3, baseline, baseline + 0.4)
    assert (share, low, high) == pytest.approx((0.75, 0.75, 0.75))
    noisy = statistics.recovered_gain(baseline + rng.normal(0.3, 0.1, 20), baseline, baseline + 0.4)
    assert noisy[1] < noisy[0] < noisy[2]
    assert np.isnan(statistics.recovered_gain(baseline, baseline, baseline)[0])
    assert statistics.recovered_gain([0.7], [0.5], [0.9])[0] == pytest.approx(0.5)
    assert statistics.recovered_gain([0.4, 0.5], [0.6, 0.5], [0.3, 0.2])[0] == pytest.approx(1 / 3)  # a harmful oracle


def test_no_share_of_a_gain_that_may_be_nothing():
    baseline = np.linspace(0.4, 0.6, 10)
    doubtful = baseline + np.array([0.2, -0.2] * 5) + 0.02
    assert np.isnan(statistics.recovered_gain(baseline + 0.1, baseline, doubtful)).all()
    sure = baseline + np.array([0.2, -0.1] * 5) + 0.2
    assert np.isfinite(statistics.recovered_gain(baseline + 0.1, baseline, sure)).all()


def rows(difference: float, seeds: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    base = rng.normal(0.7, 0.05, seeds)
    found = []
    for seed in range(seeds):
        named = {"task": "t", "start": "scratch", "seed": seed, "n_train": 10}
        found.append(named | {"condition": "baseline", "accuracy": base[seed]})
        value = base[seed] + difference + rng.normal(0, 0.01)
        found.append(named | {"condition": "supervised_best", "accuracy": value})
    return pd.DataFrame(found)


def test_compare_pairs_by_seed_whatever_the_order_of_rows():
    table = statistics.compare(rows(0.05), "accuracy")
    shuffled = rows(0.05).sample(frac=1, random_state=0)
    again = statistics.compare(shuffled, "accuracy").reindex(table.index)
    pd.testing.assert_frame_equal(table, again)
    row = table.loc["supervised_best/scratch"]
    assert row["difference"] == pytest.approx(0.05, abs=0.02)
    assert row["low"] > 0
    assert pd.isna(table.loc["baseline/scratch", "difference"])


def test_compare_refuses_several_tasks_and_a_missing_reference():
    two = pd.concat([rows(0), rows(0).assign(task="u")])
    with pytest.raises(ValueError, match="one task"):
        statistics.compare(two, "accuracy")
    with pytest.raises(ValueError, match="no rows of oracle/scratch"):
        statistics.compare(rows(0), "accuracy", "oracle/scratch")


def test_a_table_of_the_baseline_alone_has_no_differences():
    table = statistics.compare(rows(0)[lambda r: r["condition"] == "baseline"], "accuracy")
    assert table["n"].tolist() == [8]
    assert table[["difference", "low", "high", "p", "holm"]].isna().all(axis=None)


def test_effect_sizes_by_hand():
    assert statistics.effect_size([1.0, 2.0, 3.0]) == pytest.approx(2.0)
    assert np.isnan(statistics.effect_size([1.0]))
    assert np.isnan(statistics.effect_size([2.0, 2.0]))


def test_tables_with_an_oracle_say_what_is_recovered():
    rng = np.random.default_rng(3)
    rows = []
    for seed in range(8):
        base = rng.normal(0.5, 0.05)
        for condition, gain in {"baseline": 0.0, "supervised_ridge": 0.3, "oracle": 0.4}.items():
            named = {"task": "t", "condition": condition, "start": "scratch", "seed": seed}
            rows.append(named | {"accuracy": base + gain + rng.normal(0, 0.01)})
    rows = pd.DataFrame(rows)
    found = statistics.compare(rows, "accuracy")
    values = statistics.by_seed(rows, "accuracy")
    expected = statistics.recovered_gain(
        *(values[f"{name}/scratch"].to_numpy() for name in ("supervised_ridge", "baseline", "oracle"))
    )
    line = found.loc["supervised_ridge/scratch"]
    assert (line["recovered"], line["recovered_low"], line["recovered_high"]) == pytest.approx(expected)
    assert line["recovered"] == pytest.approx(0.75, abs=0.05)
    assert np.isnan(found.loc["oracle/scratch", "recovered"])
    assert line["boot_low"] < line["difference"] < line["boot_high"]
    assert line["effect"] > 5
    without = statistics.compare(rows[rows["condition"] != "oracle"], "accuracy")
    assert "recovered" not in without
