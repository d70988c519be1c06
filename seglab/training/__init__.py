"""Training: one loop, its losses, its checkpoints, its history."""

from __future__ import annotations

from seglab.checkpoint import load_checkpoint, save_checkpoint
from seglab.history import History, Monitor
from seglab.models import load_weights
from seglab.training.features import FeatureDataset, extract_features
from seglab.training.loop import fit
from seglab.training.losses import LOSSES, cross_entropy, dice_loss, iou_loss, lovasz_loss, make_loss
from seglab.training.optimizers import OPTIMIZERS, SCHEDULES, make_optimizer, make_schedule, parameter_groups
from seglab.training.order import epoch_order
from seglab.training.profiler import Profile
from seglab.training.tuning import choose_num_workers, largest_batch

__all__ = ["LOSSES", "OPTIMIZERS", "SCHEDULES", "FeatureDataset", "History", "Monitor", "Profile", "choose_num_workers",
           "cross_entropy", "dice_loss", "epoch_order", "extract_features", "fit", "iou_loss", "largest_batch",
           "load_checkpoint", "load_weights", "lovasz_loss", "make_loss", "make_optimizer", "make_schedule",
           "parameter_groups", "save_checkpoint"]
