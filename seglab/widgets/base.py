"""What all widgets share: browser code beside the Python file, and a true picture for pages without a kernel."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets as t
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seglab.errors import ArgumentError
from seglab.files import atomic_write
from seglab.labels import LabelSet
from seglab.viz.palettes import as_drawn, safe_label_set
from seglab.widgets.wire import as_file

_HERE = Path(__file__).parent


def browser_code(*names: str) -> str:
    """The ES module of a widget: `kit.js`, then these files of this folder, in one piece.

    A browser gets a widget's module as text, which has no folder to import from; so shared code is put in front.
    """
    return "\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in ("kit", *names))


def styles(*names: str) -> str:
    """The style sheet of a widget: `kit.css`, then these files."""
    return "\n".join((_HERE / f"{name}.css").read_text(encoding="utf-8") for name in ("kit", *names))


class PictureWidget(anywidget.AnyWidget):
    """A widget that is also a picture.

    Where a kernel runs, a browser shows the widget. Everywhere else (GitHub, nbviewer, an HTML export, the stored
    notebook) the picture stands in its place: what `picture()` draws at the moment of display.
    """

    #: Traits that a constructor takes, for what a learner may set.
    _settable: tuple[str, ...] = ("layout",)

    @classmethod
    def _settings(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The settings given, if a learner may set all of them; else ArgumentError."""
        if strays := [name for name in given if name not in cls._settable]:
            raise ArgumentError(cls.__name__, found=f"argument {', '.join(strays)}", expected=", ".join(cls._settable))
        return given

    def picture(self) -> np.ndarray:
        """What the widget shows, as (H, W, 3) uint8."""
        raise TypeError(f"{type(self).__name__} draws no picture")

    def summary(self) -> str:
        """One line that says what is shown, for screen readers and text; the same for the same content."""
        return type(self).__name__

    def save(self, path: str | Path) -> None:
        """Write `picture()` as a PNG, whole or not at all.

        Raises:
            ArgumentError: the path does not end in .png.
        """
        if Path(path).suffix.lower() != ".png":
            raise ArgumentError("path", found=str(path), expected="a file that ends in .png")
        atomic_write(path, as_file(self.picture(), "PNG"))

    def __repr__(self) -> str:
        return self.summary()

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options) or ({}, {})  # none of a widget without a view
        data["text/plain"] = self.summary()
        data["image/png"] = base64.b64encode(as_file(self.picture(), "PNG")).decode()
        return data, metadata


class OverlayWidget(PictureWidget):
    """A widget that lays masks over pictures: how strongly, in which colours, and of which classes."""

    opacity = t.Float(0.5).tag(sync=True)
    hidden = t.List(t.Int()).tag(sync=True)
    safe_colours = t.Bool(False).tag(sync=True)

    _label_set: LabelSet

    def _colours(self) -> LabelSet:
        """The classes in the colours that are on show."""
        drawn = as_drawn(self._label_set)
        return safe_label_set(drawn) if self.safe_colours else drawn

    @t.default("hidden")
    def _background(self) -> list[int]:
        """The background shows the picture until it is switched on."""
        return [] if self._label_set.background is None else [self._label_set.background]

    @t.validate("opacity")
    def _a_share(self, proposal: Any) -> float:
        return in_unit_range(proposal)

    @t.validate("hidden")
    def _known_ids(self, proposal: Any) -> list[int]:
        if strays := [i for i in proposal.value if not 0 <= i < len(self._label_set)]:
            raise ArgumentError("hidden", found=f"class id {', '.join(map(str, strays))}",
                                expected=f"0 to {len(self._label_set) - 1}")
        return proposal.value


class ViewerWidget(OverlayWidget):
    """A widget with the viewer of viewer.js. What a learner chooses there belongs to the widget, not to the picture on
    show: so it stays when another picture is opened, it is the same in all views, and Python reads and sets it."""

    mask = t.Unicode("").tag(sync=True)
    compare = t.Unicode("").tag(sync=True)
    swipe = t.Float(0.5).tag(sync=True)
    errors = t.Bool(False).tag(sync=True)

    def _mask_names(self) -> list[str]:
        """Names of the masks that `mask` and `compare` may have."""
        raise TypeError(f"{type(self).__name__} names no masks")

    @t.validate("swipe")
    def _a_place(self, proposal: Any) -> float:
        return in_unit_range(proposal)

    @t.validate("mask", "compare")
    def _a_name(self, proposal: Any) -> str:
        names = self._mask_names()
        if proposal.value and proposal.value not in names:
            raise ArgumentError(proposal.trait.name, found=repr(proposal.value),
                                expected=", ".join(map(repr, names)) or "no name, as there is no mask")
        return proposal.value


def drawn(figure: Figure) -> np.ndarray:
    """A figure as a picture: (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # (H, W, 4) -> (H, W, 3)


def in_unit_range(proposal: Any) -> float:
    """The value that is to be set, if it is from 0 to 1; else ArgumentError, which names the trait."""
    if not 0 <= proposal.value <= 1:
        raise ArgumentError(proposal.trait.name, found=proposal.value, expected="0 to 1")
    return proposal.value
