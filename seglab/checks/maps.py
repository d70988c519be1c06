"""Checks about maps: what a place of one sees, and how one is enlarged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.checks.exercise import Case, Exercise

_Layers = Sequence[tuple[int, int, int]]


def _field(layers: _Layers, grow: Callable[[int, int, int], int] = lambda k, s, d: (k - 1) * d,
           step: Callable[[int, int, int], int] = lambda before, s, d: before * s, first: bool = False,
           begin: int = 1) -> tuple[int, int]:
    field, stride = begin, 1
    for kernel, own, dilation in layers:
        after = step(stride, own, dilation)
        field += grow(kernel, own, dilation) * (after if first else stride)
        stride = after
    return field, stride


receptive_field = Exercise(
    "receptive_field",
    [Case("one 3×3 convolution", ([(3, 1, 1)],)), Case("two of them", ([(3, 1, 1), (3, 1, 1)],)),
     Case("the second one has stride 2", ([(3, 1, 1), (3, 2, 1)],)),
     Case("the first one has stride 2", ([(3, 2, 1), (3, 1, 1)],)), Case("dilation 2", ([(3, 1, 2)],)),
     Case("a stride, then a dilation", ([(3, 2, 1), (3, 1, 4)],)),
     Case("a dilation, then none", ([(3, 1, 2), (3, 1, 1)],)),
     Case("strides 2 and 3", ([(3, 2, 1), (3, 3, 1), (3, 1, 1)],)),
     Case("the first layers of a ResNet", ([(7, 2, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)],)),
     Case("no layer: the pixel itself", ([],))],
    right=_field,
    mistakes={
        "A layer's own stride counts too early. It spreads the layers behind it, not the layer itself.":
            lambda layers: _field(layers, first=True),
        "The strides are left out of the field: behind a stride of 2, neighbours are 2 pixels apart.":
            lambda layers: (_field([(k, 1, d) for k, _, d in layers])[0], _field(layers)[1]),
        "The strides before a layer are added up. They multiply: 2 and then 2 is 4.":
            lambda layers: _field(layers, step=lambda before, s, d: before + s - 1),
        "Only the stride of the last layer is used. All the strides before a layer multiply.":
            lambda layers: _field(layers, step=lambda before, s, d: s),
        "Only the stride of the layer before is used. All the strides before a layer multiply.": lambda layers: (
            1 + sum((k - 1) * d * before for (k, _, d), before in zip(layers, [1, *(s for _, s, _ in layers)],
                                                                      strict=False)), _field(layers)[1]),
        "The dilation of one layer does not go on to the next.": lambda layers: _field([
            (k, s, math.prod(d for _, _, d in layers[:i + 1])) for i, (k, s, _) in enumerate(layers)]),
        "The layers are taken from the last to the first. Begin at the picture.": lambda layers: _field(layers[::-1]),
        "The second number of a layer is its stride, the third its dilation.": lambda layers: _field(
            [(k, d, s) for k, s, d in layers]),
        "The dilation is left out: a 3×3 kernel with dilation 2 spans 5 pixels.":
            lambda layers: _field([(k, s, 1) for k, s, _ in layers]),
        "The dilation is counted as a stride. It spreads one kernel and leaves the map's stride as it is.":
            lambda layers: _field(layers, step=lambda before, s, d: before * s * d),
        "With dilation d the kernel spans (k - 1) · d + 1 pixels, so that the layer adds (k - 1) · d.":
            lambda layers: _field(layers, grow=lambda k, s, d: k * d - 1),
        "A layer adds k - 1, not k: its window overlaps that of its neighbour.":
            lambda layers: _field(layers, grow=lambda k, s, d: k * d),
        "A layer adds to both sides: (k - 1) in all, not (k - 1) / 2.":
            lambda layers: _field(layers, grow=lambda k, s, d: (k - 1) // 2 * d),
        "The pixel itself is missing: begin with a field of 1.": lambda layers: _field(layers, begin=0),
        "The two numbers are exchanged: first the field, then the stride.": lambda layers: _field(layers)[::-1],
        "Return both numbers, the field and the stride: return field, stride.": lambda layers: _field(layers)[0],
        "Only the first layer counts. Is `return` inside of the loop?": lambda layers: _field(layers[:1])},
    errors={"too many values to unpack": "Each layer has three numbers: for kernel, own_stride, dilation in layers.",
            "not enough values to unpack": "Each layer has three numbers: for kernel, own_stride, dilation in layers."},
    hints=("Go through the layers and keep two numbers: the field so far, and the stride so far, which is how many "
           "pixels lie between two neighbouring places of the map.",
           "A kernel of size k with dilation d reaches over (k - 1) · d places of the map before it, each `stride` "
           "pixels apart. Add that to the field first; then multiply the stride by the layer's own.",
           "field, stride = 1, 1\nfor kernel, own_stride, dilation in layers:\n"
           "    field += (kernel - 1) * dilation * stride\n    stride *= own_stride\nreturn field, stride"))


def _enlarged(row: Tensor, factor: int) -> Tensor:
    return F.interpolate(row[None, None], scale_factor=factor, mode="linear", align_corners=False)[0, 0]


def _at(row: Tensor, x: Tensor, clamp: bool = True, swapped: bool = False) -> Tensor:
    """The row at these places, by linear interpolation; without clamping it goes on in a straight line."""
    if len(row) == 1:
        return row.expand(len(x)).clone()
    x = x.clamp(0, len(row) - 1) if clamp else x
    left = x.floor().long().clamp(0, len(row) - 2)
    share = left + 1 - x if swapped else x - left
    return row[left] * (1 - share) + row[left + 1] * share


def _places(row: Tensor, factor: int) -> Tensor:
    return torch.arange(len(row) * factor).float()


def _faded(row: Tensor, factor: int) -> Tensor:
    padded = torch.cat([torch.zeros(1), row, torch.zeros(1)])
    return _at(padded, (_places(row, factor) + 0.5) / factor + 0.5)


enlarge = Exercise(
    "enlarge",
    [Case("two values, twice as many", (torch.tensor([0.0, 1.0]), 2)),
     Case("three values, four times as many", (torch.tensor([0.0, 4.0, -4.0]), 4)),
     Case("three values, three times as many", (torch.tensor([3.0, 6.0, 0.0]), 3)),
     Case("factor 1 changes nothing", (torch.tensor([5.0, 7.0, 1.0]), 1)),
     Case("a single value", (torch.tensor([2.0]), 3))],
    right=_enlarged,
    mistakes={
        "Each value is repeated. That is nearest-neighbour interpolation; between two centres, mix both values.": [
            lambda row, factor: row.repeat_interleave(factor), lambda row, factor: row[_places(row, factor).long()
                                                                                       // factor]],
        "The first and the last places of both rows are laid upon each other (align_corners=True). Here the rows' "
        "edges are: x = (i + 1/2) / factor - 1/2.":
            lambda row, factor: _at(row, torch.linspace(0, len(row) - 1, len(row) * factor)),
        "The halves are missing: the centre of place i is at i + 1/2. x = (i + 1/2) / factor - 1/2.":
            lambda row, factor: _at(row, _places(row, factor) / factor),
        "The last half is missing: x = (i + 1/2) / factor - 1/2, since the centre of place 0 of the row is at 1/2.":
            lambda row, factor: _at(row, (_places(row, factor) + 0.5) / factor),
        "Beyond the first and the last centre it goes on in a straight line. There, repeat the end value: x lies "
        "between 0 and len(row) - 1.":
            lambda row, factor: _at(row, (_places(row, factor) + 0.5) / factor - 0.5, clamp=False),
        "Beyond the ends of the row it mixes with 0. There, repeat the end value.": _faded,
        "The two weights are exchanged: the nearer value counts more.":
            lambda row, factor: _at(row, ((_places(row, factor) + 0.5) / factor - 0.5), swapped=True),
        "row[-1] is the last value of the row: keep the left neighbour at 0 or more, too.": lambda row, factor: (
            lambda x: row[x.floor().long()] * (1 - x + x.floor()) + row[(x.floor().long() + 1).clamp(
                max=len(row) - 1)] * (x - x.floor()))((_places(row, factor) + 0.5) / factor - 0.5),
        "All new values are the left neighbour's. Mix it with the right one, by the share x - left.":
            lambda row, factor: row[((_places(row, factor) + 0.5) / factor - 0.5).clamp(0, len(row) - 1).floor(
                ).long()]},
    errors={"out of bounds": "The right neighbour of the last value does not exist: keep left + 1 within the row.",
            "out of range": "The right neighbour of the last value does not exist: keep left + 1 within the row.",
            "only integers": "An index must be a whole number: x.floor().long(), or int(…).",
            "tensors used as indices": "An index must be a whole number: x.floor().long().",
            "arange(): argument 'end'": "The number of new places is len(row) * factor."},
    hints=("Where in the old row does the centre of each new place lie? Which two old values are left and right of it?",
           "x = (torch.arange(len(row) * factor) + 0.5) / factor - 0.5, and then x.clamp(0, len(row) - 1). left = "
           "x.floor().long(), right = (left + 1).clamp(max=len(row) - 1), and the share of the right one is x - left.",
           "x = (torch.arange(len(row) * factor) + 0.5) / factor - 0.5\nx = x.clamp(0, len(row) - 1)\n"
           "left = x.floor().long()\nright = (left + 1).clamp(max=len(row) - 1)\nshare = x - left\n"
           "return row[left] * (1 - share) + row[right] * share"))
