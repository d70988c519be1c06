from __future__ import annotations

import json
import warnings

import onnx
import pytest
import torch
from safetensors.torch import save_file
from timm.layers import Conv2dSame

from seglab import models
from seglab.errors import ArgumentError, CheckpointError, SeglabError, WriteError
from seglab.labels import PETS
from seglab.models import BUNDLED, build
from seglab.models.export import _SameConv, export
from tests.conftest import room
from tests.models.tester import SMALL, Frozen, agree, checkpoint, runner

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v3_large", "efficientnet_lite0"])
def test_torchscript_of_deeplabv3(tmp_path, backbone):
    source = checkpoint(tmp_path / "w.safetensors", build("deeplabv3", 3, backbone=backbone, aux=True))
    export(source, format="torchscript", sizes=SMALL)
    agree(tmp_path / "w.pt", source, [(2, 97, 131)])
    assert not any(name.startswith("model.aux_classifier") for name in runner(tmp_path / "w.pt").state_dict())


def test_the_bundled_network_as_torchscript_says_what_a_user_must_know(tmp_path):
    export(BUNDLED, tmp_path / "pets.pt", format="torchscript")
    agree(tmp_path / "pets.pt", BUNDLED, [(1, 224, 301), (1, 97, 131), (2, 300, 230)])
    extra = {"seglab.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.load(str(tmp_path / "pets.pt"), _extra_files=extra)
    about = json.loads(extra["seglab.json"])
    assert about == {"mean": [127 / 255] * 3, "std": [128 / 255] * 3, "short_side": 256,
                     "classes": ["background", "cat", "dog"], "colours": [list(c) for c in PETS.colours]}


def test_onnx_names_its_ends_and_says_what_a_user_must_know(tmp_path):
    export(checkpoint(tmp_path / "w.safetensors", build("single_conv", 3)), sizes=SMALL)
    model = onnx.load(tmp_path / "w.onnx")
    onnx.checker.check_model(model, full_check=True)
    (images,), (logits,) = model.graph.input, model.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["batch", 3, "height", "width"]
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert about["classes"] == list(PETS.classes) and about["mean"] == [0, 0, 0] and about["std"] == [1, 1, 1]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 8), (16, 16), (33, 10)])
def test_same_padding_in_a_form_that_can_be_exported(kernel, size):
    conv = Conv2dSame(2, 4, kernel, stride=2)
    images = torch.randn(1, 2, *size)
    assert _SameConv.fits(conv) and not _SameConv.fits(Conv2dSame(2, 4, kernel, stride=1))
    torch.testing.assert_close(_SameConv(conv)(images), conv(images))


@pytest.mark.parametrize(("kind", "format", "message"), [
    ("shape", "torchscript", r"logits\n.*\(1, 3, 122, 90\) at 97×131\n.*\(1, 3, 97, 131\)"),
    ("run", "torchscript", "a run\n.*at 97×131: "), ("branch", "torchscript", "a difference of .* at 97×131"),
    ("branch", "onnx", "a difference of .* at 97×131")])
def test_what_is_frozen_to_one_size_is_refused_and_leaves_nothing(tmp_path, monkeypatch, kind, format, message):
    monkeypatch.setitem(models._MODELS, "frozen", Frozen)
    source = checkpoint(tmp_path / "w.safetensors", build("frozen", 3, kind=kind))
    with pytest.raises(SeglabError, match=message):
        export(source, format=format)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("ending", [".onnx", ".pt"])
def test_a_full_disk_is_no_network_that_cannot_be_exported(tmp_path, monkeypatch, ending):
    source = checkpoint(tmp_path / "w.safetensors", build("single_conv", 3))
    monkeypatch.setattr("seglab.models.export.check_free", lambda *_: None)  # else it is seen before the work
    with room(500), pytest.raises(WriteError, match="too large"):
        export(source, tmp_path / f"n{ending}", {".onnx": "onnx", ".pt": "torchscript"}[ending], SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_arguments(tmp_path, monkeypatch):
    source = checkpoint(tmp_path / "w.safetensors", build("single_conv", 3))
    for call, message in (
            (lambda: export(source, format="tflite"), "'tflite'"),
            (lambda: export(source, "w.pt"), r"w\.pt\n.*\.onnx for onnx"),
            (lambda: export(source, "w.onnx", format="torchscript"), r"\.pt for torchscript"),
            (lambda: export(source, "gone/w.onnx"), "no folder gone")):
        with pytest.raises(ArgumentError, match=message):
            call()
    (tmp_path / "w.pt").write_text("mine")
    with pytest.raises(ArgumentError, match="there already"):
        export(source, format="torchscript")
    assert (tmp_path / "w.pt").read_text() == "mine"
    export(source, format="torchscript", sizes=SMALL, overwrite=True)
    agree(tmp_path / "w.pt", source, [(1, 5, 7)])
    save_file(build("single_conv", 3).state_dict(), tmp_path / "bare.safetensors")
    for name, message in (("bare", "without a description"), ("gone", "Check the path")):
        with pytest.raises(CheckpointError, match=message):
            export(tmp_path / f"{name}.safetensors")
    monkeypatch.setattr("seglab.models.export._PACKAGES", ("onnx", "onnxscrypt"))
    with pytest.raises(SeglabError, match=r"no package onnxscrypt\n.*\n.*pip install onnx onnxscrypt"):
        export(source)
