"""How far a pixel sees: exact where it can be computed by hand, true where it cannot, refused where unsure."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seglab.errors import ArgumentError, CheckpointError
from seglab.models import build, effective_receptive_field, list_models, receptive_field, receptive_reach

#: Options of models that are large by default.
SMALL = {"classifier": {"backbone": "resnet18"}, "deeplabv3": {"backbone": "resnet18"}, "fcn": {"backbone": "resnet18"},
         "fcn_skip": {"backbone": "resnet18"}, "gcn": {"backbone": "resnet18", "size": 64}}


def stack(*rates: int) -> nn.Module:
    return nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=rate, dilation=rate) for rate in rates))


class Then(nn.Module):
    """A convolution, then a function of its maps."""

    def __init__(self, function) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3, padding=1), function

    def forward(self, x):
        return self.function(self.conv(x))


@pytest.mark.parametrize(("rates", "side", "seen"), [((1,), 3, 9), ((1, 2, 4), 15, 225), ((2, 2, 2), 13, 49),
                                                     ((4, 4, 4), 25, 49), ((1, 2, 5), 17, 289)])
def test_stacks_of_dilated_convolutions_as_the_formula_says_with_their_holes(rates, side, seen):
    field = receptive_field(stack(*rates), (41, 45), (20, 22))
    half = side // 2
    assert side == 1 + 2 * sum(rates)
    assert field.box == (20 - half, 22 - half, 21 + half, 23 + half) and field.size == (side, side)
    assert field.map.sum() == seen and field.share == pytest.approx(seen / side**2) and not field.whole


def test_at_the_edge_it_is_cut_off():
    field = receptive_field(stack(1, 2, 4), (30, 40), (0, 39))
    assert field.box == (0, 32, 8, 40) and field.map.shape == (30, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_pixels_outside_change_nothing_and_all_that_change_something_are_inside(name):
    torch.manual_seed(0)
    model = build(name, 3, **SMALL.get(name, {})).train()
    before = copy.deepcopy(model.state_dict())
    place = (40, 30)
    field = receptive_field(model, (64, 704), place)
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad == (name != "classifier" or key.startswith("head"))
               for key, p in model.named_parameters())
    assert field.place == (None if name == "classifier" else place)
    model.eval()

    def scores(pictures):
        output = model(pictures)
        return output["out"][0, :, place[0], place[1]] if isinstance(output, dict) else output[0]

    pictures, noise = torch.randn(1, 3, 64, 704), torch.randn(1, 3, 64, 704)
    outside = torch.from_numpy(~field.map)
    assert outside.any() == (name not in {"classifier", "deeplabv3"})  # which average over the whole picture
    with torch.no_grad():
        assert torch.equal(scores(pictures), scores(torch.where(outside, noise, pictures)))
    pictures.requires_grad_()
    scores(pictures).sum().backward()
    moved = (pictures.grad[0] != 0).any(0).numpy()
    assert moved.any() and not (moved & ~field.map).any()


@pytest.mark.parametrize("name", ["deeplabv3", "classifier"])
def test_a_mean_over_the_picture_sees_the_whole_picture(name):
    field = receptive_field(build(name, 3, **SMALL[name]), (64, 96), (5, 5))
    assert field.whole and field.share == 1 and field.box == (0, 0, 64, 96)


@pytest.mark.parametrize("function", [
    lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4),
    nn.BatchNorm2d(4, track_running_stats=False), nn.AdaptiveMaxPool2d(1)])
def test_so_do_gates_and_statistics_of_the_picture(function):
    assert receptive_field(Then(function), (20, 24)).whole


@pytest.mark.parametrize(("function", "side"), [
    (nn.BatchNorm2d(4), 3), (nn.Hardtanh(-1e-9, 1e-9), 3), (nn.MaxPool2d(3, 1, 1), 5), (nn.Dropout2d(0.9), 3),
    (F.relu, 3), (F.hardswish, 3), (lambda x: F.pad(x, (1, 1, 1, 1), "reflect")[..., 1:-1, 1:-1], 3)])
def test_what_works_on_the_spot_adds_nothing(function, side):
    model = Then(function)
    nn.init.constant_(model.conv.weight, -1.0)  # a ReLU is dead here
    assert receptive_field(model, (20, 24), (9, 9)).size == (side, side)


@pytest.mark.parametrize(("function", "words"), [
    (lambda x: x - x.mean(), "'sub'"), (lambda x: x.softmax(1), "'_softmax'"), (lambda x: x + x.detach(), "'detach'"),
    (lambda x: x * (x > 0), "'gt'"), (lambda x: 2 * x + x * -1, "below 0"), (lambda x: x.clamp(0, 1), "'clamp'"),
    (lambda x: F.hardsigmoid(4 * x), "too large"),
    (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), "bicubic")])
def test_what_it_is_not_sure_of_is_refused_by_name(function, words):
    with pytest.raises(ArgumentError, match=words) as caught:
        receptive_field(Then(function), (9, 9))
    assert "in Then" in str(caught.value)


def test_deep_networks_do_not_fade():
    field = receptive_field(stack(*[1] * 120), (250, 250), (125, 125))  # 9 to the power of -120 is 0 in floating point
    assert field.size == (241, 241) and field.share == 1


@pytest.mark.parametrize(("size", "place"), [((10, 12), (10, 0)), ((10, 12), (0, -2)), ((0, 12), None),
                                             ((2000, 2000), None)])
def test_places_and_sizes_that_are_not_there(size, place):
    with pytest.raises(ArgumentError):
        receptive_field(stack(1), size, place)


def test_an_answer_that_rests_on_nothing_has_an_empty_field():
    field = receptive_field(Then(lambda x: x.new_zeros(x.shape)), (9, 9))
    assert field.box == (0, 0, 0, 0) and field.share == 0 and not field.map.any()


def test_the_reach_in_four_directions():
    assert receptive_reach(stack(1, 2, 4), (30, 40)) == (7, 7, 7, 7)
    assert receptive_reach(stack(1, 2, 4), (8, 40)) == (None, 7, None, 7)
    ahead = nn.Sequential(nn.ZeroPad2d((0, 5, 0, 2)), nn.Conv2d(3, 3, (3, 6)))
    assert receptive_reach(ahead, (20, 20)) == (0, 0, 2, 5)
    assert receptive_reach(build("deeplabv3", 3, backbone="resnet18"), (64, 96)) == (None,) * 4
    with pytest.raises(ArgumentError, match="another size"):
        receptive_reach(nn.Conv2d(3, 3, 3), (20, 20))


@pytest.mark.parametrize("name", ["single_conv", "fcn_skip"])
def test_what_a_pixel_does_see_lies_in_what_it_can_see(name):
    torch.manual_seed(0)
    model = build(name, 3, **SMALL.get(name, {})).train()
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    with torch.no_grad():
        heat = effective_receptive_field(model, picture, (20, 33), 1)
        same = effective_receptive_field(model, torch.from_numpy(picture).permute(2, 0, 1), (20, 33), 1)
    assert heat.shape == (64, 80) and heat.dtype == np.float32 and heat.max() == 1 and heat.min() >= 0
    assert np.array_equal(heat, same)
    assert not (heat[~receptive_field(model, (64, 80), (20, 33)).map] > 0).any()
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())


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
                                   {"place": (6, 0)}, {"class_id": 4}, {"class_id": -1}])
def test_wrong_arguments(wrong):
    arguments = {"image": np.zeros((6, 6, 3), np.uint8), **wrong}
    with pytest.raises(ArgumentError):
        effective_receptive_field(build("single_conv", 4), **arguments)


def test_damaged_weights_are_named():
    model = build("single_conv", 4)
    nn.init.constant_(model.conv.weight, float("nan"))
    with pytest.raises(CheckpointError, match="NaN"):
        effective_receptive_field(model, np.zeros((6, 6, 3), np.uint8))


@pytest.mark.parametrize("name", ["deeplabv3", "gcn"])
def test_channels_last_sees_the_same(name):
    model = build(name, 3, **SMALL[name])
    expected = receptive_reach(model, (64, 96))
    assert receptive_reach(model.to(memory_format=torch.channels_last), (64, 96)) == expected
