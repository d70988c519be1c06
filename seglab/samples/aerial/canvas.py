"""Canvas: materials with real textures, perspective, light, and a stencil that paints picture and mask at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from seglab.labels import DRONE, Colour

CLASS_ID = {name: number for number, name in enumerate(DRONE.classes)}
#: Drawn at twice the size and averaged down: smooth edges in the picture, whole ids in the mask.
_OVER = 2
#: Grey textures of scikit-image's wheel with their (mean, standard deviation).
_PHOTOS = {"grass": (118, 39), "gravel": (127, 39), "brick": (111, 26)}


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


#: Ground coordinates in metres, two (n,) arrays -> (n, 4) int16.
Material = Callable[[np.ndarray, np.ndarray], np.ndarray]


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


LOOKS = {
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
PAVING = ("asphalt", "slabs", "terrace", "cobbles", "clinker", "concrete")
ROOFING = ("tiles", "slate", "felt")


def _material(rng: np.random.Generator, look: _Look, pixels_per_metre: float) -> Material:
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
    start, flip = rng.uniform(50, 90, 2).astype(np.float32), rng.choice(np.array([-1, 1], np.float32), 2)
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


class Scene:
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
        self._materials: dict[str, Material] = {}

    def project(self, points: np.ndarray, z: float | np.ndarray = 0.0) -> np.ndarray:
        """Ground points (n, 2) at height z -> pixels (n, 2)."""
        points = np.asarray(points, dtype=np.float64)
        lean = self.altitude / (self.altitude - np.minimum(z, 0.5 * self.altitude))
        return (points * np.reshape(lean, (-1, 1))) @ self.turn.T * self.ppm + self.centre

    def _stencil(self, pixels: np.ndarray, width: float | None,
                 margin: int = 0) -> tuple[slice, slice, np.ndarray] | None:
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
        self.ids[rows, columns][inside] = CLASS_ID[name]
        if isinstance(look, str):
            if look not in self._materials:
                self._materials[look] = _material(self.rng, LOOKS[look], self.ppm)
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
        allowed[[CLASS_ID[name] for name in on]] = True
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
