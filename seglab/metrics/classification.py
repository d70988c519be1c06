"""Scores of a classifier: which classes it confuses, and whether it is as sure as it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from seglab.errors import ArgumentError
from seglab.labels import LabelSet
from seglab.metrics.segmentation import class_names, scores


@dataclass(frozen=True, eq=False)
class ClassificationScores:
    """Scores read from a confusion matrix of pictures; tensors float64 in [0, 1], NaN where nothing is measured."""

    matrix: torch.Tensor  #: (C, C) int64, rows truth, columns prediction
    accuracy: float  #: share of the pictures that are right
    recall: torch.Tensor  #: (C,) share of a class's pictures that are found
    precision: torch.Tensor  #: (C,) share of the pictures called a class that are of it
    mean_class_accuracy: float  #: mean recall

    def table(self, label_set: LabelSet | None = None) -> str:
        """The confusion matrix, a line a true class, with recall and precision, then the accuracy.

        Example:
            >>> print(classification_scores(torch.tensor([[6, 2], [0, 2]])).table())
            truth    -> class 0  class 1  recall  precision
            class 0           6        2   0.750      1.000
            class 1           0        2   1.000      0.500
            accuracy 0.8000 (8 of 10 pictures)
        """
        names = class_names(label_set, len(self.matrix))
        width = max(len(name) for name in (*names, "truth"))
        cells = [max(len(name), 7) for name in names]
        head = "  ".join(f"{name:>{cell}}" for name, cell in zip(names, cells, strict=True))
        lines = [f"{'truth':{width}}  -> {head}  recall  precision"]
        for name, row, recall, precision in zip(names, self.matrix.tolist(), self.recall, self.precision, strict=True):
            counts = "  ".join(f"{count:>{cell}}" for count, cell in zip(row, cells, strict=True))
            lines.append(f"{name:{width}}     {counts}  {recall:6.3f}  {precision:9.3f}")
        hits, total = int(self.matrix.trace()), int(self.matrix.sum())
        return "\n".join([*lines, f"accuracy {self.accuracy:.4f} ({hits} of {total} pictures)"])


def classification_scores(matrix: torch.Tensor | np.ndarray) -> ClassificationScores:
    """All scores of a classifier's confusion matrix, (C, C) integers from 0, rows truth; else an ArgumentError.

    Example:
        >>> classification_scores(torch.tensor([[3, 1], [0, 0]])).accuracy
        0.75
    """
    found = scores(matrix)  # a picture with one class is a picture of one pixel
    return ClassificationScores(matrix=found.matrix, accuracy=found.pixel_accuracy, recall=found.class_accuracy,
                                precision=found.matrix.diag().double() / found.matrix.sum(0),
                                mean_class_accuracy=found.mean_class_accuracy)


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often a classifier is right when it is so and so sure; bins without a picture are NaN."""

    confidence: np.ndarray  #: (B,) mean probability of the chosen class in each bin
    accuracy: np.ndarray  #: (B,) share of right answers in each bin
    counts: np.ndarray  #: (B,) pictures in each bin
    error: float  #: expected calibration error: the mean gap between the two, weighted by the counts; 0 is perfect


def calibration(probabilities: torch.Tensor | np.ndarray, labels: torch.Tensor | np.ndarray,
                bins: int = 10) -> Calibration:
    """Compare a classifier's confidence with its accuracy, in bins of equal width over [0, 1].

    Args:
        probabilities: (N, C), each row summing to 1.
        labels: (N,) class indices.
        bins: how many.

    Raises:
        ArgumentError: shapes that do not fit, rows that are no probabilities, or no bin.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, equations 2 to 5.

    Example:
        >>> sure_but_half_right = np.array([[0.9, 0.1], [0.9, 0.1]])
        >>> round(calibration(sure_but_half_right, np.array([0, 1])).error, 3)
        0.4
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels) or bins < 1:
        raise ArgumentError("calibration", found=f"probabilities {probabilities.shape}, labels {labels.shape}, "
                            f"{bins} bins", expected="(N, C), (N,) with N of 1 or more, and 1 bin or more")
    if not np.allclose(probabilities.sum(1), 1, atol=1e-4) or probabilities.min() < 0:
        raise ArgumentError("probabilities", found=f"rows that sum to {probabilities.sum(1)[:3].round(3).tolist()} …",
                            expected="numbers of 0 or more that sum to 1 in each row",
                            fix="Apply softmax(1) to logits.")
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels  # (N,), (N,)
    place = np.minimum((sure * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0: an empty bin is NaN
        confidence = np.bincount(place, sure, bins) / counts
        accuracy = np.bincount(place, right, bins) / counts
    filled = counts > 0
    error = float((np.abs(confidence - accuracy)[filled] * counts[filled]).sum() / len(labels))
    return Calibration(confidence, accuracy, counts, error)
