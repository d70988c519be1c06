"""What the augmentation explorer is made of: the settings, affine's geometry, and the page of three panels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import traitlets as t

from seglab.errors import ArgumentError
from seglab.labels import LabelSet
from seglab.viz import add_legend
from seglab.viz.sheets import add_words, sheet

#: Sliders: label, smallest, largest, step, value at rest, unit. Browser and Python read the same table.
CONTROLS: dict[str, tuple[str, float, float, float, float, str]] = {
    "rotation": ("rotation", -180, 180, 1, 0, "°"),
    "scale": ("scale", 0.25, 4, 0.05, 1, "×"),
    "translate_x": ("translate x", -0.5, 0.5, 0.01, 0, "%"),
    "translate_y": ("translate y", -0.5, 0.5, 0.01, 0, "%"),
    "shear": ("shear", -45, 45, 1, 0, "°"),
    "crop": ("crop: share kept", 0.1, 1, 0.01, 1, "%"),
    "crop_x": ("crop: left, right", 0, 1, 0.01, 0.5, "%"),
    "crop_y": ("crop: up, down", 0, 1, 0.01, 0.5, "%"),
    "brightness": ("brightness", 0, 3, 0.05, 1, "×"),
    "contrast": ("contrast", 0, 3, 0.05, 1, "×"),
    "saturation": ("saturation", 0, 3, 0.05, 1, "×"),
    "hue": ("hue", -0.5, 0.5, 0.01, 0, ""),
    "blur": ("blur (sigma)", 0, 3, 0.1, 0, "px"),
}
FLIPS = {"flip_horizontal": "flip horizontally", "flip_vertical": "flip vertically"}
_PICTURE_ONLY = ("brightness", "contrast", "saturation", "hue", "blur")


class Number(t.Float):
    """A number of a closed range; anything else is an ArgumentError, as everywhere in seglab."""

    def __init__(self, low: float, high: float, rest: float, whole: bool = False) -> None:
        super().__init__(float(rest))
        self.low, self.high, self.whole = low, high, whole
        self.tag(sync=True)

    @classmethod
    def of(cls, name: str) -> Number:
        """The setting that a slider of this name shows."""
        _, low, high, _, rest, _ = CONTROLS[name]
        return cls(low, high, rest)

    def validate(self, obj: Any, value: Any) -> float:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high or (self.whole and value % 1):
            raise ArgumentError(str(self.name), found=repr(value),
                                expected=f"a {'whole ' if self.whole else ''}number from {self.low} to {self.high}")
        return round(float(value), 3) + 0.0  # three digits, as code() writes them; -0.0 becomes 0.0


class Switch(t.Bool):
    """True or False; anything else is an ArgumentError."""

    def __init__(self) -> None:
        super().__init__(False)
        self.tag(sync=True)

    def validate(self, obj: Any, value: Any) -> bool:
        if not isinstance(value, (bool, np.bool_)):
            raise ArgumentError(str(self.name), found=repr(value), expected="True or False")
        return bool(value)


def browser_controls() -> list[dict[str, Any]]:
    """The tables above for the wire: sliders of the groups "both" and "picture", then the flips."""
    sliders = [{"name": name, "label": label, "min": low, "max": high, "step": step, "rest": rest, "unit": unit,
                "group": "picture" if name in _PICTURE_ONLY else "both"}
               for name, (label, low, high, step, rest, unit) in CONTROLS.items()]
    return [*sliders, *({"name": name, "label": label, "group": "flip"} for name, label in FLIPS.items())]


def source_of(move: dict[str, Any], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where affine takes each pixel from, in pixels of the source: x and y, (H, W) float32 each.

    Source: torchvision's `_get_inverse_affine_matrix` and torch's `grid_sample`, step by step in their float32, so that
    halves are rounded as there.
    """
    angle, shear = math.radians(move["angle"]), math.tan(math.radians(move["shear"][0]))
    a, b, c = math.cos(angle), -(math.cos(angle) * shear + math.sin(angle)), math.sin(angle)
    d = math.cos(angle) - c * shear
    (right, down), scale = move["translate"], move["scale"]
    x = np.arange(width, dtype=np.float32) + np.float32((1 - width) / 2)  # (W,), 0 is the centre
    y = (np.arange(height, dtype=np.float32) + np.float32((1 - height) / 2))[:, None]  # (H, 1)
    places = []
    for by_x, by_y, size in ((d / scale, -b / scale, width), (-c / scale, a / scale, height)):
        terms = np.array([by_x, by_y, -by_x * right - by_y * down], np.float32) / np.float32(size / 2)
        grid = x * terms[0] + y * terms[1] + terms[2]  # (H, W) in [-1, 1] inside the picture
        places.append((grid + np.float32(1)) * np.float32(size / 2) - np.float32(0.5))
    return places[0], places[1]


def compose(panels: Sequence[np.ndarray], titles: Sequence[str], words: str, label_set: LabelSet,
             ids: Sequence[int]) -> np.ndarray:
    """Panels side by side below their titles, words and the classes' colours under them: (H, W, 3) uint8."""
    return add_legend(add_words(sheet(panels, titles), words), label_set, ids, size=13)
