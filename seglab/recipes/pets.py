"""Lesson 5's recipe: a Global Convolutional Network on the Oxford pets, as published and as one would do it today."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from seglab.checkpoint import load_weights
from seglab.datasets import Normalize, Samples, Splits, open_dataset, random_scale_crop
from seglab.errors import ArgumentError
from seglab.metrics import SegmentationScores
from seglab.models import GCN, BackboneWithHeads, build
from seglab.models.grid import GridModel
from seglab.training import History, Monitor, evaluate, fit, make_loss
from seglab.viz import LiveCurve

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("one-cycle", "plateau", "constant")
#: Where pictures are larger, training crops are no larger than this, unless asked for: a CPU should get on.
LARGEST = 256


@dataclass(frozen=True)
class PetsRecipe:
    """A network for background, cat and dog; today's way by default.

    Attributes:
        summary: one line.
        model, backbone, model_options: for `seglab.models.build`. A GCN's k follows from the size of the pictures.
        weights: that the backbone starts from: "imagenet", or None for random numbers.
        size: side of the squares to train on; None takes crops that suit the pictures, see `crop_size`.
        how: "crops", random ones of randomly scaled pictures; or "crop-or-pad", each picture's middle, also in
            validation and test.
        loss: see `seglab.training.make_loss`.
        optimizer: "adamw", "adam", or "sgd" with momentum 0.9.
        schedule: "one-cycle" (up for a seventh of the steps, then down to nothing), "plateau" (a tenth of the rate
            whenever validation has not improved for ten epochs), or "constant".
        learning_rate: of what is new in the network; the backbone has `backbone_factor` times that.
        weight_decay: of the optimizer.
        batch_size, epochs: as they say.

    Source: Peng et al. 2017, arXiv 1703.02719; Smith and Topin 2017, arXiv 1708.07120 (one cycle).
    """

    summary: str
    model: str = "gcn"
    backbone: str = "efficientnet_lite0"
    model_options: Mapping[str, Any] = field(default_factory=lambda: {"channels": 16})
    weights: str | None = "imagenet"
    size: int | None = None
    how: str = "crops"
    loss: str = "ce+dice"
    optimizer: str = "adamw"
    schedule: str = "one-cycle"
    learning_rate: float = 2e-3
    backbone_factor: float = 0.25
    weight_decay: float = 0.01
    batch_size: int = 8
    epochs: int = 20

    def train(self, *, data: str | Path | None = None, folder: str | Path | None = None, epochs: int | None = None,
              seed: int = 0, progress: bool = True, resume: bool = True, target: str = "species",
              loss: str | None = None, optimizer: str | None = None, schedule: str | None = None,
              size: int | None = None, k: int | None = None,
              num_workers: int = 0) -> tuple[History, SegmentationScores, Splits]:
        """Train, and score the best weights on the test split; see `seglab.recipes.train`.

        Args:
            data, folder, epochs, seed, progress, resume: as there. A folder also gets `curve.png`, drawn anew after
                each epoch.
            target: see `Pets`.
            loss, optimizer, schedule, size: instead of the recipe's.
            k: of the GCN's large kernels; None takes what belongs to the size.
            num_workers: loader processes.

        Raises:
            ArgumentError: an unknown optimizer, schedule, loss or target, or a k that does not fit.
        """
        optimizer, schedule, size = optimizer or self.optimizer, schedule or self.schedule, size or self.size
        criterion = make_loss(loss or self.loss)  # before the data: a wrong name should not cost a minute
        for name, value, known in (("optimizer", optimizer, OPTIMIZERS), ("schedule", schedule, SCHEDULES)):
            if value not in known:
                raise ArgumentError(name, found=repr(value), expected=" or ".join(known))
        splits = open_dataset("pets", root=data, target=target, size=size if self.how == "crop-or-pad" else None,
                      progress=progress)
        train = splits.train
        if self.how == "crops":
            side = crop_size(train)
            size = size or min(side, LARGEST)
            train = train.with_transforms(random_scale_crop(size, side))
        torch.manual_seed(seed)
        options = {"k": k, "size": size} if self.model == "gcn" else {}
        model = build(self.model, len(splits.label_set), backbone=self.backbone, weights=self.weights,
                      **{**options, **self.model_options}).to(memory_format=torch.channels_last)
        if not isinstance(model, GridModel | BackboneWithHeads):
            raise ArgumentError("model", found=self.model, expected="a network for segmentation with a backbone")
        normalize, epochs = Normalize(**model.normalize), epochs or self.epochs
        rates = model.parameter_groups(self.learning_rate * self.backbone_factor,
                                       head_factor=1 / self.backbone_factor)
        stepper = make_optimizer(optimizer, rates, self.weight_decay)
        scheduler = make_schedule(schedule, stepper, steps=epochs * -(-len(train) // self.batch_size))
        if progress:
            print(f"{self.model}: pictures of {size} px" + (f", k = {model.k}" if isinstance(model, GCN) else ""))
        history = fit(model, train, splits.val, optimizer=stepper, scheduler=scheduler, epochs=epochs,
                      batch_size=self.batch_size, val_batch_size=1, normalize=normalize, loss=criterion, folder=folder,
                      monitor=Monitor("miou", worst_score=0.0), seed=seed, resume=resume,
                      num_workers=num_workers, progress=progress,
                      on_epoch=LiveCurve(path=Path(folder) / "curve.png") if folder is not None else None)
        if folder is not None and history.best_epoch:
            load_weights(model, Path(folder) / "best.safetensors")
        return history, evaluate(model, splits.test, normalize=normalize, progress=progress).compute(), splits


def make_optimizer(name: str, groups: list[dict[str, Any]], weight_decay: float = 0.01) -> Optimizer:
    """An optimizer of `OPTIMIZERS` for parameter groups that have their rates; "sgd" has a momentum of 0.9."""
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=weight_decay)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](groups, weight_decay=weight_decay)


def make_schedule(name: str, optimizer: Optimizer, steps: int) -> LRScheduler | None:
    """A schedule of `SCHEDULES`; "plateau" is the published one: patience 10, factor 0.1, least change 1e-8."""
    if name == "plateau":
        return ReduceLROnPlateau(optimizer, mode="max", patience=10, factor=0.1, threshold=1e-8)
    if name == "one-cycle":
        return OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], total_steps=steps,
                          pct_start=0.15)
    return None


def crop_size(data: Samples) -> int:
    """Side of training crops: the median of the shorter sides, rounded down to a multiple of 32; 32 at least."""
    middle = statistics.median(min(data.picture_size(i)) for i in range(len(data)))
    return max(32, int(middle) // 32 * 32)
