"""A real JupyterLab in a real browser: the server, its page, and all that it complains about or asks for."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import nbformat
import numpy as np
from nbformat import NotebookNode
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

#: What is not on this machine. Pages, sockets and workers alike.
_OUTSIDE = re.compile(r"^(https?|wss?)://(?!127\.0\.0\.1[:/])")

#: Complaints that JupyterLab makes without any widget of ours, each as it reads from start to end.
_THEIRS = (
    # Its connection to a kernel that ends while a channel for widgets is being opened.
    r"uncaught: Error: Canceled future for create_subshell_request message before replies were done",
    # Its debugger asks a kernel that has just ended, or ends while it asks.
    r"error: Could not restore the debugger state: Canceled future for debug_request message before replies were done "
    r"\(http://127\.0\.0\.1:\d+/static/lab/\S+\.js\S*\)",
)

_SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}

_OPEN = """async (path) => {
  await jupyterapp.restored;
  const panel = await jupyterapp.commands.execute("docmanager:open", { path, factory: "Notebook" });
  jupyterapp.shell.activateById(panel.id);
  while (jupyterapp.shell.currentWidget !== panel) await new Promise(requestAnimationFrame);
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
}"""

_CLOSE = """async () => {
  const panel = jupyterapp.shell.currentWidget, { path } = panel.context;
  await panel.sessionContext.shutdown();
  panel.dispose();
  return path;
}"""

#: The notebook scrolls there, so that it is drawn at all, and the cell can be found from outside.
_SHOW = """async (at) => {
  const { content: notebook, id } = jupyterapp.shell.currentWidget, cell = notebook.widgets[at];
  notebook.activeCellIndex = at;
  await notebook.scrollToItem(at, "start");
  cell.node.dataset.at = at;
  return id;
}"""

_CELLS = """() => {
  const panel = jupyterapp.shell.currentWidget;
  const cells = [...panel.content.model.cells].map((cell) => cell.toJSON()).filter((cell) => cell.cell_type === "code");
  return {
    status: panel.sessionContext.session?.kernel?.status ?? "none",
    waiting: cells.filter((cell) => [cell.source].flat().join("").trim() && cell.execution_count === null).length,
    errors: cells.flatMap((cell) => cell.outputs).filter((output) => output.output_type === "error")
      .map((output) => [output.traceback].flat().join("\\n") || `${output.ename}: ${output.evalue}`),
  };
}"""

_ASK = """async ([code, asked]) => {
  const { kernel } = jupyterapp.shell.currentWidget.sessionContext.session;
  return (await kernel.requestExecute({ code, user_expressions: { asked }, store_history: false }).done).content;
}"""


#: Seconds that an idle machine never needs. A busy one takes longer, and that is no failure.
PATIENCE = 180


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still not so after {seconds:g} s"
        time.sleep(0.05)


def pixels(shown: Locator) -> np.ndarray:
    """What is on the screen there, (H, W, 3) uint8, once it stands still."""
    last = shown.screenshot()

    def still() -> bool:
        nonlocal last
        before, last = last, shown.screenshot()
        return before == last

    until(still)
    return np.asarray(Image.open(io.BytesIO(last)).convert("RGB"))


class LabError(AssertionError):
    """JupyterLab did not start, or a cell failed."""


class Lab:
    """A JupyterLab of the test's own interpreter, with settings and kernels' files of its own.

    Args:
        folder: an empty folder for all that it writes. Notebooks belong in `root`, a folder in it.
        browser: what opens its page.

    Attributes:
        opened: the names of notebooks that are open in the page, each with a kernel of its own.
        errors: what the page complained about since the last `complaints`: console errors, warnings of widgets, and
            uncaught exceptions.
        asked: addresses outside this machine that the page asked for; each was refused.
    """

    def __init__(self, folder: Path, browser: Browser) -> None:
        self.root, self._folder, self._browser = folder / "root", folder, browser
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.opened: set[str] = set()
        self._context: BrowserContext | None = None
        self._token = secrets.token_hex(16)
        self._server: subprocess.Popen[bytes] | None = None
        self.root.mkdir()

    def start(self, seconds: float = 300) -> None:
        """Start the server and wait until it answers; raises LabError with its log if it does not."""
        settings = self._folder / "settings"
        for name, values in _SETTINGS.items():
            path = settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        # Whatever of Jupyter's is set here, or lies in this user's home, is not what is tested.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
        folders = {f"JUPYTER_{kind.upper()}_DIR": str(self._folder / kind) for kind in ("config", "data", "runtime")}
        environment = {**kept, **folders, "IPYTHONDIR": str(self._folder / "ipython"), "PYTHONNOUSERSITE": "1",
                       "JUPYTERLAB_SETTINGS_DIR": str(settings),
                       "JUPYTERLAB_WORKSPACES_DIR": str(self._folder / "workspaces"), "SEGLAB_OFFLINE": "1"}
        self._log = self._folder / "lab.log"
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
                 "--ServerApp.port_retries=0", f"--IdentityProvider.token={self._token}", "--allow-root",
                 f"--ServerApp.root_dir={self.root}", "--LabApp.expose_app_in_browser=True",
                 "--LabApp.extension_manager=readonly", "--LabApp.news_url=",
                 "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
                env=environment, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + seconds
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > end:
                self.stop()
                raise LabError(f"JupyterLab did not start:\n{self._log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/api/status?token={self._token}", timeout=5) as reply:
                return reply.status == 200
        except (URLError, OSError):
            return False

    def stop(self) -> None:
        """Close the page and end the server, which ends its kernels; a kernel without its server ends by itself."""
        if self._context is not None:
            self._context.close()
            self._context = None
        if self._server is not None and self._server.poll() is None:
            self._server.terminate()
            try:
                self._server.wait(20)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait(20)

    def open(self, notebook: str) -> Page:
        """The page, with a notebook of `root` in front, as soon as its kernel answers.

        One page for all notebooks, each in a tab: it takes JupyterLab ten times as long to load as to open another.
        """
        page = self._load() if self._context is None else self._context.pages[0]
        page.evaluate(_OPEN, notebook)
        self.opened.add(notebook)
        return page

    def _load(self) -> Page:
        self._context = context = self._browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(1000 * PATIENCE)
        context.route(_OUTSIDE, lambda route: (self.asked.append(route.request.url), route.abort()))
        context.route_web_socket(_OUTSIDE, lambda socket: (self.asked.append(socket.url), socket.close()))
        context.on("console", self._hear)
        context.on("weberror", lambda error: self._complain(f"uncaught: {error.error}"))
        page = context.new_page()
        page.goto(f"{self._url}/lab?token={self._token}")
        page.wait_for_function("() => window.jupyterapp")
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        ours = message.location.get("url", "").startswith("blob:")  # a widget's module comes as text
        if message.type == "error" or (ours and message.type == "warning"):
            self._complain(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _complain(self, text: str) -> None:
        if not any(re.fullmatch(pattern, text, re.DOTALL) for pattern in _THEIRS):
            self.errors.append(text)

    def run_all(self, page: Page, seconds: float = 600) -> None:
        """Run all cells and wait for the last; raises LabError with the traceback if one fails."""
        page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        end = time.monotonic() + seconds
        while (cells := page.evaluate(_CELLS))["waiting"] or cells["status"] != "idle":
            if cells["errors"]:
                break
            if time.monotonic() > end:
                raise LabError(f"cells did not finish in {seconds:g} s: {cells}")
            page.wait_for_timeout(100)
        if cells["errors"]:
            raise LabError(re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(cells["errors"])))

    def cell(self, page: Page, at: int) -> Locator:
        """The cell at an index (code and output), scrolled into view."""
        return page.locator(f'[id="{page.evaluate(_SHOW, at)}"] .jp-Cell[data-at="{at}"]')

    def ask(self, page: Page, code: str, expression: str = "None") -> str:
        """Run code in the notebook's kernel, without a cell; the text of an expression after it."""
        reply = page.evaluate(_ASK, [code, expression])
        if reply["status"] != "ok" or (result := reply["user_expressions"]["asked"])["status"] != "ok":
            raise LabError(str(reply))
        return result["data"]["text/plain"]

    def until(self, page: Page, condition: str) -> None:
        """Wait until an expression is true in the notebook's kernel: until Python has heard what the page did."""
        until(lambda: self.ask(page, "", condition) == "True")

    def close(self, page: Page) -> None:
        """Close the notebook in front and end its kernel, if it still has one."""
        self.opened.remove(page.evaluate(_CLOSE))

    def complaints(self) -> list[str]:
        """What the page complained about and asked for outside since the last call, in words."""
        found = self.errors + [f"asked for {url}" for url in self.asked]
        self.errors, self.asked = [], []
        return found

    def saved(self, page: Page, notebook: str) -> NotebookNode:
        """Save the notebook in the page; what then lies in the file."""
        page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        return nbformat.read(self.root / notebook, as_version=4)
