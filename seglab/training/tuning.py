"""Settings that depend on the machine, measured on it: the largest batch that fits, and how many loader processes."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from accelerate.utils import find_executable_batch_size
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, RandomSampler

from seglab.datasets.protocols import Samples, as_dataset
from seglab.datasets.transforms import collate
from seglab.errors import ArgumentError, TrainingError
from seglab.models.card import card_of
from seglab.training.loop import Loss
from seglab.training.losses import cross_entropy
from seglab.training.precision import autocast, choose_precision

#: More loader processes have to be faster by this factor to be worth their memory.
_WORTH = 1.1


def largest_batch(model: nn.Module, size: int | tuple[int, int], *, start: int = 64, num_classes: int | None = None,
                  normalize: nn.Module | None = None, loss: Loss = cross_entropy,
                  optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.Adam,
                  precision: str = "auto") -> int:
    """The largest batch with which `fit` can train a segmentation model, found by training on random pictures.

    It tries `start`, and less (Accelerate's `find_executable_batch_size`) until it fits. A copy trains, on the model's
    device; its weights need memory too, so the answer is on the safe side. On a GPU that shows a screen or is shared,
    take half. On a CPU there is seldom anything to be found: most systems end a process that asks for too much.

    Args:
        model: in the state in which it is to be trained (frozen or not).
        size: height and width of the pictures in a batch, or the side of a square: the crops', not the files'.
        num_classes: C; the model's card says it for models that `build` made.
        optimizer: makes the optimizer from parameters; Adam by default, which keeps two numbers a weight.
        normalize, loss, precision: as for `fit`.

    Raises:
        ArgumentError: a size below 1, an unknown precision, or no word on the number of classes.
        TrainingError: nothing fits.

    Example:
        >>> from seglab.models import build
        >>> largest_batch(build("single_conv", 3), size=16, start=8)
        8
    """
    height, width = (size, size) if isinstance(size, int) else size
    num_classes = num_classes or card_of(model).architecture.get("num_classes")
    if min(height, width, start) < 1 or not num_classes:
        raise ArgumentError("largest_batch", found=f"size {size}, start {start}, num_classes {num_classes}",
                            expected="a height, a width, a batch and a number of classes, 1 or more each")
    precision, device = choose_precision(precision), next(model.parameters()).device
    normalize = copy.deepcopy(normalize if normalize is not None else card_of(model).normalize).to(device)

    def step(batch_size: int) -> int:
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
        return batch_size

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            return find_executable_batch_size(step, starting_batch_size=start)()
        except RuntimeError as error:
            if "No executable batch size" not in str(error):
                raise
            raise TrainingError("largest_batch", found=f"not one picture of {height}×{width} fits into the memory",
                                expected="room for a batch of 1",
                                fix="Use smaller pictures or crops, a smaller backbone, or freeze more of it; end "
                                    "other programs that use the GPU (nvidia-smi lists them).") from error


def choose_num_workers(dataset: Samples, batch_size: int, candidates: Sequence[int] | None = None, batches: int = 20,
                       seed: int = 0) -> int:
    """Measure which number of loader processes brings pictures fastest here; the fewest within a factor of 1.1 of it.

    It measures loading and augmentation alone. Loader processes that share the cores with training on a CPU slow it
    down; for that, look at the images/s that `fit` prints. All candidates read the same random pictures, in turn,
    forwards and then backwards, and the faster of both counts: the first to read a file pays for the disk.

    Args:
        dataset: as for `fit`, with its transforms.
        candidates: numbers of processes; by default 0, 1, 2, 4 … up to the cores that this process may use.
        batches: how many to time, at least.

    Raises:
        ArgumentError: an empty dataset, or a number out of range.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> pictures = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
        >>> data = TensorDataset(pictures, (pictures[:, 0] > 127).to(torch.uint8))
        >>> choose_num_workers(data, batch_size=4, candidates=[0], batches=2)
        0
    """
    if candidates is None:  # containers and clusters may lend fewer cores than the machine has
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        candidates = [0, *(2**power for power in range(cores.bit_length()))]
    if min(len(dataset), batch_size, batches, len(candidates)) < 1 or min(candidates) < 0:
        raise ArgumentError("choose_num_workers", found=f"{len(dataset)} pictures, batch_size {batch_size}, batches "
                            f"{batches}, candidates {candidates}",
                            expected="1 or more of each, and numbers of processes from 0")
    speeds = dict.fromkeys(candidates, 0.0)
    for workers in (*candidates, *reversed(candidates)):
        speeds[workers] = max(speeds[workers], _images_per_second(dataset, batch_size, workers, batches, seed))
    return min(count for count, speed in speeds.items() if speed * _WORTH >= max(speeds.values()))


def _images_per_second(dataset: Samples, batch_size: int, workers: int, batches: int, seed: int) -> float:
    # Processes that started together deliver together: wait for the first round, then time whole rounds.
    at_once = max(workers, 1)
    timed = -(-batches // at_once) * at_once
    generator = torch.Generator().manual_seed(seed)
    sampler = RandomSampler(dataset, replacement=True, num_samples=(at_once + timed) * batch_size, generator=generator)
    loader = DataLoader(as_dataset(dataset), batch_size, sampler=sampler, collate_fn=collate, num_workers=workers,
                        generator=generator)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for number, _ in enumerate(loader, start=1):
            if number == at_once:
                start = time.perf_counter()
    return timed * batch_size / (time.perf_counter() - start)
