"""A widget in a real browser without JupyterLab: a page with its code, and this process as its kernel."""

from __future__ import annotations

import base64
import os
import shutil
import time
from typing import Any

import pytest
from anywidget._util import remove_buffers
from playwright.sync_api import Page

#: `underWay` holds all that will still change the page by itself: timers, frames, decoding, messages to the kernel.
PAGE = """<!doctype html><meta charset="utf-8"><body style="margin:16px"></body><script>
const underWay = new Set(), [later, frame] = [setTimeout, requestAnimationFrame].map((f) => f.bind(window));
const track = (promise, what) => {
  const one = [what], done = () => underWay.delete(one);
  underWay.add(one);
  promise.then(done, done);
  return promise;
};
for (const [start, stop] of [["setTimeout", "clearTimeout"], ["requestAnimationFrame", "cancelAnimationFrame"]]) {
  const [begin, cancel] = [window[start].bind(window), window[stop].bind(window)];
  window[start] = (f, ...rest) => {
    const id = begin((...args) => { underWay.delete(start + id); f(...args); }, ...rest);
    underWay.add(start + id);
    return id;
  };
  window[stop] = (id) => { underWay.delete(start + id); cancel(id); };
}
for (const [owner, name] of [[window, "createImageBitmap"], [Response.prototype, "arrayBuffer"]]) {
  const original = owner[name];
  owner[name] = function (...args) { return track(original.apply(this, args), name); };
}
const tell = (message) => track(toKernel(message), "message");
const moving = () => document.getAnimations().map((one) => one.transitionProperty || one.animationName);
// A frame is drawn and sizes are observed, then one looks.
window.look = () => new Promise((tell) => frame(() => later(() => tell([...underWay, ...moving()].map(String)), 0)));
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const put = (state, paths, buffers) => paths.forEach((path, i) => {
  let at = state; path.slice(0, -1).forEach((key) => { at = at[key]; }); at[path.at(-1)] = bytes(buffers[i]);
});
window.makeModel = (state, paths, buffers) => {
  put(state, paths, buffers);
  const listeners = {}, changed = new Set();
  const fire = (event, ...args) => [...(listeners[event] || [])].forEach((f) => f(...args));
  const receive = (messages) => messages.forEach(({kind, content, paths, buffers}) => {
    if (kind === "custom") return fire("msg:custom", content, buffers.map(bytes));
    put(content, paths, buffers);
    for (const [name, value] of Object.entries(content)) { state[name] = value; fire("change:" + name); }
    fire("change");
  });
  return { state, receive, comm_live: true,
    get: (name) => state[name],
    set(name, value) {
      if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
      state[name] = value; changed.add(name); fire("change:" + name); fire("change");
    },
    on(event, f) { (listeners[event] ||= []).push(f); },
    off(event, f) { listeners[event] = (listeners[event] || []).filter((g) => g !== f); },
    async save_changes() {
      const update = Object.fromEntries([...changed].map((name) => [name, state[name]])); changed.clear();
      if (this.comm_live && Object.keys(update).length) receive(await tell({kind: "update", content: update}));
    },
    async send(content) {
      if (this.comm_live) receive(await tell({kind: "custom", content}));
    },
  };
};
window.render = async (model) => {
  const el = document.body.appendChild(document.createElement("div"));
  if (!document.querySelector("style")) {
    document.head.appendChild(document.createElement("style")).textContent = model.get("_css");
  }
  const url = URL.createObjectURL(new Blob([model.get("_esm")], {type: "text/javascript"}));
  const module = (await import(url)).default;
  return await module.render({model, el});
};
</script>"""


def find_chromium() -> str | None:
    """The system's browser, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def chromium() -> str:
    """The system's browser; loud where there is none."""
    if path := find_chromium():
        return path
    if os.environ.get("CI"):
        pytest.fail("no Chromium: CI must install it (see .ci/run)")
    pytest.skip("NO BROWSER TESTED: Chromium is not installed (Debian: apt-get install chromium)")


def settle(page: Page, seconds: float = 180) -> None:
    """Wait until the page is at rest: nothing is under way that would still change it, or tell Python."""
    end = time.monotonic() + seconds
    quiet = 0
    while quiet < 2:
        busy = page.evaluate("look()")
        quiet = 0 if busy else quiet + 1
        assert time.monotonic() < end, f"not at rest after {seconds:g} s: {busy}"


class Stage:
    """Shows a widget on a page, carries its messages both ways, and keeps what the browser complains about.

    Attributes:
        errors: console errors and uncaught exceptions. A test fails if there are any at its end.
        asked: addresses that the page asked for, other than its own.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type in {"error", "warning"}
                and "Multiple readback operations" not in m.text else None)  # that is the tests' own reading of pixels
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("blob:", "data:", "about:")) else
                self.asked.append(r.url))
        page.expose_function("toKernel", self._receive)
        self.widget: Any = None

    def clear(self) -> None:
        """Make the page what a new one is: a document and a window of its own, and nothing set, held or pointed at.

        A new page takes a process of its own, and most of the time of a short test.
        """
        # Before the page is left: where the mouse was heard, set_content would make a document that captures none.
        self.page.mouse.up()
        self.page.mouse.move(0, 0)
        for key in ("Shift", "Control", "Alt"):  # a test that failed may hold one
            self.page.keyboard.up(key)
        self.page.goto("about:blank")
        self.widget, self._outbox = None, []
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": 1280, "height": 900})

    def show(self, widget: Any, times: int = 1) -> Page:
        """Render a widget, `times` views of one model, and wait until each has drawn."""
        self.widget = widget
        self._outbox: list[dict[str, Any]] = []
        widget.send = lambda content, buffers=(): self._outbox.append(
            {"kind": "custom", "content": content, "buffers": [_text(b) for b in buffers]})
        widget.observe(self._on_change)
        self._from_browser: set[str] = set()
        self.page.set_content(PAGE)
        state, paths, buffers = remove_buffers(widget.get_state())
        self.page.evaluate("([s, p, b]) => { window.model = makeModel(s, p, b); }",
                           [_plain(state), paths, [_text(b) for b in buffers]])
        for _ in range(times):
            self.page.evaluate("async () => { (window.ends ||= []).push(await render(model)); }")
        settle(self.page)
        return self.page

    def push(self) -> None:
        """Send the page what Python changed since."""
        messages, self._outbox = self._outbox, []
        self.page.evaluate("(messages) => model.receive(messages)", messages)

    def _on_change(self, change: Any) -> None:
        if change.name in self.widget.keys and change.name not in self._from_browser:
            content, paths, buffers = remove_buffers(self.widget.get_state(change.name))
            self._outbox.append({"kind": "update", "content": _plain(content), "paths": paths,
                                 "buffers": [_text(b) for b in buffers]})

    def _receive(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        if message["kind"] == "update":
            self._from_browser = set(message["content"])
            self.widget.set_state(message["content"])
            self._from_browser = set()
        else:
            self.widget._handle_custom_msg(message["content"], [])
        replies, self._outbox = self._outbox, []
        return replies


def _text(buffer: Any) -> str:
    return base64.b64encode(bytes(buffer)).decode()


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.startswith("_") or name in {"_esm", "_css"}
            if not (isinstance(value, str) and value.startswith("IPY_MODEL_"))}
