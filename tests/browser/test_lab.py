"""Every widget in a real JupyterLab, as a learner meets it: run all, then touch it, and see pixels change."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SCREENSHOTS
from tests.browser.lab import Lab, LabError, pixels, until

NAME = "widgets.ipynb"
LIVE, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
HOUSE, WRONG, LOUD = (220, 60, 30), (230, 159, 0), (255, 0, 255)
CELLS = {
    "setup": """
import numpy as np
import torch
from seglab import build
from seglab.inference import predict
from seglab.labels import LabelSet
from seglab.metrics.segmentation import confusion_matrix
from seglab.training import fit
from seglab.widgets import (AugmentationExplorer, ConfusionHeatmap, MaskPainter, MaskViewer, PixelProbe,
                            PredictionBrowser, TrainingMonitor, VideoScrubber)

labels = LabelSet("street", ("road", "grass", "house"), ((128, 64, 128), (0, 150, 60), (220, 60, 30)))
truth = np.zeros((60, 90), np.uint8)
truth[:, :40] = 1
truth[10:35, 50:80] = 2
noise = np.random.default_rng(0).integers(-30, 30, (60, 90, 3))
image = (np.array(labels.colours)[truth] * 0.5 + 70 + noise).astype(np.uint8)
""",
    "viewer": """
viewer = MaskViewer(image, {"truth": truth, "prediction": np.roll(truth, 8, axis=1)}, labels)
viewer
""",
    "again": "viewer",
    "film": """
steps = range(0, 32, 4)
film = VideoScrubber([np.roll(image, s, axis=1) for s in steps], [np.roll(truth, s, axis=1) for s in steps], labels,
                     fps=10.0)
film
""",
    "explorer": """
explorer = AugmentationExplorer(image, truth, labels)
explorer
""",
    "probe": """
torch.manual_seed(0)
model = build("single_conv", 3)
probe = PixelProbe(predict(model, image, probabilities=True, label_set=labels), model, truth=truth)
probe
""",
    "browser": """
pairs = [(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(truth))] * 6
guesses = [np.roll(truth, s, axis=1) for s in (0, 0, 0, 4, 8, 12)]
browser = PredictionBrowser(pairs, guesses, labels, progress=False)
browser
""",
    "heatmap": """
heatmap = ConfusionHeatmap(sum(confusion_matrix(guess, truth, labels) for guess in guesses), labels)
heatmap.link(browser)
heatmap
""",
    "painter": """
painter = MaskPainter({"street": image, "mirrored": image[:, ::-1]}, labels, "painted", opacity=1.0)
painter
""",
    "training": """
network = torch.nn.Conv2d(3, 3, 1)
monitor = TrainingMonitor(epochs=3).watch(network, pairs[:1], labels)
history = fit(network, pairs, pairs, optimizer=torch.optim.SGD(network.parameters(), 0.5), epochs=3, batch_size=2,
              progress=False, on_epoch=monitor, on_step=monitor.step)
""",
}


def write(lab: Lab, name: str, *cells: str) -> str:
    """A notebook of these cells in JupyterLab's folder; its name."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.root / name)
    return name


def changes(shown: Locator, act: Callable[[], object], over: float) -> None:
    """Do something, and wait until more than this share of pixels differs on the screen."""
    before = pixels(shown)
    act()

    def differs() -> bool:
        after = pixels(shown)
        return before.shape != after.shape or float((before != after).any(axis=2).mean()) > over

    until(differs)


def share_of(colour: tuple[int, int, int], shown: Locator) -> float:
    """The share of pixels on the screen that have exactly this colour."""
    return float((pixels(shown) == colour).all(axis=2).mean())


def drag(page: Page, what: Locator, start: float, end: float, by: float = 0) -> None:
    """Drag from one place of an element to another (shares of its width), and `by` pixels more."""
    box = what.bounding_box()
    at = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], at)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"] + by, at, steps=4)
    page.mouse.up()


@pytest.fixture(scope="module", autouse=True)
def tidy(jupyterlab: Lab) -> Iterator[None]:
    """No notebook of these tests is left to the next module's."""
    yield
    for name in list(jupyterlab.opened):
        jupyterlab.close(jupyterlab.open(name))


@pytest.fixture
def page(lab: Lab) -> Page:
    """A notebook that shows every widget, run from top to bottom: one for all tests, until one of them closes it."""
    if NAME in lab.opened:
        return lab.open(NAME)
    page = lab.open(write(lab, NAME, *CELLS.values()))
    try:
        lab.run_all(page)
    except LabError:
        lab.close(page)
        raise
    return page


@pytest.fixture
def doomed(lab: Lab, page: Page) -> Iterator[Page]:
    """That notebook with widgets that no test has touched, for one that ends its kernel; the next test gets another."""
    lab.run_all(page)
    yield page
    lab.close(page)


@pytest.fixture
def show(lab: Lab, page: Page) -> Callable[[str], Locator]:
    """Scrolls a widget of that notebook into view: its name -> its outermost element."""
    return lambda name: lab.cell(page, list(CELLS).index(name)).locator(".seglab")


def test_the_mask_viewer_paints_what_is_asked(lab, page, show):
    viewer = show("viewer")
    canvas, opacity = viewer.locator("canvas"), viewer.get_by_label("opacity")
    changes(canvas, lambda: opacity.press("Home"), over=0.5)
    bare = pixels(canvas)
    changes(canvas, lambda: opacity.press("End"), over=0.5)
    until(lambda: share_of(HOUSE, canvas) > 0.1)  # opaque houses
    drag(page, opacity, 0.95, -0.05)
    until(lambda: np.array_equal(pixels(canvas), bare))  # the slider was dragged to 0
    lab.until(page, "viewer.opacity == 0")

    lab.ask(page, "viewer.opacity = 1")
    viewer.get_by_label("house").uncheck()
    until(lambda: share_of(HOUSE, canvas) == 0)  # the class is off
    viewer.get_by_label("house").check()
    viewer.get_by_label("swipe to").select_option("truth")
    line = viewer.get_by_role("slider", name="swipe between the masks")
    changes(canvas, lambda: drag(page, line, 0.5, 0.5, by=150), over=0.02)  # less of the truth
    changes(canvas, lambda: line.press("Home"), over=0.02)  # nothing but the truth
    viewer.get_by_label("swipe to").select_option("")
    viewer.get_by_role("button", name="errors").click()
    until(lambda: share_of(WRONG, canvas) > 0.05)
    page.screenshot(path=SCREENSHOTS / "lab_mask_viewer.png")
    viewer.get_by_role("button", name="errors").click()


def test_keys_of_a_widget_are_not_jupyterlabs(page, show):
    """In a notebook's command mode arrows change the cell, x cuts it, a adds one, and 0 0 restarts the kernel."""
    for name, part in (("viewer", "canvas"), ("viewer", "input[type=range]"), ("viewer", "select"),
                       ("viewer", "button"), ("film", ".seglab-film-track"), ("explorer", "input[type=range]"),
                       ("probe", "canvas"), ("browser", "select"), ("browser", ".seglab-browse-item"),
                       ("heatmap", "canvas"), ("painter", "canvas"), ("painter", "button"),
                       ("training", "button"), ("training", "svg.curve")):
        control = show(name).locator(part).first
        for key in ("ArrowDown", "ArrowDown", "ArrowUp", "x", "a", "0", "0"):
            control.press(key)
        assert page.locator(".jp-Dialog").count() == 0
        assert page.evaluate("""() => {
            const { content } = jupyterapp.shell.currentWidget;
            return [content.activeCellIndex, content.widgets.length];
        }""") == [list(CELLS).index(name), len(CELLS)], f"{part} of {name}"


def test_two_views_of_a_widget_show_the_same(lab, page, show):
    first, second = show("viewer"), show("again")
    drawn = lambda view: view.locator("canvas").evaluate("canvas => canvas.toDataURL()")  # noqa: E731
    before = drawn(first)
    changes(first.locator("canvas"), lambda: second.get_by_label("opacity").press("Home"), over=0.2)
    until(lambda: drawn(first) == drawn(second) != before)
    dim = drawn(first)
    lab.ask(page, "viewer.opacity = 0.7")
    until(lambda: dim != drawn(first) == drawn(second) != before)


def test_a_film_is_scrubbed_and_played(lab, page, show):
    film = show("film")
    canvas, track = film.locator("canvas"), film.get_by_label("frame", exact=True)
    track.press("Home")
    changes(canvas, lambda: drag(page, track, 0.02, 1.0), over=0.2)
    expect(film.get_by_text("frame 8 of 8", exact=False).first).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "lab_video_scrubber.png")
    frames = set()
    film.get_by_role("button", name="play").click()
    until(lambda: frames.add(canvas.get_attribute("data-frame")) or len(frames) >= 6)  # it runs
    track.press(" ")
    pixels(canvas)  # stands still
    lab.until(page, "not film.playing")
    changes(canvas, lambda: film.get_by_role("checkbox", name="house").uncheck(), over=0.05)


def test_an_augmentation_is_turned(lab, page, show):
    explorer = show("explorer")
    canvases = explorer.locator("canvas")
    rotation = explorer.get_by_label("rotation")
    for i, key in enumerate(("Home", "PageUp", "PageUp")):
        changes(canvases.nth(i), lambda key=key: rotation.press(key), over=0.05)
    assert float(rotation.input_value()) != 20
    lab.until(page, f"explorer.rotation == {rotation.input_value()}")
    lab.ask(page, "explorer.rotation = 20")
    until(lambda: share_of(LOUD, canvases.nth(2)) > 0.005)  # what bilinear invents
    page.screenshot(path=SCREENSHOTS / "lab_augmentation_explorer.png")


def test_a_clicked_pixel_is_probed(lab, page, show):
    probe = show("probe")
    canvas, bars = probe.locator("canvas").first, probe.locator(".seglab-probe-bars")
    box = canvas.bounding_box()
    place = {"x": (70.5 / 90) * box["width"], "y": (20.5 / 60) * box["height"]}
    before = pixels(bars)
    changes(canvas, lambda: canvas.click(position=place), over=0.001)  # the cross is there
    until(lambda: not np.array_equal(before, pixels(bars)))  # bars of another pixel
    lab.until(page, "probe.pixel == [70, 20]")
    expect(probe.get_by_text("house ✗").or_(probe.get_by_text("house ✓"))).to_be_visible()
    probe.get_by_role("button", name="heat").click()  # the kernel computes it
    expect(probe.get_by_text("moves the score", exact=False)).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "lab_pixel_probe.png")


def test_a_cell_of_the_heat_map_chooses_pictures(lab, page, show):
    browser, heatmap = show("browser"), show("heatmap")
    expect(browser.locator(".seglab-browse-item")).to_have_count(6)
    canvas = heatmap.locator("canvas")
    places = canvas.evaluate("canvas => canvas.places")
    house_called_road = {"x": places["left"] + 0.5 * places["cell"], "y": places["top"] + 2.5 * places["cell"]}
    changes(canvas, lambda: canvas.click(position=house_called_road), over=0.001)
    expect(browser.locator(".seglab-browse-item")).to_have_count(3)
    expect(browser.get_by_text("3 of 6 pictures")).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "lab_confusion_heatmap.png")
    lab.until(page, "heatmap.selected == browser.confused == [2, 0]")

    show("browser")
    browser.locator(".seglab-browse-item").first.click()
    full = browser.locator(".seglab-canvas:visible")
    expect(browser.get_by_text("the full picture is coming")).to_have_count(0)  # the kernel sent it
    expect(full).to_have_count(1)
    changes(full, lambda: browser.get_by_label("opacity").press("End"), over=0.2)
    page.screenshot(path=SCREENSHOTS / "lab_prediction_browser.png")
    full.press("Escape")
    expect(full).to_have_count(0)
    browser.get_by_label("mistake").select_option("")
    expect(browser.locator(".seglab-browse-item")).to_have_count(6)
    lab.until(page, "heatmap.selected == []")  # the link goes both ways


def test_a_stroke_becomes_a_file(lab, page, show):
    painter, saved = show("painter"), lab.root / "painted" / "masks" / "street.png"
    canvas = painter.locator("canvas")
    canvas.press("2")
    drag(page, canvas, 0.3, 0.6)
    until(saved.is_file)
    lab.until(page, "painter.done == ['street'] and bool((painter.mask('street') == 2).sum() > 20)")
    canvas.press("r")
    until(lambda: share_of(HOUSE, canvas) > 0.9)  # the rest is a house, too
    page.screenshot(path=SCREENSHOTS / "lab_mask_painter.png")
    canvas.press("n")
    expect(painter.get_by_text("nothing painted yet")).to_be_visible()
    canvas.press("p")
    expect(painter.get_by_text("✓ saved in painted/masks")).to_be_visible()
    expect(painter.get_by_text("Drag to paint house.")).to_be_visible()  # it is open again
    for _ in range(2):
        canvas.press("Control+z")  # is not JupyterLab's
    until(lambda: not saved.exists())
    assert page.evaluate("() => jupyterapp.shell.currentWidget.content.widgets.length") == len(CELLS)


def test_a_training_leaves_its_curves(page, show):
    monitor = show("training")
    expect(monitor.locator(".monitor-words")).to_have_text("3 epochs done")
    assert monitor.count() == 1
    expect(monitor.locator("tbody tr")).to_have_count(3)
    curve = monitor.locator("svg.curve").first
    changes(monitor, lambda: monitor.get_by_role("button", name="log loss").click(), over=0.001)
    changes(monitor, lambda: curve.press("Home"), over=0.001)  # another epoch is looked at
    expect(monitor.get_by_text("Values of epoch 1", exact=False)).to_be_visible()
    curve.blur()
    track = monitor.get_by_role("slider", name="epoch of the masks")
    expect(monitor.locator("figcaption").first).to_contain_text("epoch 3")
    changes(monitor.locator(".growth-grid"), lambda: track.press("Home"), over=0.001)  # its mask
    expect(monitor.locator("figcaption").first).to_contain_text("epoch 1")
    expect(monitor.get_by_text("Values of epoch 1", exact=False)).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "lab_training_monitor.png")


def test_a_widget_follows_the_dark_theme(page, show):
    theme = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"
    try:
        page.evaluate(theme, "JupyterLab Dark")
        page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
        for name in CELLS:
            if name != "setup":
                widget = show(name)
                until(lambda widget=widget: np.median(pixels(widget)[:, 1:-1], axis=(0, 1)).max() < 80)  # dark paper
                page.screenshot(path=SCREENSHOTS / f"lab_dark_{name}.png")
        page.wait_for_function("""() => [...document.querySelectorAll("svg.curve")].every(
            (curve) => curve.viewBox.baseVal.width === curve.clientWidth)""")  # curves as wide as their panels
    finally:
        page.evaluate(theme, "JupyterLab Light")
    page.wait_for_selector("body[data-jp-theme-light='true']", state="attached")


def test_a_notebook_is_saved_whole(lab, page):
    """GitHub refuses a notebook whose metadata.widgets has no state."""
    saved = lab.saved(page, NAME)
    assert "widgets" not in saved["metadata"]
    outputs = [output["data"] for cell in saved["cells"][1:] for output in cell["outputs"] if "data" in output]
    assert len(outputs) == len(CELLS) - 1
    assert all({"image/png", "text/plain", LIVE} <= set(data) for data in outputs)
    command = "() => jupyterapp.commands.execute('@jupyter-widgets/jupyterlab-manager:saveWidgetState')"
    page.evaluate(command)
    try:
        saved = lab.saved(page, NAME)
    finally:
        page.evaluate(command)
        page.evaluate("() => jupyterapp.shell.currentWidget.content.model.deleteMetadata('widgets')")
    nbformat.validate(saved)
    state = saved["metadata"]["widgets"][STATE]["state"]
    assert {data[LIVE]["model_id"] for data in outputs} <= set(state)


def test_an_exported_page_shows_the_pictures(lab, page, browser):
    """jupyter nbconvert --to html: no kernel, no network, and every widget's picture in its place."""
    exported, _ = HTMLExporter().from_notebook_node(lab.saved(page, NAME))
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    try:
        alone = context.new_page()
        alone.set_content(exported)
        pictures = alone.locator(".jp-OutputArea-output img")
        expect(pictures).to_have_count(len(CELLS) - 1)
        for i in range(len(CELLS) - 1):
            assert len(np.unique(pixels(pictures.nth(i)) @ [65536, 256, 1])) > 20, f"an empty picture {i}"  # colours
        alone.screenshot(path=SCREENSHOTS / "lab_exported.png", full_page=True)
    finally:
        context.close()


def test_a_dead_kernel_leaves_picture_and_touch(lab, doomed, show):
    page = doomed
    viewer = show("viewer")
    canvas, opacity = viewer.locator("canvas"), viewer.get_by_label("opacity")

    os.kill(int(lab.ask(page, "import os", "os.getpid()")), signal.SIGKILL)  # JupyterLab starts it anew
    page.locator(".jp-Dialog").get_by_role("button", name="Ok").click()
    changes(canvas, lambda: opacity.press("End"), over=0.5)

    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    changes(canvas, lambda: opacity.press("Home"), over=0.5)
    changes(canvas, lambda: opacity.press("End"), over=0.5)
    until(lambda: share_of(HOUSE, canvas) > 0.1)
    page.screenshot(path=SCREENSHOTS / "lab_dead_kernel.png")
    browser = show("browser")
    browser.locator(".seglab-browse-item").first.click()
    expect(browser.get_by_text("The kernel is gone: this is the thumbnail")).to_be_visible()
    painter = show("painter")
    drag(page, painter.locator("canvas"), 0.3, 0.6)
    expect(painter.get_by_text("The kernel is gone. Run the cell again to paint.")).to_be_visible()
    probe = show("probe")
    probe.get_by_role("button", name="heat").click()
    expect(probe.get_by_text("The heat needs the kernel, which is gone.")).to_be_visible()


def test_a_failing_cell_is_told(lab):
    page = lab.open(write(lab, "fails.ipynb", "print('fine')", "1 / 0", "2"))
    with pytest.raises(LabError, match="ZeroDivisionError"):
        lab.run_all(page)
    lab.close(page)
