"""The checks of lesson 3: right answers of other styles pass, and wrong ones are told what is wrong."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from seglab.checks import EXERCISES
from tests.checks.answers import assert_recognises


def lines_with_paths(lines):
    return [[Path(path), np.int64(number)] for path, number in (
        line.strip().rsplit("\t", 1) for line in lines if line.strip() and line[0] != "#")]


def lines_as_they_come(lines):
    for line in lines:
        path, tab, number = line.partition("\t")
        if tab and not line.startswith("#"):
            yield path, int(number)


def swapped_in_a_loop(model, name, num_classes):
    for value in model.parameters():
        value.requires_grad = False
    width = getattr(model, name).weight.shape[1]
    model.add_module(name, nn.Linear(width, num_classes))
    return model


def swapped_by_name(model, name, num_classes):
    setattr(model, name, nn.LazyLinear(num_classes))
    for key, value in model.named_parameters():
        value.requires_grad = key.startswith(name)
    return model.eval()


def swapped_in_a_copy(model, name, num_classes):
    model = copy.deepcopy(model).requires_grad_(False)
    model.__dict__["_modules"][name] = nn.Linear(getattr(model, name).in_features, num_classes)
    return model


def body_and_head(model, name, num_classes):
    width = getattr(model, name).in_features
    setattr(model, name, nn.Identity())
    return nn.Sequential(model.requires_grad_(False), nn.Linear(width, num_classes))


class FrozenByLayers(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.network = body
        for value in body.parameters():
            value.requires_grad = False
        self.eval()

    @torch.no_grad()
    def forward(self, images):
        return self.network(images)

    def train(self, mode=True):
        super().train(mode)
        for layer in self.network.modules():
            layer.training = False
        return self


class FrozenWithoutParents(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body.eval().requires_grad_(False)

    def forward(self, images):
        return self.body(images)

    def train(self, mode=True):
        self.training = mode
        return self


def epoch_that_collects(model, optimizer, loader):
    losses = []
    for images, labels in loader:
        model.train()
        loss = nn.CrossEntropyLoss(reduction="none")(model(images), labels)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        losses += loss.tolist()
    return np.mean(losses)


def epoch_with_tensors(model, optimizer, loader):
    model.train(True)
    total, count = torch.zeros(()), 0
    for images, labels in loader:
        loss = F.nll_loss(model(images).log_softmax(-1), labels)
        loss.backward()
        optimizer.step()
        model.zero_grad()
        total += loss.detach() * images.shape[0]
        count += images.shape[0]
    return total / count


@torch.no_grad()
def accuracy_in_numpy(model, loader):
    mode = model.training
    model.train(False)
    right = np.concatenate([(model(x).numpy().argmax(-1) == y.numpy()) for x, y in loader])
    if mode:
        model.train()
    return right.mean()


def accuracy_in_inference_mode(model, loader):
    training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            pairs = [(model(x).softmax(1).max(1).indices, y) for x, y in loader]
    finally:
        model.train(training)
    said, truth = (torch.cat(part) for part in zip(*pairs, strict=True))
    return (said == truth).double().mean()


def features_without_a_loader(body, dataset, batch_size):
    body.eval()
    rows, labels = [], [int(label) for _, label in dataset]
    for start in range(0, len(dataset), batch_size):
        batch = torch.stack([dataset[i][0] for i in range(start, min(start + batch_size, len(dataset)))])
        rows.append(body(batch).detach())
    return torch.cat(rows), labels


@torch.inference_mode()
def features_one_by_one(body, dataset, batch_size):
    body.train(False)
    found = [(body(image[None])[0], label) for image, label in dataset]
    return torch.stack([row for row, _ in found]), torch.tensor([int(label) for _, label in found])


def cam_in_loops(maps, weight, class_id):
    found = torch.zeros(maps.shape[1:])
    for k in range(len(maps)):
        found += weight[class_id, k] * maps[k]
    return found


def rates_from_the_head(parts, lr, decay):
    groups = []
    for part in reversed(parts):
        groups.append({"params": (value for value in part), "lr": lr})
        lr *= decay
    return groups


def calibration_by_edges(probabilities, labels, bins=10):
    """As in the paper: bins hold their upper edge, and not the lower one."""
    probabilities, labels = probabilities.numpy(), labels.numpy()
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    edges, error = np.linspace(0, 1, bins + 1), 0.0
    for low, high in pairwise(edges):
        inside = (sure > low) & (sure <= high)
        if inside.any():
            error += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    return error


def suspects_in_python(probabilities, labels, count):
    return sorted(range(len(labels)), key=lambda i: float(probabilities[i, labels[i]]))[:count]


def grad_cam_by_backward(head, maps, class_id):
    maps.requires_grad_()
    head(maps.unsqueeze(0))[0, class_id].backward()
    weights = maps.grad.mean(dim=(1, 2))
    return F.relu(torch.einsum("k,khw->hw", weights, maps))


OTHERS = {
    "read_map": [lines_with_paths, lines_as_they_come],
    "swap_head": [swapped_in_a_loop, swapped_by_name, swapped_in_a_copy],
    "frozen": [FrozenByLayers, FrozenWithoutParents],
    "train_epoch": [epoch_that_collects, epoch_with_tensors],
    "test_accuracy": [accuracy_in_numpy, accuracy_in_inference_mode],
    "features_once": [features_without_a_loader, features_one_by_one],
    "cam": [cam_in_loops, lambda maps, weight, c: np.tensordot(weight.numpy()[c], maps.numpy(), 1),
            lambda maps, weight, c: F.conv2d(maps[None], weight[:, :, None, None])[0, c]],
    "layer_rates": [rates_from_the_head],
    "calibration_error": [calibration_by_edges],
    "suspects": [suspects_in_python, lambda p, y, count: F.nll_loss(p.log(), y, reduction="none").topk(count).indices,
                 lambda p, y, count: p.gather(1, y[:, None])[:, 0].topk(count, largest=False).indices.tolist()],
    "grad_cam": [grad_cam_by_backward]}


def epoch_that_sums_tensors(model, optimizer, loader):
    model.train()
    total = 0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss * len(labels)
    return total / len(loader.dataset)


def epoch_without_train_mode(model, optimizer, loader):
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(images)
    return total / len(loader.dataset)


def epoch_of_means(model, optimizer, loader):
    model.train()
    losses = []
    for images, labels in loader:
        optimizer.zero_grad()
        losses.append(F.cross_entropy(model(images), labels))
        losses[-1].backward()
        optimizer.step()
    return torch.stack(losses).mean().item()


def accuracy_that_forgets_the_mode(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def accuracy_over_the_batch_axis(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(0) == y).sum().item() for x, y in loader) / len(loader.dataset)


class FrozenOnce(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body.eval()
        for value in body.parameters():
            value.requires_grad = False

    def forward(self, images):
        return self.body(images)


class FrozenInCircles(FrozenOnce):
    def train(self, mode=True):
        super().train(mode)
        self.eval()
        return self


class FrozenWithoutReturn(FrozenOnce):
    def train(self, mode=True):
        super().train(mode)
        self.body.eval()


def head_only(model, name, num_classes):
    return nn.Linear(getattr(model, name).in_features, num_classes)


def wrong_width(model, name, num_classes):
    model.requires_grad_(False)
    setattr(model, name, nn.Linear(512, num_classes))
    return model


def frozen_by_a_new_attribute(model, name, num_classes):
    model.requires_grad = False
    setattr(model, name, nn.Linear(getattr(model, name).in_features, num_classes))
    return model


def features_in_a_list(body, dataset, batch_size):
    body.eval()
    with torch.no_grad():
        return [body(images) for images, _ in DataLoader(dataset, batch_size)], [int(label) for _, label in dataset]


def features_in_train_mode(body, dataset, batch_size):
    with torch.no_grad():
        pairs = [(body(images), labels) for images, labels in DataLoader(dataset, batch_size)]
    return torch.cat([rows for rows, _ in pairs]), torch.cat([labels for _, labels in pairs])


#: Wrong answers as learners write them, none of them the check's own, and words of what they must be told.
WRONG = [
    ("read_map", lambda lines: [tuple(line.split("\t")) for line in lines if line and line[0] != "#"], "text. Convert"),
    ("read_map", lambda lines: [(a, int(b)) for a, b in (line.split() for line in lines)], "at the tab alone"),
    ("read_map", lambda lines: [(line.split("\t")[0], int(line.split("\t")[1])) for line in lines],
     "no tab in it"),
    ("read_map", lambda lines: {path: number for path, number in lines_as_they_come(lines)}, "returns a dict"),
    ("read_map", lambda lines: next(iter(lines_as_they_come(lines))), "should be a pair"),
    ("read_map", lambda lines: None, "returns nothing"),
    ("read_map", lambda lines: [(a, int(b)) for a, b in (x.split("\t") for x in lines if "#" not in x and x)],
     "has a # in it"),
    ("swap_head", body_and_head, "has no layer called fc"), ("swap_head", head_only, "new layer alone"),
    ("swap_head", wrong_width, "another number of features"),
    ("swap_head", frozen_by_a_new_attribute, "Nothing is frozen"),
    ("swap_head", lambda model, name, n: None, "return model"),
    ("swap_head", lambda model, name, n: swapped_in_a_loop(model, "fc", n), "another name here"),
    ("swap_head", lambda *a: swapped_in_a_loop(*a).requires_grad_(False), "new layer is frozen, too"),
    ("frozen", FrozenOnce, "BatchNorm is in train mode"), ("frozen", FrozenInCircles, "calls itself"),
    ("frozen", FrozenWithoutReturn, "return self"), ("frozen", lambda body: None, "no nn.Module"),
    ("frozen", nn.Sequential, "Nothing is frozen"), ("frozen", nn.Identity(), "without brackets"),
    ("train_epoch", epoch_that_sums_tensors, "loss.item"), ("train_epoch", epoch_of_means, "mean of the batches"),
    ("train_epoch", epoch_without_train_mode, "stays in eval mode"),
    ("train_epoch", lambda model, optimizer, loader: None, "returns nothing"),
    ("test_accuracy", accuracy_that_forgets_the_mode, "stays in eval mode"),
    ("test_accuracy", accuracy_over_the_batch_axis, r"argmax\(dim=1\)"),
    ("test_accuracy", lambda model, loader: 100 * accuracy_in_numpy(model, loader), "hundred times|instead of"),
    ("test_accuracy", lambda model, loader: np.mean([accuracy_in_numpy(model, [b]) for b in loader]),
     "mean of the batches"),
    ("features_once", features_in_a_list, "torch.cat"), ("features_once", features_in_train_mode, "in train mode"),
    ("features_once", lambda body, data, n: features_one_by_one(body, data, n)[0], "two things"),
    ("cam", lambda maps, weight, c: torch.einsum("k,k->", weight[c], maps.mean((1, 2))), "one number"),
    ("cam", lambda maps, weight, c: (weight[c] * maps).sum(0), "two more axes|has two more"),
    ("cam", lambda maps, weight, c: F.relu(cam_in_loops(maps, weight, c)), "negative was set to 0"),
    ("layer_rates", lambda parts, lr, decay: [{"params": part, "lr": lr * decay**i} for i, part in enumerate(parts)],
     "wrong direction"),
    ("layer_rates", lambda parts, lr, decay: lr, "stops with"),
    ("calibration_error", lambda p, y, bins: (p.max(1).values.mean() - (p.argmax(1) == y).float().mean()).abs(),
     "mean confidence minus"),
    ("suspects", lambda p, y, count: p.max(1).values.argsort()[:count], "whatever their label"),
    ("suspects", lambda p, y, count: p[:, y].argsort()[:count], "shape|own label|wrong"),
    ("grad_cam", lambda head, maps, c: F.relu(cam_in_loops(maps, head.layers[0].weight, c)), "wrong|stops")]


@pytest.mark.slow
def test_answers():
    assert_recognises({name: EXERCISES[name] for name in OTHERS}, OTHERS, WRONG)
