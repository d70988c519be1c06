"""One recipe for any model on any dataset: by the command line and in Python, with the same scores."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import seglab
from seglab import recipes, samples
from seglab.cli import app
from seglab.datasets import Pets, Samples, open_dataset
from seglab.errors import ArgumentError, CheckpointError
from seglab.inference import predict
from seglab.metrics import ConfusionMatrix
from seglab.models import load_model
from seglab.recipes import PRESETS, Recipe, settle
from seglab.samples import write_catdog_sample, write_coco_sample, write_drone_sample, write_pets_sample
from seglab.training import load_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.* classes never occur in", "ignore:.* of the pixels in")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory) -> None:
    """No folder of the user's; and the built-in sample of pets is as small as it can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGLAB_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setitem(samples._WRITERS, "pets", (0, partial(write_pets_sample, count=12)))
        yield


def own_folder(root: Path) -> Path:
    """What a newcomer has: pictures, masks, a table of classes."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(12):
        mask = np.zeros((60 + 4 * i, 80), np.uint8)
        mask[10 + i:40 + i, 10:50] = 1 + i % 2
        noise = rng.integers(-20, 21, (*mask.shape, 3))
        picture = np.array([[90, 90, 90], [200, 60, 60], [60, 60, 200]])[mask] + noise
        Image.fromarray(picture.astype(np.uint8)).save(root / "images" / f"{i}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    (root / "classes.csv").write_text("id,name\n0,table\n1,red\n2,blue\n")
    return root


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("data")
    return {"pets": write_pets_sample(base / "pets", count=12, progress=False),
            "coco": write_coco_sample(base / "coco", count=(8, 6), progress=False),
            "drone": write_drone_sample(base / "drone", count=10, size=(64, 96), progress=False),
            "catdog": write_catdog_sample(base / "catdog", count=(60, 8), size=(64, 64), progress=False),
            "own": own_folder(base / "own")}


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


PAIRS = [("gcn", "own", ()), ("fcn_skip", "own", ()), ("deeplabv3", "own", ("--option", "output_stride=16")),
         ("single_conv", "own", ()), ("gcn", "drone", ("--whole",)), ("single_conv", "coco", ()),
         ("gcn", "coco", ("--categories", "dog")), ("deeplabv3", "pets", ("--target", "foreground")),
         ("fcn", "pets", ("--option", "aux=true")), ("classifier", "catdog", ())]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "data", "more"), PAIRS, ids=lambda value: value if isinstance(value, str) else "")
def test_any_model_on_any_dataset_scores_the_same_by_every_door(roots, tmp_path, model, data, more):
    backbone = () if model == "single_conv" else ("--backbone", "efficientnet_lite0")
    size = () if "--whole" in more else ("--size", 64)
    shown = run("train", "--model", model, *backbone, "--data", roots[data], "--epochs", 1, "--batch", 4, *size, *more,
                "--lr", "2e-3", "--schedule", "poly", "--workers", 0, "--out", tmp_path / "run")
    assert f"{model}: " in shown and "1 epochs" in shown
    best = tmp_path / "run" / "best.safetensors"
    if not best.exists():  # nothing was better than nothing
        best = tmp_path / "run" / "last.safetensors"
    scores, splits = recipes.evaluate_checkpoint(best, data=roots[data], progress=False)
    table = scores.table(splits.label_set)
    assert table in shown and table in run("evaluate", best, "--data", roots[data]), "opened as for the training"
    loaded = load_model(best)
    if model == "classifier":
        return
    splits = open_dataset(roots[data], progress=False, **loaded.card.trained_on["options"])
    assert splits.label_set == loaded.card.label_set
    matrix = seglab.evaluate(loaded, splits.test).matrix()
    assert torch.equal(matrix, scores.matrix)
    predicted = ConfusionMatrix(splits.label_set)
    for i in range(len(splits.test)):
        image, mask = splits.test[i]
        predicted.update(predict(loaded, image).mask, mask)
    assert torch.equal(predicted.matrix(), matrix)


@pytest.mark.slow
def test_own_pictures_alone_are_enough(roots, tmp_path):
    """`seglab train --data FOLDER` and nothing else, but fewer epochs than it would take."""
    shown = run("train", "--data", roots["own"], "--epochs", 14, "--out", tmp_path / "run")
    assert "own (real): 9 train, 1 val, 2 test pictures, 3 classes" in shown
    assert "gcn: crops of 64 px from pictures scaled around 64, batches of 2, 14 epochs" in shown
    scores, _ = recipes.evaluate_checkpoint(tmp_path / "run" / "best.safetensors", data=roots["own"], progress=False)
    assert scores.pixel_accuracy > 0.75 and f"{scores.pixel_accuracy:.3f}" in shown
    photo = roots["own"] / "images" / "3.png"
    run("predict", photo, "--model", tmp_path / "run" / "best.safetensors", "-o", tmp_path / "o.png")
    assert (tmp_path / "o.png").is_file() and (tmp_path / "run" / "curve.png").is_file()


@pytest.mark.slow
def test_labels_alone_make_it_a_classifier(roots, tmp_path):
    trained = recipes.train(data=roots["catdog"], epochs=2, size=48, folder=tmp_path, progress=False)
    assert trained.scores.accuracy >= 0.5 and trained.model.card.size == 48


@pytest.mark.slow
def test_a_run_goes_on_where_it_ended_and_refuses_other_settings(roots, tmp_path):
    how = {"data": roots["pets"], "folder": tmp_path, "epochs": 1, "size": 64, "progress": False}
    first = recipes.train("gcn-pets", **how)
    again = recipes.train("gcn-pets", **how)
    assert len(again.history) == 1 and torch.equal(first.scores.matrix, again.scores.matrix)
    with pytest.raises(CheckpointError, match="other settings"):
        recipes.train("gcn-pets", **how, loss="dice")


@pytest.mark.slow
def test_a_checkpoint_is_scored_where_its_classes_are(roots, tmp_path):
    recipes.train("gcn-pets", data=roots["pets"], folder=tmp_path, epochs=1, size=64, progress=False)
    last = tmp_path / "last.safetensors"
    assert recipes.evaluate_checkpoint(last, data=roots["pets"], progress=False)[1].name == "pets"
    assert recipes.evaluate_checkpoint(last, data=roots["coco"], progress=False)[1].name == "coco"
    built_in = recipes.evaluate_checkpoint(last, progress=False)[1]
    assert (built_in.name, built_in.source) == ("pets", "sample")
    with pytest.raises(ArgumentError, match="paved-area"):
        recipes.evaluate_checkpoint(last, data=roots["drone"], progress=False)
    sized, _ = recipes.evaluate_checkpoint(last, data=roots["coco"], by_size=True, progress=False)
    scores, _ = recipes.evaluate_checkpoint(last, data=roots["coco"], progress=False)
    assert int(sized.support.sum()) == int(scores.support[1:].sum())
    with pytest.raises(ArgumentError, match="split"):
        recipes.evaluate_checkpoint(last, data=roots["pets"], split="valid", progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "kept"), [({"finetune_lr": 3.0}, False),
                                               ({"finetune_lr": 1e-3, "lr": 1e-12, "epochs": 1,
                                                 "finetune_epochs": 6}, True)])
def test_fine_tuning_is_kept_only_if_it_helps(roots, tmp_path, capsys, changes, kept):
    recipe = PRESETS["transfer-catdog-finetune"].changed(**{"size": 48, "finetune_epochs": 1, **changes})
    trained = recipes.train(recipe, data=roots["catdog"], folder=tmp_path)
    head = load_checkpoint(tmp_path / "head" / "best.safetensors")["history"]
    assert (trained.history.best_value > head["best_value"]) == kept, "else this tests nothing"
    assert ("kept the head alone" not in capsys.readouterr().out) == kept
    same = (tmp_path / "best.safetensors").read_bytes() == (tmp_path / "head" / "best.safetensors").read_bytes()
    assert same != kept and load_model(tmp_path / "last.safetensors").frozen == ("c1", "c2", "c3")


@pytest.mark.parametrize(("arguments", "message"), [
    (["unet"], "gcn-pets"), (["gcn-pets", "--loss", "mse"], "mse"), (["light", "--optimizer", "lion"], "adamw or adam"),
    (["light", "--schedule", "steps"], "one-cycle or poly or cosine"), (["gcn-pets", "--target", "fur"], "foreground"),
    (["gcn-pets", "--option", "k=4"], "odd"),
    (["gcn-pets", "--option", "k=9", "--size", 96], "9 for pictures of 96 px"),
    (["gcn-pets", "--option", "rates=3"], "rates"), (["light", "--option", "k"], "NAME=VALUE"),
    (["light", "--data", "nowhere"], "nowhere"), (["light", "--categories", "cat"], "Datasets with 'categories': coco"),
    (["single-conv", "--backbone", "resnet18"], "backbone"), (["light", "--at-once", "many"], '"auto"'),
    (["light", "--lr", "-1"], "above 0"), (["transfer", "--data", "DRONE"], "'classifier' for drone"),
    (["light", "--ignore-ids", "a"], "7,11"),
    (["gcn-pets", "--backbone", "resnet999"], "resnet999"),
    (["single-conv", "--backbone-factor", "0.5"], "has no backbone"),
    (["transfer", "--data", "CATDOG", "--loss", "dice"], "cached features"),
    (["transfer", "--data", "CATDOG", "--short-side", "90"], "cached features")])
def test_what_cannot_be_trained_says_why(arguments, message, roots):
    arguments = [roots.get(str(part).lower(), part) if str(part).isupper() else part for part in arguments]
    if "--data" not in arguments:
        arguments = [*arguments, "--data", roots["pets"]]
    assert message in run("train", *arguments, "--epochs", 1, code=1)


def test_settings_that_no_recipe_has():
    with pytest.raises(ArgumentError, match="'learning_rate'"):
        Recipe().changed(learning_rate=1)
    for wrong in ({"epochs": 0}, {"batch": 2.5}, {"size": -1}, {"weight_decay": float("nan")}, {"lr": float("inf")},
                  {"jitter": 1.5}, {"zoom": 0}, {"weight_decay": float("inf")}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            Recipe().changed(**wrong)
    assert Recipe().changed(size=None) == Recipe()
    assert Recipe().changed(model="fcn").backbone == "efficientnet_lite0" and not Recipe().changed(model="fcn").options
    assert Recipe().changed(model="single_conv").backbone is None
    assert Recipe().changed(options={"k": 7}).options == {"channels": 32, "k": 7}


def test_what_is_open_follows_from_the_data(roots):
    data = Samples(Pets(roots["pets"]), "train", progress=False)
    recipe, line = settle(Recipe(), data)
    assert (recipe.size, recipe.base, recipe.batch, recipe.epochs) == (160, 160, 2, 200) and "crops of 160 px" in line
    asked, _ = settle(Recipe(size=96, epochs=3, batch=5, loss="dice"), data)
    assert (asked.size, asked.base, asked.epochs, asked.batch, asked.loss) == (96, 160, 3, 5, "dice")
    whole, line = settle(Recipe(crops=False), data)
    assert whole.size == 0 and "whole pictures" in line


def test_large_pictures_are_scaled_down_first(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(4):
        Image.new("RGB", (1200, 800), (i, 9, 9)).save(tmp_path / "images" / f"{i}.jpg")
        mask = np.tile((np.arange(1200) // 150 % 2).astype(np.uint8), (800, 1))
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "classes.csv").write_text("id,name\n0,a\n1,b\n")
    splits, labelled = recipes.open_for(Recipe(), tmp_path, progress=False)
    assert splits.train[0][1].shape == (512, 768) and splits.options == {"within": 512} and not labelled
    assert recipes.open_for(Recipe(short_side=0), tmp_path, progress=False)[0].train[0][1].shape == (800, 1200)


def test_the_published_recipe_is_what_was_published():
    recipe = PRESETS["gcn-pets-published"]
    assert (recipe.backbone, recipe.size, recipe.crops, recipe.batch, recipe.epochs) == ("resnet50", 512, False, 8, 300)
    assert (recipe.model, dict(recipe.options), recipe.loss, recipe.optimizer, recipe.schedule) == (
        "gcn", {"channels": None}, "ce", "sgd", "plateau")


@pytest.mark.parametrize("crops", [True, False])
def test_jitter_changes_the_pictures_that_are_trained_on_and_nothing_else(crops, roots, monkeypatch):
    class SeenError(Exception):
        pass

    def look(model, train, val, **how):
        torch.manual_seed(0)
        raise SeenError(*train[0], *val[0])

    monkeypatch.setattr("seglab.recipes.recipe.fit", look)
    found = []
    for jitter in (0, 0.5):
        with pytest.raises(SeenError) as seen:
            recipes.train("light", data=roots["pets"], jitter=jitter, crops=crops, size=64 if crops else None,
                          progress=False)
        found.append(seen.value.args)
    (image, *rest), (other, *same) = found
    assert image.shape == other.shape and not torch.equal(image, other)
    assert all(torch.equal(a, b) for a, b in zip(rest, same, strict=True))


def test_gradients_add_up_to_the_batch(roots, monkeypatch, capsys):
    monkeypatch.setattr("seglab.recipes.recipe.largest_batch", lambda model, size, start: 2)
    history = recipes.train("deeplabv3-coco", data=roots["coco"], epochs=1, size=64, at_once="auto").history
    assert "4 × 2 at once" in capsys.readouterr().out and len(history) == 1
