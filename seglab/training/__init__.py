"""Training: one loop, its losses, its checkpoints, its history."""

from __future__ import annotations

from seglab.checkpoint import load_checkpoint, load_weights, save_checkpoint
from seglab.training.features import FeatureDataset, extract_features
from seglab.training.history import History, is_better
from seglab.training.loop import epoch_order, evaluate, fit
from seglab.training.losses import cross_entropy

__all__ = ["FeatureDataset", "History", "cross_entropy", "epoch_order", "evaluate", "extract_features", "fit",
           "is_better", "load_checkpoint", "load_weights", "save_checkpoint"]
