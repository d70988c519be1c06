"""What `seglab.fit` costs over the plain loop that one would write by hand, side by side in one run.

    python benchmarks/fit_overhead.py

Both train the same network on the same cached pictures with the same settings and no validation, one epoch in turn,
repeated; the ratio of each pair of neighbours cancels what else the machine does. The plain loop has a DataLoader, the
forward and backward pass, and the optimizer: no history, checkpoint, progress or checks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

import seglab
from seglab.datasets import CachedDataset, Normalize, SemanticDrone, collate, write_drone_sample
from seglab.models import build

EPOCHS, BATCH = 2, 6


def small_network() -> nn.Module:
    """Some more work a step than one convolution, as in any real training."""
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(32, 23, 1))


def plain(model: nn.Module, data: CachedDataset, normalize: nn.Module) -> float:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    loader = DataLoader(data, BATCH, shuffle=True, collate_fn=collate)
    start = time.perf_counter()
    for _ in range(EPOCHS):
        model.train()
        for images, masks in loader:
            output = model(normalize(images))
            logits = output["out"] if isinstance(output, dict) else output
            loss = F.cross_entropy(logits, masks.long(), ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


def ours(model: nn.Module, data: CachedDataset, normalize: nn.Module) -> float:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        seglab.fit(model, data, optimizer=optimizer, epochs=EPOCHS, batch_size=BATCH, normalize=normalize,
                   folder=folder, progress=False)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--count", type=int, default=60, help="pictures in the set; 70 %% are trained on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = write_drone_sample(Path(place) / "drone", count=options.count)
        data = CachedDataset(SemanticDrone(root, split="train"), folder=Path(place) / "cache")
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(data)} pictures of 160×240, "
              f"batch {BATCH}, {EPOCHS} epochs with checkpoints, {options.repeats} repeats")
        for name, make in (("single_conv (644 parameters)", lambda: build("single_conv", 23)),
                           ("three convolutions", small_network)):
            times: list[tuple[float, float]] = []
            for repeat in range(options.repeats + 1):
                pair = [lambda m: plain(m, data, Normalize()), lambda m: ours(m, data, Normalize())]
                order = (0, 1) if repeat % 2 else (1, 0)  # take turns at going first
                seconds = [0.0, 0.0]
                for which in order:
                    torch.manual_seed(0)
                    seconds[which] = pair[which](make())
                if repeat:  # the first warms up
                    times.append((seconds[0], seconds[1]))
            ratios = sorted(b / a for a, b in times)
            low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
            print(f"{name:<30} plain {statistics.median(a for a, _ in times):6.2f} s   "
                  f"fit {statistics.median(b for _, b in times):6.2f} s   "
                  f"ratio {statistics.median(ratios):.3f}   quartiles {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
