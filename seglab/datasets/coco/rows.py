"""The tables of an annotation, filled object by object while the file is read, and checked in one go at the end."""

from __future__ import annotations

import json
from array import array
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from seglab.datasets.coco.masks import to_rle

#: What can be wrong with an annotation. Those of the first kind cannot be used; those of the second have no pixels.
UNUSABLE = {
    1: "its image_id is no picture's",
    2: "its category_id is no category's",
    3: "it lacks id, image_id, category_id or segmentation, or they are no numbers and no shape",
    4: "a polygon with fewer than 3 points, or half a point",
    5: "coordinates that are no numbers, or beyond a million",
    6: "run lengths of another size than the picture, or that do not fill it",
    7: "its id occurs twice",
}
WITHOUT_PIXELS = {8: "it lies outside of the picture", 9: "it has no area"}
_FAR = 1e6


def is_whole(number: Any) -> bool:
    """Whether it is an integer that a table can hold; true and false are none."""
    return type(number) is int and abs(number) < 1 << 62


class Rows:
    """Columns of the annotations while they are read: plain arrays, a number each, instead of a dict each."""

    def __init__(self) -> None:
        self.starts, self.ends, self.ids, self.images, self.categories = (array("q") for _ in range(5))
        self.crowds, self.kinds, self.areas = array("B"), array("B"), array("d")
        self.rle_rows, self.rle_sizes = array("q"), array("q")  # of run lengths: row, and height, width
        self.polygon_rows, self.polygon_lengths = array("q"), array("q")  # of polygons not yet measured
        self.coordinates = array("d")
        self.boxes: list[tuple[np.ndarray, ...]] = []  # (row, left, top, right, bottom) of measured polygons

    def add(self, value: Any, start: int, end: int) -> None:
        value = value if isinstance(value, dict) else {}
        row = len(self.starts)
        kind = 0
        ids = [value.get(key) for key in ("id", "image_id", "category_id")]
        if not all(map(is_whole, ids)):
            kind, ids = 3, [number if is_whole(number) else -1 for number in ids]
        shape, area = value.get("segmentation"), value.get("area")
        for column, number in zip((self.ids, self.images, self.categories), ids, strict=True):
            column.append(number)
        self.starts.append(start)
        self.ends.append(end)
        self.crowds.append(bool(value.get("iscrowd", 0)))
        self.areas.append(area if type(area) is float or is_whole(area) else float("nan"))  # NaN: to be measured
        if isinstance(shape, list) and shape:
            kind = kind or self._polygons(shape, row)
        elif isinstance(shape, dict) and isinstance(shape.get("size"), list) and len(shape["size"]) == 2:
            self.rle_rows.append(row)
            self.rle_sizes.extend(side if is_whole(side) else -1 for side in shape["size"])
            if not isinstance(shape.get("counts"), (list, str)):
                kind = kind or 3
        else:
            kind = kind or 3
        self.kinds.append(kind)
        if len(self.coordinates) > 1 << 20:
            self._measure()

    def _polygons(self, shape: list[Any], row: int) -> int:
        before = len(self.coordinates), len(self.polygon_rows)
        kind = 0
        for polygon in shape:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                kind = 4
                break
            try:
                self.coordinates.extend(array("d", polygon))
            except (TypeError, OverflowError):
                kind = 5
                break
            self.polygon_rows.append(row)
            self.polygon_lengths.append(len(polygon))
        if kind:
            del self.coordinates[before[0]:], self.polygon_rows[before[1]:], self.polygon_lengths[before[1]:]
        return kind

    def _measure(self) -> None:
        """Boxes of the polygons so far; their coordinates are needed no longer."""
        if not self.polygon_rows:
            return
        points = np.array(self.coordinates).reshape(-1, 2)
        starts = np.concatenate([[0], np.cumsum(self.polygon_lengths)[:-1]]) // 2
        low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)  # NaN stays NaN
        self.boxes.append((np.array(self.polygon_rows), low, high))
        self.coordinates, self.polygon_rows, self.polygon_lengths = array("d"), array("q"), array("q")

    def tables(self, text: str, image_ids: np.ndarray, heights: np.ndarray, widths: np.ndarray,
               categories: dict[int, str]) -> dict[str, np.ndarray]:
        self._measure()
        kinds, area = np.array(self.kinds), np.array(self.areas, dtype=np.float64)
        ids, category = np.array(self.ids, dtype=np.int64), np.array(self.categories, dtype=np.int64)
        picture = np.searchsorted(image_ids, self.images)
        picture[picture == len(image_ids)] = 0
        orphan = (image_ids[picture] if len(image_ids) else np.full(len(ids), -1)) != np.array(self.images)
        _mark(kinds, orphan, 1)
        _mark(kinds, ~np.isin(category, list(categories)), 2)
        _, firsts = np.unique(ids, return_index=True)
        _mark(kinds, ~np.isin(np.arange(len(ids)), firsts), 7)
        height, width = (side[picture] if len(side) else np.zeros(len(ids)) for side in (heights, widths))
        self._mark_boxes(kinds, height, width)
        rle_rows, sizes = np.array(self.rle_rows, dtype=np.int64), np.array(self.rle_sizes).reshape(-1, 2)
        fits = (sizes == np.stack([height, width], 1)[rle_rows]).all(1) if len(rle_rows) else np.ones(0, bool)
        _mark(kinds, np.isin(np.arange(len(ids)), rle_rows[~fits]), 6)
        unread = [*rle_rows[fits].tolist(), *np.flatnonzero(~np.isfinite(area)).tolist()]
        for row in sorted(set(unread)):  # few in COCO: crowds, and objects without area
            if kinds[row] in (0, 8, 9):
                shape = json.loads(text[self.starts[row]:self.ends[row]])["segmentation"]
                try:
                    measured = float(coco_mask.area(to_rle(shape, int(height[row]), int(width[row]))))
                    area[row] = area[row] if np.isfinite(area[row]) else measured
                except (ValueError, TypeError):
                    kinds[row] = 6
        _mark(kinds, ~(area > 0), 9)
        usable = np.isin(kinds, [0, *WITHOUT_PIXELS])
        order = np.flatnonzero(usable)
        order = order[np.argsort(picture[order], kind="stable")]
        row_of = np.full(len(ids), -1)
        row_of[order] = np.arange(len(order))
        wrong = np.flatnonzero(kinds)
        starts = np.array(self.starts, dtype=np.int64)
        lengths = np.array(self.ends, dtype=np.int64) - starts
        return {"first": np.searchsorted(picture[order], np.arange(len(image_ids) + 1)).astype(np.int64),
                "category": category[order], "crowd": np.array(self.crowds, dtype=np.uint8)[order],
                "area": area[order], "starts": starts[order], "lengths": lengths[order].astype(np.int32),
                "problems": np.stack([kinds[wrong].astype(np.int64), ids[wrong], category[wrong], row_of[wrong]], 1)}

    def _mark_boxes(self, kinds: np.ndarray, height: np.ndarray, width: np.ndarray) -> None:
        inside, thick = np.zeros(len(kinds), dtype=bool), np.zeros(len(kinds), dtype=bool)
        measured = np.zeros(len(kinds), dtype=bool)
        for rows, low, high in self.boxes:
            # Not NaN, and small enough: pycocotools takes memory for each pixel of an outline.
            usable = (np.abs(low) < _FAR).all(1) & (np.abs(high) < _FAR).all(1)
            kinds[rows[~usable & (kinds[rows] == 0)]] = 5
            measured[rows] = True
            with np.errstate(invalid="ignore"):
                inside[rows[(high > 0).all(1) & (low[:, 0] < width[rows]) & (low[:, 1] < height[rows])]] = True
                thick[rows[(high > low).all(1)]] = True
        _mark(kinds, measured & ~inside, 8)
        _mark(kinds, measured & ~thick, 9)


def _mark(kinds: np.ndarray, where: np.ndarray, kind: int) -> None:
    """The first thing found to be wrong counts."""
    kinds[where & (kinds == 0)] = kind
