"""MaskPainter: give pictures of your own their masks, with brush, polygon and fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import traitlets as t

from seglab.errors import ArgumentError, SeglabError
from seglab.labels import IGNORE, LabelSet, known_label_set
from seglab.viz import add_legend, overlay
from seglab.viz.sheets import add_words, sheet
from seglab.widgets.base import OverlayWidget, browser_code, styles
from seglab.widgets.confusion_heatmap import class_id
from seglab.widgets.painted_folder import PaintedFolder
from seglab.widgets.painting import Canvas, Region, brush, connected, polygon
from seglab.widgets.wire import classes_of, encode, pack

TOOLS = ("brush", "polygon", "fill", "eraser")
_SHOWN_PIXELS = 3_000_000  # of a picture in the browser
_MOST_POINTS = 100_000
_SHEET, _SHEET_WIDTH = 6, 760  # how many pictures `picture()` shows, and pixels


class _PlaceOrName(t.Any):
    allow_none = False  # or None would reach the trait unchecked


class MaskPainter(OverlayWidget):
    """Paint masks for a few pictures of your own, and train on them.

    Choose a class and a tool. *Brush*: drag. *Polygon*: click corner after corner and close it with Enter, a double
    click or a click on the first corner; or drag around the thing in one go. *Fill*: click, and what hangs together
    with that pixel gets the class. *Eraser*: drag, and pixels are not labelled again (id 255: neither trained nor
    scored). "the rest is background" gives the background to all that is not painted yet: paint the things, then press
    it once. "keep painted" lets the tools change only what is not painted yet, which makes borders between two classes
    easy: paint the first well, and the second may run over it. Undo and redo know every step since the cell was run.

    Each step is saved at once, so there is nothing to save. `folder` becomes a dataset that `open_dataset(folder)` and
    `seglab train --data FOLDER` read as it is: `images/` with copies of the pictures that are painted, `masks/` with a
    PNG each of class ids in the colours of the classes, and `class_dict.csv`. Masks that are there are painted on; of
    one that MaskPainter did not write, the first version is kept as `NAME.png.before`.

    The browser gets pictures of more than 3 million pixels smaller. Strokes are in pixels of the whole picture all the
    same, and masks have its full size. Pictures are upright, as their EXIF orientation says.

    Keyboard, on the picture: arrows move a crosshair (with Shift by one pixel); Space or Enter paints there or sets a
    corner, Backspace takes the last corner back, Enter again on the last one closes the polygon, Escape gives it up;
    B, G, F and E choose brush, polygon, fill and eraser; 0 to 9 choose a class; [ and ] make the brush smaller and
    larger; K switches "keep painted"; R gives the rest its class; Ctrl+Z and Ctrl+Shift+Z undo and redo; N and P go to
    the next and the previous picture; + and - zoom, Home shows all. Mouse: Ctrl with the wheel zooms, Space with a drag
    pans. Touch: one finger paints, two fingers zoom and pan. Painting needs the kernel, which writes the files.

    Args:
        images: a folder of pictures; or a list of picture files; or a dict of names and pictures, which are files or
            arrays, (3, H, W) or (H, W, 3) uint8.
        label_set: the classes with their colours; or only their names, which then get colours.
        folder: of the dataset, made when the first stroke is saved. May be left out where the pictures are in
            `FOLDER/images` already. Pictures in there that are not painted have no mask: `problems="skip"` opens it.
        index: of the picture on show, from 0; or its name.
        tool: "brush", "polygon", "fill" or "eraser".
        chosen: id or name of the class that is painted.
        radius: of brush and eraser, in pixels of the whole picture; by default a 50th of the first one's longer side.
        keep: change only what is not painted yet.
        opacity: of the mask, 0 to 1.
        safe_colours: colours that colour-blind eyes can tell apart.

    The last seven are traits: Python reads what the learner did, and sets it (`painter.index = 3`).

    Raises:
        ArgumentError: no picture, two of one name, two classes of one colour, or a setting out of range.
        DataError: a picture that cannot be read, a folder with other classes or another picture of the same name, or
            a mask in it of another size or with values that are no classes.

    Example:
        >>> import tempfile
        >>> picture, folder = np.full((60, 80, 3), 90, np.uint8), tempfile.mkdtemp()
        >>> painter = MaskPainter({"leaf-1": picture, "leaf-2": picture}, ["background", "leaf"], folder)
        >>> painter.stroke("leaf-1", [(20, 30), (60, 30)], radius=8, class_="leaf")
        >>> painter.rest("leaf-1", class_="background")
        >>> painter, np.bincount(painter.mask("leaf-1").ravel()).tolist()
        (MaskPainter(1 of 2 pictures painted), [3952, 848])
    """

    _esm = browser_code("viewer", "painting", "mask_painter")
    _css = styles("viewer", "mask_painter")

    content = t.Dict().tag(sync=True)
    opened = t.Dict().tag(sync=True)
    layer = t.Dict().tag(sync=True)
    painted = t.List(t.Int()).tag(sync=True)
    index = _PlaceOrName(0).tag(sync=True)
    tool = t.Unicode("brush").tag(sync=True)
    chosen = _PlaceOrName(0).tag(sync=True)
    radius = t.Float(1.0).tag(sync=True)
    keep = t.Bool(False).tag(sync=True)
    _settable = ("index", "tool", "chosen", "radius", "keep", "opacity", "safe_colours", "layout")

    def __init__(self, images: str | Path | Sequence[str | Path] | Mapping[str, Any],
                 label_set: LabelSet | Sequence[str], folder: str | Path | None = None, **settings: Any) -> None:
        if not isinstance(label_set, LabelSet):
            label_set = known_label_set([label_set] if isinstance(label_set, str) else list(label_set))
        self._label_set = label_set
        self._files = PaintedFolder(images, label_set, folder)
        self._canvases: dict[int, tuple[Any, Canvas]] = {}  # with the state of the file that it was read from
        classes = classes_of(label_set)
        classes[-1]["name"] = "not labelled"
        first = 0 if label_set.background is None else next((i for i in range(len(label_set))
                                                             if i != label_set.background), 0)
        longest = max(self._files.sizes[0])
        super().__init__(content={"names": self.names, "classes": classes, "folder": self._files.folder.name},
                         **{"chosen": first, "radius": float(max(1, round(longest / 50))), **self._settings(settings)})
        self.painted = self._files.painted()
        self._open(None)
        self.on_msg(self._hear)

    # ------------------------------------------------------------------------------------------------ what is there
    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return self._files.folder

    @property
    def names(self) -> list[str]:
        """The pictures' names."""
        return self._files.names

    @property
    def done(self) -> list[str]:
        """The names of the pictures on which something is painted."""
        return [self.names[i] for i in self.painted]

    @property
    def progress(self) -> tuple[int, int]:
        """How many pictures are painted, of how many."""
        return len(self.painted), len(self.names)

    def image(self, name: str | int) -> np.ndarray:
        """A picture by name or index, upright: (H, W, 3) uint8."""
        return self._files.image(self._index(name))

    def mask(self, name: str | int) -> np.ndarray:
        """The mask of a picture by name or index: (H, W) uint8 class ids, 255 where nothing is painted."""
        return self._mask(self._index(name)).copy()

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Name -> mask of all pictures in `done`."""
        return {name: self.mask(name) for name in self.done}

    # ---------------------------------------------------------------------------------------------------- painting
    def stroke(self, name: str | int, points: Any, radius: float, class_: str | int | None, keep: bool = False) -> None:
        """Draw with a round brush.

        Args:
            name: of the picture, or its index.
            points: [(x, y), …] in pixels from the upper left corner; (0.5, 0.5) is the middle of the first pixel.
            radius: of the brush, in pixels.
            class_: id or name; None erases.
            keep: change only what is not painted yet.

        Raises:
            ArgumentError: no such picture or class, no points, or numbers out of range.
            DataError: a file cannot be read or written.
        """
        self._act(self._index(name), {"do": "stroke", "points": points, "radius": radius, "class": class_,
                                      "keep": keep})

    def polygon(self, name: str | int, points: Any, class_: str | int | None, keep: bool = False) -> None:
        """Paint a polygon with its outline; arguments and errors as for `stroke`."""
        self._act(self._index(name), {"do": "polygon", "points": points, "class": class_, "keep": keep})

    def fill(self, name: str | int, point: tuple[float, float], class_: str | int | None) -> None:
        """Paint all that has the value of the pixel at (x, y) and hangs together with it; the rest as for `stroke`."""
        self._act(self._index(name), {"do": "fill", "points": [point], "class": class_})

    def rest(self, name: str | int, class_: str | int) -> None:
        """Paint all that is not painted yet; arguments and errors as for `stroke`."""
        self._act(self._index(name), {"do": "rest", "class": class_})

    def undo(self, name: str | int) -> None:
        """Take back the last change of a picture's mask, if there is one since the widget was made."""
        self._act(self._index(name), {"do": "undo"})

    def redo(self, name: str | int) -> None:
        """Make the change again that was taken back last, if nothing was painted since."""
        self._act(self._index(name), {"do": "redo"})

    def _act(self, index: int, command: dict[str, Any], token: str = "") -> None:
        """Do what Python or the browser asks for, and save it."""
        canvas, do = self._canvas(index), command.get("do")
        mask, keep = canvas.mask, command.get("keep") is True
        if do in ("undo", "redo"):
            changed = canvas.step(do == "redo")
        else:
            given = command.get("class")
            value = IGNORE if given is None else class_id(given, self._label_set.classes, "class_")
            if do == "stroke":
                changed = canvas.paint(brush(_points(command), _radius(command.get("radius"), "radius"), mask.shape),
                                       value, keep)
            elif do == "polygon":
                changed = canvas.paint(polygon(_points(command), mask.shape), value, keep)
            elif do == "fill":
                changed = canvas.paint(connected(mask, _points(command)[0]), value, keep)
            elif do == "rest":
                changed = canvas.paint(Region(0, 0, np.ones(mask.shape, bool)), value, keep=True)
            else:
                raise ArgumentError("do", found=repr(do), expected="stroke, polygon, fill, rest, undo or redo")
        if changed:
            try:
                self._files.write(index, mask)
            except BaseException:  # the disk may be full: what is on show is what is saved
                canvas.step(forth=do == "undo")
                raise
            self._canvases[index] = self._files.stamp(index), canvas
            self.painted = sorted({*self.painted} - {index} | ({index} if (mask != IGNORE).any() else set()))
        if index == self.index:
            self._show_layer(token)

    def _canvas(self, index: int) -> Canvas:
        """What is painted on; read anew, without its steps, if another program changed the file."""
        stamp = self._files.stamp(index)
        if index not in self._canvases or self._canvases[index][0] != stamp:
            self._canvases[index] = stamp, Canvas(self._files.read(index))
        return self._canvases[index][1]

    def _mask(self, index: int) -> np.ndarray:
        """The mask, without remembering one that nobody paints on."""
        return self._canvas(index).mask if index in self._canvases else self._files.read(index)

    def _index(self, name: str | int) -> int:
        if isinstance(name, str) and name in self.names:
            return self.names.index(name)
        if isinstance(name, (int, np.integer)) and not isinstance(name, bool) and 0 <= name < len(self.names):
            return int(name)
        raise ArgumentError("name", found=repr(name), expected=f"0 to {len(self.names) - 1}, or a name: "
                            + ", ".join(self.names[:8]) + (" …" if len(self.names) > 8 else ""))

    # ------------------------------------------------------------------------------------------------- the browser
    def _hear(self, _: Any, message: dict[str, Any], __: Any) -> None:
        """A browser paints. Its token comes back with what Python made of it, or with what is wrong."""
        token = str(message.get("token", ""))
        try:
            command = message.get("command")
            if not isinstance(command, dict):
                raise ArgumentError("command", found=type(command).__name__, expected="what to paint")
            index = self._index(message.get("index", -1))
            self._act(index, command, token)
            if index != self.index:  # Python went on to another picture meanwhile: its layer is not sent
                self.send({"kind": "done", "token": token})
        except (SeglabError, OSError) as error:
            self.send({"kind": "failed", "token": token, "why": " ".join(str(error).split())})

    @t.observe("index")
    def _open(self, _: Any) -> None:
        """Show another picture: as large as the browser needs it, and its mask."""
        try:
            picture = self._reduced(self.index)
            self._show_layer()
        except (SeglabError, OSError) as error:
            self.opened = {"index": self.index, "why": " ".join(str(error).split())}
            return
        height, width = self._files.sizes[self.index]
        self.opened = {"index": self.index, "full": [width, height], "step": self._step(self.index),
                       "size": [*picture.shape[1::-1]], "image": encode(picture)}

    def _show_layer(self, token: str = "") -> None:
        canvas, step = self._canvas(self.index), self._step(self.index)
        rows, columns = (_samples(length, step) for length in canvas.mask.shape)
        self.layer = {"index": self.index, "token": token, "ids": pack(canvas.mask[np.ix_(rows, columns)]),
                      "undo": len(canvas.steps[False]), "redo": len(canvas.steps[True])}

    def _step(self, index: int) -> int:
        """Each how many pixels of a picture the browser has one: odd, so that it lies on the middle of these."""
        height, width = self._files.sizes[index]
        return next(step for step in range(1, height + width, 2) if height * width <= _SHOWN_PIXELS * step * step)

    def _reduced(self, index: int) -> np.ndarray:
        """A picture as the browser shows it: the means of step × step pixels."""
        picture, step = self._files.image(index), self._step(index)
        if step == 1:
            return picture
        height, width = (len(_samples(length, step)) for length in picture.shape[:2])
        whole = cv2.copyMakeBorder(picture, 0, height * step - picture.shape[0], 0, width * step - picture.shape[1],
                                   cv2.BORDER_REPLICATE)
        return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)

    # --------------------------------------------------------------------------------------------------- elsewhere
    def picture(self) -> np.ndarray:
        """Up to six pictures from the one on show on, with what is painted on them: (H, W, 3) uint8."""
        start = max(0, min(self.index, len(self.names) - _SHEET))
        labels, panels, titles, present = self._colours(), [], [], set()
        for index in range(start, min(start + _SHEET, len(self.names))):
            picture = self._files.image(index, within=(_SHEET_WIDTH, _SHEET_WIDTH))
            mask = cv2.resize(self._mask(index), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            panels.append(overlay(picture, mask, labels, self.opacity, self.hidden))
            titles.append(self.names[index] + ("" if index in self.painted else " (not painted yet)"))
            present |= {*np.unique(mask).tolist()} - {IGNORE}
        drawn = sheet(panels, titles, width=_SHEET_WIDTH)
        words = f"{len(self.painted)} of {len(self.names)} pictures are painted. Run the cell to paint."
        return add_words(add_legend(drawn, labels, sorted(present), size=13) if present else drawn, words)

    def summary(self) -> str:
        return f"MaskPainter({len(self.painted)} of {len(self.names)} pictures painted)"

    @t.default("hidden")
    def _nothing_hidden(self) -> list[int]:
        return []  # background that is painted is darker than what is not labelled

    @t.validate("index")
    def _a_picture(self, proposal: Any) -> int:
        return self._index(proposal.value)

    @t.validate("chosen")
    def _a_class(self, proposal: Any) -> int:
        return class_id(proposal.value, self._label_set.classes, "chosen")

    @t.validate("tool")
    def _a_tool(self, proposal: Any) -> str:
        if proposal.value not in TOOLS:
            raise ArgumentError("tool", found=repr(proposal.value), expected=", ".join(map(repr, TOOLS)))
        return proposal.value

    @t.validate("radius")
    def _a_radius(self, proposal: Any) -> float:
        return _radius(proposal.value, "radius")


def _samples(length: int, step: int) -> np.ndarray:
    """Which of so many pixels the browser has: the middle one of each `step`, and the last of what remains."""
    return np.minimum(np.arange(-(-length // step)) * step + step // 2, length - 1)


def _points(command: dict[str, Any]) -> np.ndarray:
    """The points of a command, (N, 2) float64; ArgumentError if they are none."""
    try:
        points = np.asarray(command.get("points"), dtype=np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not 0 < len(points) <= _MOST_POINTS or not (abs(points) < 1e6).all():
        raise ArgumentError("points", found=str(command.get("points"))[:80], expected="[(x, y), …] in pixels")
    return points


def _radius(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0.5 <= value <= 10_000:
        raise ArgumentError(what, found=repr(value), expected="0.5 to 10000 pixels")
    return float(value)
