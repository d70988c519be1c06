"""Runs that are ended from outside at any moment, and then resumed: the same bits as one that was left alone."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from seglab.checkpoint import from_bytes
from seglab.errors import CheckpointError, WriteError
from seglab.samples import write_catdog_sample, write_coco_sample, write_drone_sample, write_pets_sample
from seglab.training import load_checkpoint
from tests.conftest import room
from tests.processes import prepared
from tests.training.runs import same_bits, train, train_in_a_process

EPOCHS = 60
KILLS = int(os.environ.get("SEGLAB_KILLS", "8"))

kills = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill -9")


def start(target: Any, *arguments: Any) -> multiprocessing.Process:
    process = prepared().Process(target=target, args=arguments)
    process.start()
    return process


def check_same(folder: Path, whole: Path) -> None:
    """The same files, with the same bits but for the times and the picture of the curve."""
    def files(root: Path) -> list[Path]:
        return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())

    assert files(folder) == files(whole)
    for name in files(whole):
        if name.suffix == ".safetensors":
            a, b = (load_checkpoint(root / name) for root in (whole, folder))
            a.pop("timings", None), b.pop("timings", None)
            assert same_bits(a, b), name
        elif name.name == "history.json":
            assert (folder / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
@kills
def test_killed_runs_end_as_if_never_killed(tmp_path):
    whole = start(train_in_a_process, str(tmp_path / "whole"), EPOCHS)
    started = time.perf_counter()
    whole.join()
    seconds = time.perf_counter() - started
    assert whole.exitcode == 0

    rng = random.Random(0)
    kills = rounds = 0
    while kills < KILLS:
        rounds += 1
        folder = tmp_path / f"killed-{rounds}"
        done = False
        while not done:
            process = start(train_in_a_process, str(folder), EPOCHS)
            process.join(rng.uniform(0.02, 0.6 * seconds) if kills < KILLS else None)
            process.kill()
            process.join()
            if process.exitcode == -signal.SIGKILL:
                kills += 1
            else:  # it had ended by itself, perhaps just before the kill
                assert process.exitcode == 0
                done = True
        check_same(folder, tmp_path / "whole")


def train_and_die(folder: str, last: int) -> None:
    """Kills itself within the writing of files, before what is done the `last` time of all that is counted here."""
    calls = []

    def counted(real: Any, half: bool = False) -> Any:
        def call(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == last:
                if half:
                    real(arguments[0], arguments[1][:len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    os.replace, os.fsync = counted(os.replace), counted(os.fsync)
    Path.write_bytes = counted(Path.write_bytes, half=True)  # type: ignore[method-assign]
    torch.set_num_threads(1)
    train(folder, epochs=1)
    sys.exit(len(calls) < last)


@pytest.mark.slow
@kills
def test_a_run_can_be_killed_at_every_step_of_writing_its_files(tmp_path):
    """Half a temporary file, all of it but not on the disk, without its name, with it; of each file in turn."""
    train(tmp_path / "whole", epochs=2)
    calls = 0
    while True:
        calls += 1
        folder = tmp_path / str(calls)
        process = start(train_and_die, str(folder), calls)
        process.join()
        if process.exitcode == 1:  # there are no more
            break
        assert process.exitcode == -signal.SIGKILL
        train(folder, epochs=2)
        check_same(folder, tmp_path / "whole")
    # The weights to start from and their history, then the best and the last of the epoch, and the history.
    assert calls - 1 == 4 * (3 + 4)


@pytest.mark.slow
@kills
def test_a_folder_is_in_use_until_its_run_ends_however_that_is(tmp_path):
    process = start(train_in_a_process, str(tmp_path), 100_000)
    while not (tmp_path / "history.json").exists():
        time.sleep(0.01)
    options = {"epochs": 2, "accumulate": 2}
    with pytest.raises(CheckpointError, match="another process trains in it"):
        train(tmp_path, **options)
    assert process.exitcode is None, "the first run was disturbed"
    before = len(load_checkpoint(tmp_path / "last.safetensors")["history"]["rows"])
    while len(load_checkpoint(tmp_path / "last.safetensors")["history"]["rows"]) <= before:
        time.sleep(0.01)
    process.kill()
    process.join()
    rows = load_checkpoint(tmp_path / "last.safetensors")["history"]["rows"]
    history, _ = train(tmp_path, **options | {"epochs": len(rows) + 1})
    assert history == train(None, **options | {"epochs": len(rows) + 1})[0]


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_disk_that_is_full_ends_a_run_which_goes_on_when_there_is_room(tmp_path, epoch):
    with ExitStack() as stack:
        if epoch == 0:
            stack.enter_context(room(1000))
        with pytest.raises((CheckpointError, WriteError), match="cannot be written(.|\n)*Free some space"):
            train(tmp_path / "full", on_epoch=lambda history: len(history) == epoch and stack.enter_context(room(1000)))
    whole, _ = train(tmp_path / "whole")
    assert train(tmp_path / "full")[0] == whole
    check_same(tmp_path / "full", tmp_path / "whole")


@pytest.mark.parametrize("call", ["mkdir", "open", "replace"])
def test_a_folder_that_cannot_be_written_is_named_and_the_run_goes_on_where_it_can(tmp_path, monkeypatch, call):
    """A disk that was mounted read-only at the start, or in the middle: even root cannot write there."""
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    def stop(history: Any) -> None:
        monkeypatch.setattr(os, "replace", refuse)

    train(tmp_path / "run", epochs=1)
    if call != "replace":
        monkeypatch.setattr(os, call, refuse)
    folder = tmp_path / "new" if call == "mkdir" else tmp_path / "run"
    with pytest.raises(CheckpointError, match=rf"{folder.name}(.|\n)*Read-only(.|\n)*you may write to"):
        train(folder, on_epoch=stop if call == "replace" else None)
    monkeypatch.undo()
    train(tmp_path / "whole")
    train(folder)
    check_same(folder, tmp_path / "whole")


@pytest.mark.parametrize("jump", [-86_400, 10 * 365 * 86_400])
def test_the_clock_may_be_set_and_files_may_be_of_the_future(tmp_path, monkeypatch, jump):
    """Seconds are those of a clock that nobody sets, and no file is told to be new or old by its time."""
    real, shift = time.time, [0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    folder = tmp_path / "jumped"
    train(folder, epochs=2, on_epoch=lambda _: shift.append(shift.pop() + jump))
    for path in folder.iterdir():
        os.utime(path, (real() + 1e9, real() + 1e9))
    train(folder, on_epoch=lambda _: shift.append(shift.pop() - jump))
    monkeypatch.undo()
    train(tmp_path / "whole")
    check_same(folder, tmp_path / "whole")
    timings = json.loads((folder / "timings.json").read_text())
    assert len(timings) == 3 and all(0 < row["seconds"] < 60 and row["images_per_second"] > 0 for row in timings)


def test_a_run_of_before_the_checksum_goes_on(tmp_path):
    train(tmp_path / "old", epochs=1)
    path = tmp_path / "old" / "last.safetensors"
    tensors, text = from_bytes(path.read_bytes())
    tree = json.loads(text)
    settings = next(value for key, value in tree["dict"] if key == "settings")
    settings["dict"] = [pair for pair in settings["dict"] if pair[0] not in {"processes", "accumulate"}]
    save_file(tensors, path, {"seglab-checkpoint-1": json.dumps(tree)})
    train(tmp_path / "whole")
    train(tmp_path / "old")
    check_same(tmp_path / "old", tmp_path / "whole")


def command(home: Path, arguments: tuple[str, ...]) -> None:
    """`seglab` with these arguments."""
    os.environ |= {"SEGLAB_HOME": str(home), "SEGLAB_OFFLINE": "1"}
    torch.set_num_threads(1)
    # As where the command starts itself: loader workers that a server forks, as for this process, outlive it when it is
    # killed, because that server and they wait for each other.
    multiprocessing.set_start_method("fork", force=True)
    home.mkdir(exist_ok=True)
    sys.stdout = sys.stderr = open(home / "output.txt", "w")  # noqa: SIM115 # to the end of the process
    from seglab.cli import app

    app(arguments)


#: All kinds of recipes and models, with all schedules and without, with accumulated batches, workers and jitter: what
#: stands behind `seglab train`, with DATA in front of a folder of pictures.
KINDS = {"single-conv": "single-conv --data drone --epochs 12 --schedule poly",
         "light": "light --data drone --epochs 4 --size 64 --batch 4 --at-once 2 --schedule one-cycle --monitor miou",
         "fcn": "--model fcn_skip --data drone --epochs 4 --size 64 --batch 4 --schedule plateau --loss ce+dice "
                "--monitor miou",
         "deeplabv3": "deeplabv3-coco --data coco --epochs 3 --size 64 --batch 4 --at-once 3 --schedule cosine",
         "gcn": "gcn-pets --data pets --epochs 3 --size 64 --batch 4 --optimizer sgd --workers 1",
         "transfer": "transfer --data catdog --epochs 40 --batch 8 --schedule cosine",
         "finetune": "transfer-catdog-finetune --data catdog --size 64 --epochs 3 --batch 8"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_drone_sample(root / "drone", count=14, size=(64, 96), progress=False)
    write_coco_sample(root / "coco", count=(9, 6), progress=False)
    write_pets_sample(root / "pets", count=14, progress=False)
    write_catdog_sample(root / "catdog", count=(22, 4), size=(64, 64), progress=False)
    return root


def run_kind(name: str, data: Path, folder: Path) -> multiprocessing.Process:
    """Caches are beside the folder, so that the first of its runs makes them and may be killed then."""
    words = KINDS[name].split()
    place = words.index("--data") + 1
    words[place] = str(data / words[place])
    return start(command, folder.with_suffix(".home"), ("train", *words, "--out", str(folder)))


@pytest.mark.slow
@kills
def test_sigterm_keeps_the_finished_epochs_and_the_same_command_goes_on(tmp_path, data):
    whole = run_kind("single-conv", data, tmp_path / "whole")
    whole.join()
    assert whole.exitcode == 0
    folder = tmp_path / "ended"
    process = run_kind("single-conv", data, folder)
    while not (folder / "history.json").exists() or not json.loads((folder / "history.json").read_text())["rows"]:
        time.sleep(0.01)
    process.terminate()
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    rows = json.loads((folder / "history.json").read_text())["rows"]
    assert 1 <= len(rows) < 12
    again = run_kind("single-conv", data, folder)
    again.join()
    assert again.exitcode == 0
    check_same(folder, tmp_path / "whole")


@pytest.mark.weekly
@pytest.mark.slow
@kills
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_recipe_ends_as_if_it_had_been_left_alone(tmp_path, data, name, capsys):
    """`SEGLAB_KILLS` kills of each, half of them by SIGTERM."""
    started = time.perf_counter()
    whole = run_kind(name, data, tmp_path / "whole")
    whole.join()
    seconds = time.perf_counter() - started
    assert whole.exitcode == 0, (tmp_path / "whole.home" / "output.txt").read_text()
    rng, codes, rounds, hits = random.Random(name), [], 0, 0
    while hits < KILLS:
        rounds += 1
        folder = tmp_path / f"killed-{rounds}"
        while True:
            process, started = run_kind(name, data, folder), time.perf_counter()
            process.join(rng.uniform(0.1, 0.8) * seconds if hits < KILLS else None)
            if process.exitcode is None:
                process.terminate() if hits % 2 else process.kill()
            process.join()
            codes.append(process.exitcode)
            if process.exitcode == 0:
                seconds = min(seconds, time.perf_counter() - started)  # the first one may have had more to load
                break
            # SIGTERM ends a process that has not begun with the command yet at once.
            assert process.exitcode in {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM}
            hits += 1
        check_same(folder, tmp_path / "whole")
    with capsys.disabled():
        print(f"\n{name}: {hits} kills in {rounds} runs of {seconds:.1f} s, exit codes {codes}")
