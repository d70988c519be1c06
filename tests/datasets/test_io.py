from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from seglab.datasets.io import image_size, orientation, read_image, read_square, size_within, to_rgb
from seglab.errors import DataError
from tests.conftest import with_flipped_bit

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GRAY = np.asarray(Image.fromarray(PICTURE).convert("L"))
SMOOTH = np.linspace(40, 220, 600).reshape(20, 30)


def three(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[..., None], 3, axis=2)


def test_every_kind_of_picture_becomes_rgb(tmp_path):
    rgb = Image.fromarray(PICTURE)
    kinds = {"gray.png": rgb.convert("L"), "wide.png": Image.fromarray(GRAY.astype(np.uint16) * 257),
             "cmyk.jpg": rgb.convert("CMYK"), "rgba.png": rgb.convert("RGBA"), "palette.png": rgb.quantize(64),
             "la.png": rgb.convert("LA"), "one.png": rgb.convert("1"), "a.ppm": rgb, "a.webp": rgb, "a.tif": rgb}
    for name, image in kinds.items():
        image.save(tmp_path / name)
        found = read_image(tmp_path / name)
        assert found.shape == (20, 30, 3) and found.dtype == np.uint8, name
        assert image_size(tmp_path / name) == (20, 30)
    for name in ("gray.png", "wide.png", "la.png"):
        assert np.array_equal(read_image(tmp_path / name), three(GRAY)), name
    for name in ("rgba.png", "a.ppm", "a.tif"):
        assert np.array_equal(read_image(tmp_path / name), PICTURE), name


# ------------------------------------------------------------------------------------------------- depth and bands

@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["gray.png", "gray.tif", "rgb.png", "rgb.tif", "rgba.png", "lzw.tif"])
def test_deep_pictures_are_scaled_by_the_depth_that_they_use(tmp_path, bits, name):
    values = (PICTURE.astype(np.float64) / 255 * (2 ** bits - 1)).round().astype(np.uint16)
    values[0, 0] = 2 ** bits - 1
    expected = (values / (2 ** bits - 1) * 255).round()
    if name.startswith("gray"):
        values, expected = values[..., 0], three(expected[..., 0])
    if name == "rgba.png":
        values = np.dstack([values, np.full(values.shape[:2], 65535, np.uint16)])
    if name == "lzw.tif":
        cv2.imwrite(str(tmp_path / name), values[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    elif name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, values)
    else:
        assert cv2.imwrite(str(tmp_path / name), values[..., [2, 1, 0, *range(3, values.shape[2])]]
                           if values.ndim == 3 else values)
    found = read_image(tmp_path / name)
    assert np.abs(found - expected).max() <= 1
    assert np.array_equal(found, expected)


def png(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A 16-bit grey PNG with further chunks."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)


@pytest.mark.parametrize(("stated", "depth"), [(None, 10), (12, 12), (16, 16), (8, 10), (0, 10), (200, 10)])
def test_a_depth_that_the_file_states_counts_where_it_can_be(tmp_path, stated, depth):
    (tmp_path / "a.png").write_bytes(png(SMOOTH * 4, *([] if stated is None else [(b"sBIT", bytes([stated]))])))
    assert read_image(tmp_path / "a.png").max() == round(880 / (2 ** depth - 1) * 255)
    tifffile.imwrite(tmp_path / "a.tif", (SMOOTH * 4).astype(np.uint16),
                     extratags=[(281, 3, 1, 2 ** depth - 1, True)] if depth != 16 else [])
    if depth != 16:
        assert read_image(tmp_path / "a.tif").max() == round(880 / (2 ** depth - 1) * 255)


@pytest.mark.parametrize(("values", "expected"), [
    (SMOOTH / 255, SMOOTH), (SMOOTH, SMOOTH), (np.where(SMOOTH < 50, np.nan, SMOOTH), np.where(SMOOTH < 50, 0, SMOOTH)),
    (np.zeros((20, 30)), np.zeros((20, 30))), (np.ones((20, 30)), np.full((20, 30), 255)),
    (SMOOTH * 0 + 7, SMOOTH * 0 + 7)])
def test_floats_of_a_known_range(tmp_path, values, expected):
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif"), three(expected.round().astype(np.uint8)))


@pytest.mark.parametrize(("values", "found"), [
    (SMOOTH * 9, "1980"), (SMOOTH - 100, "-60 to 120"), (np.where(SMOOTH < 50, np.inf, SMOOTH), "inf"),
    (SMOOTH * np.nan, "nan"),
    ((SMOOTH * 1000).astype(np.int32), "220000"), ((SMOOTH - 50).astype(np.int32), "-10 to 170")])
def test_values_of_no_known_range(tmp_path, values, found):
    Image.fromarray(values.astype(np.float32) if values.dtype.kind == "f" else values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif.*no known range\n.*{found}"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("extra", "reads"), [("unspecified", True), ("unassalpha", False), ("assocalpha", False)])
def test_a_fourth_band_that_is_near_infrared(tmp_path, kind, extra, reads):
    four = np.dstack([PICTURE, SMOOTH.astype(np.uint8)]).astype(kind) * (257 if kind == np.uint16 else 1)
    tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=[extra])
    if reads:
        assert np.array_equal(read_image(tmp_path / "a.tif"), PICTURE)
    else:
        with pytest.raises(DataError, match=r"a\.tif.*opacity(.|\n)*[Ee]xport three bands"):
            read_image(tmp_path / "a.tif")


def test_transparency_is_laid_on_black_if_it_is_any(tmp_path):
    opacity = np.where(SMOOTH < 60, 0, 255).astype(np.uint8)
    opacity[0, 5] = 90
    for name, options in (("a.png", {}), ("a.webp", {"lossless": True}), ("a.tif", {})):
        Image.fromarray(np.dstack([PICTURE, opacity])).save(tmp_path / name, **options)
        found = read_image(tmp_path / name)
        assert np.array_equal(found[opacity == 255], PICTURE[opacity == 255]) and found[opacity == 0].max() == 0
    # One value everywhere is no opacity, and near infrared in a PNG is none.
    Image.fromarray(np.dstack([PICTURE, opacity * 0])).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), PICTURE)
    Image.fromarray(np.dstack([PICTURE, SMOOTH.astype(np.uint8)])).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="does not look like opacity"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("shape", "options", "found"), [
    ((20, 30, 5), {"photometric": "rgb"}, "5 bands of 8 bits"),
    ((20, 30, 6), {"photometric": "minisblack", "planarconfig": "contig"}, "6 bands of 8 bits"),
    ((20, 30, 5), {"photometric": "rgb", "dtype": np.uint16}, "5 bands of 16 bits"),
    ((20, 30, 3), {"photometric": "rgb", "dtype": np.float32}, r"3 bands of 32 bits \(float\)"),
    ((5, 20, 30), {"photometric": "minisblack"}, "5 of 30×20")])
def test_more_bands_than_three_and_several_pages(tmp_path, shape, options, found):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, options.pop("dtype", np.uint8)), **options)
    with pytest.raises(DataError, match=rf"a\.tif(.|\n)*found: +{found}(.|\n)*Export three bands"):
        read_image(tmp_path / "a.tif")


def test_previews_are_no_pages_but_frames_are(tmp_path):
    smooth = three(SMOOTH.astype(np.uint8))
    first, small, other = (Image.fromarray(a) for a in (smooth, smooth[::2, ::2], smooth[::-1]))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[other], quality=100)
    assert np.array_equal(read_image(tmp_path / "a.tif"), smooth)
    assert np.abs(read_image(tmp_path / "a.mpo").astype(int) - smooth).max() < 5
    for name in ("b.tif", "b.png", "b.webp"):
        first.copy().save(tmp_path / name, save_all=True, append_images=[other.copy()])
        with pytest.raises(DataError, match="several pages or frames\n.*2 of 30×20"):
            read_image(tmp_path / name)


def test_pictures_in_memory():
    assert np.array_equal(np.asarray(to_rgb(Image.fromarray(GRAY.astype(np.uint16) * 257))), three(GRAY))
    assert np.array_equal(np.asarray(to_rgb(Image.fromarray(PICTURE).convert("RGBA"))), PICTURE)


# ---------------------------------------------------------------------------------------------------------- geometry

def test_a_box_scales_down_only():
    assert [size_within((20, 30), box) for box in ((40, 60), (20, 300), (10, 300), None)] == [
        (20, 30), (20, 30), (10, 15), (20, 30)]
    assert size_within((400, 600), (100, 100)) == (67, 100)


def test_reduced_jpeg_decoding_is_close_to_the_full_one(tmp_path):
    y, x = np.mgrid[:800, :1200]
    smooth = np.stack([x / 1200 * 255, y / 800 * 255, 128 + 90 * np.sin(x / 60)], axis=2).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    full = Image.open(tmp_path / "a.jpg").resize((120, 80), Image.Resampling.BICUBIC)
    difference = np.abs(read_image(tmp_path / "a.jpg", within=(80, 120)).astype(int) - np.asarray(full))
    assert difference.mean() < 1
    assert difference.max() < 8


def turned(path: Path, array: np.ndarray, turn: int) -> Path:
    exif = Image.Exif()
    exif[274] = turn
    Image.fromarray(array).save(path, exif=exif)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_is_turned_to_lie_on_its_mask(tmp_path, name):
    path = turned(tmp_path / name, np.broadcast_to(PICTURE[:1, :1], (20, 30, 3)).copy(), 6)
    assert orientation(path, (20, 30)) is False and orientation(path, (30, 20)) is True
    assert read_image(path).shape == (20, 30, 3) and read_image(path, upright=True).shape == (30, 20, 3)
    assert read_image(path, (15, 90), upright=True).shape == (15, 10, 3)  # the box is that of the upright picture
    with pytest.raises(DataError, match=rf"mask of another size than its picture {name}\n.*31×20\n.*30×20 or 20×30"):
        orientation(path, (20, 31))


@pytest.mark.parametrize("values", [PICTURE, PICTURE.astype(np.uint16) * 16])
def test_tiffs_are_always_upright(tmp_path, values):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, extratags=[(274, 3, 1, 6, True)])
    assert image_size(path) == (30, 20) and orientation(path, (30, 20)) is False
    for upright in (False, True):
        assert np.abs(read_image(path, upright=upright)[:, ::-1].transpose(1, 0, 2).astype(int) - PICTURE).max() <= 1
    with pytest.raises(DataError, match="another size"):
        orientation(path, (20, 30))
    tifffile.imwrite(path, values, extratags=[(274, 3, 1, 3, True)])
    with pytest.raises(DataError, match="EXIF orientation 3"):
        orientation(path, (20, 30))


@pytest.mark.parametrize("turn", range(2, 9))
def test_upright_is_as_pillow_turns(tmp_path, turn):
    path = turned(tmp_path / "a.png", PICTURE, turn)
    assert np.array_equal(read_image(path, upright=True), np.asarray(ImageOps.exif_transpose(Image.open(path))))
    assert read_square(path, 8).shape == (8, 8, 3)


@pytest.mark.parametrize(("turn", "shape"), [(2, (20, 30)), (3, (20, 30)), (4, (20, 30)), (6, (20, 20)), (8, (20, 20))])
def test_what_sizes_do_not_tell(tmp_path, turn, shape):
    path = turned(tmp_path / "a.jpg", PICTURE[:shape[0], :shape[1]], turn)
    mask = turned(tmp_path / "m.png", np.zeros(shape, np.uint8), 1)
    with pytest.raises(DataError, match=rf"a\.jpg: EXIF orientation {turn}.*\n(.|\n)*export the mask again"):
        orientation(path, shape, mask)
    assert orientation(path, shape, turned(mask, np.zeros(shape, np.uint8), turn)) is False


@pytest.mark.parametrize("turn", [0, 1, 9])
def test_no_orientation(tmp_path, turn):
    path = turned(tmp_path / "a.jpg", PICTURE, turn)
    assert orientation(path, (20, 30)) is False
    with pytest.raises(DataError, match=r"m\.png.*another size.*\n.*20×30\n.*30×20"):
        orientation(path, (30, 20), Path("m.png"))


# ---------------------------------------------------------------------------------------------------- damaged files

def test_missing_cut_and_foreign_files(tmp_path):
    Image.fromarray(PICTURE).resize((300, 200)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "b.jpg").write_bytes(b"this is no picture")
    (tmp_path / "c.jpg").write_bytes(b"")
    for name, found in (("a.jpg", ""), ("b.jpg", "18 bytes"), ("c.jpg", "0 bytes")):
        with pytest.raises(DataError, match=rf"{name[0]}\.jpg.*cannot be decoded(.|\n)*{found}"):
            read_image(tmp_path / name)
    with pytest.raises(DataError, match="nothing there"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.filterwarnings("ignore")  # of Pillow, on damaged tags
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp", "a.bmp", "wide.png", "wide.tif", "a.ppm"])
def test_damaged_files_are_a_data_error_or_a_picture(tmp_path, name):
    rng = np.random.default_rng(1)
    if name.startswith("wide"):
        cv2.imwrite(str(tmp_path / name), PICTURE.astype(np.uint16) * 16)
    else:
        Image.fromarray(PICTURE).save(tmp_path / name)
    whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
    for _ in range(60):
        data = whole.copy()
        data[rng.integers(0, min(len(data), rng.choice([60, len(data)])), 4)] = rng.integers(0, 256, 4)
        (tmp_path / name).write_bytes(data[: rng.choice([len(data), rng.integers(1, len(data))])].tobytes())
        for call in (read_image, image_size, lambda path: orientation(path, (20, 30))):
            with suppress(DataError):
                call(tmp_path / name)


# ------------------------------------------------------------------------------------------------- damage and bombs

def test_every_flipped_bit_of_a_png_is_seen(tmp_path):
    """zlib alone passes some: Pillow reads another picture, without a word."""
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path)
    data = path.read_bytes()
    for place in range(8 * 8, 8 * len(data) - 8 * 12, 13):  # behind the pixels comes the end, of 12 bytes
        path.write_bytes(with_flipped_bit(data, place))
        with pytest.raises(DataError, match=r"a\.png"):
            read_image(path)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("name", "header"), [
    ("a.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 31_000, 31_000, 8, 2, 0, 0, 0))
     + chunk(b"IDAT", zlib.compress(bytes(10_000)))),
    ("a.bmp", struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 10 ** 6, 0, 0, 54, 40, 31_000, 31_000, 1, 24, *[0] * 6)
     + bytes(1000)),
    ("a.ppm", b"P6 20000 20000 255\n" + bytes(1000))])
def test_a_picture_that_states_more_pixels_than_memory_holds_is_not_decoded(tmp_path, monkeypatch, name, header):
    (tmp_path / name).write_bytes(header)
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    for read in (read_image, image_size, lambda path: read_square(path, 64)):
        with pytest.raises(DataError, match=r"a\.(.|\n)*at most 100,000,000 pixels"):
            read(tmp_path / name)


def test_a_picture_that_is_a_program_is_not_opened(tmp_path):
    """Pillow gives EPS to Ghostscript."""
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(tmp_path / "a.png")


def test_a_file_that_may_not_be_read_is_not_said_to_be_damaged(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match="Permission denied(.|\n)*Check its rights"):
        read_image(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes in folders")
def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", tmp_path):
        with pytest.raises(DataError, match="a folder, a pipe or a device"):
            read_image(path)
