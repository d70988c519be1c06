"""What all models have in common."""

from __future__ import annotations

from typing import Any

from torch import nn

from seglab.labels import LabelSet


class Model(nn.Module):
    """A network with what one needs to use it; `build` puts it there.

    Attributes:
        recipe: what built it: the model's name, the number of classes, and its options.
        normalize: "mean" and "std" of the pictures that it expects; None without a backbone.
        label_set: its classes, if the weights say.
        short_side: larger pictures are best scaled down to it, if the weights say.
        size: side of the squares that a classifier was trained on.
    """

    recipe: dict[str, Any]
    normalize: dict[str, list[float]] | None
    label_set: LabelSet | None
    short_side: int | None
    size: int | None
