"""Checks about scores: the confusion matrix and what is read from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seglab.checks.exercise import Case, Exercise
from seglab.labels import IGNORE


def _matrix(prediction: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    labelled = mask != IGNORE
    pairs = mask[labelled].long() * num_classes + prediction[labelled].long()
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _with(mask: Tensor, value: int) -> Tensor:
    return torch.where(mask == IGNORE, value, mask)


def _set_not_added(prediction: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    found = torch.zeros(num_classes, num_classes)
    labelled = mask != IGNORE
    found[mask[labelled].long(), prediction[labelled].long()] += 1  # each pair once, however often it occurs
    return found


def _in_bytes(prediction: Tensor, mask: Tensor, num_classes: int) -> Tensor:
    pairs = mask[mask != IGNORE] * num_classes + prediction[mask != IGNORE]  # uint8
    return torch.bincount(pairs, minlength=num_classes**2)[:num_classes**2].reshape(num_classes, num_classes)


_ROW = torch.tensor([[0, 0, 1, 1, 2, 2]]).byte()
confusion_matrix = Exercise(
    "confusion_matrix",
    [Case("all right", (_ROW, _ROW, 3)),
     Case("a row of pixels: prediction, mask", (torch.tensor([[0, 1, 1, 1, 0, 2]]).byte(), _ROW, 3)),
     Case("the same mistake many times", (torch.ones(2, 3).byte(), torch.zeros(2, 3).byte(), 2)),
     Case("pixels that nobody labelled", (torch.tensor([[0, 2, 1, 0]]).byte(),
                                          torch.tensor([[0, 255, 1, 255]]).byte(), 3)),
     Case("23 classes, 300×400 pixels", (torch.arange(120_000).reshape(300, 400).remainder(7).byte(),
                                         torch.arange(120_000).reshape(300, 400).remainder(23).byte(), 23))],
    right=_matrix,
    mistakes={
        "Rows and columns are exchanged. Rows are the truth, columns the prediction.":
            lambda p, m, n: _matrix(p, m, n).T,
        "Each pair of classes is counted once, however often it occurs. matrix[rows, columns] += 1 writes to a place "
        "once; torch.bincount counts.": _set_not_added,
        "Ignored pixels are counted as the last class. Leave them out: mask != 255.":
            lambda p, m, n: _matrix(p, _with(m, n - 1), n),
        "Ignored pixels are counted as class 0. Leave them out: mask != 255.":
            lambda p, m, n: _matrix(p, _with(m, 0), n),
        "Ignored pixels are counted as right.": lambda p, m, n: _matrix(p, torch.where(m == IGNORE, p, m), n),
        "These are shares. Leave the counts as they are: counts of many pictures can be added up.":
            lambda p, m, n: _matrix(p, m, n) / _matrix(p, m, n).sum(),
        "Each row is divided by its sum. Leave the counts as they are: counts of many pictures can be added up.": [
            lambda p, m, n: _matrix(p, m, n) / _matrix(p, m, n).sum(1, keepdim=True).clamp(min=1),
            lambda p, m, n: _matrix(p, m, n) / _matrix(p, m, n).sum(1, keepdim=True)],
        "The number of a pair does not fit into a byte: of 20 * 23 + 3 = 463, 207 is left. Convert with .long() before "
        "you multiply.": _in_bytes,
        "The counts do not fit into bytes, which end at 255. Count in int64.":
            lambda p, m, n: _matrix(p, m, n).to(torch.uint8),
        "Only what is right is counted, the diagonal.": lambda p, m, n: _matrix(p, m, n).diag().diag(),
        "Only mistakes are counted; the diagonal is missing.":
            lambda p, m, n: _matrix(p, m, n) - _matrix(p, m, n).diag().diag(),
        "There is a row and a column too many: 255 is not a class.":
            lambda p, m, n: _matrix(p, _with(m, n), n + 1)},
    errors={"is invalid for input of size": "There are more or fewer counts than num_classes². Are ignored pixels "
                                            "among the pairs, or is minlength=num_classes**2 missing?",
            "must match the size": "Leave the ignored pixels out of both, the mask and the prediction."},
    hints=("Give each pair (true class, predicted class) a number of its own, and count how often each number occurs.",
           "truth * num_classes + prediction is such a number. torch.bincount(pairs, minlength=num_classes**2) counts "
           "them; reshape the counts. Drop ignored pixels first, and mind uint8: 20 * 23 is larger than 255, so use "
           ".long() "
           "first.",
           "labelled = mask != 255\npairs = mask[labelled].long() * num_classes + prediction[labelled].long()\n"
           "counts = torch.bincount(pairs, minlength=num_classes**2)\n"
           "return counts.reshape(num_classes, num_classes)"))

_Masks = Sequence[Tensor]


def _total(predictions: _Masks, masks: _Masks, n: int) -> Tensor:
    return torch.stack([_matrix(p, m, n) for p, m in zip(predictions, masks, strict=True)]).sum(0).double()


def _iou_of(matrix: Tensor, times: float = 1.0, union: str = "both", absent: float = torch.nan) -> Tensor:
    right, true, called = matrix.diag(), matrix.sum(1), matrix.sum(0)
    below = {"both": true + called - right, "true": true, "called": called, "sum": true + called,
             "larger": true.maximum(called), "all": matrix.sum().expand_as(true)}[union]
    return torch.where(below > 0, times * right / below.clamp(min=1), absent)


def _iou(predictions: _Masks, masks: _Masks, num_classes: int) -> Tensor:
    return _iou_of(_total(predictions, masks, num_classes))


def _mean_of_pictures(predictions: _Masks, masks: _Masks, n: int) -> Tensor:
    return torch.stack([_iou([p], [m], n) for p, m in zip(predictions, masks, strict=True)]).nanmean(0)


def _unmasked(predictions: _Masks, masks: _Masks, n: int) -> Tensor:
    """Where the prediction at ignored pixels still counts as called so."""
    found = []
    for c in range(n):
        both = sum(((p == c) & (m == c)).sum() for p, m in zip(predictions, masks, strict=True))
        either = sum(((p == c) | (m == c)).sum() for p, m in zip(predictions, masks, strict=True))
        found.append(torch.as_tensor(both / either))
    return torch.stack(found)


def _pictures(*rows: list[list[int]]) -> list[Tensor]:
    return [torch.tensor(row).byte() for row in rows]


iou = Exercise(
    "iou",
    [Case("one picture, all right", (_pictures([[0, 1], [1, 2]]), _pictures([[0, 1], [1, 2]]), 3)),
     Case("one picture: prediction, mask", (_pictures([[0, 0, 1, 1]]), _pictures([[0, 1, 1, 1]]), 2)),
     Case("a class that is in no mask and no prediction", (_pictures([[0, 0, 1, 1]]), _pictures([[0, 1, 1, 1]]), 3)),
     Case("a class that is predicted and never true", (_pictures([[0, 2, 1, 2]]), _pictures([[0, 0, 1, 1]]), 3)),
     Case("pixels that nobody labelled", (_pictures([[0, 1, 1, 0]]), _pictures([[0, 1, 255, 255]]), 2)),
     Case("23 classes, 60×80 pixels", (torch.arange(4800).reshape(1, 60, 80).remainder(7).byte().unbind(),
                                       torch.arange(4800).reshape(1, 60, 80).remainder(23).byte().unbind(), 23)),
     Case("two pictures of different sizes", (_pictures([[0, 0, 0, 0, 0, 1, 1, 1]], [[1, 0]]),
                                              _pictures([[0, 0, 0, 0, 0, 0, 0, 1]], [[1, 1]]), 2))],
    right=_iou,
    mistakes={
        "Your IoU counts ignored pixels: what the network says where the mask is 255 makes the union larger.":
            _unmasked,
        "This is the mean of the pictures' IoU, instead of the dataset's. Add up the counts of all pictures first, "
        "then divide once.": _mean_of_pictures,
        "This divides by the true pixels alone, which is the class's recall. The union also has the pixels that are "
        "wrongly predicted as this class.": lambda *a: _iou_of(_total(*a), union="true"),
        "This divides by the predicted pixels alone, which is the class's precision. The union also has the pixels "
        "that were missed.": lambda *a: _iou_of(_total(*a), union="called"),
        "This is the Dice score: 2 I / (truth + prediction). IoU is I / (truth + prediction - I).":
            lambda *a: _iou_of(_total(*a), times=2.0, union="sum"),
        "The intersection is counted twice in the denominator: truth + prediction has it in both. Subtract it once.":
            lambda *a: _iou_of(_total(*a), union="sum"),
        "A class that is predicted and never true gets NaN. Its union is not empty: its IoU is 0.":
            lambda p, m, n: torch.where(_total(p, m, n).sum(1) > 0, _iou(p, m, n), torch.nan),
        "A class that does not occur gets 0. It should be NaN, so that a mean can leave it out.":
            lambda *a: _iou_of(_total(*a), absent=0.0),
        "A class that does not occur gets 1. It should be NaN, so that a mean can leave it out.":
            lambda *a: _iou_of(_total(*a), absent=1.0),
        "This divides by all pixels. Divide by the union of this class.": lambda *a: _iou_of(_total(*a), union="all"),
        "This is one number, the mean over the classes. Return a number for each class.": lambda *a: _iou(*a).nanmean(),
        "This is the pixel accuracy. Return the IoU of each class.":
            lambda *a: _total(*a).diag().sum() / _total(*a).sum(),
        "Ignored pixels are counted as class 0.":
            lambda p, m, n: _iou(p, [_with(one, 0) for one in m], n),
        "Ignored pixels are counted as the last class.":
            lambda p, m, n: _iou(p, [_with(one, n - 1) for one in m], n),
        "Only the first picture is counted.": lambda p, m, n: _iou(p[:1], m[:1], n),
        "Only the last picture is counted.": lambda p, m, n: _iou(p[-1:], m[-1:], n)},
    errors={"division by zero": "A class that does not occur has no IoU: NaN, float(\"nan\").",
            "is invalid for input of size": "Is confusion_matrix called with the prediction first, and then the mask?"},
    hints=("One confusion matrix for all pictures together. Where in it does the intersection of a class stand, and "
           "how do you get the union?",
           "The diagonal is the intersection. A row's sum is the number of true pixels of a class, a column's sum the "
           "number predicted as it. Their sum contains the intersection twice.",
           "matrix = sum(confusion_matrix(p, m, num_classes) for p, m in zip(predictions, masks))\n"
           "right = matrix.diag()\nreturn right / (matrix.sum(dim=0) + matrix.sum(dim=1) - right)"))
