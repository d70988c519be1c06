"""Class ids and logits to a confusion matrix: beside torchvision's reference, and torchmetrics.

    python -m benchmarks.metrics

Torchvision's way is the `ConfusionMatrix` of its references/segmentation/utils.py (BSD 3-clause), whose lines are
repeated in `Reference`, fed as its train.py does: `update(target.flatten(), output.argmax(1).flatten())`. Torchmetrics'
is `MulticlassConfusionMatrix` with `ignore_index`, without the checks of its inputs, which seglab's has. All matrices
must be the same before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from benchmarks.compare import OURS, Part, in_turns, run_part
from seglab.metrics import ConfusionMatrix, predictions

SHAPES = ((8, 21, 256, 256), (8, 23, 400, 600))
REFERENCE = "torchvision's reference"


class Reference:
    """The counting part of torchvision's."""

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


def compare(part: Part, name: str, preds: torch.Tensor, truth: torch.Tensor, classes: int, goal: float,
            repeats: int) -> None:
    """Check that all give the same matrix, then time them."""
    reference, ours = Reference(classes), ConfusionMatrix(classes)
    theirs = MulticlassConfusionMatrix(classes, ignore_index=255, validate_args=False)
    floating = preds.is_floating_point()
    ways = {OURS: lambda: ours.update(preds, truth),
            REFERENCE: lambda: reference.update(truth.flatten(), (preds.argmax(1) if floating else preds).flatten()),
            "torchmetrics": lambda: theirs.update(preds, truth)}
    for way in ways.values():
        way()
    assert reference.mat is not None
    assert torch.equal(ours.matrix(), reference.mat) and torch.equal(ours.matrix(), theirs.compute()), name
    pairs = (truth.clamp(max=classes - 1) * classes + (preds.argmax(1) if floating else preds)).flatten().long()
    least = {"the argmax": lambda: predictions(preds)} if floating else {
        "counting alone": lambda: torch.bincount(pairs, minlength=classes ** 2)}
    (what, step), = least.items()
    times = in_turns({what: step} | ways, 5)
    share = statistics.median(times[what]) / statistics.median(times[OURS])
    part.compare(name, ways, repeats=repeats, items=preds.shape[0], unit="pictures",
                 goals={REFERENCE: goal}, same="the three matrices are the same",
                 reason=f"The argmax takes {share:.0%} of seglab's time, and both ways need one; with channels last, "
                        "where a pixel's scores are neighbours, PyTorch's is used by both." if floating else
                        f"PyTorch's `bincount` of pairs that are made already takes {share:.0%} of seglab's time.")


def measure(options: argparse.Namespace) -> Part:
    part = Part("Confusion matrices")
    for shape in ((2, 21, 64, 64),) if options.quick else SHAPES:
        logits, target = batch(shape)
        repeats, size = 2 if options.quick else 15, f"{shape[0]}×{shape[1]}×{shape[2]}×{shape[3]}"
        ids, small = logits.argmax(1), target.to(torch.uint8)
        compare(part, f"class ids to matrix, int64, {size}", ids, target, shape[1], 3.5, repeats)
        compare(part, f"class ids to matrix, uint8, {size}", ids.to(torch.uint8), small, shape[1], 3.5, repeats)
        compare(part, f"logits to matrix, {size}", logits, target, shape[1], 2, repeats)
        compare(part, f"logits to matrix, channels last, {size}", logits.contiguous(memory_format=torch.channels_last),
                target, shape[1], 2, repeats)
    return part


if __name__ == "__main__":
    run_part(measure)
