"""Inference: segment a picture, a folder, a video, or a picture that is too big for memory; classify pictures."""

from __future__ import annotations

from seglab.inference.classify import (
    Classification,
    class_activation,
    class_probabilities,
    classify,
    classify_folder,
)
from seglab.inference.evaluate import evaluate, evaluate_by_size
from seglab.inference.folder import predict_folder
from seglab.inference.pictures import as_image
from seglab.inference.predict import Prediction, predict
from seglab.inference.video import VideoResult, predict_video

__all__ = ["Classification", "Prediction", "VideoResult", "as_image", "class_activation", "class_probabilities",
           "classify", "classify_folder", "evaluate", "evaluate_by_size", "predict", "predict_folder", "predict_video"]
