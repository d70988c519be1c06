"""Small versions of the datasets, drawn and written in their published layouts: nothing to download."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from seglab.datasets import animals
from seglab.datasets.aerial import VERSION, draw_aerial
from seglab.datasets.classification import write_map_file
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_folder
from seglab.labels import DRONE
from seglab.progress import progress_bar

_LAYOUTS = ("ids", "colours")

#: Folder of the pictures, folder of the masks and the class table, as the dataset is published.
_FOLDERS: dict[str, tuple[str, str, str]] = {
    "ids": ("original_images", "label_images_semantic", "class_dict_seg.csv"),
    "colours": ("training_set/images", "training_set/gt/semantic/label_images",
                "training_set/gt/semantic/class_dict.csv"),
}
_STAMP = "sample.json"


def write_drone_sample(root: Path, count: int = 120, size: tuple[int, int] = (160, 240), seed: int = 0,
                       layout: str = "ids", progress: bool = True) -> Path:
    """Write a drawn set in one of the two layouts in which the Semantic Drone Dataset is published.

    "ids" is the Kaggle copy: `original_images/000.jpg`, `label_images_semantic/000.png` (8-bit ids) and
    `class_dict_seg.csv`. "colours" is TU Graz's original: `training_set/images/000.jpg` and, below
    `training_set/gt/semantic`, `label_images/000.png` (RGB) and `class_dict.csv`. The folder appears whole or
    not at all, also when two processes write it at once. A set that is there already is left as it is.

    Args:
        root: the folder to make; missing or empty, or holding this very set.
        count: number of pictures, 1 or more. A larger set begins with the pictures of a smaller one.
        size: (height, width) in pixels, each at least 32.
        seed: 0 or more; the same seed gives the same files.
        layout: "ids" or "colours".
        progress: show a bar while drawing.

    Returns:
        The folder, `root`.

    Raises:
        ArgumentError: a count below 1, an unknown layout, or a seed or size that `draw_aerial` refuses.
        DataError: the folder holds something else, or cannot be written.

    Example:
        >>> import tempfile
        >>> root = write_drone_sample(Path(tempfile.mkdtemp()) / "drone", count=2, progress=False)
        >>> sorted(path.name for path in root.iterdir())
        ['class_dict_seg.csv', 'label_images_semantic', 'original_images', 'sample.json']
    """
    root = Path(root)
    if count < 1 or layout not in _LAYOUTS:
        raise ArgumentError("write_drone_sample", found=f"count {count}, layout {layout!r}",
                            expected=f"count of 1 or more, and one of the layouts {', '.join(_LAYOUTS)}")
    stamp = {"generator": "seglab.datasets.sample", "version": VERSION, "seed": int(seed), "count": int(count),
             "size": [int(side) for side in size], "layout": layout}
    return write_once(root, stamp, lambda draft: _write_drone(draft, stamp, progress))


def write_catdog_sample(root: Path, count: tuple[int, int] = (500, 100), size: tuple[int, int] = (160, 160),
                        seed: int = 0, progress: bool = True) -> Path:
    """Write a drawn set of cats and dogs: `{train,test}/{cats,dogs}/*.jpg`, and map files `train.txt` and `test.txt`.

    The folder appears whole or not at all. A set that is there already is left as it is.

    Args:
        root: the folder to make; missing or empty, or holding this very set.
        count: pictures a class in train and in test, each 1 or more.
        size: (height, width) in pixels, each at least 32.
        seed: 0 or more; the same seed gives the same files.
        progress: show a bar while drawing.

    Returns:
        The folder, `root`.

    Raises:
        ArgumentError: a number out of range.
        DataError: the folder holds something else, or cannot be written.

    Example:
        >>> import tempfile
        >>> root = write_catdog_sample(Path(tempfile.mkdtemp()) / "catdog", count=(2, 1), progress=False)
        >>> sorted(path.name for path in root.iterdir())
        ['sample.json', 'test', 'test.txt', 'train', 'train.txt']
    """
    root = Path(root)
    if len(count) != 2 or min(count) < 1:
        raise ArgumentError("write_catdog_sample", found=f"count {count}", expected="two numbers of 1 or more")
    stamp = {"generator": "seglab.datasets.animals", "version": animals.VERSION, "seed": int(seed),
             "count": [int(n) for n in count], "size": [int(side) for side in size]}
    return write_once(root, stamp, lambda draft: _write_catdog(draft, stamp, progress))


def write_once(root: Path, stamp: dict[str, object], write: Callable[[Path], None]) -> Path:
    """Fill the folder by `write`, unless this very set is there already."""
    if _holds(root, stamp):
        return root
    try:
        with atomic_folder(root) as draft:
            write(draft)
            (draft / _STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8", newline="\n")
            if root.is_dir():
                root.rmdir()  # empty, or it fails; Windows does not rename onto an empty folder
    except OSError as error:
        if not _holds(root, stamp):  # another process may have been first with the same set: theirs is as good
            raise DataError(f"{root}: sample set", found=str(error), expected="a folder that can be written",
                            fix="Check the disk and the rights, or give another folder.") from error
    _holds(root, stamp)  # whoever was first, this set or an error
    return root


def _holds(root: Path, stamp: dict[str, object]) -> bool:
    """Whether the folder holds this very set; raises DataError if it holds anything else."""
    if not os.path.lexists(root) or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == stamp:
        return True
    raise DataError(f"{root}: already holds something else",
                    found=f"a sample set of {found}" if found else "files that are not a sample set",
                    expected=f"nothing, or a sample set of {stamp}",
                    fix="Give another folder, or remove this one if you no longer need it.")


def _write_catdog(draft: Path, stamp: dict[str, Any], progress: bool) -> None:
    per_class = dict(zip(("train", "test"), stamp["count"], strict=True))
    jobs = [(split, kind, i) for split, n in per_class.items() for kind in animals.ANIMALS for i in range(n)]
    for split, kind, i in progress_bar(jobs, desc="drawing", unit="picture", shown=progress):
        folder = draft / split / kind
        folder.mkdir(parents=True, exist_ok=True)
        # Test pictures are numbered on behind any training set, so that no picture can be in both.
        number = i if split == "train" else 1_000_000 + i
        picture = animals.draw_animal(kind, number, stamp["seed"], tuple(stamp["size"]))
        Image.fromarray(picture).save(folder / f"{kind[:-1]}-{i:05d}.jpg", quality=92)
    for split in per_class:
        write_map_file(draft / split, draft / f"{split}.txt")


def _write_drone(draft: Path, stamp: dict[str, Any], progress: bool) -> None:
    images, masks, table = (draft / name for name in _FOLDERS[stamp["layout"]])
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for index in progress_bar(range(stamp["count"]), desc="drawing", unit="picture", shown=progress):
        rgb, ids = draw_aerial(stamp["seed"], index, tuple(stamp["size"]))
        Image.fromarray(rgb).save(images / f"{index:03d}.jpg", quality=95)
        Image.fromarray(DRONE.colourise(ids) if stamp["layout"] == "colours" else ids).save(masks / f"{index:03d}.png")
    rows = [*zip(DRONE.classes, DRONE.colours, strict=True), ("conflicting", DRONE.ignore_colour)]
    lines = ["name, r, g, b", *(f"{name}, {r}, {g}, {b}" for name, (r, g, b) in rows)]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
