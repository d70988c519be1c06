"""COCO: objects as polygons and run lengths in one JSON file, read as masks of classes."""

from __future__ import annotations

from seglab.datasets.coco.dataset import CocoSegmentation, find_coco, has_coco
from seglab.datasets.coco.masks import rle_counts, semantic_mask, to_rle

__all__ = ["CocoSegmentation", "find_coco", "has_coco", "rle_counts", "semantic_mask", "to_rle"]
