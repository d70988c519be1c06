"""The optimizer's steps in a run, and the scheduler that changes the rate with them.

A schedule belongs to a number of steps. So that it neither ends before the run does, nor goes on with the rates of a
shorter run when more epochs are asked for, its length is compared with the run's, and a scheduler made anew is stepped
over the steps that are done already.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from seglab.errors import ArgumentError

#: What they call the number of steps after which their rate stays at 0, climbs again, or they fail.
_LENGTHS = {OneCycleLR: "total_steps", PolynomialLR: "total_iters", CosineAnnealingLR: "T_max", LinearLR: "total_iters"}


class Schedule:
    """An optimizer and its scheduler, if there is one, over the epochs of a whole run, of some batches each.

    A scheduler is stepped with the optimizer, a plateau at the end of each epoch.
    """

    def __init__(self, scheduler: LRScheduler | None, optimizer: Optimizer, epochs: int, batches: int, accumulate: int,
                 say: Callable[[str], None] = print) -> None:
        self.scheduler, self.optimizer, self.epochs, self.batches = scheduler, optimizer, epochs, batches
        self.accumulate, self.say = accumulate, say
        self.plateau = scheduler if isinstance(scheduler, ReduceLROnPlateau) else None
        self.stepped = scheduler if self.plateau is None else None  # with the optimizer
        self.steps = math.ceil(batches / accumulate)  # of the optimizer, in an epoch
        self.rate: float = optimizer.param_groups[0]["lr"]
        if new := self._new():
            self.check(0)
            for part, steps in _parts(new, epochs * self.steps):
                if _length(part)[1] == epochs * batches > steps:  # or it is a run to be prolonged
                    say(f"Note: {type(part).__name__} is as long as there are batches, {epochs * batches}, and this "
                        f"run ends after {steps} steps of it: {self._counted()}.")

    def group(self, batch: int) -> tuple[range, bool]:
        """The batches that make up the optimizer step that this one belongs to, and whether it is the last of them."""
        first = batch - batch % self.accumulate
        group = range(first, min(first + self.accumulate, self.batches))
        return group, batch == group[-1]

    def step(self) -> None:
        """Note the rate of the optimizer's step, and set that of the next."""
        self.rate = self.optimizer.param_groups[0]["lr"]
        if self.stepped is not None:
            self.stepped.step()

    def end_epoch(self, value: float) -> None:
        """Tell a plateau what the epoch reached."""
        if self.plateau is not None:
            self.plateau.step(value)

    def state_dict(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None}

    def restore(self, state: dict[str, Any], finished: int) -> None:
        """Put back what `state_dict` returned after some epochs, with the rates of the scheduler that is here now.

        A new scheduler is stepped over the finished epochs: that gives the saved rates if it is the saved one, and
        those of a straight run if it is of another length. One that was used already gets the saved state.
        """
        if (new := self._new()) and 0 < finished < self.epochs:
            with warnings.catch_warnings():  # of a scheduler that is stepped without its optimizer
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
                for _ in range(finished * self.steps):
                    new.step()
            groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(state["optimizer"])
            self._take_over(new, groups, state["scheduler"], finished)
            return
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
            for part, _ in _parts(self.scheduler):
                if isinstance(part, MultiStepLR):  # a checkpoint made it a plain dict
                    part.milestones = Counter(part.milestones)

    def _take_over(self, new: LRScheduler, groups: list[dict[str, Any]], saved: dict[str, Any], finished: int) -> None:
        """Give the optimizer the rates and momenta of a new scheduler, and say so if they were others."""
        old = [dict(group) for group in self.optimizer.param_groups]
        for group, its in zip(self.optimizer.param_groups, groups, strict=True):
            group.update(its)
        if old != self.optimizer.param_groups:
            now = new.state_dict()
            changes = [f"{name} {saved[name]} -> {now[name]}" for name in now if name != "last_epoch"
                       and not name.startswith("_") and isinstance(saved.get(name), (int, float, str))
                       and saved[name] != now[name]]
            self.say(f"The {type(new).__name__} is not the one that the finished {finished} epochs had"
                     f"{': ' + ', '.join(changes) if changes else ''}. From here on the rate is that of a run that had "
                     f"it from the start, {groups[0]['lr']:.4g} instead of {old[0]['lr']:.4g}.")

    def check(self, finished: int) -> None:
        """Raise an ArgumentError if the scheduler is known to end before the run, some of whose epochs are finished."""
        if self.stepped is None:
            return
        for part, steps in _parts(self.stepped, _position(self.stepped) + (self.epochs - finished) * self.steps):
            name, length = _length(part)
            if length < steps:
                raise ArgumentError("scheduler", found=f"{type(part).__name__} with {name}={length}",
                                    expected=f"{name}={steps} or more with epochs={self.epochs}; {self._counted()}",
                                    fix=f"Make it with {name}={steps}, or ask for fewer epochs.")

    def _counted(self) -> str:
        return (f"fit steps it once per optimizer step, {self.steps} times an epoch "
                f"({self.batches} batches, accumulate={self.accumulate})")

    def _new(self) -> LRScheduler | None:
        """The scheduler, if it can be stepped from its beginning."""
        return self.stepped if self.stepped is not None and _position(self.stepped) == 0 else None


def _position(scheduler: LRScheduler) -> int:
    """How often a scheduler was stepped; of those that make up a ChainedScheduler, the first."""
    inside = getattr(scheduler, "_schedulers", [])
    return scheduler.last_epoch if hasattr(scheduler, "last_epoch") else _position(inside[0])


def _length(scheduler: LRScheduler) -> tuple[str, float]:
    """The length of a simple scheduler and what it is called; infinity if it has none."""
    name = next((name for kind, name in _LENGTHS.items() if isinstance(scheduler, kind)), "")
    if not name or (isinstance(scheduler, LinearLR) and scheduler.end_factor > 0):
        return name, math.inf
    return name, getattr(scheduler, name)


def _parts(scheduler: LRScheduler, steps: int = 0) -> list[tuple[LRScheduler, int]]:
    """The schedulers that make up one, itself if it is simple, and over how many steps of so many each goes."""
    inside = getattr(scheduler, "_schedulers", None)  # of SequentialLR and ChainedScheduler
    if inside is None:
        return [(scheduler, steps)]
    lengths = [steps] * len(inside)
    if isinstance(scheduler, SequentialLR):
        starts = [0, *scheduler._milestones]
        ends = [*scheduler._milestones, max(steps, starts[-1])]
        lengths = [max(0, min(end, steps) - start) for start, end in zip(starts, ends, strict=True)]
    return [part for inner, given in zip(inside, lengths, strict=True) for part in _parts(inner, given)]
