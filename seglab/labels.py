"""Label sets: the classes of a dataset, their colours, and the one id that is never scored."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seglab.errors import ArgumentError, DataError

#: The id that marks a pixel as "do not score, do not train". The only one past the loader.
IGNORE = 255
#: Free in every label set (at most 254 classes): stands for a colour that is no class's.
_UNKNOWN = 254

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
        if not 1 <= len(self.classes) < IGNORE:
            raise ArgumentError(f"label set {self.name!r}", found=f"{len(self.classes)} classes",
                                expected="1 to 254 classes (id 255 means ignore)")
        if len(set(self.classes)) != len(self.classes):
            twice = sorted({c for c in self.classes if self.classes.count(c) > 1})
            raise ArgumentError(f"label set {self.name!r}", found=f"{twice} more than once",
                                expected="every class name once")
        if len(self.colours) != len(self.classes):
            raise ArgumentError(f"label set {self.name!r}", found=f"{len(self.colours)} colours",
                                expected=f"{len(self.classes)}, one a class")
        for name, colour in zip((*self.classes, "ignore"), (*self.colours, self.ignore_colour), strict=True):
            if len(colour) != 3 or not all(0 <= v <= 255 for v in colour):
                raise ArgumentError(f"label set {self.name!r}, class {name!r}",
                                    found=f"colour {colour}", expected="three numbers 0 to 255")

    def __len__(self) -> int:
        return len(self.classes)

    def __reduce__(self) -> tuple[Any, ...]:  # without the cached tables: loader workers would each be sent 16 MB
        return LabelSet, (self.name, self.classes, self.colours, self.ignore_colour)

    def id(self, name: str) -> int:
        """The class id of a class name; raises ArgumentError for a name that is not there."""
        if name not in self.classes:
            raise ArgumentError(f"label set {self.name!r}", found=f"class {name!r}",
                                expected=", ".join(self.classes))
        return self.classes.index(name)

    @cached_property
    def palette(self) -> np.ndarray:
        """Colours of all 256 ids, (256, 3) uint8: the classes, magenta for ids that are no class, 255 ignore."""
        table = np.full((256, 3), (255, 0, 255), dtype=np.uint8)
        table[: len(self)] = self.colours
        table[IGNORE] = self.ignore_colour
        return table

    def colourise(self, mask: np.ndarray) -> np.ndarray:
        """Paint a mask: (H, W) uint8 class ids -> (H, W, 3) uint8 RGB, one table look-up.

        The look-up is OpenCV's, some 20 times the speed of `palette[mask]`.

        Raises:
            ArgumentError: the mask is not a two-dimensional uint8 array.
        """
        import cv2  # here, so that importing this module stays instant

        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.dtype != np.uint8:
            raise ArgumentError("mask", found=f"shape {mask.shape}, {mask.dtype}",
                                expected="shape (H, W), uint8")
        if mask.size == 0:
            return np.zeros((*mask.shape, 3), dtype=np.uint8)
        return cv2.applyColorMap(np.ascontiguousarray(mask), self.palette[:, None])  # (H, W), (256, 1, 3) -> (H, W, 3)

    def ids_from_colours(self, rgb: np.ndarray, where: str = "mask") -> np.ndarray:
        """Read a colour-coded mask: (H, W, 3) uint8 RGB -> (H, W) uint8 class ids.

        Args:
            rgb: the coloured mask.
            where: what to call it in an error, normally the file's path.

        Raises:
            DataError: a colour is not in the palette. It names the colour, how many pixels have it,
                the first of them, and the nearest class.
        """
        packed = rgb[..., 0].astype(np.uint32) << 16 | rgb[..., 1].astype(np.uint32) << 8 | rgb[..., 2]
        ids = self._id_of_packed_colour[packed]  # (H, W)
        unknown = ids == _UNKNOWN
        if unknown.any():
            y, x = np.argwhere(unknown)[0]
            colour = rgb[y, x].astype(int)
            nearest = int(np.abs(np.array(self.colours) - colour).sum(axis=1).argmin())
            raise DataError(
                f"{where}: colour outside the palette of {self.name!r}",
                found=f"colour {tuple(colour.tolist())} at x={x}, y={y}; "
                      f"{int(unknown.sum())} of {unknown.size} pixels are outside",
                expected=f"one of the {len(self)} class colours (nearest: {self.classes[nearest]} "
                         f"{self.colours[nearest]})",
                fix="Save masks as PNG, never JPEG, and resize them with nearest only; or give the "
                    "palette that they were drawn with (class_dict.csv).")
        return ids

    @cached_property
    def _id_of_packed_colour(self) -> np.ndarray:
        # 2^24 entries of one byte: 16 MB buy a look-up that is independent of the number of classes.
        table = np.full(1 << 24, _UNKNOWN, dtype=np.uint8)
        # Backwards, so that the first class of a colour wins, and a class wins over ignore.
        for value, (r, g, b) in reversed([*enumerate(self.colours), (IGNORE, self.ignore_colour)]):
            table[r << 16 | g << 8 | b] = value
        return table

    @classmethod
    def from_csv(cls, path: str | Path, name: str | None = None, ignore: Iterable[str] = ()) -> LabelSet:
        """Read the `class_dict.csv` that datasets ship: a header, then `name, r, g, b` a line.

        Args:
            path: the file. Rows are in the order of the class ids.
            name: the label set's name; the file's stem by default.
            ignore: classes at the end of the table that are not to be scored. Their colour becomes
                the ignore colour.

        Raises:
            DataError: the file is missing, or a line is not a name and three numbers 0 to 255.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: class table", found=str(error),
                            expected="a readable text file with the columns name, r, g, b") from error
        rows: list[tuple[str, Colour]] = []
        for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), start=1):
            if not row or (number == 1 and row[0].strip().lower() in {"name", "class", "label"}):
                continue
            try:
                colour = tuple(int(v) for v in row[1:4])
                if len(colour) != 3 or not all(0 <= v <= 255 for v in colour):
                    raise ValueError
            except ValueError:
                raise DataError(f"{path}, line {number}", found=",".join(row),
                                expected="name, r, g, b with numbers 0 to 255") from None
            rows.append((row[0].strip(), colour))
        ignored = set(ignore)
        kept = [row for row in rows if row[0] not in ignored]
        if rows[: len(kept)] != kept:
            raise DataError(f"{path}: ignored classes {sorted(ignored)}", found="in the middle of the table",
                            expected="at its end, so that the class ids stay what they are")
        extra = {"ignore_colour": rows[-1][1]} if len(kept) < len(rows) else {}
        return cls(name or path.stem, tuple(n for n, _ in kept), tuple(c for _, c in kept), **extra)


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


def _with_voc_colours(name: str, classes: Sequence[str], colour_ids: Sequence[int] | None = None) -> LabelSet:
    table = voc_palette().tolist()
    return LabelSet(name, tuple(classes), tuple(table[i] for i in colour_ids or range(len(classes))))


VOC = _with_voc_colours("voc", (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"))

#: Background, cat, dog; the animals keep their VOC colours, so that pictures of all lessons compare.
PETS = _with_voc_colours("pets", ("background", "cat", "dog"), (0, 8, 12))

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

#: COCO's 80 object categories: published category id (1 to 90, with gaps) -> name.
COCO_CATEGORIES: dict[int, str] = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat",
    18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe",
    27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard",
    42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife",
    50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot",
    58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard",
    77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book",
    85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush"}


def coco_subset(categories: Sequence[int | str]) -> LabelSet:
    """Background and the given COCO categories, in the given order, as classes 0, 1, 2, …

    Args:
        categories: published category ids (17 is cat) or names; 0 or "background" may stand first.

    Raises:
        ArgumentError: a category that COCO does not have, or one that repeats.

    Example:
        >>> coco_subset([17, 18]).classes
        ('background', 'cat', 'dog')
    """
    wanted = list(categories)
    if wanted and wanted[0] in (0, "background"):
        wanted = wanted[1:]
    ids = {name: number for number, name in COCO_CATEGORIES.items()}
    numbers = []
    for item in wanted:
        number = ids.get(item) if isinstance(item, str) else item
        if number not in COCO_CATEGORIES:
            raise ArgumentError("COCO category", found=repr(item),
                                expected="an id or name of COCO's 80 object categories, such as 17 or 'cat'")
        numbers.append(number)
    names = ("background", *(COCO_CATEGORIES[n] for n in numbers))
    return _with_voc_colours("coco-" + "-".join(map(str, numbers)), names)


def known_label_set(classes: Sequence[str]) -> LabelSet:
    """The label set with exactly these classes if it is one of ours, else a new one in VOC's colours.

    Example:
        >>> known_label_set(["background", "cat", "dog"]).name, known_label_set(["soil", "leaf"]).colours[1]
        ('pets', (128, 0, 0))
    """
    for label_set in (VOC, PETS, DRONE, CAMVID):
        if list(label_set.classes) == list(classes):
            return label_set
    return _with_voc_colours("classes", tuple(classes))
