"""MaskPainter without a browser: pixels, steps, files, and the dataset that comes of them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from skimage.draw import polygon2mask

from seglab.datasets import open_dataset
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_write
from seglab.labels import DRONE, PETS, LabelSet, known_label_set
from seglab.viz import overlay
from seglab.widgets import MaskPainter
from seglab.widgets.painting import Canvas, Region, brush, connected, polygon

LABELS = LabelSet("things", ("background", "red", "blue"), ((0, 0, 0), (230, 30, 30), (30, 30, 230)))
SIZE = (40, 60)


def pictures(count: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"picture-{i}": rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for i in range(count)}


def photos(folder: Path, count: int = 3, **options: Any) -> Path:
    """A folder of JPEGs."""
    folder.mkdir(parents=True)
    for name, picture in pictures(count).items():
        Image.fromarray(picture).save(folder / f"{name}.jpg", **options)
    return folder


@pytest.fixture
def painter(tmp_path: Path) -> MaskPainter:
    return MaskPainter(pictures(), LABELS, tmp_path / "things")


def paint_all(painter: MaskPainter) -> None:
    for i, name in enumerate(painter.names):
        painter.stroke(name, [(10, 10), (40, 10 + i)], radius=6, class_="red")
        painter.polygon(name, [(20, 20), (50, 25), (30, 38)], class_=2, keep=True)
        painter.rest(name, "background")


def whole(region: Region, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[region.top:, region.left:][:region.inside.shape[0], :region.inside.shape[1]] = region.inside
    return mask


def message(painter: MaskPainter, command: Any, index: Any = 0) -> list[dict[str, Any]]:
    """What a browser gets as an answer when it sends this."""
    answers: list[dict[str, Any]] = []
    painter.send = lambda content, buffers=None: answers.append(content)
    painter._handle_custom_msg({"index": index, "command": command, "token": "a.1"}, [])
    return answers


# ------------------------------------------------------------------------------------------------------------- pixels
@pytest.mark.parametrize("seed", range(8))
def test_a_brush_covers_what_is_within_its_radius(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE[0], :SIZE[1]] + 0.5
    for _ in range(25):
        count, radius = int(rng.integers(1, 400 if seed == 0 else 6)), rng.uniform(0.5, 20)
        points = rng.uniform(-20, 80, (count, 2))
        far = np.full(SIZE, np.inf)
        for a, b in zip(points[:max(1, len(points) - 1)], points[min(1, len(points) - 1):], strict=True):
            along = b - a
            share = np.clip(((x - a[0]) * along[0] + (y - a[1]) * along[1]) / max(along @ along, 1e-12), 0, 1)
            far = np.minimum(far, np.hypot(x - a[0] - share * along[0], y - a[1] - share * along[1]))
        assert np.array_equal(whole(brush(points, radius, SIZE), SIZE), far <= radius)


def test_the_smallest_brush_is_one_pixel_and_far_away_there_is_none():
    assert np.argwhere(whole(brush(np.array([[7.5, 3.5]]), 0.5, SIZE), SIZE)).tolist() == [[3, 7]]
    assert brush(np.array([[500.0, 3.5]]), 9, SIZE).inside.size == 0
    assert polygon(np.array([[500.0, 3], [600, 3], [600, 80]]), SIZE).inside.size == 0


@pytest.mark.parametrize("seed", range(8))
def test_a_polygon_covers_its_inside_and_its_outline(seed):
    rng = np.random.default_rng(seed)
    for _ in range(25):
        points = rng.uniform(-20, 80, (3, 2))
        outline = whole(brush(points[[0, 1, 2, 0]], 0.5, SIZE), SIZE)
        inside = polygon2mask(SIZE, points[:, ::-1] - 0.5)  # skimage counts from the middle of the first pixel
        assert np.array_equal(whole(polygon(points, SIZE), SIZE), inside | outline)


def test_a_loop_that_crosses_itself_has_no_hole():
    twice = np.array([[5, 5], [35, 5], [35, 35], [5, 35]] * 2, float)
    assert whole(polygon(twice, SIZE), SIZE)[6:34, 6:34].all()


def test_what_hangs_together_does_not_go_over_corners():
    mask = np.zeros((4, 4), np.uint8)
    mask[:2, :2] = mask[2:, 2:] = 1
    found = whole(connected(mask, np.array([0.5, 0.5])), mask.shape)
    assert np.array_equal(found, np.pad(np.ones((2, 2), bool), ((0, 2), (0, 2)))) and mask.sum() == 8
    assert whole(connected(mask, np.array([99.0, -5])), mask.shape).sum() == 4, "outside, the nearest pixel counts"


def test_steps_go_back_and_forth_bit_by_bit():
    rng = np.random.default_rng(0)
    canvas, seen = Canvas(np.full(SIZE, 255, np.uint8)), []
    for i in range(30):
        before = canvas.mask.copy()
        if canvas.paint(brush(rng.uniform(0, 60, (3, 2)), 5, SIZE), i % 3, keep=i % 2 == 0):
            seen.append(before)
            assert i % 2 or np.array_equal(canvas.mask[before != 255], before[before != 255]), "keep"
    last = canvas.mask.copy()
    for before in reversed(seen):
        assert canvas.step() and np.array_equal(canvas.mask, before)
    assert not canvas.step()
    while canvas.step(forth=True):
        pass
    assert np.array_equal(canvas.mask, last)
    canvas.step()
    assert canvas.paint(Region(0, 0, np.ones((1, 1), bool)), 2 if canvas.mask[0, 0] != 2 else 1)
    assert not canvas.step(forth=True), "what is painted anew replaces what was taken back"


# -------------------------------------------------------------------------------------------------------------- files
def test_what_is_painted_is_a_dataset(tmp_path):
    source = photos(tmp_path / "photos", count=10, quality=95)
    painter = MaskPainter(source, LABELS, tmp_path / "things")
    assert repr(painter) == "MaskPainter(0 of 10 pictures painted)" and not painter.folder.exists()
    paint_all(painter)
    assert repr(painter) == "MaskPainter(10 of 10 pictures painted)" and painter.progress == (10, 10)
    splits = open_dataset(tmp_path / "things", progress=False)
    assert str(splits) == "things (real): 7 train, 1 val, 2 test pictures, 3 classes"
    assert (splits.train.label_set.classes, splits.train.label_set.colours) == (LABELS.classes, LABELS.colours)
    for split in (splits.train, splits.val, splits.test):
        for name, (image, mask) in zip(split.names, split, strict=True):
            assert np.array_equal(mask, painter.masks[name]) and np.array_equal(
                image, painter.image(name).transpose(2, 0, 1))
    with Image.open(painter.folder / "masks" / "picture-0.png") as saved:
        assert saved.mode == "P" and np.array_equal(np.asarray(saved), painter.mask(0))
        assert saved.getpalette()[:9] == [*LABELS.colours[0], *LABELS.colours[1], *LABELS.colours[2]]
    assert sorted(path.name for path in painter.folder.iterdir()) == ["class_dict.csv", "images", "masks"]


def test_only_what_is_painted_is_in_the_dataset(painter):
    painter.stroke(1, [(5, 5)], 3, "red")
    painter.rest("picture-2", "blue")
    assert painter.done == ["picture-1", "picture-2"]
    assert sorted(path.stem for path in (painter.folder / "images").iterdir()) == painter.done
    painter.undo(1)
    assert painter.done == ["picture-2"] == [path.stem for path in (painter.folder / "images").iterdir()]
    painter.redo(1)
    assert painter.done == ["picture-1", "picture-2"] and (painter.mask(1) == 1).sum() > 20


def test_the_work_goes_on_the_next_day(tmp_path, painter):
    paint_all(painter)
    later = MaskPainter(pictures(4), LABELS, tmp_path / "things")
    assert later.progress == (3, 4)
    assert all(np.array_equal(later.mask(name), painter.mask(name)) for name in painter.names)
    before = later.mask(0)
    later.stroke(0, [(5, 35)], 4, None)
    assert (later.mask(0) == 255).sum() > 30
    later.undo(0)
    assert np.array_equal(later.mask(0), before)
    later.undo(0)  # no step of today is left
    assert np.array_equal(later.mask(0), before)


def test_pictures_that_lie_in_the_dataset_are_not_copied(tmp_path):
    photos(tmp_path / "set" / "images")
    for given in (tmp_path / "set", tmp_path / "set" / "images"):
        painter = MaskPainter(given, LABELS)
        assert painter.folder == tmp_path / "set"
        painter.rest(0, "red")
    assert len(list((tmp_path / "set" / "images").iterdir())) == 3
    painter.rest(1, "red")
    painter.rest(2, "blue")
    assert str(open_dataset(tmp_path / "set", progress=False)).startswith("set (real): 1 train, 1 val, 1 test")
    painter.undo(1)
    painter.undo(2)
    painter.stroke(0, [(0, 0)], 100, None)
    assert painter.done == [] and len(list((tmp_path / "set" / "images").iterdir())) == 3, "a learner's own files stay"


@pytest.mark.parametrize("size", [(40, 60), (50, 50)])
@pytest.mark.parametrize("turn", range(1, 9))
def test_photographs_are_painted_upright(tmp_path, turn, size):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    (tmp_path / "photos").mkdir()
    stored = np.zeros((*size, 3), np.uint8)
    stored[:10, :20] = 250  # a bright corner shows which way the picture is
    for i in range(3):
        Image.fromarray(stored).save(tmp_path / "photos" / f"{i}.jpg", quality=95, exif=exif)
    painter = MaskPainter(tmp_path / "photos", LABELS, tmp_path / "things")
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photos" / "0.jpg")).convert("L"))
    bright = upright > 125
    assert np.array_equal(painter.image(0)[..., 0] > 125, bright) and painter.mask(0).shape == bright.shape
    for i in range(3):
        y, x = np.argwhere(bright).mean(axis=0) + 0.5
        painter.stroke(i, [(x, y)], 4, "red")
        painter.rest(i, "background")
    again = MaskPainter(tmp_path / "photos", LABELS, tmp_path / "things")
    assert np.array_equal(again.mask(0), painter.mask(0)) and (again.mask(0) == 1).any()
    splits = open_dataset(tmp_path / "things", progress=False)
    for image, mask in (splits.train[0], splits.val[0], splits.test[0]):
        assert (np.asarray(image)[0][np.asarray(mask) == 1] > 125).all(), "the mask lies on its picture"


def test_a_mask_of_another_tool_is_painted_on_and_kept_beside(tmp_path, painter):
    path = painter.folder / "masks" / "picture-0.png"
    path.parent.mkdir(parents=True)
    ids = np.zeros(SIZE, np.uint8)
    ids[10:20] = 2
    Image.fromarray(ids).save(path)
    original = path.read_bytes()
    other = MaskPainter(pictures(), LABELS, painter.folder)
    assert other.done == ["picture-0"] and np.array_equal(other.mask(0), ids)
    assert path.read_bytes() == original, "looking at it changes nothing"
    other.stroke(0, [(5, 5)], 3, "red")
    other.stroke(0, [(5, 15)], 3, "red")
    kept = path.with_name("picture-0.png.before")
    assert kept.read_bytes() == original != path.read_bytes() and (other.mask(0) == 1).any()
    colours = LABELS.colourise(ids)
    Image.fromarray(colours).save(path)
    assert np.array_equal(MaskPainter(pictures(), LABELS, painter.folder).mask(0), ids), "by its colours, too"


@pytest.mark.parametrize(("ids", "match"), [(np.full(SIZE, 7, np.uint8), "outside"),
                                            (np.zeros((4, 4), np.uint8), "another size")])
def test_a_mask_that_does_not_fit_is_refused_and_left_alone(painter, ids, match):
    path = painter.folder / "masks" / "picture-1.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(ids).save(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=match):
        MaskPainter(pictures(), LABELS, painter.folder)
    assert path.read_bytes() == before


def test_other_classes_are_refused_and_new_ones_are_not(tmp_path, painter):
    paint_all(painter)
    black, red, blue = LABELS.colours
    swapped = LabelSet("swapped", ("background", "blue", "red"), (black, blue, red))
    with pytest.raises(DataError, match="another table of classes"):
        MaskPainter(pictures(), swapped, painter.folder)
    (painter.folder / "class_dict.csv").unlink()
    with pytest.raises(DataError, match="mask of other classes"):
        MaskPainter(pictures(), swapped, painter.folder).mask(0)
    MaskPainter(pictures(), LABELS, painter.folder).stroke(0, [(3, 3)], 2, "red")  # writes the table again
    more = LabelSet("more", (*LABELS.classes, "green"), (*LABELS.colours, (30, 200, 30)))
    grown = MaskPainter(pictures(), more, painter.folder)
    grown.stroke(0, [(3, 3)], 4, "green")
    assert open_dataset(painter.folder, progress=False).train.label_set.classes == more.classes


def test_a_picture_of_the_same_name_is_not_mixed_up(painter):
    paint_all(painter)
    with pytest.raises(DataError, match="another picture is called 'picture-0'"):
        MaskPainter({"picture-0": np.zeros((*SIZE, 3), np.uint8)}, LABELS, painter.folder)


def test_what_another_program_changed_is_not_overwritten(painter):
    paint_all(painter)
    other = MaskPainter(pictures(), LABELS, painter.folder)
    other.polygon(0, [(0, 0), (60, 0), (60, 40), (0, 40)], "blue")
    os.utime(painter.folder / "masks" / "picture-0.png", ns=(1, 1))
    painter.stroke(0, [(5, 5)], 2, "red")
    assert (painter.mask(0) == 2).sum() > 2300 and painter.layer["undo"] == 1, "it goes on from what is there"


def test_files_are_written_whole_or_not_at_all(painter, monkeypatch):
    paint_all(painter)
    before, path = painter.mask(0), painter.folder / "masks" / "picture-0.png"
    saved = path.read_bytes()

    def full(target: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seglab.widgets.painted_folder.atomic_write", full)
    with pytest.raises(DataError, match="No space left on device"):
        painter.stroke(0, [(5, 5)], 2, "blue")
    assert np.array_equal(painter.mask(0), before) and path.read_bytes() == saved
    monkeypatch.setattr("seglab.widgets.painted_folder.atomic_write", atomic_write)
    painter.stroke(0, [(5, 5)], 2, "blue")
    assert painter.mask(0)[5, 5] == 2


# ---------------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(("images", "labels", "folder", "match"), [
    ({}, LABELS, "x", "at least one"), ([], LABELS, "x", "at least one"), (3, LABELS, "x", "a folder, a list"),
    (["a.jpg", "b/a.jpg"], LABELS, "x", "two files of one name"), (pictures(), LABELS, None, "folder"),
    (pictures(), LABELS, "x/masks", "the dataset's folder"),
    ({"../up": np.zeros((2, 2, 3), np.uint8)}, LABELS, "x", "name"),
    ({"a": np.zeros((2, 2), np.uint8)}, LABELS, "x", "image"), (pictures(), ["a", "a"], "x", "more than once"),
    (pictures(), LabelSet("twins", ("a", "b"), ((1, 1, 1), (1, 1, 1))), "x", "colour"),
    ({"a": "nothing.jpg"}, LABELS, "x", "nothing there")])
def test_arguments_are_checked(tmp_path, monkeypatch, images, labels, folder, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ArgumentError, DataError), match=match):
        MaskPainter(images, labels, folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("setting", "value"), [("index", 3), ("index", "nobody"), ("tool", "hammer"), ("chosen", 3),
                                                ("chosen", "cat"), ("chosen", None), ("radius", 0), ("opacity", 2)])
def test_settings_are_checked(tmp_path, painter, setting, value):
    with pytest.raises(ArgumentError, match=setting if setting != "index" else "name"):
        setattr(painter, setting, value)
    with pytest.raises(ArgumentError):
        MaskPainter(pictures(), LABELS, tmp_path / "x", **{setting: value})
    with pytest.raises(ArgumentError, match="colour"):
        MaskPainter(pictures(), LABELS, tmp_path / "x", colour="red")


@pytest.mark.parametrize("command", [
    None, [], {}, {"do": "explode"}, {"do": ["stroke"]}, {"do": "stroke"},
    {"do": "stroke", "points": [], "radius": 3, "class": 1},
    {"do": "stroke", "points": [[1, 2, 3]], "radius": 3, "class": 1},
    {"do": "stroke", "points": "ab", "radius": 3, "class": 1},
    {"do": "stroke", "points": [[float("nan"), 1]], "radius": 3, "class": 1},
    {"do": "stroke", "points": [[1, 1e9]], "radius": 3, "class": 1},
    {"do": "stroke", "points": [[1, 1]], "radius": -3, "class": 1},
    {"do": "stroke", "points": [[1, 1]], "radius": float("inf"), "class": 1},
    {"do": "stroke", "points": [[1, 1]], "radius": True, "class": 1},
    {"do": "stroke", "points": [[1, 1]], "radius": 3, "class": 9}, {"do": "fill", "points": [], "class": 1},
    {"do": "polygon", "points": [[[1]]], "class": 1}, {"do": "rest", "class": "dog"}])
def test_a_message_that_is_none_is_answered_and_does_nothing(painter, command):
    answer, = message(painter, command)
    assert (answer["kind"], answer["token"]) == ("failed", "a.1") and answer["why"]
    assert painter.done == [] and not painter.folder.exists()
    for index in (None, -1, 3, "x", [0], True):
        assert message(painter, {"do": "rest", "class": 1}, index)[0]["kind"] == "failed"


def test_python_and_the_browser_go_one_way(tmp_path, painter):
    paint_all(painter)
    other = MaskPainter(pictures(), LABELS, tmp_path / "other")
    for index in range(3):
        for command in ({"do": "stroke", "points": [[10, 10], [40, 10 + index]], "radius": 6, "class": 1},
                        {"do": "polygon", "points": [[20, 20], [50, 25], [30, 38]], "class": 2, "keep": True},
                        {"do": "rest", "class": 0}):
            other.index = index
            assert message(other, json.loads(json.dumps(command)), index) == []
    assert all(np.array_equal(other.mask(i), painter.mask(i)) for i in range(3))
    assert other.layer["token"] == "a.1"
    other.index = 2
    assert message(other, {"do": "rest", "class": 0}, 1) == [{"kind": "done", "token": "a.1"}], "of another picture"
    assert message(other, {"do": "fill", "points": [[5, 5]], "class": 2, "keep": True}, 2) == []
    one, two = (each.folder / "masks" / "picture-1.png" for each in (painter, other))
    assert one.read_bytes() == two.read_bytes()


# ---------------------------------------------------------------------------------------------------------- elsewhere
def test_the_picture_shows_what_is_painted(painter):
    empty = painter.picture()
    paint_all(painter)
    shown = painter.picture()
    assert shown.dtype == np.uint8 and shown.shape[0] > empty.shape[0], "a legend came"
    panel = overlay(painter.image(0), painter.mask(0), LABELS, 0.5, [])
    scale = next(s for s in (4, 3, 2, 1) if 3 * s * SIZE[1] <= 760)
    found = shown[22:22 + scale * SIZE[0]:scale, :scale * SIZE[1]:scale]
    assert np.array_equal(found, panel)
    data, _ = painter._repr_mimebundle_()
    assert data["text/plain"] == "MaskPainter(3 of 3 pictures painted)" and data["image/png"]


def test_names_alone_are_classes(tmp_path):
    painter = MaskPainter(pictures(1), ["background", "cat", "dog"], tmp_path / "a")
    assert painter._label_set is PETS and painter.chosen == 1, "the first that is not the background"
    assert MaskPainter(pictures(1), DRONE, tmp_path / "b").chosen == 0
    assert known_label_set(["soil", "leaf"]) == MaskPainter(pictures(1), ["soil", "leaf"], tmp_path / "c")._label_set


def test_a_picture_that_went_away_is_told_to_the_browser(tmp_path):
    painter = MaskPainter(photos(tmp_path / "photos"), LABELS, tmp_path / "things")
    (tmp_path / "photos" / "picture-1.jpg").unlink()
    painter.index = 1
    assert "nothing there" in painter.opened["why"]
    painter.index = "picture-2"
    assert painter.opened["size"] == [60, 40] and Image.open(io.BytesIO(painter.opened["image"])).size == (60, 40)


@pytest.mark.parametrize("text", ["{", "5", '[5]', '{"a": 1}', "[" * 10_000])
def test_a_mask_whose_classes_cannot_be_read_is_left_alone(painter, tmp_path, text):
    paint_all(painter)
    path = next((tmp_path / "things" / "masks").glob("*.png"))
    info = PngInfo()
    info.add_text("Classes", text)
    with Image.open(path) as image:
        image.save(path, pnginfo=info)
    before = path.read_bytes()
    with pytest.raises(DataError, match="no names of classes in it"):
        MaskPainter(pictures(), LABELS, tmp_path / "things")
    assert path.read_bytes() == before
