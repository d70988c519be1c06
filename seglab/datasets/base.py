"""One shape for every dataset: `Samples`, and what a published layout has to say to be read as one: `Reader`."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import re
import shutil
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from inspect import Parameter, getsource, isfunction, signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from seglab.datasets.cache import FORMAT, PixelCache, build, cache_folder, in_threads
from seglab.datasets.decode import LABELLED, Decoder, LeftOut
from seglab.datasets.io import Size, image_size, size_within
from seglab.datasets.protocols import Sample
from seglab.datasets.splits import SPLITS, Entry, complete_splits, visible
from seglab.datasets.transforms import height_and_width
from seglab.errors import ArgumentError, DataError, printable
from seglab.files import file_digests
from seglab.labels import LabelSet
from seglab.progress import progress_bar

Transforms = Callable[..., Any]
_HOW = ("crop-or-pad", "resize", "letterbox")
#: For `report`.
_UNREAD = ("files are read when they are asked for (cache=False): they were not checked, and none is left out for what "
           "its mask holds")
_NO_ROOM = "decoded pictures are not kept: they would fill more than half of what is free on the disk"


class Reader:
    """A published layout: where the files are, how they are split, and how one mask becomes class ids.

    A subclass with a `name` is found by `open_dataset`. It fills `root`, `label_set` and `splits` in
    `__init__(self, root, **options)`, whose keywords are the dataset's own options, and writes `find` and `mask`. All
    else is `Samples`'.

    Attributes:
        name, looks_like: of the layout, in lower case; and how it looks in a few words, for messages.
        generic: many datasets have this layout, so that others are looked for first.
        named_by_folder: any dataset may have this layout, so that it is called like its folder.
        consecutive: pictures follow each other like the frames of a video, so that splits are cut and not drawn.
        splits: the entries as they are on disk, by "train", "val", "test"; or "all" where nothing is split.
        bad: {picture's file, or where it should be: what is wrong} of those that are known to be unusable, such as
            those without a mask. They are errors, or left out, as the user chooses.
        faults: {what is wrong: those that have it} of parts of an annotation that cannot be used.
        notes: sentences on what else a user should know, such as what is left out on purpose.
        training_rule: what pictures must fulfil to be trained on, for the line that counts those that do not.

    Example: seglab/datasets/camvid.py.
    """

    name: ClassVar[str] = ""
    looks_like: ClassVar[str] = ""
    generic: ClassVar[bool] = False
    kinds: ClassVar[dict[str, type[Reader]]] = {}
    named_by_folder: ClassVar[bool] = False
    consecutive: ClassVar[bool] = False
    training_rule: str = ""
    root: Path
    label_set: LabelSet
    splits: dict[str, list[Entry]]
    bad: dict[Path, str]
    faults: dict[str, Sequence[Any]]
    notes: list[str]

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            Reader.kinds[cls.name] = cls

    def __new__(cls, *args: Any, **options: Any) -> Reader:
        reader = super().__new__(cls)
        reader.bad, reader.faults, reader.notes = {}, {}, []
        return reader

    @classmethod
    def find(cls, root: Path, asked: bool = False) -> Path | None:
        """The folder of this layout: `root`, or one in it; None if there is none.

        It looks at names only, and also takes what is nearly right, so that `__init__` can say what is wrong. `asked`
        says that the user named this layout: then it may take what other layouts look like, too.
        """
        return None

    @property
    def title(self) -> str:
        """What to call the dataset."""
        return printable(self.root.name) if self.named_by_folder else self.name

    @cached_property
    def complete(self) -> dict[str, list[Entry]]:
        """The splits with those that are made of others, see `complete_splits`."""
        return complete_splits(self.splits, self.consecutive)

    @classmethod
    def not_in(cls, root: Path, fix: str) -> DataError:
        """The error for a folder that has another layout."""
        return DataError(f"{root}: layout {cls.name!r}", found=[path.name for path in visible(root)][:12],
                         expected=cls.looks_like, fix=fix)

    @classmethod
    def options(cls) -> list[str]:
        """The names of the dataset's own options."""
        return [p.name for p in signature(cls.__init__).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]

    def mask(self, entry: Entry) -> np.ndarray:
        """The mask of a picture, (H, W) uint8 class ids, 255 = ignore, as large as it is on disk.

        Every layout with masks writes it; where pictures have one class each, nobody asks.
        """
        raise ArgumentError(f"reader {type(self).__name__}", found="no method `mask`",
                            expected="mask(entry) -> (H, W) uint8, or class indices (int) as targets of the entries")

    def size(self, entry: Entry) -> Size:
        """(height, width) of a picture's mask, without reading its pixels."""
        return image_size(entry.target if isinstance(entry.target, Path) else entry.image)

    def settings(self) -> dict[str, Any]:
        """What decides on masks beside the files and the entries; JSON can hold it."""
        return {}

    def for_training(self, entry: Entry) -> bool:
        """False for a picture that is left out of train, and counted, but not of val and test."""
        return True

    def fault(self, entry: Entry, mask: np.ndarray) -> str | None:
        """Why a picture is left out of every split for what its mask holds; None if it is not."""
        return None

    def objects(self, entry: Entry) -> tuple[np.ndarray, np.ndarray] | None:
        """Which object each pixel is of, (H, W) int32 from 1 on, and the objects' areas; None if nobody knows."""
        return None


class Samples(Dataset[Sample]):
    """A split of a dataset: `samples[i]` is an image, (3, H, W) uint8, and a mask, (H, W) uint8, 255 = ignore.

    Both are torchvision `tv_tensors`, so that torchvision v2 transforms move them together. Where pictures have one
    class each, the second is its index, int, and the picture its middle square.

    All files are read when the dataset is opened for the first time. So what is wrong with them is said before a
    training starts, and pixels are decoded and resized once: later epochs and processes read them from `data/cache`,
    from a folder named by a hash of all contents and settings. What nobody trains on any more may be deleted there.

    A pickled one, as loader workers get it, has what `len` and `[i]` need: no names, entries, report and reader.

    Args:
        split: "train", "val", "test" or "all"; those that a dataset lacks are made, see `complete_splits`.
        within: scale down to fit into (height, width), or until the shorter side has at most so many pixels (an int);
            pictures antialiased, masks nearest. The aspect ratio stays, and nothing is enlarged.
        size: side or (height, width) of all pictures; by default each as it is. With labels: the side, 224 by default.
        how: how they get this size: "crop-or-pad" (the middle), "resize" (exactly, also if that distorts), or
            "letterbox" (scaled as a whole, then padded). Padding is 0, and 255 in masks.
        problems: "error" stops at files that cannot be used and names all of them; "skip" leaves them out, counts and
            names them in a warning.
        cache: False reads each file when it is asked for. What is wrong with it is found only then, and pictures that
            the reader leaves out for what their mask holds (of `Pets`, those without a pet) are used.
        transforms: called with (image, mask), or with (image) where there are labels.
        progress: show a bar, and a line on what is left out.

    Attributes:
        entries, names: of the pictures, in order.
        labelled: whether pictures have one class each, and no masks; `labels` are these, in order.
        size: (height, width) of all pictures, None if they differ; with labels the side.
        left_out, bad: {name: reason} of pictures of the split that are not used; empty of a subset.
        pixels: how many pixels each id from 0 to 255 has, (256,) int64; None without a cache, and of a subset.
        key: of the cache; None without, and of a subset.
        origin: {"name", "source", "layout", "options"} of the dataset, if `open_dataset` opened it; else empty.

    Raises:
        ArgumentError: an option that is not listed above.
        DataError: files that cannot be used, no picture left, or no such split.
        CacheError: the cache is damaged or cannot be written.

    Example:
        >>> import tempfile
        >>> from seglab.datasets import Drone
        >>> from seglab.samples import write_drone_sample
        >>> root = write_drone_sample(Path(tempfile.mkdtemp()) / "s", count=4, size=(40, 60), progress=False)
        >>> train = Samples(Drone(root), "train", within=(20, 100), cache=False)
        >>> image, mask = train[0]
        >>> image.shape, mask.shape, mask.dtype, train.names
        (torch.Size([3, 20, 30]), torch.Size([20, 30]), torch.uint8, ['001', '003'])
    """

    def __init__(self, reader: Reader, split: str = "train", *, within: int | Size | None = None,
                 size: int | Size | None = None, how: str = "crop-or-pad", problems: str = "error", cache: bool = True,
                 transforms: Transforms | None = None, progress: bool = True) -> None:
        self.reader, self.split, self.label_set = reader, split, reader.label_set
        entries = split_entries(reader, split)
        self.labelled = entries[0].label is not None
        check_choice("how", how, _HOW)
        check_choice("problems", problems, ("error", "skip"))
        if self.labelled and (within is not None or how != "crop-or-pad" or not isinstance(size, int | None)):
            raise ArgumentError("size, how, within", found=f"{size!r}, {how!r}, {within!r}",
                                expected="one number as size, and no more: pictures with labels are squares")
        box = height_and_width(within) if within is not None else None
        self.within = box[0] if box is not None and isinstance(within, int) else box
        self._size = height_and_width(size) if size is not None else LABELLED if self.labelled else None
        self.size = self._size[0] if self.labelled and self._size is not None else self._size
        self.how, self.transforms, self._decoder = how, transforms, Decoder(reader, self.within, self._size, how)
        self._listed: int | None = len(entries)
        faults, count = _counted(reader.faults), sum(map(len, reader.faults.values()))
        _stop_or_warn(reader.root, "annotations that cannot be used", f"{count}", faults, faults, problems,
                      "their pixels are background then")
        self.left_out = {entry.name: f"not among those that {reader.training_rule}" for entry in entries
                         if split == "train" and not reader.for_training(entry)}
        self.bad = {entry.name: reader.bad[entry.image] for entry in entries if entry.image in reader.bad}
        self.entries = [one for one in entries if one.name not in self.left_out and one.image not in reader.bad]
        self.pixels: np.ndarray | None = None
        self.key: str | None = None
        self.origin: Mapping[str, Any] = {}
        self._cache: PixelCache | None = None
        self._rows: Sequence[int] = range(len(self.entries))  # of the cache
        self._remark = _UNREAD
        if cache and self.entries:
            self._read_all(progress)
        self.labels = [entry.label for entry in self.entries if entry.label is not None]
        bad = [f"{name}: {_indented(text)}" for name, text in self.bad.items()]
        steps = re.findall("(?m)^  next: +(.+)$", "\n".join(self.bad.values()))
        _stop_or_warn(reader.root, f"pictures of {split!r} that cannot be used", f"{len(bad)} of {len(entries)}", bad,
                      [*self.bad], problems, "the pictures are left out then", *steps[:1])
        if not self.entries:
            raise DataError(f"{reader.root}: pictures of {split!r}", found="\n    ".join(
                                [f"{len(entries)}, all of which are left out", *self._reasons()[:5]]),
                            expected="at least one that can be used", fix="Check the folder: seglab check FOLDER.")
        if progress and self.left_out:
            print(f"{reader.root.name}, {split}: {len(self)} of {len(entries)} pictures are used; "
                  f"{'; '.join(self._reasons(bad=False))}", file=sys.stderr)

    def _read_all(self, progress: bool) -> None:
        """Open the cache, or make it: read all files, collect what is wrong with them, and keep the pixels."""
        with cache_folder("decoded pictures", ", or open with cache=False") as root:
            self.key = self._key(root)
            folder = root / self.key
            known = PixelCache(folder) if folder.exists() else None
            stored = known is not None and known.index.stored
            fits = stored or self._decoded_size() < shutil.disk_usage(root).free / 2
            if known is None or (fits and not stored):
                shutil.rmtree(folder, ignore_errors=True)  # it was made while there was no room for the pixels
                seen = progress_bar(in_threads(self._looked_at, self.entries), total=len(self.entries),
                                    desc="reading once", unit="img", shown=progress)
                build(folder, zip(self.names, seen, strict=True), fits)
                known = PixelCache(folder)
        self.bad |= known.index.bad
        self.left_out |= known.index.left_out
        self.pixels = np.array(known.index.pixels)
        self.entries = [self.entries[place] for place in known.index.places]
        self._rows = range(len(self.entries))
        self._cache, self._remark = (known, "") if known.index.stored else (None, _NO_ROOM)

    def _looked_at(self, entry: Entry) -> tuple[np.ndarray, Any] | DataError | LeftOut:
        try:
            return self._decoder(entry, strict=True)
        except (DataError, LeftOut) as error:
            return error

    def _decoded_size(self) -> int:
        """Bytes of the decoded pixels, estimated from up to 50 pictures."""
        areas = []
        for place in range(0, len(self), 1 + len(self) // 50):
            with suppress(DataError):  # it is found, and said, when the file is read
                areas.append(math.prod(self.picture_size(place)))
        return 4 * len(self) * int(np.mean(areas)) if areas else 0

    def _key(self, root: Path) -> str:
        """Hash of everything that the cached bytes depend on."""
        files = [[path for path in (entry.image, entry.target) if isinstance(path, Path)] for entry in self.entries]
        present = [path for paths in files for path in paths if os.path.isfile(path) and os.access(path, os.R_OK)]
        contents = dict(zip(present, file_digests(present, root / "digests.json"), strict=True))
        settings = {"format": FORMAT, "reader": _source(type(self.reader)), "settings": self.reader.settings(),
                    "within": self.within, "size": self._size, "how": self.how, "classes": self.label_set.classes,
                    "colours": self.label_set.colours,
                    "entries": [(entry.name, [contents.get(path, "") for path in paths],
                                 None if isinstance(entry.target, Path) else entry.target)
                                for entry, paths in zip(self.entries, files, strict=True)]}
        return hashlib.blake2b(json.dumps(settings, default=str).encode(), digest_size=12).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    def picture_size(self, index: int) -> Size:
        """(height, width) of a picture as it is given, before transforms."""
        if self._cache is not None:
            return self._cache.index.shapes[self._rows[index]]
        return self._size or size_within(self.reader.size(self.entries[index]), self.within)

    def read(self, index: int) -> tuple[np.ndarray, Any]:
        """One pair before transforms: image (H, W, 3) uint8, and mask (H, W) uint8 or class."""
        if self._cache is None:
            return self._decoder(self.entries[index])
        image, mask = self._cache.read(self._rows[index])
        return image, self.labels[index] if mask is None else mask

    def __getitem__(self, index: int) -> Any:
        pixels, target = self.read(index)
        image = tv_tensors.Image(_tensor(pixels).permute(2, 0, 1))  # (H, W, 3) -> (3, H, W)
        if self.labelled:
            return (self.transforms(image) if self.transforms is not None else image), target
        mask = tv_tensors.Mask(_tensor(target))
        return self.transforms(image, mask) if self.transforms is not None else (image, mask)

    def objects(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Which object each pixel of the mask on disk is of, and the objects' areas; None if the dataset has none."""
        return self.reader.objects(self.entries[index])

    def subset(self, places: Iterable[int]) -> Samples:
        """The same dataset with only these pictures, in this order."""
        part, places = copy.copy(self), list(places)
        part.entries, part._rows = [self.entries[place] for place in places], [self._rows[place] for place in places]
        part.labels = [self.labels[place] for place in places] if self.labelled else []
        part.left_out, part.bad, part.pixels, part.key, part._listed = {}, {}, None, None, None
        return part

    def with_transforms(self, transforms: Transforms | None) -> Samples:
        """The same pictures with other transforms; this one keeps its own."""
        part = copy.copy(self)
        part.transforms = transforms
        return part

    def __copy__(self) -> Samples:
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        return part

    def __getstate__(self) -> dict[str, Any]:
        """For loader workers: of COCO, all that is known of its 118,000 pictures takes longer than an epoch's start."""
        state = {**self.__dict__, "left_out": {}, "bad": {}}
        if self._cache is not None:
            for name in ("reader", "entries", "_decoder"):
                del state[name]
        else:
            reader = copy.copy(self.reader)
            reader.splits, reader.complete, reader.bad, reader.faults, reader.notes = {}, {}, {}, {}, []
            state |= {"reader": reader, "_decoder": replace(self._decoder, reader=reader)}
        return state

    def report(self) -> str:
        """What is used, what is left out and why, and what else the reader has to say, a line each."""
        used = f"of {self._listed:,} pictures of {self.split!r} are used" if self._listed is not None else (
            f"pictures of {self.split!r}, chosen by subset()")
        return printable("\n".join([f"{len(self):,} {used}", *self._reasons(), *(
            f"annotations not used: {line}" for line in _counted(self.reader.faults)),
            *filter(None, [self._remark]), *self.reader.notes]))

    def _reasons(self, bad: bool = True) -> list[str]:
        """Why pictures are left out, a line for each reason."""
        lines = []
        for those in (self.left_out, self.bad if bad else {}):
            names = defaultdict(list)
            for name, text in those.items():
                names[_indented(text)].append(name)
            lines += [f"left out {line}" for line in _counted(dict(sorted(names.items())))]
        return lines


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.require(pixels, requirements="W"))  # a copy of what a transform must not write into


def _source(reader: type[Reader]) -> list[str]:
    """The text of a reader's own functions: who writes one changes them, and expects other masks."""
    functions = [function for function in vars(reader).values() if isfunction(function)]
    try:
        return [reader.name, *map(getsource, functions)]
    except OSError:  # written where no text is kept, as in `python -c`
        return [reader.name]


def _stop_or_warn(where: Path, what: str, count: str, found: Sequence[str], names: Sequence[str], policy: str,
                  otherwise: str, step: str = "Mend the dataset.") -> None:
    """A DataError with the first of what was found and the names of the others, or a warning; nothing if it is none."""
    others = f"\n    and {few(names[5:], 50)}" if len(names) > 5 else ""
    if found and policy == "error":
        raise DataError(f"{where}: {what}", found="\n    ".join([f"{count}:", *found[:5]]) + others, expected="none",
                        fix=f'{step} Or pass problems="skip" (--skip-problems) to leave them out ({otherwise}).')
    if found:
        warnings.warn(f"{where}: {count.split()[0]} {what} are left out: {few(names)}", stacklevel=4)


def _counted(found: Mapping[str, Sequence[Any]]) -> list[str]:
    return [f"{len(those):,}: {what} ({few(those)})" for what, those in found.items() if len(those)]


def _indented(message: str) -> str:
    return " ".join(line.strip() for line in message.splitlines()[:3])


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """An ArgumentError if an argument has none of the values that it may have."""
    if value not in known:
        *others, last = (f'"{one}"' for one in known)
        raise ArgumentError(name, found=repr(value), expected=f"{', '.join(others)} or {last}")


def did_you_mean(item: object, known: Iterable[str]) -> str | None:
    """A sentence with the names that are most like a wrong one, if any are."""
    near = get_close_matches(str(item).lower(), known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else None


def few(those: Sequence[Any], count: int = 5) -> str:
    """The first of many, for a message."""
    return ", ".join(str(one) for one in list(those)[:count]) + (" …" if len(those) > count else "")


def split_entries(reader: Reader, split: str) -> list[Entry]:
    """The entries of "train", "val", "test" or "all" of a dataset; DataError if there is no such split."""
    check_choice("split", split, (*SPLITS, "all"))
    splits = reader.complete
    if not splits.get(split):
        there = ", ".join(f"{len(entries)} of {name!r}" for name, entries in splits.items() if entries)
        raise DataError(f"{reader.root}: split {split!r}", found=there or "no pictures",
                        expected=f"pictures of {split!r}; or at least 3 in all, and of each class, to split them",
                        fix="Add pictures, or open a split that is there.")
    return splits[split]
