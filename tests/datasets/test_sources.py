"""One call finds every layout, and says what it looked for where there is none."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seglab import samples
from seglab.datasets import Normalize, Reader, Samples, open_dataset
from seglab.datasets.sources import find_dataset
from seglab.errors import ArgumentError, DataError
from seglab.samples import write_catdog_sample, write_pets_sample
from tests.conftest import COLOURS, write_pair

TABLE = "name,r,g,b\nred,255,0,0\ngreen,0,255,0\nblue,0,0,255\n"
few = pytest.mark.filterwarnings("ignore:.* classes never occur in")


def open_quietly(*args, **options):
    return open_dataset(*args, **{"progress": False, **options})


def mine(root: Path, count: int = 6, values=(0, 1, 2), **tables) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        write_pair(root, f"{i}", Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)),
                   COLOURS.colourise(rng.choice(np.array(values, np.uint8), (9, 9))))
    for name, text in ({"class_dict.csv": TABLE} | tables).items():
        (root / name).write_text(text)
    return root


@few
def test_real_data_by_path_by_name_and_by_environment(drone_root, monkeypatch):
    found = [open_quietly(drone_root), open_quietly(str(drone_root)), open_quietly("drone", root=drone_root)]
    monkeypatch.setenv("SEGLAB_DATA", str(drone_root))
    found += [open_quietly(), open_quietly("drone"), open_quietly(source="real")]
    assert {str(one) for one in found} == {"drone (real): 9 train, 1 val, 2 test pictures, 23 classes"}
    assert all(torch.equal(one.train[0][0], found[0].train[0][0]) for one in found)
    assert isinstance(found[0].train, Samples) and found[0].label_set is found[0]["test"].label_set


@few
def test_datasets_are_found_some_folders_deeper_and_more_particular_ones_first(tmp_path, drone_root):
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "deep" / "semantic_drone_dataset").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "semantic_drone_dataset" / "x").symlink_to(drone_root)
    assert find_dataset(tmp_path / "a")[0] == "drone"
    mine(tmp_path / "c" / "mine")
    assert find_dataset(tmp_path / "c") == ("folder", tmp_path / "c" / "mine")
    (tmp_path / "c" / "drone").symlink_to(drone_root)
    assert open_quietly(tmp_path / "c").name == "drone"
    write_pets_sample(tmp_path / "d" / "pets", count=12, progress=False)
    write_catdog_sample(tmp_path / "d" / "catdog", count=(3, 1), size=(32, 40), progress=False)
    assert find_dataset(tmp_path / "d") == ("pets", tmp_path / "d" / "pets")
    assert find_dataset(tmp_path / "d", "catdog")[0] == "catdog"
    shutil.rmtree(tmp_path / "d" / "pets")
    assert find_dataset(tmp_path / "d")[0] == "catdog"


def test_your_own_pictures(tmp_path, capsys):
    root = mine(tmp_path / "mine")
    (root / "train.txt").write_text("0.png\n1.png\n")  # somebody's list, and no map file of cats and dogs
    Image.new("L", (9, 9)).save(root / "masks" / "more.png")
    splits = open_dataset(root)
    assert str(splits) == "mine (real): 4 train, 1 val, 1 test pictures, 3 classes" and splits.train[0][1].max() <= 2
    said, report = capsys.readouterr().err, splits.report()
    assert said.count("1 masks have no picture") == report.count("1 masks have no picture") == 1 and ": more" in said
    assert "4 of 4 pictures of 'train'" in report and "1 of 1 pictures of 'test'" in report


def test_camvids_folders_with_a_table_of_their_own_are_another_dataset(tmp_path):
    for split in ("train", "val"):
        mine(tmp_path / "x", values=(0, 1, 2))
        (tmp_path / "x" / "images").rename(tmp_path / split)
        (tmp_path / "x" / "masks").rename(tmp_path / f"{split}annot")
    assert find_dataset(tmp_path) == ("camvid", tmp_path) and find_dataset(tmp_path / "..", "camvid")[0] == "camvid"
    (tmp_path / "class_dict.csv").write_text(TABLE)
    assert find_dataset(tmp_path) == ("folder", tmp_path) and find_dataset(tmp_path, "camvid")[0] == "camvid"


@few
def test_pets(home, tmp_path, monkeypatch):
    root = write_pets_sample(tmp_path / "data" / "pets", count=24, progress=False)
    splits = open_quietly("pets", root=tmp_path / "data", size=64)
    assert str(splits) == "pets (real): 10 train, 1 val, 12 test pictures, 3 classes"
    assert splits.train[0][0].shape == (3, 64, 64) and splits.train.size == (64, 64)
    assert open_quietly("pets", root=root, target="breed", problems="skip").label_set.classes[3] == "Plain_cat"
    monkeypatch.setitem(samples._WRITERS, "pets", (1, partial(write_pets_sample, count=12)))
    sample = open_quietly("pets", source="sample", target="foreground")
    assert (sample.source, sample.label_set.name) == ("sample", "pets-foreground")
    assert next((home / "samples").iterdir()).name == "pets-1"


def test_the_sample_is_taken_whatever_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setitem(samples._WRITERS, "catdog", (1, partial(write_catdog_sample, count=(4, 2), size=(32, 40))))
    monkeypatch.setenv("SEGLAB_DATA", str(tmp_path / "nowhere"))
    assert str(open_quietly("catdog", source="sample", size=16)) == (
        "catdog (sample): 6 train, 2 val, 4 test pictures, 2 classes")
    with pytest.raises(DataError, match="nowhere"):
        open_quietly("catdog", size=16)


@pytest.mark.parametrize(("args", "options", "message"), [
    (["pascal"], {}, r"(?s)'pascal'.*a folder, or one of .*\"drone\""), ([], {"source": "fake"}, "'fake'"),
    (["camvid"], {}, r"(?s)\"camvid\" without a folder.*built-in"), (["drone"], {"fit": 3}, "(?s)fit.*within, size"),
    (["drone"], {"source": "sample", "categories": ["cat"]}, "(?s)categories.*Datasets with 'categories'"),
    (["catdog"], {"source": "sample", "target": "breed"}, "(?s)target.*'target': pets"),
    (["pets"], {"source": "sample", "ignore_ids": (3,), "crowd": 1}, "(?s)crowd, ignore_ids"),
    (["."], {"root": "/"}, "(?s)root.*none beside the folder"), (["."], {"source": "sample"}, "(?s)source.*'sample'"),
    (["catdog"], {"source": "sample", "size": (64, 48)}, "squares"),
    (["catdog"], {"source": "sample", "within": (64, 48)}, "squares")])
def test_arguments(args, options, message, monkeypatch):
    for name, write in (("drone", samples.write_drone_sample), ("pets", write_pets_sample)):
        monkeypatch.setitem(samples._WRITERS, name, (0, partial(write, count=12)))
    monkeypatch.setitem(samples._WRITERS, "catdog", (0, partial(write_catdog_sample, count=(4, 1), size=(32, 40))))
    with pytest.raises(ArgumentError, match=message):
        open_quietly(*args, **options)


def test_where_no_dataset_is(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="SEGLAB_DATA"):
        open_dataset(source="real")
    with pytest.raises(DataError, match="an empty folder"):
        open_dataset(tmp_path)
    (tmp_path / "stuff").mkdir()
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    assert "no dataset found" in str(caught.value) and "['stuff']" in str(caught.value)
    assert all(f"({name})" in str(caught.value) for name in Reader.kinds)
    with pytest.raises(DataError, match="(?s)nowhere.*missing.*holds"):
        open_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(("change", "message"), [
    (lambda root: (root / "class_dict.csv").unlink(), "table of classes"),
    (lambda root: (root / "masks" / "1.png").rename(root / "masks" / "x1.png"), "1 of .*\n.* 1: no mask in"),
    (lambda root: shutil.copy(root / "images" / "1.png", root / "images" / "1.tif"), "two files for one name"),
    (lambda root: [p.rename(p.with_stem("m" + p.stem)) for p in sorted((root / "masks").iterdir())],
     "(?s)no picture has a mask.*pictures 0, 1, 2; masks m0, m1, m2"),
    (lambda root: (shutil.rmtree(root / "masks"), (root / "masks").symlink_to(root / "images")), "the picture itself"),
    (lambda root: [p.unlink() for p in (root / "masks").iterdir()], "no pictures in it")])
def test_what_is_wrong_with_a_layout_that_is_nearly_there_is_said(tmp_path, change, message):
    root = mine(tmp_path / "mine", 3)
    change(root)
    with pytest.raises(DataError, match=message):
        open_quietly(tmp_path)
    assert find_dataset(tmp_path)[0] == "folder"


@pytest.mark.parametrize("place", ["test/images", "images/test"])
def test_a_split_without_masks_is_not_left_out_in_silence(tmp_path, capsys, place):
    """As of contests: the test's masks are the organisers'."""
    for split in ("train", "val"):
        mine(tmp_path / "x")
        for kind in ("images", "masks"):
            folder = tmp_path / place.replace("test", split).replace("images", kind)
            folder.parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / "x" / kind).rename(folder)
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "class_dict.csv").write_text(TABLE)
    assert {*open_dataset(tmp_path).parts} == {"train", "val", "test"}
    assert f"{tmp_path / place.removesuffix('/images')}: not used" in capsys.readouterr().err


def test_classes_that_never_occur_and_ignored_pixels_are_warnings(tmp_path):
    with pytest.warns(UserWarning, match="1 of 3 classes never occur in (train|test): blue"):
        open_quietly(mine(tmp_path / "a", values=(0, 1)))
    with pytest.warns(UserWarning, match="[67].% of the pixels in (train|test) are ignored"):
        open_quietly(mine(tmp_path / "b", values=(0, 1, 2, *[255] * 6)))


def test_normalize_measures_the_dataset(drone_train):
    pixels = torch.stack([image for image, _ in drone_train]).double() / 255
    normalize = Normalize.of(drone_train)
    assert torch.allclose(torch.tensor(normalize.mean).double(), pixels.mean((0, 2, 3)))
    assert torch.allclose(torch.tensor(normalize.std).double(), pixels.std((0, 2, 3), correction=0))
    result = normalize(torch.stack([image for image, _ in drone_train]))
    assert result.mean((0, 2, 3)).abs().max() < 1e-4
    assert result.dtype == torch.float32


def test_normalize_refuses_what_is_already_float():
    with pytest.raises(ArgumentError, match=r"torch\.float32(.|\n)*uint8"):
        Normalize()(torch.zeros(1, 3, 2, 2))
    with pytest.raises(ArgumentError, match="deviations above 0"):
        Normalize(std=(1, 0, 1))
