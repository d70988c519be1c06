"""Map files: a picture's path, a tab, and its class index, a line each."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from seglab.datasets.splits import existing_folder, pictures_below, visible
from seglab.errors import DataError, printable
from seglab.files import atomic_write, check_free, read_text

Item = tuple[Path, int]

#: A comment of a map file that names a class, as `write_map_file` writes it.
_CLASS_COMMENT = re.compile(r"#\s*class ([0-9]{1,3}):\s*(.+?)\s*")


def read_map_file(path: str | Path, root: str | Path | None = None,
                  classes: Sequence[str] | None = None) -> tuple[list[Item], list[str]]:
    """Read a map file, to ([(path, class index)], class names).

    Empty lines and lines that begin with # are skipped. Relative paths start at `root`, by default the map file's
    folder; Windows separators are fine. Names of classes are by default those in comments of the form
    `# class 0: cats`, as `write_map_file` writes them, else "class 0", "class 1" …

    Raises:
        DataError: no file, nothing in it; lines without a tab, labels that are no class index, pictures with two
            labels, or that are missing (all of them, with their line numbers); a class without a picture.
    """
    path = Path(path)
    folder = Path(root) if root is not None else path.parent
    named: dict[int, str] = {}
    items: list[tuple[int, Path, int]] = []
    bad: list[str] = []
    for number, line in enumerate(read_text(path, "map file").splitlines(), start=1):
        if comment := _CLASS_COMMENT.fullmatch(line):
            named[int(comment[1])] = comment[2]
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, label = line.rpartition("\t")
        if not tab:
            bad.append(f"line {number}: no tab in {line!r:.60}")
        elif not re.fullmatch(r"\s*[0-9]{1,3}\s*", label):
            bad.append(f"line {number}: label {label.strip()!r:.60} is no class index")
        else:
            file = folder / name.strip()
            if "\\" in name and not os.path.isfile(file):  # else it is part of a name, as it may be outside Windows
                file = folder / name.strip().replace("\\", "/")
            items.append((number, file, int(label)))
    _stop(path, "lines that cannot be read", bad, "PATH, a tab, and a class index 0, 1, 2 … on each line",
          "Correct these lines; a line that begins with # is a comment.")
    if not items:
        raise DataError(f"{path}: map file", found="no picture in it",
                        expected="a line a picture: PATH, a tab, a class index")
    used = {label for _, _, label in items}
    names = list(classes) if classes is not None else [
        named.get(i, f"class {i}") for i in range(max(named or used) + 1)]
    _stop(path, "labels out of range", [f"line {n}: {label}" for n, _, label in items if label >= len(names)],
          f"0 to {len(names) - 1}: {', '.join(names[:8])}", "Correct these labels, or name all classes.")
    if empty := [f"{i} ({name})" for i, name in enumerate(names) if i not in used]:
        raise DataError(f"{path}: classes without a picture", found=", ".join(empty[:8]),
                        expected="class indices from 0 on without a gap", fix="Number the classes 0, 1, 2 …")
    first: dict[Path, tuple[int, int]] = {}
    for number, file, index in items:
        before, known = first.setdefault(file, (number, index))
        if known != index:
            bad.append(f"line {number}: {file.name} is {index}, and {known} on line {before}")
    _stop(path, "pictures with two labels", bad, "one label a picture", "Keep the right line of each.")
    _stop(path, "pictures that are missing", [f"line {n}: {file}" for n, file, _ in items if not os.path.isfile(file)],
          f"files; relative paths start at {folder}", "Correct the paths, or pass root= for another starting folder.")
    return [(file, label) for _, file, label in items], names


def write_map_file(root: str | Path, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Write a map file of a folder that holds a folder a class; classes are numbered in the order of their names.

    Args:
        root: holds `CLASS/*.jpg` (and other pictures, in folders below too).
        path: the map file, which is returned; `root/map.txt` by default. Paths in it are relative to its folder where
            that holds them.
        overwrite: replace a file that is there.

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
    base = Path(os.path.realpath(path)).parent
    lines = [f"# class {i}: {name}" for i, name in enumerate(classes)]
    for file, label in items:
        file = Path(os.path.realpath(file))
        name = (file.relative_to(base) if base in file.parents else file).as_posix()
        if re.search(r"[\t\r\n]", name) or printable(name) != name:
            raise DataError(f"{file!s}: file name", found="a tab, a line break, or bytes that are no UTF-8 in it",
                            expected="a plain name",
                            fix="Rename the file; a map file cannot hold such a name.")
        lines.append(f"{'./' * name.startswith('#')}{name}\t{label}")
    atomic_write(path, ("\n".join(lines) + "\n").encode())
    return path


def class_folders(root: Path) -> tuple[list[Item], list[str]]:
    """The pictures of a folder that holds a folder a class, and the classes' names, both in alphabetical order."""
    folders = [path for path in visible(root) if os.path.isdir(path)]
    pictures = {p: pictures_below(p) for p in folders}
    empty = [p.name for p, files in pictures.items() if not files]
    if not folders or empty:
        raise DataError(f"{root}: class folders", found=f"no picture in {', '.join(empty[:8])}" if empty else "none",
                        expected="a folder a class, with pictures in each",
                        fix="Check that the dataset was unpacked whole, and not one folder deeper; remove folders that "
                            "are no class.")
    items = [(file, i) for i, files in enumerate(pictures.values()) for file in files]
    return items, [printable(p.name) for p in folders]


def _stop(path: Path, what: str, lines: list[str], expected: str, fix: str) -> None:
    """Raise a DataError that lists all lines, if there are any."""
    if lines:
        raise DataError(f"{path}: {what}", found=f"{len(lines)}:" + "".join(f"\n    {line}" for line in lines),
                        expected=expected, fix=fix)
