"""A picture and its mask under augmentations: what has to move together, and what bilinear does to class ids."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import torch
import traitlets as t
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from seglab.errors import ArgumentError
from seglab.labels import IGNORE, LabelSet
from seglab.viz import overlay
from seglab.viz.palettes import as_drawn
from seglab.widgets.augmentation import CONTROLS, FLIPS, Number, Switch, browser_controls, compose, source_of
from seglab.widgets.base import PictureWidget, browser_code, styles
from seglab.widgets.wire import check_mask, check_picture, classes_of, pack

#: Larger pictures are shrunk to about as many pixels, so that a browser computes them within one frame.
MOST_PIXELS = 160_000
#: Paints invented and wrong pixels: the colour of ids that are no class, and of no class in seglab's label sets.
LOUD = (255, 0, 255)

#: Shown if no setting is given: what a first look should see.
FIRST_LOOK = {"rotation": 20.0, "scale": 1.1}


class AugmentationExplorer(PictureWidget):
    """A picture and its mask under augmentations, side by side: bilinear picture, nearest mask, and a bilinear mask.

    The third panel is wrong on purpose. Class ids are names, not amounts: half-way between background (0) and dog (2)
    lies 1, which is a cat. Pixels whose id none of their four neighbours has are painted in magenta and counted.
    Everything is computed in the browser, by the formulas of `torchvision.transforms.v2.functional`, so it works
    without a kernel; `apply` does the same with torchvision itself, and `code` writes it down.

    The order is fixed: horizontal flip, vertical flip, rotation with scale, translation and shear (one `affine` about
    the centre), crop; then brightness, contrast, saturation, hue, blur. The first four move picture and mask, the rest
    change the picture only. What comes in from outside is 0 in the picture and 255, ignored, in the mask. Every setting
    is an attribute that can be read and set; a setting at rest is a step left out. There is no noise: torchvision's is
    drawn anew each time, so a browser cannot show the same.

    Keys: Tab moves between controls, the arrow keys move a slider, Home and End take it to its ends, Space presses a
    button.

    Args:
        image: (3, H, W) or (H, W, 3) uint8. With more than 160 000 pixels, it is shrunk to about as many by averaging
            areas, and its mask by nearest neighbour: `image` and `mask` are then the shrunk ones.
        mask: (H, W) class ids, 255 = ignore.
        label_set: names and colours.
        **settings: any of these; without a transform, the widget begins at rotation 20 and scale 1.1.
            rotation: degrees, clockwise, -180 to 180.
            scale: 0.25 to 4.
            translate_x, translate_y: share of width or height, to the right or down, -0.5 to 0.5; rounded to pixels.
            shear: degrees along x, -45 to 45.
            flip_horizontal, flip_vertical: True or False.
            crop: share of height and width that is kept, 0.1 to 1; crop_x, crop_y: where, from left (0) to right (1)
            and from the upper (0) to the lower (1) edge.
            brightness, contrast, saturation: factors, 0 to 3.
            hue: share of the colour circle, -0.5 to 0.5.
            blur: sigma of a Gaussian in pixels, 0 to 3; its kernel reaches 3 sigma far.
            picture_only: a classic bug: flips and affine leave the mask where it was. (The crop cuts both.)
            opacity: of the mask over the picture, 0 to 1.
            seed: what "Surprise me" draws next, 0 or more. Each press adds 1.

    Attributes:
        image: the picture, tv_tensors.Image (3, H, W) uint8.
        mask: its mask, tv_tensors.Mask (H, W) uint8.
        label_set: its classes.

    Raises:
        ArgumentError: no uint8 picture or an empty one, a mask of another size or with an id that has no colour, an
            unknown setting, or one out of range.

    Example:
        >>> from seglab.labels import PETS
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> mask[12:36, 16:48] = 2
        >>> explorer = AugmentationExplorer(np.full((48, 64, 3), 90, np.uint8), mask, PETS, rotation=15)
        >>> ids, invented = explorer.interpolated()
        >>> np.unique(mask).tolist(), np.unique(ids).tolist()[:3], bool(invented.any())
        ([0, 2], [0, 1, 2], True)
        >>> image, mask = explorer.apply()
        >>> image.shape, mask.unique().tolist()
        (torch.Size([3, 48, 64]), [0, 2, 255])
    """

    _esm = browser_code("augmentation", "augmentation_explorer")
    _css = styles("augmentation_explorer")

    #: size [width, height], pixels (3, H, W) packed smooth, ids (H, W) packed, classes, controls
    content = t.Dict().tag(sync=True)

    rotation, scale, shear = Number.of("rotation"), Number.of("scale"), Number.of("shear")
    translate_x, translate_y = Number.of("translate_x"), Number.of("translate_y")
    flip_horizontal, flip_vertical = Switch(), Switch()
    crop, crop_x, crop_y = Number.of("crop"), Number.of("crop_x"), Number.of("crop_y")
    brightness, contrast, saturation = Number.of("brightness"), Number.of("contrast"), Number.of("saturation")
    hue, blur = Number.of("hue"), Number.of("blur")
    picture_only, opacity, seed = Switch(), Number(0, 1, 0), Number(0, 2**31, 0, whole=True)

    def __init__(self, image: Any, mask: Any, label_set: LabelSet, **settings: float | bool) -> None:
        unknown = [name for name in settings if name not in {*CONTROLS, *FLIPS, "picture_only", "opacity", "seed"}]
        if unknown:
            raise ArgumentError("AugmentationExplorer", found=f"setting {', '.join(map(repr, unknown))}",
                                expected=f"any of {', '.join((*CONTROLS, *FLIPS))}, picture_only, opacity, seed")
        picture = check_picture(image)  # (H, W, 3)
        mask = check_mask(mask, picture.shape[:2], label_set)
        height, width = mask.shape
        if (shrink := math.sqrt(MOST_PIXELS / mask.size)) < 1:
            width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        self.image, self.mask = _tensors(picture, mask)
        self.label_set = label_set
        if not settings.keys() & {*CONTROLS, *FLIPS}:
            settings = {**FIRST_LOOK, **settings}
        super().__init__(content={"size": [width, height], "pixels": pack(self.image.numpy(), smooth=True),
                                  "ids": pack(mask), "classes": classes_of(label_set), "controls": browser_controls()},
                         **settings)

    @classmethod
    def of(cls, dataset: Any, index: int = 0, **settings: float | bool) -> AugmentationExplorer:
        """One sample of a dataset.

        Args:
            dataset: gives (image, mask), and has a `label_set`.
            index: of the sample.
            **settings: as of the class.

        Raises:
            ArgumentError: no label set, no such sample, a sample without a mask, or what the class refuses.
        """
        if not isinstance(getattr(dataset, "label_set", None), LabelSet):
            raise ArgumentError("dataset", found=type(dataset).__name__, expected="a dataset with a label_set",
                                fix="Give picture, mask and classes: AugmentationExplorer(image, mask, label_set).")
        if not -len(dataset) <= index < len(dataset):
            raise ArgumentError("index", found=index, expected=f"0 to {len(dataset) - 1}")
        image, mask = dataset[index]
        return cls(image, mask, dataset.label_set, **settings)

    def reset(self) -> None:
        """Put every transform to rest, also `picture_only`."""
        with self.hold_sync():
            for name, (*_, rest, _) in CONTROLS.items():
                setattr(self, name, rest)
            for name in (*FLIPS, "picture_only"):
                setattr(self, name, False)

    def _move(self, height: int, width: int) -> dict[str, Any] | None:
        """Arguments of torchvision's affine, or None at rest."""
        shift = [round(self.translate_x * width), round(self.translate_y * height)]
        if (self.rotation, self.scale, self.shear, *shift) == (0, 1, 0, 0, 0):
            return None
        return {"angle": self.rotation, "translate": shift, "scale": self.scale, "shear": [self.shear, 0.0]}

    def _window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the crop."""
        rows, columns = max(1, round(self.crop * height)), max(1, round(self.crop * width))
        return round(self.crop_y * (height - rows)), round(self.crop_x * (width - columns)), rows, columns

    def _kernel(self, height: int, width: int) -> int:
        """Pixels across the blur's kernel: 3 sigma to each side, but less than the picture, which is mirrored."""
        return 1 + 2 * min(math.ceil(3 * self.blur), height - 1, width - 1)

    def apply(self, image: Any = None, mask: Any = None) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """The current settings, done by torchvision.

        Args:
            image: another picture, (3, H, W) or (H, W, 3) uint8, of any size; by default the one that is shown.
            mask: its mask, (H, W) class ids.

        Returns:
            The picture (3, h, w) uint8 and the mask (h, w) uint8; smaller than before only if `crop` is below 1.

        Raises:
            ArgumentError: one of the two without the other, or what the class refuses.
        """
        if (image is None) != (mask is None):
            raise ArgumentError("apply", found="a picture or a mask", expected="both, or none")
        if image is None:
            return self._apply(self.image, self.mask, not self.picture_only)
        picture = check_picture(image)
        return self._apply(*_tensors(picture, check_mask(mask, picture.shape[:2], self.label_set)),
                           not self.picture_only)

    def _apply(self, image: tv_tensors.Image, mask: tv_tensors.Mask,
               both: bool) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        if self.flip_horizontal:
            image, mask = F.horizontal_flip(image), F.horizontal_flip(mask) if both else mask
        if self.flip_vertical:
            image, mask = F.vertical_flip(image), F.vertical_flip(mask) if both else mask
        if move := self._move(*mask.shape):
            image = F.affine(image, **move, interpolation=InterpolationMode.BILINEAR, fill=0)
            mask = F.affine(mask, **move, interpolation=InterpolationMode.NEAREST, fill=IGNORE) if both else mask
        if self.crop < 1:
            window = self._window(*mask.shape)
            image, mask = F.crop(image, *window), F.crop(mask, *window)
        for name in ("brightness", "contrast", "saturation", "hue"):
            if (value := getattr(self, name)) != CONTROLS[name][4]:
                image = getattr(F, f"adjust_{name}")(image, value)
        if (size := self._kernel(*mask.shape)) > 1:
            image = F.gaussian_blur(image, kernel_size=[size, size], sigma=[self.blur, self.blur])
        return image, mask

    def code(self) -> str:
        """What `apply()` does, as lines of Python to carry home; the widget shows the same.

        Example:
            >>> from seglab.labels import PETS
            >>> picture, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
            >>> print(AugmentationExplorer(picture, mask, PETS, flip_horizontal=True, hue=0.1).code())
            from torchvision.transforms import InterpolationMode
            from torchvision.transforms.v2 import functional as F
            <BLANKLINE>
            # image: tv_tensors.Image (3, 8, 8) uint8; mask: tv_tensors.Mask (8, 8) uint8
            image = F.horizontal_flip(image)
            mask = F.horizontal_flip(mask)
            image = F.adjust_hue(image, 0.1)
        """
        height, width = self.mask.shape
        size = f"{height}, {width}"
        lines = ["from torchvision.transforms import InterpolationMode",
                 "from torchvision.transforms.v2 import functional as F", "",
                 f"# image: tv_tensors.Image (3, {size}) uint8; mask: tv_tensors.Mask ({size}) uint8"]
        stays = ["# the bug: the mask stays where it was"]
        for name in FLIPS:
            if getattr(self, name):
                call = "horizontal_flip" if name == "flip_horizontal" else "vertical_flip"
                lines += [f"image = F.{call}(image)", *(stays if self.picture_only else [f"mask = F.{call}(mask)"])]
        if move := self._move(height, width):
            moved = "mask = F.affine(mask, **move, interpolation=InterpolationMode.NEAREST, fill=255)"
            lines += [f"move = dict(angle={self.rotation:g}, translate={move['translate']}, scale={self.scale:g}, "
                      f"shear=[{self.shear:g}, 0])",
                      "image = F.affine(image, **move, interpolation=InterpolationMode.BILINEAR, fill=0)",
                      *(stays if self.picture_only else [moved])]
        if self.crop < 1:
            top, left, height, width = self._window(height, width)
            window = f"top={top}, left={left}, height={height}, width={width}"
            lines += [f"image = F.crop(image, {window})", f"mask = F.crop(mask, {window})"]
        lines += [f"image = F.adjust_{name}(image, {getattr(self, name):g})"
                  for name in ("brightness", "contrast", "saturation", "hue")
                  if getattr(self, name) != CONTROLS[name][4]]
        if (side := self._kernel(height, width)) > 1:
            lines.append(f"image = F.gaussian_blur(image, kernel_size=[{side}, {side}], "
                         f"sigma=[{self.blur:g}, {self.blur:g}])")
        return "\n".join(lines)

    def interpolated(self) -> tuple[np.ndarray, np.ndarray]:
        """The wrong mask: class ids interpolated bilinearly by torchvision, whatever `picture_only` says.

        Returns:
            ids: (h, w) uint8, what a network would be trained with.
            invented: (h, w) bool, True where none of the four neighbours has that id. Outside the mask they have 255.
        """
        ids, around = self._interpolated()
        return ids, (around != ids).all(0)

    def _interpolated(self) -> tuple[np.ndarray, np.ndarray]:
        """Bilinear ids, (h, w) uint8, and those of the four neighbours, (4, h, w) uint8."""
        mask = self.mask.as_subclass(torch.Tensor)[None]  # (H, W) -> (1, H, W): for torchvision, a grey picture
        mask = F.horizontal_flip(mask) if self.flip_horizontal else mask
        mask = F.vertical_flip(mask) if self.flip_vertical else mask
        height, width = mask.shape[1:]
        ids, around = mask, mask
        if move := self._move(height, width):
            ids = F.affine(mask, **move, interpolation=InterpolationMode.BILINEAR, fill=IGNORE)
            x, y = source_of(move, height, width)  # (H, W) each
            padded = np.pad(mask[0].numpy(), 1, constant_values=IGNORE)  # (H + 2, W + 2)
            left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
            rows, columns = ([(first + k).clip(0, last) for k in (1, 2)]
                             for first, last in ((top, height + 1), (left, width + 1)))
            around = torch.from_numpy(np.stack([padded[j, i] for j in rows for i in columns]))  # (4, H, W)
        window = self._window(height, width)
        return F.crop(ids, *window)[0].numpy(), F.crop(around, *window).numpy()

    def words(self) -> str:
        """What the third panel teaches, in one sentence; the widget says the same."""
        if self.picture_only:
            share = 100 * self._wrong().mean()
            text = "< 0.1" if 0 < share < 0.05 else f"{share:.1f}"
            return (f"Only the picture moved: {text} % of the mask's pixels now name something else than the picture "
                    "shows.")
        ids, around = self._interpolated()
        invented = (around != ids).all(0)  # (h, w)
        values, low, high = (a[invented].astype(np.int64) for a in (ids, around.min(0), around.max(0)))
        parts = []
        real = values < len(self.label_set)
        for chosen, what in ((real, ("class that is not there", "classes that are not there")),
                             (~real, ("id that no class has", "ids that no class has"))):
            if not chosen.any():
                continue
            kinds, count = len(np.unique(values[chosen])), int(chosen.sum())
            text = f"{count} {'pixels' if count > 1 else 'pixel'} of {kinds} {what[kinds > 1]}"
            between = chosen & (low < values) & (values < high)
            if between.any():
                # The most common case is the example; of equally common ones, that of the smallest ids.
                cases, counts = np.unique(np.stack([low, high, values])[:, between], axis=1, return_counts=True)
                first, last, found = cases[:, counts.argmax()].tolist()
                text += f": {'e.g. ' if kinds > 1 else ''}between {self._name(first)} and {self._name(last)} lies " + (
                    self._name(found))
            parts.append(text)
        return f"Bilinear invents {'; and '.join(parts)}." if parts else "Bilinear invents nothing here."

    def _name(self, class_id: int) -> str:
        if class_id == IGNORE:
            return f"ignored ({IGNORE})"
        return f"{self.label_set.classes[class_id]} ({class_id})" if class_id < len(self.label_set) else str(class_id)

    def _wrong(self) -> np.ndarray:
        """Where a mask that stays is not the mask that moves, (h, w) bool."""
        stays, moves = (self._apply(self.image, self.mask, both)[1].numpy() for both in (False, True))
        return stays != moves

    def summary(self) -> str:
        height, width = self.mask.shape
        settings = [f"{name.replace('_', ' ')} {getattr(self, name):g}" for name, row in CONTROLS.items()
                    if getattr(self, name) != row[4]]
        settings += [name.replace("_", " ") for name in FLIPS if getattr(self, name)]
        text = ", ".join(settings) or "nothing changed"
        return f"AugmentationExplorer, {width}×{height} pixels, {text}. {self.words()}"

    def picture(self) -> np.ndarray:
        image, mask = self.apply()
        picture, mask = image.permute(1, 2, 0).numpy(), mask.numpy()  # (3, h, w) -> (h, w, 3)
        ids, invented = self.interpolated()
        colourise = as_drawn(self.label_set).colourise
        opacity = max(self.opacity, 0.5) if self.picture_only else self.opacity
        titles = ["picture: bilinear", "mask: nearest", "mask: bilinear (wrong)"]
        if self.picture_only:
            titles = ["picture: moved, mask over it", "mask: not moved", "labels that are now wrong"]
            ids, invented = mask, self._wrong()
        loud = colourise(ids) // 2 + 64  # paler, so that what is painted stands out
        loud[invented] = LOUD
        panels = [overlay(picture, mask, self.label_set, opacity), colourise(mask), loud]
        present = sorted(set(np.unique(mask).tolist()) | set(ids[~invented].tolist()))
        return compose(panels, titles, f"{self.words()} Magenta: {'wrong' if self.picture_only else 'invented'}.",
                        self.label_set, present)


def _tensors(picture: np.ndarray, mask: np.ndarray) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """What torchvision takes: (H, W, 3) uint8 -> (3, H, W), and (H, W) uint8."""
    channels = np.ascontiguousarray(picture.transpose(2, 0, 1))
    return tv_tensors.Image(torch.from_numpy(channels)), tv_tensors.Mask(torch.from_numpy(mask.copy()))
