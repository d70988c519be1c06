"""The rule for the best epoch: by itself, in a training, and across a resume."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seglab.errors import ArgumentError, CheckpointError
from seglab.training import History, Monitor, load_checkpoint, save_checkpoint
from seglab.training.report import line
from seglab.viz.live import default_columns
from tests.training.runs import train


def worst_iou(scores):
    return scores.iou.min()


@pytest.mark.parametrize(("value", "best", "options", "wanted"), [
    (0.5, None, {}, True), (math.nan, None, {}, False), (math.nan, 0.5, {}, False),
    (0.50005, 0.5, {}, False), (0.50006, 0.5, {}, True), (-1.0, -1.00005, {}, False), (-0.9, -1.0, {}, True),
    (0.9998, 1.0, {"mode": "min"}, True), (0.99995, 1.0, {"mode": "min"}, False),
    (0.5001, 0.5, {"threshold": 0}, True), (0.5, 0.5, {"threshold": 0}, False),
    (0.54, 0.5, {"threshold": 0.1}, False), (0.56, 0.5, {"threshold": 0.1}, True),
    (1e-9, 0.0, {}, True), (0.0, 0.0, {}, False), (-1e-9, 0.0, {"mode": "min"}, True),
    (-0.95, -1.0, {"threshold": 0.1}, False), (-0.85, -1.0, {"threshold": 0.1}, True),
    (-1.05, -1.0, {"threshold": 0.1, "mode": "min"}, False), (-1.15, -1.0, {"threshold": 0.1, "mode": "min"}, True),
    (0.3, None, {"worst_score": 0.4}, False), (0.5, None, {"worst_score": 0.4}, True),
    (0.3, 0.2, {"worst_score": 0.4}, True),  # only the first has to beat it
    (-5.0, None, {"worst_score": -math.inf}, True), (5.0, None, {"worst_score": math.inf, "mode": "min"}, True),
    (5.0, None, {"worst_score": 4.0, "mode": "min"}, False)])
def test_what_is_better(value, best, options, wanted):
    assert Monitor(**options).is_better(value, best) is wanted


def test_modes_follow_the_metric():
    assert [Monitor(metric).mode for metric in ("loss", "miou", "mean_dice")] == ["min", "max", "max"]
    assert Monitor(worst_iou, name="worst IoU").mode == "max"
    assert Monitor("loss", "max").mode == "max"
    assert Monitor("miou") == Monitor() != Monitor("miou", threshold=0)


@pytest.mark.parametrize(("options", "words"), [
    ({"mode": "median"}, "'median'"), ({"metric": worst_iou}, "name"), ({"name": "x"}, "name"),
    ({"threshold": -1}, "threshold"), ({"threshold": math.nan}, "threshold"), ({"worst_score": math.nan}, "worst")])
def test_arguments(options, words):
    with pytest.raises(ArgumentError, match=words):
        Monitor(**options)


def test_fit_refuses_what_does_not_go_together():
    with pytest.raises(ArgumentError, match="name for a function"):
        train(None, monitor=worst_iou)
    with pytest.raises(ArgumentError, match="'iou'"):
        train(None, monitor=Monitor("iou"))
    for taken in ("lr", "epoch", "miou"):
        with pytest.raises(ArgumentError, match=f"{taken!r}"):
            train(None, monitor=Monitor(worst_iou, name=taken))


def test_a_function_becomes_a_column_and_decides(tmp_path):
    history, _ = train(tmp_path, epochs=4, monitor=Monitor(worst_iou, name="worst IoU"))
    column = history["worst IoU"]
    assert all(isinstance(value, float) and value <= miou for value, miou in zip(column, history["miou"], strict=True))
    assert history.monitor.name == "worst IoU" and history.best_value == max(column)
    assert json.loads((tmp_path / "history.json").read_text())["rows"][0]["worst IoU"] == column[0]
    assert "worst IoU" in str(history)
    assert len(load_checkpoint(tmp_path / "best.safetensors")["history"]["rows"]) == history.best_epoch


def test_a_monitor_of_a_column_is_the_column():
    assert train(None, epochs=2, monitor=Monitor("loss"))[0] == train(None, epochs=2, monitor="loss")[0]


def test_the_last_epoch_can_be_taken(tmp_path):
    history, _ = train(tmp_path, epochs=3, monitor="epoch")
    assert (history.best_epoch, default_columns(history)) == (3, ["loss", "miou"])
    last, best = (load_checkpoint(tmp_path / f"{name}.safetensors")["model"] for name in ("last", "best"))
    assert all(torch.equal(last[key], best[key]) for key in last)
    with pytest.raises(ArgumentError, match="plateau would never come"):
        train(None, monitor="epoch", scheduler=lambda optimizer: ReduceLROnPlateau(optimizer, "max"))


def test_a_progress_line_tells_the_monitored_score():
    for monitor, score in (("dog IoU", "  dog IoU 0.2500"), ("loss", ""), ("epoch", "")):
        history = History(Monitor(monitor))
        history.add({"epoch": 1, "loss": 1.0, "miou": 0.5, "dog IoU": 0.25}, {"images_per_second": 3, "seconds": 12.34})
        assert line(history, 9) == f"epoch 1/9  loss 1.0000  miou 0.5000{score}  3 images/s  12.3 s"


def test_thresholds_and_worst_scores_are_kept_and_go_on(tmp_path):
    rule = Monitor(threshold=0.2, worst_score=0.3)
    whole, _ = train(None, epochs=5, monitor=rule)
    train(tmp_path, epochs=2, monitor=rule)
    resumed, _ = train(tmp_path, epochs=5, monitor=rule)
    assert resumed == whole
    assert resumed.monitor == rule
    assert json.loads((tmp_path / "history.json").read_text())["worst_score"] == 0.3
    with pytest.raises(CheckpointError, match=r"threshold 0\.2 there, 0\.0001 here; worst_score 0\.3 there, None here"):
        train(tmp_path, epochs=5)
    with pytest.raises(CheckpointError, match="mode 'max' there, 'min' here"):
        train(tmp_path, epochs=5, monitor=Monitor(mode="min", threshold=0.2, worst_score=0.3))


def test_without_an_epoch_that_beats_the_worst_score_none_is_best(tmp_path):
    history, _ = train(tmp_path, epochs=2, monitor=Monitor(worst_score=1.0))
    assert (history.best_epoch, history.best_value) == (0, None)
    assert not (tmp_path / "best.safetensors").exists()


def test_histories_of_older_runs_go_on(tmp_path):
    train(tmp_path, epochs=1)
    content = load_checkpoint(tmp_path / "last.safetensors")
    for name in ("threshold", "worst_score"):
        del content["history"][name], content["settings"][name]
    del content["settings"]["mode"], content["settings"]["loss"]
    save_checkpoint(tmp_path / "last.safetensors", content)
    history, _ = train(tmp_path, epochs=2)
    assert history == train(None, epochs=2)[0]
    assert history.monitor == Monitor()


def test_a_history_follows_its_threshold():
    history = History(Monitor(threshold=0.5))
    found = [history.add({"miou": value}, {}) for value in (0.2, 0.29, 0.31, 0.4, 0.5)]
    assert found == [True, False, True, False, True]


def test_history_prints_and_indexes():
    history = History()
    assert str(history) == "no epoch finished"
    history.add({"epoch": 1, "loss": 1.0, "lr": 0.1, "miou": 0.2}, {"seconds": 1.0})
    history.add({"epoch": 2, "loss": 0.5, "lr": 0.1, "miou": 0.1}, {"seconds": 1.0})
    assert history["loss"] == [1.0, 0.5]
    assert history.best_epoch == 1
    assert "best" in str(history).splitlines()[1]
