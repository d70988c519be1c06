"""Plots: shares of classes, curves of training, scores by class and by size, confusion, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from seglab.errors import ArgumentError
from seglab.history import History
from seglab.labels import LabelSet
from seglab.metrics import BoundaryScores, Calibration, SizedScores
from seglab.viz.palettes import as_drawn
from seglab.viz.pictures import RIGHT

#: No frame above and at the right, a pale grid behind what is drawn, small letters, no more margin than these need.
STYLE: Any = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
              "grid.color": "0.92", "axes.titlesize": 10, "legend.frameon": False, "legend.fontsize": 8,
              "figure.autolayout": True}
_WAYS = ((0, 114, 178), (0, 158, 115), (213, 94, 0))  # from the palette of RIGHT and WRONG (Okabe and Ito)


def in_words(column: str) -> str:
    """A column of a history, or a score, as a title: "pixel_accuracy" is "pixel accuracy", "miou" is "mIoU"."""
    return {"miou": "mIoU"}.get(column, column.replace("_", " "))


@mpl.rc_context(STYLE | {"axes.grid.axis": "x"})
def plot_shares(shares: Mapping[str, Sequence[float]], label_set: LabelSet) -> Figure:
    """Class shares as horizontal bars on a logarithmic axis, most frequent class on top.

    Args:
        shares: one series a split: C shares of all scored pixels, in [0, 1].
        label_set: names and colours.
    """
    palette = as_drawn(label_set).palette
    order = np.argsort(next(iter(shares.values())))  # bars are drawn from the bottom up
    figure, axis = plt.subplots(figsize=(7.5, 0.7 + 0.2 * len(label_set)))
    for (name, series), marker in zip(shares.items(), (None, "o", "|", "x"), strict=False):
        values = np.asarray(series)[order]
        if marker is None:
            axis.barh(range(len(order)), values, color=[palette[i] / 255 for i in order], edgecolor="0.4",
                      linewidth=0.5, label=name)
        else:
            axis.plot(values, range(len(order)), marker, color="black", markersize=5, label=name)
    axis.set(xscale="log", xlim=(1e-5, 1), xlabel="share of pixels (logarithmic)")
    axis.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axis.set_yticks(range(len(order)), [label_set.classes[i] for i in order], fontsize=8)
    axis.legend(loc="lower right")
    return figure


@mpl.rc_context(STYLE)
def plot_history(histories: Mapping[str, History],
                 columns: Sequence[str] = ("loss", "pixel_accuracy", "miou")) -> Figure:
    """Curves over the epochs, one panel a column, one line a run."""
    figure, axes = plt.subplots(1, len(columns), figsize=(3.1 * len(columns), 2.6), squeeze=False)
    for axis, column in zip(axes[0], columns, strict=True):
        for name, history in histories.items():
            axis.plot(range(1, len(history) + 1), history[column], marker="o", markersize=3, label=name)
        axis.set_title(in_words(column))
        axis.set_xlabel("epoch", fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
    if len(histories) > 1:
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0), ncol=3)
    return figure


@mpl.rc_context(STYLE | {"axes.grid.axis": "y"})
def plot_iou(ious: Mapping[str, Sequence[float]], label_set: LabelSet) -> Figure:
    """Per-class IoU of one or more models side by side; classes that do not occur (NaN) are left out."""
    table = np.array([np.asarray(v, dtype=float) for v in ious.values()])  # (models, C)
    classes = [i for i in range(len(label_set)) if not np.isnan(table[:, i]).all()]
    classes.sort(key=lambda i: -np.nanmax(table[:, i]))
    figure, axis = plt.subplots(figsize=(8.4, 3.0))
    for places, name, values in _beside(len(classes), ious, table):
        axis.bar(places, np.nan_to_num(values[classes]), 0.8 / len(ious), label=name)
    axis.set_xticks(range(len(classes)), [label_set.classes[i] for i in classes], rotation=60, ha="right", fontsize=8)
    axis.set(ylabel="IoU", ylim=(0, 1))
    axis.legend()
    return figure


def _beside(groups: int, names: Any, rows: Any) -> list[tuple[np.ndarray, Any, Any]]:
    """(the places of its bars, a name, a row) of each series, beside each other within groups of a width of 0.8."""
    return [(np.arange(groups) + (number - (len(rows) - 1) / 2) * 0.8 / len(rows), name, row)
            for number, (name, row) in enumerate(zip(names, rows, strict=True))]


@mpl.rc_context(STYLE | {"axes.grid.axis": "y"})
def plot_sizes(scores: SizedScores, label_set: LabelSet) -> Figure:
    """IoU by the size of objects: a group a size, a bar a class, the number of objects below each bar.

    Classes without any object are left out, and so is the bucket "none", which has no object. With more than nine
    classes, the numbers below are those of the groups.
    """
    iou, objects = np.asarray(scores.iou)[:, :-1], np.asarray(scores.objects)[:, :-1]  # (C, B - 1) each
    classes = [i for i in range(1, len(iou)) if objects[i].any()]
    few, palette = len(classes) <= 9, as_drawn(label_set).palette
    figure, axis = plt.subplots(figsize=(8.4, 3.0))
    for places, class_id, values in _beside(iou.shape[1], classes, iou[classes]):
        axis.bar(places, np.nan_to_num(values), 0.8 / len(classes), label=label_set.classes[class_id],
                 color=palette[class_id] / 255, edgecolor="white")
        for place, count in zip(places, objects[class_id] if few else (), strict=few):
            axis.annotate(f"{count}", (place, 0), (0, -3), textcoords="offset points", ha="center", va="top",
                          fontsize=8, color="0.4")
    totals = [f"{name} objects" + ("" if few else f"\n{count}")
              for name, count in zip(scores.buckets, objects.sum(0), strict=False)]
    axis.set_xticks(range(iou.shape[1]), totals)
    axis.tick_params(axis="x", length=0, pad=16 if few else 6)
    axis.set(ylabel="IoU", ylim=(0, 1))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), ncols=1 + len(classes) // 13)
    return figure


def plot_confusion(matrix: object, label_set: LabelSet, shares: bool = False) -> Figure:
    """A confusion matrix: rows are true classes, columns predicted ones, each row shaded by its shares.

    Args:
        matrix: (C, C) counts.
        label_set: names of the classes.
        shares: write per cent of the row (of what is truly of a class) instead of counts, which are too long where
            pixels are counted. A class that is nowhere true has an empty row; with many classes, 0% is left out.
    """
    counts = np.asarray(matrix)  # (C, C)
    rows = counts.sum(1, keepdims=True)  # (C, 1)
    parts = counts / np.maximum(rows, 1)
    many = len(counts) > 6
    side = 1.5 + (0.38 if many else 0.7) * len(counts)  # inches
    figure, axis = plt.subplots(figsize=(side, side))
    axis.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        text = f"{parts[row, column]:.0%}" if shares else f"{counts[row, column]}"
        if shares and (not rows[row] or (many and text == "0%")):
            text = ""
        axis.text(column, row, text, ha="center", va="center", fontsize=7 if many else None,
                  color="white" if parts[row, column] > 0.5 else "black")
    names, ticks = label_set.classes, range(len(counts))
    axis.set_xticks(ticks, names, rotation=60 if many else 0, ha="right" if many else "center",
                    rotation_mode="anchor" if many else "default")
    axis.set_yticks(ticks, names, rotation=0 if many else 90, va="center")
    axis.set(xlabel="predicted", ylabel="true")
    axis.spines[:].set_visible(False)
    figure.tight_layout()
    return figure


@mpl.rc_context(STYLE)
def plot_bands(found: Mapping[str, BoundaryScores], score: str = "pixel_accuracy") -> Figure:
    """A score in bands of rising width along the outlines, one line a model; at the right, beyond the widest band.

    Args:
        found: {model: scores}, as `BandMatrix.compute()` gives them; ArgumentError if their bands differ.
        score: "pixel_accuracy" or "miou".
    """
    (widths, *others) = {one.widths for one in found.values()}
    if others:
        raise ArgumentError("found", found=f"bands of {widths} and of {others[0]}", expected="the same for all models")
    figure, axis = plt.subplots(figsize=(5.2, 3.2))
    places = range(len(widths))
    for name, one in found.items():
        (line,) = axis.plot(places, getattr(one, score), "o-", markersize=4, label=name)
        axis.plot([len(widths) - 1, len(widths)], [getattr(one, score)[-1], getattr(one.beyond, score)], "o:",
                  markersize=4, color=line.get_color(), markerfacecolor="white", markevery=[1])
    axis.set_xticks([*places, len(widths)], [*(f"{width:g}" for width in widths), "beyond"])
    axis.set_xlabel("within so many pixels of an outline", fontsize=9)
    axis.set_ylabel(in_words(score))
    axis.legend(loc="lower right")
    return figure


@mpl.rc_context(STYLE | {"axes.grid": False})
def plot_calibration(found: Mapping[str, Calibration]) -> Figure:
    """Accuracy against confidence, one panel a classifier; bars say how many pictures lie in each bin."""
    figure, axes = plt.subplots(1, len(found), figsize=(3.4 * len(found), 3.1), squeeze=False, sharey=True)
    for axis, (name, one) in zip(axes[0], found.items(), strict=True):
        bins = len(one.counts)
        axis.bar((np.arange(bins) + 0.5) / bins, one.counts / one.counts.sum(), 0.9 / bins, color="0.88",
                 label="share of the pictures")
        axis.plot([0, 1], [0, 1], "--", color="0.5", linewidth=1, label="as sure as right")
        filled = one.counts > 0
        axis.plot(one.confidence[filled], one.accuracy[filled], "o-", color=np.array(RIGHT) / 255, label="accuracy")
        axis.set(title=f"{name}: error {one.error:.3f}", ylim=(0, 1.02))
        axis.set_xlabel("confidence", fontsize=9)
    axes[0][0].legend(loc="upper left")
    return figure


@mpl.rc_context(STYLE | {"axes.grid.axis": "y"})
def plot_learning_curves(panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Accuracy against training pictures a class: a panel a dataset, a line a way, bars from worst seed to best.

    Args:
        panels: {title: rows}; each row {"way", "pictures", "seed", "accuracy"}, as `tools/learning_curve.py` records
            them.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.5), squeeze=False, sharey=True)
    for axis, (title, rows) in zip(axes[0], panels.items(), strict=True):
        for number, way in enumerate(dict.fromkeys(row["way"] for row in rows)):
            counts = sorted({row["pictures"] for row in rows if row["way"] == way})
            runs = [[row["accuracy"] for row in rows if row["way"] == way and row["pictures"] == n] for n in counts]
            middle = np.array([np.mean(values) for values in runs])
            reach = np.array([[m - min(values), max(values) - m] for m, values in zip(middle, runs, strict=True)]).T
            places = np.array(counts) * 1.04 ** (number - 1)  # beside each other, where they would hide each other
            axis.errorbar(places, middle, yerr=reach.clip(min=0), marker="o", markersize=4, capsize=3, label=way,
                          color=np.array(_WAYS[number % len(_WAYS)]) / 255)
        axis.axhline(0.5, color="0.6", linewidth=1, linestyle=":")
        axis.text(0.98, 0.505, "guessing", fontsize=8, color="0.4", ha="right", transform=axis.get_yaxis_transform())
        axis.set(xscale="log", ylim=(0.4, 1.02), xlabel="training pictures a class", title=title)
        axis.set_xticks(counts, counts)
        axis.minorticks_off()
    axes[0][0].set_ylabel("test accuracy")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    lines = axes[0][0].get_legend_handles_labels()
    figure.legend(*lines, fontsize=9, loc="lower center", ncols=len(lines[0]))
    return figure
