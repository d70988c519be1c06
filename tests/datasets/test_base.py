"""What `Samples` does for every layout: splits, names, policies, subsets; and what a stranger's reader needs."""

from __future__ import annotations

import copy
import pickle
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from seglab.datasets import CamVid, CatDog, Drone, Entry, Folder, Pets, Reader, Samples, open_dataset
from seglab.datasets.sources import doubts
from seglab.datasets.splits import complete_splits, split_places
from seglab.errors import ArgumentError, DataError
from seglab.labels import LabelSet
from tests.conftest import COLOURS, write_pair

# Real datasets of few pictures lack classes here and there, which test_sources.py is about.
pytestmark = pytest.mark.filterwarnings("ignore:.* classes never occur in")

NAMES = [f"{i:03d}" for i in range(10)]
#: Written down, so that a change of the rule on any machine shows.
TEST_OF_TEN = ["000", "002"]


class Grey(Reader):
    """One grey picture a file, whose mask says whether it is bright; nobody registers it."""

    def __init__(self, root: Path, splits: dict[str, list[str]]) -> None:
        self.root, self.label_set = root, LabelSet("light", ("dark", "bright"), ((0, 0, 0), (255, 255, 255)))
        self.training_rule = "have names without an x"
        self.splits = {split: [Entry(name, root / split / f"{name}.png", root) for name in names]
                       for split, names in splits.items()}
        for entry in (entry for entries in self.splits.values() for entry in entries):
            entry.image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 4), (25 * ord(entry.name[-1]) % 256,) * 3).save(entry.image)

    def size(self, entry):
        return 4, 6

    def mask(self, entry):
        return (np.asarray(Image.open(entry.image).convert("L")) > 127).astype(np.uint8)

    def for_training(self, entry):
        return "x" not in entry.name

    def fault(self, entry, mask):
        return "nothing to see" if entry.name.startswith("z") else None


def opened(reader: Reader, split: str = "train", **options) -> Samples:
    return Samples(reader, split, **{"progress": False, **options})


def folder(root: Path, names=NAMES, sub: str = "") -> Path:
    for i, name in enumerate(names):
        write_pair(root / sub, name, Image.new("RGB", (6, 4), (i, 100, 50)), np.full((4, 6), i % 3, np.uint8))
    (root / "class_dict.csv").write_text("name,r,g,b\nred,255,0,0\ngreen,0,255,0\nblue,0,0,255\n")
    return root


# ------------------------------------------------------------------------------------------------------------ splits

@pytest.mark.parametrize(("there", "wanted"), [
    ({"all": 10}, {"train": 7, "val": 1, "test": 2}), ({"train": 10}, {"train": 7, "val": 1, "test": 2}),
    ({"train": 20, "val": 3}, {"train": 18, "val": 2, "test": 3}),
    ({"train": 20, "test": 3}, {"train": 18, "val": 2, "test": 3}),
    ({"train": 5, "val": 4, "test": 3}, {"train": 5, "val": 4, "test": 3}),
    ({"val": 4, "test": 3}, {"val": 4, "test": 3}), ({"val": 4}, {"test": 4}), ({"test": 4}, {"test": 4}),
    ({"train": 1, "test": 3}, {"train": 1, "test": 3}), ({"all": 2}, {}), ({"train": 2}, {}), ({}, {})])
@pytest.mark.parametrize("consecutive", [False, True])
def test_splits_are_completed_disjoint_and_lose_nothing(there, wanted, consecutive):
    on_disk = {split: [Entry(f"{split}{i}", Path(f"{split}{i}.png"), None) for i in range(count)]
               for split, count in there.items()}
    splits = complete_splits(on_disk, consecutive)
    everything = splits.pop("all")
    assert {split: len(entries) for split, entries in splits.items()} == wanted
    names = [entry.name for entries in splits.values() for entry in entries]
    assert len(names) == len({*names}) and (not wanted or sorted(names) == sorted(e.name for e in everything))
    assert len(everything) == sum(there.values())
    if consecutive and there == {"train": 20, "val": 3}:
        assert [entry.name for entry in splits["val"]] == ["train18", "train19"]


def test_val_of_frames_that_follow_each_other_is_runs_from_the_whole_drive():
    frames = [Entry(f"{i:03}", Path(f"{i}.png"), None) for i in range(367)]
    splits = complete_splits({"train": frames, "test": [Entry("x", Path("x.png"), None)]}, consecutive=True)
    places = np.array([int(entry.name) for entry in splits["val"]])
    assert (len(splits["train"]), len(places)) == (332, 35)
    assert (np.diff(places) > 1).sum() == 4 and places.min() < 367 / 5 and places.max() == 366


def test_labels_are_split_class_by_class():
    entries = [Entry(f"{i}", Path(f"{i}.png"), int(i >= 30)) for i in range(50)]
    splits = complete_splits({"all": entries})
    assert {split: [sum(e.target == label for e in part) for label in (0, 1)] for split, part in splits.items()} == {
        "train": [21, 14], "val": [3, 2], "test": [6, 4], "all": [30, 20]}
    few = complete_splits({"train": entries[:32], "test": entries[40:]})
    assert {split: len(part) for split, part in few.items()} == {"train": 32, "test": 10, "all": 42}
    assert set(complete_splits({"all": entries[:32]})) == {"all"}


def test_the_split_by_names_is_the_same_everywhere():
    assert [NAMES[place] for place in split_places(NAMES, "test")] == TEST_OF_TEN
    assert sorted(NAMES[::-1][place] for place in split_places(NAMES[::-1], "test")) == TEST_OF_TEN


def test_splits_of_the_drone_are_disjoint_and_complete(drone_root):
    splits = {split: opened(Drone(drone_root), split).names for split in ("train", "val", "test", "all")}
    assert [len(splits[s]) for s in ("train", "val", "test")] == [9, 1, 2]
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == splits["all"]


@pytest.mark.parametrize(("folders", "wanted"), [
    (("Train", "valid"), "18 train, 2 val, 20 test"),
    (("TRAINING", "Validation", "testing"), "20 train, 20 val, 20 test"),
    (("test",), "20 test"), (("validation",), "20 test"), (("train",), "14 train, 2 val, 4 test")])
def test_whatever_the_folders_of_the_splits_are_called(tmp_path, folders, wanted):
    for sub in folders:
        folder(tmp_path / "d", [f"{i}" for i in range(20)], sub)
    splits = open_dataset(tmp_path / "d", progress=False)
    assert str(splits) == f"d (real): {wanted} pictures, 3 classes"
    if "train" not in splits.parts:
        with pytest.raises(DataError, match="(?s)split 'train'.*test alone"):
            len(splits.train)
    with pytest.raises(ArgumentError, match="'dev'"):
        splits["dev"]


def test_a_split_that_is_not_there(tmp_path):
    data = folder(tmp_path, NAMES, "test")
    with pytest.raises(DataError, match="(?s)split 'train'.*10 of 'test'"):
        opened(Folder(data), "train")
    with pytest.raises(ArgumentError, match="'dev'"):
        opened(Folder(data), "dev")
    with pytest.raises(DataError, match="(?s)2 of 'all'.*at least 3"):
        open_dataset(folder(tmp_path / "two", NAMES[:2]), progress=False)


def test_names_that_repeat_in_train_and_test_are_two_pictures(tmp_path):
    """Numbers that begin anew in each split: pixels, and what is bad, are not taken from the other one."""
    data = opened(Grey(tmp_path, {"train": ["1", "2", "3"], "test": ["1", "2"]}), "all")
    Image.new("RGB", (6, 4), (200, 0, 0)).save(tmp_path / "test" / "2.png")
    again = opened(data.reader, "all")
    for one in (again, again.subset(range(5))):
        place = next(i for i, entry in enumerate(one.entries) if entry.image == tmp_path / "test" / "2.png")
        assert [image[0, 0, 0].item() == 200 for image, _ in one] == [i == place for i in range(5)]
    root = tmp_path / "folder"
    for sub in ("train", "val", "test"):
        folder(root, "1234", sub)
    (root / "train" / "masks" / "2.png").unlink()
    (root / "test" / "masks" / "3.png").unlink()
    with pytest.warns(UserWarning, match="1 pictures of .* left out: (2|3)$"):
        parts = {split: opened(Folder(root), split, problems="skip").names for split in ("train", "test")}
    assert parts == {"train": ["1", "3", "4"], "test": ["1", "2", "4"]}


# ----------------------------------------------------------------------------------------------------------- samples

def test_items_are_uint8_tv_tensors(drone_train):
    image, mask = drone_train[0]
    assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)
    assert image.shape == (3, 48, 72) and mask.shape == (48, 72)
    assert image.dtype == mask.dtype == torch.uint8
    image, mask = drone_train.read(0)
    assert image.shape == (48, 72, 3) and mask.shape == (48, 72) and image.dtype == mask.dtype == np.uint8


@pytest.mark.parametrize("cache", [True, False])
def test_subsets_transforms_and_pickles(tmp_path, cache):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (4, 20, 30), dtype=np.uint8)
    for i, mask in enumerate(masks):
        write_pair(tmp_path, f"{i}", Image.fromarray(np.repeat(mask[..., None] * 80, 3, axis=2)), mask)
    data = opened(Folder(tmp_path, label_set=COLOURS), "all", cache=cache,
                  transforms=v2.Compose([v2.RandomHorizontalFlip(1.0), v2.RandomCrop((10, 10))]))
    image, mask = data[0]
    assert torch.equal(image[0], mask * 80) and mask.shape == (10, 10)
    flipped = data.with_transforms(v2.RandomHorizontalFlip(1.0))
    assert np.array_equal(flipped[0][1], masks[0][:, ::-1]) and data[0][1].shape == (10, 10)
    part = flipped.subset(iter([3, 1])).subset([1, 0, 1])
    assert part.names == ["1", "3", "1"] and len(part) == 3 and len(data) == len(flipped) == 4
    copied = copy.copy(data)
    copied.transforms = None
    assert copied.names == data.names and copied.report() == data.report() and data[0][1].shape == (10, 10)
    for one in (part, pickle.loads(pickle.dumps(part))):
        assert all(np.array_equal(mask, masks[i][:, ::-1]) for (_, mask), i in zip(one, (1, 3, 1), strict=True))
        assert len(one) == 3 and one.picture_size(0) == (20, 30) and one.label_set == data.label_set
    assert len(data.subset([])) == 0


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("kind", ["masks", "labels"])
def test_a_pickle_carries_what_items_need_and_not_what_is_known_of_every_picture(tmp_path, cache, kind):
    """A spawned loader worker gets one."""
    names = [f"{i:03d}" for i in range(300)]
    if kind == "masks":
        reader = Folder(folder(tmp_path, names))
    else:
        for name in names:
            (tmp_path / f"class {int(name) % 2}").mkdir(exist_ok=True)
            Image.new("RGB", (6, 4), (int(name) % 256,) * 3).save(tmp_path / f"class {int(name) % 2}" / f"{name}.png")
        reader = CatDog(tmp_path)
    data = opened(reader, "all", cache=cache, size=8)
    sizes = [len(pickle.dumps(one)) for one in (data, data.subset(range(3)))]
    assert sizes[1] < 2500 and (sizes[0] < 4500 if cache else sizes[0] > 10_000)
    copied = pickle.loads(pickle.dumps(data))
    assert len(copied) == 300 and torch.equal(copied[7][0], data[7][0])
    assert torch.equal(torch.as_tensor(copied[7][1]), torch.as_tensor(data[7][1])) and copied.labels == data.labels


def test_a_subset_says_what_is_true_of_the_part(tmp_path):
    splits = open_dataset(folder(tmp_path / "d"), progress=False)
    whole = splits.train
    assert whole.pixels.sum() == 7 * 24 and doubts(splits) == ["1 of 3 classes never occur in test: green"]
    part = whole.subset([0, 2])
    assert part.pixels is None and part.key is None and part.left_out == part.bad == {}
    assert part.report() == "2 pictures of 'train', chosen by subset()"
    assert doubts(replace(splits, parts={"train": part, "test": part})) == []
    assert whole.report() == "7 of 7 pictures of 'train' are used"
    grey = opened(Grey(tmp_path / "g", {"all": ["a", "b", "z1"]}), "all")
    assert grey.subset([0]).report() == "1 pictures of 'all', chosen by subset()"
    unread = opened(Grey(tmp_path / "g", {"all": ["a", "b", "z1"]}), "all", cache=False)
    assert unread.names == ["a", "b", "z1"] and "none is left out for what its mask holds" in unread.report()


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_a_label_is_any_whole_number(tmp_path, kind):
    reader = Grey(tmp_path, {"all": [f"{i}" for i in range(20)]})
    reader.splits = {"all": [entry._replace(target=kind(i >= 12)) for i, entry in enumerate(reader.splits["all"])]}
    for cache in (True, False):
        data = opened(reader, "test", cache=cache, size=8)
        assert data.labelled and data.labels == [0, 0, 1, 1] and all(type(label) is int for _, label in data)
        assert data[0][0].shape == (3, 8, 8)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(("size", "within", "wanted"), [
    ((40, 60), 20, (20, 30)), ((60, 40), 20, (30, 20)), ((40, 60), (20, 60), (20, 30)), ((60, 40), (20, 60), (20, 13)),
    ((40, 60), 50, (40, 60)), ((41, 63), 20, (20, 31))])
def test_a_box_or_the_most_that_the_shorter_side_may_have(tmp_path, cache, size, within, wanted):
    write_pair(tmp_path, "a", Image.new("RGB", size[::-1]), np.ones(size, np.uint8))
    data = opened(Folder(tmp_path, label_set=COLOURS), "all", within=within, cache=cache)
    image, mask = data[0]
    assert image.shape == (3, *wanted) and mask.shape == wanted == data.picture_size(0) and data.within == within


def test_what_is_left_out_of_train_is_counted_on_one_line(tmp_path, capsys):
    splits = {"train": ["a", "bx", "c", "d", "ex", "z1"], "test": ["fx", "g"]}
    reader = Grey(tmp_path, splits)
    parts = {split: opened(reader, split, progress=True) for split in ("train", "test")}
    said = [line for line in capsys.readouterr().err.splitlines() if "reading once" not in line]
    assert len(said) == 1 and said[0].startswith(f"{tmp_path.name}, train: 2 of 5 pictures are used; left out 2: ")
    assert "have names without an x (bx, ex)" in said[0]
    assert parts["test"].names == ["fx", "g"], "val and test stay whole"
    assert parts["train"].left_out.keys() >= {"bx", "ex"} and not {"bx", "ex"} & {*parts["train"].names}
    assert "left out 2: not among those that have names without an x (bx, ex)" in parts["train"].report()
    whole = opened(reader, "all")
    assert len(whole) == 7 and whole.left_out == {"z1": "nothing to see"}
    assert whole.report().splitlines() == ["7 of 8 pictures of 'all' are used", "left out 1: nothing to see (z1)"]
    assert "not checked" in opened(reader, "test", cache=False).report()
    with pytest.raises(DataError, match="(?s)2, all of which are left out.*have names without an x"):
        opened(Grey(tmp_path / "b", {"train": ["x1", "x2"], "val": ["a"], "test": ["b"]}))


@pytest.fixture
def troubled(tmp_path) -> Path:
    """4 is whole; the others are not."""
    root = folder(tmp_path / "t", "0123456789")
    (root / "masks" / "0.png").unlink()
    (root / "images" / "1.png").write_bytes((root / "images" / "2.png").read_bytes()[:40])
    (root / "images" / "2.png").write_bytes(b"this is no picture")
    Image.fromarray(np.zeros((5, 9), np.uint8)).save(root / "masks" / "3.png")
    for i in range(5, 10):
        Image.fromarray(np.full((4, 6), i, np.uint8)).save(root / "masks" / f"{i}.png")
    return root


def test_one_error_names_all_pictures_that_cannot_be_used(troubled, caches):
    for _ in range(2):  # the second time from the cache
        with pytest.raises(DataError) as caught:
            opened(Folder(troubled, encoding="ids"), "all")
        text = str(caught.value)
        assert "9 of 10" in text and 'problems="skip"' in text and "no mask in" in text and "and 6, 7, 8, 9" in text
        assert all(f"    {name}: " in text for name in "0123") and "    4: " not in text
        assert caches() == 1


def test_skipped_pictures_are_counted_and_named_and_the_others_read_right(troubled):
    with pytest.warns(UserWarning, match=r"9 pictures of 'all' .* left out: 0, 1, 2, 3, 5 …"):
        data = opened(Folder(troubled, encoding="ids"), "all", problems="skip")
    assert data.names == ["4"] and set(data.bad) == set("012356789")
    assert data[0][1].unique().tolist() == [1] and data[0][0][0].unique().tolist() == [4]
    assert "1 of 10" in data.report() and "left out 1: no mask in" in data.report()
    (troubled / "images" / "4.png").write_bytes(b"")
    with pytest.raises(DataError, match="(?s)10, all of which are left out.*seglab check"), \
            pytest.warns(UserWarning, match="10 pictures"):
        opened(Folder(troubled, encoding="ids"), "all", problems="skip")


@pytest.mark.parametrize(("name", "message"), [("1", "cannot be decoded"), ("2", r"cannot be decoded(.|\n)*18 bytes"),
                                               ("3", "another size")])
def test_without_a_cache_errors_come_when_the_file_is_read(troubled, home, name, message):
    with pytest.raises(DataError, match="1 of 10"):
        opened(Folder(troubled, encoding="ids"), "all", cache=False)
    with pytest.warns(UserWarning, match="1 pictures"):
        data = opened(Folder(troubled, encoding="ids"), "all", problems="skip", cache=False)
    assert len(data) == 9 and not [*home.iterdir()], "existence is checked, and no file read"
    with pytest.raises(DataError, match=rf"{name}\.png.*{message}"):
        data[data.names.index(name)]


@pytest.mark.parametrize(("options", "message"), [
    ({"how": "fit"}, "crop-or-pad"), ({"problems": "keep"}, '"error" or "skip"'), ({"within": (0, 5)}, r"\(0, 5\)"),
    ({"size": 0}, "0"), ({"size": (3, 4, 5)}, "height, width")])
def test_bad_arguments(drone_root, options, message):
    with pytest.raises(ArgumentError, match=message):
        opened(Drone(drone_root), **options)


def test_sizes(tmp_path):
    data = folder(tmp_path, NAMES[:3])
    reader = Folder(data)
    image, mask = opened(reader, "all", size=(2, 9))[0]
    assert image.shape == (3, 2, 9) and mask.shape == (2, 9) and (mask[:, [0, -1]] == 255).all()
    for how, valid in (("resize", 36 * 4), ("letterbox", 8 * 12)):
        image, mask = opened(reader, "all", size=(8, 18), how=how)[1]
        assert image.shape == (3, 8, 18) and (mask == 1).sum() == (image[1] > 0).sum() == valid
    for box in ((2, 100), (100, 3), [3, 3], 2):
        assert opened(reader, "all", within=box)[0][0].shape == (3, 2, 3)
    assert opened(reader, "all", within=(40, 60))[0][0].shape == (3, 4, 6), "nothing is enlarged"


# ------------------------------------------------------------------------------------------------------------- names

@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("name", ["zürich_é", "도로_사진 1", "ステレオ が"])
def test_names_of_the_world_are_one_however_they_are_written(tmp_path, forms, name):
    root = folder(tmp_path / "자료", ["a", "b"])
    image, mask = (unicodedata.normalize(form, name) for form in forms)
    Image.new("RGB", (6, 4), (9, 9, 9)).save(root / "images" / f"{image}.jpg")
    Image.fromarray(np.full((4, 6), 2, np.uint8)).save(root / "masks" / f"{mask}.png")
    (root / "class_dict.csv").write_text("name,r,g,b\n도로,255,0,0\n하늘,0,255,0\n나무,0,0,255\n", encoding="utf-8")
    data = opened(Folder(root), "all")
    assert data.names == ["a", "b", unicodedata.normalize("NFC", name)] and data[2][1].unique().tolist() == [2]
    assert data.label_set.classes == ("도로", "하늘", "나무") and open_dataset(root, progress=False).name == "자료"


@pytest.mark.parametrize(("images", "masks", "names"), [
    ("a/{}", "a/{}", "a/{}"), ("{}", "masks/{}", "{}"), ("images/{}", "{}", "{}"), ("images/{}", "masks/{}", "{}"),
    ("{}", "{}_mask", "{}"), ("x/{}", "y/{}_L", "{}")])
def test_pictures_and_masks_in_deeper_folders(tmp_path, images, masks, names):
    for name, other in ((names, "b") for names in "123" for other in "b"):
        for folder_, pattern, mode in (("images", images, "RGB"), ("masks", masks, "L")):
            path = tmp_path / folder_ / f"{pattern.format(name + other)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (6, 4), int(name) - 1 if mode == "L" else (int(name),) * 3).save(path)
    data = opened(Folder(tmp_path, label_set=COLOURS), "all")
    assert data.names == [names.format(f"{i}b") for i in (1, 2, 3)]
    assert [(int(image.max()), int(mask.max())) for image, mask in data] == [(1, 0), (2, 1), (3, 2)]


def test_the_same_names_in_two_folders_are_paired_by_their_paths(tmp_path):
    for i, place in enumerate(("seoul", "부산", "z")):
        for kind, mode, value in (("images", "RGB", (i,) * 3), ("masks", "L", i)):
            path = tmp_path / kind / place / "1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (6, 4), value).save(path)
    data = opened(Folder(tmp_path, label_set=COLOURS), "all")
    assert data.names == ["seoul/1", "z/1", "부산/1"]
    assert all(int(image.max()) == int(mask.max()) for image, mask in data)


# --------------------------------------------------------------------------------------------- a stranger's own reader

@pytest.fixture
def leaves(tmp_path):
    """A layout that seglab does not know, in one class; and a folder in it."""
    class Leaves(Reader):
        name = "leaves"
        looks_like = "photos/ + leaves/"

        def __init__(self, root, *, ignore=9):
            self.root, self.ignore = Path(root), ignore
            self.label_set = LabelSet("leaves", ("soil", "leaf"), ((120, 80, 40), (60, 160, 60)))
            self.splits = {"all": [Entry(path.stem, path, self.root / "leaves" / path.name)
                                   for path in sorted((self.root / "photos").iterdir())]}

        @classmethod
        def find(cls, root, asked=False):
            return root if (root / "leaves").is_dir() else None

        def mask(self, entry):
            mask = np.array(Image.open(entry.target))
            return np.where(mask == self.ignore, 255, mask).astype(np.uint8)

        def settings(self):
            return {"ignore": self.ignore}

    for place in ("photos", "leaves"):
        (tmp_path / place).mkdir()
    for i in range(10):
        Image.new("RGB", (6, 4), (20 * i, 100, 50)).save(tmp_path / "photos" / f"{i}.png")
        mask = np.full((4, 6), i % 2, np.uint8)
        mask[0] = 9
        Image.fromarray(mask).save(tmp_path / "leaves" / f"{i}.png")
    yield tmp_path
    del Reader.kinds["leaves"]


def test_a_strangers_reader_is_found_and_has_all_that_the_others_have(leaves, caches):
    splits = open_dataset(leaves, progress=False)
    assert str(splits) == "leaves (real): 7 train, 1 val, 2 test pictures, 2 classes" and caches() == 3
    data = Samples(splits.train.reader, "all", size=(4, 6), progress=False)
    assert set(data[3][1][0].tolist()) == {255} and set(data[3][1][1:].flatten().tolist()) == {1}
    with pytest.raises(DataError, match=r"(?s)7 of 7.*0: class ids of the mask.*0 to 1, or 255"):
        open_dataset("leaves", root=leaves, ignore=8, progress=False)
    with pytest.raises(ArgumentError, match=r"(?s)crowd.*expected: +ignore, within, size, how, problems, cache"):
        open_dataset("leaves", root=leaves, crowd="fill", progress=False)


@pytest.mark.parametrize("kind", [CamVid, CatDog, Drone, Folder, Pets])
def test_every_reader_names_itself(kind):
    assert Reader.kinds[kind.name] is kind and kind.looks_like and kind.find(Path(__file__).parent) is None
    assert kind.__doc__.count("Raises:") == 1


def test_a_reader_without_masks_is_told_what_it_lacks(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    reader = Reader()
    reader.root, reader.label_set, reader.splits = tmp_path, COLOURS, {"all": [Entry("a", tmp_path / "a.png", None)]}
    with pytest.raises(ArgumentError, match="reader Reader(.|\\n)*no method `mask`"):
        Samples(reader, "all", cache=False)[0]
