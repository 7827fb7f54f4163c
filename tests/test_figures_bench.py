"""The table of the bench: every row that is no point of a curve, and an honest word on goals."""

import pandas as pd
import pytest

from tests.test_figures import ROOT, script

bench = script("make_bench")


@pytest.mark.parametrize(
    ("name", "ratio", "expected"),
    [
        ("text pairs, as released", 149.4, False),
        ("text pairs, as released", 149.995, True),  # shown as 150
        ("text pairs, padding attends on both sides", 2.0, None),  # nobody asked for it
        ("512 random masks, RISE of xaitk-saliency, whole cells here", 4.9, False),
        ("image masks, bare forward of a ResNet, random", 1.051, True),  # shown as 1.05
        ("image masks, bare forward of a ResNet, random", 1.06, False),
        ("image masks, own forward passes of a ResNet, random", 1.06, None),
        ("memory, text: peak at 8,192 masks against 256", 1.2, False),
        ("exponent, image size", 9.0, None),
    ],
)
def test_goals_are_reached_or_not_as_the_table_shows_the_number(name, ratio, expected):
    assert bench.reached(name, ratio) is expected


def test_the_table_has_a_line_for_each_row_and_bold_where_a_goal_is_missed():
    names = ["text pairs, plain batch", "training step, text", "exponent, image size", "cost, image size = 32"]
    rows = pd.DataFrame({"name": names, "ratio": [3.9, 1.02, 0.41, 1.0], "spread": 0.125, "host": ["a", "a", "b", "a"]})
    lines = bench.markdown(rows).splitlines()
    assert lines[2:5] == [
        "| faster than: text pairs, plain batch | **3.9 x** | 12% | at least 4 x |",
        "| times the cost of: training step, text | 1.02 | 12% | at most 1.05 |",
        "| grows with the power: image size | 0.41 | 12% |  |",
    ]
    assert lines[5] == ""
    assert lines[6].endswith("Measured on: a; b.")


def test_every_committed_row_is_in_the_table_or_a_point_of_a_curve():
    rows = pd.read_csv(ROOT / "figures" / "results" / "bench.csv")
    assert rows["name"].is_unique
    table = bench.markdown(rows)
    for name in rows["name"]:
        assert (f": {name.removeprefix('exponent, ')} |" in table) is not name.startswith("cost, "), name
