"""Scores near outlines: against distances and counts taken pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seglab.errors import ArgumentError
from seglab.labels import PETS
from seglab.metrics import BandMatrix, ConfusionMatrix, boundary_distance, scores

MASKS = hnp.arrays(st.sampled_from((np.uint8, np.int64)), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
                   elements=st.sampled_from((0, 0, 0, 1, 2, 255)))


def by_definition(mask: np.ndarray) -> np.ndarray:
    distance = np.full(mask.shape, np.inf)
    pixels = [*np.ndindex(mask.shape)]
    for pixel in pixels:
        for other in pixels:
            if mask[pixel] != mask[other]:
                distance[pixel] = min(distance[pixel], math.dist(pixel, other))
    return distance


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(MASKS)
def test_distances_are_those_to_the_nearest_other_value(mask):
    found = boundary_distance(mask)
    assert found.dtype == np.float32
    assert np.array_equal(found, by_definition(mask).astype(np.float32))
    assert np.array_equal(boundary_distance(torch.from_numpy(mask)), found)


def test_distances_in_a_large_picture_are_exact_each_time():
    mask = np.zeros((400, 500), np.uint8)
    mask[37, 41] = 1
    rows, columns = np.mgrid[:400, :500]
    want = np.hypot(rows - 37, columns - 41)
    want[37, 41] = 1
    for _ in range(5):
        assert np.array_equal(boundary_distance(mask), want.astype(np.float32))


def test_distances_need_one_mask_of_integers():
    for wrong in (np.zeros((2, 3, 3), np.uint8), np.zeros((3, 3), np.float32)):
        with pytest.raises(ArgumentError, match="mask"):
            boundary_distance(wrong)


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(MASKS, st.integers(0, 2**31), st.sampled_from([(1,), (1, 2, 4), (1.5, 3), (100,)]))
def test_bands_count_the_pixels_that_are_near(target, seed, widths):
    preds = np.random.default_rng(seed).integers(0, 3, target.shape)
    metric = BandMatrix(PETS, widths)
    metric.update(preds, target)
    found, distance = metric.compute(), by_definition(target)

    def counted(where: np.ndarray) -> torch.Tensor:
        matrix = torch.zeros(3, 3, dtype=torch.int64)
        for pixel in zip(*(where & (target != 255)).nonzero(), strict=True):
            matrix[target[pixel], preds[pixel]] += 1
        return matrix

    for width, band in zip(widths, found.bands, strict=True):
        assert torch.equal(band.matrix, counted(distance <= width))
    assert torch.equal(found.beyond.matrix, counted(distance > widths[-1]))
    assert torch.equal(found.total.matrix, counted(np.ones(target.shape, bool)))
    want = [scores(counted(distance <= width)) for width in widths]
    assert np.array_equal(found.pixel_accuracy, [one.pixel_accuracy for one in want], equal_nan=True)
    assert np.array_equal(found.miou, [one.miou for one in want], equal_nan=True)


def test_batches_and_logits_give_the_same():
    rng = np.random.default_rng(0)
    target = rng.choice(np.array([0, 1, 2, 255], np.uint8), (3, 8, 9))
    logits = torch.from_numpy(rng.normal(size=(3, 3, 8, 9)).astype(np.float32))
    whole, single, ids = (BandMatrix(3) for _ in range(3))
    whole.update(logits, target)
    for one, mask in zip(logits, target, strict=True):
        single.update(one, torch.from_numpy(mask))
        ids.update(one.argmax(0), mask)
    plain = ConfusionMatrix(3)
    plain.update(logits, target)
    assert torch.equal(whole.compute().total.matrix, plain.matrix())
    for other in (single, ids):
        assert all(torch.equal(a.counts, b.counts) for a, b in zip(whole.rings, other.rings, strict=True))
    whole.reset()
    assert whole.compute().total.matrix.sum() == 0
    assert all(math.isnan(value) for value in whole.compute().pixel_accuracy)


def test_an_ignored_border_is_where_the_band_begins():
    truth = np.array([[0, 0, 0, 255, 255, 1, 1, 1]])
    metric = BandMatrix(2, widths=(1,))
    metric.update(np.array([[0, 0, 1, 0, 0, 1, 1, 1]]), truth)
    assert metric.compute().pixel_accuracy == [0.5]  # of the two pixels beside the border, one


@pytest.mark.parametrize("widths", [(), (0, 1), (2, 1), (1, 1), (1, math.inf), (1, math.nan)])
def test_widths_rise(widths):
    with pytest.raises(ArgumentError, match="widths"):
        BandMatrix(2, widths)


def test_a_batch_that_does_not_fit_is_not_counted_at_all():
    metric, mask = BandMatrix(2, widths=(1,)), np.array([[0, 0, 1, 1, 1, 1]])
    stray = mask.copy()
    stray[0, -1] = 7  # beyond the band, in the last ring
    for preds, target in ((mask, stray), (stray, mask), (mask[:, :4], mask), (mask[0], mask[0]),
                          (torch.zeros(3, 1, 6), mask)):
        with pytest.raises(ArgumentError, match="preds|target"):
            metric.update(preds, target)
    assert sum(ring.counts.sum() for ring in metric.rings) == 0


@pytest.mark.parametrize("turns", range(4))
def test_an_outline_on_one_side_only_is_found(turns):
    stripes = np.rot90(np.repeat(np.array([[0, 0, 0, 1]], np.uint8), 5, axis=0), turns)
    assert np.array_equal(boundary_distance(stripes), np.rot90(np.tile([3.0, 2.0, 1.0, 1.0], (5, 1)), turns))
