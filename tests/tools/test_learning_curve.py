"""The learning curve: what is measured is comparable, and what is recorded is complete."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seglab.datasets import open_dataset
from seglab.errors import ArgumentError
from seglab.recorded import read_record
from seglab.samples import write_catdog_sample
from seglab.training.features import choose_pictures
from tools.learning_curve import WAYS, learning_curve


def test_the_same_pictures_for_all_ways_and_others_for_each_seed():
    labels = torch.tensor([0, 1] * 30)
    chosen = choose_pictures(labels, 10, seed=0)
    assert len(set(chosen)) == 20 and labels[chosen].sum() == 10
    assert chosen == choose_pictures(labels, 10, seed=0) != choose_pictures(labels, 10, seed=1)


@pytest.mark.slow
def test_a_small_curve_runs_and_repeats(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    root = write_catdog_sample(tmp_path / "s", count=(8, 4), size=(48, 48), progress=False)
    splits = open_dataset("catdog", root=root, size=48, progress=False)
    rows = learning_curve(splits, counts=(2,), seeds=(0, 1), effort=0.1)
    assert [(row["way"], row["seed"]) for row in rows] == [(way, seed) for seed in (0, 1) for way in WAYS]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    assert "2 a class, seed 1: frozen" in capsys.readouterr().out
    assert rows[:3] == learning_curve(splits, counts=(2,), seeds=(0,), effort=0.1, progress=False)


@pytest.mark.parametrize("name", ["drawings", "photographs"])
def test_records_are_complete_and_say_where_they_come_from(name):
    record = read_record(f"learning_curve_{name}")
    assert {(row["way"], row["pictures"], row["seed"]) for row in record["rows"]} == {
        (way, count, seed) for way in WAYS for count in (20, 100, 500) for seed in (0, 1, 2)}
    assert record["command"].startswith("python -m tools.learning_curve")
    assert set(record) == {"command", "pictures", "machine", "versions", "rows"}
    means = {way: np.mean([r["accuracy"] for r in record["rows"] if r["way"] == way]) for way in WAYS}
    assert means["from scratch"] < means["frozen"] and means["from scratch"] < means["fine-tuned"]


def test_an_unknown_record():
    with pytest.raises(ArgumentError, match="photographs"):
        read_record("paintings")
