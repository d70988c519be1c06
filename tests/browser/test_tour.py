"""The tour, as a newcomer meets it: opened in JupyterLab, run from top to bottom, every widget there."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from playwright.sync_api import expect

from seglab import widgets
from tests.browser.conftest import SCREENSHOTS
from tests.browser.lab import Lab, pixels

TOUR = Path(__file__).parents[2] / "notebooks" / "00_tour.ipynb"


def printed(cell: NotebookNode) -> list[str]:
    """The text of a cell's outputs; what one stream prints counts as one piece, however the kernel cut it."""
    streams = "".join(out.text for out in cell.outputs if out.output_type == "stream")
    return [text for text in (streams, *(out.data.get("text/plain") for out in cell.outputs if "data" in out)) if text]


def test_the_tour_shows_every_widget(lab: Lab):
    """Also what nbval does for the other lessons: the outputs of checked cells are those that are stored."""
    shutil.copy(TOUR, lab.root / TOUR.name)
    page = lab.open(TOUR.name)
    lab.run_all(page)
    cells, executed = nbformat.read(TOUR, as_version=4).cells, lab.saved(page, TOUR.name).cells
    checked = [(printed(stored), printed(found)) for stored, found in zip(cells, executed, strict=True)
               if "nbval-check-output" in stored.metadata.get("tags", [])]
    assert len(checked) >= 5 and all(stored == found != [] for stored, found in checked), checked
    shown = set()
    for place, cell in enumerate(cells):
        text = "".join(o.get("data", {}).get("text/plain", "") for o in cell.get("outputs", []))
        if name := next((name for name in widgets.__all__ if text.startswith(name)), None):
            drawn = lab.cell(page, place).locator(".seglab")
            expect(drawn).to_have_count(1)
            assert drawn.bounding_box()["height"] > 100
            pixels(drawn)  # stands still
            page.screenshot(path=SCREENSHOTS / f"tour_{name}.png")
            shown.add(name)
    assert shown == set(widgets.__all__) - {"MaskPainter"}  # it wants pictures of one's own: lesson 6
    lab.close(page)
