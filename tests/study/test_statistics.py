"""Statistics against scipy, by-hand cases and simulations; what is said in words must follow from the rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ssan.study import metrics_in, report, statistics, verdicts
from ssan.study.report import recovered, table


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=12), st.integers(0, 1000))
@settings(max_examples=50)
def test_the_t_interval_is_scipys(first, seed):
    a = np.array(first)
    b = a + np.random.default_rng(seed).normal(size=len(a))
    difference, reference = statistics.paired_difference(a, b), stats.ttest_rel(a, b)
    low, high = reference.confidence_interval(0.95)
    assert (difference.p, difference.low, difference.high) == pytest.approx((reference.pvalue, low, high))
    assert difference.distinguishable == (low > 0 or high < 0)


def test_paired_differences_and_holm_by_hand():
    paired = statistics.paired_difference
    some = paired([1, 2, np.nan, 5], [0, 1, 1, np.nan])  # pairs without both values are left out
    assert (some.mean, some.n, some.p, str(some)) == (1.0, 2, 0, "+1.000 [+1.000, +1.000]")
    same, single = paired([1, 2], [1, 2]), paired([1.0], [0.0])
    assert (same.p, same.distinguishable) == (1.0, False)
    assert (single.distinguishable, np.isnan(single.p), str(single)) == (False, True, "+1.000 [one seed]")
    for a, b in (([1, 2], [1]), ([np.nan], [1.0]), ([], [])):
        with pytest.raises(ValueError, match="pair"):
            paired(a, b)
    # Sorted .01, .02, .04 -> .03, .04, .04; NaN takes no part.
    corrected = statistics.holm([0.04, np.nan, 0.01, 0.02])
    assert corrected == pytest.approx([0.04, np.nan, 0.03, 0.04], nan_ok=True)


def test_recovered_gain_is_the_share_of_the_ceiling():
    rng, gain = np.random.default_rng(1), statistics.recovered_gain
    baseline = rng.normal(0.5, 0.01, 20)
    method = baseline + rng.normal(0.3, 0.1, 20)
    share, low, high = gain(method, baseline, baseline + 0.4)
    reference = stats.bootstrap(((method - baseline) / 0.4,), np.mean, method="percentile", rng=0).confidence_interval
    assert share == pytest.approx(np.mean(method - baseline) / 0.4)
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=0.01)
    assert gain([0.7], [0.5], [0.9])[0] == pytest.approx(0.5)
    assert gain([0.4, 0.5], [0.6, 0.5], [0.3, 0.2])[0] == pytest.approx(1 / 3)  # a harmful oracle
    for oracle in (baseline, baseline + np.array([0.2, -0.2] * 10) + 0.02):  # no share of what may be nothing
        assert np.isnan(gain(baseline + 0.1, baseline, oracle)).all()


def study(gains: dict[str, float], seeds: int = 8, noise: float = 0.005) -> pd.DataFrame:
    """Rows in which each condition is better than the baseline by its gain, give or take some noise."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        base = rng.normal(0.6, 0.1)
        for label, gain in {"baseline/scratch": 0.0, **gains}.items():
            named = dict(zip(("condition", "start"), label.split("/"), strict=True)) | {"task": "t", "n_train": 9}
            accuracy = base + gain + (0 if label == "baseline/scratch" else rng.normal(0, noise))
            rows.append(named | {"seed": seed, "accuracy": accuracy})
    return pd.DataFrame(rows)


RIDGE = {"supervised_ridge/scratch": 0.3, "oracle/scratch": 0.4}


def test_compare_pairs_by_seed_whatever_the_order_of_rows():
    rows = study(RIDGE)
    table, values = statistics.compare(rows, "accuracy"), statistics.by_seed(rows, "accuracy")
    again = statistics.compare(rows.sample(frac=1, random_state=0), "accuracy").reindex(table.index)
    pd.testing.assert_frame_equal(table, again)
    line, three = (
        table.loc["supervised_ridge/scratch"],
        [values[f"{n}/scratch"] for n in ("supervised_ridge", "baseline", "oracle")],
    )
    difference = statistics.paired_difference(*three[:2])
    expected = {"n": 8, "mean": three[0].mean(), "std": three[0].std(), "difference": difference.mean}
    expected |= {"low": difference.low, "high": difference.high, "p": difference.p}
    expected |= dict(zip(statistics.RECOVERED, statistics.recovered_gain(*three), strict=True))
    assert line.drop("holm").to_dict() == expected
    assert table["holm"].tolist() == pytest.approx(statistics.holm(table["p"]).tolist(), nan_ok=True)
    assert np.isnan(table.loc["oracle/scratch", "recovered"])
    assert table.loc["baseline/scratch", ["difference", "low", "high", "p", "holm"]].isna().all()
    assert "recovered" not in statistics.compare(rows[rows["condition"] == "baseline"], "accuracy")
    with pytest.raises(ValueError, match="one task"):
        statistics.compare(pd.concat([rows, rows.assign(task="u")]), "accuracy")
    with pytest.raises(ValueError, match="no rows of self/scratch"):
        statistics.compare(rows, "accuracy", "self/scratch")


def test_verdicts():
    shared = {"supervised_best/continued": 0.1, "self/continued": 0.1, "shuffled/continued": -0.1, "self/scratch": 0.3}
    for gains, words, missing in (
        # Controls with another start do not count.
        (shared, ["above the baseline", "not distinguishable from self", "above shuffled"], "below"),
        ({"supervised_importance/scratch": 0.0}, ["not distinguishable from the baseline"], "above"),
        ({"supervised_importance/scratch": -0.1, "self/scratch": 0.1}, ["below the baseline", "below self"], "above"),
    ):
        (sentence,) = verdicts(study(gains, noise=0.02), "accuracy")
        assert all(word in sentence for word in words)
        assert missing not in sentence
    (sentence,) = verdicts(study({"supervised_best/scratch": 0.2}, seeds=1), "accuracy")
    assert "on one seed, which says nothing" in sentence


def test_reports_show_the_rows_numbers_and_tell_ablations_from_conditions():
    rows = study(RIDGE).assign(faithfulness=np.nan, pointing=0.5)
    assert metrics_in(rows) == ["accuracy", "pointing"]
    cells = rows[rows["condition"] == "oracle"].assign(condition="fill=mean", axis="fill", value="mean")
    small = rows[rows["condition"] == "baseline"].assign(axis="training set: baseline", value="125", accuracy=0.1234)
    text, varied = report(pd.concat([rows, cells, small])).split("one thing varied at a time")
    assert "t, 9 training examples, means of 8 seeds" in text
    assert all(sentence in text for sentence in verdicts(rows, "accuracy"))
    for label, numbers in statistics.compare(rows, "accuracy").iterrows():
        name = label.removesuffix("/scratch").replace("/", ", ")
        line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert f"{numbers['mean']:.3f}" in line
    whole = table(rows, "accuracy")
    for label, numbers in statistics.compare(rows, "accuracy").iterrows():
        line = " ".join(next(line for line in whole.splitlines() if line.startswith(label)).split())
        assert f"{numbers['mean']:.3f} {numbers['std']:.3f}" in line
        if label != "baseline/scratch":
            assert f"{numbers['difference']:+.3f} [{numbers['low']:+.3f}, {numbers['high']:+.3f}]" in line
            assert recovered(numbers) in line
    assert "fill" not in text
    assert "0.123" in varied
    assert f"{cells['accuracy'].mean():.3f}" in varied
