"""How fast pictures are laid over, videos are segmented, and how much memory tiles take, in one run.

    python benchmarks/inference.py --repeats 15 --threads 2

*Overlay*: `seglab.viz.overlay` beside the loop over classes that tutorials use, on a 1280×853 picture; both must give
the same picture, to one grey level. The two take turns, and the ratio is taken pair by pair.
*Video*: `predict_video` beside the network alone on the same frames, in the same batches: with the bundled network, and
with `fcn_resnet50` (random weights).
*Tiles*: peak memory of a 6000×4000 picture, over the memory before, in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from seglab.datasets import VideoReader
from seglab.inference import predict, predict_video
from seglab.labels import VOC
from seglab.models import build
from seglab.samples import sample_frames, write_video_sample
from seglab.viz import overlay
from seglab.viz.palettes import as_drawn


def overlay_by_class(picture: np.ndarray, mask: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """The usual way: three channels painted class by class, then a weighted sum (as in many FCN tutorials)."""
    red, green, blue = (np.zeros_like(mask) for _ in range(3))
    for class_id, (r, g, b) in enumerate(as_drawn(VOC).colours):
        where = mask == class_id
        red[where], green[where], blue[where] = r, g, b
    painted = np.stack([red, green, blue], axis=2)
    return (picture * (1 - alpha) + painted * alpha).round().astype(np.uint8)


def compare_overlays(repeats: int) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (853, 1280, 3), dtype=np.uint8)
    mask = np.kron(rng.integers(0, 21, (27, 40), dtype=np.uint8), np.ones((32, 32), np.uint8))[:853, :1280]
    mask = np.ascontiguousarray(mask)

    def ours() -> np.ndarray:
        return overlay(picture, mask, VOC, hidden=())  # the loop paints the background, too

    assert np.abs(overlay_by_class(picture, mask).astype(int) - ours()).max() <= 1
    times: list[tuple[float, float]] = []
    for _ in range(repeats):
        pair = []
        for call in (lambda: overlay_by_class(picture, mask), ours):
            start = time.perf_counter()
            call()
            pair.append(time.perf_counter() - start)
        times.append(tuple(pair))
    ratios = [a / b for a, b in times]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"overlay 1280×853: loop {1000 * statistics.median(a for a, _ in times):.1f} ms, seglab "
          f"{1000 * statistics.median(b for _, b in times):.1f} ms: {middle:.1f}x (quartiles {low:.1f} to {high:.1f})")


def compare_video(name: str, model: nn.Module, size: tuple[int, int], repeats: int, frames: int,
                  batch: int = 4) -> None:
    normalize = model.card.normalize
    with tempfile.TemporaryDirectory() as folder:
        video = write_video_sample(Path(folder) / "in.webm", count=frames, size=size, progress=False)
        pixels = [torch.from_numpy(np.stack(list(VideoReader(video))[:batch])).permute(0, 3, 1, 2)]
        ratios, rates = [], []
        for number in range(repeats + 1):
            start = time.perf_counter()
            with torch.no_grad():
                for _ in range(frames // batch):
                    model(normalize(pixels[0]))
            alone = frames / (time.perf_counter() - start)
            result = predict_video(model, video, Path(folder) / "out.webm", batch_size=batch, short_side=None,
                                   overwrite=True, progress=False)
            if number:  # the first one warms up
                ratios.append(result.fps / alone)
                rates.append((alone, result.fps))
    print(f"video {size[1]}×{size[0]}, {name}: alone {statistics.median(a for a, _ in rates):.2f} frames/s, "
          f"predict_video {statistics.median(b for _, b in rates):.2f}: {statistics.median(ratios):.2f} of it "
          f"({min(ratios):.2f} to {max(ratios):.2f})")


def peak_of_tiles() -> None:
    """In this process: print how far memory rises over the loaded model."""
    model = build("fcn", weights="bundled")
    picture = np.tile(np.stack([f for f, _ in sample_frames(1, (500, 1000))])[0], (8, 6, 1))
    predict(model, picture[:512, :512])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = predict(model, picture, tile=1024, short_side=None)
    unit = 1024 if sys.platform != "darwin" else 1  # Linux counts in KiB
    print(f"tiles of 1024, {found.mask.shape[1]}×{found.mask.shape[0]}: "
          f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / 2**30:.2f} GiB over the loaded "
          f"model, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="seglab.inference beside the usual way")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tiles-only", action="store_true", help="measure memory in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.tiles_only:
        peak_of_tiles()
    else:
        compare_overlays(arguments.repeats)
        compare_video("bundled", build("fcn", weights="bundled"), (360, 640), max(3, arguments.repeats // 5), 96)
        compare_video("fcn_resnet50", build("fcn", 21, backbone="resnet50").eval(), (180, 320), 3, 12)
        subprocess.run([sys.executable, __file__, "--tiles-only", "--threads", str(arguments.threads)], check=True)
