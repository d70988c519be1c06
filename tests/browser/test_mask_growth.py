"""The masks below TrainingMonitor's curves in a real browser: the slider, its links, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seglab.labels import DRONE, PETS, LabelSet
from seglab.training import History
from seglab.viz.palettes import as_drawn
from seglab.widgets import mask_growth
from seglab.widgets.training_monitor import TrainingMonitor
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import settle
from tests.browser.test_training_monitor import grow, panel

OF, SIZE = 8, (60, 96)
CAT = np.array(as_drawn(PETS).colours[1])
#: The colour of the n-th canvas at a share of its width, in the middle of its height.
PIXEL = """([n, x]) => { const c = document.querySelectorAll(".growth canvas")[n];
  return [...c.getContext("2d").getImageData(x * c.width, c.height >> 1, 1, 1).data.slice(0, 3)]; }"""


class Trained:
    """A training in which the mask of each epoch is one eighth wider; in truth the left half is a cat."""

    def __init__(self, monkeypatch, pictures: int = 1, label_set: LabelSet = PETS, truth: bool = True) -> None:
        self.model, self.history, self.monitor = nn.Conv2d(3, 3, 1), History(), TrainingMonitor(epochs=OF)
        image, mask = np.full((*SIZE, 3), 100, np.uint8), np.zeros(SIZE, np.uint8)
        mask[:, :48] = 1
        mask[:5] = 255
        self.monitor.watch(self.model, [(image, mask) if truth else image] * pictures, label_set)
        monkeypatch.setattr(mask_growth, "predict", self.predict)

    def predict(self, model, images, **_):
        mask = np.zeros(SIZE, np.uint8)
        mask[:, :12 * len(self.history)] = 1
        return [type("Found", (), {"mask": mask})] * len(images)

    def go_on(self, epochs: int) -> TrainingMonitor:
        for _ in range(epochs):
            grow(self.history, of=OF)
            with torch.no_grad():
                self.model.weight.add_(1)
            self.monitor(self.history)
        self.monitor._tell()
        return self.monitor


@pytest.fixture
def trained(monkeypatch) -> Trained:
    return Trained(monkeypatch)


def track(page):
    return page.get_by_role("slider", name="epoch of the masks")


def shown(page) -> int:
    """How many eighths of the picture the mask covers, as pixels say."""
    settle(page)
    blend = 0.4 * 100 + 0.6 * CAT
    found = [np.abs(np.array(page.evaluate(PIXEL, [0, (i + 0.5) / 8])) - blend).max() <= 2 for i in range(8)]
    assert found == sorted(found, reverse=True)
    return sum(found)


def test_the_slider_moves_masks_curves_and_table(stage, trained):
    page = stage.show(trained.go_on(6))
    assert shown(page) == 6 and page.get_by_text("epoch 6 of 6, the best", exact=True).is_visible()
    track(page).focus()
    for key, epoch in (("ArrowLeft", 5), ("ArrowLeft", 4), ("Home", 1), ("ArrowRight", 2), ("ArrowUp", 3)):
        track(page).press(key)
        assert shown(page) == epoch
        assert track(page).get_attribute("aria-valuetext") == f"epoch {epoch} of 6"
        assert page.locator("tr.monitor-look").inner_text().split()[0] == str(epoch)
        assert panel(page, "loss").get_attribute("aria-valuenow") == str(epoch)
        assert page.locator(".curve-look").count() == 4
        assert page.get_by_text(f"Values of epoch {epoch}; the best is epoch 6").is_visible()
    assert page.locator("figcaption").all_text_contents() == ["epoch 3 · IoU 0.775", "truth", "errors"]
    label = page.locator(".growth canvas").first.get_attribute("aria-label")
    assert label == "picture 1: prediction, epoch 3 · IoU 0.775"
    track(page).press("Escape")
    assert shown(page) == 6 and page.locator(".curve-look").count() == 0
    box = track(page).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 - 2, box["y"] + box["height"] / 2)
    assert shown(page) in {3, 4}


def test_pointing_shows_that_epochs_mask_and_then_the_chosen_one_again(stage, trained):
    page = stage.show(trained.go_on(6))
    track(page).fill("1")
    assert shown(page) == 2
    page.get_by_role("row").nth(5).hover()
    assert shown(page) == 5 and track(page).input_value() == "4"
    page.mouse.move(5, 5)
    assert shown(page) == 2 and page.get_by_text("Values of epoch 2").is_visible(), "the slider holds its epoch"
    panel(page, "loss").focus()
    panel(page, "loss").press("ArrowRight")
    assert shown(page) == 3
    page.keyboard.press("Escape")
    assert shown(page) == 2


def test_it_follows_the_training_unless_an_epoch_is_held(stage, trained):
    page = stage.show(trained.go_on(1))
    assert shown(page) == 1 and track(page).is_disabled()
    for epoch in (2, 3):
        trained.go_on(1)
        stage.push()
        assert shown(page) == epoch
    track(page).fill("0")
    trained.go_on(2)
    stage.push()
    assert shown(page) == 1 and page.get_by_text("epoch 1 of 5", exact=True).is_visible()
    track(page).press("End")
    trained.go_on(1)
    stage.push()
    assert shown(page) == 6
    trained.history = History()
    trained.go_on(2)  # another training
    stage.push()
    assert shown(page) == 2 and track(page).get_attribute("max") == "1"


def test_truth_and_errors_stand_beside_it(stage, trained):
    page = stage.show(trained.go_on(2))
    settle(page)
    right, wrong = (0, 114, 178), (230, 159, 0)
    for n, x, colour in ((1, 0.4, CAT), (2, 0.1, right), (2, 0.4, wrong), (2, 0.9, right)):
        assert np.abs(np.array(page.evaluate(PIXEL, [n, x])) - (40 + 0.6 * np.array(colour))).max() <= 2
    assert page.evaluate(PIXEL, [1, 0.9]) == [100] * 3, "the background shows the picture"
    assert page.locator(".growth .seglab-key").all_text_contents() == [" cat", " right", " wrong", " not scored"]
    page.get_by_label("opacity").fill("0")
    settle(page)
    assert [page.evaluate(PIXEL, [n, 0.1]) for n in range(3)] == [[100] * 3] * 3
    assert trained.monitor.opacity == 0


def test_play_goes_from_the_first_epoch_to_the_last(stage, trained):
    page = stage.show(trained.go_on(6))
    page.evaluate("""() => { window.said = []; const words = document.querySelector(".growth-words");
      new MutationObserver(() => said.push(words.textContent)).observe(words, { childList: true }); }""")
    page.get_by_role("button", name="play the epochs").click()
    page.get_by_role("button", name="pause").wait_for()
    page.get_by_role("button", name="play the epochs").wait_for()
    assert shown(page) == 6
    said = list(dict.fromkeys(page.evaluate("said")))
    assert said == [*(f"epoch {i} of 6" for i in range(1, 6)), "epoch 6 of 6, the best"]
    track(page).press(" ")
    page.get_by_role("button", name="pause").wait_for()
    track(page).press(" ")
    settle(page)
    assert page.get_by_role("button", name="play the epochs").is_visible() and shown(page) < 6
    page.get_by_role("button", name="play the epochs").click()
    page.evaluate("() => ends.forEach((end) => end())")  # closed while it plays: nothing is left under way
    settle(page)


def test_of_a_resumed_training_earlier_masks_are_missing_and_no_other_is_shown(stage, trained):
    for _ in range(3):
        grow(trained.history, of=OF)
    page = stage.show(trained.go_on(2))
    assert shown(page) == 5
    assert page.get_by_text("No masks of epochs 1 to 3: they were trained before this monitor watched.").is_visible()
    page.get_by_role("row").nth(2).hover()
    assert shown(page) == 0 and page.get_by_text("epoch 2: no mask kept").is_visible()
    assert page.evaluate(PIXEL, [2, 0.1]) == [100] * 3, "no errors of a mask that is not there"
    page.mouse.move(5, 5)
    track(page).press("Home")
    assert shown(page) == 4, "the slider knows only what there is"


def test_without_a_kernel_the_slider_works(stage, trained):
    page = stage.show(trained.go_on(4), times=2)
    page.evaluate("model.comm_live = false")
    track(page).first.fill("0")
    page.get_by_label("opacity").first.fill("0.6")
    assert shown(page) == 1
    assert track(page).last.input_value() == "3", "each view has its epoch"
    assert trained.monitor.opacity == 0.6


def test_pictures_without_truth_and_safe_colours(stage, monkeypatch):
    trained = Trained(monkeypatch, pictures=4, label_set=DRONE, truth=False)
    page = stage.show(trained.go_on(2))
    assert page.locator(".growth canvas").count() == 4
    assert page.locator("figcaption").first.text_content() == "epoch 2"
    tops = page.locator(".growth canvas").evaluate_all("all => all.map((one) => one.getBoundingClientRect().top)")
    assert len(set(tops)) == 1
    before = page.evaluate(PIXEL, [0, 0.1])
    page.get_by_role("button", name="safe colours").click()
    settle(page)
    assert page.evaluate(PIXEL, [0, 0.1]) != before and trained.monitor.safe_colours


@pytest.mark.parametrize(("width", "scheme"), [(900, "light"), (900, "dark"), (480, "light")])
def test_it_fits_and_every_control_has_a_name(stage, monkeypatch, width, scheme):
    trained = Trained(monkeypatch, pictures=2)
    stage.page.set_viewport_size({"width": width, "height": 1000})
    stage.page.emulate_media(color_scheme=scheme)
    page = stage.show(trained.go_on(7))
    track(page).press("ArrowLeft")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    inside = page.evaluate("""() => { const room = document.querySelector(".growth").getBoundingClientRect();
      const parts = document.querySelectorAll(".growth canvas, .growth-best, .growth-words");
      return [...parts].map((one) => one.getBoundingClientRect()).every(
        (box) => box.left >= room.left - 1 && box.right <= room.right + 1); }""")
    assert inside
    named = page.locator(".growth").evaluate("""(growth) => [...growth.querySelectorAll("button, input, canvas")].every(
      (one) => one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim())""")
    assert named
    words = page.locator(".growth-words").evaluate("one => getComputedStyle(one).color")
    assert (sum(int(v) for v in words[4:-1].split(",")) > 384) == (scheme == "dark")
    page.screenshot(path=SCREENSHOTS / f"mask_growth_{scheme}_{width}.png")
