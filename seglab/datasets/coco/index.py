"""A compact index of a COCO annotation, so that 448 MB of JSON are read once and then only looked into.

The index does not hold a single polygon. It holds where each object's text begins and ends in the annotation, and the
numbers that choose pictures: picture, category, crowd or not, area. Both files are mapped into memory, so loader
workers share one copy of what they touch. It is a safetensors file, and holds no code.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seglab.datasets.coco.rows import Rows, is_whole
from seglab.errors import CacheError, DataError
from seglab.files import atomic_write, data_home, file_digests
from seglab.progress import progress_bar

_VERSION = "1"  # raise it when the tables change, and old indexes are made again
_SPACE = re.compile(r"[ \t\r\n]*")
_LISTS = ("images", "annotations", "categories")


class CocoIndex:
    """The tables of an annotation; see the module.

    Attributes:
        path: the annotation.
        categories: {category id: name}, in the order of the file.
        image_ids: (n,) int64, ascending. heights, widths: (n,) int32.
        first: (n + 1,) int64: the objects of picture i are rows first[i] to first[i + 1], in the order of the file.
        category: (m,) int64 of each object. crowd: (m,) uint8. area: (m,) float64, square pixels as the file says.
        problems: (k, 4) int64: kind (see `rows.UNUSABLE` and `WITHOUT_PIXELS`), annotation id, category id, and the
            object's row, or -1 if it cannot be used.

    Source: the file format is described at https://cocodataset.org/#format-data.
    """

    def __init__(self, path: Path, place: Path) -> None:
        self.path, self.place = path, place
        self._open()

    @classmethod
    def open(cls, path: str | Path, progress: bool = True) -> CocoIndex:
        """Open the index of an annotation, and make it first if it is not there, or is another file's.

        It lies beside the annotation, or in `data/cache` if that folder cannot be written. It belongs to the
        annotation whose content hash it carries.

        Raises:
            DataError: no such file, or not a COCO annotation with objects.
            CacheError: neither place can be written.
        """
        path = Path(path).expanduser()
        if not path.is_file() or not os.access(path, os.R_OK):
            found = "a folder" if path.is_dir() else "a file that may not be read" if path.exists() else "nothing there"
            raise DataError(f"{path}: annotation", found=found,
                            expected="a JSON file such as instances_train2017.json", fix="Check the path.")
        cache = data_home() / "cache"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / ".lock"):  # one process builds, the others wait and then read
                digest = file_digests([path], cache / "digests.json")[0]
                beside = path.with_name(f"{path.name}.seglab-index")
                places = [beside, cache / f"coco-{digest}.seglab-index"]
                for place in places:
                    if _is_index_of(place, digest):
                        return cls(path, place)
                place = places[0] if _writable(path.parent) else places[1]
                tables, facts = _build(path, progress)
                atomic_write(place, save(tables, metadata={**facts, "version": _VERSION, "digest": digest}))
        except OSError as error:
            raise CacheError(f"{path}: its index cannot be written", found=str(error),
                             expected="room for some megabytes beside it or in the cache",
                             fix="Free some space, or set SEGLAB_HOME to another disk.") from error
        return cls(path, place)

    def _open(self) -> None:
        # PyTorch's way of opening maps the file; NumPy's would copy it.
        with safe_open(self.place, framework="pt") as file:
            tables = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
            self.categories = {int(k): v for k, v in json.loads(file.metadata()["categories"]).items()}
        self.image_ids, self.heights, self.widths = (tables[name] for name in ("image_ids", "heights", "widths"))
        self.first, self.category, self.crowd, self.area = (
            tables[name] for name in ("first", "category", "crowd", "area"))
        self.problems, self._starts, self._lengths = (tables[name] for name in ("problems", "starts", "lengths"))
        self._names = tables["names"]
        with open(self.path, "rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            stat = os.fstat(file.fileno())
        self._signature = (stat.st_size, stat.st_mtime_ns)

    @property
    def file_names(self) -> list[str]:
        """The pictures' file names, in the order of `image_ids`."""
        return self._names.tobytes().decode().split("\0")

    def annotation(self, row: int) -> dict[str, Any]:
        """One object as the file has it."""
        start = int(self._starts[row])
        text = self._text[start:start + int(self._lengths[row])]
        return json.loads(text.decode(errors="replace"))  # what is no UTF-8 can only be in a comment

    # A worker that is spawned opens the maps itself.
    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "place": self.place, "signature": self._signature}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.place = state["path"], state["place"]
        self._open()
        if self._signature != state["signature"]:
            raise DataError(f"{self.path}: annotation", found="a file that changed while it was in use",
                            expected="the file that was opened", fix="Open the dataset again.")


def _writable(folder: Path) -> bool:
    # An administrator can write anywhere; a folder that says "read only" is meant so all the same.
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def _is_index_of(place: Path, digest: str) -> bool:
    """Whether a file is a whole index of the annotation with this hash. Anything else is made again."""
    if not place.is_file():
        return False
    try:
        with safe_open(place, framework="np") as file:
            return file.metadata() is not None and (file.metadata().get("version"), file.metadata().get("digest")) == (
                _VERSION, digest)
    except (SafetensorError, OSError):  # half of one, or something else
        return False


def _elements(text: str, path: Path) -> Iterator[tuple[str, int, int, Any]]:
    """The elements of the file's lists, one after the other: (list's name, start, end, value).

    So the memory for Python objects is that of one element, not of the file.
    """
    scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # missing in the hints
    place = 0

    def unspaced(start: int) -> int:
        found = _SPACE.match(text, start)  # always: no space is some, too
        return found.end() if found is not None else start

    def after(expected: str) -> str:
        nonlocal place
        place = unspaced(place)
        found = text[place:place + 1]
        if not found or found not in expected:
            raise json.JSONDecodeError(f"{expected!r} expected", text, place)
        place += 1
        return found

    try:
        place = 3 if text.startswith("\xef\xbb\xbf") else 0  # a byte order mark
        if text.startswith("[", unspaced(place)):
            raise _not_coco(path, "a list", 'an object with "images", "annotations" and "categories"')
        after("{")
        if text.startswith("}", unspaced(place)):
            return
        while True:
            place = unspaced(place)
            key, place = scan(text, place)
            after(":")
            place = unspaced(place)
            if text.startswith("[", place) and key in _LISTS:
                yield key, place, place, None  # there is such a list, even if it is empty
                place = unspaced(place + 1)
                if text.startswith("]", place):
                    place += 1
                else:
                    while True:
                        start = unspaced(place)
                        value, place = scan(text, start)
                        yield key, start, place, value
                        if after(",]") == "]":
                            break
            else:
                _, place = scan(text, place)
            if after(",}") == "}":
                return
    except StopIteration as stop:  # the scanner's word for "no value here"
        raise _cut_off(path, text, int(stop.value)) from None
    except json.JSONDecodeError as error:
        raise _cut_off(path, text, error.pos) from error
    except RecursionError as error:
        raise _not_coco(path, "lists in lists in lists", "a COCO annotation") from error


def _build(path: Path, progress: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    # Latin-1 makes one character of each byte, so that places in the text are places in the file.
    with open(path, "rb") as file:
        text = str(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), "latin-1") if path.stat().st_size else ""
    images: dict[int, tuple[str, int, int]] = {}
    categories: dict[int, str] = {}
    rows = Rows()
    seen = set()
    with progress_bar(total=len(text), desc="indexing once", unit="B", unit_scale=True, shown=progress) as bar:
        for key, start, end, value in _elements(text, path):
            seen.add(key)
            if start == end:
                continue
            if key == "annotations":
                rows.add(value, start, end)
            elif key == "images":
                image_id, entry = _image(value, path)
                if image_id in images:
                    raise DataError(f"{path}: two pictures with one id",
                                    found=f"id {image_id}: {images[image_id][0]} and {entry[0]}",
                                    expected="an id a picture", fix="Remove one, or write the file again.")
                images[image_id] = entry
            else:
                _add_category(categories, value, path)
            if end - bar.n > 1 << 22:
                bar.update(end - bar.n)
    if missing := [name for name in _LISTS if name not in seen]:
        raise _not_coco(path, f"no list {' and no list '.join(repr(name) for name in missing)}",
                        'an object with the lists "images", "annotations" and "categories"')
    ids = np.array(sorted(images), dtype=np.int64)
    entries = [images[i] for i in ids.tolist()]
    tables: dict[str, np.ndarray] = {
        "image_ids": ids, "heights": np.array([e[1] for e in entries], dtype=np.int32),
        "widths": np.array([e[2] for e in entries], dtype=np.int32),
        "names": np.frombuffer("\0".join(e[0] for e in entries).encode(), dtype=np.uint8).copy()}
    tables |= rows.tables(text, ids, tables["heights"], tables["widths"], categories)
    return tables, {"categories": json.dumps(categories)}


def _image(value: Any, path: Path) -> tuple[int, tuple[str, int, int]]:
    found = value if isinstance(value, dict) else {}
    name: Any = found.get("file_name")
    numbers: list[Any] = [found.get(key) for key in ("id", "height", "width")]
    if not isinstance(name, str) or not name or "\0" in name or not all(map(is_whole, numbers)) or not (
            0 < min(numbers[1:]) <= max(numbers[1:]) < 1 << 20):
        raise _not_coco(path, f"a picture {str(value)[:120]}", "pictures with id, file_name, height and width")
    return numbers[0], (_unicode(name), numbers[1], numbers[2])


def _add_category(categories: dict[int, str], value: Any, path: Path) -> None:
    if not isinstance(value, dict) or not is_whole(value.get("id")) or not isinstance(value.get("name"), str):
        raise _not_coco(path, f"a category {str(value)[:120]}", "categories with id and name")
    name = _unicode(value["name"])
    if value["id"] in categories or name in categories.values():
        raise DataError(f"{path}: a category twice", found=f"{value['id']}, {name}",
                        expected="an id and a name for each category", fix="Remove one, or write the file again.")
    categories[value["id"]] = name


def _unicode(text: str) -> str:
    """A string of the file, which was read as Latin-1; one with \\u escapes is right already."""
    try:
        return text.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text


def _cut_off(path: Path, text: str, place: int) -> DataError:
    near = text[max(0, place - 40):place].encode("latin-1").decode(errors="replace")
    return DataError(f"{path}: JSON", found=f"no JSON from byte {place:,} of {len(text):,} on, after {near!r}",
                     expected="a whole JSON file", fix="It was probably cut off: copy or download it again.")


def _not_coco(path: Path, found: str, expected: str) -> DataError:
    return DataError(f"{path}: not a COCO annotation", found=found, expected=expected,
                     fix="Take the instances_*.json of the dataset; captions and image_info files have no objects.")
