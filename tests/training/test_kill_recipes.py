"""`seglab train` of every kind of recipe, ended at random moments: the same bits as if nobody had disturbed it."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from seglab import cli
from seglab.samples import write_catdog_sample, write_drone_sample
from seglab.training import load_checkpoint
from tests.processes import prepared
from tests.training.runs import same_bits

#: What is trained, on drawings or on pictures with one label each.
KINDS: dict[str, tuple[str, list[str]]] = {
    "one convolution": ("drone", ["single-conv", "--epochs", "6"]),
    "light, crops, one-cycle": ("drone", ["light", "--size", "64", "--batch", "4", "--epochs", "3"]),
    "poly, auxiliary head, accumulated": ("drone", ["deeplabv3-coco", "--size", "64", "--batch", "4", "--at-once", "2",
                                                    "--epochs", "3"]),
    "plateau": ("drone", ["gcn-pets", "--schedule", "plateau", "--optimizer", "sgd", "--size", "64", "--batch", "4",
                          "--epochs", "3"]),
    "head on cached features": ("catdog", ["transfer-catdog", "--epochs", "6"]),
    "head, then fine-tuning": ("catdog", ["transfer-catdog-finetune", "--size", "64"]),
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM) if hasattr(signal, "SIGKILL") else ()
#: At random moments, of each kind with each signal.
KILLS = int(os.environ.get("SEGLAB_KILLS", "5"))

pytestmark = [pytest.mark.weekly, pytest.mark.skipif(not SIGNALS, reason="this system cannot kill -9")]


def train(arguments: list[str], die_at: int | None = None) -> None:
    """`seglab train …`; with `die_at`, this process kills itself when a file is to get its name for the n-th time."""
    os.chdir(os.path.dirname(arguments[-1]))
    torch.set_num_threads(1)
    if die_at is not None:
        replace, done = os.replace, [0]

        def counted(*paths: str) -> None:
            done[0] += 1
            if done[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*paths)

        os.replace = counted
    cli.app(["train", *arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("data")
    return {"drone": write_drone_sample(place / "drone", count=16, size=(64, 96), progress=False),
            "catdog": write_catdog_sample(place / "catdog", count=(24, 8), size=(64, 64), progress=False)}


def start(arguments: list[str], die_at: int | None = None) -> multiprocessing.Process:
    process = prepared().Process(target=train, args=(arguments, die_at))
    process.start()
    return process


def results(folder: Path) -> dict[str, object]:
    """All that a run leaves but for the time that it took."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            content = load_checkpoint(path)
            content.pop("timings", None)
            found[name] = content
        elif path.name == "history.json":
            found[name] = path.read_bytes()
        elif path.is_file() and path.name != ".lock":
            found[name] = path.name
    return found


@pytest.fixture(scope="module", params=KINDS)
def whole(request, data, tmp_path_factory) -> tuple[list[str], Path, float]:
    """The arguments of a kind, the run that nobody disturbed, and its seconds."""
    name, arguments = KINDS[request.param]
    folder = tmp_path_factory.mktemp("whole") / "run"
    arguments = [*arguments, "--data", str(data[name]), "--out"]
    start([*arguments, str(folder.with_name("warm"))]).join()  # fills the caches, starts the server of processes
    began = time.perf_counter()
    process = start([*arguments, str(folder)])
    process.join()
    assert process.exitcode == 0
    return arguments, folder, time.perf_counter() - began


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_ended_at_random_moments(whole, number, tmp_path):
    arguments, undisturbed, seconds = whole
    rng, ended, rounds = random.Random(int(number)), 0, 0
    while ended < KILLS:
        rounds += 1
        folder, finished = tmp_path / f"{rounds}" / "run", False
        folder.parent.mkdir()
        while not finished:
            process = start([*arguments, str(folder)])
            process.join(rng.uniform(0.05, 0.7 * seconds) if ended < KILLS else None)
            if process.is_alive():
                os.kill(process.pid, number)
            process.join()
            finished = process.exitcode == 0  # perhaps just before the signal
            if not finished:
                # SIGTERM before the command listens ends Python as the system does.
                assert process.exitcode in ({-number} if number == signal.SIGKILL else {-number, 143})
                ended += 1
        assert same_bits(results(undisturbed), results(folder)), rounds


def test_killed_whenever_a_file_gets_its_name(whole, tmp_path):
    arguments, undisturbed, _ = whole
    for die_at in range(1, 60, 3):
        folder = tmp_path / f"{die_at}" / "run"
        folder.parent.mkdir()
        process = start([*arguments, str(folder)], die_at)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        process = start([*arguments, str(folder)])
        process.join()
        assert process.exitcode == 0
        assert same_bits(results(undisturbed), results(folder)), die_at
    assert die_at > 6
