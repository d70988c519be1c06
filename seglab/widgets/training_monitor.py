"""TrainingMonitor: a training while it runs, and its curves afterwards."""

from __future__ import annotations

import math
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets as t
from matplotlib.figure import Figure
from torch import nn

from seglab.errors import ArgumentError
from seglab.history import History
from seglab.labels import LabelSet
from seglab.viz.live import default_columns, draw_history
from seglab.widgets.base import PictureWidget, browser_code, drawn, in_unit_range, styles
from seglab.widgets.mask_growth import MaskGrowth

# Training pays for what is shown. At least so many seconds lie between two messages, and more where a message takes
# long; pictures for the stored notebook are drawn at the end, and before that only in a training that takes long.
_PAUSE, _MESSAGES, _PICTURES, _FIRST_PICTURE = 0.25, 0.004, 0.005, 60.0

_TIMES = ["images_per_second", "seconds"]
_NO_SCORES = {"epoch", "loss", "lr"}


class TrainingMonitor(PictureWidget):
    """A training while it runs: curves, speed, time left, and a table of the epochs.

        monitor = TrainingMonitor(epochs=8)
        history = fit(..., epochs=8, on_epoch=monitor, on_step=monitor.step)

    In a notebook it appears below the cell when training begins, unless it is on show already. A stored notebook holds
    its picture at the end of the training. In a terminal there is nothing to see, and that is no error. A further
    training begins with empty curves; started from another cell, it appears below that.

    With `watch`, pictures stand below the curves, each with the mask that the network gave it after an epoch, the
    truth, and the errors: how the mask grew. A slider goes through the epochs.

        monitor = TrainingMonitor(epochs=8).watch(model, splits.val.subset([3]))

    Keyboard, on a curve: left and right move to another epoch, Home and End to the first and last. The values of that
    epoch stand above all curves, its row in the table is marked, and its masks are shown. Mouse: point at a curve or a
    row. On the slider, the same keys choose the epoch that is shown when one points at none; Escape leaves it, and
    space plays all epochs.

    Speed is that of `fit`: pictures trained in a second, without validation. Steps a second are counted as they are
    queued, since asking a GPU how far it is would slow it down.

    Args:
        epochs: as given to `fit`. Without it and without `on_step` nothing tells how long training will take; with
            `on_step`, the number that `fit` was given counts from the end of the first epoch on.
        columns: scores to draw, each with a curve; by default the monitored one, or mIoU or accuracy where the loss is
            monitored. A trait: it changes with the buttons, and can be set.
        log_loss: draw the loss on a logarithmic axis. A trait, too.

    Further traits, of the masks of `watch`: `opacity`, 0 to 1; `safe_colours`, which colour-blind eyes tell apart.

    Attributes:
        history: of the training on show; None before the first epoch.

    Raises:
        ArgumentError: `epochs` below 1, or (when called) a history that lacks a column.

    Example:
        >>> monitor, history = TrainingMonitor(epochs=2), History()
        >>> _ = history.add({"epoch": 1, "loss": 0.7, "lr": 0.1, "miou": 0.4}, {"seconds": 2.0})
        >>> monitor(history)
        >>> monitor
        TrainingMonitor(1 epoch; best: 1, loss 0.7, miou 0.4)
        >>> monitor.picture().shape
        (290, 840, 3)
    """

    _esm = browser_code("viewer", "curves", "mask_growth", "training_monitor")
    _css = styles("viewer", "training_monitor")

    table = t.Dict().tag(sync=True)
    progress = t.Dict().tag(sync=True)
    columns = t.List(t.Unicode(), default_value=None, allow_none=True).tag(sync=True)
    log_loss = t.Bool(False).tag(sync=True)
    growth = t.Dict().tag(sync=True)  # the pictures that are watched
    masks = t.Dict().tag(sync=True)
    opacity = t.Float(0.6).tag(sync=True)
    safe_colours = t.Bool(False).tag(sync=True)

    _status: str
    _epochs: int | None
    _done: int
    _total: int | None
    _first_step: tuple[int, float] | None  # of this epoch, as far as it was seen
    _rate: float | None  # steps a second
    _start: float
    _next_message: float
    _next_picture: float

    def __init__(self, epochs: int | None = None, columns: Sequence[str] | None = None, log_loss: bool = False) -> None:
        if epochs is not None and (isinstance(epochs, bool) or epochs < 1 or epochs != int(epochs)):
            raise ArgumentError("epochs", found=epochs, expected="a whole number, 1 or more")
        self.history: History | None = None
        self._given_epochs, self._given_columns = epochs, columns is not None
        self._display_id, self._shown_in = "", None
        self._message_cost = 0.0
        self._growth: MaskGrowth | None = None
        self._clear("waiting")
        super().__init__(columns=list(columns) if columns is not None else None, log_loss=log_loss)
        self._tell()

    def watch(self, model: nn.Module, samples: Any, label_set: LabelSet | None = None, **options: Any
              ) -> TrainingMonitor:
        """Show how the masks of a few pictures grow; call it before `fit`, with the model that `fit` gets.

        After each epoch the model predicts them, in eval mode and without gradients: training comes to the same
        weights, bit by bit. Pictures of more than 1024 pixels a side are scaled down first. What is kept has at most
        320 pixels a side; of a training of more than 40 epochs, masks at equal distances are kept, the best and the
        last. After a resume there are no masks of the epochs before, and the widget says so, unless this monitor saw
        them.

        Args:
            model: maps pictures to scores of classes at each pixel, as for `predict`.
            samples: 1 to 4 samples of a dataset, read once: a list of (image, mask) or of images, a dataset such as
                `splits.val.subset([0, 5])`, or one sample `splits.val[0]`. Images are uint8, masks (H, W) class ids.
            label_set: by default the dataset's, else the model's.
            options: further arguments of `predict`, for instance `short_side=256`.

        Returns:
            this monitor.

        Raises:
            ArgumentError: no picture or more than four, masks for some of them only, a mask that does not fit its
                picture, or no label set.

        Example:
            >>> from seglab.labels import PETS
            >>> from seglab.models import build
            >>> from seglab.training import fit
            >>> import torch
            >>> dataset = [(torch.zeros(3, 16, 16, dtype=torch.uint8), torch.ones(16, 16, dtype=torch.uint8))] * 2
            >>> model = build("single_conv", 3)
            >>> monitor = TrainingMonitor(epochs=2).watch(model, dataset[:1], PETS)
            >>> _ = fit(model, dataset, optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=2, batch_size=2,
            ...         on_epoch=monitor, progress=False)
            >>> [mask["epoch"] for mask in monitor.masks["epochs"]]
            [1, 2]
        """
        self._growth = MaskGrowth(model, samples, label_set, options)
        with self.hold_sync():
            self.growth, self.masks = self._growth.content(), self._growth.wire()
        return self

    def __call__(self, history: History) -> None:
        """Show a history: what `fit(on_epoch=...)` calls after each epoch, and once after a resume."""
        before = len(self._rows)
        self._take(history)
        if self._growth is not None and history.rows:
            self._growth.take(len(history), history.best_epoch)
        if self._done and self._total and len(self._rows) > before:  # at the end of an epoch, all of its steps are done
            self._epochs = self._total * len(history) // self._done
        if self._epochs is not None and len(history) >= self._epochs:
            self._end("done")
            return
        now = time.perf_counter()
        if now >= self._next_message:
            self._tell()
        if now >= self._next_picture:
            self._refresh()

    def step(self, done: int, total: int) -> None:
        """Count a step: what `fit(on_step=...)` calls. It reads the clock once; about four a second are shown.

        Args:
            done: steps in all epochs so far.
            total: steps in all epochs.
        """
        now = time.perf_counter()
        if self._status in {"waiting", "done"} or done <= self._done or self._total not in {None, total}:
            self._begin()
        self._status, self._done, self._total = "training", done, total
        if now < self._next_message:
            return
        if self._first_step is None:
            self._first_step = (done, now)
        elif done > self._first_step[0]:
            self._rate = (done - self._first_step[0]) / (now - self._first_step[1])
        self._tell()

    def finish(self, history: History | None = None) -> None:
        """Say that training is over, for instance by Ctrl-C in a script. In a notebook, the end of the cell says so.

        Args:
            history: what `fit` returned.
        """
        if history is not None:
            self._take(history)
        whole = self._epochs is None or (self.history is not None and len(self.history) >= self._epochs)
        self._end("done" if whole and not (history is not None and history.interrupted) else "stopped")

    def picture(self) -> np.ndarray:
        """The curves so far, as `viz.draw_history` draws them, with a line on time and speed, and below them the masks
        of three to five epochs of what is watched: (H, W, 3) uint8."""
        if self.history is None or not self.history.rows:
            figure = Figure(figsize=(8.4, 0.6))
            figure.text(0.5, 0.5, "no epoch finished yet", ha="center", va="center", fontsize=10, color="0.4")
        else:
            figure = draw_history(self.history, ["loss", *(self.columns or [])])
            figure.supxlabel(self._note(), x=0.995, ha="right", fontsize=8, color="0.4")
        picture = drawn(figure)  # at 100 dpi
        if self._growth is None or self.history is None:
            return picture
        strip = self._growth.strip(self.history.best_epoch, picture.shape[1], self.opacity, self.safe_colours)
        gap = np.full((8, picture.shape[1], 3), 255, np.uint8)
        return picture if strip is None else np.concatenate([picture, gap, strip])  # (H + 8 + strip, W, 3)

    def summary(self) -> str:
        """One line, without times: it is the same for the same seed."""
        if self.history is None or not self.history.rows:
            return "TrainingMonitor(no epoch finished yet)"
        number = self.history.best_epoch or len(self.history)
        row = self.history.rows[number - 1]
        values = ", ".join(f"{name} {row[name]:.4g}" for name in ("loss", *(self.columns or [])))
        return f"TrainingMonitor({_epochs(len(self.history))}; {'best' if self.history.best_epoch else 'last'}: " \
               f"{number}, {values})"

    @t.validate("opacity")
    def _a_share(self, proposal: Any) -> float:
        return in_unit_range(proposal)

    @t.validate("columns")
    def _known_columns(self, proposal: Any) -> list[str] | None:
        if proposal.value is not None and self.history is not None and self.history.rows:
            _check_columns(proposal.value, self.history)
        return proposal.value

    def _clear(self, status: str) -> None:
        now = time.perf_counter()
        self._status, self._epochs = status, self._given_epochs
        self._done, self._total = 0, None
        self._first_step = self._rate = None
        self._start, self._next_message, self._next_picture = now, 0.0, now + _FIRST_PICTURE
        self._rows: list[list[Any]] = []
        self._sent_rows = -1

    def _begin(self, history: History | None = None) -> None:
        """A new training: empty curves, in an output of its own if this is another cell's."""
        shell, is_first = _notebook(), self._status == "waiting"
        self._clear("training")
        if self._growth is not None:  # what was seen of a run that goes on stays
            seen = self.history.rows if self.history is not None and history is not None else []
            goes_on = bool(seen) and history is not None and history.rows[:len(seen)] == seen
            self._growth.forget(after=len(seen) if goes_on else 0)
        self.history = None
        if history is not None:
            self._start -= sum(timing.get("seconds", 0.0) for timing in history.timings)
            self._add(history)
        if shell is not None:
            # However the cell ends, by an error or the stop button too, training is over then.
            shell.events.register("post_run_cell", self._cell_ended)
            if self._shown_in is None or not (is_first or self._shown_in == shell.execution_count):
                self._display_id = ""
                self._ipython_display_()

    def _take(self, history: History) -> None:
        """Bring the rows up to date; begin anew if this is another training's history."""
        goes_on = self._status in {"training", "stopped"} and self.history is None and len(history) <= 1
        if history is not self.history and not goes_on:
            self._begin(history)
        else:
            self._add(history)
        self._status, self._first_step = "training", None

    def _add(self, history: History) -> None:
        is_new, self.history = history is not self.history, history
        if is_new and history.rows:
            if self.columns is None or not (self._given_columns or set(self.columns) <= set(_scores(history))):
                self.columns = default_columns(history)[1:]
            _check_columns(self.columns, history)
        for place in range(len(self._rows), len(history)):
            row = {"epoch": place + 1} | history.rows[place]
            timing = history.timings[place] if place < len(history.timings) else {}
            self._rows.append([_plain(value) for value in (*row.values(), *(timing.get(name) for name in _TIMES))])

    def _end(self, status: str) -> None:
        self._status = status
        self._tell()
        self._refresh()

    def _cell_ended(self, result: object = None) -> None:
        _notebook().events.unregister("post_run_cell", self._cell_ended)
        if self._status == "training":
            self._end("stopped" if self._epochs is not None else "done")

    def _tell(self) -> None:
        """Tell the browser what is new: one small message."""
        start = time.perf_counter()
        history = self.history
        with self.hold_sync():
            if len(self._rows) != self._sent_rows:
                self._sent_rows = len(self._rows)
                names = [*({"epoch": 1} | history.rows[0]), *_TIMES] if history and self._rows else []
                self.table = {"names": names, "rows": list(self._rows), "best": history.best_epoch if history else 0,
                              "watched": history.monitor.name if history else ""}
                if self._growth is not None:
                    self.masks = self._growth.wire()
            self.progress = {"status": self._status, "done": self._done, "total": self._total, "epochs": self._epochs,
                             "elapsed": round(start - self._start, 2), "rate": _plain(self._rate)}
        # A single slow message, while others use the machine, is no reason to fall silent.
        usual = max(self._message_cost, _PAUSE * _MESSAGES)
        self._message_cost = min(time.perf_counter() - start, 2 * usual)
        self._next_message = start + max(_PAUSE, self._message_cost / _MESSAGES)

    def _ipython_display_(self, **options: Any) -> None:
        """Display as an output that can be brought up to date; IPython calls it instead of `_repr_mimebundle_`."""
        from IPython import get_ipython
        from IPython.display import display

        cell = getattr(get_ipython(), "execution_count", None)
        if not self._display_id or (self._status in {"done", "stopped"} and cell != self._shown_in):
            self._display_id = uuid.uuid4().hex
        self._shown_in = cell
        data, metadata = self._repr_mimebundle_()
        display(data, metadata=metadata, raw=True, display_id=self._display_id)

    def _refresh(self) -> None:
        """Bring the picture in the stored notebook up to date."""
        if not self._display_id or _notebook() is None:
            return
        from IPython.display import update_display

        start = time.perf_counter()
        data, metadata = self._repr_mimebundle_()
        update_display(data, metadata=metadata, raw=True, display_id=self._display_id)
        end = time.perf_counter()
        # Each one makes a browser build the widget anew: a handful in a training, however long.
        self._next_picture = end + max((end - start) / _PICTURES, end - self._start)

    def _note(self) -> str:
        history = self.history
        if history is None:
            return ""
        count, timings = len(history), [timing for timing in history.timings if timing.get("seconds")]
        text = _epochs(count)
        if self._status != "done" and self._epochs is not None and count < self._epochs:
            text = f"{'stopped after ' if self._status == 'stopped' else ''}{count} of {_epochs(self._epochs)}"
        if seconds := sum(timing["seconds"] for timing in timings):
            pictures = sum(timing["seconds"] * timing.get("images_per_second", 0.0) for timing in timings)
            speed = f", {_speed(pictures / seconds)} images/s" if pictures else ""
            text += f", {_duration(seconds)} of training{speed}"
        return text


def _scores(history: History) -> list[str]:
    return [name for name in history.rows[0] if name not in _NO_SCORES]


def _check_columns(columns: list[str], history: History) -> None:
    known = _scores(history)
    if strays := [name for name in columns if name not in known]:
        raise ArgumentError("columns", found=", ".join(map(repr, strays)),
                            expected=f"scores of the history: {', '.join(known) or 'it has none'}")


def _plain(value: Any) -> Any:
    """A number as JSON has it, to six digits; NaN and infinity, which it has not, as text."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"


def _speed(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"


def _duration(seconds: float) -> str:
    """41.3 -> "41 s", 125 -> "2 min 5 s", 7500 -> "2 h 5 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, whole = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {whole} s" if minutes else f"{whole} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _notebook() -> Any:
    """IPython's shell in a Jupyter kernel, else None; a terminal with IPython has a shell, but no kernel."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None
