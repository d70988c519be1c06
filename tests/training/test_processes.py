"""Two processes on one machine: the counts add up, and the weights are those of one process with twice the batch."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import seglab
from seglab.models import build
from seglab.training import load_checkpoint, load_weights
from seglab.training.run import Run
from tests.processes import prepared
from tests.training.runs import Blobs

#: (batch size, accumulate): four pictures a step in two processes, each time.
WAYS = ((2, 1), (1, 2))


def train_both_ways(folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    restore = Run.restore

    def slowly(run: Run, resume: bool) -> None:
        time.sleep(int(os.environ["RANK"]))  # the second process looks when the first has long wanted to write
        restore(run, resume)

    Run.restore = slowly
    replace = os.replace

    def watched(new: Path, path: Path) -> None:
        if path.is_relative_to(folder):  # who comes first writes the caches
            with open(folder / "writers.txt", "a") as file:
                file.write(f"{os.environ['RANK']}\n")
        replace(new, path)

    os.replace = watched  # which is how a file gets its name
    for batch_size, accumulate in WAYS:
        place = folder / f"{batch_size}-{accumulate}"

        def on_step(done: int, total: int, steps: str = f"{place}.steps") -> None:
            with open(steps, "a") as file:  # both processes would write to it
                file.write(f"{done} of {total}\n")

        torch.manual_seed(0)
        model = build("single_conv", 3)
        seglab.fit(model, Blobs(12), Blobs(7, seed=5), optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=2,
                   batch_size=batch_size, accumulate=accumulate, folder=place, resume=False, progress=False,
                   on_step=on_step)

    for pictures in (7, 1):
        torch.manual_seed(0)
        model = with_batchnorm()
        seglab.fit(model, Blobs(12), Blobs(pictures, seed=5), optimizer=torch.optim.SGD(model.parameters(), 0.5),
                   epochs=2, batch_size=2, folder=folder / f"{pictures}-pictures", progress=False)
    train_recipes(folder / "two")


def train_recipes(folder: Path) -> None:
    """A segmentation and a classification, by recipes that share out 6 and 32 pictures a step."""
    for name in ("single-conv", "transfer"):
        seglab.recipes.train(name, epochs=2, folder=folder / name, progress=False)


def with_batchnorm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, momentum=0.5), nn.Conv2d(3, 3, 1))


def launch(folder: Path) -> None:
    """What torchrun does once it has read its arguments, but for its imports in each process."""
    if torch.accelerator.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2, rdzv_backend="c10d",
                          rdzv_endpoint="localhost:0", start_method="fork")
    elastic_launch(config, train_both_ways)(folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both runs; one pair of processes trains them, one after the other."""
    folder = tmp_path_factory.mktemp("two")
    launcher = prepared().Process(target=launch, args=(folder,))
    launcher.start()
    launcher.join()
    assert launcher.exitcode == 0
    return folder


pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")]


@pytest.mark.parametrize(("batch_size", "accumulate"), WAYS)
def test_two_processes_equal_one_with_all_pictures_of_a_step(two, batch_size, accumulate):
    torch.manual_seed(0)
    model = build("single_conv", 3)
    one = seglab.fit(model, Blobs(12), Blobs(7, seed=5), optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=2,
                     batch_size=4, progress=False)
    folder = two / f"{batch_size}-{accumulate}"
    steps = 2 * 3 * accumulate
    assert Path(f"{folder}.steps").read_text().splitlines() == [f"{n} of {steps}" for n in range(1, steps + 1)]
    rows = json.loads((folder / "history.json").read_text())["rows"]
    for a, b in zip(one.rows, rows, strict=True):
        assert a.keys() == b.keys()
        assert all(abs(a[k] - b[k]) < 1e-5 for k in a)
    weights = load_checkpoint(folder / "last.safetensors")["model"]
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, weights[name], atol=1e-6)


@pytest.mark.parametrize("pictures", [7, 1])  # more than processes, and fewer
def test_validation_scores_the_weights_that_are_saved(two, pictures):
    folder = two / f"{pictures}-pictures"
    for name in ("last", "best"):
        model = load_weights(with_batchnorm(), folder / f"{name}.safetensors")
        scores = seglab.evaluate(model, Blobs(pictures, seed=5)).compute()
        row = load_checkpoint(folder / f"{name}.safetensors")["history"]["rows"][-1]
        assert (scores.pixel_accuracy, scores.miou) == pytest.approx((row["pixel_accuracy"], row["miou"]), abs=1e-9)


@pytest.mark.parametrize("name", ["single-conv", "transfer"])
def test_a_recipe_in_two_processes_takes_the_same_steps(two, name, tmp_path):
    train_recipes(tmp_path)
    one, both = (json.loads((folder / name / "history.json").read_text())["rows"] for folder in (tmp_path, two / "two"))
    assert len(one) == len(both) == 2
    for a, b in zip(one, both, strict=True):
        assert a["lr"] == b["lr"]
        # Where the last batch of an epoch cannot be shared out evenly, one process sees some of its pictures again.
        # That moves a loss a little, and a classifier's scores by a picture, of 25 a class.
        limits = {"loss": 2e-2, "lr": 1e-9} if name == "transfer" else {}
        usual = 0.041 if name == "transfer" else 1e-2
        apart = {key: (a[key], b[key]) for key in a if abs(a[key] - b[key]) >= limits.get(key, usual)}
        assert not apart


def test_only_the_main_process_writes(two):
    assert set((two / "writers.txt").read_text().split()) == {"0"}
