"""Evaluating a model: batches of any size, pictures of any size."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import seglab
from seglab.datasets import Drone, Samples, collate
from seglab.inference.segmenter import Segmenter
from seglab.metrics import BandMatrix, ConfusionMatrix
from seglab.models import build
from tests.training.runs import Blobs, same_bits, train


def test_validation_takes_its_own_number_of_pictures(monkeypatch):
    sizes = []
    segment = Segmenter.segment
    monkeypatch.setattr(Segmenter, "segment", lambda self, images: sizes.append(len(images)) or segment(self, images))
    histories = [train(None, epochs=1, val_batch_size=n)[0] for n in (None, 1, 6)]
    assert sizes == [4, 2, *[1] * 6, 6]
    assert histories[0] == histories[1] == histories[2]


def test_evaluate_counts_the_same_for_any_batch_size_and_restores_the_mode(drone_root):
    data = Samples(Drone(drone_root), "all", cache=False)
    torch.manual_seed(0)
    model = build("single_conv", 23).train()
    one, five = (seglab.evaluate(model, data, batch_size=n) for n in (1, 5))
    assert torch.equal(one.compute().matrix, five.compute().matrix)
    assert model.training
    matrix = ConfusionMatrix(23)
    for images, masks in DataLoader(data, 1, collate_fn=collate):
        matrix.update(model(images / 255)["out"].argmax(1), masks)
    assert (one.compute().matrix - matrix.compute().matrix).abs().sum() <= 4  # ties of floating point


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_neither_drops_out_nor_learns_statistics(training):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Conv2d(8, 3, 1)).train(training)
    model[1].running_mean.normal_()
    before, data = copy.deepcopy(model.state_dict()), Blobs(4)
    images, masks = collate([data[i] for i in range(4)])
    expected = ConfusionMatrix(3)
    with torch.no_grad():
        expected.update(copy.deepcopy(model).eval()(images / 255), masks)
    for batch_size in (4, 3):
        assert (seglab.evaluate(model, data, batch_size=batch_size).matrix() - expected.matrix()).abs().sum() <= 4
        assert same_bits(dict(model.state_dict()), dict(before))
        assert all(module.training == training for module in model.modules())


def test_another_metric_may_count(drone_root):
    data = Samples(Drone(drone_root), "all", cache=False)
    torch.manual_seed(0)
    model = build("single_conv", 23)
    bands = BandMatrix(23)
    assert seglab.evaluate(model, data, metric=bands) is bands
    assert torch.equal(bands.compute().total.matrix, seglab.evaluate(model, data).matrix())


class SeesEdges(nn.Module):
    """One channel says how bright the whole picture is, as a network with global pooling does."""

    def forward(self, images):
        assert images.shape[-2:] in {(16, 16), (10, 12)}, "never padded"
        self.alive = [ref for ref in getattr(self, "alive", []) if ref() is not None]
        assert not self.alive, "logits of the batch before still fill memory"
        brightness = images.mean((1, 2, 3), keepdim=True) + 0 * images[:, :1]
        out = {"out": torch.cat([brightness, images[:, :1]], 1), "aux": images.repeat(1, 5, 1, 1)}
        self.alive += [weakref.ref(logits) for logits in out.values()]
        return out


def test_pictures_of_different_sizes_are_evaluated_unpadded_one_batch_in_memory():
    torch.manual_seed(0)
    shapes = [(16, 16), (10, 12), (16, 16), (10, 12), (10, 12)]
    data = [(torch.randint(0, 256, (3, *s), dtype=torch.uint8), torch.randint(0, 2, s, dtype=torch.uint8))
            for s in shapes]
    one, *others = (seglab.evaluate(SeesEdges(), data, batch_size=n).matrix() for n in (1, 2, 5))
    assert one.sum() == sum(h * w for h, w in shapes)
    assert all(torch.equal(one, other) for other in others)
