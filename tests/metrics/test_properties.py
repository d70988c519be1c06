"""What holds for scores of any prediction of any truth: sums, symmetries, bounds, and what a perfect one gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seglab.metrics import (
    BandMatrix,
    ConfusionMatrix,
    SizedIoU,
    boundary_distance,
    calibration,
    classification_scores,
    confusion_matrix,
    scores,
)
from tests.properties import examples


@st.composite
def batches(draw: st.DrawFn, largest: int = 6, side: int = 7) -> tuple[np.ndarray, np.ndarray, int]:
    """Predicted and true ids, (N, H, W), and C. Some classes occur nowhere, and a batch may be ignored as a whole."""
    classes = draw(st.integers(2, largest))
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=side))
    some = draw(st.lists(st.sampled_from([*range(classes), 255]), min_size=1, max_size=4))
    preds = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, classes - 1)))
    return preds, draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from(some))), classes


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))


@examples(60)
@given(batches(), st.randoms(use_true_random=False), st.booleans())
def test_parts_in_any_order_and_in_several_processes_are_the_whole(case, random, as_logits):
    preds, target, classes = case
    pictures = list(zip(preds, target, strict=True))
    random.shuffle(pictures)
    metrics = [ConfusionMatrix(classes) for _ in range(3)]
    for one, truth in pictures:
        given_as = np.float32(np.arange(classes)[:, None, None] == one) if as_logits else one.astype(np.int64)
        random.choice(metrics).update(given_as, truth)
    for metric in metrics[1:]:
        metrics[0].counts += metric.counts
    assert torch.equal(metrics[0].matrix(), confusion_matrix(preds, target, classes))


@examples(60)
@given(batches(), st.randoms(use_true_random=False))
def test_names_of_classes_and_places_of_pixels_do_not_matter(case, random):
    preds, target, classes = case
    matrix = confusion_matrix(preds, target, classes)
    renamed = np.arange(256)
    renamed[:classes] = random.sample(range(classes), classes)
    moved = confusion_matrix(renamed[preds], renamed[target], classes)
    assert torch.equal(moved[renamed[:classes]][:, renamed[:classes]], matrix)
    order = random.sample(range(preds.size), preds.size)
    mixed = [ids.ravel()[order].reshape(ids.shape[::-1]) for ids in (preds, target)]
    assert torch.equal(confusion_matrix(*mixed, classes), matrix)


@examples(60)
@given(batches(), st.integers(0, 2**31))
def test_what_is_predicted_where_the_truth_is_ignored_changes_nothing(case, seed):
    (truth, *_), (said, *_), classes = case[1], case[0], case[2]
    noise = np.random.default_rng(seed).integers(0, classes, said.shape).astype(np.uint8)
    counts = []
    for one in (said, np.where(truth == 255, noise, said)):
        metrics = ConfusionMatrix(classes), BandMatrix(classes, (1, 2)), SizedIoU(classes, (3, 7))
        for metric in metrics:
            metric.update(one, truth)
        counts.append(torch.stack([metrics[0].matrix(), *(ring.matrix() for ring in metrics[1].rings)]))
        counts.append(metrics[2].counts)
    assert torch.equal(counts[0], counts[2]) and torch.equal(counts[1], counts[3])


@examples(80)
@given(batches())
def test_scores_lie_in_0_to_1_and_are_nan_just_where_a_class_is_absent(case):
    preds, target, classes = case
    found = scores(confusion_matrix(preds, target, classes))
    scored = target != 255
    true = torch.tensor([int((target == c).sum()) for c in range(classes)])
    said = torch.tensor([int((preds[scored] == c).sum()) for c in range(classes)])
    assert torch.equal(found.support, true)
    for values, absent in ((found.iou, true + said == 0), (found.dice, true + said == 0),
                           (found.class_accuracy, true == 0)):
        assert torch.equal(values.isnan(), absent)
        assert ((values >= 0) & (values <= 1))[~absent].all()
    met = ~found.iou.isnan()
    assert (found.iou <= found.dice)[met].all()
    assert (found.iou <= found.class_accuracy)[true > 0].all()
    assert (found.dice <= 2 * found.iou)[met].all()
    for value in found.as_dict().values():
        assert 0 <= value <= 1 if scored.any() else value != value
    if scored.any():
        assert found.pixel_accuracy == pytest.approx(float((preds == target)[scored].mean()))
        assert found.miou == pytest.approx(found.iou[met].mean().item())
        # Over the true pixels: an IoU is at most the class's accuracy, so its weighted mean at most the pixels'.
        assert found.frequency_weighted_iou <= found.pixel_accuracy + 1e-12


@examples(60)
@given(batches())
def test_a_perfect_prediction_gets_1_everywhere(case):
    preds, target, classes = case
    assume((target != 255).any())
    perfect = np.where(target == 255, preds, target)
    found = scores(confusion_matrix(perfect, target, classes))
    assert set(found.as_dict().values()) == {1.0}
    present = found.support > 0
    assert (found.iou[present] == 1).all() and found.iou[~present].isnan().all()
    band, sized = BandMatrix(classes, (1, 3)), SizedIoU(classes, (4, 9))
    band.update(perfect, target)
    for said, truth in zip(perfect, target, strict=True):
        sized.update(said, truth)
    assert {x for x in (*band.compute().pixel_accuracy, band.compute().beyond.pixel_accuracy) if x == x} <= {1.0}
    iou = sized.compute().iou
    assert (iou[~iou.isnan()] == 1).all() and not sized.compute().false_positives.any()


@pytest.mark.slow
@examples(25)
@given(batches())
def test_scores_agree_with_torchmetrics_where_it_has_one(case):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    preds, target, classes = case
    assume((target != 255).any())
    found = scores(confusion_matrix(preds, target, classes))
    inputs = torch.from_numpy(preds).long(), torch.from_numpy(target).long(), classes

    def referee(name: str, average: str) -> torch.Tensor:
        return getattr(functional, name)(*inputs, average=average, ignore_index=255).double()

    assert torch.equal(functional.multiclass_confusion_matrix(*inputs, ignore_index=255), found.matrix)
    met = ~found.iou.isnan()  # elsewhere, it says 0
    for name, values, where in (("multiclass_jaccard_index", found.iou, met), ("multiclass_f1_score", found.dice, met),
                                ("multiclass_accuracy", found.class_accuracy, found.support > 0)):
        torch.testing.assert_close(referee(name, "none")[where], values[where], rtol=1e-5, atol=1e-6)
    assert referee("multiclass_accuracy", "micro").item() == pytest.approx(found.pixel_accuracy, rel=1e-5)
    assert referee("multiclass_jaccard_index", "macro").item() == pytest.approx(found.miou, rel=1e-5)


TURNS = (lambda a: a[:, ::-1], lambda a: a[:, :, ::-1], lambda a: a.swapaxes(1, 2))


@examples(60)
@given(batches(), st.sampled_from(TURNS), st.sampled_from([(1,), (1, 2), (1.5, 3, 100)]))
def test_bands_grow_add_up_to_the_whole_and_do_not_depend_on_the_side_from_which_one_looks(case, turn, widths):
    preds, target, classes = case
    metric, turned = BandMatrix(classes, widths), BandMatrix(classes, widths)
    metric.update(preds, target)
    turned.update(turn(preds), turn(target))
    found, other = metric.compute(), turned.compute()
    assert torch.equal(found.total.matrix, confusion_matrix(preds, target, classes))
    assert torch.equal(found.bands[-1].matrix + found.beyond.matrix, found.total.matrix)
    for narrow, wide in zip(found.bands, found.bands[1:], strict=False):
        assert (narrow.matrix <= wide.matrix).all()
    for one, two in zip((*found.bands, found.beyond), (*other.bands, other.beyond), strict=True):
        assert torch.equal(one.matrix, two.matrix)


@examples(40)
@given(batches(), st.randoms(use_true_random=False))
def test_distances_do_not_depend_on_the_ids_and_a_neighbour_is_never_much_farther(case, random):
    mask = case[1][0]
    distance = boundary_distance(mask)
    assert np.array_equal(boundary_distance(np.array(random.sample(range(1000), 256))[mask]), distance)
    assert (distance >= 1).all() and np.isinf(distance).all() == (len(np.unique(mask)) == 1)
    if np.isfinite(distance).all():
        for axis in (0, 1):
            assert (np.abs(np.diff(distance, axis=axis)) <= 1 + 1e-5).all()
            neighbours = np.diff(mask.astype(int), axis=axis) != 0
            assert (np.delete(distance, -1, axis)[neighbours] == 1).all()


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 3), (2, 3, 0), (0, 3), (0, 0)])
def test_a_batch_without_pixels_counts_nothing_near_outlines_either(shape):
    metric = BandMatrix(2, (1, 2))
    metric.update(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    assert int(metric.compute().total.matrix.sum()) == 0


@examples(60)
@given(batches(largest=4), st.sampled_from(TURNS), st.randoms(use_true_random=False), st.booleans())
def test_sizes_do_not_depend_on_sides_nor_on_the_order_of_pictures_nor_on_numbers_of_objects(case, turn, random, own):
    preds, target, classes = case
    objects = np.random.default_rng(random.randrange(99)).integers(0, 4, target.shape)
    areas = [random.randrange(12) for _ in range(3)]
    numbers = [0, *random.sample(range(1, 4), 3)]  # of the same objects, otherwise
    moved = [areas[numbers.index(k) - 1] for k in (1, 2, 3)]
    metric, other = SizedIoU(classes, (3, 7)), SizedIoU(classes, (3, 7))
    for said, truth, thing in zip(preds, target, objects, strict=True):
        metric.update(said, truth, *((thing, areas) if own else ()))
    rows = [turn(ids) for ids in (preds, target, np.array(numbers)[objects])]
    for i in random.sample(range(len(preds)), len(preds)):
        said, truth, thing = (ids[i] for ids in rows)
        other.update(said, truth, *((thing, moved) if own else ()))
    assert torch.equal(metric.counts, other.counts)


@examples(60)
@given(st.integers(2, 5).flatmap(lambda c: hnp.arrays(np.int64, (c, c), elements=st.integers(0, 9))))
def test_a_classifiers_scores_are_shares_of_rows_and_columns(matrix):
    found = classification_scores(matrix)
    for values, sums in ((found.recall, matrix.sum(1)), (found.precision, matrix.sum(0))):
        assert np.array_equal(values.isnan().numpy(), sums == 0)
        assert np.allclose(values.nan_to_num().numpy() * sums, np.diag(matrix) * (sums > 0))
    turned = classification_scores(matrix.T.copy())
    assert same(turned.recall, found.precision) and same(turned.precision, found.recall)
    assert "nan" in found.table() or (matrix.sum(0).all() and matrix.sum(1).all())


@examples(60)
@given(st.integers(1, 20), st.integers(2, 5), st.integers(1, 12), st.integers(0, 2**31), st.floats(0.01, 50))
def test_calibration_is_a_gap_of_shares_whatever_the_order(pictures, classes, bins, seed, sharpness):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(pictures, classes)) * sharpness
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    labels = generator.integers(0, classes, pictures)
    found = calibration(probabilities, labels, bins)
    assert found.counts.sum() == pictures and 0 <= found.error <= 1
    filled = found.counts > 0
    assert np.array_equal(np.isnan(found.accuracy), ~filled) and np.array_equal(np.isnan(found.confidence), ~filled)
    edges = np.arange(bins + 1) / bins
    assert ((found.confidence >= edges[:-1] - 1e-9) & (found.confidence <= edges[1:] + 1e-9))[filled].all()
    order = generator.permutation(pictures)
    assert calibration(probabilities[order], labels[order], bins).error == pytest.approx(found.error, abs=1e-12)
    one = calibration(probabilities, labels, 1)
    assert one.error <= found.error + 1e-12  # what is merged may cancel out
    sure = np.eye(classes)[labels]
    assert calibration(sure, labels, bins).error == 0
