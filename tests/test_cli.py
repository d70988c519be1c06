from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from skimage.data import chelsea
from torch import nn
from typer.testing import CliRunner

from seglab import doctor, inference, load_model, models, recipes
from seglab.cli import _box, app
from seglab.datasets import VideoReader
from seglab.files import atomic_file
from seglab.samples import write_catdog_sample, write_video_sample

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
    assert "drone in" in (text := run("doctor")) and "12 pictures" in text
    monkeypatch.setenv("SEGLAB_DATA", str(tmp_path / "gone"))
    monkeypatch.setattr(doctor, "_LOW_DISK", 1 << 60)
    monkeypatch.setattr(doctor, "_PACKAGES", {"torch": "torch", "no-such-package": "nonsense"})
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
    assert scores(run("evaluate", "out/best.safetensors", "--data", drone_root)) in trained


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
    assert "error: out/last.safetensors: classes" in text and "11 classes of the dataset" in text
    assert "bicyclist" in text and "bald-tree" in text


def test_evaluate_refuses_other_splits_and_models_of_your_own(tmp_path, drone_root):
    from tests.training.runs import train

    train(tmp_path / "own", epochs=1, net=lambda: nn.Conv2d(3, 3, 1))
    text = run("evaluate", tmp_path / "own" / "best.safetensors", "--data", drone_root, code=1)
    assert "without a description" in text and "load_weights" in text
    assert "'dev'" in run("evaluate", tmp_path / "own" / "best.safetensors", "--split", "dev", code=1)


@pytest.mark.parametrize("arguments", [
    ("predict", ""), ("predict", "a.png", "-o", ""), ("predict", "a.png", "--out="), ("check", " "), ("start", ""),
    ("train", "light", "--data", ""), ("sample", ""), ("export", ""), ("run", ""), ("classroom", "new", "")])
def test_an_empty_argument_is_no_folder(tmp_path, arguments):
    assert "which is empty" in run(*arguments, code=1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo("pipe.png")
    for arguments in (("predict", "pipe.png"), ("evaluate", "pipe.png"), ("predict", "/dev/null"),
                      ("export", "a.safetensors", "--out=/dev/full")):
        assert "a pipe or a device" in run(*arguments, code=1)
    assert "no such user" in run("check", "~nobody-of-this-name/x", code=1)
    assert "name too long" in run("predict", "a" * 5000, code=1).lower()


@pytest.mark.parametrize(("arguments", "words"), [
    (("check", ".", "--ignore-ids", "²"), "--ignore-ids"), (("check", ".", "--ignore-ids", "9" * 5000), "--ignore-ids"),
    (("check", ".", "--ignore-ids", "1" + "0" * 23), "--ignore-ids"), (("train", "--at-once", "²"), "--at-once"),
    (("train", "--at-once", "9" * 5000), "--at-once"), (("predict", "a.png", "--size", "640x²"), "--size"),
    (("download", "coco", "--categories", "²"), "'²'"), (("download", "coco", "--categories", "9" * 5000), "category"),
    (("predict", "²"), "nothing there"), (("predict", "1" + "0" * 23), "nothing there")])
def test_numbers_that_are_none(arguments, words):
    Path("a.png").touch()
    assert words in run(*arguments, code=1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_command_and_leave_nothing(tmp_path, monkeypatch, number, code):
    def work():
        with atomic_file(tmp_path / "a.txt") as new:
            new.write_text("ha")
            signal.raise_signal(number)
            time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(doctor, "examine", work)
    assert "stopped by hand" in run("doctor", code=code)
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_comes_where_python_drops_errors_is_not_lost(monkeypatch):
    class Deleted:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(doctor, "examine", lambda: [Deleted().__class__, time.sleep(9)])
    assert "stopped by hand" in run("doctor", code=143)


def test_what_is_kept_after_a_signal_is_no_success(monkeypatch):
    """As training does: the last epoch is kept, and scored."""
    def work():
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        return []

    monkeypatch.setattr(doctor, "examine", work)
    run("doctor", code=143)


def test_sample_and_recipes():
    assert "single-conv-published" in run("recipes")
    assert "5 pictures" in run("sample", "s", "--count", 5, "--layout", "colours")
    assert len(list(Path("s/training_set/images").glob("*.jpg"))) == 5


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(chelsea()).save(tmp_path / "chelsea.jpg", quality=95)
    return tmp_path / "chelsea.jpg"


@pytest.mark.slow
def test_predict_a_picture(photo, tmp_path):
    text = run("predict", photo, "--model", "bundled")
    assert text.startswith("chelsea_overlay.png: cat") or ", cat " in text
    with Image.open("chelsea_overlay.png") as image:
        assert image.width == 451 and image.height > 300
    assert "--overwrite" in run("predict", photo, "--model", "bundled", code=1)
    run("predict", photo, "--model", "bundled", "--overwrite", "--flip", "--tile", "128")
    run("predict", photo, "--model", models.BUNDLED, "-o", tmp_path / "b.jpg")
    assert (tmp_path / "b.jpg").is_file()


def test_predict_a_folder(photo, tmp_path):
    (tmp_path / "in").mkdir()
    photo.rename(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "broken.png").write_bytes(b"no")
    (tmp_path / "in" / "b.heic").touch()
    text = run("predict", tmp_path / "in", "--model", "bundled", code=1)
    assert "broken.png: cannot be decoded" in text and "cat" in text and "warning: " in text and "1 .heic" in text
    assert sorted(p.name for p in Path("in_segmented").iterdir()) == ["a.png", "a_overlay.jpg"]


def test_predict_a_video(tmp_path):
    write_video_sample(tmp_path / "in.webm", count=5, size=(96, 128), progress=False)
    text = run("predict", tmp_path / "in.webm", "--model", "bundled", "--size", "96x96", "--every", "2",
               "--smoothing", "0.5")
    assert "in_overlay.webm: 5 frames" in text and "flicker" in text
    reader = VideoReader("in_overlay.webm")
    assert reader.size == (72, 96) and len(list(reader)) == 5


def test_predict_writes_into_a_folder(photo, tmp_path):
    (tmp_path / "there").mkdir()
    for out in ("there", "new/"):
        run("predict", photo, "--model", "bundled", "-o", out)
        assert (tmp_path / out / "chelsea_overlay.png").is_file()


def test_predict_checks_the_output_before_the_model_is_loaded(photo, tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("the model is loaded")

    monkeypatch.setattr(models, "build", load)
    write_video_sample(tmp_path / "in.webm", count=1, size=(64, 64), progress=False)
    (tmp_path / "is.webm").touch()
    for source, out, words in (
            (photo, "name", ("name", "ending", "name.png")), (photo, "name.xyz", ("ending",)),
            (photo, photo, ("the file that is read",)), (photo, "is.webm/x.png", ("can be made",)),
            ("in.webm", "name", ("ending", "name.webm")), ("in.webm", "in.webm", ("the file that is read",)),
            ("in.webm", "is.webm", ("there already",)), ("gone.mp4", "is.webm", ("gone.mp4", "nothing there"))):
        text = run("predict", source, "-o", out, code=1)
        assert all(word in text for word in words) and "Traceback" not in text, text


@pytest.mark.parametrize("name", ["in.ts", "in.WMV", "in.3gp", "7"])
def test_predict_tells_videos_and_folders(tmp_path, monkeypatch, name):
    """By their endings; a folder whose name is a number is no camera."""
    taken = []
    monkeypatch.setattr(models, "build", lambda *_, **__: None)
    for what in ("predict_video", "predict_folder"):
        monkeypatch.setattr(inference, what, lambda *a, what=what, **_: sys.exit(taken.append((what, a[1]))))
    Path(name).mkdir() if name == "7" else Path(name).touch()
    run("predict", name)
    assert taken == [("predict_folder" if name == "7" else "predict_video", Path(name))]


def test_predict_says_what_is_wrong(photo, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    for arguments, words in (
        (("nowhere.jpg",), ("nowhere.jpg", "nothing there")),
        ((photo, "--model", "bad.safetensors"), ("bad.safetensors", "damaged")),
        ((photo, "--model", "gone.safetensors"), ("gone.safetensors",)),
        ((photo, "--size", "big"), ("--size", "640x360")),
    ):
        text = run("predict", *arguments, code=1)
        assert all(word in text for word in words), text
        assert "Traceback" not in text


@pytest.mark.slow
def test_convert_names_what_it_did(tmp_path):
    torch.manual_seed(0)
    network = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=2)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    text = run("convert", tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert "fcn_resnet50, 2 classes, without aux" in text
    assert "there already" in run("convert", tmp_path / "w.pth", tmp_path / "w.safetensors", code=1)
    (tmp_path / "text.pth").write_text("hello")
    assert "text.pth" in run("convert", tmp_path / "text.pth", tmp_path / "x.safetensors", code=1)


def scores(text: str) -> str:
    """The table, without the lines of the dataset, the epochs and the folder."""
    return text.split("checkpoints")[0].strip().split("\n\n")[-1]


@pytest.fixture
def catdog(tmp_path):
    return write_catdog_sample(tmp_path / "catdog", count=(12, 4), size=(48, 48), progress=False)


@pytest.fixture
def small_recipes(monkeypatch):
    """The transfer recipes at a quarter of their size."""
    for name in ("transfer-catdog", "transfer-catdog-finetune"):
        monkeypatch.setitem(recipes.PRESETS, name, recipes.PRESETS[name].changed(size=48, epochs=3))


@pytest.mark.slow
def test_a_classifier_is_trained_scored_and_used(catdog, small_recipes, tmp_path):
    trained = run("train", "transfer-catdog", "--data", catdog, "--out", "out")
    assert "catdog (real): 22 train, 2 val, 8 test" in trained and "of 8 pictures)" in trained
    evaluated = run("evaluate", "out/best.safetensors", "--data", catdog)
    assert scores(evaluated) in trained
    picture = next((catdog / "test" / "cats").iterdir())
    answer = run("predict", picture, "--model", "out/best.safetensors")
    assert re.fullmatch(r".*: (cats|dogs) \d+\.\d%, (cats|dogs) \d+\.\d%\n", answer)
    text = run("predict", catdog / "test", "--model", "out/best.safetensors", "-o", "answers.csv")
    assert text.count("%,") == 8 and "answers: answers.csv" in text
    assert len(Path("answers.csv").read_text().splitlines()) == 9
    assert "there already" in run("predict", catdog / "test", "--model", "out/best.safetensors", "-o", "answers.csv",
                                  code=1)
    assert "a folder" in run("predict", picture, "--model", "out/best.safetensors", "-o", "x.png", code=1)
    assert "video" in run("predict", "0", "--model", "out/best.safetensors", code=1)


@pytest.mark.slow
def test_finetuning_goes_on_from_the_head_and_resumes(catdog, small_recipes):
    trained = run("train", "transfer-catdog-finetune", "--data", catdog, "--epochs", 1, "--out", "out")
    assert len(json.loads(Path("out/head/history.json").read_text())["rows"]) == 3
    assert len(json.loads(Path("out/history.json").read_text())["rows"]) == 1
    again = run("train", "transfer-catdog-finetune", "--data", catdog, "--epochs", 1, "--out", "out")
    assert "epoch 1/1" not in again and scores(again) == scores(trained), "nothing is left to do"
    assert load_model("out/last.safetensors").frozen == ("c1", "c2", "c3")


@pytest.mark.slow
def test_classifiers_and_other_classes(catdog, small_recipes, drone_root):
    run("train", "transfer-catdog", "--data", catdog, "--epochs", 1, "--out", "out")
    for split in ("train", "test"):
        (catdog / split / "cats").rename(catdog / split / "wolves")
        (catdog / f"{split}.txt").unlink()
    text = run("evaluate", "out/best.safetensors", "--data", catdog, code=1)
    assert "out/best.safetensors" in text and "cats, dogs" in text and ": dogs, wolves" in text
    assert "class folders" in run("train", "transfer-catdog", "--data", catdog / "test" / "dogs", code=1)


def test_sample_of_cats_and_dogs():
    assert "12 pictures" in run("sample", "s", "--dataset", "catdog", "--count", 12)
    assert len(list(Path("s/train/dogs").iterdir())) == 5
    assert "drone, catdog, coco or pets" in run("sample", "t", "--dataset", "horses", code=1)


def test_sample_of_pets():
    assert "12 pictures" in run("sample", "s", "--dataset", "pets", "--count", 12)
    assert len(list(Path("s/annotations/trimaps").glob("*.png"))) == 12
    assert "count of 12 or more" in run("sample", "t", "--dataset", "pets", "--count", 5, code=1)


def test_download_without_a_network_says_what_it_would_have_fetched(monkeypatch):
    monkeypatch.setenv("SEGLAB_OFFLINE", "1")
    text = run("download", "pets", code=1)
    assert "SEGLAB_OFFLINE" in text and "images.tar.gz" in text and "790 MB" in text and "Traceback" not in text
    text = run("download", "coco", "--categories", "dog", code=1)
    assert "SEGLAB_OFFLINE" in text and "annotations_trainval2017.zip" in text and "253 MB" in text
    assert "pets or coco" in run("download", "horses", code=1)
    assert "the pets come whole" in run("download", "pets", "--pictures", 5, code=1)


def test_sample_of_coco():
    assert "10 pictures" in run("sample", "s", "--dataset", "coco", "--count", 10)
    assert len(list(Path("s/train2017").iterdir())) == 8 and len(list(Path("s/val2017").iterdir())) == 2


@pytest.mark.slow
def test_export_writes_a_file_that_runs_alone(photo):
    import onnxruntime

    from seglab.datasets import read_image

    text = run("export", models.BUNDLED)
    line = text.splitlines()[-1]  # older versions of onnxscript print what they rewrote
    assert line.startswith("fcn_skip, 3 classes: logits differ by at most") and "pets_fcn_lite0.onnx" in line
    assert [path.name for path in Path().glob("*pets*")] == ["pets_fcn_lite0.onnx"]
    session = onnxruntime.InferenceSession("pets_fcn_lite0.onnx")
    about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    pixels = torch.tensor(read_image(photo)).permute(2, 0, 1) / 255  # (300, 451, 3) uint8 -> (3, 300, 451) in [0, 1]
    mean, std = (torch.tensor(about[key])[:, None, None] for key in ("mean", "std"))
    images = ((pixels - mean) / std)[None]
    logits = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    with torch.no_grad():
        expected = load_model(models.BUNDLED)(images)["out"]
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    assert about["classes"][int(logits[0].flatten(1).argmax(0).bincount()[1:].argmax()) + 1] == "cat"


@pytest.mark.slow
def test_export_says_what_is_wrong(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    assert "pets_fcn_lite0.pt" in run("export", models.BUNDLED, "--format", "torchscript")
    for arguments, words in (
        ((models.BUNDLED, "--format", "torchscript"), ("pets_fcn_lite0.pt", "--overwrite")),
        ((models.BUNDLED, "--format", "tflite"), ("tflite", "torchscript")),
        ((models.BUNDLED, "--out", "pets.txt"), ("pets.txt", ".onnx")),
        ((models.BUNDLED, "--cpp", "--format", "onnx"), ("--cpp", "one of the two")),
        (("bad.safetensors",), ("bad.safetensors", "damaged")),
    ):
        text = run("export", *arguments, code=1)
        assert all(word in text for word in words), text
        assert "Traceback" not in text
    run("export", models.BUNDLED, "--format", "torchscript", "--out", "pets_fcn_lite0.pt", "--overwrite")
    assert "pixels differ; written to pets_fcn_lite0_cpp" in run("export", models.BUNDLED, "--cpp")


def test_the_size_of_a_video_is_width_by_height():
    assert _box("640x360") == (360, 640) and _box("96X32") == (32, 96)


def test_a_file_in_place_of_the_runs_folder_is_said_before_the_data_are_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "train", lambda *args, **options: pytest.fail("opened"))
    (tmp_path / "runs").touch()
    assert "runs, a file" in run("train", "--out", tmp_path / "runs", code=1)
