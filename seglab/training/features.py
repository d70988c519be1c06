"""Features of a frozen backbone, computed once: the head then trains in seconds instead of minutes."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise_tensors
from torch import Tensor
from torch.utils.data import Dataset

from seglab.datasets.protocols import Sample, Samples
from seglab.datasets.transforms import Normalize
from seglab.errors import CacheError
from seglab.files import atomic_write, data_home
from seglab.labels import LabelSet
from seglab.models import Classifier, fold_batch_norm
from seglab.progress import progress_bar

_THREADS = 4  # Pillow decodes outside Python's global lock
_AHEAD = 16  # pictures that are decoded ahead of the network


class FeatureDataset(Dataset[Sample]):
    """Features and labels in memory; `dataset[i]` is ((D,) float32, int).

    Attributes:
        features: (N, D) float32.
        labels: (N,) int64.
        label_set: the classes, or None.
        size: side of the pictures that they were computed from, or None.
    """

    def __init__(self, features: Tensor, labels: Tensor, label_set: LabelSet | None = None,
                 size: int | None = None) -> None:
        self.features, self.labels, self.size = features, labels, size
        if label_set is not None:
            self.label_set = label_set

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.features[index], int(self.labels[index])

    def subset(self, indices: Tensor | list[int]) -> FeatureDataset:
        """The same with only these pictures, in this order."""
        return FeatureDataset(self.features[indices], self.labels[indices], getattr(self, "label_set", None), self.size)


def extract_features(model: Classifier, data: Samples, *, batch_size: int | None = None, cache: bool = True,
                     folder: str | Path | None = None, progress: bool = True) -> FeatureDataset:
    """Run a dataset once through a classifier's backbone and keep what its head would see.

    Training the head on these features gives what training it behind the frozen backbone gives: in eval mode the
    features of a picture depend on that picture alone, and are the same in every epoch.

    The cache is addressed by content: a picture's features are found again by a hash of its pixels, in a file named by
    a hash of the weights. Changed pictures, other sizes or other weights can therefore never give stale features, and
    datasets that share pictures share their features.

    Args:
        model: its backbone, its neck and `model.normalize` are used, in eval mode, on the device where it is.
        data: a dataset of (uint8 image, int label), without random transforms: there is one set of features a picture.
        batch_size: pictures at once. By default 6 on the CPU, where the maps of more no longer fit into the processor's
            caches, and 64 elsewhere.
        cache: keep the features on disk, for the next time.
        folder: where; `data/cache/features` by default.
        progress: show a bar.

    Returns:
        the features, in the dataset's order.

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
        return _extract(model, data, {}, batch_size, progress)[0]
    folder = Path(folder) if folder is not None else data_home() / "cache" / "features"
    path = folder / f"{_weights_key(model)}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # one process computes, the others wait and read
            known = _read(path)
            found, fresh = _extract(model, data, known, batch_size, progress)
            if fresh:
                _write(path, known | fresh)
    except OSError as error:
        raise CacheError(f"{folder}: the cache of features cannot be written", found=str(error),
                         expected="a folder with room for 4 bytes a feature",
                         fix="Free some space, set SEGLAB_HOME to another disk, or pass cache=False.") from error
    return found


@torch.no_grad()
def _extract(model: Classifier, data: Samples, known: dict[bytes, Tensor], batch_size: int | None,
             progress: bool) -> tuple[FeatureDataset, dict[bytes, Tensor]]:
    """The features of all pictures, and those that were not known."""
    device = next(model.parameters()).device
    batch_size = batch_size or (6 if device.type == "cpu" else 64)
    normalize = Normalize(**model.normalize).to(device)
    network: Classifier | None = None
    keys, labels = [], []
    fresh: dict[bytes, Tensor] = {}
    waiting: dict[bytes, Tensor] = {}
    bar = progress_bar(_decoded(data), total=len(data), desc="features", unit="img", shown=progress)
    for image, label in bar:
        shape = repr(tuple(image.shape)).encode()
        key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=shape).digest()
        keys.append(key)
        labels.append(int(label))
        if key not in known and key not in fresh:
            waiting.setdefault(key, image)
        if waiting and (len(waiting) == batch_size or len(keys) == len(data)):
            if network is None:  # folding makes it 1.4 times as fast on two cores
                network = fold_batch_norm(model, torch.zeros(1, 3, 64, 64, device=device))
            batch = torch.stack(list(waiting.values())).contiguous(memory_format=torch.channels_last)
            rows = network.features(normalize(batch.to(device))).float().cpu()  # (N, 3, H, W) -> (N, D)
            fresh |= {key: row.clone() for key, row in zip(waiting, rows, strict=True)}
            waiting = {}
    table = known | fresh
    features = torch.stack([table[key] for key in keys])  # (N, D)
    label_set, size = getattr(data, "label_set", None), getattr(data, "size", None)
    return FeatureDataset(features, torch.tensor(labels), label_set, size), fresh


def _decoded(data: Samples) -> Iterator[Sample]:
    """All samples in order, decoded by a few threads a little ahead of the network."""
    with ThreadPoolExecutor(_THREADS) as pool:
        indices = iter(range(len(data)))
        queue = [pool.submit(data.__getitem__, i) for i in itertools.islice(indices, _AHEAD)]
        try:
            while queue:
                yield queue.pop(0).result()
                queue += [pool.submit(data.__getitem__, i) for i in itertools.islice(indices, 1)]
        finally:
            for future in queue:
                future.cancel()


def _weights_key(model: Classifier) -> str:
    """Hash of all that the features of a picture depend on."""
    digest = hashlib.blake2b(repr(model.normalize).encode(), digest_size=12)
    for name, tensor in model.state_dict().items():
        if not name.startswith("head."):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[bytes, Tensor]:
    if not path.exists():
        return {}
    try:
        stored = parse_tensors(path.read_bytes())
        return dict(zip((bytes(row) for row in stored["keys"].numpy()), stored["features"], strict=True))
    except (SafetensorError, KeyError, ValueError) as error:
        raise CacheError(f"{path}: the cache of features is damaged", found=f"{error}",
                         expected="a safetensors file with keys and features",
                         fix="Delete this file; the features are computed again.") from error


def _write(path: Path, rows: dict[bytes, Tensor]) -> None:
    keys = torch.from_numpy(np.frombuffer(b"".join(rows), dtype=np.uint8).copy()).view(-1, 16)  # (N, 16)
    atomic_write(path, serialise_tensors({"keys": keys, "features": torch.stack(list(rows.values()))}))
