"""Checks about objects that become one mask: class ids, overlaps, crowds, and a mask that moves with its picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.labels import IGNORE

_Categories = Sequence[Mapping[str, Any]]
_COCO = [{"id": key, "name": name} for key, name in (
    (1, "person"), (2, "bicycle"), (13, "stop sign"), (16, "bird"), (17, "cat"), (18, "dog"), (19, "horse"))]


def _classes_of(answer: Callable[..., Any], categories: _Categories, names: Sequence[str]) -> dict[str, Any]:
    """The class of each category of the file, -1 for none, and how many entries there are."""
    found = answer(categories, names)
    if found is None:
        raise RefusedError("it returns nothing. Is there a `return`?")
    if not isinstance(found, Mapping):
        raise RefusedError(f"it returns a {type(found).__name__}, and should return a dictionary")
    if wrong := [key for key in found if isinstance(key, str)]:
        raise RefusedError(f"{wrong[0]!r} is a key of its dictionary. The keys are ids, such as 17")
    ids = [one["id"] for one in categories]
    return {"entries": len(found), f"classes of the ids {ids}": [int(found.get(key, -1)) for key in ids]}


def _dense(categories: _Categories, names: Sequence[str], *, first: int = 1) -> dict[int, int]:
    ids = {one["name"]: one["id"] for one in categories}
    return {ids[name]: place for place, name in enumerate(names, first)}


def _in_order_of_the_file(categories: _Categories, names: Sequence[str]) -> dict[int, int]:
    chosen = [one["id"] for one in categories if one["name"] in names]
    return {key: place for place, key in enumerate(chosen, 1)}


category_to_class = Exercise(
    "category_to_class",
    [Case("cat and dog", (_COCO, ["cat", "dog"]), 'the file has 17 "cat" and 18 "dog"; names: ["cat", "dog"]'),
     Case("the other order: dogs are class 1", (_COCO, ["dog", "cat"]),
          'the file has 17 "cat" and 18 "dog"; names: ["dog", "cat"]'),
     Case("three names, in no order of the file", (_COCO, ["horse", "person", "cat"]),
          'the file has 1 "person", 17 "cat", 19 "horse"; names: ["horse", "person", "cat"]')],
    right=lambda categories, names: _dense(categories, names), run=_classes_of,
    mistakes={
        "The classes begin at 0. 0 is the background: the first name is class 1.":
            lambda categories, names: _dense(categories, names, first=0),
        "The classes are in the order of the file. They should be in the order of `names`.": _in_order_of_the_file,
        "The ids stay as they are: 17 is class 17. The classes are 1, 2, …":
            lambda categories, names: {key: key for key in _dense(categories, names)},
        "The place among all categories of the file is taken. Count the chosen names alone.":
            lambda categories, names: {one["id"]: place for place, one in enumerate(categories, 1)
                                       if one["name"] in names},
        "Categories that were not chosen get a class, too. Leave them out: their objects are background.": [
            lambda categories, names: {one["id"]: place for place, one in enumerate(categories, 1)},
            lambda categories, names: {**{one["id"]: 0 for one in categories}, **_dense(categories, names)}],
        "Keys and values are exchanged: it is {id: class}.":
            lambda categories, names: {value: key for key, value in _dense(categories, names).items()},
        "The names are sorted. Keep their order.":
            lambda categories, names: _dense(categories, sorted(names)),
        "All chosen categories are class 1. Each has a class of its own.":
            lambda categories, names: dict.fromkeys(_dense(categories, names), 1)},
    errors={"indices must be integers": "categories is a list of dictionaries: one[\"id\"], one[\"name\"].",
            "'dict' object has no attribute": "A category is a dictionary: one[\"id\"], one[\"name\"].",
            "unhashable": "A category is a dictionary, and no key. Take its id: one[\"id\"]."},
    hints=("The order of `names` decides. enumerate(names, 1) counts them from 1.",
           "First {one[\"name\"]: one[\"id\"] for one in categories}; then go through `names`, and look up each id.",
           "ids = {one[\"name\"]: one[\"id\"] for one in categories}\n"
           "return {ids[name]: place for place, name in enumerate(names, 1)}"))

_Object = tuple[np.ndarray, int, bool]


def _merged(objects: Sequence[_Object], height: int, width: int, *, crowd: str = "ignore", overlap: str = "ignore",
            same: bool = True) -> np.ndarray:
    """The right answer, with other rules."""
    mask = np.zeros((height, width), np.uint8)
    count = np.zeros((height, width), int)
    solid = [one for one in objects if not one[2] or crowd == "fill"]
    for shape, class_id, _ in sorted(solid, key=lambda one: one[1]) if overlap == "max" else solid:
        free = shape & (mask == 0) if overlap == "first" else shape
        count += shape & ((mask != class_id) | same)
        mask[free] = class_id
    if overlap == "ignore":
        mask[count > 1] = IGNORE
    elif overlap == "odd":
        mask[(count > 0) & (count % 2 == 0)] = IGNORE
    elif overlap == "sum":
        total = sum((shape * class_id for shape, class_id, _ in solid), np.zeros((height, width), int))
        mask = total.astype(np.uint8)
    elif overlap == "background":
        mask[count > 1] = 0
    for shape, _, is_crowd in objects:
        if is_crowd and crowd in {"ignore", "below"}:
            mask[shape & ((count == 0) | (crowd == "ignore"))] = IGNORE
    return mask


def _different_classes(objects: Sequence[_Object], height: int, width: int) -> np.ndarray:
    """Overlaps are ignored only where the classes differ."""
    mask = np.zeros((height, width), np.uint8)
    for shape, class_id, is_crowd in objects:
        other = shape & (mask != 0) & (mask != class_id)
        mask[shape] = IGNORE if is_crowd else class_id
        mask[other] = IGNORE
    return mask


def _box(top: int, left: int, bottom: int, right: int, height: int = 5, width: int = 7) -> np.ndarray:
    shape = np.zeros((height, width), dtype=bool)
    shape[top:bottom, left:right] = True
    return shape


def _objects(what: str, *objects: tuple[tuple[int, int, int, int], int, bool]) -> Case:
    shown = "".join(f"rows {box[0]} to {box[2] - 1}, columns {box[1]} to {box[3] - 1}: class {class_id}"
                    f"{', a crowd' * crowd}\n" for box, class_id, crowd in objects)
    return Case(what, ([(_box(*box), class_id, crowd) for box, class_id, crowd in objects], 5, 7),
                f"height 5, width 7\n{shown}")


_LEFT, _MIDDLE, _RIGHT = (0, 0, 3, 4), (1, 2, 5, 5), (2, 3, 4, 7)
merge_objects = Exercise(
    "merge_objects",
    [_objects("two objects that do not touch", ((0, 0, 2, 2), 1, False), ((3, 4, 5, 7), 2, False)),
     _objects("no object at all"),
     _objects("two classes overlap", (_LEFT, 2, False), (_MIDDLE, 1, False)),
     _objects("two objects of one class overlap", (_LEFT, 1, False), (_MIDDLE, 1, False)),
     _objects("three objects, and a place that all three claim", (_LEFT, 1, False), (_MIDDLE, 2, False),
              (_RIGHT, 1, False)),
     _objects("a crowd", ((0, 0, 3, 3), 2, True), ((3, 4, 5, 7), 1, False)),
     _objects("an object inside of a crowd", ((0, 0, 5, 5), 2, True), (_MIDDLE, 1, False))],
    right=_merged,
    mistakes={
        "Where objects overlap, the last one is taken. These pixels are 255.": lambda *a: _merged(*a, overlap="last"),
        "Where objects overlap, the highest class is taken. These pixels are 255.":
            lambda *a: _merged(*a, overlap="max"),
        "Where objects overlap, the first one is taken. These pixels are 255.":
            lambda *a: _merged(*a, overlap="first"),
        "Where objects overlap, there is background. These pixels are 255.":
            lambda *a: _merged(*a, overlap="background"),
        "Where objects overlap, their class ids are added. These pixels are 255.":
            lambda *a: _merged(*a, overlap="sum"),
        "Two objects of one class that overlap give their class. In this exercise, as in torchvision, these pixels are "
        "255, too.": [_different_classes, lambda *a: _merged(*a, same=False)],
        "Where three objects overlap, the pixel has a class again. Count how many objects cover it: more than one is "
        "255.": lambda *a: _merged(*a, overlap="odd"),
        "A crowd is treated as an object. Its pixels are 255.": lambda *a: _merged(*a, crowd="fill"),
        "A crowd is left out, so that it is background. Its pixels are 255.": lambda *a: _merged(*a, crowd="drop"),
        "An object inside of a crowd keeps its class. All pixels of the crowd are 255.":
            lambda *a: _merged(*a, crowd="below")},
    errors={"at least one array": "A picture may have no object: begin with zeros of (height, width).",
            "need at least one": "A picture may have no object: begin with zeros of (height, width).",
            "zero-size array": "A picture may have no object: begin with zeros of (height, width).",
            "not enough values to unpack": "Each object has three parts: for shape, class_id, is_crowd in objects.",
            "too many values to unpack": "Each object has three parts: for shape, class_id, is_crowd in objects."},
    hints=("Paint the objects into a mask, and count at the same time how many of them cover each pixel.",
           "mask[shape] = class_id and count += shape for each object that is no crowd. Afterwards mask[count > 1] = "
           "255, and mask[shape] = 255 for each crowd.",
           "mask = np.zeros((height, width), dtype=np.uint8)\ncount = np.zeros((height, width), dtype=int)\n"
           "for shape, class_id, is_crowd in objects:\n    if not is_crowd:\n        mask[shape] = class_id\n"
           "        count += shape\nmask[count > 1] = 255\nfor shape, class_id, is_crowd in objects:\n"
           "    if is_crowd:\n        mask[shape] = 255\nreturn mask"))


def _moved(image: Tensor, mask: Tensor, top: int, left: int, size: int, flip: bool, *, axis: int = -1,
           fill: tuple[int, int] = (0, IGNORE), which: str = "both", first: bool = False, before: bool = False,
           pad: bool = True) -> tuple[Tensor, Tensor]:
    """The right answer, with what can be wrong about it."""
    parts = []
    for one, value, name in ((image, fill[0], "image"), (mask, fill[1], "mask")):
        turns = flip and which in {"both", name}
        if turns and first:
            one = one.flip(axis)
        one = one[..., top:top + size, left:left + size]
        rest = size - one.shape[-1], size - one.shape[-2]
        if pad:
            one = F.pad(one, (rest[0], 0, rest[1], 0) if before else (0, rest[0], 0, rest[1]), value=value)
        parts.append(one.flip(axis) if turns and not first else one)
    return parts[0], parts[1]


def _pair_of(answer: Callable[..., Any], *args: Any) -> dict[str, Any]:
    found = answer(*args)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise RefusedError("it returns nothing. Is there a `return`?" if found is None else
                           "it should return two tensors: return image, mask")
    for name, one, like in zip(("image", "mask"), found, args[:2], strict=True):
        if not isinstance(one, Tensor) or one.ndim != like.ndim:
            raise RefusedError(f"the {name} that it returns is "
                               + (f"of shape {tuple(one.shape)}" if isinstance(one, Tensor) else "no tensor")
                               + f", and should have {like.ndim} axes, as the one it gets")
        if one.dtype != like.dtype:
            raise RefusedError(f"the {name} that it returns is {one.dtype}, and should stay {like.dtype}")
    return {"mask": found[1], "image": found[0]}


def _picture(height: int, width: int) -> tuple[Tensor, Tensor]:
    mask = torch.arange(height * width).reshape(height, width) % 3
    return (torch.arange(3 * height * width).reshape(3, height, width) % 200 + 20).byte(), mask.byte()


def _crop(what: str, shape: tuple[int, int], *rest: Any) -> Case:
    image, mask = _picture(*shape)
    names = zip(("top", "left", "size", "flip"), rest, strict=True)
    return Case(what, (image, mask, *rest), f"mask: {mask.tolist()}\n" + ", ".join(f"{n} {v}" for n, v in names))


crop_and_flip = Exercise(
    "crop_and_flip",
    [_crop("a square from the middle", (4, 5), 1, 1, 2, False), _crop("the same, mirrored", (4, 5), 1, 2, 2, True),
     _crop("the picture ends on the right: there the mask is 255", (4, 5), 0, 3, 3, False),
     _crop("it ends below, and the square is mirrored", (3, 6), 1, 2, 4, True),
     _crop("a picture smaller than the square", (2, 3), 0, 0, 4, True)],
    right=_moved, run=_pair_of,
    mistakes={
        "The picture is mirrored, and the mask is not.": lambda *a: _moved(*a, which="image"),
        "The mask is mirrored, and the picture is not.": lambda *a: _moved(*a, which="mask"),
        "Nothing is mirrored where flip is True.": lambda *a: _moved(*a, which=""),
        "It is turned upside down. Mirror the columns, the last axis.": lambda *a: _moved(*a, axis=-2),
        "It is mirrored before the square is cut out, so that left counts from the other side. Crop first.":
            lambda *a: _moved(*a, first=True),
        "Outside of the picture, the mask is 0, which is background. Nobody knows what is there: 255.":
            lambda *a: _moved(*a, fill=(0, 0)),
        "Outside of the picture, both are 255. The picture is black there, 0.":
            lambda *a: _moved(*a, fill=(IGNORE, IGNORE)),
        "The two fillings are exchanged: 0 in the picture, 255 in the mask.":
            lambda *a: _moved(*a, fill=(IGNORE, 0)),
        "The missing part is added on the left and above. The picture ends on the right and below: F.pad(…, (0, right, "
        "0, bottom)).": lambda *a: _moved(*a, before=True),
        "top and left are exchanged: top counts rows.":
            lambda image, mask, top, left, size, flip: _moved(image, mask, left, top, size, flip),
        "Where the picture ends, the square is too small. Fill it up to size × size.":
            lambda *a: _moved(*a, pad=False)},
    errors={"out of bounds for dimension": "Fill first, or make a square of the filling: "
                                           "torch.full((size, size), 255, dtype=torch.uint8).",
            "Dimension out of range": "flip takes a list of axes: .flip(-1) is the last one, columns.",
            "must match the size": "A part of a picture that ends early is smaller than the square: put it into the "
                                   "upper left of a filled one, square[:, :part.shape[1], :part.shape[2]] = part."},
    hints=("Do the same to both: cut out, fill up, mirror. Only the value of the filling differs.",
           "x[..., top:top + size, left:left + size] cuts rows and columns of both tensors, and is smaller where the "
           "picture ends. F.pad(x, (0, right, 0, bottom), value=…) adds columns on the right and rows below; "
           "x.flip(-1) mirrors.",
           "parts = []\nfor x, value in ((image, 0), (mask, 255)):\n"
           "    x = x[..., top:top + size, left:left + size]\n"
           "    x = F.pad(x, (0, size - x.shape[-1], 0, size - x.shape[-2]), value=value)\n"
           "    parts.append(x.flip(-1) if flip else x)\nreturn parts[0], parts[1]"))
