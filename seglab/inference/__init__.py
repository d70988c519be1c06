"""Inference: segment a picture, a folder, a video, or a picture that is too big for memory."""

from __future__ import annotations

from seglab.inference.folder import predict_folder
from seglab.inference.pictures import as_image
from seglab.inference.predict import Prediction, predict
from seglab.inference.video import VideoResult, predict_video

__all__ = ["Prediction", "VideoResult", "as_image", "predict", "predict_folder", "predict_video"]
