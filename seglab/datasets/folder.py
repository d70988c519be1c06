"""Any dataset that is a folder of pictures and a folder of masks."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from seglab.datasets.io import (
    IMAGE_SUFFIXES,
    Size,
    fitted_size,
    looks_coloured,
    read_image,
    read_mask,
    shared_size,
)
from seglab.datasets.protocols import Sample
from seglab.errors import ArgumentError, DataError
from seglab.labels import LabelSet

Pair = tuple[Path, Path]
Item = TypeVar("Item", bound=tuple[Path, Any])
Transforms = Callable[[Any, Any], tuple[Any, Any]]

SPLITS = ("train", "val", "test")
#: Endings that tools put between a picture's name and its mask's: 0001.png, 0001_L.png, 0001_mask.png …
_MASK_ENDINGS = ("", "_L", "_mask", "_label", "_labels", "_gt", "_seg", "_labelIds", "_lab")
#: Where masks lie beside pictures: for each split, and for a folder that is not split yet.
_SPLIT_LAYOUTS = (("{s}", "{s}annot"), ("{s}", "{s}_labels"), ("{s}", "{s}_masks"), ("{s}/images", "{s}/masks"),
                  ("{s}/images", "{s}/labels"), ("images/{s}", "masks/{s}"), ("images/{s}", "labels/{s}"))
_FLAT_LAYOUTS = (("images", "masks"), ("images", "labels"), ("images", "annotations"))


class SegmentationFolder(Dataset[Sample]):
    """Pictures and their masks, by file name.

    `dataset[i]` is an image, (3, H, W) uint8, and a mask, (H, W) uint8 class ids with 255 = ignore, both torchvision
    `tv_tensors`, so that torchvision v2 transforms move them together.

    Args:
        pairs: (picture, mask) paths; `pair_files` makes them from two folders.
        label_set: the classes.
        encoding: how masks are stored: "ids", "colours", or "auto", which looks at the first eight.
        ignore_ids: ids on disk that are not to be scored, beside 255.
        fit: scale down to fit into (height, width); pictures antialiased, masks nearest. Never enlarges.
        transforms: called with (image, mask) after reading, for instance a `torchvision.transforms.v2.Compose`.

    Raises:
        DataError: no pairs; when an item is read, also for a file that is missing, cut off, of another size than its
            mask, or has ids or colours outside the label set. The message names the file.

    Example:
        >>> import tempfile
        >>> from seglab.datasets import SemanticDrone
        >>> from seglab.samples import write_drone_sample
        >>> root = write_drone_sample(Path(tempfile.mkdtemp()) / "s", count=4, size=(40, 60), progress=False)
        >>> image, mask = SemanticDrone(root, split="train")[0]
        >>> image.shape, mask.shape, mask.dtype
        (torch.Size([3, 40, 60]), torch.Size([40, 60]), torch.uint8)
    """

    def __init__(self, pairs: Sequence[Pair], label_set: LabelSet, *, encoding: str = "auto",
                 ignore_ids: tuple[int, ...] = (), fit: Size | None = None,
                 transforms: Transforms | None = None) -> None:
        if not pairs:
            raise DataError("dataset", found="no pictures", expected="at least one picture with its mask")
        if encoding not in {"auto", "ids", "colours"}:
            raise ArgumentError("encoding", found=repr(encoding), expected='"auto", "ids" or "colours"')
        if encoding == "auto":
            # One grey file proves nothing (a roof is grey in the drone palette), so look at several.
            encoding = "colours" if any(looks_coloured(mask) for _, mask in pairs[:8]) else "ids"
        self.pairs = list(pairs)
        self.label_set = label_set
        self.encoding = encoding
        self.ignore_ids = tuple(ignore_ids)
        self.fit = fit
        self.transforms = transforms

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> list[str]:
        """The pictures' file names without ending, in order."""
        return [image.stem for image, _ in self.pairs]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair before transforms: image (H, W, 3) uint8, mask (H, W) uint8."""
        image_path, mask_path = self.pairs[index]
        size = shared_size(image_path, mask_path, "Export the mask at the picture's size. If width and height are "
                           "exchanged, the picture is stored rotated: apply its EXIF rotation once, and save it.")
        image = read_image(image_path, fit=self.fit)
        mask = read_mask(mask_path, self.label_set, encoding=self.encoding, ignore_ids=self.ignore_ids, fit=self.fit)
        assert image.shape[:2] == mask.shape == fitted_size(size, self.fit)
        return image, mask

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        return sample_of(*self.read(index), self.transforms)

    @classmethod
    def from_root(cls, root: str | Path, split: str = "train", label_set: LabelSet | None = None,
                  **options: Any) -> SegmentationFolder:
        """Open a folder in one of the common layouts.

        Split on disk: `train/` + `trainannot/` (or `train_labels/`, `train_masks/`), `train/images/` +
        `train/masks/`, or `images/train/` + `masks/train/`; a missing `test` is what `val` holds, and then a tenth
        of `train` serves as `val`. Not split: `images/` + `masks/`, split here by name, 70 : 10 : 20.

        Args:
            root: the dataset's folder.
            split: "train", "val", "test" or "all".
            label_set: the classes; by default read from a `class_dict.csv` (name, r, g, b) in the root.
            options: as for SegmentationFolder.

        Raises:
            DataError: no folder, no known layout, a picture without mask, or no table of classes.
        """
        root = existing_folder(root)
        pairs = split_pairs(root, split)
        if label_set is None:
            label_set = LabelSet.from_csv(find_class_table(root), name=root.name)
        return cls(pairs, label_set, **options)


def sample_of(image: np.ndarray, mask: np.ndarray,
              transforms: Transforms | None) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """A sample of what was read: (H, W, 3) and (H, W) uint8, copied, since a transform may write in place."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
    return as_sample(pixels, torch.from_numpy(mask.copy()), transforms)


def as_sample(image: torch.Tensor, mask: torch.Tensor,
              transforms: Transforms | None) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Wrap a picture and its mask as tv_tensors and apply joint transforms."""
    sample = tv_tensors.Image(image), tv_tensors.Mask(mask)
    return transforms(*sample) if transforms is not None else sample


def existing_folder(root: str | Path) -> Path:
    """The path, if it is a folder; otherwise a DataError that says where the path stops to exist."""
    root = Path(root).expanduser()
    if root.is_dir():
        return root
    nearest = next((p for p in root.resolve().parents if p.is_dir()), root)
    there = sorted(p.name for p in nearest.iterdir() if not p.name.startswith("."))[:8]
    raise DataError(f"{root}: folder", found="a file" if root.exists() else f"missing; {nearest} holds {there}",
                    expected="a dataset's folder", fix="Check the path (and SEGLAB_DATA, if it is set).")


def pair_files(images: str | Path, masks: str | Path) -> list[Pair]:
    """Pair the pictures of one folder with the masks of another by name, sorted.

    The mask of `a.jpg` is `a.png`, or `a_L.png`, `a_mask.png` and the like if the whole folder is named so.

    Raises:
        DataError: a folder is missing or empty, two files share a name, or a picture has no mask. All pictures
            without mask are counted, the first named.
    """
    image_files, mask_files = _by_stem(existing_folder(images)), _by_stem(existing_folder(masks))
    endings = {ending: sum(stem + ending in mask_files for stem in image_files) for ending in _MASK_ENDINGS}
    ending = max(endings, key=lambda e: endings[e])
    missing = [image.name for stem, image in image_files.items() if stem + ending not in mask_files]
    if missing:
        raise DataError(f"{images}: pictures without a mask in {masks}",
                        found=f"{len(missing)} of {len(image_files)}: {', '.join(missing[:5])}"
                              + (" …" if len(missing) > 5 else ""),
                        expected=f"a mask for each, for instance {Path(missing[0]).stem}{ending}.png",
                        fix="Add the masks, or move these pictures out of the folder.")
    if extra := len(mask_files) - len(image_files):
        warnings.warn(f"{masks}: {extra} masks have no picture in {images} and are left out.", stacklevel=3)
    return [(image, mask_files[stem + ending]) for stem, image in sorted(image_files.items())]


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise DataError(f"{folder}: two files for one name", found=f"{files[path.stem].name} and {path.name}",
                            expected="one file a name", fix="Remove one of them.")
        files[path.stem] = path
    if not files:
        raise DataError(f"{folder}: folder", found="no pictures in it",
                        expected="files that end in " + ", ".join(sorted(IMAGE_SUFFIXES)),
                        fix="Check that the dataset was unpacked whole, and not one folder deeper.")
    return files


def split_pairs(root: Path, split: str) -> list[Pair]:
    """The pairs of one split of a folder in a common layout; see `SegmentationFolder.from_root`."""
    if split not in {*SPLITS, "all"}:
        raise ArgumentError("split", found=repr(split), expected='"train", "val", "test" or "all"')
    for image_layout, mask_layout in _SPLIT_LAYOUTS:
        folders = {s: (root / image_layout.format(s=s), root / mask_layout.format(s=s)) for s in SPLITS}
        folders = {s: both for s, both in folders.items() if both[0].is_dir() and both[1].is_dir()}
        if "train" in folders:
            pairs = {s: pair_files(*both) for s, both in folders.items()}
            return _complete_splits(root, pairs)[split]
    for image_layout, mask_layout in _FLAT_LAYOUTS:
        if (root / image_layout).is_dir() and (root / mask_layout).is_dir():
            return choose_split(pair_files(root / image_layout, root / mask_layout), split)
    raise DataError(f"{root}: layout", found=sorted(p.name for p in root.iterdir() if p.is_dir())[:12],
                    expected="images/ + masks/, or train/ + trainannot/ (train_labels/, train_masks/), or "
                             "train/images/ + train/masks/",
                    fix="Rename the folders, or give the pairs to SegmentationFolder yourself.")


def _complete_splits(root: Path, pairs: dict[str, list[Pair]]) -> dict[str, list[Pair]]:
    """Fill in what a dataset that is split on disk lacks, so that train, val and test all exist, disjoint."""
    if "test" not in pairs:
        if "val" not in pairs:
            raise DataError(f"{root}: splits", found="train only", expected="train and val, or train and test",
                            fix="Move some pictures and masks to val, or put all into images/ + masks/.")
        pairs["test"] = pairs.pop("val")
    if "val" not in pairs:
        # The last tenth by name: video frames that follow each other must not land on both sides of the cut.
        cut = len(pairs["train"]) - max(1, len(pairs["train"]) // 10)
        pairs["val"], pairs["train"] = pairs["train"][cut:], pairs["train"][:cut]
    pairs["all"] = [pair for s in SPLITS for pair in pairs[s]]
    return pairs


def choose_split(pairs: Sequence[Item], split: str, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
                 seed: int = 0) -> list[Item]:
    """One split of a dataset that comes unsplit: disjoint, and the same on every machine.

    Pictures are put in the order of a hash of their name and the seed, and the order is cut by the fractions.

    Args:
        pairs: all pairs: of a picture's path, and a mask's or a label.
        split: "train", "val", "test" or "all".
        fractions: the shares of train, val and test; they add up to 1.
        seed: another seed, another split.

    Raises:
        ArgumentError: an unknown split, or fractions that do not add up to 1.
        DataError: fewer than three pictures.
    """
    if split == "all":
        return list(pairs)
    return sorted(pairs[place] for place in split_places([pair[0].stem for pair in pairs], split, fractions, seed))


def split_places(names: Sequence[str], split: str, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
                 seed: int = 0) -> list[int]:
    """The places of the pictures in one split ("train", "val" or "test"), by their names; see `choose_split`.

    Example:
        >>> [split_places(["a", "b", "c", "d"], split) for split in ("train", "val", "test")]
        [[0, 1], [2], [3]]
    """
    if split not in SPLITS:
        raise ArgumentError("split", found=repr(split), expected='"train", "val", "test" or "all"')
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ArgumentError("fractions", found=fractions, expected="three positive numbers that add up to 1")
    if len(names) < 3:
        raise DataError("dataset", found=f"{len(names)} pictures", expected="at least 3, to make train, val and test")
    order = sorted(range(len(names)), key=lambda place: hashlib.blake2b(f"{seed}/{names[place]}".encode()).digest())
    val = max(1, round(len(names) * fractions[1]))
    test = max(1, round(len(names) * fractions[2]))
    train = max(1, len(names) - val - test)
    start, stop = {"train": (0, train), "val": (train, train + val), "test": (train + val, len(names))}[split]
    return sorted(order[start:stop])


def find_class_table(folder: Path, upto: Path | None = None) -> Path:
    """The `class_dict*.csv` (or `classes.csv`) in a folder or in those above it, up to `upto`."""
    for place in (folder, *folder.parents) if upto is not None else (folder,):
        found = sorted([*place.glob("class_dict*.csv"), *place.glob("classes.csv")])
        if found:
            return found[0]
        if place == upto:
            break
    raise DataError(f"{folder}: table of classes", found="no class_dict.csv",
                    expected="a file class_dict.csv with the columns name, r, g, b, in the order of the class ids",
                    fix="Write one, or pass label_set=LabelSet(...).")
