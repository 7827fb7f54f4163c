"""Notebook 08 as it is stored: readable without a kernel, and without a word of widgets that are no longer there."""

import re

import pytest

from tests.notebooks.test_notebooks import code_cells

CELLS = code_cells("08_explore_sampling")
WIDGET = re.compile(r"^(explorer|painter|browser|losses)$", re.MULTILINE)
SHOWN = [k for k, cell in enumerate(CELLS) if WIDGET.search(cell.source)]


def test_all_four_widgets_are_shown():
    assert len(SHOWN) == 4


def test_no_live_widget_is_stored():
    """JupyterLab says "model not found" in its place; delete the output's widget view before saving."""
    kinds = {kind for cell in CELLS for output in cell.outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" not in kinds


@pytest.mark.parametrize("place", SHOWN)
def test_a_picture_stands_under_every_widget(place):
    (fallback,) = (output for output in CELLS[place].outputs if output.output_type == "execute_result")
    assert "run this cell in JupyterLab" in fallback.data["text/plain"]
    below = [output for output in CELLS[place + 1].outputs if "image/png" in output.get("data", {})]
    assert below


def test_pictures_say_what_they_show():
    """Those that the widgets draw: each has the text that stands under it in the live page."""
    pictures = [output for cell in CELLS for output in cell.outputs if "image/png" in output.get("data", {})]
    told = [output.metadata["image/png"]["alt"] for output in pictures if "image/png" in output.metadata]
    assert len(told) >= 12
    assert all(len(text) > 80 for text in told)
    assert len(told) >= len(pictures) - 1  # the one that Matplotlib drew is told by the text around it
