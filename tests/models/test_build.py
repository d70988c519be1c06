from __future__ import annotations

import pytest
import torch

from seglab.errors import ArgumentError
from seglab.models import build, list_models


def test_644_parameters():
    assert sum(p.numel() for p in build("single_conv", 23).parameters()) == 644


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (32, 48)])
def test_output_has_the_size_of_the_input(relu, size):
    out = build("single_conv", 5, relu=relu)(torch.randn(2, 3, *size))["out"]
    assert out.shape == (2, 5, *size)
    if relu:
        assert out.min() >= 0


def test_a_pixel_sees_its_3x3_neighbourhood_and_nothing_else():
    image = torch.zeros(1, 3, 9, 9, requires_grad=True)
    build("single_conv", 4)(image)["out"][0, :, 4, 4].sum().backward()
    seen = image.grad[0].abs().sum(0) > 0
    assert seen[3:6, 3:6].all()
    assert seen.sum() == 9


def test_build_arguments():
    assert list_models() == ["classifier", "fcn", "fcn_skip", "single_conv"]
    with pytest.raises(ArgumentError, match="'unet'"):
        build("unet", 3)
    with pytest.raises(ArgumentError, match="num_classes"):
        build("single_conv", 0)
    with pytest.raises(ArgumentError, match="depth"):
        build("single_conv", 3, depth=2)
