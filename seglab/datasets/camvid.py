"""CamVid: video frames of streets, 11 classes and void."""

from __future__ import annotations

import os
from pathlib import Path

from seglab.datasets.folder import Folder, find_class_table
from seglab.datasets.splits import existing_folder, folders_below
from seglab.labels import CAMVID, ClassTable

#: Id 11 on disk: pixels that nobody labelled. Scoring them would reward whatever is predicted there.
VOID = 11


class CamVid(Folder):
    """CamVid at 480×360 in its common 11-class copy: `train/` + `trainannot/`, the same for `val` and `test`.

    Id 11 (void) becomes 255: it is neither trained nor scored. Without a `test` folder, `val` is the test split, and
    a tenth of the training frames, in five runs, is kept for validation.

    Raises:
        DataError: no such layout, or masks with other ids.

    Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; the 11 classes of the SegNet copy.
    """

    name = "camvid"
    looks_like = "train/ + trainannot/"
    generic = named_by_folder = False

    def __init__(self, root: str | Path) -> None:
        self.root = existing_folder(root)
        self.pair(self.layout(self.root), "Point to the folder that holds these two.")
        self.read_as(ClassTable.of(CAMVID, ignore_ids=(VOID,)), "ids")

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        # With a table of its own, it is another dataset in the same folders.
        return next((folder for folder in folders_below(root, 1) if os.path.isdir(folder / "train")
                     and os.path.isdir(folder / "trainannot") and (asked or not find_class_table(folder))), None)
