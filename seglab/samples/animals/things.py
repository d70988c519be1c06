"""Things before the animals, and what the camera does to a picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from seglab.samples.animals.places import Place
from seglab.samples.animals.textures import CLOTHS, GREENS, near


def before(rng: np.random.Generator, place: Place) -> np.ndarray:
    """Paint something that stands before the animals: (H, W) uint8, 255 where it is."""
    height, width = place.picture.shape[:2]
    stencil = np.zeros((height, width), np.uint8)
    x, r = int(rng.uniform(0.1, 0.9) * width), int(height * rng.uniform(0.07, 0.13))
    things: tuple[Callable[..., None], ...] = (_ball, _cushion, _leaf) if place.indoors else (_ball, _blades, _leaf)
    things[rng.integers(3)](rng, place.picture, stencil, x, r)
    return stencil


def ball(rng: np.random.Generator, picture: np.ndarray, middle: tuple[int, int], r: int) -> np.ndarray:
    """Paint a ball: (H, W) uint8, 255 where it is."""
    stencil = np.zeros(picture.shape[:2], np.uint8)
    _sphere(rng, picture, stencil, middle, r)
    return stencil


def _ball(rng: np.random.Generator, picture: np.ndarray, stencil: np.ndarray, x: int, r: int) -> None:
    _sphere(rng, picture, stencil, (x, picture.shape[0] - int(r * rng.uniform(0.3, 1.4))), r)


def _sphere(rng: np.random.Generator, picture: np.ndarray, stencil: np.ndarray, middle: tuple[int, int],
            r: int) -> None:
    x, y = middle
    colour = near(rng, ((204, 60, 56), (60, 110, 190), (232, 190, 60), (90, 160, 90), (222, 120, 60), (190, 206, 70)))
    cv2.circle(stencil, middle, r, 255, -1)
    shadow = np.zeros_like(stencil)
    cv2.ellipse(shadow, (x + r // 3, y + int(0.92 * r)), (r, max(2, r // 4)), 0, 0, 360, 110, -1)
    left, top, right, bottom = max(x - 2 * r, 0), max(y - 2 * r, 0), x + 2 * r, y + 2 * r
    window = np.s_[top:bottom, left:right]
    keep = 1 - cv2.GaussianBlur(shadow[window], (0, 0), max(1, r / 8))[..., None] / np.float32(255)
    picture[window] = (picture[window] * keep).astype(np.uint8)
    inside = stencil[window] > 0
    v, u = np.mgrid[top:top + inside.shape[0], left:left + inside.shape[1]].astype(np.float32)
    u, v = (u - x) / r, (v - y) / r
    light = 0.5 + 0.6 * np.clip(-0.5 * u - 0.62 * v + 0.6 * np.sqrt(np.maximum(1 - u * u - v * v, 0)), 0, 1)
    light += 0.9 * np.clip(1 - 9 * ((u + 0.4) ** 2 + (v + 0.45) ** 2), 0, 1)
    stripe = (np.abs(v + 0.3 * u * u + rng.uniform(-0.3, 0.3)) < 0.18)[..., None]
    paint = np.where(stripe & (rng.random() < 0.6), np.array((236, 232, 224.0)), colour)
    picture[window][inside] = np.clip(paint * light[..., None], 0, 255)[inside]


def _cushion(rng: np.random.Generator, picture: np.ndarray, stencil: np.ndarray, x: int, r: int) -> None:
    height = picture.shape[0]
    wide, tall = int(2.2 * r), int(1.1 * r)
    t = np.linspace(0, 2 * np.pi, 40)
    c, s = np.cos(t), np.sin(t)
    edge = np.stack([np.sign(c) * np.abs(c) ** 0.5 * wide, np.sign(s) * np.abs(s) ** 0.6 * tall], 1)
    cloth, at = near(rng, CLOTHS), np.array((x, height - rng.uniform(0, 0.6) * tall))
    for share in np.linspace(1, 0.2, 7):
        points = [np.rint(at - (0, (1 - share) * 0.3 * tall) + share * edge).astype(np.int32)]
        cv2.fillPoly(picture, points, np.clip(cloth * (1.12 - 0.42 * share**3), 0, 250).tolist(), cv2.LINE_AA)
    cv2.fillPoly(stencil, [np.rint(at + edge).astype(np.int32)], 255)


def _leaf(rng: np.random.Generator, picture: np.ndarray, stencil: np.ndarray, x: int, r: int) -> None:
    height, width = picture.shape[:2]
    x = int(rng.choice((-0.02, 1.02)) * width)
    green = near(rng, GREENS) * 0.7
    for angle in np.radians(rng.uniform(-70, 70, int(rng.integers(4, 8)))):
        length = height * rng.uniform(0.2, 0.42)
        way = np.array((np.sin(angle), -np.cos(angle)))
        root, side = np.array((x, height * 1.02)), 0.11 * length * np.array((way[1], -way[0]))
        middle = root + 0.5 * length * way
        leaf = np.rint([root, middle + side, root + length * way, middle - side]).astype(np.int32)
        cv2.fillPoly(stencil, [leaf], 255)
        cv2.fillPoly(picture, [leaf], np.clip(green * rng.uniform(0.75, 1.3), 0, 255).tolist())
        cv2.line(picture, leaf[0].tolist(), leaf[2].tolist(), np.clip(green * 1.35, 0, 255).tolist(), 2, cv2.LINE_AA)


def _blades(rng: np.random.Generator, picture: np.ndarray, stencil: np.ndarray, x: int, r: int) -> None:
    height, width = picture.shape[:2]
    green = near(rng, GREENS)
    count = int(rng.integers(15, 40))
    for at, lean, tall in zip(rng.normal(x, 0.2 * width, count), rng.normal(0, 0.3, count),
                              rng.uniform(0.08, 0.22, count), strict=True):
        tip = (at + lean * tall * height, height * (1 - tall))
        blade = np.rint([(at - 0.009 * width, height), tip, (at + 0.009 * width, height)]).astype(np.int32)
        cv2.fillPoly(stencil, [blade], 255)
        cv2.fillPoly(picture, [blade], np.clip(green * rng.uniform(0.6, 1.25), 0, 255).tolist())


def camera(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Focus, exposure, colour of the light, and noise of the sensor."""
    if rng.random() < 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 1.1))
    light = rng.uniform(0.72, 1.2) * rng.uniform(0.93, 1.07, 3)
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(1, 6)
    return np.clip(picture * light.astype(np.float32) + noise, 0, 255).astype(np.uint8)
