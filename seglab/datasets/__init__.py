"""Datasets: published layouts on disk, read to (uint8 image, uint8 mask) or (uint8 image, int label)."""

from __future__ import annotations

from seglab.datasets.base import Reader, Samples
from seglab.datasets.camvid import CamVid
from seglab.datasets.catdog import CatDog
from seglab.datasets.coco import Coco
from seglab.datasets.download_coco import download_coco
from seglab.datasets.download_pets import download_pets
from seglab.datasets.drone import Drone
from seglab.datasets.duplicates import Duplicate, find_duplicates
from seglab.datasets.folder import Folder
from seglab.datasets.io import read_image, read_square, square
from seglab.datasets.labelme import LabelMe
from seglab.datasets.map_files import read_map_file, write_map_file
from seglab.datasets.masks import MaskReading
from seglab.datasets.pets import Pets
from seglab.datasets.roboflow import RoboflowMasks
from seglab.datasets.sources import Splits, open_dataset
from seglab.datasets.splits import Entry
from seglab.datasets.transforms import IMAGENET, CropOrPad, Normalize, collate, has_labels, random_scale_crop
from seglab.datasets.video import VideoReader
from seglab.datasets.voc import Voc

__all__ = ["IMAGENET", "CamVid", "CatDog", "Coco", "CropOrPad", "Drone", "Duplicate", "Entry", "Folder", "LabelMe",
           "MaskReading", "Normalize", "Pets", "Reader", "RoboflowMasks", "Samples", "Splits", "VideoReader", "Voc",
           "collate", "download_coco", "download_pets", "find_duplicates", "has_labels", "open_dataset",
           "random_scale_crop", "read_image", "read_map_file", "read_square", "square", "write_map_file"]
