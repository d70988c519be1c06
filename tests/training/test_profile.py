"""Profiles: the training stays the same, each second goes to the right part, and nothing of anybody's is replaced."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import ProfilerAction
from torch.utils.data import Dataset
from typer.testing import CliRunner

import seglab
from seglab.cli import app
from seglab.errors import TrainingError, WriteError
from seglab.models import build
from seglab.training import Profile, cross_entropy, load_checkpoint, profiler
from seglab.training.profiler import PARTS, NotProfiled, _hint, _Plan
from tests.conftest import room
from tests.training.runs import Blobs, same_bits, train


def ranges(folder: Path) -> Counter[str]:
    """How often each range that is ours occurs in the trace."""
    trace = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
    return Counter(event["name"] for event in trace["traceEvents"] if event.get("cat") == "user_annotation")


def test_the_training_is_the_same_bit_by_bit(tmp_path):
    found = {}
    for name, profile in (("plain", None), ("profiled", Profile())):
        history, _ = train(tmp_path / name, epochs=3, accumulate=2, batch_size=2, profile=profile, num_workers=1)
        found[name] = load_checkpoint(tmp_path / name / "last.safetensors")
        found[name].pop("timings")
        assert len(history) == 3
    assert same_bits(found["plain"], found["profiled"])
    assert profile.folder == tmp_path / "profiled" / "profile"
    names = {where: {path.name for path in (tmp_path / where).iterdir()} for where in found}
    assert names["profiled"] == names["plain"] | {"profile"}


def test_without_one_the_profiler_is_never_touched(monkeypatch):
    monkeypatch.setattr(profiler, "profile", None)
    monkeypatch.setattr(profiler, "_Clock", None)
    assert len(train(None, epochs=1)[0]) == 1
    loader = [1, 2]
    assert NotProfiled().batches(loader) is loader


def test_trace_and_summary_are_in_the_runs_folder_and_the_trace_has_the_parts_of_five_steps(tmp_path):
    profile = Profile()
    train(tmp_path, epochs=2, count=48, profile=profile)  # twelve steps an epoch
    folder = tmp_path / "profile"
    assert {path.name for path in folder.iterdir()} == {"trace.json.gz", "summary.txt"}
    assert (folder / "summary.txt").read_text(encoding="utf-8") == profile.text + "\n"
    found = ranges(folder)
    assert [found[part] for part in ("data", "forward", "backward", "optimizer")] == [5] * 4
    assert [name for name in found if name.startswith("ProfilerStep")] == [f"ProfilerStep#{i}" for i in range(4, 9)]
    assert not set(found) & {"validation", "saving"}
    lines = profile.text.splitlines()
    assert lines[0] == "profile of epoch 2 (12 steps, 48 pictures) on cpu"
    for words in ("waiting for data", "images/s", "MiB of the process", "aten::convolution_backward",
                  "(of 5 traced steps; shares of time in all operators)", str(folder / "trace.json.gz")):
        assert words in profile.text
    assert max(map(len, lines[:-1])) <= 110 and len(lines) < 35  # a screen
    assert list(profile.seconds) == list(PARTS) and all(value > 0 for value in profile.seconds.values())
    assert "forward" not in "".join(line.split()[0] for line in lines[lines.index("") + 11:] if "aten" in line)


def test_no_profile_replaces_another_or_what_is_there(tmp_path):
    profile = Profile()
    train(tmp_path, epochs=1, profile=profile)
    first = {path.name: path.read_bytes() for path in (tmp_path / "profile").iterdir()}
    assert "profile of steps 2 to 3 of epoch 1 (2 steps, 8 pictures, some of them slower" in profile.text
    (tmp_path / "profile-2").symlink_to(tmp_path / "nowhere")
    train(tmp_path, epochs=3, profile=profile)  # goes on
    assert profile.folder == tmp_path / "profile-3" and profile.text.startswith("profile of epoch 3 (3 steps")
    assert {path.name: path.read_bytes() for path in (tmp_path / "profile").iterdir()} == first
    before = sorted(tmp_path.rglob("*"))
    train(tmp_path, epochs=3, profile=profile)  # nothing is left to do
    assert "all epochs were done before" in profile.text and profile.folder is None and profile.seconds == {}
    assert sorted(tmp_path.rglob("*")) == before


class Hours:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("epochs", [1, 3])
def test_each_second_counts_as_the_part_in_which_it_passes(tmp_path, monkeypatch, epochs):
    clock = Hours()
    monkeypatch.setattr(profiler, "time", clock)

    class Slow(Dataset):
        def __init__(self, blobs: Blobs, seconds: float) -> None:
            self.blobs, self.seconds = blobs, seconds

        def __len__(self) -> int:
            return len(self.blobs)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            clock.move(self.seconds)
            return self.blobs[index]

    class Slowly(torch.optim.SGD):
        def step(self, closure: None = None) -> None:
            clock.move(16)
            super().step()

    def loss(output: dict[str, torch.Tensor], masks: torch.Tensor) -> torch.Tensor:
        clock.move(4)
        value = cross_entropy(output, masks)
        value.register_hook(lambda _: clock.move(8))
        return value

    torch.manual_seed(0)
    model, profile = build("single_conv", 3), Profile()
    seglab.fit(model, Slow(Blobs(40), 1), Slow(Blobs(3), 100), optimizer=Slowly(model.parameters(), 0.1),
               epochs=epochs, batch_size=2, accumulate=2, progress=False, folder=tmp_path, profile=profile,
               loss=loss, on_epoch=lambda _: clock.move(1000), on_step=lambda *_: clock.move(0.5))
    # Of one epoch, steps 10 to 20 count: 4 to 8 are traced, counted from 0. Of three, 20 to 59.
    steps, groups, validations = (11, 6, 1) if epochs == 1 else (40, 20, 2)
    loaded = 10 if epochs == 1 else 40  # Accelerate loads a batch ahead; there is none after the last
    assert profile.seconds == {"data": loaded * 2, "forward": steps * 4, "backward": steps * 8,
                               "optimizer": groups * 16, "saving": validations * 1000, "other": steps * 0.5,
                               "validation": validations * 400}  # three pictures, and a look at what they are
    which = "steps 10 to 20 of epoch 1 (11 steps, 22" if epochs == 1 else "epochs 2 to 3 (40 steps, 80"
    assert profile.text.splitlines()[0] == f"profile of {which} pictures) on cpu"
    rate = 2 * steps / (loaded * 2 + steps * 12.5 + groups * 16)
    assert f"{rate:.1f} images/s" in profile.text and "hint" not in profile.text


def test_starting_and_ending_the_trace_is_no_part_of_the_training(monkeypatch):
    clock, step = Hours(), profiler.profile.step
    monkeypatch.setattr(profiler, "time", clock)

    def slow_step(tracer: profiler.profile) -> None:
        clock.move(100)
        step(tracer)

    monkeypatch.setattr(profiler.profile, "step", slow_step)
    profile = Profile()
    train(None, epochs=1, on_step=lambda *_: clock.move(1), profile=profile)  # three steps: two are traced, and count
    assert {name: spent for name, spent in profile.seconds.items() if spent} == {"other": 2}


@pytest.mark.parametrize("epochs", [1, 2, 7])
@pytest.mark.parametrize("batches", range(1, 25))
def test_steps_are_chosen_within_one_epoch_and_the_schedule_is_one_that_pytorch_takes(epochs, batches):
    plan = _Plan.of(range(2, 2 + epochs), batches)
    assert 0 <= plan.first < plan.first + plan.traced <= batches and 1 <= plan.traced <= 5
    assert plan.counted < epochs * batches and (plan.counted == batches if epochs > 1 else plan.counted >= plan.first)
    actions = [plan.action(step) for step in range(epochs * batches)]
    recorded = [step for step, action in enumerate(actions)
                if action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)]
    assert recorded == [step for step in range(epochs * batches) if plan.traces(step)]
    assert actions.count(ProfilerAction.RECORD_AND_SAVE) == 1
    assert actions.count(ProfilerAction.WARMUP) == (plan.first > 0)


@pytest.mark.parametrize("stop", [1, 3, 6, 14])
def test_after_ctrl_c_what_was_measured_is_told(tmp_path, stop):
    """In the warm-up, before the trace, within it, and behind it, in the second epoch."""
    def on_step(done: int, total: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    profile = Profile()
    history, _ = train(tmp_path, epochs=3, count=48, on_step=on_step, profile=profile)
    assert history.interrupted and len(history) == stop // 12
    assert not torch._C._autograd._profiler_enabled()
    if stop == 14:
        assert profile.text.startswith("profile of steps 1 to 1 of epoch 2 (1 step, 4 pictures)")
        assert sum(ranges(tmp_path / "profile").values()) > 20
    else:
        assert "training ended in its warm-up" in profile.text and not (tmp_path / "profile").exists()


def test_an_error_in_training_ends_the_profile_and_writes_none(tmp_path):
    profile = Profile()
    with pytest.raises(TrainingError):
        train(tmp_path, epochs=2, loss=lambda *both: cross_entropy(*both) * torch.nan, profile=profile)
    assert not torch._C._autograd._profiler_enabled()
    assert profile.text == "" and not (tmp_path / "profile").exists()
    train(None, epochs=2, profile=profile)  # the next one is whole
    assert profile.text.startswith("profile of epoch 2") and profile.folder is None


def full(*_: object, **__: object) -> bytes:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("where", "name", "instead", "words"), [
    (profiler.gzip, "compress", full, "No space left"),
    (profiler.profile, "export_chrome_trace", lambda *_: None, "breaks off"),
    (profiler, "atomic_folder", None, "breaks off")])  # none of these fails: Kineto finds no room, and says nothing
def test_a_disk_without_room_is_an_error_that_names_the_file_and_the_run_is_kept(tmp_path, monkeypatch, where, name,
                                                                                 instead, words):
    if instead is not None:
        monkeypatch.setattr(where, name, instead)
    with room(200_000) if instead is None else nullcontext(), \
            pytest.raises(WriteError, match=f"profile(.|\n)*{words}(.|\n)*Free some"):
        train(tmp_path, epochs=1, count=48, profile=Profile())
    assert {path.name for path in tmp_path.iterdir() if path.name != ".lock"} == {
        "last.safetensors", "best.safetensors", "history.json", "timings.json"}
    assert len(train(tmp_path, epochs=1, count=48)[0]) == 1


@pytest.mark.skipif(os.name != "posix", reason="Windows allows no such names")
def test_a_folder_may_have_any_name(tmp_path):
    profile = Profile()
    train(tmp_path / 'a "b" \\ ]}, "traceName": {é', epochs=1, profile=profile)
    assert ranges(profile.folder)["forward"] == 2


def test_only_the_main_process_measures(tmp_path):
    profile = Profile()
    with profile.going_on(SimpleNamespace(is_main_process=False), tmp_path, range(2), 3, 0):
        with profile.part("forward"):
            assert list(profile.batches([1, 2])) == [1, 2]
        assert not torch._C._autograd._profiler_enabled()
    assert profile.text == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("data", "workers", "device", "busy", "words"), [
    (3, 0, "cpu", 0, "30% of the time is waiting for data. Try loader processes: --workers N"),
    (3, 4, "cuda", 0, "more loader processes than 4"), (1.9, 0, "cpu", 0, ""), (1.9, 0, "cuda", 0.05, ""),
    (1.9, 0, "cuda", 0.02, "computes in 20% of a step only")])
def test_a_hint_is_given_where_the_figures_justify_it(data, workers, device, busy, words):
    seconds = dict.fromkeys(PARTS, 0.0) | {"data": data, "forward": 10 - data}
    hint = " ".join(_hint(seconds, 100, busy, workers, torch.device(device)).split())  # steps of 0.1 s
    assert (words in hint) if words else not hint
    assert ("They share the cores" in hint) == (data > 2 and device == "cpu")


@pytest.mark.slow
def test_the_command_prints_the_profile(drone_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "single-conv", "--data", str(drone_root), "--epochs", "2", "--out", "out", "--profile"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = Path("out/profile/summary.txt").read_text(encoding="utf-8")
    assert summary in result.stdout and summary.startswith("profile of epoch 2 ")
    assert "checkpoints and history: out" in result.stdout
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and "nothing was profiled" in again.stdout
