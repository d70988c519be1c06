"""What `TrainingMonitor` costs a training in a notebook: `fit` with it and without it, side by side in one run.

    python benchmarks/training_monitor.py
    python benchmarks/training_monitor.py --watch 1     # it shows how the masks of so many pictures grow, too

It starts a real Jupyter kernel and trains in it, so the widget's messages are turned into JSON, signed and sent as in
JupyterLab; a client in this process receives them all. Both ways train the same network on the same cached pictures,
one training each in turn, who goes first changing. Three answers:

- the time of a step, from one computation of the loss to the next, lower quartiles as in fit_overhead.py;
- the time of whole trainings, which counts everything, and the noise of a shared machine too;
- seconds spent inside the monitor's own two functions, which is what a training pays, free of that noise: in steps and
  epochs, and (once in a training, however long it is) for appearing and for the picture that the notebook keeps.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH = 6
NAMES = ("without", "with")


class Timed:
    """A monitor, and the seconds spent in it."""

    def __init__(self, epochs: int) -> None:
        from seglab.widgets.training_monitor import TrainingMonitor

        self.monitor, self.running, self.once = TrainingMonitor(epochs=epochs), [], 0.0
        self.epochs, self.messages = epochs, 0
        send = self.monitor._send
        self.monitor._send = lambda *values, **options: (self._count(), send(*values, **options))

    def _count(self) -> None:
        self.messages += 1

    def step(self, done: int, total: int) -> None:
        start = time.perf_counter()
        self.monitor.step(done, total)
        if done > 1:
            self.running.append(time.perf_counter() - start)
        else:
            self.once += time.perf_counter() - start  # it appears

    def __call__(self, history: Any) -> None:
        start = time.perf_counter()
        self.monitor(history)
        if len(history) < self.epochs:
            self.running.append(time.perf_counter() - start)
        else:
            self.once += time.perf_counter() - start  # the picture at the end


def measure(repeats: int, epochs: int, pictures: int, watch: int = 0) -> None:
    """Run in a kernel: print the figures."""
    import torch

    import seglab
    from seglab.datasets import Drone, Samples
    from seglab.models import build
    from seglab.samples import write_drone_sample
    from seglab.training import cross_entropy

    def train(data: Any, timed: Timed | None) -> tuple[float, list[float]]:
        stamps = []

        def loss(output: Any, masks: torch.Tensor) -> torch.Tensor:
            stamps.append(time.perf_counter())
            return cross_entropy(output, masks)

        torch.manual_seed(0)
        model = build("single_conv", 23)
        if timed is not None and watch:
            timed.monitor.watch(model, data.subset(range(watch)))
        start = time.perf_counter()
        seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters(), 3e-3), epochs=epochs, batch_size=BATCH,
                   loss=loss, progress=False, on_epoch=timed, on_step=timed.step if timed else None)
        return time.perf_counter() - start, [b - a for a, b in itertools.pairwise(stamps)]

    with tempfile.TemporaryDirectory() as place:
        root = write_drone_sample(Path(place) / "drone", count=pictures, size=(200, 300))
        os.environ["SEGLAB_HOME"] = place  # its cache goes with it
        data = Samples(Drone(root), "train")
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {len(data)} pictures of 300×200, batch "
              f"{BATCH}, {epochs} epochs, {repeats} trainings each in turn, in a Jupyter kernel"
              + (f", {watch} of the pictures watched" if watch else ""))
        steps: dict[str, list[float]] = {name: [] for name in NAMES}
        whole, of_steps, shares, once, messages = [], [], [], [], []
        for repeat in range(repeats + 1):
            seconds, medians = {}, {}
            for name in NAMES if repeat % 2 else NAMES[::-1]:  # take turns at going first
                timed = Timed(epochs) if name == "with" else None
                seconds[name], times = train(data, timed)
                medians[name] = statistics.median(times)
                if repeat:  # the first training of each warms up
                    steps[name] += times
                    if timed is not None:
                        shares.append(sum(timed.running) / seconds[name])
                        once.append(timed.once)
                        messages.append(timed.messages / seconds[name])
            if repeat:
                whole.append(seconds["with"] / seconds["without"])
                of_steps.append(medians["with"] / medians["without"])
        quick = {name: statistics.quantiles(times, n=4)[0] for name, times in steps.items()}
        print(f"a step       without {quick['without'] * 1e3:.2f} ms, with {quick['with'] * 1e3:.2f} ms, ratio "
              f"{quick['with'] / quick['without']:.4f}; {_quartiles(of_steps)} of trainings")
        print(f"a training   of {seconds['without']:.1f} s: ratio {_quartiles(whole)}")
        print(f"inside       {_quartiles(shares, 1e2)} % of the time, {statistics.median(messages):.1f} messages/s")
        print(f"once         {_quartiles(once, 1e3)} ms to appear and for the picture at the end")


def _quartiles(values: list[float], factor: float = 1.0) -> str:
    low, middle, high = (value * factor for value in statistics.quantiles(values, n=4))
    return f"{middle:.4g} (quartiles {low:.4g} to {high:.4g})"


def main() -> None:
    import nbformat
    from nbclient import NotebookClient

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--watch", type=int, default=0, help="pictures whose masks are shown, at most 4")
    options = parser.parse_args()
    here = Path(__file__).resolve()
    code = (f"import runpy\nrunpy.run_path({str(here)!r})['measure']({options.repeats}, {options.epochs}, "
            f"{options.pictures}, {options.watch})")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=3600, kernel_name="python3", extra_arguments=["--log-level=ERROR"]).execute()
    print("".join(output.text for output in notebook.cells[0].outputs if output.output_type == "stream"), end="")


if __name__ == "__main__":
    main()
