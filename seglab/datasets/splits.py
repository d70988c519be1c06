"""Which pictures are in which split: as folders and lists say, and completed where they do not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.errors import DataError, printable

SPLITS = ("train", "val", "test")
_HIDDEN = (".", "__")
_OTHER_NAMES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


class Entry(NamedTuple):
    """One picture of a dataset, not yet read.

    Its name is unique within its split: the file's without ending, after those of folders within the split. The target
    is what the reader needs to make the mask: a file, or rows of an annotation; or a whole number, the class.
    """

    name: str
    image: Path
    target: Any

    @property
    def label(self) -> int | None:
        """The class, where pictures have one each; None where they have masks."""
        return int(self.target) if isinstance(self.target, Integral) else None


def complete_splits(on_disk: Mapping[str, Sequence[Entry]], consecutive: bool = False) -> dict[str, list[Entry]]:
    """Fill in what a dataset lacks on disk, so that train, val and test exist, disjoint; and "all".

    What is not split, or has train only, is split 70 : 10 : 20 by a hash of the names. Where there is no test, val is
    the test; then, or where there is no val, a tenth of train serves as val: by the hash, or, if the pictures follow
    each other, in runs (the last tenth of each fifth; below 50 pictures, the last tenth). Where pictures have one class
    each, that is done class by class. A dataset without training pictures keeps what it has: it can be evaluated on. So
    does one that has too few to be split in three.
    """
    splits = {split: list(entries) for split, entries in on_disk.items() if entries}
    whole = splits.get("all") or (splits["train"] if set(splits) == {"train"} else None)
    if whole:
        splits = {split: _drawn(whole, split, (0.7, 0.1, 0.2)) for split in SPLITS if _enough(whole)}
        return {**splits, "all": whole}
    if "test" not in splits and "val" in splits:
        splits["test"] = splits.pop("val")
    train = splits.get("train", [])
    if "val" not in splits and (len(train) > 1 if consecutive else _enough(train)):
        val = _runs(train) if consecutive else _drawn(train, "val", (0.8, 0.1, 0.1))
        names = {entry.name for entry in val}
        splits["val"] = [entry for entry in train if entry.name in names]
        splits["train"] = [entry for entry in train if entry.name not in names]
    return {**splits, "all": [entry for split in SPLITS for entry in splits.get(split, [])]}


def _runs(entries: Sequence[Entry]) -> list[Entry]:
    """A tenth of pictures that follow each other, in runs: single frames would have both neighbours in train.

    Five runs from all over the drive, where there are enough pictures: one at its end would leave train without it.
    """
    count = 5 if len(entries) >= 50 else 1
    cuts = [len(entries) * place // count for place in range(count + 1)]
    return [entry for start, stop in pairwise(cuts) for entry in entries[stop - max(1, (stop - start) // 10):stop]]


def _drawn(entries: Sequence[Entry], split: str, fractions: tuple[float, float, float]) -> list[Entry]:
    return [group[place] for group in _by_class(entries)
            for place in split_places([entry.name for entry in group], split, fractions)]


def _enough(entries: Sequence[Entry]) -> bool:
    """Whether they can be split in three."""
    return bool(entries) and all(len(group) > 2 for group in _by_class(entries))


def _by_class(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries of each class where they have one; else all of them together."""
    groups: dict[int, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.label or 0, []).append(entry)
    return [groups[label] for label in sorted(groups)]


def split_places(names: Sequence[str], split: str,
                 fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)) -> list[int]:
    """The places of the pictures in "train", "val" or "test": disjoint, and the same on every machine.

    Pictures, at least three, are put in the order of a hash of their name, and the order is cut by the fractions.

    Example:
        >>> [split_places(["a", "b", "c", "d"], split) for split in ("train", "val", "test")]
        [[0, 1], [2], [3]]
    """
    order = sorted(range(len(names)), key=lambda place: hashlib.blake2b(f"0/{names[place]}".encode()).digest())
    val, test = (max(1, round(len(names) * fraction)) for fraction in fractions[1:])
    train = max(1, len(names) - val - test)
    start, stop = {"train": (0, train), "val": (train, train + val), "test": (train + val, len(names))}[split]
    return sorted(order[start:stop])


def disjoint(where: Path, splits: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same names of splits; a DataError if one is in two of them."""
    seen: dict[str, str] = {}
    for split, names in splits.items():
        for name in names:
            if seen.setdefault(name, split) != split:
                raise DataError(f"{where}: splits", found=f"{name} in {seen[name]} and in {split}",
                                expected="each name in one of them", fix="Mend the lists.")
    return splits


def find_split_name(name: str) -> str | None:
    """"train", "val" or "test" for a folder's or file's name, in any case: also "valid", "validation"; else None.

    Example:
        >>> find_split_name("Validation"), find_split_name("train2017"), find_split_name("images")
        ('val', None, None)
    """
    name = _OTHER_NAMES.get(name.lower(), name.lower())
    return name if name in SPLITS else None


def find_split_folders(folder: Path) -> dict[str, Path]:
    """{split: the folder in a folder that is named after it}, whatever the case; DataError if two are of one split."""
    found: dict[str, Path] = {}
    for path in folders_in(folder) if os.path.isdir(folder) else ():
        if split := find_split_name(path.name):
            if split in found:
                raise DataError(f"{folder}: two folders for {split!r}", found=f"{found[split].name} and {path.name}",
                                expected="one", fix="Move their pictures into one folder.")
            found[split] = path
    return found


def visible(folder: Path) -> list[Path]:
    """What is in a folder, sorted, but what begins with a dot: macOS puts `._x.png` into archives.

    DataError if the folder cannot be read.
    """
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(_HIDDEN)]
    except OSError as error:
        raise _unreadable(error) from error


def folders_in(folder: Path) -> list[Path]:
    """The folders that are `visible` in a folder, sorted; the system lists them without a look at each file."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(_HIDDEN) and (
                os.path.isdir(entry) if entry.is_symlink() else entry.is_dir())]  # of a loop, the latter is an error
    except OSError as error:
        raise _unreadable(error) from error
    return [folder / name for name in sorted(names)]


def readable(folder: Path) -> bool:
    """Whether it is a folder that can be searched; `lost+found`, for instance, is not."""
    return os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk`, but that a folder that cannot be read is a DataError: its pictures would be missing unnoticed."""
    def stop(error: OSError) -> None:
        raise _unreadable(error) from error

    return os.walk(folder, onerror=stop)


def _unreadable(error: OSError) -> DataError:
    return DataError(f"{error.filename}: folder", found=error.strerror, expected="a folder that can be read",
                     fix="Check its rights, or move it away.")


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and those below it, sorted, but what is not `visible`."""
    found: list[Path] = []
    for where, folders, files in walk(folder):
        folders[:] = [name for name in folders if not name.startswith(_HIDDEN)]
        found += [Path(where, name) for name in files if not name.startswith(_HIDDEN)]
    return sorted(found)


def pictures_below(folder: Path) -> list[Path]:
    """The pictures among `files_below`."""
    return [path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def files_by_name(folder: Path) -> dict[str, Path]:
    """{name: file} of the pictures in a folder and those below, see `name_below`.

    DataError if there is no folder, no picture in it, or two files of one name.
    """
    files: dict[str, Path] = {}
    for path in pictures_below(existing_folder(folder)):
        if (first := files.setdefault(name_below(folder, path), path)) != path:
            raise DataError(f"{folder}: two files for one name", found=f"{first.name} and {path.name}",
                            expected="one file a name", fix="Remove one of them.")
    if not files:
        raise DataError(f"{folder}: folder", found="no pictures in it",
                        expected="files that end in " + ", ".join(sorted(IMAGE_SUFFIXES)),
                        fix="Check that the dataset was unpacked whole, and not one folder deeper.")
    return files


def name_below(folder: Path, path: Path) -> str:
    """The name of a file in a folder, without ending, with one way to write accents, and `printable`."""
    return normalize("NFC", printable(path.relative_to(folder).with_suffix("").as_posix()))


def existing_folder(root: str | Path) -> Path:
    """The path, if it is a folder; otherwise a DataError that says where the path stops to exist."""
    root = Path(os.path.expanduser(root))
    if os.path.isdir(root):
        return root
    nearest = next((path for path in Path(os.path.abspath(root)).parents if readable(path)), root)
    there = [path.name for path in visible(nearest)][:8]
    raise DataError(f"{root}: folder", found="a file" if os.path.exists(root) else f"missing; {nearest} holds {there}",
                    expected="a dataset's folder", fix="Check the path (and SEGLAB_DATA, if it is set).")


def folders_below(root: Path, depth: int) -> Iterator[Path]:
    """A folder and those in it, the nearest first, down to a depth; 1,000 at most."""
    level, seen = [root], 0
    for _ in range(depth + 1):
        yield from level
        seen += len(level)
        level = [path for folder in level for path in folders_in(folder) if readable(path)][:1000 - seen]
