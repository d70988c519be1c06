"""A lesson's page in a real browser: it is drawn, and asks nobody outside for anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from seglab.lessons import to_html

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if path := shutil.which(name):
            return path
    if os.environ.get("CI"):
        pytest.fail("no Chromium: CI must install it (see .ci/run)")
    pytest.skip("NO BROWSER TESTED: Chromium is not installed (Debian: apt-get install chromium)")


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_page_is_drawn_without_any_request(path, tmp_path):
    browser = chromium()
    asked: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(403)

        do_CONNECT = do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments):
            """Quiet."""

    # The page is a file. Whatever else the browser wants goes through this proxy, which writes it down.
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "page.html").write_text(to_html(nbformat.read(path, as_version=4), path.stem), encoding="utf-8")
    picture = ROOT / "build" / "screenshots" / f"{path.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                        "--disable-background-networking", "--disable-component-update", "--disable-sync",
                        f"--user-data-dir={tmp_path / 'profile'}", f"--proxy-server=127.0.0.1:{server.server_port}",
                        "--hide-scrollbars", "--window-size=1100,9000", f"--screenshot={picture}",
                        (tmp_path / "page.html").as_uri()], check=True, capture_output=True, timeout=120)
    finally:
        server.shutdown()
        server.server_close()
    # The browser itself may call home; a page's own requests are what must not be.
    assert [url for url in asked if not any(host in url for host in ("google", "gstatic", "chrome"))] == []
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    purple, green = ((pixels == colour).all(axis=2).sum() for colour in ((128, 64, 128), (0, 102, 0)))
    assert min(purple, green) > 5_000, "masks in the colours of the drone classes"
