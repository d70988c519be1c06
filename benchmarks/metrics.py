"""How fast the confusion matrix counts, beside the usual way of doing it, in one run.

    python benchmarks/metrics.py --repeats 15 --threads 2

The usual way is the `ConfusionMatrix` of torchvision's `references/segmentation/utils.py`, whose lines are
repeated in `Reference`, fed as its `train.py` does: `update(target.flatten(), output.argmax(1).flatten())`.
Both must give the same matrix before anything is measured. The two take turns, so that a busy machine slows
both; the ratio is taken pair by pair, and its median and quartiles are printed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from seglab.metrics import ConfusionMatrix, predictions

SHAPES = ((8, 21, 256, 256), (8, 23, 400, 600))


class Reference:
    """torchvision, references/segmentation/utils.py (BSD 3-clause), class ConfusionMatrix, the counting part."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.mat: torch.Tensor | None = None

    def update(self, a: torch.Tensor, b: torch.Tensor) -> None:
        n = self.num_classes
        if self.mat is None:
            self.mat = torch.zeros((n, n), dtype=torch.int64, device=a.device)
        with torch.inference_mode():
            k = (a >= 0) & (a < n)
            inds = n * a[k].to(torch.int64) + b[k]
            self.mat += torch.bincount(inds, minlength=n**2).reshape(n, n)


def batch(shape: tuple[int, int, int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits as a network with stride 8 gives them, (N, C, H, W) float32, and a target, (N, H, W) int64.

    The target agrees with the logits at four pixels out of five; 5 % of it is 255.
    """
    generator = torch.Generator().manual_seed(seed)
    n, c, h, w = shape
    small = torch.randn((n, c, h // 8, w // 8), generator=generator)
    logits = torch.nn.functional.interpolate(small, size=(h, w), mode="bilinear")
    chance = torch.rand((n, h, w), generator=generator)
    other = torch.randint(0, c, (n, h, w), generator=generator)
    target = torch.where(chance < 0.2, other, logits.argmax(1))  # (N, H, W)
    return logits, target.masked_fill_(chance > 0.95, 255)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(name: str, reference: Callable[[], object], ours: Callable[[], object], repeats: int) -> None:
    """Time both in turns, and print a line: medians, the median of the ratios, and their quartiles."""
    pairs = []
    for turn in range(repeats + 1):
        if turn % 2:  # who goes first alternates, so that neither always finds the cache as the other left it
            mine, theirs = seconds(ours), seconds(reference)
        else:
            theirs, mine = seconds(reference), seconds(ours)
        pairs.append((theirs, mine))
    pairs = pairs[1:]  # the first turn warms up
    theirs, mine = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    print(f"{name:34} {theirs:9.2f} {mine:9.2f} {middle:8.2f}   {low:.2f} to {high:.2f}", flush=True)


def run(shape: tuple[int, int, int, int], repeats: int) -> None:
    """Check and measure everything for one shape of logits."""
    classes = shape[1]
    contiguous, target = batch(shape)
    small_target = target.to(torch.uint8)
    ids = contiguous.argmax(1)  # (N, H, W)
    small_ids = ids.to(torch.uint8)
    channels_last = contiguous.contiguous(memory_format=torch.channels_last)
    rows = {
        "class ids, int64": (ids, target),
        "class ids, uint8": (small_ids, small_target),
        "logits, contiguous": (contiguous, target),
        "logits, channels-last": (channels_last, target),
    }
    print(f"\n{shape}\n{'':34} {'reference':>9} {'seglab':>9} {'ratio':>8}   quartiles of the ratio   (ms)")
    for name, (preds, truth) in rows.items():
        theirs, ours = Reference(classes), ConfusionMatrix(classes)

        def reference(preds=preds, truth=truth, theirs=theirs) -> None:
            found = preds.argmax(1) if preds.is_floating_point() else preds
            theirs.update(truth.flatten(), found.flatten())

        def seglab(preds=preds, truth=truth, ours=ours) -> None:
            ours.update(preds, truth)

        reference()
        seglab()
        if not torch.equal(theirs.mat, ours.matrix()):
            raise SystemExit(f"{shape}, {name}: the two matrices differ")
        compare(name, reference, seglab, repeats)
        gc.collect()
    for name, logits in (("argmax only, contiguous", contiguous), ("argmax only, channels-last", channels_last)):
        if not torch.equal(logits.argmax(1), predictions(logits).long()):
            raise SystemExit(f"{shape}, {name}: the class ids differ")
        compare(name, lambda x=logits: x.argmax(1), lambda x=logits: predictions(x), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="pairs of measurements a line (at least 2)")
    parser.add_argument("--threads", type=int, default=2, help="threads that torch may use")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.repeats} repeats, CPU")
    for shape in SHAPES:
        run(shape, options.repeats)


if __name__ == "__main__":
    main()
