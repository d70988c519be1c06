"""Scores near outlines: there a segmentation fails first, and over all pixels it hardly shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from seglab.errors import ArgumentError
from seglab.labels import LabelSet
from seglab.metrics.segmentation import ConfusionMatrix, SegmentationScores, as_tensor, predictions, scores


def exact_distance(inside: np.ndarray) -> np.ndarray:
    """Euclidean distance of each True pixel to the nearest False one, in pixels: (H, W) bool -> (H, W) float64."""
    # The precise kind: masks of 3 or 5 pixels are off by some per cent, which would move pixels between bands.
    found = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float64)
    # Its last digits differ from call to call (OpenCV issue 24082), and 8.000001 would lie beyond a band of 8. The
    # square of a distance is a whole number: rounded, it is exact up to distances of about 1,000.
    return np.sqrt(np.rint(found**2))


def boundary_distance(mask: torch.Tensor | np.ndarray) -> np.ndarray:
    """How far every pixel is from the outline of its region: the distance to the nearest pixel of another value.

    Ignored pixels, 255, are another value too: where a border between objects is ignored, distances begin there.

    Args:
        mask: (H, W), any integer dtype.

    Returns:
        (H, W) float32, Euclidean, in pixels from 1; infinite if the mask has one value only.

    Raises:
        ArgumentError: not (H, W), or not integers.

    Example:
        >>> boundary_distance(np.array([[0, 0, 0, 1, 255]])).tolist()
        [[3.0, 2.0, 1.0, 1.0, 1.0]]
    """
    given = as_tensor("mask", mask)
    if given.ndim != 2 or given.is_floating_point():
        raise ArgumentError("mask", found=f"shape {tuple(given.shape)}, {given.dtype}", expected="integers, (H, W)")
    values = given.cpu().numpy()
    distance = np.full(values.shape, np.inf, dtype=np.float32)
    ids = np.unique(values)
    for value in ids if len(ids) > 1 else ():
        inside = values == value
        distance[inside] = exact_distance(inside)[inside]
    return distance


@dataclass(frozen=True, eq=False)
class BoundaryScores:
    """Scores within bands of rising width along the outlines, and beyond the widest."""

    widths: tuple[float, ...]  #: in pixels, W of them, rising
    bands: tuple[SegmentationScores, ...]  #: W: of all pixels at most so far from an outline
    beyond: SegmentationScores  #: of the pixels farther away than the widest
    total: SegmentationScores  #: of all pixels

    @property
    def pixel_accuracy(self) -> list[float]:
        """W: share of the scored pixels in each band that are right; NaN where there is none."""
        return [band.pixel_accuracy for band in self.bands]

    @property
    def miou(self) -> list[float]:
        """W: mIoU of each band, from its own pixels alone."""
        return [band.miou for band in self.bands]

    def table(self) -> str:
        """A line a band: its scored pixels, pixel accuracy and mIoU.

        Example:
            >>> truth = np.zeros((10, 10), np.uint8)
            >>> truth[:, 5:] = 1
            >>> metric = BandMatrix(2, widths=(1, 2))
            >>> metric.update(np.roll(truth, 1, axis=1), truth)  # one column late; the last one comes in at the left
            >>> print(metric.compute().table())
            pixels from outline  scored  accuracy   mIoU
            up to 1                  20     0.500  0.250
            up to 2                  40     0.750  0.583
            beyond                   60     0.833  0.708
            all                     100     0.800  0.667
        """
        names = [*(f"up to {width:g}" for width in self.widths), "beyond", "all"]
        size = max(6, len(str(int(self.total.support.sum()))))
        return "\n".join([f"pixels from outline  {'scored':>{size}}  accuracy   mIoU", *(
            f"{name:19}  {int(one.support.sum()):{size}}  {one.pixel_accuracy:8.3f}  {one.miou:5.3f}"
            for name, one in zip(names, (*self.bands, self.beyond, self.total), strict=True))])


class BandMatrix:
    """Accuracy near outlines, summed over a dataset as `ConfusionMatrix` is ("trimap" evaluation).

    A pixel is in the band of width w if its `boundary_distance` in the truth is at most w: with width 1, the pixels on
    both sides of each outline. What is ignored is not scored.

    Args:
        num_classes: the number of classes C, 1 to 255, or a label set.
        widths: rising, in pixels of the masks as they come: of full pictures and of resized ones they differ.

    Attributes:
        rings: W + 1 `ConfusionMatrix`, of the pixels up to the first width, from there to the next, …, and beyond.

    Source: Kohli, Ladický and Torr, "Robust higher order potentials for enforcing label consistency" (2009), section 6;
    Krähenbühl and Koltun (2011), arXiv 1210.5644, figure 6; Chen et al., "DeepLab" (2016), arXiv 1606.00915, figure 11.

    Example:
        >>> truth = np.array([[0, 0, 0, 0, 1, 1, 1, 1]])
        >>> metric = BandMatrix(2, widths=(1, 2))
        >>> metric.update(np.array([[0, 0, 0, 1, 1, 1, 1, 1]]), truth)
        >>> found = metric.compute()
        >>> found.pixel_accuracy, found.beyond.pixel_accuracy
        ([0.5, 0.75], 1.0)
    """

    def __init__(self, num_classes: int | LabelSet, widths: Sequence[float] = (1, 2, 4, 8, 16)) -> None:
        self.widths = tuple(widths)
        if not (self.widths and all(a < b for a, b in zip((0, *widths), (*widths, math.inf), strict=True))):
            raise ArgumentError("widths", found=self.widths, expected="numbers of pixels above 0, rising")
        self.rings = [ConfusionMatrix(num_classes) for _ in range(len(self.widths) + 1)]
        self.num_classes = self.rings[0].num_classes

    def update(self, preds: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> None:
        """Count one batch, as `ConfusionMatrix.update` does; distances are those within each picture."""
        preds, target = as_tensor("preds", preds), as_tensor("target", target).cpu()
        if preds.is_floating_point() and preds.ndim > 2 and preds.shape[-3] == self.num_classes:
            preds = predictions(preds)  # (N, H, W)
        preds = preds.cpu()
        ConfusionMatrix(self.num_classes).update(preds, target)  # says what does not fit, before anything is counted
        if not target.numel():
            return
        distances = [boundary_distance(mask) for mask in target.reshape(-1, *target.shape[-2:])]  # N of (H, W)
        ring = torch.from_numpy(np.searchsorted(self.widths, np.stack(distances))).view(target.shape)
        for number, matrix in enumerate(self.rings):
            here = ring == number
            matrix.update(preds[here][None], target[here][None])  # (1, pixels)

    def compute(self) -> BoundaryScores:
        """The scores of everything counted so far."""
        sums = torch.stack([ring.matrix() for ring in self.rings]).cumsum(0)  # (W + 1, C, C)
        return BoundaryScores(self.widths, tuple(map(scores, sums[:-1])), self.rings[-1].compute(), scores(sums[-1]))

    def reset(self) -> None:
        """Forget all counts."""
        for ring in self.rings:
            ring.reset()
