"""COCO's objects to masks, and opening an annotation as large as COCO's for training.

    python -m benchmarks.masks [--data FOLDER]

*Masks*: `Samples`' masks beside the conversion of torchvision's references/segmentation (an object at a time, stacked,
maximum over objects), and beside the loop over pycocotools' `annToMask` that tutorials use, on the objects of COCO's 80
categories and of cats and dogs alone; every mask must be the same. On objects of the number
and the size of COCO's, made up, on the drawn sample, whose pictures are small; and on COCO's own, if they are at hand.
*Opening*: a made-up annotation of 118,000 pictures and 860,000 objects, as large as `instances_train2017.json`:
converting it, opening it afterwards, and memory, each in a process of its own; beside pycocotools.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from benchmarks.compare import OURS, Growth, Part, Row, alone, peak_megabytes, run_part
from seglab.datasets import Coco
from seglab.samples import write_coco_sample

REFERENCE, LOOP = "torchvision's reference", "a loop over annToMask"
SIZES = (1_000, 10_000, 118_000)


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


def loop_mask(objects: list[dict], classes: list[int], height: int, width: int) -> np.ndarray:
    """The loop of tutorials, with the reference's rule where objects overlap."""
    mask, count = (np.zeros((height, width), np.uint8) for _ in range(2))
    for one, class_id in zip(objects, classes, strict=True):
        run_lengths = coco_mask.frPyObjects(one["segmentation"], height, width)
        inside = coco_mask.decode(coco_mask.merge(run_lengths) if isinstance(run_lengths, list) else run_lengths)
        mask = np.maximum(mask, inside * np.uint8(class_id))
        count += inside
    mask[count > 1] = 255
    return mask


def compare_masks(part: Part, data: Coco, what: str, repeats: int) -> None:
    pictures = [entry for entry in data.splits["train"] if data.for_training(entry)][:60]
    objects = [data.annotations(entry) for entry in pictures]
    classes = [[data.class_of["train"][one["category_id"]] for one in those] for those in objects]
    sizes = [data.size(entry) for entry in pictures]

    def by(way: Any) -> list[np.ndarray]:
        return [way(*args, *size) for *args, size in zip(objects, classes, sizes, strict=True)]

    for way in (reference_mask, loop_mask):
        assert all(map(np.array_equal, by(way), map(data.mask, pictures)))
    part.compare(f"outlines to masks, {what}, {np.mean(list(map(len, objects))):.1f} objects each",
                 {OURS: lambda: [data.mask(entry) for entry in pictures], REFERENCE: lambda: by(reference_mask),
                  LOOP: lambda: by(loop_mask)},
                 repeats=repeats, items=len(pictures), unit="pictures", goals={REFERENCE: 5},
                 same=f"the {len(pictures)} masks of all three are the same",
                 reason="On small pictures, pixels cost little, and the time goes into reading each object from the "
                        "tables and checking it; the peers get objects that are in memory and believed.")


def outlines(rng: np.random.Generator, count: int, points: int = 25) -> np.ndarray:
    """Closed outlines on 640×480 pixels, (count, points, 2), as long and large as COCO's: a median of 5,000 pixels."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False) + rng.uniform(-0.1, 0.1, (count, points))
    radius = rng.lognormal(3.6, 0.9, (count, 1)) * rng.uniform(0.7, 1.3, (count, points))
    centre = rng.uniform((40, 40), (600, 440), (count, 1, 2))
    around = centre + radius[..., None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.round(np.clip(around, 0, (640, 480)), 2)


def write_large(folder: Path, pictures: int, objects: int) -> Path:
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
            if number % 1000 == 0:
                bases = outlines(rng, 1000)
            points = bases[number % 1000].ravel().tolist()
            one = {"segmentation": [points], "area": 900.5 + number % 5000, "iscrowd": 0,
                   "image_id": int(rng.integers(1, pictures + 1)), "bbox": [60.5, 60.5, 360.25, 360.25],
                   "category_id": 1 + number % 80, "id": number + 1}
            file.write((", " if number else "") + json.dumps(one))
        file.write('], "categories": ')
        json.dump([{"supercategory": "thing", "id": i, "name": f"thing {i}"} for i in range(1, 81)], file)
        file.write("}")
    return path


def open_alone(who: str, folder: str) -> dict[str, float]:
    """Seconds and MB of one opening."""
    from pycocotools.coco import COCO

    before, start = peak_megabytes(), time.perf_counter()
    if who == OURS:
        data = Coco(Path(folder), categories=["thing 17", "thing 18"])
        seconds = time.perf_counter() - start
        kept = [entry for entry in data.splits["train"] if data.for_training(entry)]
        for entry in (kept[0], kept[-1]):
            data.mask(entry)
    else:
        COCO(str(Path(folder) / "annotations" / "instances_train2017.json"))
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": peak_megabytes() - before}


def compare_opening(part: Part, scratch: Path, sizes: tuple[int, ...]) -> None:
    lines: dict[str, list[float]] = {name: [] for name in ("seglab, first, s", "seglab, again, s", "pycocotools, s",
                                                           "seglab, first, MB", "seglab, again, MB", "pycocotools, MB")}
    for pictures in sizes:
        folder = scratch / str(pictures)
        path = write_large(folder, pictures, pictures * 86 // 12)
        home = {"SEGLAB_HOME": str(folder / "home")}
        runs = [alone("masks", OURS, folder, **home)]
        pairs = [(alone("masks", OURS, folder, **home), alone("masks", "pycocotools", folder))
                 for _ in range(3 if pictures == sizes[-1] else 1)]
        again, theirs = ([pair[i] for pair in pairs] for i in range(2))
        for what, name in (("seconds", "s"), ("peak", "MB")):
            for who, one in (("seglab, first", runs[0]), ("seglab, again", again[0]), ("pycocotools", theirs[0])):
                lines[f"{who}, {name}"].append(one[what])
        if pictures == sizes[-1]:
            part.rows.append(Row(
                f"reopening {path.stat().st_size / 1e6:,.0f} MB of JSON", "pycocotools", 1, "openings",
                [one["seconds"] for one in again], [one["seconds"] for one in theirs], goal=20.0,
                memory={OURS: max(one["peak"] for one in again), "peer": max(one["peak"] for one in theirs)},
                reason="The tables are read and compared with their checksums; the rest is the listing of the folder."))
    part.growth.append(Growth("Opening an annotation", "pictures", "s and MB", list(map(float, sizes)), lines))


def measure(options: argparse.Namespace) -> Part:
    part, repeats = Part("COCO: masks and annotations"), 2 if options.quick else 9
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        os.environ["SEGLAB_HOME"] = str(scratch / "home")
        write_large(scratch / "made-up", 200, 200 * 86 // 12)
        roots = {"made up, 640×480": scratch / "made-up",
                 "drawn, about 200×160": write_coco_sample(scratch / "sample", progress=False)}
        if options.data is not None and (options.data / "coco").is_dir():
            roots["COCO's own"] = options.data / "coco"
        for name, root in roots.items():
            for categories in (None, ["cat", "dog"]) if name == "COCO's own" else (None,):
                compare_masks(part, Coco(root, categories=categories, crowd="fill"),
                              f"{name}, {'cats and dogs' if categories else 'all categories'}", repeats)
        compare_opening(part, scratch, (100, 300) if options.quick else SIZES)
    return part


if __name__ == "__main__":
    run_part(measure, open_alone, threads=1)  # as in a loader worker
