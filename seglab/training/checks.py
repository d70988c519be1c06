"""What `fit` settles before it trains, and checks: its arguments, the model's card, and that the loss is a number."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from seglab import __version__
from seglab.datasets.protocols import Samples
from seglab.datasets.transforms import Normalize
from seglab.errors import ArgumentError, TrainingError
from seglab.history import Monitor
from seglab.models.card import card_of
from seglab.training.order import Seeded
from seglab.training.validation import score_names


def whole_numbers(least: int, **values: Any) -> list[int]:
    """The values as plain ints; an ArgumentError for what is smaller, or no whole number (2.0 and True are none)."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ArgumentError(name, found=repr(value), expected=f"a whole number, {least} or more")
    return [int(value) for value in values.values()]


def check_arguments(model: nn.Module, train: Samples, val: Samples | None, optimizer: Optimizer) -> None:
    """Raise an ArgumentError if there is nothing to train, or on, or if the model has another number of classes."""
    for name, data in (("training pictures", train), ("validation pictures", val)):
        if data is not None and len(data) < 1:
            raise ArgumentError(name, found=len(data), expected="1 or more")
    if not any(p.requires_grad for group in optimizer.param_groups for p in group["params"]):
        raise ArgumentError("optimizer", found="no parameter that trains: all of them are frozen",
                            expected="some with requires_grad",
                            fix='Leave something free (model.freeze("backbone") leaves the head), then make the '
                                "optimizer from its parameters.")
    labels, built = getattr(train, "label_set", None), card_of(model).architecture.get("num_classes")
    if labels is not None and built not in {None, len(labels)}:
        raise ArgumentError("model", found=f"{built} classes", expected=f"{len(labels)}, those of {labels.name!r}",
                            fix="Build it with num_classes=len(dataset.label_set).")


def choose_monitor(monitor: str | Monitor | None, val: Samples | None, scheduler: LRScheduler | None) -> Monitor:
    """The rule for the best epoch, of a column that the history will have; a plateau has to wait for the same."""
    columns = ["loss", *score_names(val), "epoch"]
    if not isinstance(monitor, Monitor):
        monitor = Monitor(monitor or next(name for name in ("miou", "accuracy", "loss") if name in columns))
    fix = "Pass val= to have scores to watch." if val is None else None
    if callable(monitor.metric):
        if val is None:
            raise ArgumentError("monitor", found=f"{monitor.name!r}, but no val", expected="pictures to score", fix=fix)
        if monitor.name in {"lr", *columns}:
            raise ArgumentError("Monitor name", found=repr(monitor.name),
                                expected=f"another one than the history's lr, {', '.join(columns)}")
    elif monitor.name not in columns:
        raise ArgumentError("monitor", found=repr(monitor.name), expected=" or ".join(columns), fix=fix)
    if isinstance(scheduler, ReduceLROnPlateau) and monitor.name == "epoch":
        raise ArgumentError("monitor", found="'epoch', which always grows: the plateau would never come",
                            expected=" or ".join(columns[:-1]))
    if isinstance(scheduler, ReduceLROnPlateau) and scheduler.mode != monitor.mode:
        raise ArgumentError("scheduler", found=f"ReduceLROnPlateau that waits for the {scheduler.mode}imum",
                            expected=f"the {monitor.mode}imum, as {monitor.name!r} is watched",
                            fix=f"ReduceLROnPlateau(optimizer, mode={monitor.mode!r})")
    return monitor


def write_card(model: nn.Module, train: Samples, normalize: Normalize | None = None) -> Normalize:
    """Write on a model's card what it is about to be trained on, and return what turns uint8 pictures into its input.

    `normalize` None takes what is on the card already; if there is nothing, it is measured on the pictures.
    """
    card = card_of(model)
    if normalize is None and card.mean is None and train[0][0].ndim == 3:  # else features, which have been normalised
        # What is random in the transforms of others must not differ when a run goes on.
        normalize = Normalize.of(train if hasattr(train, "with_transforms") else Seeded(train, seed=0))
    if not isinstance(normalize, Normalize | None):
        raise ArgumentError("normalize", found=type(normalize).__name__,
                            expected="Normalize(mean, std), which can be saved with the weights, or None")
    if normalize is not None:
        card.mean, card.std = normalize.mean, normalize.std
    if (labels := getattr(train, "label_set", None)) is not None:
        card.label_set = labels
    within, size = getattr(train, "within", None), getattr(train, "size", None)
    if within is not None and card.short_side is None:
        card.short_side = within if isinstance(within, int) else min(within)
    if isinstance(size, int):  # of the squares that classifiers see
        card.size = size
    origin = getattr(train, "origin", None) or {"name": getattr(labels, "name", None)}
    card.trained_on = {**origin, "pictures": len(train)}
    card.seglab = __version__
    return card.normalize


def finite_mean(losses: Tensor, epoch: int, rate: float, folder: Path | None) -> float:
    """The mean of an epoch's losses (B,), if all are finite: the only read from the device in an epoch, which waits."""
    losses = losses.cpu().double()
    if losses.isfinite().all():
        return losses.mean().item()
    step = int((~losses.isfinite()).int().argmax())  # the first of them
    kept = f" {folder / 'last.safetensors'} holds the epoch before." if folder is not None else ""
    raise TrainingError(f"the loss is {losses[step].item()} in epoch {epoch + 1}, first at step {step + 1}",
                        found=losses[step].item(), expected="a finite number",
                        fix=f"Lower the learning rate (now {rate:g}), and check that the pictures are normalised and "
                            f"the loss divides by no count that can be 0.{kept}")
