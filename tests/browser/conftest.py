"""One browser for all tests here, and one JupyterLab that serves copies of the notebooks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.lab import Lab, Server, limit, serving

WINDOW = {"width": 1400, "height": 1100}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


def chromium() -> str | None:
    """Where Chromium is: what SSAN_CHROMIUM names, else what the system has."""
    names = (os.environ.get("SSAN_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser(data_mirror) -> Iterator[Browser]:  # noqa: ARG001
    path = chromium()
    if path is None:
        missing = "no Chromium here: install it (Debian: apt-get install chromium) or name it in SSAN_CHROMIUM"
        # Where changes are judged, tests that do not run must not look like tests that pass.
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    expect.set_options(timeout=limit(15))
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, which containers run as.
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def server(browser, tmp_path_factory) -> Iterator[Server]:  # noqa: ARG001
    with serving(tmp_path_factory.mktemp("lab")) as found:
        yield found


def new_page(browser: Browser) -> Page:
    """An empty page of a usual size."""
    page = browser.new_page(viewport=WINDOW)
    page.set_default_timeout(limit(30))
    return page


@pytest.fixture
def page(browser) -> Iterator[Page]:
    found = new_page(browser)
    yield found
    found.close()


@pytest.fixture
def lab(page, server) -> Iterator[Lab]:
    found = Lab(page, server)
    yield found
    found.end_kernels()
