"""One call for a lesson: its dataset, built in or real, split and cached."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

from seglab.datasets import drone
from seglab.datasets.cache import CachedDataset
from seglab.datasets.camvid import CamVid
from seglab.datasets.classification import ClassificationDataset
from seglab.datasets.coco import CocoSegmentation, find_coco, has_coco
from seglab.datasets.drone import SemanticDrone
from seglab.datasets.duplicates import find_duplicates
from seglab.datasets.folder import SPLITS, SegmentationFolder, existing_folder, split_pairs, split_places
from seglab.datasets.io import Size
from seglab.datasets.pets import OxfordPets
from seglab.datasets.protocols import LabelledSamples
from seglab.errors import ArgumentError, DataError
from seglab.labels import LabelSet

Opener = Callable[..., SegmentationFolder]


def sample_folder(name: str, progress: bool) -> Path:
    from seglab import samples  # here: it draws what the datasets read, and reads some itself

    return samples.sample_folder(name, progress)


Data = TypeVar("Data", bound=LabelledSamples, covariant=True)


@dataclass(frozen=True)
class Splits(Generic[Data]):
    """A dataset's three splits and where they come from."""

    name: str
    source: str
    train: Data
    val: Data
    test: Data

    @property
    def label_set(self) -> LabelSet:
        return self.train.label_set

    def __str__(self) -> str:
        sizes = ", ".join(f"{len(getattr(self, split))} {split}" for split in SPLITS)
        return f"{self.name} ({self.source}): {sizes} pictures, {len(self.label_set)} classes"


# For each name the options that it has; all of them for a name that is not known before the program runs.
@overload
def load(name: Literal["catdog"], source: str | None = None, *, root: str | Path | None = None,
         size: int | None = None, progress: bool = True) -> Splits[ClassificationDataset]: ...
@overload
def load(name: Literal["coco"], source: str | None = None, *, root: str | Path | None = None,
         categories: Sequence[int | str] | None = ("cat", "dog"), problems: str | None = None,
         progress: bool = True) -> Splits[CocoSegmentation]: ...
@overload
def load(name: Literal["pets"], source: str | None = None, *, root: str | Path | None = None,
         size: int | Size | None = None, how: str = "crop-or-pad", target: str = "species",
         problems: Mapping[str, str] | str | None = None, progress: bool = True) -> Splits[OxfordPets]: ...
@overload
def load(name: str = "drone", source: str | None = None, *, root: str | Path | None = None,
         fit: Size | None = (400, 600), size: int | Size | None = None, how: str = "crop-or-pad",
         categories: Sequence[int | str] | None = ("cat", "dog"), target: str = "species",
         problems: Mapping[str, str] | str | None = None, cache: bool = True,
         progress: bool = True) -> Splits[LabelledSamples]: ...
def load(name: str = "drone", source: str | None = None, *, root: str | Path | None = None,
         fit: Size | None = (400, 600), size: int | Size | None = None, how: str = "crop-or-pad",
         categories: Sequence[int | str] | None = ("cat", "dog"), target: str = "species",
         problems: Mapping[str, str] | str | None = None, cache: bool = True, progress: bool = True) -> Splits[Any]:
    """Open train, val and test of a dataset for a lesson.

    Args:
        name: the lesson's dataset: "drone", pictures with masks, "catdog", pictures with one class each, "coco",
            pictures with masks of chosen categories, or "pets", pictures with trimaps.
        source: "sample" writes a small version with the same layout (once, no network); "real" reads `root` or
            `$SEGLAB_DATA`. By default "real" if either is given, else "sample".
        root: the real dataset's folder, or a folder of datasets. If it holds no dataset of that name but another
            one with masks (CamVid, or any folders of pictures and masks with a class_dict.csv), that one is opened.
        fit: "drone": scale pictures down to fit into (height, width); nothing is enlarged.
        size: "catdog": side of the squares that are cut from the middle of the pictures, 224 by default. "pets": side
            or (height, width); by default the pictures' own.
        how: "pets": how pictures get this size, "crop-or-pad", "resize" or "fit"; see `OxfordPets`.
        categories: "coco": ids or names, in the order of the classes; None takes all.
        target: "pets": "species", "foreground" or "breed".
        problems: "coco": "error", as by default, or "skip"; see `CocoSegmentation`. "pets": {kind: policy}; see
            `OxfordPets`.
        cache: "drone": decode and resize once, into `data/cache`.
        progress: show bars.

    Raises:
        ArgumentError: an unknown name or source, or two sides for "catdog".
        DataError: no dataset found; the message lists what was looked for and what is there.

    Warns:
        "catdog": pictures that are in train (or val) and in test too; see `find_duplicates`.

    Example:
        >>> load("drone", source="sample", progress=False).label_set.classes[1]
        'paved-area'
    """
    if name not in {"drone", "catdog", "coco", "pets"}:
        raise ArgumentError("dataset", found=repr(name), expected='"drone", "catdog", "coco" or "pets"')
    if source not in {None, "sample", "real"}:
        raise ArgumentError("source", found=repr(source), expected='"sample" or "real"')
    root = root or os.environ.get("SEGLAB_DATA") or None
    if source == "real" and root is None:
        raise DataError("source='real'", found="no folder", expected="the folder of a dataset",
                        fix="Set SEGLAB_DATA=/path/to/dataset, pass root=, or use source='sample'.")
    if name == "catdog":
        if isinstance(size, Sequence):
            raise ArgumentError("size", found=repr(size), expected='one number: the pictures of "catdog" are squares')
        return _load_catdog(None if source == "sample" else root, size or 224, progress)
    if name == "coco":
        return _load_coco(None if source == "sample" else root, categories, problems or "error", progress)
    if name == "pets":
        options = {"target": target, "size": size, "how": how, "problems": problems, "progress": progress}
        return _load_pets(None if source == "sample" else root, options)
    if source == "sample" or root is None:
        source, title = "sample", "drone"
        opener: Opener = SemanticDrone
        root = sample_folder("drone", progress)
    else:
        source = "real"
        title, opener, root = find_dataset(root)
    splits: dict[str, Any] = {split: opener(root, split=split, fit=fit) for split in SPLITS}
    if cache:
        splits = {split: CachedDataset(dataset, progress=progress) for split, dataset in splits.items()}
    return Splits(title, source, **splits)


def _load_catdog(root: str | Path | None, size: int, progress: bool) -> Splits[ClassificationDataset]:
    source, title = "real", "catdog"
    if root is None:
        source = "sample"
        root = sample_folder("catdog", progress)
    else:
        root = existing_folder(root)
        root = root / "catdog" if (root / "catdog").is_dir() else root
        title = root.name
    splits = {split: ClassificationDataset.from_root(root, split, size=size) for split in SPLITS}
    learned = [file for split in ("train", "val") for file, _ in splits[split].items]
    if leaks := find_duplicates(learned, [file for file, _ in splits["test"].items]):
        pair = leaks[0]
        warnings.warn(f"{root}: {len({leak.second for leak in leaks})} of {len(splits['test'])} test pictures are in "
                      f"train or val too, for instance {splits['test'].items[pair.second][0].name} as "
                      f"{learned[pair.first].name}. The test scores will be too good. seglab.datasets.find_duplicates "
                      "lists them.", stacklevel=3)
    return Splits(title, source, **splits)


def _load_coco(root: str | Path | None, categories: Sequence[int | str] | None,
               problems: Mapping[str, str] | str, progress: bool) -> Splits[CocoSegmentation]:
    """COCO's test annotations are not public: "val" is tested on, and a tenth of "train" is kept for validation.

    What comes in one annotation is split by the pictures' names, 70 : 10 : 20.
    """
    source, title = "real", "coco"
    if root is None:
        source = "sample"
        root = sample_folder("coco", progress)
    else:
        root = existing_folder(root)
        root = root / "coco" if (root / "coco").is_dir() and not has_coco(root) else root
        title = root.name
    options: dict[str, Any] = {"categories": categories, "problems": problems, "progress": progress}
    there = [split for split in SPLITS if find_coco(root, split) is not None]
    if there in ([], ["train"]):  # one annotation for all
        whole = "train" if there or find_coco(root, "all") is None else "all"
        data = CocoSegmentation.from_root(root, whole, **options)  # if there is none, it says what is missing
        return Splits(title, source, **{s: data.subset(split_places(data.names, s)) for s in SPLITS})
    splits = {split: CocoSegmentation.from_root(root, split, **options) for split in {*there, "train"}}
    if "test" not in splits:
        splits["test"] = splits.pop("val")
    if "val" not in splits:
        places = range(len(splits["train"]))
        tenth = [i for i in places if i % 10 == 9] or [places[-1]]
        splits["val"] = splits["train"].subset(tenth)
        splits["train"] = splits["train"].subset(sorted(set(places) - set(tenth)))
    return Splits(title, source, **splits)


def _load_pets(root: str | Path | None, options: dict[str, Any]) -> Splits[OxfordPets]:
    source = "real" if root is not None else "sample"
    if root is None:
        root = sample_folder("pets", options["progress"])
    return Splits("pets", source, **{split: OxfordPets(root, split, **options) for split in SPLITS})


def find_dataset(root: str | Path) -> tuple[str, Opener, Path]:
    """(name, class, folder) of the dataset in a folder or one level below it: drone first, then CamVid, then any.

    Raises:
        DataError: none is there.
    """
    root = existing_folder(root)
    if drone.find_layout(root) is not None:
        return "drone", SemanticDrone, root
    folders = [root, *sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))]
    for folder in folders:
        if (folder / "train").is_dir() and (folder / "trainannot").is_dir() and not _has_class_table(folder):
            return "camvid", CamVid, folder
    for folder in folders:
        if _has_class_table(folder) and _has_pairs(folder):
            return folder.name, SegmentationFolder.from_root, folder
    raise DataError(f"{root}: no segmentation dataset found", found=[p.name for p in folders[1:13]],
                    expected="the Semantic Drone Dataset (original_images/ + label_images_semantic/, or images/ + "
                             "gt/semantic/label_images/), CamVid (train/ + trainannot/), or images/ + masks/ + "
                             "class_dict.csv",
                    fix="Point SEGLAB_DATA or root at such a folder, or unset it to use the built-in sample.")


def _has_class_table(folder: Path) -> bool:
    return any(folder.glob("class_dict*.csv")) or (folder / "classes.csv").is_file()


def _has_pairs(folder: Path) -> bool:
    try:
        return bool(split_pairs(folder, "all"))
    except DataError:
        return False
