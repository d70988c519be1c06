"""Lesson 5's recipe, from a folder of pets to scores, by the command line and in Python."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seglab import recipes, samples
from seglab.cli import app
from seglab.datasets import Pets, Samples
from seglab.errors import ArgumentError, CheckpointError
from seglab.models import load_model
from seglab.recipes.pets import crop_size, make_schedule
from seglab.samples import write_coco_sample, write_pets_sample


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory) -> None:
    """No folder of the user's; and the built-in sample is as small as it can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGLAB_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setitem(samples._WRITERS, "pets", (0, partial(write_pets_sample, count=12)))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_pets_sample(tmp_path_factory.mktemp("pets") / "sample", count=12, progress=False)


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Path:
    """Two epochs by the command line."""
    folder = tmp_path_factory.mktemp("run") / "first"
    result = CliRunner().invoke(app, ["train", "gcn-pets", "--data", str(root), "--epochs", "2", "--size", "96",
                                      "--loss", "ce+dice", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert "gcn: pictures of 96 px, k = 1" in result.output
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("background ", "dog ", "cat "))] == [
        "background", "cat", "dog"]
    return folder


@pytest.mark.slow
def test_a_run_leaves_what_is_needed_to_use_it(run):
    model = load_model(run / "best.safetensors")
    assert model.recipe["name"] == "gcn" and (model.recipe["size"], model.k) == (96, 1)
    assert model.label_set.classes == ("background", "cat", "dog")
    with Image.open(run / "curve.png") as curve:
        assert curve.format == "PNG" and np.asarray(curve).std() > 5


@pytest.mark.slow
def test_a_checkpoint_is_scored_on_pets_though_coco_has_the_same_classes(run, root, tmp_path):
    scores, splits = recipes.evaluate_checkpoint(run / "best.safetensors", data=root, progress=False)
    assert splits.name == "pets" and len(splits.test) > 3 and 0 < scores.miou < 1
    shown = CliRunner().invoke(app, ["evaluate", str(run / "best.safetensors"), "--data", str(root)])
    assert shown.exit_code == 0 and scores.table(splits.label_set) in shown.output
    coco = write_coco_sample(tmp_path / "coco", count=(4, 3), progress=False)
    assert recipes.evaluate_checkpoint(run / "best.safetensors", data=coco, progress=False)[1].name == "coco"
    _, built_in = recipes.evaluate_checkpoint(run / "best.safetensors", progress=False)
    assert (built_in.name, built_in.source) == ("pets", "sample")


@pytest.mark.slow
def test_predict_draws_with_it(run, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = next((root / "images").glob("*.jpg"))
    shown = CliRunner().invoke(app, ["predict", str(photo), "--model", str(run / "best.safetensors")])
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / f"{photo.stem}_overlay.png").is_file()


@pytest.mark.slow
def test_a_run_goes_on_where_it_ended(run, root):
    history, _, _ = recipes.train("gcn-pets", data=root, folder=run, epochs=2, size=96, loss="ce+dice",
                                  progress=False)
    assert len(history) == 2
    with pytest.raises(CheckpointError, match="other settings"):
        recipes.train("gcn-pets", data=root, folder=run, epochs=2, size=96, loss="dice", progress=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* classes never occur in")  # twelve pictures do not show every breed in train
@pytest.mark.parametrize(("target", "classes"), [("foreground", 2), ("breed", 7)])
def test_other_targets_and_the_published_optimizer(root, tmp_path, target, classes):
    history, scores, splits = recipes.train("gcn-pets", data=root, folder=tmp_path / "run", epochs=1, target=target,
                                            optimizer="sgd", schedule="plateau", size=64, progress=False)
    assert len(splits.label_set) == classes == len(scores.iou) and len(history) == 1
    _, again = recipes.evaluate_checkpoint(tmp_path / "run" / "last.safetensors", data=root, progress=False)
    assert again.label_set == splits.label_set


def test_the_published_recipe_is_what_was_published():
    recipe = recipes.RECIPES["gcn-pets-published"]
    assert (recipe.backbone, recipe.size, recipe.how, recipe.batch_size, recipe.epochs) == (
        "resnet50", 512, "crop-or-pad", 8, 300)
    assert (recipe.model, dict(recipe.model_options), recipe.loss, recipe.optimizer, recipe.schedule) == (
        "gcn", {}, "ce", "sgd", "plateau")
    import torch

    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1, momentum=0.9)
    plateau = make_schedule("plateau", sgd, 10)
    assert (plateau.patience, plateau.factor, plateau.threshold, plateau.mode) == (10, 0.1, 1e-8, "max")


def test_the_published_recipe_trains_on_squares(root, monkeypatch):
    """Smaller, and without the download of its backbone."""
    recipe = replace(recipes.RECIPES["gcn-pets-published"], backbone="test_efficientnet", weights=None, size=128)
    history, _, splits = recipe.train(data=root, epochs=1, progress=False)
    assert len(history) == 1 and splits.train[0][1].shape == splits.test[0][1].shape == (128, 128)


@pytest.mark.parametrize(("arguments", "message"), [
    (["single-conv", "--loss", "dice"], "Recipes with 'loss': gcn-pets"),
    (["gcn-pets", "--loss", "mse"], "mse"), (["gcn-pets", "--optimizer", "lion"], "adamw or adam or sgd"),
    (["gcn-pets", "--schedule", "cosine"], "one-cycle or plateau or constant"),
    (["gcn-pets", "--target", "fur"], "foreground"), (["gcn-pets", "--k", "4"], "odd"),
    (["gcn-pets", "--k", "9", "--size", "96"], "9 for pictures of 96 px"),
    (["gcn-pets", "--data", "nowhere"], "nowhere")])
def test_what_cannot_be_trained_says_why(arguments, message, root):
    if "--data" not in arguments and arguments[0] == "gcn-pets":
        arguments = [*arguments, "--data", str(root)]
    result = CliRunner().invoke(app, ["train", *arguments, "--epochs", "1"])
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output


def test_crops_suit_the_pictures(root):
    assert crop_size(Samples(Pets(root), "train", progress=False)) == 160


def test_an_unknown_target_is_refused_in_python(root):
    with pytest.raises(ArgumentError, match="target"):
        recipes.train("gcn-pets", data=root, target="fur", progress=False)
