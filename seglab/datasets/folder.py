"""Any dataset that is a folder of pictures and a folder of masks."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from seglab.datasets.base import Reader, few
from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.datasets.masks import MaskReading
from seglab.datasets.splits import Entry, existing_folder, files_below, find_split_folders, folders_below, visible
from seglab.errors import DataError
from seglab.labels import IGNORE, ClassTable, LabelSet

#: Endings that tools put between a picture's name and its mask's: 0001.png, 0001_L.png, 0001_mask.png …
_MASK_ENDINGS = ("", "_L", "_mask", "_label", "_labels", "_gt", "_seg", "_labelIds", "_lab")
_IMAGES = ("images", "image", "imgs", "img")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "gt")
_BESIDE = ("annot", "_labels", "_masks", "_mask", "_label")  # train/ + trainannot/

Folders = tuple[Path, Path]


class Folder(Reader):
    """Pictures and masks in two folders, paired by their names, and a table of the classes.

    Split on disk: `train/` + `trainannot/` (or `train_labels/`, `train_masks/`), `train/images/` + `train/masks/`, or
    `images/train/` + `masks/train/`. Not split: `images/` + `masks/`. Folders within these belong to the names.

    Args:
        root: the folder.
        encoding: how masks are stored: "ids", "colours", or "auto", which compares them with the table of the classes.
        ignore_ids: values on disk that are neither trained nor scored, beside 255.
        label_set: the classes; by default those of `class_dict.csv` (name, r, g, b) or another table in the folder.

    Raises:
        DataError: no folder, no known layout, no table of classes, two files of one name, or masks that do not say the
            same as the table; see `MaskReading`.
    """

    name = "folder"
    looks_like = "images/ + masks/ + class_dict.csv, or the same below train/, val/ and test/"
    generic = consecutive = True

    def __init__(self, root: str | Path, *, encoding: str = "auto", ignore_ids: Iterable[int] = (),
                 label_set: LabelSet | None = None) -> None:
        self.root = existing_folder(root)
        folders = self.layout(self.root)
        if not folders:
            raise DataError(f"{root}: layout", found=[path.name for path in visible(self.root)][:12],
                            expected=self.looks_like, fix="Rename the folders, or point to the one that holds these.")
        self.pair(folders)
        table = ClassTable.of(label_set) if label_set is not None else self.table()
        self.read_as(table, encoding, ignore_ids)

    def pair(self, folders: dict[str, Folders]) -> None:
        """Find the pictures and masks of each split."""
        self.splits = {}
        for split, both in folders.items():
            self.splits[split], bad, notes = paired(*both)
            self.bad |= bad
            self.notes += notes
        for place in (self.root, *(self.root / name for name in _IMAGES)):
            self.notes += [f"{folder}: not used, since no folder of masks belongs to it"
                           for split, folder in find_split_folders(place).items() if split not in folders]

    def read_as(self, table: ClassTable, encoding: str = "auto", ignore_ids: Iterable[int] = ()) -> None:
        """Find out how the masks are stored; DataError if they do not say what the table says."""
        table = replace(table, codes=table.codes | dict.fromkeys(ignore_ids, IGNORE))
        masks = [entry.target for entries in self.splits.values() for entry in entries
                 if entry.image not in self.bad and entry.target is not None]
        self.label_set = table.label_set
        self.reading = MaskReading.choose(masks, table, encoding)

    @property
    def title(self) -> str:
        return self.root.name if self.name == "folder" else self.name

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        return next((folder for folder in folders_below(root, 2) if cls.layout(folder)), None)

    @classmethod
    def layout(cls, root: Path) -> dict[str, Folders]:
        """{split: (pictures, masks)}; nothing if it is another layout."""
        by_name = {path.name.lower(): path for path in visible(root) if path.is_dir()}
        images, masks = (next((by_name[name] for name in names if name in by_name), None)
                         for names in (_IMAGES, _MASKS))
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
        return ClassTable.read(find_class_table(self.root))

    def mask(self, entry: Entry) -> np.ndarray:
        return self.reading.read(entry.target)

    def settings(self) -> dict[str, object]:
        table = self.reading.table
        return {"encoding": self.reading.encoding, "codes": [*table.codes.items()], "colours": [*table.colours.items()]}


def paired(images: Path, masks: Path) -> tuple[list[Entry], dict[Path, str], list[str]]:
    """The pictures of one folder with the masks of another, by name.

    The mask of `a.jpg` is `a.png`, or `a_L.png`, `a_mask.png` and the like if the whole folder is named so. Names in
    folders below keep these; all accents are written in one way.

    Returns:
        (entries; {picture: what is wrong} of those without a mask; a note on masks without a picture).

    Raises:
        DataError: a folder is missing or empty, two files have one name, or a picture would be its own mask.
    """
    pictures, others = files_by_name(images), files_by_name(masks)
    if images == masks:
        own = max(_MASK_ENDINGS[1:], key=lambda e: sum(name + e in pictures for name in pictures))
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
    entries, bad = [], {}
    for name, image in sorted(pictures.items()):
        mask = others.pop(name + ending, masks / f"{name}{ending}.png")
        if mask.exists() and image.samefile(mask):
            raise DataError(f"{image}: mask", found="the picture itself", expected="another file",
                            fix="Put pictures and masks into two folders.")
        if not mask.exists():
            bad[image] = f"no mask in {masks}"
        entries.append(Entry(name, image, mask))
    notes = [f"{masks}: {len(others)} masks have no picture in {images} and are left out: {few(sorted(others))}"]
    return entries, bad, notes if others else []


def _ending(pictures: Iterable[str], masks: Container[str]) -> str | None:
    """What most masks' names have after their pictures' names; None if no mask belongs to a picture."""
    counts = {ending: sum(name + ending in masks for name in pictures) for ending in _MASK_ENDINGS}
    return max(counts, key=lambda ending: counts[ending]) if any(counts.values()) else None


def _without_folders(files: dict[str, Path]) -> dict[str, Path]:
    """The same by the last part of their names, if these differ."""
    short = {name.rpartition("/")[2]: path for name, path in files.items()}
    return short if len(short) == len(files) else files


def files_by_name(folder: Path) -> dict[str, Path]:
    """{name: file} of the pictures in a folder and those below; a name has no ending, and one way to write accents.

    Raises:
        DataError: no folder, no picture in it, or two files of one name.
    """
    files: dict[str, Path] = {}
    for path in files_below(existing_folder(folder)):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        name = unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
        if name in files:
            raise DataError(f"{folder}: two files for one name", found=f"{files[name].name} and {path.name}",
                            expected="one file a name", fix="Remove one of them.")
        files[name] = path
    if not files:
        raise DataError(f"{folder}: folder", found="no pictures in it",
                        expected="files that end in " + ", ".join(sorted(IMAGE_SUFFIXES)),
                        fix="Check that the dataset was unpacked whole, and not one folder deeper.")
    return files


def find_class_table(folder: Path, upto: Path | None = None) -> Path:
    """The `class_dict*.csv` (or `classes.csv`, `labelmap.txt`) in a folder or in those above it, up to `upto`."""
    for place in (folder, *folder.parents) if upto is not None else (folder,):
        found = [path for pattern in ("class_dict*.csv", "classes.csv", "_classes.csv", "labelmap.txt")
                 for path in sorted(place.glob(pattern))]
        if found:
            return found[0]
        if place == upto:
            break
    raise DataError(f"{folder}: table of classes", found="no class_dict.csv",
                    expected="a file class_dict.csv with the columns name, r, g, b, in the order of the class ids",
                    fix="Write one, or pass label_set=LabelSet(...).")


def has_class_table(folder: Path) -> bool:
    """Whether a table of classes is in a folder."""
    try:
        return find_class_table(folder).exists()
    except DataError:
        return False
