"""Notebook 08 as it is stored: readable without a kernel, and without a word of widgets that are no longer there."""

import re

from tests.notebooks.test_notebooks import code_cells

CELLS = code_cells("08_explore_sampling")
SHOWN = [k for k, cell in enumerate(CELLS) if re.search(r"^(explorer|painter|browser|losses)$", cell.source, re.M)]


def test_a_picture_stands_under_every_widget_and_no_live_widget_is_stored():
    """JupyterLab says "model not found" in its place; delete the output's widget view before saving."""
    assert len(SHOWN) == 3
    for place in SHOWN:
        (fallback,) = (output for output in CELLS[place].outputs if output.output_type == "execute_result")
        assert "run this cell in JupyterLab" in fallback.data["text/plain"]
        assert any("image/png" in output.get("data", {}) for output in CELLS[place + 1].outputs)
    kinds = {kind for cell in CELLS for output in cell.outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" not in kinds


def test_pictures_say_what_they_show():
    pictures = [output for cell in CELLS for output in cell.outputs if "image/png" in output.get("data", {})]
    texts = [output.metadata["image/png"]["alt"] for output in pictures if "image/png" in output.metadata]
    assert len(texts) >= max(11, len(pictures) - 1)  # the one that Matplotlib drew is told by the text around it
    assert all(len(text) > 80 for text in texts)
