"""What is random in an epoch follows from (seed, epoch, picture) alone: the order, and how pictures are augmented."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.random import mtrand
from torch.utils.data import Dataset, Sampler

from seglab.datasets.protocols import Sample, Samples


def seed_of(*parts: int) -> int:
    """A 32-bit seed from several numbers, unrelated for neighbours such as (0, 1) and (1, 0)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "big")


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order in which `fit` visits pictures in an epoch (counted from 0): it follows from the seed alone.

    Example:
        >>> sorted(epoch_order(5, seed=0, epoch=3))
        [0, 1, 2, 3, 4]
    """
    generator = torch.Generator().manual_seed(seed_of(seed, epoch))
    return torch.randperm(count, generator=generator).tolist()


class Order(Sampler[tuple[int, int]]):
    """The order of the current epoch; yields (epoch, index), so that items can be seeded."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, index) for index in epoch_order(self.count, self.seed, self.epoch))


class Seeded(Dataset[Sample]):
    """Augmentation of a picture depends on (seed, epoch, index), not on batch, worker or what came before."""

    def __init__(self, data: Samples, seed: int) -> None:
        self.data, self.seed = data, seed

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, places: Sequence[tuple[int, int]]) -> list[Sample]:
        """The samples of a batch, which DataLoader asks for by (epoch, index)."""
        with _randomness_kept():
            return [self._sample(epoch, index) for epoch, index in places]

    def __getitem__(self, index: int) -> Sample:
        """As in the first epoch."""
        return self.__getitems__([(0, index)])[0]

    def _sample(self, epoch: int, index: int) -> Sample:
        seed = seed_of(self.seed, epoch, index)
        # Not torch.manual_seed: that also queues a call for every kind of GPU, which takes longer than the loading.
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        return self.data[index]


_OURS = np.random.MT19937()  # of the kind that np.random has


@contextmanager
def _randomness_kept() -> Iterator[None]:
    """Afterwards, dropout in this very process goes on as if nothing had been drawn inside."""
    states = torch.get_rng_state(), random.getstate(), mtrand.get_bit_generator()
    mtrand.set_bit_generator(_OURS)  # reading NumPy's state and writing it back takes a hundred times as long
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        mtrand.set_bit_generator(states[2])
