"""The checks of lesson 4: right answers of other styles pass, and wrong ones are told what is wrong."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter as TorchvisionGetter
from torchvision.models.segmentation import deeplabv3 as torchvisions

from seglab.checks import EXERCISES
from seglab.checks.deeplab import _ASPP, _DeepLab, conv_block
from seglab.checks.outlines import _STAR
from seglab.datasets.coco import rle_counts
from seglab.datasets.coco.masks import semantic_mask
from seglab.models import ASPP, BackboneWithHeads, IntermediateLayerGetter
from tests.checks.answers import assert_recognises

# -------------------------------------------------------------------------------------------------- right, differently


def covered_pixel_by_pixel(polygon, height, width):
    points = [*zip(polygon[::2], polygon[1::2], strict=True)]
    found = [[0] * width for _ in range(height)]
    for row in range(height):
        for column in range(width):
            for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
                if (y0 > row + 0.5) != (y1 > row + 0.5):
                    found[row][column] ^= column + 0.5 < x0 + (row + 0.5 - y0) / (y1 - y0) * (x1 - x0)
    return found


def covered_by_rows(polygon, height, width):
    """For each row the crossings in their order: between the first and the second it is inside, and so on."""
    points, mask = np.reshape(polygon, (-1, 2)), np.zeros((height, width), np.uint8)
    for row in range(height):
        y = row + 0.5
        crossings = sorted(a[0] + (y - a[1]) * (b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(
            points, np.roll(points, -1, axis=0), strict=True) if (a[1] < y) != (b[1] < y))
        for left, right in zip(crossings[::2], crossings[1::2], strict=True):
            mask[row, (np.arange(width) + 0.5 > left) & (np.arange(width) + 0.5 < right)] = 1
    return mask


def covered_to_the_left(polygon, height, width):
    ys, xs = (np.arange(n) + 0.5 for n in (height, width))
    inside = np.zeros((height, width), dtype=bool)
    for i in range(0, len(polygon), 2):
        (x0, y0), (x1, y1) = polygon[i:i + 2], (polygon * 2)[i + 2:i + 4]
        if y0 != y1:
            passes = (ys >= min(y0, y1)) & (ys < max(y0, y1))
            inside ^= passes[:, None] & (xs[None] > (x0 + (ys - y0) * (x1 - x0) / (y1 - y0))[:, None])
    return torch.from_numpy(inside)


def shoelace_in_a_loop(polygon):
    points, total = [*zip(polygon[::2], polygon[1::2], strict=True)], 0.0
    for i, (x0, y0) in enumerate(points):
        x1, y1 = points[(i + 1) % len(points)]
        total += x0 * y1 - x1 * y0
    return abs(total) / 2


def area_by_trapezia(polygon):
    x, y = np.reshape(polygon, (-1, 2)).T
    return abs(((np.roll(x, -1) - x) * (np.roll(y, -1) + y)).sum() / 2)


def runs_in_a_loop(counts, height, width):
    flat, place, value = np.zeros(height * width, bool), 0, False
    for run in counts:
        flat[place:place + run] = value
        place, value = place + run, not value
    return flat.reshape((height, width), order="F")


def runs_by_pairs(counts, height, width):
    flat, ends = np.zeros(height * width, np.uint8), np.cumsum(counts)
    for start, end in zip(ends[::2], ends[1::2], strict=False):
        flat[start:end] = 1
    return torch.from_numpy(flat.reshape(width, height)).T


def runs_by_pycocotools(counts, height, width):
    return coco_mask.decode(coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width))


def counts_recursively(text, before=()):
    if not text:
        return list(before)
    length = next(i for i, character in enumerate(text, 1) if ord(character) - 48 < 32)
    digits = [(ord(character) - 48) % 32 for character in text[:length]]
    number = sum(digit * 32**i for i, digit in enumerate(digits))
    number -= 32**length if digits[-1] >= 16 else 0
    return counts_recursively(text[length:], (*before, number + (before[-2] if len(before) >= 3 else 0)))


def counts_by_pycocotools(text):
    """The lengths out of the mask; its size is their sum."""
    total = int(rle_counts(text.encode()).sum())
    flat = coco_mask.decode({"size": [total, 1], "counts": text})[:, 0]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return np.diff(np.concatenate([[0], edges, [total]]))


def classes_in_a_loop(categories, names):
    found = {}
    for number, name in enumerate(names):
        for one in categories:
            if one["name"] == name:
                found[one["id"]] = number + 1
    return found


def merged_by_stacking(objects, height, width):
    """As torchvision's reference: the highest class, and 255 where several lie."""
    solid = [(shape, class_id) for shape, class_id, crowd in objects if not crowd]
    maps = np.stack([np.zeros((height, width), bool), *(shape for shape, _ in solid)])
    mask = (maps * np.array([0, *(class_id for _, class_id in solid)])[:, None, None]).max(axis=0)
    mask[maps.sum(axis=0) > 1] = 255
    for shape, _, crowd in objects:
        mask[shape & crowd] = 255
    return mask


def merged_one_by_one(objects, height, width):
    mask = torch.zeros(height, width, dtype=torch.uint8)
    for shape, class_id, crowd in objects:
        shape = torch.from_numpy(shape)
        mask = torch.where(shape & ((mask > 0) | crowd), 255, torch.where(shape, class_id, mask))
    return mask


def merged_by_the_package(objects, height, width):
    rles = [coco_mask.encode(np.asfortranarray(shape.astype(np.uint8))) for shape, _, _ in objects]
    return semantic_mask(rles, [one[1] for one in objects], [one[2] for one in objects], (height, width))


def cropped_into_squares(image, mask, top, left, size, flip):
    square = torch.zeros(3, size, size, dtype=torch.uint8), torch.full((size, size), 255, dtype=torch.uint8)
    for whole, part in zip(square, (image[:, top:top + size, left:left + size],
                                    mask[top:top + size, left:left + size]), strict=True):
        whole[..., :part.shape[-2], :part.shape[-1]] = part
    return [one.flip(-1) if flip else one for one in square]


def cropped_after_padding(image, mask, top, left, size, flip):
    image, mask = F.pad(image, (0, size, 0, size)), F.pad(mask, (0, size, 0, size), value=255)
    image, mask = image[:, top:, left:][:, :size, :size], mask[top:, left:][:size, :size]
    return (torch.fliplr(image.permute(1, 2, 0)).permute(2, 0, 1), torch.fliplr(mask)) if flip else (image, mask)


def cropped_by_index(image, mask, top, left, size, flip):
    rows, columns = torch.arange(top, top + size), torch.arange(left, left + size)
    if flip:
        columns = columns.flip(0)
    outside = (rows[:, None] >= mask.shape[0]) | (columns[None] >= mask.shape[1])
    index = rows.clamp(max=mask.shape[0] - 1)[:, None], columns.clamp(max=mask.shape[1] - 1)
    return image[(slice(None), *index)] * ~outside, torch.where(outside, 255, mask[index])


def atrous_place_by_place(signal, kernel, rate):
    found = torch.zeros(len(signal))
    for i in range(len(signal)):
        for k in range(len(kernel)):
            place = i + rate * (k - len(kernel) // 2)
            if 0 <= place < len(signal):
                found[i] += kernel[k] * signal[place]
    return found


def atrous_by_matrix(signal, kernel, rate):
    places, n = torch.arange(len(signal)), len(signal)
    matrix = torch.zeros(n, n)
    for k, weight in enumerate(kernel):
        matrix += weight * (places[None] == places[:, None] + rate * (k - len(kernel) // 2))
    return (matrix @ signal).numpy()


def atrous_with_zeros(signal, kernel, rate):
    """The same kernel, its holes filled with zeros."""
    filled = torch.zeros(rate * (len(kernel) - 1) + 1)
    filled[::rate] = kernel
    return F.conv1d(signal[None, None], filled[None, None], padding=len(filled) // 2)[0, 0]


def working_by_convolution(width, rate):
    ones = torch.ones(1, 1, width, width)
    return F.conv2d(ones, torch.ones(1, 1, 3, 3), padding=rate, dilation=rate)[0, 0]


def working_in_loops(width, rate):
    inside = range(width)
    return [[sum(y + rate * a in inside and x + rate * b in inside for a in (-1, 0, 1) for b in (-1, 0, 1))
             for x in inside] for y in inside]


def working_by_padding(width, rate):
    padded = np.pad(np.ones((width, width)), rate)
    return sum(padded[a:a + width, b:b + width] for a in (0, rate, 2 * rate) for b in (0, rate, 2 * rate))


def torch_poly(step, steps, start, power):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=start)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, steps, power)
    for _ in range(step):
        optimizer.step()
        schedule.step()
    return schedule.get_last_lr()[0]


class ByNames(nn.ModuleDict):
    def __init__(self, network, return_layers):
        names = [name for name, _ in network.named_children()]
        self_layers = {name: getattr(network, name) for name in names[:1 + max(map(names.index, return_layers))]}
        super().__init__(self_layers)
        self.asked = return_layers

    def forward(self, images):
        outputs = []
        for name in self:
            images = self[name](images)
            outputs.append((self.asked.get(name), images))
        return {name: one for name, one in outputs if name}


class Attributes(nn.Module):
    """No nn.ModuleDict: the layers are attributes under their own names."""

    def __init__(self, network, return_layers):
        super().__init__()
        self.wanted, self.order = return_layers, []
        left = set(return_layers)
        for name, layer in network.named_children():
            if left:
                setattr(self, name, layer)
                self.order.append(name)
                left.discard(name)

    def forward(self, x):
        maps = {}
        for name in self.order:
            x = getattr(self, name)(x)
            maps |= {self.wanted[name]: x} if name in self.wanted else {}
        return maps


class Interpolated(nn.Module):
    def __init__(self, in_channels, rates, out_channels):
        super().__init__()
        self.convs = nn.ModuleList()
        self.convs.append(conv_block(in_channels, out_channels, 1))
        for rate in rates:
            self.convs.append(nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding="same", dilation=rate,
                                                      bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()))
        self.convs.append(nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), *conv_block(in_channels, out_channels, 1)))
        self.project = conv_block((len(rates) + 2) * out_channels, out_channels, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, maps):
        *others, mean = [branch(maps) for branch in self.convs]
        mean = F.interpolate(mean, size=maps.shape[-2:], mode="bilinear", align_corners=False)
        return self.drop(self.project(torch.cat([*others, mean], 1)))


class WithoutLoop(nn.Module):
    def __init__(self, backbone, classifier, aux_classifier=None):
        super().__init__()
        self.backbone, self.classifier, self.aux_classifier = backbone, classifier, aux_classifier

    def forward(self, images):
        features, upsample = self.backbone(images), nn.Upsample(images.shape[-2:], mode="bilinear")
        result = {"out": upsample(self.classifier(features["out"]))}
        if self.aux_classifier:
            result["aux"] = upsample(self.aux_classifier(features["aux"]))
        return result


class HeadsFirst(_DeepLab):
    def forward(self, images):
        found = {}
        for name, maps in self.backbone(images).items():
            head = {"out": self.classifier, "aux": self.aux_classifier}[name]
            if head is not None:
                found[name] = F.interpolate(head(maps), images.shape[2:], mode="bilinear")
        return found


OTHERS = {
    "polygon_to_mask": [covered_pixel_by_pixel, covered_by_rows, covered_to_the_left],
    "polygon_area": [shoelace_in_a_loop, area_by_trapezia,
                     lambda p: cv2.contourArea(np.reshape(p, (-1, 2)).astype(np.float32))],
    "read_run_lengths": [runs_in_a_loop, runs_by_pairs, runs_by_pycocotools],
    "read_counts": [counts_recursively, counts_by_pycocotools, lambda text: rle_counts(text.encode())],
    "category_to_class": [classes_in_a_loop, lambda categories, names: {
        one["id"]: names.index(one["name"]) + 1 for one in categories if one["name"] in names},
        lambda categories, names: dict(zip([next(one["id"] for one in categories if one["name"] == name)
                                            for name in names], range(1, len(names) + 1), strict=True))],
    "merge_objects": [merged_by_stacking, merged_one_by_one, merged_by_the_package],
    "crop_and_flip": [cropped_into_squares, cropped_after_padding, cropped_by_index],
    "atrous_conv": [atrous_place_by_place, atrous_by_matrix, atrous_with_zeros],
    "weights_on_map": [working_by_convolution, working_in_loops, working_by_padding],
    "poly_rate": [torch_poly, lambda step, steps, start, power: start * math.pow((steps - step) / steps, power),
                  lambda step, steps, start, power: torch.tensor(start) * torch.tensor(1 - step / steps) ** power],
    "layer_getter": [IntermediateLayerGetter, TorchvisionGetter, ByNames, Attributes],
    "aspp": [ASPP, torchvisions.ASPP, Interpolated], "deeplabv3": [BackboneWithHeads, WithoutLoop, HeadsFirst]}


# ---------------------------------------------------------------------------------------------------- wrong, as learned


def with_opencv(polygon, height, width):
    mask = np.zeros((height, width), np.uint8)
    return cv2.fillPoly(mask, [np.reshape(polygon, (-1, 2)).round().astype(np.int32)], 1)


def with_255(polygon, height, width):
    return covered_by_rows(polygon, height, width) * 255


def unbalanced(polygon, height, width):
    return [x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(polygon)]


def not_boolean(polygon, height, width):
    inside = np.zeros((height, width))
    inside ^= covered_by_rows(polygon, height, width) > 0
    return inside


def level_edges(polygon, height, width):
    points = [*zip(polygon[::2], polygon[1::2], strict=True)]
    return [(points[0][0] - x) / (points[0][1] - y) for x, y in points[1:]]


def rows_first(counts, height, width):
    return np.repeat(np.arange(len(counts)) % 2, counts).reshape(height, width)


def dropped_empty(counts, height, width):
    flat, value = [], 0
    for run in counts:
        if run == 0:
            continue
        flat += [value] * run
        value = 1 - value
    return np.reshape(flat, (width, height)).T


def as_ends(counts, height, width):
    flat = np.zeros(height * width)
    for start, end in zip(counts[::2], counts[1::2], strict=False):
        flat[start:end] = 1
    return flat.reshape(width, height).T


def enumerated(categories, names):
    return {one["id"]: i for i, one in enumerate(categories) if one["name"] in names}


def painted(objects, height, width):
    mask = np.zeros((height, width), np.uint8)
    for shape, class_id, crowd in objects:
        mask[shape] = 255 if crowd else class_id
    return mask


def summed(objects, height, width):
    return sum((shape * class_id for shape, class_id, _ in objects), np.zeros((height, width)))


def stacked(objects, height, width):
    return np.stack([shape * class_id for shape, class_id, _ in objects]).max(0)


def flipped_image_alone(image, mask, top, left, size, flip):
    image, mask = cropped_into_squares(image, mask, top, left, size, False)
    return (image.flip(-1) if flip else image), mask


def floats(image, mask, top, left, size, flip):
    image, mask = cropped_into_squares(image, mask, top, left, size, flip)
    return image / 255, mask


def rolled(signal, kernel, rate):
    return sum(w * torch.roll(signal, rate * (len(kernel) // 2 - k)) for k, w in enumerate(kernel))


def over_the_end(signal, kernel, rate):
    return torch.stack([sum(kernel[k] * signal[i + rate * k] for k in range(len(kernel))) for i in range(len(signal))])


class AllLayers(nn.Module):
    def __init__(self, network, return_layers):
        super().__init__()
        self.layers, self.return_layers = nn.ModuleDict(network.named_children()), return_layers

    def forward(self, x):
        maps = {}
        for name, layer in self.layers.items():
            x = layer(x)
            if name in self.return_layers:
                maps[self.return_layers[name]] = x
        return maps


class OldNames(ByNames):
    def forward(self, images):
        return {name: images for name in self.asked}


class OnlyAsked(ByNames):
    def forward(self, images):
        return {new: self[name](images) for name, new in self.asked.items()}


class FirstAlone(ByNames):
    def forward(self, images):
        for name in self:
            images = self[name](images)
            if name in self.asked:
                return {self.asked[name]: images}


class Forgetful(_ASPP):
    def forward(self, maps):
        return self.project(torch.cat([branch(maps) for branch in self.convs], dim=1))


class AlongTheBatch(_ASPP):
    def forward(self, maps):
        answers = [branch(maps) for branch in self.convs]
        answers[-1] = answers[-1].expand(-1, -1, *maps.shape[2:])
        return self.project(torch.cat(answers))


class MeanFirst(nn.Module):
    def __init__(self, in_channels, rates, out_channels):
        super().__init__()
        right = _ASPP(in_channels, rates, out_channels)
        *others, mean = right.convs
        self.convs, self.project = nn.ModuleList([mean, *others]), right.project

    def forward(self, maps):
        return maps


class Biased(_ASPP):
    def __init__(self, in_channels, rates, out_channels):
        super().__init__(in_channels, rates, out_channels)
        self.convs[0][0] = nn.Conv2d(in_channels, out_channels, 1)


class ItsOwnNames(nn.Module):
    def __init__(self, in_channels, rates, out_channels):
        super().__init__()
        self.branches = nn.ModuleList([conv_block(in_channels, out_channels, 1)])


class AlwaysAux(_DeepLab):
    def forward(self, images):
        maps = self.backbone(images)
        return {"out": self.classifier(maps["out"]), "aux": self.aux_classifier(maps["aux"])}


class OneHead(_DeepLab):
    def forward(self, images):
        return {"out": super().forward(images)["out"]}


class NoDictionary(_DeepLab):
    def forward(self, images):
        return super().forward(images)["out"]


class SameMap(_DeepLab):
    def forward(self, images):
        maps = self.backbone(images)["out"]
        heads = {"out": self.classifier} | ({"aux": self.aux_classifier} if self.aux_classifier else {})
        return {name: F.interpolate(head(maps), images.shape[2:], mode="bilinear") for name, head in heads.items()}


class WholeDict(_DeepLab):
    def forward(self, images):
        return self.classifier(self.backbone(images))


class Unset(nn.Module):
    def __init__(self, backbone, classifier, aux_classifier=None):
        super().__init__()
        self.body, self.classifier = backbone, classifier


#: Wrong answers as learners write them, none of them the check's own, and words of what they must be told.
WRONG = [
    ("polygon_to_mask", with_opencv, "cases are right"), ("polygon_to_mask", with_255, "True or False, or 1 or 0"),
    ("polygon_to_mask", unbalanced, "flat list"), ("polygon_to_mask", not_boolean, "dtype=bool"),
    ("polygon_to_mask", level_edges, "level edge"), ("polygon_to_mask", lambda p, h, w: None, "returns nothing"),
    ("polygon_to_mask", lambda p, h, w: covered_pixel_by_pixel([v - 0.5 for v in p], h, w), "adds 1 to"),
    ("polygon_to_mask", lambda p, h, w: covered_pixel_by_pixel([v + 0.5 for v in p], h, w), "pixels' corners"),
    ("polygon_to_mask", lambda p, h, w: covered_by_rows(p, w, h), "instead of|axes exchanged|Rows and columns|shape"),
    ("polygon_area", lambda p: cv2.contourArea(np.reshape(p, (-1, 2)).astype(np.float32), True), "has a sign"),
    ("polygon_area", lambda p: 2 * shoelace_in_a_loop(p), "twice the area"),
    ("polygon_area", lambda p: np.ptp(p[::2]) * np.ptp(p[1::2]), "box around"),
    ("polygon_area", lambda p: covered_by_rows(p, 6, 8).sum(), "cases are right"),
    ("polygon_area", lambda p: sum(x for x, y in p), "flat list|cannot unpack"),
    ("polygon_area", lambda p: [p[i] * p[i + 3] for i in range(len(p))], "back to the first point"),
    ("read_run_lengths", rows_first, "row by row"), ("read_run_lengths", dropped_empty, "length 0"),
    ("read_run_lengths", as_ends, "cases are right"),
    ("read_run_lengths", lambda c, h, w: 1 - runs_in_a_loop(c, h, w), "exchanged: the first run"),
    ("read_run_lengths", lambda c, h, w: runs_in_a_loop(c, h, w) * 255, "True or False, or 1 or 0"),
    ("read_run_lengths", lambda c, h, w: np.repeat([0, 1], c), "one length for each run"),
    ("read_run_lengths", lambda c, h, w: runs_in_a_loop(c, h, w).T, "shape|exchanged"),
    ("read_counts", lambda text: [ord(c) - 48 for c in text], "more follows is counted|cases are right"),
    ("read_counts", lambda text: np.cumsum(rle_counts(text.encode())), "running sums"),
    ("read_counts", lambda text: [*text, "x"], "invalid literal"), ("read_counts", lambda text: None, "nothing"),
    ("read_counts", lambda text: [character - 48 for character in text], "number of a character"),
    ("read_counts", lambda text: np.diff(rle_counts(text.encode()), prepend=0), "cases are right"),
    ("category_to_class", enumerated, "place among all|cases are right"),
    ("category_to_class", lambda categories, names: {n: i for i, n in enumerate(names, 1)}, "keys are ids"),
    ("category_to_class", lambda categories, names: {i: n for n, i in classes_in_a_loop(categories, names).items()},
     "Keys and values"),
    ("category_to_class", lambda categories, names: [1, 2], "should return a dictionary"),
    ("category_to_class", lambda categories, names: {one.id: 1 for one in categories}, "is a dictionary"),
    ("category_to_class", lambda categories, names: classes_in_a_loop(categories, names[::-1]), "cases are right"),
    ("category_to_class", lambda categories, names: classes_in_a_loop(categories, sorted(names)), "sorted|order"),
    ("merge_objects", painted, "last one is taken"), ("merge_objects", summed, "cases are right"),
    ("merge_objects", stacked, "no object"), ("merge_objects", lambda o, h, w: None, "returns nothing"),
    ("merge_objects", lambda o, h, w: merged_by_stacking([(s, c, False) for s, c, _ in o], h, w), "treated as an obj"),
    ("merge_objects", lambda o, h, w: merged_by_stacking([one for one in o if not one[2]], h, w), "left out, so"),
    ("merge_objects", lambda o, h, w: [0 for shape, class_id in o], "three parts"),
    ("crop_and_flip", flipped_image_alone, "mirrored, and the mask is not"), ("crop_and_flip", floats, "should stay"),
    ("crop_and_flip", lambda i, m, t, left, s, f: i[:, t:t + s, left:left + s], "two tensors"),
    ("crop_and_flip", lambda i, m, t, left, s, f: cropped_into_squares(i, m, left, t, s, f), "top counts rows"),
    ("crop_and_flip", lambda i, m, t, left, s, f: (i[:, t:t + s, left:left + s], m[t:t + s, left:left + s]),
     "cases are right"),
    ("crop_and_flip", lambda i, m, t, left, s, f: (F.pad(i, (0, s, 0, s))[:, t:t + s, left:left + s], F.pad(
        m, (0, s, 0, s))[t:t + s, left:left + s]), "Nothing is mirrored|cases are right"),
    ("crop_and_flip", lambda i, m, t, left, s, f: (i, m[None]), "should have 2 axes"),
    ("atrous_conv", rolled, "begins again on the other side"), ("atrous_conv", over_the_end, "nothing to index"),
    ("atrous_conv", lambda s, k, r: atrous_place_by_place(s, k.flip(0), r), "turned round"),
    ("atrous_conv", lambda s, k, r: np.convolve(s, k, "same"), "turned round|cases are right"),
    ("atrous_conv", lambda s, k, r: F.conv1d(s[None, None], k[None, None], padding=1)[0, 0], "cases are right"),
    ("atrous_conv", lambda s, k, r: F.conv1d(s[None, None], k[None, None], dilation=r)[0, 0], "no padding"),
    ("atrous_conv", lambda s, k, r: atrous_place_by_place(s, k, 1), "rate is not used"),
    ("weights_on_map", lambda w, r: np.full((w, w), 9), "cases are right"),
    ("weights_on_map", lambda w, r: np.diag(working_by_padding(w, r)), "shape|square root|one axis"),
    ("weights_on_map", lambda w, r: working_by_padding(w, 1), "rate 1, whatever"),
    ("weights_on_map", lambda w, r: working_by_padding(w, r + 1), "off by one"),
    ("weights_on_map", lambda w, r: 9 - working_by_padding(w, r), "cases are right"),
    ("weights_on_map", lambda w, r: (working_by_padding(w, r) == 9), "cases are right"),
    ("poly_rate", lambda step, steps, start, power: start * (1 - step / steps), "power is left out"),
    ("poly_rate", lambda step, steps, start, power: start - (step / steps) ** power, "cases are right"),
    ("poly_rate", lambda step, steps, start, power: start * (1 - step // steps) ** power, "whole numbers"),
    ("poly_rate", lambda step, steps, start, power: start * (1 - step / steps) ^ power, r"\*\* in Python"),
    ("poly_rate", lambda step, steps, start, power: (1 - step / steps) ** power, "multiply by start"),
    ("poly_rate", lambda step, steps, start, power: start * 0.9 ** step, "cases are right"),
    ("layer_getter", AllLayers, "Layers run that nobody needs|other names"),
    ("layer_getter", OldNames, "no map called 'aux'"), ("layer_getter", OnlyAsked, "layer before it made"),
    ("layer_getter", FirstAlone, "no map called 'out'"),
    ("layer_getter", lambda network, layers: network, "should return a dictionary"),
    ("layer_getter", lambda network, layers: None, "no nn.Module"),
    ("aspp", Forgetful, "spread it out"), ("aspp", AlongTheBatch, "dim=1"),
    ("aspp", MeanFirst, "mean last|is expected"),
    ("aspp", Biased, "has a bias"), ("aspp", ItsOwnNames, "self.convs"),
    ("aspp", lambda c, rates, k: conv_block(c, k, 3, rates[0]), "self.convs"), ("aspp", lambda c, r, k: None, "Module"),
    ("deeplabv3", AlwaysAux, "may be no auxiliary head"), ("deeplabv3", OneHead, "out, aux"),
    ("deeplabv3", NoDictionary, "should return a dictionary"), ("deeplabv3", SameMap, "its own map"),
    ("deeplabv3", WholeDict, "dictionary of maps"), ("deeplabv3", Unset, "no self.backbone"),
    ("deeplabv3", lambda backbone, classifier, aux=None: backbone, "no self.backbone")]


@pytest.mark.slow
def test_answers():
    assert_recognises({name: EXERCISES[name] for name in OTHERS}, OTHERS, WRONG)


def test_each_has_enough_of_both():
    for name, others in OTHERS.items():
        assert len(others) >= 3 and len(EXERCISES[name].mistakes) >= 6
        assert sum(wrong[0] == name for wrong in WRONG) >= 6, name


def test_the_star_tells_the_two_rules_apart():
    exercise = EXERCISES["polygon_to_mask"]
    assert not np.array_equal(exercise.right(_STAR, 12, 12), with_opencv(_STAR, 12, 12))
