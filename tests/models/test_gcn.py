from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seglab.errors import ArgumentError, CheckpointError
from seglab.models import BoundaryRefinement, GlobalConvBlock, build
from seglab.models.gcn import GCN, default_kernel
from tests.models.tester import checkpoint


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("inside", "out", "k"), [(2048, 21, 15), (1024, 21, 7), (24, 3, 5), (1, 1, 1)])
def test_parameters_of_a_block_counted_by_hand(inside, out, k):
    # Each of two paths: in -> out along one axis, out -> out along the other, a bias each.
    by_hand = 2 * ((k * inside * out + out) + (k * out * out + out))
    assert count(GlobalConvBlock(inside, out, k)) == by_hand == 2 * k * out * (inside + out) + 4 * out
    if k > 4:
        assert by_hand < count(nn.Conv2d(inside, out, k)), "cheaper than the full kernel"


@pytest.mark.parametrize("k", [1, 3, 7, 15])
def test_a_place_sees_a_square_of_k_and_nothing_else(k):
    torch.manual_seed(0)
    x = torch.randn(1, 4, 21, 19, requires_grad=True)
    GlobalConvBlock(4, 3, k)(x)[0, :, 10, 9].sum().backward()
    seen = x.grad[0].abs().sum(0) > 0
    assert seen[10 - k // 2:11 + k // 2, 9 - k // 2:10 + k // 2].all()
    assert seen.sum() == k * k


@pytest.mark.parametrize("k", [3, 7])
def test_a_block_is_a_full_convolution_whose_kernel_is_made_of_strips(k):
    torch.manual_seed(0)
    block = GlobalConvBlock(5, 4, k).double()
    for path in (block.left, block.right):
        nn.init.zeros_(path[0].bias)  # else it would be missing where the second strip reaches outside
    (down, across), (across2, down2) = block.left, block.right
    kernel = (torch.einsum("omx,miy->oiyx", across.weight[:, :, 0], down.weight[..., 0])
              + torch.einsum("omy,mix->oiyx", down2.weight[..., 0], across2.weight[:, :, 0]))  # (4, 5, k, k)
    x = torch.randn(2, 5, 11, 16, dtype=torch.float64)
    torch.testing.assert_close(block(x), F.conv2d(x, kernel, across.bias + down2.bias, padding=k // 2))


def test_refinement_starts_from_what_it_is_given():
    refine, x = BoundaryRefinement(3), torch.randn(2, 3, 6, 5)
    nn.init.zeros_(refine.residual[2].weight)
    nn.init.zeros_(refine.residual[2].bias)
    assert torch.equal(refine(x), x)
    assert count(refine) == 2 * (3 * 3 * 9 + 3)


@pytest.mark.parametrize(("size", "k"), [(512, 15), (480, 13), (544, 15), (224, 5), (128, 3), (96, 1), (32, 1)])
def test_k_follows_the_size_of_the_pictures(size, k):
    assert default_kernel(size) == k
    model = build("gcn", 3, backbone="test_efficientnet", size=size)
    assert model.k == k
    assert [block[0].k for block in model.large.values()] == [k] * 4


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101", "mobilenet_v3_large", "efficientnet_lite0",
                                      "convnext_atto", "wide_resnet50_2"])
def test_backbones(backbone):
    # On "meta" it has shapes alone: nothing else is looked at. timm 1.0.10 cannot build ConvNeXt, a small one, there.
    with torch.device("cpu" if backbone == "convnext_atto" else "meta"), torch.no_grad():
        model = build(f"gcn_{backbone}", 4, k=3).eval()
        assert model(torch.randn(1, 3, 97, 130))["out"].shape == (1, 4, 97, 130)


@pytest.mark.parametrize(("options", "levels"), [({}, 4), ({"fine": True}, 5), ({"fine": True, "norm": True}, 5)])
def test_every_level_adds_to_the_result(options, levels):
    """The sum of the stages' scores: without the maps of any of them, the answer is another one."""
    torch.manual_seed(0)
    model = build("gcn", 3, backbone="test_efficientnet", k=3, channels=4, **options).eval()
    images = torch.randn(1, 3, 96, 96)
    assert len(model.large) == levels
    with torch.no_grad():
        whole = model(images)["out"]
        for stage, large in model.large.items():
            handle = large.register_forward_hook(lambda _, inputs, output: torch.zeros_like(output))
            assert not torch.allclose(model(images)["out"], whole, atol=1e-6), stage
            handle.remove()
        assert torch.equal(model(images)["out"], whole)


def test_scores_pass_through_where_nothing_refines():
    """With the kernels' centre alone and without refinements, logits are a sum of enlarged score maps."""
    torch.manual_seed(0)
    model = GCN(2, backbone="test_efficientnet", k=1, refine=False).eval()
    assert not any(isinstance(module, BoundaryRefinement) for module in model.modules())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = {stage: model.large[stage][0](found) for stage, found in model.backbone(images).items()}
        x = maps["c5"]
        for stage in ("c4", "c3", "c2"):
            x = F.interpolate(x, scale_factor=2, mode="bilinear") + maps[stage]
        for _ in range(2):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
        torch.testing.assert_close(model(images)["out"], x)


@pytest.mark.parametrize(("stride", "places"), [(32, (4, 8, 16, 32)), (16, (8, 8, 16, 32)), (8, (16, 16, 16, 32))])
def test_a_dilated_backbone_has_larger_maps_for_the_kernels(stride, places):
    model, seen = build("gcn_efficientnet_lite0", 2, size=128, output_stride=stride).eval(), []
    assert model.k == 128 // stride - 1
    for stage in ("c5", "c4", "c3", "c2"):
        model.large[stage].register_forward_hook(lambda _, inputs, output: seen.append(output.shape[-1]))
    with torch.no_grad():
        assert model(torch.randn(1, 3, 128, 128))["out"].shape == (1, 2, 128, 128)
    assert tuple(seen) == places


def test_norm_keeps_what_comes_out_of_large_kernels_and_refinements_at_one_scale():
    torch.manual_seed(0)
    scales = {}
    for norm in (False, True):
        model = build("gcn", 3, backbone="test_efficientnet", k=3, channels=4, norm=norm).train()
        for factor in (1, 50):
            for large in model.large.values():
                large[0].left[0].weight.data *= factor
                large[0].right[0].weight.data *= factor
            seen: list[float] = []
            handle = model.refine["c2"].register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(
                float(inputs[0].detach().std())))
            model(torch.randn(2, 3, 96, 96))
            handle.remove()
            scales[norm, factor] = seen[0]
    assert scales[False, 50] > 10 * scales[False, 1] and scales[True, 50] < 2 * scales[True, 1]


def test_pictures_smaller_than_the_kernel_are_padded_not_refused():
    model = build("gcn", 3, backbone="test_efficientnet", k=7).eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    with torch.no_grad():
        for size in ((40, 300), (224, 224), (225, 32)):
            assert model(torch.randn(1, 3, *size))["out"].shape == (1, 3, *size)
    assert seen == [(224, 320), (224, 224), (256, 224)]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: GlobalConvBlock(4, 3, 6), "k\n.*6\n.*odd"),
    (lambda: GlobalConvBlock(4, 3, 0), "k\n.*0\n.*odd"),
    (lambda: GlobalConvBlock(4, 3, 7.0), r"k\n.*7\.0"),
    (lambda: GlobalConvBlock(0, 3, 7), "0 channels in"),
    (lambda: GlobalConvBlock(4, 3, 7)(torch.zeros(1, 4, 9, 6)), "feature map\n.*9×6\n.*at least 7×7"),
    (lambda: BoundaryRefinement(0), "0 channels"),
    (lambda: build("gcn", 3, k=4), "k\n.*4"),
    (lambda: build("gcn", 3, k=17), "17 for pictures of 512 px\n.*up to 15"),
    (lambda: build("gcn", 3, k=5, size=128), "5 for pictures of 128 px\n.*up to 3"),
    (lambda: build("gcn", 3, k=7, size=160), "7 for pictures of 160 px\n.*up to 5: the coarsest map has 5 places"),
    (lambda: build("gcn", 3, size=31), "size\n.*31 px"),
    (lambda: build("gcn", 3, channels=0), "channels 0"),
    (lambda: build("gcn", 3, min_size=-1), "min_size -1"),
    (lambda: build("gcn", 3, backbone="convnext_atto", fine=True), "4 feature maps\n(.*\n)+.*fine=False"),
    (lambda: build("gcn", 3, backbone="resnet51"), "resnet51"),
    (lambda: build("gcn", 3, backbone="test_efficientnet", k=1)(torch.zeros(1, 3, 31, 64)), "31×64 px\n.*at least 32"),
])
def test_what_cannot_be_says_why(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_weights_of_another_kernel_are_refused(tmp_path):
    path = checkpoint(tmp_path / "w.safetensors", build("gcn", 3, backbone="test_efficientnet", k=3))
    with pytest.raises(CheckpointError, match="another model"):
        build("gcn", weights=path, k=5)
