"""BatchNorm folded into convolutions: fewer layers, the same answers, the model untouched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from seglab.models import build, fold_batch_norm


def shaken(model: nn.Module) -> nn.Module:
    """Statistics and weights of BatchNorm that are far from those of a new layer."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backbone"), [("classifier", "resnet18"), ("classifier", "efficientnet_lite0"),
                                                ("classifier", "mobilenet_v3_large"), ("fcn", "resnet50"),
                                                ("fcn_skip", "efficientnet_lite0")])
def test_the_same_answers_without_batch_norm(name, backbone):
    torch.manual_seed(0)
    model = shaken(build(name, 3, backbone=backbone))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_batch_norm(model.train(), torch.zeros(1, 3, 64, 64))
    assert model.training
    assert not folded.training
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    pictures = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        wanted, found = model.eval()(pictures), folded(pictures)
    wanted, found = (out["out"] if isinstance(out, dict) else out for out in (wanted, found))
    assert wanted.std() > 1e-3
    assert torch.allclose(wanted, found, atol=1e-4 * wanted.abs().max())


def test_a_batch_norm_that_follows_something_else_stays():
    net = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)))
    folded = fold_batch_norm(net, torch.zeros(1, 3, 8, 8))
    assert isinstance(folded[2], nn.BatchNorm2d)


class Three(nn.Module):
    """A convolution and two BatchNorms, called as `order` says."""

    def __init__(self, order: Callable[[Three, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.order(self, x)


def used_twice(net: Three, x: torch.Tensor) -> torch.Tensor:
    return net.second(net.conv(net.first(net.conv(x))))


def feeds_two(net: Three, x: torch.Tensor) -> torch.Tensor:
    maps = net.conv(x)
    return net.first(maps) * net.second(maps)


def bare_once(net: Three, x: torch.Tensor) -> torch.Tensor:
    return net.conv(net.first(net.conv(x)))


def norm_used_twice(net: Three, x: torch.Tensor) -> torch.Tensor:
    return net.first(net.conv(x)) + net.first(x)


@pytest.mark.parametrize("order", [used_twice, feeds_two, bare_once, norm_used_twice])
def test_layers_that_are_shared_stay(order):
    net, picture = shaken(Three(order)), torch.randn(1, 3, 8, 8)
    assert torch.equal(fold_batch_norm(net, picture)(picture), net(picture))
