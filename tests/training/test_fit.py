from __future__ import annotations

import copy
import json
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

import seglab
from seglab.datasets import Normalize, collate
from seglab.errors import ArgumentError, CheckpointError, TrainingError
from seglab.models import build
from seglab.training import cross_entropy, load_checkpoint, load_weights, losses, save_checkpoint
from seglab.training.order import Seeded
from seglab.training.precision import choose_precision
from tests.training.runs import Blobs, same_bits, train


def test_fit_is_the_loop_that_one_writes_by_hand():
    data = Blobs(10)
    torch.manual_seed(3)
    ours = build("single_conv", 3)
    theirs = copy.deepcopy(ours)
    orders: list[list[int]] = [[], []]

    class Watched(Dataset):
        label_set = None

        def __len__(self):
            return len(data)

        def __getitem__(self, index):
            orders[len(orders[0]) >= len(data)].append(index)
            return data[index]

    history = seglab.fit(ours, Watched(), optimizer=torch.optim.Adam(ours.parameters(), 0.01), epochs=2, batch_size=4,
                         normalize=Normalize(), progress=False)
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]

    optimizer = torch.optim.Adam(theirs.parameters(), 0.01)
    for epoch, order in enumerate(orders):
        losses = []
        for start in range(0, len(order), 4):
            images, masks = collate([data[i] for i in order[start:start + 4]])
            loss = F.cross_entropy(theirs(images / 255)["out"], masks.long(), ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert math.isclose(history["loss"][epoch], sum(losses) / len(losses), rel_tol=1e-5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_it_learns_and_scores_well():
    history, model = train(None, epochs=12)
    assert history["miou"][-1] > 0.9
    assert history["miou"][-1] > history["miou"][0]
    scores = seglab.evaluate(model, Blobs(8, seed=9)).compute()
    assert scores.pixel_accuracy > 0.95


def test_same_seed_same_bits_and_another_seed_another_result():
    first, second, third = train(None), train(None), train(None, seed=1)
    assert same_bits(first[1].state_dict(), second[1].state_dict())
    assert first[0] == second[0]
    assert not same_bits(first[1].state_dict(), third[1].state_dict())


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_workers():
    first, second = train(None, epochs=2), train(None, epochs=2, num_workers=2)
    assert first[0] == second[0]
    assert same_bits(first[1].state_dict(), second[1].state_dict())


def darker(image, mask):
    """An augmentation that draws from NumPy's and Python's generators, as many do."""
    return (image * np.random.uniform(0.5, 1) * random.uniform(0.5, 1)).to(torch.uint8), mask


@pytest.mark.slow
def test_what_numpy_and_python_draw_does_not_depend_on_workers_or_on_what_was_drawn_before():
    def fit(num_workers, seed=0):
        np.random.seed(num_workers), random.seed(num_workers)
        torch.manual_seed(0)
        model = build("single_conv", 3)
        return seglab.fit(model, Blobs(12, transforms=darker), optimizer=torch.optim.SGD(model.parameters(), 0.1),
                          epochs=2, batch_size=4, num_workers=num_workers, progress=False, seed=seed)

    first = fit(0)
    assert fit(2) == first != fit(0, seed=1)


def test_augmentation_differs_between_epochs():
    seen = []

    class Probe(Blobs):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            seen.append(float(sample[0].float().mean()))
            return sample

    data = Probe(4, transforms=v2.RandomChoice([v2.RandomHorizontalFlip(), lambda i, m: (i // 2, m)]))
    model = build("single_conv", 3)
    seglab.fit(model, data, optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=6, batch_size=2, progress=False)
    assert len({tuple(sorted(seen[i:i + 4])) for i in range(0, 24, 4)}) > 1


class Noisy(nn.Module):
    """Draws a number at each training step, as dropout does, and writes it down."""

    def __init__(self):
        super().__init__()
        self.conv, self.drawn = nn.Conv2d(3, 3, 1), []

    def forward(self, images):
        if self.training:
            self.drawn.append(torch.rand(()).item())
        return {"out": self.conv(images)}


def noise(**options):
    return train(None, net=Noisy, **options)[1].drawn


def test_noise_inside_the_model_differs_at_every_step_of_every_epoch():
    drawn = noise(epochs=4)  # of three steps
    assert len({*drawn}) == 12
    assert noise(epochs=4) == drawn and not {*noise(epochs=4, seed=1)} & {*drawn}


def test_noise_inside_the_model_does_not_depend_on_what_loading_draws():
    def fit(*, loading, num_workers=0, consumed=0):
        def draw(*sample):
            torch.rand(loading)
            return sample

        torch.manual_seed(consumed)  # what was drawn before does not matter either
        model = Noisy()
        seglab.fit(model, Blobs(8, transforms=draw), optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=2,
                   batch_size=4, num_workers=num_workers, progress=False)
        return model.drawn

    expected = fit(loading=0)
    assert len({*expected}) == 4
    assert fit(loading=1) == fit(loading=7, consumed=3) == expected
    assert fit(loading=2, num_workers=1) == expected


def test_loading_a_picture_leaves_the_random_state_as_it_was():
    def states():
        return [torch.get_rng_state(), *map(str, (random.getstate(), np.random.get_state(legacy=False)["state"]))]

    class Draws(Blobs):
        def __getitem__(self, index):
            self.last = torch.cat([torch.rand(3), torch.tensor([random.random(), np.random.rand()])])
            if index == 3:
                raise OSError("cut off")
            return super().__getitem__(index)

    data = Draws(4)
    seeded, before, drawn = Seeded(data, seed=1), states(), []
    for where in ((0, 0), (0, 1), (1, 0), (1, 1)):
        seeded.__getitems__([where])
        drawn.append(data.last)
        assert same_bits(states(), before)
    assert not any((a == b).any() for i, a in enumerate(drawn) for b in drawn[:i])
    torch.rand(9)
    seeded.__getitems__([(0, 1)])
    assert torch.equal(data.last, drawn[1])
    before = states()
    with pytest.raises(OSError, match="cut off"):
        seeded.__getitems__([(0, 3)])
    assert same_bits(states(), before)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resuming_after_each_epoch_is_the_same_run(tmp_path, accumulate):
    whole, model = train(tmp_path / "whole", epochs=4, accumulate=accumulate)
    for epochs in (1, 2, 4):
        pieces, model2 = train(tmp_path / "pieces", epochs=epochs, accumulate=accumulate)
    assert pieces == whole
    assert same_bits(model.state_dict(), model2.state_dict())
    for name in ("last.safetensors", "best.safetensors"):
        a, b = (load_checkpoint(tmp_path / run / name) for run in ("whole", "pieces"))
        a.pop("timings", None), b.pop("timings", None)
        assert same_bits(a, b), name
    assert (tmp_path / "whole/history.json").read_bytes() == (tmp_path / "pieces/history.json").read_bytes()


@pytest.mark.parametrize("count", [16, 20, 18])  # groups of 2 batches; one batch left; a smaller batch left
def test_accumulated_small_batches_train_like_large_ones(count):
    def poly(optimizer):
        return torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=2 * -(-count // 8), power=0.9)

    options = {"epochs": 2, "count": count, "lr": 0.5, "optimizer": torch.optim.SGD, "scheduler": poly}
    large, model = train(None, batch_size=8, **options)
    small, model2 = train(None, batch_size=4, accumulate=2, **options)
    for a, b in zip(model.parameters(), model2.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    last = 0.5 / (2 * -(-count // 8)) ** 0.9
    assert large["lr"] == small["lr"] and small["lr"][-1] == pytest.approx(last), "stepped with the optimizer"
    _, other = train(None, batch_size=4, **options | {"scheduler": None})
    assert not torch.allclose(next(model.parameters()), next(other.parameters()))


def test_processes_exchange_gradients_once_a_group(monkeypatch):
    alone, shared = [], []
    no_sync = Accelerator.no_sync
    monkeypatch.setattr(Accelerator, "no_sync", lambda self, model: alone.append(len(shared)) or no_sync(self, model))

    def loss(output, masks):
        shared.append(1)
        return cross_entropy(output, masks)

    train(None, epochs=1, count=20, accumulate=3, loss=loss)  # five batches: three and two
    assert alone == [0, 1, 3]


def test_one_epoch_may_be_one_step():
    _, model = train(None, epochs=1, count=12, batch_size=12, optimizer=torch.optim.SGD)
    _, model2 = train(None, epochs=1, count=12, batch_size=4, accumulate=100, optimizer=torch.optim.SGD)
    for a, b in zip(model.parameters(), model2.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_runs_from_before_accumulation_go_on(tmp_path):
    train(tmp_path, epochs=1)
    content = load_checkpoint(tmp_path / "last.safetensors")
    assert content["settings"].pop("accumulate") == 1
    save_checkpoint(tmp_path / "last.safetensors", content)
    with pytest.raises(CheckpointError, match="accumulate 1 there, 2 here"):
        train(tmp_path, epochs=2, accumulate=2)
    assert train(tmp_path, epochs=2)[0] == train(None, epochs=2)[0]


def test_a_finished_run_is_returned_at_once(tmp_path):
    first, _ = train(tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    again, _ = train(tmp_path)
    assert again == first
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_history_is_saved_and_best_is_kept(tmp_path):
    history, _ = train(tmp_path, epochs=4)
    saved = json.loads((tmp_path / "history.json").read_text())
    assert saved["rows"] == history.rows
    assert [row["epoch"] for row in saved["rows"]] == [1, 2, 3, 4]
    best = load_checkpoint(tmp_path / "best.safetensors")
    assert len(best["history"]["rows"]) == history.best_epoch
    model = load_weights(build("single_conv", 3), tmp_path / "best.safetensors")
    score = seglab.evaluate(model, Blobs(6, seed=5)).compute().miou
    assert math.isclose(score, history.best_value, abs_tol=1e-12)
    assert len(json.loads((tmp_path / "timings.json").read_text())) == 4


def test_interrupt_keeps_what_is_done(tmp_path, capsys):
    calls = []

    def loss(output, masks):
        calls.append(1)
        if len(calls) == 8:  # in the third epoch of three steps each
            raise KeyboardInterrupt
        return cross_entropy(output, masks)

    history, _ = train(tmp_path, epochs=5, loss=loss)
    assert history.interrupted
    assert len(history) == 2
    assert "2 of 5 epochs" in capsys.readouterr().out
    resumed, model = train(tmp_path, epochs=5)
    whole, model2 = train(None, epochs=5)
    assert resumed == whole
    assert not resumed.interrupted
    assert same_bits(model.state_dict(), model2.state_dict())


def test_nan_stops_with_an_explanation_and_keeps_the_epoch_before(tmp_path):
    calls = []

    def loss(output, masks):
        calls.append(1)
        return cross_entropy(output, masks) * (math.nan if len(calls) >= 5 else 1)

    with pytest.raises(TrainingError, match=r"nan in epoch 2, first at step 2(.|\n)*learning rate \(now 0\.05\)"):
        train(tmp_path, epochs=3, loss=loss)
    content = load_checkpoint(tmp_path / "last.safetensors")
    assert len(content["history"]["rows"]) == 1
    assert all(torch.isfinite(t).all() for t in content["model"].values())


def test_another_run_is_never_overwritten(tmp_path):
    train(tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="already here"):
        train(tmp_path, resume=False)
    with pytest.raises(CheckpointError, match="batch_size 4 there, 2 here"):
        train(tmp_path, batch_size=2)
    with pytest.raises(CheckpointError, match=r"lr.*0\.05.*there.*0\.01"):
        train(tmp_path, lr=0.01)
    with pytest.raises(CheckpointError, match="'num_classes': 3} there"):
        train(tmp_path, classes=4)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_a_folder_in_use_is_refused(tmp_path):
    def loss(output, masks):
        with pytest.raises(CheckpointError, match="another process"):
            train(tmp_path)
        return cross_entropy(output, masks)

    train(tmp_path, epochs=1, loss=loss)


def test_on_epoch_sees_each_epoch_when_it_is_on_the_disk(tmp_path):
    seen = []

    def on_epoch(history):
        stored = load_checkpoint(tmp_path / "last.safetensors")["history"]
        assert stored == history.to_dict()
        seen.append(len(history))

    train(tmp_path, epochs=2, on_epoch=on_epoch)
    assert seen == [1, 2]
    train(tmp_path, epochs=3, on_epoch=on_epoch)  # first what was there
    assert seen == [1, 2, 2, 3]
    train(tmp_path, epochs=3, on_epoch=on_epoch)
    assert seen == [1, 2, 2, 3, 3]


@pytest.mark.parametrize("hook", ["on_epoch", "on_step"])
def test_an_error_in_a_hook_ends_training_and_loses_no_epoch(tmp_path, hook):
    def fail(history_or_done, *_):  # after the second epoch, or in it
        if history_or_done == 5 or getattr(history_or_done, "rows", [])[1:]:
            raise OSError("no room for a picture")

    with pytest.raises(OSError, match="no room"):
        train(tmp_path, epochs=4, **{hook: fail})
    resumed, model = train(tmp_path, epochs=4)
    whole, model2 = train(None, epochs=4)
    assert resumed == whole
    assert same_bits(model.state_dict(), model2.state_dict())


def test_on_step_counts_all_steps_and_goes_on_counting_after_a_resume(tmp_path):
    seen = []
    train(tmp_path, epochs=2, on_step=lambda *counts: seen.append(counts))  # three steps each
    assert seen == [(n, 6) for n in range(1, 7)]
    seen.clear()
    train(tmp_path, epochs=3, on_step=lambda *counts: seen.append(counts), on_epoch=lambda h: seen.append(len(h)))
    assert seen == [2, (7, 9), (8, 9), (9, 9), 3]
    seen.clear()
    train(tmp_path, epochs=3, on_step=lambda *counts: seen.append(counts))
    assert seen == []


def test_on_step_counts_batches_not_optimizer_steps():
    seen = []
    train(None, epochs=1, count=20, accumulate=3, on_step=lambda *counts: seen.append(counts))
    assert seen == [(n, 5) for n in range(1, 6)]


def test_batchnorm_and_dropout_resume_too(tmp_path):
    def net():
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
                             nn.Conv2d(8, 3, 1))

    whole, model = train(None, epochs=3, net=net)
    train(tmp_path, epochs=1, net=net)
    resumed, model2 = train(tmp_path, epochs=3, net=net)
    assert resumed == whole
    assert same_bits(model.state_dict(), model2.state_dict())


def test_arguments():
    with pytest.raises(ArgumentError, match="epochs"):
        train(None, epochs=0)
    for name in ("epochs", "batch_size", "accumulate", "val_batch_size"):
        for bad in (0, -1, 1.5, 2.0, True, "2", math.nan):
            with pytest.raises(ArgumentError, match=rf"{name}(.|\n)*{bad!r}(.|\n)*a whole number, 1 or more"):
                train(None, **{name: bad})
    with pytest.raises(ArgumentError, match="seed"):
        train(None, seed=0.5)
    with pytest.raises(ArgumentError, match="training pictures"):
        train(None, count=0)
    with pytest.raises(ArgumentError, match="'fp8'"):
        train(None, precision="fp8")
    with pytest.raises(ArgumentError, match=r"'mIoU'(.|\n)*miou"):
        train(None, monitor="mIoU")
    with pytest.raises(ArgumentError, match="evaluation pictures"):
        seglab.evaluate(build("single_conv", 3), [])


def test_numbers_of_numpy_are_numbers(tmp_path):
    count = np.int64(2)
    theirs, _ = train(tmp_path, epochs=count, batch_size=count, accumulate=count, val_batch_size=count, seed=count)
    assert theirs == train(None, epochs=2, batch_size=2, accumulate=2, val_batch_size=2, seed=2)[0]
    assert train(tmp_path, epochs=2, batch_size=2, accumulate=2, seed=2)[0] == theirs


def test_a_folder_in_the_home_folder(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    history, _ = train("~/runs/first", epochs=1)
    assert (tmp_path / "runs" / "first" / "last.safetensors").exists() and not (tmp_path / "~").exists()
    assert train(tmp_path / "runs" / "first", epochs=1)[0] == history


@pytest.mark.parametrize("name", ["best.safetensors", "history.json", "timings.json", "curve.png"])
def test_files_that_no_run_wrote_are_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match=f"{name}, and no last.safetensors"):
        train(tmp_path, epochs=1)
    assert (tmp_path / name).read_text() == "mine" and not (tmp_path / "last.safetensors").exists()


def test_a_model_with_other_classes_is_refused_before_training(drone_train):
    model = build("single_conv", 5)
    with pytest.raises(ArgumentError, match=r"5 classes(.|\n)*23, those of 'drone'"):
        seglab.fit(model, drone_train, optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=1, batch_size=2,
                   progress=False)


def test_a_model_that_returns_smaller_logits_is_refused():
    with pytest.raises(ArgumentError, match=r"\(4, 3, 6, 6\) for masks \(4, 12, 12\)"):
        train(None, net=lambda: nn.Conv2d(3, 3, 2, stride=2))


def test_gradients_from_before_do_not_count():
    model, model2 = build("single_conv", 3), build("single_conv", 3)
    model2.load_state_dict(model.state_dict())
    model2(torch.rand(1, 3, 4, 4))["out"].sum().backward()  # as after an interrupted cell
    for m in (model, model2):
        seglab.fit(m, Blobs(4), optimizer=torch.optim.SGD(m.parameters(), 0.1), epochs=1, batch_size=2, progress=False)
    assert same_bits(dict(model.state_dict()), dict(model2.state_dict()))


def test_precision_is_full_on_the_cpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert choose_precision("auto") == "no"


def test_nothing_is_read_from_the_device_within_an_epoch(monkeypatch):
    """`.item()` and friends are the calls that make Python wait; none may happen between the first and last step."""
    inside, calls, counted = [False], [], []
    # This CPU plays a GPU, where losses do not look at the ids.
    monkeypatch.setattr(losses, "_check_ids", lambda masks, classes: None)
    for name in ("item", "tolist", "__bool__", "__float__", "cpu", "numpy"):
        real = getattr(torch.Tensor, name)

        def watched(self, *args, real=real, name=name, **options):
            if inside[0] and not isinstance(self, torch.nn.Parameter):
                calls.append(name)
            return real(self, *args, **options)

        monkeypatch.setattr(torch.Tensor, name, watched)
    steps = []

    def loss(output, masks):
        assert masks.dtype == torch.uint8
        steps.append(1)
        inside[0] = len(steps) % 3 != 0  # three steps an epoch: watch from the first loss to the last
        return cross_entropy(output, masks)

    model = build("single_conv", 3)  # no augmentation: that draws its numbers on the CPU, in the loader
    # and plain SGD: Adam counts its steps in a tensor that lives on the CPU anyway
    seglab.fit(model, Blobs(12), optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=2, batch_size=4, loss=loss,
               progress=False, on_step=lambda done, total: counted.append(done))
    assert len(steps) == 6 and counted == [1, 2, 3, 4, 5, 6]
    assert calls == []


@pytest.mark.parametrize("change", [
    {"history": 5}, {"history": {"rows": 5}}, {"timings": [5]}, {"optimizer": {}}, {"optimizer": {"state": 5}},
    {"scheduler": 5}, {"settings": None}, {"model": {"conv.weight": 5, "conv.bias": 5}},
    {"optimizer": {"state": {}, "param_groups": []}}, {"optimizer": {"state": {}, "param_groups": [{"lr": 0.05}]}},
    *({"optimizer": {"state": state, "param_groups": [{"lr": 0.05, "params": [0, 1]}]}} for state in (
        {7: {"exp_avg": torch.ones(1)}}, {0: {"exp_avg": torch.ones(1)}}, {0: {"exp_avg": 5}}, {0: {"step": "a"}}))])
def test_a_run_that_cannot_go_on_says_so(tmp_path, change):
    train(tmp_path, epochs=1)
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, load_checkpoint(path) | change)
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        train(tmp_path, epochs=2)
