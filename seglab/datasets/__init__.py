"""Datasets: published layouts on disk, read to (uint8 image, uint8 mask) or (uint8 image, int label)."""

from __future__ import annotations

from seglab.datasets.cache import CachedDataset
from seglab.datasets.camvid import CamVid
from seglab.datasets.classification import ClassificationDataset, read_map_file, write_map_file
from seglab.datasets.coco import CocoSegmentation
from seglab.datasets.drone import SemanticDrone
from seglab.datasets.duplicates import Duplicate, find_duplicates
from seglab.datasets.folder import SegmentationFolder, choose_split, pair_files
from seglab.datasets.io import read_image, read_mask, read_square, square
from seglab.datasets.pets import OxfordPets, download_pets
from seglab.datasets.sources import Splits, load
from seglab.datasets.transforms import IMAGENET, CropOrPad, Normalize, collate, has_labels, random_scale_crop
from seglab.datasets.video import VideoReader

__all__ = ["IMAGENET", "CachedDataset", "CamVid", "ClassificationDataset", "CocoSegmentation", "CropOrPad", "Duplicate",
           "Normalize", "OxfordPets", "SegmentationFolder", "SemanticDrone", "Splits", "VideoReader", "choose_split",
           "collate", "download_pets", "find_duplicates", "has_labels", "load", "pair_files",
           "random_scale_crop", "read_image", "read_map_file", "read_mask", "read_square", "square",
           "write_map_file", ]
