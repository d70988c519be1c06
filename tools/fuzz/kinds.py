"""All kinds of files, by name."""

from __future__ import annotations

from tools.fuzz import datasets, files
from tools.fuzz.processes import Kind

KINDS: dict[str, Kind] = {**datasets.KINDS, **files.KINDS}
