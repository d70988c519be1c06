"""PredictionBrowser in a real browser."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Locator, Page
from skimage.data import astronaut, chelsea, coffee

from seglab.labels import PETS, VOC
from seglab.viz.palettes import as_drawn
from seglab.widgets.prediction_browser import PredictionBrowser
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import Stage, settle

SIZE = (30, 40)
COLOURS = as_drawn(PETS).colours
COUNTING = """() => { window.decodes = 0; const real = window.createImageBitmap;
    window.createImageBitmap = (...all) => { window.decodes++; return real(...all); }; }"""
#: The colour in the middle of the n-th canvas.
MIDDLE = """(n) => { const c = document.querySelectorAll("canvas")[n];
    return [...c.getContext("2d").getImageData(c.width >> 1, c.height >> 1, 1, 1).data.slice(0, 3)]; }"""


def small(count: int, **options: object) -> PredictionBrowser:
    """Cats in the middle of grey pictures; picture i has i % 10 tenths of the cat called dog, from the left."""
    truth = np.zeros(SIZE, np.uint8)
    truth[10:20, 10:30] = 1
    truth[0] = 255
    picture, predictions = np.full((3, *SIZE), 100, np.uint8), []
    for i in range(count):
        mask = np.where(truth == 255, 0, truth).astype(np.uint8)
        mask[10:20, 10:10 + 2 * (i % 10)] = 2
        predictions.append(mask)
    names = [f"cat-{i:04}" for i in range(count)]
    return PredictionBrowser([(picture, truth)] * count, predictions, PETS, names=names,
                             losses=[i / 100 for i in range(count)], progress=False, **options)


def names(page: Page) -> list[str]:
    return page.locator(".seglab-browse-item > span:nth-of-type(1)").all_text_contents()


def select(where: Page | Locator, label: str) -> Locator:
    page = where if isinstance(where, Page) else where.page
    return where.locator(".seglab-choice", has=page.locator("span", has_text=label)).locator("select")


def shown(browser: PredictionBrowser) -> list[str]:
    """What Python would show on this page."""
    found = browser.visible()[browser.page * browser.page_size:][:browser.page_size]
    return [browser.table.names[i] for i in found]


def test_of_a_thousand_pictures_only_the_page_is_decoded(stage: Stage) -> None:
    browser = small(1000)
    stage.page.evaluate(COUNTING)
    page = stage.show(browser)
    settle(page)
    assert names(page) == shown(browser) and len(names(page)) == 24
    assert page.evaluate("decodes") == 24
    page.get_by_role("button", name="next page").click()
    settle(page)
    assert browser.page == 1 and names(page) == shown(browser) and page.evaluate("decodes") == 48
    page.get_by_role("button", name="previous page").click()
    settle(page)
    assert page.evaluate("decodes") == 48  # still there
    assert page.get_by_text("page 1 of 42").is_visible()


def test_sorting_and_filters_agree_with_python_without_asking_it(stage: Stage) -> None:
    browser = small(60)
    page = stage.show(browser)
    page.get_by_role("button", name="next page").click()
    for label, value in (("sort", "loss"), ("sort", "best"), ("sort", "name"), ("class", "2"), ("mistake", "1,2")):
        select(page, label).select_option(value)
        settle(page)
        assert names(page) == shown(browser) and browser.page == 0
    assert "54 of 60 pictures" in page.locator(".seglab-browse-count").text_content()
    assert page.get_by_text("180 px · 90.0 %").first.is_visible()
    page.get_by_label("part of a name").fill("CAT-003")
    settle(page)
    assert names(page) == shown(browser) and len(names(page)) == 9
    page.get_by_label("part of a name").fill("nothing")
    assert page.get_by_text("No picture matches.").is_visible()
    page.evaluate("() => { model.comm_live = false; }")
    page.get_by_label("part of a name").fill("")
    select(page, "mistake").select_option("")
    assert len(names(page)) == 24


def test_a_linked_heat_map_filters_it(stage: Stage) -> None:
    browser = small(60)
    page = stage.show(browser, times=2)
    before = page.screenshot()
    page.evaluate("() => { model.set('page', 2); model.set('confused', [1, 2]); }")  # what the link does
    settle(page)
    assert names(page) == 2 * [f"cat-{i:04}" for tenths in (9, 8, 7, 6) for i in range(tenths, 60, 10)]
    assert (browser.confused, browser.page) == ([1, 2], 0) and page.screenshot() != before
    browser.confused = ["cat", "background"]
    stage.push()
    assert page.get_by_text("No picture matches.").count() == 2


def test_thumbnails_show_prediction_truth_errors_and_picture(stage: Stage) -> None:
    browser = small(10)
    page = stage.show(browser)  # the worst first: nine tenths of it are dog
    settle(page)
    expected = {"prediction": COLOURS[2], "truth": COLOURS[1], "errors": (230, 159, 0), "picture": None}
    for name, colour in expected.items():
        page.get_by_role("group", name="on the thumbnails").get_by_text(name).click()
        settle(page)
        alpha = 0.6 if name == "errors" else 0.5
        wanted = np.array([100] * 3) if colour is None else (1 - alpha) * 100 + alpha * np.array(colour)
        assert abs(np.array(page.evaluate(MIDDLE, 0)) - wanted).max() <= 2
        assert browser.show == name
        assert abs(browser._thumb(9)[15, 20] - wanted).max() <= 2  # and the contact sheet is the same
        corner = np.array(page.evaluate(MIDDLE.replace("c.width >> 1, c.height >> 1", "2, c.height - 3"), 0))
        assert (name == "errors") == bool(abs(corner - 100).max() > 5), "the background shows the picture"


@pytest.mark.parametrize("by", ["mouse", "keys"])
def test_an_opened_picture_comes_in_full_size(stage: Stage, by: str) -> None:
    truth = np.zeros((300, 400), np.uint8)
    truth[100:200, 100:300] = 1
    picture = np.full((3, 300, 400), 100, np.uint8)
    browser = PredictionBrowser([(picture, truth)] * 3, [truth, truth * 2, truth], PETS, names=["a", "b", "c"],
                                progress=False)
    page = stage.show(browser)
    if by == "mouse":
        page.locator(".seglab-browse-item", has_text="b").first.click()
    else:
        page.locator(".seglab-browse-item").first.focus()
        page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.seglab-browse-open .seglab-note').textContent === ''")
    settle(page)
    assert browser.opened == 1
    assert "400 by 300" in page.locator(".seglab-canvas").get_attribute("aria-label")
    assert abs(np.array(page.evaluate(MIDDLE, 0)) - (50 + np.array(COLOURS[2]) / 2)).max() <= 2
    page.keyboard.press("n")
    settle(page)
    assert browser.opened == 0 and page.locator(".seglab-browse-title b").text_content() == "a"
    page.wait_for_function("document.querySelector('.seglab-browse-open .seglab-note').textContent === ''")
    assert abs(np.array(page.evaluate(MIDDLE, 0)) - (50 + np.array(COLOURS[1]) / 2)).max() <= 2
    page.keyboard.press("Escape")
    settle(page)
    assert browser.opened == -1 and page.locator(".seglab-browse-open").is_hidden()
    assert page.evaluate("document.activeElement.dataset.index") == "0"


@pytest.mark.parametrize("kernel", ["alive", "gone"])
def test_what_was_chosen_stays_from_picture_to_picture(stage: Stage, kernel: str) -> None:
    browser = small(4)
    page = stage.show(browser, times=2)
    if kernel == "gone":
        page.evaluate("() => { model.comm_live = false; }")
    page.locator(".seglab-browse-item", has_text="cat-0003").first.click()
    settle(page)
    panel = page.locator(".seglab-browse-open").first
    panel.get_by_label("opacity").fill("0.2")
    panel.get_by_role("checkbox", name="background").check()
    panel.get_by_role("checkbox", name="dog").uncheck()
    select(panel, "mask").select_option("truth")
    panel.get_by_role("button", name="errors").click()
    panel.get_by_role("button", name="errors").click()
    select(panel, "swipe to").select_option("prediction")
    settle(page)

    def chosen(view: int) -> list[object]:
        one = page.locator(".seglab-browse-open").nth(view)
        return [one.get_by_label("opacity").input_value(), select(one, "mask").input_value(),
                select(one, "swipe to").input_value(), one.get_by_role("checkbox", name="background").is_checked(),
                one.get_by_role("button", name="errors").get_attribute("aria-pressed")]

    expected = ["0.2", "truth", "prediction", True, "false"]
    for press, name in (("n", "cat-0002"), ("n", "cat-0001"), ("p", "cat-0002"), ("Escape", "")):
        page.keyboard.press(press)
        settle(page)
        if press == "Escape":
            page.locator(".seglab-browse-item", has_text="cat-0000").first.click()
            settle(page)
            name = "cat-0000"
        assert page.locator(".seglab-browse-title b").all_text_contents() == [name] * 2
        assert chosen(0) == chosen(1) == expected, "in both views, as they are one widget"
    if kernel == "alive":
        assert (browser.opacity, browser.hidden, browser.mask, browser.compare) == (0.2, [2], "truth", "prediction")
        browser.opacity, browser.hidden = 0.7, [0]
        stage.push()
        assert chosen(0) == chosen(1) == ["0.7", "truth", "prediction", False, "false"], "Python sets it as well"
    page.evaluate("async () => { ends[0](); await render(model); }")  # a view that was closed, and one that is opened
    settle(page)
    assert chosen(1)[:3] == ["0.7" if kernel == "alive" else "0.2", "truth", "prediction"]


def test_errors_on_the_thumbnails_are_errors_in_the_open_picture(stage: Stage) -> None:
    browser = small(3)
    browser.show, browser.opened = "errors", 0
    page = stage.show(browser)
    errors = page.locator(".seglab-browse-open").get_by_role("button", name="errors")
    assert errors.get_attribute("aria-pressed") == "true"
    errors.click()
    page.keyboard.press("n")
    settle(page)
    assert errors.get_attribute("aria-pressed") == "false" and not browser.errors, "the last word counts"
    page.get_by_role("group", name="on the thumbnails").get_by_text("truth").click()
    page.get_by_role("group", name="on the thumbnails").get_by_text("errors").click()
    assert errors.get_attribute("aria-pressed") == "true"


def test_without_a_kernel_the_thumbnail_stands_in_and_says_so(stage: Stage) -> None:
    page = stage.show(small(5))
    page.evaluate("() => { model.comm_live = false; }")
    page.locator(".seglab-browse-item").nth(1).click()
    page.wait_for_selector(".seglab-browse-open .seglab-canvas")
    settle(page)
    assert page.get_by_text("The kernel is gone: this is the thumbnail, enlarged.").is_visible()
    assert page.evaluate(MIDDLE, 0) != [0, 0, 0] and page.evaluate("model.get('opened')") == 3
    page.get_by_role("button", name="next picture (N)").click()
    assert page.evaluate("model.get('opened')") == 2


def test_a_picture_that_is_gone_is_reported(stage: Stage) -> None:
    browser = small(5)
    page = stage.show(browser)
    browser.dataset = [(np.zeros((3, 9, 9), np.uint8), np.zeros((9, 9), np.uint8))] * 5
    browser.opened = 2
    stage.push()
    page.wait_for_selector("text=The full picture could not be read")


def test_arrow_keys_move_between_thumbnails(stage: Stage) -> None:
    browser = small(30)
    page = stage.show(browser)
    page.locator(".seglab-browse-item").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    across = page.evaluate("""() => { const all = [...document.querySelectorAll(".seglab-browse-item")];
        return all.filter((one) => one.offsetTop === all[0].offsetTop).length; }""")
    assert page.evaluate("document.activeElement.dataset.index") == str(browser.visible()[across])


def test_a_classification_says_right_or_wrong(stage: Stage) -> None:
    data = [(np.full((3, 32, 32), 60 * i, np.uint8), i % 3) for i in range(4)]
    page = stage.show(PredictionBrowser(data, [0, 2, 2, 0], PETS, confidences=[0.9, 0.6, 0.5, 0.8], progress=False))
    assert page.locator(".seglab-browse-score").all_text_contents()[:2] == ["✗ cat, called dog", "60 % sure"]
    page.locator(".seglab-browse-item").first.click()
    page.wait_for_function("document.querySelector('.seglab-browse-open .seglab-note').textContent === ''")
    settle(page)
    assert page.evaluate(MIDDLE, 0) == [60, 60, 60]


def photographs() -> PredictionBrowser:
    """Photographs, with ellipses for truths and others for predictions."""
    rng = np.random.default_rng(1)
    data, predictions = [], []
    for i in range(26):  # more than a page
        picture = (chelsea(), astronaut(), coffee())[i % 3]
        top, left = rng.integers(0, 60, 2)
        picture = picture[top:top + 220 + 4 * (i % 5), left:left + 300]
        y, x = np.mgrid[:picture.shape[0], :picture.shape[1]]
        truth, guess = ((((y - 110 - a) / 80) ** 2 + ((x - 150 - b) / 100) ** 2 < 1).astype(np.uint8)
                        for a, b in rng.integers(-30, 30, (2, 2)))
        data.append((picture.transpose(2, 0, 1), truth * 8))
        predictions.append(np.where(x < 100 + i * 3, guess * 12, guess * 8).astype(np.uint8))
    return PredictionBrowser(data, predictions, VOC, names=[f"photograph_{i:03}" for i in range(26)],
                             losses=rng.random(26).tolist(), progress=False)


@pytest.mark.parametrize("width", [500, 900])
def test_it_looks_right(stage: Stage, width: int) -> None:
    stage.page.set_viewport_size({"width": width, "height": 900})
    page = stage.show(photographs())
    select(page, "mistake").select_option("8,12")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    light = page.screenshot(path=SCREENSHOTS / f"prediction_browser_{width}.png")
    page.locator(".seglab-browse-item").first.click()
    page.wait_for_function("document.querySelector('.seglab-browse-open .seglab-note').textContent === ''")
    page.emulate_media(color_scheme="dark")
    settle(page)
    assert page.screenshot(path=SCREENSHOTS / f"prediction_browser_{width}_dark.png") != light
    assert page.evaluate("document.documentElement.scrollWidth") <= width
