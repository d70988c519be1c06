"""A small version of the Semantic Drone Dataset, drawn and written in its published layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from seglab.errors import ArgumentError
from seglab.labels import DRONE
from seglab.progress import progress_bar
from seglab.samples.aerial import VERSION, draw_aerial
from seglab.samples.once import write_once

_LAYOUTS = ("ids", "colours")

#: Folder of the pictures, folder of the masks and the class table, as the dataset is published.
_FOLDERS: dict[str, tuple[str, str, str]] = {
    "ids": ("original_images", "label_images_semantic", "class_dict_seg.csv"),
    "colours": ("training_set/images", "training_set/gt/semantic/label_images",
                "training_set/gt/semantic/class_dict.csv"),
}


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
