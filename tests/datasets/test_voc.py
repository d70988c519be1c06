"""Folders as the VOC development kit has them, and as CVAT writes them (cvat/.../formats/mask.py, datumaro)."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.datasets import Samples, Voc, open_dataset
from seglab.errors import ArgumentError, DataError
from seglab.labels import VOC, LabelSet, voc_palette

LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\n고양이:250,50,83::\n도로 표지:51,221,255::\n"
COLOURS = np.array([(0, 0, 0), (250, 50, 83), (51, 221, 255)], np.uint8)
IDS = np.array([[0, 1, 2, 0], [1, 1, 2, 0], [0, 0, 2, 2]], np.uint8)


def write(root: Path, names: list[str], lists: dict[str, list[str]], labelmap: str | None = LABELMAP) -> Path:
    """A CVAT export with pictures; without a labelmap, VOC's, whose masks have palettes and a border of 255."""
    for name in names:
        picture, mask = root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png"
        for path in (picture, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (90, 120, 30)).save(picture)
        if labelmap is not None:
            Image.fromarray(COLOURS[IDS]).save(mask)
        else:
            ids = IDS * 7
            ids[0, 0] = 255
            indexed = Image.fromarray(ids, "L")
            indexed.putpalette(voc_palette().tobytes())
            indexed.save(mask)
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if labelmap is not None:
        (root / "labelmap.txt").write_text(labelmap, encoding="utf-8")
    return root


def names(reader: Voc) -> dict[str, list[str]]:
    return {split: [entry.name for entry in entries] for split, entries in reader.splits.items()}


def test_cvat_export_with_folders_and_korean_names(tmp_path):
    listed = ["드론/사진 1", "frame_000001", "frame_000002"]
    reader = Voc(write(tmp_path, [*listed, "extra"], {"default": listed}))
    assert names(reader) == {"all": listed}
    assert reader.label_set.classes == ("background", "고양이", "도로 표지")
    assert reader.title == tmp_path.name
    assert reader.bad == {}
    assert [note.partition(": ")[2] for note in reader.notes] == [
        f"1 {what} are in no split, or without the other, and are left out: extra" for what in ("pictures", "masks")]
    data = Samples(reader, "all", cache=False, progress=False)
    assert data.read(0)[1].tolist() == IDS.tolist()
    assert data.read(0)[0].shape == (3, 4, 3)


def test_voc_below_the_development_kit(tmp_path):
    train, val = ["2007_000032", "2007_000039"], ["2007_000033"]
    root = write(tmp_path / "VOCdevkit" / "VOC2012", train + val,
                 {"train": train, "val": val, "trainval": train + val}, labelmap=None)
    reader = Voc(tmp_path)
    assert reader.root == root
    assert names(reader) == {"train": train, "val": val}
    assert reader.label_set == VOC
    assert "VOC's 21" in reader.notes[-1]
    assert reader.mask(reader.splits["train"][0]).tolist() == [[255, 7, 14, 0], [7, 7, 14, 0], [0, 0, 14, 14]]


def test_trainval_is_train_where_there_is_none(tmp_path):
    root = write(tmp_path, ["a", "b", "c"], {"trainval": ["a", "b"], "Test": ["c"]})
    assert names(Voc(root)) == {"train": ["a", "b"], "test": ["c"]}


def test_without_lists_pairs_are_used(tmp_path):
    root = write(tmp_path, ["a", "b", "c"], {})
    (root / "SegmentationClass" / "b.png").unlink()
    reader = Voc(root)
    assert names(reader) == {"all": ["a", "c"]}
    assert "1 pictures" in reader.notes[0]


def test_names_as_other_tools_write_them(tmp_path):
    written = ["./집/가.jpg", "집\\나", unicodedata.normalize("NFD", "집/다"), '"라 1"', ""]
    root = write(tmp_path, ["집/가", "집/나", "집/다", "라 1", "v1.0"], {"train": written, "val": ["v1.0"]})
    reader = Voc(root)
    assert reader.bad == {}
    assert names(reader) == {"train": ["집/가", "집/나", "집/다", "라 1"], "val": ["v1.0"]}


def test_listed_names_without_files_are_bad(tmp_path):
    root = write(tmp_path, ["a", "b", "c"], {"train": ["a", "b", "c", "d"], "val": []})
    (root / "JPEGImages" / "b.jpg").unlink()
    (root / "SegmentationClass" / "c.png").unlink()
    reader = Voc(root)
    bad = {path.stem: text for path, text in reader.bad.items()}
    assert [*bad] == ["b", "c", "d"]
    assert "no picture for" in bad["b"]
    assert 'unmasked="background"' in bad["c"]
    assert bad["d"] == "neither picture nor mask"
    with pytest.warns(UserWarning, match="3 pictures"):
        data = Samples(reader, "all", problems="skip", cache=False)
    assert data.names == ["a"]


def test_pictures_that_cvat_writes_no_mask_for(tmp_path):
    root = write(tmp_path, ["a", "b", "c"], {"default": ["a", "b", "c"]},
                 labelmap="cat:250,50,83::\nbackground:0,0,0::\nsign:51,221,255::\n")
    (root / "SegmentationClass" / "b.png").unlink()
    data = Samples(Voc(root, unmasked="background"), "all", cache=False)
    assert data.read(1)[1].tolist() == [[1] * 4] * 3
    assert data.picture_size(1) == (3, 4)
    with pytest.raises(ArgumentError, match="unmasked"):
        Voc(root, unmasked="yes")
    (root / "labelmap.txt").write_text("cat:250,50,83::\nvoid:0,0,0::\nsign:51,221,255::\n")
    with pytest.raises(ArgumentError, match="which is no class"):
        Voc(root, unmasked="background")


def test_a_name_in_two_splits_is_an_error(tmp_path):
    with pytest.raises(DataError, match="b in test and in train"):
        Voc(write(tmp_path, ["a", "b"], {"train": ["a", "b"], "test": ["b"]}))


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(("folder", "fix"), [("JPEGImages", "Save images"), ("SegmentationClass", "writes none")])
def test_exports_that_lack_a_folder_say_why(tmp_path, folder, fix, empty):
    root = write(tmp_path, ["a"], {"default": ["a"]})
    for path in (root / folder).iterdir():
        path.unlink()
    if not empty:
        (root / folder).rmdir()
    with pytest.raises(DataError, match=fix):
        open_dataset(tmp_path)


def test_labelme2voc_has_class_names_of_its_own(tmp_path):
    root = write(tmp_path, ["a", "b", "c"], {}, labelmap=None)
    (root / "class_names.txt").write_text("\n".join(["_background_", *(f"물체 {i}" for i in range(1, 15))]))
    (root / "SegmentationClass").rename(root / "SegmentationClassPNG")
    (root / "SegmentationClass").mkdir()
    (root / "SegmentationClass" / "a.npy").write_bytes(b"")
    reader = Voc(root)
    assert reader.label_set.classes[7] == "물체 7"
    assert reader.mask(reader.splits["all"][0])[0].tolist() == [255, 7, 14, 0]


def test_other_classes_can_be_given(tmp_path):
    root = write(tmp_path, ["a", "b", "c"], {}, labelmap=None)
    label_set = LabelSet("own", tuple(f"c{i}" for i in range(14)), tuple(map(tuple, voc_palette(14).tolist())))
    reader = Voc(root, label_set=label_set, ignore_ids=[14], encoding="ids")
    assert reader.mask(reader.splits["all"][0])[0].tolist() == [255, 7, 255, 0]


def test_masks_with_colours_that_the_labelmap_lacks_are_refused(tmp_path):
    root = write(tmp_path, ["a", "b", "c"], {"default": ["a", "b", "c"]})
    Image.fromarray(np.full((3, 4, 3), (1, 2, 3), np.uint8)).save(root / "SegmentationClass" / "b.png")
    with pytest.raises(DataError, match=r"colour \(1, 2, 3\)"):
        Samples(Voc(root), "all", cache=False).read(1)
