"""The checks of lesson 5, both parts: right answers of other styles pass, and wrong ones are told what is wrong."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seglab import models, training
from seglab.checks import EXERCISES
from seglab.checks.refinement import _GCN
from seglab.metrics.boundary import boundary_distance
from seglab.models.gcn import default_kernel
from tests.checks.answers import assert_recognises

# ------------------------------------------------------------------------------------------------ right, and different


class RightFirst(nn.Module):
    def __init__(self, in_channels, out_channels, k):
        super().__init__()
        self.right = nn.Sequential(nn.Conv2d(in_channels, out_channels, (1, k), padding="same"),
                                   nn.Conv2d(out_channels, out_channels, (k, 1), padding="same"))
        self.left = nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=(k, 1), padding="same"),
                                  nn.Conv2d(out_channels, out_channels, kernel_size=(1, k), padding="same"))

    def forward(self, x):
        return torch.stack([way(x) for way in (self.right, self.left)]).sum(0)


class Padded(models.GlobalConvBlock):
    def forward(self, x):
        down, across = self.left
        across2, down2 = self.right
        half = self.k // 2
        first = F.conv2d(F.pad(x, (0, 0, half, half)), down.weight, down.bias)
        second = F.conv2d(x, across2.weight, across2.bias, padding=(0, half))
        return across(first) + down2(second)


def counted_by_pytorch(in_channels, out_channels, k):
    block = models.GlobalConvBlock(in_channels, out_channels, k)
    return [sum(p.numel() for p in net.parameters()) for net in (block, nn.Conv2d(in_channels, out_channels, k))]


def counted_by_formula(in_channels, out_channels, k):
    return torch.tensor([2 * k * out_channels * (in_channels + out_channels) + 4 * out_channels,
                         out_channels * (k * k * in_channels + 1)])


def reach_by_rings(heat, share):
    rows, columns = np.indices(heat.shape)
    ring = np.maximum(abs(rows - heat.shape[0] // 2), abs(columns - heat.shape[1] // 2))
    sums = np.cumsum(np.bincount(ring.ravel(), weights=np.asarray(heat, float).ravel()))
    return 2 * int((sums < share * sums[-1] - 1e-9).sum()) + 1


def reach_padded(heat, share):
    side = 1
    while True:
        half = side // 2
        y, x = heat.shape[0] // 2, heat.shape[1] // 2
        rows = slice(y - half if y >= half else 0, y + half + 1)
        columns = slice(x - half if x >= half else 0, x + half + 1)
        if heat[rows, columns].sum() / heat.sum() >= share:
            return side
        side += 2


class Functional(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.first = nn.Conv2d(channels, channels, 3, padding="same")

    def forward(self, x):
        out = self.second(F.relu(self.first(x)))
        out += x
        return out


class StepByStep(_GCN):
    def forward(self, images):
        maps = self.backbone(images)
        scores = {stage: self.large[stage](maps[stage]) for stage in maps}
        x = scores["c5"]
        for stage in ["c4", "c3", "c2"]:
            x = F.interpolate(x, size=scores[stage].shape[2:], mode="bilinear", align_corners=False)
            x = self.refine[stage](x + scores[stage])
        x = self.finish[0](F.interpolate(x, scale_factor=2, mode="bilinear"))
        return self.finish[1](F.interpolate(x, scale_factor=2, mode="bilinear"))


class ADict(_GCN):
    def forward(self, images):
        return {"out": super().forward(images)}


def kernel_by_impulse(block):
    """What the block makes of a single 1 in the middle, in each channel."""
    _, inside, k, _ = block.left[0].weight.shape
    impulses = torch.zeros(inside, inside, 2 * k - 1, 2 * k - 1)
    impulses[range(inside), range(inside), k - 1, k - 1] = 1
    answers = (block.left(impulses) + block.right(impulses))[:, :, k // 2:-(k // 2), k // 2:-(k // 2)]  # (I, O, k, k)
    return answers.transpose(0, 1).flip(2, 3)


def kernel_in_loops(block):
    first, second = (conv.weight for conv in block.left)
    third, fourth = (conv.weight for conv in block.right)
    kernel = torch.zeros(len(second), first.shape[1], first.shape[2], first.shape[2])
    for o in range(kernel.shape[0]):
        for i in range(kernel.shape[1]):
            for m in range(len(first)):
                kernel[o, i] += torch.outer(first[m, i, :, 0], second[o, m, 0])
                kernel[o, i] += torch.outer(fourth[o, m, :, 0], third[m, i, 0])
    return kernel


def mask_by_where(trimap, name):
    species = 2 if name[:1].islower() else 1
    return np.where(trimap == 1, species, np.where(trimap == 2, 0, 255))


def mask_in_place_but_in_order(trimap, name):
    mask = trimap.copy()
    mask[trimap == 2] = 0
    mask[trimap == 3] = 255
    mask[trimap == 1] = 1 if name[0] == name[0].upper() else 2
    return mask


def mask_from_a_list(trimap, name):
    pet = {"Abyssinian": 1, "Egyptian_Mau": 1}.get(name.rpartition("_")[0], 2)
    return torch.tensor([9, pet, 0, 255])[torch.from_numpy(trimap).long()]


def dice_in_a_loop(logits, masks):
    p = torch.softmax(logits.double(), dim=1)
    scores = []
    for c in range(logits.shape[1]):
        true = masks == c
        if true.any():
            mine = p[:, c]
            scores.append(2 * mine[true].sum() / (mine[masks != 255].sum() + true.sum()))
    return 1 - torch.stack(scores).mean() if scores else logits.double().sum() * 0


def dice_of_labelled_pixels(logits, masks):
    labelled = masks != 255
    p = logits.permute(0, 2, 3, 1)[labelled].float().softmax(-1)  # (pixels, C)
    if not len(p):
        return torch.tensor(0.0)
    y = F.one_hot(masks[labelled].long(), p.shape[1])
    present = y.sum(0) > 0
    dice = 2 * (p * y).sum(0)[present] / (p.sum(0) + y.sum(0))[present]
    return (1 - dice).mean()


def iou_from_dice(logits, masks):
    p = logits.float().softmax(1)
    terms = []
    for c in masks.unique().tolist():
        if c != 255:
            true = masks == c
            shared = p[:, c][true].sum()
            terms.append(shared / (p[:, c][masks != 255].sum() + true.sum() - shared))
    return 1 - sum(terms) / len(terms) if terms else torch.zeros(())


def best_by_sorting(values, mode):
    sign = -1 if mode == "max" else 1
    known = sorted((sign * value, epoch) for epoch, value in enumerate(values, 1) if not math.isnan(value))
    return known[0][1] if known else 0


def best_by_numpy(values, mode):
    if np.isnan(values).all():
        return 0
    return np.nanargmax(values) + 1 if mode == "max" else np.nanargmin(values) + 1


def best_by_the_monitor(values, mode):
    rule, best, found = training.Monitor("miou", mode=mode, worst_score=-1e9 if mode == "max" else 1e9), None, 0
    for epoch, value in enumerate(values, 1):
        if rule.is_better(value, best):
            best, found = value, epoch
    return found


def pictures_by_sums(guesses, masks):
    total = count = 0
    for i in range(len(masks)):
        known = np.count_nonzero(masks[i] != 255)
        if known:
            total += np.count_nonzero((guesses[i] == masks[i]) & (masks[i] != 255)) / known
            count += 1
    return total / count


def fold_by_copy(mask):
    folded = mask.copy()
    folded[folded == 255] = np.unique(folded)[1] if 0 in folded else np.unique(folded)[0]
    return folded


def band_by_scipy(guess, truth, width):
    distance = np.full(truth.shape, np.inf)
    for value in set(truth.ravel().tolist()):
        if (truth != value).any():
            inside = truth == value
            distance = np.where(inside, ndimage.distance_transform_edt(inside), distance)
    chosen = (distance < width + 1e-6) & (truth < 255)
    return (guess[chosen] == truth[chosen]).mean() if chosen.any() else float("nan")


def band_by_the_package(guess, truth, width):
    chosen = (boundary_distance(truth) <= width) & (truth != 255)
    return torch.tensor((guess == truth)[chosen].mean() if chosen.any() else float("nan"))


def band_by_search(guess, truth, width):
    hits = []
    for y, x in np.argwhere(truth != 255):
        others = np.argwhere(truth != truth[y, x])
        if len(others) and np.hypot(*(others - (y, x)).T).min() <= width:
            hits.append(guess[y, x] == truth[y, x])
    return sum(hits) / len(hits) if hits else float("nan")


def rates_by_pytorch(values, rate, patience, factor):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler, rates = ReduceLROnPlateau(optimizer, "max", factor=factor, patience=patience, threshold=0.0), []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def rates_from_the_last_best(values, rate, patience, factor):
    rates, since, best = [], 0, None
    for epoch, value in enumerate(values):
        if best is None or value > best:
            best, since = value, epoch
        if epoch - since > patience:
            rate *= factor
            since = epoch
        rates.append(rate)
    return np.array(rates)


OTHERS = {
    "global_conv_block": [RightFirst, Padded, models.GlobalConvBlock],
    "count_parameters": [counted_by_pytorch, counted_by_formula, lambda *a: tuple(np.array(counted_by_pytorch(*a)))],
    "reach": [reach_by_rings, reach_padded, lambda heat, share: torch.tensor([reach_by_rings(heat, share)])],
    "kernel_for_size": [lambda size, stride: max(1, (size // stride // 2) * 2 - 1),
                        lambda size, stride: default_kernel(32 * (size // stride)),
                        lambda size, stride: max([k for k in range(1, size // stride, 2)], default=1)],
    "boundary_refinement": [Functional, models.BoundaryRefinement, lambda c: models.BoundaryRefinement(c, False)],
    "gcn": [StepByStep, ADict, lambda *a: _GCN(*a)],
    "full_kernel": [kernel_by_impulse, kernel_in_loops, lambda block: kernel_in_loops(block).numpy(force=True)],
    "trimap_to_mask": [mask_by_where, mask_in_place_but_in_order, mask_from_a_list],
    "dice_loss": [dice_in_a_loop, dice_of_labelled_pixels, training.dice_loss],
    "iou_loss": [iou_from_dice, training.iou_loss, lambda logits, masks: iou_from_dice(logits.double(), masks)],
    "best_epoch": [best_by_sorting, best_by_numpy, best_by_the_monitor],
    "per_picture_accuracy": [pictures_by_sums, lambda g, m: torch.tensor(pictures_by_sums(g, m)),
                             lambda g, m: np.mean([(a == b)[b != 255].mean() for a, b in zip(g, m, strict=True)
                                                   if (b < 255).any()])],
    "fold_border": [fold_by_copy, lambda mask: np.where(mask < 255, mask, mask[mask < 255].max()),
                    lambda mask: torch.from_numpy(fold_by_copy(mask))],
    "band_accuracy": [band_by_scipy, band_by_the_package, band_by_search],
    "plateau_rates": [rates_by_pytorch, rates_from_the_last_best, lambda *a: torch.tensor(rates_by_pytorch(*a))]}

# --------------------------------------------------------------------------- wrong, as learners write it, and not known


class NoNames(nn.Module):
    def __init__(self, in_channels, out_channels, k):
        super().__init__()
        self.a = nn.Conv2d(in_channels, out_channels, (k, 1), padding=(k // 2, 0))
        self.b = nn.Conv2d(out_channels, out_channels, (1, k), padding=(0, k // 2))

    def forward(self, x):
        return self.b(self.a(x))


class WrongPadding(nn.Module):
    def __init__(self, in_channels, out_channels, k):
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(in_channels, out_channels, (k, 1), padding=(k // 2, 0)),
                                  nn.Conv2d(out_channels, out_channels, (1, k)))
        self.right = nn.Sequential(nn.Conv2d(in_channels, out_channels, (1, k)),
                                   nn.Conv2d(out_channels, out_channels, (k, 1), padding=(k // 2, 0)))

    def forward(self, x):
        return self.left(x) * self.right(x)


class OneAfterTheOther(models.GlobalConvBlock):
    def forward(self, x):
        return self.right(self.left(x))


class SameSides(nn.Module):
    def __init__(self, in_channels, out_channels, k):
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(in_channels, out_channels, (k, 1), padding=k // 2),
                                  nn.Conv2d(out_channels, out_channels, (1, k)))
        self.right = nn.Conv2d(in_channels, out_channels, (1, k), padding=(0, k // 2))

    def forward(self, x):
        return self.left(x) + self.right(x)


class WithoutPadding(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, channels, 3), nn.ReLU(), nn.Conv2d(channels, channels, 3))

    def forward(self, x):
        return x + self.layers(x)


class InAList(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = [nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1)]

    def forward(self, x):
        return x + self.layers[1](self.layers[0](x).relu())


class Concatenated(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.cat([x, self.one(x)], 1)


class Silent(Functional):
    def forward(self, x):
        super().forward(x)


class NotDoubled(_GCN):
    def forward(self, images):
        maps = self.backbone(images)
        return self.refine["c4"](self.large["c5"](maps["c5"]) + self.large["c4"](maps["c4"]))


class FromTheFineEnd(_GCN):
    def forward(self, images):
        maps = self.backbone(images)
        x = self.large["c2"](maps["c2"])
        return x + F.interpolate(self.large["c3"](maps["c3"]), scale_factor=2)


class WrongKernel(_GCN):
    def forward(self, images):
        maps = self.backbone(images)
        return self.large["c5"](maps["c4"])


class AllLayersAtOnce(_GCN):
    def forward(self, images):
        return self.finish(self.backbone(images))


class NoBackbone(_GCN):
    def forward(self, images):
        return self.large["c5"](images["c5"])


def argmax_dice(logits, masks):
    p = F.one_hot(logits.argmax(1), logits.shape[1]).permute(0, 3, 1, 2).float()
    y = F.one_hot(masks.clamp(max=logits.shape[1] - 1).long(), logits.shape[1]).permute(0, 3, 1, 2)
    return 1 - (2 * (p * y).sum((0, 2, 3)) / (p + y).sum((0, 2, 3))).mean()


def smooth_dice(logits, masks):
    """As popular code has it: a class that does not occur is nearly perfect."""
    valid = (masks != 255)[:, None]
    y = F.one_hot(masks.where(masks != 255, 0).long(), logits.shape[1]).permute(0, 3, 1, 2) * valid
    p = logits.float().softmax(1) * valid
    return 1 - ((2 * (p * y).sum((0, 2, 3)) + 1) / ((p + y).sum((0, 2, 3)) + 1)).mean()


def unpermuted(logits, masks):
    p = logits.softmax(1)
    y = F.one_hot(masks.where(masks != 255, 0).long(), logits.shape[1])
    return 1 - (2 * (p * y).sum() / (p + y).sum())


def item_dice(logits, masks):
    return training.dice_loss(logits, masks).item()


def half_dice(logits, masks):
    valid = (masks != 255)[:, None]
    y = (F.one_hot(masks.where(masks != 255, 0).long(), logits.shape[1]).permute(0, 3, 1, 2) * valid).to(logits.dtype)
    p = logits.softmax(1) * valid
    present = y.sum((0, 2, 3)) > 0
    if not present.any():
        return 0 * logits.sum()
    return 1 - (2 * (p * y).sum((0, 2, 3)) / (p + y).sum((0, 2, 3)))[present].mean()


def with_255(logits, masks):
    return 1 - (logits.softmax(1) * F.one_hot(masks.long(), logits.shape[1])).mean()


def nan_gradient(logits, masks):
    """A class that is not there: 0 / 0, hidden by where, and back in the gradient."""
    p = logits.float().softmax(1) * (masks != 255)[:, None]
    found = []
    for c in range(logits.shape[1]):
        true = (masks == c).float()
        mine = p[:, c] * (true.sum() > 0)
        found.append(torch.where(true.sum() > 0, 2 * (mine * true).sum() / (mine.sum() + true.sum()), 0))
    found = torch.stack(found)
    present = torch.tensor([(masks == c).any() for c in range(logits.shape[1])])
    return ((1 - found) * present).sum() / present.sum().clamp(min=1)


def in_place(trimap, name):
    trimap[trimap == 3] = 255
    trimap[trimap == 2] = 0
    return trimap


def fold_in_place(mask):
    mask[mask == 255] = 1
    return mask


#: None of them is the check's own.
WRONG = [
    ("global_conv_block", NoNames, "self.left and self.right"), ("global_conv_block", WrongPadding, "shape|smaller"),
    ("global_conv_block", OneAfterTheOther, "Each gets|each way gets the maps"),
    ("global_conv_block", SameSides, "parameters"),
    ("global_conv_block", models.GlobalConvBlock(6, 4, 7), "without brackets"),
    ("global_conv_block", lambda i, o, k: nn.Conv2d(i, o, k, padding=k // 2), "full k×k"),
    ("global_conv_block", lambda i, o, k: None, "no nn.Module"),
    ("count_parameters", lambda i, o, k: 2 * k * o * (i + o), "shape"),
    ("count_parameters", lambda i, o, k: (2 * k * o * i, k * k * o * i), "values are wrong"),
    ("count_parameters", lambda i, o, k: (2 * k * o * (i + o), k * k * i * o), "biases are missing"),
    ("count_parameters", lambda i, o, k: (k * o * (i + o) + 2 * o, k * k * i * o + o), "four strips"),
    ("count_parameters", lambda i, o, k: (k * k * i * o + o, 2 * k * o * (i + o) + 4 * o), "exchanged"),
    ("count_parameters", lambda i, o, k: counted_by_formula(o, i, k), "wrong"),
    ("reach", lambda heat, share: int((heat > share).sum()), "wrong|expected"),
    ("reach", lambda heat, share: (reach_by_rings(heat, share) - 1) // 2, "to each side"),
    ("reach", lambda heat, share: reach_by_rings(heat, share) ** 2, "area"),
    ("reach", lambda heat, share: reach_by_rings(heat, 0.5), "not always a half"),
    ("reach", lambda heat, share: heat.shape[0], "wrong|expected"),
    ("reach", lambda heat, share: heat[heat.shape / 2], "stops with"),
    ("kernel_for_size", lambda size, stride: size // stride, "number of places"),
    ("kernel_for_size", lambda size, stride: size // stride - 1, "even"),
    ("kernel_for_size", lambda size, stride: size / stride - 1, "even"),
    ("kernel_for_size", lambda size, stride: default_kernel(size), "stride is left out"),
    ("kernel_for_size", lambda size, stride: (size // stride - 1) | 1, "adding 1"),
    ("kernel_for_size", lambda size, stride: 15, "wrong|expected"),
    ("boundary_refinement", WithoutPadding, "padding=1"), ("boundary_refinement", InAList, "not registered"),
    ("boundary_refinement", Concatenated, "shape|parameters|expected"),
    ("boundary_refinement", Silent, "returns nothing"),
    ("boundary_refinement", lambda c: nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(),
                                                    nn.Conv2d(c, c, 3, padding=1)), "map itself is missing"),
    ("boundary_refinement", lambda c: models.BoundaryRefinement(c, norm=True), "expected|BatchNorm"),
    ("boundary_refinement", models.BoundaryRefinement(3), "without brackets"),
    ("gcn", NotDoubled, "double the size"), ("gcn", FromTheFineEnd, "shape|expected"),
    ("gcn", WrongKernel, "its own stage"), ("gcn", AllLayersAtOnce, "list of two layers"),
    ("gcn", NoBackbone, "stops with"), ("gcn", type("Half", (_GCN,), {"forward": lambda self, images: self.refine["c4"](
        self.large["c5"](self.backbone(images)["c5"]))}), "shape|expected"),
    ("full_kernel", lambda block: block.left[0].weight @ block.left[1].weight, "left way"),
    ("full_kernel", lambda block: block.left[0].weight, "shape"),
    ("full_kernel", lambda block: kernel_by_impulse(block).flip(2, 3), "180"),
    ("full_kernel", lambda block: kernel_in_loops(block).mT, "exchanged"),
    ("full_kernel", lambda block: kernel_in_loops(block).transpose(0, 1), "first two axes"),
    ("full_kernel", lambda block: None, "returns nothing"),
    ("trimap_to_mask", in_place, "changes its arguments"),
    ("trimap_to_mask", lambda trimap, name: trimap - 1, "minus 1"),
    ("trimap_to_mask", lambda trimap, name: (trimap == 1).astype(np.uint8), "wrong|background"),
    ("trimap_to_mask", lambda trimap, name: np.array([0, 1, 0, 255])[trimap], "All pets are cats"),
    ("trimap_to_mask", lambda trimap, name: mask_by_where(trimap, name.swapcase()), "exchanged"),
    ("trimap_to_mask", lambda trimap, name: mask_by_where(trimap, name) % 255, "border is counted as background"),
    ("trimap_to_mask", lambda trimap, name: None, "returns nothing"),
    ("dice_loss", argmax_dice, "No gradient"), ("dice_loss", item_dice, "plain number"),
    ("dice_loss", smooth_dice, "wrong|in no mask"), ("dice_loss", unpermuted, "permute"),
    ("dice_loss", half_dice, "half precision"), ("dice_loss", with_255, "255 is no class|permute"),
    ("dice_loss", nan_gradient, "gradient is NaN"), ("dice_loss", lambda *a: -training.dice_loss(*a), "sign|wrong"),
    ("dice_loss", lambda logits, masks: training.dice_loss(logits, masks.where(masks != 255, 0)), "counted as class 0"),
    ("iou_loss", training.dice_loss, "Dice loss"), ("iou_loss", argmax_dice, "No gradient"),
    ("iou_loss", item_dice, "plain number"), ("iou_loss", unpermuted, "permute"),
    ("iou_loss", lambda *a: 1 - training.iou_loss(*a), "wrong|1 minus"),
    ("iou_loss", lambda logits, masks: training.iou_loss(logits, masks.where(masks != 255, 0)), "counted as class 0"),
    ("best_epoch", lambda values, mode: int(np.argmax(values)) + 1, "mode is not used|NaN|not used"),
    ("best_epoch", lambda values, mode: best_by_sorting(values, mode) - 1, "from 1"),
    ("best_epoch", lambda values, mode: values.index(max(values) if mode == "max" else min(values)) + 1, "NaN"),
    ("best_epoch", lambda values, mode: max(values), "expected|wrong|best value"),
    ("best_epoch", lambda values, mode: len(values), "last epoch"),
    ("best_epoch", lambda values, mode: (np.nanargmax if mode == "max" else np.nanargmin)(values) + 1, "eturn 0"),
    ("per_picture_accuracy", lambda g, m: (np.concatenate(g, 1) == np.concatenate(m, 1)).mean(), "wrong|dataset"),
    ("per_picture_accuracy", lambda g, m: np.mean([(a == b).mean() for a, b in zip(g, m, strict=True)]),
     "number that you divide by"),
    ("per_picture_accuracy", lambda g, m: np.mean([(a == b)[b != 255].sum() / (b != 255).sum() for a, b in zip(
        g, m, strict=True)]), "makes the mean NaN"),
    ("per_picture_accuracy", lambda g, m: [(a == b)[b != 255].mean() for a, b in zip(g, m, strict=True)],
     "several numbers|accuracies of the pictures"),
    ("per_picture_accuracy", lambda g, m: (g == m).mean(), "stops with"),
    ("per_picture_accuracy", lambda g, m: pictures_by_sums(g, m) * 100, "hundred"),
    ("fold_border", fold_in_place, "changes its arguments"), ("fold_border", lambda mask: mask % 255, "background"),
    ("fold_border", lambda mask: np.where(mask == 255, 1, mask), "a cat in every picture"),
    ("fold_border", lambda mask: np.minimum(mask, 2), "a dog in every picture"),
    ("fold_border", lambda mask: (mask > 0) * 1, "class 1"), ("fold_border", lambda mask: mask[mask != 255], "shape"),
    ("fold_border", lambda mask: mask.copy(), "still 255"),
    ("band_accuracy", lambda g, t, w: (g == t)[t != 255].mean(), "whole picture"),
    ("band_accuracy", lambda g, t, w: band_by_scipy(t, g, w), "wrong|outline is that of the guess|None|NaN"),
    ("band_accuracy", lambda g, t, w: 1 - band_by_scipy(g, t, w), "share of wrong"),
    ("band_accuracy", lambda g, t, w: (g == t)[boundary_distance(t) <= w].mean(), "as wrong"),
    ("band_accuracy", lambda g, t, w: np.nan_to_num(band_by_scipy(g, t, w)), "not 0"),
    ("band_accuracy", lambda g, t, w: cv2.distanceTransform(t == 1, cv2.DIST_L2, 5).mean(), "wants bytes|stops with"),
    ("band_accuracy", lambda g, t, w: (g == t)[(boundary_distance(t) == w) & (t != 255)].mean(), "wrong|expected"),
    ("plateau_rates", lambda values, rate, patience, factor: [rate] * len(values), "never falls"),
    ("plateau_rates", lambda values, rate, patience, factor: rate, "shape"),
    ("plateau_rates", lambda v, r, p, f: rates_by_pytorch(v, r, p - 1, f), "too early"),
    ("plateau_rates", lambda v, r, p, f: rates_by_pytorch(v, r, p + 1, f), "too late"),
    ("plateau_rates", lambda v, r, p, f: [r, *rates_by_pytorch(v, r, p, f)][:-1], "before each epoch"),
    ("plateau_rates", lambda v, r, p, f: rates_by_pytorch([-x for x in v], r, p, f), "wrong|expected")]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_answers(name):
    assert len(OTHERS[name]) >= 3 and sum(one[0] == name for one in WRONG) >= 6
    assert_recognises({name: EXERCISES[name]}, OTHERS, [one for one in WRONG if one[0] == name])
