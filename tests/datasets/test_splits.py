"""Folders as they are found on disks: not readable, with loops, with names in other bytes than UTF-8."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.check import check
from seglab.datasets import CatDog, Coco, Folder, LabelMe, Pets, RoboflowMasks, Voc, open_dataset
from seglab.datasets.map_files import write_map_file
from seglab.datasets.sources import find_dataset
from seglab.datasets.splits import existing_folder, files_below
from seglab.errors import ArgumentError, DataError
from tests.conftest import write_pair
from tests.datasets import test_find

READERS = (CatDog, Coco, Folder, LabelMe, Pets, RoboflowMasks, Voc)


def folder(root: Path, names: str = "abcdef") -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        write_pair(root, name, Image.fromarray(rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)),
                   rng.integers(0, 3, (12, 20), dtype=np.uint8))
    (root / "class_dict.csv").write_text("name,r,g,b\nx,0,0,0\ny,0,0,9\nz,0,9,0\n")
    return root


def closed(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Make a folder one that cannot be read, for root too."""
    def without(function):
        def guarded(path=".", *args, **options):
            if isinstance(path, (str, Path)) and Path(path) == place:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *args, **options)
        return guarded

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, without(getattr(os, name)))
    unchecked(monkeypatch, place)


def unchecked(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **options: path != place and access(path, mode, **options))


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    folder(tmp_path)
    (tmp_path / "images" / "deep").mkdir()
    closed(monkeypatch, tmp_path / "images" / "deep")
    with pytest.raises(DataError, match=r"deep: folder\n  found:    Permission denied"):
        Folder(tmp_path)
    assert check(tmp_path, progress=False).errors == 1


@pytest.mark.parametrize("reader", READERS)
def test_a_root_that_cannot_be_read_is_named(tmp_path, monkeypatch, reader):
    closed(monkeypatch, tmp_path)
    with pytest.raises(DataError, match="Permission denied"):
        reader(tmp_path)


@pytest.mark.parametrize("name", sorted(test_find.LAYOUTS))
def test_a_closed_folder_beside_a_dataset_does_not_matter(tmp_path, monkeypatch, name):
    test_find.LAYOUTS[name][0](tmp_path)
    (tmp_path / "lost+found").mkdir()
    closed(monkeypatch, tmp_path / "lost+found")
    assert find_dataset(tmp_path)[0] == name


def test_where_nothing_is_found_closed_folders_are_named(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    closed(monkeypatch, tmp_path / "data")
    with pytest.raises(DataError, match="no dataset found\n.*no right to read data"):
        open_dataset(tmp_path)


def test_a_picture_that_cannot_be_read_is_one_that_cannot_be_used(tmp_path, monkeypatch):
    root, place = folder(tmp_path), tmp_path / "images" / "a.png"
    unchecked(monkeypatch, place)
    real = open

    def guarded(path, *args, **options):
        if not isinstance(path, int) and Path(path) == place:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr("builtins.open", guarded)
    with pytest.raises(DataError, match="1 of .*\n.*a.png.*Permission denied"):
        open_dataset(root, progress=False)


def test_links_to_themselves_and_to_nothing(tmp_path):
    folder(tmp_path)
    for link, target in {"images/x.png": "x.png", "masks/x.png": "x.png", "images/y.png": "gone.png",
                         "images/self": ".", "images/up": "..", "loop": "loop"}.items():
        (tmp_path / link).symlink_to(target)
    write_pair(tmp_path / "other", "y", Image.new("RGB", (20, 12)), np.zeros((12, 20), np.uint8))
    (tmp_path / "other" / "masks" / "y.png").rename(tmp_path / "masks" / "y.png")
    found = check(tmp_path, progress=False, layout="folder")
    assert found.errors == 2 and "y.png: file" in str(found) and "no mask" in str(found)
    assert len(files_below(tmp_path / "images")) == 8
    with pytest.raises(DataError, match="loop: folder"):
        open_dataset(tmp_path / "loop")


def test_names_in_other_bytes_than_utf_8_can_be_used_and_printed(tmp_path):
    folder(tmp_path)
    try:
        for kind in ("images", "masks"):
            (tmp_path / kind / "a.png").rename(os.fsdecode(os.fsencode(tmp_path / kind) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("a file system of Unicode names")
    splits = open_dataset(tmp_path, progress=False)
    assert r"caf\udce9" in {*splits.train.names, *splits.val.names, *splits.test.names}
    (tmp_path / os.fsdecode(b"masks/caf\xe9.png")).unlink()
    found = check(tmp_path, progress=False)
    assert r"caf\udce9" in str(found)
    assert r"caf\udce9" in json.loads(found.json().encode())["findings"][0]["pictures"][0]
    assert rb"caf\udce9: folder" in str(DataError("caf\udce9: folder")).encode()


def test_class_folders_in_other_bytes_than_utf_8(tmp_path):
    try:
        for name in (b"caf\xe9", b"tea"):
            place = tmp_path / "all" / os.fsdecode(name)
            place.mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (4, 4)).save(place / f"{i}.png")
    except OSError:
        pytest.skip("a file system of Unicode names")
    reader = CatDog(tmp_path / "all")
    assert reader.label_set.classes == (r"caf\udce9", "tea")
    assert all(entry.name.encode() for entry in reader.complete["train"])
    with pytest.raises(DataError, match="no UTF-8"):
        write_map_file(tmp_path / "all")


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "~nobody-of-this-name/x", "\ud800"])
def test_paths_that_cannot_be(path):
    with pytest.raises(DataError, match="missing"):
        existing_folder(path)
    with pytest.raises((DataError, ArgumentError)):
        open_dataset(path)
