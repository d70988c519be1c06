"""The sheet of photographs in lesson 5: what the network that ships says about test pictures of the Oxford pets.

`python -m tools.photographs PETS -o sheet.jpg` draws it: photograph, mask, and errors, with the IoU of the pet. PETS is
a folder with the published dataset (CC BY-SA 4.0), of which nothing ships with the package.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from seglab.datasets import Samples, open_dataset
from seglab.inference import predict
from seglab.labels import IGNORE, PETS
from seglab.metrics import ConfusionMatrix
from seglab.models import build
from seglab.viz import error_map, overlay

NAMES = ("american_bulldog_208", "Bengal_74", "Abyssinian_46", "Abyssinian_207", "Bengal_24")


def iou_of_the_pet(guess: np.ndarray, truth: np.ndarray) -> float:
    """IoU of "pet or not", the border ignored: both (H, W) uint8 class ids of `PETS`."""
    matrix = ConfusionMatrix(2)
    matrix.update(np.minimum(guess, 1), np.where(truth == IGNORE, IGNORE, np.minimum(truth, 1)))
    return float(matrix.compute().iou[1])


def sheet(model: nn.Module, test: Samples, names: Sequence[str] = NAMES) -> Figure:
    """A column a photograph: itself, the network's mask over it, and where it is right and wrong."""
    figure = Figure(figsize=(2.6 * len(names), 6.2), layout="constrained")
    axes = figure.subplots(3, len(names))
    for column, name in zip(axes.T, names, strict=True):
        picture, truth = test.read(test.names.index(name))
        guess = predict(model, picture).mask
        for axis, panel in zip(column, (picture, overlay(picture, guess, PETS), error_map(guess, truth)), strict=True):
            axis.imshow(panel)
            axis.set_axis_off()
        column[0].set_title(f"{name}\nIoU of the pet {iou_of_the_pet(guess, truth):.2f}", fontsize=9)
    return figure


def main() -> None:
    """Draw the sheet, as a JPEG file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pets", type=Path, help="the folder of the published dataset")
    parser.add_argument("--out", "-o", type=Path, default=Path("pets.jpg"))
    parser.add_argument("--names", nargs="+", default=NAMES, help="of pictures of the test list")
    arguments = parser.parse_args()
    test = open_dataset("pets", root=arguments.pets, source="real", progress=False).test
    figure = sheet(build("gcn", weights="bundled").eval(), test, arguments.names)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    Image.fromarray(pixels).save(arguments.out, quality=82)


if __name__ == "__main__":
    main()
