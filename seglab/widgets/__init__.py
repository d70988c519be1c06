"""Widgets that a learner touches: they run in the browser, without the kernel, and leave a true picture elsewhere."""

from __future__ import annotations

from seglab.widgets.augmentation_explorer import AugmentationExplorer
from seglab.widgets.confusion_heatmap import ConfusionHeatmap
from seglab.widgets.mask_painter import MaskPainter
from seglab.widgets.mask_viewer import MaskViewer
from seglab.widgets.pixel_probe import PixelProbe
from seglab.widgets.prediction_browser import PredictionBrowser
from seglab.widgets.training_monitor import TrainingMonitor
from seglab.widgets.video_scrubber import VideoScrubber

__all__ = ["AugmentationExplorer", "ConfusionHeatmap", "MaskPainter", "MaskViewer", "PixelProbe",
           "PredictionBrowser", "TrainingMonitor", "VideoScrubber"]
