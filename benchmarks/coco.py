"""How fast COCO's objects become masks, and what opening an annotation of 448 MB costs, in one run.

    python benchmarks/coco.py [--data COCO] [--repeats 5] [--pictures 118000]

*Masks*: `semantic_mask` beside the conversion of torchvision's references/segmentation (an object at a time, stacked,
maximum over objects), on the objects of COCO's 80 categories, or of cats and dogs alone; every mask must be the same.
Without COCO's folder, on the drawn sample.
*Opening*: a made-up annotation of 118,000 pictures and 860,000 objects, as large as `instances_train2017.json`:
converting it, opening it afterwards, and memory, each in a process of its own; beside pycocotools.
*Evaluation*: peak memory over the loaded network, of 15 and of 120 pictures that all have different sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from seglab.datasets import Coco
from seglab.datasets.coco.index import CocoIndex
from seglab.samples import write_coco_sample


def reference_mask(objects: list[dict], classes: list[int], height: int, width: int) -> np.ndarray:
    """The way of torchvision's references/segmentation: each object decoded, all stacked, the maximum taken."""
    if not objects:
        return np.zeros((height, width), np.uint8)
    maps = []
    for one in objects:
        decoded = coco_mask.decode(coco_mask.frPyObjects(one["segmentation"], height, width))
        decoded = decoded[..., None] if decoded.ndim < 3 else decoded
        maps.append(torch.as_tensor(decoded, dtype=torch.uint8).any(dim=2))
    stack = torch.stack(maps)  # (objects, H, W)
    target, _ = (stack * torch.as_tensor(classes, dtype=torch.uint8)[:, None, None]).max(dim=0)
    target[stack.sum(0) > 1] = 255
    return target.numpy()


def compare_masks(data: Coco, what: str, repeats: int) -> None:
    pictures = [entry for entry in data.splits["train"] if data.for_training(entry)][:60]
    objects = [data.annotations(entry) for entry in pictures]
    classes = [[data.class_of["train"][one["category_id"]] for one in those] for those in objects]
    sizes = [data.size(entry) for entry in pictures]
    ratios = []
    for _ in range(repeats):
        start = time.perf_counter()
        theirs = [reference_mask(*args, *size) for *args, size in zip(objects, classes, sizes, strict=True)]
        middle = time.perf_counter()
        ours = [data.mask(entry) for entry in pictures]
        ratios.append((middle - start) / (time.perf_counter() - middle))
        assert all(np.array_equal(a, b) for a, b in zip(theirs, ours, strict=True))
    objects_each = statistics.mean(len(those) for those in objects)
    print(f"masks, {what}: {statistics.median(ratios):.1f}x the reference's speed ({min(ratios):.1f} to "
          f"{max(ratios):.1f}), {len(ours)} pictures with {objects_each:.1f} objects each; all masks the same")


def write_large(folder: Path, pictures: int = 118_000, objects: int = 860_000) -> Path:
    """An annotation as large as COCO's for training, with empty files for pictures."""
    rng = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    path = folder / "annotations" / "instances_train2017.json"
    with open(path, "w") as file:
        names = [f"{i:012d}.jpg" for i in range(1, pictures + 1)]
        for name in names:
            (folder / "train2017" / name).touch()
        file.write('{"info": {}, "licenses": [], "images": ')
        json.dump([{"license": 1, "file_name": name, "coco_url": f"http://images.cocodataset.org/train2017/{name}",
                    "height": 480, "width": 640, "date_captured": "2013-11-14 16:28:13", "id": i + 1}
                   for i, name in enumerate(names)], file)
        file.write(', "annotations": [')
        for number in range(objects):
            if number % 1000 == 0:  # COCO's polygons have some 50 numbers
                bases = np.round(rng.uniform(60, 420, (1000, 54)), 2)
            points = bases[number % 1000, : 44 + 2 * (number % 6)].tolist()
            one = {"segmentation": [points], "area": 900.5 + number % 5000, "iscrowd": 0,
                   "image_id": int(rng.integers(1, pictures + 1)), "bbox": [60.5, 60.5, 360.25, 360.25],
                   "category_id": 1 + number % 80, "id": number + 1}
            file.write((", " if number else "") + json.dumps(one))
        file.write('], "categories": ')
        json.dump([{"supercategory": "thing", "id": i, "name": f"thing {i}"} for i in range(1, 81)], file)
        file.write("}")
    return path


_PEAK = """
import sys, time
from pathlib import Path
def peak():  # MB; Linux
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
"""
_OPEN = _PEAK + """
sys.path.insert(0, {root!r})
from seglab.datasets import Coco
before = peak()
start = time.perf_counter()
data = Coco({folder!r}, categories=[17, 18])
opened = time.perf_counter() - start
kept = [entry for entry in data.splits["train"] if data.for_training(entry)]
data.mask(kept[0]), data.mask(kept[-1])
print(f"{{opened:.2f}} s, {{peak() - before:.0f}} MB over the {{before:.0f}} MB of the imports, "
      f"{{len(kept):,}} pictures")
"""
_THEIRS = _PEAK + """
from pycocotools.coco import COCO
before = peak()
start = time.perf_counter()
COCO({path!r})
print(f"pycocotools: {{time.perf_counter() - start:.2f}} s, {{peak() - before:.0f}} MB")
"""


_EVALUATE = _PEAK + """
import torch
sys.path.insert(0, {root!r})
from seglab.models import build
from seglab.inference import evaluate
class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return {count}
    def __getitem__(self, i):
        size = 320 + i * 37 % 160, 480 + i * 53 % 160
        return torch.zeros(3, *size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
model = build("deeplabv3", 21, backbone="efficientnet_lite0", output_stride=16, aux=True)
before = peak()
evaluate(model, Pictures())
print(f"evaluation of {count} pictures of about 400x560, 21 classes: {{peak() - before:.0f}} MB over the network")
"""


def compare_evaluation() -> None:
    root = str(Path(__file__).resolve().parents[1])
    for count in (15, 120):
        code = _EVALUATE.format(root=root, count=count)
        print(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip())


def compare_opening(folder: Path, pictures: int) -> None:
    path = write_large(folder, pictures, pictures * 86 // 12)
    print(f"opening: {path.stat().st_size / 1e6:.0f} MB of JSON")
    root = str(Path(__file__).resolve().parents[1])
    for what in ("first", "second", "third"):
        code = _OPEN.format(root=root, folder=str(folder))
        print(f"  {what}:", subprocess.run([sys.executable, "-c", code], check=True, capture_output=True,
                                           text=True).stdout.strip())
    print(f"  the tables have {CocoIndex.open(path).place.stat().st_size / 1e6:.0f} MB")
    print(" ", subprocess.run([sys.executable, "-c", _THEIRS.format(path=str(path))], check=True, capture_output=True,
                              text=True).stdout.strip().splitlines()[-1])


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, help="COCO's folder; the drawn sample by default")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=118_000, help="of the made-up annotation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as in a loader worker
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SEGLAB_HOME"] = str(Path(scratch) / "home")
        root = arguments.data or write_coco_sample(Path(scratch) / "sample", progress=False)
        for categories in (None, ["cat", "dog"]):
            data = Coco(root, categories=categories, crowd="fill")
            compare_masks(data, "all categories" if categories is None else "cats and dogs", arguments.repeats)
        compare_opening(Path(scratch) / "large", arguments.pictures)
    compare_evaluation()


if __name__ == "__main__":
    main()
