"""Scores: of a segmentation, pixel by pixel, and of a classifier, picture by picture."""

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

__all__ = ["SCORE_NAMES", "Calibration", "ClassificationScores", "ConfusionMatrix", "SegmentationScores",
           "calibration", "classification_scores", "confusion_matrix", "predictions", "scores"]
