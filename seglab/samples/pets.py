"""A small Oxford-IIIT Pet dataset: drawn cats and dogs of six breeds, with trimaps, in the published layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from seglab.errors import ArgumentError
from seglab.progress import progress_bar
from seglab.samples.animals import OVER, Animal, Place, before, camera, set_down
from seglab.samples.once import write_once

VERSION = 2  # of the drawings: raise it when they change, so that old samples are left alone
#: Breed -> (is a cat, marks of the coat). As published, breeds of cats are capitalised and those of dogs are not.
BREEDS = {"Patched_cat": (True, "patched"), "patched_dog": (False, "patched"), "Plain_cat": (True, "plain"),
          "plain_dog": (False, "plain"), "Striped_cat": (True, "striped"), "striped_dog": (False, "striped")}
PET, BACKGROUND, BORDER = 1, 2, 3
_SIZES = ((160, 208), (176, 176), (208, 160))
#: What the real dataset holds too: pictures that are grey, and a trimap without a pet, by their number.
_GREY, _WITHOUT_PET = (2, 9), 1
_HEADER = """\
#Image CLASS-ID SPECIES BREED ID
#ID: 1:6 Class ids
#SPECIES: 1:Cat 2:Dog
#BREED ID: 1-3:Cat 1-3:Dog
#All images with 1st letter as capital are cat images
#images with small first letter are dog images
"""


def write_pets_sample(root: Path, count: int = 240, seed: int = 0, progress: bool = True) -> Path:
    """Write a drawn set in the published layout of the Oxford-IIIT Pet Dataset.

    `images/Striped_cat_12.jpg`, `annotations/trimaps/Striped_cat_12.png` (1 pet, 2 background, 3 border), and
    `annotations/list.txt`, `trainval.txt` and `test.txt`. Each picture shows one animal, of one of six breeds, which
    differ by their coats; what stands before the animal is background. As in the real set, some pictures need care: two
    are grey, and one trimap has no pet. The folder appears whole or not at all. A set that is there is left as it is.

    Args:
        root: the folder to make; missing or empty, or holding this very set.
        count: number of pictures, 12 or more; half are for training. A larger set has the pictures of a smaller one.
        seed: 0 or more; the same seed gives the same files.
        progress: show a bar while drawing.

    Raises:
        ArgumentError: a number out of range.
        DataError: the folder holds something else, or cannot be written.

    Example:
        >>> import tempfile
        >>> root = write_pets_sample(Path(tempfile.mkdtemp()) / "pets", count=12, progress=False)
        >>> sorted(path.name for path in root.iterdir())
        ['annotations', 'images', 'sample.json']
        >>> (root / "annotations" / "test.txt").read_text().splitlines()[0]
        'Patched_cat_2 1 1 1'
    """
    root = Path(root)
    if count < 2 * len(BREEDS) or seed < 0:
        raise ArgumentError("write_pets_sample", found=f"count {count}, seed {seed}",
                            expected=f"a count of {2 * len(BREEDS)} or more (each breed in trainval and in test), and "
                                     "a seed of 0 or more")
    stamp = {"generator": "seglab.datasets.sample_pets", "version": VERSION, "seed": int(seed), "count": int(count)}
    return write_once(root, stamp, lambda draft: _write(draft, int(count), int(seed), progress))


def draw_pet(index: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One picture of one animal, and its trimap.

    Args:
        index: number of the picture, 0 or more; breeds take turns.
        seed: 0 or more; the same two give the same picture.

    Returns:
        (H, W, 3) uint8 RGB, and (H, W) uint8: 1 pet, 2 background, 3 the border between them, some 4 pixels wide.

    Example:
        >>> picture, trimap = draw_pet(0)
        >>> picture.shape, np.unique(trimap).tolist()
        ((160, 208, 3), [1, 2, 3])
    """
    rng = np.random.default_rng((seed, 5, index))
    is_cat, marks = list(BREEDS.values())[index % len(BREEDS)]
    size = _SIZES[rng.integers(len(_SIZES))] if index else _SIZES[0]
    place = Place(rng, OVER * size[0], OVER * size[1])
    animal = Animal(rng, is_cat, marks)
    shape = animal.draw(place.picture, *set_down(rng, animal, place, (0.62, 1.05), cut=0.12))
    if rng.random() < 0.25:
        clear = place.picture.copy()
        seen = np.where(before(rng, place) > 0, np.uint8(0), shape)
        if np.count_nonzero(seen) > 0.6 * np.count_nonzero(shape):
            shape = seen
        else:
            place.picture[:] = clear  # too little would be left of the animal
    shape = cv2.resize(shape, size[::-1], interpolation=cv2.INTER_AREA)
    shape = (shape > 127).astype(np.uint8)  # (H, W)
    trimap = np.full(size, BACKGROUND, np.uint8)
    trimap[cv2.dilate(shape, _disc(2)) > 0] = BORDER
    trimap[cv2.erode(shape, _disc(2)) > 0] = PET
    return camera(rng, cv2.resize(place.picture, size[::-1], interpolation=cv2.INTER_AREA)), trimap


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _write(draft: Path, count: int, seed: int, progress: bool) -> None:
    images, trimaps = draft / "images", draft / "annotations" / "trimaps"
    images.mkdir()
    trimaps.mkdir(parents=True)
    for index in progress_bar(range(count), desc="drawing", unit="picture", shown=progress):
        picture, trimap = draw_pet(index, seed)
        image = Image.fromarray(picture)
        if index in _GREY:
            image = image.convert("L")
        if index == _WITHOUT_PET:
            trimap[trimap == PET] = BACKGROUND
        breed, number = _name(index)
        image.save(images / f"{breed}_{number}.jpg", quality=92)
        Image.fromarray(trimap).save(trimaps / f"{breed}_{number}.png")
    lines: dict[str, list[str]] = {"list": [], "trainval": [], "test": []}
    # Class ids follow the breeds' names, whatever their case; breeds are counted in each species.
    for breed, number in sorted((_name(i) for i in range(count)), key=lambda one: (list(BREEDS).index(one[0]), one[1])):
        is_cat = BREEDS[breed][0]
        breed_id = [name for name, (cat, _) in BREEDS.items() if cat == is_cat].index(breed) + 1
        line = f"{breed}_{number} {list(BREEDS).index(breed) + 1} {1 if is_cat else 2} {breed_id}\n"
        lines["list"].append(line)
        lines["trainval" if number % 2 else "test"].append(line)
    for name, content in lines.items():
        text = (_HEADER if name == "list" else "") + "".join(content)
        (draft / "annotations" / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")


def _name(index: int) -> tuple[str, int]:
    return list(BREEDS)[index % len(BREEDS)], index // len(BREEDS) + 1
