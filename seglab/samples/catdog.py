"""Cats and dogs, a folder a class, with map files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from seglab.datasets.map_files import write_map_file
from seglab.errors import ArgumentError
from seglab.progress import progress_bar
from seglab.samples import animals
from seglab.samples.once import write_once


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
