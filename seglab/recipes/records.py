"""Measurements that take too long for a lesson: written once, with all that one needs to repeat them."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from seglab import __version__
from seglab.errors import ArgumentError
from seglab.files import atomic_write

RECORDS = Path(__file__).parent / "recorded"


def write_record(path: Path, command: str, pictures: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, with the command, the pictures, the machine and the versions."""
    content = {"command": command, "pictures": pictures,
               "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.cuda.device_count()} GPUs",
               "versions": {"seglab": __version__, "torch": torch.__version__}, "rows": rows}
    atomic_write(path, (json.dumps(content, indent=1) + "\n").encode())


def read_record(name: str) -> dict[str, Any]:
    """A record that comes with the package, as `write_record` wrote it; ArgumentError for a name that is not there.

    Example:
        >>> sorted(read_record("learning_curve_drawings"))
        ['command', 'machine', 'pictures', 'rows', 'versions']
    """
    path = RECORDS / f"{name}.json"
    if not path.is_file():
        raise ArgumentError("record", found=repr(name),
                            expected=" or ".join(sorted(one.stem for one in RECORDS.glob("*.json"))))
    return json.loads(path.read_text(encoding="utf-8"))
