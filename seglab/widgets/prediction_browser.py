"""PredictionBrowser: all pictures of a split, sorted by how wrong the predictions are."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import traitlets as t
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from seglab.errors import ArgumentError, SeglabError
from seglab.inference import class_probabilities, predict
from seglab.labels import LabelSet
from seglab.models import Classifier, card_of
from seglab.viz import error_map, overlay
from seglab.widgets.base import ViewerWidget, browser_code, styles
from seglab.widgets.confusion_heatmap import class_id, class_pair
from seglab.widgets.mask_viewer import viewer_content
from seglab.widgets.prediction_table import Table, collect
from seglab.widgets.wire import classes_of, labels_of

SHOWS = ("prediction", "truth", "errors", "picture")
_WIDTH, _GAP = 760, 12  # of the contact sheet, in pixels


class _IdOrName(t.Any):
    allow_none = False  # or None would reach the trait unchecked


class PredictionBrowser(ViewerWidget):
    """Thumbnails of a whole split with its predictions: worst first, by class, or by confusion.

    In the browser, without asking the kernel: sort by IoU, loss or name; only pictures whose truth or prediction holds
    a class; only pictures in which one class is taken for another, those with most such pixels first; a search by name;
    prediction, truth, errors or the plain picture on the thumbnails. A click opens a picture in the viewer of
    `MaskViewer`. Its full size comes from the kernel; until then, and when the kernel is gone, the thumbnail stands in.

    IoU here is one picture's: the mean over the classes in its truth or its prediction, ignored pixels left out. The
    mean of these is not the mIoU of the split, which divides once. Classes and confusions count scored pixels only.

    Datasets of (picture, label) work too: thumbnails then say right or wrong; the worst are the mistakes, the largest
    loss first (without losses, the surest).

    Keyboard: arrows move between thumbnails, Enter opens one. In an open picture, N and P go to the next and the
    previous one, Escape closes.

    Args:
        dataset: `dataset[i]` is a (3, H, W) uint8 image with its (H, W) mask of class ids or its int label; it gives
            the same picture when asked again. It is read once here, and again when a picture is opened.
        predictions: a sequence of masks (class ids), `Prediction`s or `Classification`s, or a function that takes an
            image of the dataset and returns one. They are kept deflated.
        label_set: names and colours; by default the dataset's.
        names: of the pictures; by default the dataset's.
        losses: one number a picture. `Prediction`s and `Classification`s with probabilities bring theirs: the
            cross-entropy, mean over the scored pixels.
        confidences: one number in [0, 1] a picture, or (H, W) maps. Probabilities bring them, too.
        thumbnail: longer side of the thumbnails, 32 to 400 pixels. Smaller pictures are not enlarged.
        page_size: thumbnails a page.
        progress: show a bar.

    Traits, for Python to read and to set:
        order: "worst", "best", "loss" or "name". While `confused` is set, pictures are sorted by it instead.
        class_filter: a class id or name; -1 for all.
        confused: [truth, prediction], ids or names; [] for all.
        search: part of a name.
        show: "prediction", "truth", "errors" or "picture".
        page: from 0.
        opened: the index in the dataset of the picture in the viewer, or -1.
        opacity, hidden, safe_colours, mask, compare, swipe, errors: of the open picture, as for `MaskViewer`. They stay
            when the next one is opened. Errors are switched on by `show = "errors"`, too.

    Raises:
        ArgumentError: an empty dataset, a list of another length, picture and mask of different size, an id without a
            colour, or a trait set to what does not exist.

    Example:
        >>> from seglab.labels import PETS
        >>> truth = np.repeat(np.uint8([[0, 1]]), 8, axis=0).repeat(4, axis=1)
        >>> dataset = [(np.zeros((3, 8, 8), np.uint8), truth)] * 2
        >>> browser = PredictionBrowser(dataset, [truth, np.zeros_like(truth)], PETS, progress=False)
        >>> browser.visible().tolist(), browser.table.iou.tolist()
        ([1, 0], [1.0, 0.25])
        >>> browser.confused = ["cat", "background"]
        >>> browser
        PredictionBrowser(1 of 2 pictures; cat taken for background)
    """

    _esm = browser_code("viewer", "prediction_browser")
    _css = styles("viewer", "prediction_browser")

    content = t.Dict().tag(sync=True)
    thumbnails = t.Bytes().tag(sync=True)
    order = t.Unicode("worst").tag(sync=True)
    class_filter = _IdOrName(-1).tag(sync=True)
    confused: t.List[Any] = t.List().tag(sync=True)
    search = t.Unicode("").tag(sync=True)
    show = t.Unicode("prediction").tag(sync=True)
    page = t.Int(0).tag(sync=True)
    opened = t.Int(-1).tag(sync=True)

    def __init__(self, dataset: Any, predictions: Any, label_set: LabelSet | None = None, *,
                 names: Sequence[str] | None = None, losses: Sequence[float] | None = None,
                 confidences: Sequence[Any] | None = None, thumbnail: int = 112, page_size: int = 24,
                 progress: bool = True) -> None:
        if isinstance(page_size, bool) or not isinstance(page_size, int) or not 1 <= page_size <= 200:
            raise ArgumentError("page_size", found=page_size, expected="1 to 200")
        self.dataset, self.label_set, self.page_size = dataset, labels_of(label_set, dataset), page_size
        self._label_set = self.label_set
        self.table: Table = collect(dataset, predictions, self.label_set, names=names, losses=losses,
                                    confidences=confidences, thumbnail=thumbnail, progress=progress)
        self._orders, self._thumbnail = self.table.orders(), thumbnail
        super().__init__(content=self._content(), thumbnails=b"".join(self.table.thumbnails),
                         show="prediction" if self.table.masks else "picture")
        self.on_msg(self._hear)

    @classmethod
    def of(cls, model: nn.Module, dataset: Any, label_set: LabelSet | None = None, normalize: nn.Module | None = None,
           *, names: Sequence[str] | None = None, thumbnail: int = 112, page_size: int = 24, progress: bool = True,
           **options: Any) -> PredictionBrowser:
        """Run a model over a dataset and browse what it says, with confidence and loss.

        Args:
            model: as for `seglab.inference.predict`, or a `Classifier` for pictures with labels.
            dataset, names, thumbnail, page_size, progress: as for `PredictionBrowser`.
            label_set: by default the model's, else the dataset's.
            normalize: as for `predict`; a `Classifier` has its own.
            options: further arguments of `predict`, for instance `tile=512` or `short_side=256`; of
                `class_probabilities` for a `Classifier`.

        Raises:
            ArgumentError: as for `PredictionBrowser` and `predict`.
            CheckpointError: the model's scores are not finite.
        """
        label_set = labels_of(label_set or card_of(model).label_set, dataset)
        kept: dict[str, Any] = {"names": names, "thumbnail": thumbnail, "page_size": page_size, "progress": progress}
        if not isinstance(model, Classifier):
            def answer(image: Any) -> Any:
                return predict(model, image, probabilities=True, normalize=normalize, label_set=label_set, **options)

            return cls(dataset, answer, label_set, **kept)
        if normalize is not None:
            raise ArgumentError("normalize", found=type(normalize).__name__, expected="None: a Classifier has its own")
        found, truth = class_probabilities(model, dataset, **options)  # (N, C), (N,)
        chosen = found[np.arange(len(truth)), truth].numpy()  # (N,)
        return cls(dataset, found.argmax(1).tolist(), label_set, confidences=found.amax(1).tolist(),
                   losses=(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny))).tolist(), **kept)

    def visible(self) -> np.ndarray:
        """Indices of the pictures that pass the filters, in the order of the page: (M,) int64."""
        table, picked = self.table, self._orders[self.order]
        picture, truth, prediction, count = table.pixels.T  # (K,) each
        if self.class_filter >= 0:
            holds = picture[(truth == self.class_filter) | (prediction == self.class_filter)]
            picked = picked[np.isin(picked, holds)]
        if self.search:
            wanted = self.search.lower()
            picked = np.array([i for i in picked if wanted in table.names[i].lower()], dtype=np.int64)
        if self.confused:
            amounts = np.zeros(len(table), dtype=np.int64)
            chosen = (truth == self.confused[0]) & (prediction == self.confused[1])
            amounts[picture[chosen]] = count[chosen]
            picked = picked[amounts[picked] > 0]
            picked = picked[np.argsort(-amounts[picked], kind="stable")]
        return picked

    def picture(self) -> np.ndarray:
        """The page as a contact sheet, names and scores beneath: (H, W, 3) uint8."""
        found = self.visible()
        start = min(self.page, max(0, len(found) - 1) // self.page_size) * self.page_size
        indices = found[start:start + self.page_size]
        thumbs = [self._thumb(int(index)) for index in indices]
        width = max((thumb.shape[1] for thumb in thumbs), default=self._thumbnail)
        cell = max(width, 112) + _GAP  # most captions fit
        columns = max(1, min(6, (_WIDTH - _GAP) // cell, len(thumbs)))
        font, height = ImageFont.load_default(12), max((thumb.shape[0] for thumb in thumbs), default=0)
        row, head = height + 40, 30
        sheet = Image.new("RGB", (max(columns * cell, 330) + _GAP, head + -(-len(thumbs) // columns) * row), "white")
        draw = ImageDraw.Draw(sheet)
        draw.text((_GAP, 8), self._title(len(found)), fill=(34, 34, 34), font=font)
        for number, (index, thumb) in enumerate(zip(indices, thumbs, strict=True)):
            left, top = _GAP + number % columns * cell, head + number // columns * row
            sheet.paste(Image.fromarray(thumb), (left, top + height - thumb.shape[0]))
            for line, (text, colour) in enumerate(self._caption(int(index))):
                while text and font.getlength(text) > cell - _GAP:
                    text = text[:-2] + "…" if len(text) > 2 else ""
                draw.text((left, top + height + 3 + 15 * line), text, fill=colour, font=font)
        return np.asarray(sheet)

    def summary(self) -> str:
        return f"PredictionBrowser({self._title(len(self.visible()))})"

    def _title(self, found: int) -> str:
        parts = [f"{found:,} of {len(self.table):,} pictures"]
        if self.class_filter >= 0:
            parts.append(f"with {self.label_set.classes[self.class_filter]}")
        if self.confused:
            parts.append(" taken for ".join(self.label_set.classes[i] for i in self.confused))
        else:
            parts.append({"worst": "worst first", "best": "best first", "loss": "largest loss first",
                          "name": "by name"}[self.order])
        return "; ".join([*parts, *([f"name with {self.search!r}"] if self.search else [])])

    def _caption(self, index: int) -> list[tuple[str, tuple[int, int, int]]]:
        table, ink = self.table, (34, 34, 34)
        if table.masks:
            score = "not scored" if np.isnan(table.iou[index]) else f"IoU {table.iou[index]:.3f}"
            if table.loss is not None and not np.isnan(table.loss[index]):
                score += f", loss {table.loss[index]:.2f}"
            return [(table.names[index], ink), (score, (110, 110, 110))]
        _, truth, prediction, _ = table.pixels[table.pixels[:, 0] == index][0]
        true, called = (self.label_set.classes[i] for i in (truth, prediction))
        if truth == prediction:
            return [(table.names[index], ink), (f"right: {true}", (0, 90, 140))]
        return [(table.names[index], ink), (f"{true}, called {called}", (176, 80, 0))]

    def _thumb(self, index: int) -> np.ndarray:
        """The thumbnail as a browser shows it, (h, w, 3) uint8."""
        jpeg, *packed = self.table.thumbnails[3 * index:3 * index + 3]
        picture = np.array(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        if not self.table.masks or self.show == "picture":
            return picture
        prediction, truth = (np.frombuffer(zlib.decompress(one), np.uint8).reshape(picture.shape[:2]) for one in packed)
        if self.show == "errors":
            return cv2.addWeighted(picture, 0.4, error_map(prediction, truth), 0.6, 0)
        return overlay(picture, truth if self.show == "truth" else prediction, self.label_set)

    def _content(self) -> dict[str, Any]:
        table = self.table
        floats = {name: None if values is None else values.astype("<f4").tobytes()
                  for name, values in (("iou", table.iou), ("loss", table.loss), ("confidence", table.confidence))}
        ends = np.cumsum([0, *map(len, table.thumbnails)])
        return {"names": table.names, "classes": classes_of(self.label_set), "masks": table.masks, **floats,
                "sizes": table.sizes.astype("<u2").tobytes(), "offsets": ends.astype("<u4").tobytes(),
                "pixels": table.pixels.astype("<u4").tobytes(), "thumbnail": self._thumbnail,
                "page_size": self.page_size,
                "orders": {name: places.astype("<u4").tobytes() for name, places in self._orders.items()}}

    def _hear(self, _: Any, message: dict[str, Any], __: Any) -> None:
        """A browser wants a picture at its full size."""
        if message.get("kind") != "open":
            return
        index = message["index"]
        try:
            content, buffers = self._full(index)
        except (SeglabError, OSError) as error:  # the browser says so, and keeps showing the thumbnail
            self.send({"kind": "failed", "index": index, "why": str(error)})
            return
        self.send({"kind": "content", "index": index, "content": content}, buffers)

    def _full(self, index: int) -> tuple[dict[str, Any], list[bytes]]:
        """`viewer_content` of a picture, its bytes replaced by their places in a list: messages carry bytes so."""
        image, target = self.dataset[index]
        masks, sure = {}, None
        if self.table.masks:
            masks = {"prediction": self.table.mask(index), "truth": target}
            percent = self.table.confidence_map(index)
            sure = None if percent is None else {"prediction": percent}
        content, buffers = viewer_content(image, masks, self.label_set, sure), []

        def place(value: Any) -> Any:
            if isinstance(value, bytes):
                buffers.append(value)
                return len(buffers) - 1
            return value

        content["image"] = place(content["image"])
        content["masks"] = [{key: place(value) for key, value in one.items()} for one in content["masks"]]
        return content, buffers

    def _mask_names(self) -> list[str]:
        return ["prediction", "truth"] if self.table.masks else []

    @t.observe("show")
    def _errors_too(self, _: Any) -> None:
        self.errors = self.errors or self.show == "errors"

    @t.validate("order", "show")
    def _one_of(self, proposal: Any) -> str:
        name = proposal.trait.name
        allowed = tuple(self._orders) if name == "order" else SHOWS if self.table.masks else ("picture",)
        if proposal.value not in allowed:
            why = "Pass losses=…, or predictions with probabilities." if proposal.value == "loss" else None
            raise ArgumentError(name, found=repr(proposal.value), expected=", ".join(map(repr, allowed)), fix=why)
        return proposal.value

    @t.validate("class_filter")
    def _a_class(self, proposal: Any) -> int:
        if proposal.value is None or (proposal.value == -1 and not isinstance(proposal.value, str)):
            return -1
        return class_id(proposal.value, self.label_set.classes, "class_filter")

    @t.validate("confused")
    def _a_pair(self, proposal: Any) -> list[int]:
        return class_pair(proposal.value, self.label_set.classes, "confused")

    @t.validate("page")
    def _a_page(self, proposal: Any) -> int:
        if proposal.value < 0:
            raise ArgumentError("page", found=proposal.value, expected="0 or more")
        return proposal.value

    @t.validate("opened")
    def _a_picture(self, proposal: Any) -> int:
        if not -1 <= proposal.value < len(self.table):
            raise ArgumentError("opened", found=proposal.value, expected=f"0 to {len(self.table) - 1}, or -1 for none")
        return proposal.value

    @t.observe("order", "class_filter", "confused", "search")
    def _first_page(self, _: Any) -> None:
        self.page = 0
