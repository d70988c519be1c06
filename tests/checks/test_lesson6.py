"""The checks of lesson 6: right answers of other styles pass, and wrong ones are told what is wrong."""

from __future__ import annotations

import io
import statistics
import time
import timeit
from collections import Counter
from time import perf_counter

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from seglab.checks import EXERCISES
from tests.checks.answers import assert_recognises

# --------------------------------------------------------------------------------------------------- right answers


def places_in_sets(places, count):
    test_places, have = set(), 0
    for place, pictures in Counter(places).items():
        if have >= count:
            break
        test_places.add(place)
        have += pictures
    return ([i for i in range(len(places)) if places[i] not in test_places],
            {i for i in range(len(places)) if places[i] in test_places})


def places_in_numpy(places, count):
    _, first, inverse, pictures = np.unique(places, return_index=True, return_inverse=True, return_counts=True)
    order = first.argsort()
    before = np.cumsum(pictures[order]) - pictures[order]
    chosen = order[before < count]
    inside = np.isin(inverse, chosen)
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def places_in_one_pass(places, count):
    test, taken = [], []
    while len(test) < count:
        place = next(one for one in places if one not in taken)
        taken.append(place)
        test += [i for i, one in enumerate(places) if one == place]
    return [[i for i in range(len(places)) if i not in test], test]


def mask_by_frompalette(path, mask, palette):
    image = Image.new("P", mask.shape[::-1])
    image.putdata(mask.flatten().tolist())
    image.putpalette(palette.flatten().tolist())
    image.save(str(path), format="PNG", optimize=True)


def mask_as_p(path, mask, palette):
    image = Image.fromarray(np.asarray(mask, np.uint8)).convert("P")
    image.putpalette([int(value) for row in palette for value in row])
    with open(path, "wb") as file:
        image.save(file, "PNG")


def mask_by_bytes(path, mask, palette):
    image = Image.frombytes("L", (mask.shape[1], mask.shape[0]), mask.tobytes())
    image.putpalette(bytes(palette.ravel()))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


def agreement_at_once(first, second, class_id):
    a, b = (np.concatenate([mask.ravel() for mask in masks]) for masks in (first, second))
    known = (a < 255) & (b < 255)
    a, b = a[known] == class_id, b[known] == class_id
    return np.logical_and(a, b).sum() / np.logical_or(a, b).sum()


def agreement_by_sets(first, second, class_id):
    def pixels(masks, others):
        return {(n, *place) for n, (mask, other) in enumerate(zip(masks, others, strict=True))
                for place, value in np.ndenumerate(mask) if value == class_id and other[place] != 255}

    a, b = pixels(first, second), pixels(second, first)
    return len(a & b) / len(a | b)


def agreement_in_torch(first, second, class_id):
    both = total = torch.zeros(())
    for a, b in zip(map(torch.from_numpy, first), map(torch.from_numpy, second), strict=True):
        keep = (a != 255) & (b != 255)
        inside = (a[keep] == class_id).float(), (b[keep] == class_id).float()
        both = both + (inside[0] * inside[1]).sum()
        total = total + inside[0].sum() + inside[1].sum()
    return both / (total - both)


def losses_in_a_loop(logits, masks):
    return [nn.CrossEntropyLoss(ignore_index=255)(one[None], mask[None].long()) for one, mask in zip(
        logits, masks, strict=True)]


def losses_by_hand(logits, masks):
    known = (masks != 255)
    labels = torch.where(known, masks, 0).long()
    of_label = logits.log_softmax(1).gather(1, labels[:, None]).squeeze(1)
    return -(of_label * known).flatten(1).sum(1) / known.flatten(1).sum(1)


def losses_with_nan(logits, masks):
    each = F.cross_entropy(logits, masks.to(torch.int64), ignore_index=255, reduction="none")
    return np.array([one[mask != 255].mean().item() for one, mask in zip(each, masks, strict=True)])


def rim_by_pooling(mask, width):
    side = 2 * width + 1
    known = torch.from_numpy(mask)[None, None].float()
    low = -F.max_pool2d(-known, side, 1, width)
    high = F.max_pool2d(torch.where(known == 255, -1.0, known), side, 1, width)
    rim = (known != 255) & (high != low)
    return torch.where(rim, 255, known)[0, 0].to(torch.uint8)


def rim_in_a_loop(mask, width):
    new = mask.copy()
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            around = mask[max(0, y - width):y + width + 1, max(0, x - width):x + width + 1]
            if len(set(around[around != 255].tolist()) | {int(mask[y, x])} - {255}) > 1 and mask[y, x] != 255:
                new[y, x] = 255
    return new


def rim_class_by_class(mask, width):
    kernel, rim = np.ones((2 * width + 1, 2 * width + 1), np.uint8), np.zeros(mask.shape, bool)
    for class_id in set(np.unique(mask).tolist()) - {255}:
        grown = cv2.dilate((mask == class_id).astype(np.uint8), kernel).astype(bool)
        rim |= grown & (mask != class_id)
    new = mask.copy()
    new[rim] = 255
    return new


@torch.no_grad()
def speed_decorated(model, images, repeats):
    model.eval()
    model(images)
    model(images)
    times = []
    for _ in range(repeats):
        start = perf_counter()
        model(images)
        times += [perf_counter() - start]
    return np.median(times)


def speed_by_timeit(model, images, repeats):
    model.train(False)
    with torch.inference_mode():
        model(images)
        return statistics.median(timeit.repeat(lambda: model(images), number=1, repeat=repeats))


def speed_in_nanoseconds(model, images, repeats):
    model = model.eval()
    times = torch.zeros(repeats + 1)
    with torch.set_grad_enabled(False):
        for i in range(repeats + 1):
            begin = time.perf_counter_ns()
            model(images)
            times[i] = (time.perf_counter_ns() - begin) / 1e9
    return times[1:].median()


def speed_by_monotonic(model, images, repeats):
    model.eval()
    times = []
    with torch.no_grad():
        for _ in range(3):
            model(images)
        while len(times) < repeats:
            start = time.monotonic()
            model(images)
            times.append(time.monotonic() - start)
    return sorted(times)[repeats // 2]


def input_by_axes(picture, mean, std):
    x = np.moveaxis(picture, -1, 0).astype(np.float32) / np.float32(255)
    return ((x - mean[:, None, None]) / std[:, None, None]).astype("float32")[np.newaxis]


def input_by_planes(picture, mean, std):
    x = np.empty((1, 3, *picture.shape[:2]), np.float32)
    for c in range(3):
        x[0, c] = (picture[:, :, c] / 255 - mean[c]) / std[c]
    return x


def input_scaled_once(picture, mean, std):
    x = (picture.astype(np.float32) - 255 * mean) * (1 / (255 * std))
    return np.ascontiguousarray(np.expand_dims(x.transpose((2, 0, 1)), 0), dtype=np.float32)


def ppm_by_pillow(picture):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PPM")
    return buffer.getvalue()


def ppm_with_a_comment(picture):
    height, width, _ = picture.shape
    return b"P6 # made by hand\n%d\t%d\n255 " % (width, height) + bytes(picture.flatten())


def ppm_by_opencv(picture):
    return cv2.imencode(".ppm", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()


def quantised_by_torch(weights, bits):
    top = 2**(bits - 1) - 1
    return torch.fake_quantize_per_tensor_affine(weights, weights.abs().max().item() / top, 0, -top, top)


def quantised_in_numpy(weights, bits):
    found, top = weights.numpy(), 2**(bits - 1) - 1
    step = np.abs(found).max() / top
    return np.round(found / step) * step


def quantised_with_integers(weights, bits):
    most = weights.abs().amax()
    whole = torch.round(weights * ((1 << bits - 1) - 1) / most).to(torch.int32)
    return whole.float() * (most / ((1 << bits - 1) - 1))


OTHERS = {
    "split_by_place": [places_in_sets, places_in_numpy, places_in_one_pass],
    "write_mask": [mask_by_frompalette, mask_as_p, mask_by_bytes],
    "agreement": [agreement_at_once, agreement_by_sets, agreement_in_torch],
    "picture_losses": [losses_in_a_loop, losses_by_hand, losses_with_nan],
    "ignore_rim": [rim_by_pooling, rim_in_a_loop, rim_class_by_class],
    "measure_speed": [speed_decorated, speed_by_timeit, speed_in_nanoseconds, speed_by_monotonic],
    "preprocess": [input_by_axes, input_by_planes, input_scaled_once],
    "differing_pixels": [lambda a, b: np.count_nonzero(a - b.astype(int)), lambda a, b: sum(
        x != y for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)),
        lambda a, b: a.size - (a == b).sum(), lambda a, b: len(np.argwhere(a != b))],
    "to_ppm": [ppm_by_pillow, ppm_with_a_comment, ppm_by_opencv],
    "quantise": [quantised_by_torch, quantised_in_numpy, quantised_with_integers]}

# --------------------------------------------------------------------------------------------------- wrong answers


def shuffled_split(places, count):
    order = np.random.default_rng(1).permutation(len(places))
    return sorted(order[count:]), sorted(order[:count])


def mask_as_jpeg(path, mask, palette):
    Image.fromarray(mask).save(path, "JPEG")


def mask_elsewhere(path, mask, palette):
    Image.fromarray(mask).save(path.with_suffix(".jpg"))


def mask_by_matplotlib(path, mask, palette):
    Image.fromarray(np.dstack([palette[mask], np.full_like(mask, 255)])).save(path)


def mask_in_bits(path, mask, palette):
    Image.fromarray(mask.astype(bool)).save(path)


def speed_with(*, eval_mode=True, no_grad=True):
    def answer(model, images, repeats):
        if eval_mode:
            model.eval()
        with torch.set_grad_enabled(not no_grad):
            model(images)
            start = time.perf_counter()
            for _ in range(repeats):
                model(images)
            return (time.perf_counter() - start) / repeats
    return answer


WRONG = [
    ("split_by_place", shuffled_split, "a leak"),
    ("split_by_place", lambda places, count: [i for i, p in enumerate(places) if p != places[0]], "two lists"),
    ("split_by_place", lambda places, count: ([p for p in places if p != places[0]], [places[0]]), "numbers of the p"),
    ("split_by_place", lambda places, count: ([*range(count, len(places))], [*range(count)]), "a leak"),
    ("split_by_place", lambda places, count: None, "return train, test"),
    ("split_by_place", lambda places, count: places_in_sets(sorted(places), count), "alphabet"),
    ("split_by_place", lambda places, count: places_in_sets(places, count)[::-1], "exchanged"),
    ("write_mask", mask_as_jpeg, "holds a JPEG"),
    ("write_mask", mask_elsewhere, r"coin\.jpg\. Write to `path`"),
    ("write_mask", lambda path, mask, palette: Image.fromarray(palette[mask]).save(path), "RGB, with 3 numbers"),
    ("write_mask", mask_by_matplotlib, "RGBA, with 4 numbers"),
    ("write_mask", lambda path, mask, palette: cv2.imwrite(str(path), mask), "no palette"),
    ("write_mask", lambda path, mask, palette: cv2.imwrite(str(path), mask * 255), "multiplied by 255"),
    ("write_mask", lambda path, mask, palette: Image.fromarray(mask), "no file afterwards"),
    ("write_mask", mask_in_bits, "one byte a pixel"),
    ("agreement", lambda a, b, c: np.mean([agreement_at_once([x], [y], c) for x, y in zip(a, b, strict=True)]),
     "mean over the pictures"),
    ("agreement", lambda a, b, c: 2 * (i := agreement_at_once(a, b, c)) / (1 + i), "Dice"),
    ("agreement", lambda a, b, c: agreement_at_once(a, b, 1), "always looks at class 1"),
    ("agreement", lambda a, b, c: sum((x == y).mean() for x, y in zip(a, b, strict=True)) / len(a), "share|wrong"),
    ("agreement", lambda a, b, c: (np.array(a) == np.array(b)).mean(), "different sizes|share of all"),
    ("agreement", lambda a, b, c: 100 * agreement_at_once(a, b, c), "hundred times"),
    ("picture_losses", lambda x, y: F.cross_entropy(x, y.long(), ignore_index=255), "one mean over all"),
    ("picture_losses", lambda x, y: F.cross_entropy(x, y.long(), reduction="none").mean((1, 2)), "ignore_index=255"),
    ("picture_losses", lambda x, y: F.cross_entropy(x, y, ignore_index=255), "int64"),
    ("picture_losses", lambda x, y: losses_in_a_loop(x.softmax(1), y), "softmax comes before"),
    ("picture_losses", lambda x, y: -losses_by_hand(x, y), "sign"),
    ("picture_losses", lambda x, y: F.cross_entropy(x, y.long(), ignore_index=255, reduction="none").mean(0),
     "shape"),
    ("ignore_rim", lambda mask, width: np.where(cv2.erode(mask, np.ones((2 * width + 1,) * 2)) != mask, 255, mask),
     "inside the object|wrong"),
    ("ignore_rim", lambda mask, width: rim_class_by_class(mask, 1), "Use width"),
    ("ignore_rim", lambda mask, width: rim_class_by_class(mask, 2 * width), "too wide"),
    ("ignore_rim", lambda mask, width: rim_class_by_class(mask, width) == 255, "Return the mask|wrong"),
    ("ignore_rim", lambda mask, width: cv2.Canny(mask * 255, 100, 200), "wrong"),
    ("ignore_rim", lambda mask, width: mask, "wrong"),
    ("measure_speed", speed_with(), "This is the mean"),
    ("measure_speed", speed_with(eval_mode=False), "train mode"),
    ("measure_speed", speed_with(no_grad=False), "backward pass|calls with gradients"),
    ("measure_speed", lambda model, images, repeats: min(timeit.repeat(lambda: model.eval()(images), number=1,
                                                                       repeat=repeats)), "gradients"),
    ("measure_speed", lambda model, images, repeats: 0.02, "does not call"),
    ("measure_speed", torch.no_grad()(lambda model, images, repeats: timeit.timeit(
        lambda: model.eval()(images), number=repeats)), "all calls together"),
    ("preprocess", lambda p, m, s: torch.from_numpy(p).permute(2, 0, 1)[None] / 255, "tensor of PyTorch"),
    ("preprocess", lambda p, m, s: ((p / 255 - m) / s).transpose(2, 0, 1)[None], "64 bits"),
    ("preprocess", lambda p, m, s: ((p - m) / s).transpose(2, 0, 1)[None].astype(np.float32), "divide by 255"),
    ("preprocess", lambda p, m, s: input_by_axes(p[..., ::-1], m, s), "OpenCV"),
    ("preprocess", lambda p, m, s: input_by_axes(p, m, s)[0], "batch"),
    ("preprocess", lambda p, m, s: input_by_axes(p, m, s).reshape(1, *p.shape), "shape|last axis"),
    ("preprocess", lambda p, m, s: ((p.permute(2, 0, 1) / 255 - m) / s), "PyTorch's word"),
    ("differing_pixels", lambda a, b: (a != b).mean(), "a share"),
    ("differing_pixels", lambda a, b: (a - b).sum(), "uint8|opposite"),
    ("differing_pixels", lambda a, b: np.abs(a.astype(int) - b).sum(), "names, not amounts"),
    ("differing_pixels", lambda a, b: a != b, "several numbers"),
    ("differing_pixels", lambda a, b: 0 if a == b else 1, "truth value|whole arrays"),
    ("differing_pixels", lambda a, b: (a == b).sum(), "that are the same"),
    ("to_ppm", lambda p: f"P6\n{p.shape[1]} {p.shape[0]}\n255\n", "should return bytes"),
    ("to_ppm", lambda p: f"P6\n{p.shape[1]} {p.shape[0]}\n255\n" + p.tobytes(), "encode"),
    ("to_ppm", lambda p: f"P6\n{p.shape[0]} {p.shape[1]}\n255\n".encode() + p.tobytes(), "exchanged"),
    ("to_ppm", lambda p: f"P6\n{p.shape[1]} {p.shape[0]}\n".encode() + p.tobytes(), "header"),
    ("to_ppm", lambda p: f"P3\n{p.shape[1]} {p.shape[0]}\n255\n".encode() + p.tobytes(), "kind P3"),
    ("to_ppm", lambda p: cv2.imencode(".ppm", np.ascontiguousarray(p))[1].tobytes(), "Blue comes first"),
    ("to_ppm", lambda p: p.tobytes(), "header"),
    ("quantise", lambda w, b: torch.round(w / w.abs().max() * 127) * w.abs().max() / 127, "always takes 8 bits"),
    ("quantise", lambda w, b: quantised_in_numpy(w, b + 1), "forgets the sign|wrong"),
    ("quantise", lambda w, b: torch.round(w * 2**b) / 2**b, "wrong"),
    ("quantise", lambda w, b: w.half().float(), "wrong"),
    ("quantise", lambda w, b: torch.round(w / (s := w.max() / (2**(b - 1) - 1))) * s, "forgets negative ones"),
    ("quantise", lambda w, b: torch.round(w / (w.abs().max() / (2**(b - 1) - 1))), "step again"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(OTHERS))
def test_right_answers_pass_and_wrong_ones_are_told_what_is_wrong(name):
    assert_recognises({name: EXERCISES[name]}, OTHERS, [one for one in WRONG if one[0] == name])


def test_enough_answers_are_tried():
    assert all(len(answers) >= 3 for answers in OTHERS.values())
    assert min(Counter(name for name, *_ in WRONG).values()) >= 6 and {name for name, *_ in WRONG} == OTHERS.keys()


def test_clocks_go_right_after_a_measurement():
    before = time.perf_counter, time.monotonic, timeit.default_timer, timeit.timeit.__defaults__, perf_counter
    EXERCISES["measure_speed"].verdict(speed_decorated)
    assert before == (time.perf_counter, time.monotonic, timeit.default_timer, timeit.timeit.__defaults__,
                      perf_counter)
