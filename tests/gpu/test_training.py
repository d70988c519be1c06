"""`fit` on a GPU: its precision, that it never waits, what it writes, and how it goes on after a stop."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from seglab import evaluate, load_model, load_weights
from seglab.inference import class_probabilities
from seglab.models import build, classifier
from seglab.training import FeatureDataset, cross_entropy, load_checkpoint, make_loss
from seglab.training.features import accuracy, train_head
from seglab.training.precision import choose_precision
from tests.training.runs import Blobs, same_bits, train

BF16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def small_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
                         nn.Conv2d(8, 3, 1))


def test_the_default_is_bf16_where_the_card_has_it_and_the_loss_falls():
    seen = set()

    def watched(output, masks):
        seen.add((output["out"].dtype, output["out"].device.type, masks.dtype, masks.device.type))
        return cross_entropy(output, masks)

    history, model = train(None, epochs=12, loss=watched)
    assert choose_precision("auto") == ("bf16" if BF16 else "no")
    assert seen == {(torch.bfloat16 if BF16 else torch.float32, "cuda", torch.uint8, "cuda")}
    assert history["loss"][-1] < history["loss"][0] / 2 and history["miou"][-1] > history["miou"][0]
    assert all(p.device.type == "cuda" and p.dtype == torch.float32 for p in model.parameters())


def test_full_precision_on_request():
    dtypes = set()

    def watched(output, masks):
        dtypes.add(output["out"].dtype)
        return cross_entropy(output, masks)

    train(None, epochs=1, loss=watched, precision="no")
    assert dtypes == {torch.float32}


def test_a_checkpoint_is_read_without_a_gpu(tmp_path, exact):
    _, model = train(tmp_path, epochs=3)
    content = load_checkpoint(tmp_path / "last.safetensors")
    moments = [value for state in content["optimizer"]["state"].values() for value in state.values()]
    assert all(tensor.device.type == "cpu" for tensor in (*content["model"].values(), *moments))
    pictures = Blobs(4).images.float() / 255
    expected = model.eval()(pictures.to("cuda"))["out"].cpu()
    for copied in (load_model(tmp_path / "last.safetensors"),
                   load_weights(build("single_conv", 3), tmp_path / "last.safetensors")):
        assert next(copied.parameters()).device.type == "cpu"
        torch.testing.assert_close(copied(pictures)["out"], expected, rtol=1e-4, atol=1e-4)


class StopError(Exception):
    pass


def stop_in_the_third_epoch(done: int, total: int) -> None:
    if done == 2 * total // 4 + 2:  # of four epochs
        raise StopError


def straight_and_resumed(tmp_path, **options) -> list[dict]:
    """The last checkpoint of a run of four epochs, and of one that is stopped in the third and goes on."""
    train(tmp_path / "straight", epochs=4, **options)
    with pytest.raises(StopError):
        train(tmp_path / "stopped", epochs=4, on_step=stop_in_the_third_epoch, **options)
    assert len(load_checkpoint(tmp_path / "stopped" / "last.safetensors")["history"]["rows"]) == 2
    train(tmp_path / "stopped", epochs=4, **options)
    return [load_checkpoint(tmp_path / name / "last.safetensors") for name in ("straight", "stopped")]


def test_a_resumed_run_has_the_straight_ones_weights_bit_by_bit(tmp_path, repeatable):
    """One convolution: with cuDNN's repeatable algorithms, every gradient is added up in the same order."""
    straight, resumed = straight_and_resumed(tmp_path)
    assert same_bits(resumed["model"], straight["model"]) and same_bits(resumed["optimizer"], straight["optimizer"])
    # The loss itself is summed by several blocks of threads, whichever comes first.
    for one, other in zip(resumed["history"]["rows"], straight["history"]["rows"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_a_resumed_run_has_its_dropout_and_statistics_too(tmp_path, repeatable):
    """Of BatchNorm no release promises an order of summation: float32 leaves 1e-6, another mask of dropout 1e-1."""
    straight, resumed = straight_and_resumed(tmp_path, net=small_net, precision="no")
    torch.testing.assert_close(resumed["model"], straight["model"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(resumed["optimizer"]["state"], straight["optimizer"]["state"], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(("loss", "options"), [
    ("ce", {}), ("ce", {"net": small_net, "optimizer": torch.optim.SGD}), ("dice+lovasz", {"accumulate": 2}),
    ("iou", {"scheduler": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)})])
def test_no_step_waits_for_the_device(loss, options):
    options = {"epochs": 1, "count": 40, "loss": make_loss(loss)} | options
    train(None, **options)  # the first steps load kernels

    def on_step(done: int, total: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if 1 <= done < total else "default")

    try:
        train(None, on_step=on_step, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_step_that_waits_would_be_found():
    def waits(output, masks):
        value = cross_entropy(output, masks)
        return value if value.item() < 1e9 else 2 * value

    def on_step(done: int, total: int) -> None:
        torch.cuda.set_sync_debug_mode("error")

    try:
        with pytest.raises(RuntimeError, match="synchronizing"):
            train(None, epochs=1, loss=waits, on_step=on_step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def copies_to_the_host(tmp_path, count: int) -> int:
    """In an epoch with so many pictures, as the profiler sees them."""
    train(None, epochs=1, count=count)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        train(None, epochs=1, count=count)
    watched.export_chrome_trace(str(tmp_path / f"{count}.json"))
    names = [event["name"] for event in json.loads((tmp_path / f"{count}.json").read_text(errors="replace"))[
        "traceEvents"] if event.get("cat") == "gpu_memcpy"]
    if not names:
        pytest.skip("the profiler sees no copies on this machine")
    return sum(name.startswith("Memcpy DtoH") for name in names)


def test_an_epoch_reads_as_often_whatever_its_length(tmp_path):
    short, long = (copies_to_the_host(tmp_path, count) for count in (8, 48))
    assert 0 < short == long


def test_loader_processes_change_nothing(repeatable):
    """Fork after CUDA has started: the processes only load, and never touch the device."""
    (one, first), (two, second) = (train(None, epochs=2, num_workers=workers) for workers in (0, 2))
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_evaluation_counts_on_the_gpu_what_the_cpu_counts(exact):
    torch.manual_seed(0)
    model, data = build("single_conv", 3), Blobs(6)
    here = evaluate(model.cpu(), data, batch_size=4)
    there = evaluate(model.cuda(), data, batch_size=4)
    assert there.counts.is_cuda and not here.counts.is_cuda
    assert there.matrix().sum() == here.matrix().sum() == data.masks.numel()
    # Scores that differ in the last digit only may fall either way.
    assert (there.matrix() - here.matrix()).abs().sum() <= 0.002 * data.masks.numel()


def test_a_head_learns_from_features_and_its_network_follows_it():
    labels = torch.arange(64) % 2
    features = FeatureDataset(torch.randn(64, 512) + 4 * labels[:, None], labels)
    model = classifier("resnet18", 2, weights=None)
    train_head(model, features, seed=0)
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    assert accuracy(model, features) > 0.9
    assert class_probabilities(model, features)[0].argmax(1).eq(labels).double().mean() > 0.9
