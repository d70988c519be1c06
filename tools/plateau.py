"""SGD with a plateau schedule, as lesson 5's published exercise has it: a training of the drawn pets, epoch by epoch.

`python -m tools.plateau` takes some minutes on one CPU core. What it wrote for the lesson lies in `seglab/recorded/`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seglab.recipes import train
from tools.records import write_record

#: The settings of "gcn-pets-published", with a light backbone and small pictures.
SETTINGS: dict[str, Any] = {"optimizer": "sgd", "schedule": "plateau", "loss": "ce", "lr": 0.01, "weight_decay": 1e-4,
                            "backbone_factor": 1.0, "size": 96, "base": 96, "short_side": 96}


def plateau(epochs: int, folder: Path | None = None, data: Path | None = None, seed: int = 0, progress: bool = True
            ) -> tuple[list[dict[str, Any]], str]:
    """Train, and return a row an epoch, {"epoch", "loss", "miou" (on val), "lr"}, and a line about the pictures.

    With `folder`, a run that was stopped goes on, also for more epochs.
    """
    _, history, _, splits = train("gcn-pets", data=data, folder=folder, seed=seed, epochs=epochs, num_workers=0,
                                  progress=progress, **SETTINGS)
    names = ("epoch", "loss", "miou", "lr")
    return [{name: row[name] for name in names} for row in history.rows], f"{splits}, {epochs} epochs"


def main() -> None:
    """Train, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=70)
    parser.add_argument("--folder", type=Path, help="keep the run there: it goes on if it was stopped")
    parser.add_argument("--out", type=Path, default=Path("gcn_plateau.json"))
    arguments = parser.parse_args()
    rows, pictures = plateau(arguments.epochs, arguments.folder)
    command = "python -m tools.plateau" + f" --epochs {arguments.epochs}" * (arguments.epochs != 70)
    write_record(arguments.out, command, pictures, rows)


if __name__ == "__main__":
    main()
