"""What PixelProbe sends to the browser, where its frame lies, and the picture that it leaves elsewhere."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seglab.errors import ArgumentError
from seglab.inference import Prediction, predict
from seglab.labels import PETS, LabelSet, known_label_set
from seglab.models import build
from seglab.viz import overlay
from seglab.widgets import pixel_probe
from seglab.widgets.pixel_probe import PixelProbe

HEIGHT, WIDTH = 20, 30


def labels(count: int) -> LabelSet:
    return LabelSet("numbers", tuple(f"class {i}" for i in range(count)),
                    tuple((20 * i % 256, 90, 255 - 6 * i) for i in range(count)))


def answer(count: int = 3, height: int = HEIGHT, width: int = WIDTH) -> Prediction:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.normal(0, 2, (count, height, width)).astype(np.float32))
    probabilities = scores.softmax(0).numpy()
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Prediction(image, probabilities.argmax(0).astype(np.uint8), labels(count), probabilities, 0.1, 0.1)


def inflated(packed: bytes, shape: tuple[int, ...], smooth: bool = False) -> np.ndarray:
    values = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)
    return np.cumsum(values.reshape(-1, shape[-1]), axis=0, dtype=np.uint8).reshape(shape) if smooth else values


class Shift(nn.Module):
    """Sees 2 rows above, 1 below, 4 columns to the left and 0 to the right."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.conv = nn.ZeroPad2d((4, 0, 2, 1)), nn.Conv2d(3, 3, (4, 5))

    def forward(self, x):
        return self.conv(self.pad(x))


def test_the_probabilities_travel_rounded_to_a_255th():
    prediction = answer()
    content = PixelProbe(prediction, truth=prediction.mask).content
    values = inflated(content["values"], (3, HEIGHT, WIDTH), smooth=True)
    assert np.abs(values / 255 - prediction.probabilities).max() <= 0.5 / 255 + 1e-6
    assert content["size"] == [WIDTH, HEIGHT] and content["kept"] == 3 and content["ids"] is None
    assert np.array_equal(inflated(content["mask"], (HEIGHT, WIDTH)), prediction.mask)
    assert np.array_equal(inflated(content["truth"], (HEIGHT, WIDTH)), prediction.mask)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content["image"]))), prediction.image)
    assert content["reach"] is None and not content["model"] and content["seen"] == []


def test_of_many_classes_the_most_probable_travel_as_many_as_fit(monkeypatch):
    monkeypatch.setattr(pixel_probe, "MAX_VALUES", 8 * HEIGHT * WIDTH)  # 4 values and 4 ids
    prediction = answer(40)
    content = PixelProbe(prediction).content
    assert content["kept"] == 4 and content["step"] == 1
    ids = inflated(content["ids"], (4, HEIGHT, WIDTH))
    values = inflated(content["values"], (4, HEIGHT, WIDTH), smooth=True)
    best = -np.sort(-prediction.probabilities, axis=0)[:4]
    assert np.abs(values / 255 - best).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(ids[0], prediction.mask)
    taken = np.take_along_axis(prediction.probabilities, ids.astype(int), 0)
    assert np.array_equal(taken, best)


def test_of_a_large_picture_every_second_row_and_column_travels(monkeypatch):
    monkeypatch.setattr(pixel_probe, "MAX_VALUES", 4 * HEIGHT * WIDTH // 2)
    prediction = answer(2)
    content = PixelProbe(prediction).content
    assert content["step"] == 2 and content["size"] == [WIDTH, HEIGHT] and content["kept"] == 2
    values = inflated(content["values"], (2, HEIGHT // 2, WIDTH // 2), smooth=True)
    assert np.abs(values / 255 - prediction.probabilities[:, ::2, ::2]).max() <= 0.5 / 255 + 1e-6


def test_the_bars_of_the_picture_are_the_true_probabilities():
    prediction = answer(12)
    probe = PixelProbe(prediction, pixel=[7, 3])
    bars = probe.bars()
    expected = np.sort(prediction.probabilities[:, 3, 7])[::-1]
    assert len(bars) == 9 and bars[-1][0] == "4 others"
    assert [value for _, value, _ in bars[:8]] == expected[:8].tolist()
    assert bars[-1][1] == pytest.approx(expected[8:].sum(), abs=1e-6)
    first = int(prediction.mask[3, 7])
    assert bars[0][0] == f"class {first}" and bars[0][2] == prediction.label_set.colours[first]
    probe.safe_colours = True
    assert probe.bars()[0][2] != bars[0][2]
    in_vocs = PixelProbe(replace(prediction, label_set=known_label_set(prediction.label_set.classes)), pixel=[7, 3])
    assert in_vocs.bars()[0][2] == probe.bars()[0][2], "the safe colours are those in which VOC's are drawn"


def test_the_classes_are_drawn_but_for_the_background():
    prediction = replace(answer(), label_set=PETS)
    probe, plain = PixelProbe(prediction, show_mask=True, opacity=0.5), PixelProbe(prediction)
    shown, before = probe.picture(), plain.picture()
    assert (shown != before).any()
    plain._prediction = replace(prediction, image=overlay(prediction.image, prediction.mask, PETS))
    assert (shown == plain.picture()).all()


def test_the_frame_moves_with_the_pixel_and_ends_at_the_edge():
    prediction = answer()
    probe = PixelProbe(prediction, Shift())
    assert probe.content["reach"] == (2, 4, 1, 0) and probe.content["seen"] == [WIDTH, HEIGHT]
    assert probe.place() == (10, 15) and probe.box() == (8, 11, 12, 16)
    probe.pixel = [2, 0]
    assert probe.place() == (0, 2) and probe.box() == (0, 0, 2, 3)
    probe.pixel = []
    assert probe.summary() == "PixelProbe(30×20, 3 classes: x 15, y 10; sees 5×4 pixels)"
    assert PixelProbe(prediction).box() is None and "sees" not in PixelProbe(prediction).summary()


def test_where_the_network_works_at_half_the_size_the_frame_is_twice_as_large():
    prediction = answer(3, 40, 60)
    probe = PixelProbe(prediction, build("single_conv", 3), pixel=[31, 21], short_side=20)
    assert probe.content["seen"] == [30, 20] and probe.content["reach"] == (1, 1, 1, 1)
    top, left, bottom, right = probe.box()
    assert bottom - top == right - left == 6 and top <= 21 < bottom and left <= 31 < right


def test_a_network_that_cannot_be_measured_says_why():
    probe = PixelProbe(answer(), nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.AvgPool2d(2)))
    assert "20×30" in probe.content["problem"] and probe.content["reach"] is None and probe.box() is None
    probe._on_message(probe, {"ask": "heat", "pixel": [3, 4]}, [])
    assert "values" in probe.heat


def test_the_kernel_answers_with_heat_or_with_what_went_wrong():
    model = build("single_conv", 3)
    probe = PixelProbe(answer(), model)
    probe._on_message(probe, {"ask": "heat", "pixel": [6, 4]}, [])
    assert probe.heat["pixel"] == [6, 4] and probe.heat["size"] == [WIDTH, HEIGHT]
    assert probe.heat["class"] == int(probe._prediction.mask[4, 6])
    values = inflated(probe.heat["values"], (HEIGHT, WIDTH), smooth=True)
    rows, columns = np.nonzero(values)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 5, 7) and values.max() == 255
    nn.init.constant_(model.conv.weight, float("nan"))
    probe._on_message(probe, {"ask": "heat", "pixel": [7, 4]}, [])
    assert "NaN" in probe.heat["error"] and "values" not in probe.heat


@pytest.mark.slow
def test_the_picture_shows_pixel_frame_and_bars():
    prediction = answer()
    plain, framed = PixelProbe(prediction).picture(), PixelProbe(prediction, Shift()).picture()
    assert plain.dtype == np.uint8 and plain.shape[1] == 760 and plain.shape == framed.shape
    assert (plain != framed).any()
    assert np.array_equal(plain, PixelProbe(prediction, pixel=[15, 10]).picture())
    moved = PixelProbe(prediction, pixel=[1, 1]).picture()
    assert (moved[:, :500] != plain[:, :500]).any() and (moved[:, 600:] != plain[:, 600:]).any()


def test_settings_are_traits():
    probe = PixelProbe(answer(), pixel=[1, 2], opacity=0.3, show_mask=True)
    assert probe.pixel == [1, 2] and probe.opacity == 0.3 and probe.show_mask and probe.place() == (2, 1)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"pixel": [30, 0]}, "x from 0 to 29"), ({"pixel": [1]}, "pixel"), ({"opacity": 2}, "opacity"),
    ({"colour": 1}, "argument colour"), ({"truth": np.zeros((3, 3), np.uint8)}, "truth"),
    ({"truth": np.full((20, 30), 9)}, "class id 9")])
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        PixelProbe(answer(), **arguments)


def test_a_prediction_without_probabilities_says_how_to_get_them():
    prediction = predict(build("single_conv", 3), np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(ArgumentError, match="probabilities=True"):
        PixelProbe(prediction)
    with pytest.raises(ArgumentError, match="ndarray"):
        PixelProbe(np.zeros((6, 8, 3), np.uint8))
