"""Curves of a training while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seglab.errors import ArgumentError
from seglab.files import atomic_file
from seglab.history import History
from seglab.viz.pictures import RIGHT, WRONG
from seglab.viz.plots import STYLE, in_words

_LINE, _BEST = (tuple(value / 255 for value in colour) for colour in (RIGHT, WRONG))


class LiveCurve:
    """The curves of a training as a PNG file, drawn anew after each epoch: `fit(..., on_epoch=LiveCurve("curve.png"))`.

    For a training in a terminal; in a notebook, `widgets.TrainingMonitor` shows more, and needs no file. The best epoch
    is marked. A thin vertical line stands where a constant learning rate fell by half or more.

    Args:
        path: a PNG file, written whole or not at all; its folder is made.
        columns: of the history, a panel each; by default the loss, and the monitored score, else mIoU or accuracy.

    Raises:
        ArgumentError: when called with a history that lacks a column.

    Example:
        >>> import tempfile
        >>> from seglab.training import History
        >>> history = History()
        >>> _ = history.add({"epoch": 1, "loss": 0.7, "lr": 0.1, "miou": 0.4}, {})
        >>> path = Path(tempfile.mkdtemp()) / "curves.png"
        >>> LiveCurve(path)(history)
        >>> path.read_bytes()[1:4]
        b'PNG'
    """

    def __init__(self, path: str | Path, columns: Sequence[str] | None = None) -> None:
        self.path, self.columns = Path(path), columns

    def __call__(self, history: History) -> None:
        """Draw a history of one or more epochs."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.path) as new:
            draw_history(history, self.columns).savefig(new, format="png", dpi=100)


@mpl.rc_context(STYLE)
def draw_history(history: History, columns: Sequence[str] | None = None) -> Figure:
    """The figure of a `LiveCurve` and a `TrainingMonitor`. Matplotlib does not keep it: there is nothing to close."""
    columns = list(columns) if columns is not None else default_columns(history)
    known = list(history.rows[0]) if history.rows else []
    missing = [column for column in columns if column not in known]
    if missing or not columns:
        raise ArgumentError("columns", found=", ".join(map(repr, missing)) or "none",
                            expected=f"columns of the history: {', '.join(known)}")
    figure = Figure(figsize=(4.2 * len(columns), 2.9), layout="constrained")
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for axis, column in zip(axes, columns, strict=True):
        for place, rate in _drops(history):
            axis.axvline(place, color="0.6", linewidth=0.8, zorder=1)
            if axis is axes[0]:  # a loss leaves the upper right empty; once is enough
                axis.annotate(f"lr {rate:.2g}", (place, 1), (-2, -2), xycoords=("data", "axes fraction"),
                              textcoords="offset points", rotation=90, fontsize=7, color="0.45", va="top", ha="right")
        # A marker an epoch shows a single one; many would hide the line.
        axis.plot(range(1, len(history) + 1), history[column], color=_LINE, linewidth=1.6,
                  marker="o" if len(history) <= 30 else None, markersize=3)
        title = in_words(column)
        if history.best_epoch:
            best = history[column][history.best_epoch - 1]
            axis.plot([history.best_epoch], [best], "o", markersize=9, markerfacecolor="none", markeredgewidth=1.8,
                      markeredgecolor=_BEST, zorder=3)
            title += f"   {best:.4g} in the best epoch, {history.best_epoch}"
        axis.set_title(title, loc="left")
        axis.set_xlabel("epoch", fontsize=9)
        margin = max(0.5, 0.03 * len(history))  # room for a ring around the last epoch
        axis.set_xlim(1 - margin, max(len(history), 2) + margin)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.tick_params(labelsize=8)
    return figure


def default_columns(history: History) -> list[str]:
    """What is drawn where nobody asks for columns: the loss, and the score that is watched, else mIoU or accuracy."""
    known = history.rows[0] if history.rows else {}
    scores = [name for name in (history.monitor.name, "miou", "accuracy") if name in known.keys() - {"loss", "epoch"}]
    return ["loss", *scores[:1]]


def _drops(history: History) -> list[tuple[float, float]]:
    """Where a rate that stood still fell by half or more: (place between two epochs, the new rate)."""
    rates = [row.get("lr") for row in history.rows]
    steps = zip([*rates[:1], *rates], rates, rates[1:], strict=False)  # (the one before, old, new)
    return [(number + 0.5, new) for number, (older, old, new) in enumerate(steps, start=1)
            if old and old == older and new is not None and new <= old / 2]
