"""The training loop: plain PyTorch on Hugging Face Accelerate, to be read from top to bottom.

Three promises shape it.

*It can be killed at any moment.* A checkpoint is written after each epoch, whole or not at all. Whatever is random in
an epoch follows from (seed, epoch, picture) alone, so a resumed run repeats the killed one bit by bit on the CPU.

*It does not wait for the GPU.* Reading a number off the GPU (`.item()`, `print(loss)`) makes Python wait until all
queued work is done. So loss and metrics are summed on the device and read once an epoch.

*It moves few bytes.* Pictures and masks travel as uint8 and become float and int64 on the device.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, Sampler, Subset
from tqdm.auto import tqdm

from seglab.datasets.protocols import Sample, Samples, as_dataset
from seglab.datasets.transforms import Normalize, collate, has_labels
from seglab.errors import ArgumentError, TrainingError
from seglab.metrics import SCORE_NAMES
from seglab.progress import progress_bar
from seglab.training.evaluator import Evaluator
from seglab.training.history import History
from seglab.training.losses import cross_entropy
from seglab.training.memory import keep_freed_memory
from seglab.training.run import Run, run_settings
from seglab.training.scoring import evaluate

Loss = Callable[[Any, Tensor], Tensor]


def fit(model: nn.Module, train: Samples, val: Samples | None = None, *, optimizer: Optimizer, epochs: int,
        batch_size: int, accumulate: int = 1, val_batch_size: int | None = None, normalize: nn.Module | None = None,
        loss: Loss = cross_entropy, scheduler: LRScheduler | None = None, folder: str | Path | None = None,
        resume: bool = True, monitor: str | Evaluator | None = None, mode: str | None = None, seed: int = 0,
        precision: str = "auto", num_workers: int = 0, progress: bool = True,
        on_epoch: Callable[[History], None] | None = None,
        on_step: Callable[[int, int], None] | None = None) -> History:
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
        accumulate: batches that make up one optimizer step, whose gradient is the mean of theirs; with 4, batches of 2
            train like batches of 8 in the memory of 2 (but BatchNorm sees 2). The last step of an epoch takes the
            batches that are left.
        val_batch_size: pictures at once in validation, `batch_size` by default. Pictures that are cropped for training
            but whole in validation may not fit; 1 needs the memory of one. Beyond rounding, scores do not
            depend on it.
        normalize: turns uint8 pictures into what the model expects, on the device; [0, 1] by default.
        loss: (model output, uint8 masks) -> scalar.
        scheduler: stepped after each optimizer step; a `ReduceLROnPlateau` after each epoch, with the value that
            `monitor` watches. Give it the same mode; the setting published with GCN is
            `ReduceLROnPlateau(optimizer, "max", patience=10, factor=0.1, threshold=1e-8)`.
        folder: for `last.safetensors`, `best.safetensors`, `history.json` and `timings.json`. None keeps nothing.
        resume: go on from `folder` if it holds a run with the same settings. With False, such a folder is an error,
            so that no run is overwritten.
        monitor: the column that decides which epoch is best: with `val` "miou", for a classifier "accuracy", else
            "loss". Or an `Evaluator`, which may compute a score of its own: that becomes a column of the history.
        mode: "max" or "min"; by default "min" for "loss" and "max" for scores. An `Evaluator` brings its own.
        seed: of everything random inside.
        precision: "auto" (bf16 on a GPU that has it, else full), "no" or "bf16".
        num_workers: loader processes. The result does not depend on it.
        progress: print a line an epoch; in a terminal or a notebook also show a bar.
        on_epoch: called with the history after each epoch, when its checkpoint is written, and once after a resume;
            by the main process alone. An error in it ends training. `widgets.TrainingMonitor` shows the history in a
            notebook, `viz.LiveCurve` draws it to a file.
        on_step: called after each batch with (steps done in all epochs, steps in all), by the main process alone; after
            a resume it counts on from the steps that were done. A GPU may still be at work: its steps are counted when
            they are queued, and whatever reads from it here slows training down. An error in it ends training.

    Returns:
        the history. After Ctrl-C or the stop button it holds the finished epochs, with `interrupted` set.

    Raises:
        ArgumentError: a value out of range, or nothing that trains.
        TrainingError: the loss is no longer finite. `last.safetensors` holds the epoch before.
        CheckpointError: the folder holds another run, is in use, or cannot be written.

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
    sizes = {"epochs": epochs, "batch_size": batch_size, "accumulate": accumulate, "val_batch_size": val_batch_size}
    _check_arguments(model, train, val, optimizer, sizes)
    evaluator = _evaluator(monitor, mode, ["loss", *_score_names(val)])
    plateau = scheduler if isinstance(scheduler, ReduceLROnPlateau) else None
    if plateau is not None and plateau.mode != evaluator.mode:
        raise ArgumentError("scheduler", found=f"ReduceLROnPlateau that waits for the {plateau.mode}imum",
                            expected=f"the {evaluator.mode}imum, as {evaluator.column!r} is watched",
                            fix=f"ReduceLROnPlateau(optimizer, mode={evaluator.mode!r})")
    normalize = normalize if normalize is not None else Normalize()

    precision = choose_precision(precision)
    # Autocast is ours, below: Accelerate's own wraps the model's forward for good, and bf16 needs no loss scaling.
    accelerator = Accelerator(mixed_precision="no", dataloader_config=DataLoaderConfiguration(non_blocking=True))
    device, is_main = accelerator.device, accelerator.is_main_process
    if device.type == "cpu":
        keep_freed_memory()  # otherwise a step may take three times as long
    items = _Seeded(train, seed)
    order = _Order(len(train), seed)
    loader = DataLoader(items, batch_size, sampler=order, collate_fn=collate, num_workers=num_workers,
                        pin_memory=device.type == "cuda")
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    normalize = normalize.to(device)
    plain_model = accelerator.unwrap_model(model, keep_torch_compile=False)

    history = History(evaluator.column, evaluator.mode or "max", threshold=evaluator.threshold,
                      worst_score=evaluator.worst_score)
    settings = run_settings(plain_model, optimizer, scheduler, normalize, train, batch_size, accumulate, seed,
                            evaluator, loss)
    run = Run(folder, settings, plain_model, optimizer, scheduler, history)
    bar = progress_bar(total=epochs * len(loader), unit="step", shown=progress and is_main)
    with run.locked(is_main), bar:
        run.restore(resume)
        accelerator.wait_for_everyone()  # every process has looked into the folder before the first one writes there
        if is_main:
            # The weights to start from: a run killed in its first epoch starts again from the same. Or the history,
            # in case the run was killed just before it was written.
            run.save_history() if history.rows else run.save()
        bar.update(len(history) * len(loader))
        try:
            if is_main and history.rows and on_epoch is not None:
                on_epoch(history)
            for epoch in range(len(history), epochs):
                start = time.perf_counter()
                set_seed(_seed_of(seed, epoch, accelerator.process_index))  # for dropout and the like
                order.epoch = epoch
                bar.set_description(f"epoch {epoch + 1}/{epochs}")

                model.train()
                loss_sum = torch.zeros((), device=device)
                bad_step = torch.full((), -1, device=device)
                for step, (images, masks) in enumerate(loader):
                    place = step % accumulate  # in the group of batches that make up one optimizer step
                    group = min(accumulate, len(loader) - step + place)
                    is_last = place == group - 1
                    if place == 0:
                        optimizer.zero_grad()
                    # Processes exchange gradients once a group: earlier ones stay at home.
                    with nullcontext() if is_last else accelerator.no_sync(model):
                        with autocast(device, precision):
                            # No name for the logits: while they had one, they would fill memory during the next step.
                            batch_loss = loss(model(normalize(images)), masks)  # (N, 3, H, W), (N, H, W) -> ()
                        accelerator.backward(batch_loss / group)
                    if is_last:
                        optimizer.step()
                        if scheduler is not None and plateau is None:
                            scheduler.step()
                    batch_loss = batch_loss.detach()
                    loss_sum += batch_loss
                    bad_step = torch.where((bad_step < 0) & ~batch_loss.isfinite(), step, bad_step)
                    bar.update()
                    if is_main and on_step is not None:
                        on_step(epoch * len(loader) + step + 1, epochs * len(loader))

                # The first read from the device in this epoch: it waits here for all that is queued.
                mean_loss = accelerator.reduce(loss_sum, "mean").item() / len(loader)
                seconds = time.perf_counter() - start
                if not math.isfinite(mean_loss):
                    raise _diverged(epoch, int(bad_step), mean_loss, optimizer, folder)
                row = {"epoch": epoch + 1, "loss": mean_loss, "lr": optimizer.param_groups[0]["lr"]}
                if val is not None:
                    row |= _validate(plain_model, val, val_batch_size, normalize, accelerator, precision, num_workers,
                                     evaluator)
                timing = {"seconds": seconds, "images_per_second": len(train) / seconds}
                is_best = history.add(row, timing)
                if plateau is not None:
                    plateau.step(row[history.monitor])  # before the checkpoint, which holds what it counted
                if is_main:
                    run.save(is_best)
                if progress and is_main:
                    tqdm.write(_line(row, timing, epochs, history.monitor))
                if is_main and on_epoch is not None:
                    on_epoch(history)
        except KeyboardInterrupt:
            history.interrupted = True
            if is_main:
                print(f"Stopped by hand after {len(history)} of {epochs} epochs; the results so far are kept."
                      + (f" Call fit again with folder={str(folder)!r} to go on." if folder else ""))
    return history


def choose_precision(precision: str) -> str:
    """ "auto" -> "bf16" on a GPU that computes in it, else "no": on most CPUs bf16 is several times slower."""
    if precision not in {"auto", "no", "bf16"}:
        raise ArgumentError("precision", found=repr(precision), expected='"auto", "no" or "bf16"')
    if precision != "auto":
        return precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False) else "no"


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order in which `fit` visits pictures in an epoch (counted from 0): it follows from the seed alone.

    Example:
        >>> sorted(epoch_order(5, seed=0, epoch=3))
        [0, 1, 2, 3, 4]
    """
    generator = torch.Generator().manual_seed(_seed_of(seed, epoch))
    return torch.randperm(count, generator=generator).tolist()


class _Order(Sampler[tuple[int, int]]):
    """The order of the current epoch; yields (epoch, index), so that items can be seeded."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, index) for index in epoch_order(self.count, self.seed, self.epoch))


class _Seeded(Dataset[Sample]):
    """Augmentation of a picture depends on (seed, epoch, index), not on batch, worker or what came before."""

    def __init__(self, data: Samples, seed: int) -> None:
        self.data, self.seed = data, seed

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, where: tuple[int, int]) -> Sample:
        epoch, index = where
        state = torch.get_rng_state()  # dropout in this very process goes on as if nothing had been drawn here
        # Not torch.manual_seed: that also queues a call for every kind of GPU, which takes longer than the loading.
        torch.default_generator.manual_seed(_seed_of(self.seed, epoch, index))
        try:
            return self.data[index]
        finally:
            torch.set_rng_state(state)


def _score_names(val: Samples | None) -> tuple[str, ...]:
    if val is None or len(val) < 1:
        return ()
    return ("accuracy", "mean_class_accuracy") if has_labels(val[0]) else SCORE_NAMES


def _evaluator(monitor: str | Evaluator | None, mode: str | None, columns: list[str]) -> Evaluator:
    """What decides which epoch is best, checked against the columns that the history will have."""
    if isinstance(monitor, Evaluator):
        if mode not in {None, monitor.mode}:
            raise ArgumentError("mode", found=f"{mode!r} beside an Evaluator with {monitor.mode!r}",
                                expected="one of them", fix="Leave mode to the Evaluator.")
        evaluator = monitor
    else:
        default = next(name for name in ("miou", "accuracy", "loss") if name in columns)
        evaluator = Evaluator(monitor or default, mode)
    without_val = "Pass val= to have scores to watch." if columns == ["loss"] else None
    if evaluator.name is None and evaluator.column not in columns:
        raise ArgumentError("monitor", found=repr(evaluator.column), expected=" or ".join(columns), fix=without_val)
    if evaluator.name is not None and without_val:
        raise ArgumentError("monitor", found=f"{evaluator.name!r}, but no val", expected="pictures to score",
                            fix=without_val)
    if evaluator.name in {"epoch", "lr", *columns}:
        raise ArgumentError("Evaluator name", found=repr(evaluator.name),
                            expected=f"another one than the history's epoch, lr, {', '.join(columns)}")
    return evaluator


def _check_arguments(model: nn.Module, train: Samples, val: Samples | None, optimizer: Optimizer,
                     sizes: dict[str, int]) -> None:
    pictures = {"training pictures": len(train), "validation pictures": len(val) if val is not None else 1}
    for name, value in (sizes | pictures).items():
        if value < 1 or value != int(value):
            raise ArgumentError(name, found=value, expected="a whole number, 1 or more")
    if not any(p.requires_grad for group in optimizer.param_groups for p in group["params"]):
        raise ArgumentError("optimizer", found="no parameter that trains: all of them are frozen",
                            expected="some with requires_grad",
                            fix='Leave something free (model.freeze("backbone") leaves the head), then make the '
                                "optimizer from model.parameter_groups(lr).")
    labels, built = getattr(train, "label_set", None), getattr(model, "recipe", {}).get("num_classes")
    if labels is not None and built not in {None, len(labels)}:
        raise ArgumentError("model", found=f"{built} classes", expected=f"{len(labels)}, those of {labels.name!r}",
                            fix="Build it with num_classes=len(dataset.label_set).")


class _Share(Subset[Sample]):
    """Some pictures of a dataset, with its classes."""

    def __init__(self, data: Samples, indices: Sequence[int]) -> None:
        super().__init__(as_dataset(data), indices)
        if (labels := getattr(data, "label_set", None)) is not None:
            self.label_set = labels


def _validate(model: nn.Module, val: Samples, batch_size: int, normalize: nn.Module, accelerator: Accelerator,
              precision: str, num_workers: int, evaluator: Evaluator) -> dict[str, float]:
    """Scores of the validation split; each process counts its share, and the counts are summed."""
    share = _Share(val, range(accelerator.process_index, len(val), accelerator.num_processes))
    with autocast(accelerator.device, precision):
        matrix = evaluate(model, share, batch_size=batch_size, normalize=normalize, device=accelerator.device,
                          num_workers=num_workers)
    if accelerator.num_processes > 1:
        matrix.counts = accelerator.reduce(matrix.counts.to(accelerator.device), "sum")
    scores = matrix.compute()
    # A picture with one label is a picture of one pixel, but nobody calls it that.
    row = {name: getattr(scores, "pixel_accuracy" if name == "accuracy" else name) for name in _score_names(val)}
    return row | evaluator.measure(scores)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Where computing in bf16 is asked for, a context in which PyTorch does it; else one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _seed_of(*parts: int) -> int:
    """A 32-bit seed from several numbers, unrelated for neighbours such as (0, 1) and (1, 0)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "big")


def _diverged(epoch: int, step: int, value: float, optimizer: Optimizer, folder: str | Path | None) -> TrainingError:
    kept = f" {Path(folder) / 'last.safetensors'} holds the epoch before." if folder is not None else ""
    return TrainingError(f"the loss is {value} in epoch {epoch + 1}, first at step {step + 1}", found=value,
                         expected="a finite number",
                         fix=f"Lower the learning rate (now {optimizer.param_groups[0]['lr']:g}), and check that the "
                             f"pictures are normalised and the loss divides by no count that can be 0.{kept}")


def _line(row: dict[str, float], timing: dict[str, float], epochs: int, monitor: str) -> str:
    names = dict.fromkeys(name for name in ("pixel_accuracy", "miou", "accuracy", monitor) if name in row)
    scores = "".join(f"  {name.replace('_', ' ')} {row[name]:.4f}" for name in names if name != "loss")
    return (f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.4f}{scores}  "
            f"{timing['images_per_second']:.0f} images/s  {timing['seconds']:.1f} s")
