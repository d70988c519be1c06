"""What PredictionBrowser knows of a split: a line a picture, its confusions, a thumbnail, and the packed prediction."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from torch import nn
from torch.utils.data import Subset

from seglab.datasets.io import size_within
from seglab.errors import ArgumentError
from seglab.inference import Classification, Prediction
from seglab.labels import IGNORE, LabelSet
from seglab.metrics.segmentation import confusion_matrix, scores
from seglab.progress import progress_bar
from seglab.widgets.wire import as_array, as_file, check_mask, check_picture, pack


@dataclass
class Table:
    """One line a picture, in the dataset's order; N pictures, K entries of all their confusion matrices.

    Attributes:
        masks: False for a classification, whose pictures have one truth and one prediction each.
        iou: (N,) mean IoU over the classes in a picture's truth or prediction; NaN if nothing is scored.
        loss, confidence: (N,), NaN where unknown; None if unknown everywhere.
        pixels: (K, 4) int64: picture, truth, prediction, how many pixels (a classification: 1), by picture.
        sizes: (N, 2) of the thumbnails: width, height.
        thumbnails: three pieces a picture: JPEG, packed ids of the prediction, and of the truth (b"" without masks).
        shapes, packed, sure: (H, W), the packed prediction and its packed confidence in percent, if known.
    """

    names: list[str]
    masks: bool
    iou: np.ndarray
    loss: np.ndarray | None
    confidence: np.ndarray | None
    pixels: np.ndarray
    sizes: np.ndarray
    thumbnails: list[bytes] = field(repr=False)
    shapes: list[tuple[int, int]] = field(repr=False)
    packed: list[bytes] = field(repr=False)
    sure: list[bytes] = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def mask(self, index: int) -> np.ndarray:
        """The predicted mask, (H, W) uint8."""
        return _unpacked(self.packed[index], self.shapes[index])

    def confidence_map(self, index: int) -> np.ndarray | None:
        """The confidence in whole percent, (H, W) in [0, 1], or None."""
        if not self.sure[index]:
            return None
        return np.cumsum(_unpacked(self.sure[index], self.shapes[index]), axis=0, dtype=np.uint8) / 100

    def right(self) -> np.ndarray:
        """(N,) bool: every scored pixel (a classification: the picture) is right."""
        wrong = self.pixels[self.pixels[:, 1] != self.pixels[:, 2], 0]
        return ~np.isin(np.arange(len(self)), wrong)

    def orders(self) -> dict[str, np.ndarray]:
        """The ways to sort: name -> (N,) the pictures' indices. What is not known comes last; ties keep their order."""
        nothing = np.zeros(len(self))
        if self.masks:
            badness = -self.iou
        else:
            sure = nothing if self.confidence is None else self.confidence
            within = self.loss if self.loss is not None else np.where(self.right(), -sure, sure)
            # All wrong ones before all right ones; within, those that should worry most.
            rank = np.unique(np.nan_to_num(within), return_inverse=True)[1] / len(self)  # (N,) in [0, 1)
            badness = np.where(self.right(), 0, 1) + rank
        found = {"worst": _sorted(-badness), "best": _sorted(badness)}
        if self.loss is not None:
            found["loss"] = _sorted(-self.loss)
        found["name"] = np.array(sorted(range(len(self)), key=lambda i: _natural(self.names[i])))
        return found


def collect(dataset: Any, predictions: Any, label_set: LabelSet, *, names: Sequence[str] | None,
            losses: Sequence[float] | None, confidences: Sequence[Any] | None, thumbnail: int,
            progress: bool) -> Table:
    """Read a dataset once, and keep what `Table` holds; arguments and errors as for `PredictionBrowser`."""
    count = len(dataset)
    if count == 0:
        raise ArgumentError("dataset", found="no pictures", expected="at least one")
    if isinstance(thumbnail, bool) or not isinstance(thumbnail, int) or not 32 <= thumbnail <= 400:
        raise ArgumentError("thumbnail", found=thumbnail, expected="32 to 400 pixels")
    answer = _answers(predictions, count)
    names = names_of(dataset, count) if names is None else [str(name) for name in names]
    for what, values in (("names", names), ("losses", losses), ("confidences", confidences)):
        if values is not None and len(values) != count:
            raise ArgumentError(what, found=f"{len(values)} values", expected=f"{count}, one a picture of the dataset")
    lines, pixels, thumbs, sizes, shapes, packed, sure = [], [], [], [], [], [], []
    masks = None
    for index in progress_bar(range(count), desc="predictions", unit="img", shown=progress):
        image, target = dataset[index]
        picture, name = check_picture(image), names[index]
        if masks is None:
            masks = np.ndim(target) > 0
        found = answer(index, image)
        given = confidences[index] if confidences is not None else None
        reader = _segmented if masks else _classified
        line, entries, ids, confidence = reader(name, picture, target, found, given, label_set)
        lines.append(line if losses is None else (line[0], float(losses[index]), line[2]))
        pixels.append(np.insert(entries, 0, index, axis=1))  # (k, 3) -> (k, 4)
        height, width = size_within(picture.shape[:2], (thumbnail, thumbnail))
        small = cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=cv2.INTER_AREA)
        sizes.append((width, height))
        thumbs.append(as_file(small, "JPEG", quality=85))
        thumbs += [pack(cv2.resize(one, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))
                   for one in ids] if ids else [b"", b""]
        shapes.append(picture.shape[:2])
        packed.append(pack(ids[0]) if ids else b"")
        sure.append(b"" if confidence is None else
                    pack((confidence.clip(0, 1) * 100).round().astype(np.uint8), smooth=True))
    iou, *others = np.array(lines, dtype=np.float64).T  # (N,) each
    loss, sureness = (None if np.isnan(one).all() else one for one in others)
    return Table(names, bool(masks), iou, loss, sureness, np.concatenate(pixels), np.array(sizes), thumbs,
                 shapes, packed, sure)


Line = tuple[float, float, float]


def _segmented(name: str, picture: np.ndarray, target: Any, found: Any, given: Any, label_set: LabelSet
               ) -> tuple[Line, np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray | None]:
    size = picture.shape[:2]
    truth = check_mask(target, size, label_set, f"truth of {name}")
    sure, loss = given, np.nan
    if isinstance(found, Prediction):
        _same_classes(found.label_set, label_set)
    mask = check_mask(found.mask if isinstance(found, Prediction) else found, size, label_set, f"prediction of {name}")
    if unsaid := int((mask == IGNORE).sum()):
        raise ArgumentError(f"prediction of {name!r}", found=f"id 255 (pixels: {unsaid})", expected="a class at every "
                            "pixel", fix="255 is for truths. Take the class with the highest score.")
    if isinstance(found, Prediction) and found.probabilities is not None:
        loss = _cross_entropy(found.probabilities, truth)
        sure = found.confidence if sure is None else sure
    sure = None if sure is None else as_array(sure).astype(float)
    if sure is not None and (sure.shape not in ((), size) or not (sure.min() >= 0 and sure.max() <= 1 + 1e-5)):
        raise ArgumentError(f"confidence of {name!r}",
                            found=f"shape {sure.shape}, {sure.min():.3g} to {sure.max():.3g}",
                            expected=f"one number, or a map of shape {size}; 0 to 1")
    matrix = confusion_matrix(mask, truth, label_set)  # (C, C)
    entries = matrix.nonzero().numpy()  # (k, 2)
    counts = matrix.numpy()[entries[:, 0], entries[:, 1]]  # (k,)
    line = scores(matrix).miou, loss, np.nan if sure is None else float(sure.mean())
    return line, np.column_stack([entries, counts]), (mask, truth), sure if sure is not None and sure.ndim else None


def _classified(name: str, picture: np.ndarray, target: Any, found: Any, given: Any, label_set: LabelSet
                ) -> tuple[Line, np.ndarray, None, None]:
    sure, loss = given, np.nan
    if np.ndim(target):
        raise ArgumentError(f"truth of {name!r}", found="a mask", expected="a label, as in the pictures before")
    if isinstance(found, Classification):
        _same_classes(found.label_set, label_set)
        sure = found.confidence if sure is None else sure
        probabilities, found = found.probabilities, int(found.probabilities.argmax())
        loss = _cross_entropy(probabilities[:, None, None], np.array([[int(target)]]))
    for what, value in (("truth", target), ("prediction", found)):
        if np.ndim(value) or int(value) != value or not 0 <= int(value) < len(label_set):
            raise ArgumentError(f"{what} of {name!r}", found=f"class id {value}",
                                expected=f"0 to {len(label_set) - 1}, the classes of {label_set.name!r}")
    if sure is not None and not 0 <= float(sure) <= 1 + 1e-5:
        raise ArgumentError(f"confidence of {name!r}", found=float(sure), expected="0 to 1")
    line = np.nan, loss, np.nan if sure is None else float(sure)
    return line, np.array([[int(target), int(found), 1]]), None, None


def _answers(predictions: Any, count: int) -> Callable[[int, Any], Any]:
    if isinstance(predictions, nn.Module):
        raise ArgumentError("predictions", found=f"a network, {type(predictions).__name__}",
                            expected="masks, Predictions, or a function of a picture",
                            fix="PredictionBrowser.of(model, dataset) runs a network.")
    if callable(predictions):
        return lambda index, image: predictions(image)
    if not hasattr(predictions, "__len__") or not hasattr(predictions, "__getitem__"):
        raise ArgumentError("predictions", found=type(predictions).__name__,
                            expected="a sequence of masks (or class ids), or a function of a picture")
    if len(predictions) != count:
        raise ArgumentError("predictions", found=len(predictions), expected=f"{count}, one a picture of the dataset")
    return lambda index, image: predictions[index]


def names_of(dataset: Any, count: int) -> list[str]:
    """The pictures' names: the dataset's own, also through a `Subset`, or "picture 0", "picture 1" …"""
    if isinstance(dataset, Subset):
        whole: Any = dataset.dataset
        inner = names_of(whole, len(whole))
        return [inner[i] for i in dataset.indices]
    names = getattr(dataset, "names", None)
    return [str(name) for name in names] if names is not None else [f"picture {i}" for i in range(count)]


def _same_classes(found: LabelSet, wanted: LabelSet) -> None:
    if found.classes != wanted.classes:
        raise ArgumentError("predictions", found=f"classes {', '.join(found.classes[:8])}",
                            expected=", ".join(wanted.classes[:8]), fix="Pass the model's label_set.")


def _cross_entropy(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean of -log p(truth) over the scored pixels; NaN without one. A p of 0 counts as the smallest float32."""
    scored = truth != IGNORE  # (H, W)
    if not scored.any():
        return float("nan")
    index = np.where(scored, truth, 0)[None].astype(np.int64)  # (1, H, W)
    chosen = np.take_along_axis(probabilities, index, axis=0)[0][scored]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean(dtype=np.float64))


def _unpacked(packed: bytes, shape: tuple[int, int]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)


def _sorted(values: np.ndarray) -> np.ndarray:
    return np.argsort(values, kind="stable")  # NaN last


def _natural(name: str) -> list[Any]:
    """So that picture 9 comes before picture 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower())
            for part in re.split(r"(\d+)", name) if part]
