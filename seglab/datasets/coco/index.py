"""A COCO annotation as a table of its objects, and their shapes: parsed once, afterwards mapped from the cache.

Both are in one safetensors file, named after the hash of the annotation's content. So nothing is written beside the
annotation, loader workers share one copy of what they touch, and the file holds no code.
"""

from __future__ import annotations

import json
import re
import reprlib
import sys
import unicodedata
import zlib
from array import array
from contextlib import suppress
from itertools import accumulate, pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from pycocotools import mask as coco_mask
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from seglab.datasets.cache import cache_folder
from seglab.datasets.coco.masks import FAR, LONGEST, MOST_PIXELS, Rle, outline_length, to_rle
from seglab.datasets.io import Size
from seglab.errors import CacheError, DataError
from seglab.files import atomic_file, file_digests, read_text

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
OUTSIDE = 20  # usable, but without a pixel

_VERSION = "4"  # raise it when the tables change, and old ones are made again
_LARGE = 50_000_000  # bytes; longer conversions are announced
_ROW = np.dtype([("start", np.int64), ("stop", np.int64), ("area", np.float64), ("picture", np.int32),
                 ("category", np.int32), ("crowd", np.int32), ("fault", np.int32), ("checksum", np.uint32)])
_NAMES = tuple[list[tuple[int | str, str, str]], list[tuple[int | str, str, int, int]]]  # categories, pictures
#: What can be said of a segmentation: how its points or run lengths are packed, these, its box, and its picture's size.
Packed = tuple[Any, bytes, tuple[float, float, float, float], "tuple[int, int] | None"]


class CocoIndex:
    """The tables of an annotation; see the module. Made by `CocoIndex.open`.

    Attributes:
        path, digest, place: the annotation, the hash of its content, and the file in the cache.
        categories: (id, name, supercategory) of each, by ascending id.
        pictures: (id, file name, height, width) of each, by ascending id; 0 × 0 where the annotation gives no size.
        rows: a record of each annotation: `picture` and `category` are places in these lists, or -1; `crowd` is 0 or
            1; `area` in square pixels; `fault` 0, `OUTSIDE`, or a key of `FAULTS`; `checksum` that of its shape. They
            are in the order of the pictures, of one picture in the order of the file; those that cannot be used come
            last.
        first: where the rows of each picture begin.

    CacheError if the file in the cache is damaged, or is not there.

    Source: the format is described at https://cocodataset.org/#format-data.
    """

    def __init__(self, path: Path, place: Path, digest: str) -> None:
        self.path, self.place, self.digest = path, place, digest
        try:
            with safe_open(place, framework="pt") as file:  # PyTorch's way of opening maps the file; NumPy's copies it
                names, rows, self._shapes = (file.get_tensor(name).numpy() for name in ("names", "rows", "shapes"))
                if file.metadata() != _made_of(digest, names, rows):
                    raise ValueError("made of something else")
            self.rows: np.ndarray = rows.reshape(-1).view(_ROW)
            self.categories, self.pictures = msgspec.convert(json.loads(names.tobytes()), _NAMES)
        except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
            raise self._damaged() from error
        self.first = np.searchsorted(self.rows["picture"], np.arange(len(self.pictures) + 1)).tolist()

    def __reduce__(self) -> tuple[type, tuple[Path, Path, str]]:  # a worker that is spawned maps the file itself
        return type(self), (self.path, self.place, self.digest)

    @classmethod
    def open(cls, path: Path) -> CocoIndex:
        """Open the tables of an annotation; they are made if they are not in the cache, or damaged.

        DataError if there is no such file, or it is no COCO annotation with objects.
        """
        with cache_folder(f"tables as large as {path}") as cache:
            digest = file_digests([path], cache / "digests.json")[0]
            place = cache / f"coco-{digest}.safetensors"
            with suppress(CacheError):
                return cls(path, place, digest)
            tables = _converted(path)
            with atomic_file(place) as new:
                save_file(tables, new, _made_of(digest, tables["names"], tables["rows"]))
        return cls(path, place, digest)

    def shape(self, row: np.void) -> tuple[int | str | None, list[np.ndarray] | Rle]:
        """The id of an annotation, and its outlines, (x, y, x, y, …) each, or its compressed run lengths."""
        packed = self._shapes[row["start"]:row["stop"]].tobytes()
        head, _, data = packed.partition(b"\n")
        try:
            if zlib.crc32(packed) != row["checksum"]:
                raise ValueError("other bytes than were written")
            key, form = json.loads(head)
            return key, _unpacked(form, data)
        except (ValueError, TypeError) as error:
            raise self._damaged() from error

    def _damaged(self) -> CacheError:
        return CacheError(f"{self.place}: the tables of {self.path.name}", found="gone, or damaged",
                          expected="the file that was there when the dataset was opened",
                          fix="Delete what is there, and open the dataset again.")


def _made_of(digest: str, names: np.ndarray, rows: np.ndarray) -> dict[str, str]:
    return {"made_of": f"{_VERSION} {digest} {zlib.crc32(rows.data, zlib.crc32(names.data))}"}


def _converted(path: Path) -> dict[str, np.ndarray]:
    """Parse an annotation to tables, as bytes."""
    if path.stat().st_size > _LARGE:
        print(f"{path.name}: converting {path.stat().st_size / 1e6:.0f} MB, once", file=sys.stderr)
    shapes = bytearray()
    document = _parsed(path, shapes)
    pictures = [(key, name, *_size(value))
                for key, name, value in _by_id(path, document["images"], "pictures", "file_name")]
    categories = [(key, name, _text(value.get("supercategory")) or "")
                  for key, name, value in _by_id(path, document["categories"], "categories", "name")]
    if len({name for _, name, _ in categories}) < len(categories):
        raise _not_coco(path, "a category's name twice", "each name once", "Rename or join them.")
    places, classes = ({one[0]: place for place, one in enumerate(those)} for those in (pictures, categories))
    rows, seen = [], set()
    for one in document["annotations"]:
        if not isinstance(one, dict) or "segmentation" not in one:
            one = _pack(one if isinstance(one, dict) else {}, shapes)
        start, stop, fault, area, (left, top, right, bottom), size = one["segmentation"]
        picture = places.get(_key(one.get("image_id")), -1)
        category = classes.get(_key(one.get("category_id")), -1)
        height, width = pictures[picture][2:] if picture >= 0 else (0, 0)
        key, crowd = _key(one.get("id")), one.get("iscrowd", 0)
        outside = not size and (min(right, bottom) <= 0 or (height and (left >= width or top >= height)))
        fault = (8 if crowd not in (0, 1) else fault or (
            1 if picture < 0 else 2 if category < 0 else 7 if key in seen else
            6 if size and height and size != (height, width) else OUTSIDE if outside else 0))
        if key is not None:
            seen.add(key)
        rows.append((start, stop, area, len(pictures) if fault in FAULTS else picture, category, crowd == 1, fault,
                     zlib.crc32(shapes[start:stop])))
    table = np.array(rows, dtype=_ROW)
    return {"names": np.frombuffer(json.dumps([categories, pictures]).encode(), np.uint8),
            "rows": table[np.argsort(table["picture"], kind="stable")].view(np.uint8),
            "shapes": np.frombuffer(shapes, np.uint8)}


def _pack(value: dict[str, Any], shapes: bytearray) -> dict[str, Any]:
    """Move an annotation's segmentation to the other shapes; what the table needs of it remains in its place."""
    shape, start, fault = value.get("segmentation"), len(shapes), 0
    area: Any = value.get("area")
    area = area if type(area) in (int, float) else 0
    try:
        form, data, box, size = _outlines(shape) if isinstance(shape, list) else _runs(shape)
        most = 2 * (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
        if not most / 20 <= area <= most:  # else there is no need to measure
            found = _unpacked(form, data)
            least = float(coco_mask.area(found)) if isinstance(found, dict) else sum(
                cv2.contourArea(outline.reshape(-1, 2).astype(np.float32)) for outline in found)
            # Areas of 0, of 1, of whole pictures, or in shares of it are no areas.
            area = area if 0 < area <= most and least / 10 <= area else least
    except _Unusable as error:
        fault, form, data, area, box, size = error.args[0], [], b"", 0, (0, 0, 0, 0), None
    shapes += json.dumps([_key(value.get("id")), form]).encode() + b"\n" + data
    value["segmentation"] = start, len(shapes), fault, area, box, size
    value.pop("bbox", None)  # takes memory
    return value


class _Unusable(Exception):  # noqa: N818  # it ends up as a number in the table
    """A segmentation that has a fault, one of `FAULTS`."""


def _outlines(shape: list[Any]) -> Packed:
    """Of polygons: where to split the points, and the points."""
    if not shape:
        raise _Unusable(3)
    if type(shape[0]) in (int, float):  # VIA leaves the outer brackets out
        shape = [shape]
    if not all(isinstance(outline, list) and len(outline) >= 6 and len(outline) % 2 == 0 for outline in shape):
        raise _Unusable(4)
    numbers = shape[0] if len(shape) == 1 else [number for outline in shape for number in outline]
    try:
        points = array("d", numbers)
    except (TypeError, OverflowError):
        raise _Unusable(5) from None
    xs, ys = numbers[::2], numbers[1::2]
    box = left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    form, data = [*accumulate(map(len, shape))][:-1], points.tobytes()
    if not (isfinite(sum(points)) and min(left, top) > -FAR and max(right, bottom) < FAR):
        raise _Unusable(5)
    longest = len(xs) * max(1, right - left + bottom - top)  # more than they can be: else look closely
    if longest > LONGEST and outline_length(_unpacked_outlines(form, data)) > LONGEST:
        raise _Unusable(5)
    return form, data, box, None


def _runs(shape: Any) -> Packed:
    """Of run lengths: their size, and what pycocotools compresses them to."""
    if not isinstance(shape, dict):
        raise _Unusable(3)
    try:
        height, width = map(int, shape["size"])
        rle = to_rle(shape, height, width)
    except (ValueError, TypeError, LookupError, OverflowError):
        raise _Unusable(6) from None
    left, top, *sides = coco_mask.toBbox(rle).tolist()
    return {"size": rle["size"]}, rle["counts"], (left, top, left + sides[0], top + sides[1]), (height, width)


def _unpacked(form: list[int] | dict[str, list[int]], data: bytes) -> list[np.ndarray] | Rle:
    if isinstance(form, dict):
        return {**form, "counts": data}
    return _unpacked_outlines(form, data)


def _unpacked_outlines(form: list[int], data: bytes) -> list[np.ndarray]:
    points = np.frombuffer(data)
    return [points[start:stop] for start, stop in pairwise([0, *form, len(points)])]


def _key(value: Any) -> int | str | None:
    """An id: a whole number, also as text or as a float; any other text stands for itself."""
    if type(value) is float:
        return int(value) if value.is_integer() else None
    if type(value) is str:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else _text(value)
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    """A text that can be written: one that is not empty, without halves of surrogate pairs."""
    usable = isinstance(value, str) and value and not re.search("[\ud800-\udfff]", value)
    return unicodedata.normalize("NFC", value) if usable else None


def _parsed(path: Path, shapes: bytearray) -> dict[str, Any]:
    """The document, with its segmentations packed on the way: as lists of numbers they would take gigabytes."""
    text = read_text(path, "annotation")
    try:
        document = json.loads(text, object_hook=lambda one: _pack(one, shapes) if "segmentation" in one else one)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: JSON", expected="a whole JSON file",
                        found=f"no JSON from character {error.pos:,} of {len(text):,} on: {error.msg}",
                        fix="It was probably cut off: copy or download it again.") from error
    except (RecursionError, ValueError) as error:  # a number with more than 4,300 digits
        found = "lists in lists in lists" if isinstance(error, RecursionError) else str(error)
        raise _not_coco(path, found) from error
    if not isinstance(document, dict):
        raise _not_coco(path, "a list" if isinstance(document, list) else "one value")
    if missing := [name for name in ("images", "annotations", "categories")
                   if not isinstance(document.get(name), list)]:
        if any(key == "_via_img_metadata" or (isinstance(one, dict) and "regions" in one)
               for key, one in document.items()):
            raise _not_coco(path, "a project of the VGG Image Annotator (VIA)",
                            fix="Export it from VIA: Annotation, Export Annotations (COCO format).")
        raise _not_coco(path, f"no list {' and no list '.join(map(repr, missing))}")
    return document


def _by_id(path: Path, those: list[Any], what: str, field: str) -> list[tuple[Any, str, dict[str, Any]]]:
    """(id, name, all of it) of each picture or category, by ascending id, numbers first."""
    found: dict[Any, tuple[Any, str, dict[str, Any]]] = {}
    for one in those:
        key, name = (_key(one.get("id")), _text(one.get(field))) if isinstance(one, dict) else (None, None)
        if key is None or name is None:
            raise _not_coco(path, reprlib.repr(one), f"{what} with id and {field}")
        if found.setdefault(key, (key, name, one))[2] is not one:
            raise _not_coco(path, f"two {what} with one id, {key!r} twice: {found[key][1]} and {name}",
                            "an id for each", "Remove one, or write the file again.")
    return sorted(found.values(), key=lambda one: (isinstance(one[0], str), one[0]))


def _size(picture: dict[str, Any]) -> Size:
    """(height, width); 0 × 0 if that cannot be: then the picture's own file decides."""
    height, width = _key(picture.get("height")), _key(picture.get("width"))
    if (isinstance(height, int) and isinstance(width, int) and min(height, width) > 0
            and height * width <= MOST_PIXELS):
        return height, width
    return 0, 0


def _not_coco(path: Path, found: str, expected: str = 'an object with the lists "images", "annotations", "categories"',
              fix: str = "Take the instances_*.json of the dataset; captions and image_info files have no objects."
              ) -> DataError:
    return DataError(f"{path}: not a COCO annotation", found=found, expected=expected, fix=fix)
