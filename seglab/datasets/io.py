"""Read pictures and masks from files, whatever kind they are, or say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from seglab.errors import DataError
from seglab.labels import IGNORE, LabelSet

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})

# The drone pictures have 24 million pixels; Pillow warns of a "decompression bomb" from 89 million on, which large
# aerial mosaics pass honestly. Beyond this it is an error, and it stays one.
Image.MAX_IMAGE_PIXELS = 500_000_000

Size = tuple[int, int]  # (height, width), as in a tensor's shape


def fitted_size(size: Size, fit: Size | None) -> Size:
    """The size after scaling down to fit into a box; the aspect ratio stays, and nothing is ever enlarged.

    Example:
        >>> fitted_size((4000, 6000), (400, 600)), fitted_size((360, 480), (400, 600))
        ((400, 600), (360, 480))
    """
    if fit is None:
        return size
    scale = min(fit[0] / size[0], fit[1] / size[1], 1.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def image_size(path: str | Path) -> Size:
    """(height, width) from a file's header, without decoding it."""
    with _opened(Path(path)) as image:
        return image.height, image.width


def shared_size(image_path: Path, mask_path: Path, fix: str) -> Size:
    """(height, width) of a picture and its mask, from their headers; a DataError with this next step if they differ."""
    size, mask_size = image_size(image_path), image_size(mask_path)
    if size != mask_size:
        raise DataError(f"{mask_path}: mask of another size than its picture {image_path.name}",
                        found=f"{mask_size[1]}×{mask_size[0]}", expected=f"{size[1]}×{size[0]}", fix=fix)
    return size


def read_image(path: str | Path, fit: Size | None = None, *, upright: bool = False) -> np.ndarray:
    """Read a picture as (H, W, 3) uint8 RGB.

    Grayscale becomes three equal channels, 16 bits are scaled to 8, CMYK and palettes are converted, and
    transparency is laid on black. EXIF rotation is left alone: masks are drawn on the pixels as stored.

    Args:
        path: the file.
        fit: (height, width) of a box to scale down into, with antialiasing. JPEGs are then decoded at a reduced
            size, which is several times faster for large photographs.
        upright: obey EXIF rotation, as one wants where no mask belongs to the picture.

    Raises:
        DataError: the file is missing, is no picture, or is cut off.
    """
    path = Path(path)
    with _opened(path) as image:
        height, width = fitted_size((image.height, image.width), fit)
        try:
            if (height, width) != (image.height, image.width):
                # JPEG can decode at 1/2, 1/4 or 1/8; twice the wanted size leaves the filter enough to work on.
                image.draft("RGB", (2 * width, 2 * height))
            rgb = to_rgb(image)
            if rgb.size != (width, height):
                rgb = rgb.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
            if upright:
                rgb.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
                rgb = ImageOps.exif_transpose(rgb)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _undecodable(path, error) from error
    return np.asarray(rgb)


def read_square(path: str | Path, size: int, crop: float = 0.875) -> np.ndarray:
    """Read a picture as classifiers see it: upright, its middle square, scaled to (size, size, 3) uint8 RGB.

    Args:
        path: the file.
        size: side in pixels.
        crop: side of the square as a share of the picture's shorter side. ImageNet's networks are tested with 0.875.

    Raises:
        DataError: the file is missing, is no picture, or is cut off.
    """
    path = Path(path)
    with _opened(path) as image:
        try:
            scale = 2 * size / crop / min(image.size)  # draft: see read_image
            if scale < 1:
                image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
            return square(np.asarray(ImageOps.exif_transpose(to_rgb(image))), size, crop)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _undecodable(path, error) from error


def square(image: np.ndarray, size: int, crop: float = 0.875) -> np.ndarray:
    """The middle square of a picture, scaled: (H, W, 3) uint8 -> (size, size, 3) uint8. See `read_square`.

    Example:
        >>> square(np.zeros((300, 451, 3), dtype=np.uint8), 224).shape
        (224, 224, 3)
    """
    # A bleed is what `fit` cuts off at each edge.
    fitted = ImageOps.fit(Image.fromarray(image), (size, size), Image.Resampling.BICUBIC, bleed=(1 - crop) / 2)
    return np.array(fitted)


def read_mask(path: str | Path, label_set: LabelSet, *, encoding: str = "ids", ignore_ids: tuple[int, ...] = (),
              fit: Size | None = None) -> np.ndarray:
    """Read a mask as (H, W) uint8 class ids, 255 = ignore.

    Args:
        path: the file. A palette PNG is read by its indices when `encoding` is "ids", by its colours otherwise.
        label_set: the classes that may occur.
        encoding: "ids" (one channel of class ids; three equal channels are fine) or "colours" (RGB).
        ignore_ids: ids on disk that mean ignore, beside 255.
        fit: (height, width) of a box to scale down into. Only ever nearest: no class is invented between two others.

    Raises:
        DataError: no mask, cut off, a class id outside the label set, or a colour outside the palette.
    """
    path = Path(path)
    with _opened(path) as image:
        size = fitted_size((image.height, image.width), fit)
        try:
            if encoding == "colours":
                raw = image.convert("RGB")
            elif image.mode in {"RGB", "RGBA", "LA", "CMYK"}:
                raw = _single_channel(path, image)
            else:  # L, P (indices), 1 (0 and 255: scaled back below), I and I;16 (16 bits)
                raw = image if image.mode != "1" else image.convert("L").point(lambda v: v // 255)
            if size != (image.height, image.width):
                raw = raw.resize(size[::-1], Image.Resampling.NEAREST)
            values = np.asarray(raw)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _undecodable(path, error) from error
    if encoding == "colours":
        return label_set.ids_from_colours(values, where=str(path))
    return _checked_ids(path, values, label_set, ignore_ids)


def looks_coloured(path: str | Path) -> bool:
    """True if a mask file holds colours: three channels that differ somewhere. False for one channel of ids."""
    with _opened(Path(path)) as image:
        if image.mode not in {"RGB", "RGBA"}:
            return False
        # A quarter of a million nearest samples tell as much as 24 million pixels.
        image.thumbnail((512, 512), Image.Resampling.NEAREST)
        rgb = np.asarray(image)
    return bool((rgb[..., 0] != rgb[..., 1]).any() or (rgb[..., 1] != rgb[..., 2]).any())


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: file", found="nothing there", expected="a picture",
                        fix="Check the path, and that the dataset was unpacked whole.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: Exception) -> DataError:
    size = path.stat().st_size if path.is_file() else 0
    return DataError(f"{path}: the picture cannot be decoded", found=f"{error} ({size:,} bytes)",
                     expected="a whole JPEG, PNG, TIFF, BMP or WebP file",
                     fix="Fetch or export this file again, or take it (and its mask) out of the dataset.")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: 16 bits scaled to 8, transparency laid on black."""
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        # Pillow clips 16-bit values at 255 when it converts, which turns a photograph white.
        values = np.asarray(image).astype(np.float64)
        top = 65535.0 if image.mode != "F" or values.max(initial=0) > 1 else 1.0
        return Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image.convert("RGB")


def _single_channel(path: Path, image: Image.Image) -> Image.Image:
    bands = np.asarray(image.convert("RGB"))
    if (bands != bands[..., :1]).any():
        raise DataError(f"{path}: mask", found=f"{image.mode} with channels that differ (colours)",
                        expected="one channel of class ids",
                        fix='Open the dataset with encoding="colours" and the palette of these masks.')
    return Image.fromarray(np.ascontiguousarray(bands[..., 0]))


def _checked_ids(path: Path, values: np.ndarray, label_set: LabelSet, ignore_ids: tuple[int, ...]) -> np.ndarray:
    if values.dtype != np.uint8:
        wide = np.unique(values[(values < 0) | (values > IGNORE)])
        if wide.size:
            raise _outside(path, wide, label_set)
        values = values.astype(np.uint8)
    table = np.full(256, IGNORE, dtype=np.uint8)
    table[: len(label_set)] = np.arange(len(label_set))
    allowed = np.zeros(256, dtype=bool)
    allowed[[*range(len(label_set)), *ignore_ids, IGNORE]] = True
    table[list(ignore_ids)] = IGNORE
    present = np.bincount(values.ravel(), minlength=256) > 0
    if (present & ~allowed).any():
        raise _outside(path, np.flatnonzero(present & ~allowed), label_set)
    return np.take(table, values)


def _outside(path: Path, ids: np.ndarray, label_set: LabelSet) -> DataError:
    shown = ", ".join(str(i) for i in ids[:8].tolist()) + (" …" if ids.size > 8 else "")
    return DataError(f"{path}: class id outside the label set {label_set.name!r}", found=f"ids {shown}",
                     expected=f"0 to {len(label_set) - 1}, or {IGNORE} for ignore",
                     fix="Check that the label set is the dataset's own; name ids that are to be ignored in "
                         "ignore_ids.")
