"""The tour, as a newcomer meets it: opened in JupyterLab, run from top to bottom, every widget there."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
from playwright.sync_api import expect

from seglab import widgets
from tests.browser.conftest import SCREENSHOTS
from tests.browser.lab import Lab

TOUR = Path(__file__).parents[2] / "notebooks" / "00_tour.ipynb"


def test_the_tour_shows_every_widget(lab: Lab):
    shutil.copy(TOUR, lab.root / TOUR.name)
    page = lab.open(TOUR.name)
    lab.run_all(page, seconds=400)
    cells = nbformat.read(TOUR, as_version=4).cells
    shown = set()
    for place, cell in enumerate(cells):
        text = "".join(o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", []))
        if name := next((name for name in widgets.__all__ if text.startswith(name)), None):
            drawn = lab.cell(page, place).locator(".seglab")
            expect(drawn).to_have_count(1)
            assert drawn.bounding_box()["height"] > 100
            page.wait_for_timeout(300)
            page.screenshot(path=SCREENSHOTS / f"tour_{name}.png")
            shown.add(name)
    assert shown == set(widgets.__all__)
    lab.close(page)
