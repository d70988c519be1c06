"""The augmentation explorer in a real browser: the same pixels as torchvision, without a kernel."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from playwright.sync_api import Page

from seglab.labels import PETS
from seglab.samples.pets import draw_pet
from seglab.viz import overlay
from seglab.viz.palettes import as_drawn
from seglab.widgets.augmentation_explorer import LOUD, AugmentationExplorer
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import Stage, settle

COLOURS = as_drawn(PETS)
#: Each is set on top of a widget at rest.
SETTINGS = [
    {"flip_horizontal": True}, {"flip_vertical": True, "rotation": 90}, {"rotation": 20, "scale": 1.1},
    {"scale": 0.55}, {"scale": 4, "translate_x": 0.31}, {"rotation": -133.7, "shear": 31, "translate_y": -0.21},
    {"crop": 0.43, "crop_x": 0.7, "crop_y": 0.1}, {"rotation": 12, "crop": 0.8, "flip_horizontal": True, "scale": 0.6},
    {"brightness": 0.35}, {"brightness": 1.8}, {"contrast": 0.3}, {"contrast": 2.2}, {"saturation": 0},
    {"saturation": 2.4}, {"hue": 0.27}, {"hue": -0.5}, {"blur": 0.4}, {"blur": 3},
    {"rotation": -30, "shear": 10, "crop": 0.7, "brightness": 1.2, "contrast": 0.8, "saturation": 1.5, "hue": -0.1,
     "blur": 1.1},
    {"rotation": 15, "flip_vertical": True, "crop": 0.9, "picture_only": True}]


def pet(odd: bool = False) -> tuple[np.ndarray, np.ndarray]:
    picture, trimap = draw_pet(4)
    mask = np.array([0, 2, 0, 255], np.uint8)[trimap]
    mask[:30, :20] = 1
    return (picture[:171, :149], mask[:171, :149]) if odd else (picture, mask)


def panel(page: Page, number: int) -> np.ndarray:
    """What a canvas holds, (h, w, 3) uint8."""
    width, height, data = page.evaluate("""(n) => {
        const canvas = document.querySelectorAll("canvas")[n], {width, height} = canvas;
        const bytes = canvas.getContext("2d").getImageData(0, 0, width, height).data;
        let text = ""; for (const value of bytes) text += String.fromCharCode(value);
        return [width, height, btoa(text)]; }""", number)
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3]


@pytest.mark.parametrize("odd", [False, True], ids=["even size", "odd size"])
def test_the_browser_computes_what_torchvision_computes(stage: Stage, odd: bool) -> None:
    widget = AugmentationExplorer(*pet(odd), PETS)
    page = stage.show(widget)
    for settings in SETTINGS:
        widget.reset()
        widget.set_trait("opacity", 0)
        for name, value in settings.items():
            setattr(widget, name, value)
        stage.push()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        image, mask = widget.apply()
        near = panel(page, 1)
        assert near.shape == (*mask.shape, 3), settings
        assert (near == COLOURS.colourise(mask.numpy())).all(-1).mean() > 0.998, settings
        if not widget.picture_only:  # else the mask lies over it
            apart = np.abs(panel(page, 0).astype(int) - image.permute(1, 2, 0).numpy()).max(-1)
            assert (apart <= 2).mean() > 0.999, settings
            ids, invented = widget.interpolated()
            loud = (panel(page, 2) == LOUD).all(-1)
            assert (loud == invented).mean() > 0.998, settings
            rest = ~loud & ~invented
            assert (panel(page, 2)[rest] == COLOURS.colourise(ids)[rest] // 2 + 64).mean() > 0.999, settings
        assert page.locator("pre").text_content() == widget.code()


def test_the_mask_lies_over_the_picture_as_in_the_png(stage: Stage) -> None:
    widget = AugmentationExplorer(*pet(), PETS, flip_vertical=True, opacity=0.5)
    page = stage.show(widget)
    settle(page)
    image, mask = (part.numpy() for part in widget.apply())
    assert {0, 1, 2, 255} == set(np.unique(mask).tolist())
    assert np.abs(panel(page, 0).astype(int) - overlay(image, mask, PETS)).max() <= 1
    assert np.array_equal(panel(page, 0)[mask == 0], image.transpose(1, 2, 0)[mask == 0]), "not painted"


def test_a_slider_moves_picture_and_mask_and_python_hears(stage: Stage) -> None:
    widget = AugmentationExplorer(*pet(), PETS)
    page = stage.show(widget)
    assert widget.words() == page.locator(".seglab-ae-words").text_content()
    before = [panel(page, i) for i in range(3)]
    page.get_by_label("rotation").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    settle(page)
    assert widget.rotation == 25 and all((panel(page, i) != before[i]).any() for i in range(3))
    before = [panel(page, i) for i in range(3)]
    page.get_by_label("brightness").fill("0.5")
    page.get_by_role("button", name="flip horizontally").press("Space")
    settle(page)
    assert widget.brightness == 0.5 and widget.flip_horizontal
    page.get_by_role("button", name="flip horizontally").press("Space")
    settle(page)
    assert (panel(page, 0).mean() < 0.6 * before[0].mean()) and (panel(page, 1) == before[1]).all()


def test_the_bug_shows_and_the_pointer_reads_ids(stage: Stage) -> None:
    widget = AugmentationExplorer(*pet(), PETS)
    page = stage.show(widget)
    still = COLOURS.colourise(widget.mask.numpy())
    assert (panel(page, 1) != still).any()
    page.get_by_role("button", name="Move only the picture").click()
    settle(page)
    assert widget.picture_only and (panel(page, 1) == still).all()
    assert (panel(page, 2) == LOUD).all(-1).mean() == widget._wrong().mean() > 0.1
    assert page.locator(".seglab-ae-words").text_content() == widget.words()
    page.mouse.move(0, 0)
    box = page.locator("canvas").nth(1).bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    read = page.locator(".seglab-note").first.inner_text()
    assert "mask: cat (1) – right: ignored (255), so this label is wrong" in read


def test_surprises_repeat_with_their_seed_and_reset_ends_them(stage: Stage) -> None:
    widget = AugmentationExplorer(*pet(), PETS, seed=7)
    page = stage.show(widget)
    seen = []
    for _ in range(2):
        page.get_by_role("button", name="Draw settings at random").click()
        settle(page)
        seen.append(widget.code())
        assert page.locator("pre").text_content() == widget.code() and widget.seed == 8
        widget.seed = 7
        stage.push()
    assert seen[0] == seen[1] and "affine" in seen[0]
    page.get_by_role("button", name="Put every setting to rest").click()
    settle(page)
    assert (panel(page, 0) == pet()[0]).all()
    assert page.locator(".seglab-ae-words").inner_text() == "Bilinear invents nothing here."
    page.get_by_role("button", name="Copy the code").click()
    assert page.evaluate("getSelection().toString().trim()") == widget.code()


def test_two_views_share_settings_and_outlive_the_kernel(stage: Stage) -> None:
    page = stage.show(AugmentationExplorer(*pet(), PETS), times=2)
    page.evaluate("model.comm_live = false")
    before = panel(page, 4)
    page.get_by_label("scale").first.fill("0.5")
    settle(page)
    assert (panel(page, 1) == panel(page, 4)).all() and (panel(page, 4) != before).any()
    page.evaluate("ends.forEach((end) => end())")
    page.evaluate("model.set('scale', 2)")  # nobody listens, nothing breaks
    settle(page)
    assert (panel(page, 1) != before).any()


def test_it_fits_a_narrow_column_and_both_themes(stage: Stage) -> None:
    page = stage.show(AugmentationExplorer(*pet(), PETS))
    page.locator(".seglab").screenshot(path=SCREENSHOTS / "augmentation_explorer.png")
    light = page.evaluate("getComputedStyle(document.querySelector('.seglab')).backgroundColor")
    page.emulate_media(color_scheme="dark")
    page.locator(".seglab").screenshot(path=SCREENSHOTS / "augmentation_explorer_dark.png")
    assert page.evaluate("getComputedStyle(document.querySelector('.seglab')).backgroundColor") != light
    page.set_viewport_size({"width": 500, "height": 900})
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 500
