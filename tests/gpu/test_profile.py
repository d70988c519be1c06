"""Profiles on a GPU: its own time counts, not that of Python, which runs ahead; and the trace holds its kernels."""

from __future__ import annotations

import gzip
import json

import torch

from seglab.training import Profile, cross_entropy, load_checkpoint
from tests.gpu.waiting import no_waiting
from tests.training.runs import same_bits, train

#: Of the GPU's clock: some milliseconds, which Python queues in microseconds.
CYCLES = 10_000_000


def slow(output, masks):
    torch.cuda._sleep(CYCLES)
    return cross_entropy(output, masks)


def test_the_gpus_time_counts_and_not_that_of_queueing(tmp_path):
    profile = Profile()
    train(tmp_path, epochs=3, count=48, loss=slow, profile=profile)  # 24 steps count
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    torch.cuda._sleep(CYCLES)
    end.record()
    end.synchronize()
    assert profile.seconds["forward"] > 24 * 0.8 * start.elapsed_time(end) / 1000
    assert profile.seconds["forward"] > 0.5 * sum(profile.seconds.values())
    assert "on cuda" in profile.text and "MiB of tensors on the GPU" in profile.text
    assert "shares of the GPU's time in kernels" in profile.text


def test_the_trace_holds_kernels_and_the_ranges(tmp_path):
    profile = Profile()
    train(tmp_path, epochs=2, count=48, profile=profile)
    events = json.loads(gzip.decompress((profile.folder / "trace.json.gz").read_bytes()))["traceEvents"]
    assert sum(event.get("cat") == "kernel" for event in events) >= 5 * 10
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert [names.count(part) for part in ("data", "forward", "backward", "optimizer")] == [5] * 4


def test_the_clock_never_waits():
    """A border between two parts is an event in the queue; only the trace waits, where it begins and ends."""
    from seglab.training.profiler import _Clock

    clock = _Clock(torch.device("cuda"))
    with no_waiting():
        for _ in range(100):
            torch.cuda._sleep(CYCLES // 100)
            clock.cross("forward")
    assert clock.pending, "it ran ahead"
    assert clock.seconds()["forward"] > 0 and not clock.pending


def test_the_training_is_the_same_bit_by_bit(tmp_path, repeatable):
    for name, profile in (("plain", None), ("profiled", Profile())):
        train(tmp_path / name, epochs=3, profile=profile)
    plain, profiled = (load_checkpoint(tmp_path / name / "last.safetensors") for name in ("plain", "profiled"))
    assert same_bits(plain["model"], profiled["model"]) and same_bits(plain["optimizer"], profiled["optimizer"])
