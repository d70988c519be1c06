"""A kernel for code that is not trusted: confined, with a time for each cell, and with little memory for its output."""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import zmq
from jupyter_client.manager import KernelManager
from nbformat import NotebookNode
from nbformat.v4 import new_output, output_from_msg

from seglab.classroom import confine
from seglab.files import data_home

#: Characters of printed text that a cell keeps; more is thrown away.
_TEXT = 20_000
#: Bytes of a picture that a cell keeps, and how many pictures.
_PICTURE, _PICTURES = 3_000_000, 20
#: What an output may be.
_KINDS = {"text/plain", "image/png", "image/jpeg"}
#: Processes that the code may have; and bytes and files by which the disk may fill while it runs.
_PROCESSES, _DISK, _FILES = 64, 4_000_000_000, 200_000
#: Windows cannot confine a process, and its zmq has no sockets that are files.
_PLAIN = not hasattr(os, "fork")
#: Bytes of a message from the kernel: who sends more is cut off.
_MESSAGE = 40_000_000


class Done(NamedTuple):
    """What a cell did: its outputs, what ended it if nothing in it did, and what an expression gave, by type."""

    outputs: list[NotebookNode]
    stopped: str | None
    data: dict[str, str]


class _Manager(KernelManager):
    """Starts Python's kernel through `confine`."""

    settings: dict[str, Any]

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file,
                  "--HistoryManager.enabled=False", "--log-level=ERROR"]
        return kernel if _PLAIN else [sys.executable, confine.__file__, json.dumps(self.settings), *kernel]


class ConfinedKernel:
    """A context in which cells run.

    Args:
        student: whose code it is.
        files: that the code may read and change; they are copied.
        read: folders that it may read.
        memory: GB that it may take.
        seconds: that all cells may take together.
    """

    def __init__(self, student: str, files: Sequence[Path] = (), read: Sequence[Path] = (), memory: float = 4.0,
                 seconds: float = 900.0) -> None:
        self._student, self._files, self._read, self._memory, self._seconds = student, files, read, memory, seconds
        self._dead: str | None = None

    def __enter__(self) -> ConfinedKernel:
        # A short path: those of sockets have 107 characters at most.
        self.folder = Path(tempfile.mkdtemp(prefix="seglab-")).resolve()
        work = self.folder / "work"
        for folder in (work, self.folder / "home", self.folder / "tmp"):
            folder.mkdir()
        for file in self._files:
            (shutil.copytree if file.is_dir() else shutil.copy)(file, work / file.name)
        package = Path(__file__).parents[1]
        way = {} if _PLAIN else {"transport": "ipc", "ip": str(self.folder / "s")}
        self._manager = _Manager(connection_file=str(self.folder / "kernel.json"), **way)
        self._manager.context.setsockopt(zmq.MAXMSGSIZE, _MESSAGE)
        self._manager.settings = {"write": str(self.folder), "memory": self._memory, "size": 0.5,
                                  "read": [str(package), str(data_home()), *map(str, self._read)]}
        self._manager.start_kernel(cwd=str(work), env=self._environment(package.parent))
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._end = time.monotonic() + self._seconds
        self._looked, self._free = 0.0, self._free_now()
        try:
            self._client.wait_for_ready(timeout=120)
        except RuntimeError:
            self._dead = "The kernel did not start."
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_channels()
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)
        self._manager.context.destroy(linger=0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self, package: Path) -> dict[str, str]:
        """What the code may know: nothing of the teacher's own environment."""
        home = str(self.folder / "home")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "SEGLAB_HOME",
                                                    "OMP_NUM_THREADS") if name in os.environ}
        # One thread: on a computer that does other things, too, several wait for each other, and cells take minutes.
        return {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1", "SEGLAB_HOME": str(data_home()),
                "OMP_NUM_THREADS": "1", **kept, "HOME": home, "USERPROFILE": home,
                "TMPDIR": str(self.folder / "tmp"), "MPLCONFIGDIR": home,
                "IPYTHONDIR": home, "SEGLAB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
                "NBGRADER_EXECUTION": "autograde", "SEGLAB_STUDENT": self._student}

    def run(self, source: str, seconds: float, expression: str | None = None) -> Done:
        """Run a cell, and then evaluate an expression.

        A cell that takes longer is interrupted; if that does not help, the kernel is stopped, and no other cell runs.
        """
        if self._dead is not None:
            return Done([], self._dead, {})
        message = self._client.execute(source, store_history=False, allow_stdin=False, stop_on_error=False,
                                       user_expressions={"it": expression} if expression else {})
        outputs, stopped = _Outputs(), None
        end = min(time.monotonic() + seconds, self._end)
        idle, reply = False, None
        while not (idle and reply):
            if reply is None and (found := self._next(self._client.get_shell_msg, 0.0 if idle else 0.01)):
                reply = found if found["parent_header"].get("msg_id") == message else None
            elif found := self._next(self._client.get_iopub_msg, 0.5):
                if found["parent_header"].get("msg_id") == message:
                    idle = (found["msg_type"], found["content"].get("execution_state")) == ("status", "idle")
                    outputs.add(found)
            elif reply is not None:
                break  # all is said; "idle" was lost among very many outputs
            elif not self._manager.is_alive():
                self._dead = stopped = "The kernel died. (Did it use too much memory, or call exit?)"
                break
            if (excess := self._excess()) is not None:
                self._dead = stopped = f"{excess} So the kernel was stopped."
                self._manager.shutdown_kernel(now=True)
                break
            if time.monotonic() > end and reply is None:
                if stopped is None:
                    stopped = f"It took longer than {seconds:g} s, or all cells together longer than allowed."
                    self._manager.interrupt_kernel()
                    end = time.monotonic() + 5
                else:
                    self._dead = f"{stopped} It could not be interrupted, so the kernel was stopped."
                    stopped = self._dead
                    self._manager.shutdown_kernel(now=True)
                    break
        return Done(outputs.kept, stopped, self._value(reply))

    def _excess(self) -> str | None:
        """What the code takes too much of, all its processes together; looked at a few times a second."""
        started = getattr(self._manager.provisioner, "pid", None)
        if started is None or time.monotonic() - self._looked < 0.3:
            return None
        try:
            mine = psutil.Process(started).children(recursive=True)
        except psutil.NoSuchProcess:
            return None
        if len(mine) > _PROCESSES:
            return f"It started more than {_PROCESSES} processes."
        if len(mine) > 2 and sum(map(_memory, mine)) > self._memory * 1e9:  # a single one is limited by itself
            return f"Its processes took more than {self._memory:g} GB together."
        if any(before - now > most for before, now, most in zip(self._free, self._free_now(), (_DISK, _FILES),
                                                                strict=True)):
            return f"The disk filled by more than {_DISK // 1_000_000_000} GB, or {_FILES:,} files, while it ran."
        self._looked = time.monotonic()
        return None

    def _free_now(self) -> tuple[int, int]:
        """Bytes, and where the system counts them, files that the disk has room for."""
        files = os.statvfs(self.folder).f_favail if hasattr(os, "statvfs") else 0
        return shutil.disk_usage(self.folder).free, files

    @staticmethod
    def _next(get: Any, seconds: float) -> dict[str, Any] | None:
        try:
            return get(timeout=seconds)
        except queue.Empty:
            return None

    @staticmethod
    def _value(reply: dict[str, Any] | None) -> dict[str, str]:
        """Of the expression: its data by type, or {"error": why there is none}."""
        found = (reply or {}).get("content", {}).get("user_expressions", {}).get("it", {})
        if found.get("status") == "error":
            return {"error": f"{found.get('ename')}: {found.get('evalue')}"[:300]}
        data = found.get("data", {})
        return {str(kind): str(text) for kind, text in data.items()} if isinstance(data, dict) else {}


def _memory(process: psutil.Process) -> int:
    """Bytes of a process; what it shares with others is divided by their number, where the system says so."""
    try:
        found = process.memory_full_info()
    except psutil.Error:  # it has ended
        return 0
    return int(getattr(found, "pss", found.rss))


class _Outputs:
    """Of one cell, as far as they are kept."""

    def __init__(self) -> None:
        self.kept: list[NotebookNode] = []
        self._text = self._pictures = 0

    def add(self, message: dict[str, Any]) -> None:
        """Keep it, a part of it, or nothing."""
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            text = str(content["text"])[:max(0, _TEXT - self._text)]
            if text and self.kept and self.kept[-1].get("name") == content["name"]:
                self.kept[-1].text += text
            elif text:
                self.kept.append(new_output("stream", name=content["name"], text=text))
            if self._text < _TEXT <= self._text + len(content["text"]):
                self.kept[-1].text += "\n… more was printed\n"
            self._text += len(content["text"])
        elif kind in {"display_data", "execute_result", "error"} and self._pictures < _PICTURES:
            self._pictures += 1
            output = output_from_msg(message)
            if "data" in output:  # HTML and scripts would run in the browser of whoever reads the graded notebook
                output.data = {name: value for name, value in output.data.items() if name in _KINDS}
            if len(str(output)) <= _PICTURE:
                self.kept.append(output)
