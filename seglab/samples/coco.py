"""A small COCO: drawn scenes with cats, dogs and balls, and the annotation that COCO's authors would have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from seglab.errors import ArgumentError
from seglab.progress import progress_bar
from seglab.samples.animals import OVER, Animal, Place, ball, camera
from seglab.samples.once import write_once

VERSION = 2  # of the drawings: raise it when they change, so that old samples are left alone
CAT, DOG, BALL = 17, 18, 37
_CATEGORIES = [{"supercategory": "animal", "id": CAT, "name": "cat"},
               {"supercategory": "animal", "id": DOG, "name": "dog"},
               {"supercategory": "sports", "id": BALL, "name": "sports ball"}]
SAMPLE_CATEGORIES = {category["name"] for category in _CATEGORIES}
_SIZES = ((160, 208), (176, 176), (208, 160))

Drawn = tuple[int, np.ndarray, bool]  # category, (H, W) bool, crowd


def write_coco_sample(root: Path, count: tuple[int, int] = (240, 60), seed: int = 0, progress: bool = True) -> Path:
    """Write a drawn set in COCO's published layout: `train2017/`, `val2017/`, `annotations/instances_*2017.json`.

    Scenes hold up to four animals, near and far, some before others, some with a ball. Most objects are polygons,
    some run lengths (plain or compressed); herds are crowds. Where two animals touch, some annotations overlap, as they
    do in COCO. The folder appears whole or not at all. A set that is there already is left as it is.

    Args:
        root: the folder to make; missing or empty, or holding this very set.
        count: pictures in train and in val, each 1 or more.
        seed: 0 or more; the same seed gives the same files.
        progress: show a bar while drawing.

    Raises:
        ArgumentError: a number out of range.
        DataError: the folder holds something else, or cannot be written.

    Example:
        >>> import tempfile
        >>> root = write_coco_sample(Path(tempfile.mkdtemp()) / "coco", count=(2, 1), progress=False)
        >>> sorted(path.name for path in root.iterdir())
        ['annotations', 'sample.json', 'train2017', 'val2017']
    """
    root = Path(root)
    if len(count) != 2 or min(count) < 1 or seed < 0:
        raise ArgumentError("write_coco_sample", found=f"count {count}, seed {seed}",
                            expected="two numbers of 1 or more, and a seed of 0 or more")
    counts = [int(n) for n in count]
    stamp = {"generator": "seglab.datasets.sample_coco", "version": VERSION, "seed": int(seed), "count": counts}
    return write_once(root, stamp, lambda draft: _write(draft, counts, int(seed), progress))


def draw_scene(index: int, seed: int = 0) -> tuple[np.ndarray, list[Drawn]]:
    """One scene and its objects, from back to front.

    Args:
        index: number of the picture, 0 or more.
        seed: 0 or more; the same two give the same scene.

    Returns:
        (H, W, 3) uint8 RGB, and for each object (COCO's category id, (H, W) bool of its pixels, whether it is a crowd).
        Some objects include what an animal before them hides.

    Example:
        >>> picture, objects = draw_scene(0)
        >>> picture.shape, [category for category, _, _ in objects]
        ((160, 208, 3), [18])
    """
    rng = np.random.default_rng((seed, 3, index))
    size = _SIZES[index % len(_SIZES)]
    place = Place(rng, OVER * size[0], OVER * size[1])
    height, width = place.picture.shape[:2]
    objects: list[Drawn] = []
    if rng.random() < 0.06:  # a herd, far away, that nobody wants to outline one by one
        is_cat, x = bool(rng.integers(2)), rng.uniform(0.3, 0.7)
        herd = [_animal(rng, is_cat, place, (x + dx, place.horizon + 0.06 * height), rng.uniform(0.02, 0.03) * height,
                        size) for dx in np.linspace(-0.24, 0.24, int(rng.integers(4, 8)))]
        objects.append((CAT if is_cat else DOG, np.any(herd, axis=0), True))
    count = int(rng.choice(5, p=(0.06, 0.36, 0.32, 0.18, 0.08)))
    near = np.sort(rng.uniform(0.1, 1.0, count))  # from back to front
    across = (rng.permutation(count) + rng.uniform(0.15, 0.85, count)) / max(count, 1)
    zoom = np.exp(rng.uniform(np.log(0.1), np.log(0.19)))
    for depth, x in zip(near, across, strict=True):
        feet = place.horizon + depth * (0.99 * height - place.horizon)
        scale = zoom * (feet - place.horizon + 0.16 * height)  # nearer is lower and larger
        is_cat = bool(rng.integers(2))
        shape = _animal(rng, is_cat, place, (0.04 + 0.92 * x, feet), scale, size)
        # Most annotators outline what is seen; some go on behind the animal in front.
        objects = [(category, other if rng.random() < 0.3 else other & ~shape, crowd)
                   for category, other, crowd in objects]
        objects.append((CAT if is_cat else DOG, shape, False))
    if rng.random() < 0.2:
        floor = place.horizon + rng.uniform(max([0.4, *near]), 1.0) * (0.99 * height - place.horizon)  # nearest of all
        r = int(0.4 * rng.uniform(0.1, 0.19) * (floor - place.horizon + 0.16 * height))
        at = int(rng.uniform(0.1, 0.9) * width), int(floor - r)
        round_ = _halved(ball(rng, place.picture, at, r), size)
        objects = [(category, other & ~round_, crowd) for category, other, crowd in objects]
        objects.append((BALL, round_, False))
    return camera(rng, cv2.resize(place.picture, size[::-1], interpolation=cv2.INTER_AREA)), objects


def _animal(rng: np.random.Generator, is_cat: bool, place: Place, feet: tuple[float, float], scale: float,
            size: tuple[int, int]) -> np.ndarray:
    """Draw an animal whose feet are at (share of the width, row): (H, W) bool."""
    return _halved(Animal(rng, is_cat).draw(place.picture, (feet[0] * place.picture.shape[1], feet[1]), scale), size)


def _halved(outline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(outline, size[::-1], interpolation=cv2.INTER_AREA) > 127


def _write(draft: Path, count: list[int], seed: int, progress: bool) -> None:
    (draft / "annotations").mkdir()
    jobs = {"train2017": range(count[0]), "val2017": range(1_000_000, 1_000_000 + count[1])}
    with progress_bar(total=sum(count), desc="drawing", unit="picture", shown=progress) as bar:
        for folder, numbers in jobs.items():
            (draft / folder).mkdir()
            images: list[dict[str, Any]] = []
            annotations: list[dict[str, Any]] = []
            for number in numbers:
                picture, objects = draw_scene(number, seed)
                name = f"{number + 1:012d}.jpg"
                Image.fromarray(picture).save(draft / folder / name, quality=92)
                images.append({"license": 1, "file_name": name, "height": picture.shape[0], "width": picture.shape[1],
                               "id": number + 1})
                for category, shape, crowd in objects:
                    if shape.sum() >= 12:  # what is hidden but for a few pixels is not annotated
                        annotations.append(_annotation(category, shape, crowd, number + 1, len(annotations)))
                bar.update()
            content = {"info": {"description": "seglab's drawn sample", "version": str(VERSION)},
                       "licenses": [{"id": 1, "name": "MIT"}], "images": images, "annotations": annotations,
                       "categories": _CATEGORIES}
            (draft / "annotations" / f"instances_{folder}.json").write_text(json.dumps(content), encoding="utf-8",
                                                                            newline="\n")


def _annotation(category: int, shape: np.ndarray, crowd: bool, image_id: int, number: int) -> dict[str, Any]:
    """An object as COCO writes it: polygons as a rule; run lengths for crowds, and now and then."""
    height, width = shape.shape
    rle = coco_mask.encode(np.asfortranarray(shape.astype(np.uint8)))
    kind = "plain" if crowd or number % 16 == 5 else "compressed" if number % 16 == 11 else "polygons"
    segmentation: list[list[float]] | dict[str, Any]
    if kind == "polygons" and (polygons := _polygons(shape)):
        segmentation = polygons
        parts = coco_mask.frPyObjects(polygons, height, width)
        rle = coco_mask.merge(parts)  # what is measured is what is written
    elif kind == "compressed":
        segmentation = {"size": [height, width], "counts": rle["counts"].decode()}
    else:
        segmentation = {"size": [height, width], "counts": _runs(shape)}
    return {"segmentation": segmentation, "area": float(coco_mask.area(rle)), "iscrowd": int(crowd),
            "image_id": image_id, "bbox": coco_mask.toBbox(rle).tolist(), "category_id": category, "id": number + 1}


def _polygons(shape: np.ndarray) -> list[list[float]]:
    """Outlines of the pixels' outer edges, in COCO's coordinates: (0, 0) is the corner of the first pixel."""
    # At twice the size, the contour runs through the middle of the outer quarter of each pixel on the edge.
    doubled = cv2.resize(shape.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlines = [cv2.approxPolyDP(contour, 1.2, True)[:, 0] for contour in contours]  # each (points, 2)
    return [np.round((points + 0.5) / 2, 2).ravel().tolist() for points in outlines if len(points) >= 3]


def _runs(shape: np.ndarray) -> list[int]:
    """Lengths of the runs of 0 and 1 down the columns; the first counts zeros, perhaps none."""
    flat = np.concatenate([[False], shape.ravel(order="F")])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], edges, [shape.size]])).tolist()
