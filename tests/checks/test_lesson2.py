"""The checks of lesson 2: right answers of other styles pass, and wrong ones are told what is wrong."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.segmentation.fcn import FCNHead

from seglab.checks import EXERCISES
from seglab.checks.fcn import _Decoder
from seglab.labels import voc_palette
from tests.checks.answers import assert_recognises


def converted_by_copying(linear, channels, height, width):
    conv = nn.Conv2d(channels, linear.out_features, (height, width))
    conv.load_state_dict({"weight": linear.weight.reshape(-1, channels, height, width), "bias": linear.bias})
    return conv


def converted_to_a_function(linear, channels, height, width):
    return lambda maps: F.conv2d(maps, linear.weight.unflatten(1, (channels, height, width)), linear.bias)


def field_from_the_end(layers):
    """How many places of the input a single output needs, from the last layer to the first."""
    field, stride = 1, 1
    for kernel, own, dilation in reversed(layers):
        field = (field - 1) * own + (kernel - 1) * dilation + 1
        stride *= own
    return np.array([field, stride])


def enlarged_in_a_loop(row, factor):
    found = []
    for i in range(len(row) * factor):
        x = min(max((i + 0.5) / factor - 0.5, 0), len(row) - 1)
        left = math.floor(x)
        right = min(left + 1, len(row) - 1)
        found.append(float(row[left]) * (left + 1 - x) + float(row[right]) * (x - left))
    return found


class Layers(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.first = nn.Conv2d(in_channels, in_channels // 4, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(in_channels // 4)
        self.drop = nn.Dropout2d(0.1)
        self.last = nn.Conv2d(in_channels // 4, num_classes, 1)

    def forward(self, x):
        return self.last(self.drop(F.relu(self.norm(self.first(x)))))


class InAnotherOrder(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.classify = nn.Conv2d(in_channels // 4, num_classes, 1)
        self.drop, self.norm = nn.Dropout(0.1), nn.BatchNorm2d(in_channels // 4)
        self.reduce = nn.Conv2d(in_channels, in_channels // 4, 3, padding=1, bias=False)

    def forward(self, maps):
        return self.classify(self.drop(self.norm(self.reduce(maps)).relu()))


class ToTheSize(_Decoder):
    def forward(self, maps):
        x = self.context(self.lateral["c5"](maps["c5"]))
        for stage in ["c4", "c3", "c2"]:
            finer = self.lateral[stage](maps[stage])
            x = self.smooth[stage](finer + F.interpolate(x, size=finer.shape[2:], mode="bilinear"))
        return x


class Upsample(_Decoder):
    def forward(self, maps):
        double = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        y = self.context(self.lateral["c5"](maps["c5"]))
        y = self.smooth["c4"](double(y) + self.lateral["c4"](maps["c4"]))
        y = self.smooth["c3"](double(y) + self.lateral["c3"](maps["c3"]))
        return self.smooth["c2"](double(y) + self.lateral["c2"](maps["c2"]))


def weighted(output, masks):
    weights = {"out": 1, "aux": 0.5}
    return sum(w * F.nll_loss(output[name].log_softmax(1), masks, ignore_index=255)
               for name, w in weights.items() if name in output)


def overlay_pixel_by_pixel(image, mask, palette, alpha):
    result = image.copy()
    for y, x in np.argwhere((mask > 0) & (mask < 255)):
        for c in range(3):
            result[y, x, c] = int((1 - alpha) * int(image[y, x, c]) + alpha * int(palette[mask[y, x], c]))
    return result


def overlay_by_opencv(image, mask, palette, alpha):
    mixed = cv2.addWeighted(image, 1 - alpha, palette[mask], alpha, 0)
    return np.where(np.isin(mask, [0, 255])[..., None], image, mixed)


def flicker_by_stacking(masks):
    film = np.stack(masks)
    return ((film[:-2] == film[2:]) & (film[1:-1] != film[:-2])).mean()


def flicker_in_a_loop(masks):
    total = 0
    for t in range(1, len(masks) - 1):
        back = masks[t - 1] == masks[t + 1]
        total += np.count_nonzero(back & (masks[t] != masks[t - 1])) / masks[t].size
    return total / (len(masks) - 2)


def tiles_in_a_loop(length, tile, overlap):
    starts = [0]
    while starts[-1] + tile < length:
        starts.append(starts[-1] + tile - overlap)
    return starts


OTHERS = {
    "to_convolution": [converted_by_copying, converted_to_a_function],
    "receptive_field": [field_from_the_end], "enlarge": [enlarged_in_a_loop],
    "fcn_head": [FCNHead, Layers, InAnotherOrder, lambda c, n: nn.Sequential(
        nn.LazyConv2d(c // 4, 3, padding=1, bias=False), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Dropout(0.1),
        nn.LazyConv2d(n, 1))], "skip_decoder": [ToTheSize, Upsample], "loss_with_aux": [weighted],
    "overlay": [overlay_pixel_by_pixel, overlay_by_opencv],
    "flicker": [flicker_by_stacking, flicker_in_a_loop, lambda masks: np.array([flicker_by_stacking(masks)])],
    "voc_colour": [lambda class_id: voc_palette(256)[class_id],
                   lambda class_id: [int("".join(f"{class_id:09b}"[8 - c::-3]).ljust(8, "0"), 2) for c in range(3)]],
    "tile_starts": [tiles_in_a_loop, lambda *a: (start for start in tiles_in_a_loop(*a)),
                    lambda length, tile, overlap: np.arange(max(1, -((overlap - length) // (tile - overlap)))) * (
                        tile - overlap)]}


class Concatenated(_Decoder):
    def forward(self, maps):
        x = self.lateral["c5"](maps["c5"])
        return torch.cat([F.interpolate(x, scale_factor=8), self.lateral["c2"](maps["c2"])], 1)


class NotDoubled(_Decoder):
    def forward(self, maps):
        x = self.context(self.lateral["c5"](maps["c5"]))
        return self.smooth["c4"](x + self.lateral["c4"](maps["c4"]))


class WithoutLaterals(_Decoder):
    def forward(self, maps):
        x = self.context(maps["c5"])
        return F.interpolate(x, scale_factor=2) + maps["c4"]


class Unaware(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.1)


class Unregistered(nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        between = in_channels // 4
        self.layers = [nn.Conv2d(in_channels, between, 3, padding=1), nn.Conv2d(between, num_classes, 1)]

    def forward(self, x):
        return self.layers[1](self.layers[0](x))


def blended(image, mask, palette, alpha):
    return (image * (1 - alpha) + palette[mask] * alpha).astype(np.uint8)


def as_floats(image, mask, palette, alpha):
    return image * (1 - alpha) + palette[mask] * alpha


def in_place(image, mask, palette, alpha):
    image[mask > 0] = palette[mask][mask > 0]
    return image


#: Wrong answers as learners write them, none of them the check's own, and words of what they must be told.
WRONG = [
    ("to_convolution", lambda linear, c, h, w: linear, r"instead of|size mismatch|mat1 and mat2|view it as"),
    ("to_convolution", lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, 1), "shape|random"),
    ("to_convolution", lambda linear, c, h, w: None, "returns nothing"),
    ("to_convolution", lambda linear, c, h, w: nn.Conv2d(linear.out_features, c, (h, w)),
     "classes, channels, height, width"),
    ("to_convolution", lambda linear, c, h, w: converted_by_copying(setattr(
        linear.weight, "data", linear.weight.data.view(-1, c, h, w)) or linear, c, h, w), "changes the linear layer"),
    ("to_convolution", lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, h + 1), "Kernel_size is"),
    ("receptive_field", lambda layers: (1 + sum(k - 1 for k, s, d in layers), 1), "stride"),
    ("receptive_field", lambda layers: 1 + sum((k - 1) * d for k, s, d in layers), "both numbers|should be"),
    ("receptive_field", lambda layers: (np.prod([k for k, s, d in layers]), np.prod([s for k, s, d in layers])),
     "instead of|expected"),
    ("receptive_field", lambda layers: [0 for k, s in layers], "three numbers"),
    ("enlarge", lambda row, factor: torch.repeat_interleave(row, factor, dim=0), "nearest-neighbour"),
    ("enlarge", lambda row, factor: F.interpolate(row[None, None], scale_factor=factor, mode="linear",
                                                  align_corners=True)[0, 0], "align_corners=True"),
    ("enlarge", lambda row, factor: F.interpolate(row[None, None], scale_factor=factor, mode="nearest")[0, 0],
     "nearest-neighbour"),
    ("enlarge", lambda row, factor: row[torch.arange(len(row) * factor) / factor], "x.floor"),
    ("enlarge", lambda row, factor: np.interp(np.arange(len(row) * factor) / factor, np.arange(len(row)), row),
     "halves are missing"),
    ("fcn_head", lambda c, n: nn.Sequential(nn.Conv2d(c, c // 4, 3, padding=1), nn.ReLU(), nn.Conv2d(c // 4, n, 1)),
     "parameters"),
    ("fcn_head", lambda c, n: nn.Sequential(nn.Conv2d(c, c // 4, 3, padding=1, bias=False), nn.BatchNorm2d(c // 4),
                                            nn.ReLU(), nn.Conv2d(c // 4, n, 1)), "no dropout"),
    ("fcn_head", lambda c, n: nn.Sequential(*[*FCNHead(c, n)][:3], nn.Dropout(), nn.Conv2d(c // 4, n, 1)),
     "dropout of 0.1 is asked for"),
    ("fcn_head", lambda c, n: nn.Sequential(*[*FCNHead(c, n)][:3], Unaware(), nn.Conv2d(c // 4, n, 1)),
     "training=self.training"),
    ("fcn_head", Unregistered, "not registered"),
    ("fcn_head", FCNHead(64, 5), "without brackets"), ("fcn_head", lambda c, n: None, "no nn.Module"),
    ("skip_decoder", Concatenated, "shape"), ("skip_decoder", NotDoubled, "double the size"),
    ("skip_decoder", WithoutLaterals, "lateral convolution of its own stage"),
    ("loss_with_aux", lambda output, masks: F.cross_entropy(output["out"], masks) + 0.5 * F.cross_entropy(
        output["aux"], masks), 'if "aux" in output'),
    ("loss_with_aux", lambda output, masks: sum(F.cross_entropy(x, masks) for x in output.values()), "counts half"),
    ("loss_with_aux", lambda output, masks: F.cross_entropy(output, masks), "is a dictionary"),
    ("overlay", blended, "is painted|are painted"), ("overlay", as_floats, "float64, and should return bytes"),
    ("overlay", in_place, "changes its arguments"),
    ("overlay", lambda image, mask, palette, alpha: palette[mask], "hide the picture"),
    ("overlay", lambda image, mask, palette, alpha: np.where(mask > 0, palette[mask], image), "mask.*None"),
    ("flicker", lambda masks: np.mean([m != masks[0] for m in masks]), "differ from the first frame"),
    ("flicker", lambda masks: np.mean([(a != b).sum() for a, b in pairwise(masks)]),
     "numbers of pixels"),
    ("flicker", lambda masks: sum((masks[t] != masks[t + 1]).mean() for t in range(len(masks))), "no next one"),
    ("voc_colour", lambda class_id: tuple(128 * (class_id >> i & 1) for i in range(3)), "Only the lowest three"),
    ("voc_colour", lambda class_id: voc_palette(256)[class_id][::-1], "Red and blue"),
    ("tile_starts", lambda length, tile, overlap: [i * tile for i in range(math.ceil(length / tile))],
     "do not overlap"),
    ("tile_starts", lambda length, tile, overlap: list(range(0, length - tile + 1, tile - overlap)),
     "end of the picture is not covered")]


@pytest.mark.slow
def test_answers():
    assert_recognises({name: EXERCISES[name] for name in OTHERS}, OTHERS, WRONG)
