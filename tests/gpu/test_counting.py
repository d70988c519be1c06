"""Counting on the GPU gives the CPU's numbers, every one of them, and never waits."""

from __future__ import annotations

import pytest
import torch

from seglab.errors import ArgumentError
from seglab.metrics import BandMatrix, ConfusionMatrix, SizedIoU, predictions
from tests.gpu.waiting import no_waiting

CLASSES = 21


def ids(shape: tuple[int, ...] = (2, 64, 65), ignored: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted and true ids, int64; the truth is 255 for a share of the pixels."""
    generator = torch.Generator().manual_seed(0)
    preds, target = (torch.randint(0, CLASSES, shape, generator=generator) for _ in range(2))
    return preds, target.masked_fill(torch.rand(shape, generator=generator) < ignored, 255)


def scores_of_pixels(dtype: torch.dtype) -> torch.Tensor:
    """Logits (2, C, 64, 65) of few different values, so that many pixels have a tie, and some with NaN."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randint(-9, 9, (2, CLASSES, 64, 65), generator=generator).to(dtype)
    logits[torch.rand(logits.shape, generator=generator) < 0.001] = torch.nan
    return logits


def counted(preds: torch.Tensor, target: torch.Tensor, device: str) -> torch.Tensor:
    metric = ConfusionMatrix(CLASSES, device=device)
    for one, truth in zip(preds.to(device).split(1), target.to(device).split(1), strict=True):  # two batches
        metric.update(one, truth)
    assert metric.counts.device.type == device
    return metric.matrix()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("ignored", [0.0, 0.1, 1.0])
def test_ids(dtype, ignored):
    preds, target = (x.to(dtype) for x in ids(ignored=ignored))
    found = counted(preds, target, "cuda")
    assert torch.equal(found, counted(preds, target, "cpu"))
    assert found.sum() == (target != 255).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_logits_with_ties_and_nan(dtype, memory_format):
    logits = scores_of_pixels(dtype).contiguous(memory_format=memory_format)
    there = logits.to("cuda")
    assert torch.equal(predictions(there).cpu(), predictions(logits))
    target = ids()[1].to(torch.uint8)
    assert torch.equal(counted(logits, target, "cuda"), counted(logits, target, "cpu"))


def test_updates_never_wait_and_may_mix_devices():
    preds, target = ids()
    logits = torch.randn(2, CLASSES, 64, 65, generator=torch.Generator().manual_seed(2))
    expected = ConfusionMatrix(CLASSES)
    metric = ConfusionMatrix(CLASSES, device="cuda")
    preds_there, target_there, logits_there = (x.to("cuda") for x in (preds, target, logits))
    metric.update(preds_there, target_there)  # the first call may load kernels
    metric.reset()
    with no_waiting():
        metric.update(preds_there, target_there)
        metric.update(logits_there, target_there)
    metric.update(preds, target)  # from the CPU
    for one in (preds, logits, preds):
        expected.update(one, target)
    assert torch.equal(metric.matrix(), expected.matrix())
    with no_waiting(), pytest.raises(RuntimeError, match="synchronizing"):  # so the check above can fail
        metric.counts.sum().item()


def test_ids_that_are_no_class_are_named_in_the_end():
    preds, target = ids()
    preds[0, 0, :3], target[0, 1, :2] = torch.tensor([30, 300, -1]), torch.tensor([40, 1])
    metric = ConfusionMatrix(CLASSES, device="cuda")
    metric.update(preds.to("cuda"), target.to("cuda"))
    with pytest.raises(ArgumentError, match=r"id 30 \(pixels: 1\), above 255 \(pixels: 1\), below 0 \(pixels: 1\)"):
        metric.compute()


def test_bands_and_sizes_take_what_lies_on_the_gpu():
    preds, target = ids(shape=(1, 40, 41))
    for make, cut in ((lambda: BandMatrix(CLASSES, widths=(1, 2)), lambda x: x), (lambda: SizedIoU(CLASSES),
                                                                                 lambda x: x[0])):
        here, there = make(), make()
        here.update(cut(preds), cut(target))
        there.update(cut(preds).to("cuda"), cut(target).to("cuda"))
        assert there.compute().table() == here.compute().table()
