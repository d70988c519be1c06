"""Pictures: masks in colour, overlays, errors, samples in rows and grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image, ImageDraw, ImageFont

from seglab.errors import ArgumentError
from seglab.labels import IGNORE, LabelSet
from seglab.viz.palettes import as_drawn

#: Right, wrong, ignored: blue and orange differ for colour-blind eyes too.
RIGHT, WRONG, IGNORED = (0, 114, 178), (230, 159, 0), (235, 235, 235)


def as_picture(image: object) -> np.ndarray:
    """Any uint8 picture, (3, H, W) tensor or (H, W, 3) array, as an (H, W, 3) array."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ArgumentError("image", found=f"shape {array.shape}, {array.dtype}",
                            expected="(3, H, W) or (H, W, 3), uint8")
    return array


def overlay(image: object, mask: object, label_set: LabelSet, alpha: float = 0.5,
            hidden: Sequence[int] | None = None) -> np.ndarray:
    """Blend a mask's colours over its picture: (H, W, 3) uint8.

    Args:
        image: (3, H, W) or (H, W, 3) uint8.
        mask: (H, W) uint8 class ids, of that size; ignored pixels show the picture.
        label_set: the classes; their colours are those of `as_drawn`.
        alpha: share of the mask, 0 to 1.
        hidden: class ids that show the picture, too; by default the background.

    Example:
        >>> from seglab.labels import PETS
        >>> overlay(np.full((1, 2, 3), 100, np.uint8), np.array([[0, 2]], np.uint8), PETS).tolist()
        [[[100, 100, 100], [156, 97, 50]]]
    """
    picture, mask = as_picture(image), np.ascontiguousarray(mask)
    if picture.shape[:2] != mask.shape:
        raise ArgumentError("mask", found=f"shape {mask.shape}", expected=f"the picture's size {picture.shape[:2]}")
    if not 0 <= alpha <= 1:
        raise ArgumentError("alpha", found=alpha, expected="0 to 1")
    if mask.size == 0:
        return picture.copy()
    # OpenCV paints and blends in bytes: many times the speed of float arithmetic in NumPy.
    blended = as_drawn(label_set).colourise(mask)
    cv2.addWeighted(picture, 1 - alpha, blended, alpha, 0, dst=blended)  # in place: no second array to fill
    if hidden is None:
        hidden = [] if label_set.background is None else [label_set.background]
    bare = np.zeros(256, dtype=np.uint8)
    bare[[*hidden, IGNORE]] = 1
    return cv2.copyTo(picture, cv2.LUT(mask, bare), dst=blended)


def heat_overlay(image: object, heat: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """A map of evidence over its picture, dark where there is none: (H, W, 3) uint8.

    Args:
        image: (3, H, W) or (H, W, 3) uint8.
        heat: (H, W) in [0, 1], of that size, as `class_activation` returns it.
        alpha: share of the map.

    Example:
        >>> heat_overlay(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1))).shape
        (1, 1, 3)
    """
    picture = as_picture(image)
    if picture.shape[:2] != np.shape(heat):
        raise ArgumentError("heat", found=f"shape {np.shape(heat)}", expected=f"the picture's size {picture.shape[:2]}")
    colours = plt.get_cmap("inferno")(np.asarray(heat))[..., :3] * 255  # (H, W, 3)
    return ((1 - alpha) * picture + alpha * colours).round().astype(np.uint8)


def add_legend(picture: np.ndarray, label_set: LabelSet, ids: Sequence[int], size: int | None = None) -> np.ndarray:
    """A picture with a strip below that names classes (255: "ignored") beside their colours: (H, W, 3) uint8.

    `size` is that of the letters, in pixels; by default they grow with the picture.
    """
    width = picture.shape[1]
    size = max(11, round(width / 45)) if size is None else size
    font, pad, palette = ImageFont.load_default(size), size // 2, as_drawn(label_set).palette
    names = ["ignored" if i == IGNORE else label_set.classes[i] for i in ids]
    places, left, top = [], pad, pad
    for name in names:
        needed = round(size * 1.4 + font.getlength(name) + 2 * pad)
        if left > pad and left + needed > width:
            left, top = pad, top + size + pad
        places.append((left, top))
        left += needed
    strip = Image.new("RGB", (width, top + size + pad), "white")
    draw = ImageDraw.Draw(strip)
    for (left, top), class_id, name in zip(places, ids, names, strict=True):
        colour = tuple(palette[class_id].tolist())
        draw.rectangle((left, top, left + size, top + size), fill=colour, outline=(120, 120, 120))
        draw.text((left + size * 1.4, top + size / 2), name, fill="black", font=font, anchor="lm")
    return np.concatenate([picture, np.asarray(strip)])  # (H + strip, W, 3)


def error_map(prediction: object, truth: object) -> np.ndarray:
    """Where a prediction is right (blue), wrong (orange) or not scored (grey): (H, W, 3) uint8."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ArgumentError("prediction", found=f"shape {prediction.shape}", expected=f"{truth.shape}, as the truth")
    table = np.array([WRONG, RIGHT, IGNORED], dtype=np.uint8)
    return table[np.where(truth == IGNORE, 2, prediction == truth)]


def class_patches(label_set: LabelSet, ids: Sequence[int] | None = None) -> list[Patch]:
    """Legend entries for class ids, in the colours of `overlay`; 255 reads "ignored"."""
    palette = as_drawn(label_set).palette
    return [Patch(facecolor=palette[i] / 255, edgecolor="0.6", linewidth=0.5,
                  label="ignored" if i == IGNORE else label_set.classes[i])
            for i in (ids if ids is not None else range(len(label_set)))]


def show_samples(samples: Sequence[tuple[object, object]], label_set: LabelSet, *,
                 predict: Callable[[Any], Any] | None = None, titles: Sequence[str] | None = None,
                 legend: bool = True) -> Figure:
    """One row a sample: picture, truth, overlay; with predictions: picture, truth, prediction, errors.

    Args:
        samples: (image, mask) pairs, as a dataset gives them.
        label_set: names and colours.
        predict: called with an image, returns its (H, W) class ids.
        titles: what to write above each row's picture.
        legend: name the classes that occur, below.
    """
    label_set = as_drawn(label_set)
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
