"""Features computed once: the same head as the slow way, and a cache that is never stale."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from safetensors.torch import save
from torch import nn

from seglab.datasets import CatDog, Samples
from seglab.errors import CacheError, DataError
from seglab.inference import evaluate
from seglab.models import Classifier, classifier
from seglab.samples import write_catdog_sample
from seglab.training import extract_features, fit, load_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = write_catdog_sample(tmp_path_factory.mktemp("catdog") / "s", count=(12, 4), size=(64, 64), progress=False)
    return Samples(CatDog(root), "train", size=48, cache=False, progress=False)


@pytest.fixture(scope="module")
def loaded():
    torch.manual_seed(0)
    return classifier("efficientnet_lite0", 2)


@pytest.fixture
def model(loaded):
    torch.manual_seed(0)
    return copy.deepcopy(loaded)


def count_calls(model: Classifier) -> list[int]:
    """The sizes of the batches of pictures that go through the backbone from now on."""
    seen: list[int] = []

    def look(module: nn.Module, arguments: tuple, output: object) -> None:
        if arguments[0].any():  # all zeros is the example for folding
            seen.append(len(arguments[0]))

    model.backbone.register_forward_hook(look)
    return seen


def test_the_head_becomes_what_the_slow_way_makes_of_it(data, model):
    slow, fast = model, copy.deepcopy(model)
    features = extract_features(fast, data, cache=False, progress=False)
    settings = {"epochs": 3, "batch_size": 5, "progress": False, "seed": 3}
    slow_history = fit(slow, data, data, optimizer=torch.optim.Adam(slow.parameter_groups(1e-2)), **settings)
    history = fit(fast, features, features, optimizer=torch.optim.Adam(fast.parameter_groups(1e-2)), **settings)
    torch.testing.assert_close(fast.head.weight, slow.head.weight, atol=2e-4, rtol=0)
    assert history["loss"] == pytest.approx(slow_history["loss"], abs=1e-4)
    assert history["accuracy"] == slow_history["accuracy"]
    assert set(history.rows[0]) == {"epoch", "loss", "lr", "accuracy", "mean_class_accuracy"}
    assert history.monitor.name == "accuracy"
    found = evaluate(fast, data, batch_size=4)
    assert torch.equal(found.matrix(), evaluate(fast, features, batch_size=7).matrix())


def test_nothing_is_computed_twice(data, model, tmp_path):
    seen = count_calls(model)
    first = extract_features(model, data, folder=tmp_path, progress=False)
    assert sum(seen) == len(data) == 22
    again = extract_features(model, data, folder=tmp_path, progress=False)
    assert sum(seen) == 22 and torch.equal(first.features, again.features)
    half = extract_features(model, data.subset(range(0, 22, 2)), folder=tmp_path, progress=False)
    assert sum(seen) == 22 and torch.equal(half.features, first.features[::2]), "pictures are known one by one"
    assert first.label_set == data.label_set and first.size == 48 and first.labels.tolist() == data.labels
    doubled = data.subset([0, 0, 1])
    extract_features(model, doubled, cache=False, progress=False)
    assert sum(seen) == 24, "the same picture twice is computed once"


def test_other_weights_sizes_and_pictures_are_new(data, model, tmp_path):
    seen = count_calls(model)
    first = extract_features(model, data, folder=tmp_path, progress=False)
    other = Samples(data.reader, "train", size=40, cache=False, progress=False)
    assert not torch.equal(extract_features(model, other, folder=tmp_path, progress=False).features, first.features)
    assert sum(seen) == 44
    with torch.no_grad():
        model.neck.conv_head.weight.mul_(1.01)
    changed = extract_features(model, data, folder=tmp_path, progress=False)
    assert sum(seen) == 66 and not torch.equal(changed.features, first.features)
    with torch.no_grad():
        model.head.weight.zero_()  # the head has no part in the features
    extract_features(model, data, folder=tmp_path, progress=False)
    assert sum(seen) == 66


def test_training_mode_is_left_alone_and_weights_stay_trainable(data, model):
    model.freeze("none").train()
    extract_features(model, data, cache=False, progress=False)
    assert model.training and model.backbone.body.bn1.training
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert model.backbone.body.conv_stem.weight.grad is not None


def test_features_neither_drop_out_nor_learn_statistics(data, model):
    model.freeze("none").train()
    before = copy.deepcopy(model.state_dict())
    found = extract_features(model, data, cache=False, progress=False).features
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    expected = extract_features(copy.deepcopy(model).eval(), data, cache=False, progress=False).features
    assert torch.equal(found, expected)


def test_a_damaged_cache_and_a_bad_picture_are_named(data, model, tmp_path):
    extract_features(model, data, folder=tmp_path, progress=False)
    (path,) = tmp_path.glob("*.safetensors")
    whole = path.read_bytes()
    for damaged in (whole[:100], b"", whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:], save({"a": torch.zeros(3)})):
        path.write_bytes(damaged)
        with pytest.raises(CacheError, match="Delete this file"):
            extract_features(model, data, folder=tmp_path, progress=False)
    shutil.copytree(data.reader.root, tmp_path / "s")
    (tmp_path / "s" / "train" / "cats" / "no.jpg").write_text("no")
    bad = Samples(CatDog(tmp_path / "s" / "train"), "all", size=48, cache=False, progress=False)
    with pytest.raises(DataError, match=r"no\.jpg"):
        extract_features(model, bad, folder=tmp_path / "new", progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="SEGLAB_HOME"):
        extract_features(model, data, folder=tmp_path / "file" / "x", progress=False)


def test_the_best_epoch_on_val_is_what_best_holds(data, model, tmp_path):
    features = extract_features(model, data, cache=False, progress=False)
    history = fit(model, features, features, optimizer=torch.optim.Adam(model.parameter_groups(1e-2)), epochs=4,
                  batch_size=8, folder=tmp_path / "run", progress=False)
    best = load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert len(best["history"]["rows"]) == history.best_epoch
    assert history.best_value == max(history["accuracy"])


def test_the_same_bytes_in_another_shape_are_another_picture(model, tmp_path):
    values = torch.randint(0, 256, (3 * 32 * 48,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wide, high = values.view(3, 32, 48), values.view(3, 48, 32)
    found = extract_features(model, [(wide, 0), (high, 1)], batch_size=1, folder=tmp_path, progress=False).features
    (alone,) = extract_features(model, [(high, 1)], cache=False, progress=False).features
    assert torch.equal(found[1], alone) and not torch.allclose(found[0], alone)
