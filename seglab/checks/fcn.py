"""Checks about fully convolutional networks: their layers, what a place sees, and the way back to fine maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise


def _slid(answer: Callable[..., Any], channels: int, height: int, width: int) -> dict[str, Any]:
    """What the convolution of a linear layer makes of a map of its own size, and of a larger one."""
    torch.manual_seed(0)
    linear = nn.Linear(channels * height * width, 3)
    small, large = torch.randn(1, channels, height, width), torch.randn(2, channels, height + 2, width + 3)
    layer = answer(linear, channels, height, width)
    if not callable(layer):
        raise TypeError(f"it returns {type(layer).__name__}, and should return the layer itself, an nn.Conv2d")
    with torch.no_grad():
        found = {"scores of a map of its own size": layer(small), "scores of a larger map": layer(large)}
    wrong = [type(one).__name__ for one in found.values() if not isinstance(one, Tensor)]
    if wrong:
        raise TypeError(f"the layer makes a {wrong[0]}, and should make a tensor of scores")
    return {f"shape of the {name}": list(one.shape) for name, one in found.items()} | found


def _converted(linear: nn.Linear, channels: int, height: int, width: int, *, weight: Callable[[Tensor], Tensor] | None
               = None, bias: bool | None = True, padding: int = 0, stride: int | tuple[int, int] = 1) -> nn.Conv2d:
    """The right answer; `bias` None leaves the new layer's own."""
    conv = nn.Conv2d(channels, linear.out_features, (height, width), bias=bias is not False, padding=padding,
                     stride=stride)
    flat = linear.weight.data
    conv.weight.data = flat.view(-1, channels, height, width) if weight is None else weight(flat)
    if bias:
        assert conv.bias is not None
        conv.bias.data = linear.bias.data
    return conv


to_convolution = Exercise(
    "to_convolution",
    [Case("a linear layer on 4 features: a 1×1 convolution", (4, 1, 1), ""),
     Case("a linear layer on a flattened 5×2×3 map", (5, 2, 3), "")],
    right=_converted, run=_slid,
    mistakes={
        "The bias is not copied: conv.bias.data = linear.bias.data.": [
            lambda *a: _converted(*a, bias=None), lambda *a: _converted(*a, bias=False)],
        "The weights are new random numbers. Copy those of the linear layer, as the kernel of each class.": [
            lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, (h, w)),
            lambda linear, c, h, w: _converted(linear, c, h, w, weight=lambda x: nn.Conv2d(
                c, linear.out_features, (h, w)).weight.data)],
        "The numbers are in another order. flatten() goes through the channels first, then rows, then columns: "
        "weight.view(classes, channels, height, width).":
            lambda linear, c, h, w: _converted(linear, c, h, w, weight=lambda x: x.view(-1, h, w, c).permute(
                0, 3, 1, 2)),
        "Rows and columns of the kernel are exchanged: view(classes, channels, height, width).":
            lambda linear, c, h, w: _converted(linear, c, h, w, weight=lambda x: x.view(-1, c, w, h).transpose(2, 3)),
        "The kernel is turned by 180°. PyTorch's convolution does not flip its kernel.":
            lambda linear, c, h, w: _converted(linear, c, h, w, weight=lambda x: x.view(-1, c, h, w).flip(2, 3)),
        "The convolution pads its input. Without padding, a map as large as the kernel gives a single place.":
            lambda linear, c, h, w: _converted(linear, c, h, w, padding=1),
        "The kernel moves by its own size. Leave the stride at 1.":
            lambda linear, c, h, w: _converted(linear, c, h, w, stride=(h, w)),
        "There is a ReLU behind it. The linear layer has none.":
            lambda *a: nn.Sequential(_converted(*a), nn.ReLU()),
        "There is a softmax behind it. The linear layer has none.":
            lambda *a: nn.Sequential(_converted(*a), nn.Softmax(1))},
    errors={"is invalid for input of size": "linear.weight is (classes, channels * height * width); its kernel is "
                                            "(classes, channels, height, width).",
            "size mismatch": "linear.weight is (classes, channels * height * width): view it as (classes, channels, "
                             "height, width).",
            "expected input": "nn.Conv2d takes the channels that come in first, then those that go out.",
            "is not a Module subclass": "Return a layer, such as an nn.Conv2d.",
            "must be Tensor": "Copy into conv.weight.data; conv.weight itself is a parameter."},
    hints=("How large must the kernel be, so that it covers the whole map? Then a place of the output is what the "
           "linear layer computes.",
           "nn.Conv2d(channels, linear.out_features, kernel_size=(height, width)) has a weight of shape (classes, "
           "channels, height, width). linear.weight holds the same numbers in the same order, and the bias fits as it "
           "is.",
           "conv = nn.Conv2d(channels, linear.out_features, kernel_size=(height, width))\n"
           "conv.weight.data = linear.weight.data.view(-1, channels, height, width)\n"
           "conv.bias.data = linear.bias.data\nreturn conv"))

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
        "All new values are the left neighbour's. Mix it with the right one, by the share x - left.":
            lambda row, factor: row[((_places(row, factor) + 0.5) / factor - 0.5).clamp(0, len(row) - 1).floor(
                ).long()]},
    errors={"out of bounds": "The right neighbour of the last value does not exist: keep left + 1 within the row.",
            "out of range": "The right neighbour of the last value does not exist: keep left + 1 within the row.",
            "tensors used as indices": "An index must be a whole number: x.floor().long().",
            "arange(): argument 'end'": "The number of new places is len(row) * factor."},
    hints=("Where in the old row does the centre of each new place lie? Which two old values are left and right of it?",
           "x = (torch.arange(len(row) * factor) + 0.5) / factor - 0.5, and then x.clamp(0, len(row) - 1). left = "
           "x.floor().long(), right = (left + 1).clamp(max=len(row) - 1), and the share of the right one is x - left.",
           "x = (torch.arange(len(row) * factor) + 0.5) / factor - 0.5\nx = x.clamp(0, len(row) - 1)\n"
           "left = x.floor().long()\nright = (left + 1).clamp(max=len(row) - 1)\nshare = x - left\n"
           "return row[left] * (1 - share) + row[right] * share"))


def _module(made: Any) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise TypeError(f"it makes a {type(made).__name__}, which is no nn.Module: class …(nn.Module)")
    return made


def _known_weights(model: nn.Module) -> None:
    """The same weights for every answer, in the order of its layers; none of them 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            fan = max(1, value[0].numel()) if value.ndim > 1 else 1
            value.copy_(torch.randn(value.shape, generator=generator) / math.sqrt(fan) + (0.3 if fan == 1 else 0))


def _called(model: nn.Module, maps: Any) -> Tensor:
    with torch.no_grad():
        found = model(maps)
    if not isinstance(found, Tensor):
        raise TypeError("forward returns nothing. Is there a `return`?" if found is None else
                        f"forward returns a {type(found).__name__}, and should return a tensor")
    return found


def _head_of(answer: Callable[..., Any], in_channels: int, num_classes: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """What is compared of a head: its parameters, its scores in use, and whether its dropout works in training."""
    if isinstance(answer, nn.Module):
        raise TypeError("pass the class itself, without brackets, instead of a network that was made of it")
    model = _module(answer(in_channels, num_classes))
    _known_weights(model)
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    scores = _called(model.eval(), maps)
    model.train()
    with torch.no_grad():
        differ = any(not torch.equal(model(maps), model(maps)) for _ in range(8))
    return {"parameters": sum(value.numel() for value in model.parameters()),
            "shape of the scores": list(scores.shape), "scores": scores, "dropout in training": differ}


def _head(in_channels: int, num_classes: int, *, between: int = 0, first: int = 3, padding: int = 1, bias: bool = False,
          order: str = "norm relu dropout", last: int = 1, after: str = "") -> nn.Sequential:
    """The right answer in parts, so that some can be left out or exchanged."""
    width = between or in_channels // 4
    parts: dict[str, Callable[[], nn.Module]] = {
        "norm": lambda: nn.BatchNorm2d(width), "relu": nn.ReLU, "dropout": lambda: nn.Dropout(0.1),
        "softmax": lambda: nn.Softmax(1)}
    return nn.Sequential(nn.Conv2d(in_channels, width, first, padding=padding, bias=bias),
                         *(parts[name]() for name in order.split()),
                         nn.Conv2d(width, num_classes, last, padding=last // 2), *(parts[name]() for name
                                                                                  in after.split()))


fcn_head = Exercise(
    "fcn_head",
    [Case("64 channels, 5 classes", (64, 5, (2, 64, 4, 6)), ""),
     Case("40 channels, 21 classes", (40, 21, (1, 40, 3, 3)), "")],
    right=_head, run=_head_of,
    mistakes={
        "The 3×3 convolution makes its map smaller: padding=1.": lambda *a: _head(*a, padding=0),
        "There is no BatchNorm between the two convolutions.": lambda *a: _head(*a, order="relu dropout"),
        "There is no ReLU between the two convolutions. Without one, they are a single linear map.":
            lambda *a: _head(*a, order="norm dropout"),
        "There is no dropout.": lambda *a: _head(*a, order="norm relu"),
        "The ReLU stands before the BatchNorm: first BatchNorm, then ReLU.":
            lambda *a: _head(*a, order="relu norm dropout"),
        "The first convolution has a bias. BatchNorm subtracts it again: bias=False.":
            lambda *a: _head(*a, bias=True),
        "Between the convolutions there are as many channels as classes. There should be a quarter of in_channels.":
            lambda c, n: _head(c, n, between=n),
        "Between the convolutions there are as many channels as before. There should be a quarter of them: "
        "in_channels // 4.": lambda c, n: _head(c, n, between=c),
        "The last convolution is 3×3: kernel_size=1.": lambda *a: _head(*a, last=3),
        "The first convolution is 1×1: kernel_size=3.": lambda *a: _head(*a, first=1, padding=0),
        "There is a ReLU behind the last convolution. Logits may be negative.": lambda *a: _head(*a, after="relu"),
        "There is a softmax behind the last convolution. Logits are plain scores.":
            lambda *a: _head(*a, after="softmax"),
        "There is only one convolution. Two are asked for: 3×3 to a quarter of the channels, then 1×1 to the classes.":
            lambda c, n: nn.Conv2d(c, n, 1)},
    hints=("Five layers, one after another. nn.Sequential(…) applies layers in their order.",
           "nn.Conv2d(in_channels, in_channels // 4, 3, padding=1, bias=False), nn.BatchNorm2d(in_channels // 4), "
           "nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(in_channels // 4, num_classes, 1).",
           "class Head(nn.Module):\n    def __init__(self, in_channels, num_classes):\n        super().__init__()\n"
           "        between = in_channels // 4\n        self.layers = nn.Sequential(\n"
           "            nn.Conv2d(in_channels, between, 3, padding=1, bias=False), nn.BatchNorm2d(between),\n"
           "            nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(between, num_classes, 1))\n\n"
           "    def forward(self, maps):\n        return self.layers(maps)"))


def _decoded(answer: Callable[..., Any], channels: Mapping[str, int], width: int, height: int) -> dict[str, Any]:
    """What a decoder with known weights makes of four maps, the coarsest of them `height` rows high."""
    model = _module(answer(channels, width))
    _known_weights(model)
    generator = torch.Generator().manual_seed(1)
    maps = {stage: torch.randn(1, count, height * 2**power, (height + 1) * 2**power, generator=generator)
            for (stage, count), power in zip(channels.items(), (3, 2, 1, 0), strict=True)}
    found = _called(model.eval(), maps)
    return {"shape of the map": list(found.shape), "map": found}


def _layer(before: int, after: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, size, padding=size // 2, bias=False), nn.BatchNorm2d(after),
                         nn.ReLU())


class _Decoder(nn.Module):
    """The right answer, with what can be wrong about it."""

    def __init__(self, channels: Mapping[str, int], width: int, *, mode: str = "bilinear", corners: bool | None = False,
                 context: bool = True, add: bool = True, smooth: str = "after", stages: str = "c4 c3 c2") -> None:
        super().__init__()
        self.lateral = nn.ModuleDict({stage: _layer(channels[stage], width, 1) for stage in channels})
        self.context = nn.Sequential(_layer(width, width, 3), _layer(width, width, 3))
        self.smooth = nn.ModuleDict({stage: _layer(width, width, 3) for stage in ("c4", "c3", "c2")})
        self.how, self.stages = (mode, corners, context, add, smooth), stages.split()

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        mode, corners, context, add, smooth = self.how
        x: Tensor = self.lateral["c5"](maps["c5"])
        x = self.context(x) if context else x
        for stage in self.stages:
            x = F.interpolate(x, scale_factor=2, mode=mode, align_corners=corners)
            if smooth == "before":
                x = self.smooth[stage](x)
            x = x + self.lateral[stage](maps[stage]) if add else x
            if smooth == "after":
                x = self.smooth[stage](x)
            elif smooth == "beside":
                x = x + self.smooth[stage](x)
        return x


class _AllAtOnce(_Decoder):
    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        x: Tensor = self.context(self.lateral["c5"](maps["c5"]))
        size = maps["c2"].shape[-2:]
        x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        for stage in self.stages:
            x = x + F.interpolate(self.lateral[stage](maps[stage]), size, mode="bilinear", align_corners=False)
        return self.smooth["c2"](x)


skip_decoder = Exercise(
    "skip_decoder",
    [Case("maps of 8, 16, 24 and 32 channels; the coarsest is 2×3",
          ({"c2": 8, "c3": 16, "c4": 24, "c5": 32}, 8, 2), ""),
     Case("other channels, and larger maps", ({"c2": 4, "c3": 6, "c4": 10, "c5": 12}, 16, 3), "")],
    right=_Decoder, run=_decoded,
    mistakes={
        "The maps are enlarged by nearest neighbours. Use mode=\"bilinear\".": [
            lambda *a: _Decoder(*a, mode="nearest", corners=None)],
        "align_corners=True shifts the coarse map against the fine one. Use align_corners=False.":
            lambda *a: _Decoder(*a, corners=True),
        "self.context is missing: it comes behind the lateral convolution of c5.":
            lambda *a: _Decoder(*a, context=False),
        "The finer maps are not added: x + self.lateral[stage](maps[stage]).": lambda *a: _Decoder(*a, add=False),
        "self.smooth comes too early: first add the finer map, then smooth the sum.":
            lambda *a: _Decoder(*a, smooth="before"),
        "self.smooth is missing: it comes behind each sum.": lambda *a: _Decoder(*a, smooth=""),
        "The sum is added to the smoothed sum once more. Go on with what self.smooth makes of it.":
            lambda *a: _Decoder(*a, smooth="beside"),
        "It stops at c3: one finer map, c2, is left.": lambda *a: _Decoder(*a, stages="c4 c3"),
        "It stops at c4: two finer maps, c3 and c2, are left. Is `return` inside of the loop?":
            lambda *a: _Decoder(*a, stages="c4"),
        "The maps are all enlarged to the finest one and added at once. Go step by step: double, add, smooth, for c4, "
        "c3 and c2.": _AllAtOnce},
    errors={"must match the size": "Two maps of different sizes are added. Double the size of the coarser one first: "
                                   "F.interpolate(x, scale_factor=2, mode=\"bilinear\", align_corners=False).",
            "channels, but got": "A map goes through the lateral convolution of its own stage first: "
                                 "self.lateral[stage](maps[stage]).",
            "'ModuleDict' object is not callable": "Take the layer of one stage: self.lateral[stage], "
                                                   "self.smooth[stage].",
            "'dict' object has no attribute": "maps is a dictionary: maps[\"c5\"]."},
    hints=("Begin at the coarsest map: its lateral convolution, then self.context. Then three times the same steps.",
           "for stage in (\"c4\", \"c3\", \"c2\"): double the size of x with F.interpolate(…, scale_factor=2, "
           "mode=\"bilinear\", align_corners=False), add self.lateral[stage](maps[stage]), and give the sum to "
           "self.smooth[stage].",
           "x = self.context(self.lateral[\"c5\"](maps[\"c5\"]))\nfor stage in (\"c4\", \"c3\", \"c2\"):\n"
           "    x = F.interpolate(x, scale_factor=2, mode=\"bilinear\", align_corners=False)\n"
           "    x = self.smooth[stage](x + self.lateral[stage](maps[stage]))\nreturn x"))
