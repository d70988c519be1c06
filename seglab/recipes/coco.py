"""Lesson 4's recipe: DeepLabV3 on chosen categories of COCO, trained as published."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import PartialState

from seglab.checkpoint import load_weights
from seglab.datasets import Normalize, Samples, Splits, open_dataset, random_scale_crop
from seglab.metrics import SegmentationScores
from seglab.models import build
from seglab.training import History, choose_num_workers, evaluate, fit, largest_batch

#: Side of the training crops, and what the shorter side is scaled around, of torchvision's reference.
CROP, BASE = 480, 520
#: Of the head, at output stride 8.
RATES = (12, 24, 36)


@dataclass(frozen=True)
class CocoRecipe:
    """DeepLabV3 with SGD, a poly schedule and an auxiliary head, as torchvision published it.

    Attributes:
        summary: one line.
        backbone, output_stride: see `DeepLabV3`.
        batch_size: pictures a step of the optimizer, in each process.
        epochs: passes over the pictures.
        learning_rate: of backbone and head; the auxiliary head has ten times as much.
        momentum, weight_decay: of SGD.
        power: of the poly schedule, per step: rate · (1 − step / steps) ** power. 0 keeps the rate.
        aux: train an auxiliary head, at ten times the rate and half the weight in the loss.
        dataset: the name for `seglab.datasets.open_dataset`.

    Source: torchvision's references/segmentation/train.py; Chen et al. 2017, arXiv 1706.05587, section 4.1.
    """

    summary: str
    backbone: str = "efficientnet_lite0"
    output_stride: int = 16
    batch_size: int = 8
    epochs: int = 30
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    power: float = 0.9
    aux: bool = True
    dataset: Literal["coco"] = "coco"

    def train(self, *, data: str | Path | None = None, folder: str | Path | None = None, epochs: int | None = None,
              seed: int = 0, progress: bool = True, resume: bool = True,
              categories: Sequence[int | str] | None = ("cat", "dog"), problems: str = "error",
              at_once: int | Literal["auto"] | None = None,
              num_workers: int | None = None) -> tuple[History, SegmentationScores, Splits]:
        """Train, and score the best weights on the test split; see `seglab.recipes.train`.

        Args:
            data, folder, epochs, seed, progress, resume: as there.
            categories, problems: see `Coco` and `Samples`.
            at_once: pictures in memory at a time; gradients add up until a batch is full. None takes the whole batch,
                "auto" tries what fits.
            num_workers: loader processes; None measures which number is fastest here, and takes 0 without a GPU.
        """
        splits = open_dataset(self.dataset, root=data, categories=categories, problems=problems, progress=progress)
        crop = crop_size(splits.train)
        train = splits.train.with_transforms(random_scale_crop(crop, round(crop * BASE / CROP)))
        torch.manual_seed(seed)
        # The published rates are for crops of 480: smaller crops, smaller maps, smaller distances.
        rates = tuple(max(1, round(rate * 8 / self.output_stride * crop / CROP)) for rate in RATES)
        model = build("deeplabv3", len(splits.label_set), backbone=self.backbone, output_stride=self.output_stride,
                      aux=self.aux, rates=rates, weights="imagenet").to(memory_format=torch.channels_last)
        normalize = Normalize(**model.normalize)
        device, processes = PartialState().device, PartialState().num_processes  # where `fit` will train
        if at_once == "auto":
            at_once = largest_batch(model.to(device), crop, start=self.batch_size, normalize=normalize)
        accumulate = -(-self.batch_size // (at_once or self.batch_size))
        at_once = -(-self.batch_size // accumulate)
        if num_workers is None:  # without a GPU, all cores belong to the network
            num_workers = choose_num_workers(train, at_once) if device.type != "cpu" else 0
        if progress:
            print(f"crops of {crop} px, {accumulate} × {at_once} pictures a step, {num_workers} loader workers")
        epochs = epochs or self.epochs
        sgd = torch.optim.SGD(model.parameter_groups(self.learning_rate), momentum=self.momentum,
                              weight_decay=self.weight_decay)
        steps = epochs * -(-len(train) // (at_once * accumulate * processes))
        poly = torch.optim.lr_scheduler.PolynomialLR(sgd, steps, self.power)
        history = fit(model, train, splits.val, optimizer=sgd, scheduler=poly, epochs=epochs, batch_size=at_once,
                      accumulate=accumulate, val_batch_size=1, normalize=normalize, folder=folder, seed=seed,
                      num_workers=num_workers, progress=progress, resume=resume)
        if folder is not None:
            load_weights(model, Path(folder) / "best.safetensors")
        return history, evaluate(model, splits.test, normalize=normalize, progress=progress).compute(), splits


def crop_size(data: Samples) -> int:
    """Side of training crops: 480 as published, or less where pictures are much smaller than COCO's.

    Returns:
        480 if the median of the shorter sides is 320 or more; else the median, rounded to a multiple of 32.
    """
    middle = statistics.median(min(data.picture_size(i)) for i in range(len(data)))
    return CROP if middle >= CROP * 2 / 3 else max(32, round(middle / 32) * 32)
