from __future__ import annotations

import json
import os
import pickle
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from safetensors.numpy import save_file
from torch.utils.data import DataLoader

from seglab.datasets import Coco, Samples, open_dataset
from seglab.datasets.coco.index import CocoIndex, _made_of
from seglab.datasets.coco.masks import to_rle
from seglab.datasets.transforms import collate
from seglab.errors import ArgumentError, CacheError, DataError, SeglabError
from seglab.samples import write_coco_sample
from seglab.samples.coco import draw_scene
from tests.datasets.coco.files import box, content, thing, write
from tests.processes import prepared


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """The drawn sample, a smaller one."""
    return write_coco_sample(tmp_path_factory.mktemp("coco") / "sample", count=(80, 24), progress=False)


def opened(root: Path, what: Any, categories: Any = ("cat", "dog"), **options: Any) -> Coco:
    write(root, what)
    return Coco(root, categories=categories, **options)


def first_mask(coco: Coco) -> np.ndarray:
    split, = coco.splits
    return coco.mask(coco.splits[split][0])


def kept(coco: Coco) -> list[int]:
    return [number for number, entry in enumerate(coco.splits["train"], 1) if coco.for_training(entry)]


@pytest.mark.slow
def test_the_sample_is_read_as_it_was_drawn(sample):
    coco = Coco(sample, categories=["cat", "dog"])
    assert coco.label_set.classes == ("background", "cat", "dog") and not coco.faults and not coco.bad
    kinds = {type(one["segmentation"]).__name__ + str(one["iscrowd"]) for entry in coco.splits["train"]
             for one in coco.annotations(entry)}
    assert kinds == {"list0", "dict0", "dict1"}  # polygons, run lengths, crowds
    ids = set()
    for entry in coco.splits["train"]:
        mask = coco.mask(entry)
        assert mask.shape == coco.size(entry) and mask.dtype == np.uint8
        ids |= set(np.unique(mask).tolist())
    assert ids == {0, 1, 2, 255}
    for entry in coco.splits["val"][::3]:
        _, drawn = draw_scene(int(entry.name) - 1)
        shapes = [shape for category, shape, crowd in drawn if category in coco.class_of["val"] and shape.sum() >= 12]
        for shape, one in zip(shapes, coco.annotations(entry), strict=True):
            found = coco_mask.decode(to_rle(one["segmentation"], *shape.shape))
            assert (found & shape).sum() / (found | shape).sum() > 0.9


def test_categories_become_dense_ids_in_the_order_given(tmp_path):
    things = [thing(1, box(0, 0, 20, 50), category=17), thing(2, box(30, 0, 20, 50), category=37),
              thing(3, box(60, 0, 20, 50), category=18)]
    for categories, row in (([17, 18], [1, 0, 2]), (["dog", 17], [2, 0, 1]), ([0, 18], [0, 0, 1]), ("cat", [1, 0, 0]),
                            (None, [1, 3, 2]), (["background", "sports ball"], [0, 1, 0])):
        assert first_mask(opened(tmp_path, content(things), categories))[10, [5, 35, 65]].tolist() == row


def test_groups_that_no_object_has_are_no_classes(tmp_path):
    """Roboflow writes the project's name as category 0, and as the supercategory of all others."""
    what = content([thing(1, box(0, 0, 40, 40), category=1)])
    what["categories"] = [{"id": 0, "name": "pets", "supercategory": "none"},
                          {"id": 1, "name": "cat", "supercategory": "pets"},
                          {"id": 2, "name": "dog", "supercategory": "pets"}]
    coco = opened(tmp_path, what, None)
    assert coco.label_set.classes == ("background", "cat", "dog") and "pets" in coco.notes[0]
    assert opened(tmp_path, what, [0, 2]).label_set.classes == ("background", "dog")
    what["annotations"].append(thing(2, box(0, 0, 9, 9), category=0))
    assert opened(tmp_path, what, None).label_set.classes == ("background", "pets", "cat", "dog")
    what["categories"] = [{"id": 1, "name": "person", "supercategory": "person"}]
    what["annotations"] = []
    assert opened(tmp_path, what, None).label_set.classes == ("background", "person")


def test_categories_of_the_splits_are_the_same_by_name(tmp_path):
    write(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    other = content([thing(1, box(0, 0, 40, 40), category=5)])
    other["categories"] = [{"id": 4, "name": "dog"}, {"id": 5, "name": "cat"}, {"id": 6, "name": "sports ball"}]
    images, path = write(tmp_path / "other", other)
    images.rename(tmp_path / "val2017")
    path.rename(val := tmp_path / "annotations" / "instances_val2017.json")
    coco = Coco(tmp_path)
    assert [coco.mask(coco.splits[split][0])[5, 5] for split in ("train", "val")] == [1, 1]
    other["categories"][1]["name"] = "cow"
    val.write_text(json.dumps(other))
    with pytest.raises(DataError, match="no cat in 'val'"):
        Coco(tmp_path)
    other["categories"] = [*other["categories"][::2], {"id": 5, "name": "cat"}, {"id": 7, "name": "cow"}]
    val.write_text(json.dumps(other))
    with pytest.raises(DataError, match="cow in 'val' alone"):
        Coco(tmp_path)
    assert len(Coco(tmp_path, categories=["cat"]).label_set) == 2


def test_those_are_trained_on_that_torchvisions_reference_keeps(tmp_path):
    things = [thing(1, box(0, 0, 25, 24), area=600, image=2), thing(2, box(9, 9, 20, 20), area=401, image=2),
              thing(3, box(0, 0, 25, 40), area=1000, image=3),
              thing(4, box(0, 0, 80, 60), area=4800, category=37, image=4),
              thing(5, {"size": [60, 80], "counts": [0, 4800]}, area=4800, crowd=1, image=1)]
    what = content(things, images=5)
    what["images"].reverse()
    for options, expected in (({}, [2]), ({"crowd": "fill"}, [1, 2]), ({"min_pixels": 0}, [2, 3]),
                              ({"min_pixels": None}, [1, 2, 3, 4, 5])):
        assert kept(opened(tmp_path, what, **options)) == expected
    assert "cover more than 1000 pixels" in opened(tmp_path, what).training_rule


@pytest.mark.parametrize("area", [0, 1, 80 * 60, "1600", None, "left out", float("nan"), -3, 0.25, 10**400, [1]])
def test_areas_that_cannot_be_are_measured(tmp_path, area):
    what = content([{**thing(1, box(0, 0, 40, 40)), "area": area},
                    {**thing(2, {"size": [60, 80], "counts": [0, 1600, 3200]}), "area": area}])
    if area == "left out":
        for one in what["annotations"]:
            del one["area"], one["iscrowd"]
    coco = opened(tmp_path, what, min_pixels=1599)
    assert kept(coco) == [1] and [one["area"] for one in coco.annotations(coco.splits["train"][0])] == [1600, 1600]


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["ignore", "last", "max"])
def test_objects_are_numbered_where_the_mask_counts(sample, overlap):
    coco = Coco(sample, categories=["cat", "dog"], overlap=overlap)
    for entry in coco.splits["train"][::9]:
        (numbers, areas), mask, things = coco.objects(entry), coco.mask(entry), coco.annotations(entry)
        assert np.array_equal(numbers > 0, (mask > 0) & (mask < 255))
        for k in np.unique(numbers[numbers > 0]):
            assert {*np.unique(mask[numbers == k])} == {coco.class_of["train"][things[k - 1]["category_id"]]}
            assert areas[k - 1] == things[k - 1]["area"] and not things[k - 1]["iscrowd"]


def test_objects_of_a_picture_with_hundreds_of_them(tmp_path):
    things = [thing(i, box(i % 40 * 2, i // 40 * 2, 2, 2), category=17 + i % 2) for i in range(300)]
    coco = opened(tmp_path, content(things))
    numbers, areas = coco.objects(coco.splits["train"][0])
    expected = np.arange(1, 321).reshape(8, 40).repeat(2, 0).repeat(2, 1)
    assert len(areas) == 300 and np.array_equal(numbers[:16], np.where(expected <= 300, expected, 0))


NAMELESS = {**content([]), "images": [{"id": 1}]}


@pytest.mark.parametrize(("broken", "message"), [
    (b"[1, 2]", "a list"), (b"", "character 0"), (b"{}", "no list 'images'"), (b"null", "one value"),
    (json.dumps({"images": [], "categories": []}), "no list 'annotations'"),
    (json.dumps(content([]))[:-30], "cut off"), (json.dumps(content([thing(1, box(0, 0, 9, 9))]))[:260], "cut off"),
    (json.dumps(NAMELESS), "pictures with id and file_name"),
    (json.dumps({**content([]), "images": [{"id": 1, "file_name": 5}]}), "pictures with id and file_name"),
    (json.dumps({**content([]), "images": [{"id": 1, "file_name": "\ud800"}]}), "pictures with id and file_name"),
    (json.dumps({**content([]), "images": 2 * content([])["images"]}), "two pictures with one id"),
    (json.dumps({**content([]), "categories": [{"name": "cat"}]}), "categories with id and name"),
    (json.dumps({**content([]), "categories": [{"id": 1, "name": 7}]}), "categories with id and name"),
    (json.dumps({**content([]), "categories": [{"id": 1, "name": "cat"}, {"id": "1", "name": "dog"}]}), "twice"),
    (json.dumps({**content([]), "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]}), "twice"),
    ("[" * 100_000, "not a COCO annotation"), ('{"images": ' + "[" * 100_000, "not a COCO annotation"),
    ('{"images": ' + "1" * 5000 + "}", "not a COCO annotation"), (b'{"images": ["\x81\xff"]}', "unknown encoding"),
    (json.dumps({"_via_settings": {}, "_via_img_metadata": {}}), "Export Annotations .COCO format"),
    (json.dumps({"a.jpg10": {"filename": "a.jpg", "regions": []}}), "Export Annotations .COCO format"),
])
def test_files_that_are_no_coco_annotation(tmp_path, broken, message):
    with pytest.raises(DataError, match=message):
        opened(tmp_path, broken)


FAR = [v for _ in range(200) for v in (999_998, 999_998, -999_998, 999_998, 999_998, -999_998)]


@pytest.mark.parametrize(("bad", "message"), [
    (thing(9, box(0, 0, 9, 9), image=77), "image_id is missing, or no"),
    (thing(9, box(0, 0, 9, 9), category=99), "category_id is missing, or no"),
    ({**thing(9, box(0, 0, 9, 9)), "category_id": None}, "category_id is missing"),
    ({**thing(9, box(0, 0, 9, 9)), "category_id": 10**30}, "category_id is missing"),
    ({**thing(9, box(0, 0, 9, 9)), "image_id": 1.5}, "image_id is missing"), ("text", "no segmentation"),
    (thing(9, [0, 0, 9, 9]), "fewer than 3 points"), (thing(9, [*box(0, 0, 9, 9), 4]), "half a point"),
    (thing(9, [0, 0, float("nan"), 9, 5, 5]), "no numbers"), (thing(9, [0, 0, None, 9, 5, 5]), "no numbers"),
    (thing(9, [0, 0, 1e12, 9, 5, 5]), "too far"), (thing(9, [0, 0, 1e400, 9, 5, 5]), "too far"),
    (thing(9, [0, 0, 10**400, 9, 5, 5]), "too far"), (thing(9, FAR), "more than a million"),
    (thing(9, {"size": [80, 60], "counts": [4800]}), "another size"),
    (thing(9, {"size": [10**30, 2], "counts": [1]}), "another size"),
    (thing(9, {"size": [10**6, 10**6], "counts": [10**12]}), "another size"),
    (thing(9, {"size": [60, 80], "counts": [4801]}), "do not fill"),
    (thing(9, {"size": [60, 80], "counts": [2**33, 4800 - 2**33]}), "do not fill"),
    (thing(9, {"size": [60, 80], "counts": [2**63 - 1, 2**63 - 1, 4802]}), "do not fill"),
    (thing(9, {"size": [60, 80], "counts": [2**64, 4800]}), "do not fill"),
    (thing(9, {"size": [60, 80], "counts": "00"}), "do not fill"),
    (thing(1, box(5, 5, 9, 9)), "occurs twice"), ({**thing(9, []), "segmentation": []}, "no segmentation"),
    ({"id": 9, "category_id": 17, "image_id": 1}, "no segmentation"),
    ({**thing(9, box(0, 0, 9, 9)), "iscrowd": 2}, "neither 0 nor 1"),
    ({**thing(9, box(0, 0, 9, 9)), "iscrowd": "no"}, "neither 0 nor 1"),
])
def test_annotations_that_cannot_be_used_are_faults_and_no_pixels(tmp_path, bad, message):
    good = thing(1, box(10, 10, 40, 40))
    coco = opened(tmp_path, content([good, bad]))
    (text, ids), = coco.faults.items()
    assert message in text and ids == [bad.get("id") if isinstance(bad, dict) else None]
    assert np.array_equal(first_mask(coco), first_mask(opened(tmp_path / "good", content([good]))))
    with pytest.raises(DataError, match='problems="skip"') as caught:
        Samples(coco, "all", progress=False)
    assert message in str(caught.value)


def test_problems_of_other_categories_do_not_matter(tmp_path):
    what = content([thing(1, box(0, 0, 40, 40)), thing(2, [0, 0, 9, 9], category=37)])
    assert not opened(tmp_path, what).faults and opened(tmp_path, what, None).faults


def test_objects_outside_of_their_picture_are_noted(tmp_path):
    coco = opened(tmp_path, content([thing(1, box(0, 0, 40, 40)), thing(2, box(100, 100, 9, 9))]))
    assert "1 objects lie outside" in coco.notes[0] and "annotations 2)" in coco.notes[0] and not coco.faults
    partly = opened(tmp_path, content([thing(1, box(60, 40, 5000, 5000))]))
    assert partly.notes == [] and (first_mask(partly)[40:, 60:] == 1).all()


@pytest.mark.parametrize("spelled", [str, float, "0000{}_d".format, lambda n: f"{n:05d}"])
def test_ids_as_text_floats_and_names(tmp_path, spelled):
    things = [thing(i, box(0, 0, 10 * i, 40), image=i, category=16 + i) for i in (1, 2)]
    what = content(things, images=2)
    write(tmp_path, what)
    for one in what["images"] + what["categories"]:
        one["id"] = spelled(one["id"])
    for one in things:
        one.update({key: spelled(one[key]) for key in ("id", "image_id", "category_id")}, iscrowd=False)
    write(tmp_path, what, pictures=False)
    coco = Coco(tmp_path, categories=["cat", "dog"])
    masks = [coco.mask(entry) for entry in coco.splits["train"]]
    assert not coco.faults and [int((mask == i).sum()) for i, mask in enumerate(masks, 1)] == [400, 800]
    wrong = {**thing(9, [0, 0, 9, 9]), **{key: things[0][key] for key in ("image_id", "category_id")}, "id": "x9"}
    write(tmp_path, {**what, "annotations": [*things, wrong]}, pictures=False)
    assert [*Coco(tmp_path).faults.values()] == [["x9"]]


@pytest.mark.parametrize("size", [{"height": -1, "width": -1}, {}, {"height": None, "width": 80},
                                  {"height": 10**6, "width": 10**6}, {"height": 10**30, "width": 2}])
def test_sizes_that_cannot_be_come_from_the_picture(tmp_path, size):
    what = content([thing(1, box(0, 0, 40, 40)), thing(2, {"size": [60, 80], "counts": [4000, 800]}, category=18)])
    write(tmp_path, what)
    for key in ("height", "width"):
        del what["images"][0][key]
    what["images"][0].update(size)
    write(tmp_path, what, pictures=False)
    coco = Coco(tmp_path)
    entry = coco.splits["train"][0]
    assert coco.size(entry) == (60, 80) and np.bincount(coco.mask(entry).ravel()).tolist() == [2400, 1600, 800]
    what["annotations"][1]["segmentation"] = {"size": [10, 10], "counts": [100]}
    write(tmp_path, what, pictures=False)
    with pytest.raises(DataError, match="annotation 2"):
        first_mask(Coco(tmp_path))


def test_outlines_without_their_outer_brackets(tmp_path):
    """As VIA exports them."""
    flat = {**thing(1, []), "segmentation": box(0, 0, 40, 40)}
    assert first_mask(opened(tmp_path, content([flat]))).sum() == 1600


@pytest.mark.parametrize(("name", "file"), [
    ("images\\1.jpg", "1.jpg"), (".\\1.jpg", "1.jpg"), ("./a/1.jpg", "a/1.jpg"), ("C:\\photos\\a\\1.jpg", "a/1.jpg"),
    ("/mnt/me/data/images/1.jpg", "1.jpg"), ("..\\..\\label-studio\\media\\upload\\4\\1.jpg", "1.jpg"),
    ("/data/local-files/?d=a%201.jpg", "a 1.jpg"), ("upload/4/%EA%B0%9C.jpg", "개.jpg"), ("a/1.JPG", "a/1.jpg"),
    (unicodedata.normalize("NFD", "사진 é.jpg"), unicodedata.normalize("NFC", "사진 é.jpg")),
    (unicodedata.normalize("NFC", "사진.jpg"), unicodedata.normalize("NFD", "사진.jpg")), ("ünter/猫 1.jpg",) * 2,
])
def test_names_from_other_machines(tmp_path, name, file):
    what = content([thing(1, box(0, 0, 40, 40))])
    images, path = write(tmp_path, what)
    (images / file).parent.mkdir(exist_ok=True)
    (images / "000000000001.jpg").rename(images / file)
    Image.new("RGB", (80, 60)).save(images / "other.jpg")
    what["images"][0]["file_name"] = name
    for escaped in (True, False):
        path.write_text(json.dumps(what, ensure_ascii=escaped), encoding="utf-8")
        coco = Coco(tmp_path)
        assert not coco.bad and coco.splits["train"][0].image.is_file()
        assert coco.splits["train"][0].name == unicodedata.normalize("NFC", file)[:-4]


def test_pictures_that_are_missing_or_not_sure_are_bad(tmp_path):
    what = content([thing(i, box(0, 0, 40, 40), image=i) for i in range(1, 6)], images=5)
    images, _ = write(tmp_path, what)
    for one, name in zip(what["images"], ["1.jpg", "x\\2.jpg", "a/3.jpg", "b/3.jpg", "a\0/../../etc/5.jpg"],
                         strict=True):
        one["file_name"] = name
    for name in ("a", "b"):
        (images / name).mkdir()
    for number, name in ((1, "1"), (2, "a/2"), (2, "b/2"), (3, "3"), (5, "5")):
        shutil.copy(images / f"{number:012d}.jpg", images / f"{name}.jpg")
    write(tmp_path, what, pictures=False)
    coco = Coco(tmp_path)
    found = [coco.bad.get(entry.image, "") for entry in coco.splits["train"]]
    assert found[0] == "" and "may be a/2.jpg or b/2.jpg" in found[1] and found[2] == found[3]
    assert "2 pictures of the annotation mean 3.jpg" in found[2]
    with pytest.raises(DataError, match="a/2.jpg or b/2.jpg"):
        Samples(coco, "all", progress=False)
    with pytest.warns(UserWarning, match="left out"):
        assert "1" in Samples(coco, "all", problems="skip", progress=False).names


def test_a_picture_of_another_size_is_named(tmp_path):
    images, _ = write(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    Image.new("RGB", (50, 50)).save(images / "000000000001.jpg")
    with pytest.raises(DataError, match="50×50"):
        Samples(Coco(tmp_path), "all", progress=False)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp949"])
def test_annotations_in_other_encodings(tmp_path, encoding):
    what = content([thing(1, box(0, 0, 40, 40))])
    what["categories"][0]["name"] = "고양이 사진"
    write(tmp_path, json.dumps(what, ensure_ascii=False).encode(encoding))
    assert Coco(tmp_path).label_set.classes[1] == "고양이 사진"


def test_unknown_names_suggest_the_nearest(tmp_path):
    for wrong, near in (("Cat", "'cat'"), ("sport ball", "'sports ball'")):
        with pytest.raises(ArgumentError, match=f"Did you mean {near}"):
            opened(tmp_path, content([]), [wrong])
    for categories in ([99], [17, 17], [], ["cat", 17], [-1]):
        with pytest.raises(ArgumentError, match="categor"):
            opened(tmp_path, content([]), categories)
    for option in ("crowd", "overlap"):
        with pytest.raises(ArgumentError, match=option):
            opened(tmp_path, content([]), **{option: "other"})
    with pytest.raises(ArgumentError, match="images"):
        opened(tmp_path, content([]), images="train2017")


def test_tables_are_made_once_and_belong_to_their_annotation(tmp_path, home, monkeypatch):
    _, path = write(tmp_path, content([thing(1, box(0, 0, 40, 40)), thing(2, [0, 0, 1, 1])]))
    before = {p: p.stat().st_mtime_ns for p in path.parent.parent.rglob("*") if home not in p.parents and p != home}
    place = CocoIndex.open(path).place
    assert place.parent == home / "cache"
    assert before == {p: p.stat().st_mtime_ns for p in before} and not list(path.parent.glob("*index*"))
    with monkeypatch.context() as context:
        context.setattr("seglab.datasets.coco.index._converted", None)
        CocoIndex.open(path)
        os.utime(path)  # touched, not changed
        CocoIndex.open(path)
    # Another annotation of the same size, with the times of the old one.
    stat, text = path.stat(), path.read_text()
    path.write_text(text.replace("40.0", "30.0").replace("40", "30"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size and first_mask(Coco(tmp_path)).sum() == 900
    # Tables of another annotation, half of them, damaged ones, and something else under their name.
    place = CocoIndex.open(path).place
    whole, foreign = place.read_bytes(), CocoIndex.open(write(tmp_path / "b", content([]))[1]).place.read_bytes()
    rng = np.random.default_rng(0)
    for wrong in (foreign, whole[:len(whole) // 2], whole[:5], b"text", *(
            bytes(rng.integers(0, 256, 64, np.uint8)).join((whole[:at], whole[at + 64:]))
            for at in range(1000, len(whole) - 64, 97))):
        place.write_bytes(wrong)
        try:
            assert first_mask(Coco(tmp_path)).sum() == 900
        except SeglabError:
            continue
    # Other shapes and types than ours, signed as ours are.
    rows = np.frombuffer(np.array([1, 2], np.int64))
    for names in (b"5", b"[[], []]", b'[[[1.5, "a", ""]], []]', b"[" * 5000, json.dumps([[[1, 2, 3]], [[]]]).encode()):
        tables = {"names": np.frombuffer(names, np.uint8), "rows": rows, "shapes": np.zeros((2, 2), np.float32)}
        save_file(tables, place, _made_of(CocoIndex.open(path).digest, tables["names"], tables["rows"]))
        assert first_mask(Coco(tmp_path)).sum() == 900
    place.unlink()
    assert first_mask(Coco(tmp_path)).sum() == 900


def test_other_processes_map_the_tables(tmp_path):
    coco = opened(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    frozen = pickle.dumps(coco)
    assert len(frozen) < 5000 and first_mask(pickle.loads(frozen)).sum() == 1600
    coco.indexes["train"].place.write_bytes(b"")
    with pytest.raises(CacheError, match="gone, or damaged"):
        pickle.loads(frozen)


@pytest.mark.slow
def test_workers_read_the_same(sample):
    part = Samples(Coco(sample, categories=["cat", "dog"]), "test", cache=False).subset(range(6))
    pairs = [[(i.clone(), m.clone()) for i, m in DataLoader(part, 2, collate_fn=collate, num_workers=workers,
                                                            multiprocessing_context=prepared() if workers else None)]
             for workers in (0, 1)]
    for (image, mask), (other_image, other_mask) in zip(*pairs, strict=True):
        assert torch.equal(image, other_image) and torch.equal(mask, other_mask)


@pytest.mark.parametrize(("annotation", "pictures", "split"), [
    ("annotations/instances_train2014.json", "train2014", "train"), ("annotations/train.json", "images", "train"),
    ("annotations/instances_train.json", "images/train", "train"), ("annotations/instances_Val.json", "Val", "val"),
    ("annotations/instances_validation.json", "images/validation", "val"),
    ("train/_annotations.coco.json", "train", "train"), ("valid/_annotations.coco.json", "valid", "val"),
    ("Test/_annotations.coco.json", "Test", "test"), ("annotations/instances_default.json", "images", "all"),
    ("annotations/instances_default.json", "images/default", "all"), ("annotations.json", "images", "all"),
    ("result.json", "images", "all"), ("_annotations.coco.json", ".", "all"), ("my/list.json", "some/where", "all")])
def test_layouts(tmp_path, annotation, pictures, split):
    images, path = write(tmp_path / "a", content([thing(1, box(0, 0, 40, 40))]))
    root = tmp_path / "b" / "deeper"
    for source, target in {path: annotation, images / "000000000001.jpg": f"{pictures}/000000000001.jpg"}.items():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        source.rename(root / target)
    if annotation.startswith("my"):
        assert Coco.find(tmp_path / "b") is None
        coco = Coco(root, annotations=annotation, images=pictures)
    else:
        assert Coco.find(tmp_path / "b") == root
        coco = Coco(root)
    assert [*coco.splits] == [split] and not coco.bad and first_mask(coco).sum() == 1600


def test_a_split_without_its_pictures_is_none_if_others_have_theirs(tmp_path):
    images, path = write(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    shutil.copy(path, path.with_name("instances_val2017.json"))
    assert [*Coco(tmp_path).splits] == ["train"]
    shutil.rmtree(images)
    coco = Coco(tmp_path)
    assert [*coco.splits] == ["train", "val"] and coco.bad


def test_pictures_of_a_split_without_their_annotation_are_an_error(tmp_path):
    images, path = write(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    shutil.copytree(images, tmp_path / "test2017")
    coco = Coco(tmp_path)  # COCO publishes no annotation of these
    assert [*coco.splits] == ["train"] and "no instances_test2017.json" in coco.notes[0]
    shutil.copytree(images, tmp_path / "val2017")
    with pytest.raises(DataError, match=r"instances_val2017.json: annotation of the pictures in val2017(.|\n)*Put it"):
        Coco(tmp_path)
    assert Coco(tmp_path, annotations=path, images=images).splits.keys() == {"all"}
    shutil.copy(path, images / "_annotations.coco.json")
    images.rename(tmp_path / "train")
    (tmp_path / "val2017").rename(tmp_path / "valid")
    with pytest.raises(DataError, match=r"valid/_annotations.coco.json"):
        Coco(tmp_path)


def test_names_do_not_leave_the_folder(tmp_path):
    names = ["../secret.jpg", str(tmp_path / "secret.jpg"), "../secret.jpg?d=x.jpg", "a/../../secret.jpg",
             "C:\\secret.jpg", "a\0.jpg", 300 * "x", "link/inside.jpg"]
    what = content([], images=len(names))
    images, _ = write(tmp_path, what)
    for one, name in zip(what["images"], names, strict=True):
        one["file_name"] = name
    write(tmp_path, what, pictures=False)
    (tmp_path / "elsewhere").mkdir()
    (images / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "secret.jpg", tmp_path / "secret.jpg?d=x.jpg", tmp_path / "elsewhere" / "inside.jpg"):
        shutil.copy(images / "000000000001.jpg", path)
    coco = Coco(tmp_path)
    assert [bool(coco.bad.get(entry.image)) for entry in coco.splits["train"]] == [True] * 7 + [False]


def test_names_in_other_bytes_than_utf_8(tmp_path):
    images, _ = write(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    try:
        (images / "000000000001.jpg").rename(os.fsdecode(os.fsencode(images) + b"/caf\xe9.jpg"))
    except OSError:
        pytest.skip("a file system of Unicode names")
    coco = Coco(tmp_path)
    assert "no file" in coco.bad[coco.splits["train"][0].image]


def test_outlines_of_a_picture_are_as_many_as_it_has_room_for(tmp_path):
    """Each is short enough, and a thousand of them would take minutes."""
    coco = opened(tmp_path, content([thing(i, [-150_000, -150_000, 150_000, 0, 0, 150_000]) for i in range(1000)]))
    assert not coco.faults
    with pytest.raises(DataError, match=r"annotation \d+\n.*far longer than any on so few pixels"):
        first_mask(coco)


def test_what_comes_in_one_annotation_is_split_by_name(tmp_path):
    write(tmp_path, content([thing(i, box(0, 0, 40, 40), image=i) for i in range(1, 11)], images=10))
    (tmp_path / "annotations" / "instances_train2017.json").rename(tmp_path / "annotations.json")
    (tmp_path / "train2017").rename(tmp_path / "images")
    splits = open_dataset(tmp_path, categories=["cat"], progress=False)
    names = [splits[split].names for split in ("train", "val", "test")]
    assert [len(those) for those in names] == [7, 1, 2] and len({*names[0], *names[1], *names[2]}) == 10


def test_a_folder_without_coco_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"instances_train2017\.json"):
        Coco(tmp_path)
    assert Coco.find(tmp_path) is None


def test_no_other_error_reaches_the_user_from_random_damage(tmp_path):
    """A hundred annotations with a byte changed: each opens, or stops with a message."""
    things = [thing(1, box(10, 10, 40, 40)), thing(2, {"size": [60, 80], "counts": [100, 200, 4500]}, category=18)]
    text = json.dumps(content(things)).encode()
    _, path = write(tmp_path, content(things))
    rng = np.random.default_rng(0)
    stopped = 0
    for _ in range(100):
        damaged = bytearray(text)
        damaged[rng.integers(len(text))] = rng.integers(32, 127)
        path.write_bytes(bytes(damaged))
        try:
            coco = Coco(tmp_path, categories=["cat", "dog"])
            stopped += bool(coco.faults or coco.bad)
            assert first_mask(coco).max() <= 255
        except SeglabError:
            stopped += 1
    assert 20 < stopped < 100
