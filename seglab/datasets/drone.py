"""The Semantic Drone Dataset (TU Graz), in both layouts that people have on disk."""

from __future__ import annotations

import os
from pathlib import Path

from seglab.datasets.folder import Folder, find_class_table
from seglab.datasets.splits import existing_folder, folders_below
from seglab.errors import DataError
from seglab.labels import DRONE, ClassTable

#: (pictures, masks). The original release codes classes as colours, the Kaggle copy as ids.
LAYOUTS = (("original_images", "label_images_semantic"), ("images", "gt/semantic/label_images"),
           ("low_res_images", "gt/semantic/low_res_label_images"))
#: Id 23, "conflicting", stands in the class table but not in the pictures; it is ignored if it does occur.
CONFLICTING = 23


class Drone(Folder):
    """Semantic Drone Dataset: photographs from straight above, 5 to 30 m, 23 classes.

    Both published layouts are found, also some folders below `root`: `original_images/` + `label_images_semantic/`
    with masks of ids (the Kaggle copy), and `images/` + `gt/semantic/label_images/` with masks of colours (the
    original). Splits are made by name, 70 : 10 : 20, since the dataset comes with none for its public pictures.

    Raises:
        DataError: no such layout, two files of one name, or a class table other than the published one.

    Source: Semantic Drone Dataset, Institute of Computer Graphics and Vision, TU Graz.
    """

    name = "drone"
    generic = consecutive = named_by_folder = False
    looks_like = " or ".join(f"{images}/ + {masks}/" for images, masks in LAYOUTS[:2])

    def __init__(self, root: str | Path) -> None:
        root = existing_folder(root)
        self.root = self.find(root) or root
        self.pair(self.layout(self.root), "Unpack the dataset here, or point to the folder that holds these two.")
        _check_class_table(self.root, root)
        self.read_as(ClassTable.of(DRONE, ignore_ids=(CONFLICTING,)))

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        return next((folder for folder in folders_below(root, 3) if cls.layout(folder)), None)

    @classmethod
    def layout(cls, root: Path) -> dict[str, tuple[Path, Path]]:
        return next(({"all": (root / images, root / masks)} for images, masks in LAYOUTS
                     if os.path.isdir(root / images) and os.path.isdir(root / masks)), {})


def _check_class_table(folder: Path, root: Path) -> None:
    """The published classes are built in; the nearest table, up to `root`, that says otherwise is another dataset's."""
    places = (folder / "gt" / "semantic", folder, *folder.parents)
    path = next(filter(None, (find_class_table(place) for place in places if place.is_relative_to(root))), None)
    table = ClassTable.read(path).label_set if path is not None else DRONE
    found = [one for one in zip(table.classes, table.colours, strict=True) if one[0] != "conflicting"]
    published = [*zip(DRONE.classes, DRONE.colours, strict=True)]
    if found != published:
        other = next((f"class {i} is {a[0]} {a[1]}, published {b[0]} {b[1]}" for i, (a, b) in enumerate(
            zip(found, published, strict=False)) if a != b), f"{len(found)} classes, published {len(DRONE)}")
        raise DataError(f"{path}: class table", found=other, expected="the 23 classes of the Semantic Drone Dataset",
                        fix="For your own classes, name the folders images/ and masks/.")
