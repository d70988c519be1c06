"""A video made from the samples: a camera glides over a drawn landscape, and a cat passes in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from skimage.data import chelsea

from seglab.datasets.io import Size
from seglab.datasets.video import open_writer
from seglab.errors import ArgumentError
from seglab.labels import PETS
from seglab.progress import progress_bar
from seglab.samples.aerial import draw_aerial

#: The outline of the cat's head in `skimage.data.chelsea()`, as (x, y); the photograph cuts off the ears.
_HEAD = np.array([(42, 0), (35, 60), (31, 100), (39, 145), (60, 190), (95, 230), (145, 265), (200, 285), (250, 288),
                  (295, 273), (313, 250), (323, 220), (345, 185), (361, 150), (364, 120), (359, 80), (372, 57),
                  (389, 25), (400, 0)])


def sample_frames(count: int = 60, size: Size = (360, 640), noise: float = 6.0,
                  seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames with the truth: an aerial scene below, and Chelsea the cat along the upper edge.

    Args:
        count: frames; the cat passes once, from left to right.
        size: (height, width) in pixels, each at least 64.
        noise: standard deviation of the camera's noise, in grey levels. It makes predictions flicker.
        seed: of the scene and the noise.

    Yields:
        (H, W, 3) uint8 frame, and (H, W) uint8 mask with the ids of `PETS`.

    Raises:
        ArgumentError: fewer than one frame, or a side below 64.

    Example:
        >>> frame, mask = list(sample_frames(3, size=(64, 96)))[1]
        >>> frame.shape, np.unique(mask).tolist()
        ((64, 96, 3), [0, 1])
    """
    height, width = size
    if count < 1 or min(size) < 64:
        raise ArgumentError("sample_frames", found=f"count {count}, size {size}",
                            expected="1 frame or more, sides of at least 64")
    rng = np.random.default_rng([seed, count])
    scene, _ = draw_aerial(seed, 0, (height * 5 // 4, width * 5 // 4))
    photo = chelsea()
    outline = cv2.fillPoly(np.zeros(photo.shape[:2], np.float32), [_HEAD.astype(np.int32)], 1.0)
    outline = cv2.GaussianBlur(outline, (0, 0), 1.5)  # a soft edge, as a lens draws it
    scale = 0.62 * height / photo.shape[0]
    for number in range(count):
        share = number / max(1, count - 1)
        # The camera glides diagonally; the cat swings a little, and stays cut off by the frame where the photo is.
        camera = np.array([[1, 0, -share * width / 4], [0, 1, -share * height / 4]], np.float32)
        frame = cv2.warpAffine(scene, camera, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
        bob = 0.02 * height * np.sin(share * 8 * np.pi)
        left = -0.55 * scale * photo.shape[1] + share * (width + 0.1 * scale * photo.shape[1])
        place = np.array([[scale, 0, left], [0, scale, bob - 0.03 * height]], np.float32)
        cat = cv2.warpAffine(photo, place, (width, height), flags=cv2.INTER_AREA)
        alpha = cv2.warpAffine(outline, place, (width, height))[..., None]  # (H, W, 1)
        frame += alpha * (cat - frame)
        frame += rng.normal(0, noise, frame.shape)
        mask = np.where(alpha[..., 0] > 0.5, np.uint8(PETS.id("cat")), np.uint8(0))
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
