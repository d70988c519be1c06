from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from skimage.data import astronaut, chelsea
from typer.testing import CliRunner

from seglab.cli import app
from seglab.errors import CheckpointError, SeglabError
from seglab.inference import predict, predict_video
from seglab.labels import PETS
from seglab.models import BUNDLED, build, load_model
from seglab.models.export import export
from seglab.recipes import evaluate_checkpoint
from seglab.samples import write_pets_sample, write_video_sample
from tests.models.tester import SMALL, checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "pets.onnx"
    export(BUNDLED, path, sizes=SMALL)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    export(checkpoint(folder / "w.safetensors", build("single_conv", 3)), folder / "w.onnx", sizes=SMALL)
    return folder / "w.onnx"


def test_it_gives_the_masks_of_pytorch_by_every_way(bundled, tmp_path):
    fast, slow = load_model(bundled), load_model(BUNDLED)
    assert fast.card == replace(slow.card, architecture={}, trained_on={}, seglab=None)
    for picture in (chelsea(), astronaut(), chelsea()[:1], chelsea()[:, :2], chelsea()[40:171, 90:301]):
        for options in ({}, {"short_side": None}, {"flip": True, "scales": (0.75, 1)}, {"tile": 128}):
            found, expected = predict(fast, picture, **options), predict(slow, picture, **options)
            assert np.mean(found.mask != expected.mask) < 2e-4 and found.label_set == PETS
    found, expected = (predict(model, chelsea(), probabilities=True).probabilities for model in (fast, slow))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    film = write_video_sample(tmp_path / "in.webm", count=3, size=(96, 128), progress=False)
    found, expected = (predict_video(model, film, tmp_path / f"{name}.webm", progress=False).flicker
                       for name, model in (("fast", fast), ("slow", slow)))
    assert found == pytest.approx(expected, abs=1e-3)


def test_it_is_scored_like_its_checkpoint(small, tmp_path):
    data = write_pets_sample(tmp_path / "pets", count=12, progress=False)
    found, _ = evaluate_checkpoint(small, data=data, progress=False)
    expected, _ = evaluate_checkpoint(small.with_suffix(".safetensors"), data=data, progress=False)
    assert found.miou == pytest.approx(expected.miou, abs=1e-4)


def test_the_command_takes_it(bundled, tmp_path):
    shutil.copy(bundled, tmp_path / "P.ONNX")
    Image.fromarray(chelsea()).save(tmp_path / "cat.png")
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "cat.png"), "--model", str(tmp_path / "P.ONNX"),
                                    "--out", str(tmp_path / "out.png")])
    assert done.exit_code == 0 and "cat " in done.output and (tmp_path / "out.png").is_file(), done.output


def test_only_a_file_as_it_was_written_is_run(small, tmp_path):
    data = small.read_bytes()
    for number in range(0, 8 * len(data), max(1, 8 * len(data) // 200)):
        flipped = bytearray(data)
        flipped[number // 8] ^= 1 << number % 8
        (tmp_path / "f.onnx").write_bytes(flipped)
        with pytest.raises(CheckpointError, match="checksum"):
            load_model(tmp_path / "f.onnx")
    for other in (b"", data[:-1], data[:100], data + b"\0"):
        (tmp_path / "f.onnx").write_bytes(other)
        with pytest.raises(CheckpointError, match="Export it again"):
            load_model(tmp_path / "f.onnx")
    onnx.save(onnx.load(small), tmp_path / "f.onnx")  # another program read and wrote it
    assert load_model(tmp_path / "f.onnx").card == load_model(small).card  # the same bytes
    for path, message in ((tmp_path / "gone.onnx", "No such file"), (tmp_path, "checkpoint")):
        with pytest.raises(CheckpointError, match=message):
            load_model(path)
    onnx.checker.check_model(onnx.load(small), full_check=True)


def test_what_it_cannot_do_is_said(small, tmp_path, monkeypatch):
    for run in (export, build_on):
        with pytest.raises(CheckpointError, match="exported already|safetensors"):
            run(small)
    model = load_model(small)
    for images in (torch.zeros(1, 4, 8, 8), torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.float64),
                   torch.zeros(1, 3, 8, 8, device="meta")):
        with pytest.raises(CheckpointError, match=r"on the CPU"):
            model(images)
    classifier = build("classifier", 3, backbone="efficientnet_lite0")
    classifier.card.size = 64
    export(checkpoint(tmp_path / "c.safetensors", classifier), tmp_path / "c.onnx", sizes=[(64, 64)])
    with pytest.raises(CheckpointError, match="a classifier"):
        load_model(tmp_path / "c.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SeglabError, match="pip install onnxruntime"):
        load_model(small)


def build_on(path):
    return build("single_conv", weights=path)


def test_its_metadata_are_those_that_the_export_lists(small):
    about = {entry.key: entry.value for entry in onnx.load(small).metadata_props}
    assert list(about)[-1] == "seglab.checksum" and len(json.loads(about["seglab.checksum"])) == 32
    assert {json.dumps(json.loads(value)) == value for value in about.values()} == {True}
