from __future__ import annotations

import json
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

from seglab.datasets import CocoSegmentation, Splits, load
from seglab.datasets.coco.index import CocoIndex
from seglab.datasets.coco.masks import to_rle
from seglab.datasets.transforms import collate
from seglab.errors import ArgumentError, DataError, SeglabError
from seglab.samples import write_coco_sample
from seglab.samples.coco import draw_scene
from tests.datasets.coco.files import box, content, thing, write
from tests.processes import prepared


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> Splits:
    """The drawn sample, a smaller one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGLAB_HOME", str(tmp_path_factory.mktemp("home")))
        root = write_coco_sample(tmp_path_factory.mktemp("coco") / "sample", count=(80, 24), progress=False)
        return load("coco", root=root, progress=False)


def opened(root: Path, what, categories=("cat", "dog"), **options) -> CocoSegmentation:
    images, path = write(root, what)
    return CocoSegmentation(images, path, categories, progress=False, **options)


@pytest.mark.slow
def test_the_sample_is_read_as_it_was_drawn(splits):
    assert splits.label_set.classes == ("background", "cat", "dog")
    data = splits.train
    kinds = {type(one["segmentation"]).__name__ + str(one["iscrowd"]) for i in range(len(data))
             for one in data.annotations(i)}
    assert kinds == {"list0", "dict0", "dict1"}  # polygons, run lengths, crowds
    ids = set()
    for i in range(len(data)):
        image, mask = data[i]
        assert image.shape[1:] == mask.shape == data.picture_size(i) and image.dtype == mask.dtype == torch.uint8
        ids |= set(mask.unique().tolist())
    assert ids == {0, 1, 2, 255}
    assert not {*splits.train.ids} & {*splits.val.ids} and not {*splits.train.ids} & {*splits.test.ids}


def test_categories_become_dense_ids_in_the_order_given(tmp_path):
    things = [thing(1, box(0, 0, 20, 50), category=17), thing(2, box(30, 0, 20, 50), category=37),
              thing(3, box(60, 0, 20, 50), category=18)]
    for categories, row in (([17, 18], [1, 0, 2]), (["dog", 17], [2, 0, 1]), ([0, 18], [0, 0, 1]), ("cat", [1, 0, 0]),
                            (None, [1, 3, 2]), (["background", "sports ball"], [0, 1, 0])):
        data = opened(tmp_path, content(things), categories)
        assert data.mask(0)[10, [5, 35, 65]].tolist() == row
        assert data[0][1][10, [5, 35, 65]].tolist() == row


def test_ids_are_those_that_torchvisions_reference_keeps(tmp_path):
    things = [thing(1, box(0, 0, 9, 9), area=600, image=2), thing(2, box(9, 9, 9, 9), area=401, image=2),
              thing(3, box(0, 0, 9, 9), area=1000, image=3), thing(4, box(0, 0, 9, 9), area=9000, category=37, image=4),
              thing(5, {"size": [60, 80], "counts": [0, 4800]}, area=4800, crowd=1, image=1)]
    what = content(things, images=5)
    what["images"].reverse()
    assert opened(tmp_path, what).ids == [2]
    assert opened(tmp_path, what, crowd="fill").ids == [1, 2]
    assert opened(tmp_path, what, min_pixels=0).ids == [2, 3]
    assert opened(tmp_path, what, drop_empty=False).ids == [1, 2, 3, 4, 5]
    with pytest.raises(DataError, match="none left"):
        opened(tmp_path, what, min_pixels=1e6)


def test_resizing_never_mixes_classes(tmp_path):
    """The class of a pixel of the small mask is the class of one pixel of the large one, at the same place."""
    things = [thing(i + 1, box(7 * i, 0, 7, 60), category=(17, 18, 37)[i % 3]) for i in range(11)]
    large = opened(tmp_path, content(things), None).mask(0)
    image, small = opened(tmp_path, content(things), None, fit=(23, 31)).read(0)
    assert image.shape == (23, 31, 3) and small.shape == (23, 31)
    rows, columns = ((np.arange(n) + 0.5) * full // n for n, full in ((23, 60), (31, 80)))
    assert np.array_equal(small, large[rows.astype(int)][:, columns.astype(int)])
    assert {*np.unique(small)} <= {*np.unique(large)}


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["ignore", "last", "max"])
def test_objects_are_numbered_where_the_mask_counts(splits, overlap):
    root = splits.train.images.parent
    data = CocoSegmentation.from_root(root, "train", ["cat", "dog"], overlap=overlap, progress=False)
    for i in range(0, len(data), 9):
        numbers, areas = data.objects(i)
        mask, things = data.mask(i), data.annotations(i)
        assert np.array_equal(numbers > 0, (mask > 0) & (mask < 255))
        for k in np.unique(numbers[numbers > 0]):
            assert {*np.unique(mask[numbers == k])} == {data.class_of[things[k - 1]["category_id"]]}
            assert areas[k - 1] == things[k - 1]["area"] and not things[k - 1]["iscrowd"]


@pytest.mark.parametrize(("broken", "message"), [
    (b"[1, 2]", "a list"), (b"", "byte 0"), (b"{}", "no list 'images'"), (b"null", "JSON"),
    (json.dumps({"images": [], "categories": []}), "no list 'annotations'"),
    (json.dumps(content([]))[:-30], "cut off"), (json.dumps(content([thing(1, box(0, 0, 9, 9))]))[:260], "cut off"),
    (json.dumps({**content([]), "images": [{"id": 1}]}), "pictures with id, file_name, height and width"),
    (json.dumps({**content([]), "images": [{"id": 1, "file_name": "a", "height": 10**30, "width": 9}]}), "height"),
    (json.dumps({**content([]), "images": 2 * content([])["images"]}), "two pictures with one id"),
    (json.dumps({**content([]), "categories": [{"name": "cat"}]}), "categories with id and name"),
    (json.dumps({**content([]), "categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]}), "twice"),
    ("[" * 100_000, "not a COCO annotation"), ('{"images": ' + "[" * 100_000, "not a COCO annotation"),
])
def test_files_that_are_no_coco_annotation(tmp_path, broken, message):
    with pytest.raises(DataError, match=message):
        opened(tmp_path, broken)


@pytest.mark.parametrize(("bad", "message"), [
    (thing(9, box(0, 0, 9, 9), image=77), "image_id is no picture's"),
    (thing(9, box(0, 0, 9, 9), category=99), "category_id is no category's"),
    (thing(9, [0, 0, 9, 9]), "fewer than 3 points"), (thing(9, [*box(0, 0, 9, 9), 4]), "half a point"),
    (thing(9, [0, 0, float("nan"), 9, 5, 5]), "no numbers"), (thing(9, [0, 0, None, 9, 5, 5]), "no numbers"),
    (thing(9, [0, 0, 1e12, 9, 5, 5]), "beyond a million"), (thing(9, [0, 0, 1e400, 9, 5, 5]), "beyond a million"),
    (thing(9, {"size": [80, 60], "counts": [4800]}), "another size"),
    (thing(9, {"size": [60, 80], "counts": [4801]}), "do not fill"),
    (thing(9, {"size": [60, 80], "counts": "00"}), "do not fill"),
    (thing(1, box(5, 5, 9, 9)), "occurs twice"), ({**thing(9, []), "segmentation": []}, "no shape"),
    ({"id": 9, "category_id": 17, "image_id": 1}, "no shape"), ("text", "lacks id"),
    ({**thing(9, box(0, 0, 9, 9)), "image_id": "1"}, "lacks id"),
    ({**thing(9, box(0, 0, 9, 9)), "category_id": 10**30}, "lacks id"),
    (thing(9, [0, 0, 10**400, 9, 5, 5]), "beyond a million"),
    (thing(9, {"size": [10**30, 2], "counts": [1]}), "another"),
])
def test_annotations_that_cannot_be_used_stop_or_are_left_out(tmp_path, bad, message):
    good = thing(1, box(10, 10, 40, 40))
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, content([good, bad]))
    assert 'problems="skip"' in str(caught.value)
    with pytest.warns(UserWarning, match=message):
        data = opened(tmp_path, content([good, bad]), problems="skip")
    (text, ids), = data.problems_found.items()
    assert message in text and ids == [bad.get("id", -1) if isinstance(bad, dict) else -1]
    assert np.array_equal(data.mask(0), opened(tmp_path / "good", content([good])).mask(0))


def test_problems_of_other_categories_do_not_matter(tmp_path):
    data = opened(tmp_path, content([thing(1, box(0, 0, 40, 40)), thing(2, [0, 0, 9, 9], category=37)]))
    assert data.problems_found == {}


def test_objects_without_pixels_are_listed(tmp_path):
    things = [thing(1, box(0, 0, 40, 40)), thing(2, box(100, 100, 9, 9)), thing(3, [5, 5, 9, 5, 12, 5]),
              thing(4, box(20, 20, 9, 9), area=0)]
    with pytest.warns(UserWarning, match=r"1 objects lie outside.*2"):
        data = opened(tmp_path, content(things))
    assert data.problems_found == {"it lies outside of the picture": [2], "it has no area": [3, 4]}
    partly = opened(tmp_path, content([thing(1, box(60, 40, 50, 50))]))
    assert partly.problems_found == {} and (partly.mask(0)[40:, 60:] == 1).all()


def test_areas_that_are_missing_are_measured(tmp_path):
    bare = thing(1, box(0, 0, 40, 40))
    del bare["area"], bare["iscrowd"]
    assert opened(tmp_path, content([bare]), min_pixels=1599).index.area.tolist() == [1600]


def test_pictures_without_a_file_stop_or_are_left_out(tmp_path):
    what = content([thing(i, box(0, 0, 40, 40), image=i) for i in (1, 2, 3)], images=3)
    images, path = write(tmp_path, what)
    (images / "000000000002.jpg").unlink()
    with pytest.raises(DataError, match=r"1: of 3 named in instances_train2017.json \(000000000002.jpg\)"):
        CocoSegmentation(images, path, ["cat"], progress=False)
    with pytest.warns(UserWarning, match="000000000002.jpg"):
        assert CocoSegmentation(images, path, ["cat"], problems="skip", progress=False).ids == [1, 3]


def test_masks_can_be_had_without_pictures(tmp_path):
    images, path = write(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    data = CocoSegmentation(None, path, ["cat"], progress=False)
    assert np.array_equal(data.mask(0), CocoSegmentation(images, path, ["cat"], progress=False).mask(0))
    with pytest.raises(ArgumentError, match="folder of the pictures"):
        data[0]


def test_a_picture_of_another_size_is_named(tmp_path):
    images, path = write(tmp_path, content([thing(1, box(0, 0, 40, 40))], size=(60, 80)))
    write(tmp_path / "other", content([], size=(80, 60)))
    os.replace(tmp_path / "other" / "train2017" / "000000000001.jpg", images / "000000000001.jpg")
    with pytest.raises(DataError, match="60×80"):
        CocoSegmentation(images, path, ["cat"], progress=False)[0]


def test_names_in_other_alphabets_and_subfolders(tmp_path):
    what = content([thing(1, box(0, 0, 40, 40))])
    what["categories"][0]["name"] = "кошка"
    what["images"][0]["file_name"] = "ünter/猫 1.jpg"
    for escaped in (True, False):
        images, path = write(tmp_path, json.dumps(what, ensure_ascii=escaped), pictures=False)
        (images / "ünter").mkdir(exist_ok=True)
        write(tmp_path / "one", content([]))[0].joinpath("000000000001.jpg").replace(images / "ünter" / "猫 1.jpg")
        data = CocoSegmentation(images, path, ["кошка"], progress=False)
        assert data.names == ["猫 1"] and data[0][0].shape == (3, 60, 80)


def test_unknown_names_suggest_the_nearest(tmp_path):
    for wrong, near in (("Cat", "'cat'"), ("sport ball", "'sports ball'")):
        with pytest.raises(ArgumentError, match=f"Did you mean {near}"):
            opened(tmp_path, content([]), [wrong])
    for wrong in ([99], [17, 17], [], ["cat", 17], [-1]):
        with pytest.raises(ArgumentError, match="categor"):
            opened(tmp_path, content([]), wrong)
    for option in ("crowd", "overlap", "problems"):
        with pytest.raises(ArgumentError, match=option):
            opened(tmp_path, content([]), **{option: "other"})


def test_the_index_is_made_once_and_belongs_to_its_annotation(tmp_path, monkeypatch):
    images, path = write(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    first = CocoIndex.open(path, progress=False)
    assert first.place == path.with_name("instances_train2017.json.seglab-index")

    def fail(*_):
        raise AssertionError("built again")

    with monkeypatch.context() as context:
        context.setattr("seglab.datasets.coco.index._build", fail)
        CocoIndex.open(path, progress=False)
        os.utime(path)  # touched, not changed
        CocoIndex.open(path, progress=False)
    # Another annotation of the same size, with the times of the old one.
    stat, text = path.stat(), path.read_text()
    path.write_text(text.replace("40.0", "30.0").replace("40", "30"))
    assert path.stat().st_size == stat.st_size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    data = CocoSegmentation(images, path, ["cat"], min_pixels=0, progress=False)
    assert data.mask(0).sum() == 900
    # The index of another file, half an index, and something else under its name.
    whole = data.index.place.read_bytes()
    other = write(tmp_path / "other", content([thing(1, box(0, 0, 10, 10))]))[1]
    foreign = CocoIndex.open(other, progress=False).place.read_bytes()
    for wrong in (foreign, whole[:len(whole) // 2], whole[:5], b"text"):
        data.index.place.write_bytes(wrong)
        assert CocoSegmentation(images, path, ["cat"], min_pixels=0, progress=False).mask(0).sum() == 900


def test_the_index_of_a_folder_that_is_read_only_lies_in_the_cache(tmp_path, home):
    images, path = write(tmp_path / "data", content([thing(1, box(0, 0, 40, 40))]))
    path.parent.chmod(0o555)
    try:
        for _ in range(2):
            data = CocoSegmentation(images, path, ["cat"], progress=False)
            assert data.index.place.parent == home / "cache" and not list(path.parent.glob("*.seglab-index"))
    finally:
        path.parent.chmod(0o755)


@pytest.mark.slow
def test_workers_read_the_same_and_are_sent_little(splits):
    data = splits.test
    assert len(pickle.dumps(data)) < 10_000
    part = data.subset(range(6))
    pairs = [[(i.clone(), m.clone()) for i, m in DataLoader(part, 2, collate_fn=collate, num_workers=workers,
                                                            multiprocessing_context=prepared() if workers else None)]
             for workers in (0, 1)]
    for (image, mask), (other_image, other_mask) in zip(*pairs, strict=True):
        assert torch.equal(image, other_image) and torch.equal(mask, other_mask)


def test_an_annotation_that_changes_while_it_is_open_is_noticed(tmp_path):
    images, path = write(tmp_path, content([thing(1, box(0, 0, 40, 40))]))
    frozen = pickle.dumps(CocoSegmentation(images, path, ["cat"], progress=False))
    path.write_text(path.read_text() + " ")
    with pytest.raises(DataError, match="changed"):
        pickle.loads(frozen)


@pytest.mark.parametrize(("annotation", "pictures"), [
    ("annotations/instances_train2014.json", "train2014"), ("annotations/instances_train.json", "images/train"),
    ("train/_annotations.coco.json", "train")])
def test_other_layouts(tmp_path, annotation, pictures):
    images, path = write(tmp_path / "a", content([thing(1, box(0, 0, 40, 40))]))
    moves = {path: annotation, images / "000000000001.jpg": f"{pictures}/000000000001.jpg"}
    for source, target in ((source, tmp_path / target) for source, target in moves.items()):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    assert len(CocoSegmentation.from_root(tmp_path, "train", [17])) == 1
    with pytest.raises(DataError, match="val2017"):
        CocoSegmentation.from_root(tmp_path, "val", [17])


@pytest.mark.parametrize(("annotation", "pictures"), [
    ("annotations/instances_default.json", "images"), ("annotations/instances_default.json", "images/default"),
    ("annotations.json", "images"), ("_annotations.coco.json", "."),
    ("annotations/instances_train2017.json", "train2017")])
def test_what_comes_in_one_annotation_is_split_by_name(tmp_path, annotation, pictures):
    things = [thing(i, box(0, 0, 40, 40), image=i) for i in range(1, 11)]
    images, path = write(tmp_path / "a", content(things, images=10))
    root = tmp_path / "b"
    for source, target in ((path, root / annotation), *((one, root / pictures / one.name) for one in images.iterdir())):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    splits = load("coco", root=root, categories=["cat"], progress=False)
    ids = [splits.train.ids, splits.val.ids, splits.test.ids]
    assert [len(one) for one in ids] == [7, 1, 2] and {*ids[0], *ids[1], *ids[2]} == {*range(1, 11)}
    assert ids == [getattr(load("coco", root=root, categories=["cat"], progress=False), s).ids
                   for s in ("train", "val", "test")]


def test_a_folder_without_coco_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="instances_train2017.json"):
        load("coco", root=tmp_path, progress=False)


def test_no_other_error_reaches_the_user_from_random_damage(tmp_path):
    """A hundred annotations with a byte changed: each opens, or stops with a message."""
    things = [thing(1, box(10, 10, 40, 40)), thing(2, {"size": [60, 80], "counts": [100, 200, 4500]}, category=18)]
    text = json.dumps(content(things)).encode()
    images, path = write(tmp_path, content(things))
    rng = np.random.default_rng(0)
    stopped = 0
    for _ in range(100):
        damaged = bytearray(text)
        damaged[rng.integers(len(text))] = rng.integers(32, 127)
        path.write_bytes(bytes(damaged))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = CocoSegmentation(images, path, ["cat", "dog"], min_pixels=0, progress=False)
                assert data.mask(0).max() <= 255
        except SeglabError:
            stopped += 1
    assert 20 < stopped < 100


@pytest.mark.slow
def test_masks_of_the_sample_are_the_shapes_that_were_drawn(splits):
    data = splits.test
    for place in range(0, 20, 3):
        _, drawn = draw_scene(data.ids[place] - 1)
        shapes = [shape for category, shape, crowd in drawn if category in data.class_of and shape.sum() >= 12]
        for shape, one in zip(shapes, data.annotations(place), strict=True):
            found = coco_mask.decode(to_rle(one["segmentation"], *shape.shape))
            assert (found & shape).sum() / (found | shape).sum() > 0.9
