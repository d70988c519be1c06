"""Pictures, masks, class tables, lists and annotations: small valid ones, what damages them, and who reads them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
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
from seglab.samples import write_catdog_sample, write_drone_sample
from seglab.widgets import MaskPainter
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
    rgba = picture(1, 4)
    rgba[..., 3] = 255 * (rgba[..., 3] > 20)
    Image.fromarray(rgba).save(folder / "rgba.png")
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
    Image.fromarray(picture(1)).save(folder / "lossless.webp", lossless=True)


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
    encodings = {"ids": Image.fromarray, "palette": with_palette,
                 "deep": lambda m: Image.fromarray(m.astype(np.uint16)),
                 "colours": lambda m: Image.fromarray(_CLASSES.colourise(m)),
                 "bits": lambda m: Image.fromarray(m > 0), "floats": lambda m: Image.fromarray(m)}
    for name, encode in encodings.items():
        write_pairs(folder / name / "images", folder / name / "masks", range(4), encode)
        write_table(folder / name / "class_dict.csv")
    for path in (folder / "floats" / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path)).astype(np.float32)).save(path.with_suffix(".tif"))
        path.unlink()


def make_layouts(folder: Path) -> None:
    """Published layouts with masks: the two of the drone pictures, CamVid, VOC, Roboflow."""
    for layout in ("ids", "colours"):
        write_drone_sample(folder / layout, count=4, size=(32, 40), layout=layout, progress=False)
    for split, numbers in {"train": range(4), "val": range(4, 6), "test": range(6, 8)}.items():
        write_pairs(folder / "camvid" / split, folder / "camvid" / f"{split}annot", numbers)
    for name in ("voc", "labelme-voc"):
        root = folder / name
        write_pairs(root / "JPEGImages", root / "SegmentationClass", range(5), with_palette)
        (root / "ImageSets" / "Segmentation").mkdir(parents=True)
        for split, numbers in {"train": range(3), "val": range(3, 5)}.items():
            (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{n:03d}\n" for n in numbers))
    colours = [f"{name}:{r},{g},{b}::" for name, (r, g, b) in zip(_CLASSES.classes, _CLASSES.colours, strict=True)]
    (folder / "voc" / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *colours, ""]))
    (folder / "labelme-voc" / "class_names.txt").write_text("\n".join(["_background_", "grass", "roof", ""]))
    for split, numbers in {"train": range(4), "valid": range(4, 6)}.items():
        write_pairs(folder / "roboflow" / split, folder / "roboflow" / split, numbers)
        for path in (folder / "roboflow" / split).glob("*.png"):
            path.rename(path.with_name(f"{path.stem}_mask.png"))
        (folder / "roboflow" / split / "_classes.csv").write_text("Pixel Value, Class\n0, ground\n1, grass\n2, roof\n")


def make_tables(folder: Path) -> None:
    names, colours = _CLASSES.classes, _CLASSES.colours
    tables = {"plain": [f"{n},{r},{g},{b}" for n, (r, g, b) in zip(names, colours, strict=True)],
              "values": ["id;name;color;ignore", *(f"{i};{n};#{r:02x}{g:02x}{b:02x};{int(i == 2)}" for i, (n, (r, g, b))
                                                   in enumerate(zip(names, colours, strict=True)))]}
    tables["tabs"] = ["class\tred\tgreen\tblue", *(line.replace(",", "\t") for line in tables["plain"])]
    for name, lines in tables.items():
        write_pairs(folder / name / "images", folder / name / "masks", range(4))
        (folder / name / "class_dict.csv").write_text("\n".join([*lines, ""]))


def make_pets(folder: Path) -> None:
    root, lists = folder / "pets", dict[str, list[str]](list=["#Image CLASS-ID SPECIES BREED ID"], trainval=[], test=[])
    write_pairs(root / "images", root / "annotations" / "trimaps", range(8), lambda ids: Image.fromarray(ids + 1))
    for number in range(8):
        breed, row = (("Abyssinian", "1 1 1"), ("beagle", "2 2 1"))[number % 2]
        for path in root.rglob(f"{number:03d}.*"):
            path.rename(path.with_stem(f"{breed}_{number + 1}"))
        for name in ("list", "trainval" if number < 6 else "test"):
            lists[name].append(f"{breed}_{number + 1} {row}")
    for name, lines in lists.items():
        (root / "annotations" / f"{name}.txt").write_text("\n".join([*lines, ""]))


def make_maps(folder: Path) -> None:
    write_catdog_sample(folder / "set", count=(3, 2), size=(32, 32), progress=False)


def make_painted(folder: Path) -> None:
    write_pairs(folder / "set" / "images", folder / "none", range(3))
    painter = MaskPainter(folder / "set" / "images", _CLASSES, folder / "set")
    for number in range(3):
        painter.stroke(number, [(4, 4), (20, 12)], radius=4, class_=1)


def run_painter(folder: Path, path: Path, policy: str) -> Result:
    painter = MaskPainter(folder / "set" / "images", _CLASSES, folder / "set")
    return Result([digest(painter.mask(number)) for number in range(3)])


# ------------------------------------------------------------------------------------------------------ annotations
def coco_document(numbers: range) -> dict[str, Any]:
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
    categories = [{"id": i, "name": name, "supercategory": "animal"} for i, name in enumerate(("cat", "dog"), 1)]
    return {"info": {"year": 2024}, "images": images, "annotations": annotations, "categories": categories}


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


def make_exports(folder: Path) -> None:
    """COCO's format as VIA, Roboflow and Label Studio write it."""
    whole = coco_document(range(4))
    outlines = [one for one in whole["annotations"] if isinstance(one["segmentation"], list)]
    via = {**whole, "annotations": [{**one, "image_id": str(one["image_id"]), "segmentation": one["segmentation"][0]}
                                    for one in outlines]}
    studio = {**whole, "images": [{**one, "file_name": f"/data/local-files/?d=x%2F{one['file_name']}"}
                                  for one in whole["images"]]}
    for name, file, document in (("via", "annotations.json", via), ("studio", "result.json", studio)):
        write_pairs(folder / name / "images", folder / "none", range(4))
        (folder / name / file).write_text(json.dumps(document))
    for split, numbers in {"train": range(4), "valid": range(4, 6)}.items():
        write_pairs(folder / "roboflow" / split, folder / "none", numbers)
        (folder / "roboflow" / split / "_annotations.coco.json").write_text(json.dumps(coco_document(numbers)))


def make_labelme(folder: Path) -> None:
    stencil = io.BytesIO()
    Image.fromarray(np.full((6, 8), 255, np.uint8)).save(stencil, "PNG")
    shapes = [("cat", "polygon", [[2, 2], [20, 3], [15.5, 18]]), ("dog", "rectangle", [[1, 1], [9, 12]]),
              ("cat", "circle", [[20, 10], [24, 12]]), ("dog", "mask", [[3, 4], [10, 9]]), ("x", "point", [[1, 2]])]
    for number in range(4):
        write_pairs(folder / "set", folder / "none", range(number, number + 1))
        found = [{"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, "mask":
                  base64.b64encode(stencil.getvalue()).decode() if kind == "mask" else None}
                 for label, kind, points in shapes]
        (folder / "set" / f"{number:03d}.json").write_text(json.dumps({
            "version": "5.2.1", "flags": {}, "shapes": found, "imagePath": f"{number:03d}.jpg", "imageData": None,
            "imageHeight": _SIZE[0], "imageWidth": _SIZE[1]}))


B, J, L, P = by.of_bytes, by.of_json, by.of_lines, by.of_png
KINDS: dict[str, Kind] = {
    "png": Kind(make_png, {"*.png": (B, P)}, run_picture, png_broken),
    "jpeg": Kind(make_jpeg, {"*.jp*g": (B,)}, run_picture),
    "tiff": Kind(make_tiff, {"*.tif*": (B,)}, run_picture),
    "bmp": Kind(make_bmp, {"*.*": (B,)}, run_picture),
    "webp": Kind(make_webp, {"*.webp": (B,)}, run_picture),
    "masks": Kind(make_masks, {"*/masks/*": (B, P)}, run_dataset(), png_broken),
    "pictures": Kind(make_masks, {"*/images/*": (B,)}, run_dataset()),
    "layouts": Kind(make_layouts, {"*/**/*.png": (B, P)}, run_dataset(), png_broken),
    "voc-lists": Kind(make_layouts, {"*voc/ImageSets/*/*.txt": (L, B), "*voc/*.txt": (L, B)}, run_dataset()),
    "tables": Kind(make_tables, {"*/class_dict.csv": (L, L, B)}, run_dataset()),
    "layout-tables": Kind(make_layouts, {"*/**/*.csv": (L, L, B)}, run_dataset()),
    "trimaps": Kind(make_pets, {"*/annotations/trimaps/*": (B, P)}, run_dataset(), png_broken),
    "pets-lists": Kind(make_pets, {"*/annotations/*.txt": (L, L, B)}, run_dataset()),
    "pets-breeds": Kind(make_pets, {"*/annotations/*.txt": (L, L, B)}, run_dataset("pets", target="breed")),
    "maps": Kind(make_maps, {"set/*.txt": (L, L, B)}, run_dataset(size=32)),
    "coco": Kind(make_coco, {"set/annotations/*.json": (J, J, J, B)}, run_coco),
    "coco-exports": Kind(make_exports, {"*/*.json": (J, J, J, B), "*/*/*.json": (J, J, J, B)}, run_coco),
    "labelme": Kind(make_labelme, {"set/*.json": (J, J, J, B)}, run_dataset()),
    "painted": Kind(make_painted, {"set/masks/*": (B, P, P), "set/*.csv": (L,)}, run_painter, png_broken),
}
