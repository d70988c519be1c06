"""Segment pictures of any size and kind."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.datasets.transforms import Normalize
from seglab.errors import ArgumentError, CheckpointError
from seglab.files import atomic_file, output_file
from seglab.inference.pictures import as_image
from seglab.inference.tiles import check_tile, tiled
from seglab.labels import LabelSet, known_label_set
from seglab.metrics import predictions
from seglab.viz import add_legend, overlay

#: More pixels than that are asked to be tiled: feature maps would take many gigabytes.
MAX_PIXELS = 10_000_000


@dataclass(frozen=True, repr=False, eq=False)
class Prediction:
    """What a model says about one picture.

    Attributes:
        image: the picture, upright, (H, W, 3) uint8.
        mask: (H, W) uint8 class ids.
        label_set: the classes.
        probabilities: (C, H, W) float32, summing to 1 over C, or None if not asked for.
        seconds: from the uint8 picture to the mask, decoding left out.
        forward_seconds: of these, inside the model.
    """

    image: np.ndarray
    mask: np.ndarray
    label_set: LabelSet
    probabilities: np.ndarray | None
    seconds: float
    forward_seconds: float

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.shares().items())
        return f"Prediction({self.mask.shape[1]}×{self.mask.shape[0]}: {shares}; {self.seconds:.2f} s)"

    def _repr_png_(self) -> bytes:
        """What a notebook shows: the overlay with its legend."""
        buffer = io.BytesIO()
        Image.fromarray(self.overlay()).save(buffer, format="PNG")
        return buffer.getvalue()

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the chosen class, (H, W) float32; needs `probabilities=True`."""
        if self.probabilities is None:
            raise ArgumentError("confidence", found="a prediction without probabilities",
                                expected="predict(…, probabilities=True)")
        return self.probabilities.max(axis=0)

    def shares(self) -> dict[str, float]:
        """Class name -> share of the picture, largest first, for classes that occur."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.label_set)) / self.mask.size
        return {self.label_set.classes[i]: float(counts[i]) for i in np.argsort(-counts) if counts[i]}

    def overlay(self, alpha: float = 0.5, legend: bool = True) -> np.ndarray:
        """The mask's colours over the picture, (H, W, 3) uint8; with a legend below, a little higher."""
        blended = overlay(self.image, self.mask, self.label_set, alpha)
        return add_legend(blended, self.label_set, np.unique(self.mask).tolist()) if legend else blended

    def save_mask(self, path: str | Path) -> None:
        """Write the class ids as a PNG whose palette shows the classes' colours, whole or not at all."""
        image = Image.fromarray(self.mask)
        image.putpalette(self.label_set.palette.tobytes())
        with atomic_file(path) as new:
            image.save(new, format="PNG")

    def save_overlay(self, path: str | Path, alpha: float = 0.5) -> None:
        """Write the overlay with its legend, in the format of the path's ending, whole or not at all."""
        path = output_file(path, "overlay.png", IMAGE_SUFFIXES, overwrite=True)
        with atomic_file(path) as new:
            Image.fromarray(self.overlay(alpha)).save(new, quality=92)


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
    """A model with all that one needs to apply it; `predict` and `predict_video` run on it.

    Args:
        model: maps float pictures (N, 3, H, W) to {"out": logits (N, C, H, W)} or to logits.
        normalize: by default the model's own (`model.normalize`), or [0, 1].
        label_set: by default the model's own, or classes in VOC's colours.
        short_side: scale larger pictures down to this shorter side before the model, and the scores back up. "auto" is
            the model's own (`model.short_side`), None leaves them.
        flip: average with the mirrored picture.
        scales: average over these sizes.
        tile, overlap: cut pictures larger than a tile; see `predict`.
    """

    def __init__(self, model: nn.Module, *, normalize: nn.Module | None = None, label_set: LabelSet | None = None,
                 short_side: int | str | None = "auto", flip: bool = False, scales: Sequence[float] = (1.0,),
                 tile: int | None = None, overlap: int | None = None) -> None:
        if not scales or min(scales) <= 0:
            raise ArgumentError("scales", found=tuple(scales), expected="one or more numbers above 0")
        if short_side == "auto":
            short_side = getattr(model, "short_side", None)
        if short_side is not None and (not isinstance(short_side, int) or short_side < 1):
            raise ArgumentError("short_side", found=repr(short_side), expected='"auto", None, or 1 or more pixels')
        if tile is not None:
            overlap = tile // 128 * 32 if overlap is None else overlap  # a quarter, on the grid
            check_tile(tile, overlap)
        if normalize is None:
            known = getattr(model, "normalize", None)
            normalize = Normalize(**known) if known else Normalize()
        self.model, self.label_set, self.short_side = model, label_set or getattr(model, "label_set", None), short_side
        self.flip, self.scales, self.tile, self.overlap = flip, tuple(scales), tile, overlap
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.normalize = normalize.to(self.device)
        self.forward_seconds, self.num_classes = 0.0, 0

    def __call__(self, images: np.ndarray, soft: bool = False) -> tuple[np.ndarray, Tensor | None]:
        """(N, H, W, 3) uint8 -> (N, H, W) uint8 class ids and, if `soft`, (N, C, H, W) probabilities."""
        size, inside = images.shape[1:3], self.inside(images)
        height, width = inside.shape[1:3]
        pixels = torch.from_numpy(inside).permute(0, 3, 1, 2)  # (N, H, W, 3) -> (N, 3, H, W), channels last in memory
        if self.tile is not None and self.overlap is not None and max(height, width) > self.tile:
            return self._tiled(pixels, size, soft, self.tile, self.overlap)
        if height * width > MAX_PIXELS:
            raise ArgumentError("image", found=f"{width}×{height} pixels",
                                expected=f"at most {MAX_PIXELS:,} pixels in one piece",
                                fix="Pass tile=1024 (seglab predict --tile 1024), or short_side=… to scale it down.")
        if soft or self.flip or self.scales != (1.0,):
            scores = self._probabilities(pixels, size)
            return predictions(scores).to(torch.uint8).cpu().numpy(), scores if soft else None
        logits = _resized(self._logits(pixels), size)
        return predictions(logits).to(torch.uint8).cpu().numpy(), None

    def inside(self, images: np.ndarray) -> np.ndarray:
        """The pictures at the size at which the model works, (N, H, W, 3) -> (N, h, w, 3): `short_side` obeyed."""
        height, width = images.shape[1:3]
        if self.short_side is None or min(height, width) <= self.short_side:
            return images
        scale = self.short_side / min(height, width)
        new = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.stack([cv2.resize(image, new, interpolation=cv2.INTER_AREA) for image in images])

    def _logits(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> (N, C, H, W) logits, checked."""
        start = time.perf_counter()
        output = self.model(self.normalize(pixels.to(self.device, non_blocking=True)))
        logits = output["out"] if isinstance(output, dict) else output
        if not logits.sum().isfinite():  # one pass; it also waits for the device, so that the time is true
            raise CheckpointError(f"model {type(self.model).__name__}", found="scores that are NaN or infinite",
                                  expected="finite scores",
                                  fix="Its weights are damaged or its training diverged: load other weights.")
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
                view = F.interpolate(pixels.float(), size=new, mode="bilinear", antialias=True, align_corners=False)
                view = view.round().clamp(0, 255).to(torch.uint8)
            for mirrored in (False, True) if self.flip else (False,):
                logits = self._logits(view.flip(-1) if mirrored else view)
                scores = _resized(logits.flip(-1) if mirrored else logits, size).softmax(1)
                total = scores if total is None else total.add_(scores)
        assert total is not None  # there is a scale
        return total.div_(len(self.scales) * (1 + self.flip))

    def _tiled(self, pixels: Tensor, size: tuple[int, int], soft: bool, tile: int,
               overlap: int) -> tuple[np.ndarray, Tensor | None]:
        masks, kept = [], []
        for image in pixels:
            rows, mask = [], np.empty(image.shape[-2:], dtype=np.uint8)
            exact = image.shape[-2:] == size  # else the scores are needed, to scale them up
            for top, band in tiled(lambda part: self._probabilities(part, part.shape[-2:]), image, tile, overlap):
                mask[top:top + band.shape[1]] = band.argmax(0).to(torch.uint8).cpu().numpy()
                if soft or not exact:
                    rows.append(band.cpu().clone())
            if rows:
                scores = torch.cat(rows, 1)  # (C, h, w)
                if not exact:
                    scores = _resized(scores[None], size)[0]
                    mask = scores.argmax(0).to(torch.uint8).numpy()
                kept.append(scores)
            masks.append(mask)
        return np.stack(masks), torch.stack(kept) if soft else None

    def labels(self) -> LabelSet:
        """The label set, after a first call; if none is known, numbered classes."""
        if self.label_set is not None and len(self.label_set) != self.num_classes:
            raise ArgumentError("label_set", found=f"{len(self.label_set)} classes",
                                expected=f"{self.num_classes}, as the model predicts")
        return self.label_set or known_label_set([f"class {i}" for i in range(self.num_classes)])


def _resized(scores: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(scores.shape[-2:]) == tuple(size):
        return scores
    return F.interpolate(scores, size=tuple(size), mode="bilinear", align_corners=False)


@overload
def predict(model: nn.Module, image: str | Path | Image.Image, *, probabilities: bool = False, tile: int | None = None,
            overlap: int | None = None, flip: bool = False, scales: Sequence[float] = (1.0,),
            short_side: int | str | None = "auto", normalize: nn.Module | None = None,
            label_set: LabelSet | None = None) -> Prediction: ...
@overload
def predict(model: nn.Module, image: list[Any] | tuple[Any, ...], *, probabilities: bool = False,
            tile: int | None = None, overlap: int | None = None, flip: bool = False, scales: Sequence[float] = (1.0,),
            short_side: int | str | None = "auto", normalize: nn.Module | None = None,
            label_set: LabelSet | None = None) -> list[Prediction]: ...
@overload  # of arrays, the dimensions decide
def predict(model: nn.Module, image: np.ndarray | Tensor, *, probabilities: bool = False, tile: int | None = None,
            overlap: int | None = None, flip: bool = False, scales: Sequence[float] = (1.0,),
            short_side: int | str | None = "auto", normalize: nn.Module | None = None,
            label_set: LabelSet | None = None) -> Prediction | list[Prediction]: ...
def predict(model: nn.Module, image: Any, *, probabilities: bool = False, tile: int | None = None,
            overlap: int | None = None, flip: bool = False, scales: Sequence[float] = (1.0,),
            short_side: int | str | None = "auto", normalize: nn.Module | None = None,
            label_set: LabelSet | None = None) -> Prediction | list[Prediction]:
    """Segment a picture, or a list of them, of any size.

    Args:
        model: from `seglab.build` or `seglab.load_model`, or any module (N, 3, H, W) -> {"out": (N, C, H, W)}.
        image: a path, PIL image, array or tensor, see `as_image`; or a list, or an (N, 3, H, W) tensor.
        probabilities: keep the probabilities of all classes.
        tile: side of the tiles, a multiple of 32, that larger pictures are cut into. Memory then depends on the tile
            and the picture's width, not on its height. Neighbours overlap and are blended. The blended probabilities
            differ from the untiled ones where a network looks farther than the overlap.
        overlap: of tiles in pixels, a multiple of 32; a quarter of the tile by default.
        flip: average with the mirrored picture's probabilities: twice the time, a little more accuracy.
        scales: average over these sizes of the picture, for instance (0.75, 1, 1.25).
        short_side: scale larger pictures down to this shorter side first, and the scores back up. "auto" does what
            the model's weights ask for; None works at full size. Tiles are cut afterwards.
        normalize: what happens to uint8 pictures first; by default what the model's weights ask for, else [0, 1].
        label_set: names and colours; by default the model's.

    Returns:
        a `Prediction`, or a list of them for a list.

    Raises:
        ArgumentError: no picture, a number out of range, or a picture too big for one piece.
        DataError: a file that is missing or no picture.
        CheckpointError: the model's scores are not finite.

    Example:
        >>> from skimage.data import chelsea
        >>> from seglab import build
        >>> cat = predict(build("fcn", weights="bundled"), chelsea())
        >>> cat.mask.shape, max(cat.shares(), key=cat.shares().get)
        ((300, 451), 'cat')
    """
    many = isinstance(image, (list, tuple)) or (isinstance(image, (Tensor, np.ndarray)) and image.ndim == 4)
    segmenter = Segmenter(model, normalize=normalize, label_set=label_set, short_side=short_side, flip=flip,
                          scales=scales, tile=tile, overlap=overlap)
    with in_eval_mode(model):
        results = [_one(segmenter, as_image(one), probabilities) for one in (image if many else [image])]
    return results if many else results[0]


def _one(segmenter: Segmenter, image: np.ndarray, soft: bool) -> Prediction:
    start, segmenter.forward_seconds = time.perf_counter(), 0.0
    masks, scores = segmenter(image[None], soft)
    seconds = time.perf_counter() - start
    return Prediction(image, masks[0], segmenter.labels(), None if scores is None else scores[0].cpu().numpy(),
                      seconds, segmenter.forward_seconds)
