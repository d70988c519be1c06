"""Cats and dogs, drawn by code: what tells them apart is shape, not colour, place, pose or size.

Both kinds share coats, poses, sizes and places with the same probabilities. A cat has a round head with pointed ears,
slit pupils and whiskers, a slim neck, short legs and a long thin tail; a dog has a long muzzle and mostly hanging ears,
a deep chest, longer legs and a short tail. Some of everything is turned away, hidden, cut by the frame, blurred or in
bad light, so that no single trick gives the answer away.

An `Animal` is a skeleton (`skeleton`, `poses`) in paint (`drawing`, `coats`, `faces`). It is drawn on a `Place`, a room
or a garden (`places`, `textures`), perhaps behind something (`things`).
"""

from __future__ import annotations

import cv2
import numpy as np

from seglab.errors import ArgumentError
from seglab.samples.animals.coats import MARKS
from seglab.samples.animals.drawing import Animal
from seglab.samples.animals.places import Place
from seglab.samples.animals.poses import POSES
from seglab.samples.animals.things import ball, before, camera

__all__ = ["ANIMALS", "MARKS", "OVER", "POSES", "VERSION", "Animal", "Place", "ball", "before", "camera",
           "draw_animal", "set_down"]

ANIMALS = ("cats", "dogs")
VERSION = 2  # of the drawings: raise it when they change, so that old samples are left alone
OVER = 2  # drawn at twice the size and averaged down: smooth edges


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
    place = Place(rng, OVER * size[0], OVER * size[1])
    animal = Animal(rng, kind == "cats")
    animal.draw(place.picture, *set_down(rng, animal, place, (0.62, 1.0), cut=0.12))
    if rng.random() < 0.15:
        before(rng, place)
    return camera(rng, cv2.resize(place.picture, size[::-1], interpolation=cv2.INTER_AREA))


def set_down(rng: np.random.Generator, animal: Animal, place: Place, shares: tuple[float, float],
             cut: float = 0.18) -> tuple[tuple[float, float], float]:
    """Where a single animal stands on a picture, and how large: what `Animal.draw` wants.

    Args:
        rng: what is random about it.
        animal: the animal.
        place: its feet stand on this floor.
        shares: bounds of its size, as a share of the picture's shorter side: the root of its height times its width.
        cut: how often the frame cuts off a part of it.

    Returns:
        ((x, y) of the middle of its lower edge in pixels, pixels of the radius of a cat's head).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> place, animal = Place(rng, 320, 320), Animal(rng, is_cat=True)
        >>> (x, y), scale = set_down(rng, animal, place, (0.5, 0.6), cut=0)
        >>> bool(place.horizon < y < 320), bool(scale * (animal.bounds[3] - animal.bounds[1]) < 320)
        (True, True)
    """
    height, width = place.picture.shape[:2]
    left, top, right, bottom = animal.bounds
    wide, tall = right - left, bottom - top
    share = rng.uniform(*shares)
    scale = share * min(height, width) / np.sqrt(wide * tall)
    if rng.random() < cut and animal.head.view != "back":  # from behind, ears and tail must do
        loss, way = rng.uniform(0.1, 0.28), rng.integers(3)
        scale = min(scale * rng.uniform(1.0, 1.3), 1.2 * width / wide)
        y = max(rng.uniform(place.horizon + 0.12 * height, 0.98 * height), min(tall * scale, 0.98 * height))
        x = width * rng.uniform(0.35, 0.65)
        if way == 0:
            scale = min(scale, 0.94 * width / wide)
            x, y = width / 2, height + tall * scale * loss
        elif animal.facing > 0:  # the head stays in the picture
            x = wide * scale * (0.5 - loss)
        else:
            x = width - wide * scale * (0.5 - loss)
        return (x, y), scale
    scale = min(scale, 0.94 * width / wide, 0.94 * height / tall)
    free = (width - wide * scale) / 2
    x = width / 2 + 0.9 * free * rng.uniform(-1, 1)
    near = place.horizon + (height - place.horizon) * np.clip(0.25 + 0.6 * share + rng.uniform(-0.25, 0.25), 0.15, 0.97)
    return (x, max(near, min(tall * scale + 4, 0.985 * height))), scale
