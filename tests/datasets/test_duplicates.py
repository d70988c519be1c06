"""Copies are found whatever was done to them; pictures that merely look alike are not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from seglab.datasets import find_duplicates
from seglab.errors import ArgumentError, DataError
from seglab.samples.animals import draw_animal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("copies")
    for i in range(12):
        Image.fromarray(draw_animal("cats", i, size=(120, 160))).save(place / f"{i:02d}.png")
    return place


@pytest.mark.parametrize("change", ["copy", "half", "jpeg", "mirrored", "brighter"])
def test_a_changed_copy_is_found(folder, tmp_path, change):
    originals = sorted(folder.glob("*.png"))
    with Image.open(originals[7]) as image:
        if change == "half":
            image = image.resize((80, 60), Image.Resampling.BILINEAR)
        elif change == "mirrored":
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        elif change == "brighter":
            image = image.point(lambda v: min(255, v * 1.15))
        copy = tmp_path / ("copy.jpg" if change == "jpeg" else "copy.png")
        image.save(copy, **({"quality": 30} if change == "jpeg" else {}))
    (found,) = find_duplicates(originals, [copy])
    assert (found.first, found.second) == (7, 0) and found.similarity >= 0.98


def test_within_one_dataset_each_pair_once(folder):
    paths = sorted(folder.glob("*.png"))
    assert find_duplicates(paths) == []
    assert [(d.first, d.second) for d in find_duplicates([*paths, paths[3], paths[3]])] == [(3, 12), (3, 13), (12, 13)]


def test_blank_pictures_are_like_each_other_only():
    def blank(*colour: int) -> tuple:
        return np.full((3, 32, 32), np.array(colour, np.uint8)[:, None, None], np.uint8), 0

    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8), 0
    found = find_duplicates([blank(200, 10, 10), blank(10, 10, 200), noise, blank(200, 10, 10)])
    assert [(d.first, d.second) for d in found] == [(0, 3)]
    assert find_duplicates([], [noise]) == []


def test_bad_input(tmp_path):
    with pytest.raises(ArgumentError, match="threshold"):
        find_duplicates([], threshold=0)
    with pytest.raises(DataError, match=r"gone\.png"):
        find_duplicates([tmp_path / "gone.png"])


def test_block_by_block_each_pair_is_still_listed_once(folder, monkeypatch):
    monkeypatch.setattr("seglab.datasets.duplicates._BLOCK", 4)
    paths = sorted(folder.glob("*.png"))
    assert [(d.first, d.second) for d in find_duplicates([*paths, paths[3], paths[9]])] == [(3, 12), (9, 13)]
