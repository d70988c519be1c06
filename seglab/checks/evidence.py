"""Checks about reading a classifier: where its evidence lies, how sure it is, and which labels it doubts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise

_MAPS = torch.tensor([[[1.0, 0.0, 2.0], [0.0, 3.0, 0.5]], [[0.0, 2.0, 1.0], [1.0, 0.0, 0.0]]])  # (2, 2, 3)
_WEIGHT = torch.tensor([[0.5, -1.0], [1.0, 2.0], [-0.3, 0.4]])  # (3, 2)


def _cam(maps: Tensor, weight: Tensor, class_id: int) -> Tensor:
    return torch.einsum("k,khw->hw", weight[class_id], maps)


cam = Exercise(
    "cam",
    [Case("one feature map, two classes", (torch.tensor([[[0.0, 1.0], [2.0, 4.0]]]), torch.tensor([[2.0], [-1.0]]), 0)),
     Case("two feature maps, three classes", (_MAPS, _WEIGHT, 1)),
     Case("evidence against a class is negative", (_MAPS, _WEIGHT, 0)),
     Case("three maps of 1×4, two classes", (torch.arange(12.0).reshape(3, 1, 4) % 5,
                                             torch.tensor([[1.0, 0.0, -2.0], [0.5, 3.0, 1.0]]), 1))],
    right=_cam,
    mistakes={
        "This is one number: the mean over the places comes too early. Weigh the maps first, and leave the places.":
            lambda maps, weight, c: weight[c] @ maps.mean((1, 2)),
        "What is negative was set to 0. Here, evidence against the class should stay.":
            lambda *a: _cam(*a).clamp(min=0),
        "The map is divided by its largest value. Leave the evidence as it is.": lambda *a: _cam(*a) / _cam(*a).max(),
        "These are the maps of all classes. Return that of class_id.":
            lambda maps, weight, c: torch.einsum("ck,khw->chw", weight, maps),
        "These are the weighted feature maps. Add them up, over the features.":
            lambda maps, weight, c: weight[c][:, None, None] * maps,
        "The weights of all classes are added. Take those of class_id: weight[class_id].":
            lambda maps, weight, c: torch.einsum("k,khw->hw", weight.sum(0), maps),
        "The maps are added without their weights.": lambda maps, weight, c: maps.sum(0),
        "This is class 0, always. Take weight[class_id].": lambda maps, weight, c: _cam(maps, weight, 0),
        "The weights are made positive. A negative weight speaks against the class.":
            lambda maps, weight, c: _cam(maps, weight.abs(), c),
        "This is the mean over the feature maps. Take their sum: the head adds.":
            lambda maps, weight, c: _cam(maps, weight, c) / len(maps),
        "The evidence is divided by the number of places. Its mean over the places is the score, so leave it.":
            lambda maps, weight, c: _cam(maps, weight, c) / maps[0].numel(),
        "There is a sigmoid behind the sum. Leave the evidence as it is.": lambda *a: _cam(*a).sigmoid(),
        "There is a softmax over the places. Leave the evidence as it is.":
            lambda *a: _cam(*a).flatten().softmax(0).reshape(_cam(*a).shape),
        "The rows and columns of the map are exchanged.": lambda *a: _cam(*a).T},
    errors={"must match the size": "The weights need two more axes: weight[class_id][:, None, None] is (K, 1, 1), and "
                                   "fits (K, h, w).",
            "size mismatch": "weight[class_id] is (K,), and maps is (K, h, w): torch.einsum(\"k,khw->hw\", …).",
            "out of bounds": "The rows of weight are the classes: weight[class_id].",
            "shapes cannot be multiplied": "weight[class_id] is (K,), and maps is (K, h, w): "
                                           "torch.einsum(\"k,khw->hw\", …)."},
    hints=("The row of the head's weights for this class has one number for each feature map. What does the head do "
           "with the features?",
           "Multiply each feature map by its weight and add them up. weight[class_id][:, None, None] has the shape "
           "(K, 1, 1), and so fits maps, (K, h, w).",
           "return (weight[class_id][:, None, None] * maps).sum(dim=0)"))


def _grad_cam(head: Callable[[Tensor], Tensor], maps: Tensor, class_id: int, *, relu: bool = True,
              pool: str = "mean", score: Callable[[Tensor, int], Tensor] = lambda logits, c: logits[c]) -> Tensor:
    maps = maps.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(head(maps[None])[0], class_id), maps)
    weights = {"mean": gradient.mean((1, 2), keepdim=True), "sum": gradient.sum((1, 2), keepdim=True),
               "none": gradient, "largest": gradient.amax((1, 2), keepdim=True),
               "positive": gradient.clamp(min=0).mean((1, 2), keepdim=True)}[pool]
    heat = (weights * maps).sum(0).detach()
    return heat.clamp(min=0) if relu else heat


class _Pooled(nn.Module):
    """A head: the mean over the places, or all places, then one or two linear layers with known weights."""

    def __init__(self, *widths: int, places: int = 0) -> None:
        super().__init__()
        self.places = places
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])
        with torch.no_grad():
            for number, value in enumerate(self.parameters()):
                value.copy_(torch.sin(torch.arange(1.0, value.numel() + 1) * (number + 1.3)).reshape(value.shape))

    def forward(self, maps: Tensor) -> Tensor:
        found = maps.flatten(1) if self.places else maps.mean((2, 3))
        for number, layer in enumerate(self.layers):
            found = layer(found.relu() if number else found)
        return found


grad_cam = Exercise(
    "grad_cam",
    [Case("a linear head on the mean over the places", (_Pooled(2, 3), _MAPS, 0), ""),
     Case("maps with negative values, another class", (_Pooled(2, 3), _MAPS - 1, 2), ""),
     Case("a head of two layers", (_Pooled(2, 5, 3), _MAPS, 1), ""),
     Case("a head with weights for each place", (_Pooled(12, 3, places=6), _MAPS, 2), "")],
    right=lambda head, maps, class_id: _grad_cam(head, maps, class_id),
    mistakes={
        "What is negative is still there. Cut it off at the end: .clamp(min=0).": lambda *a: _grad_cam(*a, relu=False),
        "The gradient is summed over the places. Take its mean.": lambda *a: _grad_cam(*a, pool="sum"),
        "The gradient is multiplied place by place. Take its mean over the places first, one weight for each map.":
            lambda *a: _grad_cam(*a, pool="none"),
        "The gradient is that of the sum of all classes' scores. Take the score of class_id.":
            lambda *a: _grad_cam(*a, score=lambda logits, c: logits.sum()),
        "The gradient is that of the largest score. Take the score of class_id.":
            lambda *a: _grad_cam(*a, score=lambda logits, c: logits.max()),
        "The gradient is that of the probability, behind the softmax. Take the logit of class_id.":
            lambda *a: _grad_cam(*a, score=lambda logits, c: logits.softmax(0)[c]),
        "The gradient is that of class 0, always.": lambda head, maps, c: _grad_cam(head, maps, 0),
        "Negative gradients are cut off. Only the sum at the end is.": lambda *a: _grad_cam(*a, pool="positive"),
        "These are the largest gradients. Take their mean over the places.": lambda *a: _grad_cam(*a, pool="largest")},
    errors={"does not require grad": "The maps need maps = maps.clone().requires_grad_(), before the head is called.",
            "None": "There is no gradient yet: call backward() on the score, or torch.autograd.grad(score, maps).",
            "shapes cannot be multiplied": "The head wants a batch: head(maps[None]) is (1, C)."},
    hints=("The gradient of the score with respect to the maps says how much each value of them matters. What is its "
           "mean over the places of one map?",
           "maps = maps.clone().requires_grad_(); score = head(maps[None])[0, class_id]; "
           "(gradient,) = torch.autograd.grad(score, maps). Its mean over the places is the weight of each map.",
           "maps = maps.clone().requires_grad_()\nscore = head(maps[None])[0, class_id]\n"
           "(gradient,) = torch.autograd.grad(score, maps)\n"
           "weights = gradient.mean(dim=(1, 2), keepdim=True)\n"
           "return (weights * maps).sum(dim=0).clamp(min=0).detach()"))


def _calibration(probabilities: Tensor, labels: Tensor, bins: int, *, weigh: bool = True, signed: bool = False,
                 sure: Callable[[Tensor, Tensor], Tensor] = lambda p, y: p.max(1).values, last: bool = True,
                 square: bool = False, divide: bool = True) -> Tensor:
    confidence, right = sure(probabilities, labels), (probabilities.argmax(1) == labels).float()
    place = (confidence * bins).long()
    place = place.clamp(max=bins - 1) if last else place
    inside = [place == number for number in range(bins)]
    gaps = torch.stack([confidence[one].mean() - right[one].mean() for one in inside if one.any()])
    counts = torch.stack([one.sum() for one in inside if one.any()])
    gaps = gaps if signed else gaps**2 if square else gaps.abs()
    return (gaps * counts).sum() / (len(labels) if divide else 1) if weigh else gaps.mean()


def _sureness(*sure: float) -> Tensor:
    return torch.tensor([[1 - one, one] for one in sure])


calibration_error = Exercise(
    "calibration_error",
    [Case("two pictures in one bin, one of them right", (_sureness(0.86, 0.82), torch.tensor([1, 0]), 10)),
     Case("two bins: too sure in one, not sure enough in the other", (
         _sureness(0.95, 0.93, 0.65, 0.63), torch.tensor([0, 1, 1, 1]), 10)),
     Case("bins with different numbers of pictures", (
         _sureness(0.97, 0.96, 0.95, 0.55, 0.04), torch.tensor([1, 1, 1, 0, 0]), 10)),
     Case("a probability of exactly 1", (_sureness(1.0, 0.72, 0.0), torch.tensor([0, 1, 0]), 10)),
     Case("three classes, five bins", (torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.75, 0.15], [0.3, 0.25, 0.45]]),
                                       torch.tensor([0, 2, 2]), 5))],
    right=lambda probabilities, labels, bins: _calibration(probabilities, labels, bins),
    mistakes={
        "Every bin counts the same. Weigh each gap by the share of the pictures in its bin.":
            lambda *a: _calibration(*a, weigh=False),
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
        "The gaps are squared. Take their absolute values.": lambda *a: _calibration(*a, square=True),
        "This is the sum over the pictures. Divide it by their number.": lambda *a: _calibration(*a, divide=False),
        "The gap is taken for each picture alone. Take the means of a bin first, and then their difference.":
            lambda p, y, bins: (p.max(1).values - (p.argmax(1) == y).float()).abs().mean(),
        "This is the share of right answers.": lambda p, y, bins: (p.argmax(1) == y).float().mean()},
    errors={"out of bounds": "A probability of exactly 1 gives the bin number `bins`, one too many: "
                             ".clamp(max=bins - 1).",
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
    [Case("one of five", (_ODDS, torch.tensor([0, 1, 0, 0, 0]), 1)),
     Case("three of five", (_ODDS, torch.tensor([1, 1, 0, 0, 1]), 3)),
     Case("three classes", (torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.05, 0.15, 0.8], [0.4, 0.35, 0.25]]),
                            torch.tensor([1, 0, 2, 2]), 2))],
    right=lambda probabilities, labels, count: _own(probabilities, labels).argsort()[:count],
    mistakes={
        "These are the pictures whose labels the network is surest of. Take those with the lowest probability.":
            lambda p, y, count: _own(p, y).argsort(descending=True)[:count],
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
        "These are the first wrong ones, in the order of the dataset. Sort them by the probability of the label.":
            lambda p, y, count: torch.where(p.argmax(1) != y)[0][:count]},
    errors={"out of bounds": "probabilities has a row for each picture: probabilities[torch.arange(len(labels)), "
                             "labels]."},
    hints=("What probability does the network give to the label that each picture has? Where is it lowest?",
           "probabilities[torch.arange(len(labels)), labels] is that of each picture's label. argsort() gives the "
           "numbers of the pictures, the lowest first.",
           "of_label = probabilities[torch.arange(len(labels)), labels]\nreturn of_label.argsort()[:count].tolist()"))
