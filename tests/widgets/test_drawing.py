"""The parts of pictures: what is drawn where, in which colour."""

import itertools

import matplotlib as mpl
import numpy as np
import torch

from ssan.widgets import drawing
from ssan.widgets.canvas import Canvas, colours
from tests.widgets.subjects import pixels


def test_colours_are_matplotlibs():
    found = colours(np.array([0.0, 0.5, 2.0]), 1.0, "viridis")
    expected = [np.array(mpl.colormaps["viridis"](value)[:3]) * 255 for value in (0.0, 128 / 255, 1.0)]
    assert np.abs(found - expected).max() < 1.5


def test_lines_are_full_and_not_over_full():
    canvas = Canvas(10, 10)
    words = [f"word{k}" for k in range(30)]
    lines = drawing.lines_of(canvas, words, 200)
    assert [word for line in lines for _, word in line] == words
    for line, following in itertools.pairwise(lines):
        end = line[-1][0] + canvas.length(line[-1][1]) + 8
        assert end <= 200 < end + canvas.length(following[0][1]) + 8
    assert [at for at, _ in lines[0]] == sorted(at for at, _ in lines[0])
    assert drawing.lines_of(canvas, ["a-very-long-word-that-fits-nowhere"], 5)[0][0][0] == 0


def test_words_are_as_dark_as_their_attention_and_struck_where_hidden():
    canvas = Canvas(400, 30, scale=1)
    lines = drawing.lines_of(canvas, ["one", "two", "six"], 400)
    drawing.sentence(canvas, 0, 0, lines, np.array([0.1, 0.6, 0.3]), 0.6, np.array([1, 1, 0]))
    picture = pixels(canvas.png()).astype(int)
    corners = [picture[4, round(at) + 1] for at, _ in lines[0]]
    assert np.abs(np.array(corners) - colours(np.array([0.1, 0.6, 0.3]), 0.6, "Blues")).max() <= 1
    struck = [(picture[11, round(at) + 1] == (213, 94, 0)).all() for at, _ in lines[0]]
    assert struck == [False, False, True]


def test_maps_are_laid_over_pictures_cell_by_cell():
    g = np.random.default_rng(0)
    picture = g.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    weights = g.random(6)
    found = drawing.with_map(picture, weights, (2, 3), 1.0)
    for row in range(6):
        for column in range(9):
            cell = weights[(row // 3) * 3 + column // 3]
            mixed = 0.35 * picture[row, column] + 0.65 * colours(np.array(cell), 1.0, "viridis")
            assert np.abs(found[row, column] - mixed).max() <= 0.51


def test_hidden_cells_are_hatched_and_others_left_alone():
    picture = np.full((8, 8, 3), 7, np.uint8)
    kept = np.array([1.0, 0.0, 1.0, 1.0])
    found = drawing.with_hidden(picture, kept, (2, 2))
    assert (found[:, :4] == 7).all()
    assert (found[4:] == 7).all()
    orange = (found[:4, 4:] == (213, 94, 0)).all(-1)
    assert 0 < orange.sum() < 16


def test_pictures_of_images_have_three_channels_in_place():
    image = torch.rand(1, 4, 5, generator=torch.Generator().manual_seed(0))
    found = drawing.picture_of(image)
    assert found.shape == (4, 5, 3)
    assert (found[..., 0] == found[..., 2]).all()
    assert found[1, 2, 0] == round(float(image[0, 1, 2]) * 255)
    coloured = torch.rand(3, 4, 5)
    assert drawing.picture_of(coloured)[3, 4, 1] == round(float(coloured[1, 3, 4]) * 255)


def test_bars_are_as_long_as_probabilities():
    canvas = Canvas(300, 60, scale=1)
    drawing.bars(canvas, 0, 0, 300, ["a", "b"], np.array([0.5, 0.5]), np.array([1.0, 0.25]), truth=0)
    picture = pixels(canvas.png())
    blue = [(picture[row] == (0, 114, 178)).all(-1).sum() for row in (14, 14 + drawing.BAR_HEIGHT)]
    grey = [(picture[row] == (140, 140, 140)).all(-1).sum() for row in (3, 3 + drawing.BAR_HEIGHT)]
    assert abs(blue[0] / 4 - blue[1]) <= 1
    assert abs(grey[0] - blue[0] / 2) <= 1
    assert grey[0] == grey[1]


def test_a_histogram_counts_every_value_and_copes_with_equal_ones():
    for values in (np.arange(80.0), np.full(5, 3.0), np.array([1e6, 1e6 + 1e-9])):
        canvas = Canvas(400, 160)
        drawing.histogram(canvas, 0, 0, 400, 160, values, {"clean": values[0], "best": values[-1]}, "score")
        grey = (pixels(canvas.png()) == (140, 140, 140)).all(-1)
        assert grey.any()
    canvas = Canvas(400, 160, scale=1)
    drawing.histogram(canvas, 0, 0, 400, 160, np.repeat([0.0, 1.0], [10, 5]), {}, "score")
    tall = (pixels(canvas.png()) == (140, 140, 140)).all(-1).sum(0)
    assert tall[:9].max() == 2 * tall[391:].max()


def test_boxes_are_drawn_around_what_they_name():
    canvas = Canvas(100, 100, scale=1)
    canvas.box(0, 0, 100, 100, fill="black")
    drawing.boxes(canvas, 10, 10, 80, torch.tensor([[0.0, 0, 8, 4], [0, 0, 0, 0]]), 16)
    rows, columns = np.nonzero(pixels(canvas.png()).sum(-1) > 600)
    assert (rows.min(), columns.min()) == (10, 10)
    assert (rows.max(), columns.max()) == (29, 49)
