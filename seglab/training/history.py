"""What a training run did, epoch by epoch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seglab.files import atomic_write


def is_better(value: float, best: float | None, mode: str = "max", threshold: float = 1e-4,
              worst: float | None = None) -> bool:
    """True if a value beats the best so far by more than a threshold; NaN never does.

    The threshold is a share of the best value's size, whatever its sign; a best of 0 is beaten by any better value.

    Args:
        value: the new one.
        best: the best so far; None if there is none.
        mode: "max" if larger is better, "min" if smaller is.
        threshold: share of |best|, from 0.
        worst: stands for the best while there is none; None is beaten by anything but NaN.

    Example:
        >>> is_better(0.50004, 0.5), is_better(0.5001, 0.5), is_better(0.9, 1.0, mode="min")
        (False, True, True)
        >>> is_better(-0.5, -0.50001), is_better(0.3, None), is_better(0.3, None, worst=0.4)
        (False, True, False)
    """
    if math.isnan(value):
        return False
    best = worst if best is None else best
    if best is None:
        return True
    margin = threshold * abs(best) if math.isfinite(best) else 0.0  # infinity - infinity would be NaN
    return value > best + margin if mode == "max" else value < best - margin


@dataclass
class History:
    """One row an epoch, the best epoch, and the times.

    `rows` and all that is read from them are the same for the same seed on the same CPU; the clock's readings are
    kept apart in `timings`, so that histories can be compared.

    Attributes:
        rows: {"epoch", "loss", "lr", and the scores of the validation split} for each finished epoch. "lr" is the
            first group's rate in the last step; a plateau that ends with an epoch shows in the next.
        monitor: the column that decides which epoch is best.
        mode: "max" or "min".
        best_epoch: the number of the best epoch, counted from 1; 0 while none has beaten `worst_score`.
        best_value: its value of `monitor`, or None.
        threshold: by which share an epoch must be better than the best before, see `is_better`.
        worst_score: what the first of the best epochs must beat; None = anything does.
        timings: {"seconds", "images_per_second"} for each finished epoch.
        interrupted: training ended by Ctrl-C or the stop button.
    """

    monitor: str = "miou"
    mode: str = "max"
    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float | None = None
    threshold: float = 1e-4
    worst_score: float | None = None
    timings: list[dict[str, float]] = field(default_factory=list, compare=False)
    interrupted: bool = field(default=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> list[float]:
        """One column over the epochs, such as `history["loss"]`."""
        return [row[column] for row in self.rows]

    def add(self, row: dict[str, float], timing: dict[str, float]) -> bool:
        """Append an epoch; True if it is the best so far."""
        self.rows.append(row)
        self.timings.append(timing)
        if not is_better(row[self.monitor], self.best_value, self.mode, self.threshold, self.worst_score):
            return False
        self.best_epoch, self.best_value = len(self.rows), row[self.monitor]
        return True

    def to_dict(self) -> dict[str, Any]:
        """All but the times, as plain values."""
        return {"monitor": self.monitor, "mode": self.mode, "threshold": self.threshold,
                "worst_score": self.worst_score, "best_epoch": self.best_epoch, "best_value": self.best_value,
                "rows": self.rows}

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
