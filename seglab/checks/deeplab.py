"""Checks about DeepLabV3: maps out of the middle of a network, atrous spatial pyramid pooling, and the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.checks.networks import module_of


class _Small(nn.Module):
    """A network of six layers, which calls them one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU()
        self.layer1 = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(6, 8, 3, padding=2, dilation=2), nn.ReLU())
        self.layer3 = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.layer1(self.relu(self.norm(self.stem(images))))
        return torch.as_tensor(self.layer3(self.layer2(x)))


def _maps_of(answer: Callable[..., Any], return_layers: Mapping[str, str]) -> dict[str, Any]:
    """What is compared of a layer getter: how many layers run, which weights it has, and its maps."""
    network, ran = _Small().eval(), []
    wanted = {*network.state_dict()}
    for name, child in network.named_children():
        child.register_forward_hook(lambda *_, name=name: ran.append(name))
    model = module_of(answer, network, dict(return_layers)).eval()
    found = model(torch.linspace(-1, 1, 2 * 3 * 9 * 12).reshape(2, 3, 9, 12))
    if not isinstance(found, Mapping):
        raise RefusedError("forward returns nothing. Is there a `return`?" if found is None else
                           f"forward returns a {type(found).__name__}, and should return a dictionary of maps")
    new = [*return_layers.values()]
    if missing := [name for name in new if name not in found]:
        names = ", ".join(repr(name) for name in found) or "none"
        raise RefusedError(f"there is no map called {missing[0]!r}; its maps are: {names}. return_layers is {{name of "
                           "the layer: name of its map}, and each layer that is asked for gives one. Is `return` "
                           "behind the loop?")
    if not all(isinstance(found[name], Tensor) for name in new):
        raise RefusedError("its maps should be tensors: what each layer makes")
    if not found[new[0]].requires_grad:
        raise RefusedError("no gradient goes through it, so that the layers cannot learn: no_grad(), or detach()?")
    strangers = {*model.state_dict()} - wanted
    return {"maps": len(found), "layers that run": len(ran), "weights": sum(p.numel() for p in model.parameters()),
            "names of weights that the network does not have": len(strangers), **{name: found[name] for name in new}}


class _Getter(nn.ModuleDict):
    """The right answer, with what can be wrong about it."""

    def __init__(self, network: nn.Module, return_layers: Mapping[str, str], *, keep: str = "to the last",
                 run: str = "to the last", take: str = "after", every: bool = False) -> None:
        children = dict(network.named_children())
        last = max(list(children).index(name) for name in return_layers)
        super().__init__(dict(list(children.items())[:last + 1 if keep == "to the last" else None]))
        self.return_layers, self.how, self.last = dict(return_layers), (run, take, every), list(children)[last]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        (run, take, every), maps = self.how, {}
        for name, layer in self.items():
            before, x = x, layer(x)
            if name in self.return_layers or every:
                maps[self.return_layers.get(name, name)] = before if take == "before" else x
            if run == "to the last" and name == self.last:
                break
        return maps


class _Wrapped(nn.Module):
    """The layers lie one level deeper, and so their weights have other names."""

    def __init__(self, network: nn.Module, return_layers: Mapping[str, str], **how: Any) -> None:
        super().__init__()
        self.body = _Getter(network, return_layers, **how)

    def forward(self, x: Tensor) -> Any:
        return self.body(x)


class _LastTwice(_Getter):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = super().forward(x)
        *_, last = maps.values()
        return dict.fromkeys(maps, last)


layer_getter = Exercise(
    "layer_getter",
    [Case(what, (layers,), f"the network's layers: stem, norm, relu, layer1, layer2, layer3\nreturn_layers: {layers}")
     for what, layers in (
         ("two maps, and the last layer is not needed", {"layer1": "aux", "layer2": "out"}),
         ("one map, from the beginning", {"relu": "c1"}),
         ("three maps, up to the last layer", {"stem": "a", "layer1": "b", "layer3": "c"}))],
    right=_Getter, run=_maps_of,
    mistakes={
        "Layers run that nobody needs. Those behind the last one that is asked for should be left out.":
            [lambda *a: _Getter(*a, keep="all", run="all"), lambda *a: _Wrapped(*a, keep="all", run="all")],
        "Layers are kept that nobody needs, with their weights: leave out those behind the last one that is asked for "
        "already in __init__.": lambda *a: _Getter(*a, keep="all"),
        "It keeps what goes *into* a layer. Keep what comes out: x = layer(x) comes first.":
            lambda *a: _Getter(*a, take="before"),
        "It returns a map for every layer. Only those in return_layers are asked for.":
            lambda *a: _Getter(*a, every=True),
        "All names have the map of the last layer. Put each map into the dictionary as soon as its layer has run.":
            _LastTwice,
        "The weights have other names than in the network, so that trained weights would not fit. Give the layers to "
        "super().__init__, with their own names: nn.ModuleDict keeps them.": [
            _Wrapped, lambda network, return_layers: nn.Sequential(_Getter(network, return_layers))]},
    errors={"channels, but got": "A layer gets the wrong map. Each layer takes what the layer before it made: "
                                 "x = layer(x), also where no map is asked for.",
            "missing 1 required positional argument": "super().__init__ wants a dictionary {name: layer}.",
            "takes 1 positional argument but": "Leave the lines with `def` as they are given.",
            "'list' object has no attribute": "super().__init__ wants a dictionary {name: layer}; dict(…) makes one of "
                                              "pairs.",
            "argument should be": "super().__init__ wants a dictionary {name: layer}; dict(…) makes one of pairs.",
            "ModuleDict.update": "super().__init__ wants a dictionary {name: layer}; dict(…) makes one of pairs.",
            "has no attribute 'return_layers'": "self.return_layers is not set in __init__.",
            "before Module.__init__()": "super().__init__(…) comes before other attributes are set.",
            "is not callable": "self.items() gives pairs: for name, layer in self.items()."},
    hints=("Which layers are needed? All up to the last one that is asked for. In forward, each takes what the one "
           "before it made.",
           "In __init__: collect children until all names of return_layers are among them, super().__init__(layers), "
           "and keep return_layers. In forward: for name, layer in self.items(): x = layer(x); if name is in "
           "self.return_layers, keep x under the new name.",
           "class LayerGetter(nn.ModuleDict):\n    def __init__(self, network, return_layers):\n        layers = {}\n"
           "        for name, layer in network.named_children():\n"
           "            if not set(return_layers) <= set(layers):\n                layers[name] = layer\n"
           "        super().__init__(layers)\n        self.return_layers = return_layers\n\n"
           "    def forward(self, x):\n        maps = {}\n        for name, layer in self.items():\n"
           "            x = layer(x)\n            if name in self.return_layers:\n"
           "                maps[self.return_layers[name]] = x\n        return maps"))


def conv_block(in_channels: int, out_channels: int, size: int, rate: int = 1) -> nn.Sequential:
    """A convolution that keeps the size of the map, BatchNorm, and ReLU, as the lesson gives it."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, size, padding=rate * (size // 2), dilation=rate,
                                   bias=False), nn.BatchNorm2d(out_channels), nn.ReLU())


def mean_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """The mean of a map and a 1×1 block, as the lesson gives it."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_block(in_channels, out_channels, 1))


class _ASPP(nn.Module):
    """The right answer, with what can be wrong about it."""

    def __init__(self, in_channels: int, rates: Sequence[int], out_channels: int, *, near: bool = True,
                 mean: bool = True, pool: Callable[[int], nn.Module] = nn.AdaptiveAvgPool2d, drop: bool = True,
                 used: Callable[[Sequence[int]], Sequence[int]] = lambda rates: rates, join: str = "cat",
                 size: int = 3) -> None:
        super().__init__()
        branches = [conv_block(in_channels, out_channels, 1)] * near
        branches += [conv_block(in_channels, out_channels, size, rate) for rate in used(rates)]
        if mean:
            branches.append(nn.Sequential(pool(1), *conv_block(in_channels, out_channels, 1)))
        self.convs, self.mean, self.join = nn.ModuleList(branches), mean, join
        mixed = conv_block(len(branches) * out_channels if join == "cat" else out_channels, out_channels, 1)
        self.project = nn.Sequential(*mixed, *[nn.Dropout(0.5)] * drop)

    def forward(self, maps: Tensor) -> Tensor:
        answers = [branch(maps) for branch in self.convs]
        if self.mean:
            answers[-1] = answers[-1].expand(-1, -1, *maps.shape[2:])
        joined = torch.cat(answers, dim=1) if self.join == "cat" else torch.stack(answers).sum(0)
        found: Tensor = self.project(joined)
        return found


def _numbered(model: nn.Module) -> None:
    """Weights that depend on their names alone, however they were drawn; variances above 0."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                generator = torch.Generator().manual_seed(sum(map(ord, name)) + value.numel())
                drawn = torch.randn(value.shape, generator=generator)
                value.copy_(drawn / math.sqrt(value[0].numel()) if value.ndim > 1 else drawn.abs() + 0.3)


def _pyramid_of(answer: Callable[..., Any], in_channels: int, rates: Sequence[int], out_channels: int,
                height: int) -> dict[str, Any]:
    """What is compared of an ASPP: its branches, and its map with known weights."""
    model = module_of(answer, in_channels, rates, out_channels)
    branches, mixer = getattr(model, "convs", None), getattr(model, "project", None)
    if not isinstance(branches, nn.ModuleList) or not isinstance(mixer, nn.Module):
        raise RefusedError("the branches should be in self.convs, an nn.ModuleList, and what mixes them in "
                           "self.project")
    if any(isinstance(one, nn.Conv2d) and one.bias is not None for one in model.modules()):
        raise RefusedError("a convolution has a bias. BatchNorm subtracts it again: bias=False, as conv_block has it")
    right = _ASPP(in_channels, rates, out_channels)
    count = sum(p.numel() for p in model.parameters())
    if len(branches) == len(rates) + 2 and count == sum(p.numel() for p in right.parameters()):
        shapes, wanted = ({key: value.shape for key, value in one.state_dict().items()} for one in (model, right))
        if strange := sorted({*shapes} - {*wanted}):
            raise RefusedError(f"a weight is called {strange[0]}, where {min({*wanted} - {*shapes}, default='none')} "
                               "is expected: self.convs has the 1×1 block first, then one 3×3 block for each rate, "
                               "then the mean_block")
        if shapes != wanted:
            raise RefusedError("its branches are in another order: first the 1×1 block, then one 3×3 block for each "
                               "rate, and the mean last")
    _numbered(model)
    maps = torch.randn(2, in_channels, height, height + 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = model.eval()(maps)
        if not isinstance(found, Tensor):
            raise RefusedError("forward returns nothing. Is there a `return`?" if found is None else
                               f"forward returns a {type(found).__name__}, and should return a tensor")
        model.train()
        differ = any(not torch.equal(model(maps), model(maps)) for _ in range(8))
    drops = [one.p for one in model.modules() if isinstance(one, nn.modules.dropout._DropoutNd)]
    if drops not in ([], [0.5]):
        raise RefusedError("one dropout of 0.5 is asked for, at the end: nn.Dropout(0.5)")
    return {"branches": len(branches), "parameters": count, "shape of the map": list(found.shape), "map": found,
            "dropout in training": differ}


aspp = Exercise(
    "aspp",
    [Case("rates 2, 4 and 6 on a map of 8×10", (6, (2, 4, 6), 4, 8), ""),
     Case("two rates, one of them larger than the map", (4, (1, 9), 8, 5), "")],
    right=_ASPP, run=_pyramid_of,
    mistakes={
        "The branch with the mean of the map is missing.": lambda *a: _ASPP(*a, mean=False),
        "The 1×1 branch is missing. It comes first.": lambda *a: _ASPP(*a, near=False),
        "The rates are not used: all 3×3 convolutions have rate 1.":
            lambda *a: _ASPP(*a, used=lambda rates: [1] * len(rates)),
        "All 3×3 convolutions have the first rate.": lambda *a: _ASPP(*a, used=lambda rates: [rates[0]] * len(rates)),
        "All 3×3 convolutions have the last rate.": lambda *a: _ASPP(*a, used=lambda rates: [rates[-1]] * len(rates)),
        "The rates are in another order than given.": lambda *a: _ASPP(*a, used=lambda rates: rates[::-1]),
        "The branches are added. Concatenate them: torch.cat(answers, dim=1).": lambda *a: _ASPP(*a, join="add"),
        "The branch for the whole map takes its maximum. It is the mean: nn.AdaptiveAvgPool2d(1).":
            lambda *a: _ASPP(*a, pool=nn.AdaptiveMaxPool2d),
        "The branch for the whole map does not take its mean: nn.AdaptiveAvgPool2d(1) comes first in it.":
            lambda *a: _ASPP(*a, pool=lambda size: nn.Identity()),
        "There is no dropout at the end of self.project.": lambda *a: _ASPP(*a, drop=False),
        "The branches with rates are 1×1 convolutions. They are 3×3.": lambda *a: _ASPP(*a, size=1)},
    errors={"Sizes of tensors must match": "The answers have different sizes. The mean is a map of 1×1: spread it out "
                                           "to the size of the others, mean.expand_as(other).",
            **dict.fromkeys(("channels, but got", "weights of size", "to have 4 channels"),
                            "A layer gets another number of channels than it was made for. Each branch takes the given "
                            "maps, and torch.cat along dim=1 gives len(self.convs) · width."),
            "is not a Module subclass": "nn.ModuleList wants one list of layers: [first, *others, last].",
            "Module [ModuleList] is missing": "A list of layers is not called itself: call each of its layers.",
            "must be tuple": "rates has several rates: one conv_block(channels, width, 3, rate) for each."},
    hints=("Five branches for three rates: 1×1, one 3×3 for each rate, and the mean. All take the same maps. Then "
           "concatenate, and mix.",
           "conv_block(channels, width, 1), conv_block(channels, width, 3, rate) for each rate, and "
           "mean_block(channels, width). In forward, spread the last answer to the size of the others, "
           "mean.expand_as(other); then torch.cat(answers, dim=1).",
           "class ASPP(nn.Module):\n    def __init__(self, channels, rates, width):\n        super().__init__()\n"
           "        atrous = [conv_block(channels, width, 3, rate) for rate in rates]\n"
           "        mean = mean_block(channels, width)\n"
           "        self.convs = nn.ModuleList([conv_block(channels, width, 1), *atrous, mean])\n"
           "        mixed = conv_block(len(self.convs) * width, width, 1)\n"
           "        self.project = nn.Sequential(*mixed, nn.Dropout(0.5))\n\n"
           "    def forward(self, maps):\n        answers = [branch(maps) for branch in self.convs]\n"
           "        answers[-1] = answers[-1].expand_as(answers[0])\n"
           "        return self.project(torch.cat(answers, dim=1))"))


class _Backbone(nn.Module):
    """Two maps of a picture, at a fourth and at an eighth of its size."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Conv2d(3, 5, 3, 4, 1), nn.Conv2d(5, 6, 3, 2, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        early = self.early(images)
        return {"out": self.late(early), "aux": early}


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))


def _whole_of(answer: Callable[..., Any], aux: bool, height: int, width: int) -> dict[str, Any]:
    """What is compared of a whole network: its heads' logits for two pictures."""
    parts = _Backbone(), _head(6), *[_head(5)] * aux
    model = module_of(answer, *parts)
    names = {"backbone": parts[0], "classifier": parts[1], **({"aux_classifier": parts[2]} if aux else {})}
    for name, part in names.items():
        if getattr(model, name, None) is not part:
            raise RefusedError(f"the network has no self.{name}. In __init__: self.{name} = {name}")
    _numbered(model)
    found = model.eval()(torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1)))
    if not isinstance(found, Mapping):
        raise RefusedError("forward returns nothing. Is there a `return`?" if found is None else
                           f"forward returns a {type(found).__name__}, and should return a dictionary, "
                           '{"out": logits}')
    wanted = ["out", "aux"][:1 + aux]
    if {*found} != {*wanted}:
        raise RefusedError(f"its dictionary has the names {', '.join(map(str, found)) or 'none'}; expected: "
                           f"{', '.join(wanted)}" + ("" if aux else " alone, since there is no auxiliary head here"))
    if not all(isinstance(one, Tensor) for one in found.values()):
        raise RefusedError("the dictionary should have tensors: the logits of each head")
    if not found["out"].requires_grad and found["out"].is_floating_point():
        raise RefusedError("no gradient goes through it, so that it cannot learn: no_grad(), or detach()?")
    return {f"{what}{name}": value for name in wanted for what, value in (
        ("shape of ", list(found[name].shape)), ("", found[name]))}


class _DeepLab(nn.Module):
    """The right answer, with what can be wrong about it."""

    def __init__(self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None, *,
                 mode: str = "bilinear", corners: bool | None = False, factor: int = 0, enlarge: str = "scores",
                 aux: str = "aux", after: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.backbone, self.classifier, self.aux_classifier = backbone, classifier, aux_classifier
        self.how, self.enlarge, self.aux, self.after = (mode, corners, factor), enlarge, aux, after

    def larger(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        mode, corners, factor = self.how
        if factor:
            return F.interpolate(maps, scale_factor=factor, mode=mode, align_corners=corners)
        return F.interpolate(maps, size=size, mode=mode, align_corners=corners)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        size = images.shape[2], images.shape[3]
        maps = self.backbone(images)
        found = {}
        for name, head in (("out", self.classifier), ("aux", self.aux_classifier)):
            if head is not None:
                one = maps[name if name == "out" else self.aux]
                if self.enlarge == "maps":
                    found[name] = self.after(head(self.larger(one, size)))
                else:
                    found[name] = self.after(self.larger(head(one), size) if self.enlarge == "scores" else head(one))
        return found


class _Softmaxed(_DeepLab):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: logits.softmax(1) for name, logits in super().forward(images).items()}


deeplabv3 = Exercise(
    "deeplabv3",
    [Case("one head", (False, 16, 24), ""), Case("with an auxiliary head", (True, 16, 24), ""),
     Case("a picture of 19×30", (True, 19, 30), "")],
    right=_DeepLab, run=_whole_of,
    mistakes={
        "The scores are enlarged by nearest neighbours: mode=\"bilinear\".":
            lambda *a: _DeepLab(*a, mode="nearest", corners=None),
        "align_corners=True shifts the scores against the picture. Use align_corners=False.":
            lambda *a: _DeepLab(*a, corners=True),
        "The scores have the size of the map. Enlarge them to that of the picture.":
            lambda *a: _DeepLab(*a, enlarge=""),
        "The maps are enlarged before the heads. That is far more work, and another result: first the head, then "
        "enlarge its scores.": lambda *a: _DeepLab(*a, enlarge="maps"),
        "The scores are enlarged by a fixed factor. Sides of a picture need not be multiples of it: size="
        "images.shape[2:].": lambda *a: _DeepLab(*a, factor=8),
        "There is a softmax at the end. Logits are plain scores: the loss has the softmax in it.": _Softmaxed,
        "There is a ReLU at the end. Logits may be negative.": lambda *a: _DeepLab(*a, after=F.relu)},
    errors={"channels, but got": "Each head has its own map: the main one maps[\"out\"], the auxiliary one "
                                 "maps[\"aux\"].",
            "to have": "Each head has its own map: the main one maps[\"out\"], the auxiliary one maps[\"aux\"].",
            "'NoneType' object is not callable": "There may be no auxiliary head: if self.aux_classifier is not None.",
            "argument 'input'": "The backbone gives a dictionary of maps: maps[\"out\"], maps[\"aux\"].",
            "got (dict": "The backbone gives a dictionary of maps: maps[\"out\"], maps[\"aux\"].",
            "must be Tensor, not dict": "The backbone gives a dictionary of maps: maps[\"out\"], maps[\"aux\"].",
            "'dict' object has no attribute": "The backbone gives a dictionary of maps: maps[\"out\"], maps[\"aux\"].",
            "Input and output must have the same number": "size wants height and width alone: images.shape[2:].",
            "spatial dimensions": "size wants height and width alone: images.shape[2:]."},
    hints=("Maps from the backbone, scores from each head, and scores as large as the picture.",
           "maps = self.backbone(images); scores = self.classifier(maps[\"out\"]); F.interpolate(scores, "
           "size=images.shape[2:], mode=\"bilinear\", align_corners=False). If there is an auxiliary head, the same "
           "with maps[\"aux\"].",
           "class DeepLabV3(nn.Module):\n    def __init__(self, backbone, classifier, aux_classifier=None):\n"
           "        super().__init__()\n        self.backbone = backbone\n        self.classifier = classifier\n"
           "        self.aux_classifier = aux_classifier\n\n"
           "    def forward(self, images):\n        maps = self.backbone(images)\n"
           "        scores = {\"out\": self.classifier(maps[\"out\"])}\n"
           "        if self.aux_classifier is not None:\n"
           "            scores[\"aux\"] = self.aux_classifier(maps[\"aux\"])\n"
           "        return {name: F.interpolate(one, size=images.shape[2:], mode=\"bilinear\", align_corners=False)\n"
           "                for name, one in scores.items()}"))
