"""MaskPainter in a real browser: mouse, keys and fingers, and the files that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from skimage.data import chelsea, coffee

from seglab.labels import LabelSet
from seglab.viz import overlay
from seglab.widgets.base import browser_code
from seglab.widgets.mask_painter import MaskPainter, _samples
from seglab.widgets.painting import Region, brush, polygon
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import Stage, settle

LABELS = LabelSet("things", ("background", "red", "blue"), ((0, 0, 0), (230, 30, 30), (30, 30, 230)))
GREY, DARK, RED, BLUE = [100, 100, 100], [0, 0, 0], [230, 30, 30], [30, 30, 230]
SIZE = (60, 80)  # shown four times as large
PIXEL = """([x, y]) => { const c = document.querySelector("canvas");
  return Array.from(c.getContext("2d").getImageData((x + 0.5) * c.width / 80, (y + 0.5) * c.height / 60, 1, 1)
    .data.slice(0, 3)); }"""
#: The pixels that painting.js puts, on a grid of every `step`-th pixel.
PUT = """([code, kind, points, radius, full, step]) => {
  const { paintGrid, paintSegment, paintPolygon } = new Function(code.replace(/export default[^]*$/, "")
    + "; return { paintGrid, paintSegment, paintPolygon };")();
  const size = full.map((length) => Math.ceil(length / step)), grid = paintGrid(size, full, step);
  const ids = new Uint8Array(size[0] * size[1]);
  const put = (j, from, to) => { for (let i = from; i <= to; i++) ids[j * size[0] + i] = 1; };
  if (kind === "polygon") paintPolygon(grid, points, put);
  else points.forEach((point, i) => paintSegment(grid, points[Math.max(0, i - 1)], point, radius, put));
  return Array.from(ids);
}"""


@pytest.fixture
def painter(tmp_path: Path) -> MaskPainter:
    pictures = {name: np.full((*SIZE, 3), 100, np.uint8) for name in ("first", "second", "third")}
    return MaskPainter(pictures, LABELS, tmp_path / "things", opacity=1.0, radius=5)


def at(page: Page, x: float, y: float) -> list[int]:
    """The colour on the screen over a pixel of the picture."""
    settle(page)
    return page.evaluate(PIXEL, [x, y])


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where on the page the middle of a pixel of the picture is, while all of it is shown."""
    box = page.locator("canvas").first.bounding_box()
    return box["x"] + (x + 0.5) * box["width"] / SIZE[1], box["y"] + (y + 0.5) * box["height"] / SIZE[0]


def drag(page: Page, *points: tuple[float, float]) -> None:
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(page, *point), steps=5)
    page.mouse.up()


def painted(region: Region, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[region.top:, region.left:][:region.inside.shape[0], :region.inside.shape[1]] = region.inside
    return mask


def touch(page: Page, session: Any, kind: str, *points: tuple[float, float]) -> None:
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [
        {"x": x, "y": y, "id": i} for i, (x, y) in enumerate(place(page, *point) for point in points)]})


def test_browser_and_python_paint_the_same_pixels(stage: Stage) -> None:
    page, code, rng = stage.page, browser_code("painting"), np.random.default_rng(0)
    for trial in range(120):
        size, step = tuple(int(n) for n in rng.integers(1, 60, 2)), int(rng.choice([1, 3, 5]))
        points = rng.uniform(-10, 70, (int(rng.integers(1, 7)), 2))
        if trial % 2:  # as the browser sends them: middles of pixels
            points = np.floor(points) + 0.5
        radius = float(rng.choice([0.5, 1, 2.5, 7, 30]))
        kind = "polygon" if trial % 3 == 0 else "stroke"
        region = polygon(points, size) if kind == "polygon" else brush(points, radius, size)
        expected = painted(region, size)[np.ix_(*(_samples(length, step) for length in size))]
        found = page.evaluate(PUT, [code, kind, points.tolist(), radius, [*size[::-1]], step])
        assert found == expected.ravel().tolist(), f"{kind}, trial {trial}"


def test_a_dragged_brush_paints_and_is_saved(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    assert at(page, 40, 30) == GREY
    expect(page.get_by_text("nothing painted yet")).to_be_visible()
    drag(page, (20, 30), (60, 30))
    settle(page)
    expected = painted(brush(np.array([[20.5, 30.5], [60.5, 30.5]]), 5, SIZE), SIZE)
    assert np.array_equal(painter.mask("first") == 1, expected == 1) and painter.progress == (1, 3)
    assert np.array_equal(MaskPainter(dict.fromkeys(painter.names, np.full((*SIZE, 3), 100, np.uint8)), LABELS,
                                      painter.folder).mask(0), painter.mask(0)), "it is in the file"
    assert at(page, 40, 30) == RED and at(page, 40, 36) == GREY == at(page, 14, 30)
    expect(page.get_by_text("✓ saved in things/masks")).to_be_visible()
    expect(page.get_by_text("1 of 3 painted")).to_be_visible()


def test_the_browser_draws_before_python_answers(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    page.evaluate("() => { window.kept = []; model.send = (content) => { kept.push(content); }; }")
    page.mouse.move(*place(page, 20, 20))
    page.mouse.down()
    page.mouse.move(*place(page, 40, 20), steps=3)
    assert at(page, 30, 20) == RED and page.evaluate("kept") == [], "a stroke is sent when it ends"
    page.mouse.up()
    page.get_by_role("button", name="the rest is background").click()
    assert at(page, 70, 50) == DARK
    expect(page.get_by_text("The kernel is busy: 2 steps to save.")).to_be_visible()
    assert painter.done == []
    page.evaluate("kept.forEach((content) => tell({kind: 'custom', content}).then(model.receive))")
    settle(page)
    assert np.bincount(painter.mask(0).ravel(), minlength=3)[1] > 200 and (painter.mask(0) != 255).all()
    expect(page.get_by_text("✓ saved")).to_be_visible()


def test_a_polygon_is_clicked_or_drawn_around(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    page.get_by_role("button", name="polygon", exact=True).click()
    corners = [(10, 10), (50, 10), (50, 40)]
    for corner in corners:
        page.mouse.click(*place(page, *corner))
    page.keyboard.press("Backspace")
    page.mouse.click(*place(page, 30, 50))
    settle(page)
    assert painter.done == []
    page.mouse.click(*place(page, 10, 10))  # the first corner closes it
    settle(page)
    expected = painted(polygon(np.array([[10.5, 10.5], [50.5, 10.5], [30.5, 50.5]]), SIZE), SIZE)
    assert np.array_equal(painter.mask(0) == 1, expected == 1)
    page.keyboard.press("2")
    drag(page, (60, 20), (75, 20), (75, 40), (60, 40), (60, 22))
    assert at(page, 68, 30) == BLUE and at(page, 56, 30) == GREY
    for corner in ((2, 50), (10, 50), (6, 58)):
        page.mouse.click(*place(page, *corner))
    page.mouse.dblclick(*place(page, 2, 58))
    assert at(page, 5, 54) == BLUE
    page.mouse.click(*place(page, 40, 55))
    page.mouse.click(*place(page, 60, 55))
    page.keyboard.press("Escape")
    settle(page)
    assert "Click corner after corner around blue" in page.locator(".seglab-note").first.inner_text()
    assert len(np.unique(painter.mask(0))) == 3 and (painter.mask(0)[55, 40:60] == 255).all()


def test_eraser_fill_rest_keep_and_undo(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    drag(page, (20, 30), (60, 30))
    page.get_by_role("button", name="eraser").click()
    drag(page, (40, 20), (40, 40))
    assert at(page, 40, 30) == GREY and at(page, 25, 30) == RED
    page.get_by_role("button", name="blue", exact=True).click()  # a class is for painting: the brush comes back
    page.get_by_role("button", name="keep painted").click()
    drag(page, (15, 30), (65, 30))
    assert at(page, 40, 30) == BLUE and at(page, 25, 30) == RED
    page.get_by_role("button", name="the rest is background").click()
    assert at(page, 2, 2) == DARK
    page.get_by_role("button", name="fill", exact=True).click()
    page.mouse.click(*place(page, 25, 30))
    assert at(page, 22, 30) == RED, "what is painted is kept"
    page.keyboard.press("k")
    page.mouse.click(*place(page, 25, 30))
    assert at(page, 22, 30) == BLUE and at(page, 58, 30) == RED, "what hangs together, and no more"
    for expected in (RED, RED, RED, RED):
        page.keyboard.press("Control+z")
        assert at(page, 22, 30) == expected
    assert at(page, 40, 30) == RED and painter.layer["undo"] == 1 and at(page, 2, 2) == GREY
    page.get_by_role("button", name="undo").click()
    settle(page)
    assert painter.done == [] and not (painter.folder / "masks" / "first.png").exists()
    expect(page.get_by_role("button", name="undo")).to_be_disabled()
    for _ in range(5):
        page.keyboard.press("Control+Shift+z") if _ else page.get_by_role("button", name="redo").click()
        settle(page)
    assert at(page, 22, 30) == BLUE and at(page, 2, 2) == DARK


def test_the_keyboard_alone_paints_and_goes_on(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "CANVAS":
            break
    assert page.evaluate("document.activeElement.tagName") == "CANVAS", "Tab gets there"
    page.keyboard.press("2")
    page.keyboard.press("Shift+ArrowLeft")  # from the middle, (40, 30)
    page.keyboard.press("Space")
    assert at(page, 39, 30) == BLUE
    page.keyboard.press("]")
    page.keyboard.press("g")
    settle(page)
    assert (painter.chosen, painter.radius, painter.tool) == (2, 6, "polygon")
    page.keyboard.press("1")
    for keys in (["ArrowUp"] * 8, ["ArrowRight"] * 8, ["ArrowDown"] * 8):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # on the last corner: closed
    assert at(page, 50, 18) == RED
    page.keyboard.press("r")
    assert at(page, 2, 58) == DARK
    page.keyboard.press("n")
    settle(page)
    assert painter.index == 1 and page.evaluate("document.activeElement.tagName") == "CANVAS"
    assert at(page, 2, 58) == GREY, "another picture"
    page.keyboard.press("b")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")
    settle(page)
    assert painter.done == ["first", "second"]
    page.keyboard.press("p")
    assert at(page, 2, 58) == DARK
    assert page.locator(".seglab-choice option").all_text_contents() == [
        "first ✓", "second ✓", "third"]


def test_all_controls_have_names(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    for control in page.locator("button, input, select, canvas").all():
        name = control.evaluate("""(one) => one.getAttribute("aria-label") || one.labels?.[0]?.textContent
            || one.textContent || one.title""")
        assert name.strip(), control.evaluate("(one) => one.outerHTML")


def test_one_finger_paints_and_two_zoom(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    session = page.context.new_cdp_session(page)
    touch(page, session, "touchStart", (20, 30))
    touch(page, session, "touchMove", (40, 30))
    touch(page, session, "touchEnd")
    assert at(page, 30, 30) == RED
    before = painter.mask(0)
    touch(page, session, "touchStart", (20, 50))
    touch(page, session, "touchMove", (24, 50))
    touch(page, session, "touchStart", (24, 50), (60, 50))  # a second finger: no stroke, but zoom
    touch(page, session, "touchMove", (14, 50), (60, 50))
    touch(page, session, "touchMove", (4, 50), (70, 50))
    touch(page, session, "touchEnd")
    settle(page)
    assert np.array_equal(painter.mask(0), before), "two fingers do not paint"
    assert float(page.locator(".seglab-zoom").inner_text().split()[0]) > 600
    page.get_by_role("button", name="show the whole picture").click()
    assert at(page, 22, 50) == GREY and at(page, 30, 30) == RED
    session.detach()


def test_zoomed_in_it_paints_under_the_pointer(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    page.mouse.move(*place(page, 20, 15))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -600)
    page.keyboard.up("Control")
    settle(page)
    painter.radius = 0.5
    stage.push()
    page.mouse.click(*place(page, 20, 15))
    settle(page)
    assert np.argwhere(painter.mask(0) == 1).tolist() == [[15, 20]], "one pixel, the one that stayed under the pointer"
    page.locator("canvas").focus()
    page.keyboard.down("Space")
    drag(page, (20, 15), (60, 15))
    page.keyboard.up("Space")
    settle(page)
    assert (painter.mask(0) == 1).sum() == 1, "that panned"
    page.keyboard.press("Home")
    page.mouse.move(0, 0)
    assert at(page, 20, 15) == RED and at(page, 21, 15) == GREY


def test_a_large_picture_is_painted_in_full(stage: Stage, tmp_path: Path) -> None:
    picture = np.full((1500, 2401, 3), 100, np.uint8)
    painter = MaskPainter({"large": picture}, LABELS, tmp_path / "large", radius=100, opacity=1.0)
    page = stage.show(painter)
    assert painter.opened["step"] == 3 and painter.opened["size"] == [801, 500]
    box = page.locator("canvas").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.get_by_role("button", name="the rest is background").click()
    settle(page)
    mask = painter.mask(0)
    assert mask.shape == (1500, 2401) and (mask != 255).all()
    middle = np.argwhere(mask == 1).mean(axis=0)[::-1] + 0.5  # x, y
    assert np.array_equal(mask == 1, painted(brush(middle[None], 100, mask.shape), mask.shape) == 1), "sharp"
    assert middle == pytest.approx([1200.5, 750.5], abs=3)


def test_without_a_kernel_it_says_so_and_does_not_pretend(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    drag(page, (20, 30), (60, 30))
    settle(page)
    page.evaluate("model.comm_live = false")
    drag(page, (20, 50), (60, 50))
    assert at(page, 40, 50) == GREY and at(page, 40, 30) == RED
    expect(page.get_by_text("The kernel is gone. Run the cell again to paint.")).to_be_visible()
    page.get_by_label("opacity").fill("0.5")
    assert at(page, 40, 30) == pytest.approx([(a + 100) / 2 for a in RED], abs=1), "looking still works"


def test_what_cannot_be_saved_is_taken_back(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter)
    painter.folder.write_text("a file where the folder should be")
    drag(page, (20, 30), (60, 30))
    assert at(page, 40, 30) == GREY
    expect(page.get_by_text("Check the rights of the folder", exact=False)).to_be_visible()
    assert painter.done == []
    painter.folder.unlink()
    drag(page, (20, 30), (60, 30))
    assert at(page, 40, 30) == RED and painter.done == ["first"]


def test_python_and_two_views_see_the_same(stage: Stage, painter: MaskPainter) -> None:
    page = stage.show(painter, times=2)
    painter.stroke("first", [(40, 30)], radius=8, class_="blue")
    stage.push()
    assert at(page, 40, 30) == BLUE
    page.mouse.click(*place(page, 10, 10))
    settle(page)
    second = page.evaluate(PIXEL.replace('document.querySelector("canvas")', 'document.querySelectorAll("canvas")[1]'),
                           [10, 10])
    assert second == RED, "what is painted in one view is in the other"
    page.evaluate("ends[0]()")
    painter.index = 2
    stage.push()
    settle(page)
    assert page.locator("canvas").nth(-1).is_visible() and painter.opened["index"] == 2


def test_it_looks_as_its_picture_does(stage: Stage, tmp_path: Path) -> None:
    painter = MaskPainter({"cat": chelsea(), "cup": coffee()}, ["background", "cat", "cup"], tmp_path / "mine")
    painter.polygon("cat", [(60, 40), (230, 10), (370, 40), (390, 150), (300, 290), (60, 290)], "cat")
    painter.rest("cat", "background")
    page = stage.show(painter)
    shown = overlay(chelsea(), painter.mask(0), painter._label_set, 0.5, [])
    found = page.evaluate("""() => { const c = document.querySelector("canvas");
        return Array.from(c.getContext("2d").getImageData(c.width / 2, c.height / 2, 1, 1).data.slice(0, 3)); }""")
    assert np.abs(shown[145:155, 220:230].astype(int) - found).min(axis=(0, 1)).max() <= 6
    page.screenshot(path=SCREENSHOTS / "mask_painter.png")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 420, "height": 900})
    settle(page)
    page.screenshot(path=SCREENSHOTS / "mask_painter_narrow_dark.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
