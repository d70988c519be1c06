"""How the shipped network, and the GCN on real photographs, are trained: the whole way, on drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seglab.checkpoint import load_checkpoint
from seglab.datasets import OxfordPets, write_pets_sample
from seglab.models import BUNDLED, load_model
from seglab.recipes.bundled import MIN_SIZE, STAGES, Stage, export, read_large, read_small, score, train_stage


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """`pets/` in the published layout, `pets128/` with numbers for names."""
    root = tmp_path_factory.mktemp("data")
    write_pets_sample(root / "pets", count=16, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGLAB_HOME", str(root / "home"))
        for split, whole in (("train", "trainval"), ("test", "test")):
            pets = OxfordPets(root / "pets", whole, "foreground", size=128, how="resize", progress=False)
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
@pytest.mark.parametrize("name", list(STAGES))
def test_a_stage_trains_exports_and_scores(data, tmp_path, name):
    large, species = read_large(data / "pets", "trainval", side=96)
    pairs = [(image, np.where(mask == 1, np.uint8(one), mask)) for (image, mask), one in zip(large, species,
                                                                                             strict=True)]
    history = train_stage(pairs, pairs[:2], tmp_path / "run", Stage(1, 64, 0.5, 0.3, 1e-4, 1e-3), name, num_workers=0)
    assert len(history) == 1
    export(tmp_path / "run" / "last.safetensors", tmp_path / "w.safetensors")
    model = load_model(tmp_path / "w.safetensors")
    assert model.recipe["name"] == name and model.min_size == MIN_SIZE and model.short_side == 256
    found = score(model, large[:2], species[:2])
    assert 0 <= found.miou <= 1 and int(found.support.sum()) == sum(int((mask != 255).sum()) for _, mask in large[:2])
    if name == "gcn":  # its first layers are those of the shipped FCN, to the bit; the last ones moved
        before = load_model(BUNDLED).backbone.state_dict()
        after = {key.removeprefix("backbone."): value for key, value in
                 load_checkpoint(tmp_path / "run" / "last.safetensors")["model"].items() if key.startswith("backbone.")}
        assert torch.equal(before["body.conv_stem.weight"], after["body.conv_stem.weight"])
        assert not all(torch.equal(before[key], after[key]) for key in before)
