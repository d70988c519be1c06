"""The rule that says which epoch of a training is the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from seglab.errors import ArgumentError
from seglab.metrics import SegmentationScores
from seglab.training.history import is_better


@dataclass(frozen=True)
class Evaluator:
    """Which epoch is best: `fit(monitor=Evaluator(...))` keeps its weights in `best.safetensors`.

    Args:
        metric: a column of the history ("miou", "loss", "mean_dice", …), or a function of the validation scores:
            SegmentationScores -> a number.
        mode: "max" or "min"; None takes "min" for "loss" and "max" for all else.
        worst_score: what the first epoch must beat; None = anything beats it. With a score that no epoch beats, none
            is best, and there is no `best.safetensors`.
        threshold: how much better an epoch must be than the best before, as a share of the best, from 0.
        name: the column for the values of a function; required for one, and for one only.

    Raises:
        ArgumentError: an unknown mode, a threshold or worst score out of range, or a name that lacks or is too many.

    Example:
        >>> dogs = Evaluator(lambda scores: float(scores.iou[2]), name="dog IoU", worst_score=0.4)
        >>> dogs.column, dogs.mode, dogs.is_better(0.3, None), dogs.is_better(0.5, None), dogs.is_better(0.5, 0.5)
        ('dog IoU', 'max', False, True, False)
        >>> Evaluator("loss").mode
        'min'
    """

    metric: str | Callable[[SegmentationScores], float] = "miou"
    mode: str | None = None
    worst_score: float | None = None
    threshold: float = 1e-4
    name: str | None = None

    def __post_init__(self) -> None:
        if self.mode is None:
            object.__setattr__(self, "mode", "min" if self.metric == "loss" else "max")
        if self.mode not in {"max", "min"}:
            raise ArgumentError("mode", found=repr(self.mode), expected='"max" or "min"')
        if callable(self.metric) != bool(self.name):
            raise ArgumentError("Evaluator name", found=f"{self.name!r} for the metric {self.metric!r}",
                                expected="a name for a function, and none for a column",
                                fix='Evaluator(function, name="dog IoU") or Evaluator("miou").')
        if not (self.threshold >= 0 and math.isfinite(self.threshold)):
            raise ArgumentError("threshold", found=self.threshold, expected="a share of the best value, from 0")
        if self.worst_score is not None and math.isnan(self.worst_score):
            raise ArgumentError("worst_score", found=self.worst_score, expected="a number, or None")

    @property
    def column(self) -> str:
        """The column of the history that decides."""
        return self.name if self.name is not None else str(self.metric)

    def is_better(self, value: float, best: float | None) -> bool:
        """True if a value beats the best so far (None: there is none); the rule is `seglab.training.is_better`."""
        return is_better(value, best, self.mode or "max", self.threshold, self.worst_score)

    def measure(self, scores: SegmentationScores) -> dict[str, float]:
        """{name: value} of the function; empty for a metric that is a column anyway."""
        return {self.name: float(self.metric(scores))} if self.name is not None and callable(self.metric) else {}
