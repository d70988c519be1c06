"""Losses on the GPU: the CPU's value and gradient, in half precision too, never waiting, whatever the masks hold."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn

from seglab.training import LOSSES, cross_entropy, make_loss
from tests.gpu.waiting import no_waiting

CLASSES = 5
every_loss = pytest.mark.parametrize("loss", [
    pytest.param(loss, id=name) for name, loss in (
        *LOSSES.items(), ("ce+dice", make_loss("ce+dice")),
        ("weighted", functools.partial(cross_entropy, class_weights=(1.0, 0.3, 2.0, 1.0, 1.0))))])


def batch(ignored: float = 0.2) -> tuple[Tensor, Tensor]:
    """Logits (2, C, 33, 40) and uint8 masks in which the last class does not occur."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, 33, 40, generator=generator)
    masks = torch.randint(0, CLASSES - 1, (2, 33, 40), generator=generator, dtype=torch.uint8)
    return logits, masks.masked_fill(torch.rand(masks.shape, generator=generator) < ignored, 255)


def value_and_gradient(loss, logits: Tensor, masks: Tensor, device: str) -> tuple[float, Tensor]:
    logits = logits.to(device, copy=True).requires_grad_()  # a leaf of its own
    value = loss({"out": logits, "aux": logits.flip(1)}, masks.to(device))
    assert value.device.type == device and value.dtype == torch.float32
    value.backward()
    return value.item(), logits.grad.float().cpu()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_value_and_gradient_are_the_cpus(loss, dtype):
    logits, masks = batch()
    logits = logits.to(dtype)  # both devices start from the same rounded numbers, and compute in float32
    here, there = (value_and_gradient(loss, logits, masks, device) for device in ("cpu", "cuda"))
    assert there[0] == pytest.approx(here[0], rel=1e-4)
    # As a whole: where Lovász sorts two pixels with nearly the same error, each device may put another one first.
    difference = (there[1] - here[1]).norm() / here[1].norm()
    assert difference < (1e-4 if dtype == torch.float32 else 1e-2)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_under_autocast_it_is_finite_and_near_full_precision(loss, dtype):
    torch.manual_seed(0)
    net, masks = nn.Conv2d(3, CLASSES, 3, padding=1), batch()[1]
    images = torch.rand(2, 3, 33, 40)
    expected = loss(net(images), masks).item()
    net.to("cuda")
    with torch.autocast("cuda", dtype):
        logits = net(images.to("cuda"))
        value = loss(logits, masks.to("cuda"))
    assert logits.dtype == dtype and value.dtype == torch.float32
    value.backward()
    assert value.item() == pytest.approx(expected, rel=0.02)
    assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


@every_loss
def test_large_maps_do_not_overflow_half_precision(loss):
    """The sum over 512 × 512 pixels is beyond fp16, whose largest number is 65,504."""
    logits = torch.zeros(1, CLASSES, 512, 512, device="cuda", dtype=torch.float16, requires_grad=True)
    masks = torch.zeros(1, 512, 512, device="cuda", dtype=torch.uint8)
    with torch.autocast("cuda", torch.float16):
        value = loss(logits, masks)
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


@every_loss
def test_nothing_waits(loss):
    logits, masks = batch()
    logits, masks = logits.to("cuda").requires_grad_(), masks.to("cuda")
    loss(logits, masks).backward()  # the first call may load kernels
    with no_waiting():
        loss(logits, masks).backward()
        with torch.autocast("cuda", torch.float16):
            loss(logits, masks).backward()
    with no_waiting(), pytest.raises(RuntimeError, match="synchronizing"):  # so the check above can fail
        loss(logits, masks).item()


@every_loss
@pytest.mark.parametrize("ignored", [0.0, 0.5, 1.0])
def test_ignored_pixels_stop_no_kernel(loss, ignored):
    """255 is no class: a kernel that took it for one would end with a device-side assertion."""
    logits, masks = batch(ignored)
    value, gradient = value_and_gradient(loss, logits, masks, "cuda")
    torch.cuda.synchronize()
    assert not gradient.transpose(0, 1)[:, masks == 255].any()
    assert (value == 0) == (ignored == 1) and gradient.any() == (ignored < 1)
