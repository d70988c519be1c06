"""What grows with the number of pictures, and what must not: an epoch's time and memory, and an evaluation's memory.

    python -m benchmarks.growth

*Epoch*: a network of one convolution is trained for an epoch on 100, 1,000 and 10,000 pictures of 64×64 in files; the
time a picture, and the peak memory, each in a process of its own: all of it, and what is not a file. (The pixels of
seglab's cache are a mapped file, whose pages the system takes back when it needs room.) Beside a loader of PIL and
torchvision, which decodes each picture in each epoch. Opening fills the cache first, and is measured, too.
*Evaluation*: 15 to 1,500 pictures that all have different sizes; memory over the network.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as v1

import seglab
from benchmarks.compare import OURS, Anonymous, Growth, Part, alone, peak_megabytes, run_part
from seglab.datasets import IMAGENET, Normalize, open_dataset
from seglab.inference import evaluate
from seglab.models import build

PEER = "PIL + torchvision"
BATCH = 32


def write_pictures(root: Path, count: int, side: int = 64) -> None:
    """A folder as `seglab train --data` takes it; pictures of noise and blocks."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    (root / "class_dict.csv").write_text("name,r,g,b\nbackground,0,0,0\nblock,255,0,0\nother,0,0,255\n")
    for number in range(count):
        blocks = rng.integers(0, 3, (8, 8), dtype=np.uint8)
        mask = np.kron(blocks, np.ones((side // 8, side // 8), np.uint8))
        pixels = (mask[..., None] * 80 + rng.integers(0, 90, (side, side, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number:05d}.jpg")
        Image.fromarray(mask).save(root / "masks" / f"{number:05d}.png")


class Plain(Dataset):
    """Decodes each picture when it is asked for."""

    def __init__(self, root: Path) -> None:
        self.images, self.masks = (sorted((root / name).iterdir()) for name in ("images", "masks"))

    def __len__(self) -> int:
        return len(self.images) * 7 // 10  # as many as seglab trains on

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = v1.normalize(v1.to_tensor(Image.open(self.images[i]).convert("RGB")), *IMAGENET)
        return image, torch.as_tensor(np.array(Image.open(self.masks[i])), dtype=torch.int64)


def epoch_alone(who: str, folder: str) -> dict[str, float]:
    """Seconds a picture of a warm epoch of training, and memory."""
    torch.manual_seed(0)
    model = build("single_conv", 3)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    before, owned, start = peak_megabytes(), Anonymous.now(), time.perf_counter()
    with Anonymous() as memory:
        if who == OURS:
            data = open_dataset(Path(folder), progress=False).train
            opened = time.perf_counter() - start
            history = seglab.fit(model, data, optimizer=optimizer, epochs=1, batch_size=BATCH,
                                 normalize=Normalize(*IMAGENET), progress=False)
            seconds = history.timings[0]["seconds"]
        else:
            plain = Plain(Path(folder))
            opened, start = time.perf_counter() - start, time.perf_counter()
            for images, masks in DataLoader(plain, BATCH, shuffle=True):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(images)["out"], masks).backward()
                optimizer.step()
            seconds, data = time.perf_counter() - start, plain
    return {"seconds": seconds / len(data), "opened": opened, "all": peak_megabytes() - before,
            "owned": memory.peak - owned}


class Sizes(Dataset):
    """Pictures of as many sizes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        size = 160 + i % 40 * 4, 200 + i // 40 * 4
        return torch.zeros(3, *size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)


def evaluate_alone(count: str) -> dict[str, float]:
    model = build("deeplabv3", 21, backbone="efficientnet_lite0", output_stride=16, aux=True)
    before = peak_megabytes()
    evaluate(model, Sizes(int(count)))
    return {"peak": peak_megabytes() - before}


def by_itself(what: str, *arguments: str) -> dict[str, float]:
    return evaluate_alone(*arguments) if what == "evaluate" else epoch_alone(what, *arguments)


def measure(options: argparse.Namespace) -> Part:
    part = Part("Growth")
    counts = (40, 80) if options.quick else (100, 1_000, 10_000)
    memories = {"all": "peak MB", "owned": "peak MB without mapped files"}
    epochs: dict[str, list[float]] = {f"{name}, {what}": [] for what in ("ms a picture", *memories.values())
                                      for name in (OURS, PEER)} | {"opening first, s": [], "opening again, s": []}
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            root, home = Path(place) / "data", {"SEGLAB_HOME": str(Path(place) / "home")}
            write_pictures(root, count)
            first = alone("growth", OURS, root, **home)  # fills the cache
            again, theirs = alone("growth", OURS, root, **home), alone("growth", PEER, root)
        for name, one in ((OURS, again), (PEER, theirs)):
            epochs[f"{name}, ms a picture"].append(1e3 * one["seconds"])
            for kind, what in memories.items():
                epochs[f"{name}, {what}"].append(one[kind])
        epochs["opening first, s"].append(first["opened"])
        epochs["opening again, s"].append(again["opened"])
        print(f"  {count} pictures", flush=True)
    peaks = epochs[f"{OURS}, {memories['owned']}"]
    part.growth.append(Growth("An epoch of training on pictures of 64×64, one convolution", "pictures", "ms, MB and s",
                              list(map(float, counts)), epochs, "100 times the pictures take at most "
                              "100 MB more, mapped files left out", peaks[-1] < peaks[0] + 100))
    sizes = (5, 15) if options.quick else (15, 150, 1_500)
    evaluated = [alone("growth", "evaluate", count)["peak"] for count in sizes]
    part.growth.append(Growth("Evaluation of pictures that all have different sizes", "pictures", "MB over the network",
                              list(map(float, sizes)), {OURS: evaluated}, "at most 100 MB more from first to last",
                              evaluated[-1] < evaluated[0] + 100))
    return part


if __name__ == "__main__":
    run_part(measure, by_itself)
