"""What happens to pictures between the loader and the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from seglab.datasets.protocols import Sample, Samples
from seglab.errors import ArgumentError
from seglab.labels import IGNORE

#: Mean and standard deviation of ImageNet's pictures in [0, 1], which pretrained networks expect.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Normalize(nn.Module):
    """uint8 pictures -> float pictures of about mean 0 and deviation 1, on the device that they are on.

    It runs after the transfer: a uint8 picture is a quarter of the bytes of a float one. Mean and standard deviation
    are those of pictures in [0, 1], a number a channel; the defaults leave pictures there.

    Shapes:
        (N, 3, H, W) or (3, H, W) uint8 -> the same shape, float32. Features (N, D) pass as they are.

    Raises:
        ArgumentError: not three numbers each, a deviation of zero, or pictures that are not uint8.

    Example:
        >>> Normalize()(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)).max().item()
        1.0
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float] = (0.0, 0.0, 0.0), std: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
        super().__init__()
        self.mean, self.std = tuple(float(v) for v in mean), tuple(float(v) for v in std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, self.mean)) or not all(
                0 < deviation < math.inf for deviation in self.std):
            raise ArgumentError("Normalize", found=f"mean {self.mean}, std {self.std}",
                                expected="three means and three deviations above 0")
        # (x / 255 - mean) / std as one multiplication and one addition. Not persistent: no part of the weights.
        scale = 1 / (255 * torch.tensor(self.std, dtype=torch.float64))
        shift = -torch.tensor(self.mean, dtype=torch.float64) / torch.tensor(self.std, dtype=torch.float64)
        self.register_buffer("scale", scale.float()[:, None, None], persistent=False)  # (3, 1, 1)
        self.register_buffer("shift", shift.float()[:, None, None], persistent=False)  # (3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim == 2:
            return images
        if images.dtype != torch.uint8:
            raise ArgumentError("images", found=f"{images.dtype}", expected="torch.uint8, 0 to 255",
                                fix="Leave pictures as the dataset gives them; Normalize scales them.")
        return torch.addcmul(self.shift, images, self.scale)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}=({', '.join(f'{v:.3f}' for v in values)})"
                         for name, values in (("mean", self.mean), ("std", self.std)))

    @classmethod
    def of(cls, dataset: Samples) -> Normalize:
        """Measure mean and deviation over all pixels of a dataset of uint8 pictures, without its transforms."""
        plain: Samples = dataset.with_transforms(None) if hasattr(dataset, "with_transforms") else dataset
        counts = np.zeros((3, 256))  # of each value
        for i in range(len(plain)):
            pixels = torch.as_tensor(plain[i][0])
            if pixels.dtype != torch.uint8 or pixels.ndim != 3:
                raise ArgumentError("picture", found=f"{tuple(pixels.shape)}, {pixels.dtype}",
                                    expected="(3, H, W) torch.uint8, 0 to 255")
            counts += [np.bincount(channel.ravel(), minlength=256) for channel in pixels.numpy()]  # (3, 256)
        shares, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
        mean = shares @ values  # (3,)
        variance = shares @ values ** 2 - mean ** 2
        return cls(mean.tolist(), np.sqrt(np.maximum(variance, 1e-6)).tolist())


def random_scale_crop(size: int = 480, base: int = 520, scale: tuple[float, float] = (0.5, 2.0),
                      flip: float = 0.5) -> v2.Compose:
    """The augmentation with which segmentation networks are published: random scale, mirroring, random crop.

    The shorter side becomes `scale[0] * base` to `scale[1] * base` pixels long, each whole number equally likely, and
    a square is cut out at random. Where the picture is too small for it, the rest is padded with 0, the mask with 255,
    and the picture lies somewhere in between. Pictures are scaled bilinearly with antialiasing, masks by nearest
    neighbour. All that is random comes from torch's generator, so `fit` repeats it when it resumes. A COCO picture
    takes about 5 ms on one core if its channels lie last in memory, as datasets give it, else 9.

    Args:
        size: side of the square, in pixels.
        base: length of the shorter side at scale 1, in pixels.
        scale: smallest and largest scale, both included.
        flip: probability of mirroring left and right.

    Shapes:
        (tv_tensors.Image (3, h, w) uint8, tv_tensors.Mask (h, w) uint8) -> the same types, whose sides are `size`. The
        types say which of the two is the mask; datasets give them.

    Raises:
        ArgumentError: a length below 1 pixel, scales out of order, or a probability outside [0, 1].

    Source: torchvision, references/segmentation/presets.py; there, padding is always right and below.

    Example:
        >>> augment = random_scale_crop(size=48, base=52)
        >>> sample = tv_tensors.Image(torch.zeros(3, 60, 80, dtype=torch.uint8)), tv_tensors.Mask(torch.ones(60, 80))
        >>> image, mask = augment(*sample)
        >>> image.shape, mask.shape
        (torch.Size([3, 48, 48]), torch.Size([48, 48]))
    """
    if not (size >= 1 and 0 < scale[0] <= scale[1] and int(scale[0] * base) >= 1 and 0 <= flip <= 1):
        raise ArgumentError("random_scale_crop", found=f"size {size}, base {base}, scale {scale}, flip {flip}",
                            expected="size of 1 or more, 0 < scale[0] <= scale[1], scale[0] * base of 1 or more, flip "
                                     "in [0, 1]")
    shortest, longest = (int(s * base) for s in scale)
    return v2.Compose([
        _RandomResize(shortest, longest + 1, antialias=True),  # it never draws its upper bound
        v2.RandomHorizontalFlip(flip),
        v2.RandomCrop(size, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: IGNORE})])


class _RandomResize(v2.RandomResize):  # type: ignore[misc]  # torchvision has no hints
    """`v2.RandomResize`, for pictures whose channels lie last in memory: as others, PyTorch cannot scale all to 1×1."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, tv_tensors.Image):  # a copy only if they do not
            inpt = tv_tensors.wrap(inpt.movedim(-3, -1).contiguous().movedim(-1, -3), like=inpt)
        return super().transform(inpt, params)


class CropOrPad(nn.Module):
    """The middle of a picture and its mask, at a fixed size: too large sides are cut, too small ones padded.

    What is added around the picture is 0, around the mask 255: it is neither trained nor scored. Where an odd number
    of pixels is cut or added, the right and the lower edge take the one more. The size is the side of a square, or
    (height, width), in pixels.

    Shapes:
        (tv_tensors.Image (3, h, w) uint8, tv_tensors.Mask (h, w) uint8) -> the same types, (3, H, W) and (H, W).

    Raises:
        ArgumentError: a side below 1 pixel, or a picture and a mask of different sizes.

    Example:
        >>> sample = tv_tensors.Image(torch.ones(3, 2, 6)), tv_tensors.Mask(torch.ones(2, 6))
        >>> image, mask = v2.Compose([CropOrPad(4)])(*sample)
        >>> image.shape, mask[:, 0].tolist()
        (torch.Size([3, 4, 4]), [255.0, 1.0, 1.0, 255.0])
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        super().__init__()
        self.size = height_and_width(size)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if image.shape[-2:] != mask.shape[-2:]:
            raise ArgumentError("CropOrPad", found=f"picture {tuple(image.shape)}, mask {tuple(mask.shape)}",
                                expected="the same height and width")
        spare = [want - have for want, have in zip(self.size, mask.shape[-2:], strict=True)]  # below 0: cut
        top, left = (max(0, n) // 2 for n in spare)
        around = [left, top, max(0, spare[1]) - left, max(0, spare[0]) - top]
        corner = [max(0, -n) // 2 for n in spare]
        image, mask = (v2.functional.crop(v2.functional.pad(one, around, fill=fill), *corner, *self.size)
                       for one, fill in ((image, 0), (mask, IGNORE)))
        return image, mask


def height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    """A size as (height, width), from that or from the side of a square; ArgumentError if a side is below 1 pixel.

    Example:
        >>> height_and_width(480), height_and_width((360, 480))
        ((480, 480), (360, 480))
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ArgumentError("size", found=repr(size), expected="a whole number of pixels, or (height, width)")
    return sides


def has_labels(sample: Sample) -> bool:
    """True if a sample is a picture with one label, False if it is a picture with a mask.

    Example:
        >>> has_labels((torch.zeros(3, 4, 4), 1)), has_labels((torch.zeros(3, 4, 4), torch.zeros(4, 4)))
        (True, False)
    """
    return np.ndim(sample[1]) == 0


def collate(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Stack samples to a batch; smaller ones are padded at the right and bottom, pictures with 0, masks with 255.

    Shapes:
        list of (3, h, w) uint8 and (h, w) uint8 -> (N, 3, H, W) uint8, channels last in memory, and (N, H, W) uint8.
        With one label a picture instead of a mask: list of (3, H, W) uint8, or features (D,) float, and int
        -> (N, 3, H, W) or (N, D), and (N,) int64.

    Raises:
        ArgumentError: labelled pictures of different sizes; there is no ignoring what is padded.
    """
    if has_labels(samples[0]):
        if len({tuple(image.shape) for image, _ in samples}) > 1:
            raise ArgumentError("pictures of a batch", found=sorted({tuple(image.shape) for image, _ in samples})[:4],
                                expected="one size", fix="Give the dataset a size, or resize in its transforms.")
        batch = torch.stack([torch.as_tensor(image).movedim(0, -1) for image, _ in samples])  # (N, H, W, 3) or (N, D)
        labels = torch.tensor([int(label) for _, label in samples])  # (N,)
        return batch.movedim(-1, 1), labels
    height, width = (max(mask.shape[side] for _, mask in samples) for side in (-2, -1))
    # Channels last: the order of decoded pixels, and the one in which convolution and argmax are fastest.
    images = torch.zeros((len(samples), height, width, 3), dtype=samples[0][0].dtype).permute(0, 3, 1, 2)
    masks = torch.full((len(samples), height, width), IGNORE, dtype=samples[0][1].dtype)
    for i, (image, mask) in enumerate(samples):
        images[i, :, : image.shape[-2], : image.shape[-1]] = image
        masks[i, : mask.shape[-2], : mask.shape[-1]] = mask
    return images, masks
