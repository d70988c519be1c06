"""Decode once: the pixels of a split as two memory-mapped files, and what was found while they were read."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from seglab.errors import CacheError
from seglab.files import atomic_folder

FORMAT = 3  # part of every key: raise it when the files or the resizing change, and old caches are left alone
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
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@dataclass
class Index:
    """What was found while the files of a split were read.

    Attributes:
        places: of the pictures that can be used among those that were read, in order; names may repeat.
        shapes: their (height, width).
        bad: {name: message} of files that cannot be used.
        left_out: {name: reason} of pictures that the reader leaves out for what their mask holds.
        pixels: how many pixels each of the 256 ids has; of labels, how many pictures.
        stored: whether the pixels are there too.
        masks: whether there are masks; pictures with one label each have none.
    """

    places: list[int] = field(default_factory=list)
    shapes: list[tuple[int, int]] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    pixels: list[int] = field(default_factory=lambda: [0] * 256)
    stored: bool = True
    masks: bool = True

    @classmethod
    def parse(cls, text: str) -> Index:
        """Read it from JSON; ValueError, KeyError or TypeError if it is none."""
        found = json.loads(text)
        places = [_as(int, place) for place in found["places"]]
        shapes = [(_as(int, h), _as(int, w)) for h, w in found["shapes"]]
        bad, left_out = ({_as(str, k): _as(str, v) for k, v in found[key].items()} for key in ("bad", "left_out"))
        pixels = [_as(int, n) for n in found["pixels"]]
        if (len(places) != len(shapes) or places != sorted({*places}) or len(pixels) != 256
                or min([0, *places[:1], *(side for shape in shapes for side in shape)]) < 0):
            raise ValueError("numbers that do not belong together")
        return cls(places, shapes, bad, left_out, pixels, _as(bool, found["stored"]), _as(bool, found["masks"]))


def _as(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


class PixelCache:
    """Plain files that several processes share through the page cache: loader workers and GPUs map one copy.

    `images.u8` and `masks.u8` hold the bytes of all pictures one after the other, (H, W, 3) and (H, W) each, and
    `index.json` their places and shapes. A folder appears whole or not at all.

    Args:
        folder: of the cache.
        count: how many pictures were read for it.

    Raises:
        CacheError: it is damaged.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self._open()

    def _open(self) -> None:
        path = self.folder / "index.json"
        try:
            self.index = Index.parse(path.read_text(encoding="utf-8"))
            if self.index.places and self.index.places[-1] >= self.count:
                raise ValueError(f"place {self.index.places[-1]} of {self.count}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}", "the index of a cache") from error
        areas = [h * w for h, w in self.index.shapes]
        self._starts = [0, *np.cumsum(areas, dtype=np.int64).tolist()]
        self._maps: tuple[np.ndarray, ...] = ()
        if self.index.stored and areas:
            self._maps = tuple(_mapped(self.folder / name, size * self._starts[-1])
                               for name, size in zip(_FILES, (3, 1)[:1 + self.index.masks], strict=False))

    def read(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """One pair: (H, W, 3) and (H, W) uint8. Copies, since a transform may write in place, and the map is shared."""
        (height, width), start, end = self.index.shapes[row], self._starts[row], self._starts[row + 1]
        image = np.array(self._maps[0][3 * start:3 * end]).reshape(height, width, 3)
        return image, np.array(self._maps[1][start:end]).reshape(height, width) if self.index.masks else None

    # A loader worker that is spawned gets the path and opens its own map, instead of a pickled copy of the pixels.
    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "count": self.count}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def build(folder: Path, items: Iterator[tuple[int, np.ndarray, np.ndarray | None]], index: Index) -> None:
    """Write a cache of (place, image (H, W, 3) uint8, mask (H, W) uint8); what else is in `index` is filled on the way.

    The folder appears whole or not at all.
    """
    with atomic_folder(folder) as new:
        with open(new / _FILES[0], "wb") as images, open(new / _FILES[1], "wb") as masks:
            for place, image, mask in items:
                if index.stored:
                    images.write(np.ascontiguousarray(image).data)
                    masks.write(np.ascontiguousarray(mask).data if mask is not None else b"")
                index.places.append(place)
                index.shapes.append((image.shape[0], image.shape[1]))
        (new / "index.json").write_text(json.dumps(asdict(index)), encoding="utf-8")


def _mapped(path: Path, size: int) -> np.ndarray:
    try:
        if path.stat().st_size != size:
            raise _damaged(path, f"{path.stat().st_size:,} bytes", f"{size:,} bytes")
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise _damaged(path, str(error), "a readable file") from error


def _damaged(path: Path, found: str, expected: str) -> CacheError:
    return CacheError(f"{path}: the cache is damaged", found=found, expected=expected,
                      fix=f"Delete the folder {path.parent}; it is made again from the pictures.")
