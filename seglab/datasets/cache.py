"""Decode and resize once: a dataset as two memory-mapped files of bytes."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch.utils.data import Dataset
from torchvision import tv_tensors

from seglab.datasets.folder import SegmentationFolder, Transforms, as_sample
from seglab.datasets.protocols import Sample
from seglab.errors import CacheError
from seglab.files import atomic_folder, data_home, file_digests
from seglab.labels import LabelSet
from seglab.progress import progress_bar

_FORMAT = 1  # part of every key: raise it when the files or the resizing change, and old caches are left alone
_THREADS = 4  # Pillow decodes outside Python's global lock


class CachedDataset(Dataset[Sample]):
    """A SegmentationFolder whose pictures are decoded and resized once and then read from a memory map.

    The cache is a folder of plain files: `images.u8` and `masks.u8` hold the bytes of all pictures one after the
    other, (H, W, 3) and (H, W) each, and `index.json` their shapes. Its name is a hash of the *contents* of all source
    files and of the settings that shape them, so that a changed picture, label or size makes another cache. It appears
    whole or not at all, and several processes (loader workers, GPUs) share one copy through the page cache.

    Args:
        dataset: what to cache; its own transforms run on every access, after the cache.
        folder: where caches lie; `data/cache` by default.
        rebuild: replace what is there.
        progress: show a bar while building.

    Raises:
        CacheError: the cache is damaged or cannot be written. Nothing outside its folder is touched.
        DataError: a source file is unusable; no cache is left behind.

    Example:
        >>> import tempfile
        >>> from seglab.datasets import SemanticDrone
        >>> from seglab.samples import write_drone_sample
        >>> place = Path(tempfile.mkdtemp())
        >>> root = write_drone_sample(place / "s", count=4, size=(40, 60), progress=False)
        >>> plain = SemanticDrone(root, split="train")
        >>> cached = CachedDataset(plain, folder=place / "cache", progress=False)
        >>> bool((cached[0][0] == plain[0][0]).all())
        True
    """

    def __init__(self, dataset: SegmentationFolder, folder: str | Path | None = None, *, rebuild: bool = False,
                 progress: bool = True) -> None:
        root = Path(folder) if folder is not None else data_home() / "cache"
        self.label_set: LabelSet = dataset.label_set
        self.names: list[str] = dataset.names
        self.transforms: Transforms | None = dataset.transforms
        try:
            root.mkdir(parents=True, exist_ok=True)
            # One process builds, the others wait for it and then read. The lock ends with its process.
            with FileLock(root / ".lock"):
                self.folder = root / _key(dataset, root)
                if rebuild:
                    _remove(self.folder)
                if not self.folder.exists():
                    _build(dataset, self.folder, progress)
        except OSError as error:
            raise CacheError(f"{root}: the cache cannot be written", found=str(error),
                             expected="a folder with room for the decoded pictures",
                             fix="Free some space, set SEGLAB_HOME to another disk, or load with cache=False."
                             ) from error
        self._open()

    def _open(self) -> None:
        self._shapes, self._starts, sizes = _read_index(self.folder)
        self._maps = tuple(_mapped(self.folder / name, size)
                           for name, size in zip(("images.u8", "masks.u8"), sizes, strict=True))

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        height, width = self._shapes[index]
        start, area = self._starts[index], height * width
        # Copies, because a transform may write in place, and the map is everybody's.
        image = torch.from_numpy(np.array(self._maps[0][3 * start:3 * (start + area)])).view(height, width, 3)
        mask = torch.from_numpy(np.array(self._maps[1][start:start + area])).view(height, width)
        return as_sample(image.permute(2, 0, 1), mask, self.transforms)  # (H, W, 3) -> (3, H, W), same memory

    # A loader worker that is spawned gets the path and opens its own map, instead of a pickled copy of the pixels.
    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in {"_maps", "_shapes", "_starts"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def _build(dataset: SegmentationFolder, folder: Path, progress: bool) -> None:
    shapes = []
    with atomic_folder(folder) as new:
        with open(new / "images.u8", "wb") as images, open(new / "masks.u8", "wb") as masks:
            items = _decoded(dataset)
            for image, mask in progress_bar(items, total=len(dataset), desc="decoding once", unit="img",
                                             shown=progress):
                images.write(np.ascontiguousarray(image).data)
                masks.write(np.ascontiguousarray(mask).data)
                shapes.append(mask.shape)
        index = {"format": _FORMAT, "label_set": dataset.label_set.name, "names": dataset.names, "shapes": shapes}
        (new / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _decoded(dataset: SegmentationFolder) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs in order, decoded by a few threads that run at most two pictures each ahead of the writer."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        try:
            for i in range(len(dataset)):
                waiting.append(pool.submit(dataset.read, i))
                if len(waiting) > 2 * _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read_index(folder: Path) -> tuple[list[tuple[int, int]], list[int], tuple[int, int]]:
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        shapes = [(int(h), int(w)) for h, w in index["shapes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder / "index.json", f"{type(error).__name__}: {error}", "the index of a cache") from error
    starts = [0, *np.cumsum([h * w for h, w in shapes], dtype=np.int64).tolist()]
    return shapes, starts, (3 * starts[-1], starts[-1])


def _mapped(path: Path, size: int) -> np.ndarray:
    try:
        if path.stat().st_size != size:
            raise _damaged(path, f"{path.stat().st_size:,} bytes", f"{size:,} bytes")
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise _damaged(path, str(error), "a readable file") from error


def _damaged(path: Path, found: str, expected: str) -> CacheError:
    return CacheError(f"{path}: the cache is damaged", found=found, expected=expected,
                      fix=f"Delete the folder {path.parent}; it is made again from the pictures. "
                          "(In code: CachedDataset(dataset, rebuild=True).)")


def _remove(folder: Path) -> None:
    """Delete a cache, and nothing but a cache."""
    if folder.is_dir():
        for name in ("index.json", "images.u8", "masks.u8"):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _key(dataset: SegmentationFolder, root: Path) -> str:
    """Hash of everything that the cached bytes depend on."""
    settings = {"format": _FORMAT, "fit": dataset.fit, "encoding": dataset.encoding, "ignore": dataset.ignore_ids,
                "classes": dataset.label_set.classes, "colours": dataset.label_set.colours}
    digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=12)
    contents = file_digests([path for pair in dataset.pairs for path in pair], root / "digests.json")
    for content in contents:
        digest.update(content.encode())
    return digest.hexdigest()
