"""Learning rates that change: a step at a time, or when the scores no longer do."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import lr_scheduler as torchs

import seglab
from seglab.errors import ArgumentError, CheckpointError
from seglab.models import build
from seglab.training import cross_entropy, load_checkpoint
from tests.training.runs import Blobs, same_bits, train

#: (optimizer, steps of the run) -> scheduler. An epoch of these tests has three steps.
SCHEDULES = {
    "StepLR": lambda o, n: torchs.StepLR(o, 4, 0.5),
    "MultiStepLR": lambda o, n: torchs.MultiStepLR(o, [2, 7], 0.5),
    "ExponentialLR": lambda o, n: torchs.ExponentialLR(o, 0.9),
    "LinearLR": lambda o, n: torchs.LinearLR(o, 0.1, 1.0, total_iters=5),
    "LinearLR to 0": lambda o, n: torchs.LinearLR(o, 1.0, 0.0, total_iters=n),
    "PolynomialLR": lambda o, n: torchs.PolynomialLR(o, total_iters=n, power=0.9),
    "CosineAnnealingLR": lambda o, n: torchs.CosineAnnealingLR(o, n),
    "CosineAnnealingWarmRestarts": lambda o, n: torchs.CosineAnnealingWarmRestarts(o, 2, T_mult=2),
    "OneCycleLR": lambda o, n: torchs.OneCycleLR(o, 0.1, total_steps=n),
    "LambdaLR": lambda o, n: torchs.LambdaLR(o, lambda step: 1 - step / n),
    "SequentialLR": lambda o, n: torchs.SequentialLR(
        o, [torchs.LinearLR(o, 0.1, 1.0, total_iters=2), torchs.PolynomialLR(o, total_iters=n - 2)], [2]),
    "SequentialLR of steps": lambda o, n: torchs.SequentialLR(
        o, [torchs.LinearLR(o, 0.1, 1.0, total_iters=5), torchs.MultiStepLR(o, [1, 3], 0.5)], [5]),
    "ChainedScheduler": lambda o, n: torchs.ChainedScheduler(
        [torchs.ExponentialLR(o, 0.9), torchs.CosineAnnealingLR(o, n)]),
    "ReduceLROnPlateau": lambda o, n: torchs.ReduceLROnPlateau(o, "max", patience=0, factor=0.5, threshold=0.2),
}
HAVE_AN_END = {"LinearLR to 0": "total_iters", "PolynomialLR": "total_iters", "CosineAnnealingLR": "T_max",
               "OneCycleLR": "total_steps", "SequentialLR": "total_iters", "ChainedScheduler": "T_max"}


def files_are_the_same(a, b):
    for name in ("last.safetensors", "best.safetensors"):
        one, other = load_checkpoint(a / name), load_checkpoint(b / name)
        one.pop("timings", None), other.pop("timings", None)
        assert same_bits(one, other), name


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_resumed_after_every_epoch_is_the_straight_run(tmp_path, name, capsys):
    def schedule(optimizer):
        return SCHEDULES[name](optimizer, 12)

    whole, model = train(tmp_path / "whole", epochs=4, scheduler=schedule)
    for epochs in (1, 2, 3, 4):
        pieces, model2 = train(tmp_path / "pieces", epochs=epochs, scheduler=schedule)
    assert pieces == whole
    assert same_bits(model.state_dict(), model2.state_dict())
    files_are_the_same(tmp_path / "whole", tmp_path / "pieces")
    assert capsys.readouterr().out == ""


def rates_of(folder, name, epochs, steps, **options):
    """What the optimizer had for each of its steps: rate and betas."""
    rates, optimizers = [], []

    def schedule(optimizer):
        optimizers.append(optimizer)
        return SCHEDULES[name](optimizer, steps)

    def loss(output, masks):
        (group,) = optimizers[0].param_groups
        rates.append((group["lr"], group["betas"]))
        return cross_entropy(output, masks)

    train(folder, epochs=epochs, scheduler=schedule, loss=loss, **options)
    return rates


@pytest.mark.parametrize("name", [*HAVE_AN_END, "LambdaLR"])
@pytest.mark.parametrize("before", [1, 3])
def test_a_prolonged_run_goes_on_with_the_rates_of_the_straight_longer_one(tmp_path, name, before, capsys):
    straight = rates_of(None, name, 4, steps=12)
    shorter = rates_of(tmp_path, name, before, steps=3 * before)
    assert (shorter != straight[:3 * before]) == (name != "SequentialLR" or before > 1)  # its first epoch warms up
    assert capsys.readouterr().out == ""
    assert rates_of(tmp_path, name, 4, steps=12) == straight[3 * before:]
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 1 and "that of a run that had it from the start" in told
    assert len(set(straight)) == 12 and min(rate for rate, _ in straight) > 0


def test_the_line_says_what_has_changed(tmp_path, capsys):
    rates_of(tmp_path, "PolynomialLR", 2, steps=6)
    rates_of(tmp_path, "PolynomialLR", 3, steps=12)
    assert "The PolynomialLR is not the one that the finished 2 epochs had: total_iters 6 -> 12." \
        in capsys.readouterr().out
    rates_of(tmp_path, "PolynomialLR", 4, steps=12)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "length"), HAVE_AN_END.items())
def test_a_schedule_that_ends_before_the_run_is_refused(tmp_path, name, length):
    wanted = rf"with {length}=\d+(.|\n)*{length}=\d+ or more with epochs=4; .*3 times an epoch"
    with pytest.raises(ArgumentError, match=wanted):
        rates_of(tmp_path, name, 4, steps=11)
    rates_of(tmp_path, name, 2, steps=6)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(ArgumentError, match=wanted):
        rates_of(tmp_path, name, 4, steps=6)
    assert (tmp_path / "last.safetensors").read_bytes() == before
    assert rates_of(tmp_path, name, 1, steps=3) == []  # nothing to train: the finished run comes back


def test_steps_are_those_of_the_optimizer(tmp_path, capsys):
    with pytest.raises(ArgumentError, match=r"total_steps=4 or more.*2 times an epoch \(3 batches, accumulate=2\)"):
        rates_of(None, "OneCycleLR", 2, steps=3, accumulate=2)
    assert capsys.readouterr().out == ""
    assert len(rates_of(None, "OneCycleLR", 2, steps=4, accumulate=2)) == 6
    assert capsys.readouterr().out == ""
    rates_of(None, "OneCycleLR", 2, steps=6, accumulate=2)  # as long as there are batches
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 1 and "ends after 4 steps" in told
    straight = rates_of(None, "OneCycleLR", 4, steps=8, accumulate=2)
    for epochs in (1, 2, 3):
        rates_of(tmp_path, "OneCycleLR", epochs, steps=8, accumulate=2)
    assert rates_of(tmp_path, "OneCycleLR", 4, steps=8, accumulate=2) == straight[9:]


def test_the_history_has_the_rate_of_the_last_step():
    for name in SCHEDULES:
        history, _ = train(None, epochs=4, scheduler=lambda optimizer, name=name: SCHEDULES[name](optimizer, 12))
        assert history["lr"] == [rate for rate, _ in rates_of(None, name, 4, steps=12)[2::3]], name


def test_a_scheduler_that_was_used_up_is_refused():
    model = build("single_conv", 3)
    adam = torch.optim.Adam(model.parameters(), 0.05)
    poly = torchs.PolynomialLR(adam, total_iters=6)
    options = {"optimizer": adam, "scheduler": poly, "epochs": 2, "batch_size": 4, "progress": False}
    seglab.fit(model, Blobs(12), **options)
    with pytest.raises(ArgumentError, match="total_iters=12 or more"):
        seglab.fit(model, Blobs(12), **options)


@pytest.mark.parametrize("name", ["OneCycleLR", "LambdaLR", "SequentialLR of steps", "ReduceLROnPlateau"])
@pytest.mark.parametrize("in_folder", [True, False])
@pytest.mark.parametrize("at", [2, 8])  # in the first and the third epoch
def test_ctrl_c_leaves_everything_as_the_last_epoch_did(tmp_path, name, in_folder, at):
    calls = []

    def loss(output, masks):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return cross_entropy(output, masks)

    def start(seed=0):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3))
        adam = torch.optim.Adam(model.parameters(), 0.05)
        return model, adam, SCHEDULES[name](adam, 12)

    def fit(parts, folder, epochs, **options):
        model, adam, schedule = parts
        history = seglab.fit(model, Blobs(12), Blobs(6, seed=5), optimizer=adam, scheduler=schedule, epochs=epochs,
                             batch_size=4, folder=folder, progress=False, **options)
        return history, {"model": model.state_dict(), "optimizer": adam.state_dict(),
                         "scheduler": {k: v for k, v in schedule.state_dict().items() if k != "lr_lambdas"}}

    folder = tmp_path / "run" if in_folder else None
    parts, done = start(), (at - 1) // 3
    history, state = fit(parts, folder, 4, loss=loss)
    assert history.interrupted and len(history) == done
    model, adam, schedule = start()
    expected = fit((model, adam, schedule), None, done)[1] if done else {
        "model": model.state_dict(), "optimizer": adam.state_dict(), "scheduler": schedule.state_dict()}
    assert same_bits(state["model"], expected["model"])
    assert same_bits(state["optimizer"]["state"], expected["optimizer"]["state"])
    assert [g["lr"] for g in parts[1].param_groups] == [g["lr"] for g in adam.param_groups]
    assert [g["betas"] for g in parts[1].param_groups] == [g["betas"] for g in adam.param_groups]
    if in_folder:  # the same objects go on, and so do new ones
        assert fit(parts, folder, 4)[0] == fit(start(), None, 4)[0]
        assert same_bits(parts[0].state_dict(), fit(start(seed=1), folder, 4)[1]["model"])


def test_ctrl_c_in_a_prolonged_run_keeps_the_longer_schedule(tmp_path):
    def stop(output, masks):
        raise KeyboardInterrupt

    straight = rates_of(None, "OneCycleLR", 4, steps=12)
    rates_of(tmp_path, "OneCycleLR", 2, steps=6)
    history, _ = train(tmp_path, epochs=4, loss=stop, scheduler=lambda o: SCHEDULES["OneCycleLR"](o, 12))
    assert history.interrupted and len(history) == 2
    assert rates_of(tmp_path, "OneCycleLR", 4, steps=12) == straight[6:]


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
