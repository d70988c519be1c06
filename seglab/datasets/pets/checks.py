"""Pictures that need care: found by reading all files once, remembered, and treated by a stated policy."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from seglab.datasets.folder import Pair
from seglab.datasets.io import Size, read_image, read_mask
from seglab.errors import ArgumentError, CacheError, DataError
from seglab.files import atomic_write
from seglab.labels import LabelSet, voc_palette
from seglab.progress import progress_bar

#: Kind of problem -> what can be done about it; the first is the default.
POLICIES = {"missing": ("error", "skip"), "undecodable": ("error", "skip"), "other-size": ("error", "skip"),
            "not-rgb": ("keep", "skip", "error"), "no-pet": ("skip", "keep", "error"),
            "too-large": ("shrink", "skip", "keep", "error")}
_KEPT = {"not-rgb": "converted to RGB", "no-pet": "kept, all background", "too-large": "kept as large as they are"}
_FORMAT = 1  # of the memory: raise it when records change
_THREADS = 4  # Pillow decodes outside Python's global lock
#: Reads a mask as it is on disk: every value but 254 is a class.
_RAW = LabelSet("trimap", tuple(f"value {i}" for i in range(254)), tuple(voc_palette(254).tolist()))

Record = dict[str, Any]


def choose_policies(problems: Mapping[str, str] | str | None) -> dict[str, str]:
    """A policy for every kind: the given ones, over the defaults.

    Raises:
        ArgumentError: an unknown kind, or a policy that makes no sense for it.

    Example:
        >>> choose_policies({"no-pet": "keep"})["no-pet"], choose_policies("skip")["not-rgb"]
        ('keep', 'skip')
    """
    if isinstance(problems, str):
        problems = dict.fromkeys(POLICIES, problems)
    for kind, policy in (problems or {}).items():
        if policy not in POLICIES.get(kind, ()):
            raise ArgumentError(f"problems[{kind!r}]", found=repr(policy), expected="; ".join(
                f"{known}: {' or '.join(those)}" for known, those in POLICIES.items() if kind not in POLICIES
                or kind == known))
    return {kind: those[0] for kind, those in POLICIES.items()} | dict(problems or {})


def read_raw(path: Path, fit: Size | None = None) -> np.ndarray:
    """A mask's values as they are on disk, (H, W) uint8; DataError if it is not one channel of 8 bits."""
    return read_mask(path, _RAW, fit=fit)


def examine(pairs: Sequence[Pair], memory: Path, progress: bool) -> list[Record | None]:
    """Read all files, but those that were read before and have not changed since.

    Args:
        pairs: (picture, mask) paths.
        memory: a JSON file that remembers what was found, by path, size and times.
        progress: show a bar.

    Returns:
        for each pair None if a file is missing, {"error": text} if one cannot be decoded, else {"mode": Pillow's,
        "size": [H, W], "mask": [H, W], "values": {value: pixels}}.

    Raises:
        CacheError: the memory cannot be written.
    """
    signatures = [_signature(pair) for pair in pairs]
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(memory.with_suffix(".lock")):  # one process reads all files, the others wait and then know
            known = _remembered(memory)
            todo = [pair for pair, signature in zip(pairs, signatures, strict=True)
                    if signature is not None and known.get(_key(pair), {}).get("signature") != signature]
            if todo:
                with ThreadPoolExecutor(_THREADS) as pool:
                    seen = progress_bar(pool.map(_look, todo), total=len(todo), desc="checking files once", unit="img",
                                        shown=progress)
                    fresh = {_key(pair): record for pair, record in zip(todo, seen, strict=True)}
                now = dict(zip(map(_key, pairs), signatures, strict=True))
                known |= {key: record | {"signature": now[key]} for key, record in fresh.items()}
                atomic_write(memory, json.dumps({"format": _FORMAT, "files": known}).encode())
    except OSError as error:
        raise CacheError(f"{memory}: what was found in the files cannot be remembered", found=str(error),
                         expected="a file that can be written",
                         fix="Free some space, set SEGLAB_HOME to another disk, or pass verify=False.") from error
    return [known[_key(pair)] if signature is not None else None
            for pair, signature in zip(pairs, signatures, strict=True)]


def _key(pair: Pair) -> str:
    return str(pair[0])


def _signature(pair: Pair) -> str | None:
    """Names, sizes and times of the two files; None if one is not there."""
    try:
        stats = [os.stat(path) for path in pair]
    except FileNotFoundError:
        return None
    return f"{pair[1].name} " + " ".join(f"{s.st_size}-{s.st_mtime_ns}-{s.st_ctime_ns}" for s in stats)


def _remembered(memory: Path) -> dict[str, Record]:
    try:
        content = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    except ValueError:
        return {}  # only a memory: what is lost is the time to read the files again
    return content["files"] if content.get("format") == _FORMAT else {}


def _look(pair: Pair) -> Record:
    try:
        read_image(pair[0], fit=(8, 8))  # all its bytes, but a JPEG at an eighth of its size: a third of the time
        mask = read_raw(pair[1])
    except DataError as error:
        return {"error": str(error)}
    with Image.open(pair[0]) as image:  # the header alone
        mode, size = image.mode, (image.height, image.width)
    values = np.bincount(mask.ravel(), minlength=256)
    return {"mode": mode, "size": size, "mask": mask.shape,
            "values": {str(value): int(values[value]) for value in np.flatnonzero(values)}}


def find_problems(pairs: Sequence[Pair], records: Sequence[Record | None], pet_values: tuple[str, ...],
                  max_side: int | None) -> dict[str, list[int]]:
    """{kind: places of the pairs that have this problem}; one picture may have several.

    Args:
        pairs: (picture, mask) paths.
        records: of `examine`.
        pet_values: the values of a mask that mean a pet.
        max_side: the longest side that is not too large; None for any.
    """
    found: dict[str, list[int]] = {kind: [] for kind in POLICIES}
    for place, record in enumerate(records):
        if record is None:
            found["missing"].append(place)
        elif "error" in record:
            found["undecodable"].append(place)
        else:
            for kind, has in (("other-size", tuple(record["size"]) != tuple(record["mask"])),
                              ("not-rgb", record["mode"] != "RGB"),
                              ("no-pet", not any(value in record["values"] for value in pet_values)),
                              ("too-large", max_side is not None and max(record["size"]) > max_side)):
                if has:
                    found[kind].append(place)
    return found


def complain(folder: Path, names: Sequence[str], found: dict[str, list[int]], policies: dict[str, str],
             records: Sequence[Record | None]) -> None:
    """Raise a DataError if there is a problem whose policy is "error"."""
    bad = {kind: places for kind, places in found.items() if places and policies[kind] == "error"}
    if not bad:
        return
    text = "; ".join(f"{len(places)} of {len(names)} {kind}: {few([names[i] for i in places])}"
                     for kind, places in bad.items())
    if (broken := bad.get("undecodable")) and (record := records[broken[0]]) is not None:
        text += "\n            " + " ".join(line.strip() for line in record["error"].splitlines()[:2])
    choice = ", ".join(f'"{kind}": "skip"' for kind in bad)
    raise DataError(f"{folder}: pictures that cannot be used as they are", found=text, expected="none",
                    fix=f"Fetch these files again, or leave the pictures out with problems={{{choice}}}.")


def report(names: dict[str, list[str]], policies: dict[str, str], listed: int, used: int, max_side: int | None,
           verified: bool) -> str:
    """A table of what was found, and what was done about it."""
    lines = [f"{used:,} of {listed:,} pictures are used",
             f"{'problem':<12} {'pictures':>8}  {'what was done':<26} {'which'}"]
    for kind, those in names.items():
        if kind == "too-large" and max_side is None:
            continue
        if not verified and kind != "missing":
            lines.append(f"{kind:<12} {'?':>8}  not looked for (verify=False)")
            continue
        policy = policies[kind]
        done = {"skip": "left out", "shrink": f"scaled down to {max_side}", "error": "", "keep": _KEPT.get(kind, "")}
        lines.append(f"{kind:<12} {len(those):>8,}  {done[policy] if those else '':<26} {few(those)}".rstrip())
    return "\n".join(lines)


def few(those: Sequence[str], count: int = 5) -> str:
    return ", ".join(those[:count]) + (" …" if len(those) > count else "")
