"""MaskViewer in a real browser: what a learner does, and the pixels that change."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import chelsea

from seglab.labels import DRONE, PETS
from seglab.viz import overlay
from seglab.viz.palettes import as_drawn
from seglab.widgets.mask_viewer import MaskViewer
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import settle

CAT = list(as_drawn(PETS).colours[1])
PIXEL = """([x, y]) => { const c = document.querySelector("canvas");
  return Array.from(c.getContext("2d").getImageData(x * c.width, y * c.height, 1, 1).data.slice(0, 3)); }"""


def halves(height=90, width=120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey picture; the truth is a cat on the left, the prediction a cat above; a band is ignored."""
    image = np.full((height, width, 3), 100, np.uint8)
    truth, guess = np.zeros((2, height, width), np.uint8)
    truth[:, : width // 2], guess[: height // 2] = 1, 1
    truth[:, width // 2 - 3: width // 2 + 3] = 255
    return image, truth, guess


@pytest.fixture
def viewer() -> MaskViewer:
    image, truth, guess = halves()
    return MaskViewer(image, {"truth": truth, "prediction": guess}, PETS, opacity=1.0,
                      confidence={"prediction": np.full(guess.shape, 0.87)})


def at(page, x: float, y: float) -> list[int]:
    settle(page)
    return page.evaluate(PIXEL, [x, y])


def test_the_slider_moves_pixels_and_python_hears_of_it(stage, viewer):
    page = stage.show(viewer)
    assert at(page, 0.2, 0.2) == CAT
    page.get_by_label("opacity").fill("0.5")
    assert at(page, 0.2, 0.2) == pytest.approx([(a + 100) / 2 for a in CAT], abs=1)
    settle(page)
    assert viewer.opacity == 0.5
    viewer.opacity = 0.0
    stage.push()
    assert at(page, 0.2, 0.2) == [100, 100, 100]
    assert page.get_by_label("opacity").input_value() == "0"


def test_a_class_is_switched_off_and_on(stage, viewer):
    page = stage.show(viewer)
    box = page.get_by_role("checkbox", name="cat")
    box.uncheck()
    assert at(page, 0.2, 0.2) == [100, 100, 100]
    settle(page)
    assert viewer.hidden == [0, 1]
    page.get_by_role("checkbox", name="cat").check()
    assert at(page, 0.2, 0.2) == CAT


def test_the_background_shows_the_picture_until_it_is_switched_on(stage, viewer):
    page = stage.show(viewer)
    assert at(page, 0.2, 0.8) == [100, 100, 100]
    box = page.get_by_role("checkbox", name="background")
    assert not box.is_checked()
    box.check()
    assert at(page, 0.2, 0.8) == [0, 0, 0]
    settle(page)
    assert viewer.hidden == []
    page.get_by_role("button", name="errors").click()
    assert at(page, 0.8, 0.8) == [0, 114, 178] and box.is_checked() and box.is_disabled()
    viewer.hidden = [0, 1]
    stage.push()
    assert at(page, 0.8, 0.8) == [0, 114, 178] and box.is_checked(), "errors on the background always show"
    assert at(page, 0.2, 0.2) == [100, 100, 100], "of a class that is off, they do not"


def test_the_browser_shows_what_the_png_shows(stage):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (6, 8))
    for hidden in (None, [], [1]):
        page = stage.show(MaskViewer(image, {"mask": mask}, PETS, **({} if hidden is None else {"hidden": hidden})))
        seen = [[at(page, (x + 0.5) / 8, (y + 0.5) / 6) for x in range(8)] for y in range(6)]
        assert np.abs(np.array(seen) - overlay(image, mask, PETS, 0.5, hidden)).max() <= 2
        stage.clear()


def test_the_swipe_shows_two_masks(stage, viewer):
    page = stage.show(viewer)
    page.get_by_label("swipe to").select_option("truth")
    grey = [100, 100, 100]
    assert at(page, 0.2, 0.8) == grey == at(page, 0.8, 0.2), "no cat: prediction left, truth right"
    handle = page.get_by_role("slider", name="swipe between the masks")
    box, canvas = handle.bounding_box(), page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(canvas["x"] + canvas["width"] * 0.1, box["y"] + 20, steps=4)
    page.mouse.up()
    assert at(page, 0.2, 0.8) == CAT, "the truth now begins at a tenth"
    settle(page)
    assert viewer.swipe == pytest.approx(0.1, abs=0.02)
    handle.press("ArrowRight")
    settle(page)
    assert viewer.swipe == pytest.approx(0.12, abs=0.02)


def test_errors_are_right_wrong_and_not_scored(stage, viewer):
    page = stage.show(viewer)
    page.get_by_role("button", name="errors").click()
    assert at(page, 0.2, 0.2) == [0, 114, 178] and at(page, 0.2, 0.8) == [230, 159, 0]
    assert at(page, 0.5, 0.5) == [235, 235, 235]
    assert "right 50.0 %" in page.locator(".seglab-legend").inner_text()
    assert "not scored 5.0 % of the picture" in page.locator(".seglab-legend").inner_text()


def test_the_pointer_and_the_keyboard_read_the_same(stage, viewer):
    page = stage.show(viewer)
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.254, box["y"] + box["height"] * 0.255)
    note = page.locator(".seglab-note")
    assert note.inner_text() == ("x 30, y 22 · truth: cat, 47.5 % of the picture · "
                                 "prediction: cat (87 % sure), 50.0 % of the picture")
    page.mouse.move(5, 5)
    canvas.focus()
    for key in ("Shift+ArrowUp", "ArrowUp", "ArrowLeft"):
        canvas.press(key)
    assert note.inner_text().startswith("x 57, y 41")
    page.keyboard.press("Tab")
    assert note.inner_text() == ""


def test_zoom_stays_sharp_and_pans(stage):
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 255
    page = stage.show(MaskViewer(image))
    canvas = page.locator("canvas")
    canvas.press("0")
    for _ in range(6):
        canvas.press("+")
    row = [at(page, x, 0.5)[0] for x in np.linspace(0.4, 0.6, 21)]
    assert set(row) == {0, 255}, "no grey between two enlarged pixels"
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 60, steps=3)
    page.mouse.up()
    assert at(page, 0.9, 0.5)[0] == 0, "the dark half was pulled to the right"
    canvas.press("0")
    assert at(page, 0.9, 0.5)[0] == 255 and at(page, 0.1, 0.5)[0] == 0
    zoomed = page.locator(".seglab-zoom")
    assert zoomed.inner_text() == "400 %", "a small picture is enlarged four times"
    page.mouse.wheel(0, -200)
    assert zoomed.inner_text() == "400 %", "the wheel belongs to the page"
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    settle(page)
    assert float(zoomed.inner_text().split()[0]) > 500


@pytest.mark.parametrize("by", ["mouse", "touch"])
def test_a_double_click_looks_closer_at_that_place_and_another_shows_all(stage, by):
    image = np.zeros((40, 60, 3), np.uint8)
    image[:10, :15] = 255
    page = stage.show(MaskViewer(image))
    box, zoomed = page.locator("canvas").bounding_box(), page.locator(".seglab-zoom")
    fingers = page.context.new_cdp_session(page)

    def twice(share):
        x, y, before = box["x"] + box["width"] * share, box["y"] + box["height"] * share, zoomed.inner_text()
        if by == "mouse":
            page.mouse.dblclick(x, y)  # each press captures the pointer, so that one can pan
            return settle(page)
        for kind in ("touchStart", "touchEnd") * 2:
            fingers.send("Input.dispatchTouchEvent", {
                "type": kind, "touchPoints": [{"x": x, "y": y}] if kind == "touchStart" else []})
        page.wait_for_function("(last) => document.querySelector('.seglab-zoom').textContent !== last", arg=before)
        return settle(page)

    assert zoomed.inner_text() == "400 %" and at(page, 0.5, 0.125)[0] == 0
    twice(1 / 8)
    assert zoomed.inner_text() == "1200 %"
    assert at(page, 0.125, 0.125)[0] == at(page, 0.35, 0.35)[0] == 255, "the white corner stays under the pointer"
    assert at(page, 0.65, 0.65)[0] == 0
    twice(3 / 4)  # elsewhere: browsers count a third tap at the same place as one of three
    assert zoomed.inner_text() == "400 %" and at(page, 0.35, 0.35)[0] == 0
    fingers.detach()


def test_a_double_click_on_the_line_of_the_swipe_does_not_zoom(stage, viewer):
    viewer.compare = "truth"
    page = stage.show(viewer)
    box = page.get_by_role("slider", name="swipe between the masks").bounding_box()
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 20)
    settle(page)
    assert page.locator(".seglab-zoom").inner_text() == "400 %" and viewer.swipe == pytest.approx(0.5, abs=0.02)


def test_what_was_chosen_stays_when_another_picture_is_shown(stage, viewer):
    page = stage.show(viewer, times=2)
    page.get_by_label("opacity").first.fill("0.2")
    page.get_by_role("checkbox", name="background").first.check()
    page.get_by_role("checkbox", name="cat").first.uncheck()
    page.get_by_label("swipe to").first.select_option("truth")
    page.get_by_role("button", name="errors").first.click()
    settle(page)
    image, truth, guess = halves(60, 200)
    viewer.show(image + 50, {"truth": np.where(truth == 1, 2, truth), "prediction": guess})
    stage.push()
    settle(page)
    assert page.locator("canvas").count() == 2, "the picture before is gone"
    for view in (0, 1):
        assert "200 by 60" in page.locator("canvas").nth(view).get_attribute("aria-label")
        assert page.get_by_label("opacity").nth(view).input_value() == "0.2"
        assert page.get_by_label("swipe to").nth(view).input_value() == "truth"
        assert page.get_by_role("button", name="errors").nth(view).get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="errors").last.click()
    assert at(page, 0.8, 0.8) == pytest.approx([120] * 3, abs=1), "a fifth of the background's black is painted"
    boxes = [page.get_by_role("checkbox", name=name).count() for name in ("background", "cat", "dog")]
    assert boxes == [2, 2, 2], "there is a cat in the prediction, and a dog in the truth"
    viewer.show(image, {"truth": truth, "prediction": guess})
    stage.push()
    assert at(page, 0.2, 0.2) == [100] * 3, "cats are still off"
    assert viewer.hidden == [1] and viewer.opacity == 0.2 and not viewer.errors
    page.evaluate("() => ends.forEach((end) => end())")
    assert page.locator("canvas").count() == 0


def test_no_class_means_none_in_the_next_picture_too(stage):
    image, _, mask = halves()
    mask[:, :40] = 2
    viewer = MaskViewer(image, {"prediction": mask}, DRONE, opacity=1.0)
    page = stage.show(viewer)
    page.get_by_role("button", name="hide all classes").click()
    settle(page)
    viewer.show(image, {"prediction": mask + 5})  # classes that the first picture did not have
    stage.push()
    assert at(page, 0.1, 0.8) == at(page, 0.8, 0.2) == at(page, 0.8, 0.8) == [100] * 3
    page.get_by_role("button", name="show all classes").click()
    assert at(page, 0.8, 0.2) != [100] * 3


def test_safe_colours_and_themes(stage):
    photo = chelsea()
    truth = np.zeros(photo.shape[:2], np.uint8)
    truth[60:260, 90:380], truth[:40] = 1, 2
    guess = np.roll(truth, 25, axis=1)
    page = stage.show(MaskViewer(photo, {"truth": truth, "prediction": guess}, PETS, compare="truth"))
    page.screenshot(path=SCREENSHOTS / "mask_viewer_pets.png")
    assert page.get_by_role("button", name="safe colours").count() == 0, "they are safe already"
    stage.clear()
    page = stage.show(MaskViewer(photo, {"truth": truth * 8, "prediction": guess * 8}, DRONE, compare="truth"))
    page.screenshot(path=SCREENSHOTS / "mask_viewer.png")
    before = at(page, 0.3, 0.5)
    page.get_by_role("button", name="safe colours").click()
    assert at(page, 0.3, 0.5) != before
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=SCREENSHOTS / "mask_viewer_dark.png")
    page.set_viewport_size({"width": 480, "height": 800})
    settle(page)
    page.screenshot(path=SCREENSHOTS / "mask_viewer_narrow.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"


def test_two_views_share_their_state(stage, viewer):
    page = stage.show(viewer, times=2)
    page.get_by_label("opacity").first.fill("0")
    settle(page)
    second = page.evaluate(PIXEL.replace('document.querySelector("canvas")', 'document.querySelectorAll("canvas")[1]'),
                           [0.2, 0.2])
    assert second == [100, 100, 100]
    page.evaluate("ends[0]()")  # the first view is closed
    page.get_by_label("opacity").fill("1")
    assert at(page, 0.2, 0.2) == CAT


def test_a_dead_kernel_leaves_the_picture_at_work(stage, viewer):
    page = stage.show(viewer)
    page.evaluate("model.comm_live = false")
    page.get_by_label("opacity").fill("0")
    assert at(page, 0.2, 0.2) == [100, 100, 100]
    settle(page)
    assert viewer.opacity == 1.0, "nobody is there to hear it"


def test_two_fingers_zoom_and_pan(stage, viewer):
    page = stage.show(viewer)
    box, session = page.locator("canvas").bounding_box(), page.context.new_cdp_session(page)

    def touch(kind: str, *places: float) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [
            {"x": box["x"] + x * box["width"], "y": box["y"] + box["height"] / 4, "id": i}
            for i, x in enumerate(places)]})

    touch("touchStart", 0.4)
    touch("touchStart", 0.4, 0.6)
    touch("touchMove", 0.3, 0.7)
    touch("touchMove", 0.2, 0.8)
    assert at(page, 0.2, 0.25) == CAT and page.locator(".seglab-zoom").inner_text() == "1200 %"
    touch("touchMove", 0.4, 0.99)
    touch("touchEnd")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    assert page.locator(".seglab-note").inner_text().startswith("x 52, y 22")
    session.detach()
