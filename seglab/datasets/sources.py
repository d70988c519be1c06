"""One call for a dataset: the built-in one, or the one in a folder, whatever its layout."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seglab.datasets.base import Reader, Samples, check_choice, few, split_entries
from seglab.datasets.cache import cache_folder
from seglab.datasets.duplicates import find_duplicates
from seglab.datasets.splits import SPLITS, existing_folder, readable, visible
from seglab.errors import ArgumentError, DataError
from seglab.files import read_memory, write_memory
from seglab.labels import IGNORE, LabelSet

#: Names of built-in datasets; others are read from folders only.
SAMPLES = ("drone", "catdog", "coco", "pets")
_COMMON = ("within", "size", "how", "problems", "cache")


@dataclass(frozen=True)
class Splits:
    """A dataset's splits, and where they come from: the "sample", or a "real" dataset.

    The name is that of the layout, or of the folder for layouts that any dataset may have. A dataset may have "test"
    alone. The options are those that it was opened with and that decide on pictures and masks.
    """

    name: str
    source: str
    parts: Mapping[str, Samples]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label_set(self) -> LabelSet:
        return next(iter(self.parts.values())).label_set

    @property
    def train(self) -> Samples:
        return self["train"]

    @property
    def val(self) -> Samples:
        return self["val"]

    @property
    def test(self) -> Samples:
        return self["test"]

    def __getitem__(self, split: str) -> Samples:
        """One split; DataError if the dataset does not have it."""
        check_choice("split", split, SPLITS)
        if split not in self.parts:
            raise DataError(f"{self.name}: split {split!r}", found=f"{', '.join(self.parts)} alone",
                            expected=f"pictures of {split!r}", fix="Add them, or put all pictures into one folder.")
        return self.parts[split]

    def __str__(self) -> str:
        sizes = ", ".join(f"{len(part)} {split}" for split, part in self.parts.items())
        return f"{self.name} ({self.source}): {sizes} pictures, {len(self.label_set)} classes"

    def report(self) -> str:
        """What is used of each split, and what is left out."""
        return "\n".join(dict.fromkeys(line for part in self.parts.values() for line in part.report().splitlines()))


def open_dataset(which: str | Path = "drone", *, root: str | Path | None = None, source: str | None = None,
                 progress: bool = True, **options: Any) -> Splits:
    """Open train, val and test of a dataset; splits that it lacks are made, see `complete_splits`.

    Args:
        which: a folder, whose layout is found out; or the name of a layout (`Reader.kinds` lists them). The built-in
            samples "drone", "catdog", "coco" and "pets" are written in these layouts (once, no network).
        root: the folder of the dataset of this name, or one that holds it; by default `$SEGLAB_DATA`, else the sample.
        source: "sample" takes the sample whatever the environment says; "real" never does.
        progress: show bars, and a line on what is left out.
        options: of every dataset: `within`, `size`, `how`, `problems`, `cache` (see `Samples`); and the layout's own,
            such as `categories` of COCO (see the readers).

    Raises:
        ArgumentError: an unknown name or source, or an option that this dataset does not have.
        DataError: no dataset found (the message lists what was looked for and what is there), or one that cannot be
            used as it is.

    Warns:
        of real datasets: a class without a pixel in train or test, an unusual share of ignored pixels; where pictures
        have one class each, pictures that are in train (or val) and in test too.

    Example:
        >>> open_dataset("drone", source="sample", progress=False).label_set.classes[1]
        'paved-area'
    """
    if source is not None:
        check_choice("source", source, ("sample", "real"))
    kind = which if isinstance(which, str) and which in Reader.kinds else None
    if (kind is None and isinstance(which, str) and not set(which) & {*"/\\."}
            and not os.path.exists(os.path.expanduser(which))):
        raise ArgumentError("dataset", found=repr(which), expected="a folder, or one of " + ", ".join(
            f'"{name}"' for name in Reader.kinds))
    if kind is None and (root is not None or source == "sample"):
        raise ArgumentError("root" if root is not None else "source", found=repr(root or source),
                            expected=f"none beside the folder {which}; or the name of a layout before it")
    place = (root if kind is not None else which) or os.environ.get("SEGLAB_DATA") or None
    if source == "real" and place is None:
        raise DataError("source='real'", found="no folder", expected="the folder of a dataset",
                        fix="Set SEGLAB_DATA=/path/to/dataset, pass root=, or use source='sample'.")
    if kind is not None and (source == "sample" or place is None):
        if kind not in SAMPLES:
            raise ArgumentError("dataset", found=f'"{kind}" without a folder', expected="a folder",
                                fix=f"Pass root=, or take a built-in sample: {', '.join(SAMPLES)}.")
        from seglab import samples  # here: it draws what the readers read

        name, source, folder = kind, "sample", samples.sample_folder(kind, progress)
    else:
        assert place is not None
        (name, folder), source = find_dataset(place, kind), "real"
    common = {key: options.pop(key) for key in _COMMON if key in options}
    reader = open_reader(name, folder, **options)
    parts = {split: Samples(reader, split, progress=progress, **common) for split in SPLITS
             if reader.complete.get(split)}
    if not parts:
        split_entries(reader, "train")  # says what there is
    if progress:
        print(*reader.notes, sep="\n", end="\n" * bool(reader.notes), file=sys.stderr)
    kept = {key: list(value) if isinstance(value, tuple) else value for key, value in (common | options).items()
            if key not in {"cache", "problems"}}
    splits = Splits(reader.title if source == "real" else name, source, parts, kept)
    for part in parts.values():
        part.origin = {"name": splits.name, "source": source, "layout": name, "options": kept}
    for doubt in doubts(splits) if source == "real" else ():
        warnings.warn(f"{folder}: {doubt}", stacklevel=2)
    return splits


def open_reader(name: str, folder: str | Path, **options: Any) -> Reader:
    """The reader of a layout for a folder; ArgumentError for options that it does not have."""
    kind = Reader.kinds[name]
    if unknown := sorted(options.keys() - {*kind.options()}):
        having = [other for other, one in Reader.kinds.items() if unknown[0] in one.options()]
        raise ArgumentError(f"options of {name!r}", found=", ".join(unknown),
                            expected=", ".join([*kind.options(), *_COMMON]),
                            fix=f"Datasets with {unknown[0]!r}: {', '.join(having) or 'none'}.")
    try:
        return kind(folder, **options)
    except TypeError as error:
        if not options:
            raise
        raise ArgumentError(f"options of {name!r}", found=options, expected=str(error)) from error


def find_dataset(root: str | Path, kind: str | None = None) -> tuple[str, Path]:
    """(name of the layout, folder) of the dataset in a folder, or some levels below it; DataError if there is none.

    The layout `kind` is looked for first; where there is none, any other is taken.
    """
    root = existing_folder(root)
    for name in sorted(Reader.kinds, key=lambda name: (name != kind, Reader.kinds[name].generic)):
        if (folder := Reader.kinds[name].find(root, asked=name == kind)) is not None:
            return name, folder
    closed = [path.name for path in visible(root) if os.path.isdir(path) and not readable(path)]
    there = f"{[path.name for path in visible(root)][:12] or 'an empty folder'}"
    raise DataError(f"{root}: no dataset found",
                    found=there + f"; no right to read {few(closed)}" * bool(closed),
                    expected="; ".join(f"{one.looks_like} ({name})" for name, one in Reader.kinds.items()),
                    fix="Point SEGLAB_DATA or root at such a folder, or unset it to use the built-in sample.")


def doubts(splits: Splits) -> list[str]:
    """What looks unusual in the masks and pictures of a dataset, a sentence each; empty if nothing does."""
    found = []
    for split in ("train", "test"):
        if split not in splits.parts or (pixels := splits[split].pixels) is None:
            continue
        if never := [name for i, name in enumerate(splits.label_set.classes) if pixels[i] == 0]:
            found.append(f"{len(never)} of {len(splits.label_set)} classes never occur in {split}: {few(never)}")
        found += many_ignored(pixels, split)
    for split in ("train", "val") if "test" in splits.parts and splits.test.labelled else ():
        if split in splits.parts and (leaks := _shared(splits[split], splits.test)):
            first, second = leaks[0]
            found.append(f"{len({leak[1] for leak in leaks})} of {len(splits.test)} test pictures are in {split} too, "
                         f"for instance {splits.test.names[second]} as {splits[split].names[first]}. The test scores "
                         "will be too good. seglab.datasets.find_duplicates lists them.")
    return found


def many_ignored(pixels: np.ndarray, split: str) -> list[str]:
    """A sentence if more pixels are ignored, of these (256,) counts, than in any published dataset."""
    share = pixels[IGNORE] / max(1, pixels.sum())
    text = f"{share:.0%} of the pixels in {split} are ignored. Is this value or colour meant to be a class?"
    return [text] if share > 0.3 else []


def _shared(first: Samples, second: Samples) -> list[tuple[int, int]]:
    """Places of pictures that are in both; remembered for as long as the files stay what they are."""
    if first.key is None or second.key is None:
        return [pair[:2] for pair in find_duplicates(first, second)]
    key = f"{first.key} {second.key}"
    with cache_folder("a list of duplicates") as cache:
        known = read_memory(cache / "duplicates.json", dict[str, list[tuple[int, int]]])
        if key not in known or not all(0 <= a < len(first) and 0 <= b < len(second) for a, b in known[key]):
            known[key] = [pair[:2] for pair in find_duplicates(first, second)]
            write_memory(cache / "duplicates.json", known)
    return known[key]
