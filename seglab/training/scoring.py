"""Scores of a model on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from seglab.datasets.protocols import Sample, Samples, as_dataset
from seglab.datasets.transforms import Normalize, collate
from seglab.errors import ArgumentError
from seglab.metrics import BandMatrix, ConfusionMatrix
from seglab.progress import progress_bar


@overload
def evaluate(model: nn.Module, data: Samples, *, batch_size: int = 1, normalize: nn.Module | None = None,
             device: str | torch.device | None = None, num_workers: int = 0, metric: None = None,
             progress: bool = False) -> ConfusionMatrix: ...
@overload
def evaluate(model: nn.Module, data: Samples, *, batch_size: int = 1, normalize: nn.Module | None = None,
             device: str | torch.device | None = None, num_workers: int = 0, metric: BandMatrix,
             progress: bool = False) -> BandMatrix: ...
@torch.no_grad()
def evaluate(model: nn.Module, data: Samples, *, batch_size: int = 1, normalize: nn.Module | None = None,
             device: str | torch.device | None = None, num_workers: int = 0, metric: BandMatrix | None = None,
             progress: bool = False) -> ConfusionMatrix | BandMatrix:
    """Run a model over a whole dataset and count every pixel; of a classifier, every picture.

    Memory holds one batch at a time, and those that loader processes have ready. Pictures of different sizes never
    share a batch: what pads the smaller one would change what the network sees at its edges.

    Args:
        model: as for `fit`; put into eval mode, and back afterwards.
        data: a dataset of (uint8 image, uint8 mask), or for a classifier of (uint8 image or features, int label).
        batch_size: pictures at once, at most. Beyond rounding, the counts do not depend on it.
        normalize: as in training; [0, 1] by default.
        device: where to run; where the model is by default.
        num_workers: loader processes.
        metric: what counts instead of a new `ConfusionMatrix`, for instance a `BandMatrix`.
        progress: show a bar.

    Returns:
        the confusion matrix, or `metric`; its `compute()` gives the scores.

    Raises:
        ArgumentError: an empty dataset, or class ids that the model does not have.
    """
    if len(data) < 1:
        raise ArgumentError("evaluation pictures", found=len(data), expected="1 or more")
    device = torch.device(device) if device is not None else next(model.parameters()).device
    normalize = (normalize if normalize is not None else Normalize()).to(device)
    loader = DataLoader(as_dataset(data), batch_size, collate_fn=_collate_by_size, num_workers=num_workers,
                        pin_memory=device.type == "cuda")
    was_training = model.training
    model.to(device).eval()
    matrix: ConfusionMatrix | BandMatrix | None = metric
    try:
        for batches in progress_bar(loader, desc="evaluating", unit="step", shown=progress):
            for images, masks in batches:
                images, masks = images.to(device, non_blocking=True), masks.to(device, non_blocking=True)
                logits = _logits(model, normalize(images))  # (N, C, H, W)
                if logits.ndim == 2:  # a classifier's answer is a mask of one pixel
                    logits, masks = logits[..., None, None], masks[..., None, None]  # (N, C, 1, 1), (N, 1, 1)
                if matrix is None:
                    where = device if device.type == "cuda" else "cpu"  # MPS lacks the counting
                    matrix = ConfusionMatrix(getattr(data, "label_set", logits.shape[1]), device=where)
                matrix.update(logits, masks)
                del images, masks, logits  # or they would fill memory while the next batch is computed
    finally:
        model.train(was_training)
    assert matrix is not None  # there is at least one picture
    return matrix


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """What the model says in the end; an auxiliary output is forgotten at once."""
    output = model(images)
    return output["out"] if isinstance(output, dict) else output


def _collate_by_size(samples: Sequence[Sample]) -> list[tuple[Tensor, Tensor]]:
    """One batch for each size of picture, instead of one batch that is padded."""
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(tuple(sample[0].shape), []).append(sample)
    return [collate(group) for group in groups.values()]
