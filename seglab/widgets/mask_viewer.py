"""MaskViewer: one picture and its masks, to be looked at closely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import traitlets as t

from seglab.errors import ArgumentError
from seglab.inference import Prediction
from seglab.labels import LabelSet
from seglab.viz import add_legend, error_map, overlay
from seglab.viz.sheets import sheet
from seglab.widgets.base import ViewerWidget, browser_code, styles
from seglab.widgets.wire import as_array, check_mask, check_picture, classes_of, encode, pack

#: How the true mask is called where nobody says otherwise.
TRUTH = "truth"


class MaskViewer(ViewerWidget):
    """One picture with any number of named masks.

    In the browser, without asking the kernel: opacity; classes on and off; the class, confidence and share of the
    picture under the pointer; a swipe between two masks; errors against the truth; zoom and pan, with sharp pixels; a
    palette for colour-blind eyes. Masks travel once, deflated. Elsewhere a picture shows all masks side by side.

    Keyboard, on the picture: arrows move a crosshair (with Shift by one pixel), + and - zoom, 0 shows all, [ and ] move
    the swipe. Mouse: drag pans, Ctrl with the wheel zooms, a double click looks closer, another one shows all again.

    Args:
        image: (3, H, W) or (H, W, 3) uint8; or a `Prediction`, which brings its mask; or a dataset's (image, mask).
        masks: name -> (H, W) class ids (255 is ignored), or a `Prediction` of this very picture. Optional.
        label_set: names and colours; by default those of a `Prediction`.
        confidence: name -> (H, W) in [0, 1], shown in whole percent; `Prediction`s with probabilities bring theirs.
        truth: the name of the true mask, against which errors are shown: "truth" if there is a mask of that name.
        opacity: of the masks, 0 to 1.
        mask: the name of the mask on show; by default the first that is not the truth.
        compare: the name of the mask on the right of the swipe, or "".
        swipe: where the line is, 0 (left) to 1.
        hidden: class ids that are switched off; by default the background. Errors on the background always show.
        errors: show right (blue), wrong (orange) and not scored (grey) instead of classes.
        safe_colours: colours that colour-blind eyes can tell apart.

    The last seven are traits: Python reads what the learner did, and sets it (`viewer.opacity = 0.3`).

    Raises:
        ArgumentError: picture and mask of different size, an id without a colour, an empty picture, a picture that is
            not uint8, a name that no mask has, or a number out of range.

    Example:
        >>> from seglab.labels import PETS
        >>> picture, mask = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
        >>> mask[20:40, 30:60] = PETS.id("cat")
        >>> MaskViewer(picture, {"truth": mask, "prediction": mask.T.reshape(60, 80)}, PETS)
        MaskViewer(80×60: truth, prediction)
    """

    _esm = browser_code("viewer", "mask_viewer")
    _css = styles("viewer")

    content = t.Dict().tag(sync=True)
    label = t.Unicode().tag(sync=True)
    _settable = ("opacity", "mask", "compare", "swipe", "hidden", "errors", "safe_colours", "layout")

    def __init__(self, image: Any, masks: Mapping[str, Any] | None = None, label_set: LabelSet | None = None, *,
                 confidence: Mapping[str, Any] | None = None, truth: str | None = None, **settings: Any) -> None:
        content = self._take(image, masks, label_set, confidence, truth)
        super().__init__(content=content, **{"mask": self._first(), **self._settings(settings)})
        self.label = self.summary()

    def show(self, image: Any, masks: Mapping[str, Any] | None = None, label_set: LabelSet | None = None, *,
             confidence: Mapping[str, Any] | None = None, truth: str | None = None) -> None:
        """Put another picture in place of the one on show; what was chosen stays.

        Opacity, classes on and off, colours, errors and swipe are as before; so are the two masks on show, if the new
        picture has masks of these names. Other classes begin as in a new viewer: all on but the background.

        Args:
            image, masks, confidence, truth: as for `MaskViewer`.
            label_set: likewise; by default the one before.

        Raises:
            ArgumentError: as for `MaskViewer`; the picture before then stays.

        Example:
            >>> from seglab.labels import PETS
            >>> first, second = np.zeros((2, 60, 80), np.uint8)
            >>> viewer = MaskViewer(np.zeros((60, 80, 3), np.uint8), {"truth": first}, PETS, opacity=0.3)
            >>> viewer.show(np.ones((40, 50, 3), np.uint8), {"truth": second[:40, :50]})
            >>> viewer, viewer.opacity
            (MaskViewer(50×40: truth), 0.3)
        """
        before = self._label_set
        if label_set is None and not any(isinstance(one, Prediction) for one in (image, *(masks or {}).values())):
            label_set = before
        content = self._take(image, masks, label_set, confidence, truth)
        with self.hold_sync():
            if self._label_set != before:
                self.hidden = self._background()
            self.mask = self.mask if self.mask in self._masks else self._first()
            self.compare = self.compare if self.compare in self._masks else ""
            self.content, self.label = content, self.summary()

    def picture(self) -> np.ndarray:
        """All masks over the picture, side by side, and the errors of each against the truth: (H, W, 3) uint8."""
        if not self._masks:
            return sheet([self._image], [""])
        labels = self._colours()
        panels = {name: overlay(self._image, mask, labels, self.opacity, self.hidden)
                  for name, mask in self._masks.items()}
        if self._truth:
            others = [name for name in self._masks if name != self._truth]
            panels |= {f"errors of {name}" if len(others) > 1 else "errors":
                       error_map(self._masks[name], self._masks[self._truth]) for name in others}
        drawn = sheet(list(panels.values()), list(panels))
        present = sorted({i for mask in self._masks.values() for i in np.unique(mask).tolist()} - {*self.hidden})
        return add_legend(drawn, labels, present, size=13) if present else drawn

    def summary(self) -> str:
        height, width = self._image.shape[:2]
        return f"MaskViewer({width}×{height}: {', '.join(self._masks) or 'no mask'})"

    def _mask_names(self) -> list[str]:
        return list(self._masks)

    def _take(self, image: Any, masks: Mapping[str, Any] | None, label_set: LabelSet | None,
              confidence: Mapping[str, Any] | None, truth: str | None) -> dict[str, Any]:
        """Keep a picture with its masks, and return what travels."""
        image, masks, label_set, sure = _checked(image, masks, label_set, confidence)
        if truth is None:
            truth = TRUTH if TRUTH in masks else ""
        elif truth not in masks:
            raise ArgumentError("truth", found=repr(truth), expected=", ".join(map(repr, masks)) or "no mask at all")
        content = _content(image, masks, label_set, sure, truth)
        self._image, self._masks, self._label_set, self._truth = image, masks, label_set, truth
        return content

    def _first(self) -> str:
        """The mask on show where nobody chose one."""
        return next((name for name in self._masks if name != self._truth), next(iter(self._masks), ""))


def viewer_content(image: Any, masks: Mapping[str, Any], label_set: LabelSet | None = None,
                   confidence: Mapping[str, Any] | None = None, truth: str | None = None) -> dict[str, Any]:
    """What `createViewer` in viewer.js takes, ready for the wire; arguments and errors as for `MaskViewer`.

    Example:
        >>> from seglab.labels import PETS
        >>> content = viewer_content(np.zeros((2, 3, 3), np.uint8), {"truth": np.zeros((2, 3), np.uint8)}, PETS)
        >>> content["size"], content["truth"]
        ([3, 2], 'truth')
    """
    image, masks, label_set, sure = _checked(image, masks, label_set, confidence)
    return _content(image, masks, label_set, sure, (TRUTH if TRUTH in masks else "") if truth is None else truth)


def _content(image: np.ndarray, masks: Mapping[str, np.ndarray], label_set: LabelSet, confidence: dict[str, np.ndarray],
             truth: str) -> dict[str, Any]:
    height, width = image.shape[:2]
    return {"size": [width, height], "image": encode(image), "classes": classes_of(label_set), "truth": truth,
            "masks": [{"name": name, "ids": pack(mask),
                       "confidence": pack(confidence[name], smooth=True) if name in confidence else None}
                      for name, mask in masks.items()]}


def _checked(image: Any, masks: Mapping[str, Any] | None, label_set: LabelSet | None,
             confidence: Mapping[str, Any] | None
             ) -> tuple[np.ndarray, dict[str, np.ndarray], LabelSet, dict[str, np.ndarray]]:
    """Picture, masks, labels, and confidences in percent, from what the rest of the package gives."""
    if masks is not None and not isinstance(masks, Mapping):
        raise ArgumentError("masks", found=type(masks).__name__, expected='a dict of names and masks',
                            fix='MaskViewer(image, {"prediction": mask}, label_set)')
    masks = dict(masks or {})
    if isinstance(image, Prediction):
        image, masks = image.image, {"prediction": image, **masks}
    elif isinstance(image, tuple) and len(image) == 2:
        image, masks = image[0], {TRUTH: image[1], **masks}
    label_set = label_set or next((m.label_set for m in masks.values() if isinstance(m, Prediction)), None)
    if label_set is None:
        if masks:
            raise ArgumentError("label_set", found="none", expected="names and colours for the masks",
                                fix="Pass a dataset's or a model's label_set.")
        label_set = LabelSet("none", ("none",), ((0, 0, 0),))
    image = check_picture(image)
    ids = {name: check_mask(mask.mask if isinstance(mask, Prediction) else mask, image.shape[:2], label_set, name)
           for name, mask in masks.items()}
    return image, ids, label_set, _confidences(masks, confidence, image.shape[:2])


def _confidences(masks: Mapping[str, Any], given: Mapping[str, Any] | None, size: tuple[int, int]
                 ) -> dict[str, np.ndarray]:
    """Name -> (H, W) uint8 in percent."""
    found = {name: mask.confidence for name, mask in masks.items()
             if isinstance(mask, Prediction) and mask.probabilities is not None} | dict(given or {})
    percents = {}
    for name, values in found.items():
        values = as_array(values)
        if name not in masks:
            raise ArgumentError("confidence", found=f"name {name!r}", expected=", ".join(map(repr, masks)))
        if values.shape != tuple(size) or not (values.min() >= 0 and values.max() <= 1 + 1e-5):  # NaN fails too
            raise ArgumentError(f"confidence of {name!r}", found=f"shape {values.shape}, {values.min():.3g} to "
                                f"{values.max():.3g}", expected=f"shape {tuple(size)}, 0 to 1")
        percents[name] = (values * 100).round().astype(np.uint8)  # rounding is all that is lost
    return percents
