"""A run's folder: its settings, its checkpoints, and the lock that keeps other runs out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import msgspec
from accelerate import Accelerator
from accelerate.utils import recursively_apply
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from seglab.checkpoint import check_weights, load_checkpoint, plain_state, save_checkpoint
from seglab.datasets.protocols import Samples
from seglab.datasets.transforms import Normalize
from seglab.errors import CheckpointError, TrainingError, first_line
from seglab.files import write_fix
from seglab.history import History, Monitor
from seglab.models.card import card_of
from seglab.training.processes import has_lost_another
from seglab.training.schedule import Schedule

#: What a run writes beside `last.safetensors`, the curve by `seglab.recipes`.
_WRITTEN = ("best.safetensors", "history.json", "timings.json", "curve.png")


class Run:
    """What makes a run survive: it is saved, restored and locked. Only the main process writes.

    The settings are what has to be the same for the run to go on. Without a folder, the last epoch is kept in memory,
    for Ctrl-C alone.
    """

    def __init__(self, folder: str | Path | None, settings: dict[str, Any], model: nn.Module, schedule: Schedule,
                 history: History, accelerator: Accelerator) -> None:
        self.folder = Path(folder).expanduser() if folder is not None else None
        self.settings, self.model, self.schedule, self.history = settings, model, schedule, history
        self.accelerator, self.is_main = accelerator, accelerator.is_main_process
        self._kept: dict[str, Any] = {}

    @contextmanager
    def going_on(self, resume: bool) -> Iterator[None]:
        """Go on after the last finished epoch; after Ctrl-C in the block, everything is as that epoch left it."""
        with self._locked():
            self.restore(resume)
            self.schedule.check(len(self.history))
            self.accelerator.wait_for_everyone()  # every process has looked before the first one writes
            # The weights to start from: a run killed in its first epoch starts again from the same. Or the history, in
            # case the run was killed just before it was written.
            if len(self.history) < self.schedule.epochs:
                self.save()
            elif self.folder is not None and self.is_main:
                self.history.save(self.folder)
            try:
                yield
            except RuntimeError as error:
                if self.accelerator.num_processes == 1 or not has_lost_another(error):
                    raise
                raise TrainingError("training in several processes",
                                    found=f"another one has ended ({first_line(error)})",
                                    expected=f"all {self.accelerator.num_processes} until the end",
                                    fix="See what it said. The finished epochs are kept: start all of them again."
                                    ) from error
            except KeyboardInterrupt:
                self._put(load_checkpoint(self.folder / "last.safetensors") if self.folder is not None else self._kept)
                self.history.interrupted = True
                if self.is_main:
                    print(f"Stopped by hand after {len(self.history)} of {self.schedule.epochs} epochs; the model is "
                          "as the last of them left it."
                          + (f" Call fit again with folder={str(self.folder)!r} to go on." if self.folder else ""))
                return
            self.accelerator.wait_for_everyone()  # every process finds the files that the main one wrote

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other runs out of the folder. The lock ends with the process, however that ends."""
        if self.folder is None or not self.is_main:
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock").acquire(timeout=0)
        except Timeout:
            raise CheckpointError(f"{self.folder}: run folder", found="another process trains in it",
                                  expected="a folder of its own for each run",
                                  fix="Wait for the other run, or choose another folder.") from None
        except OSError as error:
            raise CheckpointError(f"{self.folder}: run folder", found=error.strerror or str(error),
                                  expected="a writable folder", fix=write_fix(error)) from error
        with lock:
            yield

    def save(self, is_best: bool = False) -> None:
        """Write the best checkpoint, then the last, then the history that can be read from the last."""
        content = {"settings": self.settings, "card": card_of(self.model).to_dict(),
                   "model": plain_state(self.model), "history": self.history.to_dict()}
        state = {**self.schedule.state_dict(), "timings": self.history.timings}
        if self.folder is None:
            self._kept = recursively_apply(lambda tensor: tensor.detach().to("cpu", copy=True), content | state)
        elif self.is_main:
            if is_best:
                save_checkpoint(self.folder / "best.safetensors", content)
            save_checkpoint(self.folder / "last.safetensors", content | state)
            self.history.save(self.folder)

    def restore(self, resume: bool) -> None:
        """Put the last checkpoint into model, optimizer, scheduler and history, if there is one and it fits."""
        path = self.folder / "last.safetensors" if self.folder is not None else None
        if path is None:
            return
        if not os.path.lexists(path):
            if others := [name for name in _WRITTEN if os.path.lexists(path.with_name(name))]:
                raise CheckpointError(f"{self.folder}: run folder", found=f"{', '.join(others)}, and no {path.name}",
                                      expected="a run, or none of the files that training writes",
                                      fix="Choose another folder, or move these away: they would be replaced.")
            return
        if not resume:
            raise CheckpointError(f"{path}: a run is already here", expected="an empty folder, since resume=False",
                                  fix="Choose another folder, delete this one, or pass resume=True.")
        content = load_checkpoint(path)
        try:
            msgspec.convert(content, _Saved)
        except ValueError as error:
            raise _unusable(path, error) from error
        older = {"accumulate": 1, "mode": content["history"]["mode"], "threshold": 1e-4}  # what others did not say
        there = older | {name: self.settings[name] for name in ("labels", "processes")} | content["settings"]
        if _unmoved(self.schedule.optimizer.param_groups) == _unmoved(content["optimizer"]["param_groups"]):
            self.settings["groups"] = there.get("groups")  # another length, or an optimizer that was in the run so far
        here = self.settings
        if there["processes"] != here["processes"]:  # they may share out the same pictures of a step in another way
            there, here = _shared_out(there), _shared_out(here)
        differing = [f"{key} {there.get(key)!r} there, {value!r} here"
                     for key, value in here.items() if there.get(key) != value]
        if differing:
            raise CheckpointError(f"{path}: a run with other settings", found="; ".join(differing),
                                  expected="the settings of the run that is to go on",
                                  fix="Choose another folder, or repeat the settings.")
        check_weights(self.model, content["model"], path)
        try:
            _check_averages(self.schedule.optimizer, content["optimizer"]["state"])
            self._put(content)
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:  # as PyTorch's optimizers
            raise _unusable(path, error) from error  # and schedulers raise them on states of others

    def _put(self, content: dict[str, Any]) -> None:
        rows = content["history"]["rows"]
        self.model.load_state_dict(content["model"])
        self.schedule.restore(content, len(rows))
        self.history.rows, self.history.timings = rows, content["timings"]
        self.history.best_epoch = content["history"]["best_epoch"]
        self.history.best_value = content["history"]["best_value"]


class _History(TypedDict):
    rows: list[dict[str, float]]
    best_epoch: int
    best_value: float | None
    mode: str


class _Group(TypedDict):
    lr: float
    params: list[int]


class _Optimizer(TypedDict):
    state: dict[int, dict[str, Any]]
    param_groups: list[_Group]


class _Saved(TypedDict):
    """What `Run.save` writes into `last.safetensors`."""

    settings: dict[str, Any]
    model: dict[str, Any]
    history: _History
    timings: list[dict[str, float]]
    optimizer: _Optimizer
    scheduler: dict[str, Any] | None


def _check_averages(optimizer: Optimizer, state: dict[int, dict[str, Any]]) -> None:
    """ValueError if averages of gradients do not fit their weights: PyTorch notices in the first step, if at all."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for place, entries in state.items():
        if entries.keys() != next(iter(state.values())).keys():
            raise ValueError(f"{', '.join(entries)} of weight {place}, others of others")
        for name, value in entries.items():
            if name in {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"} and value is not None:
                if getattr(value, "shape", None) != weights[place].shape or not value.isfinite().all():
                    raise ValueError(f"{name} of weight {place} is not shaped like it, or not finite")
            elif not isinstance(value, Tensor | int | float | None):
                raise ValueError(f"{name} of weight {place} is {value!r:.40}")


def _unusable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: the run cannot go on from it", found=first_line(error),
                           expected="what `fit` wrote for this model and optimizer",
                           fix="Copy it again, or choose another folder.")


def run_settings(model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None, normalize: Normalize,
                 train: Samples, batch_size: int, accumulate: int, processes: int, seed: int, monitor: Monitor,
                 loss: Callable[..., Any]) -> dict[str, Any]:
    """What must be the same for a run to go on, as plain values. The number of epochs may grow."""
    labels = getattr(train, "label_set", None)
    # Of losses, only those of make_loss have a name. "ce" is the one that has always been the default.
    loss_name = getattr(loss, "name", "ce")
    plateau = ("patience", "factor", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps")
    return {"model": card_of(model).architecture or {"name": type(model).__name__},
            "optimizer": type(optimizer).__name__, "groups": _plain(optimizer.param_groups),
            "scheduler": type(scheduler).__name__ if scheduler is not None else None,
            "normalize": {"mean": list(normalize.mean), "std": list(normalize.std)},
            "size": getattr(train, "size", None),
            "classes": list(labels.classes) if labels is not None else None,
            "labels": labels.name if labels is not None else None, "pictures": len(train),
            "batch_size": batch_size, "accumulate": accumulate, "processes": processes, "seed": seed,
            "loss": loss_name if loss_name != "ce" else None,
            "monitor": monitor.name, "mode": monitor.mode, "threshold": monitor.threshold,
            "worst_score": monitor.worst_score,
            # These come back with its state, whatever is asked for now.
            **({"plateau": {name: getattr(scheduler, name) for name in plateau}}
               if isinstance(scheduler, ReduceLROnPlateau) else {})}


def _shared_out(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the number of pictures a step, in place of how many processes take how many at once."""
    parts = ("batch_size", "accumulate", "processes")
    return {key: value for key, value in settings.items() if key not in parts} | {
        "pictures a step": math.prod(settings[key] for key in parts if isinstance(settings.get(key), int))}


def _plain(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rates and the like of an optimizer's groups, as plain values."""
    return [{k: list(v) if isinstance(v, tuple) else v for k, v in group.items()
             if k not in {"params", "initial_lr"} and isinstance(v, (bool, int, float, str, tuple, type(None)))}
            for group in groups]


def _unmoved(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same without what a scheduler moves: the rate, but for the first one, and a momentum that goes in cycles."""
    return _plain([{k: v for k, v in {**group, "lr": group.get("initial_lr", group["lr"])}.items()
                    if "max_momentum" not in group or k not in {"momentum", "betas"}} for group in groups])
