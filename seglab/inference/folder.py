"""Segment all pictures of a folder, one in memory at a time."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import nn

from seglab.datasets.base import few
from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.datasets.splits import existing_folder, files_below
from seglab.datasets.video import VIDEO_SUFFIXES
from seglab.errors import ArgumentError, DataError
from seglab.files import output_folder
from seglab.inference.predict import Prediction, read, segment
from seglab.inference.segmenter import Segmenter, in_eval_mode
from seglab.progress import progress_bar

T = TypeVar("T")
#: Pictures and videos that lie beside readable pictures on phones and cameras, and that are not read from a folder.
_LEFT_OUT = VIDEO_SUFFIXES | {".arw", ".avif", ".cr2", ".cr3", ".dng", ".gif", ".heic", ".heif", ".ico", ".jfif",
                              ".jp2", ".jpe", ".jxl", ".nef", ".orf", ".pbm", ".pgm", ".psd", ".raf", ".rw2", ".svg",
                              ".tga"}


def predict_folder(model: nn.Module, folder: str | Path, out: str | Path | None = None, *, alpha: float = 0.5,
                   overwrite: bool = False, progress: bool = True,
                   **options: Any) -> Generator[tuple[Path, Prediction | DataError], None, None]:
    """Segment every picture of a folder, subfolders included, in the order of their names, while you iterate.

    Pictures are read one ahead, and forgotten once you go on. Hidden files are passed over; pictures of kinds that are
    not read are counted in a warning.

    Args:
        model, options: as for `predict`.
        folder: where the pictures are.
        out: write `NAME.png` (class ids, with the classes' colours as palette) and `NAME_overlay.jpg` into this
            folder, with the same subfolders. NAME keeps the picture's ending where another one would be the same
            without it, and gets a number where two differ in nothing but capitals. Within `folder`, it is not read.
        alpha: of the overlay.
        overwrite: replace files that are there, but never one of the pictures.
        progress: show a bar.

    Yields:
        (path, prediction); for a file that cannot be decoded, or is too large for one piece, (path, the DataError that
        says why).

    Raises:
        DataError: no such folder, or no picture in it.
        ArgumentError: `out` is `folder` or a file, cannot be written, or holds a file that would be written, and
            `overwrite` is False.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from skimage.data import chelsea
        >>> from seglab import build
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.fromarray(chelsea()).save(folder / "chelsea.png")
        >>> for path, found in predict_folder(build("fcn", weights="bundled"), folder, progress=False):
        ...     print(path.name, max(found.shares(), key=found.shares().get))
        chelsea.png cat
    """
    soft, segmenter = options.pop("probabilities", False), Segmenter(model, **options)

    def look(path: Path) -> np.ndarray | DataError:
        try:
            return read(segmenter, path)
        except DataError as error:
            return error
        except ArgumentError as error:  # too large: the others are segmented
            return DataError(f"{path}: {error}")

    paths = image_paths(folder, leave_out=out)
    targets = _targets(existing_folder(folder), paths, Path(out).expanduser(), overwrite) if out is not None else []
    with ThreadPoolExecutor(1) as pool:
        bar = progress_bar(paths, desc="segmenting", unit="img", shown=progress)
        for number, (path, (image,)) in enumerate(zip(bar, ahead(pool, map(look, paths), 1), strict=True)):
            if isinstance(image, DataError):
                yield path, image
                continue
            with in_eval_mode(model):
                prediction = segment(segmenter, image, soft)
            if targets:
                mask, overlay = targets[number]
                mask.parent.mkdir(parents=True, exist_ok=True)
                prediction.save_mask(mask, overwrite)
                prediction.save_overlay(overlay, alpha, overwrite)
            yield path, prediction


def image_paths(folder: str | Path, leave_out: str | Path | None = None) -> list[Path]:
    """The pictures of a folder in the order of their names, with those of its folders but `leave_out`.

    It warns of pictures and videos that are not read. DataError: no such folder, or no picture in it. ArgumentError:
    `leave_out` is the folder itself.
    """
    folder = existing_folder(folder)
    files = files_below(folder)
    if leave_out is not None:
        root, out = folder.resolve(), Path(leave_out).expanduser().resolve()
        if out == root:
            raise ArgumentError("out", found=f"{out}, where the pictures are", expected="another folder",
                                fix=f"For instance {out / 'masks'}.")
        if root in out.parents:
            files = [path for path in files if out not in (root / path.relative_to(folder)).parents]
    paths = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in files if path.suffix.lower() in _LEFT_OUT]
    counts = ", ".join(f"{n} {end}" for end, n in Counter(path.suffix.lower() for path in others).most_common())
    left_out = f"{counts} ({few([path.name for path in others])})"
    if not paths:
        raise DataError(f"{folder}: pictures", found=left_out if others else "none",
                        expected=f"files {', '.join(sorted(IMAGE_SUFFIXES))}")
    if others:
        warnings.warn(f"{folder}: {len(others)} files are left out, as these are not read: {left_out}. Export pictures "
                      "as JPEG or PNG; segment videos one by one.", stacklevel=3)
    return paths


def _targets(folder: Path, paths: list[Path], out: Path, overwrite: bool) -> list[tuple[Path, Path]]:
    """Where the mask and the overlay of each picture go; an error if something is there that must stay."""
    names = _names([path.relative_to(folder) for path in paths])
    targets = [(out / f"{name}.png", out / f"{name}_overlay.jpg") for name in names]
    there = [file for pair in targets for file in pair if os.path.lexists(file)]
    if replaced := {file.resolve() for file in there} & {path.resolve() for path in paths}:
        raise ArgumentError("out", found=f"{min(replaced)}, one of the pictures to segment", expected="another folder")
    if out.exists() and not out.is_dir():
        raise ArgumentError("out", found=f"{out}, a file", expected="a folder")
    if folders := [file for file in there if file.is_dir()]:
        raise ArgumentError("out", found=f"{folders[0]}, a folder", expected="no folder of this name")
    if there and not overwrite:
        raise ArgumentError("out", found=f"{len(there)} files are there already, {there[0]} first",
                            expected="a new or empty folder",
                            fix="Choose another one, or pass overwrite=True (seglab predict --overwrite).")
    output_folder(out)
    return targets


def _names(paths: list[Path]) -> list[Path]:
    """A name for each picture, no two of which are the same on any system: case, and how accents are coded, aside."""
    def key(name: Path) -> str:
        return unicodedata.normalize("NFC", str(name)).casefold()

    names, longer = paths, [path.with_suffix("") for path in paths]
    while names != longer:  # a whole name may be another's without its ending: p.jpg and p.jpg.png
        names, same = longer, Counter(map(key, longer))
        longer = [path if same[key(name)] > 1 else name for name, path in zip(names, paths, strict=True)]
    taken: set[str] = set()
    for place, name in enumerate(names):
        number = 1
        while key(names[place]) in taken:
            number += 1
            names[place] = name.with_name(f"{name.name}_{number}")
        taken.add(key(names[place]))
    return names


def ahead(pool: ThreadPoolExecutor, items: Iterator[T], count: int) -> Iterator[list[T]]:
    """Lists of up to `count` items; the next list is read while this one is worked on."""
    read = lambda: list(islice(items, count))  # noqa: E731
    waiting = pool.submit(read)
    while batch := waiting.result():
        waiting = pool.submit(read)
        yield batch
