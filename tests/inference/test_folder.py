"""Folders of pictures: what is read, what is left out and said, and that no picture is ever replaced."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seglab.errors import ArgumentError, DataError
from seglab.files import output_file
from seglab.inference import classify_folder, predict, predict_folder
from seglab.inference.pictures import as_image
from seglab.labels import LabelSet
from seglab.models import Card, classifier
from tests.conftest import room


class Colours(nn.Module):
    """Class = the strongest channel."""

    card = Card(label_set=LabelSet("rgb", ("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255))))

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(20.0))

    def forward(self, images):
        return {"out": images * self.weight}


def fill(folder: Path, *names: str) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / name)
    return folder


def run(folder, out=None, **options) -> list[str]:
    return [path.name for path, _ in predict_folder(Colours(), folder, out, progress=False, **options)]


def test_pictures_are_never_replaced(tmp_path):
    folder = fill(tmp_path / "in", "a.png", "a_overlay.jpg", "b.png", "in/b.jpg")
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    for out in (folder, tmp_path / "in" / ".." / "in", tmp_path):  # the last would write in/b.jpg's mask to in/b.png
        for overwrite in (False, True):
            with pytest.raises(ArgumentError, match="another folder") as caught:
                run(folder, out, overwrite=overwrite)
            assert "overwrite" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_what_was_written_into_the_folder_is_not_read_again(tmp_path, monkeypatch):
    fill(tmp_path / "in", "a.png", "sub/b.png")
    monkeypatch.chdir(tmp_path)
    for folder, out in (("in", tmp_path / "in" / "masks"), (tmp_path / "in", "in/masks"), ("in/../in", "in/masks/")):
        assert run(folder, out, overwrite=True) == ["a.png", "b.png"]
    monkeypatch.chdir(tmp_path / "in")
    assert run(".", tmp_path / "in" / "masks", overwrite=True) == ["a.png", "b.png"]
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="a file"):
        run(".", tmp_path / "file")


def test_paths_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    fill(tmp_path / "in", "a.png")
    assert run("~/in", "~/out") == ["a.png"] and (tmp_path / "out" / "a.png").is_file()
    list(classify_folder(classifier("resnet18", 2, weights=None), "~/in", "~/new/"))
    assert (tmp_path / "new" / "answers.csv").read_text().startswith("path,class,")
    predict(Colours(), np.zeros((4, 4, 3), np.uint8)).save_overlay("~/x/o.png")
    assert (tmp_path / "x" / "o.png").is_file()


def test_pictures_that_are_not_read_are_named_and_hidden_files_are_not(tmp_path):
    folder = fill(tmp_path, "a.png")
    for name in ("._a.png", "__MACOSX/b.png", ".hidden/c.png", "notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no picture")
    with warnings.catch_warnings(record=True) as caught:
        assert run(folder) == ["a.png"]
    assert caught == []
    for name in ("IMG_1.HEIC", "IMG_2.heic", "b.gif", "clip.MOV"):
        (folder / name).touch()
    with pytest.warns(UserWarning, match="4 files.*2 .heic, 1 .gif, 1 .mov .IMG_1.HEIC, IMG_2"):
        assert run(folder) == ["a.png"]
    (folder / "a.png").unlink()
    with pytest.raises(DataError, match="2 .heic"):
        run(folder)


def test_every_picture_has_masks_of_its_own(tmp_path):
    names = ("p.jpg", "p.png", "p.jpg.png", "p_overlay.jpg", "A/q.png", "a/q.png", "B.png", "b.PNG")
    folder = fill(tmp_path / "in", *names)
    run(folder, tmp_path / "out")
    masks = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert len(masks) == len({name.casefold() for name in masks}) == 8
    assert {"p.jpg.png", "p.png.png", "p.jpg.png.png", "p_overlay.png", "B.png.png"} <= {*masks}
    assert len({*(tmp_path / "out").rglob("*_overlay.jpg")}) == 8


def test_a_folder_that_cannot_be_written_is_seen_before_the_work(tmp_path):
    folder = fill(tmp_path / "in", "a.png")
    for out, words in ((folder / "a.png" / "deep", "can be made"), (tmp_path / "out", "Free some space")):
        with room(100), pytest.raises(ArgumentError, match=words):
            next(predict_folder(Colours(), folder, out, progress=False))
    (tmp_path / "out" / "a.png").mkdir()
    with pytest.raises(ArgumentError, match="a.png, a folder"):
        run(folder, tmp_path / "out", overwrite=True)


def test_a_mask_is_replaced_if_one_says_so(tmp_path):
    found = predict(Colours(), np.zeros((4, 4, 3), np.uint8))
    for name in ("m.png", "o.jpg"):
        (tmp_path / name).write_text("mine")
    for write in (lambda **how: found.save_mask(tmp_path / "m.png", **how),
                  lambda **how: found.save_overlay(tmp_path / "o.jpg", **how)):
        with pytest.raises(ArgumentError, match="is there already"):
            write()
        write(overwrite=True)
    assert Image.open(tmp_path / "m.png").size == (4, 4)


def test_the_answers_so_far_are_written_if_it_ends_early(tmp_path):
    folder = fill(tmp_path / "in", "a.png", "b.png", "c.png")
    found = classify_folder(classifier("test_efficientnet", 2, weights=None), folder, tmp_path / "a.csv")
    next(found), next(found)
    with pytest.raises(KeyboardInterrupt):
        found.throw(KeyboardInterrupt)
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["path", "a.png", "b.png"]


def test_where_one_file_goes_is_checked_before_the_work(tmp_path):
    photo = fill(tmp_path, "a.jpg") / "a.jpg"
    for folder in (tmp_path, f"{tmp_path}/"):
        assert output_file(folder, "o.png", {".png"}) == tmp_path / "o.png"
    assert output_file(f"{tmp_path}/new/", "o.png", {".png"}).parent.is_dir()
    assert output_file(tmp_path / "deep" / "er" / "x.JPG", "o.png", {".jpg"}).parent.is_dir()
    for out, overwrite, words in ((tmp_path / "name", True, "an ending"), (tmp_path / "name.xyz", True, "an ending"),
                                  (photo, True, "the file that is read"), (photo, False, "the file that is read"),
                                  (photo / "x.jpg", True, "can be made")):
        with pytest.raises(ArgumentError, match=words) as caught:
            output_file(out, "o.jpg", {".jpg", ".png"}, overwrite, photo)
        assert "overwrite" not in str(caught.value)
    with pytest.raises(ArgumentError, match="ending"):
        predict(Colours(), photo).save_overlay(tmp_path / "name")


def test_a_picture_that_is_too_large_costs_itself_alone_and_is_not_decoded(tmp_path, monkeypatch):
    fill(tmp_path, "a.png", "c.png")
    Image.new("L", (4000, 3000)).save(tmp_path / "b.png")
    monkeypatch.setattr(importlib.import_module("seglab.inference.predict"), "as_image", lambda path, read=as_image: (
        pytest.fail("decoded") if "b.png" in str(path) else read(path)))
    found = dict(predict_folder(Colours(), tmp_path, tmp_path / "out", progress=False))
    assert "at most 10,000,000 pixels" in str(found[tmp_path / "b.png"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.png", "a_overlay.jpg", "c.png", "c_overlay.jpg"]
    with pytest.raises(ArgumentError, match="at most 10,000,000 pixels"):
        predict(Colours(), tmp_path / "b.png")
