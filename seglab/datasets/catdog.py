"""Pictures with one class each, such as cats and dogs: from a folder a class, or from map files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from seglab.datasets.base import Reader, few
from seglab.datasets.folder import IMAGES, MASKS
from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.datasets.map_files import Item, class_folders, read_map_file
from seglab.datasets.pets import Pets
from seglab.datasets.splits import SPLITS, Entry, existing_folder, find_split_folders, folders_below, readable, visible
from seglab.errors import DataError, printable
from seglab.labels import LabelSet, known_label_set


class CatDog(Reader):
    """Pictures and their classes, in one of the usual layouts.

    `train/CLASS/*.jpg` + `test/CLASS/*.jpg`; or `CLASS/*.jpg`, split class by class; or map files `train.txt` +
    `test.txt` (`train_map.txt` + `test_map.txt`), or one map file; or the Oxford-IIIT Pet Dataset, by species. The root
    is the folder, one that holds it as `catdog`, a map file, or a folder of `Pets`.

    Raises:
        DataError: no known layout, splits with different classes, an empty class, or one class only; of a map file,
            see `read_map_file`.

    Example:
        >>> import tempfile
        >>> from seglab.datasets import Samples
        >>> from seglab.samples import write_catdog_sample
        >>> root = write_catdog_sample(Path(tempfile.mkdtemp()) / "s", count=(4, 2), progress=False)
        >>> data = Samples(CatDog(root), "test", size=64, cache=False)
        >>> image, label = data[0]
        >>> image.shape, data.label_set.classes[label], len(data)
        (torch.Size([3, 64, 64]), 'cats', 4)
    """

    name = "catdog"
    generic = named_by_folder = True
    looks_like = "a folder a class below train/ and test/, or train.txt + test.txt (PATH, a tab, a class index)"

    def __init__(self, root: str | Path) -> None:
        root = Path(os.path.expanduser(root))
        if os.path.isfile(root):
            self.root, found = root, {"all": read_map_file(root)}
        elif os.path.isdir(inner := existing_folder(root) / "catdog"):
            self.root, found = inner, _split_items(inner)
        elif (pets := Pets.find(root)) is not None:
            self.root, found = pets, _by_species(pets)
        else:
            self.root, found = root, _split_items(root)
        classes = next(iter(found.values()))[1]
        if different := {split: names for split, (_, names) in found.items() if names != classes}:
            raise DataError(f"{root}: classes of the splits", found=f"{next(iter(found))} {classes}, {different}",
                            expected="the same classes in each",
                            fix="Rename the folders, or the classes in the map files.")
        if len(classes) < 2:
            raise DataError(f"{root}: classes", found=f"one class only, {classes[0]!r}", expected="two or more",
                            fix="Add the other classes' pictures: with one answer there is nothing to learn.")
        self.label_set: LabelSet = known_label_set(classes)
        folder = self.root if os.path.isdir(self.root) else self.root.parent
        self.splits = {split: _named(items, folder) for split, (items, _) in found.items()}

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        for folder in folders_below(root, 2):
            places = [*find_split_folders(folder).values()] or [folder]
            classes = [path for place in places if readable(place) for path in visible(place) if readable(path)]
            others = {*IMAGES, *MASKS} & {path.name.lower() for path in classes}
            if "train" in _maps(folder) or (not others and len(classes) >= 2 * len(places) and all(
                    any(path.suffix.lower() in IMAGE_SUFFIXES for path in visible(one)) for one in classes)):
                return folder
        return root if asked else None


def _by_species(root: Path) -> dict[str, tuple[list[Item], list[str]]]:
    pets = Pets(root)
    if unknown := [entry.name for entries in pets.splits.values() for entry in entries if not pets.species(entry.name)]:
        raise DataError(f"{root}: the species of pictures cannot be told by their names", found=few(unknown),
                        expected="names like Bengal_12 (a cat, capitalised) and beagle_12 (a dog), or a list",
                        fix="Put the pictures into a folder a class.")
    return {split: ([(entry.image, int(pets.species(entry.name) == 2)) for entry in entries], ["cats", "dogs"])
            for split, entries in pets.splits.items()}


def _named(items: Sequence[Item], root: Path) -> list[Entry]:
    """Entries by file name without ending; where two files share one, with their folders and, at last, their ending."""
    inside = [path.relative_to(root) if path.is_relative_to(root) else path for path, _ in items]
    choices = [path.stem for path in inside], [path.with_suffix("").as_posix() for path in inside]
    names = next((names for names in choices if len({*names}) == len(names)), [path.as_posix() for path in inside])
    return [Entry(printable(name), path, label) for name, (path, label) in zip(names, items, strict=True)]


def _maps(root: Path) -> dict[str, Path]:
    return {split: found[0] for split in SPLITS if (found := [path for path in (
        root / f"{split}.txt", root / f"{split}_map.txt") if os.path.isfile(path)])}


def _split_items(root: Path) -> dict[str, tuple[list[Item], list[str]]]:
    """{split: (items, class names)} of a folder, or "all"."""
    if "train" in (maps := _maps(root)):
        return {split: read_map_file(path) for split, path in maps.items()}
    folders = find_split_folders(root)
    return {split: class_folders(path) for split, path in folders.items()} or {"all": class_folders(root)}
