"""Between the loader and the model: normalisation, and the lessons' augmentation, on pictures that lie on the GPU."""

from __future__ import annotations

import torch
from torchvision import tv_tensors

from seglab.datasets import IMAGENET, CropOrPad, Normalize, random_scale_crop
from tests.gpu.waiting import no_waiting


def sample(device: str) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (3, 6, 8), dtype=torch.uint8, generator=generator)
    image = coarse.repeat_interleave(10, 1).repeat_interleave(10, 2)  # (3, 60, 80)
    return tv_tensors.Image(image.to(device)), tv_tensors.Mask((image[0] // 64).to(device))


def test_normalisation_is_the_cpus_and_never_waits():
    pictures = torch.randint(0, 256, (2, 3, 33, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected, there = Normalize(*IMAGENET)(pictures), pictures.to("cuda").contiguous(
        memory_format=torch.channels_last)
    normalize = Normalize(*IMAGENET).to("cuda")
    normalize(there)
    with no_waiting():
        found = normalize(there)
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-6)


def test_augmentation_is_the_cpus():
    """What is random is drawn on the CPU, so that the same seed gives the same crop wherever the picture lies."""
    for seed in range(8):
        results = []
        for device in ("cpu", "cuda"):
            torch.manual_seed(seed)
            image, mask = random_scale_crop(size=48, base=52)(*sample(device))
            assert image.device.type == mask.device.type == device
            assert image.dtype == mask.dtype == torch.uint8 and image.shape == (3, 48, 48) and mask.shape == (48, 48)
            results.append((image.cpu().int(), mask.cpu()))
        (image, mask), (image_there, mask_there) = results
        assert (image_there - image).abs().max() <= 2  # grey levels: each device rounds in its own way
        assert set(mask_there.unique().tolist()) <= {0, 1, 2, 3, 255}
        assert (mask_there == mask).float().mean() > 0.98  # a pixel that lies between two may take either


def test_crop_or_pad():
    (image, mask), (image_there, mask_there) = (CropOrPad((70, 50))(*sample(device)) for device in ("cpu", "cuda"))
    assert torch.equal(image_there.cpu(), image) and torch.equal(mask_there.cpu(), mask)
    assert (mask == 255).any()
