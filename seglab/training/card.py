"""What a training writes on its model's card."""

from __future__ import annotations

from torch import nn

from seglab import __version__
from seglab.datasets.protocols import Samples
from seglab.datasets.transforms import Normalize
from seglab.errors import ArgumentError
from seglab.models.card import card_of
from seglab.training.order import Seeded


def write_card(model: nn.Module, train: Samples, normalize: Normalize | None = None) -> Normalize:
    """Write on a model's card what it is about to be trained on, and return what turns uint8 pictures into its input.

    `normalize` None takes what is on the card already; if there is nothing, it is measured on the pictures.
    """
    card = card_of(model)
    if normalize is None and card.mean is None and train[0][0].ndim == 3:  # else features, which have been normalised
        # What is random in the transforms of others must not differ when a run goes on.
        normalize = Normalize.of(train if hasattr(train, "with_transforms") else Seeded(train, seed=0))
    if not isinstance(normalize, Normalize | None):
        raise ArgumentError("normalize", found=type(normalize).__name__,
                            expected="Normalize(mean, std), which can be saved with the weights, or None")
    if normalize is not None:
        card.mean, card.std = normalize.mean, normalize.std
    if (labels := getattr(train, "label_set", None)) is not None:
        card.label_set = labels
    within, size = getattr(train, "within", None), getattr(train, "size", None)
    if within is not None and card.short_side is None:
        card.short_side = within if isinstance(within, int) else min(within)
    if isinstance(size, int):  # of the squares that classifiers see
        card.size = size
    origin = getattr(train, "origin", None) or {"name": getattr(labels, "name", None)}
    card.trained_on = {**origin, "pictures": len(train)}
    card.seglab = __version__
    return card.normalize
