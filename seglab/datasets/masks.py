"""What a mask file means: one rule for grey, palette, RGB(A), 1-bit and deep ones, against the table of classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import cv2
import numpy as np
from PIL import Image

from seglab.datasets.base import check_choice, few
from seglab.datasets.io import check_whole, has_wide_colours, opened, raw_mode
from seglab.errors import DataError, SeglabError
from seglab.labels import IGNORE, STRAY, ClassTable

_SAMPLE = 64  # files that the choice of a reading looks at,
_PIXELS = 200_000_000  # or as many as have this many pixels: a second or two
_EXPORT = "Export the masks again: as PNG, and scaled by nearest neighbour only."
_TABLE = "Check that the class table is the dataset's own; name ids to be ignored in ignore_ids."
_CHOOSE = 'Choose one of the two: encoding="ids" or encoding="colours".'


@dataclass(frozen=True, eq=False)
class MaskReading:
    """How the masks of one dataset are stored: chosen once, checked with every file.

    By *ids*, the values of one channel (or of equal channels) and the indices of a palette are looked up in
    `table.codes`, and 1-bit is 0 and 1. By *colours*, what is seen is looked up in `table.colours`: RGB, the entries
    of a palette, grey as (v, v, v), 1-bit as black and white. Messages name `like`, a file that decided it, and say
    the `meaning` of the values, by default that of `table.codes`.
    """

    table: ClassTable
    encoding: str
    like: Path | None = None
    meaning: str = ""

    @classmethod
    def choose(cls, paths: Sequence[Path], table: ClassTable, encoding: str = "auto") -> MaskReading:
        """Find out how masks are stored, from up to 64 of them (more, where all of these mean the same either way).

        A reading that does not fit is out. Where both fit and differ, the colours of a palette outweigh its indices,
        and white that is a class outweighs 255 as ignore. Files that cannot be read are passed over, if others can.

        Raises:
            DataError: no file can be read, files disagree, or both readings fit and differ.
            ArgumentError: an encoding that is not "auto", "ids" or "colours".
        """
        check_choice("encoding", encoding, ("auto", "ids", "colours"))
        if encoding != "auto" or not paths:
            return cls(table, "ids" if encoding == "auto" else encoding)
        examples: dict[str, Path] = {}
        failure: SeglabError | None = None
        sample = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(_SAMPLE, len(paths))).astype(int))]
        pixels = 0
        for number, path in enumerate(dict.fromkeys([*sample, *paths])):
            decided = set(examples) - {"both", "differ"}
            if (number >= len(sample) and (decided or not examples)) or (decided and pixels > _PIXELS):
                break
            try:
                stored = _Stored(path)
                examples.setdefault(cls(table, "ids")._evidence(stored), path)
                pixels += stored.size
            except SeglabError as error:
                failure = failure or error
        if not examples and failure:
            raise failure
        ids, colours = examples.get("ids"), examples.get("colours", examples.get("palette"))
        if ids and colours:
            raise _disagreement(_Stored(colours), "colours", "ids", ids)
        if not ids and not colours and "white" not in examples and "differ" in examples:
            raise DataError(f"{examples['differ']}: a mask that fits two readings, which differ",
                            found="values that are class ids and, seen as colours, other classes' colours",
                            expected="one meaning", fix=_CHOOSE)
        seen = colours or (examples.get("white") if not ids else None)
        return cls(table, "colours", seen) if seen else cls(table, "ids", ids or examples.get("both"))

    def read(self, path: Path) -> np.ndarray:
        """Read a mask as (H, W) uint8 class ids, 255 = ignore, at full size.

        DataError if the file cannot be read, was stored with loss, has a value or colour that is no class's, or fits
        the other reading only.
        """
        stored = _Stored(Path(path))
        ids = self._ids(stored, self.encoding)
        if _fits(ids):
            return ids
        other = "colours" if self.encoding == "ids" else "ids"
        if _fits(self._ids(stored, other)):
            raise _disagreement(stored, other, self.encoding, self.like)
        raise self._stray(stored, self.encoding, ids)

    def _evidence(self, stored: _Stored) -> str:
        """Which reading a file speaks for: ids, colours, palette or white (colours preferred), differ, both."""
        ids, colours = self._ids(stored, "ids"), self._ids(stored, "colours")
        if not _fits(ids) and not _fits(colours):
            counts = [stored.size + 1 if found is None else int((found == STRAY).sum()) for found in (ids, colours)]
            encoding = "colours" if counts[1] < counts[0] else "ids"
            raise self._stray(stored, encoding, colours if encoding == "colours" else ids)
        if not _fits(ids):
            return "colours"
        if not _fits(colours):
            return "ids"
        if np.array_equal(ids, colours):
            return "both"
        if not self.table.coloured:
            return "ids"
        assert stored.values is not None
        if stored.kind == "palette":
            used = np.flatnonzero(np.bincount(stored.values.ravel(), minlength=256)[:len(stored.palette)])
            if len(np.unique(stored.palette[used], axis=0)) == len(used):
                return "palette"
        elif self.table.codes.get(IGNORE) == IGNORE and self.table.colours.get((255, 255, 255), IGNORE) != IGNORE \
                and (stored.values == (1 if stored.kind == "1-bit" else IGNORE)).any():
            return "white"
        return "differ"

    def _ids(self, stored: _Stored, encoding: str) -> np.ndarray | None:
        """(H, W) uint8 with STRAY where the reading has no class; None if it cannot be read so at all."""
        if encoding == "colours" and stored.packed is not None:
            return np.take(self._of_packed, stored.packed)
        if stored.values is None:
            return None
        ids = _look_up(stored.values, self._of_palette(stored) if encoding == "colours" else self._of_code)
        if stored.nan is not None:
            ids[stored.nan] = IGNORE
        return ids

    def _of_palette(self, stored: _Stored) -> np.ndarray:
        known = self.table.colours
        table = np.full(256, STRAY, np.uint8)
        table[:len(stored.palette)] = [known.get((r, g, b), STRAY) for r, g, b in stored.palette.tolist()]
        if stored.kind == "palette" and table[IGNORE] == STRAY:
            table[IGNORE] = IGNORE
        return table

    @cached_property
    def _of_code(self) -> np.ndarray:
        table = np.full(max([256, *(code + 1 for code in self.table.codes)]), STRAY, np.uint8)
        table[list(self.table.codes)] = list(self.table.codes.values())
        return table

    @cached_property
    def _of_packed(self) -> np.ndarray:
        # 2^24 entries of one byte: 16 MB buy a look-up that is independent of the number of classes.
        table = np.full(1 << 24, STRAY, np.uint8)
        for (r, g, b), value in self.table.colours.items():
            table[r | g << 8 | b << 16] = value
        return table

    def __reduce__(self) -> tuple[Any, ...]:  # without the cached tables: loader workers would each be sent 16 MB
        return MaskReading, (self.table, self.encoding, self.like, self.meaning)

    def _stray(self, stored: _Stored, encoding: str, ids: np.ndarray | None) -> DataError:
        """What is wrong with a mask that does not fit."""
        label_set = self.table.label_set
        if ids is None:
            return DataError(f"{stored.path}: mask", found=f"{stored.kind} with channels that differ (colours)",
                             expected="one channel of class ids", fix=_CHOOSE)
        stray = ids == STRAY
        y, x = np.argwhere(stray)[0].tolist()
        if encoding == "ids":
            assert stored.values is not None
            return _outside(stored.path, stored.values, stray, f"class id outside the label set {label_set.name!r}",
                            self.meaning or _meaning(self.table.codes), _EXPORT if self.meaning else _TABLE)
        colour = r, g, b = stored.colour(y, x)
        nearest, meaning = min(self.table.colours.items(),
                               key=lambda item: abs(item[0][0] - r) + abs(item[0][1] - g) + abs(item[0][2] - b))
        name = "ignore" if meaning == IGNORE else label_set.classes[meaning]
        hidden = " Where the mask is transparent, the colour below is read." if stored.transparent else ""
        return DataError(f"{stored.path}: colour outside the palette of {label_set.name!r}",
                         found=f"colour {colour} at x={x}, y={y}; {int(stray.sum())} of {stray.size} pixels are "
                               "outside",
                         expected=f"one of the {len(label_set)} class colours (nearest: {name} {nearest})",
                         fix="Save masks as PNG, never JPEG, and resize them with nearest only; or give the palette "
                             f"that they were drawn with (class_dict.csv).{hidden}")


class _Stored:
    """A decoded mask file: `values` of one channel and the `palette` of their colours, or `packed` colours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with opened(path) as image:
            _check_lossless(image, path)
            check_whole(image)
            wide = has_wide_colours(image)
            if image.mode not in _KINDS or wide:
                raise DataError("mask", found=f"{image.mode} of {16 if wide else 8} bits a channel",
                                expected="grey, a palette or RGB of 8 bits a channel, or one channel of whole numbers",
                                fix="Export the masks again as PNG.")
            self.kind, self.size = _KINDS[image.mode], image.width * image.height
            # Grey of 1, 2 or 4 bits comes stretched to 0 … 255: that is the colour; the value is what is stored.
            step = {"1": 255, "L;2": 85, "L;4": 17}.get(raw_mode(image)[:3], 1)
            grey = np.arange(0, 256 * step, step).clip(0, 255)
            self.palette = np.repeat(grey[:, None], 3, axis=1)  # (256, 3); shorter if the file's is
            raw = np.asarray(image)
            if self.kind == "palette":
                self.palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
            self.transparent = "transparency" in image.info or (
                image.mode in {"LA", "PA", "RGBA"} and np.ptp(raw[..., -1]) > 0)
        self.nan: np.ndarray | None = None
        self.packed: np.ndarray | None = None  # (H, W) uint32: red | green << 8 | blue << 16
        if self.kind == "RGB":
            rgba = cv2.cvtColor(raw, cv2.COLOR_RGB2RGBA) if raw.shape[2] == 3 else np.ascontiguousarray(raw)
            self.packed = rgba.view("<u4")[..., 0] & 0xFFFFFF
            return
        values = np.ascontiguousarray(raw[..., 0] if raw.ndim == 3 else raw)
        if values.dtype.kind == "f":
            self.nan = np.isnan(values)
            values = np.where(self.nan, 0, values)
            if (broken := (values != np.rint(values)) | (abs(values) > 1e9)).any():
                raise _outside(path, values, broken, "class ids that are no whole numbers", "whole numbers, or NaN",
                               _EXPORT)
            values = values.astype(np.int64)
        elif values.dtype == bool:
            values = np.minimum(values.view(np.uint8), 1)  # Pillow stores True as 255
        self._values = values // step if step > 1 and self.kind == "grey" else values

    @cached_property
    def values(self) -> np.ndarray | None:
        """(H, W) whole numbers; None if there are channels that differ."""
        if self.packed is None:
            return self._values
        first = self.packed & 255
        return first.astype(np.uint8) if np.array_equal(first * 0x10101, self.packed) else None

    def colour(self, y: int, x: int) -> tuple[int, int, int]:
        if self.packed is not None:
            packed = int(self.packed[y, x])
            return packed & 255, packed >> 8 & 255, packed >> 16
        value = int(self._values[y, x])
        r, g, b = self.palette[value].tolist() if 0 <= value < len(self.palette) else (value,) * 3
        return r, g, b


_KINDS = {"1": "1-bit", "L": "grey", "LA": "grey", "P": "palette", "PA": "palette", "RGB": "RGB", "RGBA": "RGB",
          "RGBX": "RGB", "I": "numbers", "I;16": "numbers", "I;16B": "numbers", "F": "numbers"}


def _check_lossless(image: Image.Image, path: Path) -> None:
    """Refuse formats that do not keep values, whatever the values are: at the edges between classes they are wrong."""
    lossy = image.format if image.format in {"JPEG", "MPO", "JPEG2000", "AVIF"} else None
    if image.format == "TIFF" and (packing := image.info.get("compression")) in {"jpeg", "tiff_jpeg", "webp"}:
        lossy = f"TIFF with {packing} inside"
    elif image.format == "WEBP":
        chunks = re.findall(b"VP8[L ]", path.read_bytes())
        lossy = None if chunks[:1] == [b"VP8L"] else "lossy WebP"
    if lossy:
        raise DataError(f"{path}: a mask in a format that does not keep class ids", found=lossy, expected="PNG",
                        fix="Export the masks again as PNG. Converting these files does not bring the values back.")


def _look_up(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return cv2.LUT(values, table[:256])
    return np.append(table, np.uint8(STRAY))[values.astype(np.int64).clip(-1, len(table))]  # both ends: STRAY


def _fits(ids: np.ndarray | None) -> TypeGuard[np.ndarray]:
    return ids is not None and not (ids == STRAY).any()


def _outside(path: Path, values: np.ndarray, stray: np.ndarray, what: str, meaning: str, fix: str) -> DataError:
    y, x = np.argwhere(stray)[0]
    return DataError(f"{path}: {what}", found=f"ids {few(np.unique(values[stray]).tolist(), 8)}; {int(stray.sum())} of "
                     f"{stray.size} pixels, the first at x={x}, y={y}", expected=meaning, fix=fix)


def _meaning(codes: dict[int, int]) -> str:
    used = sorted(code for code, value in codes.items() if value != IGNORE)
    ignored = ", ".join(str(code) for code, value in codes.items() if value == IGNORE)
    dense = len(used) > 1 and used == list(range(used[0], used[-1] + 1))
    shown = f"{used[0]} to {used[-1]}" if dense else few(used, 12)
    return f"{shown}, or {ignored} for ignore" if ignored else shown


def _disagreement(stored: _Stored, other: str, encoding: str, like: Path | None) -> DataError:
    channels = " with channels that differ" if stored.values is None else ""
    return DataError(f"{stored.path}: mask", found=f"{stored.kind}{channels}: fits the table of classes by {other}",
                     expected=f"{encoding}, as in {like}" if like else f"{encoding}, as was asked for",
                     fix="Files of one folder disagree: export them alike. If all were made in one way, the table of "
                         f"classes is not theirs. {_CHOOSE}" if like else f'Open the dataset with encoding="{other}".')
