"""Figures: drawn from rows alone, the same bytes every time, nothing cut off; the README says what the rows say."""

import importlib.util
import itertools
import re
import shutil
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ssan import plots
from ssan.statistics import compare

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
FULL = ROOT / "figures" / "results" / "full"


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "figures" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    found = []
    for seed in range(4):
        for condition, start in [("baseline", "scratch"), ("supervised_best", "continued"), ("self", "continued")]:
            found.append(
                {
                    "task": "movie",
                    "condition": condition,
                    "start": start,
                    "seed": seed,
                    "n_train": 5,
                    "accuracy": rng.normal(0.7, 0.02),
                    "faithfulness": rng.normal(0.2, 0.02),
                    "config": "x",
                }
            )
    return pd.DataFrame(found)


@pytest.fixture
def unsaved(monkeypatch):
    """Collects the figures that are saved instead of closing them."""
    kept = []
    monkeypatch.setitem(plt.rcParams, "figure.max_open_warning", 0)
    monkeypatch.setattr(plots.plt, "close", lambda figure: kept.append(figure))
    yield kept
    monkeypatch.undo()
    plt.close("all")


def overhang(figure) -> float:
    """By how many inches the figure's visible parts reach beyond its edges; 0 if nothing is cut off."""
    figure.canvas.draw()
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    width, height = figure.get_size_inches()
    return max(0.0, -box.x0, -box.y0, box.x1 - width, box.y1 - height)


def test_differences_are_drawn_where_the_rows_have_them(rows):
    plots.use_style()
    ax = plots.difference_plot(rows, "accuracy", "accuracy")
    seeds = rows.pivot_table(index="seed", columns="condition", values="accuracy")
    drawn = [line.get_xdata() for line in ax.get_lines()]
    for condition in ("supervised_best", "self"):
        expected = (seeds[condition] - seeds["baseline"]).to_numpy()
        assert any(np.array_equal(data, expected) for data in drawn if len(data) == 4)
        assert any(data == pytest.approx([expected.mean()]) for data in drawn if len(data) == 1)
    plt.close(ax.figure)


def test_committed_rows_draw_the_same_bytes_twice_and_clip_nothing(tmp_path, unsaved):
    make_all = script("make_all")
    results = shutil.copytree(FULL, tmp_path / "rows")
    first = make_all.draw("full", results, tmp_path / "a")
    second = make_all.draw("full", results, tmp_path / "b")
    assert first == second
    assert first
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert unsaved
    assert max(overhang(figure) for figure in unsaved) < 0.02


def test_the_readme_says_what_the_rows_say():
    made = script("make_readme")
    readme = (ROOT / "README.md").read_text()
    assert made.readme_table(FULL) in readme
    assert made.speed_table(FULL) in readme
    assert len(made.speed_table(FULL)) > 1000
    assert (ROOT / "figures" / "TABLES.md").read_text() == made.tables(FULL)


def test_the_shares_told_in_the_readme_are_those_of_the_rows():
    shares = 3 * r" \| (-?[\d.]+)"
    lines = re.findall(rf"^  \| `(\w+)`: [^|]+{shares} \|$", README.read_text(), flags=re.MULTILINE)
    assert len(lines) == 5
    tasks = ("shapes", "shapes_mlb", "cluttered_fashion")
    found = [compare(pd.read_csv(FULL / f"{task}.csv"), "pointing")["recovered"] for task in tasks]
    for name, *told in lines:
        assert told == [f"{recovered[f'{name}/scratch']:.2f}" for recovered in found], name


def test_the_readmes_table_names_the_best_control_and_what_is_recovered():
    rng, rows = np.random.default_rng(1), []
    gains = {"baseline": 0, "supervised_best": 0.02, "self": 0.05, "shuffled_ridge": -0.1, "oracle": 0.1}
    for seed in range(6):
        base = rng.normal(0.6, 0.03)
        for name, gain in gains.items():
            value = base + gain + rng.normal(0, 0.002)
            rows.append({"task": "t", "condition": name, "start": "scratch", "seed": seed, "accuracy": value})
    rows = pd.DataFrame(rows)
    (line,) = script("make_readme").summary(rows, "a task", "accuracy", ("supervised_best",))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    means = rows.groupby("condition")["accuracy"].mean()
    assert cells[:5] == ["a task", "test accuracy", f"{means['baseline']:.3f}", "`supervised_best`", cells[4]]
    assert cells[4] == f"{means['supervised_best']:.3f}"
    assert cells[6].startswith(f"self {means['self']:.3f}")
    assert cells[7] == f"{means['oracle']:.3f}"
    share = (means["supervised_best"] - means["baseline"]) / (means["oracle"] - means["baseline"])
    assert cells[8].startswith(f"{share:.2f} [")
    assert cells[9] == "6"


def test_readme_tables_follow_the_rows(rows):
    text = script("make_readme").table(rows)
    for label, own in rows.groupby("condition"):
        line = next(line for line in text.splitlines() if line.startswith(f"| {label},"))
        assert f"{own['accuracy'].mean():.3f}" in line
        assert f"{own['faithfulness'].mean():.3f}" in line


def test_long_sentences_fit_into_their_strip():
    plots.use_style()
    words = [
        "extraordinarily",
        "a",
        "wide",
        "sentence",
        "of",
        "words",
        "that",
        "goes",
        "on",
        "and",
        "on",
        "indefinitely",
    ]
    weights = np.random.default_rng(0).dirichlet(np.ones(len(words)))
    ax = plots.token_strip(words, {"before": weights, "after": weights[::-1]})
    assert overhang(ax.figure) < 0.02
    renderer = ax.figure.canvas.get_renderer()
    extents = [text.get_window_extent(renderer) for text in ax.texts[: len(words)]]
    assert all(left.x1 <= right.x0 + 1 for left, right in itertools.pairwise(extents))
    plt.close(ax.figure)


def test_an_image_map_shows_every_cell():
    weights = np.arange(6) / 15
    ax = plots.image_map(np.zeros((3, 8, 12)), weights, (2, 3))
    assert ax.images[1].get_array().tolist() == weights.reshape(2, 3).tolist()
    plt.close(ax.figure)
