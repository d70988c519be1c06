"""IoU by the size of objects: a score over all pixels is mostly one of large objects, and hides the small ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from seglab.errors import ArgumentError
from seglab.labels import IGNORE, LabelSet
from seglab.metrics.boundary import exact_distance
from seglab.metrics.segmentation import as_tensor, class_names, confusion_matrix

#: Where medium and large objects begin, in pixels of area. Source: COCO's detection evaluation.
COCO_BOUNDS = (32**2, 96**2)


@dataclass(frozen=True, eq=False)
class SizedScores:
    """Counts of pixels by class and by size of the object, and the IoU that follows; tensors (C, B) on the CPU.

    The last bucket, "none", holds what was predicted in pictures without an object of that class. Row 0, background,
    stays empty.
    """

    buckets: tuple[str, ...]  #: B names
    hits: torch.Tensor  #: int64, true pixels that are found
    support: torch.Tensor  #: int64, true pixels
    false_positives: torch.Tensor  #: int64, pixels that are predicted as the class and are not of it
    objects: torch.Tensor  #: int64, objects with at least one scored pixel

    @property
    def iou(self) -> torch.Tensor:
        """(C, B) float64 in [0, 1]: hits / (support + false_positives); NaN where there is neither."""
        return self.hits.double() / (self.support + self.false_positives)

    @property
    def miou(self) -> torch.Tensor:
        """(B,) float64: mean over the classes that are not NaN."""
        return self.iou.nanmean(0)

    def table(self, label_set: LabelSet | None = None) -> str:
        """A line a class: the IoU in each bucket, and how many objects it rests on; the last column counts the pixels
        predicted in pictures that show none.

        Example:
            >>> truth = np.zeros((64, 64), np.uint8)
            >>> truth[8:16, 8:16], truth[20:60, 20:60] = 1, 1
            >>> found = np.where(np.arange(64) < 40, truth, np.uint8(0))
            >>> metric = SizedIoU(2)
            >>> metric.update(found, truth)
            >>> print(metric.compute().table())
            class        small (n)     medium (n)      large (n)  none (px)
            class 1  1.000     (1)  0.500     (1)    nan     (0)          0
            mean     1.000     (1)  0.500     (1)    nan     (0)          0
        """
        names = class_names(label_set, len(self.support))
        width = max(len(name) for name in (*names, "class"))
        rows = [*zip(names[1:], self.iou[1:], self.objects[1:], self.false_positives[1:, -1], strict=True),
                ("mean", self.miou, self.objects.sum(0), self.false_positives[:, -1].sum())]
        heads = [f"{f'{name} (n)':>13}" for name in self.buckets[:-1]]
        lines = ["  ".join([f"{'class':{width}}", *heads, "none (px)"])]
        for name, ious, counts, elsewhere in rows:
            cells = [f"{iou:5.3f} {f'({count})':>7}" for iou, count in zip(ious[:-1], counts, strict=False)]
            lines.append("  ".join([f"{name:{width}}", *cells, f"{elsewhere:9}"]))
        return "\n".join(lines)


class SizedIoU:
    """IoU of small, medium and large objects, summed over a dataset as `ConfusionMatrix` is.

    A true pixel of class c > 0 counts in the bucket of its object's area. A pixel wrongly predicted as c counts with
    the nearest true pixel of class c in the picture (of buckets at the same distance, with the smaller); where there is
    none, in a bucket of its own, "none". So the buckets add up exactly to the confusion matrix. Background, class 0,
    has no objects and is left out; so is what is ignored, 255.

    Args:
        num_classes: the number of classes C, background included, 1 to 255, or a label set.
        bounds: rising areas in pixels at which the next bucket begins, that area included.

    Attributes:
        counts: the state, (4, C, B) int64, as in `SizedScores`. Its sum over several processes is their joint state.

    Source: the areas are those of COCO's detection evaluation (Lin et al. 2014, arXiv 1405.0312).

    Example:
        >>> truth = np.zeros((50, 50), np.uint8)
        >>> truth[:40, :40], truth[45:, 45:] = 1, 1  # 1600 pixels and 25
        >>> metric = SizedIoU(2)
        >>> metric.update(truth * (np.arange(50) < 45), truth)  # the small one is missed
        >>> metric.compute().buckets, metric.compute().iou[1].tolist()
        (('small', 'medium', 'large', 'none'), [0.0, 1.0, nan, nan])
    """

    def __init__(self, num_classes: int | LabelSet, bounds: Sequence[float] = COCO_BOUNDS) -> None:
        self.num_classes = len(num_classes) if isinstance(num_classes, LabelSet) else int(num_classes)
        self.bounds = tuple(bounds)
        if not self.bounds or any(a >= b for a, b in zip((0, *self.bounds), self.bounds, strict=False)):
            raise ArgumentError("bounds", found=self.bounds, expected="areas above 0, rising, such as (1024, 9216)")
        self.buckets: tuple[str, ...] = ("small", "medium", "large", "none") if len(self.bounds) == 2 else (
            *(f"< {bound:g}" for bound in self.bounds), f">= {self.bounds[-1]:g}", "none")
        self.counts = torch.zeros((4, self.num_classes, len(self.buckets)), dtype=torch.int64)

    def update(self, preds: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray,
               objects: torch.Tensor | np.ndarray | None = None, areas: Sequence[float] | None = None) -> None:
        """Count one picture.

        Args:
            preds: class ids, (H, W), any integer dtype.
            target: class ids, (H, W), any integer dtype, 255 where not to score.
            objects: (H, W) integers: which object a pixel shows, from 1, and 0 for none. An object counts for each
                class that its pixels have in the target. True pixels without a number, and all if `objects` is None,
                form objects as they hang together, corner to corner (8-neighbourhood).
            areas: the area of object k in pixels is `areas[k - 1]`, for instance as annotated, before others hid a part
                of it. By default, the pixels that have its number.

        Raises:
            ArgumentError: shapes or dtypes do not fit, an id is no class, or an object has no area.
        """
        preds, target = (as_tensor(name, ids).cpu() for name, ids in (("preds", preds), ("target", target)))
        if target.ndim != 2 or preds.is_floating_point():
            raise ArgumentError("preds and target", found=f"{tuple(preds.shape)} {preds.dtype}, {tuple(target.shape)}",
                                expected="class ids of one picture, (H, W)", fix="Give one picture at a time.")
        matrix = confusion_matrix(preds, target, self.num_classes)  # it names what does not fit
        numbers, sizes = _numbers_and_areas(target, objects, areas)
        said, truth = preds.numpy(), target.numpy()
        for class_id in (matrix.sum(0) + matrix.sum(1))[1:].nonzero().flatten().add(1).tolist():
            true, found = truth == class_id, (said == class_id) & (truth != IGNORE)
            left, top, width, height = cv2.boundingRect((true | found).view(np.uint8))
            part = slice(top, top + height), slice(left, left + width)  # all that counts, and often little
            self._count(self.counts.numpy()[:, class_id], true[part], found[part], numbers[part], sizes)

    def _count(self, counts: np.ndarray, true: np.ndarray, found: np.ndarray, numbers: np.ndarray,
               areas: np.ndarray) -> None:
        """Add one class in one picture to its counts, (4, B): `true` and `found` are (H, W) bool."""
        place = np.full(true.shape, len(self.buckets) - 1, dtype=np.int16)  # (H, W) buckets, first "none"
        _, parts, stats, _ = cv2.connectedComponentsWithStats((true & (numbers == 0)).astype(np.uint8), connectivity=8)
        for shown, number, area in ((true & (numbers > 0), numbers, areas),
                                    (parts > 0, parts, stats[:, cv2.CC_STAT_AREA])):
            bucket, seen = np.searchsorted(self.bounds, area, side="right"), number[shown]  # by number; (pixels,)
            place[shown] = bucket[seen]
            counts[3] += np.bincount(bucket[np.unique(seen)], minlength=len(self.buckets))
        false = found & ~true
        if true.any() and false.any():
            present = np.unique(place[true])
            distances = [exact_distance(~(true & (place == bucket)))[false] for bucket in present]
            place[false] = present[np.argmin(distances, axis=0)]  # the first wins a tie
        for row, pixels in enumerate((found & true, true, false)):
            counts[row] += np.bincount(place[pixels], minlength=len(self.buckets))

    def compute(self) -> SizedScores:
        """The scores of all that was counted."""
        return SizedScores(self.buckets, *self.counts.clone())


def _numbers_and_areas(target: torch.Tensor, objects: torch.Tensor | np.ndarray | None,
                       areas: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    """The map of objects, 0 for none, and the areas by number, with a place for 0."""
    if objects is None:
        return np.zeros(target.shape, dtype=np.int64), np.zeros(1)
    given = as_tensor("objects", objects)
    if given.shape != target.shape or given.is_floating_point() or (given.numel() and given.min() < 0):
        raise ArgumentError("objects", found=f"{tuple(given.shape)} {given.dtype}",
                            expected=f"whole numbers from 0, {tuple(target.shape)} as the target")
    numbers = given.cpu().numpy().astype(np.int64)
    if areas is None:
        return numbers, np.bincount(numbers.ravel(), minlength=1).astype(np.float64)
    sizes = np.asarray([0, *areas], dtype=np.float64)
    if numbers.max(initial=0) >= len(sizes) or not (sizes >= 0).all():
        raise ArgumentError("areas", found=f"{len(areas)} numbers, from {sizes.min():g}",
                            expected=f"{numbers.max(initial=0)} or more numbers from 0, one for each object")
    return numbers, sizes
