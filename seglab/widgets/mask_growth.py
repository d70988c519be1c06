"""Masks of a few pictures after each epoch: what `TrainingMonitor.watch` keeps, sends and draws."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch import nn

from seglab.datasets.io import size_within
from seglab.errors import ArgumentError
from seglab.inference import predict
from seglab.labels import IGNORE, LabelSet
from seglab.metrics.segmentation import confusion_matrix, scores
from seglab.models import card_of
from seglab.viz import add_legend, overlay
from seglab.viz.palettes import as_drawn, safe_label_set
from seglab.viz.sheets import add_words, sheet
from seglab.widgets.wire import check_mask, check_picture, classes_of, encode, labels_of, pack

# What watching costs is bounded: pictures are few, each is predicted at no more than so many pixels a side, and is kept
# and sent smaller; of a long training, so many epochs are kept.
MOST_PICTURES, MOST_EPOCHS = 4, 40
_PREDICTED, _KEPT = 1024, 320


class _Picture(NamedTuple):
    name: str
    image: np.ndarray  # (H, W, 3) uint8, as it is predicted
    truth: np.ndarray | None  # (H, W) uint8
    small: np.ndarray  # (h, w, 3) uint8, as it is kept
    small_truth: np.ndarray | None  # (h, w) uint8


class MaskGrowth:
    """What a network in training says about a few pictures, epoch by epoch; arguments as for `TrainingMonitor.watch`.

    Attributes:
        masks: epoch -> [(the mask, (h, w) uint8, deflated; its IoU in the picture, or None)], one for each picture.
        problem: why there are none, if the network that is watched is not the one that is trained.
    """

    def __init__(self, model: nn.Module, samples: Any, label_set: LabelSet | None, options: dict[str, Any]) -> None:
        self.label_set = labels_of(label_set, samples, card_of(model).label_set)
        many = [samples] if isinstance(samples, tuple) else samples
        if not 1 <= len(many) <= MOST_PICTURES:
            raise ArgumentError("samples", found=f"{len(many)} pictures", expected=f"1 to {MOST_PICTURES}",
                                fix="Choose some of a dataset: dataset.subset([0, 5])")
        names = getattr(samples, "names", None) or [f"picture {i + 1}" for i in range(len(many))]
        self.pictures = [_read(many[i], str(names[i]), self.label_set) for i in range(len(many))]
        if len({one.truth is None for one in self.pictures}) > 1:
            raise ArgumentError("samples", found="pictures with a mask and pictures without",
                                expected="a mask for each of them, or for none")
        self.model, self.options, self._versions = model, options, _versions(model)
        self.masks: dict[int, list[tuple[bytes, float | None]]] = {}
        self.problem = ""

    def take(self, epoch: int, best: int) -> None:
        """Predict the pictures with the weights of this epoch. Training goes on as if nobody had looked."""
        before, self._versions = self._versions, _versions(self.model)
        if self._versions == before and epoch in self.masks:
            return  # shown once more
        self.problem = ""
        if self._versions == before:
            self.problem = (f"No mask of epoch {epoch}: the network that is watched did not change, so it is not the "
                            "one that is trained. Before fit(model, …), call watch(model, …) with the same one.")
            return
        found = predict(self.model, [one.image for one in self.pictures], label_set=self.label_set, **self.options)
        self.masks[epoch] = [self._keep(one, answer.mask) for one, answer in zip(self.pictures, found, strict=True)]
        first, stride = min(self.masks), 1
        while (epoch - first) // stride + 2 > MOST_EPOCHS:  # with the best and the last
            stride *= 2
        self.masks = {number: kept for number, kept in sorted(self.masks.items())
                      if (number - first) % stride == 0 or number in {best, epoch}}

    def forget(self, after: int) -> None:
        """Another training, or the same after this epoch."""
        self.masks = {epoch: kept for epoch, kept in self.masks.items() if epoch <= after}
        self.problem = ""

    @property
    def note(self) -> str:
        """What has to be said of masks that are not there."""
        if self.problem or not self.masks or min(self.masks) == 1:
            return self.problem
        last = min(self.masks) - 1
        if last == 1:
            return "No mask of epoch 1: it was trained before this monitor watched."
        return f"No masks of epochs 1 to {last}: they were trained before this monitor watched."

    def content(self) -> dict[str, Any]:
        """The pictures, for the browser."""
        return {"classes": classes_of(self.label_set), "pictures": [
            {"name": one.name, "size": [one.small.shape[1], one.small.shape[0]], "image": encode(one.small),
             "truth": None if one.small_truth is None else pack(one.small_truth)} for one in self.pictures]}

    def wire(self) -> dict[str, Any]:
        """The masks, for the browser."""
        return {"note": self.note, "epochs": [
            {"epoch": epoch, "ids": [ids for ids, _ in kept], "iou": [iou for _, iou in kept]}
            for epoch, kept in self.masks.items()]}

    def strip(self, best: int, width: int, opacity: float, safe: bool) -> np.ndarray | None:
        """Masks of three to five epochs, from the first to the last with the best among them, and the truth:
        (H, width, 3) uint8; None if there is none."""
        if not self.masks:
            return None
        labels, there = as_drawn(self.label_set), list(self.masks)
        labels = safe_label_set(labels) if safe else labels
        count = min(len(there), 5 if width > 600 else 3)
        chosen = {there[round(i)] for i in np.linspace(0, len(there) - 1, count)}
        if best in there and best not in chosen:
            nearest = min(sorted(chosen)[1:-1], key=lambda epoch: abs(epoch - best))  # the first and the last stay
            chosen = chosen - {nearest} | {best}
        panels, titles, ids = [], [], set()
        for number, one in enumerate(self.pictures):
            for epoch in sorted(chosen):
                packed = zlib.decompress(self.masks[epoch][number][0])
                mask = np.frombuffer(packed, np.uint8).reshape(one.small.shape[:2])
                panels.append(overlay(one.small, mask, labels, opacity))
                titles.append(f"epoch {epoch}{', best' * (epoch == best)}")
                ids |= set(np.unique(mask).tolist())
            if one.small_truth is not None:
                panels.append(overlay(one.small, one.small_truth, labels, opacity))
                titles.append("truth")
                ids |= set(np.unique(one.small_truth).tolist())
        drawn = sheet(panels, titles, columns=len(panels) // len(self.pictures), width=width)
        drawn = np.pad(drawn, ((0, 0), (0, width - drawn.shape[1]), (0, 0)), constant_values=255)  # (H, width, 3)
        painted = sorted(ids - {labels.background, IGNORE})
        drawn = add_legend(drawn, labels, painted, size=13) if painted else drawn
        return add_words(drawn, self.note) if self.note else drawn

    def _keep(self, one: _Picture, mask: np.ndarray) -> tuple[bytes, float | None]:
        small = cv2.resize(mask, one.small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        if one.truth is None:
            return pack(small), None
        iou = scores(confusion_matrix(mask, one.truth, self.label_set)).miou
        return pack(small), round(float(iou), 4) if np.isfinite(iou) else None


def _read(sample: Any, name: str, label_set: LabelSet) -> _Picture:
    image, target = sample if isinstance(sample, (tuple, list)) and len(sample) == 2 else (sample, None)
    image = check_picture(image)
    truth = None if target is None else check_mask(target, image.shape[:2], label_set, f"truth of {name}")
    image, truth = _within(image, truth, _PREDICTED)
    return _Picture(name, image, truth, *_within(image, truth, _KEPT))


def _within(image: np.ndarray, mask: np.ndarray | None, side: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Picture and mask scaled down so that the longer side has at most so many pixels."""
    if max(image.shape[:2]) <= side:
        return image, mask
    height, width = size_within(image.shape[:2], (side, side))
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return image, None if mask is None else cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)


def _versions(model: nn.Module) -> tuple[int, ...]:
    """How often each parameter was written: PyTorch counts it, and so an optimizer's step is seen without a copy."""
    return tuple(parameter._version for parameter in model.parameters())
