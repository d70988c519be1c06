"""Segment pictures of any size and kind."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image
from torch import Tensor, nn

from seglab.datasets.io import IMAGE_SUFFIXES, image_size
from seglab.errors import ArgumentError
from seglab.files import atomic_file, output_file
from seglab.inference.pictures import as_image
from seglab.inference.segmenter import Segmenter, in_eval_mode
from seglab.labels import LabelSet
from seglab.viz import add_legend, overlay


@dataclass(frozen=True, repr=False, eq=False)
class Prediction:
    """What a model says about one picture."""

    image: np.ndarray  #: the picture, upright, (H, W, 3) uint8
    mask: np.ndarray  #: (H, W) uint8 class ids
    label_set: LabelSet  #: the classes
    probabilities: np.ndarray | None  #: (C, H, W) float32, summing to 1 over C, or None if not asked for
    seconds: float  #: from the uint8 picture to the mask, decoding left out
    forward_seconds: float  #: of these, inside the model

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
        """The mask's colours over the picture, (H, W, 3) uint8; with a legend below, a little higher.

        The background shows the picture, so the legend leaves it out; with nothing else there is none.
        """
        blended = overlay(self.image, self.mask, self.label_set, alpha)
        painted = [i for i in np.unique(self.mask).tolist() if i != self.label_set.background]
        return add_legend(blended, self.label_set, painted) if legend and painted else blended

    def save_mask(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the class ids as a PNG whose palette shows the classes' colours, whole or not at all.

        ArgumentError if it is there already, unless `overwrite`; WriteError if the disk is full.
        """
        path = output_file(path, "mask.png", {".png"}, overwrite)
        image = Image.fromarray(self.mask)
        image.putpalette(self.label_set.palette.tobytes())
        with atomic_file(path) as new:
            image.save(new, format="PNG")

    def save_overlay(self, path: str | Path, alpha: float = 0.5, overwrite: bool = False) -> None:
        """Write the overlay with its legend, in the format of the path's ending; else as `save_mask` does."""
        path = output_file(path, "overlay.png", IMAGE_SUFFIXES, overwrite)
        with atomic_file(path) as new:
            Image.fromarray(self.overlay(alpha)).save(new, quality=92)


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
            the model's card says; None works at full size. Tiles are cut afterwards.
        normalize: what happens to uint8 pictures first; by default what the model's card says.
        label_set: names and colours; by default the model's.

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
        results = [segment(segmenter, read(segmenter, one), probabilities) for one in (image if many else [image])]
    return results if many else results[0]


def read(segmenter: Segmenter, source: Any) -> np.ndarray:
    """A picture to segment, see `as_image`; of a file that is too large, only the header is read."""
    if isinstance(source, str | Path):
        segmenter.check_size(image_size(source))
    return as_image(source)


def segment(segmenter: Segmenter, image: np.ndarray, soft: bool) -> Prediction:
    """What a model, in eval mode, says about a picture, (H, W, 3) uint8."""
    start, segmenter.forward_seconds = time.perf_counter(), 0.0
    masks, scores = segmenter(image[None], soft)
    seconds = time.perf_counter() - start
    return Prediction(image, masks[0], segmenter.labels(), None if scores is None else scores[0].cpu().numpy(),
                      seconds, segmenter.forward_seconds)
