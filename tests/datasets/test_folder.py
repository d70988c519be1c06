"""Folders of pictures and masks, the drone's and CamVid's among them; test_base.py has what all layouts share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seglab.datasets import CamVid, Drone, Folder, Samples
from seglab.errors import ArgumentError, DataError
from seglab.labels import CAMVID, LabelSet
from seglab.samples import write_drone_sample
from tests.conftest import COLOURS, write_pair

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
MASK = RNG.integers(0, 3, (20, 30), dtype=np.uint8)
TABLE = "name,r,g,b\nred,255,0,0\ngreen,0,255,0\nblue,0,0,255\n"


def opened(root: Path, split: str = "all", kind: type[Folder] = Folder, **options) -> Samples:
    return Samples(kind(root, **({"label_set": COLOURS} if kind is Folder else {}) | options), split, progress=False)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


# --------------------------------------------------------------------------------------------------- drone and CamVid

def test_both_drone_layouts_give_the_same(tmp_path):
    settings = {"count": 5, "size": (32, 48), "progress": False}
    ids = opened(write_drone_sample(tmp_path / "a", layout="ids", **settings), kind=Drone)
    colours = opened(write_drone_sample(tmp_path / "b", layout="colours", **settings), kind=Drone)
    assert (ids.reader.reading.encoding, colours.reader.reading.encoding) == ("ids", "colours")
    for (image, mask), (image2, mask2) in zip(ids, colours, strict=True):
        assert torch.equal(image, image2)
        assert torch.equal(mask, mask2)


def test_drone_is_found_below_the_root(tmp_path, drone_root):
    deep = tmp_path / "archive" / "dataset" / "semantic_drone_dataset"
    deep.parent.mkdir(parents=True)
    deep.symlink_to(drone_root)
    assert len(opened(tmp_path, kind=Drone)) == 12


def test_another_class_table_is_refused(tmp_path):
    root = write_drone_sample(tmp_path / "a", count=3, size=(32, 48), progress=False)
    table = next(root.glob("class_dict*.csv"))
    table.write_text(table.read_text().replace("paved-area", "asphalt"))
    with pytest.raises(DataError, match="asphalt.*paved-area"):
        Drone(root)


def test_conflicting_is_ignored(tmp_path):
    root = write_drone_sample(tmp_path / "a", count=3, size=(32, 48), progress=False)
    path = sorted((root / "label_images_semantic").glob("*.png"))[0]
    mask = np.array(Image.open(path))
    mask[:4] = 23
    Image.fromarray(mask).save(path)
    assert (opened(root, kind=Drone)[0][1][:4] == 255).all()


def test_camvid_void_is_never_scored(tmp_path):
    for split, count in (("train", 20), ("val", 3)):
        for i in range(count):
            save(tmp_path / split / f"{split}{i:02d}.png", PICTURE)
            save(tmp_path / f"{split}annot" / f"{split}{i:02d}.png", np.where(MASK == 2, 11, MASK).astype(np.uint8))
    splits = {s: opened(tmp_path, s, CamVid) for s in ("train", "val", "test")}
    assert [len(d) for d in splits.values()] == [18, 2, 3]
    assert splits["val"].names == ["train18", "train19"], "the last frames, and not some in between"
    assert splits["test"].names == ["val00", "val01", "val02"]
    mask = splits["train"][0][1].numpy()
    assert splits["train"].label_set is CAMVID
    assert np.array_equal(mask == 255, MASK == 2)
    assert mask[mask != 255].max() < 11


@pytest.mark.parametrize("kind", [Drone, CamVid, Folder])
def test_missing_and_empty_folders(tmp_path, kind):
    with pytest.raises(DataError, match="nowhere.*"):
        kind(tmp_path / "nowhere")
    with pytest.raises(DataError, match={Drone: r"original_images/ \+ label_images_semantic/", CamVid: "trainannot/",
                                         Folder: "images/"}[kind]):
        kind(tmp_path)


# -------------------------------------------------------------------------------------------------------------- any

@pytest.mark.parametrize(("images", "masks", "ending"), [
    ("train", "train_labels", "_L"), ("train/images", "train/masks", ""), ("images/train", "masks/train", "_mask"),
    ("train", "train_masks", "_gt"), ("train", "trainannot", ""), ("train/images", "train/labels", "_labelIds"),
    ("images/train", "labels/train", "_seg"), ("train/img", "train/annotations", "_lab")])
def test_common_layouts_with_a_class_table(tmp_path, images, masks, ending):
    for split in ("train", "val"):
        for folder, end, array in ((images, "", PICTURE), (masks, ending, COLOURS.colourise(MASK))):
            for name in "abc":
                save(tmp_path / folder.replace("train", split) / f"{name}{end}.png", array)
    with pytest.raises(DataError, match=r"class_dict\.csv"):
        Folder(tmp_path)
    (tmp_path / "class_dict.csv").write_text(TABLE)
    data = Samples(Folder(tmp_path), "train", progress=False)
    assert data.label_set.classes == COLOURS.classes and data.names == ["a", "b"]
    assert np.array_equal(data[0][1].numpy(), MASK)
    assert Samples(Folder(tmp_path), "test", progress=False).names == ["a", "b", "c"]


def test_cvats_labelmap_is_a_table_of_classes(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), COLOURS.colourise(MASK))
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nred:255,0,0::\ngreen:0,255,0::\n"
                                           "blue:0,0,255::\n")
    assert np.array_equal(opened(tmp_path, label_set=None)[0][1].numpy(), MASK)


def test_masks_without_picture_are_left_out_and_named(tmp_path):
    for name in "abc":
        write_pair(tmp_path, name, Image.fromarray(PICTURE), MASK)
    (tmp_path / "images" / "b.png").unlink()
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"Windows")
    (tmp_path / "images" / "._a.png").write_bytes(b"macOS")
    (tmp_path / "masks" / "more.png").mkdir()
    data = opened(tmp_path)
    assert data.names == ["a", "c"] and data.reader.notes == [
        f"{tmp_path / 'masks'}: 1 masks have no picture in {tmp_path / 'images'} and are left out: b"]
    assert data.reader.notes[0] in data.report()


def test_two_files_of_one_name(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), MASK)
    Image.fromarray(PICTURE).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png"):
        opened(tmp_path)


@pytest.mark.parametrize(("mask", "message"), [
    (MASK.T, r"(?s)a\.png.*20×30.*30×20"), (np.where(MASK == 2, 9, MASK).astype(np.uint8), r"(?s)a\.png.*ids 9;.*0.*2"),
    (MASK.astype(np.uint16) + 256, "256, 257, 258"), (COLOURS.colourise(MASK) // 2, r"(?s)a\.png.*\(\d+, \d+, \d+\)")])
def test_masks_that_do_not_fit_name_their_file(tmp_path, mask, message):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), mask)
    with pytest.raises(DataError, match=message):
        opened(tmp_path)


def test_ids_and_colours_that_are_ignored(tmp_path):
    bad = MASK.copy()
    bad[0, :2] = 7, 9
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), bad)
    data = opened(tmp_path, ignore_ids=(7, 9))
    assert data[0][1][0, :2].tolist() == [255, 255] and (data[0][1][1:] != 255).all()
    assert data.pixels[255] == 2 and data.pixels.sum() == MASK.size


def test_how_masks_are_stored_is_found_out_or_said(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), COLOURS.colourise(MASK))
    assert opened(tmp_path).reader.reading.encoding == "colours"
    with pytest.raises(DataError, match="channels that differ"):
        opened(tmp_path, encoding="ids")
    with pytest.raises(ArgumentError, match="'rgb'"):
        opened(tmp_path, encoding="rgb")


def test_classes_of_one_colour_are_an_error_where_colours_decide(tmp_path):
    labels = LabelSet("two", ("road", "kerb", "grass"), ((9, 9, 9), (9, 9, 9), (0, 99, 0)))
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), MASK)
    assert opened(tmp_path, label_set=labels).label_set == labels  # masks of ids: colours are to draw with
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), labels.colourise(MASK))
    for encoding in ("auto", "colours"):
        with pytest.raises(DataError, match=r"stored as colours\n.*\(9, 9, 9\) for road and for kerb"):
            opened(tmp_path, label_set=labels, encoding=encoding)
