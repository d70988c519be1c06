"""Folders as Roboflow's "Semantic Segmentation Masks" export has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.datasets import RoboflowMasks, open_dataset
from seglab.errors import DataError

TABLE = "Pixel Value, Class\n0, unlabeled\n1, 고양이\n3, 도로 표지\n"
IDS = np.array([[0, 1, 3, 0], [1, 1, 3, 0], [0, 0, 3, 3]], np.uint8)


def write(root: Path, splits: tuple[str, ...] = ("train", "valid", "test"), table: str = TABLE) -> Path:
    for split in splits:
        folder = root / split
        folder.mkdir()
        for i in range(2):
            name = f"사진-{i}_jpg.rf.{split}0a1b2c3d{i}"
            Image.new("RGB", (4, 3), (90, 120, 30)).save(folder / f"{name}.jpg")
            Image.fromarray(IDS).save(folder / f"{name}_mask.png")
        (folder / "_classes.csv").write_text(table, encoding="utf-8")
    return root


def test_the_export_is_opened_as_it_comes(tmp_path):
    splits = open_dataset(write(tmp_path), cache=False, progress=False)
    assert splits.name == tmp_path.name
    assert splits.label_set.classes == ("unlabeled", "고양이", "도로 표지")
    assert {split: len(part) for split, part in splits.parts.items()} == {"train": 2, "val": 2, "test": 2}
    assert splits.train.names == [f"사진-{i}_jpg.rf.train0a1b2c3d{i}" for i in range(2)]
    assert splits.val.read(0)[1].tolist() == [[0, 1, 2, 0], [1, 1, 2, 0], [0, 0, 2, 2]]


def test_the_class_of_value_0_can_be_ignored(tmp_path):
    splits = open_dataset(write(tmp_path), cache=False, progress=False, ignore_ids=[0])
    assert splits.train.read(0)[1][0].tolist() == [255, 1, 2, 255]


def test_one_folder_is_not_split(tmp_path):
    reader = RoboflowMasks(write(tmp_path) / "train")
    assert {split: len(entries) for split, entries in reader.splits.items()} == {"all": 2}


def test_it_is_found_one_folder_deeper(tmp_path):
    (tmp_path / "export").mkdir()
    write(tmp_path / "export")
    assert RoboflowMasks.find(tmp_path) == tmp_path / "export"


def test_a_split_without_table_or_masks_is_not_lost(tmp_path):
    write(tmp_path)
    (tmp_path / "valid" / "_classes.csv").unlink()
    lost, *rest = sorted((tmp_path / "test").glob("*_mask.png"))
    lost.unlink()
    reader = RoboflowMasks(tmp_path)
    assert [*reader.splits] == ["test", "train", "val"]
    assert [*reader.bad] == [reader.splits["test"][0].image]
    for path in rest:
        path.unlink()
    with pytest.raises(DataError, match="no picture has a mask"):
        RoboflowMasks(tmp_path)


def test_tables_that_differ_are_an_error(tmp_path):
    write(tmp_path)
    (tmp_path / "test" / "_classes.csv").write_text(TABLE.replace("3,", "2,"), encoding="utf-8")
    with pytest.raises(DataError, match="of test and of train differ"):
        open_dataset(tmp_path, cache=False)


def test_the_export_for_classification_is_another(tmp_path):
    (tmp_path / "train").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "train" / "a.jpg")
    (tmp_path / "train" / "_classes.csv").write_text("filename, cat, dog\na.jpg, 1, 0\n")
    assert RoboflowMasks.find(tmp_path) is None
