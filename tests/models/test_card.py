"""The card: what a model expects goes with it, whatever way it is used."""

from __future__ import annotations

import copy
import json
import pickle

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import seglab
from seglab.checkpoint import load_checkpoint, save_checkpoint
from seglab.datasets import Normalize
from seglab.errors import ArgumentError, CheckpointError
from seglab.inference import predict
from seglab.labels import LabelSet
from seglab.metrics import ConfusionMatrix
from seglab.models import Card, build, card_of, list_models, load_model, load_weights
from seglab.models.export import export
from tests.training.runs import Blobs, same_bits

OWN = LabelSet("berries", ("soil", "leaf", "berry"), ((9, 8, 7), (0, 99, 0), (200, 0, 50)), ignore_colour=(1, 2, 3))
SEGMENTERS = {"single_conv": {}, "fcn_skip": {"backbone": "test_efficientnet"},
              "fcn": {"backbone": "test_efficientnet"}, "gcn": {"backbone": "test_efficientnet", "size": 64},
              "deeplabv3": {"backbone": "test_efficientnet"}}


def test_every_segmentation_model_is_tried_below():
    assert {*SEGMENTERS} == {*list_models()} - {"classifier"}


class Berries(Blobs):
    """Pictures of other sizes than a batch of one would have."""

    label_set = OWN

    def __getitem__(self, index):
        image, mask = super().__getitem__(index)
        return image.repeat(1, 4, 5 + index % 2), mask.repeat(4, 5 + index % 2)


@pytest.mark.parametrize("name", sorted(SEGMENTERS))
@pytest.mark.parametrize(("short_side", "zoom"), [(None, 1.0), (40, 1.0), (None, 1.3), (40, 1.375)])
def test_one_score_in_memory_reloaded_and_by_predict(tmp_path, name, short_side, zoom):
    torch.manual_seed(0)
    data, model = Berries(6), build(name, 3, **SEGMENTERS[name])
    model.card.short_side, model.card.zoom = short_side, zoom
    seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters(), 0.01), epochs=1, batch_size=2,
               folder=tmp_path, progress=False)
    expected = seglab.evaluate(model, data).matrix()
    by_hand = load_weights(build(name, 3, **SEGMENTERS[name]), tmp_path / "last.safetensors")
    for again in (load_model(tmp_path / "last.safetensors"), by_hand, copy.deepcopy(model)):
        assert again.card == model.card
        assert torch.equal(seglab.evaluate(again, data).matrix(), expected)
    predicted = ConfusionMatrix(OWN)
    for image, mask in (data[i] for i in range(len(data))):
        predicted.update(predict(model, image).mask, mask)
    assert torch.equal(predicted.matrix(), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.load:FutureWarning")
@pytest.mark.parametrize("name", ["single_conv", "gcn"])
def test_an_exported_file_says_how_to_reach_the_same_masks(tmp_path, name):
    """The user of the file has no seglab: a few lines of torch and OpenCV, by what the file says."""
    torch.manual_seed(0)
    data, model = Berries(3), build(name, 3, **SEGMENTERS[name])
    model.card.short_side, model.card.zoom = 40, 1.25
    seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters(), 0.01), epochs=1, batch_size=2,
               folder=tmp_path, progress=False)
    export(tmp_path / "last.safetensors", tmp_path / "m.pt", format="torchscript", sizes=[(40, 50)])
    extra = {"seglab.json": ""}
    network = torch.jit.load(tmp_path / "m.pt", _extra_files=extra)
    says = json.loads(extra["seglab.json"])
    image = data[0][0].permute(1, 2, 0).numpy()  # (64, 80, 3)
    scale = says["zoom"] * says["short_side"] / min(image.shape[:2])
    small = cv2.resize(image, (round(80 * scale), round(64 * scale)), interpolation=cv2.INTER_AREA)
    pixels = (torch.from_numpy(small) / 255 - torch.tensor(says["mean"])) / torch.tensor(says["std"])
    logits = F.interpolate(network(pixels.permute(2, 0, 1)[None]), size=image.shape[:2], mode="bilinear")
    found = predict(model, image)
    assert (logits.argmax(1)[0].numpy() == found.mask).mean() > 0.999, "rounding may decide a tie"
    assert says["classes"] == list(OWN.classes) and says["colours"] == [list(c) for c in OWN.colours]


def test_a_card_survives_saving_whole(tmp_path):
    model = build("single_conv", 3)
    model.card = Card({"name": "single_conv", "num_classes": 3}, OWN, (0.1, 0.2, 0.3), (1.0, 0.5, 0.25), short_side=77,
                      zoom=1.5, trained_on={"name": "berries", "options": {"ignore_ids": [7]}})
    save_checkpoint(tmp_path / "w.safetensors", {"card": model.card.to_dict(), "model": model.state_dict()})
    assert load_model(tmp_path / "w.safetensors").card == model.card == pickle.loads(pickle.dumps(model.card))


def test_fit_measures_what_no_one_said_and_keeps_what_was_said():
    data = Berries(4)
    model = build("single_conv", 3)
    how = {"epochs": 1, "batch_size": 2, "progress": False}
    seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters(), 0.01), **how)
    measured = Normalize.of(data)
    assert (model.card.mean, model.card.std, model.card.label_set) == (measured.mean, measured.std, OWN)
    seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters(), 0.01), normalize=Normalize(), **how)
    assert model.card.mean == (0, 0, 0)
    pretrained = build("fcn", 3, backbone="test_efficientnet")
    known = pretrained.card.mean
    seglab.fit(pretrained, data, optimizer=torch.optim.Adam(pretrained.parameters()), **how)
    assert known is not None and pretrained.card.mean == known
    with pytest.raises(ArgumentError, match="Identity"):
        seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters()), normalize=nn.Identity(), **how)


def test_measured_values_are_those_of_numpy():
    data = Berries(3)
    pixels = np.concatenate([data[i][0].numpy().reshape(3, -1) for i in range(3)], axis=1) / 255
    found = Normalize.of(data)
    np.testing.assert_allclose(found.mean, pixels.mean(1))
    np.testing.assert_allclose(found.std, pixels.std(1))


def test_a_network_of_ones_own_gets_a_card(tmp_path):
    data, model = Berries(4), nn.Conv2d(3, 3, 1)
    seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters(), 0.01), epochs=1, batch_size=2,
               folder=tmp_path, progress=False)
    assert card_of(model).label_set == OWN
    again = load_weights(nn.Conv2d(3, 3, 1), tmp_path / "last.safetensors")
    assert torch.equal(seglab.evaluate(again, data).matrix(), seglab.evaluate(model, data).matrix())
    assert predict(again, data[0][0]).label_set == OWN


def test_other_classes_are_refused():
    model = build("single_conv", 3)
    model.card.label_set = OWN
    data = Berries(2)
    data.label_set = LabelSet("leaves", ("soil", "berry", "leaf"), OWN.colours)
    with pytest.raises(ArgumentError, match="soil, leaf, berry"):
        seglab.evaluate(model, data)


@pytest.mark.parametrize("change", [
    {"mean": [0.1, 0.2]}, {"mean": ["a", "b", "c"]}, {"std": [0, 1, 1], "mean": [0, 0, 0]}, {"short_side": 0},
    {"short_side": 1.5}, {"zoom": 0}, {"zoom": "2"}, {"zoom": float("nan")},
    {"label_set": {"name": "x"}}, {"label_set": ["a"]}, {"unknown": 1}, {"size": True},
    {"architecture": 3}, {"label_set": {"name": "x", "classes": ["a"], "colours": [[0, 0, 0]]}}], ids=str)
def test_cards_that_cannot_be(tmp_path, change):
    card = Card({"name": "single_conv", "num_classes": 3}).to_dict() | change
    save_checkpoint(tmp_path / "w.safetensors", {"card": card, "model": build("single_conv", 3).state_dict()})
    with pytest.raises(CheckpointError, match="w.safetensors: card"):
        load_model(tmp_path / "w.safetensors")


def test_the_first_checkpoints_still_load(tmp_path):
    """Those had the card's values among the settings of their run."""
    model = build("single_conv", 3)
    settings = {"model": {"name": "single_conv", "num_classes": 3}, "classes": list(OWN.classes), "name": "berries",
                "colours": [list(c) for c in OWN.colours], "short_side": 55, "size": None,
                "normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}
    save_checkpoint(tmp_path / "w.safetensors", {"settings": settings, "model": model.state_dict()})
    card = load_model(tmp_path / "w.safetensors").card
    assert (card.mean, card.short_side, card.label_set.colours) == ((0.5, 0.5, 0.5), 55, OWN.colours)
    assert same_bits(dict(load_checkpoint(tmp_path / "w.safetensors")["model"]), dict(model.state_dict()))


def saved(path, settings=None, **card):
    """A checkpoint of a single convolution whose card, or settings of before there were cards, say this."""
    model = build("single_conv", 3)
    made = {"card": {**model.card.to_dict(), **card}} if settings is None else {"settings": settings}
    save_checkpoint(path, {**made, "model": model.state_dict()})
    return path


ARCHITECTURE = {"name": "single_conv", "num_classes": 3}


@pytest.mark.parametrize("card", [
    {"architecture": 5}, {"architecture": []}, {"architecture": {1: 2}}, {"mean": "a"}, {"mean": 5}, {"mean": [1, "b"]},
    {"mean": [0.5]}, {"std": [0, 0, 0]}, {"std": [float("nan")] * 3}, {"short_side": "a"}, {"short_side": -1},
    {"size": 10 ** 6}, {"size": 2.5}, {"zoom": 1e9}, {"zoom": "b"}, {"zoom": float("nan")}, {"label_set": 5},
    {"label_set": {"name": "a"}}, {"label_set": {"name": "a", "classes": [1], "colours": [[0, 0, 0]]}},
    {"label_set": {"name": "a", "classes": ["b"], "colours": [[0, 0, "c"]]}}, {"trained_on": 5}, {"unknown": 5},
    {"trained_on": {"layout": []}}, {"trained_on": {"options": 5}}, {"seglab": 5},
    *({"architecture": {**ARCHITECTURE, **change}} for change in (
        {"num_classes": 10 ** 12}, {"num_classes": 2.5}, {"num_classes": "3"}, {"num_classes": [3]},
        {"num_classes": -1}, {"num_classes": 4}, {"name": ["a"]}, {"name": 5}, {"name": "gcn"}, {"relu": 5},
        {"unknown": 5}, {"weights": "coco"}, {"weights": "bundled"}, {"weights": 5}, {"name": "fcn", "backbone": 5},
        {"name": "fcn", "backbone": "vit_tiny_patch16_224"}, {"name": "fcn", "backbone": "hf-hub:somebody/some"},
        {"name": "deeplabv3", "backbone": "resnet18", "rates": [1] * 10 ** 4},
        {"name": "deeplabv3", "backbone": "resnet18", "rates": "ab"}, {"name": "gcn", "min_size": 10 ** 9},
        {"name": "gcn", "k": 10 ** 9 + 1, "channels": 10 ** 9}, {"name": "classifier", "freeze": 7}))])
def test_what_no_card_can_say_is_an_error_of_the_checkpoint(tmp_path, card):
    path = saved(tmp_path / "c.safetensors", **card)
    with pytest.raises(CheckpointError, match=r"c\.safetensors"):
        load_model(path)


@pytest.mark.parametrize("settings", [
    5, {"model": 5}, {"model": {1: 2}}, {"model": {"num_classes": [3]}}, {"classes": 5}, {"classes": [5]},
    {"colours": [5], "classes": ["a"]}, {"normalize": 5}, {"normalize": {"mean": "a"}}, {"short_side": "a"}])
def test_what_no_settings_can_say_either(tmp_path, settings):
    with pytest.raises(CheckpointError, match=r"c\.safetensors"):
        load_model(saved(tmp_path / "c.safetensors", settings=settings))
