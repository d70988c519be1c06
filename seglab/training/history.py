"""What a training run did, epoch by epoch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seglab.files import atomic_write


def is_better(value: float, best: float | None, mode: str = "max", threshold: float = 1e-4) -> bool:
    """True if a value beats the best so far by more than a relative threshold; NaN never does.

    Example:
        >>> is_better(0.50004, 0.5), is_better(0.5001, 0.5), is_better(0.9, 1.0, mode="min")
        (False, True, True)
    """
    if math.isnan(value):
        return False
    if best is None:
        return True
    margin = threshold * abs(best)
    return value > best + margin if mode == "max" else value < best - margin


@dataclass
class History:
    """One row an epoch, the best epoch, and the times.

    `rows` and all that is read from them are the same for the same seed on the same CPU; the clock's readings are
    kept apart in `timings`, so that histories can be compared.

    Attributes:
        rows: {"epoch", "loss", "lr", and the scores of the validation split} for each finished epoch.
        monitor: the column that decides which epoch is best.
        mode: "max" or "min".
        best_epoch: the number of the best epoch, counted from 1; 0 before the first.
        best_value: its value of `monitor`.
        timings: {"seconds", "images_per_second"} for each finished epoch.
        interrupted: training ended by Ctrl-C or the stop button.
    """

    monitor: str = "miou"
    mode: str = "max"
    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float | None = None
    timings: list[dict[str, float]] = field(default_factory=list, compare=False)
    interrupted: bool = field(default=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> list[float]:
        """One column over the epochs, such as `history["loss"]`."""
        return [row[column] for row in self.rows]

    def add(self, row: dict[str, float], timing: dict[str, float]) -> bool:
        """Append an epoch; True if it is the best so far (better by a relative 1e-4)."""
        self.rows.append(row)
        self.timings.append(timing)
        if not is_better(row[self.monitor], self.best_value, self.mode):
            return False
        self.best_epoch, self.best_value = len(self.rows), row[self.monitor]
        return True

    def to_dict(self) -> dict[str, Any]:
        """All but the times, as plain values."""
        return {"monitor": self.monitor, "mode": self.mode, "best_epoch": self.best_epoch,
                "best_value": self.best_value, "rows": self.rows}

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
