"""The same picture in two places: in train and test it is a leak, and the test no longer tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from seglab.datasets.cache import in_threads
from seglab.datasets.io import read_square
from seglab.datasets.protocols import Samples
from seglab.errors import ArgumentError

_SIDE = 16  # of the thumbnails that are compared
_BLOCK = 2048  # rows of the table of similarities at a time


class Duplicate(NamedTuple):
    """Two pictures that are one: their indices, and how similar they are, up to 1."""

    first: int
    second: int
    similarity: float


def find_duplicates(first: Sequence[Any] | Samples, second: Sequence[Any] | Samples | None = None,
                    threshold: float = 0.98) -> list[Duplicate]:
    """Find pictures of one dataset that are in another too, or twice in one: copied, resized, recompressed, mirrored.

    Each picture becomes a colour thumbnail, less its mean, at length 1. Two are the same if the product of their
    thumbnails, which is their correlation, reaches the threshold. A cut-out of a picture is not found.

    Args:
        first: a dataset of (image, …) or paths of pictures.
        second: likewise; by default pairs within `first` are looked for.
        threshold: in (0, 1]. 0.98 finds what was saved again at half the size.

    Returns:
        The pairs, the most similar first; indices count from 0 in `first` and `second`. DataError if a picture cannot
        be read.

    Example:
        >>> scene = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
        >>> other = scene[:, ::-1].copy()
        >>> find_duplicates([(scene, 0), (other, 1)], [(scene[:, :, ::-1], 0)])  # mirrored, in the other dataset
        [Duplicate(first=0, second=0, similarity=1.0)]
    """
    if not 0 < threshold <= 1:
        raise ArgumentError("threshold", found=threshold, expected="above 0, at most 1")
    left = _thumbnails(first)  # (N, 768)
    right = left if second is None else _thumbnails(second)  # (M, 768)
    mirrored = right.view(-1, _SIDE, _SIDE, 3).flip(2).flatten(1)
    found = []
    for start in range(0, len(left), _BLOCK):
        rows = left[start:start + _BLOCK]
        similar = torch.maximum(rows @ right.T, rows @ mirrored.T)  # (block, M)
        if second is None:
            similar = similar.triu(start + 1)  # each pair once, and no picture with itself
        for i, j in (similar >= threshold - 1e-6).nonzero().tolist():
            found.append(Duplicate(start + i, j, round(min(1.0, similar[i, j].item()), 4)))
    return sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def _thumbnails(pictures: Sequence[Any] | Samples) -> torch.Tensor:
    rows = list(in_threads(lambda i: _thumbnail(pictures, i), range(len(pictures))))
    return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, 3 * _SIDE * _SIDE)


def _thumbnail(pictures: Any, index: int) -> np.ndarray:
    """(768,) float32 of length 1; a picture of one single colour becomes that colour instead."""
    if hasattr(pictures, "read"):  # without transforms, which may be random
        image = pictures.read(index)[0]
    elif isinstance(pictures[index], (str, Path)):
        image = read_square(pictures[index], 4 * _SIDE, crop=1.0)
    else:
        image = np.asarray(pictures[index][0]).transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
    small = cv2.resize(np.ascontiguousarray(image), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    row = (small - small.mean((0, 1))).ravel()
    if (length := np.linalg.norm(row)) < 1:
        row = small.ravel() + 1
        length = np.linalg.norm(row)
    return row / length
