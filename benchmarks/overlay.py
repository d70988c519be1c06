"""Colours over a picture: beside the loop over classes of tutorials, and torchvision's `draw_segmentation_masks`.

    python -m benchmarks.overlay

A 1280×853 picture with a mask of 21 classes. All three must give the same picture, to one grey level.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torchvision.utils import draw_segmentation_masks

from benchmarks.compare import OURS, Part, run_part
from seglab.labels import VOC
from seglab.viz import overlay
from seglab.viz.palettes import as_drawn

LOOP, TORCHVISION = "a loop over classes", "torchvision's draw_segmentation_masks"


def by_class(mask: np.ndarray) -> np.ndarray:
    """The usual way to colours: three channels, painted class by class, as in many FCN tutorials."""
    red, green, blue = (np.zeros_like(mask) for _ in range(3))
    for class_id, (r, g, b) in enumerate(as_drawn(VOC).colours):
        where = mask == class_id
        red[where], green[where], blue[where] = r, g, b
    return np.stack([red, green, blue], axis=2)


def blended(picture: np.ndarray, mask: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """And then a weighted sum."""
    return (picture * (1 - alpha) + by_class(mask) * alpha).round().astype(np.uint8)


def drawn(picture: np.ndarray, mask: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """As in torchvision's gallery: a boolean mask for each class."""
    pixels, ids = torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(mask)
    masks = ids == torch.arange(len(VOC))[:, None, None]  # (21, H, W)
    return draw_segmentation_masks(pixels, masks, alpha, list(as_drawn(VOC).colours)).permute(1, 2, 0).numpy()


def measure(options: argparse.Namespace) -> Part:
    part, rng = Part("Colours and overlays"), np.random.default_rng(0)
    height, width = (85, 128) if options.quick else (853, 1280)
    picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    blocks = np.kron(rng.integers(0, 21, (27, 40), dtype=np.uint8), np.ones((32, 32), np.uint8))
    mask = np.ascontiguousarray(blocks[:height, :width])

    def ours() -> np.ndarray:
        return overlay(picture, mask, VOC, hidden=())  # the others paint the background, too

    labels = as_drawn(VOC)
    assert np.array_equal(labels.colourise(mask), by_class(mask))
    for way in (blended, drawn):
        assert np.abs(way(picture, mask).astype(int) - ours()).max() <= 1
    repeats = 2 if options.quick else 15
    part.compare(f"class ids to colours, {width}×{height}", {OURS: lambda: labels.colourise(mask),
                                                            LOOP: lambda: by_class(mask)},
                 repeats=repeats, items=1, unit="pictures", same="the colours are the same")
    part.compare(f"overlay, {width}×{height}", {OURS: ours, LOOP: lambda: blended(picture, mask),
                                               TORCHVISION: lambda: drawn(picture, mask)},
                 repeats=repeats, items=1, unit="pictures", goals={LOOP: 7, TORCHVISION: 50},
                 same="the pictures are the same to one grey level",
                 reason="A table of colours and a blend in whole numbers; what is left is the memory that a picture "
                        "passes through.")
    return part


if __name__ == "__main__":
    run_part(measure)
