"""What a second epoch costs: pictures decoded beside pictures from the cache, and how fast `seglab check` reads.

    python benchmarks/datasets.py [FOLDER ...]

The built-in sets, and datasets in the given folders. Times are of one process; medians over the pictures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch

from seglab.check import check
from seglab.datasets import Samples, open_dataset
from seglab.samples import sample_folder


def milliseconds(samples: Samples, most: int = 200) -> float:
    """Median time of a sample."""
    times = []
    for i in range(min(len(samples), most)):
        start = time.perf_counter()
        samples[i]
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def measure(name: str, folder: Path) -> None:
    """Open a dataset twice, read it with and without the cache, and check it."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        splits = open_dataset(folder, progress=False)
        seconds.append(time.perf_counter() - start)
    decoded = milliseconds(open_dataset(folder, cache=False, progress=False).train)
    cached = milliseconds(splits.train)
    start = time.perf_counter()
    count = sum(check(folder, progress=False).counts.values())
    rate = count / (time.perf_counter() - start)
    print(f"{name}: {count:,} pictures; opened in {seconds[0]:.2f}, then {seconds[1]:.2f} s; decoded {decoded:.2f} ms, "
          f"from the cache {cached:.2f} ms ({decoded / cached:.0f}x); check {rate:.0f} pictures/s")


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # what is unusual about the data is not the question here
    torch.set_num_threads(1)
    built_in = [(f"built-in {name}", sample_folder(name)) for name in ("drone", "catdog", "coco", "pets")]
    with tempfile.TemporaryDirectory() as place:
        os.environ["SEGLAB_HOME"] = place  # a cache of its own: the first opening is one
        for name, folder in [*built_in, *((folder.name, folder) for folder in options.folders)]:
            measure(name, folder)


if __name__ == "__main__":
    main()
