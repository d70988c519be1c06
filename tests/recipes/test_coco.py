"""Lesson 4's recipe, from a folder of COCO to scores, and what it takes from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from seglab import recipes
from seglab.cli import app
from seglab.datasets import Coco, Samples
from seglab.errors import CheckpointError
from seglab.models import load_model
from seglab.recipes.coco import crop_size
from seglab.samples import write_coco_sample
from tests.datasets.coco.files import box, content, thing, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGLAB_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_coco_sample(tmp_path_factory.mktemp("coco") / "sample", count=(12, 6), progress=False)


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    return write_coco_sample(tmp_path_factory.mktemp("coco") / "few", count=(6, 2), progress=False)


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Path:
    """One epoch by the command line."""
    folder = tmp_path_factory.mktemp("run") / "first"
    result = CliRunner().invoke(app, ["train", "deeplabv3-coco", "--data", str(root), "--categories", "dog,cat",
                                      "--epochs", "1", "--batch", "3", "--workers", "0", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert "crops of 160 px, 3 × 3 pictures a step, 0 loader workers" in result.output
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("background ", "dog ", "cat "))] == [
        "background", "dog", "cat"]
    return folder


def test_a_run_leaves_what_is_needed_to_use_it(run):
    model = load_model(run / "best.safetensors")
    assert model.recipe["name"] == "deeplabv3" and tuple(model.recipe["rates"]) == (2, 4, 6) and model.recipe["aux"]
    assert model.label_set.classes == ("background", "dog", "cat")


def test_a_checkpoint_is_scored_on_its_own_categories(run, root):
    scores, splits = recipes.evaluate_checkpoint(run / "best.safetensors", data=root, progress=False)
    assert splits.label_set.classes == ("background", "dog", "cat") and len(splits.test) > 3
    sized, _ = recipes.evaluate_checkpoint(run / "best.safetensors", data=root, by_size=True, progress=False)
    assert int(sized.support.sum()) == int(scores.support[1:].sum())
    assert int(sized.hits.sum()) == int(scores.matrix.diag()[1:].sum())
    shown = CliRunner().invoke(app, ["evaluate", str(run / "best.safetensors"), "--data", str(root), "--by-size"])
    assert shown.exit_code == 0 and "small (n)" in shown.output and sized.table(splits.label_set) in shown.output


def test_a_checkpoint_with_other_classes_is_refused(run, drone_root):
    with pytest.raises(CheckpointError, match="those of drone"):
        recipes.evaluate_checkpoint(run / "best.safetensors", data=drone_root, progress=False)


def test_batches_and_workers_can_be_found(few, monkeypatch, capsys):
    monkeypatch.setattr("seglab.recipes.coco.largest_batch", lambda model, size, start, normalize: 2)
    history, scores, _ = recipes.train("deeplabv3-coco", data=few, epochs=1, at_once="auto")
    assert "4 × 2 pictures a step" in capsys.readouterr().out and len(history) == 1 and 0 <= scores.miou <= 1


@pytest.mark.parametrize(("arguments", "message"), [
    (["single-conv", "--categories", "cat"], "Recipes with 'categories': deeplabv3-coco"),
    (["deeplabv3-coco", "--batch", "many"], '"auto"'), (["deeplabv3-coco", "--categories", "cta"], "'cat'"),
    (["deeplabv3-coco", "--data", "nowhere"], "nowhere"), (["deeplabv4"], "deeplabv3-coco")])
def test_what_cannot_be_trained_says_why(arguments, message, few):
    if "cta" in arguments:
        arguments = [*arguments, "--data", str(few)]
    result = CliRunner().invoke(app, ["train", *arguments])
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(("size", "crop"), [((60, 80), 64), ((160, 208), 160), ((427, 640), 480), ((3000, 2000), 480),
                                            ((20, 30), 32)])
def test_crops_are_as_published_and_smaller_for_small_pictures(tmp_path, size, crop):
    images, path = write(tmp_path, content([thing(1, box(0, 0, 9, 9))], size=size))
    data = Samples(Coco(tmp_path, images=images, annotations=path, categories=["cat"]), "all", cache=False)
    assert crop_size(data) == crop
