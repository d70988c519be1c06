"""ConfusionHeatmap: what it says, what it draws, what it refuses."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
import torch

from seglab.errors import ArgumentError
from seglab.labels import DRONE, PETS, LabelSet
from seglab.metrics import ConfusionMatrix, classification_scores
from seglab.widgets.confusion_heatmap import ConfusionHeatmap
from seglab.widgets.prediction_browser import PredictionBrowser

COUNTS = np.array([[80, 3, 17], [4, 30, 6], [0, 0, 0]])


def drawn_cells(heatmap: ConfusionHeatmap, size: int, cell: int = 76) -> np.ndarray:
    """The colours near the upper left corner of each cell, (C, C, 3)."""
    picture = heatmap.picture()[:-8, :-8]
    return picture[-size * cell + 6::cell, -size * cell + 6::cell].astype(int)


def test_a_metric_its_scores_a_tensor_and_an_array_are_the_same() -> None:
    metric = ConfusionMatrix(PETS)
    metric.counts[:3, :3] = torch.tensor(COUNTS)
    for matrix in (metric, metric.compute(), torch.tensor(COUNTS), COUNTS.astype(np.uint16), COUNTS.tolist()):
        heatmap = ConfusionHeatmap(matrix, PETS)
        assert (heatmap.matrix == COUNTS).all()
        sent = np.frombuffer(zlib.decompress(heatmap.content["counts"]), "<f8")
        assert sent.tolist() == COUNTS.ravel().tolist()


def test_pictures_are_counted_in_a_classification() -> None:
    heatmap = ConfusionHeatmap(classification_scores(COUNTS), ["a", "b", "c"])
    assert heatmap.sentence("a", "c") == "of the true a pictures, 17.0 % (17) are called c"


@pytest.mark.parametrize(("way", "cell", "words"), [
    ("rows", (1, 2), "of the true cat pixels, 15.0 % (6) are called dog"),
    ("rows", (2, 1), "there are no true dog pixels"),
    ("columns", (0, 1), "of the pixels called cat, 9.1 % (3) are truly background"),
    ("columns", (2, 0), "of the pixels called background, 0.0 % (0) are truly dog"),
    ("none", (0, 2), "17 true background pixels are called dog, 12.1 % of all pixels"),
])
def test_a_cell_in_words(way: str, cell: tuple[int, int], words: str) -> None:
    assert ConfusionHeatmap(COUNTS, PETS, normalise=way).sentence(*cell) == words


def test_nothing_over_nothing_is_no_zero() -> None:
    rows, columns = (ConfusionHeatmap(m, PETS, normalise=way).values()
                     for m, way in ((COUNTS, "rows"), (COUNTS.T, "columns")))
    assert np.isnan(rows[2]).all() and not np.isnan(rows[:2]).any()
    assert (np.nan_to_num(rows, nan=-1) == np.nan_to_num(columns.T, nan=-1)).all()


def test_the_picture_has_the_values_colours() -> None:
    heatmap = ConfusionHeatmap(COUNTS, PETS)
    cells = drawn_cells(heatmap, 3)
    values = heatmap.values()
    for row, column in np.ndindex(2, 3):
        expected = 255 + values[row, column] / 0.8 * (np.array([0, 114, 178]) - 255)
        assert abs(cells[row, column] - expected).max() <= 1
    assert (cells[2] == 236).all()  # empty, not white
    heatmap.diagonal = False
    hidden = drawn_cells(heatmap, 3)
    assert (hidden[1, 1] == 255).all() and hidden[0, 2, 0] == 0  # the largest mistake has the full colour now
    heatmap.logarithmic = True
    assert drawn_cells(heatmap, 3)[0, 1, 0] < hidden[0, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 23, 254])
def test_many_classes_fit_on_a_page(count: int) -> None:
    counts = np.random.default_rng(0).integers(0, 1000, (count, count))
    names = DRONE if count == 23 else [f"a class with quite a long name {i}" for i in range(count)]
    height, width = ConfusionHeatmap(counts, names).picture().shape[:2]
    assert height <= 1000 and width <= 1000


def test_a_page_without_a_kernel_gets_picture_and_words() -> None:
    data, _ = ConfusionHeatmap(COUNTS, PETS, selected=["cat", "dog"])._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"].endswith("140 pixels; of the true cat pixels, 15.0 % (6) are called dog)")


@pytest.mark.parametrize(("arguments", "words"), [
    ((np.ones((2, 3), int),), "square"),
    ((np.ones((2, 2)),), "counts"),
    ((np.array([[1, -1], [0, 2]]),), "integers from 0"),
    ((np.ones((1, 1), int),), "2 to 254"),
    ((np.ones((255, 255), int),), "2 to 254"),
    ((COUNTS, ["a", "b"]), "3 names"),
    ((COUNTS, "abc"), "LabelSet"),
])
def test_what_is_no_confusion_matrix_is_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        ConfusionHeatmap(*arguments)


@pytest.mark.parametrize(("name", "value"), [("normalise", "row"), ("selected", [1]), ("selected", [0, 3]),
                                             ("selected", ["cat", "cow"]), ("selected", [-1, 0])])
def test_a_setting_that_does_not_exist_is_refused(name: str, value: object) -> None:
    heatmap = ConfusionHeatmap(COUNTS, PETS)
    with pytest.raises(ArgumentError, match=name):
        setattr(heatmap, name, value)
    with pytest.raises(ArgumentError, match=name):
        ConfusionHeatmap(COUNTS, PETS, **{name: value})


def browser(label_set: LabelSet = PETS) -> PredictionBrowser:
    truth = np.uint8([[0, 1], [2, 1]])
    return PredictionBrowser([(np.zeros((3, 2, 2), np.uint8), truth)] * 2, [truth, truth * 0], label_set,
                             progress=False)


def test_a_linked_browser_follows_and_leads() -> None:
    heatmap, pictures = ConfusionHeatmap(COUNTS, PETS), browser()
    heatmap.link(pictures)
    heatmap.link(pictures)  # twice is once
    heatmap.selected = ["cat", "background"]
    assert pictures.confused == [1, 0] and pictures.visible().tolist() == [1]
    pictures.confused = []
    assert heatmap.selected == []
    (link, _), = heatmap._links
    assert link.source == (heatmap, "selected") and link.target == (pictures, "confused")  # without a kernel


def test_what_the_browser_linked_already_is_not_sent_back() -> None:
    heatmap, pictures = ConfusionHeatmap(COUNTS, PETS), browser()
    heatmap.link(pictures)
    heatmap.set_state({"selected": [1, 0]})  # as a message of the page arrives
    assert heatmap.selected == [1, 0] and pictures.confused == []
    pictures.set_state({"confused": [1, 0]})  # the page's other message
    assert pictures.confused == [1, 0] and heatmap.selected == [1, 0]


def test_a_browser_of_other_classes_cannot_be_linked() -> None:
    other = LabelSet("other", ("sky", "cat", "dog"), PETS.colours)
    for wrong in (browser(other), object()):
        with pytest.raises(ArgumentError, match="PredictionBrowser of background, cat, dog"):
            ConfusionHeatmap(COUNTS, PETS).link(wrong)


def test_the_picture_frames_the_selected_cell_truth_in_rows() -> None:
    changed = ConfusionHeatmap(COUNTS, PETS, selected=[0, 2]).picture() != ConfusionHeatmap(COUNTS, PETS).picture()
    rows, columns = (changed.any(2).any(axis).nonzero()[0] for axis in (1, 0))
    height, width = changed.shape[:2]
    assert abs(rows[0] - (height - 8 - 3 * 76)) <= 2 and abs(rows[-1] - rows[0] - 76) <= 2
    assert abs(columns[-1] - (width - 8)) <= 2 and abs(columns[-1] - columns[0] - 76) <= 2
