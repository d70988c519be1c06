"""The Oxford-IIIT Pet Dataset as pictures with masks."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.datasets import OxfordIIITPet

from seglab.datasets.download import fetch, unpack
from seglab.datasets.folder import Pair, Transforms, existing_folder, sample_of
from seglab.datasets.io import Size, read_image, shared_size
from seglab.datasets.pets.checks import (
    Record,
    choose_policies,
    complain,
    examine,
    few,
    find_problems,
    read_raw,
    report,
)
from seglab.datasets.pets.layout import Layout, breed_of, find_pets, read_layout
from seglab.datasets.protocols import Sample
from seglab.datasets.transforms import CropOrPad, height_and_width
from seglab.errors import ArgumentError, DataError
from seglab.files import data_home
from seglab.labels import IGNORE, PETS, LabelSet, known_label_set

#: {encoding: {value on disk: what it means}}; a trimap's border is neither animal nor background.
_VALUES = {"trimap": {1: "pet", 2: "background", 3: "border"}, "ids": {0: "background", 1: "cat", 2: "dog",
                                                                       IGNORE: "ignore"}}
_CHOICES = {"split": ("train", "val", "test", "trainval", "all"), "target": ("species", "foreground", "breed"),
            "how": ("crop-or-pad", "resize", "fit"), "encoding": ("auto", "trimap", "ids")}


class OxfordPets(Dataset[Sample]):
    """Cats and dogs with masks: `dataset[i]` is an image, (3, H, W) uint8, and a mask, (H, W) uint8, 255 = ignore.

    Copies are found as published (`images/`, `annotations/trimaps/`, with `list.txt`, `trainval.txt`, `test.txt`), and
    as others have prepared them: `images/` + `masks/` (or `trimaps/`), or that once more below `train/` and `test/`.
    A tenth of the published trainval is "val", chosen by name, so that it is the same everywhere.

    Published masks are trimaps: 1 is pet, 2 background, and 3 the border in between, where nobody decided. It becomes
    255: neither trained nor scored.

    Args:
        root: the folder of the dataset, or the one that holds it as `pets` or `oxford-iiit-pet`.
        split: "train", "val", "test", "trainval" or "all".
        target: "species" (background, cat, dog), "foreground" (background, pet), or "breed" (background and all breeds,
            by name).
        size: side or (height, width) of the pictures, in pixels; by default each as it is.
        how: how they get this size: "crop-or-pad" (the middle), "resize" (exactly, also if that distorts), or "fit"
            (scaled as a whole to fit inside, then padded). Pictures are scaled bilinearly with antialiasing, masks by
            nearest neighbour; padding is 0 and 255.
        problems: what to do with pictures that need care, {kind: policy}, over these defaults; or one policy for all:
            "missing" (a file that is not there), "undecodable" and "other-size" (picture and mask): "error" or "skip";
            "not-rgb": "keep" (converted), "skip" or "error"; "no-pet" (no pixel of a pet, though there is one to see):
            "skip", "keep" or "error"; "too-large" (than `max_side`): "shrink", "skip", "keep" or "error".
        max_side: the longest side that is not too large, in pixels; None for any.
        verify: read all files once to find problems; what was found is remembered in the data folder. False looks for
            missing files only.
        encoding: "trimap"; "ids" (0, 1 cat, 2 dog, 255), as prepared copies may have; "auto" looks at eight masks.
        download: fetch the dataset into `root` if it is not there, some 810 MB.
        transforms: called with (image, mask).
        progress: show bars.

    Attributes:
        label_set: the classes.
        pairs: (picture, mask) paths, in order.
        problems: {kind: names of the pictures that had this problem}, kept or not.

    Raises:
        ArgumentError: an option that is not listed above.
        DataError: no such dataset, a problem as above, a contradiction between a list and a name, a mask with other
            values, or a target that neither names nor lists tell; when an item is read, also a file that is damaged.

    Source: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012.

    Example:
        >>> import tempfile
        >>> from seglab.samples import write_pets_sample
        >>> root = write_pets_sample(Path(tempfile.mkdtemp()) / "pets", count=12, progress=False)
        >>> data = OxfordPets(root, "trainval", size=128, verify=False)
        >>> image, mask = data[0]
        >>> image.shape, mask.shape, data.names[0], data.label_set.classes
        (torch.Size([3, 128, 128]), torch.Size([128, 128]), 'Patched_cat_1', ('background', 'cat', 'dog'))
    """

    def __init__(self, root: str | Path, split: str = "train", target: str = "species", *,
                 size: int | tuple[int, int] | None = None, how: str = "crop-or-pad",
                 problems: Mapping[str, str] | str | None = None, max_side: int | None = None, verify: bool = True,
                 encoding: str = "auto", download: bool = False, transforms: Transforms | None = None,
                 progress: bool = True) -> None:
        for name, value in (("split", split), ("target", target), ("how", how), ("encoding", encoding)):
            if value not in _CHOICES[name]:
                raise ArgumentError(name, found=repr(value), expected=" or ".join(f'"{c}"' for c in _CHOICES[name]))
        if max_side is not None and max_side < 1:
            raise ArgumentError("max_side", found=max_side, expected="a number of pixels, or None")
        self.policies = choose_policies(problems)
        self.size = height_and_width(size) if size is not None else None
        self.split, self.target, self.how, self.max_side, self.transforms = split, target, how, max_side, transforms
        if download and find_pets(Path(root).expanduser()) is None:
            download_pets(root, progress=progress)
        layout = read_layout(root)
        self.folder = layout.folder
        self.pairs = layout.pairs(split)
        self.encoding = _encoding(layout.everything) if encoding == "auto" else encoding
        self._species = layout.species()
        self.label_set = self._labels(layout)
        self._listed, self._verified = len(self.pairs), verify
        self.problems = self._sort_out(verify, progress)

    def _labels(self, layout: Layout) -> LabelSet:
        """The classes; DataError if the class of a picture cannot be told."""
        if self.target == "foreground":
            return LabelSet("pets-foreground", ("background", "pet"), PETS.colours[:2])
        names = [image.stem for image, _ in layout.everything]
        if self.target == "breed":
            unknown, wanted = [name for name in names if breed_of(name) is None], "names like beagle_12: BREED_number"
        else:  # masks with ids say it themselves
            unknown = [name for name in names if self._species[name] is None and self.encoding == "trimap"]
            wanted = "names like Bengal_12 (a cat, capitalised) and beagle_12 (a dog), or annotations/list.txt"
        if unknown:
            raise DataError(f"{self.folder}: the {self.target} of pictures cannot be told by their names",
                            found=f"{len(unknown)} of {len(names)}, such as {few(unknown)}",
                            expected=wanted, fix='Open it with target="foreground": background and pet.')
        if self.target == "species":
            return PETS
        return replace(known_label_set(("background", *layout.breeds())), name="pets-breeds")

    def _sort_out(self, verify: bool, progress: bool) -> dict[str, list[str]]:
        """Find problem pictures, leave out those that are to be skipped, and return the names of all."""
        names, pairs = self.names, self.pairs
        if verify:
            key = hashlib.blake2b(str(self.folder.resolve()).encode(), digest_size=8).hexdigest()
            records = examine(pairs, data_home() / "cache" / f"pets-{key}.json", progress)
        else:  # a record of a picture with nothing unusual about it
            sound: Record = {"mode": "RGB", "size": [1, 1], "mask": [1, 1], "values": {"1": 1}}
            records = [sound if all(path.exists() for path in pair) else None for pair in pairs]
        found = find_problems(pairs, records, ("1",) if self.encoding == "trimap" else ("1", "2"), self.max_side)
        complain(self.folder, names, found, self.policies, records)
        left_out = {place for kind, places in found.items() if self.policies[kind] == "skip" for place in places}
        self.pairs = [pair for place, pair in enumerate(pairs) if place not in left_out]
        if not self.pairs:
            raise DataError(f"{self.folder}: pictures of {self.split!r}", found=f"{len(pairs)}, all of which are left "
                            "out", expected="at least one that can be used",
                            fix="Look at OxfordPets(…, split='all', problems='skip').report(), and check the folder.")
        if verify:
            for place, record in enumerate(records):
                if record is not None and place not in left_out:  # what is not there is left out
                    self._check_values(pairs[place], {int(v): n for v, n in record["values"].items()})
        return {kind: [names[place] for place in places] for kind, places in found.items()}

    def _check_values(self, pair: Pair, counts: dict[int, int]) -> None:
        """DataError if a mask has values that mean nothing, or shows another species than the name says."""
        meaning = _VALUES[self.encoding]
        if other := {value: n for value, n in counts.items() if value not in meaning}:
            raise DataError(f"{pair[1]}: values of the mask",
                            found=", ".join(f"{value} ({n:,} pixels)" for value, n in sorted(other.items())[:8])
                            + (" …" if len(other) > 8 else ""),
                            expected=", ".join(f"{value} ({text})" for value, text in meaning.items()),
                            fix=f'The masks are read with encoding="{self.encoding}"; the other is '
                                f'"{"ids" if self.encoding == "trimap" else "trimap"}". If this one file is wrong, '
                                "export it again: PNG, scaled by nearest neighbour only.")
        species = self._species[pair[0].stem]
        if self.encoding == "ids" and self.target == "species" and species is not None and 3 - species in counts:
            raise DataError(f"{pair[1]}: the mask contradicts the name",
                            found=f"{meaning[3 - species]} ({counts[3 - species]:,} pixels)",
                            expected=f"{meaning[species]}, as the picture is named",
                            fix='If 1 means any pet in these masks, open them with target="foreground".')

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> list[str]:
        """The pictures' file names without ending, in order."""
        return [image.stem for image, _ in self.pairs]

    def report(self) -> str:
        """A table of the problem pictures: kind, number, what was done, and the first names."""
        return report(self.problems, self.policies, self._listed, len(self), self.max_side, self._verified)

    def subset(self, places: Sequence[int]) -> OxfordPets:
        """The same dataset with some of its pictures, by their places."""
        part = copy.copy(self)
        part.pairs = [self.pairs[place] for place in places]
        return part

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair before transforms: image (H, W, 3) uint8, mask (H, W) uint8."""
        image_path, mask_path = self.pairs[index]
        shared_size(image_path, mask_path, 'Fetch both files again, or pass problems={"other-size": "skip"}.')
        fit = (self.max_side, self.max_side) if self.max_side and self.policies["too-large"] == "shrink" else None
        image, raw = read_image(image_path, fit=fit), read_raw(mask_path, fit=fit)
        counts = np.bincount(raw.ravel(), minlength=256)
        self._check_values(self.pairs[index], {int(v): int(counts[v]) for v in np.flatnonzero(counts)})
        return self._sized(image, np.take(self._table(image_path.stem), raw))

    def _table(self, name: str) -> np.ndarray:
        """Class ids by value on disk, (256,) uint8, for the mask of one picture."""
        table = np.full(256, IGNORE, dtype=np.uint8)
        if self.target == "breed":
            pet = self.label_set.id(breed_of(name) or "")  # every name has one, or it would not be open
        else:
            pet = 1 if self.target == "foreground" else self._species[name] or 0  # None only if ids on disk say it
        if self.encoding == "trimap":
            table[[1, 2]] = pet, 0
        else:
            table[:3] = (0, 1, 2) if self.target == "species" else (0, pet, pet)
        return table

    def _sized(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.size is None or mask.shape == self.size:
            return image, mask
        if self.how != "crop-or-pad":
            want = self.size if self.how == "resize" else _inside(mask.shape, self.size)
            image = np.asarray(Image.fromarray(image).resize(want[::-1], Image.Resampling.BILINEAR))
            mask = np.asarray(Image.fromarray(mask).resize(want[::-1], Image.Resampling.NEAREST))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
        pixels, ids = CropOrPad(self.size)(tv_tensors.Image(pixels), tv_tensors.Mask(torch.from_numpy(np.array(mask))))
        return pixels.permute(1, 2, 0).numpy(), ids.numpy()  # (3, H, W) -> (H, W, 3)

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        return sample_of(*self.read(index), self.transforms)


def _inside(size: Size, box: Size) -> Size:
    """The largest size of the same shape that fits into a box."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _encoding(pairs: Sequence[Pair]) -> str:
    """"ids" if any of the first eight masks that can be read has 0 or 255, which no trimap has; else "trimap"."""
    for _, path in pairs[:8]:
        try:
            raw = read_raw(path)
        except DataError:
            continue  # the policies decide about this file
        if ((raw == 0) | (raw == IGNORE)).any():
            return "ids"
    return "trimap"


def download_pets(root: str | Path, *, progress: bool = True) -> Path:
    """Fetch the published archives into a folder and unpack them there; what is there already is left as it is.

    Addresses and checksums are torchvision's. A download that was interrupted goes on where it ended. The archives
    (some 810 MB) stay, and may be deleted afterwards.

    Args:
        root: the folder for `images/` and `annotations/`.
        progress: show bars.

    Returns:
        The folder, `root`.

    Raises:
        DataError: no network or `SEGLAB_OFFLINE` is set, a wrong checksum, or no room; see `fetch` and `unpack`.
    """
    root = Path(root).expanduser()
    about = {"images.tar.gz": "about 790 MB", "annotations.tar.gz": "about 19 MB"}
    for url, md5 in OxfordIIITPet._RESOURCES:
        name = url.rpartition("/")[2]
        folder = root / name.removesuffix(".tar.gz")
        if not (folder.is_dir() and any(folder.iterdir())):
            archive = fetch(url, root / name, md5, about=about.get(name, ""), progress=progress,
                            instead='Without a network, use the sample: load("pets", source="sample").')
            unpack(archive, folder, top=folder.name, progress=progress)
    return existing_folder(root)
