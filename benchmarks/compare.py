"""Compare ways of doing the same work: in one process, in turns, as ratios; and what a process of its own needs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OURS = "seglab"


@dataclass
class Row:
    """seglab beside one peer on the same work."""

    work: str
    peer: str
    items: float  #: that one repeat is over
    unit: str  #: of an item
    ours: list[float]  #: seconds of each repeat
    theirs: list[float]  #: of the same repeats
    same: str = ""  #: what was asserted to be equal
    goal: float | None = None  #: how many times the peer's speed seglab's should be
    reason: str = ""  #: measured: why it is not more
    memory: dict[str, float] = field(default_factory=dict)  #: peak MB over the imports, ours and theirs

    @property
    def ratios(self) -> list[float]:
        """The peer's time over seglab's, repeat by repeat: above 1, seglab is faster."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        return self.goal is None or self.ratio >= self.goal


@dataclass
class Growth:
    """What grows with the amount of work: a line for each way of doing it."""

    work: str
    over: str  #: what is varied, with its unit
    unit: str  #: of the values
    amounts: list[float]
    lines: dict[str, list[float]]
    goal: str = ""  #: in words
    met: bool | None = None


@dataclass
class Part:
    """What one file of this folder measures."""

    title: str
    rows: list[Row] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  #: sentences for the report

    def compare(self, work: str, ways: Mapping[str, Callable[[], object]], *, repeats: int, items: float, unit: str,
                goals: Mapping[str, float] | None = None, **about: Any) -> None:
        """Time seglab's way and its peers' in turns, and add a row for each peer."""
        times = in_turns(ways, repeats)
        for peer in ways:
            if peer != OURS:
                self.rows.append(Row(work, peer, items, unit, times[OURS], times[peer],
                                     goal=(goals or {}).get(peer), **about))
                row = self.rows[-1]
                print(f"  {work}, beside {peer}: {row.ratio:.2f}", flush=True)


def in_turns(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call in each repeat. All take turns, so that a busy machine slows all of them; who goes first
    changes, so that nobody always finds the caches as another left them. A first round warms up."""
    names, seconds = list(ways), {name: [] for name in ways}
    for repeat in range(repeats + 1):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            ways[name]()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak_megabytes() -> float:
    """Peak memory of this process so far, in MB; 0 on Windows."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says begins with the peak of the process that started this one
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    if sys.platform == "win32":
        return 0.0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


class Anonymous:
    """The most memory of this process that is no file, in MB, while a block runs; 0 on other systems than Linux.

    Pages of a mapped file count as memory of the process while they are there, but the system takes them back at will.
    """

    def __enter__(self) -> Anonymous:
        self.peak, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.peak = max(self.peak, self.now())

    @staticmethod
    def now() -> float:
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def alone(module: str, *arguments: object, **variables: str) -> dict[str, Any]:
    """What a module of this folder prints as its last line, as JSON, in a process of its own: for memory."""
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", "--alone", *map(str, arguments)], cwd=ROOT,
                          env=os.environ | variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module} {arguments}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_part(measure: Callable[[argparse.Namespace], Part], by_itself: Callable[..., dict[str, Any]] | None = None,
             threads: int | None = None) -> None:
    """The command line of a part: `python -m benchmarks.NAME`.

    Args:
        measure: the measurements.
        by_itself: what `alone` asks for.
        threads: that PyTorch may use; all by default.
    """
    import torch

    if sys.argv[1:2] == ["--alone"]:
        assert by_itself is not None
        print(json.dumps(by_itself(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    parser.add_argument("--quick", action="store_true", help="little work: a dry run, whose numbers mean nothing")
    parser.add_argument("--data", type=Path, help="a folder with coco/, pets/, camvid/ …, to measure on them too")
    options = parser.parse_args()
    if threads is not None:
        torch.set_num_threads(threads)
    start = time.perf_counter()
    part = measure(options)
    result = asdict(part) | {"seconds": time.perf_counter() - start}
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    from benchmarks.report import markdown

    print(markdown(part))


def machine() -> dict[str, Any]:
    """What the figures are from."""
    import torch
    import torchvision

    name = platform.processor() or platform.machine()
    if (cpus := Path("/proc/cpuinfo")).exists():
        models = [line for line in cpus.read_text().splitlines() if "model name" in line]
        name = models[0].split(":")[1].strip() if models else name
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": name, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version(),
            "torch": torch.__version__, "torchvision": torchvision.__version__, "load": load}


def known(result: Mapping[str, Any]) -> Part:
    """A part from its JSON."""
    rows = [Row(**row) for row in result["rows"]]
    return Part(result["title"], rows, [Growth(**one) for one in result["growth"]], result["notes"])


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower one, the median, the upper one."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
