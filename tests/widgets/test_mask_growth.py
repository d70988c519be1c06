"""What `TrainingMonitor.watch` keeps of a training, and that training does not notice."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from seglab.errors import ArgumentError
from seglab.inference import predict
from seglab.labels import PETS
from seglab.training import History
from seglab.widgets import mask_growth
from seglab.widgets.mask_growth import MaskGrowth
from seglab.widgets.training_monitor import TrainingMonitor
from tests.training.runs import Blobs, same_bits, train
from tests.widgets.test_training_monitor import grow


class Net(nn.Module):
    """BatchNorm, which writes in training, and dropout, which draws."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout2d(0.3), nn.ReLU(),
                                  nn.Conv2d(8, 3, 1))

    def forward(self, images):
        return {"out": self.body(images)}


class StopTrainingError(Exception):
    pass


def watched(monitor, samples=None, epochs=3, folder=None, **options):
    """A training that is watched: the history, the model, and what `predict` says after each epoch."""
    samples, seen = Blobs(2, seed=9) if samples is None else samples, {}

    def net():
        seen["model"] = Net()
        monitor.watch(seen["model"], [samples[0], samples[1]], PETS)
        return seen["model"]

    def on_epoch(history):
        monitor(history)
        seen[len(history)] = [predict(seen["model"], image, label_set=PETS).mask for image, _ in samples]
        seen["training"] = seen["model"].training

    history, model = train(folder, epochs=epochs, net=net, on_epoch=on_epoch, on_step=monitor.step, **options)
    return history, model, seen


def masks(monitor) -> dict[int, list[np.ndarray]]:
    return {one["epoch"]: [np.frombuffer(zlib.decompress(ids), np.uint8).reshape(16, 16) for ids in one["ids"]]
            for one in monitor.masks["epochs"]}


def test_training_comes_to_the_same_weights_bit_by_bit():
    plain_history, plain = train(None, epochs=3, net=Net)
    monitor = TrainingMonitor(epochs=3)
    history, model, seen = watched(monitor)
    assert same_bits(dict(plain.state_dict()), dict(model.state_dict()))
    assert plain_history.rows == history.rows
    assert plain.training == model.training == seen["training"]
    assert [len(found) for found in masks(monitor).values()] == [2, 2, 2]


def test_looking_leaves_modes_gradients_and_random_numbers_alone():
    model = Net()
    growth = MaskGrowth(model, Blobs(1)[0], PETS, {})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for mode in (True, False):
        model.train(mode)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0)  # a step that changes nothing
        drawn = torch.get_rng_state(), np.random.get_state(), random.getstate()
        growth.take(1 + mode, 0)
        assert model.training == mode and all(part.training == mode for part in model.modules())
        after = torch.get_rng_state(), np.random.get_state(), random.getstate()
        assert torch.equal(drawn[0], after[0]) and drawn[2] == after[2]
        assert all(np.array_equal(a, b) for a, b in zip(drawn[1], after[1], strict=True))
    assert set(growth.masks) == {1, 2}
    assert all(parameter.grad is None for parameter in model.parameters())
    assert same_bits(dict(model.state_dict()), before)


def test_masks_are_those_of_predict_after_each_epoch():
    monitor = TrainingMonitor(epochs=3)
    _, _, seen = watched(monitor)
    for epoch, found in masks(monitor).items():
        assert all(np.array_equal(mask, right) for mask, right in zip(found, seen[epoch], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(seen[1], seen[3], strict=True)), "they do grow"
    truth = Blobs(2, seed=9).masks[0].numpy()
    ious = [((seen[3][0] == i) & (truth == i)).sum() / ((seen[3][0] == i) | (truth == i)).sum() for i in range(3)]
    assert monitor.masks["epochs"][-1]["iou"][0] == pytest.approx(np.mean(ious), abs=1e-4)
    monitor(monitor.history)
    assert list(masks(monitor)) == [1, 2, 3] and monitor.masks["note"] == "", "to show it once more changes nothing"


def test_after_a_resume_earlier_masks_are_missing_and_it_says_so(tmp_path):
    whole = TrainingMonitor(epochs=4)
    watched(whole, epochs=4)
    watched(TrainingMonitor(epochs=2), epochs=2, folder=tmp_path)
    monitor = TrainingMonitor(epochs=4)
    watched(monitor, epochs=4, folder=tmp_path)
    assert list(masks(monitor)) == [2, 3, 4], "the weights after epoch 2 are those that it went on from"
    for epoch, found in masks(monitor).items():
        assert same_bits([torch.tensor(mask) for mask in found], [torch.tensor(mask) for mask in masks(whole)[epoch]])
    assert monitor.masks["note"] == "No mask of epoch 1: it was trained before this monitor watched."
    later = TrainingMonitor(epochs=5)
    watched(later, epochs=5, folder=tmp_path)
    assert list(masks(later)) == [4, 5] and later.masks["note"].startswith("No masks of epochs 1 to 3: ")


def test_a_monitor_that_saw_the_earlier_epochs_keeps_them(tmp_path):
    monitor, samples = TrainingMonitor(epochs=4), Blobs(1, seed=9)
    model = Net()
    monitor.watch(model, [samples[0]], PETS)

    def stop(done, total):
        monitor.step(done, total)
        if done == 8:
            raise StopTrainingError

    with pytest.raises(StopTrainingError):
        train(tmp_path, epochs=4, net=lambda: model, on_epoch=monitor, on_step=stop)
    assert list(monitor._growth.masks) == [1, 2]
    first = monitor._growth.masks[1]
    monitor.finish()
    train(tmp_path, epochs=4, net=lambda: model, on_epoch=monitor, on_step=monitor.step)
    assert list(monitor._growth.masks) == [1, 2, 3, 4] and monitor._growth.masks[1] is first
    assert monitor.masks["note"] == ""
    train(None, epochs=2, net=lambda: model, on_epoch=monitor, on_step=monitor.step)
    assert list(monitor._growth.masks) == [1, 2] and monitor._growth.masks[1] is not first, "another training"


def test_a_network_that_is_not_the_one_in_training_gives_no_masks():
    monitor = TrainingMonitor(epochs=2)
    monitor.watch(Net(), Blobs(1)[0], PETS)
    train(None, epochs=2, net=Net, on_epoch=monitor)
    assert monitor.masks["epochs"] == [] and "it is not the one that is trained" in monitor.masks["note"]
    assert monitor.picture().shape == (290, 840, 3)


@pytest.mark.parametrize("epochs", [39, 40, 41, 80, 300])
def test_of_a_long_training_some_are_kept(monkeypatch, epochs):
    monkeypatch.setattr(mask_growth, "predict", lambda model, images, **_: [
        type("Found", (), {"mask": np.zeros(image.shape[:2], np.uint8)}) for image in images])
    model = nn.Conv2d(3, 3, 1)
    growth, best = MaskGrowth(model, Blobs(1)[0], PETS, {}), 0
    for epoch in range(1, epochs + 1):
        with torch.no_grad():
            model.weight.add_(1)
        best = epoch if epoch <= 29 else best
        growth.take(epoch, best)
    kept = list(growth.masks)
    assert 18 <= len(kept) <= mask_growth.MOST_EPOCHS and {1, 29, epochs} <= set(kept)
    stride = kept[1] - kept[0]
    assert all((epoch - 1) % stride == 0 for epoch in kept if epoch not in {29, epochs}), "at equal distances"
    assert epochs >= 40 or kept == list(range(1, 40))
    assert len(str(growth.wire())) < 40_000


def test_large_pictures_are_bounded(monkeypatch):
    asked = []

    def seen(model, images, **_):
        asked.extend(image.shape for image in images)
        return [type("Found", (), {"mask": np.full(image.shape[:2], 1, np.uint8)}) for image in images]

    monkeypatch.setattr(mask_growth, "predict", seen)
    monitor = TrainingMonitor()
    truth = np.zeros((1500, 3000), np.uint8)
    truth[:, 1500:] = 1
    model = nn.Conv2d(3, 3, 1)
    monitor.watch(model, [(np.zeros((1500, 3000, 3), np.uint8), truth)], PETS)
    with torch.no_grad():
        model.weight.add_(1)
    monitor(grow(History()))
    assert asked == [(512, 1024, 3)]
    assert monitor.growth["pictures"][0]["size"] == [320, 160]
    kept = zlib.decompress(monitor._growth.masks[1][0][0])
    assert len(kept) == 320 * 160 and monitor._growth.masks[1][0][1] == pytest.approx(0.25)
    real = np.frombuffer(zlib.decompress(monitor.growth["pictures"][0]["truth"]), np.uint8).reshape(160, 320)
    assert (real[:, 160:] == 1).all() and not real[:, :160].any()


def test_the_stored_picture_has_masks_of_some_epochs_and_the_truth():
    monitor = TrainingMonitor(epochs=6)
    history, _, _ = watched(monitor, epochs=6)
    monitor.columns = ["miou"]
    drawn = monitor.picture()
    plain = TrainingMonitor(epochs=6)
    plain(history)
    assert drawn.shape[1] == 840 and drawn.shape[0] > 400 and drawn.dtype == np.uint8
    assert np.array_equal(drawn[:250, :400], plain.picture()[:250, :400]), "the curves are as without"
    colours = {tuple(colour) for colour in drawn[290:].reshape(-1, 3).tolist()}
    assert len(colours) > 50
    monitor.opacity = 0.0
    assert not np.array_equal(monitor.picture(), drawn)
    monitor.columns = []
    assert monitor.picture().shape[1] == 420
    with pytest.raises(ArgumentError, match="opacity"):
        monitor.opacity = 1.5


def test_bad_samples_are_named():
    model, image, mask = Net(), np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)
    monitor = TrainingMonitor()
    for samples, what in (([], "0 pictures"), ([image] * 5, "5 pictures"), ([image, (image, mask)], "without"),
                          ([(image, mask[:8])], "truth of picture 1"), ([(image, mask + 7)], "class id 7")):
        with pytest.raises(ArgumentError, match=what):
            monitor.watch(model, samples, PETS)
    with pytest.raises(ArgumentError, match="label_set"):
        monitor.watch(model, [image])
    assert monitor.growth == {}
    assert monitor.watch(model, [image], PETS) is monitor
    assert monitor.growth["pictures"][0]["truth"] is None
