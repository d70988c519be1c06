"""Fully convolutional networks (Long, Shelhamer, Darrell 2015, arXiv 1411.4038), two ways to fine maps.

A backbone that classifies shrinks the picture 32 times. `FCN` keeps the last stages large by dilation, as torchvision
does, and is key-for-key compatible with it. `SkipFCN` lets the backbone shrink, and adds the finer maps of earlier
stages on the way back up, as the paper did; on a CPU it is many times faster.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from seglab.errors import ArgumentError
from seglab.models.backbones import STAGES, Backbone, build_backbone, default_output_stride
from seglab.models.card import Model
from seglab.models.grid import GridModel


class FCNHead(nn.Sequential):
    """From feature maps to class scores: a 3×3 convolution to a quarter of the channels, then 1×1 to C scores.

    Shapes: (N, in_channels, h, w) -> (N, num_classes, h, w).

    Example:
        >>> import torch
        >>> FCNHead(64, 21)(torch.zeros(2, 64, 5, 7)).shape
        torch.Size([2, 21, 5, 7])
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        between = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, between, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(between),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(between, num_classes, kernel_size=1),
        )


class BackboneWithHeads(Model):
    """The container: backbone, head, perhaps an auxiliary head; scores are enlarged to the picture's size.

    The backbone returns {"out": feature maps, "aux"?: those of an earlier stage}, and each head looks at one of them.
    The auxiliary head's loss helps to train the earlier stages; its scores are not used afterwards.

    Shapes: (N, 3, H, W) float, normalised -> {"out": (N, C, H, W), "aux"?: (N, C, H, W)} logits.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        size = images.shape[-2:]
        maps = self.backbone(images)  # (N, 3, H, W) -> (N, K, H / stride, W / stride)
        logits = {"out": self.classifier(maps["out"])}  # (N, K, h, w) -> (N, C, h, w)
        if self.aux_classifier is not None:
            logits["aux"] = self.aux_classifier(maps["aux"])
        return {name: F.interpolate(scores, size=size, mode="bilinear", align_corners=False)  # -> (N, C, H, W)
                for name, scores in logits.items()}


class FCN(BackboneWithHeads):
    """A fully convolutional network with a dilated backbone: torchvision's `fcn_resnet50` and `_resnet101`.

    Args:
        backbone: see `build_backbone`.
        aux: add the auxiliary head, on stage c4.
        output_stride: 8, 16 or 32; by default torchvision's (8 for large ResNets, 16 for MobileNet), else 32. Dilated
            depthwise convolutions are slow on a CPU.

    Shapes: (N, 3, H, W) float, normalised -> {"out": (N, C, H, W), "aux"?: (N, C, H, W)} logits.

    Raises:
        ArgumentError: an unknown backbone, or one that cannot be had at this output stride.

    Example:
        >>> import torch
        >>> model = FCN(21, backbone="resnet18").eval()
        >>> model(torch.zeros(1, 3, 65, 43))["out"].shape
        torch.Size([1, 21, 65, 43])
    """

    backbone: Backbone

    def __init__(self, num_classes: int = 21, backbone: str = "resnet50", aux: bool = False,
                 output_stride: int | None = None) -> None:
        output_stride = default_output_stride(backbone) if output_stride is None else output_stride
        body = build_backbone(backbone, {"c4": "aux", "c5": "out"} if aux else {"c5": "out"}, output_stride)
        super().__init__(body, FCNHead(body.channels["out"], num_classes),
                         FCNHead(body.channels["aux"], num_classes) if aux else None)


class SkipFCN(GridModel):
    """A fully convolutional network with skip connections: coarse maps say what, fine ones say where.

    Each stage's map is brought to the same number of channels by a 1×1 convolution. From the coarsest on, a map is
    doubled in size, added to the next finer one and smoothed by a 3×3 convolution. The paper adds class scores; adding
    features, as Feature Pyramid Networks do (arXiv 1612.03144), is the same idea with more room.

    Args:
        backbone: see `build_backbone`; it must have stages c2 to c5.
        channels: of the maps that are added.
        min_size: see `GridModel`, as for what happens to pictures of any size.

    Shapes: (N, 3, H, W) float, normalised -> {"out": (N, C, H, W)} logits, for any H and W.

    Raises:
        ArgumentError: an unknown backbone, or a number out of range.

    Example:
        >>> import torch
        >>> model = SkipFCN(3, backbone="efficientnet_lite0").eval()
        >>> model(torch.zeros(1, 3, 65, 43))["out"].shape
        torch.Size([1, 3, 65, 43])
    """

    def __init__(self, num_classes: int = 3, backbone: str = "efficientnet_lite0", channels: int = 64,
                 min_size: int = 0) -> None:
        if channels < 1 or not 0 <= min_size <= 4096:
            raise ArgumentError("SkipFCN", found=f"channels {channels}, min_size {min_size}",
                                expected="channels of 1 or more, min_size from 0 to 4096")
        super().__init__(min_size)
        stages = STAGES[1:]  # c2 to c5
        self.backbone = build_backbone(backbone, {stage: stage for stage in stages})
        self.lateral = nn.ModuleDict({stage: _conv(self.backbone.channels[stage], channels, 1) for stage in stages})
        self.context = nn.Sequential(_conv(channels, channels, 3), _conv(channels, channels, 3))
        self.smooth = nn.ModuleDict({stage: _conv(channels, channels, 3) for stage in stages[:3]})
        self.classifier = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(channels, num_classes, kernel_size=1))

    def score_maps(self, images: Tensor) -> Tensor:
        maps = self.backbone(images)  # {"c2": (N, K2, H / 4, W / 4), …, "c5": (N, K5, H / 32, W / 32)}
        x = self.context(self.lateral["c5"](maps["c5"]))  # (N, K, H / 32, W / 32)
        for stage in ("c4", "c3", "c2"):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.smooth[stage](x + self.lateral[stage](maps[stage]))
        logits = self.classifier(x)  # (N, K, H / 4, W / 4) -> (N, C, H / 4, W / 4)
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)  # (N, C, H, W)


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
                         nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
