"""The checks of lesson 1: right answers of other styles pass, and wrong ones are told what is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seglab.checks import EXERCISES
from tests.checks.answers import assert_recognises


def painted_in_loops(mask, palette):
    picture = np.zeros((*mask.shape, 3), np.uint8)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            picture[y, x] = palette[mask[y, x]]
    return picture


def shares_by_comparing(split, num_classes):
    counts = [0] * num_classes
    for _, mask in split:
        for c in range(num_classes):
            counts[c] += int((mask == c).sum())
    return [count / sum(counts) for count in counts]


class Sequential(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.ZeroPad2d(1), nn.Conv2d(3, num_classes, 3))


class Same(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Conv2d(3, num_classes, kernel_size=3, padding="same")

    def forward(self, x):
        return self.layer(x)


def loss_with_the_largest_subtracted(logits, mask):
    scores = logits - logits.amax(0, keepdim=True)
    log_probabilities = scores - scores.exp().sum(0, keepdim=True).log()
    values = [log_probabilities[int(c), y, x] for (y, x), c in np.ndenumerate(mask.numpy()) if c != 255]
    return -sum(values) / len(values)


def loss_by_permuting(logits, mask):
    scores, truth = logits.permute(1, 2, 0).reshape(-1, len(logits)), mask.reshape(-1).long()
    return F.cross_entropy(scores[truth != 255], truth[truth != 255])


def step_that_returns_the_graph(model, optimizer, images, masks):
    model.zero_grad()
    loss = F.nll_loss(model(images).log_softmax(1), masks.long(), ignore_index=255)
    loss.backward()
    optimizer.step()
    return loss


def step_that_returns_a_tensor(*args):
    return step_that_returns_the_graph(*args).detach()


def step_that_clears_at_the_end(model, optimizer, images, masks):  # as PyTorch's own tutorial does
    loss = F.cross_entropy(model(images), masks, ignore_index=255)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def step_that_clears_twice(model, optimizer, images, masks):
    logits = model(images)
    loss = nn.CrossEntropyLoss(ignore_index=255)(logits, masks.long())
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def matrix_in_loops(prediction, mask, num_classes):
    found = np.zeros((num_classes, num_classes), int)
    for truth, said in zip(mask.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if truth != 255:
            found[truth, said] += 1
    return found


def matrix_by_add_at(prediction, mask, num_classes):
    found, keep = np.zeros((num_classes, num_classes)), mask.numpy() < num_classes
    np.add.at(found, (mask.numpy()[keep], prediction.numpy()[keep]), 1)
    return found


def iou_class_by_class(predictions, masks, num_classes):
    found = []
    for c in range(num_classes):
        both = either = 0
        for prediction, mask in zip(predictions, masks, strict=True):
            known = mask != 255
            both += int(((prediction == c) & (mask == c)).sum())
            either += int((((prediction == c) | (mask == c)) & known).sum())
        found.append(both / either if either else math.nan)
    return found


def constant_in_numpy(train_masks, mask, num_classes):
    values = np.concatenate([m.numpy().ravel() for m in train_masks])
    return np.full(mask.shape, np.bincount(values[values != 255]).argmax())


class Detached(nn.Module):
    def forward(self, x):
        return x.detach()


def window_from_the_end(kernel_sizes):
    side = 1
    for size in reversed(kernel_sizes):
        side += size - 1
    return side


def weights_in_numpy(shares):
    shares = shares.numpy()
    found = np.zeros(len(shares))
    found[shares > 0] = 1 / shares[shares > 0]
    return found / found[shares > 0].mean()


OTHERS = {
    "colourise": [painted_in_loops, lambda mask, palette: np.take(palette, mask, axis=0)],
    "class_shares": [shares_by_comparing],
    "single_conv": [Sequential, Same, lambda n: nn.LazyConv2d(n, 3, padding=1)],
    "cross_entropy": [loss_by_permuting, loss_with_the_largest_subtracted, lambda logits, mask: F.nll_loss(
        logits.log_softmax(0)[None], mask[None].long(), ignore_index=255).item()],
    "training_step": [step_that_returns_a_tensor, step_that_clears_twice, step_that_clears_at_the_end],
    "confusion_matrix": [matrix_in_loops, matrix_by_add_at],
    "iou": [iou_class_by_class],
    "constant_rule": [constant_in_numpy],
    "window": [window_from_the_end, lambda kernel_sizes: sum(kernel_sizes) - len(kernel_sizes) + 1],
    "class_weights": [weights_in_numpy],
    "two_convs": [lambda n: nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, n, 3, padding=1))]}


def no_labels_left_out(prediction, mask, num_classes):
    found = torch.zeros(num_classes, num_classes)
    for truth in range(num_classes):
        for said in range(num_classes):
            found[said, truth] = ((mask == truth) & (prediction == said)).sum()
    return found


def overflow_of_bytes(prediction, mask, num_classes):
    known = mask != 255
    pairs = mask[known] * num_classes + prediction[known]
    return torch.bincount(pairs, minlength=num_classes**2)[:num_classes**2].reshape(num_classes, num_classes)


def union_with_unknown(predictions, masks, num_classes):
    found = []
    for c in range(num_classes):
        both = sum(((p == c) & (m == c)).sum().item() for p, m in zip(predictions, masks, strict=True))
        either = sum(((p == c) | (m == c)).sum().item() for p, m in zip(predictions, masks, strict=True))
        found.append(both / either if either else float("nan"))
    return found


def picture_by_picture(predictions, masks, num_classes):
    return np.nanmean([iou_class_by_class([p], [m], num_classes) for p, m in zip(predictions, masks, strict=True)], 0)


def step_that_meets_255(model, optimizer, images, masks):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), masks)
    loss.backward()
    optimizer.step()
    return loss.item()


def step_without_clearing(model, optimizer, images, masks):
    loss = F.cross_entropy(model(images), masks.long(), ignore_index=255)
    loss.backward()
    optimizer.step()
    return loss.item()


#: Wrong answers as learners write them, none of them the check's own, and words of what they must be told.
WRONG = [
    ("colourise", lambda mask, palette: palette[mask].transpose(2, 0, 1), "colours come first"),
    ("colourise", lambda mask, palette: palette[mask].astype(float), "colours are floats"),
    ("class_shares", lambda split, n: torch.stack([F.one_hot(m.long(), 256).float().mean((0, 1))[:n]
                                                   for _, m in split]).mean(0), "add up to 1|first, then divide|wrong"),
    ("class_shares", lambda split, n: 100 * np.array(shares_by_comparing(split, n)), "hundred times"),
    ("single_conv", lambda n: nn.Conv2d(3, n, 3), "padding=1"),
    ("single_conv", lambda n: nn.Sequential(nn.Conv2d(3, n, 3, padding=1), nn.Softmax(1)), "softmax behind"),
    ("single_conv", lambda n: None, "no nn.Module"), ("single_conv", nn.Conv2d(3, 4, 3), "without brackets"),
    ("single_conv", lambda n: nn.Conv2d(3, n, 5, padding=2, stride=2), "instead of"),
    ("single_conv", lambda n: nn.Identity(), "has no parameters"),
    ("cross_entropy", lambda x, m: F.cross_entropy(x[None], m[None].long(), ignore_index=255, reduction="sum"), "sum"),
    ("cross_entropy", lambda x, m: F.cross_entropy(x[None], m[None].long()), "255 is no class"),
    ("cross_entropy", lambda x, m: -(x.exp() / x.exp().sum(0))[:, m != 255].gather(
        0, m[m != 255].long()[None]).log().mean(), "overflow"),
    ("training_step", step_without_clearing, "zero_grad.. is missing"),
    ("training_step", step_that_returns_the_graph, "plain number: loss.item"),
    ("single_conv", lambda n: nn.Sequential(nn.Conv2d(3, n, 3, padding=1), Detached()), "No gradient reaches"),
    ("training_step", lambda model, optimizer, x, y: F.cross_entropy(model(x), y, ignore_index=255).item(),
     "there is no step"),
    ("training_step", step_that_meets_255, "ignore_index=255"),
    ("class_shares", lambda split, n: [0] * n if split[0][1].max() == 255 and 1 / 0 else None, "returns nothing"),
    ("confusion_matrix", lambda p, m, n: torch.bincount((m.long() * n + p).flatten(), minlength=n * n).reshape(n, n),
     "Are ignored pixels among the pairs"),
    ("confusion_matrix", no_labels_left_out, "Rows and columns are exchanged"),
    ("confusion_matrix", overflow_of_bytes, "does not fit into a byte"),
    ("iou", union_with_unknown, "counts ignored pixels"),
    ("iou", picture_by_picture, "mean of the pictures' IoU"),
    ("iou", lambda p, m, n: torch.tensor(iou_class_by_class(p, m, n)).nan_to_num(), "gets 0"),
    ("constant_rule", lambda train, mask, n: torch.full_like(mask, mask.flatten().mode().values.item()),
     "looks at the mask of the picture"),
    ("constant_rule", lambda train, mask, n: 1, "shape"),
    ("window", lambda kernel_sizes: kernel_sizes[0] * len(kernel_sizes), "expected: 5"),
    ("class_weights", lambda shares: (1 / shares) / (1 / shares).mean(), "1 / 0 is infinite"),
    ("two_convs", lambda n: nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, n, 3, padding=1)), "no ReLU")]


@pytest.mark.slow
def test_answers():
    assert_recognises({name: EXERCISES[name] for name in OTHERS}, OTHERS, WRONG)
