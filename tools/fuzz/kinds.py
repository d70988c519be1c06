"""The kinds of files: small valid ones, what damages them, and what a user does with them."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, PngImagePlugin

from seglab import build
from seglab.datasets import open_dataset, read_image
from seglab.inference import predict
from seglab.labels import LabelSet
from tools.fuzz import mutations as by
from tools.fuzz.processes import Kind, Result

torch.set_num_threads(1)
cv2.setNumThreads(1)
_SIZE = (24, 32)
_CLASSES = LabelSet("things", ("ground", "grass", "roof"), ((0, 0, 0), (0, 255, 0), (255, 0, 0)))


def digest(*values: Any) -> str:
    """A short text that tells whether values, arrays among them, are the same."""
    found = hashlib.blake2b(digest_size=8)
    for value in values:
        if hasattr(value, "__array__"):
            value = np.asarray(value)
            found.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
        else:
            found.update(repr(value).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def picture(seed: int, channels: int = 3) -> np.ndarray:
    """(H, W, channels) uint8, smooth enough to be a photograph."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    return cv2.resize(small, _SIZE[::-1], interpolation=cv2.INTER_CUBIC).reshape(*_SIZE, channels)


def mask(seed: int) -> np.ndarray:
    """(H, W) uint8, ids 0 to 2."""
    small = np.random.default_rng(seed).integers(0, 3, (4, 4), dtype=np.uint8)
    small.flat[:3] = 0, 1, 2
    return cv2.resize(small, _SIZE[::-1], interpolation=cv2.INTER_NEAREST)


# -------------------------------------------------------------------------------------------------------- pictures
def make_png(folder: Path) -> None:
    folder.mkdir()
    rgb, about = Image.fromarray(picture(0)), PngImagePlugin.PngInfo()
    about.add_text("Comment", "a picture", zip=True)
    exif = Image.Exif()
    exif[274] = 6
    rgb.save(folder / "rgb.png", pnginfo=about, exif=exif, dpi=(72, 72))
    rgb.quantize(16).save(folder / "palette.png", transparency=3)
    Image.fromarray(picture(1, 4), "RGBA").save(folder / "rgba.png")
    Image.fromarray(picture(2, 1)[..., 0]).convert("1").save(folder / "bits.png")
    cv2.imwrite(str(folder / "deep.png"), picture(3).astype(np.uint16) * 257)
    Image.fromarray(picture(4, 1)[..., 0].astype(np.uint16) * 200).save(folder / "deep-grey.png")


def make_jpeg(folder: Path) -> None:
    folder.mkdir()
    rgb, exif = Image.fromarray(picture(0)), Image.Exif()
    exif[274], exif[0x010E] = 6, "a picture"
    rgb.save(folder / "exif.jpg", exif=exif)
    rgb.save(folder / "progressive.jpg", progressive=True, optimize=True)
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("L").save(folder / "grey.jpeg")


def make_tiff(folder: Path) -> None:
    folder.mkdir()
    rgb = Image.fromarray(picture(0))
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        rgb.save(folder / f"{packing}.tif", compression=packing)
    Image.fromarray(picture(1, 1)[..., 0].astype(np.uint16) * 200).save(folder / "deep.tiff")
    Image.fromarray(picture(1, 1)[..., 0].astype(np.float32) / 255).save(folder / "floats.tiff")
    cv2.imwrite(str(folder / "deep-rgb.tif"), picture(3).astype(np.uint16) * 257)


def make_bmp(folder: Path) -> None:
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / "rgb.bmp")
    Image.fromarray(picture(0)).quantize(16).save(folder / "palette.bmp")
    Image.fromarray(picture(0)).save(folder / "rgb.ppm")


def make_webp(folder: Path) -> None:
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / "lossy.webp", quality=80)
    Image.fromarray(picture(1, 4), "RGBA").save(folder / "lossless.webp", lossless=True)


def run_picture(folder: Path, path: Path, policy: str) -> Result:
    torch.manual_seed(0)
    found = [read_image(path), read_image(path, within=(12, 16), upright=True)]
    prediction = predict(build("single_conv", 3), path)
    return Result([found[0].shape, digest(*found, prediction.mask)])


def png_broken(path: Path) -> bool:
    """Whether a checksum in a PNG file is wrong."""
    data, at = path.read_bytes() if path.is_file() else b"", 8
    whole = data[:8] == b"\x89PNG\r\n\x1a\n"
    while whole and len(data) >= at + 12:
        size, kind = struct.unpack_from(">I4s", data, at)
        if data[at + 8 + size:at + 12 + size] != struct.pack(">I", zlib.crc32(data[at + 4:at + 8 + size])):
            return True
        if kind == b"IEND":
            return False
        at += 12 + size
    return whole


# -------------------------------------------------------------------------------------------------------- datasets
def content(splits: Any) -> Result:
    """All pictures, masks or labels of a dataset, its classes, and what it says about them."""
    parts = [[split, part.names, [digest(*map(np.asarray, part[i])) for i in range(len(part))]]
             for split, part in splits.parts.items()]
    skipped = sum(len(part.bad) + len(part.left_out) for part in splits.parts.values())
    faults = next(iter(splits.parts.values())).reader.faults
    return Result([parts, splits.label_set.classes, splits.label_set.colours], skipped + sum(map(len, faults.values())))


def run_dataset(name: str | None = None, **options: Any) -> Any:
    def run(folder: Path, path: Path, policy: str) -> Result:
        root = folder / path.relative_to(folder).parts[0]
        which = {"which": root} if name is None else {"which": name, "root": root}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return content(open_dataset(**which, problems=policy, progress=False, **options))

    return run


def write_pairs(images: Path, masks: Path, numbers: range, encode: Any = Image.fromarray) -> None:
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(picture(number)).save(images / f"{number:03d}.jpg")
        encode(mask(number)).save(masks / f"{number:03d}.png")


def write_table(path: Path) -> None:
    rows = [f"{name},{r},{g},{b}" for name, (r, g, b) in zip(_CLASSES.classes, _CLASSES.colours, strict=True)]
    path.write_text("\n".join(["name,r,g,b", *rows, ""]))


def with_palette(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids)
    image.putpalette(_CLASSES.palette.tobytes())
    return image


def make_masks(folder: Path) -> None:
    encodings = {"ids": Image.fromarray, "palette": with_palette, "deep": lambda m: Image.fromarray(m.astype(np.uint16)),
                 "colours": lambda m: Image.fromarray(_CLASSES.colourise(m)),
                 "bits": lambda m: Image.fromarray(m > 0), "floats": lambda m: Image.fromarray(m)}
    for name, encode in encodings.items():
        write_pairs(folder / name / "images", folder / name / "masks", range(4), encode)
        write_table(folder / name / "class_dict.csv")
    for path in (folder / "floats" / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path)).astype(np.float32)).save(path.with_suffix(".tif"))
        path.unlink()


# ------------------------------------------------------------------------------------------------------ annotations
def coco_document(numbers: range, **more: Any) -> dict[str, Any]:
    """An annotation with outlines, run lengths of both kinds, a crowd, and a group."""
    from pycocotools import mask as coco_mask

    images, annotations = [], []
    for number in numbers:
        images.append({"id": number, "file_name": f"{number:03d}.jpg", "height": _SIZE[0], "width": _SIZE[1]})
        shape = np.asfortranarray(mask(number) == 1).astype(np.uint8)
        packed = coco_mask.encode(np.asfortranarray(shape))
        flat = np.concatenate([[0], shape.ravel(order="F"), [2]])
        runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat))])).tolist()
        for segmentation, crowd in (([[2, 2, 20, 3, 15.5, 18]], 0), ([[1, 1, 9, 1, 9, 9], [20, 10, 30, 10, 28, 22]], 0),
                                    ({"size": list(_SIZE), "counts": packed["counts"].decode()}, 0),
                                    ({"size": list(_SIZE), "counts": runs}, 1)):
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": 1 + len(annotations) % 2,
                                "segmentation": segmentation, "area": 50.5, "bbox": [2, 2, 18, 16], "iscrowd": crowd})
    return {"info": {"year": 2024}, "images": images, "annotations": annotations, "categories": [
        {"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "dog", "supercategory": "animal"}], **more}


def make_coco(folder: Path) -> None:
    for split, numbers in {"train": range(4), "val": range(4, 6)}.items():
        write_pairs(folder / "set" / f"{split}2017", folder / "none", numbers)
        (folder / "set" / "annotations").mkdir(exist_ok=True)
        (folder / "set" / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(coco_document(numbers)))


def run_coco(folder: Path, path: Path, policy: str) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        splits = open_dataset(folder / path.relative_to(folder).parts[0], problems=policy, progress=False, min_pixels=0)
    found = content(splits)
    objects = [digest(*part.objects(i)) for part in splits.parts.values() for i in range(len(part))]
    plain = [part.reader.annotations(entry) for part in splits.parts.values() for entry in part.entries]
    return Result([found.value, objects, digest(json.dumps(plain))], found.skipped)


B, J, L, S = by.of_bytes, by.of_json, by.of_lines, by.of_safetensors
KINDS: dict[str, Kind] = {
    "png": Kind(make_png, {"*.png": (B,)}, run_picture, png_broken),
    "jpeg": Kind(make_jpeg, {"*.jp*g": (B,)}, run_picture),
    "tiff": Kind(make_tiff, {"*.tif*": (B,)}, run_picture),
    "bmp": Kind(make_bmp, {"*.*": (B,)}, run_picture),
    "webp": Kind(make_webp, {"*.webp": (B,)}, run_picture),
    "masks": Kind(make_masks, {"*/masks/*": (B,)}, run_dataset(), png_broken),
    "coco": Kind(make_coco, {"set/annotations/*.json": (J, J, J, B)}, run_coco),
}
