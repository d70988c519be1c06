"""`seglab check`: what it finds in datasets that are wrong in one way each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from seglab.check import check
from seglab.cli import app
from seglab.errors import ArgumentError

TABLE = "name,r,g,b\nsoil,0,0,0\nleaf,0,255,0\nroot,255,0,0\n"


def dataset(root: Path, count: int = 20, classes: int = 3) -> Path:
    """Split on disk: 0 to 9 in train, 10 to 14 in val, the others in test; noise, and masks with all classes."""
    for i in range(count):
        split = "train" if i < count // 2 else "val" if i < count * 3 // 4 else "test"
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8)).save(root / split / "images" / f"{i:02}.png")
        Image.fromarray(rng.integers(0, classes, (32, 48), np.uint8)).save(root / split / "masks" / f"{i:02}.png")
    (root / "class_dict.csv").write_text(TABLE)
    return root


def texts(report, level: str) -> str:
    return "\n".join(str(finding) for finding in report.findings if finding.level == level)


def test_a_sound_dataset(tmp_path):
    report = check(dataset(tmp_path), progress=False, sheet=tmp_path / "sheet.png")
    assert report.findings == [] and report.errors == 0 and "nothing found" in str(report)
    assert report.counts == {"train": 10, "val": 5, "test": 5} and report.sizes == [(32, 48)] * 3
    assert all(0.3 < share < 0.37 for shares in report.shares.values() for share in shares.values())
    assert not (tmp_path / "sheet.png").exists(), "there is nothing to show"


@pytest.mark.parametrize(("harm", "level", "words"), [
    (lambda root: (root / "train/images/03.png").write_bytes(b"no picture"), "error", "03.png: the picture cannot"),
    (lambda root: (root / "train/masks/03.png").unlink(), "error", "train/masks: train/03"),
    (lambda root: Image.new("L", (48, 32), 77).save(root / "test/masks/16.png"), "error", "77"),
    (lambda root: Image.new("L", (40, 32)).save(root / "test/masks/16.png"), "error", "another size"),
    (lambda root: Image.new("L", (48, 32), 255).save(root / "val/masks/12.png"), "warning", "ignored"),
    (lambda root: Image.new("L", (48, 32), 1).save(root / "val/masks/12.png"), "warning", "one class only"),
    (lambda root: Image.new("RGB", (48, 32)).save(root / "val/images/12.png"), "warning", "one colour: val/12"),
    (lambda root: Image.open(root / "train/images/04.png").save(root / "test/images/17.png"), "warning",
     "1 pictures of test are in train too (or frames of one video): train/04 = test/17"),
    (lambda root: (root / "val/images/12.png").unlink(), "note", "1 masks have no picture"),
    (lambda root: (root / "class_dict.csv").unlink(), "error", "class_dict.csv"),
    (lambda root: (root / "class_dict.csv").write_text(TABLE + "sky,0,0,255\n"), "warning",
     "classes that never occur in train: sky"),
])
def test_what_is_found(tmp_path, harm, level, words):
    harm(dataset(tmp_path))
    report = check(tmp_path, progress=False)
    assert words in texts(report, level), str(report)
    assert (report.errors > 0) == (level == "error")


def test_a_class_that_is_tested_and_never_trained(tmp_path):
    dataset(tmp_path, classes=2)
    Image.new("L", (48, 32), 2).save(tmp_path / "test/masks/16.png")
    assert "classes that are tested and never trained: root" in texts(check(tmp_path, progress=False), "error")


def test_many_bad_files_are_counted(tmp_path):
    dataset(tmp_path)
    for path in (tmp_path / "train" / "images").iterdir():
        path.write_bytes(b"x")
    report = check(tmp_path, progress=False)
    assert report.errors == 6 and "5 more pictures that cannot be used" in str(report)


def test_the_sheet_and_the_exit_code(tmp_path):
    root, sheet = dataset(tmp_path / "data"), tmp_path / "sheet.png"
    Image.new("L", (48, 32), 255).save(root / "val/masks/12.png")
    run = CliRunner().invoke(app, ["check", str(root), "--sheet", str(sheet)])
    assert run.exit_code == 0 and "val/12" in run.output and Image.open(sheet).width > 200
    run = CliRunner().invoke(app, ["check", str(root), "--sheet", str(sheet)])
    assert run.exit_code == 1 and "--overwrite" in run.output
    (root / "train/masks/03.png").unlink()
    run = CliRunner().invoke(app, ["check", str(root), "--json"])
    found = json.loads(run.stdout)
    assert run.exit_code == 1 and found["errors"] == 1 and found["counts"]["val"] == 5
    assert CliRunner().invoke(app, ["check", str(tmp_path / "gone")]).exit_code == 1
    run = CliRunner().invoke(app, ["check", str(root), "--ignore-ids", "a"])
    assert run.exit_code == 1 and "whole numbers" in run.output


def test_options_are_the_layouts_own(tmp_path):
    dataset(tmp_path)
    assert "neither" not in str(check(tmp_path, progress=False, ignore_ids=[2]))
    assert check(tmp_path, progress=False, ignore_ids=[2]).shares["root"] == dict.fromkeys(("train", "val", "test"), 0)
    with pytest.raises(ArgumentError, match="categories"):
        check(tmp_path, progress=False, categories=["cat"])


def test_pictures_with_labels(tmp_path):
    for split in ("train", "test"):
        for kind in ("cats", "dogs"):
            (tmp_path / split / kind).mkdir(parents=True)
            for i in range(6):
                noise = np.random.default_rng([ord(split[1]), ord(kind[0]), i]).integers(0, 256, (32, 48, 3), np.uint8)
                Image.fromarray(noise).save(tmp_path / split / kind / f"{kind[0]}{i}.png")
    report = check(tmp_path, progress=False)
    assert report.findings == [] and report.shares["cats"]["train"] == 0.5 and report.sizes[0] == (32, 48)
