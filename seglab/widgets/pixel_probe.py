"""PixelProbe: what a network says about one pixel, and how far it looked."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import torch
import traitlets as t
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from seglab.errors import ArgumentError, SeglabError
from seglab.inference import Prediction
from seglab.inference.segmenter import Segmenter
from seglab.labels import IGNORE
from seglab.models import effective_receptive_field, receptive_reach
from seglab.viz import heat_overlay, overlay
from seglab.viz.palettes import as_drawn, safe_label_set
from seglab.widgets.base import PictureWidget, browser_code, drawn, in_unit_range, styles
from seglab.widgets.wire import check_mask, check_picture, classes_of, encode, pack

#: Bars: the most probable classes, then the rest.
BARS = 8
#: Probabilities on the wire, one byte each. With more, only the most probable classes of each pixel travel; of pictures
#: with more than a quarter as many pixels, every second row and column, or every third, …
MAX_VALUES = 16_000_000


class PixelProbe(PictureWidget):
    """Click a pixel: its class probabilities as bars, its true class, and the part of the picture that it rests on.

    In the browser, without asking the kernel: bars, truth, and the *theoretical* receptive field, a frame around all
    that the network's architecture lets this pixel depend on. With a kernel, the *effective* one: a heat map of how
    strongly each pixel of the picture moves the score of the predicted class (the square root of
    `models.effective_receptive_field`, to show what is faint). Elsewhere a picture shows pixel, frame and bars.

    Keyboard, on the picture: arrows move the pixel by 1, with Shift by 10; Home goes to the middle. Mouse: click, drag.

    Probabilities travel once, rounded to 1/255, hence bars in whole percent; `picture()` has the true ones. If there
    are more than 16 million, only the most probable classes of each pixel travel, as many as fit, 8 at most; of a
    picture of more than 4 million pixels every second row and column (third, …). The widget says so.

    The frame is measured once, in two corners of the picture, when the widget is made (`models.receptive_reach`; it
    costs as much as some five predictions), and moves with the pixel. It is right to within one output stride. Both
    fields belong to one plain pass at the size at which the network works (`short_side`), not to flips, scales or
    tiles, and are drawn in pixels of the picture.

    Args:
        prediction: of `predict(model, image, probabilities=True)`.
        model: the network, for the receptive fields; None leaves them out.
        truth: (H, W) class ids, 255 is ignored.
        short_side, normalize: as given to `predict`, if they were.
        pixel: [x, y] from the top left, counted from 0; [] is the middle.
        opacity: of what lies over the picture, 0 to 1.
        show_field: draw the frame.
        show_heat: draw the effective receptive field.
        show_mask: draw the predicted classes but for the background, where no heat is shown.
        safe_colours: colours that colour-blind eyes can tell apart.

    The last six are traits: Python reads what the learner did, and sets it (`probe.pixel = [120, 80]`).

    Raises:
        ArgumentError: a prediction without probabilities, a truth of another size, a pixel outside of the picture, or
            a number out of range. A model whose receptive field cannot be measured is no error: the widget says why.

    Example:
        >>> from seglab import build
        >>> from seglab.inference import predict
        >>> model = build("single_conv", 3)
        >>> probe = PixelProbe(predict(model, np.zeros((60, 80, 3), np.uint8), probabilities=True), model)
        >>> probe.pixel = [5, 7]
        >>> probe, probe.box()
        (PixelProbe(80×60, 3 classes: x 5, y 7; sees 3×3 pixels), (6, 4, 9, 7))
    """

    _esm = browser_code("pixel_probe")
    _css = styles("pixel_probe")

    content = t.Dict().tag(sync=True)
    label = t.Unicode().tag(sync=True)
    heat = t.Dict().tag(sync=True)
    pixel = t.List(t.Int()).tag(sync=True)
    opacity = t.Float(0.6).tag(sync=True)
    show_field = t.Bool(True).tag(sync=True)
    show_heat = t.Bool(False).tag(sync=True)
    show_mask = t.Bool(False).tag(sync=True)
    safe_colours = t.Bool(False).tag(sync=True)
    _settable = ("pixel", "opacity", "show_field", "show_heat", "show_mask", "safe_colours", "layout")

    def __init__(self, prediction: Prediction, model: nn.Module | None = None, truth: Any = None, *,
                 short_side: int | str | None = "auto", normalize: nn.Module | None = None, **settings: Any) -> None:
        if not isinstance(prediction, Prediction) or prediction.probabilities is None:
            raise ArgumentError("prediction", found="no probabilities" if isinstance(prediction, Prediction) else
                                type(prediction).__name__, expected="a prediction with probabilities",
                                fix="predict(model, image, probabilities=True)")
        self._prediction, self._probabilities, self._model = prediction, prediction.probabilities, model
        image, labels = check_picture(prediction.image), prediction.label_set
        self._size = image.shape[:2]
        mask = check_mask(prediction.mask, self._size, labels, "prediction")
        self._truth = None if truth is None else check_mask(truth, self._size, labels, "truth")
        self._inside: np.ndarray | None = None
        self._reach: tuple[int | None, int | None, int | None, int | None] | None = None
        problem = ""
        if model is not None:
            self._segmenter = Segmenter(model, normalize=normalize, label_set=labels, short_side=short_side)
            self._inside = self._segmenter.inside(image[None])[0]  # the picture as the network sees it
            try:
                self._reach = receptive_reach(model, self._inside.shape[:2])
            except ArgumentError as error:  # of scores that are smaller than the picture; the heat works
                problem = " ".join(str(error).split())
        content = _content(image, mask, self._truth, self._probabilities, len(labels))
        content |= {"classes": classes_of(labels), "model": model is not None, "reach": self._reach, "problem": problem,
                    "seen": [] if self._inside is None else [*self._inside.shape[1::-1]]}
        super().__init__(content=content, **self._settings(settings))
        self.label = f"PixelProbe: {self._size[1]} by {self._size[0]} pixels, {len(labels)} classes"
        self.on_msg(self._on_message)

    def place(self) -> tuple[int, int]:
        """(y, x) of the marked pixel."""
        x, y = self.pixel or (self._size[1] // 2, self._size[0] // 2)
        return y, x

    def box(self) -> tuple[int, int, int, int] | None:
        """The frame: (top, left, bottom, right) in pixels of the picture, cut at its edge; None without a model.

        Bottom and right are the first row and column behind it.
        """
        if self._reach is None or self._inside is None:
            return None
        edges: list[int] = []
        for before, after, at, length, seen in zip(self._reach[:2], self._reach[2:], self.place(), self._size,
                                                   self._inside.shape[:2], strict=True):
            scale, middle = length / seen, at + 0.5
            edges += [0 if before is None else max(0, round(middle - (before + 0.5) * scale)),
                      length if after is None else min(length, round(middle + (after + 0.5) * scale))]
        top, bottom, left, right = edges
        return top, left, bottom, right

    def summary(self) -> str:
        (height, width), (y, x), box = self._size, self.place(), self.box()
        seen = ""
        if box is not None:
            size = f"{box[3] - box[1]}×{box[2] - box[0]}"
            seen = "; sees " + ("the whole picture" if size == f"{width}×{height}" else f"{size} pixels")
        return f"PixelProbe({width}×{height}, {len(self._probabilities)} classes: x {x}, y {y}{seen})"

    def bars(self) -> list[tuple[str, float, tuple[int, int, int]]]:
        """(name, probability, colour) of the most probable classes at the marked pixel, largest first, then the rest.

        Example:
            >>> from seglab import build
            >>> from seglab.inference import predict
            >>> answer = predict(build("single_conv", 3), np.zeros((6, 8, 3), np.uint8), probabilities=True)
            >>> [name for name, _, _ in PixelProbe(answer).bars()] == sorted(
            ...     answer.label_set.classes, key=lambda name: -answer.probabilities[answer.label_set.id(name), 3, 4])
            True
        """
        (y, x), labels = self.place(), self._prediction.label_set
        values = self._probabilities[:, y, x]
        order = np.argsort(-values, kind="stable")[:BARS]
        colours = [c["safe" if self.safe_colours else "colour"] for c in self.content["classes"]]
        rows = [(labels.classes[i], float(values[i]), tuple(colours[i])) for i in order]
        if len(values) > BARS:
            rows.append((f"{len(values) - BARS} others", max(0.0, 1 - sum(value for _, value, _ in rows)),
                         (128, 128, 128)))
        return rows

    def picture(self) -> np.ndarray:
        """The picture with the marked pixel, frame, heat or classes as shown, and the bars: (H, W, 3) uint8."""
        (height, width), (y, x), box, rows = self._size, self.place(), self.box(), self.bars()
        figure = Figure(figsize=(7.6, max(2.4, min(4.2, 4.6 * height / width))), dpi=100, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
        shown = self._prediction.image
        if self.show_heat and self._model is not None:
            shown = heat_overlay(shown, self._heat(x, y, shown.shape[:2]), self.opacity)
        elif self.show_mask:
            labels = as_drawn(self._prediction.label_set)
            labels = safe_label_set(labels) if self.safe_colours else labels
            shown = overlay(shown, self._prediction.mask, labels, self.opacity)
        left.imshow(shown, interpolation="nearest" if width < 256 else "antialiased")
        left.set_axis_off()
        for colour, thick in (("black", 2.6), ("white", 1.0)):
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                left.plot([x + dx * width / 90, x + dx * width / 30], [y + dy * width / 90, y + dy * width / 30],
                          color=colour, linewidth=thick)
            if box is not None and self.show_field:
                left.add_patch(Rectangle((box[1] - 0.5, box[0] - 0.5), box[3] - box[1], box[2] - box[0], fill=False,
                                         edgecolor=colour, linewidth=thick + 0.4))
        left.set_xlim(-0.5, width - 0.5)
        left.set_ylim(height - 0.5, -0.5)
        positions = range(len(rows))
        right.barh(positions, [value for _, value, _ in rows], height=0.66, edgecolor="0.45", linewidth=0.6,
                   color=[np.array(colour) / 255 for _, _, colour in rows])
        for position, (_, value, _) in zip(positions, rows, strict=True):
            right.text(value + 0.02, position, f"{value:.1%}", va="center", fontsize=8, color="0.25")
        right.set_yticks(positions, [name if len(name) < 24 else f"{name[:22]}…" for name, _, _ in rows], fontsize=9)
        right.set_ylim(max(6, len(rows)) - 0.4, -0.6)
        right.set_xlim(0, 1.22)
        right.set_xticks([])
        right.tick_params(left=False)
        right.spines[["top", "right", "bottom"]].set_visible(False)
        title = f"x {x}, y {y}"
        if self._truth is not None:
            true = int(self._truth[y, x])
            title += f" · in truth {'ignored' if true == IGNORE else self._prediction.label_set.classes[true]}"
        right.set_title(title, fontsize=9, loc="left")
        if box is not None and self.show_field:
            whole = (box[3] - box[1], box[2] - box[0]) == (width, height)
            words = "the whole picture" if whole else f"{box[3] - box[1]}×{box[2] - box[0]} pixels"
            heat = "; bright: what moves the answer" if self.show_heat else ""
            left.set_title(f"sees {words}{heat}", fontsize=9, loc="left")
        return drawn(figure)

    @t.validate("pixel")
    def _in_the_picture(self, proposal: Any) -> list[int]:
        (height, width), found = self._size, list(proposal.value)
        if found and not (len(found) == 2 and 0 <= found[0] < width and 0 <= found[1] < height):
            raise ArgumentError("pixel", found=found, expected=f"[x, y] with x from 0 to {width - 1} and y from 0 to "
                                f"{height - 1}, or [] for the middle")
        return found

    @t.validate("opacity")
    def _a_share(self, proposal: Any) -> float:
        return in_unit_range(proposal)

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """The browser asks for the heat of a pixel; what it gets is a trait, so that every view has it."""
        if content.get("ask") == "heat" and self._model is not None:
            x, y = content["pixel"]
            if self.heat.get("pixel") != [x, y]:  # two views ask the same
                self.heat = {"pixel": [x, y], **self._heat_of(x, y)}

    def _heat(self, x: int, y: int, size: tuple[int, int] | None = None) -> np.ndarray:
        """Square root of the effective receptive field, (h, w) in [0, 1], of the network's size or of `size`."""
        assert self._model is not None  # without a model, nobody asks
        assert self._inside is not None
        height, width = self._inside.shape[:2]
        place = (int((y + 0.5) * height / self._size[0]), int((x + 0.5) * width / self._size[1]))
        heat = np.sqrt(effective_receptive_field(self._model, self._inside, place, int(self._prediction.mask[y, x]),
                                                 self._segmenter.normalize))
        return heat if size is None else cv2.resize(heat, size[::-1], interpolation=cv2.INTER_LINEAR)

    def _heat_of(self, x: int, y: int) -> dict[str, Any]:
        try:
            heat = self._heat(x, y)
        except (SeglabError, RuntimeError) as error:  # the reader sees it where the heat would be
            return {"error": " ".join(str(error).split())}
        return {"size": [*heat.shape[::-1]], "class": int(self._prediction.mask[y, x]),
                "values": pack(np.rint(heat * 255).astype(np.uint8), smooth=True)}


def _content(image: np.ndarray, mask: np.ndarray, truth: np.ndarray | None, probabilities: np.ndarray,
             count: int) -> dict[str, Any]:
    """Picture, masks and probabilities for the wire."""
    height, width = image.shape[:2]
    if probabilities.shape != (count, height, width):
        raise ArgumentError("prediction.probabilities", found=f"shape {probabilities.shape}",
                            expected=f"{(count, height, width)}")
    step = max(1, math.ceil(math.sqrt(height * width / (MAX_VALUES // 4))))
    image, mask, probabilities = image[::step, ::step], mask[::step, ::step], probabilities[:, ::step, ::step]
    ids, kept = None, len(probabilities)
    if probabilities.size > MAX_VALUES:  # a value and an id each
        kept = min(BARS, kept, MAX_VALUES // (2 * mask.size))
        top = torch.from_numpy(np.ascontiguousarray(probabilities)).topk(kept, dim=0)
        probabilities, ids = top.values.numpy(), top.indices.numpy().astype(np.uint8)  # (k, h, w)
    values = np.rint(probabilities * 255).astype(np.uint8)  # (C, h, w), or (k, h, w) largest first
    return {"size": [width, height], "step": step, "image": encode(np.ascontiguousarray(image)), "mask": pack(mask),
            "truth": None if truth is None else pack(truth[::step, ::step]), "kept": kept,
            "values": pack(values, smooth=True), "ids": None if ids is None else pack(ids)}
