"""What travels to the browser, and how: bytes that a browser inflates or decodes by itself, never lists of numbers."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

from seglab.errors import ArgumentError
from seglab.labels import IGNORE, LabelSet
from seglab.viz import as_picture
from seglab.viz.palettes import as_drawn, safe_label_set

#: Pictures with more pixels than that travel as JPEG: a photograph's PNG is five times as large.
_LOSSLESS_PIXELS = 64 * 1024


def pack(values: np.ndarray, smooth: bool = False) -> bytes:
    """Deflate uint8 values: for class ids as small as a PNG, and exact in every browser, which a canvas need not be.

    Args:
        values: uint8, of any shape; the order is C's.
        smooth: store rows of (..., W) as differences to the row above (modulo 256). Maps that change slowly, such as
            probabilities, then take fewer bytes. Read with `unpack(view, width)`.

    Raises:
        ArgumentError: another dtype.

    Example:
        >>> len(pack(np.zeros((853, 1280), np.uint8))) < 1500
        True
    """
    if values.dtype != np.uint8:
        raise ArgumentError("values", found=values.dtype, expected="uint8")
    if smooth:
        rows = values.reshape(-1, values.shape[-1])  # (..., W) -> (rows, W)
        values = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    # Noisy maps take many times as long at level 9, for a few percent; masks are quick at any.
    return zlib.compress(np.ascontiguousarray(values).tobytes(), 6 if smooth else 9)


def encode(picture: np.ndarray) -> bytes:
    """A picture as PNG; a large one as JPEG of quality 95, without coarser colours.

    Args:
        picture: (H, W, 3) uint8.

    Example:
        >>> encode(np.zeros((4, 4, 3), np.uint8))[1:4]
        b'PNG'
    """
    if picture.shape[0] * picture.shape[1] <= _LOSSLESS_PIXELS:
        return as_file(picture, "PNG")
    return as_file(picture, "JPEG", quality=95, subsampling=0)


def as_file(picture: np.ndarray, kind: str, **options: Any) -> bytes:
    """A picture, (H, W, 3) uint8, as the bytes of a "PNG" or "JPEG"."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format=kind, **options)
    return buffer.getvalue()


def as_array(values: Any) -> np.ndarray:
    """An array, or a tensor on any device, as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def check_picture(image: Any) -> np.ndarray:
    """A picture with at least one pixel as (H, W, 3) uint8; ArgumentError for anything else."""
    picture = as_picture(image)
    if picture.size == 0:
        raise ArgumentError("image", found=f"{picture.shape[1]}×{picture.shape[0]} pixels",
                            expected="at least one pixel")
    return picture


def check_mask(mask: Any, size: tuple[int, int], label_set: LabelSet, name: str = "mask") -> np.ndarray:
    """A mask of a picture of this size, every id with a colour: (H, W) uint8.

    Args:
        mask: (H, W) class ids, any integer dtype, array or tensor on any device.
        size: (H, W) of its picture.
        label_set: the classes that it may hold, besides 255.
        name: what to call it in an error.

    Raises:
        ArgumentError: another size, no integers, an id above 255 or below 0, or one without a colour.
    """
    array = as_array(mask)
    if array.shape != tuple(size):
        raise ArgumentError(f"mask {name!r}", found=f"shape {array.shape}",
                            expected=f"the picture's size {tuple(size)}",
                            fix="Resize masks with nearest only: datasets.transforms does both together.")
    if not np.issubdtype(array.dtype, np.integer):
        raise ArgumentError(f"mask {name!r}", found=array.dtype, expected="class ids, integers",
                            fix="Of logits (C, H, W), take argmax(0); of probabilities, likewise.")
    ids = np.unique(array)
    strays = [int(i) for i in ids if i != IGNORE and not 0 <= i < len(label_set)]
    if strays:
        more = f" and {len(strays) - 6} more" if len(strays) > 6 else ""
        raise ArgumentError(f"mask {name!r}",
                            found=f"class id {', '.join(map(str, strays[:6]))}{more}, without a colour",
                            expected=f"0 to {len(label_set) - 1}, the classes of {label_set.name!r}, or 255 for ignore "
                                     "(at most 254 classes)",
                            fix="Give the label set that these masks were made with: label_set=LabelSet(…).")
    return np.ascontiguousarray(array.astype(np.uint8))


def classes_of(label_set: LabelSet) -> list[dict[str, Any]]:
    """Names and colours for the browser, ignore last: [{"id", "name", "colour", "safe", "background"}].

    "colour" is the one in which the class is drawn, "safe" the one in the palette for colour-blind eyes; "background"
    says whether the class is the background.
    """
    drawn = as_drawn(label_set)
    safe = safe_label_set(drawn)
    return [{"id": i, "name": "ignored" if i == IGNORE else label_set.classes[i],
             "colour": drawn.palette[i].tolist(), "safe": safe.palette[i].tolist(),
             "background": i == label_set.background}
            for i in (*range(len(label_set)), IGNORE)]


def labels_of(label_set: LabelSet | None, dataset: Any, other: LabelSet | None = None) -> LabelSet:
    """The label set given, else the dataset's, else the other; ArgumentError if there is none."""
    while label_set is None and dataset is not None:  # through a Subset
        label_set, dataset = getattr(dataset, "label_set", None), getattr(dataset, "dataset", None)
    label_set = label_set or other
    if not isinstance(label_set, LabelSet):
        raise ArgumentError("label_set", found=type(label_set).__name__, expected="names and colours, a LabelSet",
                            fix="Pass the dataset's or the model's label_set.")
    return label_set
