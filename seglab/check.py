"""`seglab check`: what is wrong or doubtful in a whole dataset, before anybody waits for a training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from seglab.datasets.base import Reader, few
from seglab.datasets.cache import in_threads
from seglab.datasets.decode import Decoder, LeftOut
from seglab.datasets.duplicates import find_duplicates
from seglab.datasets.io import image_size
from seglab.datasets.sources import find_dataset, many_ignored, open_reader
from seglab.datasets.splits import SPLITS, Entry
from seglab.errors import DataError, printable
from seglab.files import atomic_file, output_file
from seglab.labels import IGNORE
from seglab.progress import progress_bar

_SIDE = 64  # of the small copies that pictures are judged by, in pixels
_SHOWN, _CELL = 12, (240, 320)  # of the suspicious pictures on the sheet: how many, and their largest size
_MANY_IGNORED = 0.9  # as a share of the pixels of one picture


@dataclass(frozen=True)
class Finding:
    """One thing that was found, in one sentence, and the names of the pictures that it is about, with their split.

    The level: "error" stops a training or makes its result meaningless; "warning" is to be looked at; "note".
    """

    level: str
    text: str
    pictures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        about = f": {few(self.pictures)}" if self.pictures and "\n" not in self.text else ""  # it names its file
        return f"{self.level:<8}{self.text}{about}".replace("\n", "\n        ")


@dataclass
class Report:
    """What `check` found.

    Attributes:
        dataset: the layout and the folder.
        counts: pictures that can be used, by split.
        shares: {class: {split: share of the scored pixels, or of the pictures that have labels}}.
        sizes: the smallest, the median and the largest (height, width) by area.
        findings: errors first.
    """

    dataset: str
    counts: dict[str, int] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return sum(finding.level == "error" for finding in self.findings)

    def json(self) -> str:
        """The report as JSON."""
        return printable(json.dumps(asdict(self) | {"errors": self.errors}, ensure_ascii=False, indent=1))

    def __str__(self) -> str:
        lines = [self.dataset]
        if self.counts:
            lines.append("pictures: " + ", ".join(f"{n:,} {split}" for split, n in self.counts.items()))
        if self.sizes:
            lines.append("height × width: " + ", ".join(
                f"{h}×{w} {word}" for word, (h, w) in zip(("smallest", "median", "largest"), self.sizes, strict=True)))
        if self.shares:
            wide = max(map(len, self.shares))
            lines += ["", f"{'class':<{wide}}" + "".join(f"{split:>9}" for split in self.counts)]
            lines += [f"{name:<{wide}}" + "".join(f"{shares.get(split, 0):>9.2%}" for split in self.counts)
                      for name, shares in self.shares.items()]
        lines += ["", *map(str, self.findings)] if self.findings else ["", "nothing found"]
        return printable("\n".join(lines))


@dataclass
class _Look:
    """What one picture and its mask show."""

    split: str
    entry: Entry
    size: tuple[int, int] = (0, 0)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    small: np.ndarray | None = None
    error: str = ""
    left_out: str = ""
    doubts: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.split}/{self.entry.name}"


def check(folder: str | Path, *, layout: str | None = None, sheet: str | Path | None = None, overwrite: bool = False,
          progress: bool = True, **options: Any) -> Report:
    """Read every picture and mask of a dataset, and say what is wrong or doubtful.

    Errors: files that cannot be used, annotations that cannot be used, masks that do not say what the table of the
    classes says, a class that is in test and never in train. Warnings: classes that never occur, an unusual share of
    ignored pixels, pictures that are in two splits, single pictures that look suspicious (of one colour, nearly black,
    almost all ignored, of one class where the others have more). Notes: what is left out, and why.

    Args:
        folder: of the dataset.
        layout: its name, if another one would be found first.
        sheet: a PNG file for the most suspicious pictures with their masks; nothing is written if there are none.
        overwrite: replace that file.
        progress: show a bar.
        options: the layout's own, such as `ignore_ids`.

    Raises:
        ArgumentError: an option that the layout does not have, or a sheet that is there already or cannot be written.
    """
    if sheet is not None:
        sheet = output_file(sheet, "sheet.png", {".png"}, overwrite, argument="sheet")
    try:
        name, place = find_dataset(folder, layout)
        reader = open_reader(name, place, **options)
    except DataError as error:
        return Report(str(folder), findings=[Finding("error", str(error))])
    report = Report(f"{reader.title} ({name}) in {place}: {len(reader.label_set)} classes")
    looks = [*_looks(reader, progress)]
    report.findings += [Finding("note", note) for note in reader.notes]
    report.findings += [Finding("error", f"{len(those)} annotations cannot be used: {what}", [*map(str, those)])
                        for what, those in reader.faults.items() if len(those)]
    report.findings += _grouped("error", [(look.error, look.name) for look in looks if look.error])
    report.findings += _grouped("note", [(f"left out: {look.left_out}", look.name) for look in looks if look.left_out])
    if good := [look for look in looks if not look.error and not look.left_out]:
        _compare(good)
        _count(report, reader, good)
        report.findings += _duplicates(good)
    doubtful = [look for look in good if look.doubts]
    report.findings += _grouped("warning", [(doubt, look.name) for look in doubtful for doubt in look.doubts])
    report.findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.level))
    if sheet is not None and doubtful:
        _draw(sorted(doubtful, key=lambda look: -len(look.doubts))[:_SHOWN], reader, Path(sheet))
        report.findings.append(Finding("note", f"the most suspicious pictures are shown in {sheet}"))
    return report


def _looks(reader: Reader, progress: bool) -> Iterator[_Look]:
    jobs = [(split, entry) for split in SPLITS for entry in reader.complete.get(split, ())] or [
        ("all", entry) for entry in reader.complete.get("all", ())]
    decoder = Decoder(reader, within=(_SIDE, _SIDE))  # JPEG is decoded at a fraction of its size, and faster

    def look(job: tuple[str, Entry]) -> _Look:
        split, entry = job
        if entry.image in reader.bad:
            return _Look(split, entry, error=reader.bad[entry.image])
        try:
            image, target = decoder.read(entry, strict=True)
        except DataError as error:
            return _Look(split, entry, error=str(error))
        except LeftOut as reason:
            return _Look(split, entry, left_out=str(reason))
        counts = np.bincount(np.asarray(target).ravel(), minlength=256)
        size = image_size(entry.image) if isinstance(target, int) else (target.shape[0], target.shape[1])
        doubts = {"the picture is of one colour": image.std() < 2,
                  "the picture is nearly black": image.std() >= 2 and image.max() < 40,
                  "almost all of the mask is ignored": counts[IGNORE] > _MANY_IGNORED * counts.sum()}
        return _Look(split, entry, size, counts, image, doubts=[doubt for doubt, there in doubts.items() if there])

    yield from progress_bar(in_threads(look, jobs), total=len(jobs), desc="checking", unit="img", shown=progress)


def _compare(looks: Sequence[_Look]) -> None:
    """Doubt masks of one class where nearly all others have more."""
    alone = [look for look in looks if (look.counts[:IGNORE] > 0).sum() < 2]
    if all(look.counts.sum() > 1 for look in looks) and len(alone) <= len(looks) / 20:
        for look in alone:
            look.doubts.append("the mask holds one class only, unlike most")


def _grouped(level: str, found: Sequence[tuple[str, str]]) -> list[Finding]:
    """One finding for all pictures with the same trouble; messages that name a file stand alone, at most five."""
    by_text: dict[str, list[str]] = {}
    for text, name in found:
        by_text.setdefault(text, []).append(name)
    alone = [text for text, names in by_text.items() if len(names) == 1]
    findings = [Finding(level, text, names) for text, names in by_text.items() if text not in alone[5:]]
    if alone[5:]:
        findings.append(Finding(level, f"{len(alone) - 5} more pictures that cannot be used",
                                [by_text[text][0] for text in alone[5:]]))
    return findings


def _count(report: Report, reader: Reader, looks: Sequence[_Look]) -> None:
    """Counts, sizes and class shares, and what is unusual about them."""
    labels = reader.label_set
    report.counts = dict(Counter(look.split for look in looks))
    by_area = sorted((look.size for look in looks), key=lambda size: size[0] * size[1])
    report.sizes = [by_area[0], by_area[len(by_area) // 2], by_area[-1]]
    pixels = {split: np.sum([look.counts for look in looks if look.split == split], axis=0) for split in report.counts}
    shares = {split: counts / max(1, counts[:len(labels)].sum()) for split, counts in pixels.items()}
    report.shares = {name: {split: float(share[i]) for split, share in shares.items()}
                     for i, name in enumerate(labels.classes)}
    for split, counts in pixels.items():
        report.findings += [Finding("warning", text) for text in many_ignored(counts, split)]
        never = [name for name, share in report.shares.items() if not share[split]]
        unknown = [name for name in never if split == "train" and any(report.shares[name].values())]
        if unknown:
            report.findings.append(Finding("error", "classes that are tested and never trained", unknown))
        if len(unknown) < len(never):
            report.findings.append(Finding("warning", f"classes that never occur in {split}",
                                           [name for name in never if name not in unknown]))
    if left_out := [look.name for look in looks if look.split == "train" and not reader.for_training(look.entry)]:
        report.findings.append(Finding("note", f"left out of train, {len(left_out)} pictures: not among those that "
                                               f"{reader.training_rule}", left_out))


def _duplicates(looks: Sequence[_Look]) -> list[Finding]:
    parts = {split: [look for look in looks if look.split == split] for split in {look.split for look in looks}}
    found = []
    for first, second in combinations([split for split in SPLITS if split in parts], 2):
        ours, theirs = ([(look.small.transpose(2, 0, 1), 0) for look in parts[split] if look.small is not None]
                        for split in (first, second))
        if pairs := find_duplicates(ours, theirs):
            found.append(Finding("warning", f"{len({pair.second for pair in pairs})} pictures of {second} are in "
                                 f"{first} too (or frames of one video)",
                                 [f"{parts[first][p.first].name} = {parts[second][p.second].name}" for p in pairs]))
    return found


def _draw(looks: Sequence[_Look], reader: Reader, path: Path) -> None:
    from PIL import Image

    from seglab.viz import overlay
    from seglab.viz.sheets import sheet

    decode = Decoder(reader, within=_CELL)
    pictures, titles = [], []
    for look in looks:
        image, mask = decode(look.entry)
        pictures.append(np.concatenate([image, overlay(image, mask, reader.label_set)], 1)
                        if isinstance(mask, np.ndarray) else image)
        titles.append(f"{look.name}: {look.doubts[0]}")
    with atomic_file(path) as new:
        Image.fromarray(sheet(pictures, titles, columns=2, width=4 * _CELL[1] + 8)).save(new, format="PNG")
