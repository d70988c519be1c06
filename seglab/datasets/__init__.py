"""Datasets: published layouts on disk, read to (uint8 image, uint8 mask)."""

from __future__ import annotations

from seglab.datasets.aerial import draw_aerial
from seglab.datasets.cache import CachedDataset
from seglab.datasets.camvid import CamVid
from seglab.datasets.drone import SemanticDrone
from seglab.datasets.folder import SegmentationFolder, choose_split, pair_files
from seglab.datasets.io import read_image, read_mask
from seglab.datasets.sample import write_drone_sample
from seglab.datasets.sample_video import sample_frames, write_video_sample
from seglab.datasets.sources import Splits, load
from seglab.datasets.transforms import IMAGENET, Normalize, collate
from seglab.datasets.video import VideoReader

__all__ = ["IMAGENET", "CachedDataset", "CamVid", "Normalize", "SegmentationFolder", "SemanticDrone", "Splits",
           "VideoReader", "choose_split", "collate", "draw_aerial", "load", "pair_files", "read_image", "read_mask",
           "sample_frames", "write_drone_sample", "write_video_sample"]
