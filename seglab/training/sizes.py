"""Scores by the size of objects."""

from __future__ import annotations

import torch
from torch import nn

from seglab.datasets.protocols import LabelledSamples
from seglab.datasets.transforms import Normalize
from seglab.errors import ArgumentError
from seglab.metrics import SizedIoU, SizedScores, predictions
from seglab.progress import progress_bar


@torch.no_grad()
def evaluate_by_size(model: nn.Module, data: LabelledSamples, *, normalize: nn.Module | None = None,
                     bounds: tuple[float, ...] = (32 ** 2, 96 ** 2), device: str | torch.device | None = None,
                     progress: bool = False) -> SizedScores:
    """Run a model over a whole dataset, picture by picture, and count small, medium and large objects apart.

    Args:
        model: as for `fit`; put into eval mode, and back afterwards.
        data: a dataset of (uint8 image, uint8 mask) with a `label_set`. If its method `objects(index)` says which pixel
            belongs to which object, as it does for COCO, these are counted; else connected regions of a class are taken
            for objects.
        normalize: as in training; [0, 1] by default.
        bounds: areas in pixels that part the sizes; COCO's by default.
        device: where to run; where the model is by default.
        progress: show a bar.

    Raises:
        ArgumentError: no pictures, or pictures that are resized or cut, so that objects no longer lie on them.
    """
    if len(data) < 1:
        raise ArgumentError("evaluation pictures", found=len(data), expected="1 or more")
    device = torch.device(device) if device is not None else next(model.parameters()).device
    normalize = (normalize if normalize is not None else Normalize()).to(device)
    sized = SizedIoU(data.label_set, bounds)
    was_training = model.training
    model.to(device).eval()
    try:
        for i in progress_bar(range(len(data)), desc="evaluating", unit="img", shown=progress):
            image, mask = data[i]
            output = model(normalize(torch.as_tensor(image)[None].to(device)))  # (1, 3, H, W)
            found = predictions(output["out"] if isinstance(output, dict) else output)[0].cpu()  # (H, W)
            objects, areas = (data.objects(i) if hasattr(data, "objects") else None) or (None, None)
            if objects is not None and objects.shape != tuple(mask.shape):
                raise ArgumentError("data", found=f"a mask of {tuple(mask.shape)}, objects on {objects.shape}",
                                    expected="pictures as they are", fix="Open it without within, size and transforms.")
            sized.update(found, mask, objects, areas)
    finally:
        model.train(was_training)
    return sized.compute()
