"""One browser for all browser tests; a fresh page for each."""

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
        # Chromium refuses its sandbox to root; the pages are our own.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-quic"])
        yield browser
        browser.close()


@pytest.fixture
def stage(browser: Browser) -> Iterator[Stage]:
    """Shows a widget on a page of its own; the test fails if the browser complains or asks somebody for something."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE)
    shown = Stage(context.new_page())
    yield shown
    context.close()
    assert shown.errors == []
    assert shown.asked == []


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
    """JupyterLab; the test fails if one of its pages complains or asks somebody outside for something."""
    yield jupyterlab
    assert jupyterlab.complaints() == []
