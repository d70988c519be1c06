"""Learning rates that change: a step at a time, or when the scores no longer do."""

from __future__ import annotations

import math

import pytest
import torch

from seglab.errors import ArgumentError, CheckpointError
from seglab.training import cross_entropy, load_checkpoint
from tests.training.runs import same_bits, train


def test_a_scheduler_is_stepped_saved_and_restored(tmp_path):
    def poly(optimizer):
        return torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=12, power=0.9)

    whole, model = train(None, epochs=4, scheduler=poly)
    train(tmp_path, epochs=2, scheduler=poly)
    resumed, model2 = train(tmp_path, epochs=4, scheduler=poly)
    assert whole["lr"][0] == pytest.approx(0.05 * (1 - 2 / 12) ** 0.9)  # the rate of the last step
    assert resumed == whole
    assert same_bits(model.state_dict(), model2.state_dict())


def plateau(optimizer, mode="max", **options):
    options = {"patience": 0, "factor": 0.1, "threshold": 0.2} | options  # most epochs are no better by a fifth
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, **options)


def test_a_plateau_is_stepped_once_an_epoch_with_the_monitored_value():
    history, _ = train(None, epochs=5, scheduler=plateau)
    rate, best, rates = 0.05, -math.inf, []
    for value in history["miou"]:
        rates.append(rate)  # the epoch was trained with it; what comes of its score shows in the next
        if value > best * 1.2:
            best = value
        else:
            rate *= 0.1
    assert history["lr"] == pytest.approx(rates)
    assert len(set(rates)) > 2


@pytest.mark.slow
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_killed_run_with_a_plateau_ends_as_the_whole_one(tmp_path, stop):
    whole, model = train(tmp_path / "whole", epochs=5, scheduler=plateau)
    steps = []

    def loss(output, masks):
        steps.append(1)
        if len(steps) == 3 * stop + 2:  # in the epoch after `stop`; with 0, before the plateau has seen a value
            raise RuntimeError("killed")
        return cross_entropy(output, masks)

    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path / "killed", epochs=5, scheduler=plateau, loss=loss)
    stored = load_checkpoint(tmp_path / "killed" / "last.safetensors")["scheduler"]
    assert (stored["best"] == -math.inf) == (stop == 0)
    resumed, model2 = train(tmp_path / "killed", epochs=5, scheduler=plateau)
    assert resumed == whole
    assert same_bits(model.state_dict(), model2.state_dict())
    for name in ("last.safetensors", "best.safetensors"):
        a, b = (load_checkpoint(tmp_path / run / name) for run in ("whole", "killed"))
        a.pop("timings", None), b.pop("timings", None)
        assert same_bits(a, b), name


def test_a_plateau_watches_what_the_run_watches(tmp_path):
    with pytest.raises(ArgumentError, match=r"minimum(.|\n)*maximum, as 'miou'"):
        train(None, scheduler=lambda optimizer: plateau(optimizer, "min"))
    history, _ = train(tmp_path, epochs=1, monitor="loss", scheduler=lambda optimizer: plateau(optimizer, "min"))
    assert len(history) == 1
    with pytest.raises(CheckpointError, match="plateau(.|\n)*'patience': 0(.|\n)*'patience': 7"):
        train(tmp_path, monitor="loss", scheduler=lambda optimizer: plateau(optimizer, "min", patience=7))


@pytest.mark.parametrize(("monitor", "mode"), [("miou", "max"), ("loss", "min"), ("mean_dice", "max")])
def test_a_plateau_is_given_the_watched_column(monkeypatch, monitor, mode):
    given = []
    monkeypatch.setattr(torch.optim.lr_scheduler.ReduceLROnPlateau, "step", lambda self, value: given.append(value))
    history, _ = train(None, epochs=2, monitor=monitor, scheduler=lambda optimizer: plateau(optimizer, mode))
    assert given == history[monitor]
