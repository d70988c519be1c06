"""Checks about the outlines of objects, as COCO writes them: polygons, and run lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError

_BOX = [1.0, 1.0, 5.0, 1.0, 5.0, 4.0, 1.0, 4.0]
_SMALL_BOX = [0.7, 1.2, 3.4, 1.2, 3.4, 2.9, 0.7, 2.9]
_TRIANGLE = [0.2, 4.8, 4.1, 0.3, 7.9, 4.9]
_HOOK = [0.2, 0.2, 7.8, 0.2, 7.8, 5.8, 5.2, 5.8, 5.2, 2.2, 2.8, 2.2, 2.8, 5.8, 0.2, 5.8]
_BEYOND = [-2.3, 1.1, 3.4, -1.7, 9.2, 2.3, 3.6, 5.9]
_STAR = [6.0, 0.1, 9.6, 11.2, 0.1, 4.3, 11.8, 4.4, 2.3, 11.1]


def _covered(polygon: Sequence[float], height: int, width: int, *, centre: tuple[float, float] = (0.5, 0.5),
             swapped: bool = False, closed: bool = True, side: bool = True, rows: bool = True,
             join: Callable[[Any, Any], Any] = np.logical_xor) -> np.ndarray:
    """The right answer, with what can be wrong about it."""
    y, x = np.mgrid[:height, :width] + np.reshape(centre, (2, 1, 1))
    points = np.reshape(polygon, (-1, 2))[:, ::-1 if swapped else 1]
    inside = np.zeros((height, width), dtype=bool)
    ends = np.roll(points, -1, axis=0)
    for (x0, y0), (x1, y1) in [*zip(points, ends, strict=True)][:None if closed else -1]:
        if y0 != y1:
            crosses = ((y0 <= y) != (y1 <= y)) if rows else np.ones_like(inside)
            inside = join(inside, crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0) if side else crosses))
    return inside


def _wound(polygon: Sequence[float], height: int, width: int) -> np.ndarray:
    """How often the outline goes round each pixel is not 0: another rule, which fills what is surrounded twice."""
    y, x = np.mgrid[:height, :width] + 0.5
    points = np.reshape(polygon, (-1, 2))
    turns = np.zeros((height, width), dtype=int)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
            turns += crosses * (1 if y1 > y0 else -1)
    return turns != 0


def _boxed(polygon: Sequence[float], height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    xs, ys = np.reshape(polygon, (-1, 2)).T
    return (x > xs.min()) & (x < xs.max()) & (y > ys.min()) & (y < ys.max())


def _mask_of(answer: Callable[..., Any], *args: Any) -> Any:
    found = answer(*args)
    if isinstance(found, np.ndarray) and found.dtype.kind in "biuf" and found.size and (most := found.max()) > 1:
        raise RefusedError(f"its values go up to {most:g}. A pixel is covered or not: True or False, or 1 or 0")
    return found


def _outline(what: str, polygon: list[float], height: int, width: int) -> Case:
    return Case(what, (polygon, height, width))


polygon_to_mask = Exercise(
    "polygon_to_mask",
    [_outline("a rectangle, 4 pixels wide and 3 high", _BOX, 5, 7),
     _outline("a rectangle with fractions: a pixel counts if its centre is inside", _SMALL_BOX, 4, 5),
     _outline("a triangle", _TRIANGLE, 5, 8), _outline("a shape with a gap from below", _HOOK, 6, 8),
     _outline("an outline that leaves the picture", _BEYOND, 5, 7),
     _outline("a star that crosses itself: its middle is crossed twice, and is outside", _STAR, 12, 12)],
    right=lambda polygon, height, width: _covered(polygon, height, width), run=_mask_of,
    mistakes={
        "It tests the pixels' corners. The centre of the pixel in row 0 and column 0 is at (0.5, 0.5): add 0.5 to the "
        "rows and to the columns.": lambda *a: _covered(*a, centre=(0, 0)),
        "It adds 0.5 to one of rows and columns only. A centre lies half a pixel to the right *and* half a pixel down.":
            [lambda *a: _covered(*a, centre=(0, 0.5)), lambda *a: _covered(*a, centre=(0.5, 0))],
        "It adds 1 to rows and columns. A pixel's centre lies half a pixel from its corner: add 0.5.":
            lambda *a: _covered(*a, centre=(1, 1)),
        "x and y are exchanged: a polygon is x0, y0, x1, y1, …, and x counts columns.":
            lambda *a: _covered(*a, swapped=True),
        "The last edge is missing, from the last point back to the first.": lambda *a: _covered(*a, closed=False),
        "It marks each pixel whose ray crosses any edge. A pixel is inside if the number of crossings is *odd*: turn "
        "it over for each crossing, inside ^= crosses.": lambda *a: _covered(*a, join=np.logical_or),
        "All edges that pass a pixel's row are counted, also those to the left of it. The ray goes to the right: count "
        "an edge if x lies left of it.": lambda *a: _covered(*a, side=False),
        "Edges that do not pass the pixel's row are counted, too. An edge passes the row y if one end is above and the "
        "other is not: (y0 <= y) != (y1 <= y).": lambda *a: _covered(*a, rows=False),
        "It is turned over: it marks what is outside.": lambda *a: ~_covered(*a),
        "It fills the box around the polygon.": _boxed,
        "What the outline goes round twice is filled, too. Count crossings: an even number is outside.": _wound},
    errors={"unsupported operand type(s) for ^": "^ wants True and False on both sides: make `inside` with dtype=bool.",
            "ufunc 'bitwise_xor' not supported": "^ wants True and False on both sides: make `inside` with dtype=bool.",
            "Cannot cast ufunc 'bitwise_xor'": "^ wants True and False on both sides: make `inside` with dtype=bool.",
            "division by zero": "A level edge, with y0 equal to y1, passes no row: skip it before you divide.",
            "not enough values to unpack": "polygon is a flat list, x0, y0, x1, y1, …: np.reshape(polygon, (-1, 2)) "
                                           "makes points of it.",
            "cannot unpack non-iterable": "polygon is a flat list, x0, y0, x1, y1, …: np.reshape(polygon, (-1, 2)) "
                                          "makes points of it."},
    hints=("Take one edge after the other. For all pixels at once: does the edge pass the pixel's row, and is its "
           "crossing to the right of the pixel's centre?",
           "y, x = np.mgrid[:height, :width] + 0.5 are the centres. The edge crosses the height y at x0 + (y - y0) · "
           "(x1 - x0) / (y1 - y0), if (y0 <= y) != (y1 <= y). `inside ^= crosses` turns pixels over. "
           "np.roll(points, -1, axis=0) are the points where the edges end.",
           "y, x = np.mgrid[:height, :width] + 0.5\npoints = np.reshape(polygon, (-1, 2))\n"
           "inside = np.zeros((height, width), dtype=bool)\n"
           "for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0)):\n    if y0 != y1:\n"
           "        passes = (y0 <= y) != (y1 <= y)\n"
           "        inside ^= passes & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))\nreturn inside"))


def _area(polygon: Sequence[float], *, half: float = 0.5, closed: bool = True,
          join: Callable[[np.ndarray, np.ndarray], Any] = lambda a, b: abs((a - b).sum())) -> float:
    x, y = np.reshape(polygon, (-1, 2)).T
    to_x, to_y = np.roll(x, -1), np.roll(y, -1)
    last = None if closed else -1
    return float(half * join((x * to_y)[:last], (to_x * y)[:last]))


def _box_area(polygon: Sequence[float]) -> float:
    x, y = np.reshape(polygon, (-1, 2)).T
    return float((x.max() - x.min()) * (y.max() - y.min()))


def _perimeter(polygon: Sequence[float]) -> float:
    points = np.reshape(polygon, (-1, 2))
    return float(np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1).sum())


polygon_area = Exercise(
    "polygon_area",
    [Case("a rectangle, 4 by 3", (_BOX,)), Case("a triangle", (_TRIANGLE,)),
     Case("the rectangle, the other way round", ([1.0, 1.0, 1.0, 4.0, 5.0, 4.0, 5.0, 1.0],)),
     Case("a shape with a gap from below", (_HOOK,)), Case("an outline that leaves the picture", (_BEYOND,))],
    right=lambda polygon: _area(polygon),
    mistakes={
        "This is twice the area: the sum is divided by 2.": lambda p: _area(p, half=1.0),
        "The area has a sign, which says in which direction the outline goes. Return its absolute value.": [
            lambda p: _area(p, join=lambda a, b: (a - b).sum()), lambda p: _area(p, join=lambda a, b: (b - a).sum())],
        "The last edge is missing, from the last point back to the first.": lambda p: _area(p, closed=False),
        "The absolute value is taken of each edge. Take it once, of the sum.":
            lambda p: _area(p, join=lambda a, b: np.abs(a - b).sum()),
        "The two products are added. The second one is subtracted.":
            lambda p: _area(p, join=lambda a, b: abs((a + b).sum())),
        "This is the area of the box around the polygon.": _box_area,
        "This is the length of the outline.": _perimeter,
        "This is the number of points.": lambda p: len(p) // 2},
    errors={"not enough values to unpack": "polygon is a flat list, x0, y0, x1, y1, …: np.reshape(polygon, (-1, 2)).T "
                                           "gives all x and all y.",
            "too many values to unpack": "np.reshape(polygon, (-1, 2)) has a row for each point. Its .T has two rows, "
                                         "x and y.",
            "index out of range": "The last edge goes back to the first point: its end is point (i + 1) % n."},
    hints=("Each edge gives x · y' - x' · y, where (x', y') is the next point. The sum over all edges is twice the "
           "area, perhaps with a minus.",
           "x, y = np.reshape(polygon, (-1, 2)).T, and np.roll(x, -1) are the x of the next points. Take abs of the "
           "sum, and half of it.",
           "x, y = np.reshape(polygon, (-1, 2)).T\n"
           "return abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2"))


def _runs_spread(counts: Sequence[int], height: int, width: int, *, first: int = 0, rows: bool = False) -> np.ndarray:
    values = np.repeat((np.arange(len(counts)) + first) % 2, counts)
    return values.reshape(height, width) if rows else values.reshape(width, height).T


def _without_empty(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """A run of length 0 is skipped, and the value does not change there."""
    return _runs_spread([run for run in counts if run], height, width)


def _as_places(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """Pairs are read as start and length, both from the beginning of the picture."""
    flat = np.zeros(height * width, dtype=int)
    for start, length in zip(counts[::2], counts[1::2], strict=False):
        flat[start:start + length] = 1
    return flat.reshape(width, height).T


def _only_first(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    flat = np.zeros(height * width, dtype=int)
    flat[counts[0]:counts[0] + (counts[1] if len(counts) > 1 else 0)] = 1
    return flat.reshape(width, height).T


read_run_lengths = Exercise(
    "read_run_lengths",
    [Case("a picture of 3×4: 4 of value 0, then 2 of value 1, then the rest", ([4, 2, 6], 3, 4)),
     Case("four runs", ([1, 3, 5, 3], 3, 4)),
     Case("it begins with a 1: the first run, of 0s, is empty", ([0, 4, 2, 6], 3, 4)),
     Case("nothing is covered", ([6], 2, 3)),
     Case("a larger picture", ([7, 5, 9, 6, 2, 12, 8, 1, 20], 10, 7), "counts: [7, 5, 9, 6, 2, 12, 8, 1, 20]\n"
                                                                     "height: 10\nwidth: 7")],
    right=_runs_spread, run=_mask_of,
    mistakes={
        "The pixels are filled row by row. COCO goes down the columns, one after the other.":
            lambda *a: _runs_spread(*a, rows=True),
        "Covered and not covered are exchanged: the first run counts 0s, the second one 1s.":
            lambda *a: _runs_spread(*a, first=1),
        "Covered and not covered are exchanged, and the pixels are filled row by row. The first run counts 0s, and "
        "COCO goes down the columns.": lambda *a: _runs_spread(*a, first=1, rows=True),
        "A run of length 0 is left out, so that what follows has the wrong value. The value changes after each run, "
        "also after an empty one.": _without_empty,
        "Pairs are read as a start and a length. Each number is a length, and a run begins where the one before it "
        "ends.": _as_places,
        "It goes through the columns from the right to the left.": lambda *a: _runs_spread(*a)[:, ::-1],
        "The columns are filled from below.": lambda *a: _runs_spread(*a)[::-1],
        "Only the first run of 1s is painted.": _only_first},
    errors={"cannot reshape array": "Is the size right? There are height · width values, in columns: "
                                    "values.reshape(width, height).T.",
            "operands could not be broadcast": "np.repeat wants one value and one length for each run."},
    hints=("First make the long list of 0s and 1s. Then fold it into columns: a column has `height` values.",
           "np.repeat([0, 1, 0], [4, 2, 6]) writes 0 four times, 1 twice, 0 six times. reshape(width, height) makes a "
           "row of each column; .T turns it.",
           "values = np.arange(len(counts)) % 2\n"
           "return np.repeat(values, counts).reshape(width, height).T"))


def _counts(text: str, *, bits: int = 5, high_first: bool = False, signed: bool = True, back: int = 2, since: int = 3,
            shift: int = 48, flag: bool = True) -> list[int]:
    """The right answer, with what can be wrong about it."""
    counts: list[int] = []
    groups: list[int] = []
    for character in text:
        value = ord(character) - shift
        groups.append(value & (31 if flag else 63))
        if not value & 32:
            ordered = groups[::-1] if high_first else groups
            number = sum(group << (bits * place) for place, group in enumerate(ordered))
            if signed and value & 16:
                number -= 1 << (bits * len(groups))
            counts.append(number + (counts[-back] if back and len(counts) >= since else 0))
            groups = []
    return counts


def _compressed(counts: Sequence[int]) -> str:
    """The text of some run lengths, as pycocotools writes it."""
    text = ""
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        while True:
            group, number = number & 31, number >> 5
            more = number != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
            if not more:
                break
    return text


def _lengths_of(answer: Callable[..., Any], text: str) -> list[int]:
    found = answer(text)
    if found is None:
        raise RefusedError("it returns nothing. Is there a `return`?")
    return [int(count) for count in found]


_TEXTS = [("three numbers, each below 16: a character a number", [4, 2, 6]),
          ("a number of two characters, and one of three", [300, 7, 5_000]),
          ("five numbers: from the fourth on, differences are written", [4, 3, 9, 5, 12]),
          ("the differences are negative", [200, 12, 40, 9, 7]),
          ("a mask of some columns", [2727, 8, 167, 12, 164, 13, 162, 40, 90, 3])]
read_counts = Exercise(
    "read_counts", [Case(what, (_compressed(counts),)) for what, counts in _TEXTS],
    right=lambda text: _counts(text), run=_lengths_of,
    mistakes={
        "The differences are not added: from the fourth number on, what is written is the difference to the number two "
        "before.": lambda text: _counts(text, back=0),
        "The difference is added to the number just before. It is the one to the number *two* before.":
            lambda text: _counts(text, back=1),
        "The third number is read as a difference, too. They begin with the fourth.":
            lambda text: _counts(text, since=2),
        "The highest bits come first here. In the text, the lowest group of a number comes first.":
            lambda text: _counts(text, high_first=True),
        "The sign is missing: if bit 16 of the last group is set, the number is negative; subtract 1 << (5 · groups).":
            lambda text: _counts(text, signed=False),
        "The groups are moved by 6 bits each. A group has 5 bits; the sixth says whether another one follows.":
            lambda text: _counts(text, bits=6),
        "The bit that says that more follows is counted as a part of the number. Keep the lower five: value & 31.":
            lambda text: _counts(text, flag=False),
        "These are running sums. Return the lengths.": lambda text: list(accumulate(_counts(text)))},
    errors={"unsupported operand type(s) for -": "ord(character) is the number of a character: ord(character) - 48.",
            "list index out of range": "The first three numbers have none two before: add a difference only if there "
                                       "are three numbers already."},
    hints=("Go through the characters. Collect the groups of a number until one says that it is the last.",
           "value = ord(character) - 48. value & 31 are its five bits; they belong at place 0, 5, 10, …: (value & 31) "
           "<< place. If value & 32 is 0, the number is complete: mind its sign, value & 16, and the number two "
           "before.",
           "counts, number, place = [], 0, 0\nfor character in text:\n    value = ord(character) - 48\n"
           "    number |= (value & 31) << place\n    place += 5\n    if not value & 32:\n        if value & 16:\n"
           "            number -= 1 << place\n        if len(counts) > 2:\n            number += counts[-2]\n"
           "        counts.append(number)\n        number = place = 0\nreturn counts"))
