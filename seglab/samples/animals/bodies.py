"""Skeletons of cats and dogs: what each kind is made of, and how it sits, stands, lies, stretches or turns away.

Units are radii of a cat's head. The animal looks to the right, y points down, and the floor is y = 0.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

POSES = ("sit", "sit side", "walk", "lie", "lie front", "rest", "stretch", "sit away", "walk away")
_SAMPLES = 18  # points along a tube
HEAD = 1.1  # heads are a little larger than life: faces show


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
    """Where the head is, how it is seen ("front", "profile" or "back"), and its tilt in radians, and how far before the torso."""

    centre: tuple[float, float]
    view: str
    tilt: float = 0.0
    z: float = 0.0


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


def pose(rng: np.random.Generator, name: str, is_cat: bool) -> tuple[list[Tube], Head]:
    """The tubes of a body from back to front, and its head."""
    b = CAT if is_cat else DOG
    plump = rng.uniform(0.92, 1.12)
    b = b._replace(chest=b.chest * plump, waist=b.waist * plump, rump=b.rump * plump,
                   leg=b.leg * rng.uniform(0.9, 1.06), long=b.long * rng.uniform(0.94, 1.08),
                   tail=b.tail * rng.uniform(0.85, 1.1))
    return _POSES[name](rng, b, is_cat)


def _tube(part: str, points: object, radii: object, z: float = 0.0, look: str = "side") -> Tube:
    return Tube(part, np.array(points, float), np.array(radii, float), z, look)


def _tail(b: Build, root: tuple[float, float], headings: tuple[float, ...], z: float = -0.2) -> Tube:
    """A tail that leaves its root and takes these headings in turn, in degrees: 0 to the right, 90 upwards."""
    turn = np.radians(headings)
    steps = np.stack([np.cos(turn), -np.sin(turn)], 1) * b.tail / len(headings)
    points = np.concatenate([[root], root + np.cumsum(steps, 0)])
    points[1:, 1] = np.minimum(points[1:, 1], max(root[1], -b.thin))  # no tail is below the floor
    return Tube("tail", points, np.linspace(b.thick, b.thin, len(points)), z)


def _hind(b: Build, x: float, y: float, step: float, z: float, shrink: float = 1.0) -> Tube:
    """A hind leg with its hip at (x, y), its foot moved by `step`."""
    points = np.array([(0.0, 0.0), (0.5, 0.42), (-0.42, 0.7), (-0.3, 0.94), (0.0, 0.955)]) * (1, -y)
    points[:, 0] += step * (points[:, 1] / -y)
    return _tube("leg", points + (x, y), np.array([0.9, 0.6, 0.3, 0.28, 0.3]) * b.limb * shrink, z)


def _fore(b: Build, x: float, y: float, step: float, z: float, shrink: float = 1.0) -> Tube:
    points = np.array([(0.0, 0.0), (-0.15, 0.4), (0.05, 0.72), (0.0, 0.94), (0.3, 0.955)]) * (1, -y)
    points[:, 0] += step * (points[:, 1] / -y)
    return _tube("leg", points + (x, y), np.array([0.7, 0.42, 0.31, 0.28, 0.3]) * b.limb * shrink, z)


def _view(rng: np.random.Generator) -> str:
    return "front" if rng.random() < 0.5 else "profile"


def _walk(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    step, back = rng.uniform(0.0, 0.9), -b.leg - 1.0
    xs = np.array([-1.0, -0.35, 0.4, 1.0]) * b.long
    radii = np.array([b.rump, b.waist, 0.5 * (b.waist + b.chest), b.chest])
    torso = np.stack([xs, back + radii + (0.1, 0.22, 0.16, 0.0) * np.array(1.0)], 1)
    hip, shoulder = -b.leg + 0.1, -b.leg + 0.15
    down = 0.0 if rng.random() < 0.75 else rng.uniform(0.4, 0.9)  # sniffing
    root = (b.long + 0.1, back + 1.0)
    reach = b.reach * np.array([0.85, -0.8 + 1.7 * down])
    head = root + reach + (0.25, -0.35)
    tails = ((120, 80, 95, 60), (205, 225, 250, 200), (170, 200, 220, 160)) if is_cat else \
        ((140, 115, 95), (165, 140, 110), (225, 250, 240))
    headings = tails[rng.choice(3, p=(0.45, 0.3, 0.25))]
    tubes = [_tail(b, (-b.long - 0.75, back + 0.75), headings),
             _hind(b, -b.long + 0.35, hip, -step, -1.0, 0.9), _fore(b, b.long + 0.1, shoulder, -step, -1.0, 0.9),
             _tube("torso", torso, radii),
             _tube("neck", [root - np.array((0.5, 0)), root + 0.5 * reach, head], [b.chest * 0.85, b.neck * 1.05,
                                                                                      b.neck], 0.15),
             _hind(b, -b.long + 0.1, hip, step, 0.45), _fore(b, b.long - 0.25, shoulder, step, 0.55)]
    return tubes, Head(tuple(head), _view(rng), rng.normal(0, 0.08) + 0.5 * down)


def _sit_side(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    top = 0.8 * b.leg + 1.1
    shoulder = np.array([0.85, -top])
    head = shoulder + b.reach * np.array([0.45, -0.8]) + (0.15, -0.55)
    torso = [(-1.35, -0.95), (-1.15, -1.75), (-0.25, -0.62 * top - 0.4), (0.75, -top + 0.35)]
    tails = ((190, 180, 160, 110), (190, 170, 20, 0)) if is_cat else ((170, 150, 120), (190, 180, 170))
    headings = tails[rng.integers(2)]
    foot = np.array([1.0, -0.24])
    tubes = [_tail(b, (-1.9, -0.45), headings),
             _tube("leg", [(1.0, -top + 0.6), (1.25, -1.4), foot + (0.45, -0.1), foot + (0.85, -0.1)],
                   np.array([0.6, 0.4, 0.29, 0.3]) * b.limb, -0.9),
             _tube("torso", torso, [b.rump * 1.15, b.rump * 1.25, b.waist * 1.12, b.chest * 0.95]),
             _tube("neck", [shoulder + (-0.15, 0.5), 0.5 * (shoulder + head), head],
                   [b.chest * 0.85, b.neck * 1.1, b.neck], 0.1),
             _tube("leg", [(0.8, -top + 0.7), (0.85, -1.6), foot, foot + (0.4, 0.0)],
                   np.array([0.72, 0.42, 0.3, 0.31]) * b.limb, 0.5),
             _tube("leg", [(-0.75, -0.3), (0.55, -0.26)], np.array([0.32, 0.32]) * b.limb, 0.75),
             _tube("leg", [(-1.05, -1.0), (-0.35, -1.2), (0.2, -0.75)], np.array([1.0, 0.85, 0.5]), 0.55)]
    return tubes, Head(tuple(head), _view(rng), rng.normal(0, 0.1))


def _sit(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    top, side = 0.8 * b.leg + 1.1, rng.choice((-1, 1))
    wide = 1.35 if is_cat else 1.2
    lean = rng.uniform(-0.25, 0.25)
    head = (lean * 1.4 + rng.uniform(-0.1, 0.1), -top - 0.75 * b.reach - 0.35)
    tail = ((0, 15, 60, 120), (0, 0, 30, 80)) if is_cat else ((20, 50, 80), (10, 30, 50))
    headings = np.array(tail[rng.integers(2)])
    headings = tuple(headings if side > 0 else 180 - headings)
    tubes = [_tail(b, (side * 0.9, -0.4), headings, -0.8),
             _tube("torso", [(0, -1.0), (lean * 0.5, -0.55 * top), (lean, -top + 0.35)],
                   [wide * b.rump, 1.16 * b.waist, b.chest * 0.95], 0, "front")]
    for s in (-1, 1):
        tubes += [_tube("leg", [(s * 1.0, -1.25), (s * 1.22, -0.75), (s * 1.2, -0.35)], [0.75, 0.7, 0.4], 0.3),
                  _tube("leg", [(s * 1.15, -0.3), (s * 1.4, -0.24)], np.array([0.34, 0.3]) * b.limb, 0.8)]
    tubes.append(_tube("neck", [(lean, -top + 0.4), head], [b.chest * 0.85, b.neck], 0.5, "front"))
    for s in (-1, 1):
        knee = (s * 0.5 + 0.3 * lean, -1.5)
        tubes.append(_tube("leg", [(s * 0.52 + lean, -top + 0.8), knee, (s * 0.47, -0.35), (s * 0.5, -0.22)],
                           np.array([0.52, 0.38, 0.32, 0.37]) * b.limb, 0.95))
    return tubes, Head(head, "front", rng.normal(0, 0.12))


def _sit_away(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    top, side = 0.8 * b.leg + 1.1, rng.choice((-1, 1))
    lean = rng.uniform(-0.25, 0.25)
    head = (lean * 1.5, -top - 0.7 * b.reach - 0.3)
    headings = np.array((-5, 5, 40, 110) if is_cat else (5, 40, 70))
    headings = tuple(headings if side > 0 else 180 - headings)
    tubes = [*(_tube("leg", [(s * 1.1, -0.45), (s * 1.45, -0.22)], np.array([0.5, 0.34]), -0.3) for s in (-1, 1)),
             _tube("neck", [(lean, -top + 0.4), head], [b.chest * 0.85, b.neck * 1.1], 0.0, "back"),
             _tube("torso", [(0, -1.12), (0.2 * lean, -1.9), (lean * 0.7, -0.65 * top), (lean, -top + 0.3)],
                   [1.3 * b.rump, 1.3 * b.rump, 1.12 * b.waist, b.chest * 0.92], 0, "back"),
             _tail(b, (side * 0.15, -0.45), headings, 0.9)]
    return tubes, Head(head, "back", rng.normal(0, 0.1))


def _walk_away(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    step, side = rng.uniform(-0.25, 0.25), rng.choice((-1, 1))
    hip = -b.leg - 0.05
    head = (side * rng.uniform(0.2, 0.6), hip - 1.75 - 0.5 * b.reach)
    headings = np.array((100, 85, 95, 60) if is_cat else (75, 85, 60))
    headings = tuple(headings if side < 0 else 180 - headings)
    legs = [_tube("leg", [(s * 0.55, hip), (s * 0.75, 0.55 * hip), (s * 0.58, 0.27 * hip), (s * 0.6, -0.25 + s * step)],
                  np.array([0.8, 0.5, 0.3, 0.36]) * b.limb, 0.25) for s in (-1, 1)]
    far = [_tube("leg", [(s * 0.42 + 0.2 * side, hip), (s * 0.45 + 0.2 * side, 0.5 * hip), (s * 0.42 + 0.2 * side, -0.5)],
                 np.array([0.5, 0.32, 0.32]) * b.limb, -1.4) for s in (-1, 1)]
    tubes = [*far, _tube("neck", [(0.3 * head[0], hip - 0.1), head], [b.chest, b.neck * 1.1], -1.2, "back"),
             _tube("torso", [(0, hip + 0.15), (0.1 * side, hip - 0.35)], [1.1 * b.rump, 1.15 * b.rump], 0, "back"), *legs,
             _tail(b, (0.0, hip - 0.7), headings, 1.2)]
    return tubes, Head(head, "back", rng.normal(0, 0.1), -2.6)


def _lie(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    tucked = rng.random() < 0.35
    shoulder = np.array([0.8 * b.long, -b.chest - 0.35])
    head = shoulder + b.reach * np.array([0.6, -0.75]) + (0.35, -0.35)
    reach = 0.7 if tucked else 0.55 * b.leg + 0.4
    paw = np.array([0.8 * b.long + reach, -0.3])
    headings = ((180, 185, 170, 140), (200, 180, 10, 0), (180, 190, 200, 150))[rng.integers(3)] if is_cat else \
        ((180, 170, 150), (190, 185, 180))[rng.integers(2)]
    tubes = [_tail(b, (-b.long - 0.6, -0.5), headings),
             _tube("leg", [shoulder + (0.1, 0.5), (0.8 * b.long + 0.45, -0.5), paw + (0.35, -0.18)],
                   np.array([0.6, 0.4, 0.3]) * b.limb, -0.9),
             _tube("torso", [(-b.long, -b.rump - 0.05), (-0.2 * b.long, -b.waist - 0.18), (0.75 * b.long, -b.chest - 0.1)],
                   [b.rump * 1.05, b.waist * 1.1, b.chest]),
             _tube("neck", [shoulder + (-0.2, 0), 0.5 * (shoulder + head), head], [b.chest * 0.8, b.neck * 1.1, b.neck],
                   0.15),
             _tube("leg", [(0.75 * b.long, -1.0), (0.7 * b.long + 0.2, -0.42), paw], np.array([0.66, 0.42, 0.32]) * b.limb,
                   0.6),
             _tube("leg", [(-b.long + 0.2, -0.28), (-b.long + 1.7, -0.26)], np.array([0.33, 0.33]) * b.limb, 0.8),
             _tube("leg", [(-b.long + 0.25, -1.0), (-b.long + 0.9, -1.1), (-b.long + 1.35, -0.65)],
                   np.array([0.95, 0.75, 0.42]), 0.55)]
    return tubes, Head(tuple(head), _view(rng), rng.normal(0, 0.1))


def _lie_front(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    side, turn = rng.choice((-1, 1)), rng.uniform(0.5, 1.3)
    hips = np.array([-side * turn * 1.2, -1.25])
    head = (rng.uniform(-0.15, 0.15), -b.chest - 0.75 - 0.6 * b.reach)
    headings = np.array((0, -5, 20, 70) if is_cat else (10, 30, 40))
    headings = tuple(headings if side < 0 else 180 - headings)
    tubes = [_tail(b, (hips[0] - side * 0.5, -0.4), headings, -1.0),
             _tube("torso", [hips, 0.5 * hips + (0, -0.75), (0, -b.chest)], [b.rump * 1.15, b.waist * 1.15, b.chest], -0.4),
             _tube("leg", [hips + (-side * 0.3, 0.3), hips + (-side * 0.35, 0.8)], [0.85, 0.42], -0.1),
             _tube("leg", [hips + (-side * 0.5, 0.98), hips + (-side * 0.1, 1.04)], np.array([0.33, 0.32]) * b.limb, 0.4),
             _tube("neck", [(0, -b.chest), head], [b.chest * 0.9, b.neck * 1.1], 0.5, "front")]
    spread, reach = rng.uniform(0.5, 0.75), 0.05 + 0.12 * b.leg
    for s in (-1, 1):
        tubes.append(_tube("leg", [(s * 0.62, -1.0), (s * (spread + 0.2), -0.42), (s * spread, reach - 0.3)],
                           np.array([0.55, 0.4, 0.38]) * b.limb, 0.9))
    return tubes, Head(head, "front", rng.normal(0, 0.12))


def _rest(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    """On its side, legs stretched out, the head on the floor."""
    x, reach = b.long, 0.5 * b.leg
    head = (x + 0.75 + 0.6 * b.reach, -0.95)
    headings = (((190, 205, 190, 150), (170, 190, 200, 180)) if is_cat else ((190, 200, 185), (170, 180, 190)))[rng.integers(2)]
    tubes = [_tail(b, (-x - 0.6, -1.0), headings, -0.2),
             _tube("leg", [(x - 0.4, -0.7), (x + 0.2, -0.1), (x + 0.2 + reach, 0.0), (x + 0.55 + reach, -0.05)],
                   np.array([0.6, 0.4, 0.29, 0.3]) * b.limb, -0.7),
             _tube("leg", [(-x, -0.7), (-x + 0.7, -0.05), (-x - 0.3, 0.1), (-x - 0.9 * reach, 0.05)],
                   np.array([0.8, 0.5, 0.3, 0.3]) * b.limb, -0.7),
             _tube("torso", [(-x, -1.0), (-0.2 * x, -1.0), (0.85 * x, -1.05)], [b.rump, b.waist * 1.08, b.chest * 0.95]),
             _tube("neck", [(0.8 * x, -1.05), head], [b.chest * 0.8, b.neck], 0.1),
             _tube("leg", [(x - 0.4, -0.9), (x - 0.1, 0.15), (x + 0.1 + reach, 0.5), (x + 0.45 + reach, 0.48)],
                   np.array([0.66, 0.42, 0.31, 0.32]) * b.limb, 0.4),
             _tube("leg", [(-x + 0.1, -0.85), (-x + 0.95, 0.1), (-x + 0.1, 0.5), (-x - 0.75 * reach, 0.6)],
                   np.array([0.9, 0.6, 0.32, 0.32]) * b.limb, 0.4)]
    return tubes, Head(head, _view(rng), rng.uniform(0.0, 0.35))


def _stretch(rng: np.random.Generator, b: Build, is_cat: bool) -> tuple[list[Tube], Head]:
    """Chest on the floor, rump in the air."""
    hip, x = -b.leg + 0.2, b.long
    shoulder = np.array([x, -b.chest - 0.35])
    head = shoulder + b.reach * np.array([0.6, -0.5]) + (0.6, -0.45)
    paw = shoulder[0] + 0.5 * b.leg + 0.5
    headings = (115, 80, 100, 150) if is_cat else (130, 110, 85)
    tubes = [_tail(b, (-x - 0.5, hip - 0.85), headings),
             _hind(b, -x + 0.4, hip, 0.1, -1.0, 0.9),
             _tube("leg", [shoulder + (0, 0.3), (x + 0.4, -0.5), (paw + 0.35, -0.42)], np.array([0.6, 0.4, 0.3]) * b.limb, -0.9),
             _tube("torso", [(-x, hip - 0.1), (-0.25 * x, 0.72 * hip - 0.3), (0.45 * x, 0.4 * hip - 0.6), (x - 0.1, -b.chest - 0.1)],
                   [b.rump, b.waist, 0.5 * (b.waist + b.chest), b.chest * 0.95]),
             _tube("neck", [shoulder + (-0.2, 0.1), head], [b.chest * 0.8, b.neck], 0.15),
             _hind(b, -x + 0.15, hip, -0.2, 0.45),
             _tube("leg", [shoulder + (-0.2, 0.2), (x + 0.1, -0.4), (paw, -0.28)], np.array([0.66, 0.42, 0.32]) * b.limb, 0.55)]
    return tubes, Head(tuple(head), _view(rng), rng.normal(0, 0.1))


_POSES = {"sit": _sit, "sit side": _sit_side, "walk": _walk, "lie": _lie, "lie front": _lie_front, "rest": _rest,
          "stretch": _stretch, "sit away": _sit_away, "walk away": _walk_away}


def head_tubes(rng: np.random.Generator, head: Head, is_cat: bool, hanging: bool) -> list[Tube]:
    """The head from back to front, in the body's units."""
    tall = rng.uniform(0.9, 1.12)
    behind: list[Tube] = []
    before: list[Tube] = []
    if head.view == "profile":
        ears = ((0.42, -0.5), (-0.08, -0.42)) if is_cat else ((0.1, -0.45), (-0.3, -0.45))
        for (x, y), z, group in zip(ears, (-0.5, 0.45), (behind, before), strict=True):
            if hanging:
                group.append(_tube("ear", [(x, y), (x - 0.28, y + 0.5), (x - 0.12, y + 1.25 * tall)],
                                   [0.2, 0.36, 0.28], z + 0.55))
            else:
                group.append(_tube("ear", [(x, y), (x - 0.05, y - 0.5 * tall), (x, y - 1.02 * tall)],
                                   [0.46, 0.27, 0.03], z))
        if is_cat:
            middle = [_tube("head", [(-0.1, 0.0), (0.22, 0.05)], [0.92, 0.84], 0.3),
                      _tube("muzzle", [(0.4, 0.25), (0.86, 0.36)], [0.52, 0.32], 0.5)]
        else:
            long = rng.uniform(1.45, 1.95)
            middle = [_tube("head", [(-0.15, -0.05), (0.25, 0.05)], [0.86, 0.74], 0.3),
                      _tube("muzzle", [(0.35, 0.12), (0.75 * long, 0.3), (long, 0.28)], [0.56, 0.4, 0.3], 0.45)]
    else:
        for s in (-1, 1):
            if hanging:
                before.append(_tube("ear", [(s * 0.62, -0.58), (s * 0.98, -0.2), (s * 1.0, 0.62 * tall)],
                                    [0.22, 0.36, 0.27], 1.75))
            elif is_cat:
                behind.append(_tube("ear", [(s * 0.6, -0.3), (s * 0.74, -0.85 * tall), (s * 0.88, -1.4 * tall)],
                                    [0.5, 0.32, 0.03], 0.8))
            else:
                behind.append(_tube("ear", [(s * 0.46, -0.45), (s * 0.58, -1.05 * tall), (s * 0.68, -1.62 * tall)],
                                    [0.38, 0.26, 0.03], 0.8))
        if is_cat:
            middle = [_tube("head", [(-0.22, -0.08), (0.22, -0.08)], [0.84, 0.84], 1.3, head.view),
                      _tube("head", [(-0.5, 0.22), (0.5, 0.22)], [0.56, 0.56], 1.3, head.view)]
            if head.view == "front":
                middle += [_tube("muzzle", [(-0.2, 0.42), (0.2, 0.42)], [0.3, 0.3], 2.1)]
        else:
            middle = [_tube("head", [(0, -0.24), (0, 0.16)], [0.9, 0.8], 1.3, head.view)]
            if head.view == "front":
                long = rng.uniform(0.85, 1.1)
                middle += [_tube("muzzle", [(0, 0.1), (0, 0.62 * long), (0, 0.86 * long)], [0.4, 0.48, 0.4], 2.2)]
    c, s = np.cos(head.tilt), np.sin(head.tilt)
    turn = np.array([[c, s], [-s, c]])
    return [tube._replace(points=HEAD * tube.points @ turn + head.centre, radii=HEAD * tube.radii, z=tube.z + head.z) for tube in [*behind, *middle, *before]]


@cache
def _weights(count: int) -> np.ndarray:
    """Catmull and Rom's spline as a matrix from `count` points to `_SAMPLES`."""
    t = np.linspace(0, count - 1, _SAMPLES)
    i = np.minimum(t.astype(int), count - 2)
    f = (t - i)[:, None]
    basis = 0.5 * np.concatenate([-f + 2 * f**2 - f**3, 2 - 5 * f**2 + 3 * f**3, f + 4 * f**2 - 3 * f**3, f**3 - f**2], 1)
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
        The courses, and two arrays (tubes, points, 2): `middle + share * offset` is an outline at that share of the radius.
    """
    middle = np.stack([_weights(len(tube.radii)) @ tube.points for tube in tubes])  # (tubes, n, 2)
    radius = np.maximum(np.stack([_weights(len(tube.radii)) @ tube.radii for tube in tubes]), 0.01)  # (tubes, n)
    along = np.gradient(middle, axis=1)
    along /= np.hypot(along[..., :1], along[..., 1:]) + 1e-9
    normal = np.stack([-along[..., 1], along[..., 0]], -1)
    angle = np.linspace(0.5 * np.pi, -0.5 * np.pi, 8)[1:-1, None]
    caps = [radius[:, end, None, None] * (np.cos(angle) * sign * along[:, end, None] + np.sin(angle) * sign * normal[:, end, None])
            for end, sign in ((-1, 1), (0, -1))]  # round ends
    side = normal * radius[..., None]
    offset = np.concatenate([side, caps[0], -side[:, ::-1], caps[1]], 1)
    round_ = len(angle)
    centre = np.concatenate([middle, np.repeat(middle[:, -1:], round_, 1), middle[:, ::-1], np.repeat(middle[:, :1], round_, 1)], 1)
    return [Course(*parts) for parts in zip(middle, normal, radius, strict=True)], centre, offset
