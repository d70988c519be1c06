"""Say what a picture shows, how sure that is, and where the network looked."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from seglab.datasets.io import square
from seglab.datasets.protocols import Samples, as_dataset
from seglab.datasets.transforms import collate
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_write, output_file
from seglab.inference.folder import image_paths
from seglab.inference.pictures import as_image
from seglab.inference.segmenter import Segmenter, in_eval_mode
from seglab.labels import LabelSet
from seglab.models import Classifier


@dataclass(frozen=True, eq=False)
class Classification:
    """What a classifier says about one picture."""

    image: np.ndarray  #: the square that it saw, (size, size, 3) uint8
    probabilities: np.ndarray  #: (C,) float32, summing to 1
    label_set: LabelSet  #: the classes
    seconds: float  #: from the picture to the answer, decoding left out

    @property
    def label(self) -> str:
        """The name of the most probable class."""
        return self.label_set.classes[int(self.probabilities.argmax())]

    @property
    def confidence(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())

    def __str__(self) -> str:
        order = np.argsort(-self.probabilities)[:5]
        return ", ".join(f"{self.label_set.classes[i]} {self.probabilities[i]:.1%}" for i in order)


@overload
def classify(model: Classifier, image: str | Path | Image.Image | np.ndarray | Tensor, *,
             size: int | None = None) -> Classification: ...
@overload
def classify(model: Classifier, image: list[Any] | tuple[Any, ...], *,
             size: int | None = None) -> list[Classification]: ...
def classify(model: Classifier, image: Any, *, size: int | None = None) -> Classification | list[Classification]:
    """Classify a picture, or a list of them.

    Args:
        model: from `seglab.models.classifier` or `seglab.load_model`.
        image: a path, PIL image, array or tensor, see `as_image`; or a list of them.
        size: side of the middle square that the model sees; by default the one it was trained on.

    Raises:
        ArgumentError: no picture, or a model that is no classifier.
        DataError: a file that is missing or no picture.
        CheckpointError: the model's scores are not finite.

    Example:
        >>> from skimage.data import chelsea
        >>> from seglab.models import classifier
        >>> answer = classify(classifier("efficientnet_lite0", 2), chelsea())
        >>> answer.image.shape, len(answer.probabilities)
        ((224, 224, 3), 2)
    """
    many = isinstance(image, (list, tuple))
    results = []
    for one in image if many else [image]:
        segmenter, pixels, batch = _input(model, one, size)
        start = time.perf_counter()
        with in_eval_mode(model):
            probabilities = segmenter.logits(batch).softmax(1)[0].cpu().numpy()  # (C,)
        segmenter.check_finite()
        results.append(Classification(pixels, probabilities, segmenter.labels(), time.perf_counter() - start))
    return results if many else results[0]


def classify_folder(model: Classifier, folder: str | Path, out: str | Path | None = None, *,
                    overwrite: bool = False) -> Generator[tuple[Path, Classification | DataError], None, None]:
    """Classify every picture of a folder, subfolders included, in the order of their names, while you iterate.

    Args:
        model: as for `classify`.
        folder: where the pictures are.
        out: a CSV file to write at the end, also if that is an error or Ctrl-C, or a folder for it: path, class, and
            the probability of each class.
        overwrite: replace it if it is there.

    Yields:
        (path, answer); for a file that cannot be decoded, (path, the DataError that says why).

    Raises:
        DataError: no such folder, or no picture in it.
        ArgumentError: `out` is there already, cannot be written, or does not end in .csv.
    """
    paths = image_paths(folder)
    target = output_file(out, "answers.csv", {".csv"}, overwrite) if out is not None else None
    rows: list[list[object]] = []
    try:
        for path in paths:
            try:
                answer = classify(model, path)
            except DataError as error:
                yield path, error
                continue
            if not rows:
                rows.append(["path", "class", *answer.label_set.classes])
            name = path.relative_to(Path(folder).expanduser()).as_posix()
            rows.append([name, answer.label, *answer.probabilities.round(4).tolist()])
            yield path, answer
    finally:
        if target is not None and rows:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            atomic_write(target, text.getvalue().encode())


def class_probabilities(model: Classifier, data: Samples, batch_size: int = 8) -> tuple[Tensor, Tensor]:
    """What a classifier says about every picture of a dataset.

    Args:
        model: as for `classify`.
        data: a dataset of (uint8 image, int label), or of (features, int label).
        batch_size: pictures at once.

    Returns:
        (N, C) float32 probabilities and (N,) int64 labels, on the CPU, in the dataset's order.

    Example:
        >>> from seglab.models import classifier
        >>> data = [(torch.zeros(3, 64, 64, dtype=torch.uint8), 1)] * 3
        >>> found, labels = class_probabilities(classifier("efficientnet_lite0", 2), data)
        >>> found.shape, labels.tolist()
        (torch.Size([3, 2]), [1, 1, 1])
    """
    segmenter, found, labels = Segmenter(model), [], []
    with in_eval_mode(model):
        for images, truth in DataLoader(as_dataset(data), batch_size, collate_fn=collate):
            found.append(segmenter.logits(images).softmax(1).cpu())  # (N, C)
            labels.append(truth)
    segmenter.check_finite()
    return torch.cat(found), torch.cat(labels)


def class_activation(model: Classifier, image: Any, class_id: int | None = None, *,
                     size: int | None = None) -> np.ndarray:
    """Where the evidence for a class is: a Grad-CAM map.

    The gradient of the class's score with respect to the last map, averaged over the places, weighs the channels of
    that map; what is negative is cut off. For a linear head on an averaged map, this is the head itself, applied at
    every place.

    Args:
        model, image, size: as for `classify`, one picture.
        class_id: the class; the most probable one by default.

    Returns:
        (size, size) float32 from 0 to 1, over the square that the model saw; zeros if nothing speaks for the class.

    Raises:
        ArgumentError: as for `classify`, or a class that the model does not have.

    Source: Selvaraju et al. 2017, "Grad-CAM", arXiv 1610.02391, equations 1 and 2.

    Example:
        >>> from skimage.data import chelsea
        >>> from seglab.models import classifier
        >>> heat = class_activation(classifier("efficientnet_lite0", 2), chelsea(), 0)
        >>> heat.shape, float(heat.min()) >= 0, float(heat.max()) <= 1
        ((224, 224), True, True)
    """
    segmenter, pixels, batch = _input(model, image, size)
    with in_eval_mode(model):
        maps = model.maps(segmenter.normalize(batch.to(segmenter.device)))  # (1, K, h, w)
        with torch.enable_grad():
            maps = maps.detach().requires_grad_()
            logits = model.head(model.pooled(maps))[0]  # (C,)
            segmenter.finite &= logits.isfinite().all()
            segmenter.check_finite()
            if class_id is None:
                class_id = int(logits.argmax())
            if not 0 <= class_id < len(logits):
                raise ArgumentError("class_id", found=class_id, expected=f"0 to {len(logits) - 1}")
            (gradient,) = torch.autograd.grad(logits[class_id], maps)
        weights = gradient.mean((2, 3), keepdim=True)  # (1, K, 1, 1)
        heat = (weights * maps).sum(1)[0].clamp(min=0)  # (1, K, h, w) -> (h, w)
        share = (heat / heat.max().clamp(min=1e-12)).detach().cpu().numpy()
    return cv2.resize(share, pixels.shape[:2], interpolation=cv2.INTER_LINEAR)


def _input(model: Classifier, image: Any, size: int | None) -> tuple[Segmenter, np.ndarray, Tensor]:
    """What applies the model, the square that it sees, (size, size, 3) uint8, and the same as (1, 3, size, size)."""
    if not isinstance(model, Classifier):
        raise ArgumentError("model", found=type(model).__name__, expected="a classifier",
                            fix="For a segmentation network use seglab.inference.predict.")
    pixels = square(as_image(image), size or model.card.size or 224)
    return Segmenter(model), pixels, torch.from_numpy(pixels).permute(2, 0, 1)[None]
