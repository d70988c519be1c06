"""COCO's pictures with masks of chosen categories."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors

from seglab.datasets.coco.index import CocoIndex
from seglab.datasets.coco.masks import Rle, paint, semantic_mask, to_rle
from seglab.datasets.coco.rows import UNUSABLE, WITHOUT_PIXELS
from seglab.datasets.folder import SPLITS, Transforms, existing_folder, sample_of
from seglab.datasets.io import Size, fitted_size, image_size, read_image
from seglab.datasets.protocols import Sample
from seglab.errors import ArgumentError, DataError
from seglab.labels import IGNORE, LabelSet, known_label_set

_CROWD, _OVERLAP, _PROBLEMS = ("ignore", "drop", "fill"), ("ignore", "last", "max"), ("error", "skip")
#: (annotation, pictures) below a dataset's folder, for a split: as published, and as common tools export.
_LAYOUTS = (("annotations/instances_{s}2017.json", "{s}2017"), ("annotations/instances_{s}2017.json", "images/{s}2017"),
            ("annotations/instances_{s}2014.json", "{s}2014"), ("annotations/instances_{s}.json", "{s}"),
            ("annotations/instances_{s}.json", "images/{s}"), ("{s}/_annotations.coco.json", "{s}"))
#: The same for a dataset that is not split, as annotation tools export it.
_WHOLE = (("annotations/instances_default.json", "images/default"), ("annotations/instances_default.json", "images"),
          ("annotations.json", "images"), ("result.json", "."), ("_annotations.coco.json", "."))


class CocoSegmentation(Dataset[Sample]):
    """COCO's instance annotations as a dataset of (uint8 image, uint8 mask).

    Chosen categories become classes 1, 2, … in the order in which they are given; everything else is 0, background.
    Polygons, run lengths (compressed or not) and crowds are rasterised by pycocotools, at the annotation's own
    resolution. Only then is a mask resized, by nearest: so overlaps are decided on the pixels that COCO's authors saw,
    each class id comes from one source pixel, and no class is invented between two others. (Scaling the polygons first
    would save time, but moves outlines by up to a pixel against everybody else's masks.)

    The first opening makes a small index beside the annotation (see `coco.index`); later ones take a fraction of a
    second, also for all of COCO, and loader workers share the index.

    Args:
        images: the folder of the pictures. None for masks alone, where the pictures are not at hand.
        annotations: the JSON file, such as `annotations/instances_train2017.json`.
        categories: category ids (17 is cat) or names, in the order of the classes; a leading 0 or "background" may
            stand for the background. None takes all, in the order of their ids.
        min_pixels: see `drop_empty`; in square pixels.
        drop_empty: leave out pictures in which the objects of these categories cover no more than `min_pixels`
            together, by the file's own areas, as torchvision's reference does. False keeps every picture.
        crowd: "ignore" makes the pixels of a crowd 255, "drop" leaves crowds out, so that they are background, "fill"
            treats a crowd as one object. Crowds are regions with many objects that nobody told apart.
        overlap: pixels that several objects claim: "ignore" makes them 255, "last" takes the object that comes last in
            the file, "max" the highest class id. `crowd="fill"`, `overlap="ignore"` equals torchvision's reference
            conversion bit for bit.
        problems: "error" stops at annotations that cannot be used and at pictures whose file is missing; "skip" leaves
            both out, and warns with their number. `problems_found` lists them all.
        fit: scale down to fit into (height, width); pictures antialiased, masks nearest. Never enlarges.
        transforms: called with (image, mask).
        progress: show a bar while the index is made.

    Attributes:
        ids: the pictures' ids, ascending.
        label_set: background and the categories.
        class_of: {category id: class id}.

    Raises:
        ArgumentError: an unknown category (the message suggests near ones) or option.
        DataError: no COCO annotation, one that is cut off, a problem as above, or no picture left; when an item is
            read, also a picture of another size than the annotation says.

    Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", arXiv 1405.0312.

    Example:
        >>> import tempfile
        >>> from seglab.samples import write_coco_sample
        >>> root = write_coco_sample(Path(tempfile.mkdtemp()) / "coco", count=(4, 2), progress=False)
        >>> data = CocoSegmentation(root / "train2017", root / "annotations/instances_train2017.json", ["cat", "dog"],
        ...                         progress=False)
        >>> data.label_set.classes, data.mask(0).dtype, data[0][0].shape[1:] == data[0][1].shape
        (('background', 'cat', 'dog'), dtype('uint8'), True)
    """

    def __init__(self, images: str | Path | None, annotations: str | Path,
                 categories: Iterable[int | str] | None = None, *, min_pixels: float = 1000, drop_empty: bool = True,
                 crowd: str = "ignore", overlap: str = "ignore", problems: str = "error", fit: Size | None = None,
                 transforms: Transforms | None = None, progress: bool = True) -> None:
        for name, value, known in (("crowd", crowd, _CROWD), ("overlap", overlap, _OVERLAP),
                                   ("problems", problems, _PROBLEMS)):
            if value not in known:
                raise ArgumentError(name, found=repr(value), expected=" or ".join(f'"{k}"' for k in known))
        self.images = existing_folder(images) if images is not None else None
        self.index = CocoIndex.open(annotations, progress=progress)
        self.crowd, self.overlap, self.fit, self.transforms = crowd, overlap, fit, transforms
        chosen = _choose(categories, self.index)
        self.class_of = {category: number for number, category in enumerate(chosen, start=1)}
        self.label_set: LabelSet = known_label_set(("background", *(self.index.categories[c] for c in chosen)))
        self._names = np.array(self.index.file_names, dtype=object)
        self._pictures = self._kept(min_pixels) if drop_empty else np.arange(len(self.index.image_ids))
        self._check_annotations(problems)
        if self.images is not None:
            self._check_files(self.images, problems)
        if not len(self):
            raise DataError(f"{self.index.path}: pictures", found="none left",
                            expected=f"pictures in which {', '.join(self.label_set.classes[1:])} cover more than "
                                     f"{min_pixels:g} pixels",
                            fix="Lower min_pixels, pass drop_empty=False, or choose other categories.")

    def _kept(self, min_pixels: float) -> np.ndarray:
        index = self.index
        counts = np.isin(index.category, list(self.class_of))
        if self.crowd != "fill":
            counts &= index.crowd == 0  # they give no pixel of a class
        picture = np.repeat(np.arange(len(index.image_ids)), np.diff(index.first))  # of each object
        covered = np.bincount(picture, np.where(counts, index.area, 0), minlength=len(index.image_ids))
        return np.flatnonzero(covered > min_pixels)

    def _check_annotations(self, policy: str) -> None:
        found = self.problems_found
        _complain(self.index.path, "annotations that cannot be used", policy,
                  {text: ids for kind, text in UNUSABLE.items() if (ids := found.get(text))},
                  "their pixels are background then")
        outside = found.get(WITHOUT_PIXELS[8], ())
        if len(outside):
            warnings.warn(f"{self.index.path}: {len(outside)} objects lie outside of their pictures (annotations "
                          f"{_few(outside)}). Are their coordinates in pixels?", stacklevel=3)

    def _check_files(self, images: Path, policy: str) -> None:
        names = self._names[self._pictures]
        folders = {os.path.dirname(name) for name in names}
        there = {os.path.join(folder, entry.name) for folder in folders if (images / folder).is_dir()
                 for entry in os.scandir(images / folder)}
        missing = np.array([os.path.normpath(name) not in there for name in names], dtype=bool)
        self._pictures = self._pictures[~missing]
        _complain(images, "pictures without a file", policy,
                  {f"of {len(names)} named in {self.index.path.name}": names[missing]} if missing.any() else {},
                  "the pictures are left out then")

    @property
    def problems_found(self) -> dict[str, list[int]]:
        """What is wrong with annotations of the chosen categories: {what: annotation ids}, used or not."""
        texts = {**UNUSABLE, **WITHOUT_PIXELS}
        table = self.index.problems
        ours = np.isin(table[:, 2], list(self.class_of)) | np.isin(table[:, 0], (2, 3))
        return {text: table[ours & (table[:, 0] == kind), 1].tolist() for kind, text in texts.items()
                if (ours & (table[:, 0] == kind)).any()}

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def ids(self) -> list[int]:
        return self.index.image_ids[self._pictures].tolist()

    @property
    def names(self) -> list[str]:
        """The pictures' file names without ending, in order."""
        return [Path(name).stem for name in self._names[self._pictures]]

    def path(self, index: int) -> Path:
        """A picture's file."""
        if self.images is None:
            raise ArgumentError("images", found=None, expected="the folder of the pictures",
                                fix="Name it when you open the dataset; without, there are masks alone.")
        return self.images / self._names[self._pictures[index]]

    def picture_size(self, index: int) -> Size:
        """(height, width) that the annotation gives for a picture."""
        picture = self._pictures[index]
        return int(self.index.heights[picture]), int(self.index.widths[picture])

    def subset(self, places: Sequence[int]) -> CocoSegmentation:
        """The same dataset with some of its pictures, by their places."""
        part = copy.copy(self)
        part._pictures = self._pictures[np.asarray(places, dtype=np.int64)]
        return part

    def _rows(self, index: int) -> np.ndarray:
        first, last = self.index.first[self._pictures[index]:][:2]
        rows = np.arange(first, last)
        return rows[np.isin(self.index.category[rows], list(self.class_of))]

    def annotations(self, index: int) -> list[dict[str, Any]]:
        """The objects of the chosen categories on a picture, as the file has them, crowds included."""
        return [self.index.annotation(row) for row in self._rows(index)]

    def _shapes(self, index: int) -> tuple[list[Rle], list[int], list[bool], np.ndarray]:
        """Run lengths, class ids, crowds and areas of a picture's objects."""
        rows, size = self._rows(index), self.picture_size(index)
        rles = []
        for row in rows:
            one = self.index.annotation(row)
            try:
                rles.append(to_rle(one["segmentation"], *size))
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(f"{self.index.path}: annotation {one.get('id')}", found=str(error),
                                expected=f"a shape on {size[1]}×{size[0]} pixels", fix="Mend or remove it.") from error
        classes = [self.class_of[c] for c in self.index.category[rows].tolist()]
        return rles, classes, (self.index.crowd[rows] != 0).tolist(), self.index.area[rows]

    def mask(self, index: int) -> np.ndarray:
        """The mask alone, at the annotation's own resolution: (H, W) uint8 class ids, 255 = ignore."""
        rles, classes, crowds, _ = self._shapes(index)
        return semantic_mask(rles, classes, crowds, self.picture_size(index), crowd=self.crowd, overlap=self.overlap)

    def objects(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Which object each pixel belongs to, at the annotation's own resolution, and the objects' areas.

        Returns:
            (H, W) int32, 0 where `mask` has no object or ignores, k for object k; and (objects,) float64: the area of
            object k in square pixels is at k - 1.
        """
        rles, classes, crowds, areas = self._shapes(index)
        solid = [i for i, is_crowd in enumerate(crowds) if self.crowd == "fill" or not is_crowd]
        if self.overlap == "max":
            solid.sort(key=lambda i: classes[i])  # as the mask is painted
        numbers = paint([rles[i] for i in solid], [i + 1 for i in solid], self.picture_size(index), np.int32)
        mask = semantic_mask(rles, classes, crowds, self.picture_size(index), crowd=self.crowd, overlap=self.overlap)
        return np.where((mask == 0) | (mask == IGNORE), np.int32(0), numbers), areas

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair before transforms: image (H, W, 3) uint8, mask (H, W) uint8."""
        path, size = self.path(index), self.picture_size(index)
        if (found := image_size(path)) != size:
            raise DataError(f"{path}: picture of another size than its annotation", found=f"{found[1]}×{found[0]}",
                            expected=f"{size[1]}×{size[0]}, as {self.index.path.name} says",
                            fix="Take the picture that was annotated, neither resized nor turned.")
        image, mask = read_image(path, fit=self.fit), self.mask(index)
        if (small := fitted_size(size, self.fit)) != size:
            mask = np.asarray(Image.fromarray(mask).resize(small[::-1], Image.Resampling.NEAREST))
        return image, mask

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        return sample_of(*self.read(index), self.transforms)

    @classmethod
    def from_root(cls, root: str | Path, split: str = "train", categories: Iterable[int | str] | None = None,
                  **options: Any) -> CocoSegmentation:
        """Open a split of a folder in the published layout: `annotations/instances_train2017.json`, `train2017/`.

        Also 2014, `annotations/instances_train.json` with `train/` or `images/train/`, and
        `train/_annotations.coco.json`. Not split: `annotations/instances_default.json` or `annotations.json` with
        `images/`, or `result.json` or `_annotations.coco.json` beside the pictures.

        Args:
            root: the dataset's folder.
            split: "train", "val" or "test", as the files are named; "all" for a dataset that is not split.
            categories, options: as for CocoSegmentation.

        Raises:
            DataError: no such layout.
        """
        root = existing_folder(root)
        found = find_coco(root, split)
        if found is None:
            raise DataError(f"{root}: COCO dataset, split {split!r}",
                            found=sorted(p.name for p in root.iterdir() if not p.name.startswith("."))[:12],
                            expected=f"annotations/instances_{split}2017.json + {split}2017/" if split != "all" else
                            "annotations.json + images/",
                            fix="Unpack pictures and annotations side by side, or name both: "
                                "CocoSegmentation(images, annotations).")
        return cls(found[1], found[0], categories, **options)


def find_coco(root: Path, split: str) -> tuple[Path, Path] | None:
    """(annotation, folder of pictures) of a split in a folder with a known layout; None if there is none.

    "all" looks for an annotation that is not split.
    """
    for name in (split, "valid") if split == "val" else (split,):
        for annotation, images in _LAYOUTS if split != "all" else _WHOLE:
            if (root / annotation.format(s=name)).is_file() and (root / images.format(s=name)).is_dir():
                return root / annotation.format(s=name), root / images.format(s=name)
    return None


def has_coco(root: Path) -> bool:
    """Whether a folder holds COCO in a known layout."""
    return any(find_coco(root, split) is not None for split in (*SPLITS, "all"))


def _choose(categories: Iterable[int | str] | None, index: CocoIndex) -> list[int]:
    """Category ids in the order of the classes."""
    ids = {name: number for number, name in index.categories.items()}
    if categories is None:
        wanted: list[int | str] = sorted(number for name, number in ids.items() if name != "background")
    else:
        wanted = [categories] if isinstance(categories, str) else list(categories)
        if wanted and wanted[0] in (0, "background") and wanted[0] not in (*ids, *index.categories):
            wanted = wanted[1:]
    chosen = [ids.get(item, -1) if isinstance(item, str) else item for item in wanted]
    for item, number in zip(wanted, chosen, strict=True):
        if number not in index.categories:
            near = get_close_matches(str(item).lower(), [*ids, *map(str, ids.values())], n=3, cutoff=0.5)
            raise ArgumentError("category", found=repr(item),
                                expected=f"one of the {len(ids)} of {index.path.name}, such as "
                                         + ", ".join(f"{number} {name!r}" for name, number in list(ids.items())[:3]),
                                fix=f"Did you mean {' or '.join(map(repr, near))}?" if near else None)
    if not chosen or len(set(chosen)) != len(chosen) or len(chosen) > IGNORE - 2:
        raise ArgumentError("categories", found=wanted, expected=f"1 to {IGNORE - 2} categories, each once")
    return chosen


def _complain(where: Path, what: str, policy: str, found: dict[str, Sequence[Any]], otherwise: str) -> None:
    if not found:
        return
    lines = "; ".join(f"{len(those)}: {text} ({_few(those)})" for text, those in found.items())
    if policy == "error":
        raise DataError(f"{where}: {what}", found=lines, expected="none",
                        fix=f'Mend the dataset, or pass problems="skip" to leave them out ({otherwise}).')
    warnings.warn(f"{where}: {what} are left out: {lines}", stacklevel=4)


def _few(those: Sequence[Any]) -> str:
    return ", ".join(str(one) for one in list(those)[:5]) + (" …" if len(those) > 5 else "")
