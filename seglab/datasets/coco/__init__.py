"""COCO's format: pictures, and one JSON file with the outlines of their objects."""

from seglab.datasets.coco.masks import rle_counts, to_rle
from seglab.datasets.coco.reader import Coco

__all__ = ["Coco", "rle_counts", "to_rle"]
