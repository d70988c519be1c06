"""From COCO's polygons and run lengths to a mask of class ids.

pycocotools is the reference for what a polygon covers, so that every pixel agrees with what others train on. What is
ours is the order of the work: overlaps are found while shapes are still run lengths, some hundred numbers each, and
only one map is ever spread out to pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from seglab.labels import IGNORE

Rle = dict[str, Any]
MOST_PIXELS = 500_000_000
FAR = 1e6  # coordinates beyond it are none
LONGEST = 1 << 20  # pixels along an object's outlines: pycocotools takes memory for each, also outside of the picture


def to_rle(segmentation: Sequence[Any] | Rle, height: int, width: int) -> Rle:
    """One object's segmentation as compressed run lengths, the polygons of an object joined.

    Args:
        segmentation: polygons, [x0, y0, x1, y1, …] in pixels each; or run lengths, {"size": [height, width],
            "counts": list of int, str or bytes}.
        height, width: of the picture. Run lengths of another size, or that do not fill it, are a ValueError, as are
            outlines of fewer than 3 points, coordinates beyond a million, and outlines of more than a million pixels.

    Example:
        >>> to_rle([[0, 0, 2, 0, 2, 2, 0, 2]], 3, 4)["size"], to_rle({"size": [1, 3], "counts": [1, 2]}, 1, 3)["counts"]
        ([3, 4], b'12')
    """
    if not isinstance(segmentation, dict):
        outlines = [np.asarray(one, dtype=np.float64) for one in segmentation]
        if not all(len(one) > 5 and len(one) % 2 == 0 and one.min() > -FAR and one.max() < FAR for one in outlines):
            raise ValueError("an outline of fewer than 3 points, or coordinates beyond a million")  # or NaN
        # No side is longer than all coordinates are apart. Nearly all outlines are far shorter even so.
        if not 0 < height * width <= MOST_PIXELS or (
                sum(one.size * max(1, one.max() - one.min()) for one in outlines) > LONGEST
                and outline_length(outlines) > LONGEST):
            raise ValueError(f"outlines of {outline_length(outlines):,.0f} pixels for {width}×{height}")
        parts = coco_mask.frPyObjects(outlines, height, width)
        return parts[0] if len(parts) == 1 else coco_mask.merge(parts)
    size, counts = list(segmentation["size"]), segmentation["counts"]
    if size != [height, width] or not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"run lengths for {size[1]}×{size[0]}")
    runs = np.array(counts) if isinstance(counts, list) else rle_counts(
        counts.encode() if isinstance(counts, str) else counts)
    if runs.dtype.kind != "i" or runs.ndim != 1:
        raise ValueError("run lengths that are no counts")
    # What does not fill the picture would be decoded to whatever lies in memory. Each run first: a sum may wrap around.
    if runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
        raise ValueError(f"run lengths that do not fill {width}×{height} pixels")
    if not runs[1:].all():  # pycocotools' merge goes astray, even out of its memory, at a run of 0 behind the first
        places, counts = np.unique(np.cumsum(runs)[:-1], return_counts=True)  # where 0 becomes 1, or 1 becomes 0
        runs = np.diff(places[(counts % 2 == 1) & (places < height * width)], prepend=0, append=height * width)
    return coco_mask.frPyObjects({"size": size, "counts": runs.tolist()}, height, width)


def outline_length(outlines: Sequence[np.ndarray]) -> float:
    """How many pixels the closed outlines, (x, y, x, y, …) each, pass, at least one a point.

    Example:
        >>> outline_length([np.array([0.0, 0.0, 10.0, 0.0, 10.0, 5.0])])
        25.0
    """
    if not outlines:
        return 0.0
    points = np.concatenate(outlines).reshape(-1, 2)  # all at once: outlines are many, and their points few
    stops = np.cumsum([one.size // 2 for one in outlines])
    following = np.roll(points, -1, axis=0)
    following[stops - 1] = points[np.concatenate([[0], stops[:-1]])]  # behind an outline's last point, its first
    return float(np.maximum(np.abs(following - points).max(axis=1), 1).sum())


def rle_counts(counts: bytes) -> np.ndarray:
    """The run lengths in a compressed string: how many 0, then how many 1, then 0 …, down the columns.

    Each number is written in groups of 5 bits, lowest first, a character a group: 48 + bits, + 32 if more follow. From
    the fourth number on, it is the difference to the number two before that is written. Returns (runs,) int64;
    ValueError for what is no such string.

    Source: `rleToString` of pycocotools' maskApi.c.

    Example:
        >>> rle_counts(b"12").tolist()
        [1, 2]
    """
    return _counts_of([counts])[0]


def _counts_of(strings: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The run lengths in several strings, one behind the other, (runs,) int64, and how many are of each, (strings,).

    All at once: the strings of a picture's objects are short, and most of the time would go into starting NumPy.
    """
    groups = np.frombuffer(b"".join(strings), dtype=np.uint8).astype(np.int64) - 48  # (characters,)
    sizes = np.array([len(one) for one in strings])
    ends, last = np.flatnonzero((groups & 32) == 0), np.cumsum(sizes) - 1
    if not sizes.all() or groups.min() < 0 or groups.max() > 63 or (groups[last] & 32).any():
        raise ValueError("run lengths that cannot be read")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1  # (runs,)
    if lengths.max() > 12:  # 60 bits
        raise ValueError("run lengths that cannot be read")
    places = _places_within(lengths)  # of a group in its number
    runs = np.add.reduceat((groups & 31) << (5 * places), starts)
    runs -= ((groups[ends] & 16) != 0) * (np.int64(1) << (5 * lengths))  # the sign
    stops = np.searchsorted(ends, last) + 1
    numbers = np.diff(stops, prepend=0)
    order = _places_within(numbers)  # of a number in its string
    for chain, count in ((order % 2 == 1, numbers // 2), ((order % 2 == 0) & (order > 0), (numbers - 1) // 2)):
        sums = np.concatenate([[0], np.cumsum(runs[chain])])
        runs[chain] = sums[1:] - np.repeat(sums[np.cumsum(count) - count], count)  # each string begins anew
    if runs.min() < 0:
        raise ValueError("run lengths below 0")
    return runs, numbers


def _places_within(sizes: np.ndarray) -> np.ndarray:
    """The place of each element in its part: 0, 1, …, for parts of these sizes, which follow each other."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def semantic_mask(rles: Sequence[Rle], classes: Sequence[int], crowds: Sequence[bool], size: tuple[int, int], *,
                  crowd: str = "ignore", overlap: str = "ignore") -> np.ndarray:
    """Paint objects into one mask.

    Args:
        rles: of the objects, from `to_rle`, in the order of the annotation.
        classes: their class ids, 1 to 254.
        crowds: which of them mark a crowd: a region with many objects that nobody told apart.
        size: (height, width).
        crowd, overlap: see `Coco`. "ignore" makes a crowd 255 whatever else lies there, and an overlap even if the
            objects are of one class.

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
    solid = painting_order(classes, crowds, crowd, overlap)
    shapes, values = [rles[i] for i in solid], [classes[i] for i in solid]
    canvas = _once(shapes, values, size) if overlap == "ignore" else paint(shapes, values, size, np.uint8)
    if crowd == "ignore":
        for rle, is_crowd in zip(rles, crowds, strict=True):
            for start, end in _spans(rle).tolist() if is_crowd else ():
                canvas[start:end] = IGNORE
    return cv2.transpose(canvas.reshape(size[::-1]))  # as np.ascontiguousarray, five times as fast


def painting_order(classes: Sequence[int], crowds: Sequence[bool], crowd: str, overlap: str) -> list[int]:
    """Which objects `semantic_mask` paints, in its order: what comes later covers what came before."""
    solid = [i for i, is_crowd in enumerate(crowds) if crowd == "fill" or not is_crowd]
    return sorted(solid, key=lambda i: classes[i]) if overlap == "max" else solid


def paint(rles: Sequence[Rle], values: Sequence[int], size: tuple[int, int], dtype: type) -> np.ndarray:
    """Paint values one over the other, 0 below all: (height · width,), column by column."""
    canvas: np.ndarray = np.zeros(size[0] * size[1], dtype=dtype)
    for rle, value in zip(rles, values, strict=True):
        for start, end in _spans(rle).tolist():
            canvas[start:end] = value
    return canvas


def _spans(rle: Rle) -> np.ndarray:
    """(runs, 2): start and end of each run of pixels of an object, counted down the columns."""
    ends = np.cumsum(rle_counts(rle["counts"]))
    return ends[:len(ends) // 2 * 2].reshape(-1, 2)


def _once(rles: Sequence[Rle], values: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The value where one object is, 255 where several are: sums over the places where objects begin and end."""
    if not rles:
        return np.zeros(size[0] * size[1], np.uint8)
    runs, numbers = _counts_of([rle["counts"] for rle in rles])
    # All runs of an object fill the picture. What the first ends with begins the object, what the second ends with, …
    places = np.cumsum(runs) - np.repeat(np.arange(len(rles)) * (size[0] * size[1]), numbers)
    steps = 1 - 2 * (_places_within(numbers) % 2)
    classes = np.repeat(values, numbers)
    by_place = np.argsort(places)
    depth, value = np.cumsum(steps[by_place]), np.cumsum((steps * classes)[by_place])
    lengths = np.diff(places[by_place], prepend=0, append=size[0] * size[1])
    found = np.concatenate([[0], np.where(depth > 1, IGNORE, value)]).astype(np.uint8)
    return np.repeat(found, lengths)
