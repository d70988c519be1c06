"""JSON files as LabelMe 5 writes them (labelme/_label_file.py), and masks as its shape_to_mask draws them."""

from __future__ import annotations

import base64
import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from seglab.datasets import LabelMe, Samples, open_dataset
from seglab.errors import ArgumentError, DataError
from seglab.labels import PETS
from tests.properties import examples

TRIANGLE = [[2.0, 1.5], [12.4, 3.0], [5.0, 9.9]]


def shape(label: str, points: Any, kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {},
            "mask": None, **more}


def write(path: Path, *shapes: Any, picture: str | None = None, image: Path | None = None, **more: Any) -> Path:
    """An annotation, and its picture of 20×12 beside it unless it is said where."""
    image = image or path.with_suffix(".jpg")
    for file in (path, image):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 12), (90, 120, 30)).save(image)
    found = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": picture or image.name,
             "imageData": None, "imageHeight": 12, "imageWidth": 20, **more}
    path.write_text(json.dumps(found, ensure_ascii=False, indent=2), encoding="utf-8")
    return path


def only_mask(reader: LabelMe) -> np.ndarray:
    (entry,) = reader.splits["all"]
    return reader.mask(entry)


def png(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def drawn(draw: Any) -> np.ndarray:
    canvas = Image.new("L", (20, 12))
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas)


@pytest.mark.parametrize(("kind", "points", "draw"), [
    ("polygon", TRIANGLE, lambda d: d.polygon([tuple(p) for p in TRIANGLE], outline=1, fill=1)),
    (None, TRIANGLE, lambda d: d.polygon([tuple(p) for p in TRIANGLE], outline=1, fill=1)),
    ("rectangle", [[9.0, 8.0], [3.0, 2.0]], lambda d: d.rectangle((3, 2, 9, 8), outline=1, fill=1)),
    ("rectangle", [[3, 2], [9, 2], [9, 8], [3, 8]], lambda d: d.rectangle((3, 2, 9, 8), outline=1, fill=1)),
    ("circle", [[8.0, 6.0], [11.0, 2.0]], lambda d: d.ellipse((3, 1, 13, 11), outline=1, fill=1)),
    ("oriented_rectangle", [[6, 1], [11, 6], [6, 11], [1, 6]],
     lambda d: d.polygon([(6, 1), (11, 6), (6, 11), (1, 6)], outline=1, fill=1))])
def test_shapes_are_drawn_as_labelme_does(tmp_path, kind, points, draw):
    write(tmp_path / "a.json", shape("cat", points, kind))
    assert np.array_equal(only_mask(LabelMe(tmp_path)), drawn(draw))


def test_masks_lie_where_their_first_point_is_and_may_reach_outside(tmp_path):
    part = np.ones((4, 6), bool)
    part[0, 0] = False
    write(tmp_path / "a.json", shape("cat", [[16.4, -1.0], [21.0, 2.0]], "mask", mask=png(part)))
    mask = only_mask(LabelMe(tmp_path))
    expected = np.zeros((12, 20), np.uint8)
    expected[0:3, 16:] = 1
    assert np.array_equal(mask, expected)


def test_later_shapes_lie_over_earlier_ones_and_two_labels_are_special(tmp_path):
    square = [[0, 0], [19, 11]]
    write(tmp_path / "a.json", shape("dog", square, "rectangle"), shape("cat", [[2, 2], [8, 8]], "rectangle"),
          shape("_background_", [[4, 4], [5, 5]], "rectangle"), shape("__ignore__", [[6, 6], [6, 6]], "rectangle"))
    reader = LabelMe(tmp_path)
    assert reader.label_set == PETS
    assert only_mask(reader)[[0, 2, 4, 6], [0, 2, 4, 6]].tolist() == [2, 1, 0, 255]


def test_korean_names_in_split_folders(tmp_path):
    for i, split in enumerate(("Train", "valid", "test")):
        for label in ("고양이", unicodedata.normalize("NFD", "강아지")):
            write(tmp_path / split / f"사진 {label} {i}.json", shape(label, TRIANGLE))
    splits = open_dataset(tmp_path, cache=False, progress=False)
    assert splits.name == tmp_path.name
    assert splits.label_set.classes == ("background", "강아지", "고양이")
    assert {split: len(part) for split, part in splits.parts.items()} == {"train": 2, "val": 2, "test": 2}
    assert splits.train.names == ["Train/사진 강아지 0", "Train/사진 고양이 0"]
    assert set(np.unique(splits.test.read(1)[1])) == {0, 2}


@pytest.mark.parametrize("picture", ["1.jpg", "../../images/train/1.jpg", "..\\..\\images\\train\\1.jpg",
                                     "C:\\Users\\나\\Desktop\\1.jpg", "/mnt/me/1.jpg"])
def test_pictures_in_another_folder(tmp_path, picture):
    for split in ("train", "val"):
        write(tmp_path / "labels" / split / "1.json", shape("cat", TRIANGLE),
              picture=picture.replace("train", split), image=tmp_path / "images" / split / "1.jpg")
    reader = LabelMe(tmp_path)
    assert reader.bad == {}
    assert [reader.splits[split][0].image.resolve() for split in ("train", "val")] == [
        tmp_path / "images" / split / "1.jpg" for split in ("train", "val")]


def test_a_picture_that_only_the_json_file_holds_is_bad(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.json", shape("cat", TRIANGLE), imageData="/9j/4AAQ")
    (tmp_path / "b.jpg").unlink()
    reader = LabelMe(tmp_path)
    assert "labelme_export_json" in reader.bad[tmp_path / "b.json"]
    assert len(reader.bad) == 1


def test_two_pictures_of_one_name_are_no_guess(tmp_path):
    write(tmp_path / "json" / "a.json", picture="a.jpg", image=tmp_path / "one" / "a.jpg")
    write(tmp_path / "json" / "a.json", picture="a.jpg", image=tmp_path / "two" / "a.jpg")
    assert "2 pictures" in LabelMe(tmp_path).bad[tmp_path / "json" / "a.json"]


def test_what_is_left_out_is_noted(tmp_path):
    write(tmp_path / "a.json", shape("cat", [[1, 1]], "point"), shape("road", [[1, 1], [5, 5]], "line"),
          shape("cat", TRIANGLE))
    Image.new("RGB", (20, 12)).save(tmp_path / "_DSC2.JPG")
    (tmp_path / "package.json").write_text("{}")
    reader = LabelMe(tmp_path)
    assert reader.label_set.classes == ("background", "cat")
    assert reader.notes == ["package.json is no annotation and is left out",
                            "1 pictures without a JSON file are left out: _DSC2.JPG",
                            "shapes without an area are left out: {'point': 1, 'line': 1}"]
    write(tmp_path / "test" / "b.json", shape("cat", TRIANGLE))
    assert "1 annotations are in no split's folder: a" in LabelMe(tmp_path).notes


def test_classes_are_chosen_and_ordered(tmp_path):
    write(tmp_path / "a.json", shape("b", [[0, 0], [3, 3]], "rectangle"), shape("a", [[5, 5], [8, 8]], "rectangle"),
          shape("c", [[9, 9], [11, 11]], "rectangle"))
    reader = LabelMe(tmp_path, classes=["background", "c", "b"])
    assert reader.label_set.classes == ("background", "c", "b")
    assert only_mask(reader)[[0, 5, 9], [0, 5, 9]].tolist() == [2, 0, 1]
    assert reader.notes == ["shapes with labels that are not in `classes` are background: {'a': 1}"]
    for wrong in ("cat", ["a", "a"]):
        with pytest.raises(ArgumentError):
            LabelMe(tmp_path, classes=wrong)
    with pytest.raises(DataError, match="253 at most"):
        LabelMe(tmp_path, classes=list(map(str, range(300))))


@pytest.mark.parametrize(("content", "why"), [
    ('{"version": "5.5.0", "shapes": [', "Expecting value"), ("[" * 100_000, "recursion"), ("", "Expecting value"),
    ('{"imagePath": "a.jpg", "shapes": 3}', "no list"), ('{"imagePath": 7, "shapes": []}', "no pictures"),
    ('{"imagePath": "a\\u0000.jpg", "shapes": []}', "no pictures"),
    ('{"imagePath": "' + 5000 * "a" + '", "shapes": []}', "no pictures"),
    ('{"imagePath": "a.jpg", "shapes": [' + "9" * 5000 + "]}", "")])
def test_damaged_files_are_bad_and_say_why(tmp_path, content, why):
    write(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(content)
    reader = LabelMe(tmp_path)
    assert why in reader.bad[tmp_path / "a.json"]
    with pytest.raises(DataError, match="cannot be used"):
        Samples(reader, "all", cache=False)


@pytest.mark.parametrize("bad", [
    None, [], {}, shape(3, TRIANGLE), shape(" ", TRIANGLE), shape("a", TRIANGLE, ["polygon"]),
    shape("a", TRIANGLE, "cube"), shape("a", None), shape("a", [[1, 2], [3, "4"], [5, 6]]),
    shape("a", [[1, 2], [3, None], [5, 6]]),
    shape("a", [[1, 2], [3, float("nan")], [5, 6]]), shape("a", [[1, 2], [3, float("inf")], [5, 6]]),
    shape("a", [[1, 2], [3, 1e300], [5, 6]]), shape("a", [[1, 2], [3, 10 ** 400], [5, 6]]),
    shape("a", [[1, 2], [True, 3], [5, 6]]), shape("a", [[1, 2], [3], [5, 6]]), shape("a", [1, 2, 3]),
    shape("a", [[1, 2], [3, 4]]), shape("a", [[1, 2]], "circle"), shape("a", [], "point"),
    shape("a", [[1, 2], [3, 4]], "mask", mask=7)])
def test_shapes_that_are_none_are_bad(tmp_path, bad):
    write(tmp_path / "a.json", shape("cat", TRIANGLE), bad)
    assert "shape 2" in LabelMe(tmp_path).bad[tmp_path / "a.json"]


@pytest.mark.parametrize("text", [None, "", "no base64!", "한글", "aGVsbG8=", png(np.eye(90, dtype=bool))[:100]])
def test_masks_that_are_no_png_are_errors(tmp_path, text):
    write(tmp_path / "a.json", shape("cat", [[1, 2], [3, 4]], "mask", mask=text))
    with pytest.raises(DataError, match="mask of a shape"):
        only_mask(LabelMe(tmp_path))


def test_far_points_are_drawn_at_once(tmp_path):
    write(tmp_path / "a.json", shape("cat", [[-2e5, -2e5], [2e5, -2e5], [0, 2e5]]),
          shape("dog", [[2e5, 0], [-2e5, 0]], "circle"), shape("cat", [[-2e5, -2e5], [2e5, 0]], "rectangle"))
    assert only_mask(LabelMe(tmp_path)).tolist() == [[1] * 20] + [[2] * 20] * 11


def test_sizes_that_no_picture_has_are_named(tmp_path):
    path = write(tmp_path / "a.json", imageHeight=10**400, imageWidth=40)
    assert "more than 500,000,000 pixels" in LabelMe(tmp_path).bad[path]


@pytest.mark.parametrize("wrong", [
    shape("cat", [[0, 0], [1e6, 0]], "circle"),  # Pillow draws it for minutes
    shape("c\ud800t", TRIANGLE), shape("cat", [[0, 0], [5, 5]], ["mask"]), shape("cat", [[0, 0, 0]] * 3),
    shape("cat", [[0, 10**400]] * 3)])
def test_shapes_that_cannot_be_are_named(tmp_path, wrong):
    path = write(tmp_path / "a.json")
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "shapes": [wrong]}))
    assert "shape 1" in LabelMe(tmp_path).bad[path]


def test_a_mask_larger_than_the_picture_is_not_decoded(tmp_path):
    write(tmp_path / "a.json", shape("cat", [[0, 0], [999, 999]], "mask", mask=png(np.ones((1000, 1000), np.uint8))))
    with pytest.raises(DataError, match="1000×1000 pixels on a picture of 20×12"):
        only_mask(LabelMe(tmp_path))


@pytest.mark.parametrize("sides", [(-1, -1), (0, 0), (None, None), ("12", "20"), (12.5, 20), (True, True)])
def test_sizes_that_are_none_come_from_the_picture(tmp_path, sides):
    write(tmp_path / "a.json", shape("cat", TRIANGLE), imageHeight=sides[0], imageWidth=sides[1])
    assert only_mask(LabelMe(tmp_path)).shape == (12, 20)


def test_another_size_than_the_pictures_is_an_error(tmp_path):
    write(tmp_path / "a.json", shape("cat", TRIANGLE), imageHeight=30, imageWidth=40)
    for cache in (True, False):
        with pytest.raises(DataError, match="another size than its picture a.jpg"):
            Samples(LabelMe(tmp_path), "all", cache=cache, progress=False).read(0)


def test_pictures_are_turned_as_labelme_turns_them(tmp_path):
    write(tmp_path / "a.json", shape("cat", [[0, 0], [11, 3]], "rectangle"), imageHeight=20, imageWidth=12)
    stored = np.zeros((12, 20, 3), np.uint8)
    stored[:, :4] = 255  # what is left in the file is at the top when it is turned by 90°
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    image, mask = Samples(LabelMe(tmp_path), "all", cache=False).read(0)
    assert image.shape == (20, 12, 3)
    assert (image[..., 0] > 128).tolist() == (mask == 1).tolist()


def test_masks_that_were_made_of_the_files_come_first(tmp_path):
    for name in "abc":
        write(tmp_path / "images" / f"{name}.json", shape("cat", TRIANGLE))
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.new("L", (20, 12)).save(tmp_path / "masks" / f"{name}.png")
    assert LabelMe.find(tmp_path) == tmp_path
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nbackground,0,0,0\ncat,255,0,0\n")
    assert LabelMe.find(tmp_path) is None
    assert LabelMe.find(tmp_path, asked=True) == tmp_path


def test_masks_are_drawn_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    path = write(tmp_path / "data" / "a.json", shape("cat", TRIANGLE))

    def first() -> Samples:
        return Samples(LabelMe(tmp_path / "data"), "all", progress=False)

    before = first().read(0)[1]
    with monkeypatch.context() as patched:
        patched.setattr(ImageDraw, "Draw", None)
        assert np.array_equal(first().read(0)[1], before)
    write(path, shape("cat", [[0, 0], [3, 3]], "rectangle"))
    assert first().read(0)[1].sum() == 16


_NUMBER = st.one_of(st.integers(-3, 24), st.floats(-3, 24, allow_nan=False), st.floats(-200_000, 200_000))
_POINT = st.tuples(_NUMBER, _NUMBER).map(list)


@examples(60)
@given(st.lists(st.one_of(
    st.tuples(st.sampled_from(["polygon", None]), st.lists(_POINT, min_size=3, max_size=7)),
    st.tuples(st.just("polygon"), st.builds(lambda point: [point] * 4, _POINT)),  # of no area
    st.tuples(st.just("rectangle"), st.lists(_POINT, min_size=2, max_size=2)),
    st.tuples(st.just("circle"), st.lists(st.tuples(st.floats(-9, 30), st.floats(-9, 30)).map(list), min_size=2,
                                          max_size=2)),
    st.tuples(st.just("line"), st.lists(_POINT, min_size=2, max_size=2))), min_size=1, max_size=4),
    st.lists(st.sampled_from(["cat", "dog", "__ignore__", "_background_"]), min_size=4, max_size=4))
def test_any_shapes_are_what_pillow_draws_in_their_order_and_no_other_class(tmp_path_factory, shapes, labels):
    folder = tmp_path_factory.mktemp("shapes")
    write(folder / "a.json", *(shape(label, points, kind) for label, (kind, points) in zip(
        labels, shapes, strict=False)))
    reader = LabelMe(folder)
    assert not reader.bad
    found = only_mask(reader)
    ids = {name: value for value, name in enumerate(reader.label_set.classes)} | {"__ignore__": 255, "_background_": 0}
    canvas = Image.new("L", (20, 12))
    for label, (kind, points) in zip(labels, shapes, strict=False):
        if kind == "line":
            continue
        stencil = Image.new("1", (20, 12))
        draw = ImageDraw.Draw(stencil)
        if kind == "circle":
            (x, y), radius = points[0], float(np.hypot(*np.subtract(points[1], points[0])))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
        elif kind == "rectangle":
            (left, right), (top, bottom) = (sorted(side) for side in zip(*points, strict=True))
            draw.rectangle((left, top, right, bottom), fill=1, outline=1)
        else:
            draw.polygon([tuple(point) for point in points], fill=1, outline=1)
        canvas.paste(ids[label], (0, 0), stencil)
    assert np.array_equal(found, np.asarray(canvas)) and found.shape == (12, 20) and found.dtype == np.uint8
    drawn_labels = {label for label, (kind, _) in zip(labels, shapes, strict=False) if kind != "line"}
    assert set(np.unique(found).tolist()) <= {0} | {ids[label] for label in drawn_labels}
