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
from torch.utils.data import DataLoader, Subset

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


def lines_in_an_array(lines):
    pairs = [line.split("\t") for line in lines if line[:1] not in {"", "#"}]
    return np.array([(path, int(number)) for path, number in pairs], dtype=object)


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


def swapped_by_hand(model, name, num_classes):
    old = getattr(model.requires_grad_(False), name)  # the same layer, with other parameters
    old.weight, old.bias = (nn.Parameter(torch.zeros(num_classes, *more)) for more in ([old.in_features], []))
    return model


class AlwaysInEvalMode(nn.Sequential):
    def __init__(self, body):
        super().__init__(body.requires_grad_(False))

    def train(self, mode=True):
        return super().train(False)


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


def epoch_with_a_closure(model, optimizer, loader):
    def step(images, labels):
        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            return loss
        return optimizer.step(closure).detach()[None]

    model.train()
    losses, sizes = zip(*((step(*batch), len(batch[1])) for batch in loader), strict=True)
    return (torch.cat(losses) * torch.tensor(sizes)).sum() / sum(sizes)


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


def accuracy_layer_by_layer(model, loader):
    modes = [layer.training for layer in model.modules()]
    model.eval()
    torch.set_grad_enabled(False)
    hits = [torch.eq(model(x).topk(1).indices[:, 0], y) for x, y in loader]
    torch.set_grad_enabled(True)
    for layer, mode in zip(model.modules(), modes, strict=True):
        layer.training = mode
    return torch.cat(hits).float().mean()[None]


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


def features_by_a_hook(body, dataset, batch_size):
    kept, labels = [], []
    hook = body.eval().register_forward_hook(lambda module, given, made: kept.append(made.detach().numpy()))
    for start in range(0, len(dataset), batch_size):
        part = Subset(dataset, range(start, min(start + batch_size, len(dataset))))
        images, truth = next(iter(DataLoader(part, len(part))))
        body(images)
        labels += truth
    hook.remove()
    return np.concatenate(kept), (int(label) for label in labels)


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


def rates_with_names(parts, lr, decay):
    rates = lr * decay ** np.arange(len(parts))[::-1]
    return ({"name": str(i), "params": iter(part), "lr": rate, "weight_decay": 0.0}
            for i, (part, rate) in enumerate(zip(parts, rates, strict=True)))


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


def calibration_by_sums(probabilities, labels, bins):
    sure, said = probabilities.max(1)
    gaps = torch.zeros(bins).index_add(0, (sure * bins).int().clamp(max=bins - 1), (said == labels).float() - sure)
    return gaps.abs().sum() / len(labels)


def suspects_in_python(probabilities, labels, count):
    return sorted(range(len(labels)), key=lambda i: float(probabilities[i, labels[i]]))[:count]


def grad_cam_by_backward(head, maps, class_id):
    maps.requires_grad_()
    head(maps.unsqueeze(0))[0, class_id].backward()
    weights = maps.grad.mean(dim=(1, 2))
    return F.relu(torch.einsum("k,khw->hw", weights, maps))


def grad_cam_of_a_function(head, maps, class_id):
    gradient = torch.func.grad(lambda values: head(values[None])[0, class_id])(maps)
    return np.maximum(np.einsum("k,khw", gradient.mean((1, 2)).detach().numpy(), maps.numpy()), 0).tolist()


OTHERS = {
    "read_map": [lines_with_paths, lines_as_they_come, lines_in_an_array],
    "swap_head": [swapped_in_a_loop, swapped_by_name, swapped_in_a_copy, swapped_by_hand],
    "frozen": [FrozenByLayers, FrozenWithoutParents, AlwaysInEvalMode],
    "train_epoch": [epoch_that_collects, epoch_with_tensors, epoch_with_a_closure],
    "test_accuracy": [accuracy_in_numpy, accuracy_in_inference_mode, accuracy_layer_by_layer],
    "features_once": [features_without_a_loader, features_one_by_one, features_by_a_hook],
    "cam": [cam_in_loops, lambda maps, weight, c: np.tensordot(weight.numpy()[c], maps.numpy(), 1),
            lambda maps, weight, c: F.conv2d(maps[None], weight[:, :, None, None])[0, c]],
    "layer_rates": [rates_from_the_head, rates_with_names],
    "calibration_error": [calibration_by_edges, calibration_by_sums],
    "suspects": [suspects_in_python, lambda p, y, count: F.nll_loss(p.log(), y, reduction="none").topk(count).indices,
                 lambda p, y, count: p.gather(1, y[:, None])[:, 0].topk(count, largest=False).indices.tolist()],
    "grad_cam": [grad_cam_by_backward, grad_cam_of_a_function]}


def pairs_up_to_a_gap(lines):
    pairs = []
    for line in lines:
        if not line:
            break
        if line[0] != "#":
            pairs.append((line.split("\t")[0], int(line.split("\t")[1])))
    return pairs


def pairs_in_two_arguments(lines):
    pairs = []
    for line in lines:
        pairs.append(*line.split("\t"))
    return pairs


def rebound(model, name, num_classes):
    model.requires_grad_(False)
    layer = getattr(model, name)
    layer = nn.Linear(layer.in_features, num_classes)  # a new value for the variable
    return model


def swapped_with(layer):
    def swapped(model, name, num_classes):
        model.requires_grad_(False)
        setattr(model, name, layer(getattr(model, name), name, num_classes))
        return model
    return swapped


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


def epoch_with(step, total=lambda loss, labels, before: before + loss.item() * len(labels), count=None):
    def epoch(model, optimizer, loader):
        model.train()
        found = 0.0
        for images, labels in loader:
            loss = step(model, images, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found = total(loss, labels, found)
            if count == "first":
                break
        return found / (len(labels) if count == "last" else len(loader.dataset))
    return epoch


def loss_of(model, images, labels):
    return F.cross_entropy(model(images), labels)


def epoch_of_one_step(model, optimizer, loader):
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        total += loss.item() * len(labels)
    optimizer.step()
    return total / len(loader.dataset)


def accuracy_with(said, back=lambda model, was: model.train(was), gradients=torch.no_grad):
    def accuracy(model, loader):
        was = model.training
        model.eval()
        with gradients():
            hits = sum((said(model(images)) == labels).sum() for images, labels in loader)
        back(model, was)
        return hits / len(loader.dataset)
    return accuracy


def accuracy_without_gradients_ever_after(model, loader):
    torch.set_grad_enabled(False)
    return accuracy_with(lambda x: x.argmax(1), gradients=torch.no_grad)(model, loader)


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


class FrozenReturningTheBody(FrozenOnce):
    def train(self, mode=True):
        super().train(mode)
        return self.body.eval()


class FrozenByAName(nn.Sequential):
    def train(self, mode=True):
        super().train(mode)
        self.body.eval()
        return self


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


def features_joined(join, batches=lambda dataset, batch_size: DataLoader(dataset, batch_size),
                    body_of=lambda body, images: body(images)):
    def features(body, dataset, batch_size):
        body.eval()
        with torch.no_grad():
            pairs = [(body_of(body, images), labels) for images, labels in batches(dataset, batch_size)]
        return join(*([*part] for part in zip(*pairs, strict=True)))
    return features


def features_of_slices(body, dataset, batch_size):
    return [dataset[start:start + batch_size] for start in range(0, len(dataset), batch_size)]


def features_under_one_name(body, dataset, batch_size):
    labels = []
    for _, labels in DataLoader(dataset, batch_size):
        labels.append(labels)
    return labels


def rates_that_reverse(parts, lr, decay):
    parts.reverse()
    return [{"params": part, "lr": lr * decay**steps} for steps, part in enumerate(parts)]


def rates_in_one_dictionary(parts, lr, decay):
    group = {}
    groups = []
    for steps, part in enumerate(reversed(parts)):
        group["params"], group["lr"] = part, lr * decay**steps
        groups.append(group)
    return groups


def binned(probabilities, labels, bins, place, used=range):
    sure, said = probabilities.max(1)
    total, where = 0.0, place(sure, bins)
    for inside in (where == number for number in used(bins)):
        gap = (sure[inside].mean() - (said == labels)[inside].float().mean()).abs() * inside.sum()
        total += gap if inside.any() else 0.0
    return total / len(labels)


def in_bins(sure, bins):
    return (sure * bins).long().clamp(max=bins - 1)


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
    ("read_map", pairs_up_to_a_gap, "continue instead of break"),
    ("read_map", pairs_in_two_arguments, "brackets of its own"),
    ("read_map", lambda lines: [*zip(*lines_as_they_come(lines), strict=True)], "two lists"),
    ("read_map", lambda lines: [pair for pair in lines_as_they_come(lines) if not "#"], "is always true"),
    ("read_map", lambda lines: [(path, [number]) for path, number in lines_as_they_come(lines)], "found a list"),
    ("read_map", lambda lines: [x for x in lines if x[0] != "#"] and [*lines_as_they_come(lines)], "no first letter"),
    ("swap_head", rebound, "no new layer in the network"),
    ("swap_head", swapped_with(lambda old, name, n: nn.Linear(name.in_features, n)), "only a text"),
    ("swap_head", swapped_with(lambda old, name, n: nn.Linear(n, old.in_features)), "another number of features"),
    ("swap_head", swapped_with(lambda old, name, n: nn.Linear(old.in_features, old.out_features)), "as many classes"),
    ("swap_head", swapped_with(lambda old, name, n: nn.Sequential(nn.Linear(old.in_features, n), nn.ReLU())), "ReLU"),
    ("swap_head", lambda model, name, n: swapped_in_a_loop(model, name, n).bn.reset_parameters() or model, "logits"),
    ("swap_head", body_and_head, "has no layer called fc"), ("swap_head", head_only, "new layer alone"),
    ("swap_head", wrong_width, "another number of features"),
    ("swap_head", frozen_by_a_new_attribute, "Nothing is frozen"),
    ("swap_head", lambda model, name, n: None, "return model"),
    ("swap_head", lambda model, name, n: swapped_in_a_loop(model, "fc", n), "another name here"),
    ("swap_head", lambda *a: swapped_in_a_loop(*a).requires_grad_(False), "new layer is frozen, too"),
    ("frozen", FrozenOnce, "BatchNorm is in train mode"), ("frozen", FrozenInCircles, "calls itself"),
    ("frozen", FrozenWithoutReturn, "return self"), ("frozen", lambda body: None, "no nn.Module"),
    ("frozen", FrozenReturningTheBody, "return self. It returns a Sequential"),
    ("frozen", FrozenByAName, r"the body is self\[0\]"),
    ("frozen", nn.Sequential, "Nothing is frozen"), ("frozen", nn.Identity(), "without brackets"),
    ("train_epoch", epoch_that_sums_tensors, "loss.item"), ("train_epoch", epoch_of_means, "mean of the batches"),
    ("train_epoch", epoch_without_train_mode, "stays in eval mode"),
    ("train_epoch", lambda model, optimizer, loader: None, "returns nothing"),
    ("train_epoch", epoch_with(loss_of, count="first"), "Only the first batch"),
    ("train_epoch", epoch_with(loss_of, count="last"), "size of the last batch"),
    ("train_epoch", epoch_with(loss_of, lambda loss, labels, before: loss.item() * len(labels)), "with \\+="),
    ("train_epoch", epoch_of_one_step, "belongs into the loop"),
    ("train_epoch", epoch_with(lambda model, x, y: nn.CrossEntropyLoss(model(x), y)), "makes a loss function"),
    ("train_epoch", epoch_with(lambda model, x, y: F.nll_loss(model(x), y)), "as they are"),
    ("train_epoch", epoch_with(lambda model, x, y: F.cross_entropy(y, model(x))), "then the labels"),
    ("train_epoch", epoch_with(lambda model, x, y: F.cross_entropy(model(x).argmax(1), y)), "not the classes"),
    ("test_accuracy", accuracy_with(torch.argmax), "without an axis"),
    ("test_accuracy", accuracy_with(lambda x: x.max(1).values), "the logits themselves"),
    ("test_accuracy", accuracy_with(lambda x: x.max(1)), "gives a pair"),
    ("test_accuracy", accuracy_with(lambda x: x.argmax(1), lambda model, was: setattr(model, "training", was)),
     "sets a note"),
    ("test_accuracy", accuracy_without_gradients_ever_after, "still off afterwards"),
    ("test_accuracy", accuracy_that_forgets_the_mode, "stays in eval mode"),
    ("test_accuracy", accuracy_over_the_batch_axis, r"argmax\(dim=1\)"),
    ("test_accuracy", lambda model, loader: 100 * accuracy_in_numpy(model, loader), "hundred times|instead of"),
    ("test_accuracy", lambda model, loader: np.mean([accuracy_in_numpy(model, [b]) for b in loader]),
     "mean of the batches"),
    ("features_once", features_in_a_list, "torch.cat"), ("features_once", features_in_train_mode, "in train mode"),
    ("features_once", lambda body, data, n: features_one_by_one(body, data, n)[0], "two things"),
    ("features_once", features_joined(lambda x, y: (torch.cat(y), torch.cat(x))), "are exchanged"),
    ("features_once", features_joined(lambda x, y: (torch.stack(x), torch.cat(y))), "stacked along a new axis"),
    ("features_once", features_joined(lambda x, y: (torch.cat(x), torch.cat(y)[:, None])), "the shape"),
    ("features_once", features_joined(lambda x, y: (torch.cat(x, y), y)), "takes one list"),
    ("features_once", features_joined(lambda x, y: (torch.cat(x), y), lambda dataset, n: dataset), "wants batches"),
    ("features_once", features_joined(lambda x, y: (torch.cat(x), torch.cat(y)), body_of=lambda body, images: body(
        images).squeeze()), "first axis, too"),
    ("features_once", features_of_slices, "no slices"), ("features_once", features_under_one_name, "same name"),
    ("cam", lambda maps, weight, c: (weight[c][:, None, None] * maps).sum(), "sum.dim=0"),
    ("cam", lambda maps, weight, c: [weight[c, k] * maps[k] for k in range(len(maps))][-1], "with \\+="),
    ("cam", lambda maps, weight, c: (weight.T[c][:, None, None] * maps).sum(0), r"weight\[class_id\]"),
    ("cam", lambda maps, weight, c: torch.einsum("k,k->", weight[c], maps.mean((1, 2))), "one number"),
    ("cam", lambda maps, weight, c: (weight[c] * maps).sum(0), "two more axes|has two more"),
    ("cam", lambda maps, weight, c: F.relu(cam_in_loops(maps, weight, c)), "negative was set to 0"),
    ("layer_rates", lambda parts, lr, decay: [{"params": part, "lr": lr * decay**i} for i, part in enumerate(parts)],
     "wrong direction"),
    ("layer_rates", lambda parts, lr, decay: lr, "returns a float"),
    ("layer_rates", rates_that_reverse, "changes the list"), ("layer_rates", rates_in_one_dictionary, "new dictionary"),
    ("layer_rates", lambda parts, lr, decay: [{"params": parts, "lr": lr}], "one part's"),
    ("calibration_error", lambda p, y, bins: binned(p, y, 10, in_bins), "ten bins, always"),
    ("calibration_error", lambda p, y, bins: binned(
        p, y, bins, lambda sure, n: (sure * n).long(), lambda n: range(n + 1)), "bin of its own"),
    ("calibration_error", lambda p, y, bins: binned(p, y, bins, lambda sure, n: torch.bucketize(
        sure, torch.linspace(0, 1, n)) - 1), "one bin too few"),
    ("calibration_error", lambda p, y, bins: binned(p, y, bins, in_bins, lambda n: range(1, n)), "4 of 5 cases"),
    ("calibration_error", lambda p, y, bins: (p.max(1) * bins).long(), "gives a pair"),
    ("calibration_error", lambda p, y, bins: (p.max(1).values.mean() - (p.argmax(1) == y).float().mean()).abs(),
     "mean confidence minus"),
    ("suspects", lambda p, y, count: p.max(1).values.argsort()[:count], "whatever their label"),
    ("suspects", lambda p, y, count: p[:, y].argsort()[:count], "whole table"),
    ("suspects", lambda p, y, count: [i for i in suspects_in_python(p, y, len(y)) if p[i].argmax() != y[i]][:count],
     "Take all"),
    ("suspects", lambda p, y, count: sorted(suspects_in_python(p, y, count)), "order of the dataset"),
    ("suspects", lambda p, y, count: suspects_in_python(p, y, len(y))[-count:], "surest of"),
    ("grad_cam", lambda head, maps, c: F.relu(cam_in_loops(maps, head.layers[0].weight, c)), "is a function"),
    ("grad_cam", lambda head, maps, c: head(maps.requires_grad_()[None]).backward(), "one number, of one class"),
    ("grad_cam", lambda head, maps, c: (lambda heat: heat / heat.max())(grad_cam_by_backward(head, maps, c)),
     "divided by its largest value")]


@pytest.mark.slow
def test_answers():
    assert_recognises({name: EXERCISES[name] for name in OTHERS}, OTHERS, WRONG)
