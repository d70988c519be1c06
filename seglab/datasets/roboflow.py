"""Roboflow's export "Semantic Segmentation Masks"."""

from __future__ import annotations

import os
from pathlib import Path

from seglab.datasets.folder import Folder, Folders
from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.datasets.splits import find_split_folders, visible
from seglab.errors import DataError
from seglab.labels import ClassTable

_TABLE = "_classes.csv"


class RoboflowMasks(Folder):
    """`NAME.jpg` and `NAME_mask.png` in one folder, with `_classes.csv`; one folder each for train, valid and test.

    The table has the columns "Pixel Value" and "Class". Its class of value 0, mostly "unlabeled" or "background", is a
    class as others are; pass `ignore_ids=[0]` to ignore it.

    Args and errors: see `Folder`. A DataError also if the splits' tables differ.
    """

    name = "roboflow-masks"
    looks_like = f"train/ with NAME.jpg + NAME_mask.png + {_TABLE}, and valid/, test/"
    generic = False

    @classmethod
    def layout(cls, root: Path) -> dict[str, Folders]:
        found = {split: (folder, folder) for split, folder in (find_split_folders(root) or {"all": root}).items()
                 if any(path.suffix.lower() in IMAGE_SUFFIXES for path in visible(folder))}
        return found if any(os.path.isfile(folder / _TABLE) and any(folder.glob("*_mask.*"))
                            for folder, _ in found.values()) else {}

    def table(self) -> ClassTable:
        tables = {split: ClassTable.read(folder / _TABLE) for split, (folder, _) in self.layout(self.root).items()
                  if os.path.isfile(folder / _TABLE)}
        first = next(iter(tables))
        if different := [split for split, table in tables.items() if table != tables[first]]:
            raise DataError(f"{self.root}: classes of the splits", expected="one table of classes",
                            found=f"{_TABLE} of {first} and of {different[0]} differ",
                            fix="Export all splits from one version of the dataset.")
        return tables[first]
