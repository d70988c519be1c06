"""Training a head on cached features beside training it behind the frozen backbone, in one run.

    python benchmarks/features.py [DATA] --pictures 200

Both train the same head for ten epochs on the same pictures in the same order. The features are computed anew, and the
time for that counts; then the head is trained once more, on features that are in the cache. Then the rate of the
backbone alone, decoding included. DATA is a folder with `train/` and `test/`, a folder a class in each; without it the
built-in drawings are used.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from seglab.datasets import Samples, open_dataset
from seglab.models import Classifier, classifier
from seglab.training import extract_features, fit
from seglab.training.features import accuracy

EPOCHS = 10


def slow(model: Classifier, data: Samples) -> None:
    fit(model, data, optimizer=torch.optim.Adam(model.parameter_groups(1e-3)), epochs=EPOCHS, batch_size=32,
        progress=False)


def fast(model: Classifier, data: Samples, cache: Path | None = None) -> None:
    features = extract_features(model, data, cache=cache is not None, folder=cache, progress=False)
    fit(model, features, optimizer=torch.optim.Adam(model.parameter_groups(1e-3)), epochs=EPOCHS, batch_size=32,
        progress=False)


def timed(train: Callable, *arguments: object) -> float:
    start = time.perf_counter()
    train(*arguments)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    splits = open_dataset("catdog", source="real" if options.data else "sample", root=options.data, progress=False)
    step = max(1, len(splits.train) // options.pictures)
    data = splits.train.subset(range(0, len(splits.train), step))
    torch.manual_seed(0)
    model = classifier("efficientnet_lite0", len(splits.label_set))
    extract_features(model, data.subset(range(16)), cache=False, progress=False)  # warm up
    test = extract_features(model, splits.test.subset(range(0, len(splits.test), 2)), cache=False, progress=False)
    scratch = tempfile.TemporaryDirectory()  # goes when the benchmark ends
    cache = Path(scratch.name)
    extract_features(model, data, folder=cache, progress=False)
    ratios, again, rates = [], [], []
    for _ in range(options.repeats):
        one, other, third = (copy.deepcopy(model) for _ in range(3))
        seconds = timed(slow, one, data), timed(fast, other, data), timed(fast, third, data, cache)
        ratios.append(seconds[0] / seconds[1])
        again.append(seconds[0] / seconds[2])
        start = time.perf_counter()
        extract_features(model, data, cache=False, progress=False)
        rates.append(len(data) / (time.perf_counter() - start))
        print(f"{len(data)} pictures, {EPOCHS} epochs: frozen backbone {seconds[0]:.1f} s, features {seconds[1]:.1f}, "
              f"{ratios[-1]:.1f}x, from the cache {seconds[2]:.2f}, {again[-1]:.0f}x; test accuracy "
              f"{accuracy(one, test):.4f} and {accuracy(other, test):.4f}; backbone alone "
              f"{rates[-1]:.0f} pictures/s", flush=True)
    print(f"median {statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f}), from the cache "
          f"{statistics.median(again):.0f}x ({min(again):.0f} to {max(again):.0f}); backbone with decoding "
          f"{statistics.median(rates):.0f} pictures/s ({min(rates):.0f} to {max(rates):.0f})")


if __name__ == "__main__":
    main()
