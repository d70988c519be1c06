"""A film made from the samples: cats, a dog and a ball pass through a photograph of a garage, and the camera pans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from skimage.data import chelsea, stereo_motorcycle

from seglab.datasets.io import Size
from seglab.datasets.video import open_writer
from seglab.errors import ArgumentError
from seglab.labels import PETS
from seglab.progress import progress_bar
from seglab.samples.animals import Animal

#: The outline of the cat's head in `skimage.data.chelsea()`, as (x, y); the photograph cuts off the ears.
_HEAD = np.array([(42, 0), (35, 60), (31, 100), (39, 145), (60, 190), (95, 230), (145, 265), (200, 285), (250, 288),
                  (295, 273), (313, 250), (323, 220), (345, 185), (361, 150), (364, 120), (359, 80), (372, 57),
                  (389, 25), (400, 0)])
_RADIUS = 60  # of the ball and a sixth of an animal, in pixels, before they are scaled to the frame


class _Thing(NamedTuple):
    """What moves: a picture, which of its pixels belong to the thing (0 to 1), and their class id."""

    picture: np.ndarray
    alpha: np.ndarray
    class_id: int


def sample_frames(count: int = 60, size: Size = (360, 640), noise: float = 6.0,
                  seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames with the truth: Chelsea the cat along the upper edge, a drawn cat, a drawn dog and a ball on the floor.

    The background is scikit-image's photograph of a motorcycle in a garage (Middlebury Stereo Datasets 2014).

    Args:
        count: frames; everybody passes once, the cats and the ball to the right, the dog to the left.
        size: (height, width) in pixels, each at least 64.
        noise: standard deviation of the camera's noise, in grey levels. It makes predictions flicker.
        seed: of the coats and the noise.

    Yields:
        (H, W, 3) uint8 frame, and (H, W) uint8 mask with the ids of `PETS`; the ball is background.

    Raises:
        ArgumentError: fewer than one frame, or a side below 64.

    Example:
        >>> frame, mask = list(sample_frames(3, size=(64, 96)))[1]
        >>> frame.shape, np.unique(mask).tolist()
        ((64, 96, 3), [0, 1, 2])
    """
    height, width = size
    if count < 1 or min(size) < 64:
        raise ArgumentError("sample_frames", found=f"count {count}, size {size}",
                            expected="1 frame or more, sides of at least 64")
    rng = np.random.default_rng([seed, count])
    garage = _filling(stereo_motorcycle()[0], (height * 9 // 8, width * 9 // 8))
    cat, dog, ball, head = _drawn(rng, True), _drawn(rng, False), _ball(rng), _chelsea()
    for number in range(count):
        share = number / max(1, count - 1)
        camera = np.array([[1, 0, -share * width / 8], [0, 1, -share * height / 8]], np.float32)
        frame = cv2.warpAffine(garage, camera, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
        mask = np.zeros(size, np.uint8)
        hop = abs(np.sin(7 * np.pi * share))  # 0 on the floor, 1 at the top
        for thing, tall, across, down, angle in (
                (dog, 0.78, 0.9 - 0.75 * share, 0.6 - 0.03 * hop, 4 * np.sin(9 * np.pi * share)),
                (cat, 0.66, 0.1 + 0.8 * share, 0.68 - 0.05 * hop, -5 * np.sin(8 * np.pi * share)),
                (ball, 0.15, -0.1 + 1.2 * share, 0.9 - 0.2 * abs(np.sin(5 * np.pi * share)), 720 * share),
                (head, 0.5, -0.1 + 1.1 * share, 0.22 + 0.015 * np.sin(8 * np.pi * share), 0.0)):
            _place(thing, frame, mask, tall * height, (across * width, down * height), angle)
        frame += rng.normal(0, noise, frame.shape)
        yield frame.round().clip(0, 255).astype(np.uint8), mask


def write_video_sample(path: str | Path, count: int = 60, size: Size = (360, 640), fps: float = 15,
                       seed: int = 0, progress: bool = True) -> Path:
    """Write `sample_frames` as a video; a file that is there is replaced when the new one is complete.

    Args:
        path: the file; .webm plays in browsers.
        count, size, seed: as for `sample_frames`.
        fps: frames per second.
        progress: show a bar.
    """
    with open_writer(path, fps, size) as writer:
        for frame, _ in progress_bar(sample_frames(count, size, seed=seed), total=count, desc="drawing a video",
                                     unit="frame", shown=progress):
            writer.write(frame)
    return Path(path).expanduser()


def _filling(photo: np.ndarray, size: Size) -> np.ndarray:
    """A photograph scaled to fill this size, and what is too much cut off at the top, or at the sides alike."""
    scale = max(side / has for side, has in zip(size, photo.shape[:2], strict=True))
    tall, wide = (max(side, round(has * scale)) for side, has in zip(size, photo.shape[:2], strict=True))
    scaled = cv2.resize(photo, (wide, tall), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left = (wide - size[1]) // 2
    return scaled[tall - size[0]:, left:left + size[1]]


def _drawn(rng: np.random.Generator, is_cat: bool) -> _Thing:
    """A walking animal: a cat looks to the right, a dog to the left, where they go."""
    side = 6 * _RADIUS
    picture = np.full((side, side, 3), 120, np.uint8)
    animal = Animal(rng, is_cat, ("striped", "patched", "plain")[rng.integers(3)], "walk", turn=0)
    left, top, right, bottom = animal.bounds
    scale = 0.97 * side / max(right - left, bottom - top)
    outline = animal.draw(picture, (side / 2, side / 2 + scale * (bottom - top) / 2), scale)
    if (animal.facing > 0) != is_cat:
        picture, outline = picture[:, ::-1].copy(), outline[:, ::-1].copy()
    return _Thing(picture, _soft(outline), PETS.id("cat" if is_cat else "dog"))


def _ball(rng: np.random.Generator) -> _Thing:
    side = 2 * _RADIUS
    picture = np.full((side, side, 3), rng.integers(60, 255, 3), np.uint8)
    for start in range(0, 360, 120):  # stripes, so that it is seen to roll
        cv2.ellipse(picture, (_RADIUS, _RADIUS), (_RADIUS, _RADIUS), start, 0, 60, (240, 240, 240), -1)
    outline = cv2.circle(np.zeros((side, side), np.uint8), (_RADIUS, _RADIUS), _RADIUS - 2, 255, -1)
    return _Thing(picture, _soft(outline), PETS.id("background"))


def _chelsea() -> _Thing:
    photo = chelsea()
    outline = cv2.fillPoly(np.zeros(photo.shape[:2], np.uint8), [_HEAD.astype(np.int32)], 255)
    return _Thing(photo, _soft(outline), PETS.id("cat"))


def _soft(outline: np.ndarray) -> np.ndarray:
    """An outline, 0 or 255, as shares with a soft edge, as a lens draws it."""
    return cv2.GaussianBlur(outline.astype(np.float32) / 255, (0, 0), 1.5)


def _place(thing: _Thing, frame: np.ndarray, mask: np.ndarray, tall: float, centre: tuple[float, float],
           angle: float) -> None:
    """Paint a thing on a frame and its mask: `tall` pixels high, its middle at (x, y), turned by degrees."""
    height, width = thing.alpha.shape
    place = cv2.getRotationMatrix2D((width / 2, height / 2), angle, tall / height)
    place[:, 2] += np.array(centre) - (width / 2, height / 2)
    to = mask.shape[::-1]
    alpha = cv2.warpAffine(thing.alpha, place, to)
    frame += alpha[..., None] * (cv2.warpAffine(thing.picture, place, to, flags=cv2.INTER_AREA) - frame)
    mask[alpha > 0.5] = thing.class_id
