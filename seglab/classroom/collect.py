"""Put what students handed in into the course's folder: from folders, single files, or a learning platform's zip."""

from __future__ import annotations

import datetime
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_write

#: Bytes that a notebook may have; a larger one is not read.
MOST = 50_000_000
#: How names tell the student: Moodle's folders, Canvas's files, and what teachers and scripts write.
_FOLDERS = re.compile(r"(?P<student>.+?)_\d+_assignsubmission_file_?", re.IGNORECASE)
_FILES = (r"(?P<student>[^_]+)(?:_LATE)?_\d+_\d+_{name}(?:-\d+)?", r"{name}[-_ ](?P<student>.+)",
          r"(?P<student>.+?)[-_ ]{name}")


class Collected(NamedTuple):
    """A notebook that was found: whose it is, where it was, and why it was left, if it was."""

    student: str
    source: str
    left: str | None = None


class _Found(NamedTuple):
    path: PurePosixPath
    size: int
    time: datetime.datetime
    data: bytes


def collect(course: Path, assignment: str, place: str | Path, pattern: str | None = None) -> list[Collected]:
    """Copy notebooks into `submitted/STUDENT/ASSIGNMENT/ASSIGNMENT.ipynb`, the newest of each student.

    A student is told from the names: `STUDENT/a1.ipynb`, `a1-STUDENT.ipynb`, `STUDENT_a1.ipynb`, and as Moodle and
    Canvas write them. Nothing else in the place is read. What was collected before is kept, dated, where it differs.

    Args:
        course: the course's folder.
        assignment: its name.
        place: a folder, a zip file, or one notebook.
        pattern: a regular expression for whole paths in it, with a group `student`, where names are made otherwise.

    Raises:
        ArgumentError: the pattern is none, or has no such group.
        DataError: the place is missing, or no notebook is found in it.
    """
    place = Path(place).expanduser()
    try:
        own = re.compile(pattern) if pattern else None
    except re.error as error:
        raise ArgumentError("pattern", found=f"{pattern!r}: {error}", expected="a regular expression") from error
    if own is not None and "student" not in own.groupindex:
        raise ArgumentError("pattern", found=repr(pattern), expected="a group (?P<student>…) in it")
    report: list[Collected] = []
    newest: dict[str, _Found] = {}
    for found in _notebooks(place):
        student = _student(found.path, assignment, own)
        if student is None:
            report.append(Collected("", str(found.path), "no student can be told from its name"))
        elif found.size > MOST:
            report.append(Collected(student, str(found.path), f"larger than {MOST // 1_000_000} MB"))
        elif student in newest and newest[student].time >= found.time:
            report.append(Collected(student, str(found.path), "a newer one is there"))
        else:
            if student in newest:
                report.append(Collected(student, str(newest[student].path), "a newer one is there"))
            newest[student] = found
    if not newest:
        raise DataError(f"{place}", found="; ".join(f"{one.source}: {one.left}" for one in report[:3]) or "no notebook",
                        expected=f"STUDENT/{assignment}.ipynb, or a learning platform's zip",
                        fix="Give --pattern, such as '(?P<student>[^/]+)/.*', if names are made in another way.")
    for student, found in sorted(newest.items()):
        folder = course / "submitted" / student / assignment
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{assignment}.ipynb"
        if path.exists() and path.read_bytes() != found.data:
            stamp = datetime.datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y%m%d-%H%M%S")
            path.rename(folder / f"{assignment}.{stamp}.ipynb.before")
        atomic_write(path, found.data)
        atomic_write(folder / "timestamp.txt", f"{found.time:%Y-%m-%d %H:%M:%S}\n".encode())
        report.append(Collected(student, str(found.path)))
    return report


def _notebooks(place: Path) -> Iterator[_Found]:
    """Notebooks in a folder, a zip or at a path; of those that are too large, only the name."""
    if place.is_file() and zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".ipynb") or "__MACOSX" in member.filename:
                    continue
                data = archive.read(member) if member.file_size <= MOST else b""
                yield _Found(PurePosixPath(member.filename), member.file_size, _time(member), data)
    elif place.is_dir() or (place.suffix == ".ipynb" and place.is_file()):
        root = place if place.is_dir() else place.parent
        for path in sorted(place.rglob("*.ipynb")) if place.is_dir() else [place]:
            if path.is_file() and ".ipynb_checkpoints" not in path.parts:
                size = path.stat().st_size
                yield _Found(PurePosixPath(path.relative_to(root).as_posix()), size,
                             datetime.datetime.fromtimestamp(path.stat().st_mtime),
                             path.read_bytes() if size <= MOST else b"")
    else:
        raise DataError(f"{place}", found="a file of another kind" if place.exists() else "nothing",
                        expected="a folder, a zip file or a notebook")


def _time(member: zipfile.ZipInfo) -> datetime.datetime:
    try:
        return datetime.datetime(*member.date_time)
    except ValueError:  # zips of some programs have day 0
        return datetime.datetime(1980, 1, 1)


def _student(path: PurePosixPath, assignment: str, own: re.Pattern[str] | None) -> str | None:
    """Whose notebook it is; a name that can be a folder's."""
    if own is not None:
        found = own.fullmatch(str(path))
        return _safe(found["student"]) if found else None
    for part in reversed(path.parts[:-1]):
        if moodle := _FOLDERS.fullmatch(part):
            return _safe(moodle["student"])
    if path.stem != assignment:
        for one in _FILES:
            if found := re.fullmatch(one.format(name=re.escape(assignment)), path.stem):
                return _safe(found["student"])
    parents = [part for part in path.parts[:-1] if part != assignment]
    return _safe(parents[-1]) if parents and path.stem == assignment else None


def _safe(name: str) -> str | None:
    """Letters, digits, and . _ - @ of a name: it becomes a folder."""
    name = re.sub(r"[^\w.@-]+", "_", name.strip()).strip("._-")
    return name[:80] or None
