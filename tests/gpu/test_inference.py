"""A model on the GPU answers as on the CPU: predictions, features, maps of evidence, receptive fields."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from seglab.inference import class_activation, classify, predict
from seglab.models import build, effective_receptive_field, receptive_reach
from seglab.training import extract_features

pytestmark = pytest.mark.usefixtures("exact")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((25, 25, 1), np.uint8))  # (225, 300, 3)


def here_and_there(name: str, **options) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = build(name, **options).eval()
    return model, copy.deepcopy(model).to("cuda")


@pytest.mark.parametrize("options", [{}, {"flip": True, "scales": (0.75, 1.0)}, {"tile": 128, "short_side": None},
                                     {"short_side": 100}], ids=str)
def test_predictions(picture, options):
    here, there = (predict(model, picture, probabilities=True, **options)
                   for model in here_and_there("fcn", weights="bundled"))
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-3)
    first, second = np.sort(here.probabilities, axis=0)[:-3:-1]
    sure = first - second > 2e-3  # elsewhere rounding decides
    np.testing.assert_array_equal(there.mask[sure], here.mask[sure])
    assert sure.mean() > 0.95 and there.label_set == here.label_set


def test_without_probabilities_the_mask_is_the_same(picture):
    _, model = here_and_there("fcn", weights="bundled")
    one, other = (predict(model, picture, probabilities=soft) for soft in (False, True))
    assert one.probabilities is None and (one.mask == other.mask).mean() > 0.999


def test_classifiers(picture):
    here, there = here_and_there("classifier", num_classes=3, backbone="resnet18")
    a, b = (classify(model, picture) for model in (here, there))
    np.testing.assert_allclose(b.probabilities, a.probabilities, atol=1e-3)
    a, b = (class_activation(model, picture, 1) for model in (here, there))
    np.testing.assert_allclose(b, a, atol=1e-2)
    pictures = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(pictures, torch.tensor([0, 1, 2, 0, 1]))
    a, b = (extract_features(model, data, cache=False, progress=False) for model in (here, there))
    assert b.features.device.type == "cpu" and torch.equal(a.labels, b.labels)
    torch.testing.assert_close(b.features, a.features, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "options"), [
    ("single_conv", {}), ("fcn", {"backbone": "resnet18"}), ("deeplabv3", {"backbone": "resnet18"}),
    ("gcn", {"backbone": "resnet18", "size": 64}), ("classifier", {"backbone": "resnet18"})])
def test_receptive_fields(name, options):
    here, there = here_and_there(name, num_classes=3, **options)
    size = (64, 96)
    if name != "classifier":
        assert receptive_reach(there, size) == receptive_reach(here, size)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    a, b = (effective_receptive_field(model, image, class_id=1) for model in (here, there))
    np.testing.assert_allclose(b, a, atol=0.01)
    assert all(p.device.type == "cuda" and p.grad is None for p in there.parameters())
