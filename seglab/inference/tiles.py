"""Pictures too big for memory: cut into overlapping tiles, predicted one by one, blended without seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

GRID = 32  # the coarsest map's stride: tiles that begin on this grid see the same cells as the whole picture does


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side; the last one may be shorter, but never shorter than the overlap."""
    return list(range(0, max(1, length - overlap), tile - overlap))


def edge_weights(start: int, stop: int, length: int, overlap: int) -> Tensor:
    """How much a tile counts at each of its pixels, along one side: (stop - start,) in [0, 1].

    In an overlap, the weights of both tiles sum to 1. In its outer quarters, which the border of one tile disturbs
    most, only the other tile counts. At the border of the picture there is no other tile.
    """
    weights = torch.ones(stop - start)
    if overlap == 0:
        return weights
    margin = overlap // 4
    rise = ((torch.arange(overlap) + 0.5 - margin) / (overlap - 2 * margin)).clamp(0, 1)
    if start > 0:
        weights[:overlap] = rise
    if stop < length:
        weights[-overlap:] *= 1 - rise
    return weights


def tiled(probabilities: Callable[[Tensor], Tensor], image: Tensor, tile: int,
          overlap: int) -> Iterator[tuple[int, Tensor]]:
    """Predict a picture, (3, H, W) uint8, tile by tile; memory holds one row of tiles, however high the picture is.

    `probabilities`: (1, 3, h, w) uint8 -> (1, C, h, w) float, on any device. Yields (first row, (C, rows, W)
    probabilities) from top to bottom. The tensor is reused: copy what you keep.
    """
    height, width = image.shape[-2:]
    rows = tile_starts(height, tile, overlap)
    band: Tensor | None = None
    for top, following in zip(rows, [*rows[1:], height], strict=True):
        bottom = min(top + tile, height)
        down = edge_weights(top, bottom, height, overlap)[:, None]  # (h, 1)
        for left in tile_starts(width, tile, overlap):
            right = min(left + tile, width)
            part = probabilities(image[None, :, top:bottom, left:right])[0]  # (C, h, w)
            if band is None:
                band = torch.zeros((part.shape[0], min(tile, height), width), device=part.device)  # (C, tile, W)
            weights = (down * edge_weights(left, right, width, overlap)).to(part.device)  # (h, w)
            band[:, : bottom - top, left:right].addcmul_(part, weights)
        assert band is not None  # there is a tile
        yield top, band[:, : following - top]  # rows above the next tiles are complete
        left_over = bottom - following
        band[:, :left_over] = band[:, following - top:bottom - top].clone()
        band[:, left_over:] = 0
