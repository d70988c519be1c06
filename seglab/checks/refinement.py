"""Checks about a Global Convolutional Network: boundary refinement, and the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.checks.kernels import map_of, same_weights
from seglab.checks.networks import module_of
from seglab.models import GlobalConvBlock

_STAGES = "c2", "c3", "c4", "c5"


class _Refinement(nn.Module):
    """The right answer, with what can be wrong about it."""

    def __init__(self, channels: int, *, relu: bool = True, add: bool = True, after: bool = False, size: int = 3,
                 norm: bool = False, bias: bool = True, last: bool = False, before: bool = False) -> None:
        super().__init__()

        def conv() -> list[nn.Module]:
            made: list[nn.Module] = [nn.Conv2d(channels, channels, size, padding=size // 2, bias=bias)]
            return [*made, nn.BatchNorm2d(channels)] if norm else made

        self.residual = nn.Sequential(*[nn.ReLU()] * before, *conv(), *[nn.ReLU()] * relu, *conv(), *[nn.ReLU()] * last)
        self.add, self.after = add, after

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.residual(maps)
        found = maps + found if self.add else found
        return found.relu() if self.after else found


def _refined(answer: Callable[..., Any], channels: int, height: int) -> dict[str, Any]:
    model = module_of(answer, channels)
    return map_of(model, torch.randn(2, channels, height, height + 2, generator=torch.Generator().manual_seed(1)))


boundary_refinement = Exercise(
    "boundary_refinement",
    [Case("3 channels, maps of 5×7", (3, 5), ""), Case("16 channels, maps of 4×6", (16, 4), "")],
    right=_Refinement, run=_refined,
    mistakes={
        "The map itself is missing: return maps + what the two convolutions make of it.":
            lambda c: _Refinement(c, add=False),
        "There is no ReLU between the two convolutions.": lambda c: _Refinement(c, relu=False),
        "There is a ReLU behind the sum. Scores may be negative.": lambda c: _Refinement(c, after=True),
        "There is a ReLU behind the second convolution, too: then a correction could only raise scores.":
            lambda c: _Refinement(c, last=True),
        "There is a ReLU before the first convolution: then it does not see negative scores.":
            lambda c: _Refinement(c, before=True),
        "There is a ReLU before the first convolution, and none between the two.":
            lambda c: _Refinement(c, before=True, relu=False),
        "The convolutions are 1×1: kernel_size=3, padding=1.": lambda c: _Refinement(c, size=1),
        "The convolutions are 5×5: kernel_size=3, padding=1.": lambda c: _Refinement(c, size=5),
        "There is BatchNorm in it. The paper has none here.": lambda c: _Refinement(c, norm=True),
        "The convolutions have no bias. Leave it at nn.Conv2d's default.": lambda c: _Refinement(c, bias=False)},
    errors={"must match the size": "The map gets smaller in the convolutions: padding=1.",
            "'tuple' object is not callable": "A comma at the end of the line makes a tuple of the layers."},
    hints=("What is returned if both convolutions make zeros? The map, unchanged.",
           "In __init__: nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), another such "
           "convolution). In forward: the map plus what the three layers make of it.",
           "class BoundaryRefinement(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
           "        self.residual = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),\n"
           "                                      nn.Conv2d(channels, channels, 3, padding=1))\n\n"
           "    def forward(self, maps):\n        return maps + self.residual(maps)"))


class _Backbone(nn.Module):
    """Four maps of a picture, at strides 4 to 32."""

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.channels = dict(channels)
        for stage, count in channels.items():
            self.add_module(stage, nn.Conv2d(3, count, 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {stage: getattr(self, stage)(F.avg_pool2d(images, 4 * 2**power)) for power, stage in enumerate(_STAGES)}


def _double(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


class _GCN(nn.Module):
    """The right answer, with what can be wrong about it; __init__ is given in the lesson."""

    def __init__(self, backbone: Any, num_classes: int, k: int, *, stages: str = "c4 c3 c2", refine: str = "after",
                 finish: str = "each", add: bool = True, mode: str = "bilinear") -> None:
        super().__init__()
        self.backbone = backbone
        self.large = nn.ModuleDict({stage: nn.Sequential(
            GlobalConvBlock(backbone.channels[stage], num_classes, k), _Refinement(num_classes)) for stage in _STAGES})
        self.refine = nn.ModuleDict({stage: _Refinement(num_classes) for stage in _STAGES[:3]})
        self.finish = nn.ModuleList([_Refinement(num_classes), _Refinement(num_classes)])
        self.how, self.stages = (refine, finish, add, mode), stages.split()

    def forward(self, images: Tensor) -> Tensor:
        refine, finish, add, mode = self.how

        def double(x: Tensor) -> Tensor:
            return _double(x) if mode == "bilinear" else F.interpolate(x, scale_factor=2, mode=mode)

        maps = self.backbone(images)
        x: Tensor = self.large["c5"](maps["c5"])
        for stage in self.stages:
            x = double(self.refine[stage](x)) if refine == "first" else double(x)
            x = self.refine[stage](x) if refine == "before" else x
            x = x + self.large[stage](maps[stage]) if add else x
            x = self.refine[stage if refine == "after" else "c4"](x) if refine in {"after", "c4"} else x
        for layer in self.finish if finish != "" else ():
            x = (double(layer(x)) if finish == "first" else layer(double(x)) if finish == "each" else double(x))
        return x


def _whole(answer: Callable[..., Any], channels: Mapping[str, int], num_classes: int, k: int) -> dict[str, Any]:
    model = module_of(answer, _Backbone(channels), num_classes, k)
    pictures = torch.randn(1, 3, 32 * k, 32 * k + 32, generator=torch.Generator().manual_seed(1))
    same_weights(model)
    found = model.eval()(pictures)
    if isinstance(found, Mapping):  # as the package's models return it
        found = found.get("out")
    if found is None:
        raise RefusedError("forward returns nothing. Is there a `return`?")
    if not isinstance(found, Tensor):
        raise RefusedError(f"forward returns a {type(found).__name__}, and should return a tensor")
    return {"shape of the logits": list(found.shape), "logits": found}


gcn = Exercise(
    "gcn",
    [Case("maps of 4, 6, 8 and 10 channels, 3 classes, k = 3", ({"c2": 4, "c3": 6, "c4": 8, "c5": 10}, 3, 3), ""),
     Case("5 classes, k = 1", ({"c2": 2, "c3": 3, "c4": 4, "c5": 5}, 5, 1), "")],
    right=_GCN, run=_whole,
    mistakes={
        "The finer maps are not added: double(x) + self.large[stage](maps[stage]).": lambda *a: _GCN(*a, add=False),
        "self.refine[stage] is missing: it comes behind each sum.": lambda *a: _GCN(*a, refine=""),
        "self.refine[stage] comes too early. First add the finer map, then refine the sum.":
            lambda *a: _GCN(*a, refine="before"),
        "The scores are refined before they are doubled. First double, then add, then refine the sum.":
            lambda *a: _GCN(*a, refine="first"),
        "Each sum is refined by the same layer. Take that of its stage: self.refine[stage].":
            lambda *a: _GCN(*a, refine="c4"),
        "It ends at a quarter of the picture's size. Twice more: double, then the next layer of self.finish.":
            lambda *a: _GCN(*a, finish=""),
        "The layers of self.finish are not used. Twice more: double, then the next layer of self.finish.":
            lambda *a: _GCN(*a, finish="double"),
        "At the end, the scores are refined before they are doubled. First double, then refine.":
            lambda *a: _GCN(*a, finish="first"),
        "It stops at c3: one finer map, c2, is left.": lambda *a: _GCN(*a, stages="c4 c3"),
        "It stops at c4: two finer maps, c3 and c2, are left. Is `return` inside of the loop?": [
            lambda *a: _GCN(*a, stages="c4"), lambda *a: _GCN(*a, stages="c4", finish="")],
        "The scores are doubled by copying the nearest value. Use double, which is bilinear.":
            lambda *a: _GCN(*a, mode="nearest")},
    errors={"must match the size": "Two maps of different sizes are added. Begin with c5, go on with c4, c3, c2, and "
                                   "double the size of what you have before each sum.",
            "channels, but got": "A map goes into the large kernel of its own stage: self.large[stage](maps[stage]).",
            "'dict' object has no attribute": "The backbone returns a dictionary: maps[\"c5\"].",
            "Module [ModuleDict]": "Take the layer of one stage: self.large[stage], self.refine[stage].",
            "Module [ModuleList]": "self.finish is a list of two layers: for layer in self.finish.",
            "missing the required positional": "Pass the maps: self.large[stage](maps[stage])."},
    hints=("Begin at the coarsest map. The steps for c4, c3 and c2 are the same three, and for the two layers of "
           "self.finish the same two.",
           "x = self.large[\"c5\"](maps[\"c5\"]). For each of c4, c3, c2: double x, add self.large[stage]("
           "maps[stage]), and give the sum to self.refine[stage]. Then for each layer of self.finish: the layer of the "
           "doubled x.",
           "maps = self.backbone(images)\nx = self.large[\"c5\"](maps[\"c5\"])\n"
           "for stage in (\"c4\", \"c3\", \"c2\"):\n"
           "    x = self.refine[stage](double(x) + self.large[stage](maps[stage]))\nfor layer in self.finish:\n"
           "    x = layer(double(x))\nreturn x"))
