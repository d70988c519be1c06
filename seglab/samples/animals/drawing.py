"""An animal in paint: tubes joined into one body, lit from the side, with fur, a coat and a face."""

from __future__ import annotations

import cv2
import numpy as np

from seglab.samples.animals.coats import MARKS, Coat
from seglab.samples.animals.faces import Face
from seglab.samples.animals.poses import POSES, head_tubes, posed
from seglab.samples.animals.skeleton import Course, Tube, courses
from seglab.samples.animals.textures import FUR_TURNS, fur

_LEVELS = np.array([1.0, 0.94, 0.82, 0.62, 0.35])  # contour lines of a round body, as shares of its radius
_HEIGHTS = np.sqrt(1 - _LEVELS**2).tolist()
_SUN = np.array([-0.5, -0.62, 0.6])  # where the light comes from: left, above, before
_LIGHT = ((0.51, 0.62), (0.53, 0.6), (0.57, 0.55))  # red, green, blue of the light from all around, and of the sun
_COLLARS = ((176, 44, 44), (44, 96, 160), (52, 132, 84), (222, 160, 48), (120, 70, 140))


class Animal:
    """A cat or a dog that can be painted on pictures.

    Args:
        rng: what is random about it.
        is_cat: or a dog.
        marks: one of `MARKS`; by default it is left to chance.
        pose: one of `POSES`; by default it is left to chance.
        turn: standard deviation of the angle at which it is seen, in degrees.

    Attributes:
        marks, pose: as given, or as chance chose.
        coat: its colours.
        head: where its head is, in the skeleton's coordinates.
        bounds: (left, top, right, bottom) around it, in radii of a cat's head; the middle of its lower edge is (0, 0).

    Example:
        >>> animal = Animal(np.random.default_rng(0), is_cat=True, pose="lie")
        >>> picture = np.full((120, 200, 3), 200, np.uint8)
        >>> outline = animal.draw(picture, feet=(100, 110), scale=20)
        >>> outline.shape, np.unique(outline).tolist()
        ((120, 200), [0, 255])
    """

    def __init__(self, rng: np.random.Generator, is_cat: bool, marks: str | None = None, pose: str | None = None,
                 turn: float = 4) -> None:
        self.rng, self.is_cat = rng, is_cat
        self.pose = pose or str(rng.choice(list(POSES), p=list(POSES.values())))
        self.marks = marks or str(rng.choice(MARKS))
        self.coat = Coat(rng, self.marks)
        self.collar = np.array(_COLLARS[rng.integers(len(_COLLARS))], float) if rng.random() < 0.3 else None
        self.hanging = bool(rng.random() < 0.75) and not is_cat  # its ears
        body, self.head = posed(rng, self.pose, is_cat)
        tubes = body + head_tubes(rng, self.head, is_cat, self.hanging)
        tubes.sort(key=lambda tube: float(tube.z + 0.8 * tube.radii.max()))  # from back to front
        angle, mirror = np.radians(rng.normal(0, turn)), rng.choice((-1.0, 1.0))
        self.axes = np.array([[mirror * np.cos(angle), mirror * np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        lines, centre, offset = courses(tubes)
        self.tubes = list(zip(tubes, lines, strict=True))
        self.centre, self.offset = centre @ self.axes, offset @ self.axes  # (tubes, points, 2)
        edge = self.centre + self.offset
        low, high = edge.min((0, 1)), edge.max((0, 1))
        self.shift = np.array([-(low[0] + high[0]) / 2, -high[1]])
        self.bounds = tuple(float(side) for side in (*(low + self.shift), *(high + self.shift)))

    @property
    def facing(self) -> float:
        """How far its head is to the right of its middle, in radii of a cat's head."""
        return float((self.head.centre @ self.axes + self.shift)[0])

    def draw(self, picture: np.ndarray, feet: tuple[float, float], scale: float) -> np.ndarray:
        """Paint it, and its shadow on the floor.

        Args:
            picture: (H, W, 3) uint8 RGB, painted on; H and W are even. Fur is as fine as half of its pixels.
            feet: (x, y) of the middle of its lower edge, in pixels.
            scale: pixels of the radius of a cat's head.

        Returns:
            (H, W) uint8: 255 where the animal is, without its whiskers, else 0.
        """
        outline = np.zeros(picture.shape[:2], np.uint8)
        low, high = np.array(self.bounds).reshape(2, 2) * scale + feet
        left, top = np.maximum(((low - 0.8 * scale - 4) / 2).astype(int) * 2, 0)
        right, bottom = np.minimum(((high + scale * np.array((2, 1))) / 2).astype(int) * 2 + 2, picture.shape[1::-1])
        if right - left < 8 or bottom - top < 8:
            return outline  # it is out of the picture
        self.scale, self.origin = scale, np.array(feet) + scale * self.shift - (left, top)
        window = np.s_[top:bottom, left:right]
        self.canvas = picture[window]
        body = self._body()
        self._shadow(body)
        self._paint(body)
        self._face(body)
        outline[window] = body
        return outline

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        """From the skeleton's coordinates to those of the window, in sixteenths of pixels."""
        return np.rint((points @ self.axes * self.scale + self.origin) * 16).astype(np.int32)

    def _body(self) -> np.ndarray:
        """The silhouette, (h, w) uint8 0 or 255; leaves the height of the body, its fur and its marks behind.

        These are computed at half the size of the window, which is the size of the final picture. Heights are a map
        with a contour line at each level of each tube; painted from low to high, tubes grow into one another.
        """
        height, width = self.canvas.shape[:2]
        half = height // 2, width // 2
        filled, way, self.mark, self.band = np.zeros((4, *half), np.uint8)
        solid, self.tone = np.full(half, -1.6, np.float32), np.ones(half, np.float32)
        levels = (self.centre + _LEVELS[:, None, None, None] * self.offset) * self.scale + self.origin
        outlines = np.rint(8 * levels).astype(np.int32)  # (levels, tubes, points, 2) sixteenths of half pixels
        layers: list[tuple[float, np.ndarray]] = []
        for k, (tube, course) in enumerate(self.tubes):
            mean = float(course.radius.mean())
            layers += [(tube.z + mean * high, inner[k]) for high, inner in zip(_HEIGHTS, outlines, strict=True)]
            along = self.centre[k, len(course.radius) - 1] - self.centre[k, 0]
            turn = int(np.arctan2(along[1], along[0]) / np.pi * FUR_TURNS) % FUR_TURNS
            tone = 0.86 if tube.part == "ear" else 1.06 if tube.part == "muzzle" else 0.78 if tube.z < -0.5 else 1.0
            for canvas, value in ((filled, 255), (way, turn), (self.tone, tone), (self.mark, 0), (self.band, 0)):
                cv2.fillPoly(canvas, [outlines[0, k]], value, shift=4)
            self.coat.mark(self._stain, tube, course, self.head)
            if tube.part == "neck" and self.collar is not None:
                self._collar(tube, course)
        for z, outline in sorted(layers, key=lambda layer: layer[0]):
            cv2.fillPoly(solid, [outline], z, shift=4)
        self.solid = _soft(solid, 0.065 * self.scale)
        start = self.rng.integers(0, 256, 2)
        rows, columns = ((np.arange(side) + first) % 512 for side, first in zip(half, start.tolist(), strict=True))
        self.fur = fur().take((way.astype(np.int32) << 18) + (rows[:, None] << 9) + columns)  # (h/2, w/2) around 0
        edge = _soft(filled, 0.045 * self.scale) + np.clip(34 * self.fur, -50, 50)
        return np.where(cv2.resize(edge, (width, height)) > 105, np.uint8(255), np.uint8(0))

    def _stain(self, points: np.ndarray) -> None:
        pixels = self._pixels(points) // 2
        cv2.fillPoly(self.mark, list(pixels) if pixels.ndim == 3 else [pixels], 255, shift=4)

    def _collar(self, tube: Tube, course: Course) -> None:
        u, v = (0.42 if tube.look == "side" else 0.16), np.linspace(-1.1, 1.1, 7)
        bow = u + 0.08 * (1 - v**2)
        edge = np.concatenate([course.at(bow, v), course.at(bow + 0.16, v)[::-1]])
        cv2.fillPoly(self.band, [self._pixels(edge) // 2], 255, shift=4)

    def _shadow(self, body: np.ndarray) -> None:
        """What the animal keeps from the floor: near its feet, and to the side."""
        height, width = body.shape
        quarter = width // 4, height // 4
        floor = self.origin[1] / 4 - 0.04 * self.scale
        small = cv2.resize(body, quarter, interpolation=cv2.INTER_AREA)
        cast = cv2.warpAffine(small, np.array([[1, -0.22, 0.22 * floor], [0, 0.16, 0.84 * floor]]), quarter)
        touch = cv2.warpAffine(small, np.array([[1, 0, 0], [0, 0.07, 0.95 * floor]]), quarter)
        depth = 0.38 * _soft(cast, 0.06 * self.scale) + 0.4 * _soft(touch, 0.025 * self.scale).astype(np.float32)
        keep = cv2.resize(255 - depth, (width, height)).astype(np.uint8)
        self.canvas[:] = cv2.multiply(self.canvas, cv2.merge([keep] * 3), scale=1 / 255)

    def _paint(self, body: np.ndarray) -> None:
        slope = 0.055 * self.scale
        across = cv2.Sobel(self.solid, cv2.CV_32F, 1, 0, scale=slope)
        down = cv2.Sobel(self.solid, cv2.CV_32F, 0, 1, scale=slope)
        lit = np.maximum((_SUN[2] - across * _SUN[0] - down * _SUN[1]) / np.sqrt(1 + across**2 + down**2), -0.2)
        crease = np.minimum(1.1 * (self.solid - _soft(self.solid, 0.2 * self.scale)), 0)
        dim = np.exp(crease) * _soft(self.tone, 0.06 * self.scale) * (1 + 0.13 * self.fur)
        mark = np.clip(_soft(self.mark, 0.03 * self.scale) * np.float32(3 / 255) - 1 + 0.6 * self.fur, 0, 1)
        band, planes = self.band > 127, []
        for c, (around, sun) in enumerate(_LIGHT):
            plane = self.coat.colour[c] + mark * np.float32(self.coat.second[c] - self.coat.colour[c])
            if self.collar is not None:
                plane[band] = self.collar[c]
            planes.append(np.clip(plane * (around + sun * lit) * dim, 4, 252).astype(np.uint8))
        cv2.copyTo(cv2.resize(cv2.merge(planes), body.shape[::-1]), body, self.canvas)

    def _face(self, body: np.ndarray) -> None:
        if self.head.view == "back":
            return
        face = Face(self.rng, self.canvas, body, lambda points: self._pixels(self.head.place(points)), self.scale,
                    self.coat.colour, self.head.view == "profile")
        ends = {tube.part: course.middle[-1] for tube, course in self.tubes}
        if not face.profile and not self.hanging:
            u, v = np.array([0.42, 0.6, 0.86, 0.86, 0.6, 0.42]), np.array([-0.62, -0.55, -0.2, 0.2, 0.55, 0.62])
            for tube, course in self.tubes:
                if tube.part == "ear":
                    face.inner_ear(np.array([self.head.inside(point) for point in course.at(u, v)]))
        face.eyes(self.is_cat, asleep=self.pose in ("lie", "lie front", "rest") and self.rng.random() < 0.3)
        if self.is_cat:
            face.cat_mouth()
        else:
            face.dog_mouth(self.head.inside(ends["muzzle"]))


def _soft(plane: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(plane, (0, 0), max(0.6, sigma))
