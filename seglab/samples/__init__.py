"""Small versions of the datasets, drawn and written in their published layouts: nothing to download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seglab.files import data_home
from seglab.samples import aerial, animals, coco, pets
from seglab.samples.aerial import draw_aerial
from seglab.samples.catdog import write_catdog_sample
from seglab.samples.coco import write_coco_sample
from seglab.samples.drone import write_drone_sample
from seglab.samples.pets import write_pets_sample
from seglab.samples.video import sample_frames, write_video_sample

__all__ = ["draw_aerial", "sample_folder", "sample_frames", "write_catdog_sample", "write_coco_sample",
           "write_drone_sample", "write_pets_sample", "write_video_sample"]

#: Version of the drawings, and what writes them, by the dataset's name.
_WRITERS: dict[str, tuple[int, Callable[..., Path]]] = {
    "drone": (aerial.VERSION, write_drone_sample), "catdog": (animals.VERSION, write_catdog_sample),
    "coco": (coco.VERSION, write_coco_sample), "pets": (pets.VERSION, write_pets_sample)}


def sample_folder(name: str, progress: bool = True) -> Path:
    """The folder of the built-in "drone", "catdog", "coco" or "pets", drawn if it is not there."""
    version, write = _WRITERS[name]
    return write(data_home() / "samples" / f"{name}-{version}", progress=progress)
