"""COCO 2017 in part: its annotations, and of its 20 GB of pictures only some that show the wanted categories."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from seglab.datasets.base import did_you_mean
from seglab.datasets.download import GoneError, alone, fetch
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_write
from seglab.progress import progress_bar

COCO = "http://images.cocodataset.org"  # not https: its certificate is for another name
ARCHIVE, ARCHIVE_BYTES, ARCHIVE_MD5 = "annotations_trainval2017.zip", 252_907_541, "f4bbac642086de4f52a3fdda2de5fa2c"
LICENCE = "Annotations: CC BY 4.0. Pictures: each under its own Flickr terms, see `license` in the annotations."
_MARK = "reduced by seglab download"  # stands in annotations that we wrote, and may replace
_PICTURE_BYTES = 160_000  # on average
_MOST_GONE = 0.01


def download_coco(folder: str | Path, categories: Iterable[int | str] | None = ("cat", "dog"), pictures: int = 500, *,
                  progress: bool = True, base_url: str = COCO) -> Path:
    """Fetch COCO 2017's annotations (253 MB) and some pictures of some categories; what is there is not fetched again.

    The choice is always the same, the first 500 are among the first 1000, and each category has its share. The
    annotations are reduced to these pictures, with all of their objects, of other categories too. A further call
    replaces the annotations, and uses what is there. The archive stays for it, and may be deleted.

    Args:
        folder: for `annotations/`, `train2017/` and `val2017/`; it is returned.
        categories: names or ids; None or "all" for all 80.
        pictures: how many of train2017; of val2017 a fifth as many. Where there are fewer, all of them, and a warning.
        progress: show bars.
        base_url: a mirror.

    Raises:
        ArgumentError: an unknown category (the message suggests near ones), or no pictures.
        DataError: no network or `SEGLAB_OFFLINE` is set, or a file is not the right one, see `fetch`; more than 1% of
            the pictures are gone from the server (fewer are left out, with a warning); too little room; the folder
            has annotations that are not from here.
    """
    folder = Path(folder).expanduser()
    wanted = _wanted(categories)
    if pictures < 1:
        raise ArgumentError("pictures", found=pictures, expected="1 or more")
    counts = {"train2017": pictures, "val2017": -(-pictures // 5)}
    with alone(folder / "coco"):
        files = {split: folder / "annotations" / f"instances_{split}.json" for split in counts}
        for file in files.values():
            if file.exists() and _MARK.encode() not in file.read_bytes()[:1000]:
                raise DataError(f"{file}: already there", found="annotations that `seglab download` did not write",
                                expected="none, or its own", fix="Give another folder; these are not replaced.")
        archive = folder / ARCHIVE
        if not archive.exists():
            _check_room(folder, ARCHIVE_BYTES + sum(counts.values()) * _PICTURE_BYTES)
        fetch(f"{base_url}/annotations/{ARCHIVE}", archive, ARCHIVE_MD5, about="253 MB", lock=False, progress=progress,
              instead="Without a network, draw a small one: seglab sample FOLDER --dataset coco.")
        reduced = {}
        for split, count in progress_bar(counts.items(), desc="choosing pictures", unit="split", shown=progress):
            reduced[split] = _reduced(archive, split, wanted, count)
        images = {f"{split}/{image['id']:012d}.jpg": image
                  for split, data in reduced.items() for image in data["images"]}
        _check_room(folder, sum(not (folder / name).exists() for name in images) * _PICTURE_BYTES)
        gone = {images[name]["id"] for name in _fetch_pictures(folder, images, base_url, progress)}
        for split, data in reduced.items():
            data["images"] = [image for image in data["images"] if image["id"] not in gone]
            data["annotations"] = [item for item in data["annotations"] if item["image_id"] not in gone]
            files[split].parent.mkdir(exist_ok=True)
            atomic_write(files[split], json.dumps(data).encode())
    return folder


def _wanted(categories: Iterable[int | str] | None) -> dict[str, int]:
    names = FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"]  # the published ids are their places
    known = {name: number for number, name in enumerate(names) if name not in {"__background__", "N/A"}}
    asked = known if categories in (None, "all") else [categories] if isinstance(categories, str) else list(categories)
    chosen = [names[item] if isinstance(item, int) and 0 < item < len(names) else item for item in asked]
    for item, name in zip(asked, chosen, strict=True):
        if name not in known:
            raise ArgumentError("category", found=repr(item), expected="COCO's, by name or id, such as cat, dog",
                                fix=did_you_mean(item, known))
    if not chosen:
        raise ArgumentError("categories", found="none", expected="one or more, or None for all")
    return {name: known[name] for name in map(str, chosen)}


def _reduced(archive: Path, split: str, wanted: dict[str, int], count: int) -> dict[str, Any]:
    """The published annotations of a split, with the chosen pictures only.

    Nothing is unpacked, and the checksum vouches for what is in the archive. Annotations are parsed one by one, and
    only where they stand is kept: all of them as Python objects would take several GB.
    """
    with zipfile.ZipFile(archive) as zipped:
        text = zipped.read(f"annotations/instances_{split}.json").decode()
    gap, decode = re.compile(r"[\s,]*"), json.JSONDecoder().raw_decode
    places: dict[int, list[tuple[int, int]]] = {}  # of the annotations of each picture
    shown: dict[int, set[int]] = {number: set() for number in wanted.values()}
    start = end = text.index("[", text.index('"annotations":')) + 1
    while text[end := gap.match(text, end).end()] != "]":  # type: ignore[union-attr] # it matches nothing, too
        item, after = decode(text, end)
        places.setdefault(item["image_id"], []).append((end, after))
        if item["category_id"] in shown:
            shown[item["category_id"]].add(item["image_id"])
        end = after
    chosen = _chosen(list(shown.values()), count)
    if len(chosen) < count:
        warnings.warn(f"{split}: {len(chosen)} pictures show {', '.join(wanted)}, fewer than {count}; all are taken.",
                      stacklevel=3)
    kept = sorted(place for number in chosen for place in places[number])
    data = json.loads(text[:start] + ",".join(text[slice(*place)] for place in kept) + text[end:])
    data["info"]["description"] += f"; {_MARK} to pictures of {', '.join(wanted)}"
    data["images"] = [image for image in data["images"] if image["id"] in chosen]
    return data


def _chosen(shown: Sequence[set[int]], count: int) -> set[int]:
    """Ids of pictures: one of each category in turn, in an order that depends on nothing but the ids."""
    queues = [iter(sorted(ids, key=lambda number: hashlib.sha256(str(number).encode()).digest())) for ids in shown]
    chosen: set[int] = set()
    while queues and len(chosen) < count:
        queue = queues.pop(0)
        if (number := next((number for number in queue if number not in chosen), None)) is not None:
            chosen.add(number)
            queues.append(queue)
    return chosen


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(f"{folder}: too little room", found=f"{free / 1e6:,.0f} MB free",
                        expected=f"about {needed / 1e6:,.0f} MB", fix="Free some, take fewer pictures or another disk.")


def _fetch_pictures(folder: Path, images: dict[str, dict[str, Any]], base_url: str, progress: bool) -> list[str]:
    """Fetch several at a time; the names of those that the server does not have (any more)."""
    for name in images:
        (folder / name).parent.mkdir(exist_ok=True)
    gone: list[str] = []
    pool = ThreadPoolExecutor(8)
    try:
        jobs = {pool.submit(fetch, f"{base_url}/{name}", folder / name, partial(_other_picture, image=image),
                            about=f"one of {len(images):,} pictures", progress=False, lock=False): name
                for name, image in images.items()}
        for job in progress_bar(as_completed(jobs), total=len(jobs), desc="pictures", unit="", shown=progress):
            try:
                job.result()
            except GoneError as error:
                gone.append(jobs[job])
                if len(gone) > _MOST_GONE * len(images):
                    raise DataError(f"{folder}: pictures are gone from {base_url}",
                                    found=f"{len(gone)} of {len(images)} so far: {', '.join(sorted(gone)[:5])}",
                                    expected=f"at most {_MOST_GONE:.0%}", fix="Check the address.") from error
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C only those that have begun go on
    if gone:
        warnings.warn(f"{folder}: {len(gone)} of {len(images)} pictures are gone from {base_url} and left out: "
                      f"{', '.join(sorted(gone))}", stacklevel=3)
    return gone


def _other_picture(path: Path, image: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a picture, for `fetch`."""
    expected = f"a whole picture of {image['width']} × {image['height']} pixels, as in the annotations"
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as picture:  # 320612 is a PNG
            if picture.size != (image["width"], image["height"]):
                return f"{picture.width} × {picture.height} pixels", expected
            picture.draft("RGB", (1, 1))  # decodes an eighth of the size: all bytes are read, in little time
            picture.load()
    except OSError as error:
        return str(error), expected
    return None
