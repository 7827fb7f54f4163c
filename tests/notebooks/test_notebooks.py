"""Notebooks as files: run from top to bottom, outputs kept, enough of them compared, nothing of one machine in them.

nbval runs them (`make notebooks`). These tests see to it that nbval has something to compare, since a notebook without
stored outputs passes it whatever it computes.
"""

import json
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
TAG = "nbval-check-output"
# Every notebook, and the least number of code cells that nbval must find in it.
NOTEBOOKS = {
    "00_start_here": 7,
    "01_data_and_baseline": 15,
    "02_surrogate_targets": 15,
    "03_supervised_retraining": 12,
    "04_what_the_released_code_computes": 14,
}
HEADINGS = ("## What could mislead you", "## Quiz", "## Exercises", "## References")
# Home folders, temporary files of Jupyter kernels, installed packages, Windows drives.
PATHS = re.compile(r"(/(home|root|Users|work|tmp|usr|var|opt|private)/[\w.-]|site-packages|\b[A-Z]:\\\\)")

every = pytest.mark.parametrize("name", NOTEBOOKS)


def read(name: str) -> nbformat.NotebookNode:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    """The cells that nbval collects."""
    return [cell for cell in read(name).cells if cell.cell_type == "code" and cell.source.strip()]


def prose(name: str) -> str:
    return "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")


def text_of(output: nbformat.NotebookNode) -> str:
    """What of an output nbval can compare: never pictures."""
    return output.get("text", "") or output.get("data", {}).get("text/plain", "")


def test_every_notebook_is_named_here():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NOTEBOOKS)


@every
def test_start_here_maps_the_series(name):
    assert f"({name}.ipynb)" in prose("00_start_here") or name == "00_start_here"


@every
def test_enough_cells_are_run(name):
    assert len(code_cells(name)) >= NOTEBOOKS[name]


@every
def test_was_run_from_top_to_bottom(name):
    counts = [cell.execution_count for cell in code_cells(name)]
    assert counts == list(range(1, len(counts) + 1))


@every
def test_tagged_cells_hold_text_to_compare(name):
    tagged = [cell for cell in code_cells(name) if TAG in cell.metadata.get("tags", ())]
    assert len(tagged) >= 3
    for cell in tagged:
        assert any(text_of(output).strip() for output in cell.outputs), cell.source


@every
def test_tags_are_spelt_right(name):
    tags = {tag for cell in read(name).cells for tag in cell.metadata.get("tags", ())}
    assert tags <= {TAG}


@every
def test_no_errors_and_no_warnings_are_stored(name):
    for cell in code_cells(name):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", text_of(output)


@every
def test_no_state_of_widgets_and_no_timestamps(name):
    notebook = read(name)
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    assert not [cell.id for cell in notebook.cells if "execution" in cell.metadata]


@every
def test_nothing_of_one_machine_is_stored(name):
    for cell in read(name).cells:
        assert not PATHS.search(cell.source), cell.source
        for output in cell.get("outputs", ()):
            text = json.dumps({key: value for key, value in output.items() if key != "data"})
            text += "".join(str(value) for key, value in output.get("data", {}).items() if not key.startswith("image/"))
            assert not PATHS.search(text), text


@every
def test_is_small_enough_to_read_on_the_web(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_000_000


@every
def test_prose_keeps_the_order_of_the_series(name):
    text = prose(name)
    assert text.startswith(f"# {name[:2]} · ")
    for word in ("**You will learn**", "**Time.**", "**Needs.**"):
        assert word in text.split("\n## ")[0], word
    places = [text.index(heading) for heading in HEADINGS]
    assert places == sorted(places)
    assert text.count("<details><summary>Answer</summary>") == text.count("</details>") >= 2
    exercises = text[places[2] : places[3]]
    assert len(re.findall(r"^\d\. ", exercises, flags=re.MULTILINE)) >= 3


@every
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)#\s]+)", prose(name)):
        assert link.startswith("https://") or (FOLDER / link).exists(), link


@every
def test_a_cell_by_hand_is_checked_against_the_library(name):
    assert sum("assert" in cell.source for cell in code_cells(name)) >= 1


def test_enough_cells_in_all():
    assert sum(len(code_cells(name)) for name in NOTEBOOKS) >= 70
