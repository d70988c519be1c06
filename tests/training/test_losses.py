"""Losses: against formulas written out in NumPy, against finite differences, and where numbers get out of hand."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from seglab.errors import ArgumentError, CheckpointError
from seglab.metrics import confusion_matrix, scores
from seglab.training import LOSSES, cross_entropy, dice_loss, iou_loss, lovasz_loss, make_loss
from tests.properties import examples
from tests.training.runs import train

LOSS_FUNCTIONS = [
    pytest.param(loss, id=name) for name, loss in (
        *LOSSES.items(), ("weighted", functools.partial(cross_entropy, class_weights=(1.0, 0.3, 2.0))),
        ("ce+dice", make_loss("ce+dice")))]
every_loss = pytest.mark.parametrize("loss", LOSS_FUNCTIONS)


def batch(seed: int = 0, dtype: torch.dtype = torch.float64, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, C, 4, 5) and masks with some ignored pixels; the last class occurs in neither picture."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 4, 5, generator=generator, dtype=torch.float64).to(dtype)
    masks = torch.randint(0, classes - 1, (2, 4, 5), generator=generator).to(torch.uint8)
    masks[0, :2, :3] = 255
    return logits, masks


def by_formula(kind: str, logits: np.ndarray, masks: np.ndarray) -> float:
    """The losses as their papers write them, one class after the other."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    p = (e / e.sum(1, keepdims=True)).transpose(1, 0, 2, 3)[:, masks != 255]  # (C, valid pixels)
    y = masks[masks != 255]
    losses = []
    for c in np.unique(y):
        true = (y == c).astype(float)
        shared = (p[c] * true).sum()
        if kind == "dice":
            losses.append(1 - 2 * shared / (p[c].sum() + true.sum()))
        elif kind == "iou":
            losses.append(1 - shared / (p[c].sum() + true.sum() - shared))
        else:  # the Lovász extension: errors in falling order, times what each adds to 1 - IoU
            errors = np.abs(true - p[c])
            order = np.argsort(-errors)

            def without_first(k: int, true: np.ndarray = true, order: np.ndarray = order) -> float:
                wrong = np.zeros(len(true), bool)
                wrong[order[:k]] = True
                return 1 - (true * ~wrong).sum() / (true.sum() + ((1 - true) * wrong).sum())

            losses.append(sum(errors[i] * (without_first(k + 1) - without_first(k)) for k, i in enumerate(order)))
    return float(np.mean(losses))


@pytest.mark.parametrize(("kind", "loss"), [("dice", functools.partial(dice_loss, smooth=0)),
                                            ("iou", functools.partial(iou_loss, smooth=0)), ("lovasz", lovasz_loss)])
@pytest.mark.parametrize("seed", range(4))
def test_region_losses_follow_their_formulas(kind, loss, seed):
    logits, masks = batch(seed)
    want = by_formula(kind, logits.numpy(), masks.numpy())
    assert loss(logits, masks).item() == pytest.approx(want, rel=1e-9)
    assert loss(logits.float(), masks).item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(("loss", "smooth", "expected"), [
    # Two pixels, both half and half: for each class, I = 1/2 and P = T = 1.
    (dice_loss, 0, 1 - 1 / 2), (dice_loss, 1, 1 - 2 / 3), (dice_loss, 2, 1 - 3 / 4), (dice_loss, 6, 1 - 7 / 8),
    (iou_loss, 0, 1 - 0.5 / 1.5), (iou_loss, 1, 1 - 1.5 / 2.5), (iou_loss, 2.5, 1 - 3 / 4), (iou_loss, 6.5, 1 - 7 / 8)])
def test_smoothing_is_added_above_and_below(loss, smooth, expected):
    masks = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    assert loss(torch.zeros(1, 2, 1, 3), masks, smooth=smooth).item() == pytest.approx(expected)
    perfect = 100 * torch.tensor([[[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]])
    assert loss(perfect, masks, smooth=smooth).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weights", [None, [1.0, 0.2, 3.0], torch.tensor([1.0, 0.0, 3.0])])
def test_cross_entropy_is_pytorchs_with_aux(weights):
    (out, masks), (aux, _) = batch(0, torch.float32), batch(1, torch.float32)
    tensor = torch.as_tensor(weights) if weights is not None else None
    want = sum(part * F.cross_entropy(logits, masks.long(), tensor, ignore_index=255)
               for part, logits in ((1, out), (0.5, aux)))
    assert torch.allclose(cross_entropy({"out": out, "aux": aux}, masks, class_weights=weights), want)


@every_loss
def test_aux_counts_by_its_weight(loss):
    (out, masks), (aux, _) = batch(0), batch(1)
    both = loss({"out": out, "aux": aux}, masks, aux_weight=0.3)
    assert torch.allclose(both, loss(out, masks) + 0.3 * loss(aux, masks))


@every_loss
def test_gradients_are_those_of_finite_differences(loss):
    logits, masks = batch()
    assert torch.autograd.gradcheck(lambda x: loss(x, masks), logits.requires_grad_())


@every_loss
def test_ignored_pixels_change_nothing_and_learn_nothing(loss):
    logits, masks = batch(dtype=torch.float32)
    changed = torch.where((masks == 255)[:, None], 50 * torch.randn_like(logits), logits)
    values, gradients = [], []
    for each in (logits, changed):
        each = each.clone().requires_grad_()
        value = loss(each, masks)
        value.backward()
        values.append(value)
        gradients.append(each.grad)
    assert values[0] > 0
    assert torch.allclose(*values, rtol=1e-6) and torch.allclose(*gradients, atol=1e-7)
    ignored = (masks == 255)[:, None].expand_as(logits)
    assert gradients[1][ignored].abs().max() == 0
    assert gradients[1][~ignored].abs().max() > 0


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_without_a_valid_pixel_loss_and_gradient_are_zero(loss, dtype):
    logits = torch.randn(1, 3, 4, 4).to(dtype).requires_grad_()
    value = loss({"out": logits, "aux": logits}, torch.full((1, 4, 4), 255, dtype=torch.uint8))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0
    pair, masks = batch(dtype=torch.float32)
    masks[0] = 255  # one of two pictures
    pair.requires_grad_()
    loss(pair, masks).backward()
    assert pair.grad[0].abs().max() == 0 < pair.grad[1].abs().max() < torch.inf


@pytest.mark.parametrize("loss", [functools.partial(dice_loss, smooth=0), functools.partial(iou_loss, smooth=0),
                                  functools.partial(cross_entropy, class_weights=[0, 0, 1])])
def test_nothing_over_nothing_is_no_nan(loss):
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    for masks in (torch.full((1, 2, 2), 255), torch.zeros(1, 2, 2)):
        value = loss(logits, masks.to(torch.uint8))
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite() and gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32(loss, dtype):
    torch.manual_seed(0)
    logits, masks = torch.randn(1, 3, 512, 512).to(dtype), torch.randint(0, 3, (1, 512, 512), dtype=torch.uint8)
    want = loss(logits.float(), masks)
    assert loss(logits, masks).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(logits, masks)
    for value in (loss(logits, masks), inside):
        assert value.item() == pytest.approx(want.item(), abs=1e-3)


@every_loss
def test_a_perfect_prediction_costs_nothing(loss):
    _, masks = batch()
    sure = 60 * F.one_hot(masks.long() % 255, 3).permute(0, 3, 1, 2).float()
    assert loss(sure, masks).item() == pytest.approx(0, abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), classes=st.integers(2, 5), ignored=st.booleans())
def test_for_hard_predictions_iou_and_lovasz_are_what_is_missing_to_the_miou(seed, classes, ignored):
    generator = torch.Generator().manual_seed(seed)
    truth, found = torch.randint(0, classes, (2, 2, 3, 4), generator=generator).to(torch.uint8)
    if ignored:
        truth[torch.rand(truth.shape, generator=generator) < 0.4] = 255
    hard = 200 * F.one_hot(found.long(), classes).permute(0, 3, 1, 2).float()
    matrix = confusion_matrix(found, truth, classes)
    present = matrix.sum(1) > 0
    want = 1 - scores(matrix).iou[present].mean().item() if present.any() else 0
    assert lovasz_loss(hard, truth).item() == pytest.approx(want, abs=1e-5)
    assert iou_loss(hard, truth).item() == pytest.approx(want, abs=1e-4)


@pytest.mark.parametrize("name", ["dice", "iou", "lovasz"])
def test_wrong_pixels_of_an_absent_class_cost(name):
    masks = torch.zeros(1, 2, 2, dtype=torch.uint8)
    right = torch.zeros(1, 3, 2, 2)
    right[:, 0] = 9
    wrong = right.clone()
    wrong[:, 2, 0, 0] = 20
    assert LOSSES[name](wrong, masks) > LOSSES[name](right, masks) + 0.05


@every_loss
def test_a_classifiers_labels_are_masks_of_one_pixel(loss):
    logits, masks = batch()
    pixels, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), masks.flatten().long()  # (40, C), (40,)
    assert torch.allclose(loss(pixels, labels), loss(logits, masks))


@every_loss
def test_arguments(loss):
    logits, masks = batch()
    with pytest.raises(ArgumentError, match=r"'aux'(.|\n)*\(2, 3, 2, 5\) for masks \(2, 4, 5\)"):
        loss({"out": logits, "aux": logits[:, :, :2]}, masks)
    with pytest.raises(ArgumentError, match=r"\(1, 4, 5\)"):
        loss(logits, masks[:1])
    with pytest.raises(ArgumentError, match='"out"'):
        loss({"logits": logits}, masks)
    masks[0, 3], masks[1, 0, 0] = 3, 254
    with pytest.raises(ArgumentError, match=r"id 3 \(pixels: 5\), 254 \(pixels: 1\)(.|\n)*0 to 2"):
        loss(logits, masks)
    with pytest.raises(ArgumentError, match="id -1"):
        loss(logits, torch.full((2, 4, 5), -1))


@st.composite
def any_batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, C, H, W), float32, from a thousandth to ten thousands, and masks of some classes, or of none."""
    count, classes, height, width = (draw(st.integers(low, high)) for low, high in ((1, 3), (2, 5), (1, 5), (1, 5)))
    some = draw(st.lists(st.sampled_from([*range(classes), 255]), min_size=1, max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]))
    logits = size * (2 * torch.rand(count, classes, height, width, generator=generator) - 1)
    return logits, torch.tensor(some)[torch.randint(0, len(some), (count, height, width), generator=generator)].byte()


def by_float64(name: str, logits: torch.Tensor, masks: torch.Tensor) -> float:
    """The losses in plain NumPy, with the smoothing that is their default; 0 without a valid pixel."""
    x, y = logits.double().numpy(), masks.numpy()
    if (y == 255).all():
        return 0.0
    if name == "ce":
        log_p = x - x.max(1, keepdims=True)
        log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
        return float(-np.mean([log_p[n, y[n, i, j], i, j] for n, i, j in zip(*(y != 255).nonzero(), strict=True)]))
    return by_formula(name, x, y)


@pytest.mark.parametrize("name", LOSSES)
@examples(60)
@given(any_batches())
def test_for_any_logits_a_loss_is_finite_from_0_and_what_float64_says(name, case):
    logits, masks = case
    logits = logits.requires_grad_()
    value = LOSSES[name](logits, masks)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and value >= -1e-6
    assert name == "ce" or value <= 1 + 1e-6
    assert logits.grad.isfinite().all()
    assert value.item() == pytest.approx(by_float64(name, logits.detach(), masks), rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("name", [*LOSSES, "ce+dice"])
@examples(30)
@given(any_batches(), st.sampled_from([torch.float16, torch.bfloat16]))
def test_half_precision_logits_up_to_ten_thousand_stay_finite_under_autocast(name, case, dtype):
    logits, masks = case
    logits = logits.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = make_loss(name)({"out": logits, "aux": logits}, masks)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and logits.grad.isfinite().all()
    assert value.item() == pytest.approx(make_loss(name)(logits.double(), masks).item() * 1.5, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
@examples(40)
@given(any_batches(), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_pictures_pixels_and_classes_have_no_order_and_ignored_pixels_no_say(name, case, seed, random):
    logits, masks = case
    loss, (count, classes, height, width) = LOSSES[name], logits.shape
    value = loss(logits.double(), masks).item()
    generator = torch.Generator().manual_seed(seed)
    ignored = (masks == 255)[:, None]
    noise = 1e4 * torch.randn(logits.shape, generator=generator)
    changed = torch.where(ignored, noise, logits).double().requires_grad_()
    found = loss(changed, masks)
    found.backward()
    assert found.item() == pytest.approx(value, rel=1e-12, abs=1e-12)
    assert not changed.grad[ignored.expand_as(logits)].any()
    order = random.sample(range(count), count)
    assert loss(logits[order].double(), masks[order]).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    turned = loss(logits.transpose(2, 3).flip(2).double(), masks.transpose(1, 2).flip(1))
    assert turned.item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    names = torch.arange(256).byte()
    names[:classes] = torch.tensor(random.sample(range(classes), classes)).byte()
    renamed = logits[:, names[:classes].long().argsort()].double()
    assert loss(renamed, names[masks.long()]).item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    shifted = logits.double() + 100 * torch.randn((count, 1, height, width), generator=generator, dtype=torch.float64)
    assert loss(shifted, masks).item() == pytest.approx(value, rel=1e-7, abs=1e-9)  # softmax does not see it


@pytest.mark.parametrize("name", LOSSES)
@examples(15)
@given(any_batches())
def test_any_perfect_prediction_costs_nothing_and_any_gradient_is_that_of_differences(name, case):
    logits, masks = case
    classes = logits.shape[1]
    sure = 60 * F.one_hot(masks.long().clamp(max=classes - 1), classes).permute(0, 3, 1, 2).float()
    assert LOSSES[name](sure, masks).item() == pytest.approx(0, abs=1e-5)
    values = logits / logits.abs().max().clamp(min=1)  # where differences can be taken
    apart = torch.arange(1, values.numel() + 1).double().square().sin()  # no ties, where Lovász has a bend
    values = values.double() + 0.5 * apart.view(values.shape)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, masks), values.requires_grad_(), atol=1e-5)


def test_losses_by_name():
    logits, masks = batch()
    loss = make_loss("dice + ce")
    assert loss.name == "ce+dice" and make_loss(loss.name) == loss == pickle.loads(pickle.dumps(loss))
    assert torch.allclose(loss(logits, masks), cross_entropy(logits, masks) + dice_loss(logits, masks))
    assert make_loss("ce")(logits, masks) == cross_entropy(logits, masks) and make_loss("ce") != loss


@pytest.mark.parametrize("text", ["", "focal", "ce+", "ce+ce", "0.5*ce", "ce,dice"])
def test_unknown_names_are_refused(text):
    with pytest.raises(ArgumentError, match="loss"):
        make_loss(text)


def test_a_run_goes_on_with_its_own_loss_only(tmp_path):
    train(tmp_path, epochs=1, loss=make_loss("ce+dice"))
    with pytest.raises(CheckpointError, match=r"loss 'ce\+dice' there, None here"):
        train(tmp_path, epochs=2)
    resumed, _ = train(tmp_path, epochs=2, loss=make_loss("dice+ce"))
    assert resumed == train(None, epochs=2, loss=make_loss("ce+dice"))[0]
    train(tmp_path / "default", epochs=1)
    assert len(train(tmp_path / "default", epochs=2, loss=make_loss("ce"))[0]) == 2


@pytest.mark.parametrize("name", ["dice", "iou", "lovasz", "ce+dice"])
def test_every_loss_trains(name):
    history, _ = train(None, epochs=12, loss=make_loss(name))
    assert history["miou"][-1] > max(0.85, history["miou"][0])


@every_loss
@pytest.mark.skipif(torch.__version__.startswith("2.8.") and not torch.cuda.is_available(),
                    reason="torch 2.8 starts the CUDA driver even for tensors without values")
def test_on_a_gpu_no_loss_looks_at_a_value(loss):
    """Fake tensors have no values, so looking at one, which on a GPU means waiting, is an error."""
    with FakeTensorMode():
        logits = torch.zeros(2, 3, 4, 5, device="cuda", dtype=torch.float16)
        masks = torch.zeros(2, 4, 5, device="cuda", dtype=torch.uint8)
        value = loss({"out": logits, "aux": logits}, masks)
        assert value.shape == () and value.device.type == "cuda" and value.dtype == torch.float32
        with pytest.raises(DataDependentOutputException):  # so the check above can fail
            bool(masks.any())
