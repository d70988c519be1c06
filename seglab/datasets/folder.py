"""Any dataset that is a folder of pictures and a folder of masks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from seglab.datasets.base import Reader, few
from seglab.datasets.masks import MaskReading
from seglab.datasets.splits import Entry, existing_folder, files_by_name, find_split_folders, folders_below, visible
from seglab.errors import DataError
from seglab.labels import IGNORE, ClassTable, LabelSet

#: Endings that tools put between a picture's name and its mask's: 0001.png, 0001_L.png, 0001_mask.png …
_MASK_ENDINGS = ("", "_L", "_mask", "_label", "_labels", "_gt", "_seg", "_labelIds", "_lab")
IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations", "gt")
_BESIDE = ("annot", "_labels", "_masks", "_mask", "_label")  # train/ + trainannot/

Folders = tuple[Path, Path]


class Folder(Reader):
    """Pictures and masks in two folders, paired by their names, and a table of the classes.

    Split on disk: `train/` + `trainannot/` (or `train_labels/`, `train_masks/`), `train/images/` + `train/masks/`, or
    `images/train/` + `masks/train/`. Not split: `images/` + `masks/`. The mask of `a.jpg` is `a.png`, or `a_L.png`,
    `a_mask.png` and the like if the whole folder is named so. Folders within these belong to the names.

    Args:
        encoding: how masks are stored: "ids", "colours", or "auto", which compares them with the table of the classes.
        ignore_ids: values on disk that are neither trained nor scored, beside 255.
        label_set: the classes; by default those of `class_dict.csv` (name, r, g, b) or another table in the folder.

    Raises:
        DataError: no folder, no known layout, no table of classes, two files of one name, a picture that would be its
            own mask, or masks that do not say the same as the table; see `MaskReading`.
    """

    name = "folder"
    looks_like = "images/ + masks/ + class_dict.csv, or the same below train/, val/ and test/"
    generic = consecutive = named_by_folder = True

    def __init__(self, root: str | Path, *, encoding: str = "auto", ignore_ids: Iterable[int] = (),
                 label_set: LabelSet | None = None) -> None:
        self.root = existing_folder(root)
        self.pair(self.layout(self.root), "Rename the folders, or point to the one that holds these.")
        table = ClassTable.of(label_set) if label_set is not None else self.table()
        self.read_as(table, encoding, ignore_ids)

    def pair(self, folders: dict[str, Folders], fix: str) -> None:
        """Find the pictures and masks of each split; DataError with this fix if there are no such folders."""
        if not folders:
            raise self.not_in(self.root, fix)
        self.splits = {split: self._paired(*both) for split, both in folders.items()}
        for place in (self.root, *(self.root / name for name in IMAGES)):
            self.notes += [f"{folder}: not used, since no folder of masks belongs to it"
                           for split, folder in find_split_folders(place).items() if split not in folders]

    def _paired(self, images: Path, masks: Path) -> list[Entry]:
        """The pictures of one folder with the masks of another, by name."""
        pictures, others = files_by_name(images), files_by_name(masks)
        if images == masks:
            own = max(_MASK_ENDINGS[1:], key=lambda end: sum(name + end in pictures for name in pictures))
            others = {name: path for name, path in others.items() if name.endswith(own)}
            pictures = {name: path for name, path in pictures.items() if name not in others}
        ending = _ending(pictures, others)
        if ending is None:  # one of the folders holds another one
            pictures, others = _without_folders(pictures), _without_folders(others)
            ending = _ending(pictures, others)
        if ending is None:
            raise DataError(f"{images}: no picture has a mask in {masks}",
                            found=f"pictures {few(sorted(pictures), 3)}; masks {few(sorted(others), 3)}",
                            expected=f"for {min(pictures)} a mask {min(pictures)}.png, or with one of the endings "
                                     + ", ".join(_MASK_ENDINGS[1:]), fix="Rename the files of one folder.")
        entries = [Entry(name, image, others.pop(name + ending, masks / f"{name}{ending}.png"))
                   for name, image in sorted(pictures.items())]
        for _, image, mask in entries:
            if not os.path.exists(mask):
                self.bad[image] = f"no mask in {masks}"
            elif os.path.exists(image) and os.path.samefile(image, mask):
                raise DataError(f"{image}: mask", found="the picture itself", expected="another file",
                                fix="Put pictures and masks into two folders.")
        if others:
            self.notes.append(f"{masks}: {len(others)} masks have no picture in {images} and are left out: "
                              f"{few(sorted(others))}")
        return entries

    def read_as(self, table: ClassTable, encoding: str = "auto", ignore_ids: Iterable[int] = ()) -> None:
        """Find out how the masks are stored; DataError if they do not say what the table says."""
        table = replace(table, codes=table.codes | dict.fromkeys(ignore_ids, IGNORE))
        masks = [entry.target for entries in self.splits.values() for entry in entries
                 if entry.image not in self.bad and entry.target is not None]
        self.label_set = table.label_set
        self.reading = MaskReading.choose(masks, table, encoding)
        if self.reading.encoding == "colours":
            table.label_set.check_colours(self.root)

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        return next((folder for folder in folders_below(root, 2) if cls.layout(folder)), None)

    @classmethod
    def layout(cls, root: Path) -> dict[str, Folders]:
        """{split: (pictures, masks)}; nothing if it is another layout."""
        by_name = {path.name.lower(): path for path in visible(root) if os.path.isdir(path)}
        images, masks = (next((by_name[name] for name in names if name in by_name), None) for names in (IMAGES, MASKS))
        splits = find_split_folders(root)
        found = {split: (folder, by_name[folder.name.lower() + ending]) for split, folder in splits.items()
                 for ending in reversed(_BESIDE) if folder.name.lower() + ending in by_name}
        for split, folder in splits.items():
            if "all" in (inner := cls.layout(folder)):
                found[split] = inner["all"]
        if not found and images is not None and masks is not None:
            below, beside = find_split_folders(images), find_split_folders(masks)
            found = {split: (below[split], beside[split]) for split in below.keys() & beside.keys()} or {
                "all": (images, masks)}
        return found

    def table(self) -> ClassTable:
        """The classes, from the table in the folder."""
        if (path := find_class_table(self.root)) is not None:
            return ClassTable.read(path)
        raise DataError(f"{self.root}: table of classes", found="no class_dict.csv",
                        expected="a file class_dict.csv with the columns name, r, g, b, in the order of the class ids",
                        fix="Write one, or pass label_set=LabelSet(...).")

    def mask(self, entry: Entry) -> np.ndarray:
        return self.reading.read(entry.target)

    def settings(self) -> dict[str, object]:
        table = self.reading.table
        return {"encoding": self.reading.encoding, "codes": [*table.codes.items()], "colours": [*table.colours.items()]}


def _ending(pictures: dict[str, Path], masks: dict[str, Path]) -> str | None:
    """What most masks' names have after their pictures' names; None if no mask belongs to a picture."""
    counts = {ending: sum(name + ending in masks for name in pictures) for ending in _MASK_ENDINGS}
    return max(counts, key=lambda ending: counts[ending]) if any(counts.values()) else None


def _without_folders(files: dict[str, Path]) -> dict[str, Path]:
    """The same by the last part of their names, if these differ."""
    short = {name.rpartition("/")[2]: path for name, path in files.items()}
    return short if len(short) == len(files) else files


def find_class_table(folder: Path) -> Path | None:
    """The `class_dict*.csv` (or `classes.csv`, `labelmap.txt`) in a folder."""
    return next((path for pattern in ("class_dict*.csv", "classes.csv", "_classes.csv", "labelmap.txt")
                 for path in sorted(folder.glob(pattern))), None)
