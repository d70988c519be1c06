"""What is seen of a run while it goes on: a bar, a line an epoch, and what the caller hooks in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from seglab.history import History
from seglab.progress import progress_bar


class Report:
    """Tells of a run, and keeps the time; only the main process shows something and calls the hooks."""

    def __init__(self, history: History, epochs: int, batches: int, progress: bool,
                 on_epoch: Callable[[History], None] | None, on_step: Callable[[int, int], None] | None,
                 is_main: bool) -> None:
        self.history, self.epochs, self.batches, self.shown = history, epochs, batches, progress and is_main
        self.on_epoch, self.on_step = (on_epoch, on_step) if is_main else (None, None)
        self.bar: tqdm = None
        self.done = 0  # batches, in all epochs

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Show the bar until the end of the block; first tell of the epochs that were there before."""
        with progress_bar(total=self.epochs * self.batches, unit="step", shown=self.shown) as self.bar:
            self.done = len(self.history) * self.batches
            self.bar.update(self.done)
            if self.history.rows and self.on_epoch is not None:
                self.on_epoch(self.history)
            yield

    def start_epoch(self) -> float:
        """Say which epoch begins; returns the time, in seconds."""
        self.bar.set_description(f"epoch {len(self.history) + 1}/{self.epochs}")
        return time.perf_counter()

    def step(self) -> None:
        """A batch is done, or queued on a GPU."""
        self.done += 1
        self.bar.update()
        if self.on_step is not None:
            self.on_step(self.done, self.epochs * self.batches)

    def end_epoch(self) -> None:
        """An epoch is in the history, and on the disk."""
        if self.shown:
            tqdm.write(line(self.history, self.epochs))
        if self.on_epoch is not None:
            self.on_epoch(self.history)


def line(history: History, epochs: int) -> str:
    """What is printed of the last epoch."""
    row, timing, monitor = history.rows[-1], history.timings[-1], history.monitor.name
    names = dict.fromkeys(name for name in ("pixel_accuracy", "miou", "accuracy", monitor) if name in row)
    scores = "".join(f"  {name.replace('_', ' ')} {row[name]:.4f}" for name in names if name not in {"loss", "epoch"})
    return (f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  loss {row['loss']:.4f}{scores}  "
            f"{timing['images_per_second']:.0f} images/s  {timing['seconds']:.1f} s")
