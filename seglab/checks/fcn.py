"""Checks about fully convolutional networks: from a linear layer to a convolution, a head, a decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.checks.networks import module_of


def _slid(answer: Callable[..., Any], channels: int, height: int, width: int) -> dict[str, Any]:
    """What the convolution of a linear layer makes of a map of its own size, and of a larger one."""
    torch.manual_seed(0)
    linear = nn.Linear(channels * height * width, 3)
    small, large = torch.randn(1, channels, height, width), torch.randn(2, channels, height + 2, width + 3)
    before = linear.weight.detach().clone()
    layer = answer(linear, channels, height, width)
    if not torch.equal(linear.weight, before):
        raise RefusedError("it changes the linear layer, which is used again. Put the view into a variable of its own")
    if not callable(layer):
        raise RefusedError("it returns nothing. Is there a `return`?" if layer is None else
                           f"it returns a {type(layer).__name__}, and should return the layer itself, an nn.Conv2d")
    if isinstance(layer, nn.Conv2d) and layer.kernel_size != (height, width):
        raise RefusedError(f"kernel_size is {layer.kernel_size}, and should be (height, width), here {(height, width)}")
    with torch.no_grad():
        found = {"scores of a map of its own size": layer(small), "scores of a larger map": layer(large)}
    wrong = [type(one).__name__ for one in found.values() if not isinstance(one, Tensor)]
    if wrong:
        raise RefusedError(f"the layer makes a {wrong[0]}, and should make a tensor of scores")
    return {f"shape of the {name}": list(one.shape) for name, one in found.items()} | found


def _converted(linear: nn.Linear, channels: int, height: int, width: int, *, weight: Callable[[Tensor], Tensor] | None
               = None, bias: bool | None = True, padding: int | tuple[int, int] = 0,
               stride: int | tuple[int, int] = 1) -> nn.Conv2d:
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
        "The convolution pads its input. Without padding, a map as large as the kernel gives a single place.": [
            lambda linear, c, h, w, p=p: _converted(linear, c, h, w, padding=p(h, w)) for p in (
                lambda h, w: 1, lambda h, w: (h // 2, w // 2))],
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
            "expected input": "The kernel is (classes, channels, height, width): nn.Conv2d(channels, "
                              "linear.out_features, …), and the view of the weights in that order.",
            "can't be greater than actual input": "The kernel is larger than the map: kernel_size=(height, width).",
            "mat1 and mat2": "This is the linear layer itself. Return a convolution that has its weights.",
            "cannot assign": "conv.weight is a parameter. Set its numbers: conv.weight.data = …",
            "leaf Variable": "Set the numbers of the parameter: conv.weight.data = …",
            "expected bias": "The kernel has the wrong shape: linear.weight.data.view(-1, channels, height, width).",
            "at least three dimensions": "linear.weight is (classes, channels * height * width): view it as (classes, "
                                         "channels, height, width).",
            "has no attribute 'data'": "The convolution was made with bias=False. It needs the linear layer's bias."},
    hints=("How large must the kernel be, so that it covers the whole map? Then a place of the output is what the "
           "linear layer computes.",
           "nn.Conv2d(channels, linear.out_features, kernel_size=(height, width)) has a weight of shape (classes, "
           "channels, height, width). linear.weight holds the same numbers in the same order, and the bias fits as it "
           "is.",
           "conv = nn.Conv2d(channels, linear.out_features, kernel_size=(height, width))\n"
           "conv.weight.data = linear.weight.data.view(-1, channels, height, width)\n"
           "conv.bias.data = linear.bias.data\nreturn conv"))


def _known_weights(model: nn.Module) -> None:
    """The same weights for every answer, in whatever order its layers were made; none of them 0."""
    if not list(model.parameters()):
        raise RefusedError("its layers are not registered: make them in __init__, as attributes, in an nn.Sequential "
                           "or an nn.ModuleList")
    seen: dict[tuple[int, ...], int] = {}
    with torch.no_grad():
        for value in model.parameters():
            shape = tuple(side for side in value.shape if side > 1)
            seen[shape] = seen.get(shape, 0) + 1
            generator = torch.Generator().manual_seed(hash((*shape, seen[shape])) % 2**31)  # the same in each run
            fan = max(1, value[0].numel()) if value.ndim > 1 else 1
            value.copy_(torch.randn(value.shape, generator=generator) / math.sqrt(fan) + (0.3 if fan == 1 else 0))


def _called(model: nn.Module, maps: Any) -> Tensor:
    with torch.no_grad():
        found = model(maps)
    if not isinstance(found, Tensor):
        raise RefusedError("forward returns nothing. Is there a `return`?" if found is None else
                        f"forward returns a {type(found).__name__}, and should return a tensor")
    return found


def _head_of(answer: Callable[..., Any], in_channels: int, num_classes: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """What is compared of a head: its parameters, its scores in use, and whether its dropout works in training."""
    model = module_of(answer, in_channels, num_classes)
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    if any(one.p != 0.1 for one in model.modules() if isinstance(one, nn.modules.dropout._DropoutNd)):
        raise RefusedError("a dropout of 0.1 is asked for: nn.Dropout(0.1)")
    if not torch.equal(_called(model.eval(), maps), _called(model, maps)):  # also: some layers have no weights before
        raise RefusedError("in eval mode, its scores change from call to call. F.dropout needs training=self.training; "
                           "nn.Dropout knows it by itself")
    _known_weights(model)
    scores = _called(model, maps)
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
        "Between the convolutions there is half of the channels. There should be a quarter: in_channels // 4.":
            lambda c, n: _head(c, n, between=c // 2),
        "There is only one convolution. Two are asked for: 3×3 to a quarter of the channels, then 1×1 to the classes.":
            lambda c, n: nn.Conv2d(c, n, 1)},
    errors={"is not a Module subclass": "nn.Sequential wants layers with their brackets, such as nn.ReLU(), one after "
                                        "another, and not in a list.",
            "running_mean should contain": "nn.BatchNorm2d takes the number of its channels, in_channels // 4.",
            "channels, but got": "A layer gets another number of channels than it was made for. They are in_channels, "
                                 "then in_channels // 4, then num_classes.",
            "'tuple' object is not callable": "A comma at the end of the line makes a tuple of the layer.",
            "type float": "The number of channels must be a whole number: use //, not /."},
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
    model = module_of(answer, channels, width)
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
                 context: bool | str = True, add: bool = True, smooth: str = "after", stages: str = "c4 c3 c2") -> None:
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
            if smooth in {"after", "c4"}:
                x = self.smooth[stage if smooth == "after" else smooth](x)
            elif smooth == "beside":
                x = x + self.smooth[stage](x)
            x = self.context(x) if context == "each" else x
        return self.smooth["c2"](x) if smooth == "end" else x


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
        "self.smooth is used only once, at the end. Each sum is smoothed, with the layer of its stage.":
            lambda *a: _Decoder(*a, smooth="end"),
        "Each sum is smoothed by the same layer. Take that of its stage: self.smooth[stage].":
            lambda *a: _Decoder(*a, smooth="c4"),
        "self.context is used in each round. It is for the coarsest map alone, before the loop.":
            lambda *a: _Decoder(*a, context="each"),
        "It stops at c3: one finer map, c2, is left.": lambda *a: _Decoder(*a, stages="c4 c3"),
        "It stops at c4: two finer maps, c3 and c2, are left. Is `return` inside of the loop?":
            lambda *a: _Decoder(*a, stages="c4"),
        "The maps are all enlarged to the finest one and added at once. Go step by step: double, add, smooth, for c4, "
        "c3 and c2.": _AllAtOnce},
    errors={"non-singleton dimension 1": "Two maps with different numbers of channels are added. The map of the "
                                         "backbone goes through its lateral convolution first: self.lateral[stage]("
                                         "maps[stage]).",
            "must match the size": "Two maps of different sizes are added. Begin with c4, and double the size of the "
                                   "coarser map first: F.interpolate(x, scale_factor=2, mode=\"bilinear\", "
                                   "align_corners=False).",
            "channels, but got": "A layer gets a map with another number of channels than it was made for: a map goes "
                                 "through the lateral convolution of its own stage first, self.lateral[stage]("
                                 "maps[stage]), and maps are added, not concatenated.",
            "Module [ModuleDict]": "Take the layer of one stage: self.lateral[stage], self.smooth[stage].",
            "'dict' object has no attribute": "maps is a dictionary: maps[\"c5\"]."},
    hints=("Begin at the coarsest map: its lateral convolution, then self.context. Then three times the same steps.",
           "for stage in (\"c4\", \"c3\", \"c2\"): double the size of x with F.interpolate(…, scale_factor=2, "
           "mode=\"bilinear\", align_corners=False), add self.lateral[stage](maps[stage]), and give the sum to "
           "self.smooth[stage].",
           "x = self.context(self.lateral[\"c5\"](maps[\"c5\"]))\nfor stage in (\"c4\", \"c3\", \"c2\"):\n"
           "    x = F.interpolate(x, scale_factor=2, mode=\"bilinear\", align_corners=False)\n"
           "    x = self.smooth[stage](x + self.lateral[stage](maps[stage]))\nreturn x"))
