"""DeepLabV3 (Chen et al. 2017, arXiv 1706.05587): look at every place at several scales at once.

The backbone is dilated, as in `FCN`. New is the head, *atrous spatial pyramid pooling* (ASPP, section 3.3): side by
side, convolutions that look at one place, at its neighbours 12, 24 and 36 places away, and at the whole picture.
"Atrous" is the paper's word for dilated: à trous, with holes. Key-for-key compatible with torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.errors import ArgumentError
from seglab.models.backbones import Backbone, build_backbone, default_output_stride
from seglab.models.fcn import BackboneWithHeads, FCNHead

#: The paper's rates on maps an eighth of the picture's size (section 4.1; there "doubled" from those of 16).
_RATES_AT_8 = (12, 24, 36)


class ASPPConv(nn.Sequential):
    """A 3×3 convolution whose nine places lie `dilation` apart: it sees 2·dilation + 1 places across.

    Shapes: (N, in_channels, h, w) -> (N, out_channels, h, w).
    """

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__(
            # As much padding as dilation, so that the map keeps its size.
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class ASPPPooling(nn.Sequential):
    """What the whole picture shows, told to every place: the map's mean, a 1×1 convolution, spread out again.

    A convolution with a large rate sees mostly padding at the border of a map; the mean sees all of it (section 3.3).
    It is one value a channel and picture. In train mode BatchNorm normalises over the batch, and for one picture (often
    the last batch of an epoch) there is nothing to normalise over: PyTorch raises. In that one case this layer uses the
    running statistics, as in eval mode, and leaves them as they are.

    Shapes: (N, in_channels, h, w) -> (N, out_channels, h, w), the same value at all places.

    Example:
        >>> ASPPPooling(8, 4).train()(torch.zeros(1, 8, 5, 7)).shape
        torch.Size([1, 4, 5, 7])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        for layer in self:  # (N, K, h, w) -> (N, K, 1, 1) -> (N, k, 1, 1)
            # SyncBatchNorm is another class: it sees the pictures of the other processes too, and must wait for them.
            if isinstance(layer, nn.BatchNorm2d) and layer.training and len(x) == 1:
                # A single value less its own mean is 0, whatever the picture shows.
                x = F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, training=False,
                                 eps=layer.eps)
            else:
                x = layer(x)
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)  # -> (N, k, h, w)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1×1 convolution, one dilated 3×3 for each rate, and the picture's mean.

    Shapes: (N, K, h, w) -> (N, k, h, w), with k `out_channels`, as each branch has them.

    Example:
        >>> ASPP(8, rates=(1, 2), out_channels=4).eval()(torch.zeros(2, 8, 5, 7)).shape
        torch.Size([2, 4, 5, 7])
    """

    def __init__(self, in_channels: int, rates: Sequence[int], out_channels: int = 256) -> None:
        super().__init__()
        self.convs = nn.ModuleList([
            nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
                          nn.BatchNorm2d(out_channels), nn.ReLU()),
            *(ASPPConv(in_channels, out_channels, rate) for rate in rates),
            ASPPPooling(in_channels, out_channels),
        ])
        self.project = nn.Sequential(
            nn.Conv2d(len(self.convs) * out_channels, out_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Dropout(0.5),
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = [conv(x) for conv in self.convs]  # each (N, K, h, w) -> (N, k, h, w)
        return self.project(torch.cat(branches, dim=1))  # (N, branches · k, h, w) -> (N, k, h, w)


class DeepLabHead(nn.Sequential):
    """From feature maps to class scores: ASPP, a 3×3 convolution, then 1×1 to C scores.

    Shapes: (N, in_channels, h, w) -> (N, num_classes, h, w).

    Example:
        >>> DeepLabHead(64, 21).eval()(torch.zeros(2, 64, 5, 7)).shape
        torch.Size([2, 21, 5, 7])
    """

    def __init__(self, in_channels: int, num_classes: int, rates: Sequence[int] = _RATES_AT_8,
                 channels: int = 256) -> None:
        super().__init__(
            ASPP(in_channels, rates, out_channels=channels),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, num_classes, kernel_size=1),
        )


class DeepLabV3(BackboneWithHeads):
    """DeepLabV3: torchvision's `deeplabv3_resnet50`, `_resnet101` and `_mobilenet_v3_large`.

    A batch of one picture can be trained on: see `ASPPPooling`.

    Args:
        backbone, output_stride: as for `FCN`.
        aux: add the auxiliary head, on stage c4; on MobileNet, as torchvision has it, on the first block of c3.
        rates: dilations of the head, one or more. By default the paper's: (12, 24, 36) at output stride 8, (6, 12, 18)
            at 16 and (3, 6, 9) at 32, which are the same distances in the picture. One exception: torchvision's
            MobileNet has (12, 24, 36) at 16, so ours does too, whatever the weights.
        channels: of the head; 256 in the paper and in torchvision. Fewer make a light head for a light backbone.

    Shapes: (N, 3, H, W) float, normalised -> {"out": (N, C, H, W), "aux"?: (N, C, H, W)} logits.

    Raises:
        ArgumentError: an unknown backbone, one that cannot be had at this stride, or rates that are no whole numbers
            of 1 or more.

    Source: Chen et al. 2017, arXiv 1706.05587, section 3.3 and figure 5. The paper has no auxiliary head; torchvision's
    is the one of PSPNet (Zhao et al. 2016, arXiv 1612.01105).

    Example:
        >>> model = DeepLabV3(21, backbone="resnet18").eval()
        >>> model(torch.zeros(1, 3, 65, 43))["out"].shape, model.rates
        (torch.Size([1, 21, 65, 43]), (3, 6, 9))
    """

    backbone: Backbone

    def __init__(self, num_classes: int = 21, backbone: str = "resnet50", aux: bool = False,
                 output_stride: int | None = None, rates: Sequence[int] | None = None, channels: int = 256) -> None:
        if type(channels) is not int or channels < 1:
            raise ArgumentError("channels", found=repr(channels), expected="a whole number of 1 or more")
        output_stride = default_output_stride(backbone) if output_stride is None else output_stride
        early = "c3_first" if backbone == "mobilenet_v3_large" else "c4"
        body = build_backbone(backbone, {early: "aux", "c5": "out"} if aux else {"c5": "out"}, output_stride)
        if rates is None:
            torchvisions = backbone == "mobilenet_v3_large" and output_stride == 16
            rates = _RATES_AT_8 if torchvisions else rates_for(480, backbone, output_stride)
        if not isinstance(rates, list | tuple) or not 1 <= len(rates) <= 16 or any(
                type(rate) is not int or rate < 1 for rate in rates):
            raise ArgumentError("rates", found=repr(rates)[:80],
                                expected="one to 16 whole numbers of 1 or more, for instance (12, 24, 36)")
        super().__init__(body, DeepLabHead(body.channels["out"], num_classes, rates, channels),
                         FCNHead(body.channels["aux"], num_classes) if aux else None)
        self.rates = tuple(rates)


def rates_for(size: int, backbone: str = "resnet50", output_stride: int | None = None) -> tuple[int, ...]:
    """The published dilations, which are for crops of 480 pixels, for smaller ones: smaller maps, smaller distances.

    Example:
        >>> rates_for(480), rates_for(128, "efficientnet_lite0", 16)
        ((12, 24, 36), (2, 3, 5))
    """
    stride = output_stride or default_output_stride(backbone)
    return tuple(max(1, round(rate * 8 / stride * size / 480)) for rate in _RATES_AT_8)
