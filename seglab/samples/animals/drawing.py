"""An animal in paint: smooth solid tubes joined into one body, lit from the side, with fur, a coat and a face."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from seglab.samples.animals.bodies import HEAD, POSES, Course, Tube, courses, head_tubes, pose

MARKS = ("striped", "patched", "plain", "bib", "points", "saddle")
#: How often an animal is drawn so, be it a cat or a dog.
POSE_SHARES = dict(zip(POSES, (0.2, 0.16, 0.2, 0.14, 0.1, 0.05, 0.05, 0.06, 0.04), strict=True))
_FURS = {"black": (58, 53, 52), "charcoal": (98, 95, 97), "silver": (166, 163, 160), "chocolate": (104, 70, 48),
         "ginger": (196, 124, 64), "fawn": (208, 170, 122), "cream": (230, 208, 174), "white": (238, 233, 226)}
_DARK, _LIGHT = ("black", "charcoal", "chocolate"), ("silver", "fawn", "cream", "white")
_LEVELS = np.array([1.0, 0.94, 0.82, 0.62, 0.35])  # the contour lines of a round body, as shares of its radius
_HEIGHTS = np.sqrt(1 - _LEVELS**2).tolist()
_TURNS = 12  # directions of fur
_SUN = np.array([-0.5, -0.62, 0.6])  # where the light comes from: left, above, before


class Animal:
    """A cat or a dog that can be painted on pictures.

    Args:
        rng: what is random about it.
        is_cat: or a dog.
        marks: one of `MARKS`; by default it is left to chance.
        posture: one of `POSES`; by default it is left to chance.
        turn: standard deviation of the angle at which it is seen, in degrees.

    Attributes:
        pose, marks: what it was given, or what chance chose.
        bounds: (left, top, right, bottom) around it, in radii of a cat's head, with the middle of its feet at (0, 0).
    """

    def __init__(self, rng: np.random.Generator, is_cat: bool, marks: str | None = None, posture: str | None = None,
                 turn: float = 4) -> None:
        self.rng, self.is_cat = rng, is_cat
        self.pose = posture or str(rng.choice(POSES, p=list(POSE_SHARES.values())))
        self.marks = marks or str(rng.choice(MARKS))
        self.coat, self.second = _coat(rng, self.marks)
        self.hanging = bool(rng.random() < 0.7) and not is_cat
        body, self.head = pose(rng, self.pose, is_cat)
        tubes = body + head_tubes(rng, self.head, is_cat, self.hanging)
        tubes.sort(key=lambda tube: tube.z + 0.8 * tube.radii.max())  # from back to front
        angle, mirror = np.radians(rng.normal(0, turn)), rng.choice((-1.0, 1.0))
        self.axes = np.array([[mirror * np.cos(angle), mirror * np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        along, centre, offset = courses(tubes)
        self.tubes = list(zip(tubes, along, strict=True))
        self.centre, self.offset = centre @ self.axes, offset @ self.axes  # (tubes, points, 2)
        self.collar = np.array(_COLLARS[rng.integers(len(_COLLARS))], float) if rng.random() < 0.3 else None
        edge = self.centre + self.offset
        low, high = edge.min((0, 1)), edge.max((0, 1))
        self.shift = np.array([-(low[0] + high[0]) / 2, -high[1]])
        self.bounds = (*(low + self.shift), *(high + self.shift))

    def draw(self, picture: np.ndarray, feet: tuple[float, float], scale: float) -> np.ndarray:
        """Paint it, and its shadow on the floor.

        Args:
            picture: (H, W, 3) uint8 RGB, painted on; H and W are even.
            feet: (x, y) of the middle of its lower edge, in pixels.
            scale: pixels of the radius of a cat's head.

        Returns:
            (H, W) uint8: 255 where the animal is, without its whiskers, else 0.
        """
        outline = np.zeros(picture.shape[:2], np.uint8)
        low, high = np.array(self.bounds).reshape(2, 2) * scale + feet
        left, top = np.maximum(((low - 0.8 * scale - 4) / 2).astype(int) * 2, 0)
        right, bottom = np.minimum(((high + (2 * scale, scale)) / 2).astype(int) * 2 + 2, picture.shape[1::-1])
        if right - left < 8 or bottom - top < 8:
            return outline
        self.scale, self.origin = scale, np.array(feet) + scale * self.shift - (left, top)
        window = np.s_[top:bottom, left:right]
        self.canvas, self.shape = picture[window], (int(bottom - top), int(right - left))
        body = self._body()
        outline[window] = body
        self._shadow(body)
        self._paint(body)
        self.seen = body
        if self.head.view != "back":
            self._face()
        return outline

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        """From the skeleton's coordinates to those of the window, in sixteenths of pixels."""
        return np.rint((points @ self.axes * self.scale + self.origin) * 16).astype(np.int32)

    def _body(self) -> np.ndarray:
        """The silhouette, (h, w) uint8 0 or 255; leaves the height of the body, its fur and its marks behind.

        Colours are computed at half the size of the window, which is the size of the final picture.
        """
        height, width = self.shape
        half = height // 2, width // 2
        filled, way, self.mark, self.band = np.zeros((4, *half), np.uint8)
        solid, self.tone = np.full(half, -1.6, np.float32), np.ones(half, np.float32)
        levels = (self.centre + _LEVELS[:, None, None, None] * self.offset) * self.scale + self.origin
        outlines = np.rint(8 * levels).astype(np.int32)  # (levels, tubes, points, 2) sixteenths of half pixels
        layers: list[tuple[float, np.ndarray]] = []
        for k, (tube, course) in enumerate(self.tubes):
            outline, mean = [outlines[0, k]], float(course.radius.mean())
            layers += [(tube.z + mean * high, inner[k]) for high, inner in zip(_HEIGHTS, outlines, strict=True)]
            along = self.centre[k, len(course.radius) - 1] - self.centre[k, 0]
            turn = int(np.arctan2(along[1], along[0]) / np.pi * _TURNS) % _TURNS
            tone = 0.86 if tube.part == "ear" else 1.06 if tube.part == "muzzle" else 0.78 if tube.z < -0.5 else 1.0
            for canvas, value in ((filled, 255), (way, turn), (self.tone, tone), (self.mark, 0), (self.band, 0)):
                cv2.fillPoly(canvas, outline, value, shift=4)
            self._mark(tube, course)
            if tube.part == "neck" and self.collar is not None:
                low, high = (0.42, 0.58) if tube.look == "side" else (0.16, 0.32)
                v = np.linspace(-1.1, 1.1, 7)
                bow = 0.08 * (1 - v**2)
                edge = np.concatenate([course.at(low + bow, v), course.at(high + bow, v)[::-1]])
                cv2.fillPoly(self.band, [self._pixels(edge) // 2], 255, shift=4)
        for z, outline in sorted(layers, key=lambda layer: layer[0]):
            cv2.fillPoly(solid, [outline], z, shift=4)
        self.solid = _soft(solid, 0.065 * self.scale)
        start = self.rng.integers(0, 512 - min(256, *half), 2)
        rows = (np.arange(half[0], dtype=np.int32) + int(start[0])) % 512
        columns = (np.arange(half[1], dtype=np.int32) + int(start[1])) % 512
        place = way.astype(np.int32) << 18
        place += rows[:, None] << 9
        place += columns
        self.fur = _fur().take(place)  # (h/2, w/2) float32 around 0
        edge = _soft(filled, 0.045 * self.scale) + np.clip(34 * self.fur, -50, 50)
        return np.where(cv2.resize(edge, (width, height)) > 105, np.uint8(255), np.uint8(0))

    def _shadow(self, body: np.ndarray) -> None:
        """What the animal keeps from the floor: near its feet, and to the side."""
        height, width = self.shape
        quarter = width // 4, height // 4
        floor = self.origin[1] / 4 - 0.04 * self.scale
        small = cv2.resize(body, quarter, interpolation=cv2.INTER_AREA)
        cast = cv2.warpAffine(small, np.array([[1, -0.22, 0.22 * floor], [0, 0.16, 0.84 * floor]]), quarter)
        touch = cv2.warpAffine(small, np.array([[1, 0, 0], [0, 0.07, 0.95 * floor]]), quarter)
        depth = 0.38 * _soft(cast, 0.06 * self.scale) + 0.4 * _soft(touch, 0.025 * self.scale).astype(np.float32)
        keep = cv2.resize(255 - depth, (width, height)).astype(np.uint8)
        self.canvas[:] = cv2.multiply(self.canvas, cv2.merge([keep] * 3), scale=1 / 255)

    def _paint(self, body: np.ndarray) -> None:
        slope = 0.11 * self.scale / 2
        across = cv2.Sobel(self.solid, cv2.CV_32F, 1, 0, scale=slope)
        down = cv2.Sobel(self.solid, cv2.CV_32F, 0, 1, scale=slope)
        lit = np.maximum((_SUN[2] - across * _SUN[0] - down * _SUN[1]) / np.sqrt(1 + across**2 + down**2), -0.2)
        wide = _soft(self.solid, 0.2 * self.scale)
        dim = np.exp(np.minimum(1.1 * (self.solid - wide), 0)) * _soft(self.tone, 0.06 * self.scale)  # in creases
        dim *= 1 + 0.13 * self.fur
        mark = _soft(self.mark, 0.03 * self.scale) / np.float32(255)
        mark = np.clip(3 * (mark - 0.5) + 0.6 * self.fur + 0.5, 0, 1)
        band = self.band > 127
        planes = []
        for c, (ambient, sun) in enumerate(((0.5, 0.62), (0.53, 0.6), (0.6, 0.55))):
            plane = self.coat[c] + mark * np.float32(self.second[c] - self.coat[c])
            if self.collar is not None:
                plane[band] = self.collar[c]
            plane *= (ambient + sun * lit) * dim
            planes.append(np.clip(plane, 4, 252).astype(np.uint8))
        cv2.copyTo(cv2.resize(cv2.merge(planes), body.shape[::-1]), body, self.canvas)

    # The coat

    def _mark(self, tube: Tube, course: Course) -> None:
        getattr(self, f"_{self.marks}", lambda *_: None)(tube, course)

    def _stain(self, points: np.ndarray) -> None:
        pixels = self._pixels(points) // 2
        cv2.fillPoly(self.mark, list(pixels) if points.ndim == 3 else [pixels], 255, shift=4)

    def _span(self, course: Course, u: tuple[float, float], v: tuple[float, float]) -> None:
        """Everything from u to u along and from v to v across."""
        t = np.linspace(*u, 9)
        self._stain(np.concatenate([course.at(t, np.full(9, v[0])), course.at(t[::-1], np.full(9, v[1]))]))

    def _spot(self, course: Course, u: float, v: float, radius: float) -> None:
        t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        wave = 1 + 0.16 * np.cos(2 * t + self.rng.uniform(0, 6)) + 0.12 * np.cos(3 * t + self.rng.uniform(0, 6))
        middle = course.at(np.array(u), np.array(v))
        self._stain(middle + radius * wave[:, None] * np.stack([1.15 * np.cos(t), np.sin(t)], 1))

    def _striped(self, tube: Tube, course: Course) -> None:
        if tube.part in ("muzzle", "ear"):
            return
        v = np.linspace(-1.02, 1.02, 9)
        if tube.part == "head":
            if tube.look == "side":
                self._bars(course, np.array([0.1, 0.45, 0.8]), np.linspace(0.2, 1.02, 6), 0.055)
            elif tube.radii.max() > 0.7:
                for x in (-0.3, 0.0, 0.3):
                    top = self._head_point(np.array([(x - 0.07, -0.42), (x * 1.5 - 0.1, -0.98), (x * 1.5 + 0.1, -0.98), (x + 0.07, -0.42)]))
                    self._stain(top)
            return
        length = float(np.linalg.norm(np.diff(course.middle, axis=0), axis=1).sum())
        count = max(2, round(length / 0.5))
        u = (np.arange(count) + 0.5) / count
        if tube.part == "torso" and tube.look == "side":
            self._bars(course, u, np.linspace(-0.35, 1.1, 8), 0.3 / count)
        elif tube.look == "front":
            for side in (-1, 1):
                self._bars(course, u, side * np.linspace(0.4, 1.05, 6), 0.27 / count)
        else:
            self._bars(course, u, v, 0.25 / count)

    def _bars(self, course: Course, u: np.ndarray, v: np.ndarray, half: float) -> None:
        """Stripes across a tube at each u, thickest in the middle."""
        s = np.linspace(0, 1, len(v))
        thick = half * np.minimum(1, 0.25 + 2.2 * s)
        sway = 0.25 * half * np.sin(3 * s + self.rng.uniform(0, 6, (len(u), 1)))
        middle = u[:, None] + sway
        edge = np.concatenate([middle + thick, (middle - thick)[:, ::-1]], 1)  # (stripes, 2n)
        self._stain(course.at(edge, np.broadcast_to(np.concatenate([v, v[::-1]]), edge.shape)))

    def _patched(self, tube: Tube, course: Course) -> None:
        rng = self.rng
        if tube.part == "torso":
            for u in (0.12, 0.5, 0.88):
                self._spot(course, u + rng.uniform(-0.1, 0.1), rng.uniform(-0.3, 0.9), rng.uniform(0.55, 1.0))
        elif tube.part == "head" and tube.radii.max() > 0.7:
            self._spot(course, 0.5, 0, 0.0)
            side = rng.choice((-1, 1))
            self._stain(self._head_point(_disc(side * 0.5 if tube.look != "side" else 0.35, -0.3, 0.5)))
        elif tube.part == "ear":
            if rng.random() < 0.6:
                self._span(course, (0, 1), (-1.1, 1.1))
        elif tube.part == "tail":
            self._span(course, (0.0, rng.uniform(0.3, 0.8)), (-1.1, 1.1))
        elif tube.part == "leg" and rng.random() < 0.5:
            self._spot(course, rng.uniform(0, 0.4), 0.0, rng.uniform(0.5, 0.8))

    def _bib(self, tube: Tube, course: Course) -> None:
        """White paws, chest and muzzle."""
        if tube.part == "leg":
            self._span(course, (0.66, 1.2), (-1.3, 1.3))
            self._end(course)
        elif tube.part == "muzzle":
            self._span(course, (-0.1, 1.0), (-1.2, 1.2))
            self._end(course)
        elif tube.part == "tail":
            self._span(course, (0.85, 1.0), (-1.3, 1.3))
            self._end(course)
        elif tube.part == "torso" and tube.look == "front":
            self._span(course, (0.35, 1.0), (-0.55, 0.55))
        elif tube.part in ("torso", "neck") and tube.look == "side":
            self._span(course, (0.0 if tube.part == "torso" else 0.2, 1.0), (-1.2, -0.45))
            if tube.part == "torso":
                self._spot(course, 1.0, -0.7, 0.7)
        elif tube.part == "neck" and tube.look == "front":
            self._span(course, (0.0, 1.0), (-0.7, 0.7))
        elif tube.part == "head" and tube.look == "front" and tube.radii.max() > 0.7:
            self._stain(self._head_point(np.array([(-0.1, -0.95), (0.1, -0.95), (0.16, 0.0), (0.5, 0.5), (-0.5, 0.5), (-0.16, 0.0)])))

    def _end(self, course: Course) -> None:
        middle, radius = course.middle[-1], course.radius[-1] * 1.15
        self._stain(middle + _disc(0, 0, radius))

    def _points(self, tube: Tube, course: Course) -> None:
        """Dark ears, mask, paws and tail."""
        if tube.part in ("ear", "tail", "muzzle"):
            self._span(course, (0.0, 1.0), (-1.2, 1.2))
            self._end(course)
        elif tube.part == "leg":
            self._span(course, (0.5, 1.0), (-1.3, 1.3))
            self._end(course)
        elif tube.part == "head" and tube.look == "front":
            self._stain(self._head_point(_disc(0, 0.2, 0.62)))
        elif tube.part == "head" and tube.look == "side":
            self._stain(self._head_point(_disc(0.62, 0.12, 0.6)))

    def _saddle(self, tube: Tube, course: Course) -> None:
        """A dark back."""
        if tube.look == "side" and tube.part in ("torso", "neck", "tail"):
            self._span(course, (-0.1, 1.0), (0.05, 1.3))
            if tube.part == "torso":
                for u in (0.15, 0.5, 0.8):
                    self._spot(course, u, 0.3, 0.55)
        elif tube.look == "side" and tube.part == "head":
            self._span(course, (0.0, 1.0), (0.45, 1.3))
        elif tube.part == "ear":
            self._span(course, (0.0, 1.0), (-1.2, 1.2))
        elif tube.look == "back":
            self._span(course, (-0.1, 1.0), (-0.75, 0.75))
            self._end(course)
        elif tube.look == "front" and tube.part == "head" and tube.radii.max() > 0.7:
            self._stain(self._head_point(np.array([(-0.6, -1.0), (0.6, -1.0), (0.5, -0.5), (0, -0.35), (-0.5, -0.5)])))
        elif tube.look == "front":
            for side in (-1, 1):
                self._span(course, (0.0, 1.0), (0.62 * side, 1.3 * side))

    # The face

    def _head_point(self, points: np.ndarray) -> np.ndarray:
        c, s = np.cos(self.head.tilt), np.sin(self.head.tilt)
        return HEAD * np.asarray(points, float) @ np.array([[c, s], [-s, c]]) + self.head.centre

    def _shape(self, points: object, colour: object) -> None:
        cv2.fillPoly(self.canvas, [self._pixels(self._head_point(np.asarray(points, float)))], np.clip(colour, 0, 255).tolist(),
                     cv2.LINE_AA, shift=4)

    def _stroke(self, points: object, width: float, colour: object) -> None:
        cv2.polylines(self.canvas, [self._pixels(self._head_point(np.asarray(points, float)))], False,
                      np.clip(colour, 0, 255).tolist(), max(1, round(width * self.scale)), cv2.LINE_AA, shift=4)

    def _face(self) -> None:
        rng = self.rng
        asleep = self.pose in ("lie", "lie front", "rest") and rng.random() < 0.3
        front = self.head.view == "front"
        skin = np.array((206, 140, 130.0)) if rng.random() < 0.5 else np.array((58, 46, 46.0))
        dark = 0.35 * self.coat
        if front and not self.hanging:
            for tube, course in self.tubes:
                if tube.part == "ear":
                    u = np.array([0.42, 0.6, 0.86])
                    edge = np.concatenate([course.at(u, np.array([-0.62, -0.55, -0.2])), course.at(u[::-1], np.array([0.2, 0.55, 0.62]))])
                    cv2.fillPoly(self.canvas, [self._pixels(edge)], (0.5 * self.coat + (80, 52, 48)).clip(0, 255).tolist(), cv2.LINE_AA, shift=4)
        iris = np.array(((164, 186, 84), (214, 178, 70), (120, 170, 196))[rng.integers(3)], float)
        if front:
            x, y = (0.42, -0.1) if self.is_cat else (0.35, -0.2)
            for side in (-1, 1):
                self._eye(side * x, y, side, asleep, iris)
        else:
            self._eye(*((0.52, -0.12) if self.is_cat else (0.48, -0.2)), 1, asleep, iris, 0.75)
        (self._cat_mouth if self.is_cat else self._dog_mouth)(front, skin, dark)

    def _eye(self, x: float, y: float, side: int, asleep: bool, iris: np.ndarray, narrow: float = 1.0) -> None:
        rim = np.array((30, 24, 24.0))
        if asleep:
            t = np.linspace(0.15, np.pi - 0.15, 8)
            self._stroke(np.stack([x + 0.22 * narrow * np.cos(t), y + 0.1 * np.sin(t)], 1), 0.07, rim)
            return
        t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        if self.is_cat:
            slant = 0.18 * side
            almond = np.stack([0.22 * narrow * np.cos(t), 0.16 * np.maximum(np.sin(t), -0.8) - slant * np.cos(t) * 0.23 * 0.8], 1)
            self._shape(1.28 * almond + (x, y), rim)
            self._shape(almond + (x, y), iris * 0.8)
            self._shape(0.8 * almond + (x, y + 0.03), iris)
            self._shape(np.stack([0.055 * np.cos(t), 0.13 * np.sin(t)], 1) + (x, y + 0.015), (14, 12, 12))
        else:
            round_ = np.stack([0.15 * narrow * np.cos(t), 0.145 * np.maximum(np.sin(t), -0.72)], 1)
            self._shape(1.25 * round_ + (x, y), rim)
            self._shape(round_ + (x, y), (104, 66, 36))
            self._shape(0.62 * round_ + (x, y), (16, 12, 12))
        self._shape(np.stack([0.045 * np.cos(t), 0.045 * np.sin(t)], 1) + (x - 0.06, y - 0.06), (246, 246, 244))

    def _cat_mouth(self, front: bool, skin: np.ndarray, dark: np.ndarray) -> None:
        pale = np.array((232, 228, 222.0)) if self.coat.mean() < 190 else np.array((120, 112, 104.0))
        if front:
            self._shape([(-0.13, 0.2), (0.13, 0.2), (0.09, 0.28), (0, 0.34), (-0.09, 0.28)], skin)
            self._stroke([(0, 0.34), (0, 0.46)], 0.045, dark)
            for side in (-1, 1):
                self._stroke([(0, 0.46), (side * 0.1, 0.53), (side * 0.22, 0.5)], 0.045, dark)
                for rise in (-0.14, 0.02, 0.18):
                    self._stroke([(side * 0.3, 0.42 + 0.2 * rise), (side * 0.85, 0.36 + 0.7 * rise), (side * 1.4, 0.42 + rise)], 0.02, pale)
        else:
            self._shape([(1.02, 0.12), (1.2, 0.16), (1.2, 0.28), (1.08, 0.3)], skin)
            self._stroke([(1.1, 0.34), (1.0, 0.5), (0.75, 0.52)], 0.045, dark)
            for rise in (-0.14, 0.02, 0.18):
                self._stroke([(0.85, 0.36 + 0.2 * rise), (0.5, 0.42 + 0.8 * rise), (0.0, 0.56 + 1.4 * rise)], 0.02, pale)

    def _dog_mouth(self, front: bool, skin: np.ndarray, dark: np.ndarray) -> None:
        nose = np.array((32, 28, 30.0))
        muzzle = next(course for tube, course in self.tubes if tube.part == "muzzle")
        c, s = np.cos(self.head.tilt), np.sin(self.head.tilt)
        end = (muzzle.middle[-1] - self.head.centre) @ np.array([[c, -s], [s, c]]) / HEAD  # in the head's coordinates
        t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        tongue = self.rng.random() < 0.3
        if front:
            x, y = end + (0, -0.18)
            self._stroke([(x, y), (x, y + 0.34)], 0.045, dark)
            for side in (-1, 1):
                self._stroke([(x, y + 0.34), (x + side * 0.16, y + 0.42), (x + side * 0.34, y + 0.3)], 0.045, dark)
            if tongue:
                self._shape(np.stack([0.15 * np.cos(t), 0.26 * np.sin(t)], 1) * (t < 10)[:, None] + (x, y + 0.5), (214, 106, 112))
            self._shape(np.stack([0.24 * np.cos(t), 0.17 * np.sin(t) - 0.03 * np.cos(2 * t)], 1) + (x, y), nose)
            self._shape(np.stack([0.08 * np.cos(t), 0.035 * np.sin(t)], 1) + (x - 0.06, y - 0.08), (120, 116, 118))
        else:
            x, y = end + (0.16, -0.16)
            self._stroke([(x - 0.05, y + 0.3), (x - 0.6, y + 0.42), (x - 1.0, y + 0.4)], 0.045, dark)
            self._shape(np.stack([0.17 * np.cos(t), 0.15 * np.sin(t)], 1) + (x, y), nose)
            self._shape(np.stack([0.05 * np.cos(t), 0.03 * np.sin(t)], 1) + (x - 0.02, y - 0.07), (120, 116, 118))


_COLLARS = ((176, 44, 44), (44, 96, 160), (52, 132, 84), (222, 160, 48), (120, 70, 140))


def _disc(x: float, y: float, radius: float) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    return np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], 1)


def _soft(plane: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(plane, (0, 0), max(0.6, sigma))


def _coat(rng: np.random.Generator, marks: str) -> tuple[np.ndarray, np.ndarray]:
    """Two colours of fur that can be told apart: of the coat, and of its marks."""
    names = list(_FURS)
    if marks in ("patched", "bib"):
        coat, second = (_DARK + ("ginger", "charcoal"))[rng.integers(5)], ("white", "cream", "white")[rng.integers(3)]
        if marks == "patched" and rng.random() < 0.7:
            coat, second = second, coat
    elif marks in ("points", "saddle"):
        coat = ("fawn", "cream", "silver", "ginger")[rng.integers(4)]
        second = ("black", "chocolate", "charcoal")[rng.integers(3)]
    else:
        coat = names[rng.integers(2, 8)] if marks == "striped" else names[rng.integers(8)]  # no stripes on black
        second = ""
    shade = rng.uniform(0.88, 1.1) * rng.uniform(0.97, 1.03, 3)
    colour = np.array(_FURS[coat]) * shade
    return colour, np.array(_FURS[second]) * shade if second else colour * (0.4, 0.37, 0.36)


@cache
def _fur() -> np.ndarray:
    """Short streaks around 0 in each of `_TURNS` directions, (turns, 512, 512) float32."""
    rng = np.random.default_rng(11)
    noise = rng.standard_normal((512, 512), dtype=np.float32)
    broad = cv2.resize(rng.standard_normal((40, 40), dtype=np.float32), (512, 512), interpolation=cv2.INTER_CUBIC)
    tiles = np.empty((_TURNS, 512, 512), np.float32)
    for k in range(_TURNS):
        kernel = np.zeros((9, 9), np.float32)
        way = 3.5 * np.array([np.cos(np.pi * k / _TURNS), np.sin(np.pi * k / _TURNS)])
        cv2.line(kernel, *[tuple(int(n) for n in np.rint((4 + sign * way) * 16)) for sign in (-1, 1)], 1.0, 1, cv2.LINE_8, 4)
        streaks = cv2.filter2D(noise, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
        tiles[k] = 0.55 * np.clip(streaks / streaks.std(), -2.2, 2.2) + 0.35 * broad
    return tiles
