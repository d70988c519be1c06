"""VideoScrubber in a real browser: what a learner does, and the pixels that change."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from seglab.labels import DRONE, PETS
from seglab.samples import sample_frames
from seglab.viz.palettes import as_drawn
from seglab.widgets.video_scrubber import VideoScrubber
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import settle

# A copy is read: a canvas that is read itself may leave the fast path of the browser.
PIXEL = """([x, y, view]) => { const c = document.querySelectorAll("canvas")[view], copy = new OffscreenCanvas(1, 1);
  const to = copy.getContext("2d");
  to.drawImage(c, Math.floor(x * c.width), Math.floor(y * c.height), 1, 1, 0, 0, 1, 1);
  return Array.from(to.getImageData(0, 0, 1, 1).data.slice(0, 3)); }"""
#: Runs at every change of the frame, in the order in which the page hears of it.
LOG = """() => { window.log = [];
  model.on("change:frame", () => log.push([performance.now(), model.get("frame")])); }"""
CAT = list(as_drawn(PETS).colours[1])


def film(count=12, height=60, width=96, **settings) -> VideoScrubber:
    """Frame i is of the grey 20 * i; above there is a cat in even frames. In truth it is there in all frames."""
    frames = [np.full((height, width, 3), 20 * i, np.uint8) for i in range(count)]
    masks, truth = np.zeros((2, count, height, width), np.uint8)
    masks[::2, : height // 2], truth[:, : height // 2] = 1, 1
    truth[:, :, -10:] = 255
    return VideoScrubber(frames, masks, PETS, truth=truth, **{"opacity": 1.0, **settings})


def at(page, x: float, y: float, view: int = 0) -> list[int]:
    settle(page)
    return page.evaluate(PIXEL, [x, y, view])


def grey(page, view: int = 0) -> int:
    """The number of the frame whose picture is on show: the background shows it."""
    return round(np.mean(at(page, 0.5, 0.9, view)) / 20)


def test_scrubbing_changes_pixels_and_python_hears_of_it(stage):
    widget = film()
    page = stage.show(widget)
    track = page.get_by_role("slider", name="frame")
    assert at(page, 0.3, 0.2) == CAT
    track.fill("3")
    assert at(page, 0.3, 0.2) == pytest.approx([60] * 3, abs=3)
    assert track.get_attribute("aria-valuetext") == "frame 4 of 12, 0.3 s"
    page.get_by_label("opacity").fill("0")
    assert at(page, 0.3, 0.2) == pytest.approx([60] * 3, abs=3)
    settle(page)
    assert widget.frame == 3 and widget.opacity == 0
    widget.frame = 9
    stage.push()
    assert at(page, 0.3, 0.2) == pytest.approx([180] * 3, abs=3)
    assert track.input_value() == "9"


def test_play_keeps_time_and_pause_stops(stage):
    widget = film(fps=20)
    page = stage.show(widget)
    page.evaluate(LOG)
    page.get_by_role("button", name="play").click()
    page.wait_for_function("log.length >= 26")
    page.get_by_role("button", name="pause").click()
    log = page.evaluate("log")
    frames = [frame for _, frame in log]
    steps = [(b - a) % 12 for a, b in pairwise(frames)]
    assert frames[0] > 0 and min(steps) >= 1 and max(frames) == 11 and 0 in frames, "it goes round"
    assert sum(steps) / (log[-1][0] - log[0][0]) * 1000 < 24, "a busy machine may be slower, never faster"
    stopped = grey(page)
    assert stopped == page.evaluate("model.get('frame')")
    settle(page)
    assert grey(page) == stopped == widget.frame and not widget.playing


def test_without_loop_it_ends_and_begins_again(stage):
    widget = film(6, fps=30)
    page = stage.show(widget)
    page.get_by_role("button", name="loop").click()
    page.get_by_role("combobox", name="speed").select_option("2")
    page.get_by_role("button", name="play").click()
    page.get_by_role("button", name="play").wait_for()  # it says so again at the end
    assert grey(page) == 5
    settle(page)
    assert (widget.loop, widget.speed, widget.playing, widget.frame) == (False, 2.0, False, 5)
    page.evaluate(LOG)
    page.get_by_role("button", name="play").click()
    page.wait_for_function("log.length > 1")
    assert page.evaluate("log[0][1]") == 0


def test_the_chart_jumps_and_tells(stage):
    page = stage.show(film())
    box = page.locator(".seglab-film-plot").bounding_box()
    where = lambda frame: (box["x"] + frame / 11 * box["width"], box["y"] + 30)  # noqa: E731
    page.mouse.click(*where(7))
    assert grey(page) == 7
    page.mouse.move(*where(7))
    page.mouse.down()
    page.mouse.move(*where(10), steps=5)
    page.mouse.up()
    assert grey(page) == 10
    page.mouse.move(*where(4))
    assert page.locator(".seglab-film-tip").inner_text() == "frame 5 of 12, 0.4 s · cat 50.0 %"
    page.get_by_role("combobox", name="show").select_option("truth")
    page.mouse.move(*where(3))
    assert "cat 44.8 %" in page.locator(".seglab-film-tip").inner_text()


def test_the_chart_has_shares_and_iou(stage):
    page = stage.show(film())
    plot = page.locator(".seglab-film-plot")
    page.mouse.move(5, 5)
    shares = plot.screenshot()
    page.get_by_role("combobox", name="chart").select_option("iou")
    assert plot.screenshot() != shares
    label = page.get_by_role("group", name="classes").get_by_text("cat").locator("xpath=..")
    assert label.inner_text().split() == ["cat", "100.0", "%"]
    page.get_by_role("slider", name="frame").fill("1")
    settle(page)
    assert label.inner_text().split() == ["cat", "0.0", "%"]


def test_holding_the_film_stops_it_until_it_is_let_go(stage):
    page = stage.show(film(fps=30))
    page.get_by_role("button", name="play").click()
    box = page.locator(".seglab-film-plot").bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + 30)
    page.mouse.down()
    settle(page)
    assert page.evaluate("[model.get('frame'), model.get('playing')]") == [0, False]
    page.mouse.up()
    page.wait_for_function("model.get('frame') > 0 && model.get('playing')")


def test_keys(stage):
    page = stage.show(film())
    track = page.get_by_role("slider", name="frame")
    track.focus()
    for keys, frame in ((["End"], 11), (["ArrowLeft"] * 3, 8), (["Home"], 0), (["ArrowRight"] * 2, 2)):
        for key in keys:
            page.keyboard.press(key)
        assert grey(page) == frame
    page.get_by_role("button", name="loop").focus()
    page.keyboard.press("ArrowRight")
    assert grey(page) == 3, "also from a button"
    page.get_by_role("combobox", name="speed").focus()
    page.keyboard.press("End")
    assert grey(page) == 3, "a menu keeps its keys"
    track.focus()
    page.keyboard.press(" ")
    page.wait_for_function("model.get('frame') > 3")
    page.keyboard.press(" ")
    assert page.evaluate("model.get('playing')") is False


def test_a_class_is_switched_off_and_on(stage):
    widget = film()
    page = stage.show(widget)
    box = page.get_by_role("checkbox", name="cat")
    box.uncheck()
    assert at(page, 0.3, 0.2) == pytest.approx([0] * 3, abs=2)
    page.get_by_role("slider", name="frame").fill("4")
    assert at(page, 0.3, 0.2) == pytest.approx([80] * 3, abs=3) == at(page, 0.3, 0.9)
    settle(page)
    assert widget.hidden == [0, 1]
    page.get_by_role("button", name="show all").click()
    assert at(page, 0.3, 0.2) == CAT and box.is_checked() and at(page, 0.3, 0.9) == [0, 0, 0]


def test_what_was_chosen_stays_in_the_next_frames(stage):
    widget = film(opacity=0.5)
    page = stage.show(widget)
    page.get_by_label("opacity").fill("0.2")
    page.get_by_role("combobox", name="show").select_option("truth")
    page.get_by_role("checkbox", name="cat").uncheck()
    page.get_by_role("checkbox", name="background").check()
    for frame in (1, 2, 3):
        page.get_by_role("button", name="a frame forth").click()
        assert at(page, 0.3, 0.2) == pytest.approx([20 * frame] * 3, abs=3), "cats are off"
        assert at(page, 0.3, 0.9) == pytest.approx([16 * frame] * 3, abs=3), "a fifth of the background's black"
    assert (widget.frame, widget.opacity, widget.shown, widget.hidden) == (3, 0.2, "truth", [1])


def test_prediction_truth_and_errors(stage):
    page = stage.show(film(frame=1))
    show = page.get_by_role("combobox", name="show")
    assert at(page, 0.3, 0.2) == pytest.approx([20] * 3, abs=3)
    show.select_option("truth")
    assert at(page, 0.3, 0.2) == CAT and at(page, 0.95, 0.2) == pytest.approx([20] * 3, abs=3)
    show.select_option("errors")
    assert at(page, 0.3, 0.2) == [230, 159, 0] and at(page, 0.3, 0.8) == [0, 114, 178]
    assert at(page, 0.95, 0.2) == [235, 235, 235]
    background = page.get_by_role("checkbox", name="background")
    assert background.is_checked() and background.is_disabled(), "errors on the background always show"
    words = page.get_by_role("group", name="classes").inner_text()
    assert "right\n50.0 %" in words and "wrong\n50.0 %" in words
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    assert page.locator(".seglab-film-tag").inner_text().strip() == "background · truth: cat"
    page.get_by_role("slider", name="frame").fill("2")
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 21)
    assert page.locator(".seglab-film-tag").inner_text().strip() == "cat · truth: cat"


def test_two_views_share_one_clock(stage):
    page = stage.show(film(fps=20), times=2)
    page.evaluate(LOG)
    page.get_by_role("button", name="play").nth(1).click()
    page.wait_for_function("log.length >= 20")
    log = page.evaluate("log")
    steps = [(b[1] - a[1]) % 12 for a, b in pairwise(log)]
    assert sum(steps) / (log[-1][0] - log[0][0]) * 1000 < 24, "not twice as fast"
    page.get_by_role("button", name="pause").first.click()  # the other view
    settle(page)
    assert grey(page, 0) == grey(page, 1) == page.evaluate("model.get('frame')")
    page.get_by_role("button", name="play").first.click()
    page.evaluate("ends[0]()")  # the view that counts is closed
    assert page.evaluate("model.get('playing')") is False
    frame = page.evaluate("model.get('frame')")
    settle(page)
    assert page.evaluate("model.get('frame')") == frame


def test_python_plays_and_a_dead_clock_is_replaced(stage):
    widget = film(fps=30)
    page = stage.show(widget)
    widget.playing = True
    stage.push()
    page.wait_for_function("model.get('frame') > 2")
    widget.playing = False
    stage.push()
    frame = grey(page)
    settle(page)
    assert grey(page) == frame
    page.evaluate("model.set('clock', 'gone'); model.set('playing', true)")
    page.wait_for_function(f"model.get('frame') !== {frame}", timeout=5000)


def test_a_dead_kernel_leaves_the_film_at_work(stage):
    widget = film()
    page = stage.show(widget)
    page.evaluate("model.comm_live = false")
    page.get_by_role("button", name="play").click()
    page.wait_for_function("model.get('frame') > 3")
    page.get_by_role("button", name="pause").click()
    assert grey(page) == page.evaluate("model.get('frame')") > 3
    settle(page)
    assert widget.frame == 0, "nobody is there to hear it"


def test_a_long_film_keeps_few_frames(stage):
    """1600 × 1000 pixels: 10 decoded frames are kept, of 12; all are shown all the same."""
    page = stage.show(film(12, 1000, 1600))
    page.evaluate("() => { window.forgotten = 0; const close = ImageBitmap.prototype.close; "
                  "ImageBitmap.prototype.close = function () { forgotten++; close.call(this); }; }")
    for frame in (4, 8, 0, 11):
        page.get_by_role("slider", name="frame").fill(str(frame))
        page.wait_for_function(f"document.querySelector('canvas').dataset.frame === '{frame}'")
        assert grey(page) == frame
    assert page.evaluate("forgotten") >= 2


def test_safe_colours_and_themes(stage):
    frames, truth = zip(*sample_frames(24, size=(180, 320)), strict=True)
    masks = [np.roll(mask, (5, 8), (0, 1)) for mask in truth]
    for number, mask in enumerate(masks):
        mask[130:165, 20 + 5 * number:50 + 5 * number] = PETS.id("dog")
    page = stage.show(VideoScrubber(frames, masks, PETS, truth=truth, frame=11))
    assert page.evaluate("document.querySelector('canvas').paintMs") < 1000 / 10
    page.screenshot(path=SCREENSHOTS / "video_scrubber.png")
    assert page.get_by_role("button", name="safe colours").count() == 0, "they are safe already"
    stage.clear()
    page = stage.show(VideoScrubber(frames, masks, DRONE, truth=truth, frame=11))
    before = at(page, 0.5, 0.2)
    page.get_by_role("button", name="safe colours").click()
    assert at(page, 0.5, 0.2) != before
    page.get_by_role("combobox", name="show").select_option("errors")
    page.get_by_role("combobox", name="chart").select_option("iou")
    page.emulate_media(color_scheme="dark")
    settle(page)
    page.screenshot(path=SCREENSHOTS / "video_scrubber_dark.png")
    page.set_viewport_size({"width": 480, "height": 800})
    settle(page)
    page.screenshot(path=SCREENSHOTS / "video_scrubber_narrow.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
