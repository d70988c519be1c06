from __future__ import annotations

import pickle
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from seglab.datasets.masks import MaskReading
from seglab.errors import ArgumentError, DataError
from seglab.labels import IGNORE, ClassTable, LabelSet, voc_palette
from tests.conftest import COLOURS
from tests.properties import examples

RNG = np.random.default_rng(0)
MASK = RNG.integers(0, 3, (20, 30), dtype=np.uint8)
VOID = np.where(MASK == 2, IGNORE, MASK).astype(np.uint8)
RGB = ClassTable.of(COLOURS)
LESION = ClassTable.of(LabelSet("lesion", ("background", "lesion"), ((0, 0, 0), (255, 255, 255))))
GREYS = ClassTable.of(LabelSet("greys", ("ground", "roof", "car"), ((0, 0, 0), (128, 128, 128), (255, 255, 255))))
GREY = np.array([0, 128, 255], np.uint8)


def palette(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette([value for colour in colours for value in colour])
    return image


def read(path: Path, table: ClassTable, encoding: str = "auto") -> np.ndarray:
    return MaskReading.choose([path], table, encoding).read(path)


def equal(mask: np.ndarray) -> Image.Image:
    return Image.merge("RGB", [Image.fromarray(mask)] * 3)


COLOURED = np.array(COLOURS.colours, np.uint8)[MASK]
KINDS = {  # name: (image, the same meaning)
    "l.png": Image.fromarray(MASK), "rgb.png": equal(MASK), "la.png": Image.fromarray(MASK).convert("LA"),
    "rgba.png": equal(MASK).convert("RGBA"), "wide.png": Image.fromarray(MASK.astype(np.uint16)),
    "int.tif": Image.fromarray(MASK.astype(np.int32)), "float.tif": Image.fromarray(MASK.astype(np.float32)),
    "p.png": palette(MASK, list(COLOURS.colours)), "grey palette.png": palette(MASK, [(i,) * 3 for i in range(256)]),
    "colours.png": Image.fromarray(COLOURED), "colours.tif": Image.fromarray(COLOURED),
    "colours.bmp": Image.fromarray(COLOURED), "alpha.png": Image.fromarray(COLOURED).convert("RGBA"),
    "order.png": palette((2 - MASK).astype(np.uint8), list(COLOURS.colours[::-1]))}


@pytest.mark.parametrize("name", KINDS)
def test_masks_of_every_kind(tmp_path, name):
    KINDS[name].save(tmp_path / name)
    found = read(tmp_path / name, RGB)
    assert found.dtype == np.uint8 and found.flags.writeable and np.array_equal(found, MASK)
    Image.fromarray(COLOURED).save(tmp_path / "a.webp", lossless=True)
    assert np.array_equal(read(tmp_path / "a.webp", RGB), MASK)


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "LA", "1", "P"])
def test_black_and_white(tmp_path, kind):
    """Where white is a class, 255 is not ignore; by values, a 1-bit mask is 0 and 1."""
    image = Image.fromarray(((MASK > 0) * 255).astype(np.uint8)).convert(kind)
    image.save(tmp_path / "a.png")
    Image.new("L", (30, 20)).save(tmp_path / "0.png")
    reading = MaskReading.choose([tmp_path / "0.png", tmp_path / "a.png"], LESION)
    assert np.array_equal(reading.read(tmp_path / "a.png"), MASK > 0)
    assert reading.read(tmp_path / "0.png").max() == 0
    table = ClassTable.of(LabelSet("turned", ("lesion", "background"), ((255, 255, 255), (0, 0, 0))))
    reading = MaskReading.choose([tmp_path / "0.png", tmp_path / "a.png"], table)
    assert np.array_equal(reading.read(tmp_path / "a.png"), MASK == 0)
    assert reading.read(tmp_path / "0.png").min() == 1


def test_one_bit_without_colours_of_its_own(tmp_path):
    Image.fromarray(MASK > 0).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png", RGB), MASK > 0)


@pytest.mark.parametrize("kind", ["L", "RGB", "LA"])
def test_grey_levels_that_are_colours_of_the_table(tmp_path, kind):
    Image.fromarray(GREY[MASK]).convert(kind).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png", GREYS), MASK)


def test_255_is_ignore_where_other_files_hold_ids(tmp_path):
    Image.fromarray(np.where(MASK == 2, 255, 0).astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(VOID).save(tmp_path / "b.png")
    reading = MaskReading.choose([tmp_path / "a.png", tmp_path / "b.png"], LESION)
    assert (reading.encoding, reading.like) == ("ids", tmp_path / "b.png")
    assert np.array_equal(reading.read(tmp_path / "b.png"), VOID)
    assert set(np.unique(reading.read(tmp_path / "a.png"))) == {0, 255}
    # A table that says itself what 255 is.
    table = ClassTable(LESION.label_set, {0: 0, 255: 1}, {}, coloured=False)
    assert set(np.unique(read(tmp_path / "a.png", table))) == {0, 1}


def test_index_255_of_a_palette_is_ignore_unless_its_colour_is_a_class(tmp_path):
    entries = [*COLOURS.colours, *[(9, 9, 9)] * 253]
    palette(VOID, entries).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png", RGB), VOID)
    turned = np.where(VOID == 255, 255, 1 - VOID % 2).astype(np.uint8)
    palette(turned, [(0, 255, 0), (255, 0, 0), *[(9, 9, 9)] * 15]).save(tmp_path / "short.png")
    assert len(Image.open(tmp_path / "short.png").getpalette()) == 17 * 3
    assert np.array_equal(read(tmp_path / "short.png", RGB), VOID)
    palette(VOID, [*entries[:255], (0, 0, 255)]).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png", RGB), MASK)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_shallow_grey_is_what_is_stored(tmp_path, depth):
    values = (MASK % 2 ** depth).astype(np.uint8)
    bits = np.unpackbits(values[..., None], axis=2)[..., -depth:].reshape(20, -1)
    rows = zlib.compress(b"".join(b"\0" + np.packbits(row).tobytes() for row in bits))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 30, 20, depth, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts))
    assert np.array_equal(read(tmp_path / "a.png", RGB), values)
    levels = [(value * 255 // (2 ** depth - 1),) * 3 for value in range(min(3, 2 ** depth))]
    table = ClassTable(LESION.label_set, {}, {colour: 5 + i for i, colour in enumerate(levels)})
    assert np.array_equal(read(tmp_path / "a.png", table), values + 5)


def test_nan_and_wide_codes(tmp_path):
    Image.fromarray(np.where(VOID == 255, np.nan, VOID).astype(np.float32)).save(tmp_path / "a.tif")
    assert np.array_equal(read(tmp_path / "a.tif", RGB), VOID)
    Image.fromarray((MASK.astype(np.uint16) + 1) * 1000).save(tmp_path / "a.png")
    table = ClassTable(COLOURS, {1000: 0, 2000: 1, 3000: 255}, {}, coloured=False)
    assert np.array_equal(read(tmp_path / "a.png", table), VOID)


# ------------------------------------------------------------------------------------------------------- two readings

def test_files_of_one_folder_disagree(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "ids.png")
    Image.fromarray(COLOURED).save(tmp_path / "rgb.png")
    Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "one.png")
    paths = [tmp_path / "ids.png", tmp_path / "rgb.png"]
    with pytest.raises(DataError, match=r"rgb\.png.*\n.*channels that differ.*colours\n.*ids, as in .*ids\.png"):
        MaskReading.choose(paths, RGB)
    for chosen, other in (paths, paths[::-1]):
        with pytest.raises(DataError, match=rf"{other.name}(.|\n)*as in .*{chosen.name}(.|\n)*disagree"):
            MaskReading.choose([chosen], RGB).read(other)
    # A palette in another order beside files of ids would be read wrongly, too.
    KINDS["order.png"].save(tmp_path / "order.png")
    with pytest.raises(DataError, match=r"order\.png(.|\n)*by colours(.|\n)*ids\.png"):
        MaskReading.choose([tmp_path / "ids.png", tmp_path / "order.png"], RGB)


def test_a_mask_that_fits_two_readings(tmp_path):
    table = ClassTable.of(LabelSet("odd", ("a", "b"), ((1, 1, 1), (0, 0, 0))))
    Image.fromarray(MASK // 2).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r'a\.png.*two readings(.|\n)*encoding="ids" or encoding="colours"'):
        MaskReading.choose([tmp_path / "a.png"], table)
    assert np.array_equal(read(tmp_path / "a.png", table, "ids"), MASK // 2)
    assert np.array_equal(read(tmp_path / "a.png", table, "colours"), 1 - MASK // 2)
    # Two indices of one colour: the palette says less than the indices.
    palette(MASK, [(255, 0, 0), (255, 0, 0), (0, 0, 255)]).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="two readings"):
        MaskReading.choose([tmp_path / "a.png"], RGB)
    # Colours that the table does not have itself decide nothing.
    plain = ClassTable(COLOURS, RGB.codes, RGB.colours, coloured=False)
    KINDS["order.png"].save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png", plain), 2 - MASK)


def test_the_choice_looks_on_while_nothing_is_decided(tmp_path):
    for i in range(100):
        Image.new("L", (30, 20)).save(tmp_path / f"{i:03d}.png")
    paths = sorted(tmp_path.iterdir())
    assert MaskReading.choose(paths, LESION).encoding == "ids"
    Image.fromarray(GREY[MASK // 2 * 2]).save(tmp_path / "098.png")
    reading = MaskReading.choose(paths, LESION)
    assert (reading.encoding, reading.like) == ("colours", tmp_path / "098.png")
    assert len(pickle.dumps(reading)) < 2000 and reading.read(paths[98]).max() == 1
    assert len(pickle.dumps(reading)) < 2000 and pickle.loads(pickle.dumps(reading)).read(paths[98]).max() == 1


def test_files_that_cannot_be_read_decide_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    Image.fromarray(MASK + 5).save(tmp_path / "b.png")
    Image.fromarray(COLOURED).save(tmp_path / "c.png")
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    assert MaskReading.choose(paths, RGB).encoding == "colours"
    with pytest.raises(DataError, match=r"a\.png.*cannot be decoded"):
        MaskReading.choose(paths[:2], RGB)
    assert MaskReading.choose([], RGB).encoding == "ids"
    with pytest.raises(ArgumentError, match="'rgb'"):
        MaskReading.choose(paths, RGB, "rgb")


# ---------------------------------------------------------------------------------------------- what no reading allows

@pytest.mark.parametrize(("image", "encoding", "message"), [
    (Image.fromarray(MASK + 7),
    "auto", r"class id outside the label set 'colours'\n.*ids 7, 8, 9; 600 of 600.*x=0, y=0\n"
                                        r".*0 to 2, or 255 for ignore(.|\n)*ignore_ids"),
    (Image.fromarray(MASK.astype(np.uint16) + 256), "ids", "ids 256, 257, 258"),
    (Image.fromarray(COLOURED), "ids", 'channels that differ.*colours\n(.|\n)*encoding="colours"'),
    (Image.fromarray(MASK), "colours", 'by ids\n.*asked for(.|\n)*encoding="ids"'),
    (Image.fromarray(np.where(MASK[..., None] == 2, 9, COLOURED).astype(np.uint8)), "auto",
     r"colour outside the palette of 'colours'\n.*\(9, 9, 9\) at x=\d+, y=0; \d+ of 600.*\n.*nearest: red"),
    (palette(MASK, [(1, 2, 3)] * 3), "colours", "by ids"), (palette(MASK + 7, [(1, 2, 3)] * 20), "auto", "ids 7, 8, 9"),
    (Image.fromarray(MASK).convert("CMYK"), "auto", "CMYK of 8 bits"),
    (Image.fromarray(np.dstack([COLOURED // 2, MASK])), "auto", "transparent, the colour below is read")])
def test_stray_values_and_colours(tmp_path, image, encoding, message):
    image.save(tmp_path / ("a.tif" if image.mode == "CMYK" else "a.png"))
    with pytest.raises(DataError, match=rf"a\.(png|tif)(.|\n)*{message}"):
        read(next(tmp_path.iterdir()), RGB, encoding)


@pytest.mark.parametrize(("values", "found"), [(MASK - 0.5, "-0.5, 0.5, 1.5"), (MASK - 1.0, "ids -1"),
                                               (MASK + 300.0, "ids 300"), (np.where(MASK == 2, np.inf, MASK),
                                               "ids inf")])
def test_fractions_negative_and_large_values_stop(tmp_path, values, found):
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif(.|\n)*{found}"):
        read(tmp_path / "a.tif", RGB)


@pytest.mark.parametrize(("name", "options"), [
    ("a.jpg", {}), ("a.webp", {}), ("x.webp", {"exif": b"Exif\0\0"}), ("a.tif", {"compression": "jpeg"}),
    ("a.jp2", {})])
def test_lossy_formats_are_refused_whatever_their_values(tmp_path, name, options):
    Image.new("L" if name == "a.jpg" else "RGB", (30, 20), 0).save(tmp_path / name, **options)
    with pytest.raises(DataError, match=rf"{name}: a mask in a format that does not keep(.|\n)*as PNG"):
        read(tmp_path / name, LESION)


def test_several_pages_and_16_bits_of_colour(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([MASK, MASK]), photometric="minisblack")
    with pytest.raises(DataError, match=r"a\.tif.*several pages"):
        read(tmp_path / "a.tif", RGB)
    cv2.imwrite(str(tmp_path / "a.png"), COLOURED.astype(np.uint16))
    with pytest.raises(DataError, match="RGB of 16 bits a channel"):
        read(tmp_path / "a.png", RGB)


def test_values_can_have_a_meaning_of_their_own(tmp_path):
    """As trimaps have."""
    palette(MASK + 1, [(9, 9, 9)] * 4).save(tmp_path / "p.png")
    reading = MaskReading(ClassTable(COLOURS, {1: 1, 2: 0, 3: IGNORE}, {}), "ids", meaning="1 (pet), 2 or 3")
    assert np.array_equal(reading.read(tmp_path / "p.png"), np.array([1, 0, IGNORE], np.uint8)[MASK])
    values = MASK + 1
    values[3, 4] = 9
    Image.fromarray(values).save(tmp_path / "a.png")
    for one in (reading, pickle.loads(pickle.dumps(reading))):
        with pytest.raises(DataError, match=r"a\.png(.|\n)*ids 9; 1 of 600 pixels.*x=4, y=3\n.*1 \(pet\), 2 or 3"):
            one.read(tmp_path / "a.png")


@examples(60)
@given(st.integers(1, 254), st.sampled_from(["voc", "own"]), st.sampled_from(["ids", "palette", "colours"]), st.data())
def test_any_ids_come_back_as_values_as_indices_of_a_palette_and_as_colours(tmp_path_factory, count, kind, stored,
                                                                            data):
    """All ids are classes or 255, in pictures of any size; VOC's colours, or any that differ."""
    seed = data.draw(st.integers(0, 2**31))
    packed = np.random.default_rng(seed).choice(2**24 - 1, count + 1, replace=False)
    own = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1)
    voc = voc_palette()[[*range(count), IGNORE]]
    colours = [tuple(colour) for colour in (own if kind == "own" else voc).tolist()]
    names = tuple(f"class {i}" for i in range(count))
    labels = LabelSet("any", names, tuple(colours[:count]), ignore_colour=colours[-1])
    some = data.draw(st.lists(st.sampled_from([*range(count), IGNORE]), min_size=1, max_size=6))
    ids = data.draw(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
                               elements=st.sampled_from(some)))
    table = np.zeros((256, 3), np.uint8)
    table[:count], table[IGNORE] = colours[:count], colours[-1]
    image = Image.fromarray(table[ids] if stored == "colours" else ids)
    if stored == "palette":
        image.putpalette(table.ravel().tolist())
    path = tmp_path_factory.mktemp("masks") / "a.png"
    image.save(path)
    encoding = "ids" if stored == "ids" else "colours"
    found = MaskReading(ClassTable.of(labels), encoding).read(path)
    assert np.array_equal(found, ids) and found.dtype == np.uint8
    if stored == "palette":
        assert np.array_equal(MaskReading(ClassTable.of(labels), "ids").read(path), ids)
