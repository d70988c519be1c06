"""The Oxford-IIIT Pet Dataset: cats and dogs, with trimaps."""

from __future__ import annotations

from seglab.datasets.pets.dataset import OxfordPets, download_pets
from seglab.datasets.pets.layout import find_pets

__all__ = ["OxfordPets", "download_pets", "find_pets"]
