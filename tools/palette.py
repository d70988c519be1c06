"""How the colours of `seglab.viz.palettes` were chosen: `python -m tools.palette` prints them, in hexadecimal.

The first seven are those of Okabe and Ito. Each further one is, among 729, the one whose nearest neighbour is farthest
away for the eyes that see the difference least.
"""

from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab

#: What a dichromat sees of linear RGB. Source: Machado, Oliveira and Fernandes, "A Physiologically-based Model for
#: Simulation of Color Vision Deficiency" (2009), severity 1.0.
DICHROMATS = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                     (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
#: Okabe and Ito, "Color Universal Design" (2008), without black; sky blue and vermilion first.
OKABE_ITO = ((86, 180, 233), (213, 94, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (0, 114, 178), (230, 159, 0))
#: Background, paper, and ignored.
TAKEN = ((0, 0, 0), (255, 255, 255), (235, 235, 235))


def simulate(colours: np.ndarray, vision: str) -> np.ndarray:
    """Colours (..., 3), uint8 RGB, as a dichromat sees them, applied in linear RGB."""
    values = np.asarray(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(DICHROMATS[vision]).T).clip(0, 1)
    values = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return (values * 255).round().astype(np.uint8)


def seen_by_all(colours: np.ndarray) -> np.ndarray:
    """Lab of (C, 3) colours for normal and dichromatic eyes, (4, C, 3)."""
    views = [colours, *(simulate(colours, vision) for vision in DICHROMATS)]
    return np.stack([rgb2lab(view[None])[0] for view in views])


def least_difference(colours: np.ndarray) -> float:
    """The smallest difference (CIE 1976, in Lab) of any two of (C, 3) colours, for the eyes that see it least.

    2 is just noticeable side by side; 10 is told apart at a glance.
    """
    lab = seen_by_all(np.asarray(colours))
    apart = np.linalg.norm(lab[:, :, None] - lab[:, None], axis=-1)  # (4, C, C)
    return float(apart[:, ~np.eye(len(colours), dtype=bool)].min())


def choose(count: int) -> np.ndarray:
    """The first colours, (count, 3) uint8."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)  # (729, 3)
    seen, chosen = seen_by_all(grid), [*OKABE_ITO]
    taken = seen_by_all(np.array([*chosen, *TAKEN], dtype=np.uint8))
    nearest = np.linalg.norm(seen[:, :, None] - taken[:, None], axis=-1).min(axis=(0, 2))  # (729,)
    while len(chosen) < count:
        best = int(nearest.argmax())
        chosen.append(tuple(grid[best].tolist()))
        nearest = np.minimum(nearest, np.linalg.norm(seen - seen[:, best][:, None], axis=-1).min(axis=0))
    return np.array(chosen[:count], dtype=np.uint8)


if __name__ == "__main__":
    print(choose(255).tobytes().hex())
