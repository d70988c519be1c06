"""What a training run did, epoch by epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seglab.files import atomic_write
from seglab.training.monitor import Monitor


@dataclass
class History:
    """One row an epoch, the best epoch, and the times.

    `rows` and all that is read from them are the same for the same seed on the same CPU; the clock's readings are
    kept apart in `timings`, so that histories can be compared.

    Attributes:
        monitor: the rule that says which epoch is best.
        rows: {"epoch", "loss", "lr", and the scores of the validation split} for each finished epoch. "lr" is the
            first group's rate in the epoch's last step.
        best_epoch: the number of the best epoch, counted from 1; 0 while there is none.
        best_value: what it reached in the column `monitor.name`, or None.
        timings: {"seconds", "images_per_second"} for each finished epoch.
        interrupted: training ended by Ctrl-C or the stop button.
    """

    monitor: Monitor = field(default_factory=Monitor)
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
