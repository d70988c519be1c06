"""TrainingMonitor without a browser: what travels, what a stored notebook keeps, and how training ends."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from seglab.errors import ArgumentError
from seglab.lessons import execute
from seglab.training import History, Monitor
from seglab.widgets import training_monitor
from seglab.widgets.training_monitor import TrainingMonitor
from tests.training.runs import train

STEPS = 3  # an epoch


def grow(history: History, **scores: float) -> History:
    """One more epoch, without a clock."""
    number = len(history) + 1
    row = {"epoch": number, "loss": 1 / number, "lr": 0.1, **(scores or {"miou": 0.1 * number, "pixel_accuracy": 0.5})}
    history.add(row, {"seconds": 2.0, "images_per_second": 50.0})
    return history


def run(monitor: TrainingMonitor, history: History, epochs: int, of: int | None = None) -> History:
    """What `fit` calls, for so many more epochs."""
    for _ in range(epochs):
        for step in range(1, STEPS + 1):
            monitor.step(len(history) * STEPS + step, (of or epochs) * STEPS)
        monitor(grow(history))
    return history


class Kernel:
    """IPython's part in a notebook, as far as a monitor uses it: cells, their ends, and their outputs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.execution_count, self.kernel, self.outputs, self._ends = 1, object(), {}, []
        self.events = SimpleNamespace(register=lambda name, f: self._ends.append(f),
                                      unregister=lambda name, f: self._ends.remove(f))
        monkeypatch.setattr(training_monitor, "_notebook", lambda: self)
        monkeypatch.setattr("IPython.get_ipython", lambda: self)
        monkeypatch.setattr("IPython.display.display", self._display)
        monkeypatch.setattr("IPython.display.update_display", self._update)

    def _display(self, data, metadata, raw, display_id):
        assert raw
        self.outputs.setdefault(display_id, []).append({"cell": self.execution_count, "data": data})

    def _update(self, data, metadata, raw, display_id):
        assert raw
        for output in self.outputs[display_id]:
            output["data"] = data

    def next_cell(self):
        for end in list(self._ends):
            end(None)
        self.execution_count += 1

    @property
    def shown(self):
        """(cell, text) of each output."""
        outputs = [output for same in self.outputs.values() for output in same]
        return [(output["cell"], output["data"]["text/plain"]) for output in outputs]


@pytest.fixture
def kernel(monkeypatch):
    return Kernel(monkeypatch)


def ink(picture: np.ndarray) -> int:
    return int((picture.min(axis=2) < 250).sum())


def test_a_real_training_ends_with_all_its_rows_and_steps():
    monitor = TrainingMonitor(epochs=2)
    history, _ = train(None, epochs=2, on_epoch=monitor, on_step=monitor.step)
    assert monitor.history is history and monitor.progress["status"] == "done"
    assert (monitor.progress["done"], monitor.progress["total"], monitor.progress["epochs"]) == (6, 6, 2)
    assert monitor.table["names"] == [*history.rows[0], "images_per_second", "seconds"]
    assert [row[1] for row in monitor.table["rows"]] == pytest.approx(history["loss"], rel=1e-5)
    assert (monitor.table["best"], monitor.table["watched"]) == (history.best_epoch, "miou")
    assert monitor.columns == ["miou"]


def test_the_message_is_json_as_the_standard_has_it():
    monitor = TrainingMonitor(epochs=2)
    history = History()
    monitor(grow(history, miou=math.nan, dice=math.inf))
    assert history.best_epoch == 0
    text = json.dumps([monitor.table, monitor.progress], allow_nan=False)
    assert '"nan"' in text and '"inf"' in text
    assert "last: 1, loss 1, miou nan" in repr(monitor)
    assert ink(monitor.picture()) > 1000


def test_messages_are_few(monkeypatch):
    now, sent = [0.0], []
    monkeypatch.setattr(training_monitor.time, "perf_counter", lambda: now[0])
    monitor = TrainingMonitor(epochs=1)
    monitor.observe(lambda change: sent.append(now[0]), "progress")
    for step in range(1, 1001):  # ten seconds
        now[0] += 0.01
        monitor.step(step, 2000)
    assert 36 <= len(sent) <= 41 and min(np.diff(sent)) >= 0.2499
    assert monitor.progress["rate"] == pytest.approx(100, rel=0.01)
    assert monitor.progress["elapsed"] == pytest.approx(10, abs=0.3)


def test_a_message_that_takes_long_is_sent_less_often_but_one_slow_one_changes_little(monkeypatch):
    now, sent, cost = [0.0], [], [0.01]
    monkeypatch.setattr(training_monitor.time, "perf_counter", lambda: now[0])
    monitor = TrainingMonitor(epochs=1)

    def slow(change):
        sent.append(now[0])
        now[0] += cost[0]

    monitor.observe(slow, "progress")
    for step in range(1, 20001):
        now[0] += 0.01
        monitor.step(step, 40000)
    assert sum(cost[0] for _ in sent) < 0.005 * now[0]
    cost[0], count = 0.0001, len(sent)
    for step in range(20001, 21001):  # ten seconds of quick ones
        now[0] += 0.01
        monitor.step(step, 40000)
    assert len(sent) - count > 25


@pytest.mark.slow
def test_the_stored_notebook_keeps_the_picture_of_the_end(tmp_path, monkeypatch):
    code = ("from seglab.widgets.training_monitor import TrainingMonitor\nfrom tests.training.runs import train\n"
            "monitor = TrainingMonitor(epochs=3)\n"
            "history, _ = train(None, epochs=3, on_epoch=monitor, on_step=monitor.step)\n"
            "monitor.save('end.png')")
    early = "from seglab.widgets.training_monitor import TrainingMonitor\nearly = TrainingMonitor()\nearly"
    later = "history, _ = train(None, epochs=3, on_epoch=early, on_step=early.step)"
    error = ("import contextlib\nclass Stop(Exception): pass\n"
             "def stop(done, total):\n    broken.step(done, total)\n    if done == 4: raise Stop\n"
             "broken = TrainingMonitor(epochs=3)\nwith contextlib.suppress(Stop):\n"
             "    train(None, epochs=3, on_epoch=broken, on_step=stop)")
    nbformat.write(new_notebook(cells=[new_code_cell(c) for c in (code, early, later, error)]),
                   tmp_path / "lesson.ipynb")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # where the kernel finds tests.training.runs
    stored = execute(tmp_path / "lesson.ipynb", progress=False)
    own, shown, none, broken = (cell.outputs for cell in stored.cells)
    (output,) = own
    assert set(output.data) == {"text/plain", "image/png"}
    with Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) as kept, \
            Image.open(tmp_path / "end.png") as end:
        assert np.array_equal(np.asarray(kept), np.asarray(end)) and kept.size == (840, 290)
    monitor = TrainingMonitor(epochs=3)
    train(None, epochs=3, on_epoch=monitor)
    assert output.data["text/plain"] == repr(monitor), "the same seed, the same text"
    assert none == [], "it was on show above"
    assert shown[0].data["text/plain"] == repr(monitor)
    assert broken[0].data["text/plain"].startswith("TrainingMonitor(1 epoch;"), "the end of the cell is an end, too"
    assert "widgets" not in stored.metadata


@pytest.mark.slow
def test_it_shows_itself_once_a_training_and_below_its_own_cell(kernel):
    monitor = TrainingMonitor(epochs=2)
    run(monitor, History(), 2)
    assert kernel.shown == [(1, "TrainingMonitor(2 epochs; best: 2, loss 0.5, miou 0.2)")]
    run(monitor, History(), 1, of=1)  # in the same cell: the same output
    assert kernel.shown == [(1, "TrainingMonitor(1 epoch; best: 1, loss 1, miou 0.1)")]
    kernel.next_cell()
    run(monitor, History(), 2)
    assert kernel.shown == [(1, "TrainingMonitor(1 epoch; best: 1, loss 1, miou 0.1)"),
                            (2, "TrainingMonitor(2 epochs; best: 2, loss 0.5, miou 0.2)")]


def test_displayed_before_by_hand_it_does_not_appear_again(kernel):
    monitor = TrainingMonitor(epochs=1)
    monitor._ipython_display_()
    assert kernel.shown == [(1, "TrainingMonitor(no epoch finished yet)")]
    kernel.next_cell()
    run(monitor, History(), 1)
    assert kernel.shown == [(1, "TrainingMonitor(1 epoch; best: 1, loss 1, miou 0.1)")]
    kernel.next_cell()
    monitor._ipython_display_()  # a second look; then another training below its own cell
    kernel.next_cell()
    run(monitor, grow(History()), 1, of=2)
    assert [cell for cell, _ in kernel.shown] == [1, 3, 4]
    assert [text.split(";")[0] for _, text in kernel.shown] == ["TrainingMonitor(1 epoch"] * 2 + [
        "TrainingMonitor(2 epochs"]


def test_the_end_of_the_cell_ends_a_training_that_was_stopped(kernel):
    monitor = TrainingMonitor(epochs=5)
    history = run(monitor, History(), 2, of=5)
    monitor.step(7, 15)
    assert monitor.progress["status"] == "training" and kernel.shown == [(1, "TrainingMonitor(no epoch finished yet)")]
    before = kernel.outputs[monitor._display_id][0]["data"]["image/png"]
    kernel.next_cell()
    assert monitor.progress["status"] == "stopped" and monitor.progress["done"] == 7
    assert kernel.shown == [(1, "TrainingMonitor(2 epochs; best: 2, loss 0.5, miou 0.2)")]
    assert kernel.outputs[monitor._display_id][0]["data"]["image/png"] != before
    kernel.next_cell()  # nothing happens twice
    resumed = History(rows=list(history.rows), timings=list(history.timings), best_epoch=2)
    monitor(resumed)  # fit tells once what was there
    assert monitor.progress["status"] == "training" and len(monitor.table["rows"]) == 2
    assert monitor.progress["elapsed"] >= 4, "the epochs before the resume took their time, too"
    run(monitor, resumed, 3, of=5)
    assert monitor.progress["status"] == "done" and len(monitor.table["rows"]) == 5


@pytest.mark.slow
def test_pictures_are_refreshed_seldom_in_between(kernel, monkeypatch):
    now, drawn = [0.0], []
    monkeypatch.setattr(training_monitor.time, "perf_counter", lambda: now[0])

    def picture(self):
        drawn.append(now[0])
        now[0] += 0.5
        return np.zeros((2, 2, 3), np.uint8)

    monkeypatch.setattr(TrainingMonitor, "picture", picture)
    monitor, history = TrainingMonitor(epochs=1000), History()
    for _ in range(1000):
        now[0] += 10
        monitor(grow(history))
    assert drawn[-1] > 9999 and len(drawn) <= 10
    assert 0.5 * len(drawn) < 0.005 * now[0]


def test_without_on_step_and_for_hundreds_of_epochs():
    monitor, history = TrainingMonitor(epochs=300, log_loss=True), History(Monitor("loss"))
    for _ in range(300):
        monitor(grow(history))
    assert monitor.progress["status"] == "done" and len(monitor.table["rows"]) == 300 and monitor.table["best"] == 300
    assert len(json.dumps(monitor.table)) < 30_000


def test_fit_knows_the_number_of_epochs_better():
    monitor = TrainingMonitor(epochs=8)
    run(monitor, History(), 2)
    assert (monitor.progress["epochs"], monitor.progress["status"]) == (2, "done")
    monitor = TrainingMonitor()
    run(monitor, History(), 1, of=4)
    assert (monitor._epochs, monitor._status) == (4, "training")


def test_a_history_with_only_a_loss():
    monitor, history = TrainingMonitor(epochs=1), History(Monitor("loss"))
    history.add({"epoch": 1, "loss": 0.5, "lr": 0.1}, {})
    monitor(history)
    assert monitor.columns == [] and monitor.picture().shape == (290, 420, 3)
    assert repr(monitor) == "TrainingMonitor(1 epoch; best: 1, loss 0.5)"


def test_the_next_training_may_have_other_scores_unless_columns_were_asked_for():
    monitor = TrainingMonitor(epochs=1)
    run(monitor, History(), 1)
    monitor(grow(History(Monitor("accuracy")), accuracy=0.5))
    assert monitor.columns == ["accuracy"] and len(monitor.table["rows"]) == 1
    assert monitor.table["watched"] == "accuracy"
    asked = TrainingMonitor(epochs=1, columns=["miou", "pixel_accuracy"])
    run(asked, History(), 1)
    with pytest.raises(ArgumentError, match=r"'miou', 'pixel_accuracy'(.|\n)*accuracy"):
        asked(grow(History(Monitor("accuracy")), accuracy=0.5))
    with pytest.raises(ArgumentError, match=r"'loss'"):
        monitor.columns = ["loss"]


def test_finish_says_how_training_ended():
    monitor = TrainingMonitor(epochs=5)
    history = run(monitor, History(), 2, of=5)
    monitor.step(8, 15)
    history.interrupted = True
    monitor.finish(history)
    assert (monitor.progress["status"], monitor.progress["epochs"]) == ("stopped", 5)
    assert "stopped after 2 of 5 epochs, 4.0 s of training, 50 images/s" in monitor._note()
    whole = TrainingMonitor()
    whole(grow(History()))
    whole.finish()
    assert whole.progress["status"] == "done"
    none = TrainingMonitor(epochs=2)
    none.step(1, 6)
    none.finish(History(interrupted=True))
    assert none.progress["status"] == "stopped" and none.table["rows"] == []


@pytest.mark.slow
def test_the_picture_says_what_there_is():
    monitor = TrainingMonitor(epochs=3)
    empty = monitor.picture()
    assert empty.dtype == np.uint8 and empty.shape == (60, 840, 3) and ink(empty) > 300
    history = run(monitor, History(), 1, of=3)
    one = monitor.picture()
    assert one.shape == (290, 840, 3) and monitor._note() == "1 of 3 epochs, 2.0 s of training, 50 images/s"
    history.timings.clear()
    assert ink(monitor.picture()) < ink(one), "no line on times"
    monitor.columns = ["miou", "pixel_accuracy"]
    assert monitor.picture().shape == (290, 1260, 3)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True])
def test_epochs_must_be_a_number_of_epochs(bad):
    with pytest.raises(ArgumentError, match="epochs"):
        TrainingMonitor(epochs=bad)


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (9.96, "10 s"), (41.3, "41 s"), (59.7, "1 min 0 s"),
                                               (125, "2 min 5 s"), (7500, "2 h 5 min")])
def test_durations(seconds, text):
    assert training_monitor._duration(seconds) == text
