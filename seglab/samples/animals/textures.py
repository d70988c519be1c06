"""Surfaces: colours, photographs from scikit-image's wheel and procedural ones, all grey around 128, and fur."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

FUR_TURNS = 12  # directions of fur
WALLS = ((214, 208, 194), (168, 184, 170), (150, 172, 186), (206, 180, 148), (196, 150, 128), (186, 186, 190),
          (96, 118, 112), (222, 214, 206), (180, 160, 176), (120, 130, 150))
WOODS = ((172, 128, 88), (126, 88, 60), (196, 162, 122), (150, 140, 130), (96, 72, 56))
CLOTHS = ((196, 152, 62), (62, 112, 112), (150, 74, 66), (96, 104, 128), (128, 132, 96), (190, 184, 172), (70, 74, 82),
           (164, 120, 130))
GREENS = ((92, 128, 58), (112, 138, 64), (78, 112, 62), (140, 146, 76), (104, 128, 84))
SKIES = (((126, 168, 214), (206, 222, 234)), ((160, 178, 196), (222, 224, 222)), ((226, 178, 140), (240, 216, 184)),
          ((178, 192, 204), (214, 218, 220)))


def near(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """About one of these colours, (3,) float."""
    return np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.88, 1.08) * rng.uniform(0.96, 1.04, 3)


def tinted(grey: np.ndarray, colour: np.ndarray, depth: float) -> np.ndarray:
    """A grey texture in a colour, which it varies by this share: (H, W) uint8 -> (H, W, 3) uint8."""
    ramp = np.clip(colour * (1 - depth + 2 * depth * np.arange(256)[:, None] / 255), 0, 255).astype(np.uint8)
    return np.asarray(cv2.merge([cv2.LUT(grey, ramp[:, c].copy()) for c in range(3)]))


@cache
def photo(name: str) -> np.ndarray:
    """The photograph "grass" or "gravel": (512, 512) uint8."""
    from skimage import data

    grey = getattr(data, name)().astype(np.float32)
    return np.clip(128 + 42 * (grey - grey.mean()) / grey.std(), 0, 255).astype(np.uint8)


@cache
def boards() -> np.ndarray:
    """Floorboards with grain, that run away from the viewer: (512, 512) uint8."""
    rng = np.random.default_rng(3)
    grain = rng.normal(0, 16, (24, 512)).astype(np.float32)
    wood = 128 + np.asarray(cv2.resize(grain, (512, 512), interpolation=cv2.INTER_CUBIC), np.float32)
    for k in range(0, 512, 64):
        end = int(rng.integers(512))
        for rows in (slice(0, end), slice(end, 512)):
            wood[rows, k:k + 64] += rng.normal(0, 18)
        wood[max(end - 2, 0):end + 2, k:k + 64] -= 70
        wood[:, k:k + 3] -= 70
    return np.clip(wood, 0, 255).astype(np.uint8)


@cache
def tiles() -> np.ndarray:
    """Square tiles with joints: (512, 512) uint8."""
    rng = np.random.default_rng(4)
    grey = np.kron(rng.normal(132, 12, (4, 4)), np.ones((128, 128))) + rng.normal(0, 5, (512, 512))
    for k in range(0, 512, 128):
        grey[k:k + 5] -= 60
        grey[:, k:k + 5] -= 60
    return np.clip(grey, 0, 255).astype(np.uint8)


@cache
def bricks() -> np.ndarray:
    """A wall of bricks with light joints: (512, 512) uint8."""
    rng = np.random.default_rng(6)
    wall = np.empty((512, 512), np.float32)
    for row in range(16):
        tones = np.repeat(rng.normal(112, 20, 8), 64)
        tones[::64] = tones[1::64] = tones[2::64] = 200
        wall[32 * row:32 * row + 32] = np.roll(tones, 32 * (row % 2))
        wall[32 * row:32 * row + 3] = 200
    wall += cv2.resize(rng.normal(0, 12, (128, 128)).astype(np.float32), (512, 512), interpolation=cv2.INTER_CUBIC)
    return np.clip(wall, 0, 255).astype(np.uint8)


@cache
def carpet() -> np.ndarray:
    """Short pile: (512, 512) uint8."""
    rng = np.random.default_rng(5)
    pile = cv2.GaussianBlur(rng.normal(0, 90, (512, 512)).astype(np.float32), (0, 0), 1.6)
    worn = cv2.resize(rng.normal(0, 14, (12, 12)).astype(np.float32), (512, 512), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + pile + worn, 0, 255).astype(np.uint8)


@cache
def fur() -> np.ndarray:
    """Short streaks around 0 in each of `FUR_TURNS` directions: (FUR_TURNS, 512, 512) float32."""
    rng = np.random.default_rng(11)
    noise = rng.standard_normal((512, 512), dtype=np.float32)
    broad = cv2.resize(rng.standard_normal((40, 40), dtype=np.float32), (512, 512), interpolation=cv2.INTER_CUBIC)
    turns = np.empty((FUR_TURNS, 512, 512), np.float32)
    for k, angle in enumerate(np.pi * np.arange(FUR_TURNS) / FUR_TURNS):
        kernel = np.zeros((9, 9), np.float32)
        ends = np.rint(16 * (4 + 3.5 * np.outer((-1, 1), (np.cos(angle), np.sin(angle))))).astype(int).tolist()
        cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, 4)
        streaks = cv2.filter2D(noise, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
        turns[k] = 0.55 * np.clip(streaks / streaks.std(), -2.2, 2.2) + 0.35 * broad
    return turns
