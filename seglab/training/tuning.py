"""Settings that depend on the machine, measured on it: the largest batch that fits, and how many loader processes."""

from __future__ import annotations

import copy
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from seglab.datasets.protocols import Samples, as_dataset
from seglab.datasets.transforms import Normalize, collate
from seglab.errors import ArgumentError, TrainingError
from seglab.training.loop import Loss
from seglab.training.losses import cross_entropy
from seglab.training.precision import autocast, choose_precision

#: More loader processes have to be faster by this factor to be worth their memory.
_WORTH = 1.1


def find_batch_size(step: Callable[[int], Any], start: int = 64, smallest: int = 1) -> int:
    """The first of `start`, `start // 2`, `start // 4` … with which `step` does not run out of memory.

    On a GPU that shows a screen or is shared, leave room: take half of what is found. On a CPU there is seldom anything
    to be found: most systems end a process that asks for too much, instead of telling it.

    Args:
        step: called with a batch size; does what is to fit: forward, backward and optimizer step. `largest_batch` makes
            one for a segmentation model.
        start: the largest to try.
        smallest: the smallest to try; 2 for networks that cannot train on one picture (BatchNorm on a map of one
            pixel).

    Raises:
        ArgumentError: not `1 <= smallest <= start`.
        TrainingError: nothing fits.
        Exception: what else `step` raises.

    Example:
        >>> def step(batch_size):
        ...     if batch_size > 20:
        ...         raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        >>> find_batch_size(step)
        16
    """
    if not 1 <= smallest <= start or start != int(start):
        raise ArgumentError("find_batch_size", found=f"start {start}, smallest {smallest}",
                            expected="whole numbers, 1 <= smallest <= start")
    size = start
    while size >= smallest:
        clear_device_cache(garbage_collection=True)
        try:
            step(size)
            return size
        except RuntimeError as error:
            full = isinstance(error, torch.cuda.OutOfMemoryError) or should_reduce_batch_size(error)
            if not full and not f"{error}".startswith("MPS backend out of memory"):  # unknown to older Accelerates
                raise
            message = f"{error}".partition("\n")[0]
        # Only here, after `except`, is the error gone, and with it the frames that hold the tensors of that step.
        size //= 2
    clear_device_cache(garbage_collection=True)
    raise TrainingError("find_batch_size", found=f"none that fits, down to {smallest}: {message}",
                        expected=f"room for a batch of {smallest}",
                        fix="Use smaller pictures or crops, a smaller backbone, or freeze more of it; end other "
                            "programs that use the GPU (nvidia-smi lists them).")


def largest_batch(model: nn.Module, size: int | tuple[int, int], *, start: int = 64, smallest: int = 1,
                  num_classes: int | None = None, normalize: nn.Module | None = None, loss: Loss = cross_entropy,
                  optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.Adam,
                  precision: str = "auto") -> int:
    """The largest batch with which `fit` can train a segmentation model, found by training on random pictures.

    It is a copy that trains, on the model's device: the model keeps its weights, gradients and BatchNorm statistics.
    The copy's weights need memory too, so the answer is on the safe side.

    Args:
        model: in the state in which it is to be trained (frozen or not).
        size: height and width of the pictures in a batch, or the side of a square: the crops', not the files'.
        start: try this many first, then half of it, and so on.
        smallest: the smallest to try, as for `find_batch_size`.
        num_classes: C; `model.recipe` says it for models that `build` made.
        normalize: as for `fit`.
        loss: as for `fit`.
        optimizer: makes the optimizer from parameters; Adam by default, which keeps two numbers a weight.
        precision: as for `fit`.

    Raises:
        ArgumentError: a size below 1, an unknown precision, or no word on the number of classes.
        TrainingError: nothing fits.

    Example:
        >>> from seglab.models import build
        >>> largest_batch(build("single_conv", 3), size=16, start=8)
        8
    """
    height, width = (size, size) if isinstance(size, int) else size
    num_classes = num_classes or getattr(model, "recipe", {}).get("num_classes")
    if height < 1 or width < 1 or not num_classes:
        raise ArgumentError("largest_batch", found=f"size {size}, num_classes {num_classes}",
                            expected="a height, a width and a number of classes, 1 or more each")
    precision, device = choose_precision(precision), next(model.parameters()).device
    normalize = copy.deepcopy(normalize if normalize is not None else Normalize()).to(device)

    def step(batch_size: int) -> None:
        learner = copy.deepcopy(model).train()
        updates = optimizer([p for p in learner.parameters() if p.requires_grad])
        images = torch.randint(0, 256, (batch_size, 3, height, width), dtype=torch.uint8, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        masks = torch.randint(0, num_classes, (batch_size, height, width), device=device).to(torch.uint8)
        for _ in range(2):  # the optimizer's own numbers are made in the first step and in the way in the second
            updates.zero_grad()
            with autocast(device, precision):
                value = loss(learner(normalize(images)), masks)
            value.backward()
            updates.step()

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        return find_batch_size(step, start, smallest)


@dataclass(frozen=True)
class LoaderSpeeds:
    """How fast pictures come, by number of loader processes; `print` shows a table, `best` is the number to take."""

    images_per_second: dict[int, float]

    @property
    def best(self) -> int:
        """The fewest loader processes that come within a factor of 1.1 of the fastest.

        Example:
            >>> LoaderSpeeds({0: 50.0, 1: 48.0, 2: 97.0, 4: 101.0}).best
            2
        """
        fastest = max(self.images_per_second.values())
        return min(count for count, speed in self.images_per_second.items() if speed * _WORTH >= fastest)

    def __str__(self) -> str:
        return "\n".join(["workers  images/s", *(
            f"{count:7}  {speed:8.1f}{'  <- best' if count == self.best else ''}"
            for count, speed in sorted(self.images_per_second.items()))])


def choose_num_workers(dataset: Samples, batch_size: int, candidates: Sequence[int] | None = None, batches: int = 20,
                       seed: int = 0) -> LoaderSpeeds:
    """Measure how many loader processes (`num_workers`) bring pictures fastest on this machine.

    It measures loading and augmentation alone: reading, decoding, transforms, stacking. If training then takes more
    pictures a second than come, the loader is what it waits for; if not, fewer processes would do. Loader processes
    that share the cores with training on a CPU slow it down; for that, look at the images/s that `fit` prints.

    All candidates read the same random pictures. They are measured in turn, forwards and then backwards, and the faster
    of both counts: the first to read a file pays for the disk. Start-up, some tenths of a second an epoch, is left out.

    Args:
        dataset: as for `fit`, with its transforms.
        batch_size: pictures a batch.
        candidates: numbers of processes; by default 0, 1, 2, 4 … up to the cores that this process may use.
        batches: how many to time, at least; loader processes time full rounds.
        seed: of the choice of pictures and of their augmentation.

    Raises:
        ArgumentError: an empty dataset, or a number out of range.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> pictures = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
        >>> data = TensorDataset(pictures, (pictures[:, 0] > 127).to(torch.uint8))
        >>> choose_num_workers(data, batch_size=4, candidates=[0], batches=2).best
        0
    """
    candidates = list(dict.fromkeys(candidates if candidates is not None else _default_candidates()))
    if len(dataset) < 1 or batch_size < 1 or batches < 1 or not candidates or min(candidates) < 0:
        raise ArgumentError("choose_num_workers", found=f"{len(dataset)} pictures, batch_size {batch_size}, batches "
                            f"{batches}, candidates {candidates}",
                            expected="1 or more of each, and numbers of processes from 0")
    speeds = dict.fromkeys(candidates, 0.0)
    for workers in (*candidates, *reversed(candidates)):
        speeds[workers] = max(speeds[workers], _images_per_second(dataset, batch_size, workers, batches, seed))
    return LoaderSpeeds(speeds)


def _images_per_second(dataset: Samples, batch_size: int, workers: int, batches: int, seed: int) -> float:
    # Processes that started together deliver together: wait for the first round, then time whole rounds.
    at_once = max(workers, 1)
    timed = -(-batches // at_once) * at_once
    chosen = [*itertools.islice(_random_batches(len(dataset), batch_size, seed), at_once + timed)]
    loader = DataLoader(as_dataset(dataset), batch_sampler=chosen,
                        collate_fn=collate, num_workers=workers, generator=torch.Generator().manual_seed(seed))
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for number, _ in enumerate(loader, start=1):
            if number == at_once:
                start = time.perf_counter()
    return timed * batch_size / (time.perf_counter() - start)


def _random_batches(count: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randint(count, (batch_size,), generator=generator).tolist()


def _default_candidates() -> list[int]:
    # Containers and clusters may lend fewer cores than the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [0, *(2**power for power in range(cores.bit_length()))]
