"""A training step and a whole epoch: beside a bare loop, torchvision's reference loop, Accelerate's example, Lightning.

    python -m benchmarks.training

All train the same network on the same pictures in the cache, with the same loader settings, optimizer and loss, an
epoch each in turn. Before anything is timed, all must have the same loss on a batch, and again after a step.

*Step*: everybody notes the time whenever the loss is computed; the difference of two neighbours is the time of one
whole step: backward pass, optimizer, loading, forward pass. Lower quartiles of each epoch are compared: on a shared
machine epochs differ by far more than two percent, and what others take from a step only ever makes it longer.
*Epoch*: from the call to its return, with all that is set up for it; nothing is written. What `fit` takes more where
it keeps its checkpoints in a folder, which the peers are not asked for, is noted apart.
*Memory*: the peak of a process of its own.

*Bare loop*: a DataLoader, the two passes and the optimizer, and nothing else. *torchvision's reference*: as arranged in
references/segmentation/train.py: float pictures that are normalised already, a poly rate per step, the loss read after
every step; but the last batch is kept, so that all see as many pictures. *Accelerate's example*: as in its
examples/complete_cv_example.py: `prepare`, `backward`, the loss summed.
*Lightning*: a LightningModule and a Trainer with logger, checkpoints and bars off.

`fit` tells malloc to keep freed memory, for the whole process. So that this does not count for or against anybody, it
is on for all.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import seglab
from benchmarks.compare import OURS, Part, Row, alone, peak_megabytes, run_part
from seglab.datasets import IMAGENET, Drone, Normalize, Samples, collate
from seglab.memory import keep_freed_memory
from seglab.models import build
from seglab.samples import write_drone_sample

BATCH, RATE = 6, 3e-3
Loss = Callable[[Any, Tensor], Tensor]


def small() -> nn.Module:
    return build("single_conv", 23)


def light() -> nn.Module:
    """A network as in the lessons."""
    model = build("fcn", 23, backbone="efficientnet_lite0")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # `fit` draws its own random numbers, and the losses are compared
    return model.to(memory_format=torch.channels_last)


#: Name, network, height and width of the pictures, and how many: the least that a network can be, and a usual one.
WORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], int]] = {
    "one convolution, 600×400": (small, (400, 600), 60), "FCN on EfficientNet-Lite0, 240×160": (light, (160, 240), 84)}


def loss_of(output: Any, masks: Tensor) -> Tensor:
    return F.cross_entropy(output["out"] if isinstance(output, dict) else output, masks.long(), ignore_index=255)


def bare(model: nn.Module, data: Samples, loss: Loss) -> None:
    optimizer, normalize = torch.optim.Adam(model.parameters(), RATE), Normalize(*IMAGENET)
    model.train()
    for images, masks in DataLoader(data, BATCH, shuffle=True, collate_fn=collate):
        value = loss(model(normalize(images)), masks)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()


def fit(model: nn.Module, data: Samples, loss: Loss, folder: str | None = None) -> None:
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    seglab.fit(model, data, optimizer=optimizer, epochs=1, batch_size=BATCH, loss=loss, folder=folder,
               normalize=Normalize(*IMAGENET), progress=False)


def kept(model: nn.Module, data: Samples, loss: Loss) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fit(model, data, loss, folder)


def _normalised(samples: list) -> tuple[Tensor, Tensor]:
    images, masks = collate(samples)
    return Normalize(*IMAGENET)(images), masks.long()


def reference(model: nn.Module, data: Samples, loss: Loss) -> None:
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    loader = DataLoader(data, BATCH, shuffle=True, collate_fn=_normalised)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / (len(loader) + 1)) ** 0.9)
    model.train()
    seen = []
    for images, masks in loader:
        value = loss(model(images), masks)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        seen.append((value.item(), optimizer.param_groups[0]["lr"]))


def accelerate_example(model: nn.Module, data: Samples, loss: Loss) -> None:
    from accelerate import Accelerator

    accelerator, normalize = Accelerator(), Normalize(*IMAGENET)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    loader = DataLoader(data, BATCH, shuffle=True, collate_fn=collate)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    model.train()
    total = torch.zeros(())
    for images, masks in loader:
        value = loss(model(normalize(images)), masks)
        total += value.detach().float()
        accelerator.backward(value)
        optimizer.step()
        optimizer.zero_grad()


def lightning(model: nn.Module, data: Samples, loss: Loss) -> None:
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.normalize = model, Normalize(*IMAGENET)

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            images, masks = batch
            return loss(self.model(self.normalize(images)), masks)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.model.parameters(), RATE)

    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(Module(), DataLoader(data, BATCH, shuffle=True, collate_fn=collate))


WAYS: dict[str, Callable[[nn.Module, Samples, Loss], None]] = {
    OURS: fit, "a bare loop": bare, "torchvision's reference": reference, "Accelerate's example": accelerate_example,
    "Lightning": lightning}
GOALS = {"a bare loop": 0.98, "Lightning": 1.0}


def epoch_of(way: Callable[[nn.Module, Samples, Loss], None], model: nn.Module,
             data: Samples) -> tuple[float, list[float]]:
    """Seconds of an epoch, and of each step in it."""
    stamps = []

    def stamped(output: Any, masks: Tensor) -> Tensor:
        stamps.append(time.perf_counter())
        return loss_of(output, masks)

    torch.manual_seed(0)
    start = time.perf_counter()
    way(model, data, stamped)
    return time.perf_counter() - start, [b - a for a, b in itertools.pairwise(stamps)]


def quiet() -> None:
    """Lightning's advice is not the question here."""
    import lightning  # noqa: F401  # with its loggers

    warnings.simplefilter("ignore")
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("lightning"):
            logging.getLogger(name).setLevel(logging.ERROR)


def alone_with(work: str, way: str, root: str) -> dict[str, float]:
    """Peak memory of an epoch."""
    quiet()  # with the imports
    keep_freed_memory()
    data = Samples(Drone(Path(root)), "train")
    model = WORKS[work][0]()
    before = peak_megabytes()
    epoch_of(WAYS[way], model, data)
    return {"peak": peak_megabytes() - before}


def added(rounds: int = 5) -> float:
    """Seconds that `fit` adds to a step of the bare loop: measured where a step is so short that they are seen."""
    pictures = torch.randint(0, 256, (100 * BATCH, 3, 8, 8), dtype=torch.uint8)
    data: Any = TensorDataset(pictures, (pictures[:, 0] > 127).to(torch.uint8))
    times: dict[Any, list[float]] = {fit: [], bare: []}
    for _ in range(rounds):
        for way, seconds in times.items():
            seconds.append(statistics.median(epoch_of(way, build("single_conv", 2), data)[1]))
    return min(times[fit]) - min(times[bare])


def learns_the_same(make: Callable[[], nn.Module], data: Samples) -> None:
    """All have the same loss on a batch before a step, and after it."""
    batch, losses = data.subset(range(BATCH)), {}
    for name, way in WAYS.items():
        seen: list[float] = []

        def watched(output: Any, masks: Tensor, seen: list[float] = seen) -> Tensor:
            value = loss_of(output, masks)
            seen.append(value.item())
            return value

        torch.manual_seed(0)
        model = make()
        for _ in range(2):
            torch.manual_seed(0)
            way(model, batch, watched)
        losses[name] = seen
    for name, seen in losses.items():
        assert len(seen) == 2 and seen[1] < seen[0], (name, seen)
        # `fit` has the batch in another order. Adam's first step is as long for gradients that are all but 0, of which
        # rounding may turn the sign.
        before, after = losses["a bare loop"]
        assert abs(seen[0] - before) < 1e-3 * before and abs(seen[1] - after) < 0.1 * (before - after), losses


def measure(options: argparse.Namespace) -> Part:
    quiet()
    part, repeats = Part("Training"), 1 if options.quick else 9
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as place:
        os.environ["SEGLAB_HOME"] = place  # its cache goes with it
        for work, (make, size, count) in WORKS.items():
            root = write_drone_sample(Path(place) / f"{size[1]}", count=18 if options.quick else count, size=size,
                                      progress=False)
            data = Samples(Drone(root), "train", progress=False)
            compare(part, work, make, data, root, repeats)
    return part


def compare(part: Part, work: str, make: Callable[[], nn.Module], data: Samples, root: Path, repeats: int) -> None:
    learns_the_same(make, data)
    steps: dict[str, list[float]] = {name: [] for name in WAYS}
    epochs: dict[str, list[float]] = {name: [] for name in WAYS}
    names = list(WAYS)
    for repeat in range(repeats + 1):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:  # take turns at going first
            seconds, times = epoch_of(WAYS[name], make(), data)
            if repeat:  # the first epoch warms up
                epochs[name].append(seconds)
                steps[name].append(statistics.quantiles(times, n=4)[0] if len(times) > 1 else times[0])
    written = [epoch_of(kept, make(), data)[0] for _ in range(max(1, repeats // 3))]
    kept_more = statistics.median(written) - statistics.median(epochs[OURS])
    part.notes.append(f"{work}: with a folder, `fit` takes {kept_more:.2f} s more for its checkpoints: one before the "
                      "first epoch, one after each, and the best.")
    memory = {name: alone("training", work, name, root, SEGLAB_HOME=os.environ["SEGLAB_HOME"])["peak"] for name in WAYS}
    more, step = added(), statistics.median(steps[OURS])
    spread = [max(times) / min(times) - 1 for times in steps.values()]
    for peer in names[1:]:
        part.rows.append(Row(f"a training step: {work}", peer, BATCH, "images", steps[OURS], steps[peer],
                             goal=GOALS.get(peer), memory={OURS: memory[OURS], "peer": memory[peer]},
                             same="all five have the same loss before and after a step",
                             reason=f"The steps of one and the same way differ by {statistics.median(spread):.0%} "
                                    "between its epochs. Where next to nothing is computed, on pictures of 8×8, `fit` "
                                    f"adds {1e3 * more:.2f} ms to a step of the bare loop: {more / step:.2%} of this."))
    for peer in names[1:]:
        part.rows.append(Row(f"a training epoch: {work}", peer, len(data), "images", epochs[OURS], epochs[peer]))
    for row in part.rows[2 - 2 * len(names):]:
        print(f"  {row.work}, beside {row.peer}: {row.ratio:.3f}", flush=True)


if __name__ == "__main__":
    run_part(measure, alone_with)
