"""Checks about where the evidence of a classifier lies: CAM and Grad-CAM."""

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
    [Case("one feature map, two classes", (torch.tensor([[[0.0, 1.0], [2.0, 4.0]]]), torch.tensor([[2.0], [-0.5]]), 0)),
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
        "The map is divided by its largest value, or squeezed to between 0 and 1. Leave the evidence as it is.": [
            lambda *a: _cam(*a) / _cam(*a).max(),
            lambda *a: (_cam(*a) - _cam(*a).min()) / (_cam(*a).max() - _cam(*a).min())],
        "The places are added, too. Add over the features only: .sum(dim=0).": [
            lambda *a: _cam(*a).sum(), lambda maps, weight, c: weight[c] * maps.sum((1, 2))],
        "This is the part of one feature map. Add up the parts of all of them, with +=.": [
            lambda maps, weight, c, k=k: weight[c, k] * maps[k] for k in (-1, 0)],
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
            "batch2": "weight[class_id] is (K,), and maps is (K, h, w): torch.einsum(\"k,khw->hw\", …).",
            "shapes cannot be multiplied": "weight[class_id] is (K,), and maps is (K, h, w): "
                                           "torch.einsum(\"k,khw->hw\", …)."},
    hints=("The row of the head's weights for this class has one number for each feature map. What does the head do "
           "with the features?",
           "Multiply each feature map by its weight and add them up. weight[class_id][:, None, None] has the shape "
           "(K, 1, 1), and so fits maps, (K, h, w).",
           "return (weight[class_id][:, None, None] * maps).sum(dim=0)"))


def _grad_cam(head: Callable[[Tensor], Tensor], maps: Tensor, class_id: int, *, relu: bool = True,
              pool: str = "mean", score: Callable[[Tensor, int], Tensor] = lambda logits, c: logits[c],
           joined: Callable[[Tensor], Tensor] = lambda parts: parts.sum(0)) -> Tensor:
    maps = maps.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(head(maps[None])[0], class_id), maps)
    weights = {"mean": gradient.mean((1, 2), keepdim=True), "sum": gradient.sum((1, 2), keepdim=True),
               "none": gradient, "largest": gradient.amax((1, 2), keepdim=True),
               "positive": gradient.clamp(min=0).mean((1, 2), keepdim=True)}[pool]
    heat = joined(weights * maps).detach()
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
    [Case("a linear head on the mean over the places", (_Pooled(2, 3).forward, _MAPS, 0), ""),  # functions, as it says
     Case("maps with negative values, another class", (_Pooled(2, 3).forward, _MAPS - 1, 2), ""),
     Case("a head of two layers", (_Pooled(2, 5, 3).forward, _MAPS, 1), ""),
     Case("a head with weights for each place", (_Pooled(12, 3, places=6).forward, _MAPS, 2), "")],
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
        "The gradient is that of the probability, behind the softmax. Take the logit of class_id.": [
            lambda *a: _grad_cam(*a, score=lambda logits, c: logits.softmax(0)[c]),
            lambda *a: _grad_cam(*a, score=lambda logits, c: logits.log_softmax(0)[c]),
            lambda *a: _grad_cam(*a, score=lambda logits, c: -logits.log_softmax(0)[c])],
        "This is the mean over the feature maps. Take their sum.": lambda *a: _grad_cam(*a, joined=lambda x: x.mean(0)),
        "What is negative is cut off before the sum. Add up the maps first.":
            lambda *a: _grad_cam(*a, joined=lambda x: x.relu().sum(0)),
        "Negative sums are made positive. Cut them off: .clamp(min=0) instead of .abs().":
            lambda *a: _grad_cam(*a, relu=False).abs(),
        "What is positive is cut off. Cut off what is negative: .clamp(min=0).":
            lambda *a: _grad_cam(*a, relu=False).clamp(max=0),
        "The map is divided by its largest value. Leave it as it is.": [
            lambda *a: _grad_cam(*a) / _grad_cam(*a).max(),
            lambda *a: _grad_cam(*a) / _grad_cam(*a, relu=False).abs().max()],
        "The gradient is that of class 0, always.": lambda head, maps, c: _grad_cam(head, maps, 0),
        "Negative gradients are cut off. Only the sum at the end is.": lambda *a: _grad_cam(*a, pool="positive"),
        "These are the largest gradients. Take their mean over the places.": lambda *a: _grad_cam(*a, pool="largest")},
    errors={"does not require grad": "The maps need maps = maps.clone().requires_grad_(), before the head is called.",
            "NoneType": "There is no gradient: torch.autograd.grad(score, maps) returns it. (backward() returns "
                        "nothing, and puts it into .grad of the tensor for which requires_grad_() was called.)",
            "only for scalar outputs": "The score is one number, of one class: head(maps[None])[0, class_id]. "
                                       "And in torch.autograd.grad(score, maps), it comes first.",
            "Dimension out of range": "maps is (K, h, w). The head wants a batch: head(maps[None]) is (1, C). Places "
                                      "are the axes (1, 2).",
            "must match the size": "The weights need two more axes: gradient.mean(dim=(1, 2), keepdim=True) is "
                                   "(K, 1, 1), and fits (K, h, w).",
            "'function' object has no attribute": "head is a function, and no module: call it, head(maps[None]).",
            "'tuple' object has no attribute": "torch.autograd.grad returns a tuple: (gradient,) = …",
            "'float' object": "item() gives a plain number, which has no gradient. Leave the score a tensor.",
            "a second time": "Take the gradient once: either backward() or torch.autograd.grad.",
            "tensor.detach().numpy()": "This tensor still asks for gradients. First .detach(), then .numpy().",
            "shapes cannot be multiplied": "The head wants a batch: head(maps[None]) is (1, C)."},
    hints=("The gradient of the score with respect to the maps says how much each value of them matters. What is its "
           "mean over the places of one map?",
           "maps = maps.clone().requires_grad_(); score = head(maps[None])[0, class_id]; "
           "(gradient,) = torch.autograd.grad(score, maps). Its mean over the places is the weight of each map.",
           "maps = maps.clone().requires_grad_()\nscore = head(maps[None])[0, class_id]\n"
           "(gradient,) = torch.autograd.grad(score, maps)\n"
           "weights = gradient.mean(dim=(1, 2), keepdim=True)\n"
           "return (weights * maps).sum(dim=0).clamp(min=0).detach()"))
