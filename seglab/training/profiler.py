"""Where the time of a training goes: shares of whole epochs, and a trace of a few steps.

The two are measured apart. The shares come from a clock that is read a dozen times a step, which costs microseconds.
The trace records each operator, which slows a step down and makes a megabyte of it, so it covers five steps only, and
the shares leave these out where enough others are left.

On a GPU, Python only queues work and runs ahead: what it spends in "forward" is the time of launching kernels. So there
the clock is the GPU's own: an event in its queue at each border between two parts. What lies between two events is what
the GPU did meanwhile, or waited for; a wait for data that the queue hides counts as none. Python never waits for them.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import tempfile
import textwrap
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch.autograd import DeviceType
from torch.profiler import ProfilerAction, ProfilerActivity, profile, record_function

from seglab.errors import WriteError
from seglab.files import atomic_folder

#: The parts of an epoch. "data" is the wait for the loader, "saving" checkpoints and what `on_epoch` does.
PARTS = ("data", "forward", "backward", "optimizer", "validation", "saving", "other")
_SHOWN = {"data": "waiting for data", "forward": "forward and loss", "saving": "checkpoints, curve"}
_TRACED = 5  # steps: some megabytes of trace, and 20 to 50 on a GPU with a deep network
_WARM_UP = 4  # steps before them: plans of convolutions, loader processes, the caches of the allocator
_ENOUGH = 10  # steps that make shares, where a run has but one epoch
_WAITING, _IDLE = 0.2, 0.5  # shares from which a hint is justified
_OPERATORS = 10


class NotProfiled:
    """What `fit` uses in place of a `Profile` if there is none: it does nothing."""

    def going_on(self, accelerator: Accelerator, folder: Path | None, epochs: range, batches: int,
                 num_workers: int) -> AbstractContextManager[None]:
        return nullcontext()

    def batches(self, loader: Any) -> Any:
        return loader

    def part(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()


class Profile(NotProfiled):
    """Measures where the time of one `fit` goes; the training itself is the same, bit by bit.

    In the run's folder, `profile/trace.json.gz` holds each operator of up to five steps, in the format that Perfetto
    (https://ui.perfetto.dev) and chrome://tracing open, with ranges called data, forward, backward and optimizer;
    `profile/summary.txt` holds `text`. A second profile goes to `profile-2`, and so on: none is replaced. Of several
    processes, the main one measures itself and writes.

    Attributes:
        text: a screen of text: shares, images a second, peak memory, the ten operators that take most, and a hint where
            the figures justify one. Where no step was left to do, it says that.
        folder: where the files are; None without a run's folder, or where nothing was measured.
        seconds: of each of `PARTS`, in the steps that the shares count; {} where nothing was measured.

    Raises:
        WriteError: in `fit`, after training, whose checkpoints are kept: the files cannot be written.

    Example:
        >>> from seglab.models import build
        >>> from seglab.training import fit
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.zeros(8, 3, 16, 16, dtype=torch.uint8), torch.ones(8, 16, 16, dtype=torch.uint8))
        >>> model, profile = build("single_conv", 2), Profile()
        >>> _ = fit(model, data, optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=2, batch_size=4,
        ...         progress=False, profile=profile)
        >>> profile.text.splitlines()[0]
        'profile of epoch 2 (2 steps, 8 pictures) on cpu'
        >>> profile.seconds["forward"] > profile.seconds["validation"]  # there is none
        True
    """

    def __init__(self) -> None:
        self.text = ""
        self.folder: Path | None = None
        self.seconds: dict[str, float] = {}
        self._plan: _Plan | None = None  # none outside of `going_on`, and in all processes but the main one
        self._tracer: Any = None
        self._clock: Any = None

    @contextmanager
    def going_on(self, accelerator: Accelerator, folder: Path | None, epochs: range, batches: int,
                 num_workers: int) -> Iterator[None]:
        """Measure what happens in the block, and write it down at its end, also after Ctrl-C.

        Args:
            accelerator: says which process this is, and the device.
            folder: of the run, which is there.
            epochs: that are still to be done, counted from 0.
            batches: of an epoch, in this process.
            num_workers: of the loader, for the hint.
        """
        self.text, self.folder, self.seconds = "", None, {}
        if not accelerator.is_main_process:
            yield
            return
        if not epochs:
            self.text = "nothing was profiled: all epochs were done before; train more of them, or in another folder"
            yield
            return
        device, stopped = accelerator.device, None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        plan = _Plan.of(epochs, batches)
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it tells that it starts and stops, and of missing GPUs
        try:
            with profile(activities=activities, schedule=plan.action) as self._tracer:
                self._plan, self._clock, self._inside, self._counting = plan, _Clock(device), ["other"], False
                self._step = self._counted = self._pictures = 0
                try:
                    yield
                except KeyboardInterrupt as error:  # raised again when all is told
                    stopped = error
                self._cross()
            self._tell(accelerator, folder, num_workers)
            if stopped is not None:
                raise stopped
        finally:
            self._plan = self._tracer = self._clock = None  # a trace takes memory

    def batches(self, loader: Any) -> Iterator[Any]:
        """The loader's batches; the wait for each is a part, and from one to the next is a step."""
        if self._plan is None:
            yield from loader
            return
        self._cross()
        self._counting = self._step >= self._plan.counted
        with self.part("data"):
            iterator = iter(loader)  # which starts the loader's processes
        while True:
            with self.part("data"):
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch
            self._end_step(len(batch[0]))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A part of `PARTS`: its time counts as that, and it is a range of the trace."""
        if self._plan is None:
            yield
            return
        self._cross()
        self._inside.append(name)
        try:
            with record_function(name) if self._plan.traces(self._step) else nullcontext():
                yield
        finally:
            self._cross()
            self._inside.pop()

    def _cross(self) -> None:
        """A border between two parts: the time since the last one is that of the part that ends here."""
        self._clock.cross(self._inside[-1] if self._counting else None)

    def _end_step(self, pictures: int) -> None:
        assert self._plan is not None
        self._cross()
        if self._counting:
            self._counted, self._pictures = self._counted + 1, self._pictures + pictures
        self._step += 1
        self._tracer.step()  # may start or stop the trace, which takes long and is no part of the training
        self._clock.cross(None)
        if self._step % self._plan.batches:  # in the middle of an epoch; else the next epoch decides
            self._counting = self._step >= self._plan.counted

    def _tell(self, accelerator: Accelerator, folder: Path | None, num_workers: int) -> None:
        """Make the text of what was measured, and write it and the trace."""
        assert self._plan is not None
        device, traced = accelerator.device, min(self._plan.traced, self._step - self._plan.first)
        if not self._counted or traced < 1:
            self.text = f"nothing was profiled: training ended in its warm-up, after {_number(self._step, 'step')}"
            return
        found = self._clock.seconds()
        self.seconds = {name: found.get(name, 0.0) for name in PARTS}
        operators, busy = _operators(self._tracer, device, traced)
        pictures = self._pictures * accelerator.num_processes
        self.text = "\n\n".join(filter(None, [
            self._head(pictures, device), self._shares(pictures, device), operators,
            _hint(self.seconds, self._counted, busy, num_workers, device)]))
        if folder is None:
            return
        self.folder = next(place for number in count(1) if not os.path.lexists(
            place := folder / (f"profile-{number}" if number > 1 else "profile")))
        self.text += f"\n\ntrace, for https://ui.perfetto.dev: {self.folder / 'trace.json.gz'}"
        _write(self.folder, self._tracer, self.text)

    def _head(self, pictures: int, device: torch.device) -> str:
        assert self._plan is not None
        plan, last = self._plan, self._plan.counted + self._counted
        first_epoch, last_epoch = (plan.done + step // plan.batches + 1 for step in (plan.counted, last - 1))
        which = f"epoch {first_epoch}" if first_epoch == last_epoch else f"epochs {first_epoch} to {last_epoch}"
        if plan.counted % plan.batches or last % plan.batches:
            which = f"steps {plan.counted % plan.batches + 1} to {(last - 1) % plan.batches + 1} of {which}"
        slow = ", some of them slower, since they are traced" * (plan.counted < plan.first + plan.traced)
        return f"profile of {which} ({_number(self._counted, 'step')}, {pictures} pictures{slow}) on {device.type}"

    def _shares(self, pictures: int, device: torch.device) -> str:
        total = sum(self.seconds.values())
        training = total - self.seconds["validation"] - self.seconds["saving"]
        lines = [f"{'part':20}{'seconds':>9}{'share':>8}"]
        lines += [f"{_SHOWN.get(name, name):20}{value:9.2f}{value / total:8.1%}"
                  for name, value in self.seconds.items()]
        return "\n".join([*lines, f"{'all':20}{total:9.2f}{1:8.1%}", "",
                          f"{pictures / training:.1f} images/s without validation and checkpoints; "
                          f"peak memory {_peak_memory(device)}"])


class _Plan(NamedTuple):
    """Which steps, counted from 0 since the training began or went on, are traced, and from which on shares count."""

    done: int  #: epochs before that
    batches: int  #: an epoch
    first: int  #: that is traced,
    traced: int  #: and how many are, all in one epoch, without its validation
    counted: int  #: where the shares begin: with the second epoch, so that they are of whole ones, or in the only one

    @classmethod
    def of(cls, epochs: range, batches: int) -> _Plan:
        traced = min(_TRACED, max(1, batches - 1))
        first = min(_WARM_UP, batches - traced)
        rest = first + traced if batches - first - traced >= _ENOUGH else first
        return cls(epochs.start, batches, first, traced, batches if len(epochs) > 1 else rest)

    def traces(self, step: int) -> bool:
        return self.first <= step < self.first + self.traced

    def action(self, step: int) -> ProfilerAction:
        """The schedule of `torch.profiler.profile`; PyTorch's own maker of schedules wants a step to warm up."""
        if step == self.first + self.traced - 1:
            return ProfilerAction.RECORD_AND_SAVE
        return (ProfilerAction.RECORD if self.traces(step) else
                ProfilerAction.WARMUP if step == self.first - 1 else ProfilerAction.NONE)


class _Clock:
    """Adds up the time between borders: on the CPU that of Python, on a GPU that of its queue."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"
        self.sums: defaultdict[str, float] = defaultdict(float)  # seconds
        self.pending: deque[tuple[Any, Any, str]] = deque()  # on a GPU, which has not come so far
        self.last = self._now()

    def cross(self, name: str | None) -> None:
        """What is since the last border belongs to a name, or with None to nothing."""
        now = self._now()
        if name is not None:
            self.pending.append((self.last, now, name))
        self.last = now
        while self.pending and (not self.cuda or self.pending[0][1].query()):  # `query` does not wait
            self._settle()

    def seconds(self) -> dict[str, float]:
        """{name: seconds}; here a GPU is waited for."""
        if self.cuda:
            torch.cuda.synchronize(self.device)
        while self.pending:
            self._settle()
        return self.sums

    def _settle(self) -> None:
        start, end, name = self.pending.popleft()
        self.sums[name] += start.elapsed_time(end) / 1000 if self.cuda else end - start

    def _now(self) -> Any:
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            return event
        if self.device.type != "cpu":  # there are no such events for all of these
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()


def _operators(tracer: profile, device: torch.device, traced: int) -> tuple[str, float]:
    """A table of the operators that take most time of their own, and the seconds a step in which the GPU computes."""
    on_gpu = device.type == "cuda"
    times = {event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total, event.count)
             for event in tracer.key_averages() if event.device_type == DeviceType.CPU
             and not event.is_user_annotation and not event.key.startswith("ProfilerStep")}
    total = sum(spent for spent, _ in times.values())  # microseconds
    lines = [f"{'operator':44}{'ms a step':>10}{'share':>8}{'calls a step':>14}"]
    for name, (spent, calls) in sorted(times.items(), key=lambda item: -item[1][0])[:_OPERATORS]:
        short = name.removeprefix("autograd::engine::evaluate_function: ")
        lines.append(f"{short if len(short) < 44 else short[:42] + '…':44}{spent / traced / 1000:10.2f}"
                     f"{spent / max(total, 1e-9):8.1%}{calls / traced:14.0f}")
    where = "the GPU's time in kernels" if on_gpu else "time in all operators"
    return "\n".join([*lines, f"(of {_number(traced, 'traced step')}; shares of {where})"]), total / traced / 1e6


def _hint(seconds: dict[str, float], steps: int, busy: float, num_workers: int, device: torch.device) -> str:
    """What to try, where a figure says so."""
    total = sum(seconds.values())
    step = sum(seconds[name] for name in ("data", "forward", "backward", "optimizer", "other")) / steps
    hint = ""
    if (share := seconds["data"] / total) > _WAITING:
        more = f"Try more loader processes than {num_workers}" if num_workers else "Try loader processes"
        hint = (f"hint: {share:.0%} of the time is waiting for data. {more}: --workers N; in Python, "
                "seglab.training.choose_num_workers measures how many.")
        if device.type == "cpu":
            hint += " They share the cores with the training: compare images/s."
    elif device.type == "cuda" and busy < _IDLE * step:
        hint = (f"hint: the GPU computes in {busy / step:.0%} of a step only. Give it more at once: a larger "
                "--batch, or --at-once auto if batches are split.")
    return textwrap.fill(hint, 110)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _peak_memory(device: torch.device) -> str:
    """Of this process: on a GPU of its tensors there, else all that was ever resident."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MiB of tensors on the GPU"
    if sys.platform == "win32":
        return "not known on Windows"
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20:,.0f} MiB of the process"


#: The end of a trace: its own path, as it is, even if that makes it no JSON.
_NAME = re.compile(rb'"traceName":\s*".*?"(?=(?:,\s*"\w+":\s*(?:"\w*"|\d+)\s*)*\s*\}\s*\Z)', re.DOTALL)


def _write(folder: Path, tracer: profile, text: str) -> None:
    """Write both files into a new folder. The trace is read again: Kineto says nothing of a disk that is full."""
    with atomic_folder(folder) as new, tempfile.TemporaryDirectory(dir=new) as scratch:
        tracer.export_chrome_trace(str(Path(scratch) / "trace.json"))
        # Where the folder's name has a backslash, Kineto cannot rename its file: there is one, whatever it is called.
        data = b"".join(path.read_bytes() for path in Path(scratch).iterdir())
        data = data[:-10_000] + _NAME.sub(b'"traceName": "trace.json.gz"', data[-10_000:])
        try:
            json.loads(data)
        except ValueError as error:
            raise WriteError(f"{folder / 'trace.json.gz'}: cannot be written", found="a trace that breaks off",
                             expected="a folder with room that can be written",
                             fix="Free some space, or choose a place on another disk. The run is kept.") from error
        (new / "trace.json.gz").write_bytes(gzip.compress(data, compresslevel=6))
        (new / "summary.txt").write_text(text + "\n", encoding="utf-8")
