"""A small run that the training tests start, kill and repeat."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import seglab
from seglab.models import build
from seglab.training import History


class Blobs(Dataset):
    """Pictures of three colours, noisy, whose mask is the colour."""

    def __init__(self, count: int, seed: int = 0, transforms: Any = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randint(0, 3, (count, 4, 4), generator=generator)
        self.masks = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)  # (count, 16, 16)
        colours = torch.tensor([[200, 40, 40], [40, 200, 40], [40, 40, 200]])
        noise = torch.randint(-40, 41, (count, 16, 16, 3), generator=generator)
        self.images = (colours[self.masks] + noise).permute(0, 3, 1, 2).to(torch.uint8)
        self.masks = self.masks.to(torch.uint8)
        self.transforms = transforms

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = tv_tensors.Image(self.images[index]), tv_tensors.Mask(self.masks[index])
        return self.transforms(*sample) if self.transforms else sample


def train(folder: str | Path | None, *, epochs: int = 3, seed: int = 0, lr: float = 0.05, batch_size: int = 4,
          classes: int = 3, count: int = 12, net: Callable[[], nn.Module] | None = None,
          scheduler: Callable[..., Any] | None = None, optimizer: Callable[..., Any] = torch.optim.Adam,
          progress: bool = False, **options: Any) -> tuple[History, nn.Module]:
    torch.manual_seed(seed)
    model = net() if net is not None else build("single_conv", classes)
    augment = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(12)])
    adam = optimizer(model.parameters(), lr)
    history = seglab.fit(model, Blobs(count, transforms=augment), Blobs(6, seed=5), optimizer=adam, epochs=epochs,
                         batch_size=batch_size, seed=seed, folder=folder, progress=progress,
                         scheduler=scheduler(adam) if scheduler else None, **options)
    return history, model


def same_bits(a: Any, b: Any) -> bool:
    """True if two trees of tensors and plain values are equal bit by bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same_bits, a, b))
    return type(a) is type(b) and a == b


def train_in_a_process(folder: str, epochs: int) -> None:
    torch.set_num_threads(1)
    train(folder, epochs=epochs, accumulate=2)  # three batches: a whole group and an incomplete one


if __name__ == "__main__":
    train_in_a_process(sys.argv[1], int(sys.argv[2]))
