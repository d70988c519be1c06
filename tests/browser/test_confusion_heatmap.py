"""ConfusionHeatmap in a real browser."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page

from seglab.labels import PETS, VOC
from seglab.widgets.confusion_heatmap import ConfusionHeatmap
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import Stage, settle

COUNTS = np.array([[80000, 3000, 2000], [4000, 30000, 4567], [0, 0, 0]])


def point(page: Page, row: int, column: int) -> tuple[float, float]:
    """The middle of a cell on the page."""
    places, box = page.evaluate("document.querySelector('canvas').places"), page.locator("canvas").bounding_box()
    return (box["x"] + places["left"] + (column + 0.5) * places["cell"],
            box["y"] + places["top"] + (row + 0.5) * places["cell"])


def colour(page: Page, row: int, column: int) -> list[int]:
    """The colour of a cell near its upper left corner, where no number stands."""
    return page.evaluate("""([row, column]) => {
        const canvas = document.querySelector("canvas"), {left, top, cell} = canvas.places;
        const [x, y] = [left + column * cell, top + row * cell].map((v) => Math.round(v) + 4);
        return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data.slice(0, 3)];
    }""", [row, column])


@pytest.fixture
def heat(stage: Stage) -> tuple[ConfusionHeatmap, Page]:
    widget = ConfusionHeatmap(COUNTS, PETS)
    return widget, stage.show(widget)


def test_a_cell_speaks_and_a_click_tells_python(heat) -> None:
    widget, page = heat
    page.mouse.move(*point(page, 1, 2))
    assert page.locator(".seglab-heat-words").text_content() == widget.sentence("cat", "dog")
    page.mouse.move(*point(page, 2, 0))
    assert page.locator(".seglab-heat-words").text_content() == "there are no true dog pixels"
    page.mouse.click(*point(page, 1, 2))
    settle(page)
    assert widget.selected == [1, 2]
    page.get_by_role("button", name="select no cell").click()
    settle(page)
    assert widget.selected == []


@pytest.mark.parametrize("way", ["rows", "columns", "none"])
def test_the_words_are_those_of_python(heat, way: str) -> None:
    widget, page = heat
    page.get_by_label("share").select_option(way)
    settle(page)
    assert widget.normalise == way
    for row, column in np.ndindex(3, 3):
        page.mouse.move(*point(page, row, column))
        assert page.locator(".seglab-heat-words").text_content() == widget.sentence(row, column)


def test_colours_follow_the_values_the_scale_and_the_diagonal(heat) -> None:
    _, page = heat
    strong, weak, empty = (colour(page, *cell) for cell in ((0, 0), (0, 2), (2, 1)))
    assert strong[0] < 40 and weak[0] > 235 and empty == [241, 241, 241]
    page.get_by_role("button", name="logarithmic").click()
    settle(page)
    assert colour(page, 0, 2)[0] < weak[0]  # the rare mistake has a colour now
    page.get_by_role("button", name="logarithmic").click()
    page.get_by_role("button", name="mistakes only").click()
    settle(page)
    assert colour(page, 0, 0) == [255, 255, 255] and colour(page, 1, 2)[0] < 40


def test_keys_move_select_and_clear_without_a_kernel(heat) -> None:
    widget, page = heat
    page.evaluate("() => { model.comm_live = false; }")
    page.locator("canvas").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator(".seglab-heat-words").text_content() == widget.sentence(1, 2)
    page.keyboard.press("Enter")
    assert page.evaluate("model.get('selected')") == [1, 2]
    page.keyboard.press("Escape")
    assert page.evaluate("model.get('selected')") == []
    assert widget.selected == []  # the kernel is gone, and heard nothing


def test_python_selects_in_both_views(stage: Stage) -> None:
    widget = ConfusionHeatmap(COUNTS, PETS)
    page = stage.show(widget, times=2)
    before = page.screenshot()
    widget.selected = ["cat", "dog"]
    stage.push()
    settle(page)
    assert page.locator(".seglab-heat-words").all_text_contents() == [widget.sentence(1, 2)] * 2
    assert page.screenshot() != before


@pytest.mark.parametrize("width", [500, 1000])
def test_254_classes_fit_the_column_or_scroll_inside_it(stage: Stage, width: int) -> None:
    counts = (np.random.default_rng(0).random((254, 254)) ** 8 * 1000).astype(int) + np.diag([20000] * 254)
    widget = ConfusionHeatmap(counts, logarithmic=True)
    stage.page.set_viewport_size({"width": width, "height": 900})
    page = stage.show(widget)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    assert "are called class" in page.locator(".seglab-heat-words").text_content()


def test_it_looks_right(stage: Stage) -> None:
    rng = np.random.default_rng(0)
    counts = (rng.random((21, 21)) ** 8 * 1000).astype(int) + np.diag([20000] * 21)
    counts[4] = 0
    stage.page.set_viewport_size({"width": 800, "height": 900})
    page = stage.show(ConfusionHeatmap(counts, VOC, logarithmic=True, selected=["cat", "dog"]))
    light = page.screenshot(path=SCREENSHOTS / "confusion_heatmap.png")
    page.emulate_media(color_scheme="dark")
    settle(page)
    assert page.screenshot(path=SCREENSHOTS / "confusion_heatmap_dark.png") != light
