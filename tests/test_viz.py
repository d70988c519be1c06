from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch

from seglab import viz
from seglab.errors import ArgumentError
from seglab.labels import PETS
from seglab.training import History

mpl.use("agg")
from matplotlib import pyplot as plt

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)
MASK = RNG.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (20, 30))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_overlay_blends_and_leaves_ignored_pixels():
    picture = IMAGE.transpose(1, 2, 0)
    blended = viz.overlay(torch.from_numpy(IMAGE), torch.from_numpy(MASK), PETS)
    wanted = (picture.astype(float) + PETS.palette[MASK]) / 2
    scored = MASK != 255
    assert np.abs(blended[scored] - wanted[scored]).max() <= 0.5
    assert np.array_equal(blended[~scored], picture[~scored])
    assert np.array_equal(viz.overlay(picture, MASK, PETS, alpha=0), picture)


def test_error_map():
    truth, guess = np.array([[0, 1, 255]], np.uint8), np.array([[0, 2, 1]], np.uint8)
    assert viz.error_map(guess, truth)[0].tolist() == [list(viz.RIGHT), list(viz.WRONG), list(viz.IGNORED)]


def test_arguments():
    with pytest.raises(ArgumentError, match=r"\(20, 29\)"):
        viz.overlay(IMAGE, MASK[:, :29], PETS)
    with pytest.raises(ArgumentError, match="alpha"):
        viz.overlay(IMAGE, MASK, PETS, alpha=2)
    with pytest.raises(ArgumentError, match="float32"):
        viz.overlay(IMAGE.astype(np.float32), MASK, PETS)
    with pytest.raises(ArgumentError, match="prediction"):
        viz.error_map(MASK, MASK[:2])


def test_figures_hold_what_they_should():
    figure = viz.show_samples([(IMAGE, MASK)] * 2, PETS, predict=lambda image: np.zeros((20, 30), np.uint8))
    assert len(figure.axes) == 8
    assert np.array_equal(figure.axes[1].images[0].get_array(), PETS.colourise(MASK))
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["background", "cat", "dog", "ignored"]

    bars = viz.plot_shares({"train": [0.7, 0.2, 0.1], "test": [0.6, 0.3, 0.1]}, PETS).axes[0]
    assert [t.get_text() for t in bars.get_yticklabels()] == ["dog", "cat", "background"]
    assert [p.get_width() for p in bars.patches] == [0.1, 0.2, 0.7]

    iou = viz.plot_iou({"a": [0.5, np.nan, 0.7], "b": [0.1, np.nan, 0.2]}, PETS).axes[0]
    assert [t.get_text() for t in iou.get_xticklabels()] == ["dog", "background"]

    history = History()
    for epoch in (1, 2):
        history.add({"epoch": epoch, "loss": 1 / epoch, "pixel_accuracy": 0.5, "miou": 0.1}, {})
    curves = viz.plot_history({"one": history})
    assert curves.axes[0].lines[0].get_ydata().tolist() == [1.0, 0.5]
