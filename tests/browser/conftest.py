"""One browser for all browser tests, and one page for all widgets, cleared for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.lab import PATIENCE, Lab
from tests.browser.stage import Stage, chromium

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=1000 * PATIENCE)
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root; the pages are our own. Without --disable-gpu it plays a graphics card
        # where there is none, which takes longer than to draw without.
        browser = playwright.chromium.launch(executable_path=chromium(),
                                             args=["--no-sandbox", "--disable-quic", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def one_stage(browser: Browser) -> Iterator[Stage]:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    context = browser.new_context()
    context.set_default_timeout(1000 * PATIENCE)
    yield Stage(context.new_page())
    context.close()


@pytest.fixture
def stage(one_stage: Stage) -> Iterator[Stage]:
    """Shows a widget on an empty page; the test fails if the browser complains or asks somebody for something."""
    one_stage.clear()
    one_stage.errors, one_stage.asked = [], []
    yield one_stage
    one_stage.clear()  # what is left of the page has its last word
    assert one_stage.errors == []
    assert one_stage.asked == []


@pytest.fixture(scope="package")
def jupyterlab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab for all tests; it ends with its kernels, whatever happens."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    running = Lab(tmp_path_factory.mktemp("jupyterlab"), browser)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def lab(jupyterlab: Lab) -> Iterator[Lab]:
    """JupyterLab; the test fails if its page complains or asks somebody outside for something."""
    yield jupyterlab
    assert jupyterlab.complaints() == []
