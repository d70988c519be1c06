"""Scores of a segmentation: one confusion matrix over a whole dataset, and everything that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from seglab.errors import ArgumentError
from seglab.labels import IGNORE, LabelSet

#: Side of the table that a metric keeps: ids 0 to 255, then one place for ids above and one for ids below.
_SIDE = 258
#: Pixels at a time on the CPU. Up to 32768, torch works in the calling thread. With more, every operation waits
#: for all threads: twice as fast on idle cores, 25 times slower once data loaders keep the cores busy.
_BLOCK = 32768
#: Pixels at a time when counting, which is NumPy in the calling thread anyway: what fits into a core's cache.
_COUNT_BLOCK = 1 << 17
#: The scores that are one number each.
SCORE_NAMES = ("pixel_accuracy", "mean_class_accuracy", "miou", "frequency_weighted_iou", "mean_dice")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def predictions(logits: torch.Tensor) -> torch.Tensor:
    """The class of every pixel, as in `logits.argmax(1)`, but on the CPU faster.

    A running maximum over planes replaces a search at every pixel; channels-last logits gain little.
    The lowest id wins a tie, and the first NaN wins over all.

    Args:
        logits: (N, C, H, W) or (C, H, W), any floating dtype and memory format, C at most 256.

    Returns:
        Class ids, (N, H, W) or (H, W), uint8. ArgumentError for logits of another shape or dtype.

    Example:
        >>> logits = torch.tensor([0.1, 0.7, 0.7]).reshape(1, 3, 1, 1)
        >>> predictions(logits)
        tensor([[[1]]], dtype=torch.uint8)
    """
    if logits.ndim not in (3, 4) or not logits.is_floating_point() or not 1 <= logits.shape[-3] <= 256:
        raise ArgumentError("logits", found=f"shape {tuple(logits.shape)}, {logits.dtype}",
                            expected="shape (N, C, H, W) or (C, H, W), floating, 1 to 256 classes")
    logits = logits.detach()
    if logits.device.type != "cpu":
        return logits.argmax(-3).to(torch.uint8)  # (N, H, W)
    if logits.stride(-3) == 1:  # channels-last: the channels of a pixel are neighbours, and argmax is fast
        return logits.argmax(-3).to(torch.uint8)  # (N, H, W)
    flat = logits.flatten(-2).unsqueeze(0).flatten(0, -3)  # (N, C, H*W), with N = 1 for (C, H, W)
    ids = torch.zeros((flat.shape[0], flat.shape[2]), dtype=torch.uint8)
    for picture, found in zip(flat, ids, strict=True):
        for block, out in zip(picture.split(_BLOCK, dim=1), found.split(_BLOCK), strict=True):
            best = block[0].clone()
            larger = torch.empty(best.shape, dtype=torch.bool)
            for number, plane in enumerate(block.unbind()[1:], start=1):
                torch.gt(plane, best, out=larger)
                # Ids only grow, so "overwrite where larger" is a maximum; masked_fill_ takes far longer.
                torch.maximum(out, larger.view(torch.uint8).mul_(number), out=out)
                torch.maximum(best, plane, out=best)
            if best.isnan().any():  # `maximum` hands NaN on, `gt` is false for it: these ids are not to be trusted
                return logits.argmax(-3).to(torch.uint8)  # (N, H, W)
    return ids.view(*logits.shape[:-3], *logits.shape[-2:])  # (N, H, W)


class ConfusionMatrix:
    """A confusion matrix that adds up over batches; rows are the truth, columns the prediction.

    So the scores are those of the dataset as a whole, whatever the batch size; no means over batches.

    Args:
        num_classes: the number of classes C, 1 to 255, or a label set.
        ignore_index: the id in the target that is not scored, 0 to 255.
        device: "cpu" or "cuda": where to count. Inputs are moved there. On "cuda", `update` never waits.

    Attributes:
        counts: the state, (258, 258) int64: pixels by target id and predicted id, 0 to 255 as they came,
            256 for larger ids, 257 for negative ones. Its sum over several processes is their joint
            state: `torch.distributed.all_reduce(metric.counts)` before `compute()`.

    Raises:
        ArgumentError: `num_classes` or `ignore_index` is out of range.

    Source: the scores follow Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic
    Segmentation" (2015), section 5; the interface follows torchmetrics.

    Example:
        >>> metric = ConfusionMatrix(2)
        >>> metric.update(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 0]]))
        >>> metric.update(torch.tensor([[0, 0, 0]]), torch.tensor([[0, 1, 255]]))
        >>> metric.compute().matrix.tolist()
        [[2, 1], [1, 1]]
        >>> metric.compute().pixel_accuracy
        0.6
    """

    def __init__(self, num_classes: int | LabelSet, ignore_index: int = IGNORE,
                 device: str | torch.device = "cpu") -> None:
        self.num_classes = len(num_classes) if isinstance(num_classes, LabelSet) else int(num_classes)
        self.ignore_index = int(ignore_index)
        if not 1 <= self.num_classes <= 255:
            raise ArgumentError("num_classes", found=num_classes, expected="1 to 255 classes, or a label set")
        if not 0 <= self.ignore_index <= 255:
            raise ArgumentError("ignore_index", found=ignore_index, expected="an id 0 to 255",
                                fix="Write ignored pixels as 255 when the masks are loaded.")
        with torch.inference_mode(False):  # so that a metric made during inference can be used afterwards
            self.counts = torch.zeros((_SIDE, _SIDE), dtype=torch.int64, device=device)

    def update(self, preds: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> None:
        """Count one batch.

        Args:
            preds: class ids, (N, H, W) or (H, W), any integer dtype; or logits, (N, C, H, W) or (C, H, W),
                floating, of which `predictions` makes ids.
            target: class ids, (N, H, W) or (H, W), any integer dtype, `ignore_index` where not to score.

        Raises:
            ArgumentError: shapes or dtypes do not fit, or an id is no class (at ignored pixels too, for
                `preds`); then it names the ids. On the CPU nothing of the batch is counted. On CUDA, where
                looking would mean waiting, it is `compute` that raises.
        """
        preds, target = _tensor("preds", preds), _tensor("target", target)
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
        classes = self.num_classes
        narrow = np.int16 if 256 * classes <= 32768 else np.int32  # less memory to move
        all_p, all_t = preds.numpy().reshape(-1), target.numpy().reshape(-1)  # (pixels,) each
        # Seen as unsigned, a negative id is a huge one: one comparison finds both.
        wide_p, wide_t = (ids.view(f"u{ids.itemsize}") for ids in (all_p, all_t))
        counted = torch.zeros(256 * classes, dtype=torch.int64)
        for start in range(0, all_t.size, _COUNT_BLOCK):
            p, t = all_p[start:start + _COUNT_BLOCK], all_t[start:start + _COUNT_BLOCK]
            # Looking at the range first is what makes the narrow index safe: nothing can wrap around.
            if wide_p[start:start + _COUNT_BLOCK].max() >= classes or wide_t[start:start + _COUNT_BLOCK].max() > 255:
                seen = [np.unique(ids, return_counts=True) for ids in (all_p, all_t)]
                self._raise_for_strays(*(dict(zip(i.tolist(), n.tolist(), strict=True)) for i, n in seen))
            index: np.ndarray = t.astype(narrow)
            index *= narrow(classes)
            index += p.astype(narrow)
            counted += torch.bincount(torch.from_numpy(index), minlength=256 * classes)
        counted = counted.view(256, classes)
        # Target ids have the whole byte to themselves, hence no mask: ignored pixels have their own row.
        self._raise_for_strays({}, dict(enumerate(counted.sum(1).tolist())))
        self.counts[:256, :classes] += counted

    def _count_without_waiting(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        # Python must not look at a value here. bincount would: it sizes its result by the largest one.
        # Ids that do not fit go to place 256 (above) or 257 (below): -1 mod 258.
        row, column = (ids.to(torch.int64).clamp(-1, 256).remainder_(_SIDE) for ids in (target, preds))
        index = row.mul_(_SIDE).add_(column).flatten()  # (pixels,)
        self.counts.view(-1).scatter_add_(0, index, torch.ones_like(index))

    def _raise_for_strays(self, preds: dict[int | str, int], target: dict[int | str, int]) -> None:
        for name, seen in (("preds", preds), ("target", target)):
            ignored = self.ignore_index if name == "target" else None
            strays = [f"{i} (pixels: {n})" for i, n in seen.items()
                      if n and i != ignored and i not in range(self.num_classes)]
            if strays:
                more = f" and {len(strays) - 8} more ids" if len(strays) > 8 else ""
                raise ArgumentError(
                    f"{name}: ids that are no class", found="id " + ", ".join(strays[:8]) + more,
                    expected=f"0 to {self.num_classes - 1}" + (f", {ignored} to ignore" if ignored is not None else ""),
                    fix="Check the number of classes and how the masks were made.")

    def matrix(self) -> torch.Tensor:
        """The counts so far, (C, C) int64 on the CPU; ArgumentError when there are ids that are no class."""
        counts = self.counts.cpu()
        names = [*range(256), "above 255", "below 0"]
        self._raise_for_strays(*(dict(zip(names, counts.sum(axis).tolist(), strict=True)) for axis in (0, 1)))
        matrix = counts[: self.num_classes, : self.num_classes].clone()  # (C, C)
        matrix[self.ignore_index:self.ignore_index + 1] = 0  # no such row unless a class itself is ignored
        return matrix

    def compute(self) -> SegmentationScores:
        """The scores of everything counted so far; ArgumentError as in `matrix`."""
        return scores(self.matrix())

    def reset(self) -> None:
        """Forget all counts."""
        self.counts.zero_()

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Add another metric's counts, and return this one; `a + b` is a new one. ArgumentError if they differ."""
        mine, theirs = ((m.num_classes, m.ignore_index) for m in (self, other))
        if mine != theirs:
            text = "{} classes, ignored id {}"
            raise ArgumentError("metrics that do not fit", found=text.format(*theirs), expected=text.format(*mine))
        self.counts += other.counts.to(self.counts.device)
        return self

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        return ConfusionMatrix(self.num_classes, self.ignore_index, self.counts.device).merge(self).merge(other)

    def to(self, device: str | torch.device) -> ConfusionMatrix:
        """Move the state to a device, and return this metric."""
        self.counts = self.counts.to(device)
        return self


@dataclass(frozen=True, eq=False)
class SegmentationScores:
    """Scores read from a confusion matrix; tensors on the CPU, float64, all in [0, 1].

    NaN means that there is nothing to measure, and NaN stays out of every mean. A class has no accuracy
    without a true pixel, and no IoU and Dice when it is neither true nor predicted anywhere.
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
        names = label_set.classes if label_set else [f"class {i}" for i in range(len(self.iou))]
        if label_set is not None and len(label_set) != len(self.iou):
            raise ArgumentError(f"label set {label_set.name!r}", found=f"{len(names)} classes",
                                expected=f"{len(self.iou)}, as in the confusion matrix")
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
                     num_classes: int | LabelSet, ignore_index: int = IGNORE) -> torch.Tensor:
    """The confusion matrix of one batch, (C, C) int64 on the CPU; `ConfusionMatrix` as a function.

    Example:
        >>> confusion_matrix(np.array([[0, 1, 1]]), np.array([[0, 1, 255]]), num_classes=2).tolist()
        [[1, 0], [0, 1]]
    """
    metric = ConfusionMatrix(num_classes, ignore_index)
    metric.update(preds, target)
    return metric.matrix()


def scores(matrix: torch.Tensor | np.ndarray) -> SegmentationScores:
    """All scores of a confusion matrix, (C, C) integers from 0, rows truth; ArgumentError for anything else.

    Example:
        >>> scores(torch.tensor([[3, 1], [0, 0]])).as_dict()["miou"]
        0.375
    """
    matrix = _tensor("matrix", matrix).cpu()
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


def _tensor(name: str, values: torch.Tensor | np.ndarray) -> torch.Tensor:
    if isinstance(values, np.ndarray):
        # from_numpy takes neither negative strides nor, without a warning, read-only memory (PIL's).
        values = torch.from_numpy(np.ascontiguousarray(values) if values.flags.writeable else values.copy())
    if not isinstance(values, torch.Tensor):
        raise ArgumentError(name, found=type(values).__name__, expected="a tensor or a NumPy array")
    known = values.is_floating_point() or values.is_complex() or values.dtype in _INTEGERS
    return values if known else values.to(torch.int64)  # bool, and the unsigned dtypes of which torch can do little
