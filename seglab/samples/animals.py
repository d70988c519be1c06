"""Cats and dogs, drawn by code: what tells them apart is shape, not colour, place or pose.

Both kinds share coats, backgrounds, sizes and poses. A cat has upright pointed ears, a short face, slit pupils and
whiskers; a dog has a long muzzle and, mostly, hanging ears. Some dogs have upright ears, and some of everything is
hidden, turned, blurred or in bad light, so that no single trick gives the answer away.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from seglab.errors import ArgumentError

ANIMALS = ("cats", "dogs")
MARKS = ("striped", "patched", "plain")
VERSION = 1  # of the drawings: raise it when they change, so that old samples are left alone
OVER = 2  # drawn at twice the size and averaged down: smooth edges
_COATS = ((60, 52, 48), (112, 82, 58), (168, 128, 84), (204, 172, 130), (226, 216, 200), (128, 124, 122),
          (176, 104, 52), (84, 80, 84))
_SURFACES = ("grass", "gravel", "brick", "plain")


def draw_animal(kind: str, index: int, seed: int = 0, size: tuple[int, int] = (160, 160)) -> np.ndarray:
    """One picture of a cat or a dog.

    Args:
        kind: "cats" or "dogs".
        index: number of the picture, 0 or more.
        seed: 0 or more; the same three give the same picture.
        size: (height, width) in pixels, each at least 32.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ArgumentError: another kind, or a number out of range.

    Example:
        >>> draw_animal("cats", 0).shape
        (160, 160, 3)
    """
    if kind not in ANIMALS or index < 0 or seed < 0 or min(size) < 32:
        raise ArgumentError("draw_animal", found=f"kind {kind!r}, index {index}, seed {seed}, size {size}",
                            expected=f"{' or '.join(ANIMALS)}, numbers of 0 or more, sides of at least 32")
    rng = np.random.default_rng((seed, ANIMALS.index(kind), index))
    height, width = OVER * size[0], OVER * size[1]
    picture = background(rng, height, width)
    Animal(rng, kind == "cats", picture).draw()
    if rng.random() < 0.25:
        hide(rng, picture)
    picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    return camera(rng, picture)


class Animal:
    """An animal on a picture, in its own coordinates: the head is a circle of radius 1, y points down.

    Args:
        rng: what is random about it.
        is_cat: or a dog.
        picture: (H, W, 3) uint8, painted on.
        scales: bounds of the head's radius, as a share of the picture's shorter side.
        across, down: bounds of the head's place, as shares of width and height.
        turn: standard deviation of the angle at which it is seen, in degrees.
        marks: "striped", "patched" or "plain" gives it this coat from head to foot; by default it is left to chance,
            and only the head is marked.
    """

    def __init__(self, rng: np.random.Generator, is_cat: bool, picture: np.ndarray,
                 scales: tuple[float, float] = (0.13, 0.25), across: tuple[float, float] = (0.32, 0.68),
                 down: tuple[float, float] = (0.28, 0.5), turn: float = 14, marks: str | None = None) -> None:
        self.rng, self.is_cat, self.picture = rng, is_cat, picture
        height, width = picture.shape[:2]
        self.outline = np.zeros((height, width), np.uint8)  # 255 where the animal is painted
        self.scale = min(height, width) * rng.uniform(*scales)  # pixels of the head's radius
        self.centre = np.array([width * rng.uniform(*across), height * rng.uniform(*down)])
        angle = np.radians(rng.normal(0, turn))
        mirror = rng.choice((-1.0, 1.0))
        self.axes = np.array([[mirror * np.cos(angle), mirror * np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self.coat = np.array(_COATS[rng.integers(len(_COATS))], float) * rng.uniform(0.85, 1.12)
        self.second = np.array(_COATS[rng.integers(len(_COATS))], float)
        self.fur = _noise(int(rng.integers(1 << 30)), height, width)
        self.look = rng.uniform(-0.16, 0.16)  # where the face points
        self.marks = marks
        if marks is not None:
            self.coat, self.second = _coat(rng, marks)

    def draw(self) -> None:
        self._body()
        self._ears(front=False)
        self._blob((0, 0), (1.0, 0.92) if self.is_cat else (0.86, 1.0), self.coat)
        self._marks()
        self._ears(front=True)
        self._face()

    def _body(self) -> None:
        rng, lean = self.rng, self.rng.uniform(-0.5, 0.5)
        tail = np.array([[lean + 1.0, 3.2], [lean + 2.1, 3.0], [lean + 2.5, rng.uniform(1.0, 2.4)],
                         [lean + 2.1, rng.uniform(0.6, 1.6)]])
        self._line(_smooth(tail), rng.uniform(0.2, 0.34), self.coat * 0.9)
        self._blob((lean, 2.3), (rng.uniform(1.0, 1.35), rng.uniform(1.5, 1.8)), self.coat * 0.94)
        if rng.random() < 0.4 and self.marks is None:
            self._blob((lean, 2.0), (0.55, 1.0), self.second)  # a bib
        self._coat_marks((lean, 2.1), 0.95, 1.25)
        for side in (-0.5, 0.5):
            self._blob((lean + side, 3.2), (0.32, 0.9), self.coat * 0.86)

    def _ears(self, front: bool) -> None:
        rng = self.rng
        if not front:
            self.hanging = not self.is_cat and rng.random() < 0.75
            self.ear = rng.uniform(0.85, 1.15)
        if front != self.hanging:  # hanging ears lie before the head, upright ones behind it
            return
        for side in (-1, 1):
            if self.hanging:
                angle = side * rng.uniform(8, 24)
                self._blob((side * 0.86, 0.25 * self.ear), (0.3, 0.75 * self.ear), self.coat * 0.72, angle)
                continue
            tip = (side * (0.86 if self.is_cat else 0.66), -(1.42 if self.is_cat else 1.55) * self.ear)
            base = [(side * 0.18, -0.78), tip, (side * 0.98, -0.18)]
            self._polygon(base, self.coat * 0.88)
            middle = np.mean(base, axis=0)
            self._polygon([middle + 0.55 * (np.array(p) - middle) for p in base], np.array((196, 140, 132.0)))

    def _marks(self) -> None:
        """Stripes, a mask or patches: both kinds have them."""
        if self.marks is not None:
            self._coat_marks((0, -0.1), 0.75, 0.65)
            return
        kind = self.rng.integers(4)
        if kind == 0:
            for y in (-0.72, -0.55, -0.38):
                self._line([(-0.34, y), (0.0, y + 0.1), (0.34, y)], 0.07, self.coat * 0.55)
        elif kind == 1:
            self._blob((self.rng.choice((-0.42, 0.42)), -0.12), (0.4, 0.42), self.second)
        elif kind == 2:
            self._blob((self.look, 0.1), (0.22, 0.8), self.second)

    def _coat_marks(self, centre: tuple[float, float], across: float, down: float) -> None:
        """The marks of a whole coat, within an ellipse of these radii: on the body, and on the head."""
        rng = self.rng
        if self.marks == "striped":
            for y in np.arange(-0.85, 0.9, 0.34 / down) + rng.uniform(-0.05, 0.05):
                half = 0.92 * across * np.sqrt(max(0.0, 1 - y * y))  # to the ellipse's edge
                x = np.linspace(-half, half, 9)
                sag = 0.16 * (1 - (x / half) ** 2) + 0.04 * np.sin(9 * x + rng.uniform(0, 6))
                self._line(np.stack([centre[0] + x, centre[1] + down * y + sag], 1), 0.13, self.second)
        elif self.marks == "patched":
            for side in (-1, 1):
                for _ in range(rng.integers(1, 3)):
                    radii = across * rng.uniform(0.32, 0.5), down * rng.uniform(0.28, 0.46)
                    right, below = side * across * rng.uniform(0.3, 0.6), down * rng.uniform(-0.6, 0.6)
                    self._blob((centre[0] + right, centre[1] + below), radii, self.second, rng.uniform(0, 90))

    def _face(self) -> None:
        rng, look = self.rng, self.look
        eye_y, apart = (-0.12, 0.44) if self.is_cat else (-0.2, 0.36)
        iris = np.array(((150, 180, 70), (208, 176, 60), (110, 160, 190))[rng.integers(3)], float)
        for side in (-1, 1):
            place = (side * apart + look, eye_y)
            if self.is_cat:
                self._blob(place, (0.2, 0.17), iris, flat=True)
                self._blob(place, (rng.uniform(0.04, 0.1), 0.16), np.zeros(3) + 12, flat=True)
            else:
                self._blob(place, (0.14, 0.14), np.array((62, 38, 22.0)), flat=True)
            self._blob((place[0] - 0.04, place[1] - 0.05), (0.035, 0.035), np.zeros(3) + 245, flat=True)
        if self.is_cat:
            self._blob((look - 0.17, 0.42), (0.26, 0.2), self.coat * 1.12)
            self._blob((look + 0.17, 0.42), (0.26, 0.2), self.coat * 1.12)
            self._polygon([(look - 0.11, 0.2), (look + 0.11, 0.2), (look, 0.34)], np.array((190, 110, 110.0)))
            for side in (-1, 1):
                for rise in (-0.12, 0.04, 0.2):
                    self._line([(look + side * 0.26, 0.42), (look + side * 1.2, 0.34 + rise)], 0.025, np.zeros(3) + 225)
        else:
            long = rng.uniform(0.44, 0.62)
            if rng.random() < 0.4:
                self._blob((look, 0.62 + long), (0.16, 0.3), np.array((206, 96, 104.0)), flat=True)  # tongue
            self._blob((look, 0.5), (0.42, long), self.coat * 1.1)
            self._blob((look, 0.34), (0.22, 0.16), np.array((30, 26, 28.0)), flat=True)
            self._line([(look, 0.45), (look, 0.75)], 0.04, self.coat * 0.4)

    def _pixels(self, points: object) -> np.ndarray:
        return (self.centre + self.scale * (np.asarray(points, float) @ self.axes)).round().astype(np.int32)

    def _blob(self, place: tuple[float, float], radii: tuple[float, float], colour: np.ndarray, angle: float = 0.0,
              flat: bool = False) -> None:
        t, turn = np.linspace(0, 2 * np.pi, 48, endpoint=False), np.radians(angle)
        x, y = radii[0] * np.cos(t), radii[1] * np.sin(t)
        outline = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
        self._polygon(np.array(place) + outline, colour, flat)

    def _polygon(self, points: object, colour: np.ndarray, flat: bool = False) -> None:
        stencil = np.zeros(self.picture.shape[:2], np.uint8)
        cv2.fillPoly(stencil, [self._pixels(points)], 255)
        self._paint(stencil, colour, flat)

    def _line(self, points: object, width: float, colour: np.ndarray) -> None:
        stencil = np.zeros(self.picture.shape[:2], np.uint8)
        cv2.polylines(stencil, [self._pixels(points)], False, 255, max(1, round(width * self.scale)))
        self._paint(stencil, colour, False)

    def _paint(self, stencil: np.ndarray, colour: np.ndarray, flat: bool) -> None:
        left, top, width, height = cv2.boundingRect(stencil)
        window = np.s_[top:top + height, left:left + width]
        inside = stencil[window] > 0
        self.outline[window][inside] = 255
        light = 1.0 if flat else self.fur[window][inside, None]
        self.picture[window][inside] = np.clip(np.clip(colour, 8, 248) * light, 0, 255)


def _coat(rng: np.random.Generator, marks: str) -> tuple[np.ndarray, np.ndarray]:
    """Two colours of fur that can be told apart: of the coat, and of its marks."""
    coats = np.array(_COATS, float)
    light = coats.mean(1)  # (8,)
    if marks == "patched":
        pale = coats[light > 160][rng.integers((light > 160).sum())]
        dark = coats[light < 120][rng.integers((light < 120).sum())]
        coat, second = (pale, dark) if rng.random() < 0.7 else (dark, pale)
    else:
        choice = coats[light > 100] if marks == "striped" else coats  # stripes do not show on a dark coat
        coat = choice[rng.integers(len(choice))]
        second = 0.45 * coat
    shade = rng.uniform(0.85, 1.12)
    return coat * shade, second * shade


def _smooth(points: np.ndarray) -> np.ndarray:
    """A Bézier curve through the first and the last of four points."""
    t = np.linspace(0, 1, 20)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t ** 2 * (1 - t), t ** 3], 1)  # (20, 4)
    return weights @ points


def _noise(seed: int, height: int, width: int) -> np.ndarray:
    """Fur: short streaks of light and dark around 1, (height, width) float32."""
    rng = np.random.default_rng(seed)
    fine = rng.standard_normal((height // 6 + 1, width // 2 + 1), dtype=np.float32)
    broad = rng.standard_normal((height // 24 + 2, width // 24 + 2), dtype=np.float32)
    streaks = cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR)
    return 1 + 0.16 * streaks + 0.1 * cv2.resize(broad, (width, height), interpolation=cv2.INTER_CUBIC)


@cache
def _surface(name: str) -> np.ndarray:
    """A grey photograph of a surface from scikit-image's wheel, (512, 512) uint8."""
    from skimage import data

    return np.asarray(getattr(data, name)())


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A floor and a wall, each a texture in a colour of its own, perhaps with things: (height, width, 3) uint8."""
    picture = np.empty((height, width, 3), np.uint8)
    horizon = int(height * rng.uniform(0.15, 0.75))
    for rows in (slice(0, horizon), slice(horizon, height)):
        name = _SURFACES[rng.integers(len(_SURFACES))]
        colour = rng.uniform(50, 215, 3) * 0.5 + rng.uniform(60, 200) * 0.5
        tall = rows.stop - rows.start
        if name == "plain":
            along = np.linspace(rng.uniform(0.7, 1.1), rng.uniform(0.7, 1.2), width, dtype=np.float32)
            light: np.ndarray = np.repeat(along[None], tall, 0)
        else:
            top, left = rng.integers(0, 512 - 300, 2)
            side = int(rng.integers(140, 300))
            part = _surface(name)[top:top + side, left:left + side]
            light = 0.5 + cv2.resize(part, (width, tall), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        picture[rows] = np.clip(light[..., None] * colour, 0, 255)
    for _ in range(rng.integers(0, 5)):
        _thing(rng, picture, rng.uniform(0.04, 0.2))
    return picture if rng.random() < 0.5 else cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 6))


def _thing(rng: np.random.Generator, picture: np.ndarray, size: float) -> None:
    """A ball, a box or a blade in some colour: furniture, toys, plants."""
    height, width = picture.shape[:2]
    x, y, side = int(rng.uniform(0, width)), int(rng.uniform(0, height)), max(4, int(size * height))
    colour = rng.uniform(20, 235, 3).tolist()
    kind = rng.integers(3)
    if kind == 0:
        cv2.circle(picture, (x, y), side // 2, colour, -1)
    elif kind == 1:
        box = cv2.boxPoints(((x, y), (side, side * 1.4), rng.uniform(0, 90)))
        cv2.fillPoly(picture, [box.astype(np.int32)], colour)
    else:
        far = (x + int(rng.uniform(-2, 2) * side), y - 3 * side)
        cv2.line(picture, (x, y), far, colour, max(2, side // 5))


def hide(rng: np.random.Generator, picture: np.ndarray) -> None:
    """Something in front of the animal."""
    for _ in range(rng.integers(1, 4)):
        _thing(rng, picture, rng.uniform(0.1, 0.25))


def camera(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Focus, exposure, colour of the light, and noise of the sensor."""
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 1.6))
    light = rng.uniform(0.6, 1.25) * rng.uniform(0.88, 1.12, 3)
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(1, 9)
    return np.clip(picture * light.astype(np.float32) + noise, 0, 255).astype(np.uint8)
