"""What every drawn sample promises: the seed decides, and no picture of one split is in the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab import datasets, samples
from seglab.datasets import Drone
from seglab.datasets.splits import complete_splits
from seglab.samples.video import sample_frames

Pictures = dict[str, np.ndarray]


def read(paths: list[Path]) -> Pictures:
    return {path.name: np.asarray(Image.open(path)) for path in paths}


def drone(root: Path, seed: int) -> dict[str, Pictures]:
    samples.write_drone_sample(root, count=4, size=(32, 48), seed=seed, progress=False)
    splits = complete_splits(Drone(root).splits)
    return {split: read([entry.image for entry in splits[split]]) for split in ("train", "val", "test")}


def catdog(root: Path, seed: int) -> dict[str, Pictures]:
    samples.write_catdog_sample(root, count=(2, 2), size=(32, 32), seed=seed, progress=False)
    return {split: read(sorted((root / split).rglob("*.jpg"))) for split in ("train", "test")}


def coco(root: Path, seed: int) -> dict[str, Pictures]:
    samples.write_coco_sample(root, count=(2, 2), seed=seed, progress=False)
    return {split: read(sorted((root / split).iterdir())) for split in ("train2017", "val2017")}


def pets(root: Path, seed: int) -> dict[str, Pictures]:
    samples.write_pets_sample(root, count=12, seed=seed, progress=False)
    names = {split: [line.split()[0] for line in (root / "annotations" / f"{split}.txt").read_text().splitlines()]
             for split in ("trainval", "test")}
    return {split: read([root / "images" / f"{name}.jpg" for name in names[split]]) for split in names}


def video(root: Path, seed: int) -> dict[str, Pictures]:
    path = samples.write_video_sample(root.with_suffix(".avi"), count=3, size=(64, 64), seed=seed, progress=False)
    return {"frames": {str(i): frame for i, frame in enumerate(datasets.VideoReader(path))}}


SAMPLES: dict[str, Callable[[Path, int], dict[str, Pictures]]] = {
    f"write_{found.__name__}_sample": found for found in (drone, catdog, coco, pets, video)}
every_sample = pytest.mark.parametrize("draw", SAMPLES.values())


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether they are one picture, perhaps compressed twice."""
    if a.shape != b.shape:
        return False
    return float(np.abs(a.astype(int) - b).mean()) < 1


@every_sample
def test_the_seed_decides(tmp_path, draw):
    first, again, other = (draw(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    for split, pictures in first.items():
        assert pictures and pictures.keys() == again[split].keys()
        assert all(np.array_equal(picture, again[split][name]) for name, picture in pictures.items())
        others = [picture for split in other.values() for picture in split.values()]
        assert not any(alike(picture, one) for picture in pictures.values() for one in others)


@every_sample
def test_no_picture_is_there_twice_neither_in_a_split_nor_in_two(tmp_path, draw):
    splits = draw(tmp_path / "a", 0)
    pictures = [picture for split in splits.values() for picture in split.values()]
    assert all(splits.values())
    assert not any(alike(a, b) for i, a in enumerate(pictures) for b in pictures[:i])


def test_the_seed_decides_on_scene_and_noise_of_the_video():
    quiet = [next(iter(sample_frames(2, (64, 64), noise=0, seed=seed)))[0] for seed in (0, 0, 1)]
    noisy = [next(iter(sample_frames(2, (64, 64), noise=9, seed=seed)))[0] for seed in (0, 0, 1)]
    for a, b, other in (quiet, noisy):
        assert np.array_equal(a, b) and not alike(a, other)
    noise = [a.astype(int) - b for a, b in zip(noisy, quiet, strict=True)]
    assert np.abs(noise[0] - noise[2]).mean() > 5


def test_every_sample_is_tested():
    assert {name for name in dir(samples) if name.startswith("write_") and name.endswith("_sample")} == set(SAMPLES)
