"""Where a copy of the Oxford-IIIT Pet Dataset keeps its pictures, and what its lists and file names say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seglab.datasets.folder import SPLITS, Pair, existing_folder, split_places
from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.errors import DataError

CAT, DOG = 1, 2  # SPECIES in the lists, and class ids in PETS
_SPECIES = {CAT: "cat", DOG: "dog"}
#: Names of breeds that name the species itself, in copies that others have made.
_PLAIN_WORDS = {"cat": CAT, "cats": CAT, "dog": DOG, "dogs": DOG}
_NUMBERED = re.compile(r"([A-Za-z].*)_\d+")
_MASKS = ("masks", "trimaps")


@dataclass(frozen=True)
class Layout:
    """A copy's pictures and masks.

    Args:
        folder: where it lies.
        trainval, test: (picture, mask) paths, whether the files exist or not.
        val: the pictures in trainval that are for validation.
        everything: all pairs, also those in neither of the two.
        listed: species by name, as `list.txt`, `trainval.txt` and `test.txt` give it; empty if there are none.
    """

    folder: Path
    trainval: list[Pair]
    test: list[Pair]
    val: frozenset[Path]
    everything: list[Pair]
    listed: dict[str, int]

    def pairs(self, split: str) -> list[Pair]:
        """The pairs of "train", "val", "test", "trainval" or "all"."""
        if split in {"train", "val"}:
            return [pair for pair in self.trainval if (pair[0] in self.val) == (split == "val")]
        return {"trainval": self.trainval, "test": self.test, "all": self.everything}[split]

    def species(self) -> dict[str, int | None]:
        """1 for a cat, 2 for a dog, None where neither a list nor the name tells, for every name.

        Where no list confirms it, names that all begin alike (`img_1`, `img_2`) tell nothing.
        """
        names = [image.stem for image, _ in self.everything]
        telling = bool(self.listed) or len({breed_of(name) for name in names} - {None}) > 1
        return {name: (species_of(name) if telling else None) or self.listed.get(name) for name in names}

    def breeds(self) -> tuple[str, ...]:
        """All breeds, of all splits, in the order of the published class ids: by name, whatever the case."""
        found = {breed for image, _ in self.everything if (breed := breed_of(image.stem)) is not None}
        return tuple(sorted(found, key=lambda name: (name.lower(), name)))


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
    return _PLAIN_WORDS.get(breed.lower(), CAT if breed[0].isupper() else DOG)


def find_pets(root: Path) -> Path | None:
    """The folder of a copy in a known layout: root, or `pets` or `oxford-iiit-pet` in it; None if there is none."""
    places = (root, root / "pets", root / "oxford-iiit-pet")
    return next((p for p in places if _is_published(p) or _mask_folder(p) or _mask_folder(p / "train")), None)


def read_layout(root: str | Path) -> Layout:
    """Find out how a copy is laid out, and what is in which split.

    Raises:
        DataError: no known layout, or a list with a line that is wrong; the message names it.
    """
    root = existing_folder(root)
    folder = find_pets(root)
    if folder is None:
        raise DataError(f"{root}: Oxford-IIIT Pet Dataset", found=sorted(p.name for p in root.iterdir())[:12],
                        expected="images/ + annotations/trimaps/, images/ + masks/ (or trimaps/), or train/images/ + "
                                 "train/masks/ (or trimaps/) and the same for test",
                        fix='Check the path, pass download=True, or use the sample: load("pets", source="sample").')
    if _is_published(folder):
        return _published(folder)
    if masks := _mask_folder(folder):
        pairs = _paired(folder / "images", masks)
        return _split_by_name(folder, pairs)
    parts = {s: _paired(folder / s / "images", masks) for s in SPLITS if (masks := _mask_folder(folder / s))}
    if "test" not in parts:
        if "val" not in parts:
            raise DataError(f"{folder}: splits", found="train only", expected="train and test",
                            fix="Move some pictures and masks to test, or put all into images/ + masks/.")
        parts["test"] = parts.pop("val")
    trainval = parts["train"] + parts.get("val", [])
    val = frozenset(image for image, _ in parts["val"]) if "val" in parts else _tenth(trainval)
    return Layout(folder, trainval, parts["test"], val, trainval + parts["test"], {})


def _is_published(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "annotations" / "trimaps").is_dir()


def _mask_folder(folder: Path) -> Path | None:
    """The folder of the masks beside `images/`."""
    return next((folder / name for name in _MASKS if (folder / "images").is_dir() and (folder / name).is_dir()), None)


def _published(folder: Path) -> Layout:
    notes = folder / "annotations"
    lists = {}
    for name in ("list", "trainval", "test"):
        found = [p for p in (notes / f"{name}.txt", folder / f"{name}.txt") if p.is_file()]
        if found:
            lists[name] = _read_list(found[0])

    def pair(name: str) -> Pair:
        return folder / "images" / f"{name}.jpg", notes / "trimaps" / f"{name}.png"

    listed = {name: species for entries in lists.values() for name, species in entries.items() if species is not None}
    if ("trainval" in lists) != ("test" in lists):
        raise DataError(f"{notes}: splits", found=f"{'test' if 'test' in lists else 'trainval'}.txt alone",
                        expected="trainval.txt and test.txt, or neither", fix="Unpack annotations.tar.gz again.")
    if "trainval" in lists:
        if both := sorted(lists["trainval"].keys() & lists["test"].keys()):
            raise DataError(f"{notes}: splits", found=f"{len(both)} names in trainval.txt and in test.txt, such as "
                                                      + ", ".join(both[:5]),
                            expected="each name in one of them", fix="Take the published lists, or mend yours.")
        trainval, test = [[pair(name) for name in lists[key]] for key in ("trainval", "test")]
        everything = [pair(name) for name in dict.fromkeys(name for entries in lists.values() for name in entries)]
        return Layout(folder, trainval, test, _tenth(trainval), everything, listed)
    names = lists.get("list") or sorted({*_files(folder / "images"), *_files(notes / "trimaps")})
    return _split_by_name(folder, [pair(name) for name in names], listed)


def _read_list(path: Path) -> dict[str, int | None]:
    """{name: species, if it is there} of a list: `NAME CLASS-ID SPECIES BREED-ID` a line, or the name alone."""
    found: dict[str, int | None] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        columns = line.split()
        if not columns or columns[0].startswith("#"):
            continue
        name, species = columns[0], None
        if len(columns) > 1:
            if len(columns) != 4 or columns[2] not in {"1", "2"}:
                raise DataError(f"{path}, line {number}", found=line, expected="NAME CLASS-ID SPECIES BREED-ID, with 1 "
                                "(cat) or 2 (dog) as SPECIES", fix="Mend the line, or unpack annotations.tar.gz again.")
            species = int(columns[2])
            if species_of(name) not in {None, species}:
                raise DataError(f"{path}, line {number}: name and species contradict each other", found=line,
                                expected=f"species {species_of(name)}, since the name is a {_SPECIES[3 - species]}'s "
                                         "(names of cats begin with a capital letter, those of dogs do not)",
                                fix="Mend the line, or unpack annotations.tar.gz again.")
        if name in found:
            raise DataError(f"{path}, line {number}", found=f"{name} for the second time", expected="each name once",
                            fix="Remove one of the lines.")
        found[name] = species
    if not found:
        raise DataError(f"{path}: list", found="no names in it", expected="a name a line",
                        fix="Unpack annotations.tar.gz again, or remove the file.")
    return found


def _files(folder: Path) -> dict[str, Path]:
    """Pictures by name without ending. Names with a dot first are left out: macOS puts `._x.png` into archives."""
    return {path.stem: path for path in sorted(folder.iterdir())
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")}


def _paired(images: Path, masks: Path) -> list[Pair]:
    """Pictures and masks of two folders by name; where one of the two is missing, the path that it should have."""
    pictures, shapes = _files(images), _files(masks)
    if not pictures:
        raise DataError(f"{images}: folder", found="no pictures in it", expected="pictures",
                        fix="Check that the dataset was unpacked whole.")
    return [(pictures.get(name, images / f"{name}.jpg"), shapes.get(name, masks / f"{name}.png"))
            for name in sorted({*pictures, *shapes})]


def _tenth(pairs: Sequence[Pair]) -> frozenset[Path]:
    """The pictures of a tenth of the pairs, by a hash of their names, so that it is the same everywhere."""
    names = [image.stem for image, _ in pairs]
    return frozenset(pairs[place][0] for place in split_places(names, "val", (0.8, 0.1, 0.1)))


def _split_by_name(folder: Path, pairs: list[Pair], listed: dict[str, int] | None = None) -> Layout:
    """70 : 10 : 20, as `choose_split` does it."""
    names = [image.stem for image, _ in pairs]
    train, val, test = ([pairs[i] for i in split_places(names, split)] for split in SPLITS)
    return Layout(folder, sorted(train + val), test, frozenset(image for image, _ in val), pairs, listed or {})
