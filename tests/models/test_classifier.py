"""Classifiers: equal to the published ones, frozen where they say so, and ready to lend their backbone."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from seglab.errors import ArgumentError, CheckpointError, DataError
from seglab.models import build, classifier, imagenet_classifier, list_models, load_model
from seglab.training import fit
from tests.models.tester import filled


def test_lite0_with_imagenet_s_own_head_is_the_published_classifier():
    published = imagenet_classifier()
    model = classifier("efficientnet_lite0", 1000).eval()
    model.head.load_state_dict(published.classifier.state_dict())
    images = torch.randn(2, 3, 97, 65)
    with torch.no_grad():
        assert (model(images) - published(images)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v3_large"])
def test_torchvision_s_classifiers_are_ours(name):
    with torch.device("meta"):  # without random numbers, which would take longer than all the rest
        published = getattr(torchvision.models, name)(weights=None)
        model = classifier(name, 1000, weights=None).eval()
    published = filled(published)
    state, prefix = published.state_dict(), "features." if name == "mobilenet_v3_large" else ""
    for part, weights in ((model.backbone, {key: state[prefix + key] for key in model.backbone.state_dict()}),
                          (model.neck, {key: state[f"classifier.{key}"] for key in model.neck.state_dict()}),
                          (model.head, (published.classifier[-1] if prefix else published.fc).state_dict())):
        part.load_state_dict(weights, assign=True)
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        torch.testing.assert_close(model(images), published(images), rtol=1e-5, atol=1e-5)


def test_imagenet_weights_of_resnet_come_from_the_cache_or_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError) as caught:
        classifier("resnet18")
    assert "efficientnet_lite0" in str(caught.value) and "download.pytorch.org" in str(caught.value)
    torch.manual_seed(0)
    source = torchvision.models.resnet18(weights=None)
    entry = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    path = tmp_path / "hub" / "checkpoints" / entry.url.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    torch.save(source.state_dict(), path)
    monkeypatch.setattr("seglab.models.weights.published_sha256", lambda name: "")
    assert torch.equal(classifier("resnet18").backbone.conv1.weight, source.conv1.weight)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "mobilenet_v3_large", "resnet10t"])
@pytest.mark.parametrize("freeze", ["backbone", "until:c3", "none"])
def test_what_is_frozen_does_not_move_and_the_rest_does(name, freeze):
    torch.manual_seed(0)
    model = classifier(name, 2, freeze=freeze, weights=None)
    before = copy.deepcopy(model.state_dict())
    groups = model.parameter_groups(0.05)
    reached = {id(p) for group in groups for p in group["params"]}
    assert reached == {id(p) for p in model.parameters() if p.requires_grad}, "only what trains, and all of it"
    sgd = torch.optim.SGD(groups, weight_decay=0.1)  # weight decay would move what got in by mistake
    for _ in range(2):
        model.train()
        sgd.zero_grad()
        model(torch.randn(4, 3, 64, 64)).square().sum().backward()
        sgd.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    frozen = {part for part in model.parts() if part in model.frozen}
    assert frozen == {"backbone": {"c1", "c2", "c3", "c4", "c5", "neck"}, "until:c3": {"c1", "c2", "c3"},
                      "none": set()}[freeze]
    names = {id(module): key for key, module in model.named_modules()}
    for part, modules in model.parts().items():
        for module in modules:
            keys = [f"{names[id(module)]}.{key}" for key, _ in (*module.named_parameters(recurse=False),
                                                                *module.named_buffers(recurse=False))]
            if part in frozen:
                assert not moved & set(keys), f"{part} is frozen"
            elif isinstance(module, nn.BatchNorm2d):
                assert f"{names[id(module)]}.running_mean" in moved
    assert "head.weight" in moved
    everything = [module for modules in model.parts().values() for module in modules]
    assert sum(p.numel() for m in everything for p in m.parameters(recurse=False)) == sum(
        p.numel() for p in model.parameters()), "every parameter belongs to one part"


def test_kept_statistics_stay_while_weights_train():
    model = classifier("resnet18", 2, freeze="none", weights=None, keep_statistics=True).train()
    before = model.backbone.bn1.running_mean.clone()
    model(torch.randn(4, 3, 64, 64)).sum().backward()
    assert torch.equal(model.backbone.bn1.running_mean, before)
    assert model.backbone.bn1.weight.grad is not None


def test_discriminative_rates_fall_towards_the_picture():
    model = classifier("resnet18", 2, freeze="none", weights=None)
    groups = model.parameter_groups(1e-3, decay=0.5)
    assert [g["name"] for g in groups] == ["head", "c5", "c4", "c3", "c2", "c1"]
    assert [g["lr"] for g in groups] == pytest.approx([1e-3 / 2**i for i in range(6)])


def test_bad_input():
    for freeze in ("head", "until:c9", "until:", "c3"):
        with pytest.raises(ArgumentError, match="until:STAGE"):
            classifier("resnet18", freeze=freeze, weights=None)
    model = classifier("resnet18", 2, weights=None)
    with pytest.raises(ArgumentError, match="above 0"):
        model.parameter_groups(0)
    model.head.requires_grad_(False)
    with pytest.raises(ArgumentError, match="all of them frozen"):
        model.parameter_groups(1e-3)
    data = [(torch.zeros(3, 32, 32, dtype=torch.uint8), i % 2) for i in range(4)]
    with pytest.raises(ArgumentError, match="all of them are frozen"):
        fit(model, data, optimizer=torch.optim.Adam(model.parameters()), epochs=1, batch_size=2, progress=False)
    with pytest.raises(ArgumentError, match="backbone"):
        classifier("resnet_of_mine", weights=None)
    assert "classifier" in list_models()


@pytest.mark.slow
def test_a_checkpoint_brings_back_all_that_is_needed(tmp_path):
    torch.manual_seed(0)
    model = classifier("resnet18", 2, freeze="until:c4", weights=None)
    data = [(torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8), i % 2) for i in range(4)]
    fit(model, data, data, optimizer=torch.optim.Adam(model.parameter_groups(1e-3)), epochs=1, batch_size=2,
        normalize=model.card.normalize, folder=tmp_path / "run", progress=False)
    again = load_model(tmp_path / "run" / "last.safetensors")
    images = torch.randn(1, 3, 32, 32)
    model.eval()
    assert torch.equal(again(images), model(images)) and again.frozen == model.frozen
    assert again.card.mean == pytest.approx([0.485, 0.456, 0.406])
    with pytest.raises(CheckpointError, match="weights of another model"):
        build("classifier", 3, weights=tmp_path / "run" / "last.safetensors")


def test_an_fcn_goes_on_with_the_same_backbone():
    teacher = classifier("efficientnet_lite0", 2)
    pupil = build("fcn", 3, backbone="efficientnet_lite0")
    pupil.backbone.load_state_dict(teacher.backbone.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(teacher.eval().backbone(images)["out"], pupil.eval().backbone(images)["out"])
