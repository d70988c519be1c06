"""Files to batches: an epoch of every dataset beside loaders as others write them, cold, warm, and with workers.

    python -m benchmarks.pipeline [--data FOLDER]

The built-in drawings are enlarged to the size that pictures of each dataset have (those of the drones to 3000×2000,
half of theirs), with the noise of a camera; with --data, also on the datasets themselves, if they are there.

Each way gives the same: batches of 16, mirrored at random and cut to squares at random (pictures with one label: their
middle square), normalised float32 pictures (N, 3, H, W) and int64 masks (N, H, W). Before anything is timed, the
pictures and masks that seglab and the peers read from the files must be the same.

*Warm*: an epoch of the training pictures from seglab's cache, which opening the dataset fills once. *Cold*: from
nothing: opening the dataset with an empty cache, which reads and checks every file on all cores and fills it, then the
pictures of all splits once. The peers have no cache: their first pass costs what each one costs. What they need to
know of the files, they know beforehand.

*torchvision v1*: PIL, and functions that move picture and mask together, as in references/segmentation/transforms.py.
*torchvision v2*: PIL, tv_tensors and `v2.Compose`. *OpenCV + NumPy*: datasets as in the examples of
segmentation_models.pytorch, without albumentations, whose OpenCV replaces ours when it is installed.

`seglab check` reads everything, too, and says how many pictures a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import functional as v1
from torchvision.transforms import v2

from benchmarks.compare import OURS, Growth, Part, run_part
from benchmarks.masks import reference_mask
from seglab.check import check
from seglab.datasets import IMAGENET, CropOrPad, Normalize, Samples, collate, open_dataset
from seglab.samples import write_catdog_sample, write_coco_sample, write_drone_sample, write_pets_sample

BATCH = 16
WARM, COLD = "warm", "cold"
#: Pictures of each built-in set, how many times they are enlarged, and the size that they then have.
DRAWN: dict[str, tuple[Callable[[Path, int], Path], int, str]] = {
    "drone": (lambda root, n: write_drone_sample(root, n // 4, size=(400, 600), progress=False), 5, "3000×2000"),
    "catdog": (lambda root, n: write_catdog_sample(root, (n // 2, 10), progress=False), 3, "480×480"),
    "coco": (lambda root, n: write_coco_sample(root, (n, 20), progress=False), 3, "about 600×500"),
    "pets": (lambda root, n: write_pets_sample(root, n, progress=False), 3, "about 600×500")}
REAL = ("camvid", "catdog", "coco", "pets")
Reading = Callable[[int], tuple[Path, Any]]  # the file of a picture, and its mask or label


@dataclass
class Work:
    """A dataset, and how its pictures are cut."""

    name: str
    folder: Path
    crop: int
    within: int | None  #: pictures are scaled down to this shorter side first

    def opened(self, cache: bool = True) -> list[Samples]:
        """Its splits."""
        how: dict[str, Any] = {"size": self.crop} if "catdog" in self.name else {"within": self.within}
        return list(open_dataset(self.folder, cache=cache, progress=False, **how, **self.rule).parts.values())

    @property
    def rule(self) -> dict[str, str]:
        """torchvision's reference takes a crowd for an object."""
        return {"crowd": "fill"} if "coco" in self.name else {}


def enlarge(root: Path, scale: int, noise: float = 6.0) -> None:
    """Make a drawn dataset so many times as large, in place: pictures, masks and outlines."""
    rng = np.random.default_rng(0)
    for path in sorted(root.rglob("*")):
        if path.suffix not in {".jpg", ".png"}:
            continue
        image = Image.open(path)
        size = image.width * scale, image.height * scale
        if image.mode != "RGB":
            image.resize(size, Image.Resampling.NEAREST).save(path)
            continue
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC)) + rng.normal(0, noise, (*size[::-1], 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    for path in root.glob("annotations/instances_*.json"):
        content = json.loads(path.read_text())
        for picture in content["images"]:
            picture |= {"width": picture["width"] * scale, "height": picture["height"] * scale}
        for one in content["annotations"]:
            shape = one["segmentation"]
            one |= {"area": one["area"] * scale**2, "bbox": [scale * value for value in one["bbox"]]}
            one["segmentation"] = [[scale * value for value in line] for line in shape] if isinstance(
                shape, list) else _enlarged(shape, scale)
        path.write_text(json.dumps(content))


def _enlarged(shape: dict, scale: int) -> dict:
    plain = coco_mask.frPyObjects(shape, *shape["size"]) if isinstance(shape["counts"], list) else shape
    found = coco_mask.encode(np.asfortranarray(np.kron(coco_mask.decode(plain), np.ones((scale, scale), np.uint8))))
    return {"size": found["size"], "counts": found["counts"].decode()}


def masks_of(splits: list[Samples]) -> Reading:
    """What a peer knows of the files of all splits: picture, and how its mask is read; in seglab's order."""
    reader, entries = splits[0].reader, [entry for split in splits for entry in split.entries]
    name = reader.name
    if splits[0].labelled:
        return lambda i: (entries[i].image, entries[i].label)
    if name == "coco":
        objects = [reader.annotations(entry) for entry in entries]
        known = reader.class_of["train"]  # the same in val
        sizes = [reader.size(entry) for entry in entries]
        return lambda i: (entries[i].image, reference_mask(
            objects[i], [known[one["category_id"]] for one in objects[i]], *sizes[i]))
    table = np.arange(256, dtype=np.uint8)
    if name == "camvid":
        table[11] = 255
    if name == "pets":
        table[[2, 3]] = 0, 255

    def read(i: int) -> tuple[Path, np.ndarray]:
        mask = table[np.asarray(Image.open(entries[i].target))]
        if name == "pets":
            mask[mask == 1] = reader.species(entries[i].name)
        return entries[i].image, mask

    return read


class V1(Dataset):
    """PIL and torchvision's functions."""

    def __init__(self, work: Work, read: Reading, count: int) -> None:
        self.work, self.read, self.count = work, read, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[torch.Tensor, Any]:
        path, target = self.read(i)
        image, crop = Image.open(path).convert("RGB"), self.work.crop
        if not isinstance(target, np.ndarray):
            image = v1.center_crop(v1.resize(image, round(crop / 0.875)), [crop, crop])
            image = v1.hflip(image) if random.random() < 0.5 else image
            return v1.normalize(v1.to_tensor(image), *IMAGENET), target
        mask = Image.fromarray(target)
        if self.work.within and self.work.within < min(image.size):
            image = v1.resize(image, self.work.within)
            mask = v1.resize(mask, self.work.within, interpolation=v1.InterpolationMode.NEAREST)
        if random.random() < 0.5:
            image, mask = v1.hflip(image), v1.hflip(mask)
        right, below = max(0, crop - image.width), max(0, crop - image.height)
        image, mask = v1.pad(image, [0, 0, right, below]), v1.pad(mask, [0, 0, right, below], fill=255)
        top, left = (random.randint(0, side - crop) for side in (image.height, image.width))
        image, mask = (v1.crop(one, top, left, crop, crop) for one in (image, mask))
        return v1.normalize(v1.to_tensor(image), *IMAGENET), torch.as_tensor(np.array(mask), dtype=torch.int64)


class V2(V1):
    """PIL, tv_tensors and torchvision's v2."""

    def __init__(self, work: Work, read: Reading, count: int) -> None:
        super().__init__(work, read, count)
        types = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}
        crop, end = work.crop, [v2.ToDtype(types, scale=True), v2.Normalize(*IMAGENET)]
        resize = [v2.Resize(work.within, antialias=True)] if work.within else []
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: 255}
        self.squares = v2.Compose([v2.Resize(round(crop / 0.875)), v2.CenterCrop(crop), v2.RandomHorizontalFlip(),
                                   *end])
        self.crops = v2.Compose([*resize, v2.RandomHorizontalFlip(), v2.RandomCrop(crop, pad_if_needed=True, fill=fill),
                                 *end])

    def __getitem__(self, i: int) -> tuple[torch.Tensor, Any]:
        path, target = self.read(i)
        image = v2.functional.to_image(Image.open(path).convert("RGB"))
        if not isinstance(target, np.ndarray):
            return self.squares(image), target
        return self.crops(image, tv_tensors.Mask(target))


class OpenCV(V1):
    """OpenCV and NumPy."""

    mean, std = (np.array(values, np.float32) for values in IMAGENET)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, Any]:
        path, target = self.read(i)
        image, crop = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), self.work.crop
        labelled = not isinstance(target, np.ndarray)
        within = round(crop / 0.875) if labelled else self.work.within
        scale = within / min(image.shape[:2]) if within else 1.0
        if scale < 1 or (labelled and scale != 1):
            size = round(image.shape[1] * scale), round(image.shape[0] * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            target = target if labelled else cv2.resize(target, size, interpolation=cv2.INTER_NEAREST)
        if random.random() < 0.5:
            image, target = image[:, ::-1], target if labelled else target[:, ::-1]
        spare = [max(0, crop - side) for side in image.shape[:2]]
        if any(spare):
            image = np.pad(image, ((0, spare[0]), (0, spare[1]), (0, 0)))
            target = target if labelled else np.pad(target, ((0, spare[0]), (0, spare[1])), constant_values=255)
        corner = [(side - crop) // 2 if labelled else random.randint(0, side - crop) for side in image.shape[:2]]
        where = tuple(slice(at, at + crop) for at in corner)
        pixels = (image[where].astype(np.float32) / 255 - self.mean) / self.std
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), (
            target if labelled else torch.from_numpy(target[where].astype(np.int64)))


PEERS = {"torchvision v1": V1, "torchvision v2": V2, "OpenCV + NumPy": OpenCV}


def epoch(data: Dataset, workers: int = 0) -> None:
    """All batches of a peer."""
    for images, masks in DataLoader(data, BATCH, shuffle=True, num_workers=workers):
        assert images.dtype == torch.float32
        assert masks.dtype == torch.int64


def our_epoch(data: Samples, crop: int, workers: int = 0) -> None:
    """All batches of seglab's, as `fit` takes them: bytes become floats after the loader."""
    flip, normalize = v2.RandomHorizontalFlip(), Normalize(*IMAGENET)
    cut = v2.RandomCrop(crop, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: 255})
    data = data.with_transforms(flip if data.labelled else v2.Compose([flip, cut]))
    for images, masks in DataLoader(data, BATCH, shuffle=True, collate_fn=collate, num_workers=workers):
        assert normalize(images).dtype == torch.float32
        assert masks.long().dtype == torch.int64


def compare(part: Part, work: Work, repeats: int, workers: tuple[int, ...]) -> None:
    splits = work.opened()
    read, data = masks_of(splits), splits[0]
    everything = sum(map(len, splits))
    plain = open_dataset(work.folder, cache=False, progress=False, **work.rule).train if not data.labelled else None
    for i in range(0, len(data), 7) if plain is not None else ():
        path, mask = read(i)
        image, ours = plain[plain.names.index(data.names[i])]  # without a cache, it has pictures that are left out, too
        assert np.array_equal(ours, mask) and np.array_equal(image.permute(1, 2, 0), Image.open(path).convert("RGB")), i

    def cold() -> None:
        home = os.environ["SEGLAB_HOME"]
        with tempfile.TemporaryDirectory() as fresh:
            os.environ["SEGLAB_HOME"] = fresh
            for split in work.opened():
                our_epoch(split, work.crop)
            os.environ["SEGLAB_HOME"] = home

    def of_peers(count: int, workers: int = 0) -> dict[str, Callable[[], None]]:
        return {name: lambda kind=kind: epoch(kind(work, read, count), workers) for name, kind in PEERS.items()}

    what = "" if data.labelled else "; pictures and masks are read the same"
    for state, ours, count, goal in ((WARM, lambda: our_epoch(data, work.crop), len(data), 8),
                                     (COLD, cold, everything, 1.5)):
        part.compare(f"{state} input pipeline, {work.name}", {OURS: ours, **of_peers(count)}, repeats=repeats,
                     items=count, unit="pictures", goals=dict.fromkeys(PEERS, goal), same=f"{count} pictures{what}",
                     reason=_reason(data, work, state))
    lines: dict[str, list[float]] = {name: [] for name in (OURS, *PEERS)}
    for number in workers:
        for name, run in {OURS: lambda n=number: our_epoch(data, work.crop, n),
                          **of_peers(len(data), number)}.items():
            seconds = []
            for _ in range(max(1, repeats // 2)):
                start = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - start)
            lines[name].append(len(data) / statistics.median(seconds))
    part.growth.append(Growth(f"{work.name}: loader workers, whose start is part of each epoch", "workers",
                              "pictures/s", list(map(float, workers)), lines))
    start = time.perf_counter()
    checked = sum(check(work.folder, progress=False).counts.values())
    part.notes.append(f"`seglab check` of {work.name}: {checked / (time.perf_counter() - start):,.0f} pictures/s "
                      f"({checked:,} pictures).")


def _reason(data: Samples, work: Work, state: str) -> str:
    """Where the time goes."""

    def milliseconds(samples: Samples) -> float:
        start = time.perf_counter()
        for i in range(len(samples)):
            samples[i]
        return 1e3 * (time.perf_counter() - start) / len(samples)

    if state == COLD:
        read = milliseconds(work.opened(cache=False)[0])
        files, start = [entry.image for entry in data.entries], time.perf_counter()
        for path in files:
            Image.open(path).convert("RGB")
        decoded = 1e3 * (time.perf_counter() - start) / len(files)
        return (f"Reading a picture with its mask and checking both takes {read:.2f} ms of one core; Pillow's decoder, "
                f"which the peers need, too, takes {decoded:.2f} for the whole picture alone. The cores share that, "
                "and not what comes before and after: finding out the layout, looking for duplicates, and the epoch.")
    cut = v2.Compose([v2.RandomHorizontalFlip(), *([] if data.labelled else [CropOrPad(work.crop)])])
    stored, moved = milliseconds(data), milliseconds(data.with_transforms(cut))
    return (f"A picture takes {stored:.2f} ms from the cache, {moved:.2f} ms with "
            "torchvision's own transforms; the rest is batching, and making floats of bytes.")


def measure(options: argparse.Namespace) -> Part:
    part = Part("Input pipeline")
    warnings.simplefilter("ignore")  # what is unusual about the data is not the question here
    random.seed(0)
    torch.manual_seed(0)
    scratch = tempfile.TemporaryDirectory()
    works = []
    for name, (write, scale, size) in DRAWN.items():
        root = write(Path(scratch.name) / name, 40 if options.quick else 160)
        enlarge(root, scale)
        works.append(Work(f"{name} drawn at {size}", root, 224, {"catdog": None, "drone": 400}.get(name, 256)))
    if options.data is not None:
        works += [Work(name, options.data / name, 224, None if name == "catdog" else 256) for name in REAL
                  if (options.data / name).is_dir()]
    for work in works:
        with tempfile.TemporaryDirectory() as home:
            os.environ["SEGLAB_HOME"] = home
            compare(part, work, 2 if options.quick else 5, (0, 1) if options.quick else (0, 1, 2))
    return part


if __name__ == "__main__":
    run_part(measure, threads=1)
