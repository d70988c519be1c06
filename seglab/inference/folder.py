"""Segment all pictures of a folder, one in memory at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.datasets.splits import existing_folder
from seglab.errors import ArgumentError, DataError
from seglab.inference.pictures import as_image
from seglab.inference.predict import Prediction, predict
from seglab.progress import progress_bar


def predict_folder(model: nn.Module, folder: str | Path, out: str | Path | None = None, *, alpha: float = 0.5,
                   overwrite: bool = False, progress: bool = True,
                   **options: Any) -> Iterator[tuple[Path, Prediction | DataError]]:
    """Segment every picture of a folder, subfolders included, in the order of their names.

    A generator: pictures are read one ahead, and forgotten once you go on. Nothing happens before you iterate.

    Args:
        model: as for `predict`.
        folder: where the pictures are.
        out: write `NAME.png` (class ids, with the classes' colours as palette) and `NAME_overlay.jpg` into this
            folder, with the same subfolders. NAME keeps the picture's ending if two differ in nothing else.
        alpha: of the overlay.
        overwrite: replace files that are there.
        progress: show a bar.
        options: as for `predict`.

    Yields:
        (path, prediction); for a file that cannot be decoded, (path, the DataError that says why).

    Raises:
        DataError: no such folder, or no picture in it.
        ArgumentError: `out` holds a file that would be written, and `overwrite` is False.

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
    out = Path(out) if out is not None else None
    paths = image_paths(folder, leave_out=out)
    folder = Path(folder).expanduser()
    stems = [p.relative_to(folder).with_suffix("") for p in paths]
    same = Counter(stems)
    names = [stem if same[stem] == 1 else stem.with_name(p.name) for stem, p in zip(stems, paths, strict=True)]
    targets = [(out / f"{name}.png", out / f"{name}_overlay.jpg") for name in names] if out is not None else []
    if not overwrite and (there := [file for pair in targets for file in pair if file.exists()]):
        raise ArgumentError("out", found=f"{len(there)} files are there already, {there[0]} first",
                            expected="a new or empty folder",
                            fix="Choose another one, or pass overwrite=True (seglab predict --overwrite).")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_read, paths[0])
        for number, path in enumerate(progress_bar(paths, desc="segmenting", unit="img", shown=progress)):
            image = waiting.result()
            if number + 1 < len(paths):
                waiting = pool.submit(_read, paths[number + 1])
            if isinstance(image, DataError):
                yield path, image
                continue
            (prediction,) = predict(model, [image], **options)
            if targets:
                targets[number][0].parent.mkdir(parents=True, exist_ok=True)
                prediction.save_mask(targets[number][0])
                prediction.save_overlay(targets[number][1], alpha)
            yield path, prediction


def image_paths(folder: str | Path, leave_out: Path | None = None) -> list[Path]:
    """The pictures of a folder, subfolders included but `leave_out`, in the order of their names.

    Raises:
        DataError: no such folder, or no picture in it.
    """
    folder = existing_folder(folder)
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()
                   and not (leave_out is not None and leave_out != folder and leave_out in p.parents))
    if not paths:
        raise DataError(f"{folder}: pictures", found="none", expected=f"files {', '.join(sorted(IMAGE_SUFFIXES))}")
    return paths


def _read(path: Path) -> np.ndarray | DataError:
    try:
        return as_image(path)
    except DataError as error:
        return error
