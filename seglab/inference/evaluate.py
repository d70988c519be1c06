"""Scores of a model on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from seglab.datasets.protocols import LabelledSamples, Sample, Samples, as_dataset
from seglab.datasets.transforms import collate
from seglab.errors import ArgumentError
from seglab.inference.segmenter import Segmenter, in_eval_mode
from seglab.metrics import COCO_BOUNDS, BandMatrix, ConfusionMatrix, SizedIoU, SizedScores, predictions
from seglab.models.card import card_of
from seglab.progress import progress_bar


@overload
def evaluate(model: nn.Module, data: Samples, *, batch_size: int = 1, normalize: nn.Module | None = None,
             num_workers: int = 0, metric: None = None, progress: bool = False, **how: Any) -> ConfusionMatrix: ...
@overload
def evaluate(model: nn.Module, data: Samples, *, batch_size: int = 1, normalize: nn.Module | None = None,
             num_workers: int = 0, metric: BandMatrix, progress: bool = False, **how: Any) -> BandMatrix: ...
def evaluate(model: nn.Module, data: Samples, *, batch_size: int = 1, normalize: nn.Module | None = None,
             num_workers: int = 0, metric: BandMatrix | None = None, progress: bool = False,
             **how: Any) -> ConfusionMatrix | BandMatrix:
    """Run a model over a whole dataset and count every pixel; of a classifier, every picture.

    Pictures are treated as `predict` treats them: the same pictures give the same masks. Pictures of different sizes
    never share a batch: what pads the smaller one would change what the network sees at its edges.

    Args:
        model: as for `fit`; it runs where it is, in eval mode, and training mode comes back afterwards.
        data: a dataset of (uint8 image, uint8 mask), or for a classifier of (uint8 image or features, int label).
        batch_size: pictures at once, at most. Beyond rounding, the counts do not depend on it.
        normalize: instead of what the model's card says.
        num_workers: loader processes.
        metric: what counts instead of a new `ConfusionMatrix`.
        progress: show a bar.
        how: of a segmentation, `short_side`, `flip`, `scales`, `tile` and `overlap`, as for `predict`.

    Returns:
        the confusion matrix, or `metric`; its `compute()` gives the scores.

    Raises:
        ArgumentError: an empty dataset, or other classes than the model's.
        CheckpointError: the model's scores are not finite.

    Example:
        >>> from seglab.models import build
        >>> data = [(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.ones(8, 8, dtype=torch.uint8))]
        >>> int(evaluate(build("single_conv", 2), data).matrix().sum())
        64
    """
    segmenter = _segmenter_for(data, model, normalize=normalize, **how)
    loader = DataLoader(as_dataset(data), batch_size, collate_fn=_collate_by_size, num_workers=num_workers,
                        pin_memory=segmenter.device.type == "cuda")
    counted: ConfusionMatrix | BandMatrix | None = metric
    with in_eval_mode(model):
        for batches in progress_bar(loader, desc="evaluating", unit="step", shown=progress):
            for images, truth in batches:
                if truth.ndim == 1:  # a label is the mask of a picture of one pixel
                    logits = segmenter.logits(images)[..., None, None]  # (N, C, 1, 1)
                    found, truth = predictions(logits), truth[:, None, None]  # (N, 1, 1)
                else:
                    found = segmenter.segment(images)[0]  # (N, H, W)
                if counted is None:
                    where = segmenter.device if segmenter.device.type == "cuda" else "cpu"  # MPS lacks the counting
                    counted = ConfusionMatrix(getattr(data, "label_set", segmenter.num_classes), device=where)
                counted.update(found, truth.to(found.device, non_blocking=True))
    segmenter.check_finite()
    assert counted is not None  # there is at least one picture
    return counted


def evaluate_by_size(model: nn.Module, data: LabelledSamples, *, bounds: Sequence[float] = COCO_BOUNDS,
                     progress: bool = False, **how: Any) -> SizedScores:
    """Run a model over a whole dataset, and count small, medium and large objects apart.

    Args:
        model, progress, how: as for `evaluate`; also `normalize`.
        data: a dataset of (uint8 image, uint8 mask) with a `label_set`. If its method `objects(index)` says which pixel
            belongs to which object, as it does for COCO, these are counted; else the connected regions of a class.
        bounds: areas in pixels that part the sizes.

    Raises:
        ArgumentError: no pictures, or pictures that are resized or cut, so that objects no longer lie on them.
    """
    segmenter, sized = _segmenter_for(data, model, **how), SizedIoU(data.label_set, bounds)
    with in_eval_mode(model):
        for i in progress_bar(range(len(data)), desc="evaluating", unit="img", shown=progress):
            image, mask = data[i]
            objects, areas = (data.objects(i) if hasattr(data, "objects") else None) or (None, None)
            if objects is not None and objects.shape != tuple(mask.shape):
                raise ArgumentError("data", found=f"a mask of {tuple(mask.shape)}, objects on {objects.shape}",
                                    expected="pictures as they are", fix="Open it without within, size and transforms.")
            sized.update(segmenter.segment(torch.as_tensor(image)[None])[0][0].cpu(), mask, objects, areas)
    segmenter.check_finite()
    return sized.compute()


def _segmenter_for(data: Samples, model: nn.Module, **how: Any) -> Segmenter:
    """A segmenter for the model, if there are pictures and they have its classes; else an ArgumentError."""
    if len(data) < 1:
        raise ArgumentError("evaluation pictures", found=len(data), expected="1 or more")
    known, there = card_of(model).label_set, getattr(data, "label_set", None)
    if known is not None and there is not None and known.classes != there.classes:
        raise ArgumentError("classes of the dataset", found=f"{len(there)}: {', '.join(there.classes)}",
                            expected=f"{len(known)}, as the model was trained on: {', '.join(known.classes)}",
                            fix="Evaluate it on a dataset with these classes; where only names differ, set "
                                "model.card.label_set = data.label_set.")
    return Segmenter(model, **how)


def _collate_by_size(samples: Sequence[Sample]) -> list[tuple[Tensor, Tensor]]:
    """One batch for each size of picture, instead of one batch that is padded."""
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(tuple(sample[0].shape), []).append(sample)
    return [collate(group) for group in groups.values()]
