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
    "05_visual_question_answering": 18,
    "06_image_classification": 13,
    "07_ablations": 15,
    "08_explore_sampling": 17,
    "09_beyond_one_machine": 17,
    "10_pretrained_transformer": 10,
    "11_your_own_model": 12,
    "12_half_a_cell": 11,
}
HEADINGS = ("## What could mislead you", "## Quiz", "## Exercises", "## References")
# Home folders, temporary files of Jupyter kernels, installed packages, Windows drives.
PATHS = re.compile(r"(/(home|root|Users|work|tmp|usr|var|opt|private)/[\w.-]|site-packages|\b[A-Z]:\\\\)")

# Anchors of the glossary: its headings, as GitHub and JupyterLab make anchors of words in lower case.
HEADING = re.compile(r"^### (.+)$", flags=re.MULTILINE)
GLOSSARY = {word.replace(" ", "-"): word for word in HEADING.findall((FOLDER / "GLOSSARY.md").read_text())}

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
def test_imports_can_be_taken_in_at_a_glance(name):
    """`import ssan` and at most five more lines, in one cell."""
    cells = [re.findall(r"^(?:import|from) .+", cell.source, flags=re.MULTILINE) for cell in code_cells(name)]
    (lines,) = [each for each in cells if each]
    assert "import ssan" in lines
    assert len(lines) <= 6, lines


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
        assert link.startswith("https://") or ((FOLDER / name).parent / link).exists(), link


@every
def test_links_into_the_glossary_find_their_word(name):
    for anchor in re.findall(r"\]\((?:\.\./)?GLOSSARY\.md#([^)\s]+)\)", prose(name)):
        assert anchor in GLOSSARY, f"GLOSSARY.md has no heading for #{anchor}"


@every
def test_says_where_words_are_explained_and_what_is_left_on_disk(name):
    header = prose(name).split("\n## ")[0]
    assert "(GLOSSARY.md)" in header
    assert re.search(r"^\*\*Disk\.\*\* .*(\d MB|nothing)", header, flags=re.MULTILINE | re.IGNORECASE)


@every
def test_leads_on_to_the_next_notebook(name):
    for following in NOTEBOOKS:
        if int(following[:2]) == int(name[:2]) + 1:
            assert f"({following}.ipynb)" in prose(name).partition("## Exercises")[2], f"no link to {following}"


def is_sentence(line: str) -> bool:
    """Whether a line of markdown is running text: no heading, formula, table, list of links or fold."""
    return bool(re.match(r"[A-Z“*`(]", line)) and len(line.split()) >= 5


@every
def test_a_figure_stands_beside_a_sentence(name):
    """Readers who cannot see a figure are told what it shows, directly before or after it."""
    cells = read(name).cells
    for place, cell in enumerate(cells):
        if any(key.startswith("image/") for output in cell.get("outputs", ()) for key in output.get("data", {})):
            near = [cells[k] for k in (place - 1, place + 1) if 0 <= k < len(cells)]
            lines = [line for one in near if one.cell_type == "markdown" for line in one.source.splitlines()]
            assert any(is_sentence(line) for line in lines), cell.source


@every
def test_a_cell_by_hand_is_checked_against_the_library(name):
    assert sum("assert" in cell.source for cell in code_cells(name)) >= 1


def test_the_glossary_explains_each_word_once_and_lists_it_above():
    text = (FOLDER / "GLOSSARY.md").read_text()
    words = HEADING.findall(text)
    assert len(words) == len(set(words)) == len(GLOSSARY)
    assert all(re.fullmatch(r"[a-z]+( [a-z]+)*", word) for word in words), "anchors are safe for words in lower case"
    listed = re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", text.partition("\n## ")[0])
    assert [word for word, _ in listed] == words
    assert all(anchor in GLOSSARY for anchor in re.findall(r"\(#([^)]+)\)", text))
    for place in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        meaning = place.partition("\n## ")[0].partition("\n")[2]
        assert len(meaning.split()) >= 8, place
        assert re.search(r"\[0\d\]$", meaning.strip()), f"where is it met first? {place}"


def test_the_glossary_has_every_word_of_the_architecture():
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Words\n")[2].partition("\n## ")[0]
    words = re.findall(r"^\| ([^|]+?) \|", table, flags=re.MULTILINE)[1:]  # the first row is the head
    assert len(words) >= 15
    assert set(words) <= set(GLOSSARY.values()), set(words) - set(GLOSSARY.values())


def test_enough_cells_in_all():
    assert sum(len(code_cells(name)) for name in NOTEBOOKS) >= 70
