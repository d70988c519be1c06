"""A lesson's page in a real browser: it is drawn, and asks nobody outside for anything."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page
from torch import nn

from seglab.inference import predict_video
from seglab.labels import LabelSet
from seglab.models import Card
from seglab.samples import write_video_sample
from tests.browser.conftest import SCREENSHOTS
from tests.browser.stage import chromium
from tests.test_lessons import LESSONS, lesson_page

#: Colours of classes that a lesson's figures must show, and on how many pixels.
COLOURS = {"00_tour": (((86, 180, 233), (213, 94, 0)), 200),
           "01_single_conv_baseline": (((128, 64, 128), (0, 102, 0)), 5_000),
           "02_pretrained_fcn": (((0, 128, 0), (192, 0, 0)), 1_000),
           "03_transfer_learning": (((0, 114, 178), (219, 233, 246)), 200),  # the matrix, the diagram
           "04a_coco_masks": (((219, 233, 246), (213, 94, 0)), 1_000),  # the polygon with rays, the explorer
           "04b_deeplabv3": (((219, 233, 246), (0, 114, 178)), 1_000),  # the diagram, the matrix
           "05a_gcn": (((219, 233, 246), (68, 1, 84)), 2_000),  # the diagram, the dark end of a heat map
           "05b_pets": (((86, 180, 233), (230, 159, 0)), 2_000),
           "06a_your_own_data": (((128, 64, 128), (0, 114, 178)), 1_000),
           "06b_to_a_program": (((219, 233, 246),), 1_000)}  # the diagram
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.fixture(scope="module")
def visit(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """One page for all lessons, which are files: whatever else they want is written down and refused."""
    asked: list[str] = []
    context = browser.new_context(viewport={"width": 1100, "height": 16000})
    context.route(re.compile(r"^(?!file:|data:|blob:)"), lambda route: (asked.append(route.request.url), route.abort()))
    yield context.new_page(), asked
    context.close()


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_page_is_drawn_without_any_request(path, visit, tmp_path):
    (tmp_path / "page.html").write_text(lesson_page(path), encoding="utf-8")
    picture = SCREENSHOTS / f"{path.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    page, asked = visit
    asked.clear()
    page.goto((tmp_path / "page.html").as_uri())
    page.evaluate("""Promise.all([document.fonts.ready, ...[...document.images].map(
        (image) => image.decode().catch(() => null))])""")  # what is missing is told by `asked`, or by a colour
    # As page.screenshot(), which always packs as tightly as it can: of 18 million pixels that takes longest.
    whole = page.context.new_cdp_session(page).send("Page.captureScreenshot", {"optimizeForSpeed": True})
    picture.write_bytes(base64.b64decode(whole["data"]))
    assert asked == []
    with Image.open(picture) as drawn:
        assert drawn.size == (1100, 16000)
        found = {colour: count for count, colour in drawn.convert("RGB").getcolors(1100 * 16000)}
    colours, least = COLOURS[path.stem]
    for colour in colours:
        assert found.get(colour, 0) > least, f"classes in the colour {colour}"


def said_by(browser: str, page: bytes, profile: Path, seconds: float = 300) -> str:
    """What a page posts to /report. Video is decoded in real time; the virtual time of a browser would not wait."""
    reports: Queue[str] = Queue()

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page if found else b"")

        def do_POST(self):
            reports.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    running = subprocess.Popen([browser, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0",
                                f"http://127.0.0.1:{server.server_port}/"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return reports.get(timeout=seconds)
    finally:
        running.terminate()
        running.wait(30)
        server.shutdown()
        server.server_close()


def test_the_browser_plays_what_predict_video_writes(tmp_path):
    """Chromium decodes the .webm: its length, its size, and the colour of a frame in the middle."""
    class Halves(nn.Module):
        card = Card(label_set=LabelSet("halves", ("off", "on"), ((0, 0, 0), (255, 0, 0))))

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, images):
            left = torch.zeros_like(images[:, :1])
            left[..., : images.shape[-1] // 2] = 1
            return {"out": torch.cat([1 - left, left], 1) * self.weight}

    browser = chromium()
    write_video_sample(tmp_path / "in.webm", count=20, size=(96, 128), fps=10, progress=False)
    predict_video(Halves(), tmp_path / "in.webm", tmp_path / "out.webm", alpha=1.0, progress=False)
    film = base64.b64encode((tmp_path / "out.webm").read_bytes()).decode()
    page = """<body><video muted></video><script>
        const video = document.querySelector("video");
        const say = (text) => fetch("/report", {method: "POST", body: text});
        video.onerror = () => say("error " + video.error.message);
        const look = () => {
            const canvas = document.createElement("canvas");
            canvas.width = video.videoWidth; canvas.height = video.videoHeight;
            const context = canvas.getContext("2d");
            context.drawImage(video, 0, 0);
            const at = (x) => Array.from(context.getImageData(x, 48, 1, 1).data.slice(0, 3));
            if (Math.max(...at(20)) < 10) return setTimeout(look, 50);  // on a busy machine the frame is not there yet
            say(JSON.stringify({size: [canvas.width, canvas.height], seconds: video.duration,
                                left: at(20), right: at(108)}));
        };
        video.onseeked = look;
        video.onloadeddata = () => { video.currentTime = 1.0; };
        video.src = "data:video/webm;base64,FILM";
        </script></body>""".replace("FILM", film).encode()
    report = json.loads(said_by(browser, page, tmp_path / "profile"))
    assert report["size"] == [128, 96] and report["seconds"] == pytest.approx(2, abs=0.15)
    assert report["left"][0] > 200 and max(report["left"][1:]) < 60, "red where the class is"
    assert max(report["right"]) < 60
