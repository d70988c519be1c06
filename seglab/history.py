"""What a training run did, epoch by epoch, and which of the epochs is the best."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seglab.errors import ArgumentError
from seglab.files import atomic_write
from seglab.metrics import SegmentationScores


@dataclass(frozen=True)
class Monitor:
    """Which epoch is best: `fit(monitor=Monitor(...))` keeps its weights in `best.safetensors`.

    Args:
        metric: a column of the history ("miou", "loss", "mean_dice", …), or a function of the validation scores:
            SegmentationScores -> a number.
        mode: "max" or "min"; by default "min" for "loss" and "max" for all else.
        worst_score: what the first epoch must beat; None = anything but NaN does. If none beats it, none is best.
        threshold: how much better an epoch must be than the best before, as a share of its size |best|, from 0.
        name: the column for the values of a function, which needs one; a column has its own.

    Raises:
        ArgumentError: an unknown mode, a threshold or worst score out of range, a function without a name.

    Example:
        >>> dogs = Monitor(lambda scores: float(scores.iou[2]), name="dog IoU", worst_score=0.4)
        >>> dogs.name, dogs.mode, dogs.is_better(0.3, None), dogs.is_better(0.5, None), dogs.is_better(0.50004, 0.5)
        ('dog IoU', 'max', False, True, False)
    """

    metric: str | Callable[[SegmentationScores], float] = "miou"
    mode: str = ""
    worst_score: float | None = None
    threshold: float = 1e-4
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", self.mode or ("min" if self.metric == "loss" else "max"))
        object.__setattr__(self, "name", self.name or (self.metric if isinstance(self.metric, str) else ""))
        if self.mode not in {"max", "min"}:
            raise ArgumentError("mode", found=repr(self.mode), expected='"max" or "min"')
        if not self.name or (isinstance(self.metric, str) and self.name != self.metric):
            raise ArgumentError("Monitor name", found=f"{self.name!r} for the metric {self.metric!r}",
                                expected="a name for a function, and none for a column",
                                fix='Monitor(function, name="dog IoU") or Monitor("miou").')
        if not (self.threshold >= 0 and math.isfinite(self.threshold)):
            raise ArgumentError("threshold", found=self.threshold, expected="a share of the best value, from 0")
        if self.worst_score is not None and math.isnan(self.worst_score):
            raise ArgumentError("worst_score", found=self.worst_score, expected="a number, or None")

    def is_better(self, value: float, best: float | None) -> bool:
        """True if a value beats the best so far (None: there is none) by more than the threshold; NaN never does."""
        best = self.worst_score if best is None else best
        if math.isnan(value) or best is None:
            return not math.isnan(value)
        margin = self.threshold * abs(best) if math.isfinite(best) else 0.0  # infinity - infinity would be NaN
        return value > best + margin if self.mode == "max" else value < best - margin


@dataclass
class History:
    """One row an epoch, the best epoch, and the times.

    `rows` and all that is read from them are the same for the same seed on the same CPU; the clock's readings are
    kept apart in `timings`, so that histories can be compared.
    """

    monitor: Monitor = field(default_factory=Monitor)  #: the rule that says which epoch is best
    #: {"epoch", "loss", "lr", and the scores of the validation split} for each finished epoch. "lr" is the rate of the
    #: first group in the last step of the epoch.
    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0  #: counted from 1; 0 while there is none
    best_value: float | None = None  #: what it reached in the column `monitor.name`
    timings: list[dict[str, float]] = field(default_factory=list, compare=False)  #: {"seconds", "images_per_second"}
    interrupted: bool = field(default=False, compare=False)  #: training ended by Ctrl-C or the stop button

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> list[float]:
        """One column over the epochs, such as `history["loss"]`."""
        return [row[column] for row in self.rows]

    def add(self, row: dict[str, float], timing: dict[str, float]) -> bool:
        """Append an epoch; True if it is the best so far."""
        self.rows.append(row)
        self.timings.append(timing)
        is_best = self.monitor.is_better(row[self.monitor.name], self.best_value)
        if is_best:
            self.best_epoch, self.best_value = len(self.rows), row[self.monitor.name]
        return is_best

    def to_dict(self) -> dict[str, Any]:
        """All but the times, as plain values."""
        rule = {"monitor": self.monitor.name, "mode": self.monitor.mode, "threshold": self.monitor.threshold,
                "worst_score": self.monitor.worst_score}
        return rule | {"best_epoch": self.best_epoch, "best_value": self.best_value, "rows": self.rows}

    def save(self, folder: str | Path) -> None:
        """Write `history.json` (the same for the same seed) and `timings.json`, atomically."""
        for name, content in (("history.json", self.to_dict()), ("timings.json", self.timings)):
            atomic_write(Path(folder) / name, (json.dumps(content, indent=1) + "\n").encode())

    def __str__(self) -> str:
        if not self.rows:
            return "no epoch finished"
        columns = [c for c in self.rows[0] if c not in {"epoch", "lr"}]
        lines = ["epoch  " + "  ".join(f"{c:>14}" for c in columns)]
        for number, row in enumerate(self.rows, start=1):
            mark = "  best" if number == self.best_epoch else ""
            lines.append(f"{number:5d}  " + "  ".join(f"{row[c]:14.4f}" for c in columns) + mark)
        return "\n".join(lines)
