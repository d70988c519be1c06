"""Each mutant in a process of its own, forked from this one with everything imported, and the verdict on it."""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from seglab.errors import SeglabError
from tools.fuzz.mutations import Mutation

FINE = ("right", "changed, legally", "counted skip", "documented error")
FAILURES = ("changed", "unnamed error", "traceback", "crash", "hang", "memory", "outside")
#: Events of Python that write, and which of their arguments is the path; and those that no reader of files needs.
_WRITES = {"open": 0, "os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.link": 1, "os.symlink": 1,
           "os.truncate": 0, "os.chmod": 0, "os.utime": 0}
_STRANGE = ("socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
_PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Result:
    """What came of an input: something to compare, and how many of its parts were left out and counted."""

    value: Any
    skipped: int = 0


@dataclass(frozen=True)
class Kind:
    """One kind of file: how to make a valid folder, what of it is damaged and how, and what a user does with it.

    Attributes:
        make: fills a folder, which it makes.
        files: {pattern of files in the folder: what is done to their bytes}.
        run: (folder, the damaged file, "error" or "skip" for the dataset's `problems`) -> what came of it.
        sees: whether a checksum in a damaged file, or beside it, tells that it was damaged: then nothing may change.
        prepare: what is done in each copy of the folder before the damage, if its result cannot be copied.
    """

    make: Callable[[Path], Any]
    files: dict[str, tuple[Mutation, ...]]
    run: Callable[[Path, Path, str], Result]
    sees: Callable[[Path], bool] = lambda path: False
    prepare: Callable[[Path], Any] | None = None


@dataclass
class Outcome:
    """The verdict on a mutant, what was done to it, what came of it, and the file and line where that comes from."""

    number: int
    kind: str
    verdict: str = ""
    what: str = ""
    message: str = ""
    place: str = ""
    details: str = ""


@dataclass
class Job:
    """A process that runs a mutant; or, as number -1, makes a kind's folder and runs it undamaged."""

    number: int
    kind: str
    box: Path
    pid: int = 0
    start: float = field(default_factory=time.monotonic)
    stopped: str = ""

    def told(self) -> dict[str, Any]:
        """What the process wrote down."""
        path = self.box / "told.json"
        return json.loads(path.read_text()) if path.exists() else {}


class Fuzzer:
    """Runs mutants of these kinds in a folder, several at a time.

    Args:
        kinds: by name. They take turns: number n is of kind n modulo their number.
        root: an empty folder for it all.
        seed: the same one gives the same mutants.
        seconds: that one may take; six times as many where the machine is busy with something else.
        memory: bytes that one may take beyond what the undamaged input takes.
        keep: a folder for the inputs that failed.
    """

    def __init__(self, kinds: dict[str, Kind], root: Path, seed: int = 0, seconds: float = 10.0,
                 memory: int = 2 << 30, keep: Path | None = None) -> None:
        self.kinds, self.root, self.seed, self.keep = kinds, Path(os.path.realpath(root)), seed, keep
        self.seconds, self.memory = seconds, memory
        self.known: dict[str, dict[str, Any]] = {}  # what comes of undamaged input: by kind, policy and part
        self.usual: dict[str, int] = {}  # the memory that it takes, in bytes, by kind

    def numbers(self, count: int, chosen: list[str]) -> Iterator[int]:
        """The numbers of the first mutants of some kinds."""
        names, number = list(self.kinds), 0
        while count:
            if names[number % len(names)] in chosen:
                yield number
                count -= 1
            number += 1

    def run(self, numbers: Iterable[int], jobs: int = 2) -> Iterator[Outcome]:
        """The outcomes, in the order in which they end."""
        names, running, waiting = list(self.kinds), dict[int, Job](), iter(numbers)
        while True:
            while len(running) < jobs and (number := next(waiting, None)) is not None:
                kind = names[number % len(names)]
                if kind not in self.usual:
                    self._learn(kind)
                job = self._fork(number, kind)
                running[job.pid] = job
            if not running:
                return
            for job, status, peak in self._ended(running):
                yield self._judged(job, status, peak)
                shutil.rmtree(job.box.parents[2], ignore_errors=True)

    def _learn(self, kind: str) -> None:
        """Make a kind's folder, and remember what comes of it undamaged."""
        job = self._fork(-1, kind)
        running = {job.pid: job}
        while running:
            for _, _, peak in self._ended(running):
                self.usual[kind] = peak
        told, log = job.told(), (job.box / "log.txt").read_text(errors="replace")
        wrong = [one["error"] + one["details"] for one in told.get("known", {}).values() if "error" in one]
        if wrong or not told or "OUTSIDE" in log:
            raise SystemExit(f"{kind}: something is wrong with the undamaged input\n{''.join(wrong[:1]) or log}")
        self.known |= told["known"]
        for name in {*told["modules"]} - {*sys.modules}:  # or each mutant would import them anew
            with suppress(Exception):
                importlib.import_module(name)
        gc.collect()
        gc.freeze()  # a collection in a mutant would write into, and so copy, all of this process's memory

    def _fork(self, number: int, kind: str) -> Job:
        job = Job(number, kind, self.root / f"{kind}-{number}" / "a" / "b" / "box")
        job.box.mkdir(parents=True)
        sys.stdout.flush()
        job.pid = os.fork()
        if not job.pid:
            try:
                self._confine(job)
                told = self._mutant(job) if number >= 0 else self._undamaged(job)
                (job.box / "told.json").write_text(json.dumps(told))
            except BaseException:
                traceback.print_exc()
                os._exit(70)
            os._exit(0)
        return job

    # ------------------------------------------------------------------------------------------- in the other process
    def _undamaged(self, job: Job) -> dict[str, Any]:
        kind, folder, template = self.kinds[job.kind], job.box / "case", self._template(job)
        kind.make(template)
        self._copy(job)
        parts = {_part(folder, path): path for pattern in kind.files for path in folder.glob(pattern)}
        known = {}
        for part, path in parts.items():
            for policy in ("error", "skip"):
                shutil.rmtree(folder)
                self._copy(job)
                known[f"{job.kind} {policy} {part}"] = _attempt(kind, folder, path, policy)
        return {"known": known, "modules": [*sys.modules]}

    def _mutant(self, job: Job) -> dict[str, Any]:
        kind, folder = self.kinds[job.kind], job.box / "case"
        self._copy(job)
        files = sorted((path, ways) for pattern, ways in kind.files.items() for path in folder.glob(pattern))
        rng = Random(f"{self.seed}/{job.kind}/{job.number // len(self.kinds)}")
        path, ways = rng.choice(files)
        what, policy = _damage(path, ways, rng), rng.choice(["error", "skip"])
        told = {"file": str(path.relative_to(folder)), "key": f"{job.kind} {policy} {_part(folder, path)}",
                "what": f"{path.relative_to(folder)} ({policy}): {what}", "sees": kind.sees(path)}
        (job.box / "told.json").write_text(json.dumps(told))  # in case that it does not come back
        return told | _attempt(kind, folder, path, policy)

    def _template(self, job: Job) -> Path:
        return self.root / f"{job.kind}.made"

    def _copy(self, job: Job) -> None:
        shutil.copytree(self._template(job), job.box / "case", symlinks=True)
        if (prepare := self.kinds[job.kind].prepare) is not None:
            prepare(job.box / "case")

    def _confine(self, job: Job) -> None:
        """A home and a log of its own, limits, no network, and a look-out for what is written elsewhere."""
        home, log = job.box / "home", os.open(job.box / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        home.mkdir()
        os.chdir(home)
        os.environ |= {"SEGLAB_HOME": str(home), "HOME": str(home), "TMPDIR": str(home), "SEGLAB_OFFLINE": "1"}
        os.environ.pop("SEGLAB_DATA", None)
        os.dup2(log, 1)
        os.dup2(log, 2)
        faulthandler.enable(log)
        faulthandler.register(signal.SIGUSR1, log)
        os.fsync = lambda handle: None  # thousands of them are hard on a disk
        sys.dont_write_bytecode = True
        size = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
        for what, limit in ((resource.RLIMIT_AS, size + 2 * self.memory), (resource.RLIMIT_FSIZE, self.memory),
                            (resource.RLIMIT_CORE, 0)):
            resource.setrlimit(what, (limit, limit))
        allowed = (f"{job.box}/", "/dev/", "/proc/", f"{self._template(job)}/" if job.number < 0 else "/dev/")

        def watch(event: str, args: tuple[Any, ...]) -> None:
            if event in _STRANGE:
                os.write(log, f"OUTSIDE {event} {args!r:.200}\n".encode(errors="replace"))
            if event not in _WRITES or (event == "open" and not (
                    isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))):
                return
            if isinstance(path := args[_WRITES[event]], (str, bytes, os.PathLike)):
                folder, name = os.path.split(os.fsdecode(path))
                full = os.path.join(os.path.realpath(folder or "."), name)
                if not f"{full}/".startswith(allowed):
                    os.write(log, f"OUTSIDE {event} {full}\n".encode(errors="replace"))

        sys.addaudithook(watch)

    # ------------------------------------------------------------------------------------------------ in this process
    def _ended(self, running: dict[int, Job]) -> Iterator[tuple[Job, int, int]]:
        """Wait a moment, stop what takes too much; give those that have ended: (job, status, peak of its memory)."""
        time.sleep(0.005)
        for pid, job in list(running.items()):
            ended, status, used = os.wait4(pid, os.WNOHANG)
            if ended:
                del running[pid]
                yield job, status, used.ru_maxrss * 1024
            elif not job.stopped:
                self._stop(job)

    def _stop(self, job: Job) -> None:
        """Stop a process that takes too long or too much memory; it says where it is."""
        try:
            fields = Path(f"/proc/{job.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        seconds, limit = time.monotonic() - job.start, self.seconds if job.number >= 0 else 60.0
        worked = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if seconds > limit and (worked > limit / 2 or seconds > 6 * limit):
            job.stopped = "hang"
        elif int(fields[21]) * _PAGE > self.usual.get(job.kind, 4 << 30) + self.memory:
            job.stopped = "memory"
        else:
            return
        os.kill(job.pid, signal.SIGUSR1)
        time.sleep(0.3)
        os.kill(job.pid, signal.SIGKILL)

    def _judged(self, job: Job, status: int, peak: int) -> Outcome:
        told, log = job.told(), (job.box / "log.txt").read_text(errors="replace")
        known = self.known.get(told.get("key", ""), {})
        found = Outcome(job.number, job.kind, "", told.get("what", ""), told.get("error", ""), told.get("place", ""),
                        told.get("details", ""))
        outside = [line for line in log.splitlines() if line.startswith("OUTSIDE")] + [
            f"OUTSIDE {path}" for path in job.box.parents[2].rglob("*") if not path.is_relative_to(job.box)
            and not job.box.is_relative_to(path)]  # also what was not written by Python
        if job.stopped or not {"value", "error"} & {*told}:
            found.verdict, found.details = job.stopped or "crash", log[-3000:]
            found.message = found.verdict if job.stopped else f"signal {status & 127}, exit status {status >> 8}"
            lines = [line for line in log.splitlines() if "/seglab/" in line] or [""]
            found.place = lines[0].strip().rpartition("/seglab/")[2].replace('", line ', ":")
        elif outside:
            found.verdict, found.message = "outside", "; ".join(outside[:3])
        elif told.get("memory") or peak > self.usual[job.kind] + self.memory:
            found.verdict, found.message = "memory", f"{peak / 1e9:.1f} GB; {found.message}"
        elif "error" in told:
            found.verdict = "traceback" if not told["ours"] else (
                "documented error" if told["named"] else "unnamed error")
        elif told["value"] == known.get("value"):
            found.verdict = "right"
        elif told["skipped"] > known.get("skipped", 0):
            found.verdict = "counted skip"
        else:
            found.verdict, found.place = "changed" if told["sees"] else "changed, legally", Path(told["file"]).name
            found.message = f"{str(told['value'])[:200]}\n  instead of {str(known.get('value'))[:200]}"
        if found.verdict in FAILURES and self.keep is not None:
            shutil.copytree(job.box, self.keep / f"{job.number}-{job.kind}-{found.verdict.replace(' ', '-')}",
                            symlinks=True, dirs_exist_ok=True)
        return found


def _part(folder: Path, path: Path) -> str:
    """What is at the top of the path: what comes of it undamaged is found out once for each of these."""
    return path.relative_to(folder).parts[0]


def _damage(path: Path, ways: tuple[Mutation, ...], rng: Random) -> str:
    """Damage a file once to three times in one way; says what was done."""
    if (draw := rng.random()) < 0.02:
        path.unlink()
        if draw < 0.01:
            path.mkdir()
        return "a folder in place of the file" if draw < 0.01 else "no file"
    way, done = rng.choice(ways), []
    for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
        with suppress(Exception):  # too broken to be damaged a second time in this way
            data, what = way(path.read_bytes(), rng)
            path.write_bytes(data)
            done.append(what)
    return "; ".join(done)


def _attempt(kind: Kind, folder: Path, path: Path, policy: str) -> dict[str, Any]:
    """What comes of it: the result, or the error with all that decides on the verdict."""
    try:
        result = kind.run(folder, path, policy)
        return {"value": json.loads(json.dumps(result.value)), "skipped": result.skipped}
    except BaseException as error:
        frames, chain, one = traceback.extract_tb(error.__traceback__), [], error
        while one is not None and len(chain) < 20:
            chain.append(one)
            one = one.__cause__ or one.__context__  # type: ignore[assignment]
        inner = [frame for frame in frames if "/seglab/" in frame.filename] or frames
        return {"error": f"{type(error).__name__}: {error}"[:2000], "ours": isinstance(error, SeglabError),
                "named": any(name in str(error) for name in (path.name, str(folder))),
                "memory": any(isinstance(one, MemoryError) for one in chain),
                "place": f"{inner[-1].filename.rpartition('/seglab/')[2]}:{inner[-1].lineno}",
                "details": "\n".join(f"    {one.filename.rpartition('/site-packages/')[2]}:{one.lineno}  {one.line}"
                                     for one in frames[-5:])[-2000:]}
