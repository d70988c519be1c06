"""What a step of `seglab.fit` costs over the plain loop that one would write by hand, side by side in one run.

    python benchmarks/fit_overhead.py

Both train the same network on the same cached pictures with the same settings, one epoch each in turn. Both note the
time whenever they compute the loss; the difference of two neighbours is the time of one whole step: backward pass,
optimizer, loading, forward pass. Lower quartiles over all steps are compared: on a shared machine single epochs differ
by far more than two percent, and what others take from a step only ever makes it longer. The plain loop is a
DataLoader, the two passes and the optimizer, and nothing else.

`fit` tells malloc to keep freed memory, for the whole process. So that this does not count for or against either loop,
it is on for both; `--untuned` times the plain loop alone without it, in a process that `fit` has not touched.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import seglab
from seglab.datasets import Drone, Normalize, Samples, collate
from seglab.memory import keep_freed_memory
from seglab.models import build
from seglab.samples import write_drone_sample
from seglab.training import cross_entropy

BATCH = 6


def two_convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 23, 3, padding=1))


def plain_loss(output: dict[str, Tensor] | Tensor, masks: Tensor) -> Tensor:
    return F.cross_entropy(output["out"] if isinstance(output, dict) else output, masks.long(), ignore_index=255)


def plain(model: nn.Module, data: Samples, loss_of: Callable) -> None:
    optimizer, normalize = torch.optim.Adam(model.parameters(), 3e-3), Normalize()
    for images, masks in DataLoader(data, BATCH, shuffle=True, collate_fn=collate):
        loss = loss_of(model(normalize(images)), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def ours(model: nn.Module, data: Samples, loss_of: Callable) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with tempfile.TemporaryDirectory() as folder:
        seglab.fit(model, data, optimizer=optimizer, epochs=1, batch_size=BATCH, loss=loss_of, folder=folder,
                   progress=False)


def step_times(train: Callable, model: nn.Module, data: Samples, loss_of: Callable) -> list[float]:
    """Seconds of each step of an epoch."""
    stamps = []

    def stamped(output: object, masks: Tensor) -> Tensor:
        stamps.append(time.perf_counter())
        return loss_of(output, masks)

    torch.manual_seed(0)
    train(model, data, stamped)
    return [b - a for a, b in itertools.pairwise(stamps)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--untuned", action="store_true", help="the plain loop alone, with malloc as it comes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = write_drone_sample(Path(place) / "drone", count=60, size=(400, 600))
        os.environ["SEGLAB_HOME"] = place  # its cache goes with it
        data = Samples(Drone(root), "train")
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(data)} pictures of 600×400, "
              f"batch {BATCH}, {options.repeats} epochs each in turn")
        for name, make in (("single_conv, 644 parameters", lambda: build("single_conv", 23)),
                           ("two convolutions, 3,783", two_convolutions)):
            if options.untuned:
                times = [t for _ in range(options.repeats) for t in step_times(plain, make(), data, plain_loss)]
                low, middle, high = statistics.quantiles(times, n=4)
                print(f"{name:<28} plain, untuned {middle * 1e3:.2f} ms a step, quartiles {low * 1e3:.2f} to "
                      f"{high * 1e3:.2f}")
                continue
            keep_freed_memory()
            steps: dict[str, list[float]] = {"plain": [], "fit": []}
            ratios = []
            for repeat in range(options.repeats + 1):
                epoch = {}
                for key in ("plain", "fit") if repeat % 2 else ("fit", "plain"):  # take turns at going first
                    epoch[key] = step_times(*((plain, make(), data, plain_loss) if key == "plain"
                                              else (ours, make(), data, cross_entropy)))
                if repeat:  # the first epoch warms up
                    ratios.append(statistics.median(epoch["fit"]) / statistics.median(epoch["plain"]))
                    for key, times in epoch.items():
                        steps[key] += times
            quick = {key: statistics.quantiles(times, n=4)[0] for key, times in steps.items()}
            low, _, high = statistics.quantiles(ratios, n=4)
            print(f"{name:<28} plain {quick['plain'] * 1e3:6.2f} ms   fit {quick['fit'] * 1e3:6.2f} ms a step   "
                  f"ratio {quick['fit'] / quick['plain']:.3f}   quartiles of epochs {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
