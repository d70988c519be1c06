"""Label sets: the classes of a dataset, their colours, and the one id that is never scored."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seglab.errors import ArgumentError, DataError, printable
from seglab.files import read_text

#: The id that marks a pixel as "do not score, do not train". The only one past the loader.
IGNORE = 255
#: Free in every label set (at most 254 classes): marks, in tables, a value or colour that is no class's.
STRAY = 254

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a dataset in the order of their ids, with a colour each.

    Args:
        name: a short name, for messages and checkpoints.
        classes: class names; the position is the class id, 0 to C-1, with C at most 254.
        colours: one (red, green, blue) triple a class, each 0 to 255.
        ignore_colour: the colour in which ignored pixels (id 255) are drawn.

    Raises:
        ArgumentError: no class, more than 254, a name twice, or a colour too many, too few or out of range.

    Example:
        >>> PETS.classes
        ('background', 'cat', 'dog')
        >>> PETS.id("dog"), len(PETS)
        (2, 3)
        >>> PETS.colourise(np.array([[0, 2]], dtype=np.uint8)).tolist()
        [[[0, 0, 0], [64, 0, 128]]]
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    ignore_colour: Colour = (224, 224, 192)

    def __post_init__(self) -> None:
        # Checkpoints and CSV files hand over lists; a frozen set wants tuples, to be hashable.
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "colours", tuple(tuple(int(v) for v in c) for c in self.colours))
        object.__setattr__(self, "ignore_colour", tuple(self.ignore_colour))
        what = f"label set {self.name!r}"
        if not 1 <= len(self.classes) < IGNORE:
            raise ArgumentError(what, found=f"{len(self.classes)} classes",
                                expected="1 to 254 classes (id 255 means ignore)")
        if bad := [name for name in self.classes if not isinstance(name, str) or printable(name) != name]:
            raise ArgumentError(what, found=f"class names {bad}", expected="texts, without halves of surrogate pairs")
        if twice := sorted({name for name in self.classes if self.classes.count(name) > 1}):
            raise ArgumentError(what, found=f"{twice} more than once", expected="every class name once")
        if len(self.colours) != len(self.classes):
            raise ArgumentError(what, found=f"{len(self.colours)} colours",
                                expected=f"{len(self.classes)}, one a class")
        for name, colour in zip((*self.classes, "ignore"), (*self.colours, self.ignore_colour), strict=True):
            if len(colour) != 3 or not all(0 <= v <= 255 for v in colour):
                raise ArgumentError(f"{what}, class {name!r}", found=f"colour {colour}",
                                    expected="three numbers 0 to 255")

    def __len__(self) -> int:
        return len(self.classes)

    def check_colours(self, where: object) -> None:
        """DataError if two classes have one colour, so that masks stored as colours do not tell them apart."""
        first: dict[Colour, str] = {}
        for name, colour in zip(self.classes, self.colours, strict=True):
            if first.setdefault(colour, name) != name:
                raise DataError(f"{where}: masks stored as colours", expected="another colour for each class",
                                found=f"{colour} for {first[colour]} and for {name}",
                                fix="Mend the label set, or store ids.")

    def id(self, name: str) -> int:
        """The class id of a class name; raises ArgumentError for a name that is not there."""
        if name not in self.classes:
            raise ArgumentError(f"label set {self.name!r}", found=f"class {name!r}",
                                expected=", ".join(self.classes))
        return self.classes.index(name)

    @cached_property
    def background(self) -> int | None:
        """The id of the class that is called background, as `Background` or `_background_` too; None without one."""
        return next((i for i, name in enumerate(self.classes) if name.strip("_").lower() == "background"), None)

    @cached_property
    def palette(self) -> np.ndarray:
        """Colours of all 256 ids, (256, 3) uint8: the classes, magenta for ids that are no class, 255 ignore."""
        table = np.full((256, 3), (255, 0, 255), dtype=np.uint8)
        table[: len(self)] = self.colours
        table[IGNORE] = self.ignore_colour
        return table

    def colourise(self, mask: np.ndarray) -> np.ndarray:
        """Paint a mask: (H, W) uint8 class ids -> (H, W, 3) uint8 RGB; ArgumentError for another shape or type.

        The look-up is OpenCV's, some 20 times the speed of `palette[mask]`.
        """
        import cv2  # here, so that importing this module stays instant

        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise ArgumentError("mask", found=f"shape {mask.shape}, {mask.dtype}",
                                expected="shape (H, W), uint8")
        if mask.size == 0:
            return np.zeros((*mask.shape, 3), dtype=np.uint8)
        return cv2.applyColorMap(np.ascontiguousarray(mask), self.palette[:, None])  # (H, W), (256, 1, 3) -> (H, W, 3)


@dataclass(frozen=True)
class ClassTable:
    """What the values and colours in the masks of a dataset mean.

    Args:
        label_set: the classes; their ids are 0 to C-1 without gaps, as training needs them.
        codes: value on disk -> class id, or 255 for ignore.
        colours: colour on disk -> class id, or 255 for ignore.
        coloured: the colours are the dataset's own. False: the table has none, and got VOC's, to draw with.

    Example:
        >>> ClassTable.of(PETS, ignore_ids=[3]).codes
        {0: 0, 1: 1, 2: 2, 255: 255, 3: 255}
    """

    label_set: LabelSet
    codes: dict[int, int]
    colours: dict[Colour, int]
    coloured: bool = True

    @classmethod
    def of(cls, label_set: LabelSet, ignore_ids: Iterable[int] = ()) -> ClassTable:
        """The table of a label set: values are class ids; 255, `ignore_ids` and the ignore colour mean ignore."""
        colours: dict[Colour, int] = {}
        for value, colour in [*enumerate(label_set.colours), (IGNORE, label_set.ignore_colour)]:
            colours.setdefault(colour, value)  # the first class of a colour wins, and a class wins over ignore
        codes = {value: value for value in [*range(len(label_set)), IGNORE]}
        return cls(label_set, codes | dict.fromkeys(ignore_ids, IGNORE), colours)

    @classmethod
    def read(cls, path: str | Path) -> ClassTable:
        """Read a table of classes as datasets ship it: one class a line, `,` `;` or tabs between the columns.

        A header may name the columns: the class (`name`, `class`, `class_name`, `label`), its colour (`r`, `g`, `b`
        or `red`, …; or one column `color` with `#rrggbb` or `r g b`), its value in the masks (`id`, `value`, `index`,
        `code`, `Pixel Value`, `label_id`) and whether it is ignored (`ignore`: 1, true, yes, x). Without a header the
        columns are name, r, g, b. Without values, they count the lines: 0, 1, 2, … Class ids are the classes in the
        order of their values, without gaps. Ignored ones are no classes: their value and colour mean 255.

        CVAT's `labelmap.txt` has `name:r,g,b:parts:actions` on each line, and comments after `#`.

        Raises:
            DataError: the file cannot be read; a line is not a class; two classes have one name, value or colour.
        """
        path = Path(path)
        return _class_table(path, _rows(path, labelmap=path.name == "labelmap.txt"))


class _Row(NamedTuple):
    line: int
    name: str
    code: int
    colour: Colour | None
    ignored: bool = False


_HEADERS = {"name": ("name", "classname", "class", "labelname", "label"),
            "code": ("pixelvalue", "value", "code", "id", "labelid", "classid", "index"),
            "colour": ("color", "colour", "hex", "rgb"), "ignore": ("ignore",),
            "r": ("r", "red"), "g": ("g", "green"), "b": ("b", "blue")}
_FLAGS = {**dict.fromkeys(("1", "true", "yes", "x"), True), **dict.fromkeys(("0", "false", "no", ""), False)}


def _rows(path: Path, labelmap: bool) -> list[_Row]:
    lines = re.split(r"\r\n|\r|\n", read_text(path, "label map" if labelmap else "class table"))
    if labelmap:
        delimiter, at = ":", {"name": 0, "colour": 1}
        expected = "name:r,g,b:parts:actions, such as road:128,64,128::"
        lines = ["" if line.startswith("#") else line for line in lines]
    else:
        first = next((line for line in lines if line.strip()), "")
        delimiter, at = max(",;\t", key=first.count), {"name": 0, "r": 1, "g": 2, "b": 3}
        expected = "name, r, g, b with numbers 0 to 255 (or first a header that says what the columns are)"
    rows: list[_Row] = []
    header = labelmap
    for number, line in enumerate(lines, start=1):
        try:
            found = [*line.split(delimiter), ""] if labelmap else next(
                csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
            cells = [cell.strip() for cell in found]
            if not any(cells):
                continue
            if not rows and not header and (columns := _header(cells)):
                header, at = True, columns
                expected = f"as the header says: {delimiter.join(cells)}"
                continue
            cell = {column: cells[index] for column, index in at.items()}
            colour = cell.get("colour", ",".join(cell[channel] for channel in "rgb" if channel in cell))
            without = not colour and (labelmap or "colour" not in cell)
            rows.append(_Row(number, _name(cell["name"]), _whole(cell["code"], 65535) if "code" in cell else len(rows),
                             None if without else _colour(colour), _FLAGS[cell.get("ignore", "").lower()]))
        except (ValueError, IndexError, KeyError, csv.Error):
            raise DataError(f"{path}, line {number}", found=line.strip()[:200] or "nothing",
                            expected=expected) from None
    return rows


def _header(cells: list[str]) -> dict[str, int] | None:
    """Which column is where; None for a line that is no header."""
    names = [re.sub(r"[\s_-]", "", cell).lower() for cell in cells]
    at = {column: names.index(found) for column, known in _HEADERS.items()
          if (found := next((name for name in known if name in names), None)) is not None}
    if "name" not in at or any(name.isdecimal() for name in names):
        return None
    return at if {"r", "g", "b"} <= at.keys() else {column: i for column, i in at.items() if column not in "rgb"}


def _class_table(path: Path, rows: Sequence[_Row]) -> ClassTable:
    """The table of these rows: each name, value and colour once, but that ignored ones may share a colour."""
    kept = sorted((row for row in rows if not row.ignored), key=lambda row: row.code)
    if not 1 <= len(kept) < IGNORE:
        raise DataError(f"{path}: class table", found=f"{len(kept)} classes", expected="1 to 254 classes")
    ids = {row.line: value for value, row in enumerate(kept)}
    seen: dict[Any, tuple[int, int]] = {}  # a name, value or colour -> its line, and what it means there
    for row in rows:
        meaning = ids.get(row.line, IGNORE)
        if (row.colour is None) != (rows[0].colour is None):
            raise DataError(f"{path}, line {row.line}", found=f"colour {row.colour}",
                            expected="a colour in every line, or in none")
        for what, key in (("name", row.name), ("value", row.code), ("colour", row.colour)):
            line, other = seen.setdefault((what, key), (row.line, meaning))
            if key is not None and line != row.line and (what != "colour" or meaning != other):
                raise DataError(f"{path}, line {row.line}", found=f"{what} {key!r}, as in line {line}",
                                expected=f"every {what} once")
    voc = [tuple(colour) for colour in voc_palette(max(row.code for row in kept) + 1).tolist()]
    void = [row.colour for row in rows if row.line not in ids and row.colour]
    label_set = LabelSet(path.stem, tuple(row.name for row in kept), tuple(row.colour or voc[row.code] for row in kept),
                         **({"ignore_colour": void[-1]} if void else {}))
    return ClassTable(label_set, {IGNORE: IGNORE} | {row.code: ids.get(row.line, IGNORE) for row in rows},
                      dict.fromkeys(void, IGNORE) | ClassTable.of(label_set).colours, rows[0].colour is not None)


def _name(text: str) -> str:
    """A name in its composed form: one name is then one string, whoever typed it."""
    if not (name := unicodedata.normalize("NFC", text.strip())):
        raise ValueError("no name")
    return name


def _whole(text: str, top: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}(\.0{1,9})?", text) or int(float(text)) > top:
        raise ValueError(text)
    return int(float(text))


def _colour(text: str) -> Colour:
    if found := re.fullmatch(r"(?:#|0x)?([0-9A-Fa-f]{2})([0-9A-Fa-f]{2})([0-9A-Fa-f]{2})", text.strip()):
        return int(found[1], 16), int(found[2], 16), int(found[3], 16)
    red, green, blue = re.split(r"[\s,;]+", text.strip(" \t()[]"))
    return _whole(red, 255), _whole(green, 255), _whole(blue, 255)


def voc_palette(count: int = 256) -> np.ndarray:
    """The PASCAL VOC colours, (count, 3) uint8: the bits of the id, three at a time, from the top bit down.

    Source: the VOC development kit's `VOClabelcolormap`.

    Example:
        >>> voc_palette(3).tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    ids = np.arange(count)[:, None]  # (count, 1)
    channel = np.arange(3)[None]  # (1, 3)
    colours = np.zeros((count, 3), dtype=np.int64)
    for bit in range(8):
        colours |= (ids >> (3 * bit + channel) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def _with_voc_colours(name: str, classes: Sequence[str]) -> LabelSet:
    return LabelSet(name, tuple(classes), tuple(voc_palette(len(classes)).tolist()))


VOC = _with_voc_colours("voc", (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"))

#: Background, cat, dog; the animals keep their VOC colours, so that pictures of all lessons compare.
PETS = LabelSet("pets", ("background", "cat", "dog"), tuple(VOC.colours[i] for i in (0, 8, 12)))

#: Semantic Drone Dataset (TU Graz), ids 0 to 22. Its id 23, "conflicting", does not occur: ignored.
DRONE = LabelSet("drone", (
    "unlabeled", "paved-area", "dirt", "grass", "gravel", "water", "rocks", "pool", "vegetation", "roof", "wall",
    "window", "door", "fence", "fence-pole", "person", "dog", "car", "bicycle", "tree", "bald-tree", "ar-marker",
    "obstacle"), (
    (0, 0, 0), (128, 64, 128), (130, 76, 0), (0, 102, 0), (112, 103, 87), (28, 42, 168), (48, 41, 30), (0, 50, 89),
    (107, 142, 35), (70, 70, 70), (102, 102, 156), (254, 228, 12), (254, 148, 12), (190, 153, 153), (153, 153, 153),
    (255, 22, 96), (102, 51, 0), (9, 143, 150), (119, 11, 32), (51, 51, 0), (190, 250, 190), (112, 150, 146),
    (2, 135, 115)), ignore_colour=(255, 0, 0))

#: CamVid in its common 11 classes; id 11 on disk is void, which the loader turns into ignore.
CAMVID = LabelSet("camvid", (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"), (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)), ignore_colour=(0, 0, 0))


def known_label_set(classes: Sequence[str]) -> LabelSet:
    """The label set with exactly these classes if it is one of ours, else a new one in VOC's colours.

    Example:
        >>> known_label_set(["background", "cat", "dog"]).name, known_label_set(["soil", "leaf"]).colours[1]
        ('pets', (128, 0, 0))
    """
    known = {label_set.classes: label_set for label_set in (VOC, PETS, DRONE, CAMVID)}
    return known.get(tuple(classes)) or _with_voc_colours("classes", classes)
