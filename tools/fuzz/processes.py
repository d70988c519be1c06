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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from seglab.errors import SeglabError
from tools.fuzz.mutations import Mutation

#: Every verdict there is; those of the second line are failures.
FINE = ("right", "changed, legally", "counted skip", "documented error")
FAILURES = ("changed", "unnamed error", "traceback", "crash", "hang", "memory", "outside")
_WRITES = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.link": 1, "os.symlink": 1, "os.truncate": 0,
           "os.chmod": 0, "os.utime": 0}
_STRANGE = ("socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")


@dataclass(frozen=True)
class Result:
    """What came of an input: something to compare, and how many of its parts were left out and counted."""

    value: Any
    skipped: int = 0


@dataclass(frozen=True)
class Kind:
    """One kind of file: how to make a valid folder, what of it is damaged and how, and what a user does with it.

    Attributes:
        make: fills a folder.
        files: {pattern of files in the folder: what is done to their bytes}.
        run: (folder, the damaged file, "error" or "skip" for the dataset's `problems`) -> what came of it.
        sees: whether a checksum that lies in a damaged file, or beside it, tells that it was damaged.
        prepare: what is done in each copy of the folder before the damage, if it cannot be copied.
    """

    make: Callable[[Path], Any]
    files: dict[str, tuple[Mutation, ...]]
    run: Callable[[Path, Path, str], Result]
    sees: Callable[[Path], bool] = lambda path: False
    prepare: Callable[[Path], Any] | None = None


@dataclass
class Outcome:
    """The verdict on a mutant, and what there is to say about it; `place` is the file and line where it comes from."""

    number: int
    kind: str
    verdict: str = ""
    what: str = ""
    message: str = ""
    place: str = ""
    details: str = ""
    result: Any = None


@dataclass
class Job:
    """A process that runs a mutant, or, without a number, the undamaged folder."""

    number: int
    kind: str
    box: Path
    pid: int = 0
    start: float = field(default_factory=time.monotonic)
    stopped: str = ""


class Fuzzer:
    """Runs mutants of these kinds in a folder, several at a time.

    Args:
        kinds: by name.
        root: an empty folder for it all.
        seed: the same one gives the same mutants.
        seconds: that one may take; six times as many where the machine is busy with something else.
        memory: bytes that one may take beyond what the undamaged input takes.
        keep: a folder for the inputs that failed.
    """

    def __init__(self, kinds: dict[str, Kind], root: Path, seed: int = 0, seconds: float = 10.0,
                 memory: int = 2 << 30, keep: Path | None = None) -> None:
        self.kinds, self.root, self.seed, self.seconds, self.memory, self.keep = kinds, root, seed, seconds, memory, keep
        self.known: dict[str, dict[str, Any]] = {}  # what came of the undamaged folders, by "kind policy file"
        self.usual: dict[str, int] = {}  # the memory that they take, bytes

    def numbers(self, count: int, chosen: list[str]) -> Iterator[int]:
        """The numbers of the first mutants of some kinds; kinds take turns."""
        names, number = list(self.kinds), 0
        while count:
            if names[number % len(names)] in chosen:
                yield number
                count -= 1
            number += 1

    def run(self, numbers: Iterator[int] | list[int], jobs: int = 2) -> Iterator[Outcome]:
        """The outcomes, in the order in which they end."""
        names = list(self.kinds)
        running: dict[int, Job] = {}
        waiting = iter(numbers)
        while True:
            while len(running) < jobs and (number := next(waiting, None)) is not None:
                kind = names[number % len(names)]
                if kind not in self.usual:
                    self._learn(kind)
                job = self._fork(number, kind)
                running[job.pid] = job
            if not running:
                return
            yield from self._ended(running)

    def _learn(self, kind: str) -> None:
        """Make a kind's folder, and remember what comes of it undamaged."""
        job = self._fork(-1, kind)
        outcome = None
        while outcome is None:
            outcome = next(self._ended({job.pid: job}), None)
        if outcome.verdict != "right":
            raise SystemExit(f"{kind}: the undamaged input is no good\n{outcome.verdict} {outcome.message}\n"
                             f"{outcome.details}")
        self.known |= outcome.result["known"]
        for name in set(outcome.result["modules"]) - {*sys.modules}:  # or each mutant would import them anew
            with suppress(Exception):
                importlib.import_module(name)
        gc.collect()
        gc.freeze()

    def _fork(self, number: int, kind: str) -> Job:
        job = Job(number, kind, self.root / f"{kind}-{number}" / "a" / "b" / "box")
        job.box.mkdir(parents=True)
        sys.stdout.flush()
        job.pid = os.fork()
        if not job.pid:
            try:
                self._child(job)
            finally:
                os._exit(0)
        return job

    # ------------------------------------------------------------------------------------------- in the other process
    def _child(self, job: Job) -> None:
        self._confine(job)
        kind, folder = self.kinds[job.kind], job.box / "case"
        template = self.root / f"{job.kind}.made"
        if job.number < 0:
            kind.make(template)
            self._copy(kind, template, folder)
            parts = {self._part(folder, path): path for pattern in kind.files for path in folder.glob(pattern)}
            told: dict[str, Any] = {"known": {}, "modules": []}
            for part, path in parts.items():
                for policy in ("error", "skip"):
                    shutil.rmtree(folder)
                    self._copy(kind, template, folder)
                    told["known"][f"{job.kind} {policy} {part}"] = self._attempt(kind, folder, path, policy)
            told["modules"] = [*sys.modules]
        else:
            self._copy(kind, template, folder)
            files = sorted((path, ways) for pattern, ways in kind.files.items() for path in folder.glob(pattern))
            rng = Random(f"{self.seed}/{job.kind}/{job.number // len(self.kinds)}")
            path, ways = rng.choice(files)
            what, policy = self._damage(path, ways, rng), rng.choice(["error", "skip"])
            told = {"file": str(path.relative_to(folder)), "part": self._part(folder, path), "policy": policy,
                    "what": what, "sees": kind.sees(path)}
            (job.box / "told.json").write_text(json.dumps(told))  # in case it crashes
            told |= self._attempt(kind, folder, path, policy)
        (job.box / "told.json").write_text(json.dumps(told))

    def _part(self, folder: Path, path: Path) -> str:
        """The file or folder at the top that a file is in: what comes of it undamaged is found out once for each."""
        return path.relative_to(folder).parts[0]

    def _copy(self, kind: Kind, template: Path, folder: Path) -> None:
        shutil.copytree(template, folder, symlinks=True)
        if kind.prepare is not None:
            kind.prepare(folder)

    def _confine(self, job: Job) -> None:
        """A home, a working directory and output of its own; limits; no network, and a look-out for other files."""
        home, log = job.box / "home", os.open(job.box / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        home.mkdir()
        os.chdir(home)
        os.environ |= {"SEGLAB_HOME": str(home), "HOME": str(home), "TMPDIR": str(home), "SEGLAB_OFFLINE": "1"}
        os.environ.pop("SEGLAB_DATA", None)
        for stream in (1, 2):
            os.dup2(log, stream)
        faulthandler.enable(log)
        faulthandler.register(signal.SIGUSR1, log, all_threads=True)
        os.fsync = lambda handle: None  # thousands of them wear a disk out
        sys.dont_write_bytecode = True
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2 * self.memory,) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.memory,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        own = (os.path.realpath(job.box) + os.sep, "/dev/", "/proc/", str(self.root / f"{job.kind}.made"))

        def watch(event: str, args: tuple[Any, ...]) -> None:
            if event == "open" and (not isinstance(args[2], int) or not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
            path = args[_WRITES.get(event, 0)] if event == "open" or event in _WRITES else None
            if isinstance(path, (str, bytes, os.PathLike)):
                path = os.fsdecode(path)
                full = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
                if full + os.sep != own[0] and not full.startswith(own):
                    os.write(log, f"OUTSIDE {event} {full}\n".encode(errors="replace"))
            elif event in _STRANGE:
                os.write(log, f"OUTSIDE {event} {args!r:.200}\n".encode(errors="replace"))

        sys.addaudithook(watch)

    def _damage(self, path: Path, ways: tuple[Mutation, ...], rng: Random) -> str:
        if (draw := rng.random()) < 0.02:
            path.unlink()
            if draw < 0.01:
                path.mkdir()
            return "a folder in its place" if draw < 0.01 else "no file"
        done = []
        for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
            try:
                data, what = rng.choice(ways)(path.read_bytes(), rng)
            except Exception:  # it is too broken for a second damage of this kind
                continue
            path.write_bytes(data)
            done.append(what)
        return "; ".join(done)

    def _attempt(self, kind: Kind, folder: Path, path: Path, policy: str) -> dict[str, Any]:
        try:
            result = kind.run(folder, path, policy)
            return {"value": result.value, "skipped": result.skipped}
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            chain, one = [], error
            while one is not None:
                chain.append(type(one).__name__)
                one = one.__cause__ or one.__context__  # type: ignore[assignment]
            ours = [frame for frame in frames if "/seglab/" in frame.filename] or frames
            place = f"{ours[-1].filename.partition('/seglab/')[2] or ours[-1].filename}:{ours[-1].lineno}"
            return {"error": f"{type(error).__name__}: {error}"[:2000], "ours": isinstance(error, SeglabError),
                    "names": any(name in str(error) for name in (path.name, str(path.parent), str(folder))),
                    "memory": "MemoryError" in chain, "place": place,
                    "details": "".join(traceback.format_list(frames[-6:]))[-3000:]}

    # ------------------------------------------------------------------------------------------------ in this process
    def _ended(self, running: dict[int, Job]) -> Iterator[Outcome]:
        """Wait a moment; stop what takes too long or too much; the outcomes of those that have ended."""
        time.sleep(0.005)
        for pid, job in list(running.items()):
            ended, status, used = os.wait4(pid, os.WNOHANG)
            if not ended:
                self._watch(job)
                continue
            del running[pid]
            yield self._judge(job, status, used.ru_maxrss * 1024)

    def _watch(self, job: Job) -> None:
        if job.stopped:
            return
        try:
            fields = Path(f"/proc/{job.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        seconds, page = time.monotonic() - job.start, resource.getpagesize()
        worked = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        limit = self.seconds if job.number >= 0 else 20 * self.seconds
        if seconds > limit and (worked > limit / 2 or seconds > 6 * limit):
            job.stopped = "hang"
        elif job.number >= 0 and int(fields[21]) * page > self.usual[job.kind] + self.memory:
            job.stopped = "memory"
        if job.stopped:
            os.kill(job.pid, signal.SIGUSR1)  # it says where it is
            time.sleep(0.3)
            os.kill(job.pid, signal.SIGKILL)

    def _judge(self, job: Job, status: int, peak: int) -> Outcome:
        told = json.loads((job.box / "told.json").read_text()) if (job.box / "told.json").exists() else {}
        log = (job.box / "log.txt").read_text(errors="replace") if (job.box / "log.txt").exists() else ""
        outside = [line for line in log.splitlines() if line.startswith("OUTSIDE")] + [
            f"OUTSIDE {path}" for path in job.box.parents[2].rglob("*") if job.box not in (path, *path.parents)
            and path not in job.box.parents]
        outcome = Outcome(job.number, job.kind, message=told.get("error", ""), place=told.get("place", ""),
                          details=told.get("details", ""))
        if job.number < 0:
            self.usual[job.kind] = peak
            bad = [one for one in told.get("known", {}).values() if "error" in one]
            outcome.verdict, outcome.result = ("traceback" if bad or not told else "outside" if outside else "right"), told
            outcome.message, outcome.details = (bad[0]["error"], bad[0]["details"]) if bad else ("", log)
        else:
            known = self.known.get(f"{job.kind} {told.get('policy')} {told.get('part')}", {})
            outcome.what = f"{told.get('file')} ({told.get('policy')}): {told.get('what')}"
            if job.stopped or "value" not in told and "error" not in told:
                outcome.verdict = job.stopped or "crash"
                outcome.message = job.stopped or f"signal {status & 127}, exit status {status >> 8}"
                outcome.details = log[-3000:]
                lines = [line for line in log.splitlines() if 'File "' in line]
                ours = [line for line in lines if "/seglab/" in line] or lines or [""]
                outcome.place = ours[0].strip().partition("/seglab/")[2].replace('", line ', ":")
            elif outside:
                outcome.verdict, outcome.message = "outside", "; ".join(outside[:3])
            elif told.get("memory") or peak > self.usual[job.kind] + self.memory:
                outcome.verdict = "memory"
                outcome.message = f"{peak / 1e9:.1f} GB; {outcome.message}"
            elif "error" in told:
                outcome.verdict = "traceback" if not told["ours"] else (
                    "documented error" if told["names"] else "unnamed error")
            elif told["value"] == known.get("value"):
                outcome.verdict = "right"
            elif told["skipped"] > known.get("skipped", 0):
                outcome.verdict = "counted skip"
            else:
                outcome.verdict = "changed" if told["sees"] else "changed, legally"
                outcome.message = f"{str(told['value'])[:300]}\n  instead of {str(known.get('value'))[:300]}"
        if outcome.verdict in FAILURES and self.keep is not None:
            shutil.copytree(job.box, self.keep / f"{job.number}-{job.kind}-{outcome.verdict.replace(' ', '-')}",
                            symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(job.box.parents[2], ignore_errors=True)
        return outcome
