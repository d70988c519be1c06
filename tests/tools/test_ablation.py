"""The recorded studies: each changes one thing at a time, and what the lessons read is complete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seglab.recorded import read_record
from seglab.samples import write_coco_sample, write_drone_sample, write_pets_sample
from tools.ablation import STUDIES, ablation


@pytest.mark.slow
@pytest.mark.parametrize(("name", "write", "changes"), [
    ("deeplabv3", lambda folder: write_coco_sample(folder, count=(6, 2), progress=False), {"batch": 2}),
    ("gcn", lambda folder: write_pets_sample(folder, count=12, progress=False), {"size": 128, "batch": 2}),
    ("single_conv", lambda folder: write_drone_sample(folder, count=12, size=(48, 72), progress=False), {"batch": 1})])
def test_each_way_makes_another_network(name, write, changes, tmp_path, monkeypatch, capsys):
    study = STUDIES[name]  # two steps at least: only the second has another rate
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(STUDIES, name, replace(study, recipe=study.recipe.changed(**changes)))
    monkeypatch.setattr("seglab.recipes.recipe.LiveCurve", lambda **_: None)  # six curves that nobody looks at
    data = write(tmp_path / "data")
    *_, (rows, pictures) = ablation(name, seeds=(0,), epochs=1, data=data)
    assert [row["way"] for row in rows] == list(study.ways) and "1 epochs" in pictures
    assert len({str(row["iou"]) for row in rows}) == len(rows)
    assert f"{rows[-1]['way']}: mIoU" in capsys.readouterr().out
    *_, (again, _) = ablation(name, seeds=(0,), epochs=1, data=data, rows=rows[:-1])  # a study that was stopped
    assert str(again[:-1]) == str(rows[:-1]) and str(again[-1]["iou"]) == str(rows[-1]["iou"])  # NaN is not NaN
    if name == "gcn":
        assert all(0 <= row["bands"]["4"] <= 1 and row["seconds"] > 0 for row in rows)


@pytest.mark.parametrize(("name", "command"), [("deeplabv3", "python -m tools.ablation"),
                                               ("gcn", "python -m tools.ablation gcn"),
                                               ("single_conv", "python -m tools.ablation single_conv"),
                                               ("drone", "python -m tools.ablation drone"),
                                               ("kernels", "python -m tools.ablation kernels --data pets")])
def test_the_record_is_complete(name, command):
    record = read_record("gcn_kernels" if name == "kernels" else f"{name}_ablation")
    assert {(row["way"], row["seed"]) for row in record["rows"]} == {
        (way, seed) for way in STUDIES[name].ways for seed in (0, 1, 2)}
    assert record["command"] == command
