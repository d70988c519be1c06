"""A picture of any size is padded at the bottom and at the right only: what is scored stays where it was."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seglab.models import build
from seglab.models.grid import GridModel
from tests.models.tester import logits_of, randomised

SIZES = [(33, 47), (64, 33), (1, 63), (65, 97), (32, 32), (31, 95)]
GRID_MODELS = {"fcn_skip": {"channels": 8}, "gcn": {"k": 3, "channels": 8}}


class Cells(GridModel):
    """Its scores are the picture itself, averaged over cells of the grid."""

    def __init__(self, cell: int, **options: int) -> None:
        super().__init__(**options)
        self.cell = cell

    def score_maps(self, images):
        assert images.shape[-2] % 32 == images.shape[-1] % 32 == 0
        return F.interpolate(F.avg_pool2d(images, self.cell), scale_factor=self.cell, mode="nearest")


@pytest.mark.parametrize("min_padded", [32, 128])
@pytest.mark.parametrize("size", SIZES)
def test_each_pixel_is_scored_in_its_place(size, min_padded):
    images = torch.randn(2, 3, *size)
    assert torch.equal(Cells(1, min_padded=min_padded)(images)["out"], images)


@pytest.mark.parametrize("size", SIZES)
def test_cells_begin_at_the_upper_left_corner(size):
    images = torch.randn(1, 3, *size)
    found = Cells(32)(images)["out"]
    for top in range(0, size[0], 32):
        for left in range(0, size[1], 32):
            cell = (..., slice(top, top + 32), slice(left, left + 32))
            mean = images[cell].sum((2, 3), keepdim=True) / 32**2  # what pads it is 0
            torch.testing.assert_close(found[cell], mean.expand_as(found[cell]))


@pytest.mark.parametrize("size", [(33, 47), (20, 95), (40, 40)])
def test_enlarged_and_scaled_back_each_pixel_is_in_its_place(size):
    down, across = torch.meshgrid(*(torch.arange(float(side)) for side in size), indexing="ij")
    images = torch.stack([down, across, down + across])[None]
    assert (Cells(1, min_size=80)(images)["out"] - images).abs().max() < 0.6


@pytest.mark.parametrize("size", [(33, 47), (64, 40), (95, 65)])
@pytest.mark.parametrize("name", GRID_MODELS)
@torch.no_grad()
def test_padded_by_hand_a_picture_has_the_same_scores(name, size):
    torch.manual_seed(0)
    model = randomised(build(name, 3, backbone="test_efficientnet", **GRID_MODELS[name]))
    images = torch.randn(1, 3, *size)
    padded = F.pad(images, (0, -size[1] % 32, 0, -size[0] % 32))
    height, width = size
    assert torch.equal(logits_of(model, images), logits_of(model, padded)[..., :height, :width])


def test_every_grid_model_is_tested():
    built = {type(build(name, 3, backbone="test_efficientnet", **options)) for name, options in GRID_MODELS.items()}
    assert built == {found for found in GridModel.__subclasses__() if found.__module__.startswith("seglab.")}
