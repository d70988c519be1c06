"""IoU by size: against the definition pixel by pixel, and against the confusion matrix that it must add up to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seglab.errors import ArgumentError
from seglab.labels import PETS
from seglab.metrics import ConfusionMatrix, SizedIoU

BOUNDS = (3, 7)


def parts_of(mask: np.ndarray) -> np.ndarray:
    """Numbers of the 8-connected components of a bool map, by flooding."""
    numbers = np.zeros(mask.shape, int)
    for start in zip(*mask.nonzero(), strict=True):
        if numbers[start]:
            continue
        number, todo = numbers.max() + 1, [start]
        while todo:
            row, column = todo.pop()
            if not (0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]):
                continue
            if mask[row, column] and not numbers[row, column]:
                numbers[row, column] = number
                todo += [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return numbers


def bucket_of(area: float) -> int:
    return sum(area >= bound for bound in BOUNDS)


def by_definition(preds, target, objects, areas, classes: int) -> np.ndarray:
    """(4, C, 4) counts, a pixel at a time."""
    counts = np.zeros((4, classes, 4), int)
    for c in range(1, classes):
        true = target == c
        numbers = np.where(true, objects, 0) if objects is not None else np.zeros(true.shape, int)
        loose = parts_of(true & (numbers == 0))
        bucket = {}  # of each true pixel
        seen = set()
        for pixel in zip(*true.nonzero(), strict=True):
            k = numbers[pixel]
            area = (loose == loose[pixel]).sum()
            if k:
                area = areas[k - 1] if areas is not None else (objects == k).sum()
            bucket[pixel] = bucket_of(area)
            counts[1, c, bucket[pixel]] += 1
            counts[0, c, bucket[pixel]] += preds[pixel] == c
            if (k, loose[pixel]) not in seen:
                seen.add((k, loose[pixel]))
                counts[3, c, bucket[pixel]] += 1
        for y, x in zip(*((preds == c) & ~true & (target != 255)).nonzero(), strict=True):
            near = min((((y - i) ** 2 + (x - j) ** 2, b) for (i, j), b in bucket.items()), default=(0, 3))
            counts[2, c, near[1]] += 1
    return counts


@st.composite
def pictures(draw: st.DrawFn) -> tuple:
    classes = draw(st.integers(2, 4))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    dtype = draw(st.sampled_from((np.uint8, np.int64)))
    ids = [0, *range(classes), 255]
    preds = draw(hnp.arrays(dtype, shape, elements=st.integers(0, classes - 1)))
    target = draw(hnp.arrays(dtype, shape, elements=st.sampled_from(ids)))
    objects = draw(st.none() | hnp.arrays(draw(st.sampled_from((np.uint8, np.int32))), shape,
                                          elements=st.integers(0, 4)))
    areas = draw(st.none() | st.lists(st.integers(0, 12), min_size=4, max_size=6)) if objects is not None else None
    return preds, target, objects, areas, classes


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(st.lists(pictures(), min_size=1, max_size=3))
def test_counts_follow_the_definition_and_add_up_to_the_confusion_matrix(cases):
    classes = max(case[-1] for case in cases)
    metric, tensors, matrix = SizedIoU(classes, BOUNDS), SizedIoU(classes, BOUNDS), ConfusionMatrix(classes)
    wanted = np.zeros((4, classes, 4), int)
    for preds, target, objects, areas, _ in cases:
        metric.update(preds, target, objects, areas)
        tensors.update(torch.from_numpy(preds), torch.from_numpy(target),
                       torch.from_numpy(objects) if objects is not None else None, areas)
        matrix.update(preds, target)
        wanted += by_definition(preds, target, objects, areas, classes)
    assert np.array_equal(metric.counts.numpy(), wanted)
    assert torch.equal(metric.counts, tensors.counts)
    found, whole = metric.compute(), matrix.matrix()
    hits, truth, predicted = whole.diag()[1:], whole.sum(1)[1:], whole.sum(0)[1:]
    assert torch.equal(found.hits.sum(1)[1:], hits)
    assert torch.equal(found.support.sum(1)[1:], truth)
    assert torch.equal(found.false_positives.sum(1)[1:], predicted - hits)
    union = found.support + found.false_positives
    assert torch.equal(found.iou.isnan(), union == 0)
    assert torch.allclose(found.iou.nan_to_num() * union, found.hits.double())
    assert not found.hits[0].any() and found.iou[0].isnan().all()


def test_nearest_is_exact_in_large_pictures():
    """A false pixel whose two objects differ by less than what approximate distances are off."""
    target = np.zeros((400, 500), np.uint8)
    target[10:20, 10:20] = 1  # 100 pixels, small; corner (19, 19)
    target[300:340, 100:140] = 1  # 1600 pixels, medium
    preds = target.copy()
    rows, columns = np.mgrid[:400, :500]
    to_small = (rows - np.clip(rows, 10, 19)) ** 2 + (columns - np.clip(columns, 10, 19)) ** 2
    to_medium = (rows - np.clip(rows, 300, 339)) ** 2 + (columns - np.clip(columns, 100, 139)) ** 2
    preds[abs(to_small - to_medium) < 60] = 1
    metric = SizedIoU(2)
    metric.update(preds, target)
    false = (preds == 1) & (target == 0)
    assert false.sum() > 50
    assert metric.compute().false_positives[1].tolist() == [
        int((false & (to_small <= to_medium)).sum()), int((false & (to_small > to_medium)).sum()), 0, 0]


def test_bounds_are_those_of_coco():
    target = np.zeros((100, 400), np.uint8)
    target[:33, :31] = 1  # 1023
    target[:32, 50:82] = 1  # 1024
    target[:95, 100:197] = 1  # 9215
    target[:96, 200:296] = 1  # 9216
    metric = SizedIoU(PETS)
    metric.update(target, target)
    assert metric.compute().objects[1].tolist() == [1, 2, 1, 0]
    assert metric.compute().iou[1].tolist()[:3] == [1, 1, 1]


def test_objects_may_touch_and_may_be_partly_hidden():
    """Two cats that touch are one component, but two objects; one is larger than what is seen of it."""
    target = np.ones((4, 8), np.uint8)
    objects = np.repeat([[1, 2]], 4, axis=1).repeat(4, axis=0)  # (4, 8): left half 1, right half 2
    metric = SizedIoU(2, bounds=(20,))
    metric.update(target, target, objects, areas=[16, 400])
    assert metric.compute().buckets == ("< 20", ">= 20", "none")
    assert metric.compute().objects[1].tolist() == [1, 1, 0]
    connected = SizedIoU(2, bounds=(20,))
    connected.update(target, target)
    assert connected.compute().objects[1].tolist() == [0, 1, 0]


def test_false_alarms_have_a_bucket_of_their_own():
    metric = SizedIoU(3)
    preds = np.array([[1, 1, 2]])
    metric.update(preds, np.array([[0, 0, 2]]))
    found = metric.compute()
    assert found.false_positives[1].tolist() == [0, 0, 0, 2]
    assert found.iou[1, 3] == 0 and found.iou[2, 0] == 1 and found.miou.nan_to_num(-1).tolist() == [1, -1, -1, 0]
    assert found.table(PETS).splitlines()[1].split() == ["cat", "nan", "(0)", "nan", "(0)", "nan", "(0)", "2"]


def test_bad_arguments_are_named():
    zeros = np.zeros((2, 2), np.uint8)
    for bounds in ((), (0, 4), (4, 4), (9, 4)):
        with pytest.raises(ArgumentError, match="bounds"):
            SizedIoU(2, bounds)
    metric = SizedIoU(2)
    with pytest.raises(ArgumentError, match="one picture"):
        metric.update(zeros[None], zeros[None])
    with pytest.raises(ArgumentError, match="fit"):
        metric.update(zeros, np.zeros((2, 3), np.uint8))
    with pytest.raises(ArgumentError, match=r"2(.|\n)*0 to 1"):
        metric.update(zeros + 2, zeros)
    for objects in (zeros[:1], zeros - 1.0, zeros.astype(int) - 1):
        with pytest.raises(ArgumentError, match="objects"):
            metric.update(zeros, zeros, objects)
    for areas in ([], [-1.0]):
        with pytest.raises(ArgumentError, match="areas"):
            metric.update(zeros, zeros, zeros + 1, areas)
    with pytest.raises(ArgumentError, match="label set"):
        metric.compute().table(PETS)
    assert not metric.counts.any()
