"""Whatever somebody may call a picture, as one array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from seglab.datasets.io import read_image, to_rgb
from seglab.errors import ArgumentError


def as_image(source: Any) -> np.ndarray:
    """A path, PIL image, array or tensor as an upright picture.

    Args:
        source: a path (EXIF rotation is obeyed), a PIL image (likewise), or an array or tensor: (H, W, 3), (3, H, W),
            (H, W, 1), (1, H, W) or (H, W), uint8, or float in [0, 1]. Transparent ones have a fourth channel, which is
            laid on black.

    Returns:
        (H, W, 3) uint8, a copy.

    Raises:
        DataError: the file is missing or no picture.
        ArgumentError: another type, number of channels or range, or no pixels.

    Example:
        >>> as_image(torch.ones(3, 4, 6)).shape
        (4, 6, 3)
    """
    if isinstance(source, (str, Path)):
        return np.array(read_image(source, upright=True))
    if isinstance(source, Image.Image):
        source = np.asarray(to_rgb(ImageOps.exif_transpose(source)))
    array = source.detach().cpu().numpy() if isinstance(source, torch.Tensor) else source
    if not isinstance(array, np.ndarray):
        raise ArgumentError("image", found=type(source).__name__, expected="a path, PIL image, array or tensor")
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and array.shape[0] in {1, 3, 4}:
        # Where both ends could be channels, tensors have them first and arrays last, as their libraries do.
        both = array.shape[2] in {1, 3, 4}
        if isinstance(source, torch.Tensor) or (not both and min(array.shape[1:]) > 4):
            array = array.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    is_float = np.issubdtype(array.dtype, np.floating)
    if not (array.ndim == 3 and array.shape[2] in {1, 3, 4} and array.size and (is_float or array.dtype == np.uint8)):
        raise ArgumentError("image", found=f"shape {tuple(source.shape)}, {source.dtype}",
                            expected="(H, W, 3) or (3, H, W), at least one pixel, uint8 or float in [0, 1]")
    if is_float:
        if not (array.min() >= 0 and array.max() <= 1):  # NaN fails too
            raise ArgumentError("image", found=f"{array.dtype} from {array.min():.3g} to {array.max():.3g}",
                                expected="float in [0, 1], or uint8",
                                fix="Do not normalise pictures: predict does it. Divide by 255 if they are 0 to 255.")
        array = (array * 255).round().astype(np.uint8)
    if array.shape[2] == 1:
        array = array.repeat(3, axis=2)
    elif array.shape[2] == 4:
        array = np.asarray(to_rgb(Image.fromarray(np.ascontiguousarray(array), "RGBA")))
    return np.array(array, order="C")  # a copy: nobody's picture is changed, and nobody changes ours
