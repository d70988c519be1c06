"""Colours that colour-blind eyes can tell apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from skimage.color import rgb2lab

from seglab.errors import ArgumentError
from seglab.labels import LabelSet

#: What a dichromat sees of linear RGB. Source: Machado, Oliveira and Fernandes, "A Physiologically-based Model for
#: Simulation of Color Vision Deficiency" (2009), severity 1.0.
_DICHROMATS = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                     (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
#: Okabe and Ito, "Color Universal Design" (2008), without black.
_OKABE_ITO = ((0, 114, 178), (230, 159, 0), (86, 180, 233), (213, 94, 0), (0, 158, 115), (240, 228, 66),
              (204, 121, 167))


def simulate(colours: np.ndarray, vision: str) -> np.ndarray:
    """Colours as a dichromat sees them.

    Args:
        colours: (..., 3) uint8 RGB.
        vision: "protanopia", "deuteranopia" or "tritanopia".

    Returns:
        (..., 3) uint8 RGB.

    Raises:
        ArgumentError: another kind of vision.

    Source: Machado, Oliveira and Fernandes (2009), severity 1.0, applied in linear RGB.

    Example:
        >>> red, green = simulate(np.array([[200, 60, 0], [110, 110, 0]], np.uint8), "deuteranopia").astype(int)
        >>> int(abs(red - green).max()) < 40  # red and olive look nearly alike
        True
    """
    if vision not in _DICHROMATS:
        raise ArgumentError("vision", found=repr(vision), expected=", ".join(map(repr, _DICHROMATS)))
    values = np.asarray(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(_DICHROMATS[vision]).T).clip(0, 1)
    values = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return (values * 255).round().astype(np.uint8)


def least_difference(colours: np.ndarray) -> float:
    """The smallest difference (CIE 1976, in Lab) of any two of (C, 3) colours, for the eyes that see it least.

    2 is just noticeable side by side; 10 is told apart at a glance.

    Example:
        >>> least_difference(np.array([[0, 0, 0], [255, 255, 255]], np.uint8)) > 90
        True
    """
    worst = np.inf
    for lab in _seen(np.asarray(colours)):
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)  # (C, C)
        np.fill_diagonal(apart, np.inf)
        worst = min(worst, float(apart.min()))
    return worst


@cache
def _candidates() -> tuple[np.ndarray, np.ndarray]:
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)  # (729, 3)
    return grid, _seen(grid)


def _seen(colours: np.ndarray) -> np.ndarray:
    """Lab of (C, 3) colours for normal and dichromatic eyes, (4, C, 3)."""
    views = [colours, *(simulate(colours, vision) for vision in _DICHROMATS)]
    return np.stack([rgb2lab(view[None])[0] for view in views])


@cache
def colour_blind_safe(count: int, background: bool = False) -> np.ndarray:
    """Colours that differ for normal, red-, green- and blue-blind eyes alike: (count, 3) uint8.

    The first seven are those of Okabe and Ito. Each further one is, among 729, the one whose nearest neighbour is
    farthest away for the eyes that see the difference least. Beyond some 20 classes no palette is safe; the differences
    are then as large as they can be.

    Args:
        count: number of classes, from 1.
        background: class 0 is black.

    Raises:
        ArgumentError: a count below 1.

    Example:
        >>> colour_blind_safe(3, background=True).tolist()
        [[0, 0, 0], [0, 114, 178], [230, 159, 0]]
    """
    if count < 1:
        raise ArgumentError("count", found=count, expected="1 or more")
    chosen = [*([(0, 0, 0)] if background else []), *_OKABE_ITO][:count]
    grid, seen = _candidates()  # (729, 3), (4, 729, 3)
    # White-ish and black stay free: they are paper, ignore, and the background.
    taken = _seen(np.array([*chosen, (0, 0, 0), (255, 255, 255), (235, 235, 235)], dtype=np.uint8))
    nearest = np.linalg.norm(seen[:, :, None] - taken[:, None], axis=-1).min(axis=(0, 2))  # (729,)
    while len(chosen) < count:
        best = int(nearest.argmax())
        chosen.append(tuple(grid[best].tolist()))
        nearest = np.minimum(nearest, np.linalg.norm(seen - seen[:, best][:, None], axis=-1).min(axis=0))
    return np.array(chosen, dtype=np.uint8)


def safe_label_set(label_set: LabelSet) -> LabelSet:
    """The same classes in colours from `colour_blind_safe`; a black class 0 stays black, ignored is light grey.

    Example:
        >>> from seglab.labels import PETS
        >>> safe_label_set(PETS).colours
        ((0, 0, 0), (0, 114, 178), (230, 159, 0))
    """
    colours = colour_blind_safe(len(label_set), label_set.colours[0] == (0, 0, 0)).tolist()
    return replace(label_set, colours=tuple(map(tuple, colours)), ignore_colour=(235, 235, 235))
