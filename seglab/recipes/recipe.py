"""A recipe: all settings of a training in one place, for any model on any dataset."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn
from torchvision.transforms import v2

from seglab.datasets import Normalize, Samples, Splits, random_scale_crop
from seglab.errors import ArgumentError
from seglab.files import atomic_write
from seglab.history import History, Monitor
from seglab.inference.evaluate import evaluate
from seglab.metrics import ClassificationScores, SegmentationScores, classification_scores
from seglab.models import build, has_backbone, load_weights, options_for_size
from seglab.training.features import extract_features
from seglab.training.loop import fit
from seglab.training.losses import make_loss
from seglab.training.optimizers import make_optimizer, make_schedule, parameter_groups
from seglab.training.processes import processes
from seglab.training.profiler import Profile
from seglab.training.tuning import choose_num_workers, largest_batch
from seglab.viz import LiveCurve

#: Where pictures are larger, training crops are no larger than this, unless asked for: a CPU should get on.
LARGEST_CROP = 256
#: How many crops make a training, where no number of epochs is asked for: an hour on two cores, at 256 pixels.
CROPS = 24_000
_LIGHT = "efficientnet_lite0"
_RARE = 0.01  # as a share of the pixels
_OF_SEGMENTATION = ("crops", "base", "scale", "zoom", "jitter", "short_side", "unit", "loss", "backbone_factor",
                    "aux_factor")
_OF_CLASSIFIERS = ("finetune_epochs", "finetune_lr", "decay", "unfreeze")


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained; what is None follows from the data, see `settle`.

    Attributes:
        summary: one line.
        model, backbone, options: for `seglab.models.build`; `options` are the model's own, such as `k` of "gcn".
        weights: what it starts from: "imagenet" for the backbone, or None for random numbers.
        unit: leave pictures in [0, 1], instead of the mean and deviation that the weights expect, or of those measured.
        short_side: larger pictures are scaled down to this shorter side when the dataset is opened; 0 leaves them.
        crops: train on random crops of randomly scaled and mirrored pictures; else on whole ones.
        size: side of the crops; of whole pictures, the side that their middle is cut or padded to, also in validation
            and test (0 leaves them as they are); of a classifier, the side of its squares.
        base: shorter side that pictures are scaled around for the crops.
        scale: of the crops' pictures, from and to, as a share of `base`.
        zoom: of a network trained on crops, pictures are scaled by this in validation and use, see `Card`.
        jitter: brightness, contrast and saturation of training pictures vary at random by up to this share.
        loss: see `seglab.training.make_loss`.
        optimizer, schedule, weight_decay: see `make_optimizer` and `make_schedule`.
        lr: learning rate of what is new in the network.
        backbone_factor, aux_factor: of it, for the backbone and an auxiliary head.
        batch: pictures a step of the optimizer; several processes share them out.
        epochs: passes over the pictures.
        monitor: the column of the history that decides which epoch is best; "epoch" takes the last.
        finetune_epochs: of a classifier, whose head is trained first, on cached features: passes afterwards in which
            what lies below the head learns with it, from `unfreeze` on; 0 leaves it as it is.
        finetune_lr, decay: the head's rate then, and how much less each stage before it gets.
        unfreeze: the stages up to this one stay frozen then.
        dataset: the built-in sample to train on where no data are given.
        data_options: of the dataset, such as COCO's `categories`, unless others are given.
    """

    summary: str = ""
    model: str = "gcn"
    backbone: str | None = "efficientnet_lite0"
    options: Mapping[str, Any] = field(default_factory=lambda: {"channels": 32})
    weights: str | None = "imagenet"
    unit: bool = False
    short_side: int | None = None
    crops: bool = True
    size: int | None = None
    base: int | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    zoom: float = 1.0
    jitter: float = 0.0
    loss: str | None = None
    optimizer: str = "adamw"
    schedule: str = "one-cycle"
    lr: float = 2e-3
    backbone_factor: float = 0.25
    aux_factor: float = 1.0
    weight_decay: float = 0.01
    batch: int | None = None
    epochs: int | None = None
    monitor: str = "miou"
    finetune_epochs: int = 0
    finetune_lr: float = 3e-5
    decay: float = 0.7
    unfreeze: str = "c3"
    dataset: str = "drone"
    data_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classifies(self) -> bool:
        return self.model == "classifier"

    def changed(self, **settings: Any) -> Recipe:
        """The same with other settings; None changes nothing, and `options` of the same model add to those there are.

        Raises:
            ArgumentError: a setting that recipes do not have, or a value that it cannot have.
        """
        known = {one.name for one in fields(self)}
        if unknown := sorted(settings.keys() - known):
            raise ArgumentError("recipe", found=f"{unknown[0]!r}", expected=", ".join(sorted(known)))
        settings = {name: value for name, value in settings.items() if value is not None}
        options = dict(self.options)
        if settings.get("model", self.model) != self.model:  # the options belong to the other
            options = {}
            settings.setdefault("backbone", (self.backbone or _LIGHT) if has_backbone(settings["model"]) else None)
        new = replace(self, **{**settings, "options": {**options, **settings.get("options", {})}})
        for name in ("size", "base", "batch", "epochs", "short_side", "finetune_epochs"):
            value, least = getattr(new, name), int(name in {"base", "batch", "epochs"})
            if value is not None and (type(value) is not int or value < least):
                raise ArgumentError(name, found=repr(value), expected=f"a whole number, {least} or more")
        for name in ("lr", "zoom", "backbone_factor", "aux_factor", "finetune_lr", "decay"):
            if not (isinstance(value := getattr(new, name), int | float) and 0 < value < math.inf):
                raise ArgumentError(name, found=repr(value), expected="a number above 0")
        if not 0 <= new.weight_decay < math.inf:
            raise ArgumentError("weight_decay", found=new.weight_decay, expected="0 or more")
        if not 0 <= new.jitter <= 1:
            raise ArgumentError("jitter", found=new.jitter, expected="0 to 1")
        return new


def check_settings(recipe: Recipe, asked: Iterable[str]) -> None:
    """Refuse settings that were asked for and would change nothing, with an ArgumentError that says why."""
    idle = dict.fromkeys(_OF_SEGMENTATION, "a classifier sees squares, and its head is trained on cached features") if (
        recipe.classifies) else dict.fromkeys(_OF_CLASSIFIERS, "only classifiers are fine-tuned in two stages")
    if not recipe.crops:
        idle |= dict.fromkeys(("base", "scale", "zoom"), "whole pictures are not scaled at random")
    if recipe.backbone is None:
        idle["backbone_factor"] = f"{recipe.model} has no backbone"
    if not recipe.options.get("aux"):
        idle["aux_factor"] = "there is no auxiliary head (aux=true is its option)"
    for name in asked:
        if name in idle:
            raise ArgumentError(name, found=f"a setting that changes nothing here: {idle[name]}", expected="none")


class Trained(NamedTuple):
    """What `train` returns: the model with its best weights, its history, its scores on test, and the dataset."""

    model: nn.Module
    history: History
    scores: SegmentationScores | ClassificationScores
    splits: Splits


def run(recipe: Recipe, splits: Splits, *, folder: str | Path | None, progress: bool, **how: Any) -> Trained:
    """Train a model by a recipe on a dataset that is open, and score it; see `seglab.recipes.train`."""
    splits["train"]  # a dataset may have test alone
    if recipe.classifies != splits.train.labelled:
        raise ArgumentError("model", found=f"{recipe.model!r} for {splits.name}",
                            expected='"classifier" for pictures with one class each' if splits.train.labelled else
                            "a segmentation network for pictures with masks")
    progress = progress and processes().is_main_process
    if progress:
        print(splits)
    with ExitStack() as stack:
        if folder is None and processes().num_processes > 1:
            raise ArgumentError("folder", found=None, expected="one that all processes share")
        folder = Path(folder or stack.enter_context(tempfile.TemporaryDirectory())).expanduser()
        steps = _train_classifier if recipe.classifies else _train_segmentation
        model, history = steps(recipe, splits, folder, progress=progress, **how)
        processes().wait_for_everyone()
        if history.best_epoch:
            load_weights(model, folder / "best.safetensors")
    test = splits["test"] if "test" in splits.parts else splits["val"]
    matrix = evaluate(model, test, batch_size=8 if recipe.classifies else 1, progress=progress)
    scores = classification_scores(matrix.matrix()) if recipe.classifies else matrix.compute()
    return Trained(model, history, scores, splits)


def settle(recipe: Recipe, data: Samples) -> tuple[Recipe, str]:
    """Settle what a recipe leaves open by what the training pictures are, and say so in a line.

    Crops have the pictures' median shorter side, in multiples of 32, up to 256 pixels; pictures are scaled around that
    side. A batch is 8, less where that would make fewer than 8 steps an epoch. Epochs make 24,000 crops, 10 to 200.
    Dice joins the cross-entropy where a class has less than 1 % of the pixels.
    """
    side = max(32, int(statistics.median(min(data.picture_size(i)) for i in range(len(data)))) // 32 * 32)
    counts = data.pixels if data.pixels is not None else np.zeros(256)
    shares = counts[:len(data.label_set)] / max(1, counts[:len(data.label_set)].sum())
    rare = int(((shares > 0) & (shares < _RARE)).sum())
    settings: dict[str, Any] = {"size": min(side, LARGEST_CROP) if recipe.crops else 0, "base": side,
                "batch": min(8, max(2, len(data) // 8)), "loss": "ce+dice" if rare else "ce",
                "epochs": min(200, max(10, round(CROPS / len(data))))}
    new = replace(recipe, **{name: value for name, value in settings.items() if getattr(recipe, name) is None})
    what = (f"crops of {new.size} px from pictures scaled around {new.base}" if new.crops else
            f"pictures of {new.size} px" if new.size else "whole pictures")
    why = f" ({rare} of {len(shares)} classes have less than 1 % of the pixels)" if rare and recipe.loss is None else ""
    return new, (f"{new.model}: {what}, batches of {new.batch}, {new.epochs} epochs, {new.optimizer} {new.schedule} "
                 f"from {new.lr:g}, loss {new.loss}{why}")


def _train_segmentation(recipe: Recipe, splits: Splits, folder: Path, *, seed: int, resume: bool, progress: bool,
                        at_once: int | Literal["auto"] | None, num_workers: int | None, profile: Profile | None
                        ) -> tuple[nn.Module, History]:
    recipe, line = settle(recipe, splits.train)
    size, base, batch, epochs = (value or 0 for value in (recipe.size, recipe.base, recipe.batch, recipe.epochs))
    loss, train = make_loss(recipe.loss or "ce"), splits.train
    augment = [random_scale_crop(size, base, recipe.scale)] if recipe.crops else []
    if recipe.jitter:
        augment.append(v2.ColorJitter(*[recipe.jitter] * 3))
    if augment:
        train = train.with_transforms(v2.Compose(augment))
    torch.manual_seed(seed)
    options = {**recipe.options, **({"backbone": recipe.backbone} if recipe.backbone is not None else {})}
    model = build(recipe.model, len(splits.label_set), weights=recipe.weights if recipe.backbone is not None else None,
                  **options_for_size(recipe.model, size or base, options))
    model = model.to(memory_format=torch.channels_last)
    device, count = processes().device, int(processes().num_processes)  # where `fit` will train
    share = -(-batch // count)
    if at_once == "auto":
        at_once = int(min(gather_object([largest_batch(model.to(device), size or base, start=share)])))
    accumulate = -(-share // (at_once or share))
    at_once = -(-share // accumulate)
    if num_workers is None:  # without a GPU, all cores belong to the network
        num_workers = choose_num_workers(train, at_once) if device.type != "cpu" else 0
    if progress:
        print(line + (f"; {accumulate} × {at_once} at once" if accumulate > 1 else ""))
    model.card.zoom = recipe.zoom if recipe.crops else 1.0
    groups = parameter_groups(model, recipe.lr, recipe.backbone_factor, recipe.aux_factor)
    optimizer = make_optimizer(recipe.optimizer, groups, recipe.weight_decay)
    steps = epochs * -(-len(train) // (at_once * accumulate * count))
    schedule = make_schedule(recipe.schedule, optimizer, steps)
    history = fit(model, train, splits.val, optimizer=optimizer, scheduler=schedule, epochs=epochs,
                  batch_size=at_once, accumulate=accumulate, val_batch_size=1, loss=loss,
                  normalize=Normalize() if recipe.unit else None, folder=folder, seed=seed, resume=resume,
                  monitor=Monitor(recipe.monitor), num_workers=num_workers, progress=progress,
                  on_epoch=LiveCurve(path=folder / "curve.png"), profile=profile)
    return model, history


def _train_classifier(recipe: Recipe, splits: Splits, folder: Path, *, at_once: int | Literal["auto"] | None,
                      num_workers: int | None, profile: Profile | None, **how: Any) -> tuple[nn.Module, History]:
    """Train the head on cached features, then perhaps what lies below it.

    Training the head first keeps a random head from destroying good features in the first steps (Kumar et al. 2022,
    arXiv 2202.10054). Fine-tuned weights count only if they beat the head alone on val; else `best.safetensors` is the
    head's.
    """
    if recipe.loss not in {None, "ce"} or at_once is not None:
        raise ArgumentError("loss, at_once", found=f"{recipe.loss!r}, {at_once!r}",
                            expected='"ce" and None for a classifier')
    count, epochs = processes().num_processes, recipe.epochs or 10
    batch = -(-(recipe.batch or 32) // count)
    torch.manual_seed(how["seed"])
    model = build("classifier", len(splits.label_set), weights=recipe.weights, keep_statistics=True,
                  **{"backbone": recipe.backbone or _LIGHT, **recipe.options})
    if how["progress"]:
        print(f"classifier: {recipe.backbone}, squares of {splits.train.size} px; its head: {epochs} epochs on cached "
              f"features, {recipe.optimizer} at {recipe.lr:g}")
    head = folder / "head" if recipe.finetune_epochs else folder
    features = [extract_features(model, split, progress=how["progress"]) for split in (splits.train, splits.val)]
    optimizer = make_optimizer(recipe.optimizer, model.parameter_groups(recipe.lr), recipe.weight_decay)
    schedule = make_schedule(recipe.schedule, optimizer, epochs * -(-len(splits.train) // (batch * count)))
    history = fit(model, *features, optimizer=optimizer, scheduler=schedule, epochs=epochs, batch_size=batch,
                  folder=head, profile=None if recipe.finetune_epochs else profile, **how)
    load_weights(model, head / "best.safetensors")
    if not recipe.finetune_epochs:
        return model, history
    before, epochs, batch = history, recipe.finetune_epochs, max(1, batch // 2)
    model.freeze(f"until:{recipe.unfreeze}")
    train = augmented(splits.train)
    optimizer = make_optimizer("adamw", model.parameter_groups(recipe.finetune_lr, recipe.decay), recipe.weight_decay)
    schedule = make_schedule("cosine", optimizer, epochs * -(-len(train) // (batch * count)))
    history = fit(model, train, splits.val, optimizer=optimizer, scheduler=schedule, epochs=epochs, batch_size=batch,
                  folder=folder, num_workers=num_workers or 0, profile=profile, **how)
    reached = math.nan if history.best_value is None else history.best_value  # NaN is never better
    if not before.monitor.is_better(reached, before.best_value):
        if processes().is_main_process:
            atomic_write(folder / "best.safetensors", (head / "best.safetensors").read_bytes())
        if how["progress"]:
            print(f"kept the head alone: fine-tuning reached {reached:.4f} on val, the head {before.best_value:.4f}")
    return model, history


def augmented(data: Samples) -> Samples:
    """Pictures with labels, mirrored at random and cut to between half of their area and all of it."""
    return data.with_transforms(v2.Compose([
        v2.RandomHorizontalFlip(), v2.RandomResizedCrop(data.size, scale=(0.5, 1.0), antialias=True)]))
