"""Networks whose maps lie on a grid of 32 pixels, for pictures of any size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seglab.models.backbones import Backbone
from seglab.models.card import Model

STRIDE = 32  # of the coarsest map


class GridModel(Model, ABC):
    """Pads pictures to the grid, perhaps enlarges small ones, and cuts the scores back to the picture's size.

    Since all maps lie on one grid, a pixel's scores do not depend on where a picture is cut.

    Args:
        min_size: enlarge pictures whose shorter side is below this many pixels, and scale the scores back. Backbones
            learned on pictures of some 224 pixels; at 128, their last map is 4×4 and they recognise less.
        min_padded: pad each side to this many pixels at least.

    Shapes: (N, 3, H, W) float, normalised -> {"out": (N, C, H, W)} logits, for any H and W.
    """

    backbone: Backbone

    def __init__(self, min_size: int = 0, min_padded: int = STRIDE) -> None:
        super().__init__()
        self.min_size, self.min_padded = min_size, min_padded

    @abstractmethod
    def score_maps(self, images: Tensor) -> Tensor:
        """Scores of pictures whose sides are multiples of 32: (N, 3, H, W) -> (N, C, H, W)."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        size = images.shape[-2:]
        height, width = self._inside(*size)
        # While such a model is exported, sizes are symbols: both resizings stay in, and change nothing if not needed.
        resize = self.min_size > 0 and (not isinstance(height, int) or (height, width) != tuple(size))
        inside = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False) if resize else images
        right, below = (self._padded(side) - side for side in (width, height))
        inside = F.pad(inside, (0, right, 0, below))  # with 0: the mean colour
        logits = self.score_maps(inside)[..., :height, :width]  # (N, C, height, width)
        if resize:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return {"out": logits}  # (N, C, H, W)

    def _padded(self, side: Any) -> Any:
        """The next multiple of 32, at least `min_padded`; (−side % 32 would be shorter, but is another in ONNX)."""
        padded = (side + STRIDE - 1) // STRIDE * STRIDE
        return padded if self.min_padded <= STRIDE else _less_more(padded)[1](padded, self.min_padded)

    def _inside(self, height: Any, width: Any) -> tuple[Any, Any]:
        """The size to work at: that of the picture, or if its shorter side is below `min_size`, as much larger.

        Whole numbers and no branches, so that it can be exported: ONNX then computes it for each picture.
        """
        if self.min_size == 0:
            return height, width
        less, more = _less_more(height)
        short = less(height, width)
        # side · min_size / short, rounded. It is below `side` where the picture is large enough.
        height, width = (more(side, (2 * side * self.min_size + short) // (2 * short)) for side in (height, width))
        return height, width


def _less_more(side: Any) -> tuple[Any, Any]:
    """Minimum and maximum for a side of this kind: a number, a symbol, or while traced (TorchScript) a tensor."""
    if not isinstance(side, Tensor):
        return torch.sym_min, torch.sym_max
    return (lambda a, b: torch.minimum(a, torch.as_tensor(b))), (lambda a, b: torch.maximum(a, torch.as_tensor(b)))
