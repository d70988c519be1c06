"""From COCO's polygons and run lengths to a mask of class ids.

pycocotools is the reference for what a polygon covers, so that every pixel agrees with what others train on. What is
ours is the order of the work: shapes are joined while they are still run lengths, some hundred numbers each, and only
one map a class is ever spread out to pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from seglab.labels import IGNORE

Rle = dict[str, Any]
_MERGED_AT_ONCE = 8
MOST_PIXELS = 500_000_000
FAR = 1e6  # coordinates beyond it are none


def to_rle(segmentation: Sequence[Any] | Rle, height: int, width: int) -> Rle:
    """One object's segmentation as compressed run lengths, the polygons of an object joined.

    Args:
        segmentation: polygons, [x0, y0, x1, y1, …] in pixels each; or run lengths, {"size": [height, width],
            "counts": list of int, str or bytes}.
        height, width: of the picture.

    Raises:
        ValueError: coordinates beyond a million, or run lengths of another size than the picture, or that do not fill
            it.

    Example:
        >>> to_rle([[0, 0, 2, 0, 2, 2, 0, 2]], 3, 4)["size"], to_rle({"size": [1, 3], "counts": [1, 2]}, 1, 3)["counts"]
        ([3, 4], b'12')
    """
    if not isinstance(segmentation, dict):
        outlines = [np.asarray(one, dtype=np.float64) for one in segmentation]
        if not all(one.min() > -FAR and one.max() < FAR for one in outlines):  # nor NaN
            raise ValueError("coordinates beyond a million")
        parts = coco_mask.frPyObjects(outlines, height, width)
        return parts[0] if len(parts) == 1 else coco_mask.merge(parts)
    size, counts = list(segmentation["size"]), segmentation["counts"]
    if size != [height, width] or not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"run lengths for {size[1]}×{size[0]}")
    is_list = isinstance(counts, list)
    runs = np.array(counts) if is_list else rle_counts(counts.encode() if isinstance(counts, str) else counts)
    if runs.dtype.kind != "i" or runs.ndim != 1:
        raise ValueError("run lengths that are no counts")
    # What does not fill the picture would be decoded to whatever lies in memory. Each run first: a sum may wrap around.
    if runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
        raise ValueError(f"run lengths that do not fill {width}×{height} pixels")
    if not runs[1:].all():  # pycocotools' merge goes astray, even out of its memory, at a run of 0 behind the first
        runs = _without_empty_runs(runs)
    elif not is_list:
        return {"size": size, "counts": counts.encode() if isinstance(counts, str) else counts}
    return coco_mask.frPyObjects({"size": size, "counts": runs.tolist()}, height, width)


def _without_empty_runs(runs: np.ndarray) -> np.ndarray:
    """The same mask, with neighbours of an empty run joined; only the first run may be empty."""
    values, lengths = (np.arange(len(runs)) % 2)[runs > 0], runs[runs > 0]
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    joined = np.add.reduceat(lengths, starts)
    return joined if values[0] == 0 else np.concatenate([[0], joined])


def rle_counts(counts: bytes) -> np.ndarray:
    """The run lengths in a compressed string: how many 0, then how many 1, then 0 …, down the columns.

    Each number is written in groups of 5 bits, lowest first, a character a group: 48 + bits, + 32 if more follow. From
    the fourth number on, it is the difference to the number two before that is written.

    Returns:
        (runs,) int64.

    Raises:
        ValueError: no such string.

    Source: `rleToString` of pycocotools' maskApi.c.

    Example:
        >>> rle_counts(b"12").tolist()
        [1, 2]
    """
    groups = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48  # (characters,)
    ends = np.flatnonzero((groups & 32) == 0)
    if groups.size == 0 or groups.min() < 0 or groups.max() > 63 or ends.size == 0 or ends[-1] != groups.size - 1:
        raise ValueError("run lengths that cannot be read")
    starts = np.concatenate([[0], ends[:-1] + 1])  # (runs,)
    lengths = ends - starts + 1
    if lengths.max() > 12:  # 60 bits
        raise ValueError("run lengths that cannot be read")
    places = np.arange(groups.size) - np.repeat(starts, lengths)  # of a group within its number
    runs = np.add.reduceat((groups & 31) << (5 * places), starts)
    runs -= ((groups[ends] & 16) != 0) * (np.int64(1) << (5 * lengths))  # the sign
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("run lengths below 0")
    return runs


def semantic_mask(rles: Sequence[Rle], classes: Sequence[int], crowds: Sequence[bool], size: tuple[int, int], *,
                  crowd: str = "ignore", overlap: str = "ignore") -> np.ndarray:
    """Paint objects into one mask.

    Args:
        rles: of the objects, from `to_rle`, in the order of the annotation.
        classes: their class ids, 1 to 254.
        crowds: which of them mark a crowd: a region with many objects that nobody told apart.
        size: (height, width).
        crowd: what becomes of the pixels of a crowd: "ignore" makes them 255, whatever else lies there; "fill" treats
            a crowd as an object; "drop" leaves it out.
        overlap: what becomes of pixels that several objects claim: "ignore" makes them 255, even if the objects are of
            one class; "last" takes the object that comes last, "max" the highest class id.

    Returns:
        (height, width) uint8, 0 where there is no object.

    Source: with crowd="fill" and overlap="ignore", equal to `ConvertCocoPolysToMask` of torchvision's
    references/segmentation/coco_utils.py.

    Example:
        >>> left, right = to_rle([[0, 0, 2, 0, 2, 1, 0, 1]], 1, 4), to_rle([[1, 0, 4, 0, 4, 1, 1, 1]], 1, 4)
        >>> [semantic_mask([left, right], [2, 1], [False] * 2, (1, 4), overlap=o).tolist()[0]
        ...  for o in ("ignore", "last", "max")]
        [[2, 255, 1, 1], [2, 1, 1, 1], [2, 2, 1, 1]]
    """
    solid = [i for i, is_crowd in enumerate(crowds) if crowd == "fill" or not is_crowd]
    if overlap == "ignore":
        by_class: dict[int, list[Rle]] = {}
        for i in solid:
            by_class.setdefault(int(classes[i]), []).append(rles[i])
        layers = [(class_id, _union(parts)) for class_id, parts in by_class.items()]
        covered = [rles[i] for i in solid]
        if covered and sum(int(coco_mask.area(rle)) for rle in covered) != coco_mask.area(_union(covered)):
            layers.append((IGNORE, _claimed_twice(covered)[1]))
        mask = _highest(layers, size)  # 255 is the highest, and classes meet only where it is
    else:
        if overlap == "max":
            solid.sort(key=lambda i: classes[i])  # stable; painted over by what is higher
        mask = paint([rles[i] for i in solid], [classes[i] for i in solid], size, np.uint8)
    if crowd == "ignore" and any(crowds):
        marked = _union([rle for rle, is_crowd in zip(rles, crowds, strict=True) if is_crowd])
        np.maximum(mask, _highest([(IGNORE, marked)], size), out=mask)
    return cv2.transpose(mask.T)  # as np.ascontiguousarray(mask), five times as fast


def _highest(layers: list[tuple[int, Rle]], size: tuple[int, int]) -> np.ndarray:
    """At each pixel the highest value whose layer covers it: (height, width) uint8, in Fortran's order."""
    mask: np.ndarray | None = None
    for value, covered in layers:
        layer = coco_mask.decode(covered)  # (H, W) of 0 and 1
        if value != 1:
            layer *= np.uint8(value)
        mask = layer if mask is None else np.maximum(mask, layer, out=mask)
    return mask if mask is not None else np.zeros(size, dtype=np.uint8, order="F")


def paint(rles: Sequence[Rle], values: Sequence[int], size: tuple[int, int], dtype: type) -> np.ndarray:
    """Paint values one over the other, 0 below all: (height, width) of a dtype, in Fortran's order."""
    canvas: np.ndarray = np.zeros(size[0] * size[1], dtype=dtype)  # column by column
    for rle, value in zip(rles, values, strict=True):
        ends = np.cumsum(rle_counts(rle["counts"])).tolist()
        for start, end in zip(ends[::2], ends[1::2], strict=False):
            canvas[start:end] = value
    return canvas.reshape(size, order="F")


def _union(rles: list[Rle]) -> Rle:
    while len(rles) > 1:  # a few at a time: one after the other, thousands of objects would take minutes
        rles = [coco_mask.merge(rles[i:i + _MERGED_AT_ONCE]) for i in range(0, len(rles), _MERGED_AT_ONCE)]
    return rles[0]


def _claimed_twice(rles: list[Rle]) -> tuple[Rle, Rle]:
    """The pixels that lie in any of the objects, and those that lie in more than one."""
    if len(rles) == 1:
        return rles[0], to_rle({"size": (size := rles[0]["size"]), "counts": [size[0] * size[1]]}, *size)
    middle = len(rles) // 2
    (one, one_twice), (other, other_twice) = _claimed_twice(rles[:middle]), _claimed_twice(rles[middle:])
    both = coco_mask.merge([one, other], intersect=True)
    return coco_mask.merge([one, other]), coco_mask.merge([one_twice, other_twice, both])
