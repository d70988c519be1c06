"""The dataset that MaskPainter writes: copies of the pictures, their masks, and the table of the classes."""

from __future__ import annotations

import csv
import filecmp
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from seglab.datasets.folder import find_class_table
from seglab.datasets.io import Size, opened, orientation, read_image
from seglab.datasets.masks import MaskReading
from seglab.datasets.splits import files_by_name, name_below
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_write
from seglab.labels import IGNORE, ClassTable, LabelSet
from seglab.widgets.wire import as_array, as_file, check_picture

_CLASSES = "Classes"  # what a mask says about itself in a text chunk of its PNG
_TABLE = "class_dict.csv"


class PaintedFolder:
    """Pictures, wherever they are, and the folder in which their masks are written. Arguments as for `MaskPainter`.

    Attributes:
        folder: the dataset's.
        names, sizes: of the pictures, in order; sizes are (height, width), upright.
    """

    def __init__(self, images: Any, label_set: LabelSet, folder: str | Path | None) -> None:
        self.folder, sources = _sources(images, folder)
        self.label_set, self.names = label_set, [*sources]
        self._sources, self._table = [*sources.values()], ClassTable.of(label_set)
        colours = [*label_set.colours, label_set.ignore_colour]
        if twice := next((c for i, c in enumerate(colours) if c in colours[:i]), None):
            raise ArgumentError("label_set", found=f"the colour {twice} twice", expected="a colour for each class, and "
                                "another one for what is not labelled", fix="LabelSet(…, ignore_colour=…)")
        self._check_table()
        self._headers = [_header(source) for source in self._sources]
        self.sizes: list[Size] = [size for size, _, _ in self._headers]
        self._check_pictures()
        for index in self.painted():
            if not self._ours(index):
                self.read(index)  # what cannot be painted on is told before anything is

    def painted(self) -> list[int]:
        """The indices of pictures that have a mask."""
        return [index for index in range(len(self.names)) if self.mask_file(index).is_file()]

    def mask_file(self, index: int) -> Path:
        return self.folder / "masks" / f"{self.names[index]}.png"

    def stamp(self, index: int) -> tuple[int, int] | None:
        """What changes when the mask's file does; None without one."""
        try:
            stat = self.mask_file(index).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return stat.st_mtime_ns, stat.st_size

    def image(self, index: int, within: Size | None = None) -> np.ndarray:
        """A picture, upright: (H, W, 3) uint8; one from a file may be scaled down into a box, see `read_image`."""
        source = self._sources[index]
        return read_image(source, within, upright=True) if isinstance(source, Path) else source

    def read(self, index: int) -> np.ndarray:
        """A mask, upright: (H, W) uint8 class ids, 255 where nothing is painted; DataError if its file says else."""
        path, source, size = self.mask_file(index), self._sources[index], self.sizes[index]
        if self.stamp(index) is None:
            return np.full(size, IGNORE, np.uint8)
        self._ours(index)
        ids = MaskReading.choose([path], self._table).read(path)
        if isinstance(source, Path) and not orientation(source, ids.shape, path):
            ids = _turned(ids, self._headers[index][1])
        if ids.shape != size:
            raise DataError(f"{path}: mask of another size than its picture", found=f"{ids.shape[1]}×{ids.shape[0]}",
                            expected=f"{size[1]}×{size[0]}", fix="Move the mask away, and paint a new one.")
        return np.array(ids)

    def write(self, index: int, mask: np.ndarray) -> None:
        """Save a mask, and what the dataset needs with it. A mask without any class is taken away with its copy."""
        path, source, picture = self.mask_file(index), self._sources[index], self._copy_of(index)
        if path.is_file() and not self._ours(index):
            before = path.with_name(path.name + ".before")
            if not before.exists():
                shutil.copyfile(path, before)
        if (mask == IGNORE).all():
            path.unlink(missing_ok=True)
            if picture is not None:
                picture.unlink(missing_ok=True)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (self.folder / _TABLE).exists() or self._grown:
                self._write_table()
            if picture is not None and not picture.exists():
                picture.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(picture, source.read_bytes() if isinstance(source, Path) else as_file(source, "PNG"))
            atomic_write(path, self._png(index, mask))
        except OSError as error:
            raise DataError(f"{path}: mask", found=error.strerror or str(error), expected="a file that can be written",
                            fix="Check the rights of the folder and the room on the disk.") from error

    def _png(self, index: int, mask: np.ndarray) -> bytes:
        """The file of a mask: ids with the classes' palette, and their names.

        Where sizes do not show that the mask lies on the upright picture, it is stored turned as the picture is, and
        says so; see `orientation`.
        """
        _, turn, as_stored = self._headers[index]
        image = Image.fromarray(_turned(mask, {6: 8, 8: 6}.get(turn, turn)) if as_stored else mask)
        text, exif = PngImagePlugin.PngInfo(), Image.Exif()
        image.putpalette(self.label_set.palette.tobytes())
        text.add_text("Software", "seglab MaskPainter")
        text.add_text(_CLASSES, json.dumps(self.label_set.classes))
        if as_stored:
            exif[ExifTags.Base.Orientation] = turn
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", pnginfo=text, exif=exif)
        return buffer.getvalue()

    def _ours(self, index: int) -> bool:
        """Whether MaskPainter wrote a mask; DataError if that was with other classes, or it lies on no picture."""
        path = self.mask_file(index)
        with opened(path) as image:
            written = image.info.get(_CLASSES)
        if written is None:
            return False
        try:
            classes = msgspec.json.decode(written, type=list[str])
        except ValueError as error:
            raise DataError(f"{path}: mask", found=f"no names of classes in it: {error}",
                            expected="a mask as MaskPainter wrote it",
                            fix="Move it away, and paint it again.") from error
        if self.label_set.classes[:len(classes)] != tuple(classes):
            raise DataError(f"{path}: mask of other classes", found=", ".join(classes),
                            expected=", ".join(self.label_set.classes),
                            fix="Give the classes that it was painted with (new ones come last), or another folder.")
        return True

    # --------------------------------------------------------------------------------------------- what surrounds it
    def _copy_of(self, index: int) -> Path | None:
        """Where the dataset has its copy of a picture; None if the picture itself is in there."""
        source = self._sources[index]
        inside = isinstance(source, Path) and (self.folder / "images").resolve() in source.resolve().parents
        ending = source.suffix if isinstance(source, Path) else ".png"
        return None if inside else self.folder / "images" / f"{self.names[index]}{ending}"

    def _check_pictures(self) -> None:
        """DataError if the folder has another picture of one of the names."""
        folder = self.folder / "images"
        known = files_by_name(folder) if folder.is_dir() and any(folder.iterdir()) else {}
        for index, (name, source) in enumerate(zip(self.names, self._sources, strict=True)):
            copy, there = self._copy_of(index), known.get(name)
            if copy is None or there is None:
                continue
            same = there == copy and (filecmp.cmp(there, source, shallow=False) if isinstance(source, Path)
                                      else np.array_equal(read_image(there), source))
            if not same:
                raise DataError(f"{there}: another picture is called {name!r}", found="other pixels",
                                expected="a copy of the picture that is to be painted",
                                fix="Rename one of the two, or choose another folder.")

    def _check_table(self) -> None:
        """DataError if the folder has a table of other classes; new ones may follow those that it has."""
        path, self._grown = find_class_table(self.folder), False
        if path is None:
            return
        found, wanted = ClassTable.read(path), self.label_set
        count = len(found.label_set)
        same = (found.label_set.classes, found.label_set.colours) == (wanted.classes[:count], wanted.colours[:count])
        if not same or found.codes != ClassTable.of(found.label_set).codes or (path.name != _TABLE
                                                                               and count < len(wanted)):
            given, asked = (", ".join(map("{} {}".format, labels.classes, labels.colours))
                            for labels in (found.label_set, wanted))
            raise DataError(f"{path}: another table of classes", found=given, expected=asked,
                            fix="Give the classes and colours of the table (new ones come last), or another folder.")
        self._grown = count < len(wanted)

    def _write_table(self) -> None:
        """Write the table, and make sure that it reads as it is meant."""
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["name", "r", "g", "b"])
        writer.writerows([name, *colour] for name, colour in zip(self.label_set.classes, self.label_set.colours,
                                                                 strict=True))
        atomic_write(self.folder / _TABLE, lines.getvalue().encode())
        self._grown = False
        found = ClassTable.read(self.folder / _TABLE).label_set.classes
        if found != self.label_set.classes:
            raise DataError(f"{self.folder / _TABLE}: class names that a table cannot hold", found=repr(found),
                            expected=repr(self.label_set.classes), fix="Use plain names, without spaces at their ends.")


def _sources(images: Any, folder: str | Path | None) -> tuple[Path, dict[str, Path | np.ndarray]]:
    """The dataset's folder, and name -> file or (H, W, 3) uint8 of all pictures."""
    if isinstance(images, (str, Path)):
        root = Path(images).expanduser()
        if (root / "images").is_dir():
            folder, root = folder or root, root / "images"
        elif root.name == "images":
            folder = folder or root.parent
        found: dict[str, Any] = {**files_by_name(root)}
    elif isinstance(images, Mapping):
        found = {**images}
    elif isinstance(images, Sequence) and all(isinstance(one, (str, Path)) for one in images):
        found = {name_below(Path(one).parent, Path(one)): one for one in images}
        if len(found) < len(images):
            raise ArgumentError("images", found="two files of one name", expected="names that differ",
                                fix='Give names of your own: {"name": path, …}')
    else:
        raise ArgumentError("images", found=type(images).__name__, expected="a folder, a list of picture files, or a "
                            'dict {"name": picture}')
    if folder is None:
        raise ArgumentError("folder", found="none", expected="where the dataset is to be written",
                            fix='For instance MaskPainter(images, label_set, "my_dataset").')
    folder = Path(folder).expanduser()
    if folder.name in ("images", "masks"):
        raise ArgumentError("folder", found=str(folder), expected="the dataset's folder, with images/ and masks/",
                            fix=f"folder={str(folder.parent)!r}")
    if not found:
        raise ArgumentError("images", found="no picture", expected="at least one")
    for name in found:
        parts = PurePosixPath(str(name)).parts
        if not parts or "/".join(parts) != name or parts[0] == "/" or any(
                part.startswith((".", "__")) or set(part) & set('\\:*?"<>|\0') for part in parts):
            raise ArgumentError("images", found=f"the name {name!r}", expected="a name that a file can have")
    return folder, {name: Path(one).expanduser() if isinstance(one, (str, Path)) else check_picture(as_array(one))
                    for name, one in found.items()}


def _header(source: Path | np.ndarray) -> tuple[Size, int, bool]:
    """(height, width) of the upright picture; its EXIF orientation; whether its mask must be stored turned as it is."""
    if not isinstance(source, Path):
        height, width = source.shape[:2]
        return (height, width), 1, False
    with opened(source) as image:
        turn, tiff = image.getexif().get(ExifTags.Base.Orientation, 1), image.format == "TIFF"
        size = (image.width, image.height) if turn in range(5, 9) and not tiff else (image.height, image.width)
    try:
        orientation(source, size)
    except DataError:  # the sizes of picture and mask will not tell; decoders turn TIFFs, and masks of these are none
        if tiff:
            raise
        return size, turn, True
    return size, 1 if tiff else turn, False


def _turned(mask: np.ndarray, turn: int) -> np.ndarray:
    """A mask turned upright, as an EXIF orientation says."""
    image = Image.fromarray(mask)
    image.getexif()[ExifTags.Base.Orientation] = turn
    return np.array(ImageOps.exif_transpose(image))
