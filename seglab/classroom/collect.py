"""Put what students handed in into the course's folder: from folders, single files, or a learning platform's zip."""

from __future__ import annotations

import datetime
import re
import struct
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_write

#: Bytes that a notebook may have; a larger one is not read.
MOST = 50_000_000
#: Cells that it may have, and characters that may be written in them: pages with many more take hours to make.
CELLS, WRITTEN = 1000, 1_000_000
#: How names tell the student: Moodle's folders, Canvas's files, and what teachers and scripts write.
_FOLDERS = re.compile(r"(?P<student>.+?)_\d+_assignsubmission_file_?", re.IGNORECASE)
_FILES = (r"(?P<student>[^_]+)(?:_LATE)?_\d+_\d+_{name}(?:-\d+)?", r"{name}[-_ ](?P<student>.+)",
          r"(?P<student>.+?)[-_ ]{name}")
_NEVER, _LARGE = datetime.datetime(1980, 1, 1), f"larger than {MOST // 1_000_000} MB"


class Collected(NamedTuple):
    """A notebook that was found: whose it is, where it was, and why it was left, if it was."""

    student: str
    source: str
    left: str | None = None


class _Found(NamedTuple):
    path: PurePosixPath
    time: datetime.datetime
    read: Callable[[], bytes]
    left: str | None


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
    whose: dict[str, tuple[str, str]] = {}
    for found in _notebooks(place):
        name = _student(found.path, assignment, own)
        student, source = _safe(_FOLDERS.sub(r"\g<student>", name or "")), shown(str(found.path))
        if name is None or student is None:
            report.append(Collected("", source, "no student can be told from its name"))
        elif found.left is not None:
            report.append(Collected(student, source, found.left))
        elif (first := whose.setdefault(student.casefold(), (name, source)))[0] != name:  # macOS: Ada/ is ada/
            report.append(Collected(student, source, f"{first[1]} gives the same name, and may be somebody else's"))
        elif student in newest and newest[student].time >= found.time:
            report.append(Collected(student, source, "a newer one is there"))
        else:
            if student in newest:
                report.append(Collected(student, shown(str(newest[student].path)), "a newer one is there"))
            newest[student] = found
    collected = []
    for student, found in sorted(newest.items()):
        source = shown(str(found.path))
        try:
            data = found.read()
        except Exception as error:  # zipfile, and what unpacks for it, raise many kinds
            report.append(Collected(student, source, f"cannot be read: {shown(str(error))[:100]}"))
            continue
        folder = course / "submitted" / student / assignment
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{assignment}.ipynb"
        if path.exists() and path.read_bytes() != data:
            path.rename(folder / f"{assignment}.{_moment(path):%Y%m%d-%H%M%S}.ipynb.before")
        atomic_write(path, data)
        atomic_write(folder / "timestamp.txt", f"{found.time:%Y-%m-%d %H:%M:%S}\n".encode())
        collected.append(Collected(student, source))
    if not collected:
        raise DataError(f"{place}", found="; ".join(f"{one.source}: {one.left}" for one in report[:3]) or "no notebook",
                        expected=f"STUDENT/{assignment}.ipynb, or a learning platform's zip",
                        fix="Give --pattern, such as '(?P<student>[^/]+)/.*', if names are made in another way.")
    return report + collected


def read_notebook(path: Path) -> NotebookNode:
    """A submission, if it can be graded and shown.

    Raises:
        ValueError: it is larger than any notebook of the course, or a link to another file. nbformat raises others.
    """
    if path.is_symlink():
        raise ValueError("a link to another file")
    if path.stat().st_size > MOST:
        raise ValueError(_LARGE)
    found = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    if len(found.cells) > CELLS:
        raise ValueError(f"more than {CELLS} cells")
    if sum(len(cell.source.encode()) for cell in found.cells) > WRITTEN:
        raise ValueError(f"more than {WRITTEN:,} characters in its cells")
    return found


def shown(text: str) -> str:
    """A text that somebody else chose, for the terminal: what is no letter there could move its cursor."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text[:300])


def _notebooks(place: Path) -> Iterator[_Found]:
    """Notebooks in a folder, a zip or at a path, read later; of some only the name, and why they are left."""
    if place.is_file() and zipfile.is_zipfile(place):
        with _opened(place) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".ipynb") or any(
                        one in member.filename for one in ("__MACOSX", ".ipynb_checkpoints")):
                    continue
                yield _Found(PurePosixPath(member.filename), _time(member), partial(_member, place, member),
                             _LARGE if member.file_size > MOST else None)
    elif place.is_dir() or (place.suffix == ".ipynb" and place.is_file()):
        root = place if place.is_dir() else place.parent
        for path in sorted(place.rglob("*.ipynb")) if place.is_dir() else [place]:
            if path.is_file() and ".ipynb_checkpoints" not in path.parts:
                left = _LARGE if path.stat().st_size > MOST else None
                yield _Found(PurePosixPath(path.relative_to(root).as_posix()), _moment(path), path.read_bytes,
                             "a link, perhaps to somebody else's" if path.is_symlink() else left)
    else:
        raise DataError(f"{place}", found="a file of another kind" if place.exists() else "nothing",
                        expected="a folder, a zip file or a notebook")


def _opened(place: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(place)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise DataError(f"{place}: zip file", found=f"{type(error).__name__}: {error}", expected="a whole one",
                        fix="Fetch it again from the learning platform.") from error


def _member(place: Path, member: zipfile.ZipInfo) -> bytes:
    with _opened(place) as archive:
        return archive.read(member)


def _time(member: zipfile.ZipInfo) -> datetime.datetime:
    try:
        return datetime.datetime(*member.date_time)
    except ValueError:  # zips of some programs have day 0
        return _NEVER


def _moment(path: Path) -> datetime.datetime:
    try:
        return datetime.datetime.fromtimestamp(path.stat().st_mtime)
    except (ValueError, OverflowError, OSError):  # whoever packs a file chooses its time
        return _NEVER


def _student(path: PurePosixPath, assignment: str, own: re.Pattern[str] | None) -> str | None:
    """Whose notebook it is, as it stands there; Moodle's number tells apart students whose names are the same."""
    if own is not None:
        found = own.fullmatch(str(path))
        return found["student"] if found else None
    for part in path.parts[:-1]:  # the outermost is Moodle's; a student may have folders in it
        if _FOLDERS.fullmatch(part):
            return part
    if path.stem != assignment:
        for one in _FILES:
            if found := re.fullmatch(one.format(name=re.escape(assignment)), path.stem):
                return found["student"]
    parents = [part for part in path.parts[:-1] if part != assignment]
    return parents[-1] if parents and path.stem == assignment else None


def _safe(name: str) -> str | None:
    """Letters, digits, and . _ - @ of a name: it becomes a folder, and a cell of a table that no formula begins."""
    name = re.sub(r"[^\w.@-]+", "_", unicodedata.normalize("NFC", name)).lstrip("._-@")
    return name.encode()[:120].decode(errors="ignore").rstrip("._-@") or None
