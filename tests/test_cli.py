from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn
from typer.testing import CliRunner

from seglab import doctor
from seglab.cli import app

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, code: int = 0) -> str:
    result = RUNNER.invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def test_doctor_finds_everything_in_place():
    text = run("doctor")
    for word in ("python", "torch ", "torchvision", "cores", "SEGLAB_DATA", "GiB free", "everything is in place"):
        assert word in text
    assert "FIX" not in text


def test_doctor_names_problems_and_what_to_do(tmp_path, drone_root, monkeypatch):
    monkeypatch.setenv("SEGLAB_DATA", str(drone_root))
    assert "drone in" in (text := run("doctor")) and "12 pictures with masks" in text
    monkeypatch.setenv("SEGLAB_DATA", str(tmp_path / "gone"))
    monkeypatch.setattr(doctor, "_LOW_DISK", 1 << 60)
    monkeypatch.setattr(doctor, "_PACKAGES", ("torch", "no-such-package"))
    text = run("doctor", code=1)
    assert "gone" in text and "Correct SEGLAB_DATA" in text
    assert "Free some space" in text
    assert "pip install no-such-package" in text
    assert "3 problems found" in text


def test_train_resumes_and_evaluate_agrees(drone_root):
    text = run("train", "single-conv", "--data", drone_root, "--epochs", 2, "--out", "out")
    assert "drone (real): 9 train" in text and "pixel accuracy" in text
    assert len(json.loads(Path("out/history.json").read_text())["rows"]) == 2
    run("train", "single-conv", "--data", drone_root, "--epochs", 3, "--out", "out")
    assert len(json.loads(Path("out/history.json").read_text())["rows"]) == 3
    trained = run("train", "single-conv", "--data", drone_root, "--epochs", 3, "--out", "out")  # nothing left to do
    evaluated = run("evaluate", "out/last.safetensors", "--data", drone_root)
    assert trained.split("checkpoints")[0].strip() == evaluated.strip()


def test_errors_are_short_and_say_what_to_do(drone_root):
    for arguments, words in (
            (("train", "unet"), ("error: recipe", "single-conv")),
            (("train", "single-conv", "--data", "nowhere"), ("nowhere", "Check the path")),
            (("evaluate", "nothing.safetensors"), ("nothing.safetensors", "Check the path")),
            (("sample", drone_root), ("already holds",)),
            (("run", "nothing.ipynb"), ("nothing.ipynb",))):
        text = run(*arguments, code=1)
        assert "Traceback" not in text
        for word in words:
            assert word in text, (arguments, text)


def test_a_checkpoint_is_not_scored_on_other_classes(drone_root, tmp_path):
    run("train", "single-conv", "--data", drone_root, "--epochs", 1, "--out", "out")
    mine = tmp_path / "mine"
    from tests.test_lessons import street

    street(mine, train=4, val=2)
    text = run("evaluate", "out/last.safetensors", "--data", mine, code=1)
    assert "those of camvid" in text


def test_evaluate_refuses_other_splits_and_models_of_your_own(tmp_path, drone_root):
    from tests.training.runs import train

    train(tmp_path / "own", epochs=1, net=lambda: nn.Conv2d(3, 3, 1))
    text = run("evaluate", tmp_path / "own" / "best.safetensors", "--data", drone_root, code=1)
    assert "Conv2d" in text and "load_weights" in text
    assert "'dev'" in run("evaluate", tmp_path / "own" / "best.safetensors", "--split", "dev", code=1)


def test_sample_and_recipes():
    assert "single-conv-published" in run("recipes")
    assert "5 pictures" in run("sample", "s", "--count", 5, "--layout", "colours")
    assert len(list(Path("s/training_set/images").glob("*.jpg"))) == 5
