"""The rule that says which epoch of a training is the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from seglab.errors import ArgumentError
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
