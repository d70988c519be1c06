"""A part of COCO 2017 arrives whole, from a server of our own that breaks off and has wrong files."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import warnings
import zipfile
from collections import namedtuple
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seglab.cli import app
from seglab.datasets.download_coco import download_coco
from seglab.errors import ArgumentError, DataError
from tests.datasets.local_server import serving

module = sys.modules[download_coco.__module__]
ARCHIVE = "/annotations/annotations_trainval2017.zip"
SIZES = {0: (40, 30), 1: (30, 40)}  # (width, height) of pictures with an even and an odd id


def jpeg(size: tuple[int, int]) -> bytes:
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(data, "JPEG", quality=95)
    return data.getvalue()


def annotations(first: int, count: int) -> dict:
    """Cats (17) on every second picture, dogs (18) on every tenth, a person (1) on every one, a crowd on some."""
    ids = range(first, first + count)
    images = [{"license": 4, "file_name": f"{i:012d}.jpg", "coco_url": f"http://elsewhere/{i}.jpg", "id": i,
               "width": SIZES[i % 2][0], "height": SIZES[i % 2][1]} for i in ids]
    shown = [(i, number) for number, every in ((1, 1), (17, 2), (18, 10)) for i in ids if i % every == 0]
    items = [{"segmentation": {"counts": [5, 1], "size": [2, 3]} if place % 7 == 0 else [[1, 1, 9.5, 1, 9, 9]],
              "area": 30.5, "iscrowd": int(place % 7 == 0), "image_id": i, "bbox": [1, 1, 9, 9], "category_id": number,
              "id": place} for place, (i, number) in enumerate(shown)]
    return {"info": {"description": "COCO 2017 Dataset", "year": 2017}, "licenses": [{"id": 4, "name": "BY"}],
            "images": images, "annotations": items,
            "categories": [{"id": n, "name": name} for n, name in ((1, "person"), (17, "cat"), (18, "dog"))]}


PUBLISHED = {"train2017": annotations(1, 250), "val2017": annotations(1001, 100)}


def files() -> dict[str, bytes]:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as zipped:
        for split, published in PUBLISHED.items():
            zipped.writestr(f"annotations/instances_{split}.json", json.dumps(published))
            zipped.writestr(f"annotations/captions_{split}.json", "{}")
    pictures = {parity: jpeg(size) for parity, size in SIZES.items()}
    return {ARCHIVE: data.getvalue()} | {f"/{split}/{image['file_name']}": pictures[image["id"] % 2]
                                         for split, published in PUBLISHED.items() for image in published["images"]}


FILES = files()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("SEGLAB_OFFLINE")
    monkeypatch.setattr("seglab.datasets.download.time.sleep", lambda _: None)
    monkeypatch.setattr(module, "ARCHIVE_MD5", hashlib.md5(FILES[ARCHIVE]).hexdigest())
    with serving(dict(FILES)) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        yield server


def get(server, folder: Path, categories=("cat", "dog"), pictures=10) -> dict[str, dict]:
    """Download; the annotations of both splits."""
    assert download_coco(folder, categories, pictures, progress=False, base_url=server.url) == folder
    return {split: json.loads((folder / "annotations" / f"instances_{split}.json").read_bytes()) for split in PUBLISHED}


def ids(data: dict) -> set[int]:
    return {image["id"] for image in data["images"]}


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder).as_posix()) for path in folder.rglob("*.jpg*"))


def test_the_wanted_pictures_with_all_of_their_objects_arrive_once(server, tmp_path, monkeypatch):
    first = get(server, tmp_path)
    assert {split: len(data["images"]) for split, data in first.items()} == {"train2017": 10, "val2017": 2}
    for split, data in first.items():
        whole = PUBLISHED[split]
        assert data["licenses"] == whole["licenses"] and data["categories"] == whole["categories"]
        assert data["info"]["description"] == "COCO 2017 Dataset; reduced by seglab download to pictures of cat, dog"
        assert data["images"] == [image for image in whole["images"] if image["id"] in ids(data)]
        assert data["annotations"] == [item for item in whole["annotations"] if item["image_id"] in ids(data)]
    dogs = {item["image_id"] for item in first["train2017"]["annotations"] if item["category_id"] == 18}
    assert len(dogs) >= 5, "dogs are on few pictures, and have their share"
    assert names(tmp_path) == sorted(f"{split}/{i:012d}.jpg" for split in first for i in ids(first[split]))
    assert all((tmp_path / name).read_bytes() == FILES[f"/{name}"] for name in names(tmp_path))
    assert len(server.asked) == 13
    monkeypatch.setenv("SEGLAB_OFFLINE", "1")
    assert get(server, tmp_path) == first and len(server.asked) == 13, "all is there: no network is needed"


def test_more_and_other_pictures_add_to_the_folder(server, tmp_path):
    few, many = get(server, tmp_path), get(server, tmp_path, pictures=20)
    assert all(ids(few[split]) < ids(many[split]) for split in few) and len(server.asked) == 1 + 20 + 4
    others = get(server, tmp_path, [1], 10)
    assert ids(others["train2017"]) - ids(many["train2017"]) and len(ids(others["train2017"])) == 10
    assert len(names(tmp_path)) > 24, "pictures of the earlier call stay"
    assert ids(get(server, tmp_path, "cat", 6)["train2017"]) == ids(get(server, tmp_path, [17, "cat"], 6)["train2017"])


def test_an_archive_that_breaks_off_goes_on(server, tmp_path):
    server.cuts[ARCHIVE] = [100, 50]
    get(server, tmp_path)
    assert server.ranges_of(ARCHIVE) == [None, "bytes=100-", "bytes=150-"]


def test_pictures_that_break_off_go_on(server, tmp_path):
    chosen = get(server, tmp_path / "one")
    path = f"/train2017/{min(ids(chosen['train2017'])):012d}.jpg"
    server.asked.clear()
    server.cuts[path] = [100, 0, 50]
    assert get(server, tmp_path / "two") == chosen
    assert server.ranges_of(path) == [None, "bytes=100-", "bytes=100-", "bytes=150-"]
    assert (tmp_path / "two" / path[1:]).read_bytes() == FILES[path]


def test_a_server_that_fails_for_long_and_comes_back(server, tmp_path):
    chosen = get(server, tmp_path / "one")
    path = f"/train2017/{max(ids(chosen['train2017'])):012d}.jpg"
    server.status[path] = 503
    with pytest.raises(DataError, match=r"(?s)the server answers 503.*5 attempts.*one of 12 pictures.*Call again"):
        get(server, tmp_path / "two")
    assert not list((tmp_path / "two").glob("annotations/*")), "they would promise pictures that are not there"
    there = {f"/{name}" for name in names(tmp_path / "two")}
    server.status.clear()
    server.asked.clear()
    assert get(server, tmp_path / "two") == chosen
    assert not there & {asked for asked, _ in server.asked} and path in {asked for asked, _ in server.asked}


def test_one_in_a_hundred_may_be_gone(server, tmp_path):
    get(server, tmp_path / "all", pictures=100)
    first, second = names(tmp_path / "all")[:2]
    server.status[f"/{first}"] = 404
    with pytest.warns(UserWarning, match=f"1 of 120 pictures are gone from {server.url} and left out: {first}"):
        data = get(server, tmp_path / "new", pictures=100)["train2017"]
    gone = int(Path(first).stem)
    assert len(ids(data)) == 99 and gone not in ids(data) | {item["image_id"] for item in data["annotations"]}
    server.status[f"/{second}"] = 404
    (tmp_path / "new" / second).unlink()
    with pytest.raises(DataError, match=f"(?s)2 of 120 so far: {first}, {second}.*at most 1%"):
        get(server, tmp_path / "new", pictures=100)


@pytest.mark.parametrize(("content", "message"), [
    (jpeg((31, 41)), "31 × 41 pixels"), (FILES["/train2017/000000000002.jpg"][:-400], "truncated"),
    (b"<html>Log in to this network</html>", "cannot identify")])
def test_a_wrong_picture_does_not_get_the_name(server, tmp_path, content, message):
    name = names(get(server, tmp_path / "one") and tmp_path / "one")[0]
    server.files[f"/{name}"] = content
    with pytest.raises(DataError, match=f"(?s){message}.*a whole picture of 40 × 30.*It was removed"):
        get(server, tmp_path / "two")
    assert not (tmp_path / "two" / name).exists() and not list((tmp_path / "two").glob("annotations/*"))


def test_a_picture_of_yours_is_left_alone(server, tmp_path):
    get(server, tmp_path)
    path = tmp_path / names(tmp_path)[0]
    path.write_bytes(jpeg((20, 15)))
    with pytest.raises(DataError, match="(?s)20 × 15 pixels.*40 × 30.*replaces no file"):
        get(server, tmp_path)
    assert path.read_bytes() == jpeg((20, 15))


def test_annotations_of_yours_are_left_alone(server, tmp_path):
    file = tmp_path / "annotations" / "instances_val2017.json"
    file.parent.mkdir()
    file.write_text(json.dumps(PUBLISHED["val2017"]))
    with pytest.raises(DataError, match="(?s)instances_val2017.json: already there.*Give another folder"):
        get(server, tmp_path)
    assert json.loads(file.read_text()) == PUBLISHED["val2017"] and server.asked == []


def test_fewer_pictures_than_asked_for(server, tmp_path):
    with pytest.warns(UserWarning, match="fewer than") as caught:
        data = get(server, tmp_path, ["dog"], 30)
    assert [len(data[split]["images"]) for split in data] == [25, 6]
    assert [(str(w.message), w.filename) for w in caught] == [
        ("train2017: 25 pictures show dog, fewer than 30; all are taken.", __file__)]


def test_offline_says_what_from_where_how_large_and_what_else(tmp_path):
    with pytest.raises(DataError, match=r"(?s)SEGLAB_OFFLINE is set.*253 MB from http://images.cocodataset.org/annota"
                                        r".*seglab sample"):
        download_coco(tmp_path, progress=False)


def test_room_is_looked_for_first(server, tmp_path, monkeypatch):
    disk = namedtuple("disk", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk(300_000_000))
    with pytest.raises(DataError, match="(?s)too little room.*300 MB free.*about 349 MB"):
        get(server, tmp_path, pictures=500)
    assert server.asked == []
    (tmp_path / ARCHIVE.rpartition("/")[2]).write_bytes(FILES[ARCHIVE])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk(1_000_000))
    with pytest.raises(DataError, match="(?s)too little room.*1 MB free.*about 2 MB"):
        get(server, tmp_path)
    assert server.asked == []


@pytest.mark.parametrize(("categories", "message"), [
    (("cat", "dgo"), "(?s)'dgo'.*Did you mean 'dog'"), ("Cat", "Did you mean 'cat'"), ([12], "found: *12"), ([0], "0"),
    ([], "none"), (["N/A"], "N/A")])
def test_unknown_categories(tmp_path, categories, message):
    with pytest.raises(ArgumentError, match=message):
        download_coco(tmp_path / "new", categories, progress=False)
    assert not (tmp_path / "new").exists()


def test_no_pictures(tmp_path):
    with pytest.raises(ArgumentError, match="(?s)pictures.*0.*1 or more"):
        download_coco(tmp_path, pictures=0)


def test_the_command_has_a_folder_of_its_own_and_says_the_licence(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path))
    monkeypatch.setattr(module, "download_coco", partial(download_coco, progress=False, base_url=server.url))
    result = CliRunner().invoke(app, ["download", "coco", "--categories", "dog, 17", "--pictures", "4"])
    assert result.exit_code == 0 and f"are in {tmp_path / 'coco'}" in result.stdout and "CC BY 4.0" in result.stdout
    assert len(names(tmp_path / "coco")) == 5
    result = CliRunner().invoke(app, ["download", "coco", "--pictures", "0"])
    assert result.exit_code == 1 and "1 or more" in result.output
