"""Faces: eyes, nose, mouth, whiskers and the inside of ears, in the head's own coordinates."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

_T = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_RIM, _NOSE, _SHINE = np.array((30, 24, 24.0)), np.array((32, 28, 30.0)), np.array((246, 246, 244.0))
_IRISES = ((164, 186, 84), (214, 178, 70), (120, 170, 196))


class Face:
    """A face to be painted.

    Args:
        rng: what is random about it.
        canvas: (h, w, 3) uint8, painted on.
        outline: (h, w) uint8 of the animal; gets what is painted, but for lines such as whiskers.
        pixels: takes (n, 2) points in the head's coordinates, gives sixteenths of pixels.
        scale: pixels of the radius of a cat's head.
        coat: (3,) colour of the fur.
        profile: whether it is seen from the side.
    """

    def __init__(self, rng: np.random.Generator, canvas: np.ndarray, outline: np.ndarray,
                 pixels: Callable[[object], np.ndarray], scale: float, coat: np.ndarray, profile: bool) -> None:
        self.rng, self.canvas, self.outline, self.pixels, self.scale = rng, canvas, outline, pixels, scale
        self.coat, self.dark, self.profile = coat, 0.35 * coat, profile
        self.iris = np.array(_IRISES[rng.integers(len(_IRISES))], float)
        self.skin = np.array((206, 140, 130.0) if rng.random() < 0.5 else (58, 46, 46.0))

    def _fill(self, points: object, colour: np.ndarray, at: tuple[float, float] = (0.0, 0.0)) -> None:
        pixels = self.pixels(np.asarray(points, float) + np.array(at))
        cv2.fillPoly(self.canvas, [pixels], np.clip(colour, 0, 255).tolist(), cv2.LINE_8, shift=4)
        cv2.fillPoly(self.outline, [pixels], 255, cv2.LINE_8, shift=4)

    def _line(self, points: object, width: float, colour: np.ndarray) -> None:
        cv2.polylines(self.canvas, [self.pixels(points)], False, np.clip(colour, 0, 255).tolist(),
                      max(1, round(width * self.scale)), cv2.LINE_AA, shift=4)

    def inner_ear(self, points: np.ndarray) -> None:
        self._fill(points, 0.5 * self.coat + (80, 52, 48))

    def eyes(self, is_cat: bool, asleep: bool) -> None:
        eye = self._closed if asleep else self._cat_eye if is_cat else self._dog_eye
        if self.profile:
            eye(*((0.52, -0.12) if is_cat else (0.48, -0.2)), 0.75, 1)
        else:
            x, y = (0.42, -0.1) if is_cat else (0.35, -0.2)
            for side in (-1, 1):
                eye(side * x, y, 1.0, side)

    def _closed(self, x: float, y: float, narrow: float, _: int) -> None:
        t = np.linspace(0.15, np.pi - 0.15, 8)
        self._line(np.stack([x + 0.22 * narrow * np.cos(t), y + 0.1 * np.sin(t)], 1), 0.07, _RIM)

    def _cat_eye(self, x: float, y: float, narrow: float, side: int) -> None:
        almond = np.stack([0.22 * narrow * np.cos(_T),
                           0.16 * np.maximum(np.sin(_T), -0.8) - 0.032 * side * np.cos(_T)], 1)
        self._fill(1.28 * almond, _RIM, (x, y))
        self._fill(almond, 0.8 * self.iris, (x, y))
        self._fill(0.8 * almond, self.iris, (x, y + 0.03))
        self._fill(_oval(0.055, 0.13), 0.5 * _RIM, (x, y + 0.015))
        self._fill(_oval(0.045, 0.045), _SHINE, (x - 0.06, y - 0.06))

    def _dog_eye(self, x: float, y: float, narrow: float, _: int) -> None:
        round_ = np.stack([0.15 * narrow * np.cos(_T), 0.145 * np.maximum(np.sin(_T), -0.72)], 1)
        self._fill(1.25 * round_, _RIM, (x, y))
        self._fill(round_, np.array((104, 66, 36)), (x, y))
        self._fill(0.62 * round_, 0.5 * _RIM, (x, y))
        self._fill(_oval(0.045, 0.045), _SHINE, (x - 0.06, y - 0.06))

    def cat_mouth(self) -> None:
        pale = np.array((232, 228, 222.0) if self.coat.mean() < 190 else (120, 112, 104.0))
        if self.profile:
            self._fill([(1.02, 0.12), (1.2, 0.16), (1.2, 0.28), (1.08, 0.3)], self.skin)
            self._line([(1.1, 0.34), (1.0, 0.5), (0.75, 0.52)], 0.045, self.dark)
            for rise in (-0.14, 0.02, 0.18):
                self._line([(0.85, 0.36 + 0.2 * rise), (0.5, 0.42 + 0.8 * rise), (0.0, 0.56 + 1.4 * rise)], 0.02, pale)
            return
        self._fill([(-0.13, 0.2), (0.13, 0.2), (0.09, 0.28), (0, 0.34), (-0.09, 0.28)], self.skin)
        self._line([(0, 0.34), (0, 0.46)], 0.045, self.dark)
        for side in (-1, 1):
            self._line([(0, 0.46), (side * 0.1, 0.53), (side * 0.22, 0.5)], 0.045, self.dark)
            for rise in (-0.14, 0.02, 0.18):
                whisker = [(0.3, 0.42 + 0.2 * rise), (0.85, 0.36 + 0.7 * rise), (1.4, 0.42 + rise)]
                self._line(np.array(whisker) * (side, 1), 0.02, pale)

    def dog_mouth(self, tip: np.ndarray) -> None:
        """Nose and mouth of a muzzle that ends at `tip`."""
        if self.profile:
            x, y = tip[0] + 0.16, tip[1] - 0.16
            self._line([(x - 0.05, y + 0.3), (x - 0.6, y + 0.42), (x - 1.0, y + 0.4)], 0.045, self.dark)
            self._fill(_oval(0.17, 0.15), _NOSE, (x, y))
            self._fill(_oval(0.05, 0.03), _NOSE + 88, (x - 0.02, y - 0.07))
            return
        x, y = tip[0], tip[1] - 0.18
        self._line([(x, y), (x, y + 0.34)], 0.045, self.dark)
        for side in (-1, 1):
            self._line([(x, y + 0.34), (x + side * 0.16, y + 0.42), (x + side * 0.34, y + 0.3)], 0.045, self.dark)
        if self.rng.random() < 0.3:  # the tongue
            self._fill(_oval(0.15, 0.26)[:11], np.array((214, 106, 112)), (x, y + 0.38))
        self._fill(np.stack([0.24 * np.cos(_T), 0.17 * np.sin(_T) - 0.03 * np.cos(2 * _T)], 1), _NOSE, (x, y))
        self._fill(_oval(0.08, 0.035), _NOSE + 88, (x - 0.06, y - 0.08))


def _oval(wide: float, tall: float) -> np.ndarray:
    return np.stack([wide * np.cos(_T), tall * np.sin(_T)], 1)
