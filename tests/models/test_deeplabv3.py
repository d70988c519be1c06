from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import segmentation

from seglab.errors import ArgumentError
from seglab.models import build, build_backbone
from seglab.models.deeplabv3 import ASPP, ASPPConv, ASPPPooling, DeepLabHead
from seglab.models.fcn import FCNHead
from tests.models.test_fcn import assert_torchvision_and_ours_are_one
from tests.models.tester import randomised


@pytest.mark.slow
@pytest.mark.parametrize("aux", [False, True])
@pytest.mark.parametrize("backbone", ["resnet50", "resnet101", "mobilenet_v3_large"])
def test_torchvision_and_ours_are_one(backbone, aux):
    assert_torchvision_and_ours_are_one("deeplabv3", backbone, aux)


def test_mobilenets_auxiliary_head_looks_at_the_first_block_of_c3():
    model = build("deeplabv3", 2, backbone="mobilenet_v3_large", aux=True)
    assert model.backbone.return_layers == {"4": "aux", "16": "out"} and model.backbone.channels["aux"] == 40
    with pytest.raises(ArgumentError, match="c3_first"):
        build_backbone("resnet50", {"c3_first": "aux"})


@pytest.mark.parametrize(("backbone", "stride", "rates"), [
    ("resnet50", None, (12, 24, 36)), ("resnet50", 16, (6, 12, 18)), ("resnet50", 32, (3, 6, 9)),
    ("mobilenet_v3_large", None, (12, 24, 36)), ("mobilenet_v3_large", 32, (3, 6, 9)),
    ("resnet18", None, (3, 6, 9)), ("efficientnet_lite0", 8, (12, 24, 36)), ("efficientnet_lite0", 16, (6, 12, 18)),
    ("efficientnet_lite0", None, (3, 6, 9)), ("test_efficientnet", None, (3, 6, 9))])
def test_rates_follow_the_output_stride(backbone, stride, rates):
    with torch.device("meta"):  # it has shapes alone: nothing else is looked at
        model = build("deeplabv3", 3, backbone=backbone, output_stride=stride, aux=True).eval()
    assert model.rates == rates
    convs = [conv for conv in model.classifier[0].convs if isinstance(conv, ASPPConv)]
    assert tuple(conv[0].dilation[0] for conv in convs) == rates
    with torch.no_grad():
        output = model(torch.randn(1, 3, 33, 47, device="meta"))
    assert output["out"].shape == output["aux"].shape == (1, 3, 33, 47)


def test_any_number_of_rates():
    model = build("deeplabv3", 3, backbone="resnet18", rates=[2])
    assert model.rates == (2,) and len(model.classifier[0].convs) == 3


@pytest.mark.parametrize("rates", [(), (0, 1, 2), (1.5, 2, 3), (True,), "123", 12, (6, -12)])
def test_rates_that_are_none(rates):
    with pytest.raises(ArgumentError, match="rates"):
        build("deeplabv3", 3, backbone="resnet18", rates=rates)


def test_backbones_that_cannot_be_had_at_a_stride_say_so():
    for backbone, stride in (("resnet18", 8), ("mobilenet_v3_large", 8), ("swin_tiny_patch4_window7_224", 8)):
        with pytest.raises(ArgumentError, match="stride 8"):
            build("deeplabv3", 3, backbone=backbone, output_stride=stride)


def test_aspp_sees_one_place_neighbours_at_its_rates_and_the_whole():
    aspp = randomised(ASPP(2, rates=(1, 3), out_channels=4))
    x = torch.randn(1, 2, 15, 15, requires_grad=True)
    seen = []
    for branch in aspp.convs:
        branch[-1] = nn.Identity()  # its ReLU hides half
        (gradient,) = torch.autograd.grad(branch(x)[0, :, 7, 7].sum(), x)
        seen.append({tuple(place) for place in gradient[0].abs().sum(0).nonzero().tolist()})
    assert seen == [{(y, x) for y in axis for x in axis} for axis in ((7,), (6, 7, 8), (4, 7, 10), range(15))]
    assert aspp(x).shape == (1, 4, 15, 15)


def test_one_picture_trains_with_the_running_statistics_and_leaves_them():
    pooling = randomised(ASPPPooling(6, 4))
    norm, x = pooling[2], torch.randn(1, 6, 5, 7)
    with torch.no_grad():
        expected = pooling(x)
    before = {name: tensor.clone() for name, tensor in pooling.state_dict().items()}
    pooling.train()
    output = pooling(x)
    torch.testing.assert_close(output, expected)
    output.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pooling.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in pooling.state_dict().items())
    assert norm.training and pooling.training


def test_two_pictures_train_with_the_statistics_of_their_batch():
    pooling = randomised(ASPPPooling(6, 4)).train()
    x = torch.randn(2, 6, 5, 7)
    mean = pooling[1](pooling[0](x)).mean((0, 2, 3))
    expected = 0.9 * pooling[2].running_mean + 0.1 * mean
    pooling[3] = nn.Identity()  # what BatchNorm makes of them has the mean 0, before the ReLU
    torch.testing.assert_close(pooling(x).mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(pooling[2].running_mean, expected)
    assert int(pooling[2].num_batches_tracked) == 1


def test_a_network_trains_on_one_picture():
    model = build("deeplabv3", 3, backbone="resnet18", aux=True).train()
    output = model(torch.randn(1, 3, 64, 64))
    (output["out"].mean() + output["aux"].mean()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_heads_drop_as_much_as_torchvisions():
    for ours, theirs in ((DeepLabHead(8, 3), segmentation.deeplabv3.DeepLabHead(8, 3)),
                         (FCNHead(8, 3), segmentation.fcn.FCNHead(8, 3))):
        mine, other = ([m.p for m in head.modules() if isinstance(m, nn.Dropout)] for head in (ours, theirs))
        assert mine == other and len(mine) == 1
