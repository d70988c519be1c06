"""TrainingMonitor in a real browser: what a learner sees grow, and what the keyboard and the mouse show."""

from __future__ import annotations

import math

import pytest

from seglab.training import History, Monitor
from seglab.widgets.training_monitor import TrainingMonitor
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import settle

STEPS = 13  # an epoch


def grow(history: History, of: int, hole: int = 0) -> History:
    """One more epoch of a training as they often go; `hole` is an epoch without a mIoU."""
    number = len(history) + 1
    score = 0.9 * (1 - math.exp(-2.5 * number / of)) - (0.08 if number == of else 0)
    wobble = math.sin(2.1 * number)
    history.add({"epoch": number, "loss": 1.9 * math.exp(-3 * number / of) + 0.05 + 0.02 * wobble,
                 "lr": 0.01 * (1 - (number - 1) / of) ** 0.9, "pixel_accuracy": score + 0.06,
                 "mean_class_accuracy": score - 0.04, "miou": math.nan if number == hole else score,
                 "frequency_weighted_iou": score - 0.02, "mean_dice": score + 0.03},
                {"seconds": 4.1 + 0.3 * wobble, "images_per_second": 112 - 6 * wobble})
    return history


def run(monitor: TrainingMonitor, history: History, epochs: int, of: int, hole: int = 0) -> History:
    for _ in range(epochs):
        monitor.step((len(history) + 1) * STEPS, of * STEPS)
        monitor(grow(history, of, hole))
    return history


@pytest.fixture
def six_of_eight() -> tuple[TrainingMonitor, History]:
    monitor = TrainingMonitor(epochs=8)
    history = run(monitor, History(), 6, of=8, hole=3)
    monitor._tell()
    return monitor, history


def panel(page, name: str):
    return page.get_by_role("slider", name=f"{name}: epoch")


def points(page, name: str) -> list[float]:
    """Heights of a curve's points, in pixels from the top."""
    return [float(y) for y in panel(page, name).locator("path").first.evaluate(
        "path => path.getAttribute('d').match(/[\\d.]+ [\\d.]+/g).map((p) => p.split(' ')[1])")]


def test_it_grows_with_the_training(stage):
    monitor, history = TrainingMonitor(epochs=8), History()
    page = stage.show(monitor)
    assert page.get_by_text("waiting for the first step").is_visible()
    assert page.get_by_role("table").count() == 0
    before = page.screenshot()
    monitor.step(1, 8 * STEPS)
    stage.push()
    assert page.get_by_text("epoch 1 of 8 · step 1 of 104").is_visible()
    run(monitor, history, 1, of=8)
    monitor._tell()
    stage.push()
    settle(page)
    assert panel(page, "loss").locator("circle").count() == 2  # one epoch is a point, and the best
    assert page.get_by_role("row").count() == 2 and page.screenshot() != before
    run(monitor, history, 7, of=8)
    stage.push()
    settle(page)
    heights = points(page, "loss")
    assert len(heights) == 8 and heights == sorted(heights), "the loss falls"
    assert page.get_by_text("8 epochs done").is_visible()
    bar = page.get_by_role("progressbar", name="training")
    assert bar.get_attribute("aria-valuenow") == "100"
    best = page.get_by_role("row").filter(has_text="best")
    assert best.count() == 1 and best.inner_text().split()[:2] == ["best", str(history.best_epoch)] == ["best", "7"]
    settle(page)
    width = page.locator(".monitor-fill").evaluate("fill => fill.offsetWidth / fill.parentElement.offsetWidth")
    assert width == 1


def test_arrow_keys_move_through_the_epochs_in_all_curves(stage, six_of_eight):
    monitor, history = six_of_eight
    page = stage.show(monitor)
    loss = panel(page, "loss")
    loss.focus()
    assert loss.get_attribute("aria-valuenow") == "6"
    assert loss.get_attribute("aria-valuetext") == f"epoch 6 of 6, the best: loss {history['loss'][5]:.4g}"
    loss.press("ArrowLeft")
    loss.press("ArrowLeft")
    settle(page)
    assert panel(page, "scores").get_attribute("aria-valuenow") == "4"
    assert panel(page, "scores").get_attribute("aria-valuetext") == f"epoch 4 of 6: mIoU {history['miou'][3]:.4g}"
    assert page.locator("tr.monitor-look").inner_text().split()[0] == "4"
    assert page.locator(".curve-look").count() == 4
    for key, epoch in (("Home", "1"), ("ArrowLeft", "1"), ("End", "6"), ("ArrowRight", "6")):
        loss.press(key)
        settle(page)
        assert loss.get_attribute("aria-valuenow") == epoch
    loss.press("Escape")
    settle(page)
    assert page.locator(".curve-look").count() == 0


def test_keys_that_come_faster_than_frames_all_count(stage, six_of_eight):
    page = stage.show(six_of_eight[0])
    loss = panel(page, "loss")
    loss.focus()
    loss.evaluate("""(panel) => { for (const key of ["ArrowLeft", "ArrowLeft", "ArrowLeft"])
        panel.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })); }""")
    settle(page)
    assert loss.get_attribute("aria-valuenow") == "3"


def test_pointing_at_a_curve_or_a_row_shows_that_epoch(stage, six_of_eight):
    page = stage.show(six_of_eight[0])
    box = panel(page, "learning rate").bounding_box()
    page.mouse.move(box["x"] + 56, box["y"] + 70)
    settle(page)
    assert page.get_by_text("Values of epoch 1; the best is epoch 6, by mIoU.").is_visible()
    assert page.locator(".curve-value", has_text="0.01").first.is_visible()
    page.get_by_role("row").nth(3).hover()
    settle(page)
    assert page.get_by_text("Values of epoch 3").is_visible()
    assert page.locator(".curve-value", has_text="mIoU").inner_text() == "mIoU NaN"
    assert panel(page, "scores").locator("path").first.get_attribute("d").count("M") == 2, "a gap, not a line across"
    page.mouse.move(5, 5)
    settle(page)
    assert page.get_by_text("Values of epoch 6, the best, by mIoU.").is_visible()


def test_columns_and_the_axis_of_the_loss_are_chosen(stage, six_of_eight):
    monitor, _ = six_of_eight
    page = stage.show(monitor, times=2)
    linear = points(page, "loss")[:6]
    page.get_by_role("button", name="pixel accuracy").first.click()
    page.get_by_role("button", name="log loss").first.click()
    settle(page)
    assert monitor.columns == ["pixel_accuracy", "miou"] and monitor.log_loss
    assert [panel(page, "scores").nth(view).locator("path").count() for view in (0, 1)] == [2, 2]
    assert points(page, "loss")[3] < linear[3] - 5, "small losses are spread"
    page.get_by_role("button", name="pixel accuracy").last.click()
    page.get_by_role("button", name="mIoU").last.click()
    settle(page)
    assert monitor.columns == [] and monitor.picture().shape[1] == 420
    assert panel(page, "scores").first.get_by_text("no curve chosen").count() == 1
    monitor.columns = ["mean_dice"]
    stage.push()
    settle(page)
    assert page.get_by_role("button", name="mean dice").first.get_attribute("aria-pressed") == "true"
    assert panel(page, "scores").first.locator("path").count() == 1


def test_another_training_begins_with_empty_curves(stage, six_of_eight):
    monitor, _ = six_of_eight
    page = stage.show(monitor)
    monitor.step(1, 4 * STEPS)
    stage.push()
    settle(page)
    assert page.get_by_role("table").count() == 0 and page.get_by_text("step 1 of 52").is_visible()
    only_loss = History(Monitor("loss"))
    only_loss.add({"epoch": 1, "loss": 0.5, "lr": 0.1}, {})
    monitor.step(STEPS, 4 * STEPS)
    monitor(only_loss)
    monitor._tell()
    stage.push()
    settle(page)
    assert page.get_by_role("row").count() == 2 and page.get_by_role("columnheader").count() == 5
    assert panel(page, "scores").count() == 0 and panel(page, "loss").count() == 1
    assert page.get_by_text("epoch 2 of 4").is_visible()


def test_it_says_that_it_was_stopped_and_survives_its_kernel(stage, six_of_eight):
    monitor, history = six_of_eight
    page = stage.show(monitor)
    page.evaluate("model.comm_live = false")
    page.get_by_text("the kernel is gone").wait_for()  # it looks once a second
    page.get_by_role("button", name="log loss").click()
    panel(page, "loss").press("ArrowLeft")
    settle(page)
    assert panel(page, "loss").get_attribute("aria-valuenow") == "5"
    monitor.finish(history)
    stage.push()
    assert page.get_by_text("stopped after 6 of 8 epochs · step 78 of 104").is_visible()
    page.evaluate("() => ends.forEach((end) => end())")


@pytest.mark.parametrize(("width", "epochs"), [(500, 3), (1000, 300)])
def test_it_fits_its_column(stage, width, epochs):
    monitor = TrainingMonitor(epochs=epochs)
    stage.page.set_viewport_size({"width": width, "height": 900})
    run(monitor, History(), epochs, of=epochs)
    page = stage.show(monitor)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    inside = page.evaluate("""() => [...document.querySelectorAll("svg.curve")].every((svg) => {
      const box = svg.getBoundingClientRect();
      return [...svg.querySelectorAll("text")].every((text) => { const t = text.getBoundingClientRect();
        return t.left >= box.left - 2 && t.right <= box.right + 8; }); })""")
    assert inside, "no tick is cut off"
    assert page.locator("tbody tr").count() == epochs
    scroll = page.get_by_role("region", name="table of the epochs")
    assert scroll.evaluate("s => s.scrollTop + s.clientHeight >= s.scrollHeight - 4"), "the last epoch is in view"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshots(stage, six_of_eight, scheme):
    monitor, _ = six_of_eight
    monitor.columns = ["miou", "pixel_accuracy"]
    monitor._start -= 41
    monitor._tell()
    stage.page.set_viewport_size({"width": 900, "height": 720})
    stage.page.emulate_media(color_scheme=scheme)
    page = stage.show(monitor)
    panel(page, "loss").focus()
    panel(page, "loss").press("ArrowLeft")
    settle(page)
    paper, ink, tick = (page.evaluate(f"getComputedStyle(document.querySelector('{where}')).{what}")
                        for where, what in ((".seglab", "backgroundColor"), (".monitor-words", "color"),
                                            (".curve-tick", "fill")))
    dark = [sum(int(v) for v in colour[4:-1].split(",")) < 384 for colour in (paper, ink, tick)]
    assert dark == ([True, False, False] if scheme == "dark" else [False, True, True])
    name = "training_monitor" + ("_dark" if scheme == "dark" else "")
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
