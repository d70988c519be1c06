"""Classifiers for transfer learning: a backbone that has learned, a head that has not, and what may still change.

A classifier here is a backbone, an average over the picture, and one linear layer. The backbone is the one that the
segmentation networks are built on, with the same names of weights: what a classifier learned, an FCN can go on with.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import timm
import torchvision
from torch import Tensor, nn

from seglab.errors import ArgumentError
from seglab.models.backbones import STAGES, build_backbone, is_resnet, stage_modules, timm_name
from seglab.models.card import Model


class Classifier(Model):
    """A backbone, its pooled features, and a linear head.

    The layer that some published classifiers have between the last map and the linear one (EfficientNet's 1×1
    convolution to 1,280 channels, MobileNetV3's linear layer of the same width) is kept, as `neck`.

    Args:
        backbone: see `build_backbone`.
        freeze: what does not train: "backbone", all but the head; "until:c4" (or c1 to c5), the backbone up to the end
            of that stage; "none". Frozen weights get no gradient *and* BatchNorm keeps its stored statistics in train
            mode; without the latter a "frozen" network still changes with every batch.
        keep_statistics: BatchNorm keeps its stored statistics in the parts that train, too. Those of ImageNet's million
            pictures are better than those of a batch of 16; a network trained from random numbers needs its own.

    Shapes: (N, 3, H, W) float, normalised -> (N, C) logits. Features (N, D), as `features` returns them, go straight to
    the head.

    Raises:
        ArgumentError: an unknown backbone or stage.

    Source: Yosinski et al. 2014, "How transferable are features in deep neural networks?", arXiv 1411.1792.

    Example:
        >>> import torch
        >>> model = Classifier(2, backbone="resnet18").train()
        >>> model(torch.zeros(3, 3, 64, 64)).shape, model.features(torch.zeros(3, 3, 64, 64)).shape
        (torch.Size([3, 2]), torch.Size([3, 512]))
        >>> [name for name, p in model.named_parameters() if p.requires_grad]
        ['head.weight', 'head.bias']
        >>> model.backbone.bn1.training
        False
    """

    def __init__(self, num_classes: int = 2, backbone: str = "resnet18", freeze: str = "backbone",
                 keep_statistics: bool = False) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone, {"c5": "out"})
        self.neck, width, self.pool_first = _neck(backbone, self.backbone.channels["out"])
        self.head = nn.Linear(width, num_classes)
        self.keep_statistics = keep_statistics
        self.freeze(freeze)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images) if images.ndim == 4 else images)  # (N, D) -> (N, C)

    def features(self, images: Tensor) -> Tensor:
        """What the head sees: (N, 3, H, W) -> (N, D)."""
        return self.pooled(self.maps(images))

    def maps(self, images: Tensor) -> Tensor:
        """The last map, the one that is averaged over the picture: (N, 3, H, W) -> (N, K, h, w)."""
        maps = self.backbone(images)["out"]
        return maps if self.pool_first else self.neck(maps)

    def pooled(self, maps: Tensor) -> Tensor:
        """From the last map to the features: (N, K, h, w) -> (N, D)."""
        features = maps.mean((2, 3))
        return self.neck(features) if self.pool_first else features

    def freeze(self, freeze: str) -> Classifier:
        """Choose anew what does not train; see the class. Make the optimizer afterwards."""
        stages = [stage for stage, modules in stage_modules(self.backbone).items() if modules]
        known = {"backbone": (*STAGES, "neck"), "none": (),
                 **{f"until:{stage}": STAGES[:STAGES.index(stage) + 1] for stage in stages}}
        if freeze not in known:
            raise ArgumentError("freeze", found=repr(freeze),
                                expected='"backbone", "none", or "until:STAGE" with a stage among ' + ", ".join(stages))
        self.frozen = known[freeze]
        if self.card.architecture:  # what checkpoints say of it
            self.card.architecture["freeze"] = freeze
        self._stays: list[nn.Module] = []  # in eval mode. Listed once: an epoch on features takes a few milliseconds
        for name, modules in self.parts().items():
            for module in modules:
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(name not in self.frozen)
                if name in self.frozen or (self.keep_statistics and isinstance(module, nn.BatchNorm2d)):
                    self._stays.append(module)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Classifier:
        """As for every module, but what is frozen stays in eval mode."""
        super().train(mode)
        for module in self._stays:
            module.training = False
        return self

    def parts(self) -> dict[str, list[nn.Module]]:
        """The modules from the picture to the answer: {"c1": […], …, "c5": […], "neck": […], "head": […]}."""
        return {**stage_modules(self.backbone), "neck": list(self.neck.modules()), "head": [self.head]}

    def parameter_groups(self, lr: float, decay: float = 1.0) -> list[dict[str, Any]]:
        """What trains, for an optimizer: the head at `lr`, each part before it at `decay` times the next one's rate.

        Early stages see edges and textures, which serve every task; late ones are about ImageNet's classes. So the
        early ones should move least: *discriminative* learning rates.

        Source: Howard and Ruder 2018, arXiv 1801.06146.

        Raises:
            ArgumentError: a rate or decay that is not above 0, or nothing that trains.

        Example:
            >>> model = Classifier(2, backbone="resnet18", freeze="until:c3")
            >>> [(g["name"], round(g["lr"], 6)) for g in model.parameter_groups(1e-3, decay=0.5)]
            [('head', 0.001), ('c5', 0.0005), ('c4', 0.00025)]
        """
        if lr <= 0 or decay <= 0:
            raise ArgumentError("parameter_groups", found=f"lr {lr}, decay {decay}", expected="numbers above 0")
        groups: list[dict[str, Any]] = []
        for name, modules in reversed(self.parts().items()):
            found = [p for module in modules for p in module.parameters(recurse=False) if p.requires_grad]
            if found:
                groups.append({"params": found, "lr": lr * decay ** len(groups), "name": name})
        if not groups:
            raise ArgumentError("parameters", found="all of them frozen", expected="some that train",
                                fix='Leave at least the head free: model.freeze("backbone").')
        return groups


def _neck(name: str, channels: int) -> tuple[nn.Module, int, bool]:
    """(the layers between the last map and the linear one, width D of the features, whether pooling comes first)."""
    if name == "mobilenet_v3_large":
        linear, act = torchvision.models.mobilenet_v3_large(weights=None).classifier[:2]
        return nn.Sequential(linear, act), linear.out_features, True
    if not is_resnet(name):
        whole = timm.create_model(timm_name(name), pretrained=False)
        conv, norm = getattr(whole, "conv_head", None), getattr(whole, "bn2", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.Module):  # the EfficientNets
            return nn.Sequential(OrderedDict(conv_head=conv, bn2=norm)), conv.out_channels, False
    return nn.Identity(), channels, False
