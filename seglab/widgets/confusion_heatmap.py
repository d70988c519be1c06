"""ConfusionHeatmap: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
import torch
import traitlets as t
from PIL import Image, ImageDraw, ImageFont

from seglab.errors import ArgumentError
from seglab.labels import LabelSet
from seglab.metrics import ClassificationScores, ConfusionMatrix, SegmentationScores
from seglab.metrics.segmentation import scores
from seglab.widgets.base import PictureWidget, browser_code, styles
from seglab.widgets.wire import classes_of, pack

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

NORMALISATIONS = ("rows", "columns", "none")
#: Of the picture: paper, full, and what has nothing to measure. The browser takes them from the theme.
_PAPER, _DEEP, _EMPTY, _INK = (255, 255, 255), (0, 114, 178), (236, 236, 236), (34, 34, 34)
_LEAST = 0.12  # level of the smallest share on a logarithmic scale: visible


class ConfusionHeatmap(PictureWidget):
    """A confusion matrix to look into: rows are the truth, columns the prediction.

    In the browser, without asking the kernel: shares of the true class (recall), shares of the predicted class
    (precision), or counts; linear or logarithmic colours; the diagonal hidden, so that mistakes show; a sentence for
    the cell under the pointer. A click selects a cell. A class without pixels has nothing to divide by: its row (its
    column, when columns are divided) is drawn as empty, not as 0.

    Keyboard, on the matrix: arrows move from cell to cell, Enter selects, Escape clears.

    Args:
        matrix: a `ConfusionMatrix`, `SegmentationScores`, `ClassificationScores`, or (C, C) counts, integers from 0,
            array or tensor, rows truth; C from 2 to 254.
        label_set: the classes, or their names; "class 0", "class 1" … by default.
        unit: what was counted: "pictures" for `ClassificationScores`, else "pixels".
        normalise: "rows": shares of the true class. "columns": shares of the predicted class. "none": counts.
        logarithmic: colours by the logarithm, so that rare mistakes show beside frequent ones.
        diagonal: False hides what is right.
        selected: [truth, prediction], class ids or names; [] for none.

    The last four are traits: Python reads what the learner did, and sets it (`heatmap.selected = ["cat", "dog"]`).

    Raises:
        ArgumentError: a matrix that is not square or not of counts, fewer than 2 classes or more than 254, another
            number of names than of classes, a class or normalisation that does not exist.

    Example:
        >>> from seglab.labels import PETS
        >>> heatmap = ConfusionHeatmap(np.array([[80, 3, 2], [4, 30, 6], [0, 0, 0]]), PETS)
        >>> heatmap.selected = ["cat", "dog"]
        >>> heatmap
        ConfusionHeatmap(3 classes, 125 pixels; of the true cat pixels, 15.0 % (6) are called dog)
    """

    _esm = browser_code("confusion_heatmap")
    _css = styles("confusion_heatmap")

    content = t.Dict().tag(sync=True)
    normalise = t.Unicode("rows").tag(sync=True)
    logarithmic = t.Bool(False).tag(sync=True)
    diagonal = t.Bool(True).tag(sync=True)
    selected: t.List[Any] = t.List().tag(sync=True)

    def __init__(self, matrix: Any, label_set: LabelSet | Sequence[str] | None = None, *, unit: str | None = None,
                 normalise: str = "rows", logarithmic: bool = False, diagonal: bool = True,
                 selected: Sequence[int | str] = ()) -> None:
        unit = unit or ("pictures" if isinstance(matrix, ClassificationScores) else "pixels")
        self.matrix = _counts(matrix)  #: (C, C) int64
        self.names, colours = _named(label_set, len(self.matrix))
        self.unit = unit
        self._links: list[tuple[Any, Any]] = []  # with which browsers
        counts = self.matrix.astype("<f8")  # exact up to 2^53, and what a browser calculates with
        content = {"counts": pack(counts.view(np.uint8)), "names": self.names, "colours": colours, "unit": unit}
        super().__init__(content=content, normalise=normalise, logarithmic=logarithmic, diagonal=diagonal,
                         selected=list(selected))

    def values(self) -> np.ndarray:
        """What the cells show, (C, C) float64: shares in [0, 1] or counts; NaN where there is nothing to measure."""
        return _shares(self.matrix, self.normalise)

    def sentence(self, truth: int | str, prediction: int | str) -> str:
        """A cell in words.

        Example:
            >>> ConfusionHeatmap(torch.tensor([[7, 1], [0, 0]]), ["cat", "dog"]).sentence("cat", "dog")
            'of the true cat pixels, 12.5 % (1) are called dog'
        """
        row, column = class_pair([truth, prediction], self.names, "cell")
        count, share = int(self.matrix[row, column]), self.values()[row, column]
        true, called, unit = self.names[row], self.names[column], self.unit
        if self.normalise == "columns":
            if np.isnan(share):
                return f"no {unit} are called {called}"
            return f"of the {unit} called {called}, {_percent(share)} ({count:,}) are truly {true}"
        if np.isnan(share):
            return f"there are no true {true} {unit}"
        if self.normalise == "rows":
            return f"of the true {true} {unit}, {_percent(share)} ({count:,}) are called {called}"
        return f"{count:,} true {true} {unit} are called {called}, {_percent(count / self.matrix.sum())} of all {unit}"

    def link(self, browser: Any) -> None:
        """Let a selected cell choose the pictures of a `PredictionBrowser`, and the other way round.

        The browser does it by itself, so it also works once the kernel is gone; what Python sets goes through Python.

        Raises:
            ArgumentError: no `PredictionBrowser`, or one with other classes.
        """
        from seglab.widgets.prediction_browser import PredictionBrowser

        if not isinstance(browser, PredictionBrowser) or list(browser.label_set.classes) != self.names:
            classes = getattr(getattr(browser, "label_set", None), "classes", None)
            raise ArgumentError("browser", found=f"{type(browser).__name__} of {classes}" if classes else type(browser),
                                expected=f"a PredictionBrowser of {', '.join(self.names)}",
                                fix="Make both with the same label set.")
        if any(other is browser for _, other in self._links):
            return
        self._links.append((ipywidgets.jslink((self, "selected"), (browser, "confused")), browser))
        _follow(self, "selected", browser, "confused")
        _follow(browser, "confused", self, "selected")
        browser.confused = self.selected or browser.confused
        self.selected = browser.confused

    def picture(self) -> np.ndarray:
        """The heat map as it is set: (H, W, 3) uint8."""
        count = len(self.matrix)
        cell = 76 if count <= 4 else 58 if count <= 10 else max(3, min(30, 720 // count))
        levels, texts = _levels(self._visible(), self.logarithmic), self._texts(cell)
        ramp = np.array(_PAPER) + np.nan_to_num(levels)[..., None] * (np.array(_DEEP) - _PAPER)  # (C, C, 3)
        cells = np.where(np.isnan(self.values())[..., None], _EMPTY, ramp).round().astype(np.uint8)
        font, step = ImageFont.load_default(12), -(-15 // cell)  # names where there is room for a line of text
        names = [_short(name, font) for name in self.names]
        left = round(max(font.getlength(name) for name in names)) + 34
        flat = all(font.getlength(name) < cell - 4 for name in names)
        top = 46 if flat else left
        side = cell * count
        sheet = Image.new("RGB", (left + side + 8, top + side + 8), "white")
        grown = cells.repeat(cell, axis=0).repeat(cell, axis=1)  # (C, C, 3) -> (side, side, 3)
        if cell > 8:
            grown[::cell], grown[:, ::cell] = 255, 255  # lines between the cells
        sheet.paste(Image.fromarray(grown), (left, top))
        draw = ImageDraw.Draw(sheet)
        draw.text((left, 4), "predicted", fill=(110, 110, 110), font=font)
        sheet.paste(_turned("true", font, (110, 110, 110)), (4, top))
        for number in range(0, count, step):
            middle = round((number + 0.5) * cell)
            draw.text((left - 6, top + middle), names[number], fill=_INK, font=font, anchor="rm")
            if flat:
                draw.text((left + middle, top - 8), names[number], fill=_INK, font=font, anchor="ms")
            else:
                text = _turned(names[number], font, _INK)
                sheet.paste(text, (left + middle - text.width // 2, top - 6 - text.height))
        for (row, column), text in np.ndenumerate(texts):
            dark = cells[row, column].astype(float) @ (0.3, 0.59, 0.11) < 140
            place = (left + round((column + 0.5) * cell), top + round((row + 0.5) * cell))
            draw.text(place, text, fill="white" if dark else _INK, font=font, anchor="mm")
        if self.selected:
            x, y = left + self.selected[1] * cell, top + self.selected[0] * cell
            draw.rectangle((x, y, x + cell, y + cell), outline=(213, 94, 0), width=2 if cell > 8 else 1)
        draw.rectangle((left - 1, top - 1, left + side, top + side), outline=(170, 170, 170))
        return np.asarray(sheet)

    def summary(self) -> str:
        more = f"; {self.sentence(*self.selected)}" if self.selected else ""
        return f"ConfusionHeatmap({len(self.matrix)} classes, {self.matrix.sum():,} {self.unit}{more})"

    def _visible(self) -> np.ndarray:
        values = self.values()
        if not self.diagonal:
            np.fill_diagonal(values, np.nan)
        return values

    def _texts(self, cell: int) -> np.ndarray:
        """What is written into the cells, (C, C) of str; all "" where one would not fit."""
        values, font = self._visible(), ImageFont.load_default(12)
        # Short ones leave out what would read 0: it may be a little more, which the colour says.
        ways = ((lambda v: f"{v:,.0f}", lambda v: _compact(v) if v else "") if self.normalise == "none" else
                (_percent, lambda v: f"{v * 100:.0f} %" if v >= 0.005 else "",
                 lambda v: f"{v * 100:.0f}" if v >= 0.005 else ""))
        texts = np.full(values.shape, "", dtype=object)
        for write in ways if cell >= 20 else ():
            found = {place: write(value) for place, value in np.ndenumerate(values) if not np.isnan(value)}
            if all(font.getlength(text) <= cell - 6 for text in set(found.values())):
                for place, text in found.items():
                    texts[place] = text
                break
        return texts

    @t.validate("normalise")
    def _a_normalisation(self, proposal: Any) -> str:
        if proposal.value not in NORMALISATIONS:
            raise ArgumentError("normalise", found=repr(proposal.value), expected=", ".join(map(repr, NORMALISATIONS)))
        return proposal.value

    @t.validate("selected")
    def _a_cell(self, proposal: Any) -> list[int]:
        return class_pair(proposal.value, self.names, "selected")


def class_pair(value: Sequence[int | str], names: Sequence[str], what: str) -> list[int]:
    """[truth, prediction] as ids, of ids or names; [] stays. ArgumentError for anything that does not exist."""
    value = list(value)
    if len(value) not in (0, 2):
        raise ArgumentError(what, found=value, expected="[truth, prediction], or []")
    return [class_id(one, names, what) for one in value]


def class_id(value: int | str, names: Sequence[str], what: str) -> int:
    """A class's id, of its id or name; ArgumentError if there is no such class."""
    if isinstance(value, str) and value in names:
        return list(names).index(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= value < len(names):
        return int(value)
    raise ArgumentError(what, found=f"class {value!r}", expected=f"0 to {len(names) - 1}, or a name: "
                        + ", ".join(names[:12]) + (" …" if len(names) > 12 else ""))


def _follow(source: Any, name: str, target: Any, other: str) -> None:
    def follow(change: Any) -> None:
        # What comes from the browser is linked there already. Answering it would send the browser a value that may
        # be old by then, and two quick clicks would chase each other.
        if name not in source._property_lock:
            setattr(target, other, change.new)

    source.observe(follow, name)


def _counts(matrix: Any) -> np.ndarray:
    if isinstance(matrix, ConfusionMatrix):
        matrix = matrix.matrix()
    elif isinstance(matrix, (SegmentationScores, ClassificationScores)):
        matrix = matrix.matrix
    elif not isinstance(matrix, torch.Tensor):
        matrix = np.asarray(matrix)
        if not np.issubdtype(matrix.dtype, np.integer):
            raise ArgumentError("matrix", found=f"{type(matrix).__name__}, {matrix.dtype}",
                                expected="counts: a ConfusionMatrix, its scores, or a square array of integers")
    counts = scores(matrix).matrix.numpy()  # it checks the shape, the dtype and the sign
    if not 2 <= len(counts) <= 254:
        raise ArgumentError("matrix", found=f"{len(counts)} classes", expected="2 to 254")
    return counts


def _named(label_set: LabelSet | Sequence[str] | None, count: int) -> tuple[list[str], list[list[int]]]:
    colours = [one["colour"] for one in classes_of(label_set)[:-1]] if isinstance(label_set, LabelSet) else []
    if isinstance(label_set, str):
        raise ArgumentError("label_set", found=repr(label_set), expected="a LabelSet or a list of names")
    listed: Any = label_set or [f"class {i}" for i in range(count)]
    names = list(getattr(label_set, "classes", listed))
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise ArgumentError("label_set", found=f"{len(names)} names: {names[:6]}",
                            expected=f"{count} names, as in the matrix")
    return names, colours


def _shares(counts: np.ndarray, normalise: str) -> np.ndarray:
    rows, columns = counts.sum(1, keepdims=True), counts.sum(0, keepdims=True)  # (C, 1), (1, C)
    if normalise == "none":
        return np.where(rows > 0, counts, np.nan)
    total = np.broadcast_to(rows if normalise == "rows" else columns, counts.shape)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def _levels(values: np.ndarray, logarithmic: bool) -> np.ndarray:
    """How much colour, (C, C) in [0, 1]; NaN stays. The same in confusion_heatmap.js."""
    positive = values[values > 0]
    if not positive.size:
        return values * 0.0
    most = positive.max()
    if not logarithmic:
        return values / most
    least = min(max(positive.min(), most * 1e-6), most / 100)  # at least two decades, or near values would look far
    span = np.log(most / least)
    safe = np.where(values > 0, np.maximum(values, least), most)
    levels = np.where(values > 0, 1 - (1 - _LEAST) * np.log(most / safe) / span, 0.0)
    return np.where(np.isnan(values), np.nan, levels)


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.0005 else f"{share:.1%}".replace("%", " %")


def _compact(count: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}" if count < 999.5 * size else f"{count / size:.0f}{letter}"
    return f"{count:.0f}"


def _short(name: str, font: Font, width: int = 130) -> str:
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + "…") > width:
        name = name[:-1]
    return name + "…"


def _turned(text: str, font: Font, colour: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (max(1, round(font.getlength(text))) + 2, 15), "white")
    ImageDraw.Draw(picture).text((1, 7), text, fill=colour, font=font, anchor="lm")
    return picture.rotate(90, expand=True)
