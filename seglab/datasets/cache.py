"""Decode once: the pixels of a split as two memory-mapped files, and what was found while they were read."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from filelock import FileLock
from safetensors import SafetensorError

from seglab.datasets.decode import LeftOut
from seglab.errors import CacheError
from seglab.files import atomic_folder, data_home

FORMAT = 7  # part of every key: raise it when the files or the resizing change, and old caches are left alone
_THREADS = 4  # Pillow and OpenCV decode outside Python's global lock
_FILES = ("images.u8", "masks.u8")
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results of a function in the order of the items, by four threads that run a few items ahead.

    Example:
        >>> list(in_threads(abs, [-2, 3, -1]))
        [2, 3, 1]
    """
    ahead = iter(items)
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting = deque(pool.submit(function, item) for item in islice(ahead, 2 * _THREADS))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(ahead, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def cache_folder(content: str, otherwise: str = "") -> Iterator[Path]:
    """The folder of all caches. One process fills it, the others wait and then read; the lock ends with its process.

    What goes wrong on the disk is a CacheError, which says what needs room, and what one can do without.
    """
    root = data_home() / "cache"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):
            yield root
    except (OSError, SafetensorError) as error:
        raise CacheError(f"{root}: the cache cannot be written", found=getattr(error, "strerror", None) or str(error),
                         expected=f"a folder with room for {content}",
                         fix=f"Free some space, set SEGLAB_HOME to another disk{otherwise}.") from error


@dataclass
class Index:
    """What was found while the files of a split were read.

    Attributes:
        stored, masks: whether the pixels are there too; whether there are masks, and not one label a picture.
        places: of the pictures that can be used among those that were read, in order; names may repeat.
        shapes: their (height, width).
        checksums: of the pixels of each, image and mask, where they are stored.
        bad: {name: message} of files that cannot be used.
        left_out: {name: reason} of pictures that the reader leaves out for what their mask holds.
        pixels: how many pixels each of the 256 ids has; of labels, how many pictures.
    """

    stored: bool
    masks: bool = True
    places: list[int] = field(default_factory=list)
    shapes: list[tuple[int, int]] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    pixels: list[int] = field(default_factory=list)

    def checksum(self) -> str:
        """Of all of it, which shows whether what lies on the disk is what was written."""
        return hashlib.blake2b(json.dumps(vars(self)).encode(), digest_size=16).hexdigest()


class PixelCache:
    """Plain files that several processes share through the page cache: loader workers and GPUs map one copy.

    `images.u8` and `masks.u8` hold the bytes of all pictures one after the other, (H, W, 3) and (H, W) each, and
    `index.json` their places, shapes and checksums. A folder appears whole or not at all.

    Raises:
        CacheError: it is damaged; of pixels, that is seen when they are read for the first time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            found = msgspec.convert(json.loads((folder / "index.json").read_bytes()), dict[str, Any])
            checksum = found.pop("checksum")
            self.index = msgspec.convert(found, Index)
            if self.index.checksum() != checksum:
                raise ValueError("index.json is not as it was written")
            areas = [height * width for height, width in self.index.shapes]
            self._starts = [0, *np.cumsum(areas, dtype=np.int64).tolist()]
            self._maps = [np.memmap(folder / name, np.uint8, "r", shape=(channels * self._starts[-1],))
                          for name, channels in zip(_FILES, (3, 1)[:1 + self.index.masks], strict=False)
                          ] if self.index.stored and areas else []
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise self._damaged(f"{type(error).__name__}: {error}") from error
        self._compared = np.zeros(len(areas), dtype=bool)

    def _damaged(self, found: str) -> CacheError:
        return CacheError(f"{self.folder}: the cache is damaged", found=found,
                          expected=f"index.json, {' and '.join(_FILES)} as they were written",
                          fix=f"Delete the folder {self.folder}; it is made again from the pictures.")

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """One pair: (H, W, 3) and (H, W) uint8. Copies, since a transform may write in place, and the map is shared."""
        (height, width), start, end = self.index.shapes[row], self._starts[row], self._starts[row + 1]
        image = np.array(self._maps[0][3 * start:3 * end])
        mask = np.array(self._maps[1][start:end]) if self.index.masks else None
        if not self._compared[row]:  # once in each process: it takes several times as long as to copy the pixels
            if _pixel_checksum(image, mask) != self.index.checksums[row]:
                raise self._damaged(f"other pixels than were written, of picture {row}")
            self._compared[row] = True
        return image.reshape(height, width, 3), mask.reshape(height, width) if mask is not None else None

    def __reduce__(self) -> tuple[type, tuple[Path]]:  # a loader worker that is spawned opens its own map
        return type(self), (self.folder,)


def _pixel_checksum(image: np.ndarray, mask: np.ndarray | None) -> int:
    return zlib.crc32(mask.data if mask is not None else b"", zlib.crc32(image.data))


def build(folder: Path, found: Iterable[tuple[str, tuple[np.ndarray, Any] | Exception]], stored: bool) -> None:
    """Write a cache, a folder that appears whole or not at all.

    Args:
        folder: for it.
        found: name of each picture, and (image (H, W, 3) uint8, mask (H, W) uint8 or class); or why it is not used: a
            `LeftOut`, or what is wrong with it.
        stored: whether to keep the pixels, too.
    """
    index, counts = Index(stored), np.zeros(256, dtype=np.int64)
    with atomic_folder(folder) as new:
        with open(new / _FILES[0], "wb") as images, open(new / _FILES[1], "wb") as masks:
            for place, (name, one) in enumerate(found):
                if isinstance(one, Exception):
                    (index.left_out if isinstance(one, LeftOut) else index.bad)[name] = str(one)
                    continue
                image, target = one
                index.masks = isinstance(target, np.ndarray)
                if stored:
                    pixels, ids = np.ascontiguousarray(image), np.ascontiguousarray(target) if index.masks else None
                    images.write(pixels.data)
                    masks.write(ids.data if ids is not None else b"")
                    index.checksums.append(_pixel_checksum(pixels, ids))
                counts += np.bincount(np.asarray(target).ravel(), minlength=256)
                index.places.append(place)
                index.shapes.append((image.shape[0], image.shape[1]))
        index.pixels = counts.tolist()
        (new / "index.json").write_text(json.dumps(vars(index) | {"checksum": index.checksum()}), encoding="utf-8")
