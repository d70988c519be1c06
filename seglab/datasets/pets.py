"""The Oxford-IIIT Pet Dataset: cats and dogs, with trimaps."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from seglab.datasets.base import Reader, few
from seglab.datasets.folder import files_by_name
from seglab.datasets.masks import read_values, through_table
from seglab.datasets.splits import Entry, existing_folder, find_split_folders, folders_below, visible
from seglab.errors import ArgumentError, DataError
from seglab.files import read_text
from seglab.labels import IGNORE, PETS, STRAY, LabelSet, known_label_set

_SPECIES = {1: "cat", 2: "dog"}  # in the lists, and class ids in PETS
#: Names of breeds that name the species itself, in copies that others have made.
_PLAIN_WORDS = {"cat": 1, "cats": 1, "dog": 2, "dogs": 2}
_NUMBERED = re.compile(r"([^\W\d_].*)_\d+")
_MASKS = ("trimaps", "masks")
_TRIMAP = "1 (pet), 2 (background) and 3 (border)"
_IDS = f"0 (background), 1 (cat), 2 (dog) and {IGNORE} (ignore)"


class Pets(Reader):
    """Cats and dogs with masks of their species, of pet and background, or of 37 breeds.

    Copies are found as published (`images/`, `annotations/trimaps/`, with `list.txt`, `trainval.txt`, `test.txt`), and
    as others have prepared them: `images/` + `trimaps/` (or `masks/`), or that once more below `train/` and `test/`.

    Published masks are trimaps: 1 is pet, 2 background, and 3 the border in between, where nobody decided. It becomes
    255: neither trained nor scored. Prepared copies may have ids: 0, 1 cat, 2 dog, 255. A picture whose mask holds no
    pet, though there is one to see, is left out of every split.

    Args:
        root: the folder of the dataset, or one that holds it.
        target: "species" (background, cat, dog), "foreground" (background, pet), or "breed" (background and all breeds,
            by name).

    Raises:
        DataError: no such dataset, a contradiction between a list and a name, or a target that neither names nor lists
            tell.

    Source: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012.

    Example:
        >>> import tempfile
        >>> from seglab.datasets import Samples
        >>> from seglab.samples import write_pets_sample
        >>> root = write_pets_sample(Path(tempfile.mkdtemp()) / "pets", count=12, progress=False)
        >>> data = Samples(Pets(root), "train", size=128, cache=False)
        >>> image, mask = data[0]
        >>> image.shape, mask.shape, data.names[0], data.label_set.classes
        (torch.Size([3, 128, 128]), torch.Size([128, 128]), 'Patched_cat_1', ('background', 'cat', 'dog'))
    """

    name = "pets"
    looks_like = "images/ + annotations/trimaps/, or train/images/ + train/trimaps/"

    def __init__(self, root: str | Path, *, target: str = "species") -> None:
        if target not in {"species", "foreground", "breed"}:
            raise ArgumentError("target", found=repr(target), expected='"species", "foreground" or "breed"')
        root = existing_folder(root)
        folder = self.find(root, asked=True)
        if folder is None:
            raise DataError(f"{root}: Oxford-IIIT Pet Dataset", found=[path.name for path in visible(root)][:12],
                            expected=self.looks_like, fix="Check the path, or `seglab download pets`.")
        self.root, self.target = folder, target
        self._listed: dict[str, int] = {}
        if masks := _mask_folder(folder):
            self.splits = {"all": self._paired(folder / "images", masks)}
        else:
            self.splits = {split: self._paired(place / "images", masks) for split, place in
                           find_split_folders(folder).items() if (masks := _mask_folder(place))}
        if (folder / "annotations" / "trimaps").is_dir():
            self._read_lists(folder)
        everything = [entry for entries in self.splits.values() for entry in entries]
        some = [_has_ids(entry.target) for entry in everything[:8] if entry.image not in self.bad]
        self.ids = 2 * sum(some) > len(some)  # a single one may be wrong
        self.label_set = self._labels([entry.name for entry in everything])

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        names = _MASKS if asked else _MASKS[:1]  # `masks` could be anybody's
        return next((place for place in folders_below(root, 2) if any(
            _mask_folder(part, names) for part in (place, *find_split_folders(place).values()))), None)

    def _paired(self, images: Path, masks: Path) -> list[Entry]:
        """Pictures and masks by name, also those of which one is missing."""
        pictures, shapes = files_by_name(images), files_by_name(masks)
        entries = [Entry(name, pictures.get(name, images / f"{name}.jpg"), shapes.get(name, masks / f"{name}.png"))
                   for name in sorted({*pictures, *shapes})]
        self.bad |= {e.image: f"no {'mask' if e.name in pictures else 'picture'}" for e in entries
                     if e.name not in pictures or e.name not in shapes}
        return entries

    def _read_lists(self, folder: Path) -> None:
        lists = {name: path for name in ("list", "trainval", "test")
                 for path in (folder / f"{name}.txt", folder / "annotations" / f"{name}.txt") if path.is_file()}
        entries = {entry.name: entry for entry in self.splits["all"]}
        named = {name: self._read_list(path) for name, path in lists.items()}
        if ("trainval" in lists) != ("test" in lists):
            raise DataError(f"{folder}: splits", found=f"{'test' if 'test' in lists else 'trainval'}.txt alone",
                            expected="trainval.txt and test.txt, or neither", fix="Unpack annotations.tar.gz again.")
        splits = {"train": named["trainval"], "test": named["test"]} if "test" in lists else (
            {"all": named["list"]} if lists else {})
        if both := sorted({*splits.get("train", ())} & {*splits.get("test", ())}):
            raise DataError(f"{folder}: splits", found=f"{len(both)} names in trainval.txt and in test.txt, such as "
                                                       + few(both),
                            expected="each name in one of them", fix="Take the published lists, or mend yours.")
        missing = {name for names in splits.values() for name in names} - entries.keys()
        trimaps = folder / "annotations" / "trimaps"
        entries |= {name: Entry(name, folder / "images" / f"{name}.jpg", trimaps / f"{name}.png") for name in missing}
        self.bad |= {entries[name].image: "neither picture nor mask" for name in missing}
        self.splits = {split: [entries[name] for name in names] for split, names in splits.items()} or self.splits

    def _read_list(self, path: Path) -> list[str]:
        """The names of a list, `NAME CLASS-ID SPECIES BREED-ID` a line, or the name alone; species are remembered."""
        found: dict[str, None] = {}
        for number, line in enumerate(read_text(path, "list").splitlines(), start=1):
            name, *columns = line.split() or ("#",)
            if name.startswith("#"):
                continue
            if len(columns) not in {0, 3} or columns[1:2] not in ([], ["1"], ["2"]):
                raise DataError(f"{path}, line {number}", found=line, expected="NAME CLASS-ID SPECIES BREED-ID, with 1 "
                                "(cat) or 2 (dog) as SPECIES", fix="Mend the line, or unpack annotations.tar.gz again.")
            if columns:
                species = self._listed[name] = int(columns[1])
                if species_of(name) not in {None, species}:
                    raise DataError(f"{path}, line {number}: name and species contradict each other", found=line,
                                    expected=f"species {species_of(name)}, since the name is a "
                                             f"{_SPECIES[3 - species]}'s (names of cats begin with a capital letter, "
                                             "those of dogs do not)",
                                    fix="Mend the line, or unpack annotations.tar.gz again.")
            if name in found:
                raise DataError(f"{path}, line {number}", found=f"{name} for the second time",
                                expected="each name once", fix="Remove one of the lines.")
            found[name] = None
        if not found:
            raise DataError(f"{path}: list", found="no names in it", expected="a name a line",
                            fix="Unpack annotations.tar.gz again, or remove the file.")
        return [*found]

    def _labels(self, names: list[str]) -> LabelSet:
        """The classes; DataError if the class of a picture cannot be told."""
        if self.target == "foreground":
            return LabelSet("pets-foreground", ("background", "pet"), PETS.colours[:2])
        breeds = {breed for name in names if (breed := breed_of(name)) is not None}
        if self.target == "breed":
            unknown, wanted = [name for name in names if breed_of(name) is None], "names like beagle_12: BREED_number"
        else:  # masks with ids say it themselves; names that all begin alike (img_1, img_2) tell nothing
            self._telling = bool(self._listed) or len(breeds) > 1
            unknown = [name for name in names if not self.ids and self.species(name) is None]
            wanted = "names like Bengal_12 (a cat, capitalised) and beagle_12 (a dog), or annotations/list.txt"
        if unknown:
            raise DataError(f"{self.root}: the {self.target} of pictures cannot be told by their names",
                            found=f"{len(unknown)} of {len(names)}, such as {few(unknown)}",
                            expected=wanted, fix='Open it with target="foreground": background and pet.')
        if self.target == "species":
            return PETS
        # In the order of the published class ids: by name, whatever the case.
        return replace(known_label_set(("background", *sorted(breeds, key=lambda name: (name.lower(), name)))),
                       name="pets-breeds")

    def species(self, name: str) -> int | None:
        """1 for a cat, 2 for a dog, None if neither a list nor the name tells."""
        return (species_of(name) if self._telling else None) or self._listed.get(name)

    def mask(self, entry: Entry) -> np.ndarray:
        pet = {"foreground": 1, "species": 0}.get(self.target)
        if pet is None:
            pet = self.label_set.id(breed_of(entry.name) or "")  # every name has one, or it would not be open
        table = np.full(256, STRAY, dtype=np.uint8)
        if self.ids:
            table[[0, 1, 2, IGNORE]] = 0, pet or 1, pet or 2, IGNORE
        else:
            table[[1, 2, 3]] = pet or self.species(entry.name) or 0, 0, IGNORE
        mask = through_table(read_values(entry.target), table, entry.target, _IDS if self.ids else _TRIMAP)
        known = self.species(entry.name) if self.ids and self.target == "species" else None
        if known and (other := (mask == 3 - known)).any():
            raise DataError(f"{entry.target}: the mask contradicts the name, which is a {_SPECIES[known]}'s",
                            found=f"{_SPECIES[3 - known]} ({int(other.sum())} pixels)", expected=_IDS,
                            fix='If 1 means any pet, open it with target="foreground".')
        return mask

    def fault(self, entry: Entry, mask: np.ndarray) -> str | None:
        return None if ((mask != 0) & (mask != IGNORE)).any() else "no pet in the mask"

    def settings(self) -> dict[str, object]:
        return {"target": self.target, "ids": self.ids, "species": self._listed}


def breed_of(name: str) -> str | None:
    """A picture's breed: its name without the number; None if it has no such name.

    Example:
        >>> breed_of("english_cocker_spaniel_12"), breed_of("17")
        ('english_cocker_spaniel', None)
    """
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else None


def species_of(name: str) -> int | None:
    """1 if a name says that it is a cat, as those with a capital first letter do, 2 for a dog, None if it does not say.

    Example:
        >>> species_of("Bengal_3"), species_of("beagle_3"), species_of("cat_3"), species_of("3")
        (1, 2, 1, None)
    """
    breed = breed_of(name)
    if breed is None:
        return None
    return _PLAIN_WORDS.get(breed.lower(), 1 if breed[0].isupper() else 2)


def _has_ids(path: Path) -> bool:
    """Whether a mask has values that no trimap has."""
    try:
        values = read_values(path)
    except DataError:
        return False  # it is said when all files are read
    return bool(((values == 0) | (values == IGNORE)).any())


def _mask_folder(folder: Path, names: tuple[str, ...] = _MASKS) -> Path | None:
    """The folder of the masks beside `images/`."""
    places = (folder / "annotations" / "trimaps", *(folder / name for name in names))
    return next((place for place in places if (folder / "images").is_dir() and place.is_dir()), None)
