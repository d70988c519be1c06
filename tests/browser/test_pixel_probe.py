"""PixelProbe in a real browser: bars, frame, heat, keys, and a kernel that is gone."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from skimage.data import chelsea

from seglab.inference import predict
from seglab.models import build
from seglab.widgets import pixel_probe
from seglab.widgets.pixel_probe import PixelProbe
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import settle
from tests.widgets.test_pixel_probe import Shift, answer

PICTURE = "canvas[role=application]"


def shares(page: Page, view: int = 0) -> dict[str, float]:
    """Name -> share of the bars of one view, from their drawn widths."""
    return page.evaluate("""(view) => Object.fromEntries(
        [...document.querySelectorAll(".seglab-probe-bars")[view].children].map((li) => [
            li.querySelector(".seglab-probe-name").textContent,
            parseFloat(li.querySelector(".seglab-probe-fill").style.width) / 100]))""", view)


def click(page: Page, x: int, y: int, widget: PixelProbe) -> None:
    """The middle of a pixel of the picture."""
    room = page.locator(PICTURE).bounding_box()
    height, width = widget._size
    page.mouse.click(room["x"] + (x + 0.5) * room["width"] / width, room["y"] + (y + 0.5) * room["height"] / height)
    settle(page)


def pixels(page: Page) -> np.ndarray:
    """The canvas, (H, W, 4) uint8."""
    url = page.evaluate("() => document.querySelector('canvas[role=application]').toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"))


def test_the_bars_are_the_probabilities_under_the_pointer(stage):
    prediction = answer(12)
    widget = PixelProbe(prediction, truth=prediction.mask)
    page = stage.show(widget)
    for x, y in ((0, 0), (29, 19), (7, 13)):
        click(page, x, y, widget)
        assert widget.pixel == [x, y]
        found = shares(page)
        expected = np.sort(prediction.probabilities[:, y, x])[::-1]
        assert len(found) == 9 and next(iter(found)) == f"class {prediction.mask[y, x]}"
        for name, share in list(found.items())[:8]:
            assert abs(share - prediction.probabilities[int(name.split()[1]), y, x]) <= 1 / 255
        assert np.allclose(list(found.values())[:8], expected[:8], atol=1 / 255)
        assert abs(found["4 others"] - expected[8:].sum()) <= 8 / 255
        side = page.inner_text(".seglab-probe-facts")
        assert f"x {x}, y {y}" in side and f"class {prediction.mask[y, x]} ✓" in side


def test_the_frame_of_one_convolution_is_three_by_three_around_the_click(stage):
    widget = PixelProbe(answer(), build("single_conv", 3))
    page = stage.show(widget)
    click(page, 10, 8, widget)
    assert "3×3 pixels" in page.inner_text(".seglab-probe-facts")
    framed = pixels(page)
    page.get_by_role("button", name="receptive field").click()
    settle(page)
    changed = (framed != pixels(page)).any(2)
    rows, columns = np.nonzero(changed)
    scale = changed.shape[1] / 30
    assert abs(columns.min() / scale - 9) < 0.1 and abs((columns.max() + 1) / scale - 12) < 0.1
    assert abs(rows.min() / scale - 7) < 0.1 and abs((rows.max() + 1) / scale - 10) < 0.1
    assert not changed[int(8.4 * scale):int(8.6 * scale), int(10.4 * scale):int(10.6 * scale)].any()
    assert widget.show_field is False


def test_the_frame_ends_at_the_edge_and_says_so(stage):
    widget = PixelProbe(answer(), Shift(), pixel=[2, 0])
    page = stage.show(widget)
    assert "5×4 pixels, cut off at the edge" in page.inner_text(".seglab-probe-facts")
    python, browser = widget.box(), page.evaluate("""async () => {
        const code = model.get("_esm") + ";export { probeBox };";
        const { probeBox } = await import(URL.createObjectURL(new Blob([code], {type: "text/javascript"})));
        return [[2, 0], [15, 10], [29, 19]].map((p) => { const b = probeBox(model.get("content"), p);
            return [b.top, b.left, b.bottom, b.right]; }); }""")
    assert tuple(browser[0]) == python
    for place, found in zip(([15, 10], [29, 19]), browser[1:], strict=True):
        widget.pixel = place
        assert tuple(found) == widget.box()


def test_the_keyboard_moves_the_pixel(stage):
    widget = PixelProbe(answer(), pixel=[5, 5])
    page = stage.show(widget)
    before = pixels(page)
    page.locator(PICTURE).focus()
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)
    settle(page)
    assert widget.pixel == [16, 6] and (pixels(page) != before).any()
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert widget.pixel == [15, 0]
    page.keyboard.press("Home")
    settle(page)
    assert widget.pixel == [15, 10]
    assert "x 15, y 10" in page.inner_text("[aria-live]")


def test_python_sets_the_pixel_in_every_view(stage):
    prediction = answer()
    widget = PixelProbe(prediction)
    page = stage.show(widget, times=2)
    widget.pixel = [3, 17]
    stage.push()
    settle(page)
    for view in (0, 1):
        for name, share in shares(page, view).items():
            assert abs(share - prediction.probabilities[int(name.split()[1]), 17, 3]) <= 1 / 255


def test_heat_comes_from_the_kernel_and_is_drawn(stage):
    widget = PixelProbe(answer(), build("single_conv", 3), pixel=[10, 8], show_field=False, opacity=1.0)
    page = stage.show(widget)
    before = pixels(page)
    page.get_by_role("button", name="heat").click()
    page.wait_for_function("() => model.get('heat').values")
    settle(page)
    assert widget.heat["pixel"] == [10, 8] and "moves the score" in page.inner_text(".seglab-note")
    after = pixels(page)
    scale = after.shape[1] / 30
    far = after[int(2 * scale), int(2 * scale)]
    near = after[int(7 * scale):int(10 * scale), int(9 * scale):int(12 * scale)]
    assert far[:3].max() < 10 and near[..., 0].max() > 200 and (before != after).any()
    click(page, 20, 4, widget)
    page.wait_for_function("() => String(model.get('heat').pixel) === '20,4'")
    assert widget.heat["pixel"] == [20, 4]


def test_without_a_kernel_bars_and_frame_work_and_the_heat_says_what_it_needs(stage):
    prediction = answer()
    widget = PixelProbe(prediction, build("single_conv", 3))
    page = stage.show(widget)
    page.evaluate("() => { model.comm_live = false; }")
    click(page, 4, 15, widget)
    assert widget.pixel == []
    assert abs(max(shares(page).values()) - prediction.probabilities[:, 15, 4].max()) <= 1 / 255
    assert "3×3 pixels" in page.inner_text(".seglab-probe-facts")
    page.get_by_role("button", name="heat").click()
    settle(page)
    assert "needs the kernel" in page.inner_text(".seglab-note")


def test_classes_and_safe_colours_change_the_picture(stage):
    widget = PixelProbe(answer(), opacity=1.0)
    page = stage.show(widget)
    views = [pixels(page)]
    for name in ("classes", "safe colours"):
        page.get_by_role("button", name=name).click()
        settle(page)
        views.append(pixels(page))
    assert (views[0] != views[1]).any() and (views[1] != views[2]).any()
    assert page.get_by_role("button", name="heat").count() == 0  # there is no network to ask


@pytest.mark.parametrize(("count", "limit", "words"), [(40, 8 * 600, "the 4 most probable"),
                                                       (2, 1200, "one in 2 rows")])
def test_what_did_not_travel_is_said_and_the_bars_stay_right(stage, monkeypatch, count, limit, words):
    monkeypatch.setattr(pixel_probe, "MAX_VALUES", limit)
    prediction = answer(count)
    widget = PixelProbe(prediction)
    page = stage.show(widget)
    click(page, 12, 6, widget)
    assert words in page.inner_text(".seglab-note") and widget.pixel == [12, 6]
    for name, share in shares(page).items():
        if name.startswith("class"):
            assert abs(share - prediction.probabilities[int(name.split()[1]), 6, 12]) <= 1 / 255


def test_a_cat_on_a_narrow_page_in_both_themes(stage):
    model = build("fcn", weights="bundled")
    prediction = predict(model, chelsea(), probabilities=True)
    widget = PixelProbe(prediction, model, truth=prediction.mask, pixel=[159, 95], show_heat=True)
    page = stage.show(widget)
    page.set_viewport_size({"width": 860, "height": 560})
    page.wait_for_function("() => model.get('heat').values")
    settle(page)
    page.screenshot(path=SCREENSHOTS / "pixel_probe.png")
    light = page.screenshot()
    page.emulate_media(color_scheme="dark")
    assert page.screenshot() != light
    page.set_viewport_size({"width": 500, "height": 900})
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 500
    assert page.locator(PICTURE).bounding_box()["width"] > 300
