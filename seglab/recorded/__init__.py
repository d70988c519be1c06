"""Measurements that take too long for a lesson, recorded by the programs in `tools/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seglab.errors import ArgumentError

FOLDER = Path(__file__).parent


def read_record(name: str) -> dict[str, Any]:
    """A recorded measurement: {"rows", "command", "pictures", "machine", "versions"}.

    "coin_strokes" is no measurement: its rows are what `MaskPainter` paints in lesson 6a.

    Raises:
        ArgumentError: there is none of this name.

    Example:
        >>> sorted({row["way"] for row in read_record("learning_curve_drawings")["rows"]})
        ['fine-tuned', 'from scratch', 'frozen']
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise ArgumentError("record", found=repr(name),
                            expected=" or ".join(sorted(one.stem for one in FOLDER.glob("*.json"))))
    return json.loads(path.read_text(encoding="utf-8"))
