"""How far a pixel sees: exact where it can be computed by hand, and what it does see lies within."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seglab.errors import ArgumentError, CheckpointError
from seglab.models import build, effective_receptive_field, receptive_reach

#: Options of models that are large by default.
SMALL = {"deeplabv3": {"backbone": "resnet18"}, "fcn": {"backbone": "resnet18"}, "fcn_skip": {"backbone": "resnet18"},
         "gcn": {"backbone": "resnet18", "size": 64}, "single_conv": {}}


def stack(*rates: int) -> nn.Module:
    return nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=rate, dilation=rate) for rate in rates))


class Then(nn.Module):
    """A convolution, then a function of its maps."""

    def __init__(self, function) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3, padding=1), function

    def forward(self, x):
        return self.function(self.conv(x))


@pytest.mark.parametrize("rates", [(1,), (1, 2, 4), (2, 2, 2), (4, 4, 4), (1, 2, 5), (1,) * 120])
def test_stacks_of_dilated_convolutions_as_the_formula_says(rates):
    size = (2 * sum(rates) + 3, 2 * sum(rates) + 8)
    assert receptive_reach(stack(*rates), size) == (sum(rates),) * 4


def test_the_reach_in_four_directions():
    assert receptive_reach(stack(1, 2, 4), (8, 40)) == (None, 7, None, 7)
    ahead = nn.Sequential(nn.ZeroPad2d((0, 5, 0, 2)), nn.Conv2d(3, 3, (3, 6)))
    assert receptive_reach(ahead, (20, 20)) == (0, 0, 2, 5)
    assert receptive_reach(Then(lambda x: x.new_zeros(x.shape)), (9, 9)) == (0, 0, 0, 0), "it rests on nothing"
    for wrong in (nn.Conv2d(3, 3, 3), build("classifier", 2, backbone="resnet18")):
        with pytest.raises(ArgumentError, match="20×20"):
            receptive_reach(wrong, (20, 20))


@pytest.mark.parametrize("function", [
    lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4),
    nn.BatchNorm2d(4, track_running_stats=False), lambda x: x - x.mean(), lambda x: x.flatten(2).softmax(2).view_as(x)])
def test_gates_statistics_and_attention_see_the_whole_picture(function):
    assert receptive_reach(Then(function), (20, 24)) == (None,) * 4


@pytest.mark.parametrize(("function", "reach"), [
    (nn.BatchNorm2d(4), 1), (nn.Hardtanh(-1e-9, 1e-9), 1), (nn.MaxPool2d(3, 1, 1), 2), (nn.Dropout2d(0.9), 1),
    (F.relu, 1), (F.hardswish, 1), (F.hardsigmoid, 1), (lambda x: x.softmax(1), 1), (lambda x: x.clamp(0, 1), 1),
    (lambda x: F.pad(x, (1, 1, 1, 1), "reflect")[..., 1:-1, 1:-1], 1)])
def test_what_works_on_the_spot_adds_nothing(function, reach):
    model = Then(function)
    nn.init.constant_(model.conv.weight, -1.0)  # a ReLU is dead here
    assert receptive_reach(model, (20, 24)) == (reach,) * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_what_moves_a_score_lies_within_the_reach_and_the_model_stays_as_it_was(name):
    torch.manual_seed(0)
    model = build(name, 3, **SMALL[name]).train()
    before = copy.deepcopy(model.state_dict())
    reach = receptive_reach(model.to(memory_format=torch.channels_last), (64, 704))
    assert (reach == (None,) * 4) == (name == "deeplabv3"), "it averages over the whole picture"
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    picture = np.random.default_rng(0).integers(0, 256, (64, 704, 3), dtype=np.uint8)
    with torch.no_grad():
        heat = effective_receptive_field(model, picture, (32, 352), 1)
    stride = {"single_conv": 0, "fcn": 12}.get(name, 32)  # of the coarsest map, and what enlarging it adds
    columns = np.flatnonzero(heat.any(0))
    for found, limit in ((352 - columns[0], reach[1]), (columns[-1] - 352, reach[3])):
        assert limit is None or 0 < found <= limit + stride
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())


def test_arrays_and_tensors_have_the_same_heat():
    model, picture = build("single_conv", 3), np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    heat = effective_receptive_field(model, picture, (2, 3), 1)
    assert heat.shape == (6, 8) and heat.dtype == np.float32 and heat.max() == 1 and heat.min() >= 0
    assert np.array_equal(heat, effective_receptive_field(model, torch.from_numpy(picture).permute(2, 0, 1), (2, 3), 1))


def test_the_heat_of_one_convolution_is_its_weights():
    model = build("single_conv", 4)
    heat = effective_receptive_field(model, np.zeros((9, 9, 3), np.uint8), (4, 6), 2)
    expected = model.conv.weight[2].detach().abs().sum(0).numpy()
    assert np.allclose(heat[3:6, 5:8], expected / expected.max(), atol=1e-6)
    assert (heat > 0).sum() == 9
    most = int(model(torch.zeros(1, 3, 9, 9))["out"][0, :, 4, 6].argmax())
    assert np.array_equal(effective_receptive_field(model, np.zeros((9, 9, 3), np.uint8), (4, 6)),
                          effective_receptive_field(model, np.zeros((9, 9, 3), np.uint8), (4, 6), most))


def test_a_score_that_nothing_moves_has_no_heat_and_modes_come_back():
    model = nn.Sequential(build("single_conv", 2).conv, nn.Dropout(0.5), nn.ReLU()).train()
    model[1].eval()
    nn.init.constant_(model[0].bias, -1e6)
    assert not effective_receptive_field(model, np.zeros((6, 6, 3), np.uint8), (2, 2)).any()
    assert [module.training for module in model] == [True, False, True]


@pytest.mark.parametrize("wrong", [{"image": np.zeros((6, 6, 3))}, {"image": np.zeros((6, 6), np.uint8)},
                                   {"place": (6, 0)}, {"place": (0, -1)}, {"class_id": 4}, {"class_id": -1}])
def test_wrong_arguments(wrong):
    arguments = {"image": np.zeros((6, 6, 3), np.uint8), **wrong}
    with pytest.raises(ArgumentError):
        effective_receptive_field(build("single_conv", 4), **arguments)


def test_damaged_weights_are_named():
    model = build("single_conv", 4)
    nn.init.constant_(model.conv.weight, float("nan"))
    with pytest.raises(CheckpointError, match="NaN"):
        effective_receptive_field(model, np.zeros((6, 6, 3), np.uint8))
