"""Figures: drawn from rows alone, the same bytes every time, nothing cut off; tables say what the rows say."""

import gc
import importlib.util
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ssan import plots
from ssan.study import compare
from tests.test_plots import overhang

ROOT = Path(__file__).resolve().parents[1]
FULL = ROOT / "figures" / "results" / "full"
NO_ROWS = set() if list(FULL.glob("*_ablations.csv")) else {"make_ablations"}
SCRIPTS = sorted(path.stem for path in (ROOT / "figures").glob("make_*.py") if "def main(results" in path.read_text())


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "figures" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """statsmodels collects garbage after every correction of p values: most of the time, in a process this large."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in {"make_readme", *NO_ROWS}])
def test_committed_rows_draw_the_committed_figures_and_cut_nothing_off(name, tmp_path, monkeypatch):
    figures = {}
    monkeypatch.setattr(plots, "save", lambda figure, _, name, alt: figures.update({name: figure} if alt else {}))
    plots.use_style()
    assert script(name).main(FULL, tmp_path) == list(figures) != []
    for each, figure in figures.items():
        assert all((ROOT / "figures" / f"{each}.{ending}").exists() for ending in ("svg", "png"))
        figure.draw_without_rendering()
        assert overhang(figure) < 0.02
        plt.close(figure)


def test_figures_are_the_same_bytes_every_time(tmp_path):
    plots.use_style()
    for name in ("make_idea", "make_target_quality"):
        for folder in ("a", "b"):
            script(name).main(FULL, tmp_path / folder)
    paths = sorted((tmp_path / "a").iterdir())
    assert len(paths) == 4
    assert all(path.read_bytes() == (tmp_path / "b" / path.name).read_bytes() for path in paths)


def test_the_readme_and_the_tables_say_what_the_rows_say():
    made, readme = script("make_readme"), (ROOT / "README.md").read_text()
    assert made.readme_table(FULL) in readme
    assert made.speed_table(FULL) in readme
    assert made.gpu_table(FULL) in readme
    assert len(made.speed_table(FULL)) > 1000
    assert (ROOT / "figures" / "TABLES.md").read_text() == made.tables(FULL)


def test_tables_have_means_bold_where_the_interval_excludes_no_difference():
    rng, made = np.random.default_rng(1), script("make_readme")
    gains = {"baseline": 0, "supervised_best": 0.02, "self": 0.0, "shuffled_ridge": -0.1, "oracle": 0.1}
    values = rng.normal(0.6, 0.03, (6, 1)) + rng.normal(0, 0.002, (6, 5)) + np.array(list(gains.values()))
    rows = pd.DataFrame(values, columns=list(gains)).melt(
        var_name="condition", value_name="accuracy", ignore_index=False
    )
    rows = rows.reset_index(names="seed").assign(task="t", start="scratch")
    compared = compare(rows, "accuracy")
    head, _, *lines = made.summary(rows, "a task", ("accuracy",), list(gains))
    assert head == "| a task; 6 seeds | test accuracy |"
    for name, line in zip(gains, lines, strict=True):
        row = compared.loc[f"{name}/scratch"]
        clear = bool(row["low"] > 0 or row["high"] < 0)
        assert line == f"| `{name}` | {'**' * clear}{row['mean']:.3f}{'**' * clear} |"
    assert [("**" in line) for line in lines] == [False, True, False, True, True]
    told = dict(line.strip("| ").split(" | ") for line in made.table(rows, ["accuracy"]).splitlines()[2:])
    assert all(
        told[name].startswith(f"{row:.3f}") for name, row in rows.groupby("condition")["accuracy"].mean().items()
    )
    assert "; recovered 0.2" in told["supervised_best"]


def test_maps_without_a_network_are_no_points_of_the_tradeoff():
    names = ("baseline", "oracle", "baseline:chance", "baseline:centre")
    rows = pd.DataFrame({"condition": names, "seed": 0, "accuracy": 0.5, "pointing": (0.6, 0.9, 0.1, 0.2)})
    assert script("make_tradeoff").means(rows)["pointing"].to_dict() == {"baseline": 0.6, "oracle": 0.9}


def test_goals_are_reached_or_not_as_the_table_shows_the_number():
    reached = script("make_bench").reached
    padded = "text pairs: one variant a forward, padded to 200; our search, unpadded"
    assert reached(padded, 149.4) is False
    assert reached(padded, 149.995) is True  # shown as 150
    assert reached("text pairs: one variant a forward, padding attends; our search", 2.0) is None  # nobody asked for it
    assert reached("512 random masks, RISE of xaitk-saliency, whole cells here", 4.9) is False
    assert reached("image masks, bare forward of a ResNet, random", 1.051) is True  # shown as 1.05
    assert reached("image masks, own forward passes of a ResNet, random", 1.06) is None
    assert reached("memory, text: peak at 8,192 masks against 256", 1.2) is False


def test_the_table_has_a_line_for_each_row_and_bold_where_a_goal_is_missed():
    markdown = script("make_bench").markdown
    names = ["text pairs: batches of variants", "training step, text", "exponent, image size", "cost, image size = 32"]
    rows = pd.DataFrame({"name": names, "ratio": [3.9, 1.02, 0.41, 1.0], "spread": 0.125, "host": ["a", "a", "b", "a"]})
    lines = markdown(rows).splitlines()
    assert lines[2:6] == [
        "| faster than: text pairs: batches of variants | **3.9 x** | 12% | at least 4 x |",
        "| times the cost of: training step, text | 1.02 | 12% | at most 1.05 |",
        "| grows with the power: image size | 0.41 | 12% |  |",
        "",
    ]
    assert lines[6].endswith("Measured on: a; b.")
    rows = pd.read_csv(ROOT / "figures" / "results" / "bench.csv")
    assert rows["name"].is_unique
    for name in rows["name"]:
        assert (f": {name.removeprefix('exponent, ')} |" in markdown(rows)) is not name.startswith("cost, "), name
