"""Losses that leave ignored pixels out."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from seglab.errors import ArgumentError
from seglab.labels import IGNORE


def cross_entropy(output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; an auxiliary output counts half.

    Unlike PyTorch's own mean, a batch without one valid pixel gives 0, not NaN.

    Args:
        output: logits (N, C, H, W), or a model's {"out": logits, "aux": logits}.
        masks: (N, H, W) uint8 class ids, 255 = ignore. For a classifier's logits (N, C): labels (N,).
        aux_weight: the weight of "aux".

    Returns:
        a scalar, in nats per pixel.

    Raises:
        ArgumentError: logits of another height or width than the masks.

    Example:
        >>> import math, torch
        >>> loss = cross_entropy(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.uint8))
        >>> math.isclose(loss.item(), math.log(4), rel_tol=1e-6)
        True
    """
    if isinstance(output, Tensor):
        output = {"out": output}
    for name, logits in output.items():
        if masks.ndim > 1 and logits.shape[-2:] != masks.shape[-2:]:
            raise ArgumentError(f"model output {name!r}", found=f"height and width {tuple(logits.shape[-2:])}",
                                expected=f"those of the masks, {tuple(masks.shape[-2:])}",
                                fix="Upsample the logits to the input's size at the end of the model.")
    target = masks.long()  # only here, on the device, do masks become int64
    valid = (masks != IGNORE).sum().clamp(min=1)
    losses = {name: F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="sum") / valid
              for name, logits in output.items()}
    return losses["out"] + aux_weight * losses["aux"] if "aux" in losses else losses["out"]
