"""Fixtures shared by the tests: small datasets on disk, made once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from seglab.labels import LabelSet

if TYPE_CHECKING:  # at run time where they are used: pytest-xdist's main process reads this file and runs no test
    from seglab.datasets import Samples

# Tests never depend on what is set outside; those that want real data ask for SEGLAB_TEST_DATA.
os.environ.pop("SEGLAB_DATA", None)
# Nor on what is downloaded or cached: lessons run with the bundled weights, as their outputs were stored.
os.environ["SEGLAB_OFFLINE"] = "1"

COLOURS = LabelSet("colours", ("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch sees none")


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes in the block: what a writer sees of a disk that is full."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # Python ignores the signal
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def drone_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from seglab.samples import write_drone_sample

    return write_drone_sample(tmp_path_factory.mktemp("drone") / "ids", count=12, size=(48, 72), progress=False)


@pytest.fixture(scope="session")
def drone_train(drone_root: Path) -> Samples:
    from seglab.datasets import Drone, Samples

    return Samples(Drone(drone_root), "train", cache=False)


def write_pair(root: Path, name: str, image: Image.Image, mask: np.ndarray | Image.Image) -> None:
    """Write images/NAME.png and masks/NAME.png."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    image.save(root / "images" / f"{name}.png")
    (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(root / "masks" / f"{name}.png")


def with_flipped_bit(data: bytes, place: int) -> bytes:
    """The same bytes, but for the bit at a place counted in bits from the beginning."""
    damaged = bytearray(data)
    damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)
