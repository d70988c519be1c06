"""Scenes: five kinds of ground, and how many of which things stand on them."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np

from seglab.errors import ArgumentError
from seglab.samples.aerial.canvas import PAVING, Scene
from seglab.samples.aerial.things import (
    bald_tree,
    bicycle,
    box,
    bush,
    car,
    dog,
    house,
    junk,
    marker,
    obstacle,
    oval,
    person,
    pond,
    pool,
    rock,
    tree,
    upright,
)

#: Raise it with every change to the drawing: an older set on disk is then no longer taken for a current one.
VERSION = 1


def _strip(s: Scene, low: float, high: float, wobble: float = 0.0) -> np.ndarray:
    """The ground between two lines v = low and v = high, with edges that may be uneven, (60, 2) metres."""
    u = np.linspace(-s.reach, s.reach, 30)
    edge = s.rng.normal(0, wobble, (2, 30)) if wobble else np.zeros((2, 30))
    return np.concatenate([np.stack([u, low + edge[0]], 1), np.stack([u, high + edge[1]], 1)[::-1]])


def _patches(s: Scene, number: SupportsIndex, name: str, look: str, radius: float) -> None:
    for _ in range(number):
        at, r = s.rng.uniform(-s.half, s.half, 2) * 1.3, s.rng.uniform(0.5, 1.3) * radius
        s.ground(oval(at, r, 0.7 * r, s.rng.uniform(0, 6.3), 0.25, s.rng), name, look)


def _plaza(s: Scene) -> None:
    first, second = s.rng.choice(PAVING, 2, replace=False)
    s.ground(_strip(s, -s.reach, s.reach), "paved-area", str(first))
    at = s.rng.uniform(-0.8, 0.8, 2) * s.half
    s.ground(box(at, 0.9 * s.half, 0.5 * s.half), "paved-area", str(second))
    for _ in range(s.rng.integers(2, 5)):  # beds with a kerb
        at, (a, b) = s.rng.uniform(-1.5, 1.5, 2) * s.half, s.rng.uniform(0.15, 0.55, 2) * s.half
        name, look = (("grass", "lawn"), ("gravel", "gravel"), ("vegetation", "leaves"))[s.rng.integers(3)]
        s.block(box(at, a + 0.15, b + 0.15), 0.1, "paved-area", "concrete")
        s.ground(box(at, a, b), name, look)
    if s.rng.random() < 0.4:
        upright(s, np.array([-s.reach, 0.7 * s.half]), np.array([s.reach, 0.7 * s.half]), "wall")


def _street(s: Scene) -> None:
    c, road = s.rng.uniform(-0.5, 0.5) * s.half, s.rng.uniform(2.4, 3.2)
    s.ground(_strip(s, -s.reach, s.reach), "grass", "lawn")
    s.ground(_strip(s, c - road - 1.9, c + road + 1.9), "paved-area", str(s.rng.choice(PAVING[1:])))
    s.ground(_strip(s, c - road - 0.15, c + road + 0.15), "paved-area", "concrete")
    s.ground(_strip(s, c - road, c + road), "paved-area", "asphalt")
    if s.rng.random() < 0.5:
        for u in np.arange(-s.reach, s.reach, 3.0):
            s.ground(box(np.array([u, c]), 0.7, 0.07), "paved-area", (214, 212, 204))
    for side, kind in zip((-1, 1), s.rng.choice(["fence", "hedge", "wall", "none"], 2), strict=True):
        v = c + side * (road + 2.3)
        if s.rng.random() < 0.4:
            low, high = sorted((v, side * s.reach))
            s.ground(_strip(s, low, high, 0.05), "gravel", "gravel")
        if kind != "none":
            upright(s, np.array([-s.reach, v]), np.array([s.reach, v]), str(kind))
        if s.rng.random() < 0.5:
            car(s, np.array([s.rng.uniform(-1, 1) * s.half, c + side * (road - 1.1)]), s.rng.choice([0.0, np.pi]))


def _garden(s: Scene) -> None:
    s.ground(_strip(s, -s.reach, s.reach), "grass", str(s.rng.choice(["lawn", "lawn", "meadow"])))
    _patches(s, s.rng.integers(0, 3), "vegetation", "leaves", 0.3 * s.half)
    v = s.rng.uniform(-0.2, 0.5) * s.half
    if s.rng.random() < 0.75:
        s.ground(_strip(s, v, s.reach), "paved-area", str(s.rng.choice(PAVING[1:])))
    at = s.rng.uniform(-0.8, 0.8) * s.half
    path = (("gravel", "gravel"), ("paved-area", "slabs"))[s.rng.integers(2)]
    s.ground(_strip(s, at, at + 1.2, 0.04)[:, ::-1], *path)  # u and v swapped: it runs towards the terrace
    s.ground(_strip(s, -s.reach, -0.66 * s.half, 0.12), "dirt", "dirt")
    kind = str(s.rng.choice(["fence", "hedge", "wall"]))
    upright(s, np.array([-s.reach, -0.9 * s.half]), np.array([s.reach, -0.9 * s.half]), kind)


def _home(s: Scene) -> None:
    sign = s.rng.choice([-1, 1], 2)
    corner = sign * s.rng.uniform(-0.62, 0.45, 2) * s.half
    s.ground(_strip(s, -s.reach, s.reach), "grass", "lawn")
    terrace = corner + sign * (4.0, 3.0)
    s.ground(box(terrace, s.rng.uniform(6.5, 9.0), s.rng.uniform(5.0, 7.5)), "paved-area",
             str(s.rng.choice(PAVING[1:])))
    _patches(s, s.rng.integers(0, 3), "dirt", "dirt", 1.5)
    _patches(s, s.rng.integers(1, 5), "vegetation", "leaves", 2.0)
    house(s, corner, sign)


def _yard(s: Scene) -> None:
    s.ground(_strip(s, -s.reach, s.reach), "gravel", "gravel")
    _patches(s, 3, "dirt", "dirt", 0.45 * s.half)
    _patches(s, 3, "grass", "meadow", 0.3 * s.half)
    s.ground(_strip(s, 0.5 * s.half, s.reach), "paved-area", str(s.rng.choice(PAVING)))


#: Kind of scene, how often, and the drone's altitude in metres.
_KINDS = ((_plaza, 0.26, (6, 17)), (_street, 0.16, (11, 22)), (_garden, 0.18, (8, 18)), (_home, 0.31, (13, 22)),
          (_yard, 0.09, (7, 16)))
_OPEN = ("paved-area", "grass", "gravel", "dirt")
#: Thing, how many in a picture on average, what it stands on, and the room it needs in metres. Low things first.
_THINGS = ((pool, 0.36, ("grass",), 2.0), (pond, 0.14, ("grass", "gravel"), 1.5), (junk, 0.25, _OPEN, 0.7),
           (marker, 0.5, _OPEN[:2], 0.5), (rock, 1.2, _OPEN[1:], 0.8), (bicycle, 0.3, _OPEN[:1], 0.9),
           (dog, 0.2, _OPEN, 0.5), (obstacle, 0.9, _OPEN[:1], 0.9), (car, 0.12, ("paved-area", "gravel"), 2.2),
           (person, 2.5, _OPEN, 0.4), (bush, 4.5, _OPEN[1:], 0.6), (bald_tree, 0.2, _OPEN[1:], 0.6),
           (tree, 0.6, _OPEN, 1.0))


def draw_aerial(seed: int, index: int, size: tuple[int, int] = (160, 240)) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene as a drone sees it from straight above, and its mask.

    Args:
        seed: the set; 0 or more.
        index: the picture's place in the set; 0 or more. The picture depends on nothing but these three.
        size: (height, width) in pixels, each at least 32.

    Returns:
        The picture, (H, W, 3) uint8 RGB, and the mask, (H, W) uint8 with the ids of `DRONE`, 0 to 22.

    Raises:
        ArgumentError: a negative seed or index, or a side below 32.

    Example:
        >>> image, mask = draw_aerial(seed=0, index=3)
        >>> image.shape, mask.shape
        ((160, 240, 3), (160, 240))
    """
    if min(seed, index) < 0 or min(size) < 32:
        raise ArgumentError("draw_aerial", found=f"seed {seed}, index {index}, size {tuple(size)}",
                            expected="seed and index of 0 or more, and sides of at least 32 pixels")
    rng = np.random.default_rng([seed, index, VERSION])
    kind, _, (low, high) = _KINDS[rng.choice(len(_KINDS), p=[share for _, share, _ in _KINDS])]
    scene = Scene(rng, size, altitude=rng.uniform(low, high))
    kind(scene)
    for thing, mean, on, room in _THINGS:
        for _ in range(rng.poisson(mean)):
            if (place := scene.spot(on, room)) is not None:
                thing(scene, place)
    return scene.finish()
