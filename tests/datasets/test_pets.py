"""The Oxford-IIIT Pet dataset: layouts, splits, masks, targets, problem pictures and sizes."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.datasets import OxfordIIITPet

from seglab.datasets import Pets, Samples, decode, download_pets
from seglab.errors import ArgumentError, DataError
from seglab.labels import PETS
from seglab.samples import write_pets_sample

#: The trimap of every picture that these tests make: a pet, its border, and background.
TRIMAP = np.full((20, 30), 2, np.uint8)
TRIMAP[4:16, 5:20] = 3
TRIMAP[6:14, 8:17] = 1
IDS = {"cat": np.where(TRIMAP == 1, 1, np.where(TRIMAP == 3, 255, 0)).astype(np.uint8)}
IDS["dog"] = np.where(IDS["cat"] == 1, 2, IDS["cat"]).astype(np.uint8)
NAMES = [f"{breed}_{i}" for breed in ("beagle", "Bengal") for i in range(1, 11)]


def put(images: Path, masks: Path, name: str, mask: np.ndarray = TRIMAP, mode: str = "RGB",
        ending: str = "jpg") -> None:
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(name)).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(images / f"{name}.{ending}")
    Image.fromarray(mask).save(masks / f"{name}.png")


def published(root: Path, names: list[str] = NAMES, **files) -> Path:
    notes = root / "annotations"
    for name in names:
        put(root / "images", notes / "trimaps", name)
    lines = [f"{name} {2 if name[0].isupper() else 1} {1 if name[0].isupper() else 2} 1\n" for name in names]
    texts = {"list": "#Image CLASS-ID SPECIES BREED ID\n" + "".join(lines), "trainval": "".join(lines[::2]),
             "test": "".join(lines[1::2])} | files
    for name, text in texts.items():
        if text is not None:
            (notes / f"{name}.txt").write_text(text)
    return root


def opened(root: Path, split: str = "all", target: str = "species", **options) -> Samples:
    return Samples(Pets(root, target=target), split, **{"progress": False, **options})


def test_published_layout_splits_and_what_macos_leaves_behind(tmp_path):
    root = published(tmp_path / "pets")
    (root / "annotations" / "trimaps" / "._Bengal_1.png").write_bytes(b"mac")
    (root / "images" / "Bengal_99.jpg").write_bytes(b"not listed, as 41 of the published pictures")
    parts = {split: opened(root, split).names for split in ("train", "val", "test", "all")}
    assert {split: len(names) for split, names in parts.items()} == dict(train=9, val=1, test=10, all=20)
    assert sorted(parts["train"] + parts["val"]) == sorted(NAMES[::2]) and parts["test"] == NAMES[1::2]
    assert parts["all"] == parts["train"] + parts["val"] + parts["test"]
    assert opened(tmp_path, "val").names == parts["val"], "a folder that holds pets/ will do"
    root.rename(tmp_path / "oxford-iiit-pet")
    assert opened(tmp_path, "val").names == parts["val"], "and torchvision's"


@pytest.mark.parametrize("missing", [{"list": None}, {"trainval": None, "test": None},
                                     {"list": None, "trainval": None, "test": None}])
def test_lists_that_are_not_there(tmp_path, missing):
    root = published(tmp_path, **missing)
    parts = [opened(root, split).names for split in ("train", "val", "test")]
    assert sorted(name for part in parts for name in part) == sorted(NAMES) and all(parts)


def test_the_list_may_lie_in_the_root(tmp_path):
    root = published(tmp_path)
    (root / "annotations" / "list.txt").rename(root / "list.txt")
    (root / "list.txt").write_text((root / "list.txt").read_text().replace("beagle_1 1 2 1", "beagle_1 1 1 1"))
    with pytest.raises(DataError, match=r"list.txt, line 2: name and species contradict(.|\n)*a cat's|a dog's"):
        opened(root)


@pytest.mark.parametrize(("files", "message"), [
    ({"trainval": "beagle_1 1 2 1\nBengal_1 2 2 1\n"}, r"trainval.txt, line 2: name and species contradict"),
    ({"test": "beagle_1 1 2\n"}, r"test.txt, line 1"), ({"test": "beagle_1 1 3 1\n"}, r"test.txt, line 1"),
    ({"test": "beagle_1\nbeagle_1\n"}, r"line 2(.|\n)*second time"), ({"list": "# nothing\n"}, "no names in it"),
    ({"test": None}, "trainval.txt alone"), ({"test": "beagle_1 1 2 1\n"}, "beagle_1 in train and in test")])
def test_lists_that_are_wrong(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        opened(published(tmp_path, **files))


def test_prepared_copies(tmp_path):
    for name in NAMES:
        put(tmp_path / "flat" / "images", tmp_path / "flat" / "masks", name, ending="png")
        for part in ("train", "test"):
            put(tmp_path / "parts" / part / "images", tmp_path / "parts" / part / "trimaps", name)
    flat, parts = ({s: opened(tmp_path / kind, s) for s in ("train", "val", "test", "all")}
                   for kind in ("flat", "parts"))
    assert [len(data) for data in flat.values()] == [14, 2, 4, 20]
    assert [len(data) for data in parts.values()] == [18, 2, 20, 40]
    assert not {*parts["train"].names} & {*parts["val"].names}
    assert {entry.image.parent.parent.name for entry in parts["test"].entries} == {"test"}
    for name in NAMES[:5]:
        put(tmp_path / "parts" / "val" / "images", tmp_path / "parts" / "val" / "trimaps", name)
    assert [len(opened(tmp_path / "parts", s)) for s in ("train", "val", "test", "all")] == [20, 5, 20, 45]
    shutil.rmtree(tmp_path / "parts" / "test")  # then val is what is tested on
    assert [len(opened(tmp_path / "parts", s)) for s in ("train", "val", "test")] == [18, 2, 5]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"annotations/trimaps(.|\n)*seglab download pets"):
        opened(tmp_path / "none")


def test_the_border_is_ignored_and_never_foreground(tmp_path):
    root = published(tmp_path)
    for target, classes in (("species", {"beagle": 2, "Bengal": 1}), ("foreground", {"beagle": 1, "Bengal": 1}),
                            ("breed", {"beagle": 1, "Bengal": 2})):
        data = opened(root, target=target)
        for i, name in enumerate(data.names):
            image, mask = data[i]
            pet = classes[name.partition("_")[0]]
            assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)
            assert image.shape == (3, 20, 30) and image.dtype == mask.dtype == torch.uint8
            assert np.array_equal(mask, np.select([TRIMAP == 1, TRIMAP == 2], [pet, 0], 255))
    assert opened(root).label_set is PETS
    assert opened(root, target="foreground").label_set.colours == PETS.colours[:2]
    for split in ("train", "test"):
        breeds = opened(root, split, "breed").label_set
        assert breeds.classes == ("background", "beagle", "Bengal") and breeds.colours[2] == (0, 128, 0)


def test_masks_with_ids_say_the_species_themselves(tmp_path):
    for i, kind in enumerate(["dog", "cat"] * 5):
        put(tmp_path / "images", tmp_path / "masks", f"{i}", IDS[kind])
    data = opened(tmp_path)
    assert data.reader.ids
    for i in range(10):
        assert np.array_equal(data[i][1], IDS[["dog", "cat"][i % 2]])
    assert opened(tmp_path, target="foreground")[0][1].unique().tolist() == [0, 1, 255]


def test_ids_among_trimaps(tmp_path):
    root = published(tmp_path)
    Image.fromarray(IDS["cat"]).save(root / "annotations" / "trimaps" / "beagle_9.png")
    with pytest.raises(DataError, match=r"1 of 20:\n.*beagle_9.png.* ids 0, 255; .*(.|\n)*Export the masks again"):
        opened(root, target="foreground")


def test_ids_that_mean_something_else(tmp_path):
    for name in NAMES:
        put(tmp_path / "images", tmp_path / "masks", name, IDS["cat"])  # 1 is any pet
    with pytest.raises(DataError, match=r'beagle_1.*contradicts the name.* cat \(72 pixels\)(.|\n)*"foreground"'):
        opened(tmp_path)
    assert opened(tmp_path, target="breed")[0][1].unique().tolist() == [0, 2, 255]  # Bengal


def test_a_mask_with_other_values_is_named_with_its_pixels(tmp_path):
    root = published(tmp_path)
    wrong = TRIMAP.copy()
    wrong[0, :3], wrong[1, 0] = 4, 77
    Image.fromarray(wrong).save(root / "annotations" / "trimaps" / "beagle_9.png")
    message = r"(?s)beagle_9.png.*ids 4, 77; 4 of 600 pixels.*1 \(pet\), 2 \(background\) and 3"
    with pytest.raises(DataError, match=message):
        opened(root)
    unread = opened(root, cache=False)
    with pytest.raises(DataError, match=message):
        unread[unread.names.index("beagle_9")]


@pytest.mark.parametrize("names", [[f"{i}" for i in range(20)], [f"img_{i}" for i in range(20)]])
def test_names_that_do_not_tell(tmp_path, names):
    for name in names:
        put(tmp_path / "images", tmp_path / "trimaps", name)
    with pytest.raises(DataError, match=r'20 of 20, such as (0|img_0), (.|\n)*target="foreground"'):
        opened(tmp_path)
    assert len(opened(tmp_path, target="foreground")) == 20
    if names[0] == "0":
        with pytest.raises(DataError, match="the breed of pictures cannot be told"):
            opened(tmp_path, target="breed")


def test_cat_and_dog_mean_what_they_say_and_a_list_helps_names_that_do_not(tmp_path):
    for i in range(10):
        put(tmp_path / "a" / "images", tmp_path / "a" / "masks", f"{'cat' if i % 2 else 'dog'}_{i}")
    data = opened(tmp_path / "a")
    assert {name.partition("_")[0]: data[i][1][9, 9].item() for i, name in enumerate(data.names)} == dict(cat=1, dog=2)
    names = [f"{i}" for i in range(8)]
    text = "".join(f"{name} 1 {1 + int(name) % 2} 1\n" for name in names)
    data = opened(published(tmp_path / "b", names, list=text, trainval=None, test=None))
    assert [mask[9, 9].item() for _, mask in data] == [1, 2] * 4


@pytest.fixture
def troubled(tmp_path) -> Path:
    root = published(tmp_path / "pets")
    images, trimaps = root / "images", root / "annotations" / "trimaps"
    (images / "beagle_1.jpg").unlink()
    (trimaps / "beagle_2.png").unlink()
    (images / "beagle_3.jpg").write_bytes((images / "beagle_3.jpg").read_bytes()[:-400])
    put(images, trimaps, "beagle_4", mode="L")
    put(images, trimaps, "beagle_5", np.where(TRIMAP == 1, 2, TRIMAP).astype(np.uint8))
    put(images, trimaps, "beagle_6", np.pad(TRIMAP, 20, constant_values=2))
    Image.fromarray(TRIMAP.T).save(trimaps / "beagle_7.png")
    return root


def test_problems_are_found_listed_and_treated(troubled, capsys):
    with pytest.raises(DataError) as caught:
        opened(troubled)
    said = str(caught.value)
    assert "4 of 20" in said and "beagle_1: no picture\n" in said and "beagle_2: no mask\n" in said
    assert "beagle_3.jpg: the picture cannot be decoded" in said and "truncated" in said
    assert "beagle_7.png: mask of another size" in said and "beagle_4" not in said and "beagle_5" not in said
    with pytest.warns(UserWarning, match="4 pictures of 'all' .* out: beagle_1, beagle_2, beagle_7, beagle_3$"):
        data = opened(troubled, problems="skip", within=(50, 50), progress=True)
    assert len(data) == 15 and {"beagle_4", "beagle_6"} <= {*data.names}
    assert data.left_out == {"beagle_5": "no pet in the mask"}
    assert "pets, all: 15 of 20 pictures are used; left out 1: no pet in the mask (beagle_5)" in capsys.readouterr().err
    assert "15 of 20" in data.report() and "left out 1: no pet in the mask (beagle_5)" in data.report()
    image, mask = data[data.names.index("beagle_4")]
    assert image.shape[0] == 3 and torch.equal(image[0], image[2])
    image, mask = data[data.names.index("beagle_6")]
    assert image.shape == (3, 43, 50) and set(mask.unique().tolist()) == {0, 2, 255}


@pytest.mark.parametrize(("name", "message"), [("beagle_3", "cannot be decoded"), ("beagle_7", "another size")])
def test_without_a_cache_errors_come_when_the_file_is_read(troubled, name, message):
    with pytest.warns(UserWarning, match="2 pictures"):
        data = opened(troubled, problems="skip", cache=False)
    assert len(data) == 18 and "not checked" in data.report()
    with pytest.raises(DataError, match=f"(?s){name}.*{message}"):
        data[data.names.index(name)]


@pytest.mark.parametrize("bad", [{"problems": {"missing": "skip"}}, {"problems": "keep"}, {"split": "dev"},
                                 {"target": "head"}, {"how": "stretch"}, {"size": 0}])
def test_bad_arguments(tmp_path, bad):
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        opened(published(tmp_path), **bad)


def test_files_are_read_once_and_again_only_if_they_change(tmp_path, monkeypatch):
    root, looked = published(tmp_path / "pets"), []
    look = decode.Decoder.__call__
    monkeypatch.setattr(decode.Decoder, "__call__",
                        lambda self, entry, **options: looked.append(entry.name) or look(self, entry, **options))
    for _ in range(2):
        assert len(opened(root, "test")) == 10
    assert sorted(looked) == sorted(NAMES[1::2])
    trimap = root / "annotations" / "trimaps" / "Bengal_2.png"
    Image.fromarray(np.full_like(TRIMAP, 2)).save(trimap)
    os.utime(trimap, ns=(1, 1))
    assert "Bengal_2" in opened(root, "test").left_out and len(looked) == 20


@pytest.mark.parametrize("how", ["crop-or-pad", "resize", "letterbox"])
@pytest.mark.parametrize("size", [24, (40, 16), (20, 30), (60, 90)])
def test_sizes(tmp_path, how, size):
    data = opened(published(tmp_path), size=size, how=how)
    height, width = (size, size) if isinstance(size, int) else size
    image, mask = data[0]
    assert image.shape == (3, height, width) and mask.shape == (height, width) and data.size == (height, width)
    assert set(mask.unique().tolist()) <= {0, 2, 255}
    image, mask = data.read(0)
    assert image.shape == (height, width, 3) and mask.shape == (height, width) and image.dtype == np.uint8
    shares = {"resize": 1, "letterbox": min(height / 20, width / 30) ** 2 * 600 / (height * width),
              "crop-or-pad": min(height, 20) * min(width, 30) / (height * width)}
    assert (image.any(2)).mean() == pytest.approx(shares[how], abs=0.04), "what is not picture is black"
    if shares[how] < 0.9:
        assert (mask[~image.any(2)] == 255).mean() > 0.95


def test_downloads_what_is_missing(tmp_path, monkeypatch):
    """The archives are those that torchvision names; here they come from a folder instead of the network."""
    sample = write_pets_sample(tmp_path / "sample", count=12, progress=False)
    resources, fetched = [], []
    for name in ("images", "annotations"):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as tar:
            tar.add(sample / name, name)
        (tmp_path / f"{name}.tar.gz").write_bytes(data.getvalue())
        resources.append((f"https://pets/data/{name}.tar.gz", hashlib.md5(data.getvalue()).hexdigest()))
    names = [(url.rpartition("/")[2], len(md5)) for url, md5 in OxfordIIITPet._RESOURCES]
    assert names == [("images.tar.gz", 32), ("annotations.tar.gz", 32)], "torchvision's table is as we read it"
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", tuple(resources))
    with pytest.raises(DataError, match=r"(?s)SEGLAB_OFFLINE.*790 MB from https://pets/data/images.*the sample"):
        download_pets(tmp_path / "new", progress=False)

    def fetch(url, target, md5, **_):
        fetched.append((url, md5))
        return Path(shutil.copy(tmp_path / target.name, target))

    monkeypatch.setattr(sys.modules[download_pets.__module__], "fetch", fetch)
    assert download_pets(tmp_path / "new", progress=False) == tmp_path / "new" and fetched == resources
    assert opened(tmp_path / "new").names == opened(sample).names and len(opened(sample)) == 11
    download_pets(tmp_path / "new", progress=False)
    assert len(fetched) == 2
    shutil.rmtree(tmp_path / "new" / "annotations")
    assert download_pets(tmp_path / "new", progress=False) == tmp_path / "new" and len(fetched) == 3
