"""Real photographs, where they are at hand: SEGLAB_TEST_DATA holds camvid/, catdog/, coco/, pets/ and pets128/."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.datasets import CamVid, Coco, Pets, Samples, open_dataset
from seglab.errors import DataError
from seglab.recipes import train
from tests.datasets.coco.test_masks import reference

DATA = Path(os.environ.get("SEGLAB_TEST_DATA", "-"))
pytestmark = [pytest.mark.real_data, pytest.mark.skipif(
    not all((DATA / name).is_dir() for name in ("camvid", "catdog", "coco", "pets", "pets128")),
    reason="SEGLAB_TEST_DATA is not set, or lacks camvid/, catdog/, coco/, pets/ or pets128/: no real photographs")]


def test_camvid_masks_are_read_as_they_are_and_void_is_ignored():
    data = Samples(CamVid(DATA / "camvid"), "test", cache=False)
    for i in range(0, len(data), 10):
        raw = np.asarray(Image.open(data.entries[i].target))
        mask = data[i][1].numpy()
        assert np.array_equal(mask == 255, raw == 11)
        assert np.array_equal(mask[mask != 255], raw[raw != 11])


def test_lesson_1_beats_the_constant_rule_on_streets(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path))
    splits = open_dataset(DATA, progress=False)
    assert (splits.name, len(splits.test)) == ("camvid", 101)
    _, _, scores, _ = train("single-conv", data=DATA / "camvid", epochs=1, progress=False)
    assert scores.pixel_accuracy > 0.38


def test_a_head_on_features_tells_real_cats_from_dogs(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path))
    _, history, scores, splits = train("transfer-catdog", data=DATA, progress=False)
    assert (splits.name, len(splits.train), len(splits.test)) == ("catdog", 1260, 500)
    assert len(history) == 10 and scores.accuracy > 0.98


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("categories", [None, ["cat", "dog"], [1, 3, 62]])
def test_coco_masks_are_torchvisions_reference_bit_for_bit(tmp_path, monkeypatch, split, categories):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path))
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for name in (f"annotations/instances_{split}2017.json", f"{split}2017"):  # one split, and so no other one is made
        (root / name).symlink_to(DATA / "coco" / name)
    coco = Coco(root, categories=categories, crowd="fill")
    data = Samples(coco, "all", progress=False)
    entries = {entry.name: entry for entry in coco.splits[split]}
    assert not data.bad and not coco.faults and len(data) >= 4
    for i, name in enumerate(data.names):
        objects = coco.annotations(entries[name])
        expected = reference([one["segmentation"] for one in objects],
                             [coco.class_of[split][one["category_id"]] for one in objects], data.picture_size(i)
                             ) if objects else np.zeros(data.picture_size(i), np.uint8)
        assert np.array_equal(coco.mask(entries[name]), expected)
        assert np.array_equal(data[i][1], expected)


def test_pets_at_full_size_are_read_as_published(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path))
    data = Samples(Pets(DATA / "pets"), "all", progress=False)
    assert len(data) == 450 and not data.left_out
    assert {name[0].isupper() for name in data.names if name.startswith("american")} == {False}
    for i in range(0, 450, 25):
        trimap = np.asarray(Image.open(DATA / "pets" / "annotations" / "trimaps" / f"{data.names[i]}.png"))
        species = 1 if data.names[i][0].isupper() else 2
        assert np.array_equal(data[i][1], np.array([0, species, 0, 255])[trimap])
    sizes = [len(Samples(data.reader, split, progress=False)) for split in ("train", "val", "test")]
    assert sizes == [202, 22, 226]


def test_the_small_copy_has_pictures_without_a_pet_and_no_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path))
    splits = open_dataset("pets", root=DATA / "pets128", target="foreground", progress=False)
    assert sorted(int(name) for part in (splits.train, splits.val) for name in part.left_out) == [
        254, 294, 714, 1065, 1379, 1441, 2073]
    assert (len(splits.train), len(splits.val), len(splits.test)) == (3305, 368, 1768)
    with pytest.raises(DataError, match='target="foreground"'):
        open_dataset("pets", root=DATA / "pets128", progress=False)
