"""What all models have in common."""

from __future__ import annotations

from functools import cached_property

from torch import nn

from seglab.models.card import Card


class Model(nn.Module):
    """A network with its card: what one needs to use it."""

    @cached_property
    def card(self) -> Card:
        """What it expects and means. Of a backbone with published weights, the mean and deviation are theirs."""
        return Card(**getattr(getattr(self, "backbone", None), "normalize", {}))
