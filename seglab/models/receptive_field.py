"""How far a pixel sees: what its answer could depend on, and what it does depend on.

The *theoretical* receptive field belongs to the architecture: every input pixel from which a path leads to the answer.
The *effective* one belongs to the trained network and the picture: how strongly each input pixel moves the answer.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seglab.errors import ArgumentError, CheckpointError
from seglab.models.card import card_of


def receptive_reach(model: nn.Module, size: tuple[int, int]) -> tuple[int | None, int | None, int | None, int | None]:
    """How many pixels (up, left, down, right) an output pixel sees beyond itself; None for up to the picture's edge.

    One input pixel is NaN, and whatever is computed from it becomes NaN too, whatever the weights: sums, products,
    maxima, means over the picture. A NaN in the upper left corner that spreads d rows down says that outputs see d rows
    up. Measured from two opposite corners; elsewhere the reach differs by about one output stride, since the pixels
    between two places of a coarse map share what they see. Only a network that compares numbers (argmax, `x > 0`) may
    hide a path.

    Args:
        model: (N, 3, H, W) -> {"out": (N, C, H, W)} or (N, C, H, W), an output of the input's size. A copy runs, on the
            CPU.
        size: (H, W) of the input in pixels.

    Raises:
        ArgumentError: an output of another kind or size.

    Example:
        >>> from seglab.models import build
        >>> receptive_reach(build("single_conv", 23), (32, 48))
        (1, 1, 1, 1)
    """
    # In float64, since some convolutions in float32 (Winograd's, on ARM) compute tiles of outputs from tiles of inputs.
    network = copy.deepcopy(model).to("cpu", torch.float64).eval()
    reach: list[int | None] = []
    for corner in (0, -1):
        images = torch.zeros(1, 3, *size, dtype=torch.float64)
        images[..., corner, corner] = torch.nan
        with torch.inference_mode():
            scores = _scores(network(images))
        if scores.shape[2:] != tuple(size):
            raise ArgumentError("model", found=f"scores of shape {tuple(scores.shape)}",
                                expected=f"the picture's height and width, {size[0]}×{size[1]}")
        touched = scores[0].isnan().any(0)  # (H, W)
        for axis in (1, 0):  # rows, then columns; counted from the corner
            places = (touched if corner == 0 else touched.flip(0, 1)).any(axis).nonzero()
            found = int(places[-1]) if len(places) else 0
            reach.append(None if found >= size[1 - axis] - 1 else found)
    up, left, down, right = reach
    return up, left, down, right


def effective_receptive_field(model: nn.Module, image: np.ndarray | Tensor, place: tuple[int, int] | None = None,
                              class_id: int | None = None, normalize: nn.Module | None = None) -> np.ndarray:
    """How strongly each pixel of this picture moves one score: |d logit / d input|, summed over the colours.

    One forward and one backward pass, on the device of the model, which stays as it is.

    Args:
        model: (N, 3, H, W) -> {"out": (N, C, h, w)}, (N, C, h, w), or (N, C).
        image: (H, W, 3) uint8 array or (3, H, W) uint8 tensor, of the size that the model shall see.
        place: (y, x) of the pixel of the output, by default its middle. Without effect for outputs (N, C).
        class_id: whose score; by default that of the highest one at this pixel.
        normalize: what happens to uint8 pictures first; by default what the model's card says.

    Returns:
        (H, W) float32 in [0, 1], the largest value is 1; all zeros if no pixel moves the score.

    Raises:
        ArgumentError: a picture of another shape or type, a place outside of the output, or an unknown class.
        CheckpointError: the gradient is not finite.

    Source: Luo et al. 2016, arXiv 1701.04128, section 2. Their measure averages over pictures; this is one of them.

    Example:
        >>> from seglab.models import build
        >>> heat = effective_receptive_field(build("single_conv", 3), np.zeros((9, 9, 3), np.uint8), (4, 2))
        >>> heat.shape, np.argwhere(heat > 0).min(0).tolist(), np.argwhere(heat > 0).max(0).tolist()
        ((9, 9), [3, 1], [5, 3])
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) if isinstance(image, np.ndarray) \
        and image.ndim == 3 else torch.as_tensor(image)  # (H, W, 3) -> (3, H, W)
    if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.dtype != torch.uint8 or not pixels.numel():
        raise ArgumentError("image", found=f"shape {tuple(np.shape(image))}, {image.dtype}",
                            expected="an (H, W, 3) uint8 array or a (3, H, W) uint8 tensor",
                            fix="inference.as_image makes such an array of any picture.")
    if normalize is None:
        normalize = card_of(model).normalize
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            inputs = normalize.to(device)(pixels.to(device)[None]).detach().requires_grad_()  # (1, 3, H, W)
            scores = _at(_scores(model(inputs)), place)  # (C,)
            if class_id is not None and not 0 <= class_id < len(scores):
                raise ArgumentError("class_id", found=class_id, expected=f"0 to {len(scores) - 1}")
            chosen = scores.argmax() if class_id is None else class_id
            gradient = torch.autograd.grad(scores[chosen], inputs)[0]
    finally:
        for module, mode in modes:
            module.training = mode
    heat = gradient[0].abs().sum(0).float().cpu()  # (1, 3, H, W) -> (H, W)
    if not heat.isfinite().all():
        raise CheckpointError(f"model {type(model).__name__}", found="a gradient that is NaN or infinite",
                              expected="finite numbers", fix="Its weights are damaged or its training diverged.")
    return (heat / heat.max().clamp_min(torch.finfo(torch.float32).tiny)).numpy()


def _scores(output: Any) -> Tensor:
    scores = output["out"] if isinstance(output, dict) else output
    if not isinstance(scores, Tensor) or scores.ndim not in {2, 4}:
        raise ArgumentError("model", found=f"an output of type {type(scores).__name__}",
                            expected='{"out": (N, C, h, w)}, (N, C, h, w) or (N, C)')
    return scores


def _at(scores: Tensor, place: tuple[int, int] | None) -> Tensor:
    """The scores (C,) of the first picture at a place, by default the middle."""
    if scores.ndim == 2:
        return scores[0]
    height, width = scores.shape[-2:]
    y, x = (height // 2, width // 2) if place is None else place
    if not (0 <= y < height and 0 <= x < width):
        raise ArgumentError("place", found=f"row {y}, column {x}",
                            expected=f"rows 0 to {height - 1} and columns 0 to {width - 1}")
    return scores[0, :, y, x]
