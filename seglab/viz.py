"""Figures: masks in colour, overlays, errors, class shares, curves.

Every function draws into Matplotlib axes or returns a figure, and never calls `show`, so that it works in a notebook,
in a script and in a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image, ImageDraw, ImageFont

from seglab.errors import ArgumentError
from seglab.labels import IGNORE, LabelSet
from seglab.metrics import Calibration
from seglab.training.history import History

#: Right, wrong, ignored: blue and orange differ for colour-blind eyes too.
RIGHT, WRONG, IGNORED = (0, 114, 178), (230, 159, 0), (235, 235, 235)
_WAYS = ((0, 114, 178), (0, 158, 115), (213, 94, 0))  # from the same palette (Okabe and Ito)


def as_picture(image: object) -> np.ndarray:
    """Any uint8 picture, (3, H, W) tensor or (H, W, 3) array, as an (H, W, 3) array."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ArgumentError("image", found=f"shape {array.shape}, {array.dtype}",
                            expected="(3, H, W) or (H, W, 3), uint8")
    return array


def overlay(image: object, mask: object, label_set: LabelSet, alpha: float = 0.5) -> np.ndarray:
    """Blend a mask's colours over its picture.

    Args:
        image: (3, H, W) or (H, W, 3) uint8.
        mask: (H, W) uint8 class ids; ignored pixels show the picture.
        label_set: the colours.
        alpha: share of the mask, 0 to 1.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ArgumentError: picture and mask of different size, or alpha out of range.

    Example:
        >>> from seglab.labels import PETS
        >>> overlay(np.full((1, 1, 3), 100, np.uint8), np.array([[2]], np.uint8), PETS).tolist()
        [[[82, 50, 114]]]
    """
    picture, mask = as_picture(image), np.asarray(mask)
    if picture.shape[:2] != mask.shape:
        raise ArgumentError("mask", found=f"shape {mask.shape}", expected=f"the picture's size {picture.shape[:2]}")
    if not 0 <= alpha <= 1:
        raise ArgumentError("alpha", found=alpha, expected="0 to 1")
    if mask.size == 0:
        return picture.copy()
    # OpenCV paints and blends in bytes: many times the speed of float arithmetic in NumPy.
    blended = label_set.colourise(mask)
    cv2.addWeighted(picture, 1 - alpha, blended, alpha, 0, dst=blended)  # in place: no second array to fill
    if (ignored := mask == IGNORE).any():
        blended[ignored] = picture[ignored]
    return blended


def add_legend(picture: np.ndarray, label_set: LabelSet, ids: Sequence[int]) -> np.ndarray:
    """A picture with a strip below that names classes beside their colours: (H, W, 3) uint8, higher than before.

    Args:
        picture: (H, W, 3) uint8.
        label_set: names and colours.
        ids: the classes to name; 255 reads "ignored".
    """
    width = picture.shape[1]
    size = max(11, round(width / 45))  # of the letters, in pixels
    font, pad = ImageFont.load_default(size), size // 2
    names = ["ignored" if i == IGNORE else label_set.classes[i] for i in ids]
    rows: list[list[tuple[int, int, str]]] = [[]]  # (left, class id, name)
    left = pad
    for class_id, name in zip(ids, names, strict=True):
        needed = round(size * 1.4 + font.getlength(name) + 2 * pad)
        if rows[-1] and left + needed > width:
            rows.append([])
            left = pad
        rows[-1].append((left, int(class_id), name))
        left += needed
    strip = Image.new("RGB", (width, len(rows) * (size + pad) + pad), "white")
    draw = ImageDraw.Draw(strip)
    for number, row in enumerate(rows):
        top = pad + number * (size + pad)
        for left, class_id, name in row:
            colour = tuple(label_set.palette[class_id].tolist())
            draw.rectangle((left, top, left + size, top + size), fill=colour, outline=(120, 120, 120))
            draw.text((left + size * 1.4, top + size / 2), name, fill="black", font=font, anchor="lm")
    return np.concatenate([picture, np.asarray(strip)])  # (H + strip, W, 3)


def error_map(prediction: object, truth: object) -> np.ndarray:
    """Where a prediction is right (blue), wrong (orange) or not scored (grey): (H, W, 3) uint8.

    Raises:
        ArgumentError: prediction and truth of different size.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ArgumentError("prediction", found=f"shape {prediction.shape}", expected=f"{truth.shape}, as the truth")
    table = np.array([WRONG, RIGHT, IGNORED], dtype=np.uint8)
    return table[np.where(truth == IGNORE, 2, prediction == truth)]


def show_samples(samples: Sequence[tuple[object, object]], label_set: LabelSet, *, predict: object = None,
                 titles: Sequence[str] | None = None, legend: bool = True) -> Figure:
    """One row a sample: picture, truth, overlay; with predictions: picture, truth, prediction, errors.

    Args:
        samples: (image, mask) pairs, as a dataset gives them.
        label_set: names and colours.
        predict: called with an image, returns its (H, W) class ids.
        titles: what to write above each row's picture.
        legend: name the classes that occur, below.
    """
    columns = ["picture", "truth", "prediction", "errors"] if predict else ["picture", "truth", "overlay"]
    height, width = np.asarray(samples[0][1]).shape
    cell = 8.4 / len(columns)
    bottom = 0.62 if legend else 0.05
    total = len(samples) * cell * height / width + bottom + 0.3
    figure, axes = plt.subplots(len(samples), len(columns), figsize=(8.4, total), squeeze=False)
    present: set[int] = set()
    for row, (image, mask) in enumerate(samples):
        picture, mask = as_picture(image), np.asarray(mask)
        if predict:
            guess = np.asarray(predict(image))
            panels = [picture, label_set.colourise(mask), label_set.colourise(guess), error_map(guess, mask)]
            present |= set(np.unique(guess).tolist())
        else:
            panels = [picture, label_set.colourise(mask), overlay(picture, mask, label_set)]
        present |= set(np.unique(mask).tolist())
        for axis, panel, title in zip(axes[row], panels, columns, strict=True):
            axis.imshow(panel, interpolation="nearest", aspect="auto")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title, fontsize=10)
        if titles is not None:
            axes[row][0].text(0.02, 0.03, titles[row], transform=axes[row][0].transAxes, fontsize=8, color="white",
                              bbox={"facecolor": "black", "alpha": 0.6, "pad": 2, "edgecolor": "none"})
    if legend:
        figure.legend(handles=class_patches(label_set, sorted(present)), loc="lower center", ncol=7, fontsize=7,
                      frameon=False, handlelength=1.1, columnspacing=1.0)
    figure.subplots_adjust(left=0, right=1, top=1 - 0.28 / total, bottom=bottom / total, wspace=0.02, hspace=0.03)
    return figure


def class_patches(label_set: LabelSet, ids: Sequence[int] | None = None) -> list[Patch]:
    """Legend entries for class ids; 255 reads "ignored"."""
    return [Patch(facecolor=label_set.palette[i] / 255, edgecolor="0.6", linewidth=0.5,
                  label="ignored" if i == IGNORE else label_set.classes[i])
            for i in (ids if ids is not None else range(len(label_set)))]


def plot_shares(shares: Mapping[str, Sequence[float]], label_set: LabelSet) -> Figure:
    """Class shares as horizontal bars on a logarithmic axis, most frequent class on top.

    Args:
        shares: one series a split: C shares of all scored pixels, in [0, 1].
        label_set: names and colours.
    """
    first = np.asarray(next(iter(shares.values())))
    order = np.argsort(first)  # bars are drawn from the bottom up
    figure, axis = plt.subplots(figsize=(7.5, 0.7 + 0.2 * len(label_set)))
    markers = iter("o|x")
    for number, (name, values) in enumerate(shares.items()):
        values = np.asarray(values)[order]
        if number == 0:
            axis.barh(range(len(order)), values, color=[label_set.palette[i] / 255 for i in order], edgecolor="0.4",
                      linewidth=0.5, label=name)
        else:
            axis.plot(values, range(len(order)), next(markers), color="black", markersize=5, label=name)
    axis.set_xscale("log")
    axis.set_xlim(1e-5, 1)
    axis.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axis.set_yticks(range(len(order)), [label_set.classes[i] for i in order], fontsize=8)
    axis.set_xlabel("share of pixels (logarithmic)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.legend(frameon=False, loc="lower right", fontsize=8)
    figure.tight_layout()
    return figure


def plot_history(histories: Mapping[str, History],
                 columns: Sequence[str] = ("loss", "pixel_accuracy", "miou")) -> Figure:
    """Curves over the epochs, one panel a column, one line a run."""
    figure, axes = plt.subplots(1, len(columns), figsize=(3.1 * len(columns), 2.6), squeeze=False)
    for axis, column in zip(axes[0], columns, strict=True):
        for name, history in histories.items():
            axis.plot(range(1, len(history) + 1), history[column], marker="o", markersize=3, label=name)
        axis.set_title({"miou": "mIoU"}.get(column, column.replace("_", " ")), fontsize=10)
        axis.set_xlabel("epoch", fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92")
    figure.tight_layout()
    if len(histories) > 1:
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0), ncol=3,
                      frameon=False, fontsize=8)
    return figure


def plot_iou(ious: Mapping[str, Sequence[float]], label_set: LabelSet) -> Figure:
    """Per-class IoU of one or more models side by side; classes that do not occur (NaN) are left out."""
    table = np.array([np.asarray(v, dtype=float) for v in ious.values()])  # (models, C)
    classes = [i for i in range(len(label_set)) if not np.isnan(table[:, i]).all()]
    classes.sort(key=lambda i: -np.nanmax(table[:, i]))
    figure, axis = plt.subplots(figsize=(8.4, 3.0))
    width = 0.8 / len(ious)
    for number, (name, values) in enumerate(zip(ious, table, strict=True)):
        places = np.arange(len(classes)) + (number - (len(ious) - 1) / 2) * width
        axis.bar(places, np.nan_to_num(values[classes]), width, label=name)
    axis.set_xticks(range(len(classes)), [label_set.classes[i] for i in classes], rotation=60, ha="right", fontsize=8)
    axis.set_ylabel("IoU")
    axis.set_ylim(0, 1)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="0.92")
    axis.set_axisbelow(True)
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def show_pictures(images: Sequence[object], titles: Sequence[str] | None = None, columns: int = 6,
                  wrong: Sequence[bool] | None = None) -> Figure:
    """A grid of pictures with a line of text below each.

    Args:
        images: (3, H, W) or (H, W, 3) uint8, of one size.
        titles: a text each.
        columns: pictures a row.
        wrong: True paints the text in orange.
    """
    rows = -(-len(images) // columns)
    width = 8.4 / columns
    text = 0.08 + 0.15 * max((title.count("\n") + 1 for title in titles or ()), default=0)  # inches below a picture
    height = width * as_picture(images[0]).shape[0] / as_picture(images[0]).shape[1]
    figure, axes = plt.subplots(rows, columns, figsize=(8.4, rows * (height + text)), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, image in enumerate(images):
        axis = axes.flat[number]
        axis.imshow(as_picture(image), interpolation="nearest")
        if titles is not None:
            colour = np.array(WRONG if wrong is not None and wrong[number] else (40, 40, 40)) / 255
            axis.text(0.5, -0.04 / height, titles[number], fontsize=8, color=colour, ha="center", va="top",
                      transform=axis.transAxes)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.995, bottom=text / rows / (height + text), wspace=0.04,
                           hspace=text / height)
    return figure


def heat_overlay(image: object, heat: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """A map of evidence over its picture, dark where there is none: (H, W, 3) uint8.

    Args:
        image: (3, H, W) or (H, W, 3) uint8.
        heat: (H, W) in [0, 1], as `class_activation` returns it.
        alpha: share of the map.

    Raises:
        ArgumentError: picture and map of different size.

    Example:
        >>> heat_overlay(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1))).shape
        (1, 1, 3)
    """
    picture = as_picture(image)
    if picture.shape[:2] != np.shape(heat):
        raise ArgumentError("heat", found=f"shape {np.shape(heat)}", expected=f"the picture's size {picture.shape[:2]}")
    colours = plt.get_cmap("inferno")(np.asarray(heat))[..., :3] * 255  # (H, W, 3)
    return ((1 - alpha) * picture + alpha * colours).round().astype(np.uint8)


def plot_confusion(matrix: object, label_set: LabelSet) -> Figure:
    """A confusion matrix of counts: rows are true classes, columns predicted ones, each row shaded by its shares."""
    counts = np.asarray(matrix)  # (C, C)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 1.5 + 0.7 * len(counts)
    figure, axis = plt.subplots(figsize=(side, side))
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        axis.text(column, row, f"{counts[row, column]}", ha="center", va="center",
                  color="white" if shares[row, column] > 0.5 else "black")
    axis.set_xticks(range(len(counts)), label_set.classes)
    axis.set_yticks(range(len(counts)), label_set.classes, rotation=90, va="center")
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.spines[:].set_visible(False)
    figure.tight_layout()
    return figure


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
        axis.set_title(f"{name}: error {one.error:.3f}", fontsize=10)
        axis.set_xlabel("confidence", fontsize=9)
        axis.set_ylim(0, 1.02)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.tight_layout()
    return figure


def plot_learning_curves(panels: Mapping[str, Sequence[Mapping[str, object]]]) -> Figure:
    """Accuracy against training pictures a class: a panel a dataset, a line a way, bars from worst seed to best.

    Args:
        panels: {title: rows}; each row {"way", "pictures", "seed", "accuracy"}, as
            `seglab.recipes.learning_curve.learning_curve` returns them.
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
        axis.set_xscale("log")
        axis.set_xticks(counts, counts)
        axis.minorticks_off()
        axis.set_ylim(0.4, 1.02)
        axis.set_xlabel("training pictures a class")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="0.92")
    axes[0][0].set_ylabel("test accuracy")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    lines = axes[0][0].get_legend_handles_labels()
    figure.legend(*lines, frameon=False, fontsize=9, loc="lower center", ncols=len(lines[0]))
    return figure
