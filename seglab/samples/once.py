"""Folders of drawn pictures that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from seglab.errors import DataError, WriteError
from seglab.files import atomic_folder

#: Says what a folder holds. What it says of a generator stays what it was when the first folders were written.
STAMP = "sample.json"


def write_once(root: Path, stamp: dict[str, object], write: Callable[[Path], None]) -> Path:
    """Fill the folder by `write`, unless this very set is there already."""
    if _holds(root, stamp):
        return root
    try:
        with atomic_folder(root) as draft:
            write(draft)
            (draft / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8", newline="\n")
            if root.is_dir():
                root.rmdir()  # empty, or it fails; Windows does not rename onto an empty folder
    except WriteError:
        if not _holds(root, stamp):  # another process may have been first with the same set: theirs is as good
            raise
    _holds(root, stamp)  # whoever was first, this set or an error
    return root


def _holds(root: Path, stamp: dict[str, object]) -> bool:
    """Whether the folder holds this very set; raises DataError if it holds anything else."""
    if not os.path.lexists(root) or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if found == stamp:
        return True
    raise DataError(f"{root}: already holds something else",
                    found=f"a sample set of {found}" if found else "files that are not a sample set",
                    expected=f"nothing, or a sample set of {stamp}",
                    fix="Give another folder, or remove this one if you no longer need it.")
