"""The training loop: plain PyTorch on Hugging Face Accelerate, to be read from top to bottom.

What makes it survive stands in files of their own: what is random (`order`), the rate of each step (`schedule`), what
is saved, restored and locked (`run`). Three promises shape it.

*It can be killed at any moment.* A checkpoint is written after each epoch, whole or not at all. Whatever is random in
an epoch follows from (seed, epoch, picture) alone, so a resumed run repeats the killed one bit by bit on the CPU.

*It does not wait for the GPU.* Reading a number off the GPU (`.item()`, `print(loss)`) makes Python wait until all
queued work is done. So loss and metrics are summed on the device and read once an epoch.

*It moves few bytes.* Pictures and masks travel as uint8 and become float and int64 on the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from seglab.datasets.protocols import Samples
from seglab.datasets.transforms import Normalize, collate
from seglab.history import History, Monitor
from seglab.memory import keep_freed_memory
from seglab.training.checks import check_arguments, choose_monitor, finite_mean, whole_numbers, write_card
from seglab.training.losses import cross_entropy
from seglab.training.order import Batches, Seeded, seed_of
from seglab.training.precision import autocast, choose_precision
from seglab.training.processes import processes
from seglab.training.profiler import NotProfiled, Profile
from seglab.training.report import Report
from seglab.training.run import Run, run_settings
from seglab.training.schedule import Schedule
from seglab.training.validation import validate

Loss = Callable[[Any, Tensor], Tensor]


def fit(model: nn.Module, train: Samples, val: Samples | None = None, *, optimizer: Optimizer, epochs: int,
        batch_size: int, accumulate: int = 1, val_batch_size: int | None = None, normalize: Normalize | None = None,
        loss: Loss = cross_entropy, scheduler: LRScheduler | None = None, folder: str | Path | None = None,
        resume: bool = True, monitor: str | Monitor | None = None, seed: int = 0, precision: str = "auto",
        num_workers: int = 0, progress: bool = True, on_epoch: Callable[[History], None] | None = None,
        on_step: Callable[[int, int], None] | None = None, profile: Profile | None = None) -> History:
    """Train a segmentation model, or a classifier; afterwards it holds the weights of the last epoch.

    Args:
        model: maps float pictures (N, 3, H, W) to {"out": logits (N, C, H, W), "aux"?: ...} or to logits; a classifier
            to logits (N, C).
        train: a dataset of (uint8 image, uint8 mask), for a classifier (uint8 image, int label) or (features, int
            label); shuffled anew each epoch.
        val: likewise; evaluated after each epoch. Without it the training loss decides which epoch is best.
        optimizer: made from the model's parameters.
        epochs: how many in all, those before a resume included.
        batch_size: pictures in memory at once, in each process.
        accumulate: batches that make up one optimizer step, whose gradient is the mean over their pictures; with 4,
            batches of 2 train like batches of 8 in the memory of 2 (but BatchNorm sees 2). The last step of an epoch
            takes the batches that are left.
        val_batch_size: pictures at once in validation, `batch_size` by default; 1 needs the memory of one whole
            picture. Beyond rounding, scores do not depend on it.
        normalize: turns uint8 pictures into what the model expects, on the device. By default what is on the model's
            card; if nothing is, mean and deviation are measured on `train`. It is written on the card, as are the
            classes, so that all that uses the model goes by them.
        loss: (model output, uint8 masks) -> scalar.
        scheduler: stepped after each optimizer step; a `ReduceLROnPlateau` after each epoch, with the value that
            `monitor` watches. Its length is that of the run: epochs times the optimizer steps of one. Where a run goes
            on with more epochs, make it as long as the whole; the finished steps count as steps of it.
        folder: for `last.safetensors`, `best.safetensors`, `history.json` and `timings.json`. None keeps nothing.
        resume: go on from `folder` if it holds a run with the same settings. With False, such a folder is an error,
            so that no run is overwritten.
        monitor: the column that decides which epoch is best: with `val` "miou", for a classifier "accuracy", else
            "loss"; "epoch" takes the last. Or a `Monitor`, which may compute a score of its own: that becomes a column
            of the history.
        seed: of everything random inside.
        precision: "auto" (bf16 on a GPU that has it, else full), "no" or "bf16".
        num_workers: loader processes. The result does not depend on it.
        progress: print a line an epoch; in a terminal or a notebook also show a bar.
        on_epoch: called with the history after each epoch, when its checkpoint is written, and once after a resume;
            by the main process alone. An error in it ends training. `widgets.TrainingMonitor` and `viz.LiveCurve` are
            made for it.
        on_step: likewise called after each batch, with (steps done in all epochs, steps in all), those before a resume
            included. A GPU may still be at work: whatever reads from it here slows training down.
        profile: measures where the time goes, see `Profile`; the result does not depend on it.

    Returns:
        the history. After Ctrl-C or the stop button it holds the finished epochs, with `interrupted` set; model,
        optimizer and scheduler are as the last of these left them.

    Raises:
        ArgumentError: a value out of range, nothing that trains, or a scheduler that ends before the run.
        TrainingError: the loss is no longer finite. `last.safetensors` holds the epoch before.
        CheckpointError: the folder holds another run, is in use, or cannot be written.
        WriteError: after training, a profile cannot be written.

    Example:
        >>> from seglab.models import build
        >>> from torch.utils.data import TensorDataset
        >>> pictures = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
        >>> data = TensorDataset(pictures, (pictures[:, 0] > 127).to(torch.uint8))  # is it red?
        >>> model = build("single_conv", 2)
        >>> history = fit(model, data, data, optimizer=torch.optim.Adam(model.parameters(), 0.05), epochs=4,
        ...               batch_size=4, progress=False)
        >>> len(history), history["loss"][-1] < history["loss"][0]
        (4, True)
    """
    val_batch_size = batch_size if val_batch_size is None else val_batch_size
    epochs, batch_size, accumulate, val_batch_size = whole_numbers(
        1, epochs=epochs, batch_size=batch_size, accumulate=accumulate, val_batch_size=val_batch_size)
    seed, num_workers = whole_numbers(0, seed=seed, num_workers=num_workers)
    check_arguments(model, train, val, optimizer)
    monitor = choose_monitor(monitor, val, scheduler)
    normalize = write_card(model, train, normalize)
    precision = choose_precision(precision)

    # Autocast is ours, below: Accelerate's own wraps the model's forward for good, and bf16 needs no loss scaling.
    processes()  # or Accelerate takes those on a CPU for strangers
    accelerator = Accelerator(mixed_precision="no")
    device = accelerator.device
    if device.type == "cpu":
        keep_freed_memory()  # otherwise a step may take three times as long
    batches = Batches(len(train), seed, batch_size, accelerator.process_index, accelerator.num_processes)
    loader = DataLoader(Seeded(train, seed), batch_sampler=batches, collate_fn=collate, num_workers=num_workers,
                        pin_memory=device.type == "cuda")
    # The batches are shared out already: Accelerate would repeat pictures where the last ones are too few for all.
    loader = prepare_data_loader(loader, device, num_processes=1, process_index=0, put_on_device=True,
                                 non_blocking=True)
    model, wrapped = accelerator.prepare(model, optimizer)
    optimizer = wrapped.optimizer  # PyTorch's own: the wrapper searches the disk for a package at every step
    normalize = normalize.to(device)
    plain_model = accelerator.unwrap_model(model, keep_torch_compile=False)

    history = History(monitor)
    settings = run_settings(plain_model, optimizer, scheduler, normalize, train, batch_size, accumulate,
                            accelerator.num_processes, seed, monitor, loss)
    schedule = Schedule(scheduler, optimizer, epochs, len(loader), accumulate, accelerator.print)
    run = Run(folder, settings, plain_model, schedule, history, accelerator)
    watch = profile if profile is not None else NotProfiled()
    report = Report(history, epochs, len(loader), progress, on_epoch, on_step, accelerator.is_main_process)

    def loss_of(images: Tensor, masks: Tensor) -> Tensor:
        with watch.part("forward"), autocast(device, precision):
            # No name for the logits: while they had one, they would fill memory during the next step.
            return loss(model(normalize(images)), masks)  # (N, 3, H, W), (N, H, W) -> ()

    with run.going_on(resume), report.going_on(), watch.going_on(
            accelerator, run.folder, range(len(history), epochs), len(loader), num_workers):
        for epoch in range(len(history), epochs):
            start = report.start_epoch()
            batches.epoch = epoch
            set_seed(seed_of(seed, epoch, accelerator.process_index))  # for dropout and the like
            model.train()
            optimizer.zero_grad()
            losses = torch.zeros(len(loader), device=device)
            for batch, (images, masks) in enumerate(watch.batches(loader)):
                group, is_last = schedule.group(batch)
                with nullcontext() if is_last else accelerator.no_sync(model):  # processes exchange gradients once
                    batch_loss = loss_of(images, masks)
                    with watch.part("backward"):
                        accelerator.backward(batch_loss * batches.share(batch, group))
                losses[batch] = batch_loss = batch_loss.detach() * batches.share(batch)  # lets go of the graph
                if is_last:
                    with watch.part("optimizer"):
                        optimizer.step()
                        schedule.step()
                        optimizer.zero_grad()
                report.step()

            mean_loss = finite_mean(accelerator.reduce(losses, "mean"), epoch, schedule.rate, run.folder)
            seconds = time.perf_counter() - start
            row = {"epoch": epoch + 1, "loss": mean_loss, "lr": schedule.rate}
            with watch.part("validation"):
                row |= validate(plain_model, val, monitor, accelerator, batch_size=val_batch_size, normalize=normalize,
                                precision=precision, num_workers=num_workers)
            is_best = history.add(row, {"seconds": seconds, "images_per_second": len(train) / seconds})
            schedule.end_epoch(row[monitor.name])  # before the checkpoint, which holds what a plateau counted
            with watch.part("saving"):
                run.save(is_best)
                report.end_epoch()
    return history
