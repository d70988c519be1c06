"""Scores: of a segmentation, pixel by pixel, near outlines and by the size of objects; of a classifier, by pictures."""

from __future__ import annotations

from seglab.metrics.boundary import BandMatrix, BoundaryScores, boundary_distance
from seglab.metrics.classification import Calibration, ClassificationScores, calibration, classification_scores
from seglab.metrics.segmentation import (
    SCORE_NAMES,
    ConfusionMatrix,
    SegmentationScores,
    confusion_matrix,
    predictions,
    scores,
)
from seglab.metrics.sizes import COCO_BOUNDS, SizedIoU, SizedScores

__all__ = ["COCO_BOUNDS", "SCORE_NAMES", "BandMatrix", "BoundaryScores", "Calibration", "ClassificationScores",
           "ConfusionMatrix", "SegmentationScores", "SizedIoU", "SizedScores", "boundary_distance", "calibration",
           "classification_scores", "confusion_matrix", "predictions", "scores"]
