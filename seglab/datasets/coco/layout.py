"""Where annotations and pictures lie in datasets in COCO's format, as published and as common tools export them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from seglab.datasets.io import IMAGE_SUFFIXES
from seglab.datasets.splits import find_split_folders, find_split_name, visible, walk

_NAME = re.compile(r"(?:instances_)?([a-z]+)(2017|2014)?", re.IGNORECASE)
_WHOLE = ("annotations/instances_default.json", "annotations.json", "result.json", "_annotations.coco.json")


def find_layout(root: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Where annotations and pictures are, and what is left out.

    Returns:
        ({split: (annotation, folder of its pictures)}, "all" for an annotation that is not split, {} if there is none;
        names of annotations whose pictures have no folder, unless that is so for all of them).
    """
    found = {split: (folder / "_annotations.coco.json", folder) for split, folder in find_split_folders(root).items()
             if os.path.isfile(folder / "_annotations.coco.json")}
    if found:
        return found, []
    images = next((root / name for name in ("images/default", "images") if os.path.isdir(root / name)), root)
    without: dict[str, tuple[Path, Path]] = {}
    for path in sorted((root / "annotations").glob("*.json"), key=lambda path: (  # those that come first are taken
            not path.name.startswith("instances_"), "2017" not in path.name, "2014" not in path.name, path.name)):
        if (split := _split_of(path.stem)) is None:
            continue
        name = path.stem.lower().removeprefix("instances_")
        own = _subfolder(root, {name, name.rstrip("0123456789")})
        (found if own else without).setdefault(split, (path, own or images))
    whole = next((root / name for name in _WHOLE if os.path.isfile(root / name)), None)
    if found:
        return found, [path.name for split, (path, _) in without.items() if split not in found]
    return without or ({"all": (whole, images)} if whole else {}), []


def _subfolder(root: Path, names: set[str]) -> Path | None:
    """The folder with one of these names in any case, the longest first, in `root` or `root/images`."""
    folders = [path for where in (root, root / "images") if os.path.isdir(where) for path in visible(where)
               if path.name.lower() in names and os.path.isdir(path)]
    return max(folders, key=lambda path: len(path.name), default=None)


def find_unannotated(root: Path, parts: Mapping[str, tuple[Path, Path]]) -> dict[str, tuple[Path, Path]]:
    """{split: (annotation that is not there, folder of its pictures)}, for folders beside those of the other splits."""
    annotation, images = next(iter(parts.values()))
    found = {}
    for path in visible(images.parent) if images != root and _split_of(images.name) in parts else ():
        if (split := _split_of(path.name)) and split not in parts and os.path.isdir(path) and any(
                one.suffix.lower() in IMAGE_SUFFIXES for one in visible(path)):
            inside = annotation.parent == images
            missing = path / annotation.name if inside else annotation.with_name(
                f"{'instances_' * annotation.name.startswith('instances_')}{path.name}.json")
            found[split] = missing, path
    return found


def _split_of(name: str) -> str | None:
    """The split of a folder, or of an annotation without its ending."""
    match = _NAME.fullmatch(name)
    return find_split_name(match[1]) if match else None


def find_pictures(folder: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """(path below a folder, "" or what is wrong) of each picture that an annotation names.

    A name counts as it is; else for the one file whose path ends like it, at least with the same base name. So names
    from another machine or system are found too: with `\\`, absolute, URL-encoded, in another case or Unicode form.
    """
    there: set[str] = set()
    for where, _, files in walk(folder):
        below = os.path.relpath(where, folder)
        there.update(files if below == "." else (f"{below}/{file}".replace(os.sep, "/") for file in files))
    ends: dict[tuple[str, ...], list[str]] = {}  # of paths, from one part on
    if not there.issuperset(names):
        for path in sorted(there):
            parts = _parts(path)
            for start in range(len(parts)):
                ends.setdefault(parts[start:], []).append(path)
    found = [(name, "") if name in there else _nearest(name, ends, folder) for name in names]
    claims = Counter(path for path, wrong in found if not wrong)
    return [(path, wrong if claims[path] < 2 or wrong else f"{claims[path]} pictures of the annotation mean {path}")
            for path, wrong in found]


def _nearest(name: str, ends: dict[tuple[str, ...], list[str]], folder: Path) -> tuple[str, str]:
    for spelled in (name, unquote(name).rpartition("?d=")[2]):  # Label Studio: /data/local-files/?d=a%20b.jpg
        parts = _parts(spelled)
        for start in range(len(parts)):
            if (found := ends.get(parts[start:])) is not None:
                return (found[0], "") if len(found) == 1 else (name, f"{name!r} may be {' or '.join(found[:3])}")
    if ".." not in _parts(name) and not PureWindowsPath(name).anchor and os.path.isfile(folder / name):
        return name, ""  # behind a link
    return name, f"no file {name!r} in {folder}"


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[\\/]", unicodedata.normalize("NFC", path).casefold())
                 if part not in {"", "."})
