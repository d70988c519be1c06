"""Checks about how sure a classifier is: whether it is right as often, and which labels it doubts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from seglab.checks.exercise import Case, Exercise


def _calibration(probabilities: Tensor, labels: Tensor, bins: int, *, weigh: bool = True, signed: bool = False,
                 sure: Callable[[Tensor, Tensor], Tensor] = lambda p, y: p.max(1).values, last: bool = True,
                 square: bool = False, divide: bool = True, place: Callable[[Tensor], Tensor] | None = None,
                 right: Callable[[Tensor, Tensor], Tensor] = lambda said, y: said == y) -> Tensor:
    confidence, hits = sure(probabilities, labels), right(probabilities.argmax(1), labels).float()
    where = (confidence * bins).long() if place is None else place(confidence)
    where = where.clamp(max=bins - 1) if last and place is None else where
    inside = [where == number for number in range(bins + (place is not None))]
    gaps = torch.stack([confidence[one].mean() - hits[one].mean() for one in inside if one.any()])
    counts = torch.stack([one.sum() for one in inside if one.any()])
    gaps = gaps if signed else gaps**2 if square else gaps.abs()
    return (gaps * counts).sum() / (len(labels) if divide else 1) if weigh else gaps.mean()


def _used(probabilities: Tensor, bins: int) -> int:
    """How many bins have a picture."""
    return len((probabilities.max(1).values * bins).long().clamp(max=bins - 1).unique())


def _sureness(*sure: float) -> Tensor:
    return torch.tensor([[1 - one, one] for one in sure])


calibration_error = Exercise(
    "calibration_error",
    [Case("three pictures in one bin, two of them right", (_sureness(0.89, 0.82, 0.86), torch.tensor([1, 0, 1]), 10)),
     Case("two bins: too sure in one, not sure enough in the other", (
         _sureness(0.95, 0.93, 0.65, 0.63), torch.tensor([0, 1, 1, 1]), 10)),
     Case("bins with different numbers of pictures", (
         _sureness(0.97, 0.96, 0.95, 0.55, 0.04), torch.tensor([1, 1, 1, 0, 0]), 10)),
     Case("a probability of exactly 1", (_sureness(1.0, 0.72, 0.94, 0.0), torch.tensor([0, 1, 1, 0]), 10)),
     Case("three classes, two bins", (torch.tensor([[0.55, 0.3, 0.15], [0.1, 0.78, 0.12], [0.3, 0.25, 0.45]]),
                                       torch.tensor([1, 1, 2]), 2))],
    right=lambda probabilities, labels, bins: _calibration(probabilities, labels, bins),
    mistakes={
        "Every bin counts the same. Weigh each gap by the share of the pictures in its bin.": [
            lambda *a: _calibration(*a, weigh=False),
            lambda p, y, bins: _calibration(p, y, bins, weigh=False) * _used(p, bins) / bins],
        "Gaps of opposite signs cancel out: this is the mean confidence minus the accuracy. Take the absolute value of "
        "each bin's gap.": [
            lambda *a: _calibration(*a, signed=True), lambda *a: -_calibration(*a, signed=True),
            lambda *a: _calibration(*a, signed=True).abs()],
        "The confidence is that of the last class. Take the largest probability of each picture.":
            lambda *a: _calibration(*a, sure=lambda p, y: p[:, -1]),
        "The confidence is that of class 0. Take the largest probability of each picture.":
            lambda *a: _calibration(*a, sure=lambda p, y: p[:, 0]),
        "The confidence is that of the true class. Take the largest probability of each picture.":
            lambda *a: _calibration(*a, sure=lambda p, y: p[torch.arange(len(y)), y]),
        "A picture with the probability 1 lies in no bin. It belongs into the last one.":
            lambda *a: _calibration(*a, last=False),
        "A picture with the probability 1 has a bin of its own. It belongs into the last one: .clamp(max=bins - 1).":
            lambda p, y, bins: _calibration(p, y, bins, place=lambda sure: (sure * bins).long()),
        "There are ten bins, always. Take as many as `bins` says.": lambda p, y, bins: _calibration(p, y, 10),
        "The confidences are rounded to the nearest edge. A bin reaches from one edge to the next: (confidence * "
        "bins).long().": lambda p, y, bins: _calibration(p, y, bins, place=lambda sure: (sure * bins).round().clamp(
                max=bins - 1)),
        "There is one bin too few: it takes bins + 1 edges to make `bins` bins.":
            lambda p, y, bins: _calibration(p, y, bins - 1),
        "A bin without a picture gives NaN, the mean of nothing. Leave it out.":
            lambda p, y, bins: _calibration(p, y, bins) if _used(p, bins) == bins else torch.tensor(np.nan),
        "This compares the confidence with the share of wrong answers. Take that of right ones.":
            lambda p, y, bins: _calibration(p, y, bins, right=lambda said, y: said != y),
        "The gaps are squared. Take their absolute values.": lambda *a: _calibration(*a, square=True),
        "This is the sum over the pictures. Divide it by their number.": lambda *a: _calibration(*a, divide=False),
        "The gap is taken for each picture alone. Take the means of a bin first, and then their difference.":
            lambda p, y, bins: (p.max(1).values - (p.argmax(1) == y).float()).abs().mean(),
        "This is the share of right answers.": lambda p, y, bins: (p.argmax(1) == y).float().mean()},
    errors={"out of bounds": "A probability of exactly 1 gives the bin number `bins`, one too many: "
                             ".clamp(max=bins - 1).",
            "'tuple' object has no attribute": "max(dim=1) gives a pair, of values and classes: confidence, said = …",
            "return_types": "max(dim=1) gives a pair, of values and classes: confidence, said = …",
            "must match the size": "The rows are the pictures: probabilities.max(dim=1) and argmax(dim=1).",
            "The shape of the mask": "The rows are the pictures: probabilities.max(dim=1) and argmax(dim=1).",
            "division by zero": "A bin without a picture has no mean. Leave it out.",
            "mean(): could not infer output dtype": "Take the mean of numbers: right.float().mean().",
            "Input dtype must be": "Take the mean of numbers: right.float().mean()."},
    hints=("Give each picture the number of its bin. In each bin, compare two means: of the confidences, and of right "
           "(1) and wrong (0).",
           "confidence = probabilities.max(dim=1).values; place = (confidence * bins).long().clamp(max=bins - 1). For "
           "each bin with a picture: the absolute difference of the two means, times the number of its pictures.",
           "confidence, said = probabilities.max(dim=1)\nright = (said == labels).float()\n"
           "place = (confidence * bins).long().clamp(max=bins - 1)\ntotal = 0.0\n"
           "for inside in (place == number for number in range(bins)):\n    if inside.any():\n"
           "        total += (confidence[inside].mean() - right[inside].mean()).abs() * inside.sum()\n"
           "return total / len(labels)"))


def _own(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Each picture's probability of its own label."""
    return probabilities[torch.arange(len(labels)), labels]


_ODDS = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.03, 0.97], [0.55, 0.45], [0.7, 0.3]])
suspects = Exercise(
    "suspects",
    [Case("two of five", (_ODDS, torch.tensor([0, 1, 0, 0, 0]), 2)),
     Case("three of five, where two answers are wrong", (_ODDS, torch.tensor([1, 1, 0, 0, 0]), 3)),
     Case("three classes", (torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.05, 0.15, 0.8], [0.4, 0.35, 0.25]]),
                            torch.tensor([1, 0, 2, 2]), 2))],
    right=lambda probabilities, labels, count: _own(probabilities, labels).argsort()[:count],
    mistakes={
        "These are the pictures whose labels the network is surest of. Take those with the lowest probability.":
            [lambda p, y, count: _own(p, y).argsort(descending=True)[:count],
             lambda p, y, count: _own(p, y).argsort()[-count:]],
        "The order is reversed: the lowest probability comes first.":
            lambda p, y, count: _own(p, y).argsort()[:count].flip(0),
        "These are the probabilities. Return the numbers of the pictures: argsort instead of sort.":
            lambda p, y, count: _own(p, y).sort().values[:count],
        "These are the pictures that the network is least sure of, whatever their label. Take the probability of the "
        "label.": lambda p, y, count: p.max(1).values.argsort()[:count],
        "These are the pictures that the network is surest of, whatever their label. Take the probability of the "
        "label.": lambda p, y, count: p.max(1).values.argsort(descending=True)[:count],
        "This goes by the probability of class 0. Take that of each picture's own label.":
            lambda p, y, count: p[:, 0].argsort()[:count],
        "This goes by the probability of class 1. Take that of each picture's own label.":
            lambda p, y, count: p[:, 1].argsort()[:count],
        "These are all pictures. Return the first `count`.": lambda p, y, count: _own(p, y).argsort(),
        "Only pictures that the network gets wrong are in it. Take all: a label may be doubtful even if the answer "
        "agrees with it.": [
            lambda p, y, count: torch.tensor([i for i in _own(p, y).argsort() if p[i].argmax() != y[i]][:count]),
            lambda p, y, count: torch.tensor([i for i in p.max(1).values.argsort(descending=True)
                                              if p[i].argmax() != y[i]][:count])],
        "The pictures are right, and stand in the order of the dataset. The lowest probability comes first.":
            lambda p, y, count: _own(p, y).argsort()[:count].sort().values,
        "The numbers count from 1. Count from 0.": lambda p, y, count: _own(p, y).argsort()[:count] + 1,
        "These are the labels of the pictures. Return their numbers.":
            lambda p, y, count: y[_own(p, y).argsort()[:count]],
        "This goes by the whole table: probabilities[:, labels] has a row for each picture, and probabilities[labels] "
        "takes rows. Take one of each: probabilities[torch.arange(len(labels)), labels].": [
            lambda p, y, count: p[:, y].argsort()[:count], lambda p, y, count: p[y].argsort()[:count]],
        "These are two things, the probabilities and the numbers. Return the numbers: .indices.": [
            lambda p, y, count: torch.stack([*map(torch.Tensor.double, _own(p, y).topk(count, largest=False))]),
            lambda p, y, count: torch.tensor(sorted(enumerate(_own(p, y).tolist()), key=lambda one: one[1])[:count])],
        "These are the first wrong ones, in the order of the dataset. Sort them by the probability of the label.":
            [lambda p, y, count: torch.where(p.argmax(1) != y)[0][:count],
             lambda p, y, count: torch.where(p.argmax(1) != y)[0]]},
    errors={"out of bounds": "probabilities has a row for each picture: probabilities[torch.arange(len(labels)), "
                             "labels].",
            "same number of dimensions": "gather wants the labels as a column: probabilities.gather(1, labels[:, None])"
                                         "[:, 0].",
            "object is not subscriptable": "A method wants its brackets: argsort()[:count]."},
    hints=("What probability does the network give to the label that each picture has? Where is it lowest?",
           "probabilities[torch.arange(len(labels)), labels] is that of each picture's label. argsort() gives the "
           "numbers of the pictures, the lowest first.",
           "of_label = probabilities[torch.arange(len(labels)), labels]\nreturn of_label.argsort()[:count].tolist()"))
