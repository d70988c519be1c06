"""Scores: of a segmentation, pixel by pixel and by the size of objects, and of a classifier, picture by picture."""

from __future__ import annotations

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

__all__ = ["COCO_BOUNDS", "SCORE_NAMES", "Calibration", "ClassificationScores", "ConfusionMatrix",
           "SegmentationScores", "SizedIoU", "SizedScores", "calibration", "classification_scores", "confusion_matrix",
           "predictions", "scores"]
