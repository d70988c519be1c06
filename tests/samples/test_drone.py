"""The drawn drone set: the same files from the same seed, the right layouts and classes, and safe writing."""

from __future__ import annotations

import csv
import hashlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seglab.errors import ArgumentError, DataError
from seglab.labels import DRONE, ClassTable
from seglab.samples.drone import draw_aerial, write_drone_sample
from tests.processes import prepared

SMALL = (60, 90)


def digests(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*")) if path.is_file()}


def write(root: Path, **how) -> Path:
    return write_drone_sample(root, **{"count": 3, "size": SMALL, "progress": False, **how})


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    """The masks of the lesson's default set."""
    how = {name: parameter.default for name, parameter in inspect.signature(write_drone_sample).parameters.items()}
    assert how["count"] == 120
    return [draw_aerial(how["seed"], index, how["size"])[1] for index in range(120)]


def test_draws_what_it_promises():
    image, mask = draw_aerial(0, 0, (50, 70))
    assert (image.shape, image.dtype) == ((50, 70, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((50, 70), np.uint8)
    image, mask = draw_aerial(0, 0, (33, 47))
    assert image.shape == (33, 47, 3) and mask.shape == (33, 47)


@pytest.mark.parametrize(("seed", "index", "size"), [(-1, 0, SMALL), (0, -1, SMALL), (0, 0, (8, 90))])
def test_refuses_bad_arguments(seed, index, size):
    with pytest.raises(ArgumentError, match="expected"):
        draw_aerial(seed, index, size)


@pytest.mark.parametrize("how", [{"count": 0}, {"layout": "other"}, {"size": (8, 8)}])
def test_a_refused_set_leaves_nothing_behind(tmp_path, how):
    with pytest.raises(ArgumentError):
        write(tmp_path / "set", **how)
    assert list(tmp_path.iterdir()) == []


def test_same_seed_same_bytes_and_another_seed_another_set(tmp_path):
    first, second, other = (write(tmp_path / name, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert digests(first) == digests(second)
    differing = {name for name, value in digests(first).items() if digests(other)[name] != value}
    assert {"original_images/000.jpg", "label_images_semantic/000.png"} <= differing


def test_a_larger_set_begins_with_the_smaller_one(tmp_path):
    small, large = digests(write(tmp_path / "a", count=2)), digests(write(tmp_path / "b", count=4))
    del small["sample.json"], large["sample.json"]
    assert len(small) == 2 * 2 + 1 and len(large) == 2 * 4 + 1
    assert small.items() <= large.items()


def test_a_picture_does_not_depend_on_the_ones_before():
    alone = draw_aerial(3, 2, SMALL)
    for index in range(2):
        draw_aerial(3, index, SMALL)
    again = draw_aerial(3, 2, SMALL)
    assert np.array_equal(alone[0], again[0]) and np.array_equal(alone[1], again[1])


@pytest.mark.slow
def test_default_set_has_all_classes_in_believable_shares(masks):
    counts = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=len(DRONE))
    assert len(counts) == len(DRONE)  # no id past 22
    assert [DRONE.classes[k] for k in np.flatnonzero(counts == 0)] == []
    share = dict(zip(DRONE.classes, 100 * counts / counts.sum(), strict=True))
    assert max(share, key=share.get) == "paved-area"
    ranges = {"paved-area": (33, 43), "grass": (16, 26), "roof": (4, 10), "gravel": (5, 10), "vegetation": (4, 9),
              "dirt": (2, 5), "tree": (2, 4.5), "car": (0.5, 2), "pool": (0.5, 2), "person": (0.4, 1.1),
              "dog": (0.003, 0.1), "unlabeled": (0, 0.5), "bicycle": (0.02, 0.3)}
    off = {name: round(share[name], 3) for name, (low, high) in ranges.items() if not low < share[name] < high}
    assert off == {}


@pytest.mark.slow
def test_scenes_vary(masks):
    paved = np.array([(mask == DRONE.id("paved-area")).mean() for mask in masks])
    assert (paved > 0.6).sum() >= 10 and (paved < 0.2).sum() >= 10


def test_picture_and_mask_fit_to_the_pixel():
    """Edges of the picture are strongest along the mask's borders when the two are not shifted."""
    totals = dict.fromkeys([(0, 0), (0, 3), (0, -3), (3, 0), (-3, 0)], 0.0)
    for index in range(12):
        image, mask = draw_aerial(0, index)
        grey = image.astype(np.float64).mean(axis=2)  # (H, W)
        slope = np.hypot(*np.gradient(grey))
        border = np.zeros(mask.shape, dtype=bool)
        border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
        border[1:] |= mask[1:] != mask[:-1]
        for shift in totals:
            totals[shift] += slope[np.roll(border, shift, axis=(0, 1))].mean()
    best = totals.pop((0, 0))
    assert best > 1.25 * max(totals.values())


@pytest.mark.slow
def test_colour_alone_is_informative_but_not_sufficient():
    """A table from coarse colour to its most frequent class beats "all paved" by far and stays far from right."""
    drawn = [draw_aerial(0, index, (100, 150)) for index in range(32)]
    bins = [(image // 32 @ np.array([64, 8, 1])).ravel() for image, _ in drawn]
    ids = [mask.ravel() for _, mask in drawn]
    table = np.zeros((512, len(DRONE)))
    np.add.at(table, (np.concatenate(bins[::2]), np.concatenate(ids[::2])), 1)
    test_bins, test_ids = np.concatenate(bins[1::2]), np.concatenate(ids[1::2])
    accuracy = (table.argmax(axis=1)[test_bins] == test_ids).mean()
    baseline = (test_ids == DRONE.id("paved-area")).mean()
    assert baseline + 0.1 < accuracy < 0.8


def test_both_layouts_hold_the_same_ids(tmp_path):
    ids, colours = write(tmp_path / "a"), write(tmp_path / "b", layout="colours")
    gt = colours / "training_set/gt/semantic"
    for index in range(3):
        grey = Image.open(ids / f"label_images_semantic/{index:03d}.png")
        rgb = Image.open(gt / f"label_images/{index:03d}.png")
        assert (grey.mode, rgb.mode) == ("L", "RGB") and grey.size == SMALL[::-1]
        assert np.array_equal(DRONE.colourise(np.asarray(grey)), np.asarray(rgb))
        assert np.array_equal(np.asarray(grey), draw_aerial(0, index, SMALL)[1])
        assert ((ids / f"original_images/{index:03d}.jpg").read_bytes()
                == (colours / f"training_set/images/{index:03d}.jpg").read_bytes())
    for table in (ids / "class_dict_seg.csv", gt / "class_dict.csv"):
        read = ClassTable.read(table).label_set
        assert (read.classes[:-1], read.colours[:-1]) == (DRONE.classes, DRONE.colours)
        rows = list(csv.reader(table.read_text().splitlines(), skipinitialspace=True))
        assert rows[0] == ["name", "r", "g", "b"] and rows[-1] == ["conflicting", "255", "0", "0"] and len(rows) == 25


def test_the_jpeg_is_the_drawn_picture(tmp_path):
    path = write(tmp_path / "a", count=1) / "original_images/000.jpg"
    with Image.open(path) as stored:
        assert stored.format == "JPEG" and stored.mode == "RGB"
        error = np.abs(np.asarray(stored).astype(int) - draw_aerial(0, 0, SMALL)[0])
    assert error.mean() < 8


def test_a_second_call_does_not_write(tmp_path):
    root = write(tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    assert write(root) == root
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]  # no draft stays


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "a").mkdir()
    assert len(digests(write(tmp_path / "a"))) == 8


@pytest.mark.parametrize("content", [{"thesis.txt": "mine"}, {"sample.json": "{"}, {"sample.json": "{}"}])
def test_a_foreign_folder_is_left_alone(tmp_path, content):
    root = tmp_path / "a"
    root.mkdir()
    for name, text in content.items():
        (root / name).write_text(text)
    before = digests(root)
    with pytest.raises(DataError, match=r"(?s)found:.*expected:.*next:"):
        write(root)
    assert digests(root) == before and [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("other", [{"count": 4}, {"seed": 1}, {"size": (60, 91)}, {"layout": "colours"}])
def test_another_set_is_left_alone(tmp_path, other):
    root = write(tmp_path / "a")
    before = digests(root)
    with pytest.raises(DataError, match="already holds"):
        write(root, **other)
    assert digests(root) == before


def test_a_file_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(DataError, match="already holds"):
        write(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "mine"


def arrive_first(monkeypatch, root: Path, **how) -> None:
    """Let another process finish its set between our drawing and our last step."""
    from seglab.samples import drone as sample

    ours = sample._write_drone

    def late(draft, stamp, progress):
        ours(draft, stamp, progress)
        monkeypatch.setattr(sample, "_write_drone", ours)
        write(root, **how)

    monkeypatch.setattr(sample, "_write_drone", late)


def test_the_first_of_two_equal_sets_stays(tmp_path, monkeypatch):
    arrive_first(monkeypatch, tmp_path / "a")
    write(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and len(digests(tmp_path / "a")) == 8


def test_the_first_of_two_different_sets_stays(tmp_path, monkeypatch):
    arrive_first(monkeypatch, tmp_path / "a", seed=9)
    with pytest.raises(DataError, match="already holds"):
        write(tmp_path / "a")
    assert json.loads((tmp_path / "a/sample.json").read_text())["seed"] == 9
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failure_leaves_no_half_set(tmp_path, monkeypatch):
    from seglab.samples import drone as sample

    drawn = sample.draw_aerial

    def fails_late(seed, index, size):
        if index == 2:
            raise KeyboardInterrupt
        return drawn(seed, index, size)

    monkeypatch.setattr(sample, "draw_aerial", fails_late)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def write_after(together, root: Path) -> None:
    together.wait(timeout=60)
    write(root, count=6)


@pytest.mark.slow
def test_two_processes_at_once_give_one_sound_set(tmp_path):
    context = prepared()
    together = context.Barrier(2)
    other = context.Process(target=write_after, args=(together, tmp_path / "a"))
    other.start()
    write_after(together, tmp_path / "a")  # at the same time
    other.join()
    assert other.exitcode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert digests(tmp_path / "a") == digests(write(tmp_path / "b", count=6))
