"""Scores of a segmentation: one confusion matrix over a whole dataset, and everything that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seglab.errors import ArgumentError
from seglab.labels import IGNORE, LabelSet

#: Side of the table that a metric keeps: ids 0 to 255, then one place for ids above and one for ids below.
_SIDE = 258
#: The scores that are one number each.
SCORE_NAMES = ("pixel_accuracy", "mean_class_accuracy", "miou", "frequency_weighted_iou", "mean_dice")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def predictions(logits: torch.Tensor) -> torch.Tensor:
    """The class of every pixel, as in `logits.argmax(1)`, but on the CPU faster: (N, H, W) or (H, W), uint8.

    Args:
        logits: (N, C, H, W) or (C, H, W), any floating dtype and memory format, C from 2 to 256. The lowest id wins a
            tie, and the first NaN wins over all.

    Raises:
        ArgumentError: logits of another shape or dtype, or of one channel, whose highest score would say nothing.

    Example:
        >>> logits = torch.tensor([0.1, 0.7, 0.7]).reshape(1, 3, 1, 1)
        >>> predictions(logits)
        tensor([[[1]]], dtype=torch.uint8)
    """
    if logits.ndim not in (3, 4) or not logits.is_floating_point() or not 2 <= logits.shape[-3] <= 256:
        one = logits.ndim in (3, 4) and logits.shape[-3] == 1
        raise ArgumentError("logits", found=f"shape {tuple(logits.shape)}, {logits.dtype}",
                            expected="shape (N, C, H, W) or (C, H, W), floating, 2 to 256 classes",
                            fix="A network for one kind of object needs two channels, background and object: with its "
                                "logit x, torch.cat([torch.zeros_like(x), x], 1) says the same." if one else None)
    logits = logits.detach()
    if logits.device.type == "cpu" and logits.stride(-3) != 1:
        # A running maximum over planes. In channels-last, a pixel's scores are neighbours, and argmax is as fast.
        best, *planes = logits.unbind(-3)
        ids = torch.zeros(best.shape, dtype=torch.uint8)
        for number, plane in enumerate(planes, start=1):
            torch.maximum(ids, (plane > best).view(torch.uint8) * number, out=ids)  # ids only grow
            best = torch.maximum(best, plane)
        if not best.isnan().any():  # `maximum` hands NaN on, `>` is false for it: such ids are not to be trusted
            return ids
    return logits.argmax(-3).to(torch.uint8)  # (N, H, W)


class ConfusionMatrix:
    """A confusion matrix that adds up over batches; rows are the truth, columns the prediction; 255 is not scored.

    So the scores are those of the dataset as a whole, whatever the batch size; no means over batches.

    Args:
        num_classes: the number of classes C, 1 to 255, or a label set.
        device: "cpu" or "cuda": where to count. Inputs are moved there. On "cuda", `update` never waits.

    Attributes:
        counts: the state, (258, 258) int64: pixels by target id and predicted id, 0 to 255 as they came, 256 for
            larger ids, 257 for negative ones. Its sum over several processes is their joint state.

    Source: the scores follow Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation"
    (2015), section 5; the interface follows torchmetrics.

    Example:
        >>> metric = ConfusionMatrix(2)
        >>> metric.update(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 0]]))
        >>> metric.update(torch.tensor([[0, 0, 0]]), torch.tensor([[0, 1, 255]]))
        >>> metric.compute().matrix.tolist(), metric.compute().pixel_accuracy
        ([[2, 1], [1, 1]], 0.6)
    """

    def __init__(self, num_classes: int | LabelSet, device: str | torch.device = "cpu") -> None:
        self.num_classes = len(num_classes) if isinstance(num_classes, LabelSet) else int(num_classes)
        if not 1 <= self.num_classes <= 255:
            raise ArgumentError("num_classes", found=num_classes, expected="1 to 255 classes, or a label set")
        with torch.inference_mode(False):  # so that a metric made during inference can be used afterwards
            self.counts = torch.zeros((_SIDE, _SIDE), dtype=torch.int64, device=device)

    def update(self, preds: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> None:
        """Count one batch.

        Args:
            preds: class ids, (N, H, W) or (H, W), any integer dtype; or logits, (N, C, H, W) or (C, H, W), floating.
            target: class ids, (N, H, W) or (H, W), any integer dtype, 255 where not to score.

        Raises:
            ArgumentError: shapes or dtypes do not fit, or an id is no class (of `preds`, at ignored pixels too). On the
                CPU nothing of the batch is counted. On CUDA, where looking would mean waiting, `compute` raises.
        """
        preds, target = as_tensor("preds", preds), as_tensor("target", target)
        ids, logits = target.shape, (*target.shape[:-2], self.num_classes, *target.shape[-2:])
        wanted, kind = (logits, "logits") if preds.is_floating_point() else (ids, "class ids")
        if preds.shape != wanted or target.ndim not in (2, 3) or target.dtype not in _INTEGERS:
            raise ArgumentError(
                "preds and target do not fit", found=f"preds {tuple(preds.shape)} {preds.dtype}, "
                f"target {tuple(target.shape)} {target.dtype}",
                expected=f"integer target (N, H, W) or (H, W); for it, {kind} of shape {tuple(wanted)}",
                fix="Resize logits to the target's height and width first; give class ids as integers.")
        if kind == "logits":
            preds = predictions(preds)  # (N, H, W)
        preds, target = preds.to(self.counts.device), target.to(self.counts.device)
        (self._count_without_waiting if self.counts.is_cuda else self._count_on_cpu)(preds, target)

    def _count_on_cpu(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        for name, ids, highest in (("preds", preds, self.num_classes - 1), ("target", target, IGNORE)):
            if ids.numel() and not (ids.min() >= 0 and ids.max() <= highest):
                self._raise_for_strays(name, *np.unique(ids.numpy(), return_counts=True))
        index = target.to(torch.int32) * self.num_classes + preds.to(torch.int32)
        counted = torch.bincount(index.flatten(), minlength=256 * self.num_classes).view(256, self.num_classes)
        # Target ids have the whole byte to themselves, hence no mask: ignored pixels have their own row.
        self._raise_for_strays("target", range(256), counted.sum(1))
        self.counts[:256, :self.num_classes] += counted

    def _count_without_waiting(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        # Python must not look at a value here. bincount would: it sizes its result by the largest one.
        # Ids that do not fit go to place 256 (above) or 257 (below): -1 mod 258.
        row, column = (ids.to(torch.int64).clamp(-1, 256).remainder_(_SIDE) for ids in (target, preds))
        index = row.mul_(_SIDE).add_(column).flatten()  # (pixels,)
        self.counts.view(-1).scatter_add_(0, index, torch.ones_like(index))

    def _raise_for_strays(self, name: str, ids: Iterable[Any], pixels: Any) -> None:
        """An ArgumentError if there are pixels, counted by id, of an id that is no class."""
        strays = [f"{i} (pixels: {n})" for i, n in zip(ids, pixels.tolist(), strict=True)
                  if n and i not in range(self.num_classes) and not (name == "target" and i == IGNORE)]
        if strays:
            more = f" and {len(strays) - 8} more ids" if len(strays) > 8 else ""
            raise ArgumentError(f"{name}: ids that are no class", found="id " + ", ".join(strays[:8]) + more,
                                expected=f"0 to {self.num_classes - 1}" + f", {IGNORE} to ignore" * (name == "target"),
                                fix="Check the number of classes and how the masks were made.")

    def matrix(self) -> torch.Tensor:
        """The counts so far, (C, C) int64 on the CPU; ArgumentError when there are ids that are no class."""
        counts = self.counts.cpu()
        for axis, name in enumerate(("preds", "target")):
            self._raise_for_strays(name, [*range(256), "above 255", "below 0"], counts.sum(axis))
        return counts[: self.num_classes, : self.num_classes].clone()

    def compute(self) -> SegmentationScores:
        """The scores of everything counted so far; ArgumentError as in `matrix`."""
        return scores(self.matrix())

    def reset(self) -> None:
        """Forget all counts."""
        self.counts.zero_()


@dataclass(frozen=True, eq=False)
class SegmentationScores:
    """Scores read from a confusion matrix; tensors on the CPU, float64, all in [0, 1].

    NaN means that there is nothing to measure, and stays out of every mean. A class has no accuracy without a true
    pixel, and no IoU and Dice when it is neither true nor predicted anywhere.
    """

    matrix: torch.Tensor  #: (C, C) int64, rows truth, columns prediction
    pixel_accuracy: float  #: share of the scored pixels that are right
    class_accuracy: torch.Tensor  #: (C,) share of the true pixels of a class that are right (recall)
    mean_class_accuracy: float
    iou: torch.Tensor  #: (C,) intersection over union of true and predicted pixels (Jaccard index)
    miou: float
    frequency_weighted_iou: float  #: mean of `iou`, weighted by the true pixels of the classes
    dice: torch.Tensor  #: (C,) twice the intersection over the sum of both, 2 IoU / (1 + IoU) (F1 score)
    mean_dice: float
    support: torch.Tensor  #: (C,) int64, true pixels of a class

    def as_dict(self) -> dict[str, float]:
        """The five scores that are one number each, for a log."""
        return {name: getattr(self, name) for name in SCORE_NAMES}

    def table(self, label_set: LabelSet | None = None) -> str:
        """A line a class (share of the scored pixels, accuracy, IoU), then the means.

        Example:
            >>> print(scores(torch.tensor([[6, 2], [0, 2]])).table())
            class    pixels  accuracy    IoU
            class 0   80.0%     0.750  0.750
            class 1   20.0%     1.000  0.500
            mean                0.875  0.625
            pixel accuracy 0.800, frequency-weighted IoU 0.700, mean Dice 0.762
        """
        names = class_names(label_set, len(self.iou))
        width = max(len(name) for name in (*names, "class"))
        columns = [x.tolist() for x in (self.support / self.support.sum(), self.class_accuracy, self.iou)]
        lines = [f"{'class':{width}}  pixels  accuracy    IoU"]
        lines += [f"{name:{width}}  {share:6.1%}  {accuracy:8.3f}  {iou:5.3f}"
                  for name, share, accuracy, iou in zip(names, *columns, strict=True)]
        lines += [f"{'mean':{width}}  {'':6}  {self.mean_class_accuracy:8.3f}  {self.miou:5.3f}",
                  f"pixel accuracy {self.pixel_accuracy:.3f}, frequency-weighted IoU "
                  f"{self.frequency_weighted_iou:.3f}, mean Dice {self.mean_dice:.3f}"]
        return "\n".join(lines)


def confusion_matrix(preds: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray,
                     num_classes: int | LabelSet) -> torch.Tensor:
    """The confusion matrix of one batch, (C, C) int64 on the CPU; `ConfusionMatrix` as a function.

    Example:
        >>> confusion_matrix(np.array([[0, 1, 1]]), np.array([[0, 1, 255]]), num_classes=2).tolist()
        [[1, 0], [0, 1]]
    """
    metric = ConfusionMatrix(num_classes)
    metric.update(preds, target)
    return metric.matrix()


def scores(matrix: torch.Tensor | np.ndarray) -> SegmentationScores:
    """All scores of a confusion matrix, (C, C) integers from 0, rows truth; ArgumentError for anything else.

    Example:
        >>> scores(torch.tensor([[3, 1], [0, 0]])).as_dict()["miou"]
        0.375
    """
    matrix = as_tensor("matrix", matrix).cpu()
    if matrix.ndim != 2 or len(set(matrix.shape)) != 1 or matrix.dtype not in _INTEGERS or (matrix < 0).any():
        raise ArgumentError("confusion matrix", found=f"shape {tuple(matrix.shape)}, {matrix.dtype}",
                            expected="a square matrix of counts, integers from 0")
    matrix = matrix.to(torch.int64)
    hits, truth, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)  # (C,) each
    # Integers until here, so that sums are exact. Below, 0 / 0 is NaN without a warning: just what is wanted.
    accuracy, iou = hits.double() / truth, hits.double() / (truth + predicted - hits)
    dice, total = 2 * hits.double() / (truth + predicted), truth.sum().double()
    return SegmentationScores(
        matrix=matrix, support=truth, class_accuracy=accuracy, iou=iou, dice=dice,
        pixel_accuracy=(hits.sum() / total).item(), mean_class_accuracy=accuracy.nanmean().item(),
        miou=iou.nanmean().item(), mean_dice=dice.nanmean().item(),
        frequency_weighted_iou=((truth * iou.nan_to_num(0.0)).sum() / total).item())


def class_names(label_set: LabelSet | None, count: int) -> Sequence[str]:
    """Names for the lines of a table; ArgumentError if there are not as many classes."""
    if label_set is None:
        return [f"class {i}" for i in range(count)]
    if len(label_set) != count:
        raise ArgumentError(f"label set {label_set.name!r}", found=f"{len(label_set)} classes",
                            expected=f"{count}, as in the scores")
    return label_set.classes


def as_tensor(name: str, values: torch.Tensor | np.ndarray) -> torch.Tensor:
    """A tensor or NumPy array as a tensor of a dtype that PyTorch computes with."""
    if isinstance(values, np.ndarray):
        # from_numpy takes neither negative strides nor, without a warning, read-only memory (PIL's). For NumPy, a side
        # of one pixel is contiguous whatever its stride is.
        as_is = values.flags.writeable and min(values.strides, default=0) >= 0
        values = torch.from_numpy(np.ascontiguousarray(values) if as_is else values.copy())
    if not isinstance(values, torch.Tensor):
        raise ArgumentError(name, found=type(values).__name__, expected="a tensor or a NumPy array")
    known = values.is_floating_point() or values.is_complex() or values.dtype in _INTEGERS
    return values if known else values.to(torch.int64)  # bool, and the unsigned dtypes of which torch can do little
