"""A kernel for code that is not trusted: confined, with a time for each cell, and with little memory for its output."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
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
from nbformat.v4 import new_output

from seglab.classroom import confine
from seglab.files import data_home

#: Characters of printed text that a cell keeps; more is thrown away.
_TEXT = 20_000
#: Bytes of a picture that a cell keeps, and how many pictures; and bytes that all cells keep together.
_PICTURE, _PICTURES, _ALL = 3_000_000, 20, 40_000_000
#: Bytes that an output takes at least.
_PIECE = 200
#: What an output may be.
_KINDS = {"text/plain", "image/png", "image/jpeg"}
#: Processes that the code may have; and bytes and files by which the disk may fill while it runs.
_PROCESSES, _DISK, _FILES = 64, 4_000_000_000, 200_000
#: Bytes of memory that libraries take, besides what the code may.
_LIBRARIES = 500_000_000
#: Windows cannot confine a process, and its zmq has no sockets that are files.
_PLAIN = not hasattr(os, "fork")
#: Seconds that outputs may come after the cell has ended.
_LATE = 10.0
#: Python's kernel, without what is handed in beside the notebook on its way to modules while it starts.
_LAUNCH = "import sys; sys.path.pop(0); from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
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
        kernel = [sys.executable, "-c", _LAUNCH, "-f", self.connection_file, "--HistoryManager.enabled=False",
                  "--log-level=ERROR"]
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
        with contextlib.ExitStack() as undo:
            undo.callback(_remove, self.folder)
            self._start(undo)
            self._undo = undo.pop_all()
        return self

    def _start(self, undo: contextlib.ExitStack) -> None:
        work, package = self.folder / "work", Path(__file__).parents[1]
        for folder in (work, self.folder / "home", self.folder / "tmp", self.folder / "package"):
            folder.mkdir()
        for file in self._files:
            (shutil.copytree if file.is_dir() else shutil.copy)(file, work / file.name)
        place = package.parent
        if not _PLAIN:  # it may not read the folder that the package stands in, which may be a clone with the graders
            place = self.folder / "package"
            (place / package.name).symlink_to(package)
        way = {} if _PLAIN else {"transport": "ipc", "ip": str(self.folder / "s")}
        self._manager = _Manager(connection_file=str(self.folder / "kernel.json"), **way)
        undo.callback(self._manager.context.destroy, linger=0)
        self._manager.context.setsockopt(zmq.MAXMSGSIZE, _MESSAGE)
        self._manager.settings = {"write": str(self.folder), "memory": self._memory, "size": 0.5,
                                  "read": [str(package), str(data_home()), *map(str, self._read)]}
        undo.callback(self._stop)
        # Not the teacher's terminal, on which it could write, and read what is typed.
        self._manager.start_kernel(cwd=str(work), env=self._environment(place), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self._client = self._manager.blocking_client()
        undo.callback(self._client.stop_channels)
        self._client.start_channels()
        self._end, self._room = time.monotonic() + self._seconds, _ALL
        self._looked, self._free, self._shared = 0.0, self._free_now(), _shared_memory()
        if not self._ready():
            self._dead = "The kernel did not start."

    def _ready(self) -> bool:
        """Whether it answers, in both channels, within two minutes; its client's own way waits for a silence."""
        end = time.monotonic() + 120
        with contextlib.suppress(Exception):  # it may send anything
            while time.monotonic() < end and self._manager.is_alive():
                self._client.kernel_info()
                if self._next(self._client.get_shell_msg, 1.0) and self._next(self._client.get_iopub_msg, 1.0):
                    return True
        return False

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _stop(self) -> None:
        """End the kernel and all that it started, and wait for that."""
        if not self._manager.has_kernel:
            return
        started = self._processes()
        self._manager.shutdown_kernel(now=True)
        for process in started:  # where the system has no namespaces that end with their first process
            with contextlib.suppress(psutil.Error):
                process.kill()
        end = time.monotonic() + 10
        while any(map(_runs, started)) and time.monotonic() < end:
            time.sleep(0.01)

    def _processes(self) -> list[psutil.Process]:
        """All that it has now."""
        if (first := getattr(self._manager.provisioner, "pid", None)) is None:
            return []
        try:
            own = psutil.Process(first)
            return [own, *own.children(recursive=True)]
        except psutil.Error:  # it has ended
            return []

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
        if self._dead is None and time.monotonic() > self._end:
            self._dead = f"All cells together took longer than {self._seconds:g} s."
        if self._dead is not None:
            return Done([], self._dead, {})
        outputs, stopped, data = _Outputs(self._room), None, {}
        try:
            reply, stopped = self._wait(source, seconds, expression, outputs)
            data = self._value(reply)
        except Exception as error:  # the code can send what it likes; reading that may raise anything
            self._dead = stopped = f"It sent a message that cannot be read ({type(error).__name__})."
        if self._dead is not None:
            self._stop()
        self._room -= outputs.size
        return Done(outputs.kept, stopped, data)

    def _wait(self, source: str, seconds: float, expression: str | None,
              outputs: _Outputs) -> tuple[dict[str, Any] | None, str | None]:
        """The reply, and what ended the cell if nothing in it did."""
        message = self._client.execute(source, store_history=False, allow_stdin=False, stop_on_error=False,
                                       user_expressions={"it": expression} if expression else {})
        end, stopped = min(time.monotonic() + seconds, self._end), None
        idle, reply = False, None
        while not (idle and reply):
            if reply is None and (found := self._next(self._client.get_shell_msg, 0.0 if idle else 0.01)):
                if found["parent_header"].get("msg_id") == message:
                    reply, end = found, time.monotonic() + _LATE
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
                break
            if time.monotonic() > end:
                if reply is not None:
                    self._dead = stopped = "It went on printing, and did not end. So the kernel was stopped."
                    break
                if stopped is None:
                    stopped = f"It took longer than {seconds:g} s, or all cells together longer than allowed."
                    self._manager.interrupt_kernel()
                    end = time.monotonic() + 5
                else:
                    self._dead = stopped = f"{stopped} It could not be interrupted, so the kernel was stopped."
                    break
        return reply, stopped

    def _excess(self) -> str | None:
        """What the code takes too much of, all its processes together; looked at a few times a second."""
        if time.monotonic() - self._looked < 0.3:
            return None
        mine = self._processes()
        if len(mine) > _PROCESSES:
            return f"It started more than {_PROCESSES} processes."
        if (sum(map(_memory, mine)) > self._memory * 1e9 + _LIBRARIES
                or _shared_memory() - self._shared > self._memory * 1e9):
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
            return {"error": _plain(f"{found.get('ename')}: {found.get('evalue')}")[:300]}
        data = found.get("data", {})
        return {str(kind): str(text) for kind, text in data.items()} if isinstance(data, dict) else {}


def _memory(process: psutil.Process) -> int:
    """Bytes of a process; what it shares with others is divided by their number, where the system says so."""
    with contextlib.suppress(psutil.Error):  # it has ended
        try:
            found = process.memory_full_info()
        except psutil.AccessDenied:  # it has closed itself to those who look; this number nobody can hide
            found = process.memory_info()
        return int(getattr(found, "pss", found.rss))
    return 0


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.Error:
        return False


def _shared_memory() -> int:
    """Bytes of memory that belong to files without a disk: limits of a process do not count them. 0 if unknown."""
    return int(getattr(psutil.virtual_memory(), "shared", 0))


def _remove(folder: Path) -> None:
    """With all in it; also folders in folders without an end, at which shutil gives up, and folders that are closed."""
    if not _PLAIN:
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run([*command, "--", str(folder)], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def _plain(text: Any) -> str:
    """Text that can be written to a file: not all that JSON holds can."""
    return str(text).encode("utf-8", "replace").decode()


class _Outputs:
    """Of one cell, as far as they are kept: `room` bytes at most."""

    def __init__(self, room: int) -> None:
        self.kept: list[NotebookNode] = []
        self.size, self._room = 0, room
        self._text = self._pictures = 0

    def add(self, message: dict[str, Any]) -> None:
        """Keep it, a part of it, or nothing."""
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            name, printed = "stderr" if content["name"] == "stderr" else "stdout", _plain(content["text"])
            text = printed[:max(0, min(_TEXT - self._text, self._room - self.size))]
            if text and self.kept and self.kept[-1].get("name") == name:
                self.kept[-1].text += text
            elif text:
                self.size += _PIECE
                self.kept.append(new_output("stream", name=name, text=text))
            if self._text < _TEXT <= self._text + len(printed) and self.kept:
                self.kept[-1].text += "\n… more was printed\n"
            self._text += len(printed)
            self.size += len(text)
        elif kind in {"display_data", "execute_result", "error"} and self._pictures < _PICTURES:
            self._pictures += 1
            # Made anew, of text alone: HTML and scripts would run in the browser of whoever reads the graded notebook,
            # and a picture's metadata become attributes there.
            if kind == "error":
                output = new_output(kind, ename=_plain(content["ename"]), evalue=_plain(content["evalue"]),
                                    traceback=[_plain(line) for line in content["traceback"]])
            else:
                output = new_output(kind, data={name: _plain(value) for name, value in content["data"].items()
                                                if name in _KINDS})
            if (size := len(str(output))) <= min(_PICTURE, self._room - self.size):
                self.size += size
                self.kept.append(output)
