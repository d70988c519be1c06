"""Two processes on one machine train as one does with all pictures of a step, and tell of it once."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from typer.testing import CliRunner

import seglab
from seglab.cli import app
from seglab.errors import CheckpointError, SeglabError, TrainingError
from seglab.models import build
from seglab.recipes import PRESETS
from seglab.training import SCHEDULES, cross_entropy, load_checkpoint, load_weights, make_schedule
from seglab.training.order import Batches, epoch_order
from seglab.training.run import Run
from tests.processes import prepared
from tests.training.runs import Blobs

EPOCHS, BEFORE = 6, 2  # in all, and before a run goes on in another number of processes


class Case(NamedTuple):
    """Numbers of pictures, and what each process has in memory; two of them make a step of at least twice that."""

    pictures: int
    batch_size: int
    accumulate: int = 1
    val: int = 7


#: By schedule.
CASES = {"one-cycle": Case(12, 2),
         "poly": Case(15, 2),  # the last step has three pictures: one process has one of them
         "cosine": Case(13, 2),  # it has one: a process has none
         "plateau": Case(23, 1, accumulate=2),  # the last group is two batches, and the second of them one picture
         "constant": Case(3, 4, val=1)}  # fewer pictures than one batch of both, and fewer for validation


def train_case(name: str, folder: Path | None, epochs: int = EPOCHS, *, alone: bool = True, whole: bool = False,
               **options) -> tuple[seglab.training.History, nn.Module]:
    """A case's run. `alone`, one process takes what two would; as one batch of a whole step, if `whole`."""
    pictures, batch_size, accumulate, val = CASES[name]
    step = 2 * batch_size * accumulate
    torch.manual_seed(0)
    model = build("single_conv", 3)
    sgd = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    schedule = make_schedule(name, sgd, EPOCHS * -(-pictures // step))
    if name == "plateau":
        schedule.patience = 0
    history = seglab.fit(model, Blobs(pictures), Blobs(val, seed=5), optimizer=sgd, scheduler=schedule, epochs=epochs,
                         batch_size=step if whole else batch_size * (1 + alone),
                         accumulate=1 if whole else accumulate, folder=folder,
                         **{"progress": False, "monitor": "miou", **options})
    return history, model


def train_both_ways(folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    restore = Run.restore

    def slowly(run: Run, resume: bool) -> None:
        time.sleep(int(rank))  # the second process looks when the first has long wanted to write
        Run.restore = restore
        restore(run, resume)

    Run.restore = slowly
    replace = os.replace

    def watched(new: Path, path: Path) -> None:
        if path.is_relative_to(folder):  # who comes first writes the caches
            with open(folder / "writers.txt", "a") as file:
                file.write(f"{rank}\n")
        replace(new, path)

    os.replace = watched  # which is how a file gets its name
    for name in CASES:
        def on_step(done: int, total: int, steps: str = f"{folder / name}.steps") -> None:
            with open(steps, "a") as file:  # both processes would write to it
                file.write(f"{done} of {total}\n")

        with open(folder / f"{name}.{rank}.txt", "w") as file, redirect_stdout(file):
            train_case(name, folder / name, alone=False, resume=False, progress=True, on_step=on_step)
            train_case(name, folder / f"{name}-2-1", BEFORE, alone=False)
            train_case(name, folder / f"{name}-1-2", alone=False)  # goes on

    for pictures in (7, 1):
        torch.manual_seed(0)
        model = with_batchnorm()
        seglab.fit(model, Blobs(12), Blobs(pictures, seed=5), optimizer=torch.optim.SGD(model.parameters(), 0.5),
                   epochs=2, batch_size=2, folder=folder / f"{pictures}-pictures", progress=False)
    train_recipes(folder / "two")

    seen = []

    def loss(output, masks):
        seen.append(1)
        return cross_entropy(output, masks) * (math.nan if rank == "1" and len(seen) == 5 else 1)  # of three an epoch

    try:
        train_case("one-cycle", folder / "nan", alone=False, loss=loss)
    except TrainingError as error:
        (folder / f"nan.{rank}.txt").write_text(str(error))
    said = CliRunner().invoke(app, ["train", "nonsuch"])
    (folder / f"said.{rank}.txt").write_text(f"{said.exit_code} {said.output}")


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
    """The folder of all runs; one pair of processes trains them, one after the other."""
    folder = tmp_path_factory.mktemp("two")
    for name in CASES:
        train_case(name, folder / f"{name}-1-2", BEFORE)
    launcher = prepared().Process(target=launch, args=(folder,))
    launcher.start()
    launcher.join()
    assert launcher.exitcode == 0
    return folder


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 3, 8, 13, 24])
def test_every_picture_of_an_epoch_counts_once_and_the_same(count, processes):
    shared = [Batches(count, 3, 2, rank, processes) for rank in range(processes)]
    assert len({len(batches) for batches in shared}) == 1, "all exchange gradients equally often"
    seen, size = [], 2 * processes
    for step, parts in enumerate(zip(*shared, strict=True)):
        weights = {}
        for batches, part in zip(shared, parts, strict=True):
            for _, picture in part:
                weights[picture] = weights.get(picture, 0.0) + batches.share(step) / len(part) / processes
        here = [picture for picture, weight in weights.items() if weight]
        assert [weights[picture] for picture in here] == pytest.approx([1 / len(here)] * len(here))
        assert sorted(here) == sorted(epoch_order(count, 3, 0)[step * size:(step + 1) * size])
        seen += here
    assert sorted(seen) == list(range(count))


@pytest.mark.slow
@forks
@pytest.mark.parametrize("name", SCHEDULES)
def test_two_processes_equal_one_with_all_pictures_of_a_step(two, name):
    one, model = train_case(name, None)
    check(two / name, one, model)
    if name == "plateau":
        rates = one["lr"]
        assert len(set(rates)) > 2, "else this tests nothing"
        whole, model = train_case(name, None, whole=True)
        for key in set(whole.rows[0]) - {"loss"}:  # which is a mean over batches
            assert whole[key] == one[key]
        check_weights(two / name, model)
    steps = EPOCHS * -(-CASES[name].pictures // (2 * CASES[name].batch_size))
    assert Path(f"{two / name}.steps").read_text().splitlines() == [f"{n} of {steps}" for n in range(1, steps + 1)]


def check(folder: Path, one: seglab.training.History, model: nn.Module) -> None:
    """The losses and weights in a folder are those, beyond rounding; the rates and the counted scores are the same."""
    stored = load_checkpoint(folder / "last.safetensors")["history"]
    rows = json.loads((folder / "history.json").read_text())["rows"]
    assert rows == stored["rows"] and stored["best_epoch"] == one.best_epoch
    for ours, theirs in zip(one.rows, rows, strict=True):
        assert abs(ours["loss"] - theirs["loss"]) < 1e-6
        assert {**ours, "loss": 0} == {**theirs, "loss": 0}
    check_weights(folder, model)


def check_weights(folder: Path, model: nn.Module) -> None:
    weights = load_checkpoint(folder / "last.safetensors")["model"]
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
@forks
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("way", ["1-2", "2-1"])
def test_a_run_goes_on_in_another_number_of_processes(two, name, way, tmp_path):
    folder = two / f"{name}-{way}"
    if way == "2-1":
        if name == "constant":  # else the schedule, of another length then, is refused before
            with pytest.raises(CheckpointError, match="pictures a step 8 there, 4 here"):
                train_case(name, folder, alone=False)  # with the numbers of one of two processes
        train_case(name, folder)
    check(folder, *train_case(name, tmp_path))


@pytest.mark.slow
@forks
@pytest.mark.parametrize("pictures", [7, 1])  # more than processes, and fewer
def test_validation_scores_the_weights_that_are_saved(two, pictures):
    folder = two / f"{pictures}-pictures"
    for name in ("last", "best"):
        model = load_weights(with_batchnorm(), folder / f"{name}.safetensors")
        scores = seglab.evaluate(model, Blobs(pictures, seed=5)).compute()
        row = load_checkpoint(folder / f"{name}.safetensors")["history"]["rows"][-1]
        assert (scores.pixel_accuracy, scores.miou) == pytest.approx((row["pixel_accuracy"], row["miou"]), abs=1e-9)


@pytest.mark.slow
@forks
def test_recipes_in_two_processes_take_the_same_steps(two, tmp_path):
    train_recipes(tmp_path)
    for name in ("single-conv", "transfer"):
        one, both = (json.loads((folder / name / "history.json").read_text())["rows"]
                     for folder in (tmp_path, two / "two"))
        assert len(one) == len(both) == 2
        for a, b in zip(one, both, strict=True):
            # Roundings add up, in another order: a pixel in doubt may get another class.
            assert a["lr"] == b["lr"] and b == pytest.approx(a, abs=1e-4), name


@pytest.mark.slow
@forks
def test_only_the_main_process_writes_and_prints(two):
    assert set((two / "writers.txt").read_text().split()) == {"0"}
    for name in CASES:
        told = (two / f"{name}.0.txt").read_text().splitlines()
        assert [line.split("  ")[0] for line in told] == [f"epoch {n}/{EPOCHS}" for n in range(1, EPOCHS + 1)]
        assert (two / f"{name}.1.txt").read_text() == ""


@pytest.mark.slow
@forks
def test_a_loss_that_is_no_number_in_one_process_ends_all_with_one_error(two):
    one, other = ((two / f"nan.{rank}.txt").read_text() for rank in (0, 1))
    assert one == other and "nan in epoch 2, first at step 2" in one
    assert len(load_checkpoint(two / "nan" / "last.safetensors")["history"]["rows"]) == 1
    said = sorted((two / f"said.{rank}.txt").read_text() for rank in (0, 1))
    assert said[0] == "1 " and said[1].startswith("1 error: recipe\n  found:    'nonsuch'")


def train_until_one_ends(folder: Path, rank: int, port: int, how: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                   "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    torch.set_num_threads(1)
    seen = []

    def loss(output, masks):
        seen.append(1)
        if rank == 1 and len(seen) == 5:  # in the second epoch
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise SeglabError("picture 3", found="no picture")
        return cross_entropy(output, masks)

    try:
        train_case("one-cycle", folder / "run", alone=False, loss=loss)
    except SeglabError as error:
        (folder / f"{rank}.txt").write_text(str(error))


@pytest.mark.slow
@forks
@pytest.mark.parametrize("how", ["killed", "error"])
def test_a_process_that_ends_takes_the_others_with_it(tmp_path, how):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pair = [prepared().Process(target=train_until_one_ends, args=(tmp_path, rank, port, how)) for rank in (0, 1)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(60)
    assert [process.exitcode for process in pair] == [0, -signal.SIGKILL if how == "killed" else 0], "or they hang"
    assert "another one has ended" in (tmp_path / "0.txt").read_text()
    assert how == "killed" or "picture 3" in (tmp_path / "1.txt").read_text()
    assert len(load_checkpoint(tmp_path / "run" / "last.safetensors")["history"]["rows"]) == 1
    train_case("one-cycle", tmp_path / "run")  # the lock is free
    check(tmp_path / "run", *train_case("one-cycle", None))


def test_the_commands_of_the_page_exist():
    page = (Path(__file__).parents[2] / "docs" / "many_devices.md").read_text(encoding="utf-8").replace("\\\n", "")
    commands = re.findall(r"seglab train ([\w-]+)(.*)", page)
    known = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output
    assert len(commands) >= 6
    for recipe, options in commands:
        assert recipe in PRESETS
        assert all(option in known for option in re.findall(r"--[\w-]+", options)), options
