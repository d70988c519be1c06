"""Coats: two colours of fur, and where on the body the second one is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seglab.samples.animals.skeleton import Course, Head, Tube

MARKS = ("striped", "patched", "plain", "bib", "points", "saddle")
_FURS = {"black": (58, 53, 52), "charcoal": (98, 95, 97), "chocolate": (104, 70, 48), "ginger": (196, 124, 64),
         "silver": (166, 163, 160), "fawn": (208, 170, 122), "cream": (230, 208, 174), "white": (238, 233, 226)}
_NAMES = tuple(_FURS)  # from dark to light
Stain = Callable[[np.ndarray], None]


class Coat:
    """A coat, with the colours that chance gives it.

    Args:
        rng: what is random about it.
        marks: one of `MARKS`.

    Attributes:
        colour, second: (3,) float RGB of the coat, and of its marks.
    """

    def __init__(self, rng: np.random.Generator, marks: str) -> None:
        self.rng, self.marks = rng, marks
        second = ""
        if marks in ("patched", "bib"):
            coat, second = _one(rng, *_NAMES[:4]), _one(rng, "white", "white", "cream")
            if marks == "patched" and rng.random() < 0.7:
                coat, second = second, coat
        elif marks in ("points", "saddle"):
            coat, second = _one(rng, "ginger", "silver", "fawn", "cream"), _one(rng, *_NAMES[:3])
        else:
            coat = _one(rng, *_NAMES[3 if marks == "striped" else 0:])  # stripes do not show on a dark coat
        shade = rng.uniform(0.88, 1.1) * rng.uniform(0.97, 1.03, 3)
        self.colour = np.array(_FURS[coat]) * shade
        self.second = np.array(_FURS[second]) * shade if second else self.colour * (0.4, 0.37, 0.36)

    def mark(self, stain: Stain, tube: Tube, course: Course, head: Head) -> None:
        """Give a tube its marks; `stain` paints one polygon (n, 2) or several (k, n, 2) in the body's coordinates."""
        self.stain, self.head = stain, head
        if self.marks != "plain":
            {"striped": self._striped, "patched": self._patched, "bib": self._bib, "points": self._points,
             "saddle": self._saddle}[self.marks](tube, course)

    def _span(self, course: Course, u: tuple[float, float], v: tuple[float, float]) -> None:
        """Everything from u to u along and from v to v across."""
        t = np.linspace(*u, 9)
        self.stain(np.concatenate([course.at(t, np.full(9, v[0])), course.at(t[::-1], np.full(9, v[1]))]))

    def _end(self, course: Course, u: float) -> None:
        """The whole end of a tube, from u on."""
        self._span(course, (u, 1.0), (-1.3, 1.3))
        self.stain(course.middle[-1] + _disc(0, 0, 1.15 * course.radius[-1]))

    def _spot(self, course: Course, u: float, v: float, radius: float) -> None:
        t, start = np.linspace(0, 2 * np.pi, 20, endpoint=False), self.rng.uniform(0, 6, 2)
        wave = 1 + 0.16 * np.cos(2 * t + start[0]) + 0.12 * np.cos(3 * t + start[1])
        spot = radius * wave[:, None] * np.stack([1.15 * np.cos(t), np.sin(t)], 1)
        self.stain(spot + course.at(np.array(u), np.array(v)))

    def _bars(self, course: Course, u: np.ndarray, v: np.ndarray, half: float) -> None:
        """Stripes across a tube at each u, which come to a point at the first v."""
        s = np.linspace(0, 1, len(v))
        middle = u[:, None] + 0.25 * half * np.sin(3 * s + self.rng.uniform(0, 6, (len(u), 1)))
        thick = half * np.minimum(1, 0.25 + 2.2 * s)
        edge = np.concatenate([middle + thick, (middle - thick)[:, ::-1]], 1)  # (stripes, 2 len(v))
        self.stain(course.at(edge, np.broadcast_to(np.concatenate([v, v[::-1]]), edge.shape)))

    def _striped(self, tube: Tube, course: Course) -> None:
        if tube.part in ("muzzle", "ear"):
            return
        if tube.part == "head" and tube.look == "side":
            self._bars(course, np.array([0.1, 0.45, 0.8]), np.linspace(0.2, 1.02, 6), 0.055)
        elif tube.part == "head":
            if _is_skull(tube):
                for x in (-0.3, 0.0, 0.3):
                    self.stain(self.head.place([(x - 0.07, -0.42), (1.5 * x - 0.1, -0.98), (1.5 * x + 0.1, -0.98),
                                                (x + 0.07, -0.42)]))
        else:
            length = float(np.linalg.norm(np.diff(course.middle, axis=0), axis=1).sum())
            count = max(2, round(length / 0.5))
            u = (np.arange(count) + 0.5) / count
            if tube.part == "torso" and tube.look == "side":
                self._bars(course, u, np.linspace(-0.35, 1.1, 8), 0.3 / count)
            elif tube.look == "front":
                for side in (-1, 1):
                    self._bars(course, u, side * np.linspace(0.4, 1.05, 6), 0.27 / count)
            else:
                self._bars(course, u, np.linspace(-1.02, 1.02, 9), 0.27 / count)

    def _patched(self, tube: Tube, course: Course) -> None:
        rng = self.rng
        if tube.part == "torso":
            for u in (0.12, 0.5, 0.88):
                self._spot(course, u + rng.uniform(-0.1, 0.1), rng.uniform(-0.3, 0.9), rng.uniform(0.55, 1.0))
        elif tube.part == "head" and _is_skull(tube):  # around an eye
            self.stain(self.head.place(_disc(rng.choice((-0.5, 0.5)) if tube.look != "side" else 0.35, -0.3, 0.5)))
        elif tube.part == "ear" and rng.random() < 0.6:
            self._end(course, 0.0)
        elif tube.part == "tail":
            self._span(course, (0.0, rng.uniform(0.3, 0.8)), (-1.1, 1.1))
        elif tube.part == "leg" and rng.random() < 0.5:
            self._spot(course, rng.uniform(0, 0.4), 0.0, rng.uniform(0.5, 0.8))

    def _bib(self, tube: Tube, course: Course) -> None:
        """Light paws, chest and muzzle."""
        if tube.part in ("leg", "tail", "muzzle"):
            self._end(course, {"leg": 0.66, "tail": 0.85, "muzzle": 0.0}[tube.part])
        elif tube.part == "head" and tube.look == "front" and _is_skull(tube):  # a blaze
            self.stain(self.head.place([(-0.1, -0.95), (0.1, -0.95), (0.16, 0.0), (0.5, 0.5), (-0.5, 0.5), (-0.16, 0)]))
        elif tube.part == "torso" and tube.look == "side":
            self._span(course, (0.0, 1.0), (-1.2, -0.45))
            self._spot(course, 1.0, -0.7, 0.7)
        elif tube.part == "torso" and tube.look == "front":
            self._span(course, (0.35, 1.0), (-0.55, 0.55))
        elif tube.part == "neck" and tube.look != "back":
            self._span(course, (0.1, 1.0), (-1.2, -0.45) if tube.look == "side" else (-0.7, 0.7))

    def _points(self, tube: Tube, course: Course) -> None:
        """Dark ears, mask, paws and tail."""
        if tube.part in ("ear", "tail", "muzzle", "leg"):
            self._end(course, 0.5 if tube.part == "leg" else 0.0)
        elif tube.part == "head" and tube.look != "back":
            self.stain(self.head.place(_disc(0, 0.2, 0.62) if tube.look == "front" else _disc(0.62, 0.12, 0.6)))

    def _saddle(self, tube: Tube, course: Course) -> None:
        """A dark back."""
        if tube.part == "ear" or tube.look == "back":
            self._end(course, 0.0) if tube.part == "ear" else self._span(course, (0.0, 1.0), (-0.8, 0.8))
        elif tube.look == "front" and tube.part == "head":
            if _is_skull(tube):
                self.stain(self.head.place([(-0.6, -1.0), (0.6, -1.0), (0.5, -0.5), (0, -0.35), (-0.5, -0.5)]))
        elif tube.look == "front" and tube.part != "muzzle":
            for side in (-1, 1):
                self._span(course, (0.0, 1.0), (0.62 * side, 1.3 * side))
        elif tube.part in ("torso", "neck", "tail", "head"):
            self._span(course, (0.0, 1.0), (0.45 if tube.part == "head" else 0.05, 1.3))
            for u in (0.15, 0.5, 0.8) if tube.part == "torso" else ():
                self._spot(course, u, 0.3, 0.55)


def _is_skull(tube: Tube) -> bool:
    """A cat's head has cheeks, too."""
    return float(tube.radii.max()) > 0.75


def _disc(x: float, y: float, radius: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], 1)


def _one(rng: np.random.Generator, *names: str) -> str:
    return names[rng.integers(len(names))]
