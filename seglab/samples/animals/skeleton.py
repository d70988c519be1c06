"""What a drawn body is made of: tubes along smooth lines, and the proportions of cats and dogs.

Units are radii of a cat's head. The animal looks to the right, y points down, and the floor is y = 0.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

HEAD = 1.18  # heads are a little larger than life: faces show
_SAMPLES = 18  # points along a tube


class Tube(NamedTuple):
    """A limb: a smooth line through a few points, with a radius at each.

    Attributes:
        part: "torso", "neck", "leg", "tail", "head", "muzzle" or "ear".
        points: (k, 2) along the line.
        radii: (k,).
        z: how far its middle lies before that of the torso; what is higher hides what is lower.
        look: "side" where the back is seen along one edge, "front" or "back" where the line runs down the middle.
    """

    part: str
    points: np.ndarray
    radii: np.ndarray
    z: float = 0.0
    look: str = "side"


class Head(NamedTuple):
    """Where a head is, how it is seen ("front", "profile" or "back"), its tilt in radians, how far before the torso."""

    centre: np.ndarray
    view: str
    tilt: float = 0.0
    z: float = 0.0

    def place(self, points: object) -> np.ndarray:
        """From the head's own coordinates to those of the body, (..., 2)."""
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        return HEAD * np.asarray(points, float) @ np.array([[c, s], [-s, c]]) + self.centre

    def inside(self, point: np.ndarray) -> np.ndarray:
        """From the body's coordinates to those of the head, (2,)."""
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        return (point - self.centre) @ np.array([[c, -s], [s, c]]) / HEAD


class Build(NamedTuple):
    """The proportions of a kind."""

    leg: float  # height of the hip
    long: float  # half of the torso
    chest: float
    waist: float
    rump: float
    neck: float  # its radius
    reach: float  # its length
    limb: float  # thickness of the legs
    tail: float  # its length
    thick: float  # radius of the tail's root
    thin: float  # ... and of its end


CAT = Build(leg=3.0, long=2.3, chest=0.98, waist=1.0, rump=1.0, neck=0.66, reach=1.0, limb=0.9, tail=5.0, thick=0.27,
            thin=0.19)
DOG = Build(leg=4.1, long=2.35, chest=1.32, waist=0.86, rump=1.0, neck=0.8, reach=1.75, limb=1.1, tail=3.2, thick=0.34,
            thin=0.1)


@cache
def _weights(count: int) -> np.ndarray:
    """Catmull and Rom's spline as a matrix from `count` points to `_SAMPLES`."""
    t = np.linspace(0, count - 1, _SAMPLES)
    i = np.minimum(t.astype(int), count - 2)
    f = (t - i)[:, None]
    basis = 0.5 * np.concatenate([-f + 2 * f**2 - f**3, 2 - 5 * f**2 + 3 * f**3, f + 4 * f**2 - 3 * f**3,
                                  f**3 - f**2], 1)
    matrix = np.zeros((_SAMPLES, count + 2))
    for k in range(4):
        matrix[np.arange(_SAMPLES), i + k] += basis[:, k]
    matrix[:, 1] += 2 * matrix[:, 0]  # the ends go on straight
    matrix[:, 2] -= matrix[:, 0]
    matrix[:, -2] += 2 * matrix[:, -1]
    matrix[:, -3] -= matrix[:, -1]
    return matrix[:, 1:-1]


class Course(NamedTuple):
    """A tube along its whole length: (n, 2) middle, (n, 2) unit normals, (n,) radii."""

    middle: np.ndarray
    normal: np.ndarray
    radius: np.ndarray

    def at(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Points at u (0 to 1 along) and v (-1 to 1 across; 1 is the side of the back), of any shape: (..., 2)."""
        t = np.clip(u, 0, 1) * (len(self.middle) - 1)
        i = np.minimum(t.astype(int), len(self.middle) - 2)
        f = t - i
        side = -self.normal * self.radius[:, None]
        low, high = (self.middle[k] + v[..., None] * side[k] for k in (i, i + 1))
        return low + f[..., None] * (high - low)


def courses(tubes: list[Tube]) -> tuple[list[Course], np.ndarray, np.ndarray]:
    """The courses of tubes, and of their outlines the points on the middle and what leads from there to the edge.

    Returns:
        The courses, and two arrays (tubes, points, 2): their sum is the outline; with a share of the second it is an
        outline at that share of the radius.
    """
    middle = np.stack([_weights(len(tube.radii)) @ tube.points for tube in tubes])  # (tubes, n, 2)
    radius = np.maximum(np.stack([_weights(len(tube.radii)) @ tube.radii for tube in tubes]), 0.01)  # (tubes, n)
    along = np.gradient(middle, axis=1)
    along /= np.hypot(along[..., :1], along[..., 1:]) + 1e-9
    normal = np.stack([-along[..., 1], along[..., 0]], -1)
    angle = np.linspace(0.5 * np.pi, -0.5 * np.pi, 8)[1:-1, None]
    ends = [sign * radius[:, k, None, None] * (np.cos(angle) * along[:, k, None] + np.sin(angle) * normal[:, k, None])
            for k, sign in ((-1, 1), (0, -1))]  # each a half circle, (tubes, len(angle), 2)
    side = normal * radius[..., None]
    offset = np.concatenate([side, ends[0], -side[:, ::-1], ends[1]], 1)
    first, last = (np.repeat(middle[:, [k]], len(angle), 1) for k in (0, -1))
    centre = np.concatenate([middle, last, middle[:, ::-1], first], 1)
    return [Course(*parts) for parts in zip(middle, normal, radius, strict=True)], centre, offset
