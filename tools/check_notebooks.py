"""What must be true of every stored notebook, as a command for pre-commit and as a function for the tests.

    python tools/check_notebooks.py notebooks/*.ipynb

Only the standard library is needed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_BYTES, MAX_LINES = 3_000_000, 15
LIVE = "application/vnd.jupyter.widget-view+json"
CHECK = "nbval-check-output"
#: The home folder of somebody, or a folder of this machine alone, on Linux, macOS and Windows; no part of an address.
MACHINE = re.compile(r"(?:(?<![\w.:/-])|file://|\x1b\[[\d;]*m)(?:/[\w.-]+)*"
                     r"/(?:home|root|users|tmp|work|private|var/folders)/|\b[a-z]:[\\/]+users\b", re.IGNORECASE)


def problems(path: Path) -> list[str]:
    """What is wrong with a stored notebook, a line each; empty if it is clean."""
    text = path.read_text(encoding="utf-8")
    return [f"{path}: {found}" for found in _problems(text)]


def _problems(text: str) -> Iterator[str]:
    if len(text.encode()) > MAX_BYTES:
        yield f"{len(text.encode()) / 1e6:.1f} MB. At most {MAX_BYTES / 1e6:g}: smaller figures, or fewer."
    try:
        notebook = json.loads(text)
    except json.JSONDecodeError as error:
        yield f"no JSON: {error}. Take one side of a conflict whole, then make store."
        return
    if "widgets" in notebook["metadata"]:
        yield "metadata.widgets, which GitHub refuses to show. Store it with make store."
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        yield from (f"code cell {number} {found}" for found in _cell_problems(cell, number))
    for number, cell in enumerate(notebook["cells"], 1):
        if match := MACHINE.search("\n".join(_texts(cell))):
            yield f"cell {number} holds the path of some machine, {match[0]!r}: show the file's name only"
    if match := MACHINE.search("\n".join(_texts(notebook["metadata"]))):
        yield f"metadata hold the path of some machine, {match[0]!r}: remove it there"


def _cell_problems(cell: dict[str, Any], number: int) -> Iterator[str]:
    source, outputs, tags = "".join(cell["source"]), cell["outputs"], cell["metadata"].get("tags", [])
    if cell["execution_count"] != number:
        yield f"has the execution count {cell['execution_count']}: execute once, from top to bottom (make store)"
    if len(source.splitlines()) > MAX_LINES:
        yield f"has {len(source.splitlines())} lines, at most {MAX_LINES}: split the cell"
    for output in outputs:
        if output["output_type"] == "error":
            yield f"stores an error, {output['ename']}: mend the cell, then make store"
        if output.get("name") == "stderr":
            yield "stores what went to stderr, a warning or a progress bar: mend what warns, or pass progress=False"
        if LIVE in output.get("data", {}):
            yield "stores a live widget, a dead box without its kernel: make store keeps its picture instead"
    if CHECK in tags and not any(output.get("text") or output.get("data", {}).get("text/plain") for output in outputs):
        yield f"is tagged {CHECK} and has no text that could be compared: print something, or remove the tag"


def _texts(value: Any, key: str = "") -> Iterator[str]:
    """All texts of a cell but base64: pictures, and not SVG, which is text."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part, name)
    elif isinstance(value, list):
        if all(isinstance(part, str) for part in value):
            value = "".join(value)
        else:
            for part in value:
                yield from _texts(part, key)
    if isinstance(value, str) and not (key.startswith("image/") and key != "image/svg+xml"):
        yield value


def main() -> None:
    found = [problem for name in sys.argv[1:] for problem in problems(Path(name))]
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
