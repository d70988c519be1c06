"""PASCAL VOC, and what CVAT exports as "Segmentation mask 1.1"."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from seglab.datasets.base import check_choice, few
from seglab.datasets.folder import Folder
from seglab.datasets.io import IMAGE_SUFFIXES, Size, image_size
from seglab.datasets.splits import (
    Entry,
    disjoint,
    existing_folder,
    files_by_name,
    find_split_name,
    folders_below,
    pictures_below,
)
from seglab.errors import ArgumentError, DataError
from seglab.files import read_text
from seglab.labels import VOC, ClassTable, LabelSet, known_label_set

_LISTS = "ImageSets/Segmentation"
_MASKS = ("SegmentationClassPNG", "SegmentationClass")  # in LabelMe's conversion, the latter can hold arrays


class Voc(Folder):
    """`JPEGImages/`, `SegmentationClass/` and lists in `ImageSets/Segmentation/`, also below `VOCdevkit/VOC2012/`.

    The lists decide the splits: `train.txt`, `val.txt`, `test.txt`, in any case; `trainval.txt` if there is no train.
    Other lists, such as CVAT's `default.txt`, are not split; without lists, all pictures that have a mask are used.

    Classes are those of `labelmap.txt` (CVAT) or `class_names.txt` (LabelMe's conversion), else VOC's 21 with 255, the
    border, ignored.

    Args:
        unmasked: what listed pictures without a mask are: "error", or "background". CVAT writes no mask for a picture
            in which nothing is annotated, whether there is nothing or nobody looked.
        encoding, ignore_ids, label_set: as for `Folder`.

    Raises:
        DataError: no such layout, pictures that were not exported, a name in two splits, or masks that do not say the
            same as the table.

    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010; datumaro's VOC converter.
    """

    name = "voc"
    looks_like = f"JPEGImages/ + SegmentationClass/ + {_LISTS}/*.txt"
    generic = False

    def __init__(self, root: str | Path, *, unmasked: str = "error", encoding: str = "auto",
                 ignore_ids: Iterable[int] = (), label_set: LabelSet | None = None) -> None:
        check_choice("unmasked", unmasked, ("error", "background"))
        root = existing_folder(root)
        self.root = self.find(root) or root
        masks = next((self.root / name for name in _MASKS if os.path.isdir(self.root / name)), self.root / _MASKS[1])
        for folder, fix in ((masks, "CVAT writes none where nothing is annotated, or with lines and points only."),
                            (self.root / "JPEGImages", 'In CVAT, export again with "Save images" on; or put the '
                             "pictures there, named like their masks.")):
            if not os.path.isdir(folder) or not pictures_below(folder):
                raise DataError(f"{folder}: {'masks' if folder == masks else 'pictures'}",
                                found="none in it" if os.path.isdir(folder) else "no such folder",
                                expected=self.looks_like, fix=fix)
        pictures, shapes = files_by_name(self.root / "JPEGImages"), files_by_name(masks)
        listed = self._listed() or {"all": sorted(pictures.keys() & shapes.keys())}
        self.splits = {split: [self._entry(name, pictures.get(name), shapes.get(name), unmasked) for name in names]
                       for split, names in listed.items()}
        used = {name for names in listed.values() for name in names}
        for what, unused in (("pictures", pictures.keys() - used), ("masks", shapes.keys() - used)):
            if unused:
                self.notes.append(f"{self.root}: {len(unused):,} {what} are in no split, or without the other, and are "
                                  f"left out: {few(sorted(unused))}")
        table = ClassTable.of(label_set) if label_set is not None else self.table()
        self.read_as(table, encoding, ignore_ids)
        classes = [name.strip("_").lower() for name in self.label_set.classes]
        if unmasked == "background" and "background" not in classes:
            raise ArgumentError("unmasked", found='"background", which is no class', expected=", ".join(classes))
        self._empty = classes.index("background") if "background" in classes else 0

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        return next((folder for folder in folders_below(root, 2) if any(
            os.path.isdir(folder / name) for name in (*_MASKS, _LISTS))), None)

    def _entry(self, name: str, image: Path | None, mask: Path | None, unmasked: str) -> Entry:
        entry = Entry(name, image or self.root / "JPEGImages" / f"{name}.jpg", mask)
        if image is None:
            self.bad[entry.image] = f"no picture for {mask}" if mask else "neither picture nor mask"
        elif mask is None and unmasked == "error":
            self.bad[image] = 'no mask; unmasked="background" if CVAT wrote none because nothing is in the picture'
        return entry

    def _listed(self) -> dict[str, list[str]]:
        """The names of each split, as the lists say; nothing if there are none."""
        lists = {path: self._names(path) for path in sorted((self.root / _LISTS).glob("*.txt"))}
        splits = {split: names for path, names in lists.items() if names and (split := find_split_name(path.stem))}
        if "train" not in splits and (both := [n for p, n in lists.items() if n and p.stem.lower() == "trainval"]):
            splits["train"] = both[0]
        splits = splits or {"all": list(dict.fromkeys(name for names in lists.values() for name in names))}
        return {split: names for split, names in disjoint(self.root / _LISTS, splits).items() if names}

    def _names(self, path: Path) -> list[str]:
        """The names of a list, a line each, as those of the files: also with `/` or `\\` and an ending."""
        lines = [unicodedata.normalize("NFC", line.strip().strip('"')).replace("\\", "/").removeprefix("./")
                 for line in read_text(path, "list").splitlines() if line.strip()]
        return list(dict.fromkeys(line.removesuffix(end) if (end := Path(line).suffix).lower() in IMAGE_SUFFIXES else
                                  line for line in lines))

    def table(self) -> ClassTable:
        if os.path.isfile(path := self.root / "labelmap.txt"):
            return ClassTable.read(path)
        if os.path.isfile(path := self.root / "class_names.txt"):
            names = [line.strip() for line in read_text(path, "classes").splitlines()]
            try:
                return ClassTable.of(known_label_set(names))
            except ArgumentError as error:
                raise DataError(f"{path}: {error}") from error
        self.notes.append(f"{self.root}: no labelmap.txt; the classes are VOC's 21")
        return ClassTable.of(VOC)

    def mask(self, entry: Entry) -> np.ndarray:
        if entry.target is not None:
            return super().mask(entry)
        return np.full(self.size(entry), self._empty, np.uint8)

    def size(self, entry: Entry) -> Size:
        return image_size(entry.image if entry.target is None else entry.target)
