"""Scores after an epoch, counted by all processes together."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn
from torch.utils.data import Subset

from seglab.datasets.protocols import Samples, as_dataset
from seglab.datasets.transforms import has_labels
from seglab.history import Monitor
from seglab.inference.evaluate import evaluate
from seglab.metrics import SCORE_NAMES
from seglab.training.precision import autocast


def score_names(val: Samples | None) -> tuple[str, ...]:
    """The columns that validation adds to a history."""
    if val is None:
        return ()
    return ("accuracy", "mean_class_accuracy") if has_labels(val[0]) else SCORE_NAMES


def validate(model: nn.Module, val: Samples | None, monitor: Monitor, accelerator: Accelerator, *, batch_size: int,
             normalize: nn.Module, precision: str, num_workers: int) -> dict[str, float]:
    """{column: value} for the validation split: its scores, and what a monitor computes from them; {} without one."""
    if val is None:
        return {}
    rank, processes = accelerator.process_index, accelerator.num_processes
    if processes > 1:  # BatchNorm's statistics are each process's own; the main process saves its own ones
        broadcast(list(model.buffers()))
    # Each process counts its share. One without any counts a picture in vain: the sum needs the same matrix of all.
    share = Subset(as_dataset(val), range(rank, len(val), processes) or [0])
    if (labels := getattr(val, "label_set", None)) is not None:
        share.label_set = labels  # type: ignore[attr-defined]
    with autocast(accelerator.device, precision):
        matrix = evaluate(model, share, batch_size=batch_size, normalize=normalize, num_workers=num_workers)
    if processes > 1:
        counts = matrix.counts.to(accelerator.device) * (rank < len(val))
        matrix.counts = accelerator.reduce(counts, "sum")
    scores = matrix.compute()
    # A picture with one label is a picture of one pixel, but nobody calls it that.
    row = {name: getattr(scores, "pixel_accuracy" if name == "accuracy" else name) for name in score_names(val)}
    return row | ({monitor.name: float(monitor.metric(scores))} if callable(monitor.metric) else {})
