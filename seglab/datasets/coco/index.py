"""A COCO annotation as tables: its JSON is parsed once, and afterwards mapped into memory from the cache.

The tables are a safetensors file, named after the hash of the annotation's content, so nothing is written beside the
annotation and loader workers share one copy of what they touch. It holds no code.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import unicodedata
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from pycocotools import mask as coco_mask
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from seglab.datasets.coco.masks import FAR, MOST_PIXELS, Rle, rle_counts, to_rle
from seglab.datasets.io import Size
from seglab.errors import CacheError, DataError
from seglab.files import atomic_write, data_home, file_digests, read_text

#: What makes an annotation unusable.
FAULTS = {
    1: "its image_id is missing, or no picture's",
    2: "its category_id is missing, or no category's",
    3: "it has no segmentation (a box alone is no mask)",
    4: "a polygon with fewer than 3 points, or half a point",
    5: "coordinates that are no numbers, or are too far away, or an outline of more than a million pixels",
    6: "run lengths of another size than the picture, or that do not fill it",
    7: "its id occurs twice",
    8: "its iscrowd is neither 0 nor 1",
}
OUTSIDE, _ELSEWHERE = 20, 255  # usable, but without a pixel; no member of the list of annotations

_VERSION = "2"  # raise it when the tables change, and old ones are made again
_LONGEST = 1 << 20  # pycocotools takes memory for each pixel of an outline, also outside of the picture
_AT_ONCE = 1 << 20  # coordinates
_LARGE = 50_000_000  # bytes; longer conversions are announced
#: (type, whether it holds offsets into another table, which)
_TABLES = {"heights": (np.int32, ""), "widths": (np.int32, ""), "kind": (np.uint8, ""), "crowd": (np.uint8, ""),
           "category": (np.int32, ""), "area": (np.float64, ""), "order": (np.int64, ""), "names": (np.uint8, ""),
           "ids": (np.uint8, ""), "points": (np.float64, ""), "counts": (np.uint8, ""), "first": (np.int64, "order"),
           "starts": (np.int64, "points"), "polygons": (np.int64, "starts"), "runs": (np.int64, "counts")}


class CocoIndex:
    """The tables of an annotation; see the module. Made by `CocoIndex.open`.

    Attributes:
        path: the annotation.
        digest: hash of its content.
        categories: (id, name, supercategory) of each, in the order of the file.
        picture_ids, file_names: of each picture, by ascending id.
        kind, crowd, category, area: of each annotation: 0, or what is wrong (see `FAULTS`); 0 or 1; the place in
            `categories`, or -1; square pixels.

    Source: the format is described at https://cocodataset.org/#format-data.
    """

    def __init__(self, path: Path, place: Path, digest: str) -> None:
        self.path, self.place, self.digest = path, place, digest
        with safe_open(place, framework="pt") as file:  # PyTorch's way of opening maps the file; NumPy's would copy it
            if (file.metadata() or {}).get("made_of") != f"{_VERSION} {digest}":
                raise ValueError("made of another annotation")
            self._tables = {name: file.get_tensor(name).numpy() for name in _TABLES}
        self.kind, self.crowd, self.category, self.area = (
            self._tables[name] for name in ("kind", "crowd", "category", "area"))
        names = json.loads(self._tables["names"].tobytes())
        self.categories: list[tuple[Any, str, str]] = [(key, str(name), str(group)) for key, name, group in names[0]]
        self.picture_ids, self.file_names = list(names[1]), list(map(str, names[2]))
        self._check()

    def _check(self) -> None:
        tables, pictures, rows = self._tables, len(self.picture_ids), len(self.kind)
        if len(self.file_names) != pictures:
            raise ValueError("other names than ids")
        lengths = {"heights": pictures, "widths": pictures, "first": pictures + 1, "polygons": rows + 1,
                   "runs": rows + 1, **dict.fromkeys(("crowd", "category", "area"), rows)}
        for name, (kind, of) in _TABLES.items():
            table = tables[name]
            if table.dtype != kind or table.ndim != 1 or len(table) != lengths.get(name, len(table)):
                raise ValueError(f"a table {name!r} of {table.dtype}, {table.shape}")
            end = len(tables[of]) - (name == "polygons") if of else 0
            if of and (table[0] != 0 or table[-1] != end or (table[1:] < table[:-1]).any()):
                raise ValueError(f"places {name!r} that lie outside")
        for name, least, most in (("order", 0, rows), ("category", -1, len(self.categories))):
            if len(tables[name]) and not least <= tables[name].min() <= tables[name].max() < most:
                raise ValueError(f"numbers {name!r} that lie outside")

    @classmethod
    def open(cls, path: Path) -> CocoIndex:
        """Open the tables of an annotation; they are made if they are not in the cache, or damaged.

        Raises:
            DataError: no such file, or not a COCO annotation with objects.
            CacheError: the cache cannot be written.
        """
        if not path.is_file():
            raise DataError(f"{path}: annotation", found="a folder" if path.is_dir() else "nothing there",
                            expected="a JSON file such as instances_train2017.json", fix="Check the path.")
        cache = data_home() / "cache"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / ".lock"):  # one process converts, the others wait and then read
                digest = file_digests([path], cache / "digests.json")[0]
                place = cache / f"coco-{digest}.safetensors"
                if place.is_file() and (known := _whole_index(path, place, digest)) is not None:
                    return known
                atomic_write(place, save(_converted(path), metadata={"made_of": f"{_VERSION} {digest}"}))
        except OSError as error:
            raise CacheError(f"{path}: its tables cannot be written", found=str(error),
                             expected="a readable file, and room in the cache for as much again",
                             fix="Free some space, or set SEGLAB_HOME to another disk.") from error
        return cls(path, place, digest)

    def size(self, picture: int) -> Size | None:
        """(height, width) that the annotation gives for a picture; None if it gives none that can be."""
        height, width = int(self._tables["heights"][picture]), int(self._tables["widths"][picture])
        return (height, width) if height else None

    def rows(self, picture: int) -> np.ndarray:
        """The usable annotations of a picture, in the order of the file."""
        first, last = self._tables["first"][picture:picture + 2]
        return self._tables["order"][first:last]

    def picture_of_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """All usable annotations, and the picture of each."""
        return self._tables["order"], np.repeat(np.arange(len(self.picture_ids)), np.diff(self._tables["first"]))

    def ids(self) -> list[Any]:
        """The ids of all annotations; None for one that has none."""
        return list(json.loads(self._tables["ids"].tobytes()))

    def shape(self, row: int) -> list[np.ndarray] | Rle:
        """The outlines of an annotation, (x, y, x, y, …) each, or its compressed run lengths."""
        first, last = self._tables["polygons"][row:row + 2]
        if first < last:
            places = self._tables["starts"][first:last + 1].tolist()
            return [self._tables["points"][a:b] for a, b in pairwise(places)]
        first, last = self._tables["runs"][row:row + 2]
        packed = self._tables["counts"][first:last].tobytes()
        return {"size": list(struct.unpack("<2i", packed[:8])), "counts": packed[8:]}

    def segmentation(self, row: int) -> list[list[float]] | Rle:
        """The same as JSON has it: lists of numbers."""
        shape = self.shape(row)
        if isinstance(shape, list):
            return [outline.tolist() for outline in shape]
        return {"size": shape["size"], "counts": rle_counts(shape["counts"]).tolist()}

    # A worker that is spawned maps the file itself.
    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "place": self.place, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if (known := _whole_index(**state)) is None:
            raise CacheError(f"{state['place']}: the tables of {state['path'].name}", found="gone, or damaged",
                             expected="the file that was there when the dataset was opened",
                             fix="Open the dataset again.")
        self.__dict__.update(known.__dict__)


def _whole_index(path: Path, place: Path, digest: str) -> CocoIndex | None:
    try:
        return CocoIndex(path, place, digest)
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, RecursionError):  # damaged, or something else
        return None


def _key(value: Any) -> int | str | None:
    """An id: a whole number, also as text or as a float; any other text stands for itself."""
    if type(value) is float:
        return int(value) if value.is_integer() else None
    if type(value) is str:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else _text(value)
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    """A text that can be written: one that is not empty, without halves of surrogate pairs."""
    return value if isinstance(value, str) and value and not re.search("[\ud800-\udfff]", value) else None


class _Row(int):
    """Stands for an annotation in the parsed document, once its content is in the columns."""


class _Columns:
    """The annotations as columns, filled one by one while JSON is parsed: a number each, instead of a dict each."""

    def __init__(self) -> None:
        self.ids: list[int | str | None] = []
        self.keys: tuple[dict[Any, int], dict[Any, int]] = ({}, {})  # of pictures and categories
        self.images, self.categories = array("q"), array("q")  # numbers of keys
        self.kinds, self.crowds, self.areas = array("B"), array("B"), array("d")
        self.points, self.lengths, self.polygons = array("d"), array("q"), array("q", [0])
        self.counts, self.runs, self.rle_rows, self.rles = bytearray(), array("q", [0]), array("q"), array("q")
        self.measured: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # points, lengths, numbers of outlines
        self.outlines = 0

    def hook(self, value: dict[str, Any]) -> Any:
        return self.add(value) if "image_id" in value and "file_name" not in value else value

    def add(self, value: dict[str, Any]) -> _Row:
        area, crowd, shape = value.get("area"), value.get("iscrowd", 0), value.get("segmentation")
        self.ids.append(_key(value.get("id")))
        for column, keys, name in zip((self.images, self.categories), self.keys, ("image_id", "category_id"),
                                      strict=True):
            key = _key(value.get(name))
            column.append(-1 if key is None else keys.setdefault(key, len(keys)))
        self.areas.append(area if type(area) is float or (type(area) is int and abs(area) < 1 << 62) else np.nan)
        self.crowds.append(crowd in (0, 1) and bool(crowd))
        kind = 0 if crowd in (0, 1) else 8
        self.kinds.append(kind or (self._add_polygons(shape) if isinstance(shape, list) and shape else
                                   self._add_runs(shape) if isinstance(shape, dict) else 3))
        self.polygons.append(self.outlines)
        self.runs.append(len(self.counts))
        if len(self.points) > _AT_ONCE:
            self.measure()
        return _Row(len(self.kinds) - 1)

    def _add_polygons(self, shape: list[Any]) -> int:
        if type(shape[0]) in (int, float):  # VIA leaves the outer brackets out
            shape = [shape]
        outlines = []
        for outline in shape:
            if not isinstance(outline, list) or len(outline) < 6 or len(outline) % 2:
                return 4
            try:
                outlines.append(array("d", outline))
            except (TypeError, OverflowError):
                return 5
        for outline in outlines:
            self.points.extend(outline)
            self.lengths.append(len(outline))
        self.outlines += len(outlines)
        return 0

    def _add_runs(self, shape: dict[str, Any]) -> int:
        try:
            height, width = map(int, shape["size"])
            rle = to_rle(shape, height, width)
        except (ValueError, TypeError, LookupError, OverflowError):
            return 6
        self.rle_rows.append(len(self.kinds))
        self.rles.extend((height, width, int(coco_mask.area(rle))))
        self.counts += struct.pack("<2i", height, width) + rle["counts"]
        return 0

    def measure(self) -> None:
        """Measure the outlines since the last time: left, top, right, bottom, area, length."""
        lengths, points = np.array(self.lengths), np.array(self.points)
        if not len(lengths):
            return
        here, starts = points.reshape(-1, 2), (np.cumsum(lengths) - lengths) // 2
        with np.errstate(all="ignore"):  # NaN stays NaN
            there = np.roll(here, -1, axis=0)
            there[starts + lengths // 2 - 1] = here[starts]
            cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
            self.measured.append((points, lengths, np.column_stack([
                np.minimum.reduceat(here, starts), np.maximum.reduceat(here, starts),
                np.abs(np.add.reduceat(cross, starts)) / 2, np.add.reduceat(np.abs(there - here).max(1), starts)])))
        self.points, self.lengths = array("d"), array("q")

    def tables(self, pictures: list[tuple[Any, str, int, int]], categories: list[tuple[Any, str, str]],
               listed: list[_Row]) -> dict[str, np.ndarray]:
        """All tables, with what is wrong marked and areas that are not to be believed measured."""
        self.measure()
        kind, area, rows = np.array(self.kinds), np.array(self.areas), np.arange(len(self.kinds))
        sides = np.array([one[2:] for one in pictures] or np.empty((0, 2)), dtype=np.int32).reshape(-1, 2)
        picture = _places([one[0] for one in pictures], self.keys[0], self.images)
        category = _places([one[0] for one in categories], self.keys[1], self.categories)
        height, width = np.vstack([sides, [[0, 0]]])[picture].T

        def mark(where: np.ndarray, what: int) -> None:
            kind[where & (kind == 0)] = what  # what is found first counts

        mark(picture < 0, 1)
        mark(category < 0, 2)
        seen: dict[Any, int] = {}
        mark(np.array([key is not None and seen.setdefault(key, row) != row for row, key in enumerate(self.ids)], bool),
             7)
        numbers = np.concatenate([np.empty((0, 6)), *(numbers for _, _, numbers in self.measured)])
        far = ~(np.abs(numbers[:, :4]) < FAR).all(1)  # or NaN
        numbers[far] = 0
        left, top, right, bottom, covered, steps = numbers.T
        of = np.repeat(rows, np.diff(self.polygons))  # the annotation of each outline
        mark((np.bincount(of, far, len(rows)) > 0) | (np.bincount(of, steps, len(rows)) > _LONGEST), 5)
        inside = (right > 0) & (bottom > 0) & ((left < width[of]) & (top < height[of]) | (height[of] == 0))
        mark((np.diff(self.polygons) > 0) & (np.bincount(of, inside, len(rows)) == 0), OUTSIDE)
        least = np.bincount(of, covered, len(rows))
        most = np.bincount(of, (right - left + 1) * (bottom - top + 1), len(rows))
        rle_rows, rles = np.array(self.rle_rows), np.array(self.rles).reshape(-1, 3)
        wrong = (rles[:, :2] != np.stack([height, width], 1)[rle_rows]).any(1) & (height[rle_rows] > 0)
        mark(np.isin(rows, rle_rows[wrong]), 6)
        least[rle_rows] = most[rle_rows] = rles[:, 2]
        # Areas of 0, of 1, of whole pictures, or in shares of it are no areas.
        area = np.where((area > 0) & (area >= least / 10) & (area <= 2 * most), area, least)
        elsewhere = np.ones(len(rows), bool)
        elsewhere[listed] = False
        kind[elsewhere] = _ELSEWHERE
        order = np.flatnonzero(np.isin(kind, (0, OUTSIDE)))
        order = order[np.argsort(picture[order], kind="stable")]
        points = [np.empty(0), *(points for points, _, _ in self.measured)]
        lengths = [np.zeros(1, np.int64), *(lengths for _, lengths, _ in self.measured)]
        names = [categories, [one[0] for one in pictures], [one[1] for one in pictures]]
        return {"heights": sides[:, 0].copy(), "widths": sides[:, 1].copy(), "kind": kind,
                "crowd": np.array(self.crowds), "category": category.astype(np.int32), "area": area, "order": order,
                "first": np.searchsorted(picture[order], np.arange(len(pictures) + 1)).astype(np.int64),
                "points": np.concatenate(points), "starts": np.cumsum(np.concatenate(lengths)),
                "polygons": np.array(self.polygons), "counts": np.frombuffer(bytes(self.counts), np.uint8),
                "runs": np.array(self.runs), "names": _json_table(names), "ids": _json_table(self.ids)}


def _places(keys: list[Any], numbers: dict[Any, int], column: array[int]) -> np.ndarray:
    """Where the keys that a column has by number stand in a list; -1 for those that are not there."""
    places = np.full(len(numbers) + 1, -1)
    for place, key in enumerate(keys):
        if key in numbers:
            places[numbers[key]] = place
    return places[np.array(column)]  # -1 stays -1


def _json_table(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _converted(path: Path) -> dict[str, np.ndarray]:
    """Parse an annotation to tables."""
    if path.stat().st_size > _LARGE:
        print(f"{path.name}: converting {path.stat().st_size / 1e6:.0f} MB, once", file=sys.stderr)
    columns = _Columns()
    document = _parsed(path, read_text(path, "annotation"), columns)
    if not isinstance(document, dict):
        raise _not_coco(path, "a list" if isinstance(document, list) else "one value",
                        'an object with "images", "annotations" and "categories"')
    lists = {name: document.get(name) for name in ("images", "annotations", "categories")}
    if missing := [name for name, value in lists.items() if not isinstance(value, list)]:
        if "_via_img_metadata" in document or any(isinstance(one, dict) and "regions" in one
                                                  for one in document.values()):
            raise _not_coco(path, "a project of the VGG Image Annotator (VIA)", "a COCO annotation",
                            "Export it from VIA: Annotation, Export Annotations (COCO format).")
        raise _not_coco(path, f"no list {' and no list '.join(map(repr, missing))}",
                        'an object with the lists "images", "annotations" and "categories"')
    pictures = [_picture(one, path) for one in document["images"]]
    categories = [_category(one, path) for one in document["categories"]]
    for what, those in (("two pictures with one id", pictures), ("a category twice", categories),
                        ("a category twice", [one[1:] for one in categories])):
        seen: dict[Any, Any] = {}
        for one in those:
            if seen.setdefault(one[0], one) is not one:
                raise DataError(f"{path}: {what}", found=f"{one[0]!r}: {seen[one[0]][1]} and {one[1]}",
                                expected="an id for each, and each name once",
                                fix="Remove one, or write the file again.")
    listed = [one if type(one) is _Row else columns.add(one if isinstance(one, dict) else {})
              for one in document["annotations"]]
    pictures.sort(key=lambda one: (isinstance(one[0], str), one[0]))
    return columns.tables(pictures, categories, listed)


def _parsed(path: Path, text: str, columns: _Columns) -> Any:
    try:
        return json.loads(text, object_hook=columns.hook)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 40):error.pos]
        raise DataError(f"{path}: JSON", found=f"no JSON from character {error.pos:,} of {len(text):,} on, after "
                        f"{near!r}: {error.msg}", expected="a whole JSON file",
                        fix="It was probably cut off: copy or download it again.") from error
    except (RecursionError, ValueError) as error:  # a number with more than 4,300 digits
        found = "lists in lists in lists" if isinstance(error, RecursionError) else str(error)
        raise _not_coco(path, found, "a COCO annotation") from error


def _picture(value: Any, path: Path) -> tuple[Any, str, int, int]:
    """(id, file name, height, width); sizes that cannot be are 0: the picture's own file decides."""
    found = value if isinstance(value, dict) else {}
    key, name = _key(found.get("id")), _text(found.get("file_name"))
    if key is None or name is None:
        raise _not_coco(path, f"a picture {str(value)[:120]}", "pictures with id and file_name")
    height, width = _key(found.get("height")), _key(found.get("width"))
    if not (isinstance(height, int) and isinstance(width, int) and min(height, width) > 0
            and height * width <= MOST_PIXELS):
        height = width = 0
    return key, name, height, width


def _category(value: Any, path: Path) -> tuple[Any, str, str]:
    found = value if isinstance(value, dict) else {}
    key, name, group = _key(found.get("id")), _text(found.get("name")), _text(found.get("supercategory")) or ""
    if key is None or name is None:
        raise _not_coco(path, f"a category {str(value)[:120]}", "categories with id and name")
    return key, unicodedata.normalize("NFC", name), unicodedata.normalize("NFC", group)


def _not_coco(path: Path, found: str, expected: str, fix: str | None = None) -> DataError:
    return DataError(f"{path}: not a COCO annotation", found=found, expected=expected,
                     fix=fix or "Take the instances_*.json of the dataset; captions and image_info files have no "
                                "objects.")
