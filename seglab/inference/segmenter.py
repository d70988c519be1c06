"""The one way from pictures to classes: `predict`, `predict_video` and `evaluate` go it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.datasets.io import Size, size_within
from seglab.errors import ArgumentError, CheckpointError
from seglab.inference.tiles import GRID, tiled
from seglab.labels import LabelSet, known_label_set
from seglab.memory import keep_freed_memory
from seglab.metrics import predictions
from seglab.models.card import card_of

#: More pixels than that are asked to be tiled: feature maps would take many gigabytes.
MAX_PIXELS = 10_000_000


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """BatchNorm with its stored statistics, no dropout, no gradients; training mode comes back afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


class Segmenter:
    """A model with all that one needs to apply it to pictures, in eval mode; arguments and errors as for `predict`."""

    def __init__(self, model: nn.Module, *, normalize: nn.Module | None = None, label_set: LabelSet | None = None,
                 short_side: int | str | None = "auto", flip: bool = False, scales: Sequence[float] = (1.0,),
                 tile: int | None = None, overlap: int | None = None) -> None:
        card = card_of(model)
        if not scales or min(scales) <= 0:
            raise ArgumentError("scales", found=tuple(scales), expected="one or more numbers above 0")
        short_side = card.short_side if short_side == "auto" else short_side
        if short_side is not None and (not isinstance(short_side, int) or short_side < 1):
            raise ArgumentError("short_side", found=repr(short_side), expected='"auto", None, or 1 or more pixels')
        if tile is not None:
            overlap = tile // (4 * GRID) * GRID if overlap is None else overlap
            if tile < 2 * GRID or tile % GRID or overlap % GRID or not 0 <= overlap <= tile // 2:
                raise ArgumentError("tile", found=f"tile {tile}, overlap {overlap}", expected=f"multiples of {GRID}; "
                                    f"tile {2 * GRID} or more, overlap at most half of it")
        self.model, self.label_set = model, label_set or card.label_set
        self.short_side, self.zoom = short_side, card.zoom
        self.flip, self.scales, self.tile, self.overlap = flip, tuple(scales), tile or 0, overlap or 0
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        if self.device.type == "cpu":
            keep_freed_memory()  # otherwise pictures of many sizes take more and more
        self.normalize = (normalize if normalize is not None else card.normalize).to(self.device)
        self.forward_seconds, self.num_classes = 0.0, 0
        self._waits = False
        self.finite = torch.ones((), dtype=torch.bool, device=self.device)

    def __call__(self, images: np.ndarray, soft: bool = False) -> tuple[np.ndarray, Tensor | None]:
        """(N, H, W, 3) uint8 -> (N, H, W) uint8 class ids and, if `soft`, (N, C, H, W) probabilities.

        Raises:
            CheckpointError: scores that are not finite.
        """
        self._waits = True  # at the end anyway; so the time inside the model is true
        masks, scores = self.segment(torch.from_numpy(images).permute(0, 3, 1, 2), soft)  # -> (N, 3, H, W)
        self.check_finite()
        return masks.cpu().numpy(), scores

    def segment(self, images: Tensor, soft: bool = False) -> tuple[Tensor, Tensor | None]:
        """(N, 3, H, W) uint8 -> (N, H, W) uint8 class ids and, if `soft`, (N, C, H, W) probabilities, on the device.

        On a GPU it does not wait; `check_finite` says afterwards whether the scores could be used.
        """
        size = images.shape[-2], images.shape[-1]
        self.check_size(size)
        if self._working_size(size) != size:
            inside = self.inside(images.permute(0, 2, 3, 1).cpu().numpy())  # (N, 3, H, W) -> (N, h, w, 3)
            images = torch.from_numpy(inside).permute(0, 3, 1, 2)  # channels last in memory
        height, width = images.shape[-2:]
        if 0 < self.tile < max(height, width):
            return self._tiled(images, size, soft)
        if soft or self.flip or self.scales != (1.0,):
            scores = self._probabilities(images, size)
            return predictions(scores), scores if soft else None
        return _classes(self.logits(images), size), None

    def check_size(self, size: Size) -> None:
        """Raise an ArgumentError if a picture of this size has too many pixels for one piece, and is not tiled."""
        height, width = self._working_size(size)
        if height * width > MAX_PIXELS and not 0 < self.tile < max(height, width):
            raise ArgumentError("image", found=f"{width}×{height} pixels",
                                expected=f"at most {MAX_PIXELS:,} pixels in one piece",
                                fix="Pass tile=1024 (seglab predict --tile 1024), or short_side=… to scale it down.")

    def check_finite(self) -> None:
        """Raise a CheckpointError if any of the scores so far were NaN or infinite."""
        if not self.finite:
            raise CheckpointError(f"model {type(self.model).__name__}", found="scores that are NaN or infinite",
                                  expected="finite scores",
                                  fix="Its weights are damaged or its training diverged: load other weights.")

    def inside(self, images: np.ndarray) -> np.ndarray:
        """The pictures at the size at which the model works: (N, H, W, 3) -> (N, h, w, 3)."""
        height, width = self._working_size(images.shape[1:3])
        how = cv2.INTER_LINEAR if height > images.shape[1] else cv2.INTER_AREA
        return np.stack([cv2.resize(image, (width, height), interpolation=how) for image in images])

    def _working_size(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = size_within(size, self.short_side)
        return max(1, round(height * self.zoom)), max(1, round(width * self.zoom))

    def logits(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> (N, C, H, W) logits; of a classifier, also from features (N, D), (N, C)."""
        start = time.perf_counter()
        output = self.model(self.normalize(images.to(self.device, non_blocking=True)))
        logits = output["out"] if isinstance(output, dict) else output
        self.finite &= logits.sum().isfinite()  # one pass
        if self._waits and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.forward_seconds += time.perf_counter() - start
        self.num_classes = logits.shape[1]
        return logits

    def _probabilities(self, pixels: Tensor, size: Sequence[int]) -> Tensor:
        """Averaged over flips and scales: (N, 3, h, w) uint8 -> (N, C, *size)."""
        total: Tensor | None = None
        for scale in self.scales:
            view = pixels
            if scale != 1.0:
                new = [max(1, round(side * scale)) for side in pixels.shape[-2:]]
                view = _scaled(pixels.float(), new).round().clamp(0, 255).to(torch.uint8)
            for mirrored in (False, True) if self.flip else (False,):
                logits = self.logits(view.flip(-1) if mirrored else view)
                scores = _resized(logits.flip(-1) if mirrored else logits, size).softmax(1)
                total = scores if total is None else total.add_(scores)
        assert total is not None  # there is a scale
        return total.div_(len(self.scales) * (1 + self.flip))

    def _tiled(self, pixels: Tensor, size: Sequence[int], soft: bool) -> tuple[Tensor, Tensor | None]:
        masks, kept = [], []
        keep = soft or pixels.shape[-2:] != size  # the scores are asked for, or needed to scale them up
        for image in pixels:
            bands = tiled(lambda part: self._probabilities(part, part.shape[-2:]), image, self.tile, self.overlap)
            found = torch.cat([band.cpu().clone() if keep else predictions(band) for _, band in bands], -2)[None]
            if keep:
                found = _resized(found, size)  # (1, C, H, W)
                kept.append(found)
            masks.append(predictions(found) if keep else found)  # (1, H, W)
        return torch.cat(masks), torch.cat(kept) if soft else None

    def labels(self) -> LabelSet:
        """The label set, after a first call; if none is known, numbered classes."""
        if self.label_set is not None and len(self.label_set) != self.num_classes:
            raise ArgumentError("label_set", found=f"{len(self.label_set)} classes",
                                expected=f"{self.num_classes}, as the model predicts")
        return self.label_set or known_label_set([f"class {i}" for i in range(self.num_classes)])


class SteadySegmenter:
    """A segmenter for frames that follow each other.

    Args:
        segmenter: segments the frames.
        every: it is asked for every n-th frame; those between have the mask before.
        smoothing: how much of the frames before stays in the probabilities, against flicker, from 0 to below 1.

    Raises:
        ArgumentError: a number out of range.
    """

    def __init__(self, segmenter: Segmenter, every: int = 1, smoothing: float = 0.0) -> None:
        if every < 1:
            raise ArgumentError("every", found=every, expected="1 or more")
        if not 0 <= smoothing < 1:
            raise ArgumentError("smoothing", found=smoothing, expected="0 to below 1")
        self.segmenter, self.every, self.smoothing = segmenter, every, smoothing
        self._smooth: Tensor | None = None

    def __call__(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The next frames, (H, W, 3) uint8, the first of which the model sees -> a mask (H, W) uint8 for each."""
        found, scores = self.segmenter(np.stack(frames[::self.every]), soft=self.smoothing > 0)
        masks = list(found)
        for i, one in enumerate(scores if scores is not None else ()):  # (C, H, W)
            self._smooth = one if self._smooth is None else self._smooth.lerp(one, 1 - self.smoothing)
            masks[i] = predictions(self._smooth).cpu().numpy()
        return [masks[i // self.every] for i in range(len(frames))]


def _classes(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The class of every pixel of a picture of this size: (N, C, h, w) -> (N, H, W) uint8."""
    if size[0] * size[1] <= MAX_PIXELS:
        return predictions(_resized(logits, size))
    # Scores of all classes at once would take gigabytes: one plane after the other, as `predictions` looks at them.
    best = _resized(logits[:, :1], size)  # (N, 1, H, W)
    classes = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for number in range(1, logits.shape[1]):
        plane = _resized(logits[:, number:number + 1], size)
        classes.masked_fill_(plane > best, number)
        torch.maximum(best, plane, out=best)
    return classes[:, 0]  # (N, 1, H, W) -> (N, H, W)


def _scaled(pixels: Tensor, size: Sequence[int]) -> Tensor:
    """(N, 3, h, w) -> (N, 3, *size), antialiased. One column is made as a row: PyTorch 2.14 repeats its first pixel."""
    if size[1] == 1 < size[0]:
        return _scaled(pixels.mT, size[::-1]).mT
    return F.interpolate(pixels, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)


def _resized(scores: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(scores.shape[-2:]) == tuple(size):
        return scores
    return F.interpolate(scores, size=tuple(size), mode="bilinear", align_corners=False)
