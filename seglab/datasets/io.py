"""Read pictures from files, whatever kind they are, or say what is wrong with them. Masks: see `masks`."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, ImageSequence, TiffImagePlugin, UnidentifiedImageError

from seglab.errors import DataError, SeglabError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})

#: To be decoded, a picture takes 14 bytes a pixel for a moment, and 20 to be segmented: 2 GB. Larger ones are bombs, or
#: mosaics that are better cut.
MAX_PIXELS = 100_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own is lower, and only warns

Size = tuple[int, int]  # (height, width), as in a tensor's shape
#: What may be inside a file, whatever its name. Pillow knows more, for some of which it starts other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_EXPORT = "Export three bands (red, green, blue) of 8 or 16 bits as PNG or TIFF."


def size_within(size: Size, within: int | Size | None) -> Size:
    """The size after scaling down into a box, or until the shorter side is at most `within`; nothing is ever enlarged.

    Example:
        >>> size_within((4000, 6000), (400, 600)), size_within((360, 480), (400, 600)), size_within((6000, 4000), 400)
        ((400, 600), (360, 480), (600, 400))
    """
    if within is None:
        return size
    scale = min(within / min(size) if isinstance(within, int) else min(within[0] / size[0], within[1] / size[1]), 1.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def image_size(path: str | Path) -> Size:
    """(height, width) from a file's header, as the pixels are stored, without decoding them."""
    with opened(path) as image:
        return image.height, image.width


def orientation(image_path: Path, mask_size: Size, mask_path: Path | None = None) -> bool:
    """Whether a picture must be turned upright, as its EXIF orientation says, to lie on its mask. Reads headers only.

    A mask in a file with the same orientation is stored as its picture is.

    Raises:
        DataError: the sizes differ; or the picture has an orientation, and the sizes do not tell whether the mask was
            drawn on the picture as stored or upright.
    """
    with opened(image_path) as image:
        stored, turn = (image.height, image.width), _orientation(image)
        if image.format == "TIFF" and turn >= 5 and stored[0] != stored[1]:
            turn = 1  # decoders turn TIFFs themselves, and here the sizes show whether the mask was turned, too
    if turn != 1 and mask_path is not None:
        with opened(mask_path) as mask:
            if _orientation(mask) == turn:
                turn = 1
    sizes = {stored, stored[::-1]} if turn >= 5 else {stored}
    if mask_size not in sizes:
        raise DataError(f"{mask_path or 'mask'}: mask of another size than its picture {image_path.name}",
                        found=f"{mask_size[1]}×{mask_size[0]}",
                        expected=" or ".join(f"{width}×{height}" for height, width in sorted(sizes)),
                        fix="Export the mask at the picture's size. If width and height are exchanged, one of the two "
                            "was turned (EXIF orientation).")
    if turn != 1 and len(sizes) == 1:
        raise DataError(f"{image_path}: EXIF orientation {turn}, and its mask has none",
                        found="sizes that fit both ways", expected="a mask that shows whether it was drawn on the "
                        "picture as stored or upright",
                        fix="Apply the rotation to the picture once and save it (without the orientation), and export "
                            "the mask again.")
    return mask_size != stored


def _orientation(image: Image.Image) -> int:
    value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)  # PNG's own getexif decodes the picture
    return value if value in range(1, 9) else 1


def _turned(rgb: Image.Image, turn: int) -> Image.Image:
    rgb.getexif()[ExifTags.Base.Orientation] = turn
    return rgb if turn == 1 else ImageOps.exif_transpose(rgb)


def read_image(path: str | Path, within: int | Size | None = None, *, upright: bool = False) -> np.ndarray:
    """Read a picture as (H, W, 3) uint8 RGB.

    Grayscale becomes three equal channels, CMYK and palettes are converted, and transparency is laid on black. More
    than 8 bits are scaled by the depth that the file states, or else the smallest of 8, 10, 12, 14 and 16 bits that
    holds its values; floats are 0 to 1 or 0 to 255. EXIF rotation is left alone, unless asked for.

    Args:
        within: (height, width) of a box to scale down into, or the most that the shorter side may have, with
            antialiasing. JPEGs are then decoded at a reduced size, several times faster for large photographs.
        upright: obey EXIF rotation, where no mask belongs to the picture or `orientation` says so. The box is that of
            the upright picture.

    Raises:
        DataError: the file is missing, is no picture, is cut off, or is not one picture of three bands (several
            pages, more bands, a fourth band that is not opacity, values of no known range).
    """
    with opened(path) as image:
        turn = _orientation(image) if upright and image.format != "TIFF" else 1  # decoders turn TIFFs themselves
        height, width = size_within((image.height, image.width), within[::-1] if isinstance(within, tuple) and turn >= 5
                                    else within)
        if (height, width) != (image.height, image.width):
            # JPEG can decode at 1/2, 1/4 or 1/8; twice the wanted size leaves the filter enough to work on.
            image.draft("RGB", (2 * width, 2 * height))
        rgb = _picture(image)
        pixels = np.asarray(rgb) if rgb.size == (width, height) else _scaled(np.array(rgb), (height, width))
        return pixels if turn == 1 else np.asarray(_turned(Image.fromarray(pixels), turn))


def _scaled(image: np.ndarray, size: Size) -> np.ndarray:
    """Scale bicubically, antialiased: (H, W, 3) uint8 -> (*size, 3) uint8.

    PyTorch's kernel gives what Pillow's gives, to one grey level, and takes a sixth of its time.
    """
    import torch  # here, so that importing this module stays instant

    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]  # (1, 3, H, W), channels last in memory
    scaled = torch.nn.functional.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)
    return scaled[0].permute(1, 2, 0).numpy()  # (3, h, w) -> (h, w, 3)


def read_square(path: str | Path, size: int, crop: float = 0.875) -> np.ndarray:
    """Read a picture as classifiers see it: upright, its middle square, scaled to (size, size, 3) uint8 RGB.

    Args:
        size: side in pixels.
        crop: side of the square as a share of the picture's shorter side. ImageNet's networks are tested with 0.875.

    Raises:
        DataError: as for `read_image`.
    """
    with opened(path) as image:
        scale = 2 * size / crop / min(image.size)  # draft: see read_image
        if scale < 1:
            image.draft("RGB", (round(image.width * scale), round(image.height * scale)))
        return square(np.asarray(_turned(_picture(image), _orientation(image))), size, crop)


def square(image: np.ndarray, size: int, crop: float = 0.875) -> np.ndarray:
    """The middle square of a picture, scaled: (H, W, 3) uint8 -> (size, size, 3) uint8. See `read_square`.

    Example:
        >>> square(np.zeros((300, 451, 3), dtype=np.uint8), 224).shape
        (224, 224, 3)
    """
    side = max(1, round(crop * min(image.shape[:2])))
    top, left = ((have - side) // 2 for have in image.shape[:2])
    return _scaled(image[top:top + side, left:left + side].copy(), (size, size))


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture or mask; whatever is wrong with the file, here or while it is decoded, is a DataError."""
    path = Path(path).expanduser()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe would wait for ever
            raise DataError(f"{path}: file", found="a folder, a pipe or a device", expected="a picture")
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width}×{image.height} pixels")
            yield image
    except Image.DecompressionBombError as error:  # Pillow's own, if it is twice as large
        raise DataError(f"{path}: picture", found=f"{error}, as its header says",
                        expected=f"at most {MAX_PIXELS:,} pixels", fix="Cut it into several pictures.") from None
    except SeglabError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error
    except FileNotFoundError:
        raise DataError(f"{path}: file", found="nothing there", expected="a picture",
                        fix="Check the path, and that the dataset was unpacked whole.") from None
    except PermissionError as error:
        raise DataError(f"{path}: file", found=error.strerror, expected="a picture that can be read",
                        fix="Check its rights.") from error
    except Exception as error:
        # All of them: on damaged files the decoders raise what they come upon (struct.error, OverflowError,
        # MemoryError, IndexError, zlib.error, cv2.error, …), and no list of these stays complete.
        if isinstance(error, UnidentifiedImageError) and (bands := _tiff_bands(path)):
            raise DataError(f"{path}: a TIFF of a kind that cannot be read", found=bands,
                            expected="1 or 3 bands of 8 or 16 bits", fix=_EXPORT) from error
        size = path.stat().st_size if os.path.isfile(path) else 0
        raise DataError(f"{path}: the picture cannot be decoded", found=f"{error or type(error).__name__} ({size:,} "
                        "bytes)", expected="a whole JPEG, PNG, TIFF, BMP or WebP file",
                        fix="Fetch or export this file again, or take it (and its mask) out of the dataset.") from error


def check_whole(image: Image.Image) -> None:
    """One whole picture a file: an error if pixels are missing or damaged, or pages of its size follow the first.

    Previews of other sizes are fine, and so are the further pictures of an MPO, which is a JPEG of some cameras.
    """
    if image.format == "PNG":  # Pillow's decoder does not compare the checksums of the pixels
        with Image.open(io.BytesIO(_bytes(image)), formats=("PNG",)) as copy:
            copy.verify()
    if image.format == "TIFF" and (tiles := [tile[1] for tile in image.tile]):  # type: ignore[attr-defined]
        covered = max(right for _, _, right, _ in tiles), max(lower for _, _, _, lower in tiles)
        if covered[0] * covered[1] < image.width * image.height:  # sides may be exchanged: an orientation
            raise ValueError(f"pixels of {covered[0]}×{covered[1]} for a picture of {image.width}×{image.height}")
    pages, size = getattr(image, "n_frames", 1), image.size
    if pages > 1 and image.format == "TIFF":
        pages = sum(page.size == size for page in ImageSequence.Iterator(image))
        image.seek(0)
    if pages > 1 and image.format != "MPO":
        raise DataError("several pages or frames", found=f"{pages} of {image.width}×{image.height}",
                        expected="one picture a file",
                        fix=f"Save every page as a file of its own. If the pages are bands: {_EXPORT}")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any picture in memory as RGB: deep and float ones scaled as in `read_image`, transparency laid on black."""
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow clips 16-bit values at 255 when it converts, which turns a photograph white.
        bits = _stated_bits(image)  # before the pixels: then the file is closed
        return Image.fromarray(_eight_bits(np.asarray(image), bits)).convert("RGB")
    if image.mode not in {"RGBA", "LA", "PA", "La", "RGBa"} and "transparency" not in image.info:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    counts = np.array(rgba.getchannel("A").histogram())
    if np.count_nonzero(counts) == 1:
        return rgba.convert("RGB")  # one value everywhere says nothing; with 0, the picture would be black
    if counts[1:255].sum() > counts.sum() / 2:
        raise DataError("a fourth band that does not look like opacity", found="values between 0 and 255 in most "
                        "pixels: laid on black, the picture would be dark", expected="opaque pixels with few others",
                        fix=f"{_EXPORT} If the band is meant as opacity, flatten the picture.")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")


def has_wide_colours(image: Image.Image) -> bool:
    """True for a file just opened with several channels of 16 bits, of which Pillow keeps the upper 8."""
    return image.mode in {"RGB", "RGBA", "RGBX", "LA"} and ";16" in raw_mode(image)


def raw_mode(image: Image.Image) -> str:
    """How a file just opened stores its values, in Pillow's words, such as "L;4" or "RGB;16B"; "" if unknown."""
    tile = getattr(image, "tile", None)
    arguments = tile[0][3] if tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _picture(image: Image.Image) -> Image.Image:
    """The pixels of an opened file as RGB."""
    check_whole(image)
    tags: Any = image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]
    bands = tags.get(277, 1)
    if bands > 4:
        raise DataError("too many bands", found=_described(tags), expected="1 or 3 bands", fix=_EXPORT)
    colours = bands == 4 and image.mode == "RGBA" and not tags.get(338)  # no one says that the fourth is opacity
    pixels = _wide(image) if has_wide_colours(image) else image
    return pixels.convert("RGB") if colours else to_rgb(pixels)


def _wide(image: Image.Image) -> Image.Image:
    """An opened file of 16 bits a channel as 8 bits, RGB or RGBA, through OpenCV."""
    import cv2

    bits, alpha, data = _stated_bits(image), image.mode in {"RGBA", "LA"}, np.frombuffer(_bytes(image), np.uint8)
    image.load()  # for its errors: on a damaged file, OpenCV may take seconds and gigabytes
    values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        raise ValueError("16 bits a channel that OpenCV cannot decode")
    rgb = _eight_bits(values[..., 2::-1], bits)
    if not alpha or values.shape[2] == 3:
        return Image.fromarray(rgb)
    return Image.fromarray(np.dstack([rgb, (values[..., 3] / 257).round().astype(np.uint8)]))


def _stated_bits(image: Image.Image) -> int | None:
    """The depth of the values as the file states it: TIFF's MaxSampleValue or BitsPerSample, PNG's sBIT."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        top, bits = np.max(tags.get(281, 0)), np.max(tags.get(258, 0))
        return int(top).bit_length() if 255 < top < 65535 else int(bits) if 8 < bits < 16 else None
    if image.format == "PNG" and image.fp is not None:  # type: ignore[attr-defined]
        head = _bytes(image, 4096).partition(b"IDAT")[0]
        return head[head.index(b"sBIT") + 4] if b"sBIT" in head else None
    return None


def _bytes(image: Image.Image, count: int = -1) -> bytes:
    """The first bytes, or all, of an opened file, which is left where it was."""
    file = image.fp  # type: ignore[attr-defined]
    at = file.tell()
    file.seek(0)
    data: bytes = file.read(count)
    file.seek(at)
    return data


def _eight_bits(values: np.ndarray, bits: int | None) -> np.ndarray:
    """Deep or float values as uint8, NaN as 0."""
    low, high = (float(np.fmin.reduce(values, None)), float(np.fmax.reduce(values, None))) if values.size else (1., 0.)
    if values.dtype.kind == "f":
        top = 1 if high <= 1 else 255
    else:
        depths = [bits] if bits is not None and 8 <= bits <= 16 and high < 2 ** bits else [8, 10, 12, 14, 16]
        top = next((2 ** depth - 1 for depth in depths if high < 2 ** depth), 65535)
    if not 0 <= low <= high <= top:
        raise DataError("values of no known range", found=f"{low:g} to {high:g}",
                        expected="whole numbers of up to 16 bits, or floats 0 to 1 or 0 to 255",
                        fix="Scale the values, and export the picture as 8 or 16 bits.")
    if values.dtype.kind != "f":
        return (np.arange(top + 1, dtype=np.float32) * np.float32(255 / top)).round().astype(np.uint8)[values]
    scaled = np.nan_to_num(values.astype(np.float32), copy=False)
    scaled *= 255 / top
    return scaled.round(out=scaled).astype(np.uint8)


def _tiff_bands(path: Path) -> str | None:
    """What a TIFF that Pillow does not know has, from its header; None for other files."""
    try:
        with open(path, "rb") as file:
            tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
        return _described(tags) if 277 in tags else None
    except Exception:  # another format, or a damaged header: see opened
        return None


def _described(tags: TiffImagePlugin.ImageFileDirectory_v2) -> str:
    bits, kind = tags.get(258, (1,)), tags.get(339, (1,))[0]
    return f"{tags.get(277, 1)} bands of {bits[0]} bits" + {3: " (float)", 2: " (signed)"}.get(kind, "")
