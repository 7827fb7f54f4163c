"""The drawing of the method: three steps, and nothing cut off."""

import matplotlib.pyplot as plt

from ssan import diagram, plots


def test_three_steps_are_drawn_inside_the_figure():
    with plt.rc_context(plots.STYLE):
        figure = diagram.three_steps()
        figure.canvas.draw()
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert [title[0] for title in titles] == ["1", "2", "3"]
    page = figure.bbox
    for ax in figure.axes:
        for text in [*ax.texts, ax.title]:
            box = text.get_window_extent()
            assert page.x0 <= box.x0 <= box.x1 <= page.x1, text.get_text()
            assert page.y0 <= box.y0 <= box.y1 <= page.y1, text.get_text()
    plt.close(figure)
