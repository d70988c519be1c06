"""What seglab asks of a dataset: hints that the datasets of others fulfil too, without inheriting from anything."""

from __future__ import annotations

from typing import Any, Protocol, cast

from torch import Tensor
from torch.utils.data import Dataset

from seglab.labels import LabelSet

Sample = tuple[Tensor, Any]  # a picture, or its features; and a mask or a label


class Samples(Protocol):
    """A length and items by number, as torch's map-style datasets have, and lists."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class LabelledSamples(Samples, Protocol):
    """The same with the classes, as all of seglab's datasets."""

    @property
    def label_set(self) -> LabelSet: ...


def as_dataset(data: Samples) -> Dataset[Sample]:
    """The same object. DataLoader takes all that has a length and items; only its hints ask for a Dataset."""
    return cast("Dataset[Sample]", data)
