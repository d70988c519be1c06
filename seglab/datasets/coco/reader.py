"""COCO's format: pictures with masks of chosen categories, painted from the outlines of objects."""

from __future__ import annotations

import gc
import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seglab.datasets.base import Reader, check_choice, did_you_mean, few
from seglab.datasets.coco.index import FAULTS, OUTSIDE, CocoIndex
from seglab.datasets.coco.layout import find_layout, find_pictures, find_unannotated
from seglab.datasets.coco.masks import (
    LONGEST,
    Rle,
    outline_length,
    paint,
    painting_order,
    rle_counts,
    semantic_mask,
    to_rle,
)
from seglab.datasets.io import Size, image_size
from seglab.datasets.splits import SPLITS, Entry, existing_folder, folders_below, visible
from seglab.errors import ArgumentError, DataError
from seglab.labels import IGNORE, known_label_set


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which looks through 100,000 entries again and again while they are made."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Coco(Reader):
    """COCO's instance annotations: chosen categories are classes 1, 2, … in their order, all else is 0, background.

    Polygons, run lengths (compressed or not) and crowds are rasterised by pycocotools, at the annotation's own
    resolution: so overlaps are decided on the pixels that COCO's authors saw.

    Read are the published layout (`annotations/instances_train2017.json` + `train2017/`) and what common tools export:
    `train/_annotations.coco.json` (Roboflow), `annotations/instances_default.json` + `images/` (CVAT), `result.json` +
    `images/` (Label Studio), `annotations.json` + `images/`; or an annotation and a folder of pictures that you name.

    Args:
        categories: names, or ids of the first split's annotation (17 is cat), in the order of the classes; a leading 0
            or "background" may stand for the background. None or "all" takes all, in the order of their ids, but for
            groups: categories without any object that others name as their supercategory.
        images: the folder of the pictures, from `root` on; by default `root`. With `annotations` only.
        annotations: the JSON file, from `root` on; by default the known layouts are looked for.
        min_pixels: train on those pictures only in which objects of these categories cover more pixels together, by
            the file's own areas, as torchvision's reference does. None keeps all.
        crowd: "ignore" makes the pixels of a crowd 255, "drop" leaves crowds out, so that they are background, "fill"
            treats a crowd as one object. Crowds are regions with many objects that nobody told apart.
        overlap: pixels that several objects claim: "ignore" makes them 255, "last" takes the object that comes last in
            the file, "max" the highest class id. `crowd="fill"`, `overlap="ignore"` equals torchvision's reference
            conversion bit for bit.

    Attributes:
        indexes: {split: the tables of its annotation}.
        class_of: {split: {category id: class id}}.

    Raises:
        ArgumentError: an unknown category (the message suggests near ones) or option.
        DataError: no such layout, no COCO annotation, one that is cut off, or splits with other categories.

    Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", arXiv 1405.0312.

    Example:
        >>> import tempfile
        >>> from seglab.samples import write_coco_sample
        >>> root = write_coco_sample(Path(tempfile.mkdtemp()) / "coco", count=(4, 2), progress=False)
        >>> coco = Coco(root, categories=["cat", "dog"])
        >>> coco.label_set.classes, coco.mask(coco.splits["val"][0]).dtype
        (('background', 'cat', 'dog'), dtype('uint8'))
    """

    name = "coco"
    looks_like = "annotations/instances_train2017.json + train2017/, or annotations.json + images/"

    @_uncollected()
    def __init__(self, root: str | Path, *, categories: Iterable[int | str] | None = None,
                 images: str | Path | None = None, annotations: str | Path | None = None,
                 min_pixels: float | None = 1000, crowd: str = "ignore", overlap: str = "ignore") -> None:
        check_choice("crowd", crowd, ("ignore", "drop", "fill"))
        check_choice("overlap", overlap, ("ignore", "last", "max"))
        if images is not None and annotations is None:
            raise ArgumentError("images", found=f"{images} without annotations", expected="both, or neither")
        self.root, self.crowd, self.overlap, self.min_pixels = existing_folder(root), crowd, overlap, min_pixels
        parts, without = find_layout(self.root) if annotations is None else ({
            "all": (self.root / os.path.expanduser(annotations), existing_folder(self.root / (images or ".")))}, [])
        if without:
            self.notes.append(f"{few(without)}: no folder of pictures, and left out")
        if not parts:
            raise DataError(f"{self.root}: COCO dataset", found=[p.name for p in visible(self.root)][:12],
                            expected=self.looks_like, fix="Unpack pictures and annotations side by side, or name both: "
                                                          "images=, annotations=.")
        for split, (missing, folder) in find_unannotated(self.root, parts).items() if annotations is None else ():
            if split != "test":  # of which COCO publishes the pictures alone
                raise DataError(f"{missing}: annotation of the pictures in {folder.name}", found="no such file",
                                expected="one for each folder of a split",
                                fix=f"Put it there; or move {folder.name} away, and a part of the others is {split}.")
            self.notes.append(f"{folder}: not used, since there is no {missing.name}")
        self.indexes = {split: CocoIndex.open(parts[split][0]) for split in (*SPLITS, "all") if split in parts}
        chosen = self._choose(categories)
        self.label_set = known_label_set(("background", *chosen))
        self.training_rule = (f"have objects of {few(chosen)} that cover more than {min_pixels:g} pixels together "
                              "(min_pixels)" if min_pixels is not None else "")
        class_ids = {name: class_id for class_id, name in enumerate(chosen, 1)}
        self.splits, self.class_of = {}, {}
        self._classes: dict[str, np.ndarray] = {}
        self._covered: dict[str, np.ndarray] = {}
        for split, index in self.indexes.items():
            self.splits[split] = self._entries(split, parts[split][1])
            self.class_of[split] = {key: class_ids[name] for key, name, _ in index.categories if name in class_ids}
            # The class of each category; -1, none, is the last.
            self._classes[split] = np.array([class_ids.get(name, 0) for _, name, _ in index.categories] + [0])
            self._look_at_rows(split)

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        return next((folder for folder in folders_below(root, 2) if find_layout(folder)[0]), None)

    @property
    def title(self) -> str:
        return self.name if os.path.isdir(self.root / "annotations") else self.root.name

    def _choose(self, categories: Iterable[int | str] | None) -> list[str]:
        """The names of the chosen categories, in the order of the classes."""
        categories = None if categories == "all" else categories
        first = next(iter(self.indexes.values()))
        names = {key: name for key, name, _ in first.categories}
        used = {index.categories[place][1] for index in self.indexes.values()
                for place in np.unique(index.rows["category"]) if place >= 0}
        groups = {group for index in self.indexes.values() for _, name, group in index.categories if group != name}
        usable = {key: name for key, name in names.items() if name in used or name not in groups}
        if left_out := [name for key, name in names.items() if key not in usable]:
            self.notes.append(f"{few(left_out)}: no class, since no object has it, and others name it as their group")
        if categories is None:
            wanted: list[Any] = [name for name in usable.values() if name.lower() != "background"]
        else:
            wanted = [categories] if isinstance(categories, str) else list(categories)
            if wanted and wanted[0] in (0, "background") and wanted[0] not in (*usable, *usable.values()):
                wanted = wanted[1:]
        chosen = [unicodedata.normalize("NFC", item) if isinstance(item, str) else names.get(item) for item in wanted]
        for item, name in zip(wanted, chosen, strict=True):
            if name not in names.values():
                raise ArgumentError("category", found=repr(item),
                                    expected=f"one of the {len(names)} of {first.path.name}, such as "
                                             + ", ".join(f"{key} {name!r}" for key, name in [*names.items()][:3]),
                                    fix=did_you_mean(item, [*map(str, names), *names.values()]))
        if not chosen or len(set(chosen)) != len(chosen) or len(chosen) > IGNORE - 2:
            raise ArgumentError("categories", found=few(wanted, 20) or "none",
                                expected=f"1 to {IGNORE - 2} categories, each once")
        for split, index in self.indexes.items():
            there = {name for _, name, _ in index.categories}
            missing, more = {*chosen} - there, there - {*names.values()} if categories is None else None
            if missing or more:
                raise DataError(f"{index.path}: categories", found=f"no {few(sorted(missing))} in {split!r}" if missing
                                else f"{few(sorted(more or ()))} in {split!r} alone", expected=f"those of {first.path}",
                                fix="Write the splits with the same categories.")
        return [str(name) for name in chosen]

    def _entries(self, split: str, folder: Path) -> list[Entry]:
        found = find_pictures(folder, [name for _, name, _, _ in self.indexes[split].pictures])
        names = [os.path.splitext(unicodedata.normalize("NFC", path))[0] for path, _ in found]
        if len({*names}) < len({path for path, _ in found}):  # a.jpg and a.png
            names = [path for path, _ in found]
        entries = [Entry(name, folder / path, (split, number)) for number, (name, (path, _)) in enumerate(
            zip(names, found, strict=True))]
        self.bad.update({entry.image: wrong for entry, (_, wrong) in zip(entries, found, strict=True) if wrong})
        return entries

    def _look_at_rows(self, split: str) -> None:
        """Sum up the areas of objects by picture, and find what is wrong."""
        index = self.indexes[split]
        area, picture, category, crowd, fault = (index.rows[name] for name in (
            "area", "picture", "category", "crowd", "fault"))
        ours = self._classes[split][category] > 0
        counts = ours & (picture < len(index.pictures)) & ((crowd == 0) | (self.crowd == "fill"))
        self._covered[split] = np.bincount(picture[counts], area[counts], len(index.pictures))  # square pixels
        for what in np.unique(fault[ours | (category < 0)]).tolist():
            rows = index.rows[(ours | (category < 0)) & (fault == what)]
            if what in FAULTS:
                ids = [f"{index.shape(row)[0]} of {split}" if len(self.indexes) > 1 else index.shape(row)[0]
                       for row in rows]
                self.faults[FAULTS[what]] = [*self.faults.get(FAULTS[what], ()), *ids]
            elif what == OUTSIDE:
                self.notes.append(f"{index.path.name}, {split}: {len(rows)} objects lie outside of their pictures "
                                  f"(annotations {few([index.shape(row)[0] for row in rows[:6]])}). "
                                  "Are their coordinates in pixels?")

    def for_training(self, entry: Entry) -> bool:
        split, picture = entry.target
        return self.min_pixels is None or bool(self._covered[split][picture] > self.min_pixels)

    def settings(self) -> dict[str, Any]:
        return {"annotations": {split: index.digest for split, index in self.indexes.items()}, "crowd": self.crowd,
                "overlap": self.overlap}

    def size(self, entry: Entry) -> Size:
        """(height, width) as the annotation says, or the picture's own where it does not say."""
        height, width = self.indexes[entry.target[0]].pictures[entry.target[1]][2:]
        return (height, width) if height else image_size(entry.image)

    def _rows(self, entry: Entry) -> tuple[CocoIndex, np.ndarray, list[int]]:
        """The chosen annotations of a picture, and their classes."""
        split, picture = entry.target
        index = self.indexes[split]
        rows = index.rows[index.first[picture]:index.first[picture + 1]]
        classes = self._classes[split][rows["category"]]
        return index, rows[classes > 0], classes[classes > 0].tolist()

    def annotations(self, entry: Entry) -> list[dict[str, Any]]:
        """The objects of the chosen categories on a picture, crowds included, as COCO writes them, run lengths plain.

        An area is the file's, or measured where that cannot be.
        """
        index, rows, _ = self._rows(entry)
        found = []
        for row in rows:
            key, shape = index.shape(row)
            plain = ([outline.tolist() for outline in shape] if isinstance(shape, list) else
                     {"size": shape["size"], "counts": rle_counts(shape["counts"]).tolist()})
            found.append({"id": key, "image_id": index.pictures[row["picture"]][0], "segmentation": plain,
                          "category_id": index.categories[row["category"]][0], "area": float(row["area"]),
                          "iscrowd": int(row["crowd"])})
        return found

    def _shapes(self, entry: Entry) -> tuple[list[Rle], list[int], list[bool], np.ndarray]:
        """Run lengths, class ids, crowds and areas of a picture's objects."""
        index, rows, classes = self._rows(entry)
        size, rles = self.size(entry), []
        # Outlines of objects are as long as the picture has pixels at most, with some that lie over each other. Longer
        # ones are damage, and would take minutes.
        shapes = [index.shape(row) for row in rows]
        length = outline_length([one for _, shape in shapes if isinstance(shape, list) for one in shape])
        for key, shape in shapes:
            try:
                if length > LONGEST + 8 * size[0] * size[1] and isinstance(shape, list):
                    raise ValueError("outlines of this picture that are far longer than any on so few pixels")
                rles.append(to_rle(shape, *size))
            except (ValueError, TypeError, LookupError) as error:
                raise DataError(f"{index.path}: annotation {key}", found=str(error),
                                expected=f"a shape on {size[1]}×{size[0]} pixels", fix="Mend or remove it.") from error
        return rles, classes, (rows["crowd"] != 0).tolist(), rows["area"]

    def mask(self, entry: Entry) -> np.ndarray:
        rles, classes, crowds, _ = self._shapes(entry)
        return semantic_mask(rles, classes, crowds, self.size(entry), crowd=self.crowd, overlap=self.overlap)

    def objects(self, entry: Entry) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) int32: 0 where `mask` has no object or ignores, else k for object k, as large as the annotation says.

        And (objects,) float64: the area of object k in square pixels is at k - 1.
        """
        rles, classes, crowds, areas = self._shapes(entry)
        solid = painting_order(classes, crowds, self.crowd, self.overlap)
        size = self.size(entry)
        numbers = paint([rles[i] for i in solid], [i + 1 for i in solid], size, np.int32).reshape(size, order="F")
        mask = semantic_mask(rles, classes, crowds, size, crowd=self.crowd, overlap=self.overlap)
        return np.where((mask == 0) | (mask == IGNORE), np.int32(0), numbers), areas
