"""How the programs beside this one write what the lessons read with `seglab.recorded.read_record`."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from seglab import __version__
from seglab.files import atomic_write


def write_record(path: Path, command: str, pictures: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, with the command, the pictures, the machine and the versions."""
    content = {"command": command, "pictures": pictures,
               "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.cuda.device_count()} GPUs",
               "versions": {"seglab": __version__, "torch": torch.__version__}, "rows": rows}
    atomic_write(path, (json.dumps(content, indent=1) + "\n").encode())
