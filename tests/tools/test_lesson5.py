"""What lesson 5 reads and shows: a training with a plateau, and a sheet of photographs."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from seglab.datasets import open_dataset
from seglab.models import build
from seglab.recorded import read_record
from seglab.samples import write_pets_sample
from tools import photographs, plateau


@pytest.mark.slow
def test_a_plateau_is_written_epoch_by_epoch(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("seglab.recipes.recipe.LiveCurve", lambda **_: None)
    monkeypatch.setitem(plateau.SETTINGS, "size", 64)
    data = write_pets_sample(tmp_path / "data", count=12, progress=False)
    real = plateau.plateau
    monkeypatch.setattr(plateau, "plateau", lambda epochs, folder: real(epochs, folder, data, progress=False))
    monkeypatch.setattr(sys, "argv", ["plateau", "--epochs", "2", "--out", str(tmp_path / "a.json")])
    plateau.main()
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert record["command"] == "python -m tools.plateau --epochs 2" and "pets" in record["pictures"]
    assert [(row["epoch"], row["lr"]) for row in record["rows"]] == [(1, 0.01), (2, 0.01)]
    assert all(0 < row["loss"] < 5 and 0 <= row["miou"] <= 1 for row in record["rows"])


def test_the_recorded_plateau_has_each_epoch_once_and_its_rate_falls():
    rows = read_record("gcn_plateau")["rows"]
    assert [row["epoch"] for row in rows] == [*range(1, len(rows) + 1)]
    rates = [row["lr"] for row in rows]
    assert rates == sorted(rates, reverse=True) and rates[0] == plateau.SETTINGS["lr"] > rates[-1]


def test_the_iou_of_the_pet_leaves_species_and_border_out():
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    assert photographs.iou_of_the_pet(np.array([[0, 2, 2, 1, 0]], np.uint8), truth) == pytest.approx(2 / 3)


@pytest.mark.slow
def test_a_sheet_of_photographs_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    data = write_pets_sample(tmp_path / "data", count=12, progress=False)
    names = open_dataset("pets", root=data, source="real", progress=False).test.names[:2]
    monkeypatch.setattr(photographs, "build", lambda name, weights: build("single_conv", 3))
    monkeypatch.setattr(sys, "argv", ["photographs", str(data), "-o", str(tmp_path / "a.jpg"), "--names", *names])
    photographs.main()
    with Image.open(tmp_path / "a.jpg") as drawn:
        assert drawn.width > 400 and drawn.height > 400
