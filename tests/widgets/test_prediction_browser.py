"""PredictionBrowser: scores, orders and filters, what travels, what it draws, what it refuses."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Subset

from seglab.errors import ArgumentError
from seglab.inference import Classification, predict
from seglab.labels import PETS
from seglab.models import Card, Classifier
from seglab.viz.palettes import as_drawn
from seglab.widgets.prediction_browser import PredictionBrowser

SIZE = (40, 60)


class Pictures:
    """Pictures with the truth's colours; of picture i, i tenths of the cat are predicted as dog."""

    names = ("p1", "p10", "p2", "p3")
    label_set = PETS

    def __init__(self) -> None:
        self.read = 0
        self.truth = np.zeros(SIZE, np.uint8)
        self.truth[10:30, 20:40] = 1
        self.truth[:2] = 255

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.read += 1
        image = np.full((*SIZE, 3), 60 * index, np.uint8)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(self.truth)  # (H, W, 3) -> (3, H, W)

    def predicted(self, index: int) -> np.ndarray:
        mask = np.where(self.truth == 255, 0, self.truth)
        mask[10:30, 20:20 + 2 * index][mask[10:30, 20:20 + 2 * index] == 1] = 2
        return mask

    def masks(self) -> list[np.ndarray]:
        return [self.predicted(i) for i in range(len(self))]


def browse(**options: object) -> PredictionBrowser:
    data = Pictures()
    return PredictionBrowser(data, data.masks(), progress=False, **options)


def test_scores_are_those_of_the_pictures() -> None:
    table = browse().table
    # Background is right; i tenths of the cat are lost; dog is predicted where none is, so it counts as 0.
    assert table.iou == pytest.approx([1.0, (1 + 0.9) / 3, (1 + 0.8) / 3, (1 + 0.7) / 3])
    rows = table.pixels[table.pixels[:, 0] == 2]
    scored = 38 * 60
    assert rows.tolist() == [[2, 0, 0, scored - 400], [2, 1, 1, 320], [2, 1, 2, 80]]
    assert (table.mask(3) == Pictures().predicted(3)).all()


@pytest.mark.parametrize(("settings", "expected"), [
    ({}, [3, 2, 1, 0]), ({"order": "best"}, [0, 1, 2, 3]), ({"order": "name"}, [0, 2, 3, 1]),
    ({"order": "loss"}, [1, 3, 0, 2]),
    ({"class_filter": "dog"}, [3, 2, 1]), ({"class_filter": 1}, [3, 2, 1, 0]), ({"class_filter": None}, [3, 2, 1, 0]),
    ({"confused": ["cat", "dog"], "order": "best"}, [3, 2, 1]), ({"confused": [2, 0]}, []),
    ({"confused": ["cat", "cat"]}, [0, 1, 2, 3]),
    ({"search": "P1"}, [1, 0]), ({"search": "p1", "class_filter": 2}, [1]),
])
def test_orders_and_filters(settings: dict, expected: list[int]) -> None:
    browser = browse(losses=[0.5, 3.0, float("nan"), 1.0])
    browser.page = 3
    for name, value in settings.items():
        setattr(browser, name, value)
    assert browser.visible().tolist() == expected
    assert browser.page == (0 if settings and settings != {"class_filter": None} else 3)


def test_a_picture_without_scored_pixels_comes_last() -> None:
    truth = [np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8), np.ones((4, 4), np.uint8)]
    data = [(np.zeros((3, 4, 4), np.uint8), one) for one in truth]
    browser = PredictionBrowser(data, np.zeros((3, 4, 4), np.int64), PETS, progress=False)
    assert np.isnan(browser.table.iou[1])
    assert browser.visible().tolist() == [2, 0, 1]
    browser.order = "best"
    assert browser.visible().tolist() == [0, 2, 1]


def test_what_travels_is_bytes_with_offsets() -> None:
    browser = browse()
    content, count = browser.content, 4
    ends = np.frombuffer(content["offsets"], "<u4")
    assert len(ends) == 3 * count + 1 and ends[-1] == len(browser.thumbnails)
    jpeg, prediction, truth = (browser.thumbnails[ends[k]:ends[k + 1]] for k in (9, 10, 11))
    assert Image.open(io.BytesIO(jpeg)).size == (60, 40)  # smaller than a thumbnail: not enlarged
    assert zlib.decompress(prediction) == Pictures().predicted(3).tobytes()
    assert zlib.decompress(truth) == Pictures().truth.tobytes()
    assert np.frombuffer(content["iou"], "<f4") == pytest.approx(browser.table.iou)
    assert np.frombuffer(content["pixels"], "<u4").reshape(-1, 4).tolist() == browser.table.pixels.tolist()
    assert content["loss"] is None and set(content["orders"]) == {"worst", "best", "name"}


def test_thumbnails_shrink_pictures_and_keep_ids() -> None:
    browser = browse(thumbnail=32)
    small = np.frombuffer(zlib.decompress(browser.table.thumbnails[10]), np.uint8).reshape(21, 32)
    assert set(np.unique(small)) == {0, 1, 2}
    assert abs((small == 1).mean() - (Pictures().predicted(3) == 1).mean()) < 0.03


def test_a_full_picture_comes_on_demand_as_buffers() -> None:
    browser, sent = browse(confidences=[np.full(SIZE, 0.25)] * 4), []
    browser.send = lambda content, buffers=(): sent.append((content, buffers))
    before = browser.dataset.read
    browser._handle_custom_msg({"kind": "open", "index": 3}, [])
    (message, buffers), = sent
    content = message["content"]
    assert browser.dataset.read == before + 1 and message["index"] == 3 and content["size"] == [60, 40]
    mask, truth = content["masks"]
    assert (mask["name"], truth["name"], content["truth"]) == ("prediction", "truth", "truth")
    assert zlib.decompress(buffers[mask["ids"]]) == Pictures().predicted(3).tobytes()
    percents = np.cumsum(np.frombuffer(zlib.decompress(buffers[mask["confidence"]]), np.uint8).reshape(SIZE), axis=0)
    assert set((percents % 256).ravel().tolist()) == {25} and truth["confidence"] is None


def test_a_picture_that_cannot_be_read_again_is_reported() -> None:
    browser, sent = browse(), []
    browser.send = lambda content, buffers=(): sent.append(content)
    browser.dataset.truth = browser.dataset.truth[1:]  # the dataset changed since
    browser._handle_custom_msg({"kind": "open", "index": 0}, [])
    assert sent[0]["kind"] == "failed" and "(39, 60)" in sent[0]["why"]


def test_of_a_model_brings_loss_and_confidence() -> None:
    class ByBrightness(nn.Module):
        card = Card(label_set=PETS)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.cat([images[:, :1] * 0, images[:, :1], images[:, :1] * 0 - 1], 1)  # (N, 3, H, W)

    model, data = ByBrightness(), Pictures()
    browser = PredictionBrowser.of(model, data, progress=False)
    image, truth = data[2]
    found = predict(model, image, probabilities=True)
    scored = truth != 255
    loss = nn.functional.nll_loss(torch.from_numpy(found.probabilities).log()[:, scored].T, truth[scored].long())
    assert browser.table.loss[2] == pytest.approx(loss.item(), rel=1e-5)
    assert browser.table.confidence[2] == pytest.approx(found.confidence.mean(), abs=1e-5)
    assert (browser.table.mask(2) == found.mask).all()
    assert abs(browser.table.confidence_map(2) - found.confidence).max() <= 0.005
    by_hand = PredictionBrowser(data, lambda image: predict(model, image, probabilities=True), progress=False)
    assert by_hand.table.loss.tolist() == browser.table.loss.tolist()


def labelled() -> list[tuple[torch.Tensor, int]]:
    return [(torch.full((3, 32, 32), 50 * i, dtype=torch.uint8), i % 3) for i in range(5)]


def test_a_classification_shows_mistakes_first_and_confuses_pictures() -> None:
    browser = PredictionBrowser(labelled(), [0, 2, 2, 1, 0], PETS, confidences=[0.9, 0.6, 0.5, 0.9, 0.8],
                                progress=False)
    # The truths are 0, 1, 2, 0, 1: wrong are 1, 3, 4, the surest first; then the right ones, the least sure first.
    assert browser.visible().tolist() == [3, 4, 1, 2, 0]
    browser.confused = ["cat", "dog"]
    assert browser.visible().tolist() == [1]
    assert browser.content["masks"] is False and browser.show == "picture"
    content, buffers = browser._full(1)
    assert content["masks"] == [] and len(buffers) == 1
    with pytest.raises(ArgumentError, match="show"):
        browser.show = "truth"


def test_of_a_classifier() -> None:
    torch.manual_seed(0)
    model = Classifier(3)
    browser = PredictionBrowser.of(model, labelled(), PETS, progress=False)
    answers = [Classification(np.zeros((1, 1, 3), np.uint8), row, PETS, 0.0) for row in np.eye(3, dtype=np.float32)]
    again = PredictionBrowser(labelled()[:3], answers, PETS, progress=False)
    assert browser.table.loss.shape == (5,) and (browser.table.confidence > 1 / 3).all()
    assert again.table.loss.tolist() == [0, 0, 0] and again.table.right().all()


def test_the_contact_sheet_shows_the_page_as_it_is_set() -> None:
    browser = browse(page_size=2)
    first = browser.picture()
    assert first.shape[1] <= 900
    for name, value in (("show", "errors"), ("page", 1), ("order", "best"), ("confused", [1, 2]), ("search", "10")):
        setattr(browser, name, value)
        second = browser.picture()
        assert second.shape != first.shape or (second != first).any()
        first = second
    browser.show = "truth"
    thumb = browser._thumb(0).astype(int)
    assert abs(thumb[20, 30] - np.array(as_drawn(PETS).colours[1]) / 2).max() <= 2  # half the black picture, half cat
    browser.search = "no such name"
    assert browser.picture().shape[0] < 60 and repr(browser).startswith("PredictionBrowser(0 of 4 pictures")


def test_names_come_through_a_subset_or_are_numbers() -> None:
    data = Pictures()
    subset = PredictionBrowser(Subset(data, [2, 0]), [data.predicted(2), data.predicted(0)], progress=False)
    assert subset.table.names == ["p2", "p1"] and subset.label_set is PETS
    plain = PredictionBrowser([data[0]], [data.predicted(0)], PETS, progress=False)
    assert plain.table.names == ["picture 0"]


@pytest.mark.parametrize(("change", "words"), [
    ({"dataset": []}, "dataset"), ({"predictions": [np.zeros(SIZE, int)]}, "predictions"),
    ({"predictions": [np.zeros((3, 3), int)] * 4}, "prediction of p1"),
    ({"predictions": [np.full(SIZE, 7)] * 4}, "class id 7"), ({"predictions": [np.full(SIZE, 255)] * 4}, "id 255"),
    ({"predictions": nn.Conv2d(3, 3, 1)}, "PredictionBrowser.of"), ({"predictions": 3}, "predictions"),
    ({"names": ["a"]}, "names"), ({"losses": [1.0]}, "losses"), ({"confidences": [1.0] * 3}, "confidences"),
    ({"confidences": [2.0] * 4}, "confidence of 'p1'"), ({"thumbnail": 8}, "thumbnail"),
    ({"page_size": 0}, "page_size"), ({"label_set": "pets"}, "label_set"),
])
def test_what_does_not_fit_is_refused(change: dict, words: str) -> None:
    data = Pictures()
    arguments = {"dataset": data, "predictions": data.masks(), **change}
    with pytest.raises(ArgumentError, match=words):
        PredictionBrowser(arguments.pop("dataset"), arguments.pop("predictions"), progress=False, **arguments)


@pytest.mark.parametrize(("name", "value"), [
    ("order", "worse"), ("order", "loss"), ("class_filter", 3), ("class_filter", "cow"), ("class_filter", "-1"),
    ("confused", [1]), ("confused", ["cat", "cow"]), ("page", -1), ("opened", 4), ("opened", -2), ("show", "mask")])
def test_a_setting_that_does_not_exist_is_refused(name: str, value: object) -> None:
    browser = browse()
    with pytest.raises(ArgumentError, match=name):
        setattr(browser, name, value)


def test_a_label_that_is_no_class_is_refused() -> None:
    for predictions in ([0, 1, 3, 0, 0], [0, 1, 1.5, 0, 0]):
        with pytest.raises(ArgumentError, match="prediction of 'picture 2'"):
            PredictionBrowser(labelled(), predictions, PETS, progress=False)
