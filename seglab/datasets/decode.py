"""From an entry of a dataset to pixels: geometry and sizes, the same for every layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors

from seglab.datasets.io import Size, orientation, read_image, read_square, size_within
from seglab.datasets.splits import Entry
from seglab.datasets.transforms import CropOrPad
from seglab.errors import DataError
from seglab.labels import IGNORE

if TYPE_CHECKING:
    from seglab.datasets.base import Reader

#: Of pictures that have one class each, where no size is asked for.
LABELLED: Size = (224, 224)


class LeftOut(Exception):  # noqa: N818  # it is no error
    """A picture that its reader leaves out of every split."""


@dataclass(frozen=True)
class Decoder:
    """Reads pictures with their masks or classes; `Samples` explains `within`, `size` and `how`."""

    reader: Reader
    within: int | Size | None = None
    size: Size | None = None
    how: str = "crop-or-pad"

    def __call__(self, entry: Entry, strict: bool = False) -> tuple[np.ndarray, Any]:
        """The picture, (H, W, 3) uint8, and its mask, (H, W) uint8, or class; see `read`."""
        image, target = self.read(entry, strict)
        if not isinstance(target, np.ndarray):
            return image, target
        return self._sized(image, _scaled(target, image.shape[:2]))

    def read(self, entry: Entry, strict: bool = False) -> tuple[np.ndarray, Any]:
        """The picture, scaled down to be within the box, and its mask at full size, or class.

        DataError for what cannot be used; if strict, LeftOut for a picture that its reader leaves out.
        """
        if (label := entry.label) is not None:
            return read_square(entry.image, (self.size or LABELLED)[0]), label
        size = self.reader.size(entry)
        upright = orientation(entry.image, size, entry.target if isinstance(entry.target, Path) else None)
        image, mask = read_image(entry.image, within=self.within, upright=upright), self.reader.mask(entry)
        if strict and (fault := self.reader.fault(entry, mask)) is not None:
            raise LeftOut(fault)
        assert mask.shape == size, f"{entry.name}: {mask.shape}, {size}"
        assert mask.dtype == np.uint8, f"{entry.name}: {mask.dtype}"
        assert image.shape[:2] == size_within(size, self.within), f"{entry.image}: {image.shape}, {size}"
        if (mask + np.uint8(1)).max(initial=0) > len(self.reader.label_set):  # 255 + 1 is 0
            raise DataError("class ids of the mask", found=f"up to {mask[mask != IGNORE].max()}",
                            expected=f"0 to {len(self.reader.label_set) - 1}, or {IGNORE} for ignore")
        return image, mask

    def _sized(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.size is None or mask.shape == self.size:
            return image, mask
        if self.how != "crop-or-pad":
            scale = min(side / have for side, have in zip(self.size, mask.shape, strict=True))
            want = self.size if self.how == "resize" else tuple(max(1, round(side * scale)) for side in mask.shape)
            image = np.asarray(Image.fromarray(image).resize(want[::-1], Image.Resampling.BILINEAR))
            mask = _scaled(mask, want)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
        pixels, ids = CropOrPad(self.size)(tv_tensors.Image(pixels), tv_tensors.Mask(torch.from_numpy(np.array(mask))))
        return pixels.permute(1, 2, 0).numpy(), ids.numpy()  # (3, H, W) -> (H, W, 3)


def _scaled(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A mask of another size, by nearest neighbour: no class is invented between two others."""
    return mask if mask.shape == size else np.asarray(
        Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))
