"""How the shipped network, and the GCN on real photographs, are trained: the whole way, on drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from PIL import Image

from seglab.checkpoint import load_checkpoint
from seglab.datasets import Pets, Samples
from seglab.models import BUNDLED, load_model
from seglab.samples import write_pets_sample
from tools import bundled
from tools.bundled import ENLARGED, MIN_SIZE, STAGES, Stage, export, read_large, read_small, score, train_stage


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """`pets/` in the published layout, `pets128/` with numbers for names."""
    root = tmp_path_factory.mktemp("data")
    write_pets_sample(root / "pets", count=16, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGLAB_HOME", str(root / "home"))
        for split in ("train", "test"):
            reader = Pets(root / "pets", target="foreground")
            reader.splits = {"all": reader.splits[split]}
            pets = Samples(reader, "all", size=128, how="resize", progress=False)
            for kind in ("images", "trimaps"):
                (root / "pets128" / split / kind).mkdir(parents=True)
            for number in range(len(pets)):
                image, mask = pets.read(number)
                name = f"{number + 7}"  # 7, 8, … 14: in the order of the numbers, not of the letters
                Image.fromarray(image).save(root / "pets128" / split / "images" / f"{name}.jpg")
                trimap = np.select([mask == 1, mask == 255], [1, 3], 2).astype(np.uint8)
                Image.fromarray(trimap).save(root / "pets128" / split / "trimaps" / f"{name}.png")
        yield root


def test_pictures_come_in_the_order_of_their_numbers(data):
    small, (large, species) = read_small(data / "pets128", "test"), read_large(data / "pets", "test", side=64)
    numbers = sorted(int(path.stem) for path in (data / "pets128" / "test" / "images").iterdir())
    assert numbers[-1] > 9 and [image.shape for image, _ in small] == [(128, 128, 3)] * len(numbers)
    assert {min(mask.shape) for _, mask in large} == {64} and set(species) == {1, 2}
    for (_, mask), name in zip(small, numbers, strict=True):
        trimap = np.asarray(Image.open(data / "pets128" / "test" / "trimaps" / f"{name}.png"))
        assert np.array_equal(mask, np.array([0, 1, 0, 255])[trimap])


@pytest.mark.slow
def test_the_share_with_the_highest_odds_is_called_cats(data):
    drawn = [image for image, _ in read_small(data / "pets128", "trainval")]
    found = bundled.guess_species([skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket(), *drawn])
    assert found[0] == bundled.CAT and len(found) == len(drawn) + 3  # Chelsea is one
    cats, dogs = found.count(bundled.CAT) / len(found), found.count(bundled.DOG) / len(found)
    assert abs(cats - (2371 / 7349 - 0.04)) < 0.1 and abs(dogs - (1 - 2371 / 7349 - 0.06)) < 0.1


@pytest.mark.slow
def test_what_is_trained_on_and_what_it_is_watched_with(data, monkeypatch, capsys):
    scene = bundled.draw_aerial(7, 0, (200, 300))
    monkeypatch.setattr(bundled, "draw_aerial", lambda *_: scene)  # 120 of them take long
    pairs, val = bundled.training_data(data)
    small, (large, _) = read_small(data / "pets128", "trainval"), read_large(data / "pets", "trainval")
    assert len(val) == 1 and np.array_equal(val[0][0], small[0][0]), "each twentieth picture is kept back"
    assert len(pairs) == len(small) - 1 + 4 * len(large) + 120
    assert {*np.unique(val[0][1])} <= {0, bundled.CAT, bundled.DOG, 255}
    ids = {0, bundled.CAT, bundled.DOG, bundled.SOME_PET, 255}
    assert {int(k) for _, mask in pairs for k in np.unique(mask)} <= ids
    assert {*np.unique(pairs[-1][1])} <= {0, 255}, "a scene without a pet is background"
    assert "small pictures:" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STAGES))
def test_a_stage_trains_exports_and_scores(data, tmp_path, name):
    large, species = read_large(data / "pets", "trainval", side=96)
    pairs = [(image, np.where(mask == 1, np.uint8(one), mask)) for (image, mask), one in zip(large, species,
                                                                                             strict=True)]
    history = train_stage(pairs, pairs[:2], tmp_path / "run", Stage(1, 64, 0.5, 0.3, 1e-4, 1e-3), name, num_workers=0)
    assert len(history) == 1
    export(tmp_path / "run" / "last.safetensors", tmp_path / "w.safetensors")
    assert all(t.dtype != torch.float32 for t in load_checkpoint(tmp_path / "w.safetensors")["model"].values())
    model = load_model(tmp_path / "w.safetensors")
    assert model.card.architecture["name"] == name
    if name == "deeplabv3":
        assert (model.card.short_side, model.card.zoom) == ENLARGED
    else:
        assert model.min_size == MIN_SIZE and model.card.short_side == 256 and model.card.zoom == 1
    found = score(model, large[:2], species[:2])
    assert 0 <= found.miou <= 1 and int(found.support.sum()) == sum(int((mask != 255).sum()) for _, mask in large[:2])
    if name != "fcn_skip":  # its first layers are those of the shipped FCN, to the bit; the last ones moved
        before = load_model(BUNDLED).backbone.state_dict()
        after = {key.removeprefix("backbone."): value for key, value in
                 load_checkpoint(tmp_path / "run" / "last.safetensors")["model"].items() if key.startswith("backbone.")}
        assert torch.equal(before["body.conv_stem.weight"], after["body.conv_stem.weight"])
        assert not all(torch.equal(before[key], after[key]) for key in before)
