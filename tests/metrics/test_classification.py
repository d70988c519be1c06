"""A classifier's scores against torchmetrics and numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seglab.errors import ArgumentError
from seglab.labels import PETS
from seglab.metrics import calibration, classification_scores


def test_scores_by_hand():
    found = classification_scores(np.array([[8, 2, 0], [1, 4, 0], [0, 0, 0]]))
    assert found.accuracy == pytest.approx(12 / 15)
    assert found.recall.tolist()[:2] == pytest.approx([0.8, 0.8]) and found.recall[2].isnan()
    assert found.precision.tolist()[:2] == pytest.approx([8 / 9, 4 / 6]) and found.precision[2].isnan()
    assert "12 of 15 pictures" in found.table(PETS)
    with pytest.raises(ArgumentError, match="3 classes"):
        classification_scores(torch.eye(2, dtype=torch.int64)).table(PETS)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 5])
def test_calibration_error_is_that_of_torchmetrics(classes):
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(classes)
    probabilities = (3 * torch.randn(500, classes, generator=generator)).softmax(1)
    labels = torch.randint(0, classes, (500,), generator=generator)
    found = calibration(probabilities, labels, bins=15)
    theirs = metrics.multiclass_calibration_error(probabilities, labels, num_classes=classes, n_bins=15)
    assert found.error == pytest.approx(theirs.item(), abs=1e-5)
    assert found.counts.sum() == 500
    filled = found.counts > 0
    assert np.isnan(found.accuracy[~filled]).all() and not np.isnan(found.accuracy[filled]).any()


def test_calibration_at_the_edges():
    assert calibration(np.array([[1.0, 0.0]]), np.array([0])).error == 0
    assert calibration(np.array([[1.0, 0.0]]), np.array([1])).error == 1
    for probabilities, labels, bins in (([[2.0, -1.0]], [0], 10), ([[0.5, 0.2]], [0], 10), ([[0.5, 0.5]], [0, 1], 10),
                                        ([[0.5, 0.5]], [0], 0), (np.zeros((0, 2)), [], 10)):
        with pytest.raises(ArgumentError):
            calibration(np.array(probabilities), np.array(labels), bins)
