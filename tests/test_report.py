"""What a study says in words must follow from the rows."""

import numpy as np
import pandas as pd
import pytest

from ssan import report


def study(gains: dict[str, float], seeds: int = 6, noise: float = 0.005) -> pd.DataFrame:
    """Rows in which each condition is better than the baseline by its gain, give or take some noise."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(seeds):
        base = rng.normal(0.6, 0.1)
        for label, gain in {"baseline/scratch": 0.0, **gains}.items():
            condition, start = label.split("/")
            accuracy = base + gain + (0 if condition == "baseline" else rng.normal(0, noise))
            found.append(
                {"task": "t", "condition": condition, "start": start, "seed": seed, "n_train": 9, "accuracy": accuracy}
            )
    return pd.DataFrame(found)


def test_a_gain_that_a_control_shares_is_said_to_be_shared():
    rows = study({"supervised_best/continued": 0.1, "self/continued": 0.1, "shuffled/continued": -0.1})
    (sentence,) = report.verdicts(rows, "accuracy")
    assert "above the baseline" in sentence
    assert "not distinguishable from self" in sentence
    assert "above shuffled" in sentence


def test_controls_with_another_start_do_not_count():
    rows = study({"supervised_best/continued": 0.1, "self/scratch": 0.1})
    (sentence,) = report.verdicts(rows, "accuracy")
    assert "self" not in sentence


@pytest.mark.parametrize(("gain", "words"), [(0.0, "not distinguishable from the baseline"), (-0.1, "below the base")])
def test_no_gain_and_a_loss_are_said_plainly(gain, words):
    (sentence,) = report.verdicts(study({"supervised_importance/scratch": gain}, noise=0.02), "accuracy")
    assert words in sentence


def test_one_seed_is_said_to_say_nothing():
    (sentence,) = report.verdicts(study({"supervised_best/scratch": 0.2}, seeds=1), "accuracy")
    assert "says nothing" in sentence
    assert "supervised_best/scratch" in report.report(study({"supervised_best/scratch": 0.2}, seeds=1))


def test_the_table_shows_the_rows_numbers():
    rows = study({"supervised_best/scratch": 0.2})
    text = report.report(rows)
    for label, own in rows.groupby("condition"):
        line = next(line for line in text.splitlines() if line.startswith(f"{label}/"))
        assert f"{own['accuracy'].mean():.3f}" in line
    assert "9 training examples, 6 seeds: test accuracy" in text


def test_metrics_without_values_are_left_out():
    rows = study({}).assign(faithfulness=np.nan, pointing=0.5)
    assert report.metrics_in(rows) == ["accuracy", "pointing"]


def test_the_recovered_gain_is_printed_where_there_is_an_oracle():
    rows = study({"supervised_ridge/scratch": 0.15, "oracle/scratch": 0.2})
    text = report.table(rows, "accuracy")
    line = next(line for line in text.splitlines() if line.startswith("supervised_ridge"))
    assert "0.7" in line.split("]")[-2]
    assert "recovered" not in report.table(study({"self/scratch": 0.1}), "accuracy")


def test_cells_of_ablations_are_told_apart_from_conditions():
    rows = pd.DataFrame(
        {
            "task": "t",
            "condition": ["baseline", "oracle", "fill=mean", "baseline"] * 2,
            "start": "scratch",
            "seed": [0] * 4 + [1] * 4,
            "n_train": 5,
            "accuracy": [0.5, 0.9, 0.6, 0.1, 0.6, 0.9, 0.8, 0.2],
            "axis": [None, None, "fill", "training set: baseline"] * 2,
            "value": [None, None, "mean", "125"] * 2,
        }
    )
    head, cells = report.report(rows).split("one thing varied at a time")
    assert "0.550" in head  # the baseline of the usual size alone
    assert "fill" not in head
    assert "0.70" in cells
    assert "0.15" in cells
