"""Features of a frozen backbone, computed once: the head then trains in seconds instead of minutes."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import Dataset

from seglab.checkpoint import from_bytes, to_bytes
from seglab.datasets.cache import in_threads
from seglab.datasets.protocols import Sample, Samples
from seglab.errors import CacheError
from seglab.files import atomic_write, data_home
from seglab.labels import LabelSet
from seglab.models import Classifier, fold_batch_norm
from seglab.progress import progress_bar
from seglab.training.loop import fit

_TEXT = "features by the hash of their picture"  # part of every key, too: files of other kinds are left alone


class FeatureDataset(Dataset[Sample]):
    """Features (N, D) float32 and labels (N,) int64 in memory; `dataset[i]` is ((D,) float32, int).

    `label_set`, `size` (of the pictures, in pixels) and `origin` are those of the dataset that they were computed from.
    """

    def __init__(self, features: Tensor, labels: Tensor, label_set: LabelSet | None = None, size: int | None = None,
                 origin: Mapping[str, Any] | None = None) -> None:
        self.features, self.labels, self.size, self.origin = features, labels, size, origin
        if label_set is not None:
            self.label_set = label_set

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.features[index], int(self.labels[index])

    def subset(self, indices: Tensor | list[int]) -> FeatureDataset:
        """The same with only these pictures, in this order."""
        part = copy.copy(self)
        part.features, part.labels = self.features[indices], self.labels[indices]
        return part


def extract_features(model: Classifier, data: Samples, *, batch_size: int | None = None, cache: bool = True,
                     folder: str | Path | None = None, progress: bool = True) -> FeatureDataset:
    """Run a dataset once through a classifier's backbone and keep what its head would see.

    In eval mode a picture's features are the same in every epoch: training the head on them gives what training it
    behind the frozen backbone gives. On disk, they are found by a hash of its pixels, in a file named by a hash of the
    weights: other pictures, sizes or weights can never give stale features.

    Args:
        model: its backbone, its neck and its card are used, in eval mode, on the device where it is.
        data: (uint8 image, int label), without random transforms: there is one set of features a picture.
        batch_size: pictures at once. By default 6 on the CPU, where the maps of more no longer fit into the processor's
            caches, and 64 elsewhere.
        cache: keep the features in `folder`, by default `data/cache/features`.

    Raises:
        CacheError: the cache is damaged or cannot be written.
        DataError: a picture cannot be read.

    Example:
        >>> pictures = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
        >>> data = torch.utils.data.TensorDataset(pictures, torch.tensor([0, 1, 0, 1]))
        >>> features = extract_features(Classifier(2), data, cache=False, progress=False)
        >>> features.features.shape, features[1][1]
        (torch.Size([4, 512]), 1)
    """
    if not cache:
        return _extract(model, data, {}, batch_size, progress)
    folder = Path(folder) if folder is not None else data_home() / "cache" / "features"
    path = folder / f"{_weights_key(model)}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # one process computes, the others wait and read
            table = _table(path) if path.exists() else {}
            known = len(table)
            found = _extract(model, data, table, batch_size, progress)
            if len(table) > known:
                atomic_write(path, to_bytes(table, _TEXT))
    except OSError as error:
        raise CacheError(f"{folder}: the cache of features cannot be written", found=error.strerror or str(error),
                         expected="a folder with room for 4 bytes a feature",
                         fix="Free some space, set SEGLAB_HOME to another disk, or pass cache=False.") from error
    return found


def _table(path: Path) -> dict[str, Tensor]:
    """The features in a file, by the hash of their picture."""
    try:
        table, text = from_bytes(path.read_bytes())
        if text != _TEXT or len({(row.shape, row.dtype) for row in table.values()}) > 1:
            raise ValueError("not as it was written")
    except (SafetensorError, ValueError) as error:
        raise CacheError(f"{path}: the cache of features is damaged", found=str(error),
                         expected="a file as seglab wrote it",
                         fix="Delete this file; the features are computed again.") from error
    return table


@torch.no_grad()
def _extract(model: Classifier, data: Samples, table: dict[str, Tensor], batch_size: int | None,
             progress: bool) -> FeatureDataset:
    """The features of all pictures; those that are not in the table, by the hash of their pixels, come into it."""
    device = next(model.parameters()).device
    batch_size = batch_size or (6 if device.type == "cpu" else 64)
    normalize = model.card.normalize.to(device)
    network: Classifier | None = None
    keys: list[str] = []
    labels: list[int] = []
    samples = in_threads(data.__getitem__, range(len(data)))
    for _ in progress_bar(range(0, len(data), batch_size), desc="features", unit="batch", shown=progress):
        batch = list(islice(samples, batch_size))
        found = [_picture_key(image) for image, _ in batch]
        keys += found
        labels += [int(label) for _, label in batch]
        new = {key: image for key, (image, _) in zip(found, batch, strict=True) if key not in table}
        if new:
            if network is None:  # folding makes it 1.4 times as fast on two cores
                network = fold_batch_norm(model, torch.zeros(1, 3, 64, 64, device=device))
            images = torch.stack(list(new.values())).contiguous(memory_format=torch.channels_last)
            rows = network.features(normalize(images.to(device))).float().cpu()  # (N, 3, H, W) -> (N, D)
            table.update((key, row.clone()) for key, row in zip(new, rows, strict=True))
    about = [getattr(data, name, None) for name in ("label_set", "size", "origin")]
    return FeatureDataset(torch.stack([table[key] for key in keys]), torch.tensor(labels), *about)


def _picture_key(image: Tensor) -> str:
    shape = repr(tuple(image.shape)).encode()
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=shape).hexdigest()


def _weights_key(model: Classifier) -> str:
    """A hash of all that the features of a picture depend on."""
    digest = hashlib.blake2b(f"{_TEXT}, {model.card.mean}, {model.card.std}".encode(), digest_size=12)
    for name, tensor in model.state_dict().items():
        if not name.startswith("head."):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def choose_pictures(labels: Tensor, count: int, seed: int) -> list[int]:
    """Indices of `count` pictures of each class, at random.

    Example:
        >>> len(choose_pictures(torch.tensor([0, 1, 0, 1, 0]), 2, seed=0))
        4
    """
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(labels.numpy() == label))[:count] for label in labels.unique().tolist()]
    return np.concatenate(chosen).tolist()


def train_head(model: Classifier, features: FeatureDataset, seed: int, steps: int = 200) -> None:
    """Adam with a rate of 1e-3 on a classifier's head, in batches of 32."""
    # The head alone: on features, an epoch takes no longer than to put all of a backbone's layers into train mode.
    fit(model.head, features, optimizer=torch.optim.Adam(model.head.parameters(), 1e-3), batch_size=32, seed=seed,
        epochs=math.ceil(steps / math.ceil(len(features) / 32)), progress=False)
    model.to(model.head.weight.device)  # where `fit` put the head


@torch.no_grad()
def accuracy(model: Classifier, features: FeatureDataset) -> float:
    """Share of right answers of a classifier's head on features."""
    found = model.head(features.features.to(model.head.weight.device)).argmax(1).cpu()  # (N, D) -> (N, C) -> (N,)
    return (found == features.labels).double().mean().item()
