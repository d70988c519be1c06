"""The largest batch that fits, with memory that is only said to be full; and how loaders are compared."""

from __future__ import annotations

import copy
import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import seglab.training.tuning as tuning
from seglab.errors import ArgumentError, TrainingError
from seglab.models import build
from seglab.training import LoaderSpeeds, choose_num_workers, cross_entropy, find_batch_size, largest_batch
from tests.training.runs import Blobs, same_bits

FULL = (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), torch.cuda.OutOfMemoryError(),
        RuntimeError("MPS backend out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory"))


@pytest.mark.parametrize(("error", "room", "start", "wanted"), [
    *((error, 5, 7, 3) for error in FULL), (FULL[0], 4, 4, 4), (FULL[0], 3, 4, 2), (FULL[0], 1, 4, 1)])
def test_the_batch_is_halved_until_it_fits(error, room, start, wanted):
    tried = []

    def step(batch_size):
        tried.append(batch_size)
        if batch_size > room:
            raise error

    assert find_batch_size(step, start) == wanted
    assert tried == [start // 2**i for i in range(len(tried))] and tried[-1] == wanted


def test_what_does_not_fit_is_freed_before_the_next_try():
    held = []

    def step(batch_size):
        gc.disable()
        assert all(ref() is None for ref in held)
        activations = torch.zeros(batch_size)
        held.append(weakref.ref(activations))
        if batch_size > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    try:
        assert find_batch_size(step, 8) == 2
    finally:
        gc.enable()


def test_nothing_fits():
    def step(batch_size):
        tried.append(batch_size)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nmore")

    tried: list[int] = []
    with pytest.raises(TrainingError, match=r"down to 1: CUDA out of memory.\n"):
        find_batch_size(step, 2)
    with pytest.raises(TrainingError, match="down to 2"):
        find_batch_size(step, 4, smallest=2)
    assert tried == [2, 1, 4, 2]


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"),
                                   KeyboardInterrupt()], ids=repr)
def test_other_errors_pass_through(error):
    def step(batch_size):
        raise error

    with pytest.raises(type(error)) as caught:
        find_batch_size(step)
    assert caught.value is error


@pytest.mark.parametrize("bad", [{"start": 0}, {"start": 2.5}, {"smallest": 0}, {"start": 2, "smallest": 3}])
def test_bad_sizes_are_named(bad):
    with pytest.raises(ArgumentError, match="find_batch_size"):
        find_batch_size(lambda batch_size: None, **bad)


def test_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 1)).eval()
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    before, generator, seen = copy.deepcopy(model), torch.get_rng_state(), []

    def loss(output, masks):
        seen.append(tuple(masks.shape))
        assert masks.dtype == torch.uint8 and int(masks.max()) == 2
        if len(masks) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return cross_entropy(output, masks)

    assert largest_batch(model, (8, 12), start=8, num_classes=3, loss=loss) == 4
    assert seen == [(8, 8, 12), (4, 8, 12), (4, 8, 12)], "two steps, once one fits"
    assert same_bits(dict(model.state_dict()), dict(before.state_dict()))
    assert not model.training and model[3].weight.grad.eq(1).all() and model[3].bias.grad is None
    assert torch.equal(torch.get_rng_state(), generator)


def test_the_optimizer_and_the_classes_are_the_recipes():
    made = []

    def optimizer(parameters):
        made.append(torch.optim.SGD(parameters, 0.1, momentum=0.9))
        return made[-1]

    assert largest_batch(build("single_conv", 3), 8, start=2, optimizer=optimizer) == 2
    (sgd,) = made
    assert all("momentum_buffer" in sgd.state[p] for p in sgd.param_groups[0]["params"])
    with pytest.raises(ArgumentError, match="num_classes None"):
        largest_batch(nn.Conv2d(3, 3, 1), 8)
    with pytest.raises(ArgumentError, match="size 0"):
        largest_batch(build("single_conv", 3), 0)


def test_loaders_are_timed_in_turn_without_their_start(monkeypatch):
    """A clock that only pictures move: 1 s each for the first round, then a quarter of it."""
    clock, reads = [0.0], []
    monkeypatch.setattr(tuning, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    class Watched(Blobs):
        def __getitem__(self, index):
            clock[0] += 0.25 if len(reads) % 8 >= 2 else 1.0
            reads.append(index)
            return super().__getitem__(index)

    state = torch.get_rng_state()
    found = choose_num_workers(Watched(6), batch_size=2, candidates=[0], batches=3)
    assert found == LoaderSpeeds({0: 4.0})
    assert len(reads) == 16 and reads[:8] == reads[8:], "one batch to warm up and three to time, twice"
    assert torch.equal(torch.get_rng_state(), state)


def test_loader_processes_deliver_what_is_asked():
    found = choose_num_workers(Blobs(6), batch_size=2, candidates=[0, 1], batches=2)
    assert list(found.images_per_second) == [0, 1] and min(found.images_per_second.values()) > 0
    assert found.best in {0, 1}


def test_fewer_processes_win_unless_more_are_clearly_faster():
    assert LoaderSpeeds({0: 100.0, 1: 105.0, 2: 109.0}).best == 0
    assert LoaderSpeeds({4: 130.0, 0: 100.0, 2: 125.0}).best == 2
    assert str(LoaderSpeeds({4: 130.0, 0: 100.0})).splitlines()[2].split() == ["4", "130.0", "<-", "best"]


def test_default_candidates_reach_the_cores_of_this_process(monkeypatch):
    for cores, wanted in ((1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4]), (16, [0, 1, 2, 4, 8, 16])):
        monkeypatch.setattr(tuning.os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert tuning._default_candidates() == wanted


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"batches": 0}, {"candidates": []}, {"candidates": [-1]},
                                 {"dataset": []}])
def test_bad_loader_arguments_are_named(bad):
    with pytest.raises(ArgumentError, match="choose_num_workers"):
        choose_num_workers(**({"dataset": Blobs(4), "batch_size": 2, "candidates": [0]} | bad))
