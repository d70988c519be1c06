"""How long MaskViewer takes to draw in a browser, and what it sends there.

`python benchmarks/widgets.py` opens a 1280×853 picture with two masks of 21 classes in headless Chromium, which has no
GPU here and so paints on the CPU, and moves each control. Times are from the control's event to the end of the drawing
that it causes, in milliseconds; a screen has 16.7 for a frame. Bytes are compared with those of a PNG.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright
from skimage import data, measure
from skimage.transform import resize

sys.path.insert(0, str(Path(__file__).parents[1]))
from seglab.labels import DRONE
from seglab.widgets import MaskViewer
from tests.browser.stage import Stage, chromium

#: Sets a control 40 times, each in a frame of its own, and says how long each drawing took from its event on.
MOVE = """async ([label, values]) => {
  const input = [...document.querySelectorAll("input[type=range]")].find((i) => i.labels[0]?.textContent === label);
  const canvas = document.querySelector("canvas"), times = [];
  const frame = () => new Promise(requestAnimationFrame);
  for (const value of values) {
    await frame();
    const start = performance.now(), before = canvas.draws;
    input.value = value; input.dispatchEvent(new Event("input"));
    const handled = performance.now() - start;
    while (canvas.draws === before) await frame();
    times.push(handled + canvas.drawMs);
  }
  return times;
}"""
CLICK = """async (query) => {
  const canvas = document.querySelector("canvas"), times = [];
  const frame = () => new Promise(requestAnimationFrame);
  for (let i = 0; i < 20; i++) {
    await frame();
    const start = performance.now(), before = canvas.draws;
    document.querySelector(query).click();
    const handled = performance.now() - start;
    while (canvas.draws === before) await frame();
    times.push(handled + canvas.drawMs);
  }
  return times;
}"""


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photograph of 1280×853, and two masks with natural outlines: its grey levels in 21 steps, smoothed."""
    photo = resize(data.astronaut(), (853, 1280), anti_aliasing=True)
    grey = resize(photo.mean(2), (60, 90), anti_aliasing=True)
    truth = (resize(grey, (853, 1280), order=3) * 20).astype(np.uint8)
    guess = np.roll(truth, (5, 9), (0, 1))
    return (photo * 255).astype(np.uint8), truth, guess


def png_size(mask: np.ndarray) -> int:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG", optimize=True)
    return len(buffer.getvalue())


def line(name: str, times: list[float]) -> str:
    low, mid, high, worst = np.percentile(times, [25, 50, 75, 100])
    return f"{name:28} median {mid:5.1f} ms (quartiles {low:.1f} to {high:.1f}), slowest {worst:.1f}"


def main() -> None:
    photo, truth, guess = scene()
    regions = sum(measure.label(truth == i).max() for i in np.unique(truth))
    viewer = MaskViewer(photo, {"truth": truth, "prediction": guess}, DRONE, compare="truth")
    sent = [len(mask["ids"]) for mask in viewer.content["masks"]]
    print(f"masks of {regions} regions: {sent[0]:,} and {sent[1]:,} bytes sent, "
          f"{sent[0] / png_size(truth):.2f}× and {sent[1] / png_size(guess):.2f}× their PNGs")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = Stage(browser.new_page(viewport={"width": 1400, "height": 1100})).show(viewer)
        print(f"canvas of {page.evaluate('document.querySelector(`canvas`).width')} pixels' width")
        print(line("opacity", page.evaluate(MOVE, ["opacity", [(i % 20) / 20 for i in range(1, 41)]])))
        print(line("a class on or off", page.evaluate(CLICK, ".seglab-legend input")))
        print(line("safe colours", page.evaluate(CLICK, "[title^='colours that']")))
        print(line("errors", page.evaluate(CLICK, "[title^='blue is right']")))
        print(line("zoom in, zoom out", page.evaluate(CLICK, "[title='zoom in']")))
        browser.close()


if __name__ == "__main__":
    main()
