"""Pictures of sentences and pairs: what is drawn where, not how it looks."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ssan import plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def grounds(ax) -> list[mpl.patches.Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, mpl.patches.Rectangle)]


def test_passages_write_every_word_on_its_own_ground():
    words, weights = ["a", "wonderful", "film"], np.array([0.1, 0.7, 0.2, 0.0])
    ax = plots.passages([("positive", words, weights)]).axes[0]
    assert texts(ax) == ["positive", *words]
    darkness = [1 - np.mean(ground.get_facecolor()[:3]) for ground in grounds(ax)]
    assert np.argsort(darkness).tolist() == [0, 2, 1]
    widths = [ground.get_width() for ground in grounds(ax)]
    assert widths[1] - widths[0] == pytest.approx(len("wonderful") - len("a"))


def test_passages_share_one_colour_scale():
    ax = plots.passages([("first", ["x"], [0.4]), ("second", ["y"], [0.8])]).axes[0]
    first, second = (ground.get_facecolor() for ground in grounds(ax))
    assert first == mpl.colormaps["Blues"](0.5)
    assert second == mpl.colormaps["Blues"](1.0)


def test_passages_break_lines_and_stay_inside():
    words = [f"word{k}" for k in range(40)]
    figure = plots.passages([("long", words, np.full(40, 1 / 40)), ("short", ["end"], [1.0])], columns=30)
    ax = figure.axes[0]
    right = max(ground.get_x() + ground.get_width() for ground in grounds(ax))
    assert right <= ax.get_xlim()[1]
    lines = sorted({ground.get_y() for ground in grounds(ax)})
    assert len(lines) == 40 // 4 + 1  # four words of six or seven characters with spaces in 30, and the short one
    bottom, top = ax.get_ylim()
    assert top < 0 < lines[-1] + 1 < bottom


def test_passages_refuse_words_without_weights():
    with pytest.raises(ValueError, match="3 words, but only 2 weights"):
        plots.passages([("short of weights", ["a", "b", "c"], [0.5, 0.5])])


def test_pair_matrix_frames_the_best_pair_in_both_places():
    change = np.array([[np.nan, -1.0, 0.5], [-1.0, np.nan, 2.0], [0.5, 2.0, np.nan]])
    ax = plots.pair_matrix(["a", "b", "c"], change, "change")
    corners = {(frame.get_x() + 0.5, frame.get_y() + 0.5) for frame in grounds(ax)}
    assert corners == {(1, 2), (2, 1)}
    assert ax.images[0].get_clim() == (-2.0, 2.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]


def test_pair_matrix_refuses_another_shape():
    with pytest.raises(ValueError, match=r"\(2, 2\) for 2 words, got shape \(3, 3\)"):
        plots.pair_matrix(["a", "b"], np.zeros((3, 3)), "change")


def test_words_in_the_colour_of_a_role_can_be_read_on_white():
    """Contrast as the Web Content Accessibility Guidelines define it; 4.5 is their level AA."""
    for colour in plots.ROLE_TEXT.values():
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 4.5, colour
    assert plots.ROLE_TEXT.keys() == plots.ROLE_COLOURS.keys()
