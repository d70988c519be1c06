"""A run's folder: its settings, its checkpoints, and the lock that keeps other runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from seglab.checkpoint import check_weights, load_checkpoint, plain_state, save_checkpoint
from seglab.datasets.protocols import Samples
from seglab.errors import CheckpointError
from seglab.training.evaluator import Evaluator
from seglab.training.history import History


class Run:
    """A run's folder: what is saved, restored and locked. Without a folder it does nothing."""

    def __init__(self, folder: str | Path | None, settings: dict[str, Any], model: nn.Module, optimizer: Optimizer,
                 scheduler: LRScheduler | None, history: History) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.settings, self.model, self.optimizer = settings, model, optimizer
        self.scheduler, self.history = scheduler, history

    @contextmanager
    def locked(self, is_main: bool) -> Iterator[None]:
        """Keep other runs out of the folder. The lock ends with the process, however that ends."""
        if self.folder is None or not is_main:
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise CheckpointError(f"{self.folder}: run folder", found="another process trains in it",
                                  expected="a folder of its own for each run",
                                  fix="Wait for the other run, or choose another folder.") from None
        except OSError as error:
            raise CheckpointError(f"{self.folder}: run folder", found=str(error), expected="a writable folder",
                                  fix="Choose another folder.") from error
        try:
            yield
        finally:
            lock.release()

    def save(self, is_best: bool = False) -> None:
        """Write the best checkpoint, then the last, then the history that can be read from the last."""
        if self.folder is None:
            return
        content = {"settings": self.settings, "model": plain_state(self.model), "history": self.history.to_dict()}
        if is_best:
            save_checkpoint(self.folder / "best.safetensors", content)
        state = {"optimizer": self.optimizer.state_dict(), "timings": self.history.timings,
                 "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None}
        save_checkpoint(self.folder / "last.safetensors", content | state)
        self.save_history()

    def restore(self, resume: bool) -> None:
        """Put the last checkpoint into model, optimizer, scheduler and history, if there is one and it fits."""
        path = self.folder / "last.safetensors" if self.folder is not None else None
        if path is None or not path.exists():
            return
        if not resume:
            raise CheckpointError(f"{path}: a run is already here", expected="an empty folder, since resume=False",
                                  fix="Choose another folder, delete this one, or pass resume=True.")
        content = load_checkpoint(path)
        check_weights(self.model, content["model"], path)
        older = {"accumulate": 1, "mode": content["history"]["mode"], "threshold": 1e-4}  # what others did not say
        there = older | {"labels": self.settings["labels"]} | content["settings"]
        differing = [f"{key} {there.get(key)!r} there, {value!r} here"
                     for key, value in self.settings.items() if there.get(key) != value]
        if differing:
            raise CheckpointError(f"{path}: a run with other settings", found="; ".join(differing),
                                  expected="the settings of the run that is to go on",
                                  fix="Choose another folder, or repeat the settings.")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(content["scheduler"])
        for name, value in content["history"].items():
            setattr(self.history, name, value)
        self.history.timings = content["timings"]

    def save_history(self) -> None:
        """Write history.json and timings.json; they can be read from the last checkpoint too."""
        if self.folder is None:
            return
        try:
            if self.folder is not None:
                self.history.save(self.folder)
        except OSError as error:
            raise CheckpointError(f"{self.folder}: history.json cannot be written", found=str(error),
                                  expected="room for some kilobytes",
                                  fix="Free some space and call fit again with the same folder; the checkpoint holds "
                                      "the history too.") from error


def run_settings(model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None, normalize: nn.Module,
                 train: Samples, batch_size: int, accumulate: int, seed: int, evaluator: Evaluator,
                 loss: Callable[..., Any]) -> dict[str, Any]:
    """What must be the same for a run to go on, as plain values. The number of epochs may grow."""
    inner = getattr(optimizer, "optimizer", optimizer)
    groups = [{k: list(v) if isinstance(v, tuple) else v for k, v in group.items()
               if k not in {"params", "initial_lr"} and isinstance(v, (bool, int, float, str, tuple, type(None)))}
              for group in inner.param_groups]
    labels = getattr(train, "label_set", None)
    # Of losses, only those of make_loss have a name. "ce" is the one that has always been the default.
    loss_name = getattr(loss, "name", None)
    watched: dict[str, Any] = {"monitor": evaluator.column, "mode": evaluator.mode, "threshold": evaluator.threshold,
               "worst_score": evaluator.worst_score}
    if isinstance(scheduler, ReduceLROnPlateau):  # these come back with its state, whatever is asked for now
        watched["plateau"] = {name: getattr(scheduler, name) for name in (
            "patience", "factor", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps")}
    return {"model": getattr(model, "recipe", {"name": type(model).__name__}), "optimizer": type(inner).__name__,
            "groups": groups, "scheduler": type(scheduler).__name__ if scheduler is not None else None,
            "normalize": {key: list(getattr(normalize, key)) for key in ("mean", "std") if hasattr(normalize, key)},
            "size": getattr(train, "size", None),
            "classes": list(labels.classes) if labels is not None else None,
            "labels": labels.name if labels is not None else None, "pictures": len(train),
            "batch_size": batch_size, "accumulate": accumulate, "seed": seed,
            "loss": loss_name if isinstance(loss_name, str) and loss_name != "ce" else None, **watched}
