"""A server of our own that breaks off: downloads are tested without the network."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves `files`, by path; `cuts` are the numbers of bytes after which it drops the next connections of a path."""

    request_queue_size = 64

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.cuts: dict[str, list[int]] = defaultdict(list)
        self.status: dict[str, int] = {}
        self.headers: dict[str, dict[str, str]] = defaultdict(dict)  # of a path, in place of the right ones
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def ranges_of(self, path: str) -> list[str | None]:
        return [wanted for asked, wanted in self.asked if asked == path]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        status = self.server.status.get(self.path, 200 if self.path in self.server.files else 404)
        if 300 <= status < 400:
            self.send_response(status)
            self.send_header("Location", self.server.headers[self.path]["Location"])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if status != 200:
            self.send_error(status)
            return
        content, wanted = self.server.files[self.path], wanted if self.server.ranges else None
        start = int(wanted[len("bytes="):-1]) if wanted else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if wanted else 200)
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if wanted else {}
        headers |= {"Content-Length": str(len(content) - start)} | self.server.headers[self.path]
        for name, value in headers.items():
            if wanted or name != "Content-Range":
                self.send_header(name, value)
        self.end_headers()
        cuts = self.server.cuts[self.path]
        self.wfile.write(content[start:start + cuts.pop(0) if cuts else len(content)])

    def log_message(self, *_):
        """Quiet."""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    server = Server(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
