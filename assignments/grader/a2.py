"""Assignment 2: a steady film. The right answers, and the mistakes that are named."""

from collections import Counter
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from grader import handed_out
from seglab.checks import Case
from seglab.classroom import questions
from seglab.classroom.questions import FunctionQuestion, NumberQuestion, ScoreQuestion

data = handed_out("a2", "a2_data")
THRESHOLD, REACH, CLASSES = 0.9, 2, 3
REST = [t for t in range(24) if t not in data.LABELLED]  # the frames on which the decoder is scored


# --- right answers, and by their options wrong ones -----------------------------------------------------------------

def map_size(length, layers, ends=2, dilated=True, out=False, stops=True, early=False):
    for kernel, stride, padding, dilation in layers:
        if early and kernel > length:
            return 0
        span = (dilation if dilated else 1) * (kernel - 1) + 1
        room = length + ends * padding + (stride - 1 if out else 0)
        length = len(range(0, room - span + 1, stride))  # one place for each window
        if length == 0 and stops:
            return 0
    return length


def bilinear_kernel(factor):
    row = 1 - np.abs(np.arange(2 * factor) + 0.5 - factor) / factor
    return row[:, None] * row


class Upsampler(nn.Module):
    def __init__(self, kernel, channels, padding=None, mixed=False, turned=False, first=False, shared=False):
        super().__init__()
        self.kernel = kernel.flip(0, 1) if turned else kernel
        self.kernel = self.kernel / channels if shared else self.kernel
        self.factor, self.channels, self.mixed, self.first = len(kernel) // 2, channels, mixed, first
        self.padding = self.factor // 2 if padding is None else padding

    def forward(self, maps):
        if self.mixed:
            maps = maps.sum(dim=1, keepdim=True).expand_as(maps)
        large = [F.conv_transpose2d(maps[:, c:c + 1], self.kernel[None, None], stride=self.factor, padding=self.padding)
                 * (c == 0 or not self.first) for c in range(self.channels)]
        return torch.cat(large, dim=1)


def mirrored_mean(network, images, partner, axis=-1, back=True, of_logits="", weights=(0.5, 0.5), swap=(False, True)):
    found = 0
    for mirrored in (False, True):
        said = network(images.flip(axis) if mirrored else images)
        said = said if of_logits else said.softmax(dim=1)
        said = said.flip(axis) if mirrored and back else said
        found = found + weights[mirrored] * (said[:, partner] if swap[mirrored] else said)
    return found.softmax(dim=1) if of_logits == "softmax" else found


def sure_only(probabilities, threshold):
    return np.where(probabilities.max(axis=1) >= threshold, probabilities.argmax(axis=1), 255).astype(np.uint8)


def _unsure_if_equal(probabilities, threshold):
    return np.where(probabilities.max(axis=1) > threshold, probabilities.argmax(axis=1), 255).astype(np.uint8)


def _unsure_only(probabilities, threshold):
    return np.where(probabilities.max(axis=1) < threshold, probabilities.argmax(axis=1), 255).astype(np.uint8)


def drop_islands(mask, least, corners=False, joined=False, known=True, of_class=False, of_box=False, no_first=False):
    made, seen = mask.copy(), set()
    near = [(0, 1), (1, 0), (0, -1), (-1, 0)] + [(1, 1), (1, -1), (-1, 1), (-1, -1)] * corners
    inside = {place: number for place, number in np.ndenumerate(mask) if number and not (known and number == 255)
              and not (no_first and number == mask.min())}
    for start, number in inside.items():
        if start in seen:
            continue
        region, edge = {start}, [start]
        while edge:
            y, x = edge.pop()
            around = {(y + down, x + right) for down, right in near}
            new = {place for place in around - region if place in inside and (joined or inside[place] == number)}
            region |= new
            edge += new
        seen |= region
        rows, columns = zip(*region, strict=True)
        box = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
        if (np.sum(mask == number) if of_class else box if of_box else len(region)) < least:
            for place in region:
                made[place] = 0
    return made


def _drop_if_equal(mask, least):
    return drop_islands(mask, least + 1)


def _around(t, reach, count):
    return range(max(0, t - reach), min(count, t + reach + 1))


def _before(t, reach, count):
    return range(max(0, t - reach), t + 1)


def _ring(t, reach, count):
    return [one % count for one in range(t - reach, t + reach + 1)]


def _winner(voters, own, best=lambda found, own: min(found), silent=255, ignored=True):
    counts = Counter(one for one in voters if not (ignored and one == 255))
    return best([one for one in counts if counts[one] == max(counts.values())], own) if counts else silent


def vote(masks, reach, frames=_around, winner=_winner, in_place=False):
    made = masks.copy()
    for t, y, x in np.ndindex(masks.shape):
        source = made if in_place else masks
        made[t, y, x] = winner([int(source[one, y, x]) for one in frames(t, reach, len(masks))], int(masks[t, y, x]))
    return made


# --- what is compared -----------------------------------------------------------------------------------------------

def _enlarged(answer, kernel, channels, maps):
    return answer(kernel, channels)(maps)


def _touched(answer, kernel, channels, number):
    """Which channels of the result change with one channel of the maps, and whether that is as with one channel."""
    import torch
    layer, alone, maps = answer(kernel, channels), answer(kernel, 1), torch.zeros(2, channels, 3, 4)
    changed = maps.clone()
    changed[:, number] = 1
    moved, single = layer(changed) - layer(maps), alone(changed[:, number:number + 1]) - alone(maps[:, :1])
    return {"which channels change": moved.abs().sum(dim=(0, 2, 3)) > 1e-6,
            "the channel is enlarged like a single one": torch.allclose(moved[:, number:number + 1], single, atol=1e-5)}


def _ids_run(answer, *args):
    made = np.asarray(answer(*args))
    return {"ids": made, "one byte a pixel (uint8)": made.dtype == np.uint8}


def _in_the_middle(answer, masks, reach):
    """Without the frames that have fewer voters."""
    return np.asarray(answer(masks, reach))[reach:-reach]


class _ByFirstColumn(nn.Module):
    """Calls each row by its leftmost pixel, and is sure: nothing depends on what is mirrored back, or how averaged."""

    def forward(self, images):
        return 30 * images[..., :1].expand_as(images)


def _network(classes, seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, (3, 5), padding=(1, 2)))
    network[2].weight.data *= 6
    return network.requires_grad_(False)


def _without_ties(frames, reach, seed):
    """A film (frames, 3, 8) of four classes in which no vote is undecided, and in half of it some vote is no median."""
    films = np.random.default_rng(seed).integers(0, 4, (60_000, frames), dtype=np.uint8)
    clear, special = np.ones(len(films), bool), np.zeros(len(films), bool)
    for t in range(frames):
        window = films[:, _around(t, reach, frames)]
        counts = np.array([(window == k).sum(axis=1) for k in range(4)])
        clear &= np.sort(counts, axis=0)[-1] > np.sort(counts, axis=0)[-2]
        special |= np.median(window, axis=1) != counts.argmax(axis=0)
    chosen = np.concatenate([films[clear & special][:12], films[clear & ~special]])[:24]
    return np.ascontiguousarray(chosen.T.reshape(frames, 3, 8))


def _rectangles(shape, class_ids, seed):
    """A mask of rectangles that do not touch, nor at their corners."""
    rng, mask = np.random.default_rng(seed), np.zeros(shape, np.uint8)
    for _ in range(80):
        height, width = rng.integers(1, 4, 2)
        y, x = rng.integers(0, shape[0] - height), rng.integers(0, shape[1] - width)
        if not mask[max(0, y - 1):y + height + 1, max(0, x - 1):x + width + 1].any():
            mask[y:y + height, x:x + width] = rng.choice(class_ids)
    return mask


_rng = np.random.default_rng(2)
_KERNEL2, _KERNEL4 = (torch.from_numpy(_rng.uniform(0.2, 1, (side, side))).float() for side in (4, 8))
_MAPS = torch.from_numpy(_rng.normal(0, 1, (2, 1, 5, 3))).float()
_IMAGES = torch.from_numpy(_rng.normal(0, 1, (2, 3, 5, 8))).float()
_COLOURS = F.one_hot(torch.from_numpy(_rng.integers(0, 3, (2, 4, 7))), 3).permute(0, 3, 1, 2).float()
_PROBABILITIES = torch.from_numpy(_rng.normal(0, 1.2, (2, 4, 5, 6))).softmax(dim=1).numpy()
_QUARTERS = np.array([[0.75, 0.25, 0.5], [0.25, 0.75, 0.25], [0, 0, 0.25]], np.float32).reshape(1, 3, 1, 3)
_ONE_CLASS, _THREE_CLASSES = _rectangles((16, 20), [1], 0), _rectangles((16, 20), [1, 2, 200], 1)
_TOUCHING = np.uint8([[1, 1, 2, 0], [1, 1, 2, 0], [0, 0, 0, 0]])
_BENT = np.uint8([[1, 0, 0, 0, 2, 2, 2], [1, 0, 0, 0, 0, 0, 2], [1, 1, 1, 0, 0, 0, 2]])  # each in a box of 9
_COVERED = np.uint8([[1, 2, 2, 2], [2, 2, 3, 3], [2, 3, 3, 1]])  # no background
_BRIDGE = np.uint8([[1, 1, 255, 1], [0, 0, 0, 0], [2, 255, 255, 2], [2, 2, 0, 1], [2, 0, 0, 1]])
_SQUARES = np.kron([[0, 1, 0], [1, 0, 0]], np.ones((2, 2))).astype(np.uint8)
_CLEAR1, _CLEAR3 = _without_ties(7, 1, 3), _without_ties(9, 3, 4)
_UNCLEAR = _rng.choice(np.uint8([0, 1, 2, 255]), (6, 4, 6), p=[0.1, 0.3, 0.3, 0.3])
_UNCLEAR[1:4, 2, 2:4] = 255  # where nobody votes


# --- on the student's own film --------------------------------------------------------------------------------------

@cache
def _film(student):
    """Its frames, its truths, and the probabilities of the pretrained network, (24, 3, 128, 224)."""
    frames, truths = data.film(student)
    network = data.pretrained()
    inputs = network.card.normalize(torch.from_numpy(frames).permute(0, 3, 1, 2))
    with torch.no_grad():
        probabilities = torch.cat([network(part)["out"].softmax(dim=1) for part in inputs.split(4)]).numpy()
    return frames, truths, probabilities


def _sure(student):
    """Which pixels keep their class, and which are right, (24, H, W) each."""
    _, truths, probabilities = _film(student)
    return probabilities.max(axis=1) >= THRESHOLD, probabilities.argmax(axis=1) == truths


def _sure_accuracy(student):
    kept, right = _sure(student)
    return right[kept].mean()


def _sure_accuracy_of_frames(student):
    return np.mean([right[kept].mean() for kept, right in zip(*_sure(student), strict=True)])


def _false_changes(student, reach=REACH, share=lambda changed, still: changed[still].mean()):
    _, truths, probabilities = _film(student)
    masks = probabilities.argmax(axis=1)
    windows = [masks[max(0, t - reach):t + reach + 1] for t in range(len(masks))]
    voted = np.stack([np.argmax([(window == k).sum(axis=0) for k in range(CLASSES)], axis=0) for window in windows])
    return [share(one[1:] != one[:-1], truths[1:] == truths[:-1]) for one in (masks, voted)]


def _mean_iou(masks, truths):
    both = [((masks == k) & (truths == k)).sum() for k in range(CLASSES)]
    either = [((masks == k) | (truths == k)).sum() for k in range(CLASSES)]
    return float(np.mean(np.divide(both, either)))


def _floor(student):
    _, truths, probabilities = _film(student)
    return _mean_iou(probabilities[REST].argmax(axis=1), truths[REST]) + 0.15


def _pictures(student):
    return (torch.from_numpy(_film(student)[0][REST]).permute(0, 3, 1, 2).contiguous(),)


def _segmented(decoder, pictures):
    import torch
    decoder.eval()
    with torch.no_grad():
        said = [decoder((part.float() - 127) / 128).argmax(dim=1) for part in pictures.split(4)]
    return torch.cat(said).to(torch.uint8)


def _score(said, student):
    truths, found = _film(student)[1][REST], np.asarray(said)
    if found.shape != truths.shape:
        raise ValueError(f"masks of shape {found.shape}, and {truths.shape} is needed")
    return _mean_iou(found, truths)


QUESTIONS = {one.name: one for one in (
    FunctionQuestion(
        "map_size", [Case("kernel 3, no padding", (10, [(3, 1, 0, 1)])),
                     Case("kernel 1, stride 1: as it was", (7, [(1, 1, 0, 1)])),
                     Case("three layers with stride 2", (451, [(3, 2, 1, 1), (3, 2, 1, 1), (2, 2, 0, 1)])),
                     Case("kernel 2, stride 3", (18, [(2, 3, 0, 1)])),
                     Case("dilation 4, then stride 2", (65, [(3, 1, 4, 4), (3, 2, 0, 1)])),
                     Case("much padding", (20, [(5, 2, 4, 1), (3, 1, 0, 2)])), Case("no layer", (33, [])),
                     Case("a kernel that is larger than the map, and padding", (2, [(3, 1, 1, 1)])),
                     Case("a window that fits exactly", (5, [(5, 1, 0, 1)]))],
        map_size, {"The padding is added at both ends of the map.": partial(map_size, ends=1),
                   "With dilation d, a kernel of k spans d (k - 1) + 1 places.": partial(map_size, dilated=False),
                   "A window that sticks out at the end does not count.": partial(map_size, out=True),
                   "A kernel may be larger than the map, if it fits into the padded one.":
                   partial(map_size, early=True)}),
    FunctionQuestion(
        "map_size_none", [Case("a window that is larger than the map", (4, [(5, 1, 0, 1)])),
                          Case("the same with stride 2", (4, [(5, 2, 0, 1)])),
                          Case("much larger", (2, [(9, 2, 0, 1)])),
                          Case("layers follow, with padding", (4, [(5, 1, 0, 1), (1, 1, 1, 1)]))],
        map_size, {"Layers follow, but there is no map any more: the result is 0.": partial(map_size, stops=False)}),
    FunctionQuestion(
        "bilinear_kernel", [Case("factor 2", (2,)), Case("factor 4", (4,)), Case("factor 16", (16,))],
        bilinear_kernel, {
            "The weights of the kernel add up to 1. Their sum should be the factor's square, since copies overlap.":
            lambda factor: bilinear_kernel(factor) / factor**2,
            "The largest weight is 1. It should be smaller: no pixel lies at the centre of the kernel.":
            lambda factor: bilinear_kernel(factor) / bilinear_kernel(factor).max()}),
    FunctionQuestion(
        "upsampler", [Case("factor 2", (_KERNEL2, 1, _MAPS)), Case("factor 4", (_KERNEL4, 1, _MAPS))],
        Upsampler, {"The padding does not make the maps exactly f times as large.": partial(Upsampler, padding=0),
                    "The kernel is turned by 180°.": partial(Upsampler, turned=True)}, run=_enlarged),
    FunctionQuestion(
        "upsampler_channels", [Case("the first of two channels changes", (_KERNEL2, 2, 0)),
                               Case("the last of five channels changes", (_KERNEL4, 5, 4))],
        Upsampler, {"Each channel gets something from all channels.": partial(Upsampler, mixed=True),
                    "Only the first channel has a kernel.": partial(Upsampler, first=True),
                    "With several channels, the kernel is divided by their number.": partial(Upsampler, shared=True)},
        run=_touched),
    FunctionQuestion(
        "mirrored_mean", [Case("three classes, two pictures", (_network(3, 0), _IMAGES, [0, 1, 2])),
                          Case("five classes, one picture", (_network(5, 1), _IMAGES[:1], [0, 1, 2, 3, 4]))],
        mirrored_mean, {
            "The probabilities of the mirrored picture are not mirrored back.": partial(mirrored_mean, back=False),
            "It is the mean of the logits. Take the softmax of each first.": [
                partial(mirrored_mean, of_logits="softmax"), partial(mirrored_mean, of_logits="plain")],
            "The picture is turned upside down. Exchange left and right.": partial(mirrored_mean, axis=-2),
            "It is the sum of both, and not their mean.": partial(mirrored_mean, weights=(1, 1)),
            "It is that of the picture alone.": partial(mirrored_mean, weights=(1, 0)),
            "It is that of the mirrored picture alone.": partial(mirrored_mean, weights=(0, 1))}),
    FunctionQuestion(
        "mirrored_mean_partner", [Case("classes 1 and 2 are partners", (_ByFirstColumn(), _COLOURS, [0, 2, 1])),
                                  Case("classes 0 and 1 are partners", (_ByFirstColumn(), _COLOURS[:1], [1, 0, 2]))],
        mirrored_mean, {
            "The partners are not exchanged.": partial(mirrored_mean, swap=(False, False)),
            "The partners are exchanged in the picture. Exchange them in the mirrored one.":
            partial(mirrored_mean, swap=(True, False)),
            "The partners are exchanged in both. Exchange them in the mirrored one.":
            partial(mirrored_mean, swap=(True, True))}),
    FunctionQuestion(
        "sure_only", [Case("four classes, threshold 0.6", (_PROBABILITIES, 0.6)),
                      Case("threshold 0: all are sure", (_PROBABILITIES, 0.0)),
                      Case("a confidence that equals the threshold", (_QUARTERS, 0.5))],
        sure_only, {"A confidence that equals the threshold is not below it.": _unsure_if_equal,
                    "It is the wrong way round: 255 is for low confidence.": _unsure_only}, run=_ids_run),
    NumberQuestion("sure_share", lambda student: _sure(student)[0].mean(), {
        "It is the share of pixels that become 255.": lambda student: 1 - _sure(student)[0].mean(),
        "It is the share of pixels that are sure and right.":
        lambda student: np.logical_and(*_sure(student)).mean()}, 5e-4),
    NumberQuestion("sure_accuracy", _sure_accuracy, {
        "It is divided by all pixels. Divide by those that keep their class.":
        lambda student: np.logical_and(*_sure(student)).mean(),
        "It is the accuracy of all pixels, without a threshold.": lambda student: _sure(student)[1].mean(),
        "It is the mean of the frames' accuracies. Count over all frames together.": _sure_accuracy_of_frames}, 2e-4),
    FunctionQuestion(
        "drop_islands", [Case("one class", (_ONE_CLASS, 4)),
                         Case("three classes that do not touch", (_THREE_CLASSES, 6)),
                         Case("regions that bend", (_BENT, 6)),
                         Case("least 1: all stays", (_THREE_CLASSES, 1)),
                         Case("background alone", (np.zeros((4, 5), np.uint8), 3))],
        drop_islands, {
            "A region with exactly `least` pixels stays.": _drop_if_equal,
            "Count the pixels of each region, and not of the class.": partial(drop_islands, of_class=True),
            "Count the pixels of each region, and not those of the box around it.": partial(drop_islands, of_box=True)},
        run=_ids_run),
    FunctionQuestion(
        "drop_islands_corners", [Case("a diagonal", (np.eye(5, dtype=np.uint8), 3)),
                                 Case("two squares that touch at a corner", (_SQUARES, 6))],
        drop_islands, {"Pixels that touch only at a corner are counted as one region.":
                       partial(drop_islands, corners=True)}),
    FunctionQuestion(
        "drop_islands_classes", [Case("two classes that touch", (_TOUCHING, 3)),
                                 Case("255 connects nothing, and stays", (_BRIDGE, 3)),
                                 Case("no background at all", (_COVERED, 2))],
        drop_islands, {"Two classes that touch are counted as one region.": partial(drop_islands, joined=True),
                       "255 is no class: it stays, however few these pixels are.": partial(drop_islands, known=False),
                       "The lowest number is taken for background, also where there is none.":
                       partial(drop_islands, no_first=True)}),
    FunctionQuestion(
        "vote", [Case("reach 1", (_CLEAR1, 1)), Case("reach 3", (_CLEAR3, 3)),
                 Case("reach 0: nothing changes", (_CLEAR3, 0))],
        vote, {"The film is no ring: at its ends fewer frames vote.": partial(vote, frames=_ring),
               "Only the frame itself and those before it vote.": partial(vote, frames=_before),
               "The votes are those of the masks that come in, and not of those that have been changed.":
               partial(vote, in_place=True),
               "It is the median. Count the votes of each class.":
               partial(vote, winner=lambda voters, own: np.median(voters))}, run=_ids_run),
    FunctionQuestion(
        "vote_special", [Case("several classes with the most votes, and pixels that are 255", (_UNCLEAR, 1)),
                         Case("the same with reach 2", (_UNCLEAR, 2))],
        vote, {"Of several classes with the most votes, the smallest id wins, and not the largest.":
               partial(vote, winner=partial(_winner, best=lambda found, own: max(found))),
               "Of several classes with the most votes, the smallest id wins, and not the first voter's.":
               partial(vote, winner=partial(_winner, best=lambda found, own: found[0])),
               "Of several classes with the most votes, the smallest id wins, and not the frame's own.":
               partial(vote, winner=partial(_winner, best=lambda found, own: own if own in found else min(found))),
               "A pixel that is 255 has no vote.": partial(vote, winner=partial(_winner, ignored=False)),
               "Where nobody votes, it is 255.": partial(vote, winner=partial(_winner, silent=0))}, run=_in_the_middle),
    NumberQuestion("false_changes", _false_changes, {
        "All changes are counted, also those of the truth.":
        partial(_false_changes, share=lambda changed, still: changed.mean()),
        "It is divided by all pixels. Divide by those whose true class stays the same.":
        partial(_false_changes, share=lambda changed, still: (changed & still).mean()),
        "The vote has reach 1. Take reach 2.": partial(_false_changes, reach=1),
        "The order is exchanged: the number before the vote comes first.":
        lambda student: _false_changes(student)[::-1]}, 1e-4),
    ScoreQuestion("decoder", "the mean IoU on the 20 frames", _pictures, _segmented, _score, _floor),
)}
grade = partial(questions.grade, QUESTIONS)
