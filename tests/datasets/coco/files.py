"""Small COCO annotations, whole and broken, for these tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 17, "name": "cat", "supercategory": "animal"}, {"id": 18, "name": "dog"},
              {"id": 37, "name": "sports ball"}]


def box(left: float, top: float, width: float, height: float) -> list[float]:
    """A rectangle as a polygon."""
    return [left, top, left + width, top, left + width, top + height, left, top + height]


def thing(number: int, shape: Any, *, category: int = 17, image: int = 1, crowd: int = 0,
          area: float = 2000.0) -> dict[str, Any]:
    segmentation = shape if isinstance(shape, dict) else [shape]
    return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation, "area": area,
            "iscrowd": crowd, "bbox": [0, 0, 1, 1]}


def content(annotations: list, images: int = 1, size: tuple[int, int] = (60, 80)) -> dict[str, Any]:
    return {"info": {"description": "test"}, "categories": [dict(one) for one in CATEGORIES],
            "annotations": annotations,
            "images": [{"id": i, "file_name": f"{i:012d}.jpg", "height": size[0], "width": size[1]}
                       for i in range(1, images + 1)]}


def write(root: Path, what: dict | str | bytes, pictures: bool = True) -> tuple[Path, Path]:
    """(folder of the pictures, annotation)."""
    images, path = root / "train2017", root / "annotations" / "instances_train2017.json"
    for folder in (images, path.parent):
        folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(what) if isinstance(what, dict) else what
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if pictures and isinstance(what, dict):
        for one in what["images"]:
            rng = np.random.default_rng(one["id"])
            Image.fromarray(rng.integers(0, 256, (one["height"], one["width"], 3), dtype=np.uint8)).save(
                images / one["file_name"])
    return images, path
