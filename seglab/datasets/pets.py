"""The Oxford-IIIT Pet Dataset: cats and dogs, with trimaps."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from seglab.datasets.base import Reader, check_choice, few
from seglab.datasets.masks import MaskReading
from seglab.datasets.splits import Entry, disjoint, existing_folder, files_by_name, find_split_folders, folders_below
from seglab.errors import DataError
from seglab.files import read_text
from seglab.labels import IGNORE, PETS, ClassTable, LabelSet, known_label_set

_SPECIES = {1: "cat", 2: "dog"}  # in the lists, and class ids in PETS
#: Names of breeds that name the species itself, in copies that others have made.
_PLAIN_WORDS = {"cat": 1, "cats": 1, "dog": 2, "dogs": 2}
_NUMBERED = re.compile(r"([^\W\d_].*)_\d+")
_TRIMAP = "1 (pet), 2 (background) and 3 (border)"
_IDS = f"0 (background), 1 (cat), 2 (dog) and {IGNORE} (ignore)"
#: 1 where a mask has values that no trimap has.
_NO_TRIMAP = MaskReading(ClassTable(PETS, {code: int(code in {0, IGNORE}) for code in range(256)}, {}), "ids")


class Pets(Reader):
    """Cats and dogs with masks of their species, of pet and background, or of 37 breeds.

    Copies are found as published (`images/`, `annotations/trimaps/`, with `list.txt`, `trainval.txt`, `test.txt`), and
    as others have prepared them: `images/` + `trimaps/` (or `masks/`), or that once more below `train/` and `test/`.

    Published masks are trimaps: 1 is pet, 2 background, and 3 the border in between, where nobody decided. It becomes
    255: neither trained nor scored. Prepared copies may have ids: 0, 1 cat, 2 dog, 255. A picture whose mask holds no
    pet, though there is one to see, is left out of every split.

    The root is the folder of the dataset, or one that holds it; the target is "species" (background, cat, dog),
    "foreground" (background, pet), or "breed" (background and all breeds, by name).

    Raises:
        DataError: no such dataset, a list that is wrong, or a target that neither names nor lists tell.

    Source: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012.

    Example:
        >>> import tempfile
        >>> from seglab.samples import write_pets_sample
        >>> pets = Pets(write_pets_sample(Path(tempfile.mkdtemp()) / "pets", count=12, progress=False))
        >>> entry = pets.splits["train"][0]
        >>> entry.name, pets.species(entry.name), np.unique(pets.mask(entry)).tolist()
        ('Patched_cat_1', 1, [0, 1, 255])
    """

    name = "pets"
    looks_like = "images/ + annotations/trimaps/, or train/images/ + train/trimaps/"

    def __init__(self, root: str | Path, *, target: str = "species") -> None:
        check_choice("target", target, ("species", "foreground", "breed"))
        folder = self.find(existing_folder(root), asked=True)
        if folder is None:
            raise self.not_in(Path(root), "Check the path, or `seglab download pets`.")
        self.root, self.target = folder, target
        self._listed: dict[str, int] = {}
        places = {"all": folder} if _mask_folder(folder) else find_split_folders(folder)
        self.splits = {split: self._paired(place / "images", masks) for split, place in places.items()
                       if (masks := _mask_folder(place))}
        if os.path.isdir(folder / "annotations" / "trimaps"):
            self._read_lists(folder)
        everything = [entry for entries in self.splits.values() for entry in entries]
        some = [_has_ids(entry.target) for entry in everything[:8] if entry.image not in self.bad]
        self.ids = 2 * sum(some) > len(some)  # a single one may be wrong
        self.label_set = self._labels([entry.name for entry in everything])

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        return next((place for place in folders_below(root, 2) if any(
            _mask_folder(part, asked) for part in (place, *find_split_folders(place).values()))), None)

    def _paired(self, images: Path, masks: Path) -> list[Entry]:
        """Pictures and masks by name, also those of which one is missing."""
        pictures, shapes = files_by_name(images), files_by_name(masks)
        entries = [Entry(name, pictures.get(name, images / f"{name}.jpg"), shapes.get(name, masks / f"{name}.png"))
                   for name in sorted({*pictures, *shapes})]
        self.bad |= {e.image: f"no {'mask' if e.name in pictures else 'picture'}" for e in entries
                     if e.name not in pictures or e.name not in shapes}
        return entries

    def _read_lists(self, folder: Path) -> None:
        lists = {name: self._read_list(path) for name in ("list", "trainval", "test")
                 for path in (folder / f"{name}.txt", folder / "annotations" / f"{name}.txt") if os.path.isfile(path)}
        if ("trainval" in lists) != ("test" in lists):
            raise DataError(f"{folder}: splits", found=f"{'test' if 'test' in lists else 'trainval'}.txt alone",
                            expected="trainval.txt and test.txt, or neither", fix="Unpack annotations.tar.gz again.")
        entries = {entry.name: entry for entry in self.splits["all"]}
        splits = disjoint(folder, {"train": lists["trainval"], "test": lists["test"]} if "test" in lists else {
            "all": lists.get("list") or [*entries]})
        for name in {name for names in splits.values() for name in names} - entries.keys():
            entries[name] = Entry(name, folder / "images" / f"{name}.jpg", None)
            self.bad[entries[name].image] = "neither picture nor mask"
        self.splits = {split: [entries[name] for name in names] for split, names in splits.items()}

    def _read_list(self, path: Path) -> list[str]:
        """The names of a list, `NAME CLASS-ID SPECIES BREED-ID` a line, or the name alone; species are remembered."""
        found: dict[str, None] = {}
        for number, line in enumerate(read_text(path, "list").splitlines(), start=1):
            name, *columns = line.split() or ("#",)
            if name.startswith("#"):
                continue
            species = {"1": 1, "2": 2}.get(columns[1]) if len(columns) == 3 else None
            wrong = ("no line of a list" if columns and species is None else "a name for the second time"
                     if name in found else "name and species contradict each other"
                     if species and _species_of(name) not in {None, species} else "")
            if wrong:
                raise DataError(f"{path}, line {number}: {wrong}", found=line,
                                expected="each name once, alone or as NAME CLASS-ID SPECIES BREED-ID, with 1 (a cat's, "
                                "capitalised name) or 2 (a dog's) as SPECIES",
                                fix="Mend the line, or unpack annotations.tar.gz again.")
            self._listed |= {name: species} if species else {}
            found[name] = None
        if not found:
            raise DataError(f"{path}: list", found="no names in it", expected="a name a line",
                            fix="Unpack annotations.tar.gz again, or remove the file.")
        return [*found]

    def _labels(self, names: list[str]) -> LabelSet:
        """The classes; DataError if the class of a picture cannot be told."""
        breeds = {breed for name in names if (breed := _breed_of(name)) is not None}
        self._telling = len(breeds) > 1 or bool(self._listed)  # names that all begin alike (img_1, img_2) tell nothing
        if self.target == "foreground":
            return LabelSet("pets-foreground", ("background", "pet"), PETS.colours[:2])
        tells = _breed_of if self.target == "breed" else self.species
        unknown = [name for name in names if tells(name) is None]
        if unknown and not (self.ids and self.target == "species"):  # masks with ids say the species themselves
            raise DataError(f"{self.root}: the {self.target} of pictures cannot be told by their names",
                            found=f"{len(unknown)} of {len(names)}, such as {few(unknown)}",
                            expected="names like Bengal_12 (a cat, capitalised) and beagle_12 (a dog), or, of species, "
                            "annotations/list.txt", fix='Open it with target="foreground": background and pet.')
        if self.target == "species":
            return PETS
        # In the order of the published class ids: by name, whatever the case.
        return replace(known_label_set(("background", *sorted(breeds, key=lambda name: (name.lower(), name)))),
                       name="pets-breeds")

    def species(self, name: str) -> int | None:
        """1 for a cat, 2 for a dog, None if neither a list nor the name tells."""
        return (_species_of(name) if self._telling else None) or self._listed.get(name)

    def mask(self, entry: Entry) -> np.ndarray:
        known = self.species(entry.name) if self.target == "species" else None
        cat, dog = (1, 2) if self.target == "species" else (1, 1) if self.target == "foreground" else 2 * (
            self.label_set.id(_breed_of(entry.name) or ""),)
        codes = {0: 0, 1: cat, 2: dog, IGNORE: IGNORE} if self.ids else {1: known or cat, 2: 0, 3: IGNORE}
        mask = MaskReading(ClassTable(self.label_set, codes, {}), "ids", meaning=_IDS if self.ids else _TRIMAP).read(
            entry.target)
        if self.ids and known and (other := (mask == 3 - known)).any():
            raise DataError(f"{entry.target}: the mask contradicts the name, which is a {_SPECIES[known]}'s",
                            found=f"{_SPECIES[3 - known]} ({int(other.sum())} pixels)", expected=_IDS,
                            fix='If 1 means any pet, open it with target="foreground".')
        return mask

    def fault(self, entry: Entry, mask: np.ndarray) -> str | None:
        return None if ((mask != 0) & (mask != IGNORE)).any() else "no pet in the mask"

    def settings(self) -> dict[str, object]:
        return {"target": self.target, "ids": self.ids, "species": self._listed}


def _breed_of(name: str) -> str | None:
    """A picture's breed: its name without the number; None if it has no such name."""
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else None


def _species_of(name: str) -> int | None:
    """1 if a name says that it is a cat, as those with a capital first letter do, 2 for a dog, None if it does not."""
    breed = _breed_of(name)
    return _PLAIN_WORDS.get(breed.lower(), 1 if breed[0].isupper() else 2) if breed is not None else None


def _has_ids(path: Path) -> bool:
    try:
        return bool(_NO_TRIMAP.read(path).any())
    except DataError:
        return False  # it is said when all files are read


def _mask_folder(folder: Path, asked: bool = True) -> Path | None:
    """The folder of the masks beside `images/`; `masks` could be anybody's, if nobody asked for this layout."""
    places = (folder / "annotations" / "trimaps", folder / "trimaps", *([folder / "masks"] if asked else []))
    return next((place for place in places if os.path.isdir(folder / "images") and os.path.isdir(place)), None)
