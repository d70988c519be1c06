"""The Global Convolutional Network (Peng et al. 2017, arXiv 1703.02719): "Large Kernel Matters".

To say *what* a pixel is, a classifier wants to look at the whole object, at best densely. To say *where* it ends, maps
must stay maps. A k×k convolution with k nearly as large as the map does both, and costs k² weights a channel pair; two
strips, k×1 then 1×k, see the same square for 2k.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.errors import ArgumentError
from seglab.models.backbones import build_backbone
from seglab.models.grid import STRIDE, GridModel

STAGES = ("c2", "c3", "c4", "c5")


class GlobalConvBlock(nn.Module):
    """A k×k convolution of rank 2, made of strips: (k×1, then 1×k) + (1×k, then k×1).

    Nothing stands between the strips, so it has 2·k·out·(in + out) weights and 4·out biases, where a full k×k
    convolution has k²·in·out. The square of k×k that a place sees has a middle if k is odd. Source: arXiv 1703.02719,
    section 3.2 and figure 2 B.

    Shapes: (N, in_channels, h, w) -> (N, out_channels, h, w), h and w of at least k.

    Raises:
        ArgumentError: an even k or one below 1, channels below 1, or a map that is smaller than k.

    Example:
        >>> block = GlobalConvBlock(8, 3, k=7)
        >>> block(torch.zeros(1, 8, 9, 12)).shape, sum(p.numel() for p in block.parameters())
        (torch.Size([1, 3, 9, 12]), 474)
    """

    def __init__(self, in_channels: int, out_channels: int, k: int) -> None:
        super().__init__()
        _check_kernel(k)
        if min(in_channels, out_channels) < 1:
            raise ArgumentError("GlobalConvBlock", found=f"{in_channels} channels in, {out_channels} out",
                                expected="1 or more")
        self.k, half = k, k // 2
        self.left = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, (k, 1), padding=(half, 0)),
            nn.Conv2d(out_channels, out_channels, (1, k), padding=(0, half)))
        self.right = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, (1, k), padding=(0, half)),
            nn.Conv2d(out_channels, out_channels, (k, 1), padding=(half, 0)))

    def forward(self, x: Tensor) -> Tensor:
        # Not while it is traced or exported: sizes are no numbers then.
        if not (torch.jit.is_tracing() or torch.compiler.is_compiling()) and min(x.shape[-2:]) < self.k:
            raise ArgumentError("feature map", found=f"{x.shape[-2]}×{x.shape[-1]}",
                                expected=f"at least {self.k}×{self.k}, as the kernel",
                                fix="Give larger pictures, or build with a smaller k: what lies outside the map is 0.")
        return self.left(x) + self.right(x)  # (N, in, h, w) -> (N, out, h, w)


class BoundaryRefinement(nn.Module):
    """A residual step that moves outlines: x + conv(ReLU(conv(x))), both 3×3.

    With `norm`, each convolution is followed by BatchNorm. Source: arXiv 1703.02719, section 3.3 and figure 2 C.

    Shapes: (N, channels, h, w) -> the same.

    Example:
        >>> BoundaryRefinement(3)(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 3, 5, 7])
    """

    def __init__(self, channels: int, norm: bool = False) -> None:
        super().__init__()
        if channels < 1:
            raise ArgumentError("BoundaryRefinement", found=f"{channels} channels", expected="1 or more")
        self.residual = nn.Sequential(*_conv(channels, norm), nn.ReLU(), *_conv(channels, norm))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


class GCN(GridModel):
    """A Global Convolutional Network: large kernels on four stages, scores added from coarse to fine.

    Each of the maps at strides 4, 8, 16 and 32 goes through a `GlobalConvBlock` and a `BoundaryRefinement`. The
    coarsest result is doubled in size and added to the next finer one, and refined, down to stride 4; two more
    doublings, each with a refinement, lead to the picture's size. The paper doubles by learned deconvolution, which
    starts as the bilinear interpolation used here.

    Args:
        backbone: see `build_backbone`; it must have stages c2 to c5.
        k: of the large kernels, odd. None takes what belongs to `size`: size / output_stride − 1, the largest odd
            number that is smaller than the coarsest map (15 at 512 pixels).
        size: height and width of the training pictures in pixels.
        channels: of the maps that are added. None takes C, as in the paper, which has 21 classes. With few classes,
            more channels see more; a 1×1 convolution then turns them into scores at stride 4.
        norm: BatchNorm behind the large kernels and in the refinements down to the scores. The paper has none; with it,
            a network learns in fewer steps.
        fine: stage c1, at stride 2, is added too, by a 1×1 convolution. The paper begins at c2.
        refine: False leaves all boundary refinements out, to see what they are worth.
        output_stride: of stage c5: 32 as in the paper, or 16 or 8 by dilation, where smaller pictures shall have as
            large a map.
        min_size: see `GridModel`.

    Shapes: (N, 3, H, W) float, normalised -> {"out": (N, C, H, W)} logits; H and W of at least 32, or of any size with
    `min_size`. Inside, pictures are padded to multiples of 32, at least 32·k, so that no map is smaller than k.

    Raises:
        ArgumentError: an unknown backbone, an even k, k larger than the coarsest map of `size`, a number out of range;
            in use, a picture with a side below 32 pixels.

    Source: Peng et al. 2017, arXiv 1703.02719, section 3.1 and figure 2.

    Example:
        >>> model = GCN(3, backbone="efficientnet_lite0", size=160).eval()
        >>> model.k, model(torch.zeros(1, 3, 65, 143))["out"].shape
        (3, torch.Size([1, 3, 65, 143]))
    """

    def __init__(self, num_classes: int = 3, backbone: str = "resnet50", k: int | None = None, size: int = 512,
                 channels: int | None = None, norm: bool = False, fine: bool = False, refine: bool = True,
                 output_stride: int = STRIDE, min_size: int = 0) -> None:
        stages = ("c1", *STAGES) if fine else STAGES
        body = build_backbone(backbone, {stage: stage for stage in stages}, output_stride)
        k = default_kernel(size, output_stride) if k is None else k
        _check_kernel(k)
        places = -(-size // output_stride)  # along a side of the coarsest map
        if k > places:
            raise ArgumentError("k", found=f"{k} for pictures of {size} px", expected=f"an odd number up to "
                                f"{places - (places + 1) % 2}: the coarsest map has {places} places",
                                fix="Give a smaller k or the size of larger pictures.")
        if (channels is not None and channels < 1) or not 0 <= min_size <= 4096:
            raise ArgumentError("GCN", found=f"channels {channels}, min_size {min_size}",
                                expected="channels of 1 or more, or None; min_size from 0 to 4096")
        super().__init__(min_size, min_padded=k * output_stride)
        self.k = k
        width = num_classes if channels is None else channels
        self.backbone, inside = body, body.channels
        dilated = (STRIDE // output_stride).bit_length() - 1  # stages before c5 whose maps are as small as its map
        self._same = STAGES[3 - dilated:3]
        self.large = nn.ModuleDict({stage: nn.Sequential(
            GlobalConvBlock(inside[stage], width, k), *[nn.BatchNorm2d(width)] * norm,
            *[BoundaryRefinement(width, norm)] * refine) for stage in STAGES})
        if fine:
            self.large["c1"] = nn.Conv2d(inside["c1"], width, kernel_size=1)
        self.refine = nn.ModuleDict({stage: BoundaryRefinement(width, norm) if refine else nn.Identity()
                                     for stage in stages[:-1]})
        self.classifier = nn.Identity() if channels is None else nn.Conv2d(width, num_classes, kernel_size=1)
        self.finish = nn.ModuleList([BoundaryRefinement(num_classes) if refine else nn.Identity()
                                     for _ in range(1 if fine else 2)])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        known = not (torch.jit.is_tracing() or torch.compiler.is_compiling())
        if known and self.min_size == 0 and min(images.shape[-2:]) < STRIDE:
            raise ArgumentError("picture", found=f"{images.shape[-2]}×{images.shape[-1]} px",
                                expected=f"at least {STRIDE}×{STRIDE}", fix="Enlarge it, or build with min_size=224.")
        return super().forward(images)

    def score_maps(self, images: Tensor) -> Tensor:
        maps = self.backbone(images)  # {"c2": (N, K2, H / 4, W / 4), …, "c5": (N, K5, H / 32, W / 32)}
        x = self.large["c5"](maps["c5"])  # (N, C, H / 32, W / 32)
        for stage in reversed(list(self.refine)):
            x = x if stage in self._same else _double(x)  # twice the size, unless the coarser map was dilated
            x = self.refine[stage](x + self.large[stage](maps[stage]))
        x = self.classifier(x)  # (N, C, H / 4, W / 4), or with c1 (N, C, H / 2, W / 2)
        for refinement in self.finish:
            x = refinement(_double(x))
        return x  # (N, C, H, W)


def default_kernel(size: int, output_stride: int = STRIDE) -> int:
    """k for pictures of a size: size / output_stride − 1, made odd; 1 at least. Below 32 pixels, an ArgumentError.

    Example:
        >>> [default_kernel(size) for size in (512, 256, 224, 128, 32)], default_kernel(256, 16)
        ([15, 7, 5, 3, 1], 15)
    """
    if size < STRIDE:
        raise ArgumentError("size", found=f"{size} px", expected=f"{STRIDE} px or more")
    k = size // output_stride - 1
    return max(1, k if k % 2 else k - 1)


def _check_kernel(k: int) -> None:
    if type(k) is not int or k < 1 or k % 2 == 0:
        raise ArgumentError("k", found=repr(k), expected="an odd whole number of 1 or more",
                            fix="Only an odd kernel has a middle, and keeps the map's size with the same padding on "
                                "both sides.")


def _conv(channels: int, norm: bool) -> list[nn.Module]:
    """A 3×3 convolution, and what follows it. BatchNorm has a bias of its own."""
    conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=not norm)
    return [conv, nn.BatchNorm2d(channels)] if norm else [conv]


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
