"""Notebook 08 in a real browser with a real kernel: its widgets moved by mouse and keyboard, as a reader would."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import new_page
from tests.browser.lab import Lab, limit, serving

NAME = "08_explore_sampling"
SECONDS = 180


@pytest.fixture(scope="module")
def run(browser, server) -> Iterator[Lab]:
    """Notebook 08, opened and run from top to bottom once; what follows plays with it."""
    page = new_page(browser)
    lab = Lab(page, server)
    lab.open(NAME)
    expect(page.get_by_text("model not found")).to_have_count(0)  # before anything is run, too
    print(f"{NAME}: {lab.run_all(NAME, SECONDS):.0f} s")
    yield lab
    lab.end_kernels()
    page.close()


def control(cell: Locator, description: str) -> Locator:
    """The control of this description, with its label."""
    label = cell.page.locator(".widget-label", has_text=re.compile(f"^{description}$"))
    return cell.locator(".jupyter-widgets", has=label).last


def picture(cell: Locator) -> bytes:
    """The bytes of the picture that the widget of a cell shows."""
    script = """async image => {
        const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
        return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ''));
    }"""
    return base64.b64decode(cell.locator(".jupyter-widgets img").first.evaluate(script))


def said(cell: Locator) -> str:
    """The text under the picture."""
    paragraph = cell.locator(".widget-html p").last
    expect(paragraph).to_have_text(re.compile(r"\S"))
    # JupyterLab hides cells that are far from the screen; `inner_text` of these is empty, their content is not.
    return paragraph.text_content().strip()


def after(cell: Locator, text: str | re.Pattern, before: bytes) -> bytes:
    """The picture once the text under it says `text`; it must be another than `before`.

    Text and picture are two models, which the page brings up to date one by one: the picture may come a little later.
    """
    expect(cell.locator(".widget-html p").last).to_contain_text(text)
    return changed(cell, before)


def changed(cell: Locator, before: bytes) -> bytes:
    """The picture as soon as it is another than `before`."""
    found = awaited(cell, lambda now: now != before)
    assert found.startswith(b"\x89PNG")
    assert found != before
    return found


def awaited(cell: Locator, good: Callable[[bytes], bool]) -> bytes:
    """The picture, as soon as it is `good` or has had its time to become so."""
    end = time.monotonic() + limit(5) / 1000
    while not good(found := picture(cell)) and time.monotonic() < end:
        cell.page.wait_for_timeout(50)
    return found


def contrast(one: Locator) -> float:
    """Of the letters of an element with what lies behind them: 1 is none, 21 black on white (WCAG 2)."""
    script = """element => {
        const parts = text => text.match(/[\\d.]+/g).map(Number);
        let behind = element;
        while (behind && (parts(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
        return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(parts);
    }"""
    bright = []
    for colour in one.evaluate(script):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour[:3])]
        bright.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(bright) + 0.05) / (min(bright) + 0.05)


def test_everything_ran_and_nothing_went_wrong(run):
    saved = run.saved(NAME)
    outputs = [output for cell in saved.cells for output in cell.get("outputs", ())]
    assert [output.evalue for output in outputs if output.output_type == "error"] == []
    counts = [cell.execution_count for cell in saved.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    for text in ("model not found", "Error displaying widget", "Loading widget"):
        expect(run.page.get_by_text(text)).to_have_count(0)


def test_sliders_move_by_keyboard(run):
    cell = run.cell("explorer = ")
    before, text = picture(cell), said(cell)
    handle = control(cell, "Example").locator(".noUi-handle")
    handle.focus()
    began = time.monotonic()
    handle.press("ArrowRight")
    expect(cell.locator(".widget-html p").last).not_to_have_text(text)
    print(f"from the key to the new text: {1000 * (time.monotonic() - began):.0f} ms")
    changed(cell, before)
    assert handle.get_attribute("aria-valuenow") == "1.0"
    handle.press("ArrowLeft")
    expect(cell.locator(".widget-html p").last).to_have_text(text)
    assert awaited(cell, before.__eq__) == before
    run.screenshot("explorer_text")


def test_menus_and_other_tasks(run):
    cell = run.cell("explorer = ")
    before = picture(cell)
    control(cell, "Sampler").locator("select").select_option("random")
    before = after(cell, "Of 128 masked variants (random)", before)
    keep = control(cell, "Keep").locator(".noUi-handle")
    keep.focus()
    for _ in range(4):
        keep.press("ArrowRight")
    expect(control(cell, "Keep")).to_contain_text("0.70")
    text = said(cell)
    seed = control(cell, "Seed").locator(".noUi-handle")
    seed.focus()
    seed.press("ArrowRight")
    expect(cell.locator(".widget-html p").last).not_to_have_text(text)
    before = picture(cell)
    control(cell, "Task").locator("select").select_option("shapes")
    before = after(cell, "Of 49 masked variants (hide_windows)", before)
    expect(control(cell, "Keep").locator(".noUi-target")).to_have_attribute("disabled", "true")
    selector = control(cell, "Selector").locator("select")
    expect(selector).to_have_value("ridge")  # it comes from the kernel, as the picture does, but maybe later
    selector.select_option("best")
    after(cell, "surrogate (best) at", before)
    run.screenshot("explorer_shapes")


def test_tab_goes_from_control_to_control(run):
    cell = run.cell("explorer = ")
    control(cell, "Task").locator("select").focus()
    reached = []
    for _ in range(12):
        run.page.keyboard.press("Tab")
        label = "document.activeElement.closest('.jupyter-widgets')?.querySelector('.widget-label')?.innerText"
        found = run.page.evaluate(label)
        if found and found not in reached:
            reached.append(found)
    assert reached[:3] == ["Example", "Score", "Sampler"]
    assert {"Grid", "Window", "Hidden shows", "Selector"} <= set(reached)


def test_errors_are_told_in_the_page(run):
    cell = run.cell("explorer = ")
    control(cell, "Task").locator("select").select_option("shapes")
    expect(cell.locator(".widget-html p").last).to_contain_text("Question")
    before = picture(cell)
    control(cell, "Grid").locator("select").select_option("2 x 2")
    status = cell.locator('[role="status"]')
    expect(status).to_contain_text("a window of 2 does not fit into the grid (2, 2)")
    assert picture(cell) == before
    assert contrast(status) > 4.5
    control(cell, "Grid").locator("select").select_option("4 x 4")
    after(cell, "Of 9 masked variants", before)
    expect(status).to_have_text("")


def test_words_are_clicked_away_and_back(run):
    cell = run.cell("painter = ")
    before, text = picture(cell), said(cell)
    word = cell.get_by_role("button", name="brilliant", exact=True)
    word.click()
    after(cell, "Hidden: brilliant.", before)
    expect(word).to_have_attribute("title", "brilliant: hidden")
    run.screenshot("painter_text")
    word.focus()
    word.press("Space")
    expect(cell.locator(".widget-html p").last).to_have_text(text)
    assert awaited(cell, before.__eq__) == before
    cell.get_by_role("button", name="Best variant").click()
    expect(cell.locator(".widget-html p").last).to_contain_text("Hidden: ")
    cell.get_by_role("button", name="Keep all").click()
    expect(cell.locator(".widget-html p").last).to_have_text(text)


def test_cells_are_clicked_away(run):
    cell = run.cell("painter = ")
    before = picture(cell)
    control(cell, "Task").locator("select").select_option("shapes")
    after(cell, "Question", before)
    # Black on black would leave the picture as it was.
    control(cell, "Hidden shows").locator("select").select_option("mean")
    before = picture(cell)
    for place in ("row 3, column 4", "row 3, column 5"):
        cell.get_by_title(f"{place}: kept").click()
        expect(cell.get_by_title(f"{place}: hidden")).to_have_text("×")
    after(cell, "Hidden: 2 of 64 cells.", before)
    run.screenshot("painter_shapes")


def test_leafing_before_and_after(run):
    cell = run.cell("retrained = ")
    before = picture(cell)
    control(cell, "Show").locator("select").select_option("all")
    before = after(cell, re.compile(r"Number 1 of \d+ \(all\)"), before)
    handle = control(cell, "Number").locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowRight")
    before = after(cell, re.compile(r"Number 2 of \d+ \(all\)"), before)
    models = control(cell, "Models").locator("select")
    models.select_option(label=models.locator("option").nth(1).inner_text())
    after(cell, "Image", before)
    run.screenshot("before_after")


def test_nothing_went_wrong_on_the_way(run):
    """Last of this notebook's tests: what the page and its console had to complain of while all others played."""
    assert run.problems == []
    expect(run.page.get_by_text("model not found")).to_have_count(0)
    saved_again = run.page.locator(".jp-Notebook-ExecutionIndicator").first
    expect(saved_again).to_have_attribute("data-status", "idle")


def test_dark_theme_is_readable(browser, tmp_path):
    with serving(tmp_path, theme="JupyterLab Dark") as server:
        page: Page = new_page(browser)
        lab = Lab(page, server)
        lab.open(NAME)
        assert page.locator("body").get_attribute("data-jp-theme-light") == "false"
        lab.run_all(NAME, SECONDS)
        cell = lab.cell("explorer = ")
        expect(cell.locator(".jupyter-widgets img").first).to_be_visible()
        for shown in (cell.locator(".widget-label").first, cell.locator(".widget-html p").last):
            assert contrast(shown) > 4.5
        lab.screenshot("dark_explorer")
        lab.cell("painter = ").get_by_role("button", name="only", exact=True).click()
        lab.screenshot("dark_painter")
        lab.cell("numbers = ")
        lab.screenshot("dark_plot")
        assert lab.problems == []
        lab.end_kernels()
        page.close()
