"""Answers for a picture and a folder, probabilities for a dataset, and where the evidence lies."""

from __future__ import annotations

import copy
import csv

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import chelsea

from seglab.errors import ArgumentError, CheckpointError, DataError
from seglab.inference import class_activation, class_probabilities, classify, classify_folder
from seglab.labels import known_label_set
from seglab.models import build, classifier, imagenet_classifier


@pytest.fixture(scope="module")
def model():
    """Cats against dogs by ImageNet's own head: its cat classes against its dog classes."""
    net = classifier("efficientnet_lite0", 2)
    published = imagenet_classifier().classifier
    with torch.no_grad():
        for row, ids in enumerate((slice(281, 286), slice(151, 269))):
            net.head.weight[row] = published.weight[ids].mean(0)
            net.head.bias[row] = published.bias[ids].mean()
    net.card.label_set = known_label_set(["cats", "dogs"])
    return net


@pytest.mark.slow
def test_a_photograph_of_a_cat(model):
    answer = classify(model, chelsea())
    assert answer.label == "cats" and answer.confidence > 0.9 and str(answer).startswith("cats 9")
    assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5) and answer.image.shape == (224, 224, 3)
    many = classify(model, [chelsea(), Image.fromarray(chelsea())], size=128)
    assert [a.image.shape for a in many] == [(128, 128, 3)] * 2
    assert np.array_equal(many[0].probabilities, many[1].probabilities)


def test_the_model_is_left_as_it_was_and_its_size_is_used(model):
    model.train()
    model.card.size = 96
    try:
        assert classify(model, chelsea()).image.shape == (96, 96, 3)
        assert model.training
    finally:
        model.card.size = None


@pytest.mark.parametrize("ask", [
    lambda net: classify(net, chelsea(), size=64).probabilities,
    lambda net: class_probabilities(net, [(torch.full((3, 64, 64), n, dtype=torch.uint8), 0) for n in (9, 200)])[0],
    lambda net: class_activation(net, chelsea(), 0, size=64)], ids=["classify", "probabilities", "activation"])
def test_no_answer_drops_out_or_learns_statistics(ask):
    torch.manual_seed(0)
    net = build("classifier", 2, backbone="test_efficientnet")
    net.head = torch.nn.Sequential(torch.nn.Dropout(0.5), net.head)
    expected, before = ask(copy.deepcopy(net).eval()), copy.deepcopy(net.state_dict())
    for training in (True, False):
        net.train(training)
        modes = [module.training for module in net.modules()]
        np.testing.assert_array_equal(ask(net), expected)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert [module.training for module in net.modules()] == modes


def test_a_folder_with_a_broken_file(model, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.fromarray(chelsea()).save(tmp_path / "in" / "deep" / "a.jpg")
    (tmp_path / "in" / "b.png").write_bytes(b"no")
    found = dict(classify_folder(model, tmp_path / "in", tmp_path / "answers.csv"))
    assert isinstance(found[tmp_path / "in" / "b.png"], DataError)
    rows = list(csv.DictReader((tmp_path / "answers.csv").open(newline="")))
    assert [(row["path"], row["class"]) for row in rows] == [("deep/a.jpg", "cats")]
    assert float(rows[0]["cats"]) + float(rows[0]["dogs"]) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ArgumentError, match="there already"):
        list(classify_folder(model, tmp_path / "in", tmp_path / "answers.csv"))
    with pytest.raises(DataError):
        list(classify_folder(model, tmp_path / "gone"))


def test_probabilities_are_those_of_one_by_one(model):
    torch.manual_seed(0)
    data = [(torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8), i % 2) for i in range(5)]
    found, labels = class_probabilities(model, data, batch_size=2)
    assert labels.tolist() == [0, 1, 0, 1, 0]
    with torch.no_grad():
        alone = model.eval()(model.card.normalize(data[3][0][None])).softmax(1)[0]
    torch.testing.assert_close(found[3], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet18"])
def test_grad_cam_is_the_head_at_every_place(backbone):
    torch.manual_seed(0)
    net = classifier(backbone, 3, weights=None).eval()
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    heat = class_activation(net, image, 1, size=96)
    with torch.no_grad():
        pixels = np.asarray(classify(net, image, size=96).image)
        maps = net.maps(net.card.normalize(torch.from_numpy(pixels).permute(2, 0, 1)[None]))
        place = torch.einsum("k,khw->hw", net.head.weight[1], maps[0]).clamp(min=0)
    expected = (place / place.max()).numpy()
    assert heat.max() <= 1 and heat.min() >= 0
    coarse = heat.reshape(3, 32, 3, 32)[:, 15:17, :, 15:17].mean((1, 3))  # the middle of each cell
    assert np.allclose(coarse, expected, atol=0.03)


def test_grad_cam_works_with_layers_between_map_and_head():
    heat = class_activation(classifier("mobilenet_v3_large", 2, weights=None), chelsea(), size=64)
    assert heat.shape == (64, 64) and np.isfinite(heat).all()


def test_the_evidence_for_a_cat_lies_on_the_cat(model):
    scene = np.full((300, 300, 3), 128, np.uint8)
    cat = np.asarray(Image.fromarray(chelsea()).resize((150, 100)))
    scene[190:290, 140:290] = cat
    heat = class_activation(model, scene, 0)
    assert heat[112:, 90:].mean() > 2 * heat[:100, :80].mean()


@pytest.mark.slow
def test_bad_input(model):
    with pytest.raises(ArgumentError, match="a classifier"):
        classify(build("fcn", 2, backbone="resnet18"), chelsea())
    with pytest.raises(ArgumentError, match="class_id"):
        class_activation(model, chelsea(), 2)
    broken = classifier("resnet18", 2, weights=None)
    broken.head.bias.data[0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        classify(broken, chelsea())
