"""What all widgets share: one picture, errors that are told and raised, changes drawn once."""

import base64
import io

import ipywidgets as widgets
import numpy as np
import PIL.Image
import pytest

from ssan.widgets.panel import Panel, control
from tests.widgets.subjects import click, pixels


class Counting(Panel):
    """Writes down what it is asked to draw; the number 13 goes wrong."""

    def __init__(self):
        self.number = control(widgets.IntSlider, "Number", "Any", value=1, min=0, max=20)
        self.twice = control(widgets.IntSlider, "Twice", "The double", value=2, min=0, max=40)
        self.drawn = []
        super().__init__([[self.number, self.twice]], 200, "[counting]")

    def prepare(self, changed):
        if changed is self.number:
            self.twice.value = 2 * self.number.value

    def draw(self):
        if self.number.value == 13:
            raise ValueError("13 <is> unlucky")
        if self.number.value == 14:
            raise KeyError("fourteen")
        self.drawn.append((self.number.value, self.twice.value))
        file = io.BytesIO()
        PIL.Image.new("RGB", (30, 20), self.drawn[-1] + (0,)).save(file, "PNG")
        return file.getvalue(), f"{self.number.value} & its double"


def test_a_change_is_drawn_once_with_what_follows_from_it():
    panel = Counting()
    panel.number.value = 5
    panel.twice.value = 7
    assert panel.drawn == [(1, 2), (5, 10), (5, 7)]
    assert pixels(panel.png)[3, 3].tolist() == [5, 7, 0]


def test_several_changes_are_drawn_once():
    panel = Counting()
    with panel.held():
        panel.number.value = 3
        panel.number.value = 4
        panel.twice.value = 9
        assert panel.drawn == [(1, 2)]
    assert panel.drawn == [(1, 2), (4, 9)]


def test_controls_are_set_by_name_and_drawn_once():
    panel = Counting()
    assert panel.show(number=6, twice=1) is panel
    assert panel.drawn == [(1, 2), (6, 1)]
    with pytest.raises(AttributeError, match="thrice"):
        panel.show(thrice=1)
    assert "thrice" in panel.status.value
    with pytest.raises(AttributeError, match="expected one of number, twice"):
        panel.show(thrice=1)
    with pytest.raises(ValueError, match="number cannot be 999: expected a number from"):
        panel.show(number=999)
    with pytest.raises(ValueError, match="number cannot be 'many': expected a number from"):
        panel.show(number="many")
    assert panel.number.value == 6


def test_errors_are_told_in_plain_words_kept_and_raised():
    panel = Counting()
    before = panel.png
    with pytest.raises(ValueError, match="unlucky"):
        panel.number.value = 13
    assert "That did not work: 13 &lt;is&gt; unlucky. The picture still shows the state before." in panel.status.value
    assert 'role="status"' in panel.status.value
    assert isinstance(panel.error, ValueError)
    assert panel.png == before
    with pytest.raises(KeyError):
        panel.number.value = 14
    assert "KeyError: &#x27;fourteen&#x27;" in panel.status.value


def test_an_error_is_over_once_something_works():
    panel = Counting()
    with pytest.raises(ValueError, match="unlucky"):
        panel.number.value = 13
    panel.number.value = 2
    assert panel.error is None
    assert "work" not in panel.status.value
    assert panel.drawn[-1] == (2, 4)


def test_an_error_in_a_hold_leaves_the_panel_usable():
    panel = Counting()

    def interrupted():
        with panel.held():
            panel.number.value = 3
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        interrupted()
    panel.number.value = 4
    assert panel.drawn[-1] == (4, 8)


def test_errors_of_buttons_are_kept_too():
    panel, button = Counting(), widgets.Button(description="13")
    panel.on_click(button, lambda: setattr(panel.number, "value", 13))
    with pytest.raises(ValueError, match="unlucky"):
        click(panel, button)
    assert "unlucky" in panel.status.value


def test_the_figure_is_the_picture_with_its_text():
    panel = Counting()
    figure = panel.figure()
    assert np.array_equal(pixels(figure.png), pixels(panel.png))
    data, metadata = figure._repr_mimebundle_(include=None)
    assert base64.b64decode(data["image/png"]) == figure.png
    assert data["text/plain"] == metadata["image/png"]["alt"] == "1 & its double"
    assert metadata["image/png"]["width"] == 200
    assert panel.said == "1 & its double"
    assert ">1 &amp; its double<" in panel.summary.value


def test_sliders_wait_until_they_are_let_go():
    assert control(widgets.FloatSlider, "a", "b").continuous_update is False
    assert control(widgets.SelectionSlider, "a", "b", options=[1]).continuous_update is False
    assert control(widgets.Dropdown, "a", "b", options=[1]).tooltip == "b"
