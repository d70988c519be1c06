"""Every layout is opened by its path alone, and none claims another's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.datasets import Reader
from seglab.datasets.sources import find_dataset
from seglab.samples import write_catdog_sample, write_coco_sample, write_drone_sample, write_pets_sample
from tests.datasets import test_labelme, test_roboflow, test_voc


def pairs(images: Path, masks: Path, ending: str = "") -> None:
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for name in "abc":
        Image.new("RGB", (4, 3)).save(images / f"{name}.jpg")
        Image.fromarray(np.zeros((3, 4), np.uint8)).save(masks / f"{name}{ending}.png")


def folder(root: Path) -> None:
    pairs(root / "images", root / "masks")
    (root / "class_dict.csv").write_text("name,r,g,b\na,0,0,0\nb,1,1,1\n")


def split_folder(root: Path) -> None:
    for split in ("train", "valid", "test"):
        pairs(root / split / "images", root / split / "masks", "_mask")
    (root / "classes.csv").write_text("name,r,g,b\na,0,0,0\nb,1,1,1\n")


def camvid(root: Path) -> None:
    for split in ("train", "val", "test"):
        pairs(root / split, root / f"{split}annot")


def labelme(root: Path) -> None:
    for name in "abc":
        test_labelme.write(root / f"{name}.json", test_labelme.shape("cat", test_labelme.TRIANGLE))


def labelme_apart(root: Path) -> None:
    for split in ("train", "val"):
        test_labelme.write(root / "labels" / split / "a.json", image=root / "images" / split / "a.jpg")


LAYOUTS: dict[str, list[Callable[[Path], object]]] = {
    "folder": [folder, split_folder], "camvid": [camvid], "labelme": [labelme, labelme_apart],
    "voc": [lambda root: test_voc.write(root, ["a", "b"], {"default": ["a", "b"]}),
            lambda root: test_voc.write(root, ["a", "b"], {"train": ["a"], "val": ["b"]}, labelmap=None)],
    "roboflow-masks": [test_roboflow.write],
    "drone": [lambda root: write_drone_sample(root / "s", layout="ids", count=3, size=(32, 48), progress=False),
              lambda root: write_drone_sample(root / "s", layout="colours", count=3, size=(32, 48), progress=False)],
    "pets": [lambda root: write_pets_sample(root / "pets", count=12, progress=False)],
    "catdog": [lambda root: write_catdog_sample(root / "catdog", count=(2, 1), progress=False)],
    "coco": [lambda root: write_coco_sample(root / "s", count=(2, 1), progress=False)]}


@pytest.mark.parametrize(("name", "write"), [(name, write) for name, those in LAYOUTS.items() for write in those])
def test_layouts_are_found_by_path(tmp_path, name, write):
    write(tmp_path)
    assert find_dataset(tmp_path)[0] == name


@pytest.mark.parametrize("name", ["folder", "camvid", "labelme", "voc", "roboflow-masks", "drone"])
def test_layouts_are_found_one_folder_deeper(tmp_path, name):
    (tmp_path / "내 데이터").mkdir()
    LAYOUTS[name][0](tmp_path / "내 데이터")
    assert find_dataset(tmp_path)[0] == name


def test_all_layouts_are_tried():
    assert LAYOUTS.keys() == Reader.kinds.keys()
