"""Pictures with one class each: map files, class folders, and everything that can be wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from seglab.datasets import CatDog, Samples, collate, open_dataset, read_map_file, square
from seglab.datasets import write_map_file as write
from seglab.datasets.sources import doubts
from seglab.errors import ArgumentError, DataError
from seglab.files import data_home, write_memory
from seglab.samples import write_catdog_sample, write_pets_sample
from seglab.samples.animals import draw_animal


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_catdog_sample(tmp_path_factory.mktemp("catdog") / "s", count=(10, 3), size=(64, 80), progress=False)


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (value, 0, 0)).save(path)
    return path


def opened(root: Path, split: str = "all", **options) -> Samples:
    return Samples(CatDog(root), split, **{"progress": False, "size": 32, **options})


def test_map_file_and_folders_give_the_same(root):
    folders, mapped = opened(root / "train"), opened(root / "train.txt")
    assert folders.label_set == mapped.label_set and folders.label_set.classes == ("cats", "dogs")
    assert [e.image.resolve() for e in folders.entries] == [e.image.resolve() for e in mapped.entries]
    assert folders.key == mapped.key and folders.pixels.tolist() == [10, 10] + [0] * 254
    assert folders.labels == mapped.labels == [0] * 10 + [1] * 10
    for i in (0, 19):
        assert torch.equal(folders[i][0], mapped[i][0])
    image, label = mapped[19]
    assert image.shape == (3, 32, 32) and image.dtype == torch.uint8 and label == 1
    assert opened(root, size=None, cache=False)[0][0].shape == (3, 224, 224)
    assert (mapped.size, opened(root, size=None, cache=False).size) == (32, 224), "as checkpoints note it"


def test_splits_are_disjoint_and_have_all_classes(root, tmp_path):
    splits = {s: opened(root, s) for s in ("train", "val", "test")}
    assert [len(d) for d in splits.values()] == [18, 2, 6]
    paths = [e.image for d in splits.values() for e in d.entries]
    assert len(set(paths)) == 26
    assert all(set(d.labels) == {0, 1} for d in splits.values())
    assert splits["val"].names == ["cat-00004", "dog-00001"], "as recorded: whoever makes splits anew, breaks results"
    assert len(opened(root)) == 26
    (tmp_path / "train").symlink_to(root / "train")
    for unsplit in (root / "train", tmp_path):  # in folders a class, or in train alone
        assert [len(opened(unsplit, s)) for s in ("train", "val", "test")] == [14, 2, 4]
    (tmp_path / "train").rename(tmp_path / "Validation")
    assert len(opened(tmp_path, "test")) == 20 and len(open_dataset(tmp_path, size=8, progress=False).parts) == 1


@pytest.mark.parametrize(("files", "names"), [
    (("cats/1.png", "cats/2.png", "dogs/3.png"), ["1", "2", "3"]),
    (("cats/1.png", "cats/2.png", "dogs/1.png"), ["cats/1", "cats/2", "dogs/1"]),
    (("cats/a/1.png", "dogs/a/1.png", "dogs/b/2.png"), ["cats/a/1", "dogs/a/1", "dogs/b/2"]),
    (("cats/1.bmp", "cats/1.png", "dogs/2.png"), ["cats/1.bmp", "cats/1.png", "dogs/2.png"])])
def test_names_are_as_short_as_they_can_be_and_pixels_are_their_own(tmp_path, files, names):
    for i, name in enumerate(files):
        picture(tmp_path / name, 50 * i)
    data = opened(tmp_path)
    assert data.names == names and [image[0, 0, 0].item() for image, _ in data] == [0, 50, 100]
    (tmp_path / "map.txt").write_text("".join(f"{name}\t{int('dogs' in name)}\n" for name in (*files, files[0])))
    mapped = opened(tmp_path / "map.txt")
    assert [image[0, 0, 0].item() for image, _ in mapped] == [0, 50, 100, 0], "a line may stand there twice"


def test_a_map_file_as_people_write_them(tmp_path):
    picture(tmp_path / "a b" / "cat 1.png")
    picture(tmp_path / "dogs" / "1.png")
    text = "\ufeff# two pictures\r\n\r\na b\\cat 1.png\t0\r\n./dogs/1.png\t 1 \r\n"
    (tmp_path / "map.txt").write_bytes(text.encode())
    items, names = read_map_file(tmp_path / "map.txt")
    assert [(p.name, label) for p, label in items] == [("cat 1.png", 0), ("1.png", 1)]
    assert names == ["class 0", "class 1"]
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "m.tsv").write_text(f"a b/cat 1.png\t0\n{tmp_path / 'dogs' / '1.png'}\t1\n")
    assert len(read_map_file(tmp_path / "maps" / "m.tsv", root=tmp_path)[0]) == 2
    assert read_map_file(tmp_path / "map.txt", classes=["cat", "dog"])[1] == ["cat", "dog"]


def test_written_map_files_survive_a_round_trip(tmp_path):
    for name in ("cats/#1.png", "cats/ü.png", "dogs/deep/2.png"):
        picture(tmp_path / name)
    (tmp_path / ".hidden").mkdir()
    path = write(tmp_path)
    items, names = read_map_file(path)
    assert names == ["cats", "dogs"]
    assert [(p.relative_to(tmp_path).as_posix(), label) for p, label in items] == [
        ("cats/#1.png", 0), ("cats/ü.png", 0), ("dogs/deep/2.png", 1)]
    outside = write(tmp_path / "cats" / "..", tmp_path.parent / f"{tmp_path.name}.txt")
    assert len(read_map_file(outside)[0]) == 3
    with pytest.raises(ArgumentError, match="there already"):
        write(tmp_path)
    write(tmp_path, overwrite=True)


@pytest.mark.parametrize(("text", "words"), [
    ("a.png 0\na.png\t0\nb.png 1\n", ("line 1: no tab in 'a.png 0'", "line 3: no tab")),
    ("a.png\tcat\nb.png\t-1\nb.png\t1.0\n", ("line 1: label 'cat'", "line 2: label '-1'", "line 3: label '1.0'")),
    ("gone.png\t0\na.png\t0\nlost.png\t1\n", ("line 1:", "gone.png", "line 3:", "lost.png", "relative paths start")),
    ("a.png\t0\nb.png\t2\n", ("1 (class 1)", "without a gap")),
    ("# class 0: cat\n# class 1: dog\na.png\t0\nb.png\t7\n", ("line 4: 7", "0 to 1: cat, dog")),
    ("a.png\t0\nb.png\t99999999\n", ("line 2: label '99999999'",)),
    (f"a.png\t0\nb.png\t{'9' * 5000}\n", ("line 2: label '999",)),
    ("a.png\t²\nb.png\t٣\n", ("line 1: label '²'", "line 2: label '٣'")),
    ("# class 0: cat\n# class 99999999: dog\na.png\t0\nb.png\t1\n",
     ("labels out of range", "line 4: 1", "0 to 0: cat")),
    ("a.png\t0\nb.png\t1\na.png\t1\n", ("line 3: a.png is 1, and 0 on line 1",)),
    ("a.png\t0\nb.png\t0\n", ("one class only",)),
    (f"{'x' * 5000}.png\t0\na.png\t0\nb.png\t1\n", ("line 1:", "pictures that are missing")),
    ("# nothing\n\n", ("no picture in it",)),
])
def test_a_map_file_that_is_wrong_says_all_at_once(tmp_path, text, words):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    (tmp_path / "map.txt").write_text(text)
    with pytest.raises(DataError) as caught:
        opened(tmp_path / "map.txt")
    for word in words:
        assert word in str(caught.value)


def test_a_map_file_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"gone\.txt: map file"):
        read_map_file(tmp_path / "gone.txt")
    (tmp_path / "m.txt").write_bytes(b"caf\xe9.png\t0\n")
    with pytest.raises(DataError, match="café.png"):
        read_map_file(tmp_path / "m.txt")


def test_folders_that_are_wrong(tmp_path):
    picture(tmp_path / "one" / "cats" / "1.png")
    with pytest.raises(DataError, match="one class only, 'cats'"):
        opened(tmp_path / "one")
    (tmp_path / "one" / "dogs").mkdir()
    (tmp_path / "one" / "birds").mkdir()
    with pytest.raises(DataError, match="no picture in birds, dogs"):
        opened(tmp_path / "one")
    with pytest.raises(DataError, match="class folders"):
        opened(tmp_path / "one" / "dogs")
    for split, name in (("train", "cats"), ("train", "dogs"), ("test", "cats"), ("test", "wolves")):
        picture(tmp_path / "two" / split / name / "1.png")
    with pytest.raises(DataError, match="wolves"):
        opened(tmp_path / "two")
    picture(tmp_path / "three" / "train" / "cats" / "1.png")
    for i in "234":
        picture(tmp_path / "three" / "train" / "dogs" / f"{i}.png")
    with pytest.raises(DataError, match="(?s)4 of 'all'.*at least 3 in all, and of each class"):
        opened(tmp_path / "three", "train")
    assert len(opened(tmp_path / "three")) == 4
    with pytest.raises(ArgumentError, match="split"):
        opened(tmp_path / "three", "dev")


@pytest.mark.parametrize("options", [{"size": (3, 4)}, {"within": (3, 4)}, {"how": "resize"}, {"size": 0}])
def test_pictures_with_labels_are_squares(root, options):
    with pytest.raises(ArgumentError, match="size"):
        opened(root, **options)


def test_a_file_that_is_no_image_is_named(tmp_path):
    picture(tmp_path / "cats" / "1.png")
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "text.jpg").write_text("no")
    with pytest.raises(DataError, match=r"1 of 2:\n.*text: .*text\.jpg: the picture cannot be decoded"):
        opened(tmp_path)
    data = opened(tmp_path, cache=False)
    with pytest.raises(DataError, match=r"text\.jpg"):
        data[1]
    with pytest.warns(UserWarning, match="1 pictures of 'all' .* left out: text"):
        assert opened(tmp_path, problems="skip").names == ["1"]


def test_the_square_is_the_middle():
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255
    assert square(image, 40, crop=1.0)[:, 2:-2].min() == 255  # the filter looks a little beyond the edge
    assert square(image, 224).shape == (224, 224, 3)
    image = np.arange(64, dtype=np.uint8)[:, None, None].repeat(64, 1).repeat(3, 2)
    assert np.array_equal(square(image, 56), image[4:60, 4:60])  # 0.875 of 64: cut, not scaled
    assert square(np.zeros((1, 1, 3), np.uint8), 8).shape == (8, 8, 3)


def test_large_and_rotated_pictures(tmp_path):
    wide = np.zeros((1200, 1600, 3), np.uint8)
    wide[:300] = (255, 0, 0)
    Image.fromarray(wide).save(tmp_path / "1.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(wide).save(tmp_path / "2.jpg", quality=95, exif=exif)
    (tmp_path / "map.txt").write_text("1.jpg\t0\n2.jpg\t1\n")
    data = opened(tmp_path / "map.txt")
    assert data[0][0][0, 0].min() > 200 and data[0][0][0, -1].max() < 50
    assert data[1][0][0, 0].max() < 50 and data[1][0][0, -1].min() > 200


def test_transforms_and_batches(root):
    data = opened(root, "test", transforms=v2.RandomHorizontalFlip(p=1.0))
    plain = data.subset(range(6)).with_transforms(None)
    assert torch.equal(data[0][0], plain[0][0].flip(-1))
    images, labels = collate([plain[i] for i in range(6)])
    assert images.shape == (6, 3, 32, 32) and labels.tolist() == [0, 0, 0, 1, 1, 1] and labels.dtype == torch.int64
    assert images.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(ArgumentError, match="one size"):
        collate([(torch.zeros(3, 4, 4), 0), (torch.zeros(3, 4, 5), 1)])


def test_opening_warns_of_a_leak(root, tmp_path):
    splits = open_dataset("catdog", root=root, size=32, progress=False)
    assert (splits.name, splits.source, len(splits.train), len(splits.test)) == ("s", "real", 18, 6)
    for name in ("train", "test"):
        for path in (root / name).rglob("*.jpg"):
            target = tmp_path / "leaky" / name / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    source = next((root / "train" / "cats").iterdir())
    with Image.open(source) as image:  # smaller, mirrored, in another format
        image.resize((60, 48)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
            tmp_path / "leaky" / "test" / "cats" / "copy.png")
    memory = data_home() / "cache" / "duplicates.json"
    for damage in (None, None, "", "5", [[0, 99999]], [["a", 1]], [[-1, 0]], [[0, 1, 2]]):  # the second time from it
        if damage is not None:
            keys = json.loads(memory.read_bytes().partition(b"\n")[2])
            write_memory(memory, dict.fromkeys(keys, damage))
        with pytest.warns(UserWarning, match=r"1 of 7 test pictures are in train too, for instance copy as cat-0"):
            splits = open_dataset("catdog", root=tmp_path / "leaky", size=32, progress=False)
    clean = splits.test.subset([i for i, name in enumerate(splits.test.names) if name != "copy"])
    assert doubts(replace(splits, parts={"train": splits.train, "test": clean})) == []
    assert "1 of 1" in doubts(replace(splits, parts={"train": splits.train,
                                                     "test": splits.test.subset([splits.test.names.index("copy")])}))[0]


def test_the_sample_is_the_same_everywhere_and_kinds_differ(tmp_path, monkeypatch):
    assert np.array_equal(draw_animal("cats", 3), draw_animal("cats", 3))
    assert not np.array_equal(draw_animal("cats", 3), draw_animal("cats", 4))
    assert not np.array_equal(draw_animal("cats", 3), draw_animal("dogs", 3))
    assert not np.array_equal(draw_animal("cats", 3), draw_animal("cats", 3, seed=1))
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path))
    for bad in ({"kind": "cows", "index": 0}, {"kind": "cats", "index": -1}, {"kind": "cats", "index": 0,
                                                                             "size": (8, 8)}):
        with pytest.raises(ArgumentError):
            draw_animal(**bad)
    with pytest.raises(ArgumentError, match="count"):
        write_catdog_sample(tmp_path / "s", count=(0, 1))
    write_catdog_sample(tmp_path / "s", count=(1, 1), size=(32, 32), progress=False)
    with pytest.raises(DataError, match="something else"):
        write_catdog_sample(tmp_path / "s", count=(2, 1), size=(32, 32), progress=False)


def test_cats_and_dogs_of_the_oxford_pets(tmp_path):
    root = write_pets_sample(tmp_path / "pets", count=12, progress=False)
    splits = open_dataset("catdog", root=root, size=32, progress=False)
    pets = open_dataset("pets", root=root, progress=False)
    assert splits.label_set.classes == ("cats", "dogs") and len(splits.test) == len(pets.test)
    for samples in splits.parts.values():
        assert all((name[0].islower()) == label for name, label in zip(samples.names, samples.labels, strict=True))
    assert list(root.glob("*.txt")) == [], "nothing is written beside the pictures"


def test_pets_whose_names_do_not_tell_the_species_are_no_cats(tmp_path):
    """Masks of ids can be read then, but nobody looks into them for a label."""
    for i in range(6):
        picture(tmp_path / "images" / f"{i}.png")
        (tmp_path / "trimaps").mkdir(exist_ok=True)
        mask = np.zeros((16, 20), np.uint8)
        mask[4:9] = 1 + i % 2
        Image.fromarray(mask).save(tmp_path / "trimaps" / f"{i}.png")
    with pytest.raises(DataError, match="(?s)species of pictures cannot be told.*0, 1, 2, 3, 4 …"):
        CatDog(tmp_path)
