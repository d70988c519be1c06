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
    assert {"classifier", "deeplabv3", "fcn", "fcn_skip", "gcn", "single_conv"} <= set(list_models())
    with pytest.raises(ArgumentError, match="'unet'"):
        build("unet", 3)
    with pytest.raises(ArgumentError, match="num_classes"):
        build("single_conv", 0)
    with pytest.raises(ArgumentError, match="depth"):
        build("single_conv", 3, depth=2)


@pytest.mark.slow
@pytest.mark.parametrize(("joined", "name", "backbone"), [
    ("deeplabv3_resnet50", "deeplabv3", "resnet50"),
    ("deeplabv3_mobilenet_v3_large", "deeplabv3", "mobilenet_v3_large"),
    ("fcn_resnet101", "fcn", "resnet101"),
    ("fcn_skip_resnet18", "fcn_skip", "resnet18"),
    ("classifier_test_efficientnet", "classifier", "test_efficientnet"),
])
def test_torchvisions_names_join_model_and_backbone(joined, name, backbone):
    model = build(joined, 2)
    assert model.card.architecture == {"name": name, "num_classes": 2, "backbone": backbone}
    assert list(model.state_dict()) == list(build(name, 2, backbone=backbone).state_dict())


def test_a_joined_name_and_an_option():
    assert build("fcn_resnet18", 2, backbone="resnet18", aux=True).card.architecture["aux"]
    assert build("fcn_skip", 2).card.architecture == {"name": "fcn_skip", "num_classes": 2}, "a model of its own"
    with pytest.raises(ArgumentError, match=r"'resnet50' for 'fcn_resnet18'"):
        build("fcn_resnet18", 2, backbone="resnet50")
    with pytest.raises(ArgumentError, match="'resnet51'"):
        build("deeplabv3_resnet51", 2)
    for name in ("single_conv_resnet18", "fcn_", "resnet18"):
        with pytest.raises(ArgumentError, match=f"model\n.*'{name}'"):
            build(name, 2)
