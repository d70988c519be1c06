"""LabelMe: a JSON file with outlines for each picture."""

from __future__ import annotations

import base64
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from PIL import Image, ImageDraw

from seglab.datasets.base import Reader, few
from seglab.datasets.coco.masks import MOST_PIXELS
from seglab.datasets.folder import Folder, find_class_table
from seglab.datasets.io import IMAGE_SUFFIXES, Size, image_size
from seglab.datasets.splits import Entry, existing_folder, files_below, find_split_name, folders_below, name_below
from seglab.errors import ArgumentError, DataError, printable
from seglab.files import read_text
from seglab.labels import IGNORE, known_label_set

#: What has an area, and the least number of its points; "rotation" is X-AnyLabeling's.
_AREAS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2, "oriented_rectangle": 4, "rotation": 4}
_FAR = 200_000
_THIN = ("point", "points", "line", "linestrip")
_SPECIAL = {"__ignore__": IGNORE, "_background_": 0, "background": 0}

Shape = tuple[str, str, list[tuple[float, float]], str]  # label, type, points, and the PNG of a mask in base64


class LabelMe(Reader):
    """Pictures with LabelMe's JSON files beside them or in another folder; also below `train/`, `val/` and `test/`.

    Shapes are filled with their outlines as LabelMe's own conversion does it, later ones over earlier ones. Points and
    lines have no area and are left out. `__ignore__` becomes 255; `_background_` and what has no shape is 0. A picture
    without a JSON file was not annotated and is left out. `classes` are the labels to use, in the order of their ids
    from 1 on; by default all, by name.

    Raises:
        ArgumentError: `classes` is no list of names.
        DataError: more than 253 labels.

    Source: LabelMe (K. Wada), `shape_to_mask` and `shapes_to_label`.
    """

    name = "labelme"
    looks_like = "pictures and LabelMe's JSON files"
    named_by_folder = True

    def __init__(self, root: str | Path, *, classes: Sequence[str] | None = None) -> None:
        if isinstance(classes, str):
            raise ArgumentError("classes", found=repr(classes), expected="a list of names")
        self.root, self.splits = existing_folder(root), defaultdict(list)
        files = files_below(self.root)
        pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        named: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for path in pictures:
            named[self._split(path), normalize("NFC", path.name)].append(path)
        for path in files:
            if path.suffix.lower() == ".json" and (entry := self._entry(path, named)) is not None:
                self.splits[self._split(path)].append(entry)
        if len(self.splits) > 1 and (rest := self.splits.pop("all", [])):
            self.notes.append(f"{len(rest)} annotations are in no split's folder: {few([e.name for e in rest])}")
        entries = [entry for some in self.splits.values() for entry in some]
        used = {os.path.realpath(entry.image) for entry in entries}
        if unused := [path.name for path in pictures if os.path.realpath(path) not in used]:
            self.notes.append(f"{len(unused)} pictures without a JSON file are left out: {few(unused)}")
        shapes = [shape for entry in entries for shape in entry.target[1]]
        areas = Counter(label for label, kind, *_ in shapes if kind in _AREAS)
        names = [normalize("NFC", name) for name in (sorted(areas) if classes is None else classes)]
        names = ["background", *(name for name in names if name not in _SPECIAL)]
        if len(names) >= IGNORE:
            raise DataError(f"{self.root}: labels", found=f"{len(names) - 1}: {few(names[1:])}", expected="253 at most",
                            fix="Choose some: classes=[…]. Objects of one class have one label, and a group id.")
        self.label_set = known_label_set(names)
        self._ids = {name: value for value, name in enumerate(self.label_set.classes)} | _SPECIAL
        if thin := Counter(kind for _, kind, *_ in shapes if kind in _THIN):
            self.notes.append(f"shapes without an area are left out: {dict(thin)}")
        if other := {label: count for label, count in areas.items() if label not in self._ids}:
            self.notes.append(f"shapes with labels that are not in `classes` are background: {other}")

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        if not asked and (folder := Folder.find(root)) is not None and find_class_table(folder):
            return None  # its masks were made of the JSON files
        some = (path for folder in folders_below(root, 3) for path in sorted(folder.glob("[!._]*.json"))[:4])
        return root if any(map(_looks_right, some)) else None

    def _split(self, path: Path) -> str:
        folders = path.relative_to(self.root).parts[:-1]
        return next((split for folder in folders if (split := find_split_name(folder))), "all")

    def _entry(self, path: Path, named: Mapping[tuple[str, str], list[Path]]) -> Entry | None:
        """A file's annotation and its picture, and in `bad` what is wrong with them; None for another kind of file."""
        name = name_below(self.root, path)
        try:
            found = json.loads(read_text(path, "annotation"))
            if not isinstance(found, dict) or not {"shapes", "imagePath"} <= found.keys():
                self.notes.append(f"{path.name} is no annotation and is left out")
                return None
            if not isinstance(found["shapes"], list):
                raise ValueError("`shapes` is no list")
            sides: tuple[Any, Any] = found.get("imageHeight"), found.get("imageWidth")
            size = sides if all(type(side) is int and side > 0 for side in sides) else None  # else the picture's
            if size and size[0] * size[1] > MOST_PIXELS:
                raise ValueError(f"imageWidth × imageHeight of more than {MOST_PIXELS:,} pixels")
            shapes = [_shape(shape, f"shape {number}") for number, shape in enumerate(found["shapes"], start=1)]
            # The picture is where `imagePath` says, or else the only one of its name, in the same split if possible.
            stated = str(found["imagePath"]).replace("\\", "/")
            base = normalize("NFC", stated.rpartition("/")[2])
            known = [path.parent / stated] if os.path.isfile(path.parent / stated) else (
                named.get((self._split(path), base)) or named.get(("all", base)) or [])
            if len(known) != 1:
                held = "; the JSON file holds one, which labelme_export_json writes" if found.get("imageData") else ""
                raise ValueError(f"{len(known) or 'no'} pictures of the name {stated[:200]!r}{held * (not known)}")
            return Entry(name, known[0], (size, shapes))
        except (DataError, ValueError, RecursionError) as error:
            self.bad[path] = f"{path}: {error}"
            return Entry(name, path, (None, []))

    def size(self, entry: Entry) -> Size:
        return entry.target[0] or image_size(entry.image)

    def mask(self, entry: Entry) -> np.ndarray:
        canvas = Image.new("L", self.size(entry)[::-1])
        draw = ImageDraw.Draw(canvas)
        for label, kind, points, png in entry.target[1]:
            value = self._ids.get(label)
            if value is None or kind in _THIN:
                continue
            if kind == "mask":
                stencil = _stencil(png, self.size(entry), entry.name)
                canvas.paste(value, (round(points[0][0]), round(points[0][1])), stencil)
            elif kind == "circle":
                (x, y), radius = points[0], float(np.hypot(*np.subtract(points[1], points[0])))
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value, outline=value)
            elif len(points) == 2:
                (left, right), (top, bottom) = (sorted(side) for side in zip(*points, strict=True))
                draw.rectangle((left, top, right, bottom), fill=value, outline=value)
            else:
                draw.polygon(points, fill=value, outline=value)
        return np.asarray(canvas)


def _shape(found: Any, where: str) -> Shape:
    """A shape of a file, checked; ValueError says what is wrong with it."""
    found = found if isinstance(found, dict) else {}
    label, points, png = found.get("label"), found.get("points"), found.get("mask") or ""
    kind = found.get("shape_type") or "polygon"
    if (not isinstance(label, str) or not label.strip() or printable(label) != label
            or kind not in (*_AREAS, *_THIN) or not isinstance(png, str)):
        raise ValueError(f"{where}: label {label!r:.80}, shape type {kind!r:.80}")
    # What is drawn on a picture lies nearer; NaN is not below it. Pillow does not come back from circles of a million.
    if not isinstance(points, list) or len(points) < _AREAS.get(kind, 1) or not all(isinstance(point, list) and len(
            point) == 2 and all(type(v) in (int, float) and abs(v) <= _FAR for v in point) for point in points):
        raise ValueError(f"{where}, {label[:80]!r}: {points!r:.80}, which are no points of a {kind}")
    return normalize("NFC", label.strip()), kind, [(x, y) for x, y in points], png


def _stencil(png: str, size: Size, where: str) -> Image.Image:
    """A mask's PNG as a picture of one band: 255 in the object, else 0."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"]) as image:
            if image.width > size[1] or image.height > size[0]:
                raise ValueError(f"{image.width}×{image.height} pixels on a picture of {size[1]}×{size[0]}")
            return image.convert("L").point(lambda value: 255 * (value > 0))
    except Exception as error:  # all of them: see `io.opened`
        raise DataError(f"{where}: mask of a shape", found=f"{png[:40]!r} … ({error})", expected="a PNG file in base64",
                        fix="Draw the shape again.") from error


def _looks_right(path: Path) -> bool:
    """Whether a JSON file begins and ends like LabelMe's; the picture may lie in between."""
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        return False
    with open(path, "rb") as file:
        begin = file.read(4096)
        file.seek(max(0, path.stat().st_size - 4096))
        return b'"shapes"' in (ends := begin + file.read()) and b'"imagePath"' in ends
