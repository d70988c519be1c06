"""Strokes on a mask, pixel by pixel as painting.js draws them in the browser, and how to take them back."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from seglab.labels import IGNORE

_CHUNK = 256  # segments of a stroke that are drawn at once: their rows fit into memory


class Region(NamedTuple):
    """Some pixels of a mask: `inside`, (h, w) bool, with its upper left pixel in row `top`, column `left`."""

    top: int
    left: int
    inside: np.ndarray


def brush(points: np.ndarray, radius: float, size: tuple[int, int]) -> Region:
    """The pixels whose centre lies within a radius of a line.

    A row of pixels cuts what a round brush covers between two points in one interval. Its ends are on one of the two
    discs or on one of the two tangents that join them.

    Args:
        points: (N, 2) float64 x and y, N ≥ 1, where the centre of the first pixel is (0.5, 0.5).
        radius: in pixels.
        size: (H, W) of the mask.

    Example:
        >>> brush(np.array([[1.5, 1.5], [2.5, 1.5]]), 1, (3, 5)).inside.astype(int).tolist()
        [[0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]]
    """
    top, left, turns = _around(points, radius, size)
    for row, first, last in _intervals(points, radius, (top, left, *turns.shape)):
        np.add.at(turns, (row, first), 1)  # where an interval begins
        np.add.at(turns, (row, last + 1), -1)  # behind its end
    return Region(top, left, turns.cumsum(axis=1, out=turns)[:, :-1] > 0)


def polygon(points: np.ndarray, size: tuple[int, int]) -> Region:
    """The pixels in a polygon, and those on its outline; what it winds around twice is inside, too.

    Arguments as for `brush`.

    Example:
        >>> polygon(np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 2.5]]), (3, 4)).inside.astype(int).tolist()
        [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]
    """
    top, left, turns = _around(points, 0.5, size)
    height, width = turns.shape
    ends = np.roll(points, -1, axis=0)
    low, high = np.minimum(points[:, 1], ends[:, 1]) - top, np.maximum(points[:, 1], ends[:, 1]) - top
    edge, row = _each_row(np.ceil(low - 0.5), np.ceil(high - 0.5) - 1, height)
    (ax, ay), (bx, by) = points[edge].T, ends[edge].T
    x = ax + (row + top + 0.5 - ay) * (bx - ax) / (by - ay)
    column = np.clip(np.ceil(x - 0.5) - left, 0, width - 1).astype(np.int64)
    np.add.at(turns, (row, column), np.where(by > ay, 1, -1))
    inside = turns.cumsum(axis=1, out=turns)[:, :-1] != 0
    for row, first, last in _intervals(np.concatenate([points, points[:1]]), 0.5, (top, left, height, width)):
        inside[_each(row, first, last)] = True
    return Region(top, left, inside)


def connected(mask: np.ndarray, point: np.ndarray) -> Region:
    """The pixels of one class that hang together with the one at a point (x, y), sideways or up and down."""
    height, width = mask.shape
    x, y = (int(np.clip(np.floor(value), 0, end - 1)) for value, end in zip(point, (width, height), strict=True))
    found = np.zeros((height + 2, width + 2), np.uint8)  # OpenCV wants a border
    _, _, _, (left, top, w, h) = cv2.floodFill(mask.copy(), found, (x, y), 0, flags=4 | cv2.FLOODFILL_MASK_ONLY)
    return Region(top, left, found[top + 1:top + 1 + h, left + 1:left + 1 + w] != 0)


class Canvas:
    """A mask that is painted on, (H, W) uint8 with 255 where nothing is painted, and its steps back and forth."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask
        self.steps: dict[bool, list[tuple[int, int, tuple[int, ...], bytes]]] = {False: [], True: []}

    def paint(self, region: Region, value: int, keep: bool = False) -> bool:
        """Give a region a class id, or 255; with `keep`, only where nothing is painted. False if nothing changes."""
        top, left, inside = region
        part = self.mask[top:top + inside.shape[0], left:left + inside.shape[1]]
        inside = inside & (part != value) & ((part == IGNORE) | (not keep))
        if not inside.any():
            return False
        self._remember(False, top, left, part)
        self.steps[True].clear()
        part[inside] = value
        return True

    def step(self, forth: bool = False) -> bool:
        """Take the last change back, or make it again; False if there is none."""
        if not self.steps[forth]:
            return False
        top, left, shape, packed = self.steps[forth].pop()
        part = self.mask[top:top + shape[0], left:left + shape[1]]
        self._remember(not forth, top, left, part)
        part[:] = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
        return True

    def _remember(self, forth: bool, top: int, left: int, part: np.ndarray) -> None:
        self.steps[forth].append((top, left, part.shape, zlib.compress(part.tobytes(), 1)))


def _around(points: np.ndarray, radius: float, size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
    """Top and left of what a brush may reach, and zeros for its pixels with a column more, (h, w + 1) int32."""
    low, high = np.ceil(points.min(axis=0) - radius - 0.5), np.floor(points.max(axis=0) + radius - 0.5)
    left, top = np.clip(low, 0, size[::-1]).astype(int).tolist()
    right, bottom = np.clip(high, -1, [size[1] - 1, size[0] - 1]).astype(int).tolist()
    return top, left, np.zeros((max(0, bottom - top + 1), max(0, right - left + 1) + 1), np.int32)


def _each(which: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals, (N,) int64 each, number by number: which of them and the number, (K,) int64 each."""
    count = np.maximum(last - first + 1, 0)
    start = np.repeat(first - count.cumsum() + count, count)
    return np.repeat(which, count), start + np.arange(len(start))


def _each_row(first: np.ndarray, last: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """(which of the edges, row), (K,) int64 each, for every row of a region from an edge's first to its last."""
    first, last = first.clip(0, height), last.clip(-1, height - 1)
    return _each(np.arange(len(first)), first.astype(np.int64), last.astype(np.int64))


def _intervals(points: np.ndarray, radius: float, box: tuple[int, int, int, int]) -> Iterator[tuple[np.ndarray, ...]]:
    """(row, first column, last column) of what a brush covers in a box, (K,) int64 each, some segments at once.

    The box is (top, left, height, width + 1); rows and columns count from its corner.
    """
    top, left, height, width = box
    starts, ends = (points, points) if len(points) == 1 else (points[:-1], points[1:])
    for at in range(0, len(starts), _CHUNK):
        a, b = starts[at:at + _CHUNK], ends[at:at + _CHUNK]
        low, high = np.minimum(a[:, 1], b[:, 1]) - radius, np.maximum(a[:, 1], b[:, 1]) + radius
        which, row = _each_row(np.ceil(low - 0.5) - top, np.floor(high - 0.5) - top, height)
        least, most = _ends(a[which].T, b[which].T, radius, row + top + 0.5)
        some = least <= most
        first = np.maximum(np.ceil(least[some] - 0.5) - left, 0).astype(np.int64)
        last = np.minimum(np.floor(most[some] - 0.5) - left, width - 2).astype(np.int64)
        seen = first <= last
        yield row[some][seen], first[seen], last[seen]


def _ends(a: np.ndarray, b: np.ndarray, radius: float, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest x, (K,) each, that a brush from a to b, (2, K) each, covers at y; inf, -inf if none."""
    (ax, ay), (bx, by) = a, b
    least, most = np.full(len(y), np.inf), np.full(len(y), -np.inf)

    def widen(some: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
        least[some], most[some] = np.minimum(least[some], left), np.maximum(most[some], right)

    for cx, cy in ((ax, ay), (bx, by)):  # the discs
        rest = radius * radius - (y - cy) * (y - cy)
        some = rest >= 0
        half = np.sqrt(rest[some])
        widen(some, cx[some] - half, cx[some] + half)
    length = np.sqrt((bx - ax) * (bx - ax) + (by - ay) * (by - ay))
    length[length == 0] = 1
    nx, ny = (ay - by) / length * radius, (bx - ax) / length * radius
    for px, py, qx, qy in ((ax + nx, ay + ny, bx + nx, by + ny), (ax - nx, ay - ny, bx - nx, by - ny)):  # the tangents
        some = (py <= y) != (qy <= y)
        px, py, qx, qy = px[some], py[some], qx[some], qy[some]
        x = px + (y[some] - py) * (qx - px) / (qy - py)
        widen(some, x, x)
    return least, most
