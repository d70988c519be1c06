"""Pictures with one class each, from a map file or from a folder a class."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from seglab.datasets.folder import SPLITS, choose_split, existing_folder
from seglab.datasets.io import IMAGE_SUFFIXES, read_square
from seglab.datasets.protocols import Sample
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_write, check_free
from seglab.labels import LabelSet, known_label_set

Item = tuple[Path, int]

#: A comment of a map file that names a class, as `write_map_file` writes it.
_CLASS_COMMENT = re.compile(r"#\s*class (\d{1,9}):\s*(.+?)\s*")


class ClassificationDataset(Dataset[Sample]):
    """Pictures and their classes.

    `dataset[i]` is an image, (3, size, size) uint8, a torchvision `tv_tensors.Image`, and a label, int: the middle
    square of the picture, scaled, as classifiers see it.

    Args:
        items: (path, class index) pairs.
        label_set: the classes.
        size: side of the squares in pixels.
        crop: side of the square as a share of the picture's shorter side; ImageNet's networks are used to 0.875.
        transforms: called with the image after reading, for instance a `torchvision.transforms.v2.Compose`.

    Raises:
        DataError: no pictures; when an item is read, also for a file that is missing, cut off, or no picture. The
            message names the file.
        ArgumentError: a label outside the label set, or a number out of range.

    Example:
        >>> import tempfile
        >>> from seglab.samples import write_catdog_sample
        >>> root = write_catdog_sample(Path(tempfile.mkdtemp()) / "s", count=(4, 2), progress=False)
        >>> data = ClassificationDataset.from_root(root, split="test", size=64)
        >>> image, label = data[0]
        >>> image.shape, data.label_set.classes[label], len(data)
        (torch.Size([3, 64, 64]), 'cats', 4)
    """

    def __init__(self, items: Sequence[Item], label_set: LabelSet, *, size: int = 224, crop: float = 0.875,
                 transforms: Callable[[tv_tensors.Image], torch.Tensor] | None = None) -> None:
        if size < 1 or not 0 < crop <= 1:
            raise ArgumentError("size, crop", found=f"{size}, {crop}", expected="size of 1 or more, crop in (0, 1]")
        self.items = [(Path(path), int(label)) for path, label in items]
        self.label_set, self.size, self.crop, self.transforms = label_set, size, crop, transforms
        if outside := sorted({label for _, label in self.items} - set(range(len(label_set)))):
            raise ArgumentError("labels", found=outside, expected=f"0 to {len(label_set) - 1}")
        if not items:
            raise DataError("classification dataset", found="no pictures", expected="at least one")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> list[int]:
        """The class index of every picture, in order."""
        return [label for _, label in self.items]

    @property
    def names(self) -> list[str]:
        """The pictures' file names, in order."""
        return [path.name for path, _ in self.items]

    def read(self, index: int) -> tuple[np.ndarray, int]:
        """One picture before transforms, (size, size, 3) uint8, and its label."""
        path, label = self.items[index]
        return read_square(path, self.size, self.crop), label

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels, label = self.read(index)
        image = tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))  # (H, W, 3) -> (3, H, W)
        return (self.transforms(image) if self.transforms is not None else image), label

    def subset(self, indices: Iterable[int]) -> ClassificationDataset:
        """The same dataset with only these pictures, in this order."""
        return ClassificationDataset([self.items[i] for i in indices], self.label_set, size=self.size, crop=self.crop,
                                     transforms=self.transforms)

    @classmethod
    def from_map_file(cls, path: str | Path, root: str | Path | None = None, classes: Sequence[str] | None = None,
                      **options: Any) -> ClassificationDataset:
        """Open a map file; see `read_map_file` for what it holds, and the class for the options.

        Raises:
            DataError: as `read_map_file`, or one class only.
        """
        items, names = read_map_file(path, root, classes)
        return cls(items, _two_or_more(names, path), **options)

    @classmethod
    def from_root(cls, root: str | Path, split: str = "train", **options: Any) -> ClassificationDataset:
        """Open a folder in one of the usual layouts.

        `train/CLASS/*.jpg` + `test/CLASS/*.jpg`; or `CLASS/*.jpg`, split here, class by class, 70 : 10 : 20; or map
        files `train.txt` + `test.txt` (`train_map.txt` + `test_map.txt`). Where there is no `val`, a tenth of each
        class of `train`, chosen by a hash of the names, serves as `val`; where there is no `test`, `val` does.

        Args:
            root: the dataset's folder.
            split: "train", "val", "test" or "all".
            options: as for ClassificationDataset.

        Raises:
            DataError: no folder, no known layout, splits with different classes, an empty class, or one class only.
        """
        items, classes = split_items(existing_folder(root), split)
        return cls(items, _two_or_more(classes, root), **options)


def read_map_file(path: str | Path, root: str | Path | None = None,
                  classes: Sequence[str] | None = None) -> tuple[list[Item], list[str]]:
    """Read a map file: a picture's path, a tab, and its class index, a line each.

    Empty lines and lines that begin with # are skipped. Relative paths start at `root`, by default the map file's
    folder; Windows separators are fine. Comments of the form `# class 0: cats`, as `write_map_file` writes them, name
    the classes.

    Args:
        path: the map file, UTF-8.
        root: where relative paths start.
        classes: the classes' names; by default those in the comments, else "class 0", "class 1" …

    Returns:
        ([(path, class index)], class names).

    Raises:
        DataError: no file, nothing in it, lines without a tab, labels that are no class index, classes without a
            picture, pictures with two labels, or pictures that are missing: all of them at once, with their line
            numbers.
    """
    path = Path(path)
    folder = Path(root) if root is not None else path.parent
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # -sig: Windows editors write a mark first
    except OSError as error:
        raise DataError(f"{path}: map file", found=error.strerror or str(error), expected="a text file",
                        fix="Check the path; seglab.datasets.write_map_file makes one from folders.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: map file", found=f"bytes that are not UTF-8 ({error.reason} at {error.start})",
                        expected="a text file in UTF-8", fix="Save it as UTF-8.") from error
    named: dict[int, str] = {}
    items: list[tuple[int, Path, int]] = []
    bad: list[str] = []
    for number, line in enumerate(lines, start=1):
        if comment := _CLASS_COMMENT.fullmatch(line):
            named[int(comment[1])] = comment[2]
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, label = line.rpartition("\t")
        if not tab:
            bad.append(f"line {number}: no tab in {_short(line)}")
        elif not label.strip().isdecimal() or len(label.strip()) > 9:
            bad.append(f"line {number}: label {_short(label.strip())} is no class index")
        else:
            items.append((number, _resolved(folder, name.strip()), int(label)))
    _stop(path, "lines that cannot be read", bad, "PATH, a tab, and a class index 0, 1, 2 … on each line",
          "Correct these lines; a line that begins with # is a comment.")
    if not items:
        raise DataError(f"{path}: map file", found="no picture in it",
                        expected="a line a picture: PATH, a tab, a class index")
    if classes is not None:
        names = list(classes)
    else:  # a slip such as 11111111 must not make as many names: no more than there could be classes, and some
        count = max(named, default=max(label for _, _, label in items)) + 1
        names = [named.get(i, f"class {i}") for i in range(min(count, len(items) + 1000))]
    _stop(path, "labels out of range", [f"line {n}: {label}" for n, _, label in items if label >= len(names)],
          f"0 to {len(names) - 1}: {', '.join(names[:8])}", "Correct these labels, or name all classes.")
    used = {label for _, _, label in items}
    wanted = {**(named if classes is None else {}), **dict(enumerate(names))}
    if empty := [f"{i} ({wanted[i]})" for i in sorted(wanted) if i not in used]:
        raise DataError(f"{path}: classes without a picture", found=", ".join(empty[:8]),
                        expected="class indices from 0 on without a gap", fix="Number the classes 0, 1, 2 …")
    first: dict[Path, tuple[int, int]] = {}
    for number, file, index in items:
        before, known = first.setdefault(file, (number, index))
        if known != index:
            bad.append(f"line {number}: {file.name} is {index}, and {known} on line {before}")
    _stop(path, "pictures with two labels", bad, "one label a picture", "Keep the right line of each.")
    _stop(path, "pictures that are missing", [f"line {n}: {file}" for n, file, _ in items if not file.is_file()],
          f"files; relative paths start at {folder}", "Correct the paths, or pass root= for another starting folder.")
    return [(file, label) for _, file, label in items], names


def write_map_file(root: str | Path, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Write a map file of a folder that holds a folder a class; classes are numbered in the order of their names.

    Args:
        root: holds `CLASS/*.jpg` (and other pictures, in folders below too).
        path: the map file; `root/map.txt` by default. Paths in it are relative to its folder where that holds them.
        overwrite: replace a file that is there.

    Returns:
        the path.

    Raises:
        DataError: no folder, a class without a picture, or a name with a tab or a line break in it.
        ArgumentError: the file is there already.

    Example:
        >>> import tempfile
        >>> from seglab.samples import write_catdog_sample
        >>> root = write_catdog_sample(Path(tempfile.mkdtemp()) / "s", count=(2, 2), progress=False)
        >>> print(write_map_file(root / "train").read_text().expandtabs(20))
        # class 0: cats
        # class 1: dogs
        cats/cat-00000.jpg  0
        cats/cat-00001.jpg  0
        dogs/dog-00000.jpg  1
        dogs/dog-00001.jpg  1
        <BLANKLINE>
    """
    root = existing_folder(root)
    path = check_free(path if path is not None else root / "map.txt", "path", overwrite)
    items, classes = class_folders(root)
    base = path.resolve().parent
    lines = [f"# class {i}: {name}" for i, name in enumerate(classes)]
    for file, label in items:
        file = file.resolve()
        name = (file.relative_to(base) if base in file.parents else file).as_posix()
        if re.search(r"[\t\r\n]", name):
            raise DataError(f"{file!s}: file name", found="a tab or a line break in it", expected="a plain name",
                            fix="Rename the file; a map file cannot hold such a name.")
        lines.append(f"{'./' * name.startswith('#')}{name}\t{label}")
    atomic_write(path, ("\n".join(lines) + "\n").encode())
    return path


def class_folders(root: Path) -> tuple[list[Item], list[str]]:
    """The pictures of a folder that holds a folder a class, and the classes' names, both in alphabetical order.

    Raises:
        DataError: no folders in it, or a class without a picture; all empty ones are named.
    """
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    pictures = {p: sorted(f for f in p.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()
                          and not f.name.startswith(".")) for p in folders}
    empty = [p.name for p, files in pictures.items() if not files]
    if not folders or empty:
        raise DataError(f"{root}: class folders", found=f"no picture in {', '.join(empty[:8])}" if empty else "none",
                        expected="a folder a class, with pictures in each",
                        fix="Check that the dataset was unpacked whole, and not one folder deeper; remove folders that "
                            "are no class.")
    return [(file, i) for i, files in enumerate(pictures.values()) for file in files], [p.name for p in folders]


def split_items(root: Path, split: str) -> tuple[list[Item], list[str]]:
    """The items of one split of a folder, and the classes' names; see `ClassificationDataset.from_root`."""
    if split not in {*SPLITS, "all"}:
        raise ArgumentError("split", found=repr(split), expected='"train", "val", "test" or "all"')
    maps = {s: found[0] for s in SPLITS if (found := [f for f in (root / f"{s}.txt", root / f"{s}_map.txt")
                                                       if f.is_file()])}
    if "train" in maps:
        opened = {s: read_map_file(path) for s, path in maps.items()}
    elif (root / "train").is_dir():
        opened = {s: class_folders(root / s) for s in SPLITS if (root / s).is_dir()}
    else:
        unsplit, classes = class_folders(root)
        return [item for one in _by_class(unsplit) for item in choose_split(one, split)], classes
    items = {s: found for s, (found, _) in opened.items()}
    classes = opened["train"][1]
    if different := {s: names for s, (_, names) in opened.items() if names != classes}:
        raise DataError(f"{root}: classes of the splits", found=f"train {classes}, {different}",
                        expected="the same classes in each", fix="Rename the folders, or the classes in the map files.")
    if "test" not in items:
        if "val" not in items:
            raise DataError(f"{root}: splits", found="train only", expected="train and test, or class folders alone",
                            fix="Move some pictures to test, or the class folders one level up.")
        items["test"] = items.pop("val")
    if "val" not in items:
        chosen = {s: [item for one in _by_class(items["train"])
                      for item in choose_split(one, s, fractions=(0.8, 0.1, 0.1))] for s in SPLITS}
        # choose_split cuts in three; what it calls test stays with train here.
        items["train"], items["val"] = sorted(chosen["train"] + chosen["test"]), chosen["val"]
    items["all"] = [item for s in SPLITS for item in items[s]]
    return items[split], classes


def _by_class(items: Sequence[Item]) -> list[list[Item]]:
    return [[item for item in items if item[1] == label] for label in sorted({label for _, label in items})]


def _two_or_more(classes: Sequence[str], where: str | Path) -> LabelSet:
    if len(classes) < 2:
        raise DataError(f"{where}: classes", found=f"one class only, {classes[0]!r}", expected="two or more",
                        fix="Add the other classes' pictures: with one answer there is nothing to learn.")
    return known_label_set(classes)


def _resolved(folder: Path, name: str) -> Path:
    path = folder / name
    # A backslash may be part of a name outside Windows; only where no such file is, it separates folders.
    return path if "\\" not in name or path.is_file() else folder / name.replace("\\", "/")


def _stop(path: Path, what: str, lines: list[str], expected: str, fix: str) -> None:
    """Raise a DataError that lists all lines, if there are any."""
    if lines:
        raise DataError(f"{path}: {what}", found=f"{len(lines)}:" + "".join(f"\n    {line}" for line in lines),
                        expected=expected, fix=fix)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
