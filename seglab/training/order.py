"""What is random in an epoch follows from (seed, epoch, picture) alone: the order, and how pictures are augmented."""

from __future__ import annotations

import hashlib
import math
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


class Batches(Sampler[list[tuple[int, int]]]):
    """The batches of one process in the current epoch; yields lists of (epoch, index), so that items can be seeded.

    In each step the processes share the next `size` × `processes` pictures of the epoch's order, as evenly as can be:
    where the last step has fewer, some have one picture more than others, and `share` is what each counts. A process
    for which none is left takes one of another's, so that all exchange gradients equally often; its share is 0.

    Example:
        >>> both = [Batches(5, seed=0, size=2, rank=rank, processes=2) for rank in (0, 1)]
        >>> [[len(batch) for batch in one] for one in both], [one.share(1) for one in both]
        ([[2, 1], [2, 1]], [2.0, 0.0])
    """

    def __init__(self, count: int, seed: int, size: int, rank: int = 0, processes: int = 1) -> None:
        self.count, self.seed, self.size, self.rank, self.processes = count, seed, size, rank, processes
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(self.count / (self.size * self.processes))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = epoch_order(self.count, self.seed, self.epoch)
        for batch in range(len(self)):
            yield [(self.epoch, order[place]) for place in self._places(batch) or [self.count - 1]]

    def _places(self, batch: int) -> range:
        """Where this process's pictures of a batch lie in the epoch's order."""
        first = batch * self.size * self.processes
        each, more = divmod(self._together([batch]), self.processes)
        start = first + self.rank * each + min(self.rank, more)
        return range(start, start + each + (self.rank < more))

    def _together(self, group: Sequence[int]) -> int:
        """How many pictures all processes have in these batches, which follow each other."""
        step = self.size * self.processes
        return min((group[-1] + 1) * step, self.count) - group[0] * step

    def share(self, batch: int, group: Sequence[int] | None = None) -> float:
        """What this process's mean over a batch counts in the mean over all processes, and over a group of batches.

        It is such that each picture counts the same; 1 for whole batches that are no part of a group.
        """
        return self.processes * len(self._places(batch)) / self._together([batch] if group is None else group)


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
