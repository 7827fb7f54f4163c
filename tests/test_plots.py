"""Pictures of sentences, maps and rows: what is drawn where, not how it looks."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from ssan import plots
from ssan.study.statistics import compare


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def grounds(ax) -> list[mpl.patches.Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, mpl.patches.Rectangle)]


def overhang(figure) -> float:
    """By how many inches the figure's visible parts reach beyond its edges; 0 if nothing is cut off."""
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    width, height = figure.get_size_inches()
    return max(0.0, -box.x0, -box.y0, box.x1 - width, box.y1 - height)


def test_passages_write_every_word_on_its_own_ground_and_share_one_colour_scale():
    words, weights = ["a", "wonderful", "film"], np.array([0.2, 0.8, 0.4, 0.0])
    ax = plots.passages([("positive", words, weights), ("other", ["x"], [0.4])]).axes[0]
    assert [text.get_text() for text in ax.texts] == ["positive", *words, "other", "x"]
    blues = [mpl.colormaps["Blues"](share) for share in (0.25, 1.0, 0.5, 0.5)]
    assert [ground.get_facecolor() for ground in grounds(ax)] == blues
    widths = [ground.get_width() for ground in grounds(ax)]
    assert widths[1] - widths[0] == pytest.approx(len("wonderful") - len("a"))
    with pytest.raises(ValueError, match="3 words, but only 2 weights"):
        plots.passages([("short of weights", words, [0.5, 0.5])])


def test_passages_break_lines_and_stay_inside():
    words = [f"word{k}" for k in range(40)]
    ax = plots.passages([("long", words, np.full(40, 1 / 40)), ("short", ["end"], [1.0])], columns=30).axes[0]
    assert max(ground.get_x() + ground.get_width() for ground in grounds(ax)) <= ax.get_xlim()[1]
    lines = sorted({ground.get_y() for ground in grounds(ax)})
    assert len(lines) == 40 // 4 + 1  # four words of six or seven characters with spaces in 30, and the short one
    assert ax.get_ylim()[1] < 0 < lines[-1] + 1 < ax.get_ylim()[0]


def test_long_sentences_fit_into_their_strip():
    plots.use_style()
    words, rng = ["extraordinarily", *"abcdefgh", "sentence", "indefinitely"], np.random.default_rng(0)
    ax = plots.token_strip(words, {"before": rng.random(11), "after": rng.random(11)})
    ax.figure.canvas.draw()
    assert overhang(ax.figure) < 0.02
    extents = [text.get_window_extent(ax.figure.canvas.get_renderer()) for text in ax.texts[:11]]
    assert all(left.x1 <= right.x0 + 1 for left, right in itertools.pairwise(extents))


def test_pair_matrix_frames_the_best_pair_in_both_places():
    change = np.array([[np.nan, -1.0, 0.5], [-1.0, np.nan, 2.0], [0.5, 2.0, np.nan]])
    ax = plots.pair_matrix(["a", "b", "c"], change, "change")
    assert {(frame.get_x() + 0.5, frame.get_y() + 0.5) for frame in grounds(ax)} == {(1, 2), (2, 1)}
    assert ax.images[0].get_clim() == (-2.0, 2.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"\(2, 2\) for 2 words, got shape \(3, 3\)"):
        plots.pair_matrix(["a", "b"], change, "change")


def test_attention_lights_its_cells_and_keeps_the_colours_of_the_picture():
    image, weights = np.random.default_rng(0).random((3, 6, 9)), np.array([0.0, 0.2, 0.4, 0.1, 0.3, 0.0])
    shown = plots.attended(image, weights, (2, 3), 0.4)
    assert shown.shape == (36, 54, 3)
    for row, column in itertools.product(range(6), range(9)):
        share, pixel = (weights[row // 3 * 3 + column // 3] / 0.4) ** 0.6, image[:, row, column]
        lit = (0.55 + 0.45 * share) * pixel + 0.45 * share * (1 - pixel) * plots.LIGHT
        assert shown[6 * row + 3, 6 * column + 3] == pytest.approx(lit)
    frame = shown[0, 36:54]  # the upper edge of the brightest cell
    assert frame == pytest.approx(np.broadcast_to(plots.LIGHT, frame.shape))
    assert np.array_equal(plots.attended(image, weights, (2, 3)), shown)
    assert np.array_equal(plots.attended(image[:1], None, (2, 3))[::6, ::6, 2], image[0])
    ax = plots.image_map(image, weights, (2, 3))
    plots.outline(ax, (2, 1, 5, 4))
    assert ax.images[0].get_extent() == [-0.5, 8.5, 5.5, -0.5]
    assert grounds(ax)[0].get_bbox().bounds == (1.5, 0.5, 3, 3)


def test_differences_and_intervals_are_those_of_the_tables():
    rng, names = np.random.default_rng(0), ("baseline/scratch", "supervised_best/continued", "self/continued")
    rows = [(*name.split("/"), seed, rng.random()) for seed in range(4) for name in names]
    rows = pd.DataFrame(rows, columns=["condition", "start", "seed", "accuracy"]).assign(task="movie")
    ax = plots.difference_plot(rows, "accuracy", "accuracy")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["supervised best, continued", "self, continued"]
    seeds, table = rows.pivot_table(index="seed", columns=["condition"], values="accuracy"), compare(rows, "accuracy")
    dots = [offset for points in ax.collections for offset in points.get_offsets().tolist()]
    lines = [line.get_xydata().tolist() for line in ax.lines]
    for place, name in enumerate(names[1:]):
        apart = seeds[name.split("/")[0]] - seeds["baseline"]
        assert sorted(x for x, y in dots if y == place) == pytest.approx(sorted(apart))
        row = table.loc[name]
        for ends in ([row["difference"]], [row["low"], row["high"]]):
            assert any([x for x, y in line if y == place] == pytest.approx(ends) for line in lines)


def test_words_in_the_colour_of_a_role_can_be_read_on_white():
    """Contrast as the Web Content Accessibility Guidelines define it; 4.5 is their level AA."""
    assert plots.ROLE_TEXT.keys() == plots.ROLE_COLOURS.keys()
    for colour in plots.ROLE_TEXT.values():
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        assert 1.05 / (np.dot([0.2126, 0.7152, 0.0722], linear) + 0.05) >= 4.5, colour
