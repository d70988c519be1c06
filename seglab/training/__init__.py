"""Training: one loop, its losses, its checkpoints, its history."""

from __future__ import annotations

from seglab.checkpoint import load_checkpoint, load_weights, save_checkpoint
from seglab.training.features import FeatureDataset, extract_features
from seglab.training.history import History
from seglab.training.loop import fit
from seglab.training.losses import (
    LOSSES,
    CombinedLoss,
    cross_entropy,
    dice_loss,
    iou_loss,
    lovasz_loss,
    make_loss,
)
from seglab.training.monitor import Monitor
from seglab.training.order import epoch_order
from seglab.training.scoring import evaluate
from seglab.training.sizes import evaluate_by_size
from seglab.training.tuning import LoaderSpeeds, choose_num_workers, find_batch_size, largest_batch

__all__ = ["LOSSES", "CombinedLoss", "FeatureDataset", "History", "LoaderSpeeds", "Monitor", "choose_num_workers",
           "cross_entropy", "dice_loss", "epoch_order", "evaluate", "evaluate_by_size", "extract_features",
           "find_batch_size", "fit", "iou_loss", "largest_batch", "load_checkpoint", "load_weights",
           "lovasz_loss", "make_loss", "save_checkpoint"]
