"""The recipe that fine-tunes: what is better on val is kept, and it says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seglab.models import load_model
from seglab.recipes import RECIPES
from seglab.samples import write_catdog_sample
from seglab.training import load_checkpoint

pytestmark = pytest.mark.slow

ALL = ("c1", "c2", "c3", "c4", "c5", "neck")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_catdog_sample(tmp_path_factory.mktemp("catdog") / "s", count=(60, 8), size=(64, 64), progress=False)


def trained(root, folder, capsys, **changes):
    recipe = replace(RECIPES["transfer-catdog-finetune"], size=48, finetune_epochs=1, **changes)
    history, scores, _ = recipe.train(data=root, folder=folder)
    frozen = [load_model(folder / name).frozen for name in ("best.safetensors", "last.safetensors")]
    return history, scores, frozen, "kept the head alone" in capsys.readouterr().out


def test_fine_tuning_that_ruins_is_not_kept(root, tmp_path, capsys):
    history, scores, frozen, told = trained(root, tmp_path, capsys, finetune_rate=3.0)
    head = load_checkpoint(tmp_path / "head" / "best.safetensors")["history"]
    assert history.best_value < head["best_value"], "else this tests nothing"
    assert frozen == [ALL, ("c1", "c2", "c3")] and told
    assert (tmp_path / "best.safetensors").read_bytes() == (tmp_path / "head" / "best.safetensors").read_bytes()
    assert scores.accuracy > 0.6, "the head's"


def test_fine_tuning_that_helps_is_kept(root, tmp_path, capsys):
    history, _, frozen, told = trained(root, tmp_path, capsys, epochs=1, learning_rate=1e-12, finetune_rate=1e-3)
    head = load_checkpoint(tmp_path / "head" / "best.safetensors")["history"]
    assert history.best_value > head["best_value"], "else this tests nothing"
    assert frozen == [("c1", "c2", "c3")] * 2 and not told
