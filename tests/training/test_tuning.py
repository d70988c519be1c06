"""The largest batch that fits, with memory that is only said to be full; and how loaders are compared."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import seglab.training.tuning as tuning
from seglab.errors import ArgumentError, TrainingError
from seglab.models import build
from seglab.training import choose_num_workers, cross_entropy, largest_batch
from tests.training.runs import Blobs, same_bits


def test_nothing_fits():
    def loss(output, masks):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(TrainingError, match="8×12"):
        largest_batch(build("single_conv", 3), (8, 12), start=4, loss=loss)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no"),
                                   KeyboardInterrupt()], ids=repr)
def test_other_errors_pass_through(error):
    def loss(output, masks):
        raise error

    with pytest.raises(type(error)) as caught:
        largest_batch(build("single_conv", 3), 8, loss=loss)
    assert caught.value is error


def test_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 1)).eval()
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    before, generator, seen = copy.deepcopy(model), torch.get_rng_state(), []

    def loss(output, masks):
        seen.append(tuple(masks.shape))
        assert masks.dtype == torch.uint8 and int(masks.max()) == 2
        if len(masks) > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return cross_entropy(output, masks)

    found = largest_batch(model, (8, 12), start=8, num_classes=3, loss=loss)
    assert found in {4, 5}, "Accelerate takes a tenth less each time, older versions half"
    assert seen[0] == (8, 8, 12) and seen.count((found, 8, 12)) == 2, "two steps, once one fits"
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
    for bad in ({"size": 0}, {"size": 8, "start": 0}):
        with pytest.raises(ArgumentError, match="0"):
            largest_batch(build("single_conv", 3), **bad)


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
    data = Watched(6)
    assert tuning._images_per_second(data, 2, workers=0, batches=3, seed=0) == 4.0
    assert choose_num_workers(data, batch_size=2, candidates=[0], batches=3) == 0
    assert len(reads) == 24 and reads[:8] == reads[8:16] == reads[16:], "one batch to warm up and three to time"
    assert torch.equal(torch.get_rng_state(), state)


def test_loader_processes_deliver_what_is_asked():
    assert choose_num_workers(Blobs(6), batch_size=2, candidates=[0, 1], batches=2) in {0, 1}


@pytest.mark.parametrize(("speeds", "best"), [({0: 100.0, 1: 105.0, 2: 109.0}, 0), ({4: 130.0, 0: 100.0, 2: 125.0}, 2)])
def test_fewer_processes_win_unless_more_are_clearly_faster(speeds, best, monkeypatch):
    monkeypatch.setattr(tuning, "_images_per_second", lambda data, batch_size, workers, batches, seed: speeds[workers])
    assert choose_num_workers(Blobs(4), 2, candidates=list(speeds)) == best


@pytest.mark.parametrize(("cores", "wanted"), [(1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4]), (8, [0, 1, 2, 4, 8])])
def test_default_candidates_reach_the_cores_of_this_process(cores, wanted, monkeypatch):
    tried = []
    monkeypatch.setattr(tuning.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(tuning, "_images_per_second", lambda *arguments: tried.append(arguments[2]) or 1.0)
    assert choose_num_workers(Blobs(4), 2) == 0
    assert tried == [*wanted, *reversed(wanted)]


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"batches": 0}, {"candidates": []}, {"candidates": [-1]},
                                 {"dataset": []}])
def test_bad_loader_arguments_are_named(bad):
    with pytest.raises(ArgumentError, match="choose_num_workers"):
        choose_num_workers(**({"dataset": Blobs(4), "batch_size": 2, "candidates": [0]} | bad))
