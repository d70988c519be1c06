"""The confusion matrix and its scores, against torchmetrics, a plain loop, and numbers worked out by hand."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from seglab.errors import ArgumentError
from seglab.labels import CAMVID, DRONE, PETS
from seglab.metrics import ConfusionMatrix, SegmentationScores, confusion_matrix, predictions, scores

INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64)


def random_ids(classes: int, shape: tuple[int, ...], seed: int = 0, ignored: float = 0.1) -> tuple:
    """Predicted and true ids, int64; the truth is 255 for a share of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    preds = torch.randint(0, classes, shape, generator=generator)
    target = torch.randint(0, classes, shape, generator=generator)
    return preds, target.masked_fill(torch.rand(shape, generator=generator) < ignored, 255)


def loop(preds: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    """The definition, pixel by pixel."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for p, t in zip(preds.ravel().tolist(), target.ravel().tolist(), strict=True):
        if t != 255:
            matrix[t, p] += 1
    return matrix


@st.composite
def ids(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    classes = draw(st.integers(1, 6))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=5))
    dtype = draw(st.sampled_from((np.uint8, np.int16, np.int32, np.int64, np.uint16)))
    preds = draw(hnp.arrays(dtype, shape, elements=st.integers(0, classes - 1)))
    target = draw(hnp.arrays(dtype, shape, elements=st.sampled_from([*range(classes), 255])))
    return preds, target, classes


matrices = st.integers(1, 6).flatmap(lambda c: hnp.arrays(
    np.int64, (c, c), elements=st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 2**40))))


# ---------------------------------------------------------------- counting


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(ids())
def test_matrix_is_that_of_the_plain_loop(case):
    preds, target, classes = case
    assert confusion_matrix(preds, target, classes).tolist() == loop(preds, target, classes).tolist()


@pytest.mark.parametrize("classes", [1, 2, 21, 127, 128, 129, 254])
def test_matrix_is_that_of_the_plain_loop_for_any_number_of_classes(classes):
    # 128 classes are the most for which the index fits 16 bits.
    preds, target = random_ids(classes, (2, 40, 50))
    preds[0, 0, :2], target[0, 0, :2] = classes - 1, torch.tensor([classes - 1, 255])
    assert confusion_matrix(preds, target, classes).tolist() == loop(preds, target, classes).tolist()


def test_pictures_larger_than_a_block():
    preds, target = random_ids(21, (2, 200, 201))  # 80,400 pixels: two blocks and a rest
    expected = loop(preds.numpy(), target.numpy(), 21).tolist()
    metric = ConfusionMatrix(21)
    metric.update(preds, target)
    assert metric.matrix().tolist() == expected
    target[0, 0, 0] = target[-1, -1, -1] = 300  # the first and the last block
    with pytest.raises(ArgumentError, match=r"^target: .*\n.*id 300 \(pixels: 2\)"):
        metric.update(preds, target)
    preds[-1, -1, -1] = 21
    with pytest.raises(ArgumentError, match=r"^preds: .*\n.*id 21 \(pixels: 1\)"):
        metric.update(preds, target.clamp(max=20))
    assert metric.matrix().tolist() == expected


@pytest.mark.parametrize("preds_dtype", INTEGERS)
@pytest.mark.parametrize("target_dtype", INTEGERS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 5, 7)])
def test_every_shape_and_integer_dtype(preds_dtype, target_dtype, shape):
    preds, target = random_ids(4, shape, ignored=0.3)
    found = confusion_matrix(preds.to(preds_dtype), target.to(target_dtype), 4)
    assert found.dtype == torch.int64
    assert found.tolist() == loop(preds.numpy(), target.numpy(), 4).tolist()


def test_bool_and_int8_and_strange_numpy_arrays():
    preds, target = random_ids(2, (6, 8))
    expected = loop(preds.numpy(), target.numpy(), 2).tolist()
    assert confusion_matrix(preds.bool(), target, 2).tolist() == expected
    assert confusion_matrix(preds.to(torch.int8), target, 2).tolist() == expected
    read_only = target.numpy().astype(np.uint8)
    read_only.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert confusion_matrix(preds.numpy(), read_only, 2).tolist() == expected
        assert confusion_matrix(preds.numpy()[::-1, ::-1], read_only[::-1, ::-1], 2).tolist() == expected
        for mirrored in (np.zeros((1, 4), np.uint8)[::-1], np.zeros((3, 1), np.int64)[:, ::-1]):  # NumPy: contiguous
            assert confusion_matrix(mirrored, mirrored, 2)[0, 0] == mirrored.size


def test_non_contiguous_ids():
    preds, target = random_ids(5, (3, 8, 10))
    expected = loop(preds.numpy()[:, ::2, 1:], target.numpy()[:, ::2, 1:], 5).tolist()
    assert confusion_matrix(preds[:, ::2, 1:], target[:, ::2, 1:], 5).tolist() == expected
    swapped = target.transpose(1, 2).contiguous().transpose(1, 2)
    assert confusion_matrix(preds, swapped, 5).tolist() == loop(preds.numpy(), target.numpy(), 5).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_logits_in_every_layout(dtype):
    logits = torch.randn((2, 5, 6, 8), generator=torch.Generator().manual_seed(1)).to(dtype)
    _, target = random_ids(5, (2, 6, 8))
    expected = loop(logits.argmax(1).numpy(), target.numpy(), 5).tolist()
    strided = torch.zeros((2, 5, 6, 16), dtype=dtype)[..., ::2].copy_(logits)
    for x in (logits, logits.contiguous(memory_format=torch.channels_last), strided):
        assert confusion_matrix(x, target, 5).tolist() == expected
    one = loop(logits[0].argmax(0).numpy(), target[0].numpy(), 5).tolist()
    assert confusion_matrix(logits[0], target[0], 5).tolist() == one


def test_inputs_are_left_alone():
    preds, target = random_ids(3, (4, 5))
    logits = torch.randn(3, 4, 5, requires_grad=True)
    copies = preds.clone(), target.clone(), logits.detach().clone()
    metric = ConfusionMatrix(3)
    metric.update(preds, target)
    metric.update(logits, target)
    metric._count_without_waiting(preds, target)
    assert all(torch.equal(a, b) for a, b in zip((preds, target, logits.detach()), copies, strict=True))


def test_streaming_is_all_at_once():
    preds, target = random_ids(6, (7, 10, 11))
    whole, parts = ConfusionMatrix(6), [ConfusionMatrix(6) for _ in range(3)]
    whole.update(preds, target)
    for part, p, t in zip(parts, preds.split(3), target.split(3), strict=True):
        for one_p, one_t in zip(p, t, strict=True):
            part.update(one_p, one_t)
    assert torch.equal(sum(p.counts for p in parts), whole.counts)  # what an all-reduce does
    parts[0].reset()
    assert parts[0].matrix().sum() == 0


def test_more_pixels_than_32_bits():
    metric = ConfusionMatrix(2)
    metric.update(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 0]]))
    metric.counts *= 2**33
    metric.update(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 0]]))
    assert metric.matrix().tolist() == [[2**33 + 1, 2**33 + 1], [0, 2**33 + 1]]
    assert metric.compute().miou == 0.5
    assert metric.compute().pixel_accuracy == pytest.approx(2 / 3)


def test_made_under_inference_mode_and_used_outside():
    with torch.inference_mode():
        metric = ConfusionMatrix(2)
        metric.update(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.uint8))
    metric.update(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.uint8))
    assert metric.matrix().tolist() == [[18, 0], [0, 0]]


def test_label_set_gives_the_number_of_classes():
    assert ConfusionMatrix(DRONE).num_classes == 23


def test_no_pixels_at_all():
    for shape in ((0, 4, 4), (1, 0, 4)):
        target = torch.zeros(shape, dtype=torch.uint8)
        assert confusion_matrix(target, target, 3).sum() == 0
        assert confusion_matrix(torch.zeros((shape[0], 3, *shape[1:])), target, 3).sum() == 0


# ---------------------------------------------------------------- ids that are no class


def waiting(metric: ConfusionMatrix, preds: torch.Tensor, target: torch.Tensor) -> None:
    metric.update(preds, target)


def without_waiting(metric: ConfusionMatrix, preds: torch.Tensor, target: torch.Tensor) -> None:
    metric._count_without_waiting(preds, target)


STRAYS = [(where, dtype, stray) for where, dtype, stray in itertools.product(
    ("preds", "target"), INTEGERS,
    (3, 100, 254, 255, 256, 300, 65536, 65537, 2**32 + 1, 2**40, -1, -255, -(2**33)))
    if torch.iinfo(dtype).min <= stray <= torch.iinfo(dtype).max and (where, stray) != ("target", 255)]


@pytest.mark.parametrize("count", [waiting, without_waiting])
@pytest.mark.parametrize(("where", "dtype", "stray"), STRAYS)
def test_ids_outside_are_named_and_counted(count, where, dtype, stray):
    batch = {name: torch.ones((2, 3), dtype=dtype) for name in ("preds", "target")}
    batch[where][0, :2] = stray
    metric = ConfusionMatrix(3)
    name = stray
    if count is without_waiting:  # with no look at the values, ids beyond a byte share one name
        name = "above 255" if stray > 255 else "below 0" if stray < 0 else stray
    message = rf"^{where}: .*\n.*id {name} \(pixels: 2\)\n"
    if count is waiting:
        with pytest.raises(ArgumentError, match=message):
            metric.update(batch["preds"], batch["target"])
    else:
        count(metric, batch["preds"], batch["target"])
        with pytest.raises(ArgumentError, match=message):
            metric.compute()
    # Nothing of it may sit among the classes.
    assert metric.counts[:3, :3].sum() == (0 if count is waiting else 4)


def test_a_refused_batch_leaves_the_state_as_it_was():
    metric = ConfusionMatrix(3)
    metric.update(torch.ones((2, 2), dtype=torch.uint8), torch.ones((2, 2), dtype=torch.uint8))
    bad = torch.tensor([[0, 1], [2, 9]])
    for preds, target in ((bad, bad.clamp(max=2)), (bad.clamp(max=2), bad)):
        with pytest.raises(ArgumentError, match=r"id 9 \(pixels: 1\)"):
            metric.update(preds, target)
    assert metric.compute().matrix.tolist() == [[0, 0, 0], [0, 4, 0], [0, 0, 0]]


def test_stray_prediction_at_an_ignored_pixel_is_named_too():
    with pytest.raises(ArgumentError, match=r"^preds: .*\n.*255 \(pixels: 1\)"):
        confusion_matrix(np.array([[255, 0]]), np.array([[255, 0]]), 2)


def test_many_stray_ids_are_cut_short():
    with pytest.raises(ArgumentError, match=r"id 3 \(pixels: 1\).*10 \(pixels: 1\) and 12 more ids"):
        confusion_matrix(np.arange(23)[None], np.zeros((1, 23), dtype=int), 3)


@settings(deadline=None, max_examples=60)
@given(ids())
def test_both_ways_of_counting_agree(case):
    preds, target, classes = case
    preds, target = (torch.from_numpy(x.astype(np.int64)) for x in (preds, target))
    one, other = ConfusionMatrix(classes), ConfusionMatrix(classes)
    waiting(one, preds, target)
    without_waiting(other, preds, target)
    assert torch.equal(one.counts, other.counts)


def test_update_on_cuda_never_waits():
    # Fake tensors have no values, so that anything which would fetch one from the GPU is refused.
    with FakeTensorMode():
        metric = ConfusionMatrix(5, device="cuda")
        target = torch.zeros((2, 6, 8), dtype=torch.uint8, device="cuda")
        for dtype in INTEGERS:
            metric.update(torch.zeros((2, 6, 8), dtype=dtype, device="cuda"), target.to(dtype))
        for dtype in (torch.float32, torch.bfloat16):
            metric.update(torch.zeros((2, 5, 6, 8), dtype=dtype, device="cuda"), target)
        metric.reset()
        with pytest.raises(DataDependentOutputException):  # so the check above can fail
            bool(metric.counts.any())


@pytest.mark.parametrize(("preds", "target"), [
    (torch.zeros(2, 4, 5, dtype=torch.uint8), torch.zeros(2, 5, 4, dtype=torch.uint8)),
    (torch.zeros(1, 4, 5, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)),
    (torch.zeros(2, 3, 4, 5), torch.zeros(2, 8, 10, dtype=torch.uint8)),  # not resized
    (torch.zeros(2, 4, 4, 5), torch.zeros(2, 4, 5, dtype=torch.uint8)),  # four channels, three classes
    (torch.zeros(2, 4, 5), torch.zeros(2, 4, 5, dtype=torch.uint8)),  # floating ids
    (torch.zeros(3, 4), torch.zeros(4, dtype=torch.uint8)),
    (torch.zeros(4, 5, dtype=torch.uint8), torch.zeros(4, 5)),  # floating target
    (torch.zeros(20, dtype=torch.uint8), torch.zeros(20, dtype=torch.uint8)),
])
def test_shapes_and_dtypes_that_do_not_fit(preds, target):
    with pytest.raises(ArgumentError) as error:
        ConfusionMatrix(3).update(preds, target)
    for part in ("found:", "expected:", "next:", str(tuple(preds.shape)), str(tuple(target.shape))):
        assert part in str(error.value)


def test_other_wrong_arguments():
    with pytest.raises(ArgumentError, match="list"):
        confusion_matrix([[0, 1]], np.array([[0, 1]]), 2)
    for classes in (0, 256, -1):
        with pytest.raises(ArgumentError, match="num_classes"):
            ConfusionMatrix(classes)
    for matrix in (np.zeros((2, 3), int), np.zeros((2, 2)), np.array([[-1]]), np.zeros(4, int)):
        with pytest.raises(ArgumentError, match="confusion matrix"):
            scores(matrix)


# ---------------------------------------------------------------- predictions


@pytest.mark.parametrize("classes", [2, 3, 11, 21, 256])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_predictions_are_argmax_with_ties_and_infinities(classes, layout, dtype):
    generator = torch.Generator().manual_seed(classes)
    # Few different values: nearly every pixel has a tie. -0.0 equals 0.0, and whole pixels are -inf.
    values = torch.tensor([-math.inf, -1.0, -0.0, 0.0, 1.0, math.inf], dtype=dtype)
    for few in (values, values[:1], values[2:4], values[:3]):
        logits = few[torch.randint(0, len(few), (2, classes, 9, 17), generator=generator)]
        logits = logits.contiguous(memory_format=layout)
        found = predictions(logits)
        assert found.dtype == torch.uint8
        assert torch.equal(found.long(), logits.argmax(1))
        assert torch.equal(predictions(logits[1]).long(), logits[1].argmax(0))
    distinct = torch.randn((2, classes, 9, 17), generator=generator).to(dtype).contiguous(memory_format=layout)
    assert torch.equal(predictions(distinct).long(), distinct.argmax(1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_predictions_with_nan_are_argmax(layout):
    # Every arrangement of four values over four channels: a pixel each.
    rows = torch.tensor(list(itertools.product((math.nan, -math.inf, 0.0, math.inf), repeat=4)))  # (256, 4)
    logits = rows.T.reshape(1, 4, 16, 16).contiguous(memory_format=layout)
    expected = [next((i for i, v in enumerate(row) if v != v), max(range(4), key=row.__getitem__))
                for row in rows.tolist()]  # the first NaN, or else the first largest
    assert predictions(logits).flatten().tolist() == expected == logits.argmax(1).flatten().tolist()


def test_predictions_of_pictures_larger_than_a_block():
    logits = torch.randn((2, 21, 200, 331), generator=torch.Generator().manual_seed(0))  # 2 blocks and a rest
    for x in (logits, logits[1], logits[..., ::2, 3:], logits.transpose(2, 3)):
        assert torch.equal(predictions(x).long(), x.argmax(-3))
    logits[1, 4, -1, -1] = math.nan  # in the last block only
    assert torch.equal(predictions(logits).long(), logits.argmax(1))
    assert predictions(logits)[1, -1, -1] == 4


@pytest.mark.parametrize("logits", [torch.zeros(2, 3, 4, 5, dtype=torch.int64), torch.zeros(4, 5),
                                    torch.zeros(1, 257, 1, 1), torch.zeros(1, 0, 2, 2)])
def test_predictions_refuses_what_is_not_logits(logits):
    with pytest.raises(ArgumentError, match="logits"):
        predictions(logits)


def test_one_channel_says_nothing_and_is_refused_with_the_way_out():
    for count in (predictions, lambda x: ConfusionMatrix(1).update(x, torch.zeros(2, 2, dtype=torch.uint8))):
        with pytest.raises(ArgumentError, match=r"2 to 256 classes(.|\n)*two channels, background and object"):
            count(torch.zeros(1, 2, 2))


# ---------------------------------------------------------------- scores


def test_scores_worked_out_by_hand():
    found = scores(torch.tensor([[4, 1, 0], [2, 2, 0], [0, 1, 0]]))
    # truth 5, 4, 1; predicted 6, 4, 0; hits 4, 2, 0; unions 7, 6, 1.
    assert found.support.tolist() == [5, 4, 1]
    assert found.pixel_accuracy == pytest.approx(6 / 10)
    assert found.class_accuracy.tolist() == pytest.approx([4 / 5, 2 / 4, 0])
    assert found.mean_class_accuracy == pytest.approx((4 / 5 + 2 / 4) / 3)
    assert found.iou.tolist() == pytest.approx([4 / 7, 2 / 6, 0])
    assert found.miou == pytest.approx((4 / 7 + 2 / 6) / 3)
    assert found.frequency_weighted_iou == pytest.approx((5 * 4 / 7 + 4 * 2 / 6 + 0) / 10)
    assert found.dice.tolist() == pytest.approx([8 / 11, 4 / 8, 0])
    assert found.mean_dice == pytest.approx((8 / 11 + 4 / 8) / 3)
    assert {x.dtype for x in (found.class_accuracy, found.iou, found.dice)} == {torch.float64}
    assert found.matrix.dtype == found.support.dtype == torch.int64


def test_rows_are_the_truth():
    metric = ConfusionMatrix(2)
    metric.update(preds=torch.tensor([[1]]), target=torch.tensor([[0]]))
    assert metric.compute().matrix.tolist() == [[0, 1], [0, 0]]


def test_absent_classes_are_nan_and_stay_out_of_the_means():
    # Class 1 is nowhere, class 2 is only predicted, class 3 only true.
    found = scores(torch.tensor([[6, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]]))
    assert found.iou.tolist() == pytest.approx([0.6, math.nan, 0, 0], nan_ok=True)
    assert found.dice.tolist() == pytest.approx([0.75, math.nan, 0, 0], nan_ok=True)
    assert found.class_accuracy.tolist() == pytest.approx([0.75, math.nan, math.nan, 0], nan_ok=True)
    assert found.miou == pytest.approx(0.2)
    assert found.mean_dice == pytest.approx(0.25)
    assert found.mean_class_accuracy == pytest.approx(0.375)
    assert found.frequency_weighted_iou == pytest.approx(0.48)


def test_nothing_to_score_is_nan_without_a_warning():
    metric = ConfusionMatrix(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8))
        found = metric.compute()
        text = found.table(PETS)
    assert found.matrix.sum() == 0
    assert found.support.tolist() == [0, 0, 0]
    assert all(math.isnan(x) for x in found.as_dict().values())
    assert all(x.isnan().all() for x in (found.iou, found.dice, found.class_accuracy))
    assert "nan" in text


def test_perfect_prediction_is_one():
    target = torch.arange(23, dtype=torch.uint8).repeat(2, 4, 1)
    target[0, 0] = 255
    metric = ConfusionMatrix(23)
    metric.update(torch.where(target == 255, 0, target), target)
    assert set(metric.compute().as_dict().values()) == {1.0}


def test_entirely_wrong_is_zero():
    assert set(scores(torch.tensor([[0, 4], [3, 0]])).as_dict().values()) == {0.0}


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(matrices, st.randoms(use_true_random=False))
def test_properties_of_scores(matrix, random):
    found = scores(matrix)
    for value in found.as_dict().values():
        assert isinstance(value, float)
        assert (math.isnan(value) or 0 <= value <= 1)
    for values in (found.iou, found.dice, found.class_accuracy):
        assert ((values >= 0) & (values <= 1) | values.isnan()).all()
    torch.testing.assert_close(found.dice, 2 * found.iou / (1 + found.iou), equal_nan=True, rtol=1e-12, atol=0)
    assert math.isnan(found.miou) == (matrix.sum() == 0)
    order = list(range(len(matrix)))
    random.shuffle(order)
    moved = scores(matrix[np.ix_(order, order)])
    assert torch.equal(moved.iou.nan_to_num(-1), found.iou[order].nan_to_num(-1))
    assert moved.as_dict() == pytest.approx(found.as_dict(), nan_ok=True)
    mirrored = scores(matrix.T.copy())  # IoU does not know which of the two is the truth
    assert torch.equal(mirrored.iou.nan_to_num(-1), found.iou.nan_to_num(-1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_torchmetrics(seed):
    classification = pytest.importorskip("torchmetrics.classification")
    classes = 7
    preds, target = random_ids(classes, (3, 20, 30), seed=seed)
    preds = torch.where(torch.rand(preds.shape, generator=torch.Generator().manual_seed(seed)) < 0.6,
                        target.where(target != 255, preds), preds)
    metric = ConfusionMatrix(classes)
    metric.update(preds, target)
    found = metric.compute()
    options = {"num_classes": classes, "ignore_index": 255}

    def referee(name: str, **more: str) -> torch.Tensor:
        return getattr(classification, name)(**options, **more)(preds, target).double()

    assert torch.equal(referee("MulticlassConfusionMatrix").long(), found.matrix)
    for name, values, kind in (
            ("MulticlassJaccardIndex", found.iou, "none"), ("MulticlassJaccardIndex", found.miou, "macro"),
            ("MulticlassJaccardIndex", found.frequency_weighted_iou, "weighted"),
            ("MulticlassAccuracy", found.class_accuracy, "none"),
            ("MulticlassAccuracy", found.mean_class_accuracy, "macro"),
            ("MulticlassAccuracy", found.pixel_accuracy, "micro"),
            ("MulticlassF1Score", found.dice, "none"), ("MulticlassF1Score", found.mean_dice, "macro")):
        expected = torch.as_tensor(values, dtype=torch.float64)
        torch.testing.assert_close(referee(name, average=kind), expected, rtol=1e-5, atol=1e-6)  # its floats are 32 bit


def test_as_dict_has_plain_floats():
    found = scores(torch.tensor([[3, 1], [2, 4]])).as_dict()
    assert list(found) == ["pixel_accuracy", "mean_class_accuracy", "miou", "frequency_weighted_iou", "mean_dice"]
    assert {type(x) for x in found.values()} == {float}


def test_scores_are_frozen():
    found = scores(torch.tensor([[1]]))
    assert isinstance(found, SegmentationScores)
    with pytest.raises(AttributeError):
        found.miou = 1.0


def test_table():
    found = scores(torch.tensor([[6, 2, 0], [0, 2, 0], [0, 0, 0]]))
    assert found.table(PETS).splitlines() == [
        "class       pixels  accuracy    IoU",
        "background   80.0%     0.750  0.750",
        "cat          20.0%     1.000  0.500",
        "dog           0.0%       nan    nan",
        "mean                   0.875  0.625",
        "pixel accuracy 0.800, frequency-weighted IoU 0.700, mean Dice 0.762",
    ]
    with pytest.raises(ArgumentError, match=r"11 classes(.|\n)*3, as in"):
        found.table(CAMVID)
