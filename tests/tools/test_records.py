"""What takes too long for a lesson is measured by a command, which writes what the lesson reads."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from seglab.models import build
from seglab.samples import write_catdog_sample, write_coco_sample
from tools import ablation, learning_curve, real_coco

ROWS = [{"way": "one", "seed": 0, "miou": 0.5}]


@pytest.mark.parametrize(("arguments", "study", "out"), [
    ([], "deeplabv3", "deeplabv3_ablation.json"), (["gcn"], "gcn", "gcn_ablation.json"),
    (["gcn", "--out", "a.json"], "gcn", "a.json")])
def test_a_study_is_written_with_its_command(arguments, study, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablation, "ablation", lambda name: (ROWS, f"the pictures of {name}"))
    monkeypatch.setattr(sys, "argv", ["ablation", *arguments])
    ablation.main()
    (written,) = tmp_path.iterdir()
    record = json.loads(written.read_text(encoding="utf-8"))
    assert written.name == out and record["rows"] == ROWS and record["pictures"] == f"the pictures of {study}"
    assert record["command"] == " ".join(["python -m tools.ablation", *arguments[:1]])
    assert record["versions"]["torch"] == torch.__version__ and "cores" in record["machine"]


def test_a_learning_curve_is_written_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    root = write_catdog_sample(tmp_path / "s", count=(8, 4), size=(48, 48), progress=False)
    seen, out = [], tmp_path / "curve.json"
    monkeypatch.setattr(learning_curve, "learning_curve", lambda splits, effort: seen.append((splits, effort)) or ROWS)
    monkeypatch.setattr(sys, "argv", ["curve", str(root), "--out", str(out), "--size", "32", "--effort", "0.5"])
    learning_curve.main()
    record = json.loads(out.read_text(encoding="utf-8"))
    ((splits, effort),) = seen
    assert effort == 0.5 and splits.train[0][0].shape == (3, 32, 32) and record["rows"] == ROWS
    assert record["command"] == "python -m tools.learning_curve DATA --size 32 --effort 0.5"
    assert record["pictures"] == str(splits)


@pytest.mark.slow
def test_photographs_of_coco_are_measured_with_their_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    root, out = write_coco_sample(tmp_path / "coco", count=(24, 6), progress=False), tmp_path / "record.json"
    monkeypatch.setattr(sys, "argv", ["real_coco", str(root), "--networks", "fcn", "--out", str(out)])
    real_coco.main()
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["command"] == "python -m tools.real_coco COCO"
    assert record["pictures"].startswith("24 + 6 photographs of COCO 2017 with ")
    *masks, network = record["rows"]
    ignored = {(row["overlap"], row["crowd"]): row["ignored"] for row in masks}
    assert len(ignored) == 9 and ignored["last", "drop"] == ignored["max", "fill"] == 0
    assert ignored["ignore", "ignore"] >= ignored["ignore", "drop"] > 0
    assert network["network"] == "fcn" and len(network["iou"]) == 3 and 0 < network["pixel_accuracy"] < 1
    assert {*network["sizes"]} == {"small", "medium", "large"}
    assert 0 <= network["alarms"] <= network["without"] < 30


def test_a_picture_full_of_animals_where_there_is_none_is_an_alarm(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    root = write_coco_sample(tmp_path / "coco", count=(24, 6), progress=False)
    model = build("single_conv", 3)
    with torch.no_grad():
        model.conv.weight.zero_()
        model.conv.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # everything is a cat
    row = real_coco.scores(root, "everything is a cat", model)
    assert row["without"] == row["alarms"] > 0 and row["iou"][0] == 0 < row["iou"][1]
