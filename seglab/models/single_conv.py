"""The smallest segmentation network there is: one convolution."""

from __future__ import annotations

from torch import Tensor, nn

from seglab.models.card import Model


class SingleConv(Model):
    """One 3×3 convolution from colours to class scores, optionally with a ReLU behind it.

    Every pixel is classified from the 3×3 colours around it and nothing else: (3·3·3 + 1)·C parameters, 644 for
    23 classes.

    Args:
        relu: put a ReLU on the scores, as the published exercise does. It makes classes die; lesson 1 shows how.

    Shapes: (N, 3, H, W) float -> {"out": (N, C, H, W) float}, the same height and width.

    Example:
        >>> import torch
        >>> model = SingleConv(23)
        >>> sum(p.numel() for p in model.parameters())
        644
        >>> model(torch.zeros(1, 3, 4, 6))["out"].shape
        torch.Size([1, 23, 4, 6])
    """

    def __init__(self, num_classes: int = 23, relu: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, kernel_size=3, padding=1)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        logits = self.conv(images)  # (N, 3, H, W) -> (N, C, H, W)
        return {"out": self.relu(logits)}
