from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from seglab import samples
from seglab.datasets import Normalize, load
from seglab.errors import ArgumentError, DataError
from seglab.samples import write_pets_sample
from tests.conftest import COLOURS, write_pair


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_real_data_by_argument_and_by_environment(home, drone_root, monkeypatch):
    by_argument = load(root=drone_root, progress=False)
    monkeypatch.setenv("SEGLAB_DATA", str(drone_root))
    by_environment = load(progress=False)
    assert str(by_argument) == str(by_environment) == "drone (real): 9 train, 1 val, 2 test pictures, 23 classes"
    assert torch.equal(by_argument.train[0][0], by_environment.train[0][0])


def test_catdog_has_squares_only():
    with pytest.raises(ArgumentError, match="squares"):
        load("catdog", source="sample", size=(64, 48), progress=False)


def test_a_folder_of_datasets(home, tmp_path, drone_root):
    (tmp_path / "all" / "b").mkdir(parents=True)
    (tmp_path / "all" / "drone").symlink_to(drone_root)
    assert load(root=tmp_path / "all", cache=False).name == "drone"


def test_your_own_pictures(home, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        write_pair(tmp_path / "mine", f"{i}", Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)),
                   COLOURS.colourise(rng.integers(0, 3, (9, 9), dtype=np.uint8)))
    (tmp_path / "mine" / "class_dict.csv").write_text("name,r,g,b\nred,255,0,0\ngreen,0,255,0\nblue,0,0,255\n")
    splits = load(root=tmp_path / "mine", progress=False)
    assert str(splits) == "mine (real): 4 train, 1 val, 1 test pictures, 3 classes"
    assert splits.train[0][1].max() <= 2


def test_pets(home, tmp_path, monkeypatch):
    root = write_pets_sample(tmp_path / "data" / "pets", count=24, progress=False)
    splits = load("pets", root=tmp_path / "data", size=64, problems={"no-pet": "keep"}, progress=False)
    assert str(splits) == "pets (real): 11 train, 1 val, 12 test pictures, 3 classes"
    assert splits.train[0][0].shape == (3, 64, 64) and splits.train.size == (64, 64)
    assert load("pets", root=root, target="breed", problems="skip", progress=False).label_set.classes[3] == "Plain_cat"
    monkeypatch.setitem(samples._WRITERS, "pets", (1, partial(write_pets_sample, count=12)))
    sample = load("pets", source="sample", target="foreground", progress=False)
    assert (sample.source, sample.label_set.name) == ("sample", "pets-foreground")
    assert next((home / "samples").iterdir()).name == "pets-1"


def test_arguments(home, tmp_path):
    with pytest.raises(ArgumentError, match="'pascal'"):
        load("pascal")
    with pytest.raises(ArgumentError, match="'fake'"):
        load(source="fake")
    with pytest.raises(DataError, match="SEGLAB_DATA"):
        load(source="real")
    with pytest.raises(DataError, match="no segmentation dataset found"):
        load(root=tmp_path)


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
