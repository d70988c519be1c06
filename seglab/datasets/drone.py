"""The Semantic Drone Dataset (TU Graz), in both layouts that people have on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seglab.datasets.folder import SegmentationFolder, choose_split, existing_folder, find_class_table, pair_files
from seglab.errors import DataError
from seglab.labels import DRONE, LabelSet

#: (pictures, masks, encoding). The original release codes classes as colours, the Kaggle copy as ids.
LAYOUTS = (
    ("original_images", "label_images_semantic", "ids"),
    ("images", "gt/semantic/label_images", "colours"),
    ("low_res_images", "gt/semantic/low_res_label_images", "colours"),
)
#: Id 23, "conflicting", stands in the class table but not in the pictures; it is ignored if it does occur.
CONFLICTING = 23


def find_layout(root: Path) -> tuple[Path, Path, str] | None:
    """(pictures, masks, encoding) of the drone layout at or up to three folders below `root`; None if none is there."""
    level = [root]
    for _ in range(4):
        for folder in level:
            for images, masks, encoding in LAYOUTS:
                if (folder / images).is_dir() and (folder / masks).is_dir():
                    return folder / images, folder / masks, encoding
        level = [child for folder in level for child in sorted(folder.iterdir())
                 if child.is_dir() and not child.name.startswith(".")]
    return None


class SemanticDrone(SegmentationFolder):
    """Semantic Drone Dataset: photographs from straight above, 5 to 30 m, 23 classes.

    Both published layouts are found, also some folders below `root`: `original_images/` + `label_images_semantic/`
    with masks of ids (the Kaggle copy), and `images/` + `gt/semantic/label_images/` with masks of colours (the
    original). Splits are made by name, 70 : 10 : 20, since the dataset comes with none for its public pictures.

    Args:
        root: the folder of the dataset, or one that holds it.
        split: "train", "val", "test" or "all".
        seed: of the split.
        options: as for SegmentationFolder (`fit`, `transforms`).

    Raises:
        DataError: no such layout, a picture without mask, or a class table other than the published one.

    Source: Semantic Drone Dataset, Institute of Computer Graphics and Vision, TU Graz.
    """

    def __init__(self, root: str | Path, split: str = "train", *, seed: int = 0, **options: Any) -> None:
        root = existing_folder(root)
        layout = find_layout(root)
        if layout is None:
            raise DataError(f"{root}: Semantic Drone Dataset",
                            found=sorted(p.name for p in root.iterdir() if not p.name.startswith("."))[:12],
                            expected=" or ".join(f"{images}/ + {masks}/" for images, masks, _ in LAYOUTS),
                            fix="Unpack the dataset here, or point to the folder that holds these two.")
        images, masks, encoding = layout
        _check_class_table(images, root)
        super().__init__(choose_split(pair_files(images, masks), split, seed=seed), DRONE, encoding=encoding,
                         ignore_ids=(CONFLICTING,), **options)


def _check_class_table(images: Path, root: Path) -> None:
    """The published classes are built in; a table beside the pictures that says otherwise is another dataset."""
    places = (images.parent, images.parent / "gt" / "semantic")
    try:
        path = next(p for place in places for p in [_table_or_none(place, root)] if p is not None)
    except StopIteration:
        return  # the published one is built in
    table = LabelSet.from_csv(path, name="drone", ignore=("conflicting",))
    if (table.classes, table.colours) != (DRONE.classes, DRONE.colours):
        other = next((f"class {i} is {a} {c}, published {b} {d}" for i, (a, b, c, d) in enumerate(
            zip(table.classes, DRONE.classes, table.colours, DRONE.colours, strict=False)) if (a, c) != (b, d)),
            f"{len(table)} classes, published {len(DRONE)}")
        raise DataError(f"{path}: class table", found=other, expected="the 23 classes of the Semantic Drone Dataset",
                        fix="For your own classes, name the folders images/ and masks/ and open them with "
                            "SegmentationFolder.from_root.")


def _table_or_none(place: Path, root: Path) -> Path | None:
    try:
        return find_class_table(place, upto=root)
    except DataError:
        return None
