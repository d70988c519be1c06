"""A model's card: what it expects of pictures, and what its answers mean. Checkpoints carry it with the weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import msgspec
from torch import nn

from seglab import __version__
from seglab.datasets.transforms import Normalize
from seglab.errors import CheckpointError, SeglabError
from seglab.labels import LabelSet, known_label_set


@dataclass
class Card:
    """What a model expects and means; `fit`, `evaluate`, `predict`, the widgets and `export` go by it.

    `build` writes what the weights know, and `fit` the classes of its dataset, the mean and the deviation.

    Attributes:
        architecture: what `build` made: the model's name, the number of classes, and its options; empty for others.
        label_set: the classes and their colours; None if nobody said.
        mean, std: of the pictures in [0, 1], a number a channel; None leaves them in [0, 1].
        short_side: larger pictures are scaled down to this shorter side, in pixels; None takes each at its size.
        zoom: then all are scaled by this factor, and the scores back: a network that was trained on enlarged crops
            recognises most at their scale.
        size: side of the squares that a classifier sees, in pixels.
        trained_on: the dataset, as plain values: its "name", "source", "layout", "options" and number of "pictures".
        seglab: the version that trained it.

    Example:
        >>> card = Card(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> card.normalize
        Normalize(mean=(0.500, 0.500, 0.500), std=(0.250, 0.250, 0.250))
    """

    architecture: dict[str, Any] = field(default_factory=dict)
    label_set: LabelSet | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    short_side: int | None = None
    zoom: float = 1.0
    size: int | None = None
    trained_on: dict[str, Any] = field(default_factory=dict)
    seglab: str | None = __version__

    def __post_init__(self) -> None:
        self.mean, self.std = (tuple(v) if isinstance(v, list) else v for v in (self.mean, self.std))

    @property
    def normalize(self) -> Normalize:
        """From uint8 pictures to what the model expects."""
        return Normalize(self.mean, self.std) if self.mean is not None and self.std is not None else Normalize()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values; `parse` reads them."""
        found = {**self.__dict__, "label_set": None if self.label_set is None else asdict(self.label_set)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}

    @classmethod
    def parse(cls, content: dict[str, Any], path: str | Path) -> Card:
        """The card in the content of a checkpoint; an empty one if there is none.

        Raises:
            CheckpointError: values that no card can have.
        """
        try:
            found = content["card"] if "card" in content else _from_settings(
                msgspec.convert(content.get("settings", {}), _Settings))
            if isinstance(found, dict) and (unknown := found.keys() - cls.__dataclass_fields__.keys()):
                raise ValueError(f"unknown entries: {', '.join(map(str, unknown))}")
            card = msgspec.convert(found, cls)
            card._check()
        except (SeglabError, ValueError) as error:
            raise CheckpointError(f"{path}: card of the model", found=" ".join(str(error).split())[:300],
                                  expected="what `fit` or `seglab convert` wrote",
                                  fix="Copy the checkpoint again, or train again.") from error
        return card

    def _check(self) -> None:
        Normalize(self.mean or (0, 0, 0), self.std or (1, 1, 1))  # refuses what is no mean or deviation
        for side, most in ((self.short_side, math.inf), (self.size, 4096)):
            if side is not None and not 1 <= side <= most:
                raise ValueError(f"a size of {side!r} pixels")
        if not 1 / 16 <= self.zoom <= 16:  # larger ones fill any memory
            raise ValueError(f"a zoom of {self.zoom!r}")
        msgspec.convert(self.trained_on, _TrainedOn)
        count = self.architecture.get("num_classes")
        if self.label_set is not None and count is not None and count != len(self.label_set):
            raise ValueError(f"{len(self.label_set)} classes of a model that has {count}")


class _TrainedOn(TypedDict, total=False):
    """See `Card.trained_on`."""

    name: str | None
    source: str
    layout: str
    options: dict[str, Any]
    pictures: int


@dataclass
class _Settings:
    """Of a run, where the first checkpoints had their card."""

    model: dict[str, Any] = field(default_factory=dict)
    classes: list[str] | None = None
    name: str | None = None
    labels: str | None = None
    colours: tuple[tuple[int, int, int], ...] | None = None
    normalize: dict[str, list[float] | None] | None = None
    short_side: int | None = None
    size: Any = None


class Model(nn.Module):
    """A network with its card: what one needs to use it."""

    @cached_property
    def card(self) -> Card:
        """What it expects and means. Of a backbone with published weights, the mean and deviation are theirs."""
        return Card(**getattr(getattr(self, "backbone", None), "normalize", {}))


def card_of(model: nn.Module) -> Card:
    """The card of any model; one that has none is given an empty one.

    Example:
        >>> network = nn.Conv2d(3, 2, kernel_size=1)
        >>> card_of(network).label_set = known_label_set(["soil", "leaf"])
        >>> network.card.label_set.classes
        ('soil', 'leaf')
    """
    if not isinstance(card := getattr(model, "card", None), Card):
        card = model.card = Card()  # type: ignore[assignment]  # torch's modules take any attribute
    return card


def _from_settings(settings: _Settings) -> dict[str, Any]:
    """A card from the settings of a run, where the first checkpoints had it."""
    normalize, labels = settings.normalize or {}, None
    if settings.classes:
        known = known_label_set(settings.classes)
        labels = {**asdict(known), "name": settings.name or settings.labels or known.name,
                  "colours": settings.colours or known.colours}
    return {"architecture": settings.model if "num_classes" in settings.model else {}, "label_set": labels,
            "mean": normalize.get("mean"), "std": normalize.get("std"), "short_side": settings.short_side,
            "size": settings.size if type(settings.size) is int else None, "seglab": None}
