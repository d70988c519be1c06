"""CamVid: video frames of streets, 11 classes and void."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seglab.datasets.folder import SegmentationFolder, existing_folder, split_pairs
from seglab.labels import CAMVID

#: Id 11 on disk: pixels that nobody labelled. Scoring them would reward whatever is predicted there.
VOID = 11


class CamVid(SegmentationFolder):
    """CamVid at 480×360 in its common 11-class copy: `train/` + `trainannot/`, the same for `val` and `test`.

    Id 11 (void) becomes 255: it is neither trained nor scored. Without a `test` folder, `val` is the test split, and
    the last tenth of the training frames is kept for validation.

    Args:
        root: the folder that holds `train/` and `trainannot/`.
        split: "train", "val", "test" or "all".
        options: as for SegmentationFolder (`fit`, `transforms`).

    Raises:
        DataError: no such layout, or a picture without mask.

    Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; the 11 classes of the SegNet copy.
    """

    def __init__(self, root: str | Path, split: str = "train", **options: Any) -> None:
        super().__init__(split_pairs(existing_folder(root), split), CAMVID, encoding="ids", ignore_ids=(VOID,),
                         **options)
