"""A drawn stand-in for the Semantic Drone Dataset: the same files and classes, nothing to download.

Every picture is a small scene in metres, seen from straight above. The ground is painted first, then
everything that stands on it, from low to high. `_Scene.fill` writes the picture and the mask with one and
the same stencil: that is why the two fit to the pixel.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from seglab.errors import ArgumentError, DataError
from seglab.labels import DRONE

#: Raise it with every change to the drawing: an older set on disk is then no longer taken for a current one.
VERSION = 1

Layout = Literal["ids", "colours"]
Colour = tuple[int, int, int]

_ID = {name: number for number, name in enumerate(DRONE.classes)}
#: Drawn at twice the size and averaged down: smooth edges in the picture, whole ids in the mask.
_OVER = 2
#: Grey textures of scikit-image's wheel with their (mean, standard deviation).
_PHOTOS = {"grass": (118, 39), "gravel": (127, 39), "brick": (111, 26)}


# --- materials: colour as a function of the place on the ground ---------------------------------------------

@cache
def _texture(name: str, side: int) -> np.ndarray:
    """A grey texture around 128 that tiles without seams, (2 side, 2 side) int16."""
    if name == "cloud":  # smooth noise: worn lawn, stained paving
        rng = np.random.default_rng(7)
        octaves = [cv2.resize(rng.integers(0, 256, (n, n), dtype=np.uint8), (512, 512), interpolation=cv2.INTER_CUBIC)
                   for n in (6, 14, 40)]
        grey = (3 * octaves[0].astype(np.int16) + 2 * octaves[1] + octaves[2]) // 6
    else:
        from skimage import data

        mean, spread = _PHOTOS[name]
        grey = (getattr(data, name)().astype(np.int16) - mean) * 42 // spread + 128
    grey = cv2.resize(np.clip(grey, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)
    half = np.concatenate([grey, grey[:, ::-1]], axis=1)  # (side, 2 side): mirrored, so the edges meet
    return np.concatenate([half, half[::-1]], axis=0).astype(np.int16)


@dataclass(frozen=True)
class _Look:
    """How a material looks: a grey texture mapped to a colour ramp, large patches, and joints between slabs."""

    texture: str
    metres: float  # what one texture tile covers
    dark: Colour
    light: Colour
    tint: Colour = (12, 12, 10)  # what the large patches add at most
    slab: tuple[float, float] | None = None  # slab size in metres
    joint: int = 70  # brightness of the joints, in percent


_LOOKS = {
    "asphalt": _Look("gravel", 4.0, (74, 75, 80), (146, 144, 144), (16, 15, 14)),
    "slabs": _Look("gravel", 6.0, (128, 125, 118), (196, 190, 180), (14, 13, 12), (0.5, 0.5)),
    "terrace": _Look("gravel", 6.0, (150, 134, 112), (208, 192, 166), (12, 12, 12), (0.9, 0.6)),
    "cobbles": _Look("brick", 2.6, (92, 90, 88), (176, 172, 166), (18, 17, 15)),
    "clinker": _Look("brick", 2.6, (112, 76, 64), (184, 142, 122), (16, 12, 10)),
    "concrete": _Look("cloud", 9.0, (138, 136, 130), (182, 178, 172), (8, 8, 8), (3.0, 3.0), 80),
    "lawn": _Look("grass", 5.0, (40, 62, 24), (134, 152, 78), (34, 16, 12)),
    "meadow": _Look("grass", 6.0, (58, 66, 26), (166, 164, 92), (48, 26, 18)),
    "gravel": _Look("gravel", 2.2, (84, 78, 68), (200, 192, 178), (12, 12, 10)),
    "dirt": _Look("gravel", 5.0, (72, 52, 36), (150, 118, 86), (24, 20, 16)),
    "leaves": _Look("grass", 2.6, (26, 48, 18), (146, 172, 78), (18, 8, 4)),
    "tree leaves": _Look("grass", 3.2, (18, 34, 14), (114, 136, 66), (14, 8, 4)),
    "autumn leaves": _Look("grass", 2.6, (52, 36, 14), (176, 138, 60), (20, 6, 4)),
    "tiles": _Look("brick", 5.0, (104, 54, 40), (176, 104, 80), (14, 10, 8), (0.3, 0.36)),
    "slate": _Look("brick", 5.0, (74, 74, 80), (140, 140, 144), (12, 12, 12), (0.3, 0.36)),
    "felt": _Look("gravel", 5.0, (112, 110, 106), (178, 174, 168), (14, 14, 14), (1.0, 40.0), 84),
    "plaster": _Look("cloud", 4.0, (188, 180, 164), (226, 220, 206), (8, 8, 8)),
    "pond": _Look("cloud", 3.0, (30, 46, 42), (84, 102, 88), (16, 16, 10)),
    "pool": _Look("cloud", 0.9, (58, 150, 176), (152, 222, 228), (10, 10, 8)),
    "rock": _Look("gravel", 3.0, (70, 68, 64), (186, 180, 172), (10, 10, 10)),
    "wood": _Look("brick", 3.0, (112, 84, 58), (172, 138, 102), (8, 8, 8), (0.14, 9.0), 76),
}
_PAVING = ("asphalt", "slabs", "terrace", "cobbles", "clinker", "concrete")
_ROOFING = ("tiles", "slate", "felt")


def _material(rng: np.random.Generator, look: _Look, pixels_per_metre: float) -> Callable:
    """One sample of a look: its own stretch of texture and a slightly different colour.

    The function it returns takes ground coordinates in metres, two (n,) arrays, and gives (n, 4) int16:
    RGB and a zero.
    """
    # The texture at about the resolution of the picture: a finer one would only flicker.
    side = 512
    while side > 64 and side / look.metres > 1.5 * pixels_per_metre:
        side //= 2
    grain, cloud = _texture(look.texture, side), _texture("cloud", 256)
    shift, metres = rng.integers(-6, 7, 3) + rng.integers(-12, 13), look.metres * float(rng.uniform(0.85, 1.15))
    ramp = np.zeros((256, 4), dtype=np.int16)
    ramp[:, :3] = (np.linspace(look.dark, look.light, 256) + shift).round()
    start, flip = rng.uniform(50, 90, 2).astype(np.float32), rng.choice(np.float32([-1, 1]), 2)
    tint = (np.arange(-128, 128)[:, None] * (*look.tint, 0) // 64).astype(np.int16)  # (256, 4)

    def colours(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        u, v = (u + start[0]) * flip[0], (v + start[1]) * flip[1]
        step, wrap = side / metres, 2 * side - 1
        # `take` on a flat index is several times the speed of a two-dimensional one.
        grey = grain.take(((v * step).astype(np.int32) & wrap) * (wrap + 1) + ((u * step).astype(np.int32) & wrap))
        patch = cloud.take(((v * 21).astype(np.int32) & 511) * 512 + ((u * 21).astype(np.int32) & 511))
        if look.slab is None:
            return ramp.take(grey, axis=0) + tint.take(patch, axis=0)
        across, along = u / look.slab[0], v / look.slab[1]
        column, row = np.floor(across).astype(np.int32), np.floor(along).astype(np.int32)
        each = cloud.take((row * 97 & 511) * 512 + (column * 61 & 511))  # every slab a little different
        rgb = ramp.take((grey + each) // 2, axis=0) + tint.take(patch, axis=0)
        gap = 1.2 / pixels_per_metre  # a joint is a good pixel wide
        joint = ((across - column) * look.slab[0] < gap) | ((along - row) * look.slab[1] < gap)
        dim = np.where(joint, np.int16(look.joint), np.int16(100))
        return rgb * dim[:, None] // 100

    return colours


# --- the scene: ground coordinates, perspective, light -------------------------------------------------------

class _Scene:
    """A picture and its mask in the making, at twice their size.

    Ground coordinates are metres with the point below the drone at (0, 0), turned against the picture by a
    random angle. What is high stands nearer to the camera, so it leans outwards, as in a real aerial picture.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], altitude: float) -> None:
        self.rng, self.altitude = rng, altitude
        self.height, self.width = size[0] * _OVER, size[1] * _OVER
        self.ppm = np.hypot(self.height, self.width) / (1.55 * altitude)  # pixels per metre on the ground
        self.reach = 0.8 * altitude  # from the centre into the corners, in metres
        self.half = min(self.height, self.width) / self.ppm / 2
        # A fourth byte makes a pixel one 32-bit word, and `words` the same memory: 20 times quicker to write.
        self.rgb = np.zeros((self.height, self.width, 4), dtype=np.uint8)
        self.words = self.rgb.view(np.uint32)[..., 0]  # (2H, 2W)
        self.ids = np.zeros((self.height, self.width), dtype=np.uint8)
        angle = rng.uniform(0, 2 * np.pi)
        self.turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        sun = rng.uniform(0, 2 * np.pi)
        self.sun = np.array([np.cos(sun), np.sin(sun)])  # the way shadows fall
        self.shadow_length = rng.uniform(0.4, 1.0)  # per metre of height
        self.shadow_light = rng.uniform(0.38, 0.58) * np.array([0.94, 1.0, 1.12, 1.0])  # the sky makes shadows blue
        centre = np.array([self.width, self.height]) / 2
        self.centre = centre
        x = (np.arange(self.width, dtype=np.float32) - np.float32(centre[0]))[None]  # (1, 2W)
        y = (np.arange(self.height, dtype=np.float32) - np.float32(centre[1]))[:, None]  # (2H, 1)
        (a, b), (c, d) = (self.turn / self.ppm).astype(np.float32)
        self.u, self.v = x * a + y * c, x * b + y * d  # (2H, 2W) metres
        self._materials: dict[str, Callable] = {}

    def project(self, points: np.ndarray, z: float | np.ndarray = 0.0) -> np.ndarray:
        """Ground points (n, 2) at height z -> pixels (n, 2)."""
        points = np.asarray(points, dtype=np.float64)
        lean = self.altitude / (self.altitude - np.minimum(z, 0.5 * self.altitude))
        return (points * np.reshape(lean, (-1, 1))) @ self.turn.T * self.ppm + self.centre

    def _stencil(self, pixels: np.ndarray, width: float | None, margin: int = 0) -> tuple | None:
        """Rasterise a polygon, or a line of that width in metres: its rows, its columns, (h, w) uint8 0/255."""
        thick = 0 if width is None else max(2, round(width * self.ppm))
        points = np.round(pixels).astype(np.int64)
        low = np.maximum(points.min(axis=0) - thick - margin, 0)
        high = np.minimum(points.max(axis=0) + thick + margin + 1, (self.width, self.height))
        if (low >= high).any():
            return None  # outside the picture
        stencil = np.zeros((high[1] - low[1], high[0] - low[0]), dtype=np.uint8)
        shape = (points - low).astype(np.int32)[:, None]  # (n, 1, 2), what OpenCV wants
        if thick:
            cv2.polylines(stencil, [shape], isClosed=False, color=255, thickness=thick)
        else:
            cv2.fillPoly(stencil, [shape], 255)
        return slice(low[1], high[1]), slice(low[0], high[0]), stencil

    def fill(self, pixels: np.ndarray, name: str, look: str | Colour, light: float = 1.0,
             width: float | None = None) -> None:
        """Paint a polygon (or a line, given its width in metres) into the picture and into the mask."""
        found = self._stencil(pixels, width)
        if found is None:
            return
        rows, columns, stencil = found
        inside = stencil > 0
        self.ids[rows, columns][inside] = _ID[name]
        if isinstance(look, str):
            if look not in self._materials:
                self._materials[look] = _material(self.rng, _LOOKS[look], self.ppm)
            colour = self._materials[look](self.u[rows, columns][inside], self.v[rows, columns][inside])  # (n, 4)
        else:
            colour = np.array([(*look, 0)], dtype=np.int16)  # (1, 4)
        lit = np.clip(colour * np.int16(light * 64) >> 6, 0, 255).astype(np.uint8)
        self.words[rows, columns][inside] = lit.view(np.uint32)[:, 0]

    def ground(self, points: np.ndarray, name: str, look: str | Colour, **how: float) -> None:
        """Paint something flat, given in ground coordinates."""
        self.fill(self.project(points), name, look, **how)

    def shadow(self, points: np.ndarray, low: float, high: float, width: float | None = None) -> None:
        """The soft shadow of a convex outline (or a line) that reaches from one height to another."""
        near, far = (self.project(points + self.sun * self.shadow_length * z) for z in (low, high))
        outline = far if width else cv2.convexHull(np.concatenate([near, far]).astype(np.float32))[:, 0]
        soft = max(1, round((0.04 + 0.03 * high) * self.ppm))
        found = self._stencil(outline, width, margin=2 * soft)
        if found is None:
            return
        rows, columns, stencil = found
        depth = cv2.blur(cv2.blur(stencil, (soft, soft)), (soft, soft)).astype(np.uint16)[..., None]  # (h, w, 1)
        loss = (256 * (1 - self.shadow_light)).astype(np.uint16)  # (4,)
        keep = 256 - (depth * loss // 255)  # (h, w, 4)
        self.rgb[rows, columns] = self.rgb[rows, columns] * keep >> 8

    def block(self, base: np.ndarray, z: float, name: str, top: str | Colour, side: str | Colour | None = None,
              low: float = 0.0) -> None:
        """Something with a flat top and upright sides over a convex base, and its shadow."""
        self.shadow(base, low, z)
        both = np.concatenate([self.project(base, low), self.project(base, z)]).astype(np.float32)
        self.fill(cv2.convexHull(both)[:, 0], name, side or top, light=0.62)
        self.fill(self.project(base, z), name, top)

    def spot(self, on: tuple[str, ...], room: float) -> np.ndarray | None:
        """A free place on the given classes with so many metres around it, or None after some trials."""
        allowed, r = np.zeros(len(DRONE), dtype=bool), int(room * self.ppm)
        allowed[[_ID[name] for name in on]] = True
        for _ in range(25):
            x, y = int(self.rng.uniform(0, self.width)), int(self.rng.uniform(0, self.height))
            near = self.ids[max(y - r, 0):y + r + 1:5, max(x - r, 0):x + r + 1:5]
            if allowed[near].all():
                return np.array([self.u[y, x], self.v[y, x]])
        return None

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The camera: average down, exposure, white balance and noise -> (H, W, 3) uint8 and (H, W) uint8."""
        rng, size = self.rng, (self.width // _OVER, self.height // _OVER)
        small = cv2.resize(self.rgb, size, interpolation=cv2.INTER_AREA)[..., :3].astype(np.float32)  # (H, W, 3)
        gain = (rng.uniform(0.86, 1.16) * rng.uniform(0.95, 1.05, 3)).astype(np.float32)
        small *= gain
        small += rng.standard_normal(small.shape, dtype=np.float32) * np.float32(rng.uniform(1.5, 4.0))
        # One id of every 2x2, never a mean of ids: that would invent classes.
        return np.clip(small, 0, 255).astype(np.uint8), self.ids[1::_OVER, 1::_OVER].copy()


# --- things: every one is drawn at a place on the ground -----------------------------------------------------

def _oval(at: np.ndarray, long: float, wide: float, heading: float = 0.0, rough: float = 0.0,
          rng: np.random.Generator | None = None) -> np.ndarray:
    """An ellipse of half axes long and wide, (28, 2) metres; rough bends it into a blob."""
    t = np.arange(28) * (2 * np.pi / 28)
    waves = np.array([[2.0], [3.0], [5.0]])
    r = 1.0 if rng is None else 1 + rough * (np.cos(waves * t + rng.uniform(0, 6.3, (3, 1))) / waves).sum(axis=0)
    return _turned(np.stack([np.cos(t) * long * r, np.sin(t) * wide * r], axis=1), at, heading)


def _box(at: np.ndarray, long: float, wide: float, heading: float = 0.0, cut: float = 0.0) -> np.ndarray:
    """A rectangle of half sides long and wide, its corners cut off by so many metres, (8, 2) metres."""
    a, b = long - cut, wide - cut
    corners = [(a, -wide), (long, -b), (long, b), (a, wide), (-a, wide), (-long, b), (-long, -b), (-a, -wide)]
    return _turned(np.array(corners), at, heading)


def _turned(points: np.ndarray, at: np.ndarray, heading: float) -> np.ndarray:
    c, s = np.cos(heading), np.sin(heading)
    return points @ np.array([[c, s], [-s, c]]) + at


_CLOTHES = ((40, 44, 60), (176, 40, 44), (222, 222, 218), (60, 92, 146), (120, 122, 120), (196, 168, 70), (56, 84, 60))
_PAINT = ((226, 226, 224), (150, 152, 156), (44, 46, 50), (96, 98, 102), (130, 30, 32), (40, 62, 110))


def _person(s: _Scene, at: np.ndarray) -> None:
    turn, top, legs = s.rng.uniform(0, 6.3), *s.rng.choice(_CLOTHES, 2)
    s.block(_oval(at, 0.27, 0.17, turn), 1.35, "person", tuple(top), tuple(legs))
    for side in (-0.27, 0.27):  # arms
        hand = _turned(np.array([[side, 0.0], [side * 1.2, 0.22]]), at, turn)
        s.fill(s.project(hand, np.array([1.3, 1.0])), "person", tuple(top), light=0.85, width=0.11)
    hair = s.rng.choice([(52, 38, 28), (120, 88, 52), (196, 160, 112), (90, 88, 86)])
    s.fill(s.project(_oval(at, 0.12, 0.14, turn), 1.62), "person", tuple(hair))


def _dog(s: _Scene, at: np.ndarray) -> None:
    turn, coat = s.rng.uniform(0, 6.3), tuple(s.rng.choice([(66, 46, 32), (166, 126, 82), (40, 38, 36)]))
    s.block(_oval(at, 0.36, 0.13, turn), 0.5, "dog", coat)
    parts = _turned(np.array([[0.42, 0.0], [-0.3, 0.0], [-0.62, 0.14]]), at, turn)
    s.fill(s.project(_oval(parts[0], 0.15, 0.10, turn), 0.55), "dog", coat, light=1.15)
    s.fill(s.project(parts[1:], 0.5), "dog", coat, width=0.06)


def _car(s: _Scene, at: np.ndarray, turn: float | None = None) -> None:
    turn = s.rng.uniform(0, 6.3) if turn is None else turn
    paint = tuple(s.rng.choice(_PAINT) + s.rng.integers(-8, 9))
    s.shadow(_box(at, 1.9, 0.8, turn), 0.0, 1.4)
    s.block(_box(at, 2.15, 0.88, turn, 0.3), 0.8, "car", paint)
    rear = at + _turned(np.array([[-0.25, 0.0]]), 0.0, turn)[0]
    s.fill(s.project(_box(rear, 1.35, 0.76, turn, 0.16), 0.95), "car", (34, 40, 46))  # the windows all around
    s.fill(s.project(_box(rear, 0.82, 0.66, turn, 0.1), 1.45), "car", paint, light=1.12)
    for side in (-0.6, 0.6):
        lamp = _turned(np.array([[2.0, side]]), at, turn)[0]
        s.fill(s.project(_box(lamp, 0.1, 0.16, turn), 0.75), "car", (236, 234, 216))


def _bicycle(s: _Scene, at: np.ndarray) -> None:
    turn, paint = s.rng.uniform(0, 6.3), tuple(s.rng.choice(_CLOTHES))
    for shadow in (True, False):
        for x in (-0.52, 0.52):
            wheel = _oval(at + _turned(np.array([[x, 0.0]]), 0.0, turn)[0], 0.34, 0.26, turn)
            ring = np.concatenate([wheel, wheel[:1]])
            if shadow:
                s.shadow(ring, 0.0, 0.25, width=0.06)
            else:
                s.ground(ring, "bicycle", (32, 32, 34), width=0.06)
    frame = np.array([[-0.52, 0], [-0.1, -0.05], [0.38, 0.3], [-0.2, 0.38], [-0.1, -0.05], [0.38, 0.3], [0.52, 0],
                      [0.34, 0.44], [0.5, 0.56]])
    s.ground(_turned(frame, at, turn), "bicycle", paint, width=0.06)


def _marker(s: _Scene, at: np.ndarray) -> None:
    turn = s.rng.uniform(0, 6.3)
    for half, colour in ((0.34, (238, 238, 236)), (0.26, (22, 22, 24))):
        s.ground(_box(at, half, half, turn), "ar-marker", colour)
    for cell in s.rng.permutation(9)[:4]:
        place = _turned(np.array([[cell // 3 - 1.0, cell % 3 - 1.0]]) * 0.13, at, turn)[0]
        s.ground(_box(place, 0.07, 0.07, turn), "ar-marker", (238, 238, 236))


def _obstacle(s: _Scene, at: np.ndarray) -> None:
    turn, kind, colour = s.rng.uniform(0, 6.3), s.rng.integers(4), tuple(s.rng.choice(_CLOTHES))
    if kind == 0:  # a parasol in eight panels
        s.shadow(_oval(at, 1.4, 1.4), 2.1, 2.2)
        rim = s.project(_oval(at, 1.4, 1.4, turn)[::3][:9], 2.1)
        tip = s.project(at[None], 2.5)
        for k in range(len(rim)):
            s.fill(np.concatenate([tip, rim[[k, (k + 1) % len(rim)]]]), "obstacle", colour, light=(1.0, 1.15)[k % 2])
    elif kind == 1:  # a table with chairs
        for x, y in ((-0.5, -0.7), (0.5, -0.7), (-0.5, 0.7), (0.5, 0.7)):
            chair = _turned(np.array([[x, y]]), at, turn)[0]
            s.block(_box(chair, 0.24, 0.24, turn, 0.05), 0.45, "obstacle", colour)
        s.block(_box(at, 1.0, 0.5, turn), 0.75, "obstacle", "wood")
    else:  # a bin, a box, a planter
        s.block(_box(at, 0.45, 0.35, turn, 0.06), s.rng.uniform(0.5, 1.1), "obstacle", colour)


def _junk(s: _Scene, at: np.ndarray) -> None:
    """A garden hose or a tarpaulin: things that the label set has no word for."""
    if s.rng.random() < 0.5:
        hose = np.cumsum(s.rng.normal(0, 0.25, (30, 2)), axis=0)
        s.ground(at + cv2.blur(hose, (1, 5)), "unlabeled", (60, 130, 70), width=0.06)
    else:
        s.ground(_box(at, 0.8, 0.5, s.rng.uniform(0, 6.3)), "unlabeled", (60, 100, 150))


def _rock(s: _Scene, at: np.ndarray) -> None:
    for _ in range(s.rng.integers(1, 5)):
        r = s.rng.uniform(0.15, 0.55)
        s.block(_oval(at + s.rng.normal(0, 0.6, 2), r, 0.75 * r, s.rng.uniform(0, 6.3), 0.25, s.rng), 0.5 * r,
                "rocks", "rock")


def _crown(s: _Scene, at: np.ndarray, radius: float, z: float, name: str, look: str, shadow: bool = True) -> None:
    """A crown of leaves: many small clumps, the low outer ones first, lit from the sun's side."""
    if shadow:
        s.shadow(_oval(at, radius, radius, 0.0, 0.15, s.rng), 0.3 * z, 0.8 * z)
    count = int(6 + 8 * min(radius, 2.5))
    away = np.sqrt((np.arange(count)[::-1] + 0.5) / count)  # outer first
    shape = _oval(np.zeros(2), 0.36 * radius, 0.33 * radius, 0.0, 0.22, s.rng)
    turn = np.arange(count) * 2.4 + s.rng.uniform(0, 6.3)  # the golden angle fills a disc evenly
    for r, t in zip(away, turn):
        spoke = np.array([np.cos(t), np.sin(t)])
        high = z * (0.55 + 0.45 * (1 - r * r) + s.rng.uniform(-0.05, 0.05))
        light = 0.9 + 0.25 * (1 - r * r) - 0.28 * r * float(spoke @ s.sun) + s.rng.uniform(-0.1, 0.1)
        place = at + radius * 0.8 * r * spoke + s.rng.normal(0, 0.06 * radius, 2)
        clump = _turned(shape, place, t)
        s.fill(s.project(clump + 0.05 * radius * s.sun, high), name, _LOOKS[look].dark, light=1.25 * light)
        s.fill(s.project(clump, high), name, look, light=light)


def _bush(s: _Scene, at: np.ndarray) -> None:
    r = s.rng.uniform(0.4, 1.1)
    _crown(s, at, r, 1.1 * r, "vegetation", "leaves" if s.rng.random() < 0.9 else "autumn leaves")


def _tree(s: _Scene, at: np.ndarray) -> None:
    r, z = s.rng.uniform(1.2, 2.4), s.rng.uniform(3.0, 5.0)
    s.fill(s.project(np.stack([at, at]), np.array([0.0, 0.5 * z])), "tree", (84, 66, 50), width=0.25)
    _crown(s, at, r, z, "tree", "autumn leaves" if s.rng.random() < 0.12 else "tree leaves")


def _bald_tree(s: _Scene, at: np.ndarray) -> None:
    """A trunk and three generations of branches, each with its thin shadow."""
    branches = [(at, at, 0.0, 1.2)]  # from, to, and their heights
    for length, number in ((1.1, 6), (0.7, 4), (0.4, 3)):
        for _, start, _, z in branches[-number * 6:]:
            for t in s.rng.uniform(0, 6.3, number):
                end = start + length * s.rng.uniform(0.6, 1.1) * np.array([np.cos(t), np.sin(t)])
                branches.append((start, end, z, z + 0.5 * length))
    for start, end, low, high in branches:
        s.shadow(np.stack([start, end]), low, high, width=0.06)
    for start, end, low, high in branches:
        s.fill(s.project(np.stack([start, end]), np.array([low, high])), "bald-tree", (124, 110, 96),
               width=0.16 - 0.03 * high, light=s.rng.uniform(0.8, 1.2))


def _upright(s: _Scene, start: np.ndarray, end: np.ndarray, kind: str) -> None:
    """A fence with its poles, a garden wall or a hedge between two places."""
    run = end - start
    length, turn = float(np.hypot(*run)), float(np.arctan2(run[1], run[0]))
    if kind == "hedge":
        s.shadow(_box((start + end) / 2, length / 2, 0.6, turn), 0.0, 1.1)
        for k in np.arange(0, length, 0.7):
            _crown(s, start + run * k / length, 0.75, 1.2, "vegetation", "leaves", shadow=False)
        return
    thick, z, look = (0.16, s.rng.uniform(0.6, 1.6), "plaster") if kind == "wall" else (0.05, 1.3, "wood")
    s.block(_box((start + end) / 2, length / 2, thick, turn), z, kind, look)
    for k in np.arange(0, length, 2.2) if kind == "fence" else ():
        s.block(_box(start + run * k / length, 0.09, 0.09, turn), z + 0.15, "fence-pole", (150, 146, 140))


def _house(s: _Scene, corner: np.ndarray, sign: np.ndarray) -> None:
    """A house with a gable or hipped roof that stretches from one corner outwards, out of the picture."""
    rng = s.rng
    long, wide, eave, ridge = rng.uniform(4.5, 6.5), rng.uniform(3.2, 4.2), 3.0, rng.uniform(4.0, 5.0)
    at = corner + sign * (long, wide)
    look, hip = str(rng.choice(_ROOFING)), float(rng.choice([0.0, 1.8]))
    s.ground(_box(at, long + 0.9, wide + 0.9), "gravel", "gravel")  # the strip that keeps the walls dry
    s.shadow(_box(at, long, wide), 0.0, eave)
    s.shadow(_box(at, long, 0.4), 0.0, ridge)
    walls = _box(at, long, wide)[[0, 2, 4, 6]]
    for k in range(4):
        a, b = walls[k], walls[(k + 1) % 4]
        outward = (a + b) / 2 - at
        light = 0.8 - 0.25 * float(outward @ s.sun) / float(np.hypot(*outward))
        foot, heights = np.stack([a, b, b, a]), np.array([0, 0, 1, 1])
        s.fill(s.project(foot, heights * eave), "wall", "plaster", light=light)
        for n, t in enumerate((0.12, 0.38, 0.64, 0.86)):
            name, low, half = ("door", 0.0, 0.5) if n == k % 3 else ("window", 0.9, 0.6)
            along = (b - a) / np.hypot(*(b - a)) * half
            p = a + (b - a) * t
            opening = s.project(np.stack([p - along, p + along, p + along, p - along]), low + heights * (2.1 - low))
            s.fill(opening, name, (112, 76, 50) if name == "door" else (52, 62, 74))
    e = _box(at, long + 0.25, wide + 0.25)[[0, 2, 4, 6]]  # the eaves: +u-v, +u+v, -u+v, -u-v
    top = np.stack([at + (long + 0.25 - hip, 0), at - (long + 0.25 - hip, 0)])
    outline, crest = s.project(e, eave), s.project(top, ridge)
    for face, outward in (((0, 1, 4), (1, 0)), ((2, 3, 5), (-1, 0)), ((1, 2, 5, 4), (0, 1)), ((3, 0, 4, 5), (0, -1))):
        corners = np.concatenate([outline, crest])[list(face)]
        light = 1.0 - 0.26 * float(np.array(outward) @ s.sun)
        s.fill(corners, "roof" if hip or len(face) == 4 else "wall", look if hip or len(face) == 4 else "plaster",
               light=light)
    s.fill(crest, "roof", (150, 140, 132), width=0.16)
    for x in rng.uniform(-0.7, 0.7, 2) * long:  # skylights, half way up
        light = _box(at + (x, -sign[1] * 0.5 * wide), 0.4, 0.55)
        s.fill(s.project(light, (eave + ridge) / 2), "window", (70, 84, 100))
    chimney = _box(at + (-0.4 * long * sign[0], 0.3), 0.3, 0.3)
    for z in (ridge - 0.2, ridge, ridge + 0.2, ridge + 0.4):
        s.fill(s.project(chimney, z), "roof", "clinker", light=0.7 + 0.3 * (z > ridge + 0.3))


def _pool(s: _Scene, at: np.ndarray) -> None:
    long, wide = s.rng.uniform(2.2, 3.8), s.rng.uniform(1.3, 2.0)
    s.ground(_box(at, long + 0.4, wide + 0.4), "paved-area", "terrace")
    s.ground(_box(at, long, wide, 0.0, 0.3), "pool", (70, 120, 140))
    s.ground(_box(at + s.sun * 0.12, long - 0.12, wide - 0.12, 0.0, 0.3), "pool", "pool")


def _pond(s: _Scene, at: np.ndarray) -> None:
    s.ground(_oval(at, 1.9, 1.4, s.rng.uniform(0, 6.3), 0.2, s.rng), "gravel", "gravel")
    shore = _oval(at, 1.6, 1.1, s.rng.uniform(0, 6.3), 0.2, s.rng)
    s.ground(shore, "water", "pond")
    for place in shore[::4]:
        r = s.rng.uniform(0.12, 0.35)
        s.block(_oval(place, r, 0.8 * r, 0.0, 0.2, s.rng), 0.4 * r, "rocks", "rock")


# --- the five kinds of scene -----------------------------------------------------------------------------------

def _strip(s: _Scene, low: float, high: float, wobble: float = 0.0) -> np.ndarray:
    """The ground between two lines v = low and v = high, with edges that may be uneven, (60, 2) metres."""
    u = np.linspace(-s.reach, s.reach, 30)
    edge = s.rng.normal(0, wobble, (2, 30)) if wobble else np.zeros((2, 30))
    return np.concatenate([np.stack([u, low + edge[0]], 1), np.stack([u, high + edge[1]], 1)[::-1]])


def _patches(s: _Scene, number: int, name: str, look: str, radius: float) -> None:
    for _ in range(number):
        at, r = s.rng.uniform(-s.half, s.half, 2) * 1.3, s.rng.uniform(0.5, 1.3) * radius
        s.ground(_oval(at, r, 0.7 * r, s.rng.uniform(0, 6.3), 0.25, s.rng), name, look)


def _plaza(s: _Scene) -> None:
    first, second = s.rng.choice(_PAVING, 2, replace=False)
    s.ground(_strip(s, -s.reach, s.reach), "paved-area", str(first))
    at = s.rng.uniform(-0.8, 0.8, 2) * s.half
    s.ground(_box(at, 0.9 * s.half, 0.5 * s.half), "paved-area", str(second))
    for _ in range(s.rng.integers(2, 5)):  # beds with a kerb
        at, (a, b) = s.rng.uniform(-1.5, 1.5, 2) * s.half, s.rng.uniform(0.15, 0.55, 2) * s.half
        name, look = (("grass", "lawn"), ("gravel", "gravel"), ("vegetation", "leaves"))[s.rng.integers(3)]
        s.block(_box(at, a + 0.15, b + 0.15), 0.1, "paved-area", "concrete")
        s.ground(_box(at, a, b), name, look)
    if s.rng.random() < 0.4:
        _upright(s, np.array([-s.reach, 0.7 * s.half]), np.array([s.reach, 0.7 * s.half]), "wall")


def _street(s: _Scene) -> None:
    c, road = s.rng.uniform(-0.5, 0.5) * s.half, s.rng.uniform(2.4, 3.2)
    s.ground(_strip(s, -s.reach, s.reach), "grass", "lawn")
    s.ground(_strip(s, c - road - 1.9, c + road + 1.9), "paved-area", str(s.rng.choice(_PAVING[1:])))
    s.ground(_strip(s, c - road - 0.15, c + road + 0.15), "paved-area", "concrete")
    s.ground(_strip(s, c - road, c + road), "paved-area", "asphalt")
    if s.rng.random() < 0.5:
        for u in np.arange(-s.reach, s.reach, 3.0):
            s.ground(_box(np.array([u, c]), 0.7, 0.07), "paved-area", (214, 212, 204))
    for side, kind in zip((-1, 1), s.rng.choice(["fence", "hedge", "wall", "none"], 2)):
        v = c + side * (road + 2.3)
        if s.rng.random() < 0.4:
            s.ground(_strip(s, *sorted((v, side * s.reach)), 0.05), "gravel", "gravel")
        if kind != "none":
            _upright(s, np.array([-s.reach, v]), np.array([s.reach, v]), str(kind))
        if s.rng.random() < 0.5:
            _car(s, np.array([s.rng.uniform(-1, 1) * s.half, c + side * (road - 1.1)]), s.rng.choice([0.0, np.pi]))


def _garden(s: _Scene) -> None:
    s.ground(_strip(s, -s.reach, s.reach), "grass", str(s.rng.choice(["lawn", "lawn", "meadow"])))
    _patches(s, s.rng.integers(0, 3), "vegetation", "leaves", 0.3 * s.half)
    v = s.rng.uniform(-0.2, 0.5) * s.half
    if s.rng.random() < 0.75:
        s.ground(_strip(s, v, s.reach), "paved-area", str(s.rng.choice(_PAVING[1:])))
    at = s.rng.uniform(-0.8, 0.8) * s.half
    path = (("gravel", "gravel"), ("paved-area", "slabs"))[s.rng.integers(2)]
    s.ground(_strip(s, at, at + 1.2, 0.04)[:, ::-1], *path)  # u and v swapped: it runs towards the terrace
    s.ground(_strip(s, -s.reach, -0.66 * s.half, 0.12), "dirt", "dirt")
    kind = str(s.rng.choice(["fence", "hedge", "wall"]))
    _upright(s, np.array([-s.reach, -0.9 * s.half]), np.array([s.reach, -0.9 * s.half]), kind)


def _home(s: _Scene) -> None:
    sign = s.rng.choice([-1, 1], 2)
    corner = sign * s.rng.uniform(-0.62, 0.45, 2) * s.half
    s.ground(_strip(s, -s.reach, s.reach), "grass", "lawn")
    terrace = corner + sign * (4.0, 3.0)
    s.ground(_box(terrace, s.rng.uniform(6.5, 9.0), s.rng.uniform(5.0, 7.5)), "paved-area",
             str(s.rng.choice(_PAVING[1:])))
    _patches(s, s.rng.integers(0, 3), "dirt", "dirt", 1.5)
    _patches(s, s.rng.integers(1, 5), "vegetation", "leaves", 2.0)
    _house(s, corner, sign)


def _yard(s: _Scene) -> None:
    s.ground(_strip(s, -s.reach, s.reach), "gravel", "gravel")
    _patches(s, 3, "dirt", "dirt", 0.45 * s.half)
    _patches(s, 3, "grass", "meadow", 0.3 * s.half)
    s.ground(_strip(s, 0.5 * s.half, s.reach), "paved-area", str(s.rng.choice(_PAVING)))


#: Kind of scene, how often, and the drone's altitude in metres.
_KINDS = ((_plaza, 0.26, (6, 17)), (_street, 0.16, (11, 22)), (_garden, 0.18, (8, 18)), (_home, 0.31, (13, 22)),
          (_yard, 0.09, (7, 16)))
_OPEN = ("paved-area", "grass", "gravel", "dirt")
#: Thing, how many in a picture on average, what it stands on, and the room it needs in metres. Low things first.
_THINGS = ((_pool, 0.36, ("grass",), 2.0), (_pond, 0.14, ("grass", "gravel"), 1.5), (_junk, 0.25, _OPEN, 0.7),
           (_marker, 0.5, _OPEN[:2], 0.5), (_rock, 1.2, _OPEN[1:], 0.8), (_bicycle, 0.3, _OPEN[:1], 0.9),
           (_dog, 0.2, _OPEN, 0.5), (_obstacle, 0.9, _OPEN[:1], 0.9), (_car, 0.12, ("paved-area", "gravel"), 2.2),
           (_person, 2.5, _OPEN, 0.4), (_bush, 4.5, _OPEN[1:], 0.6), (_bald_tree, 0.2, _OPEN[1:], 0.6),
           (_tree, 0.6, _OPEN, 1.0))


def draw_aerial(seed: int, index: int, size: tuple[int, int] = (200, 300)) -> tuple[np.ndarray, np.ndarray]:
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
        ((200, 300, 3), (200, 300))
    """
    if min(seed, index) < 0 or min(size) < 32:
        raise ArgumentError("draw_aerial", found=f"seed {seed}, index {index}, size {tuple(size)}",
                            expected="seed and index of 0 or more, and sides of at least 32 pixels")
    rng = np.random.default_rng([seed, index, VERSION])
    kind, _, (low, high) = _KINDS[rng.choice(len(_KINDS), p=[share for _, share, _ in _KINDS])]
    scene = _Scene(rng, size, altitude=rng.uniform(low, high))
    kind(scene)
    for thing, mean, on, room in _THINGS:
        for _ in range(rng.poisson(mean)):
            if (place := scene.spot(on, room)) is not None:
                thing(scene, place)
    return scene.finish()


# --- the files -------------------------------------------------------------------------------------------------

#: Folder of the pictures, folder of the masks and the class table, as the dataset is published.
_FOLDERS: dict[str, tuple[str, str, str]] = {
    "ids": ("original_images", "label_images_semantic", "class_dict_seg.csv"),
    "colours": ("training_set/images", "training_set/gt/semantic/label_images",
                "training_set/gt/semantic/class_dict.csv"),
}
_STAMP = "sample.json"


def write_drone_sample(root: Path, count: int = 120, size: tuple[int, int] = (200, 300), seed: int = 0,
                       layout: Layout = "ids", progress: bool = True) -> Path:
    """Write a drawn set in one of the two layouts in which the Semantic Drone Dataset is published.

    "ids" is the Kaggle copy: `original_images/000.jpg`, `label_images_semantic/000.png` (8-bit ids) and
    `class_dict_seg.csv`. "colours" is TU Graz's original: `training_set/images/000.jpg` and, below
    `training_set/gt/semantic`, `label_images/000.png` (RGB) and `class_dict.csv`. The folder appears whole or
    not at all, also when two processes write it at once. A set that is there already is left as it is.

    Args:
        root: the folder to make; missing or empty, or holding this very set.
        count: number of pictures, 1 or more. A larger set begins with the pictures of a smaller one.
        size: (height, width) in pixels, each at least 32.
        seed: 0 or more; the same seed gives the same files.
        layout: "ids" or "colours".
        progress: show a bar while drawing.

    Returns:
        The folder, `root`.

    Raises:
        ArgumentError: a count below 1, an unknown layout, or a seed or size that `draw_aerial` refuses.
        DataError: the folder holds something else, or cannot be written.

    Example:
        >>> import tempfile
        >>> root = write_drone_sample(Path(tempfile.mkdtemp()) / "drone", count=2, progress=False)
        >>> sorted(path.name for path in root.iterdir())
        ['class_dict_seg.csv', 'label_images_semantic', 'original_images', 'sample.json']
    """
    root = Path(root)
    if count < 1 or layout not in get_args(Layout):
        raise ArgumentError("write_drone_sample", found=f"count {count}, layout {layout!r}",
                            expected=f"count of 1 or more, and one of the layouts {', '.join(get_args(Layout))}")
    stamp = {"generator": "seglab.datasets.sample", "version": VERSION, "seed": int(seed), "count": int(count),
             "size": [int(side) for side in size], "layout": layout}
    if _holds(root, stamp):
        return root
    # A sibling is on the same disk, so that the last step is a rename: all or nothing.
    draft = root.with_name(f".{root.name}.{uuid.uuid4().hex[:12]}")
    try:
        _write_files(draft, stamp, progress)
        if root.is_dir():
            root.rmdir()  # empty, or it fails; Windows does not rename onto an empty folder
        os.rename(draft, root)
    except OSError as error:
        if not _holds(root, stamp):  # another process may have been first with the same set: theirs is as good
            raise DataError(f"{root}: sample set", found=str(error), expected="a folder that can be written",
                            fix="Check the disk and the rights, or give another folder.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


def _holds(root: Path, stamp: dict[str, object]) -> bool:
    """Whether the folder holds this very set; raises DataError if it holds anything else."""
    if not os.path.lexists(root) or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == stamp:
        return True
    raise DataError(f"{root}: already holds something else",
                    found=f"a sample set of {found}" if found else "files that are not a sample set",
                    expected=f"nothing, or a sample set of {stamp}",
                    fix="Give another folder, or remove this one if you no longer need it.")


def _write_files(draft: Path, stamp: dict, progress: bool) -> None:
    images, masks, table = (draft / name for name in _FOLDERS[stamp["layout"]])
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for index in tqdm(range(stamp["count"]), desc="drawing", unit="picture", leave=False, disable=not progress):
        rgb, ids = draw_aerial(stamp["seed"], index, tuple(stamp["size"]))
        Image.fromarray(rgb).save(images / f"{index:03d}.jpg", quality=95)
        Image.fromarray(DRONE.colourise(ids) if stamp["layout"] == "colours" else ids).save(masks / f"{index:03d}.png")
    rows = [*zip(DRONE.classes, DRONE.colours), ("conflicting", DRONE.ignore_colour)]
    lines = ["name, r, g, b", *(f"{name}, {r}, {g}, {b}" for name, (r, g, b) in rows)]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    (draft / _STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8", newline="\n")
