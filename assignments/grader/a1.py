"""Assignment 1: how far does colour get? The right answers, and the mistakes that are named."""

from functools import cache, partial

import numpy as np
import torch

from grader import handed_out
from seglab.checks import Case
from seglab.classroom import questions
from seglab.classroom.questions import FunctionQuestion, NumberQuestion, ScoreQuestion

data = handed_out("a1", "a1_data")
COUNT = len(data.GROUPS)


def to_groups(mask, group_of):
    table = np.full(256, 255, np.uint8)
    table[:len(group_of)] = group_of
    return table[mask]


def mean_colours(images, masks, count):
    sums, pixels = np.zeros((count, 3)), np.zeros(count)
    for image, mask in zip(images, masks, strict=True):
        for number in range(count):
            chosen = image[mask == number]
            sums[number] += chosen.sum(axis=0)
            pixels[number] += len(chosen)
    return np.divide(sums, pixels[:, None], out=np.full((count, 3), np.nan), where=pixels[:, None] > 0)


def nearest_colour(image, colours):
    distance = ((image[:, :, None].astype(float) - colours) ** 2).sum(axis=-1)
    return np.nanargmin(np.where(np.isnan(distance), np.inf, distance), axis=-1).astype(np.uint8)


def balanced_accuracy(matrix):
    matrix = np.asarray(matrix, dtype=float)
    total = matrix.sum(axis=1)
    return float((np.diag(matrix)[total > 0] / total[total > 0]).mean())


def focal_loss(logits, masks, gamma):
    logp = logits.log_softmax(dim=1)
    known = masks != 255
    picked = logp.gather(1, torch.where(known, masks.long(), 0)[:, None])[:, 0][known]
    return (-(1 - picked.exp()) ** gamma * picked).mean()


# --- mistakes -------------------------------------------------------------------------------------------------------

def _groups_255_becomes_last(mask, group_of):
    return np.asarray(group_of)[np.minimum(mask, len(group_of) - 1)]


def _groups_255_becomes_first(mask, group_of):
    return np.where(mask == 255, 0, to_groups(mask, group_of))


def _groups_in_place(mask, group_of):
    made = mask.copy()  # classes that are written are read again: 1 -> 3, and then 3 -> 0
    for number, group in enumerate(group_of):
        made[made == number] = group
    return made


def _mean_of_means(images, masks, count):
    found = [mean_colours([image], [mask], count) for image, mask in zip(images, masks, strict=True)]
    found = np.array(found)
    there = ~np.isnan(found)
    return np.divide(np.where(there, found, 0).sum(axis=0), there.sum(axis=0), out=np.full((count, 3), np.nan),
                     where=there.sum(axis=0) > 0)


def _absent_is_zero(images, masks, count):
    return np.nan_to_num(mean_colours(images, masks, count))


def _divided_by_all(images, masks, count):
    share = [sum((mask == number).sum() for mask in masks) / sum(mask.size for mask in masks)
             for number in range(count)]
    return mean_colours(images, masks, count) * np.array(share)[:, None]


def _small_sums(images, masks, count, dtype=np.uint8):
    sums = np.zeros((count, 3), dtype)
    pixels = np.zeros((count, 1))
    for image, mask in zip(images, masks, strict=True):
        for number in range(count):
            sums[number] += image[mask == number].sum(axis=0, dtype=dtype)
            pixels[number] += (mask == number).sum()
    with np.errstate(invalid="ignore"):
        return sums / pixels


def _nearest_uint8(image, colours):
    there = np.nan_to_num(colours).astype(np.uint8)
    distance = ((image[:, :, None] - there) ** 2).sum(axis=-1).astype(float)
    return np.where(np.isnan(colours).any(axis=1), np.inf, distance).argmin(axis=-1).astype(np.uint8)


def _nearest_whole(image, colours):
    return nearest_colour(image, np.where(np.isnan(colours), np.nan, np.trunc(colours)))


def _nearest_nan(image, colours):
    distance = ((image[:, :, None].astype(float) - colours) ** 2).sum(axis=-1)
    return distance.argmin(axis=-1).astype(np.uint8)  # NaN counts as the smallest


def _nearest_sum(image, colours):
    distance = np.abs((image[:, :, None].astype(float) - colours).sum(axis=-1))
    return np.where(np.isnan(distance), np.inf, distance).argmin(axis=-1).astype(np.uint8)


def _farthest(image, colours):
    distance = ((image[:, :, None].astype(float) - colours) ** 2).sum(axis=-1)
    return np.where(np.isnan(distance), -np.inf, distance).argmax(axis=-1).astype(np.uint8)


def _plain_accuracy(matrix):
    return float(np.trace(matrix) / np.sum(matrix))


def _absent_counts_zero(matrix):
    total = np.sum(matrix, axis=1)
    return float((np.diag(matrix) / np.maximum(total, 1)).mean())


def _never_right_is_left_out(matrix):
    matrix = np.asarray(matrix, dtype=float)
    found = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    return float(found[found > 0].mean())


def _precision(matrix):
    return balanced_accuracy(np.asarray(matrix).T)


def _mean_iou(matrix):
    matrix = np.asarray(matrix, dtype=float)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    return float((np.diag(matrix)[union > 0] / union[union > 0]).mean())


def _focal(logits, masks, gamma, weight=lambda p, gamma: (1 - p) ** gamma, mean=torch.mean, ignored=False):
    logp = logits.log_softmax(dim=1)
    known = torch.ones_like(masks, dtype=torch.bool) if ignored else masks != 255
    picked = logp.gather(1, torch.where(masks == 255, 0, masks).long()[:, None])[:, 0][known]
    return mean(-weight(picked.exp(), gamma) * picked)


def _focal_all_pixels(logits, masks, gamma):
    return _focal(logits, masks, gamma, mean=torch.sum) / masks.numel()


def _focal_detached(logits, masks, gamma):
    return _focal(logits, masks, gamma, weight=lambda p, gamma: (1 - p.detach()) ** gamma)


def _focal_mean_of_pictures(logits, masks, gamma):
    return torch.stack([focal_loss(*pair, gamma) for pair in zip(logits.split(1), masks.split(1), strict=True)]).mean()


def _groups_run(answer, mask, group_of):
    made = np.asarray(answer(mask, group_of))
    return {"ids": made, "one byte a pixel (uint8)": made.dtype == np.uint8}


def _colour_run(answer, image, colours):
    made = np.asarray(answer(image, colours))
    return {"ids": made, "one byte a pixel (uint8)": made.dtype == np.uint8}


def _absent_run(answer, images, masks, count):
    """Which rows are NaN, and whether pixels that are 255 make no difference: not whether the means are right."""
    made = np.asarray(answer(images, masks, count), dtype=float)
    kept = [mask < 255 for mask in masks]
    alone = np.asarray(answer([image[k][None] for image, k in zip(images, kept, strict=True)],
                              [mask[k][None] for mask, k in zip(masks, kept, strict=True)], count), dtype=float)
    return {"where NaN stands": np.where(np.isnan(made), np.nan, 0.0),
            "away from the means without the pixels that are 255":
            np.round(np.nan_to_num(made) - np.nan_to_num(alone), 3)}


def _without_nan_run(answer, image, colours):
    """Whether a group without a colour makes no difference: not whether the others are found by the right distance."""
    known = np.flatnonzero(~np.isnan(colours).any(axis=1))
    made, alone = (np.asarray(answer(image, some)).astype(int) for some in (colours, colours[known].copy()))
    return {"the same as without it": bool(made.shape == alone.shape and (made == known[alone]).all()),
            "it depends on the picture": len(np.unique(made)) > 1}


def _loss_run(answer, logits, masks, gamma):
    inputs = logits.clone().requires_grad_()
    loss = answer(inputs, masks, gamma)
    flows = bool(getattr(loss, "requires_grad", False))
    if flows:
        loss.backward()
    return {"the loss": float(loss), "gradients flow through it": flows,
            "its gradient": inputs.grad if flows and inputs.grad is not None else 0 * logits}


def _ignored_run(answer, logits, masks, gamma):
    """Whether ignored pixels make no difference: not whether the loss of the others is right."""
    known = masks != 255
    kept = logits.permute(0, 2, 3, 1)[known].T[None, :, None].contiguous()  # (1, C, 1, pixels)
    alone = float(answer(kept, masks[known][None, None], gamma))
    made = float(answer(logits, masks, gamma))
    return {"in relation to the loss without the ignored pixels": made / alone if alone else np.nan}


_rng = np.random.default_rng(1)
_A, _B = (_rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((5, 6), (9, 4)))
_M, _N = _rng.integers(0, 3, (5, 6), dtype=np.uint8), _rng.integers(0, 2, (9, 4), dtype=np.uint8)
_N2 = _N.copy()
_N2[:4] = 255
_COLOURS = np.array([[20.0, 200, 30], [120, 90, 250], [250, 240, 10], [90, 90, 90]])
_ABSENT = np.where(np.arange(4)[:, None] == 1, np.nan, _COLOURS)
_LOGITS = torch.from_numpy(_rng.normal(0, 2, (2, 4, 3, 5))).float()
_MASKS = torch.from_numpy(_rng.integers(0, 4, (2, 3, 5))).to(torch.uint8)
_HOLES = _MASKS.clone()
_HOLES[:, 1] = _HOLES[0, 2] = 255
_BRIGHT = _rng.integers(200, 256, (40, 50, 3), dtype=np.uint8)
_HALVES = np.repeat(np.uint8([0, 1]), 25)[None].repeat(40, axis=0)
_NEARLY = np.array([[60.9] * 3, [60.4] * 3, [59.8] * 3, [10.0, 90, 200]])  # for 60, the third one is the nearest
_SIXTY = np.uint8([[[60, 60, 60], [61, 61, 61], [0, 100, 210], [40, 50, 60]]])


# --- on the student's own data --------------------------------------------------------------------------------------

@cache
def _split(student, split):
    found = data.scenes(student, split)
    return [image for image, _ in found], [to_groups(mask, data.GROUP_OF) for _, mask in found]


@cache
def _matrix(student, train_split="train", test_split="test"):
    colours = mean_colours(*_split(student, train_split), COUNT)
    matrix = np.zeros((COUNT, COUNT), int)
    for image, mask in zip(*_split(student, test_split), strict=True):
        found, known = nearest_colour(image, colours), mask != 255
        matrix += np.bincount(mask[known].astype(int) * COUNT + found[known], minlength=COUNT ** 2).reshape(COUNT, -1)
    return matrix


def _constant(student, split="train"):
    """Accuracy on test of the most frequent group of a split."""
    counts = sum(np.bincount(mask[mask != 255], minlength=COUNT) for mask in _split(student, split)[1])
    test = sum(np.bincount(mask[mask != 255], minlength=COUNT) for mask in _split(student, "test")[1])
    return test[counts.argmax()] / test.sum()


def _constant_of_pictures(student):
    """The mean of the test pictures' accuracies."""
    train, test = (_split(student, split)[1] for split in ("train", "test"))
    most = sum(np.bincount(mask[mask != 255], minlength=COUNT) for mask in train).argmax()
    return np.mean([(mask[mask != 255] == most).mean() for mask in test])


def _colour_of_pictures(student):
    colours = mean_colours(*_split(student, "train"), COUNT)
    return np.mean([(nearest_colour(image, colours) == mask)[mask != 255].mean()
                    for image, mask in zip(*_split(student, "test"), strict=True)])


def _constant_of_all_pixels(student):
    masks = _split(student, "test")[1]
    return _constant(student) * sum((mask != 255).sum() for mask in masks) / sum(mask.size for mask in masks)


def _pictures(student):
    images, _ = _split(student, "test")
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),)


def _predicted(network, images):
    import torch
    network.eval()
    with torch.no_grad():
        return network(images.float() / 255).argmax(dim=1).to(torch.uint8)


def _accuracy(predicted, student):
    masks = np.stack(_split(student, "test")[1])
    found = np.asarray(predicted)
    if found.shape != masks.shape:
        raise ValueError(f"masks of shape {found.shape}, and {masks.shape} is needed")
    return float((found == masks)[masks != 255].mean())


QUESTIONS = {one.name: one for one in (
    FunctionQuestion(
        "to_groups", [Case("three classes", (np.uint8([[0, 1, 2], [2, 2, 0]]), np.uint8([1, 0, 1]))),
                      Case("a group that is also a class: 1 -> 2", (np.uint8([[0, 1, 2]]), np.uint8([1, 2, 0])))],
        to_groups, {"Classes are replaced one after the other, so that what was written is replaced again.":
                    _groups_in_place}, run=_groups_run),
    FunctionQuestion(
        "to_groups_255", [Case("pixels that nobody labelled", (np.uint8([[0, 255, 2]]), np.uint8([0, 0, 1]))),
                          Case("a class in no group", (np.uint8([[0, 1, 255]]), np.uint8([0, 255, 1])))],
        to_groups, {"255 gets the last group.": _groups_255_becomes_last,
                    "255 becomes group 0.": _groups_255_becomes_first}),
    FunctionQuestion(
        "mean_colours", [Case("one picture", ([_A], [_M], 3)), Case("two pictures of different sizes",
                                                                    ([_A, _B], [_M, _N], 3)),
                         Case("two thousand bright pixels", ([_BRIGHT], [_HALVES], 2))],
        mean_colours, {"It is the mean of the pictures' means. Sum over all pictures, and divide once.": _mean_of_means,
                       "Divide by the pixels of the class, not by all.": _divided_by_all,
                       "The sum runs over in uint8: 255 + 1 = 0 there.": _small_sums,
                       "The sum runs over in uint16: 65,535 + 1 = 0 there.": partial(_small_sums, dtype=np.uint16)}),
    FunctionQuestion(
        "mean_colours_absent", [Case("a class that does not occur", ([_A], [_M], 5)),
                                Case("pixels that nobody labelled", ([_B], [_N2], 3))],
        mean_colours, {"A class that does not occur has no colour: NaN, and not 0 (black).": _absent_is_zero},
        run=_absent_run),
    FunctionQuestion(
        "nearest_colour", [Case("four colours", (_A, _COLOURS)), Case("another picture", (_B, _COLOURS)),
                           Case("colours that are no whole numbers", (_SIXTY, _NEARLY))],
        nearest_colour, {"Differences of uint8 run over: 3 - 5 = 254 there. Make numbers with a sign first.":
                         _nearest_uint8,
                         "The differences of red, green and blue are added with their signs, so that they cancel.":
                         _nearest_sum, "It is the farthest colour.": _farthest,
                         "The mean colours are cut to whole numbers. Take them as they are.": _nearest_whole},
        run=_colour_run),
    FunctionQuestion(
        "nearest_colour_nan", [Case("a class without a colour (NaN)", (_A, _ABSENT))], nearest_colour,
        {"The class without a colour (NaN) is chosen.": _nearest_nan}, run=_without_nan_run),
    FunctionQuestion(
        "balanced_accuracy", [Case("three classes", (np.array([[8, 1, 1], [0, 1, 1], [0, 2, 6]]),)),
                              Case("other counts", (np.array([[90, 10], [5, 5]]),)),
                              Case("a class that is never found", (np.array([[5, 2, 1], [3, 0, 1], [0, 1, 7]]),))],
        balanced_accuracy, {"It is the plain accuracy: frequent classes count more.": _plain_accuracy,
                            "Rows are the truth: divide by the sum of the row, not of the column.": _precision,
                            "It is the mean IoU.": _mean_iou,
                            "A class that occurs and is never found counts, too: its accuracy is 0.":
                            _never_right_is_left_out}),
    FunctionQuestion(
        "balanced_accuracy_absent", [Case("a class that does not occur",
                                          (np.array([[8, 1, 1], [0, 0, 0], [0, 2, 6]]),))],
        balanced_accuracy, {"A class that does not occur counts as 0. Leave it out.": _absent_counts_zero}),
    FunctionQuestion(
        "focal_loss", [Case("gamma 0: the cross-entropy", (_LOGITS, _MASKS, 0.0)),
                       Case("gamma 2", (_LOGITS, _MASKS, 2.0)), Case("gamma 0.5", (_LOGITS, _MASKS, 0.5))],
        focal_loss, {"It is the plain cross-entropy, whatever gamma is.":
                     partial(_focal, weight=lambda p, gamma: torch.ones_like(p)),
                     "The weight is p to the power of gamma. It should be 1 - p: sure pixels count less.":
                     partial(_focal, weight=lambda p, gamma: p ** gamma),
                     "It is the sum over the pixels, not their mean.": partial(_focal, mean=torch.sum),
                     "The weight is (1 - p) times gamma, not to its power.":
                     partial(_focal, weight=lambda p, gamma: (1 - p) * gamma),
                     "The weight is detached. The gradient should be that of the whole loss.": _focal_detached,
                     "No gradient flows through it. Return a tensor that depends on the logits.":
                     lambda *args: focal_loss(*args).detach()}, run=_loss_run),
    FunctionQuestion(
        "focal_loss_ignored", [Case("pixels that nobody labelled", (_LOGITS, _HOLES, 2.0))], focal_loss,
        {"Ignored pixels count as class 0.": partial(_focal, ignored=True),
         "The mean is over all pixels, also the ignored ones.": _focal_all_pixels,
         "It is the mean of the pictures' means. Each labelled pixel of the batch counts the same.":
         _focal_mean_of_pictures}, run=_ignored_run),
    NumberQuestion("constant_accuracy", _constant, {
        "The frequent group is that of the test pictures. A rule must not look at the test.":
        partial(_constant, split="test"),
        "It is divided by all pixels, also those in no group.": _constant_of_all_pixels,
        "It is the mean of the pictures' accuracies. Count over all pictures together.": _constant_of_pictures}, 1e-3),
    NumberQuestion("colour_accuracy", lambda student: _plain_accuracy(_matrix(student)), {
        "It is the accuracy on the training pictures.":
        lambda student: _plain_accuracy(_matrix(student, test_split="train")),
        "The mean colours are those of the test pictures.":
        lambda student: _plain_accuracy(_matrix(student, train_split="test")),
        "It is the mean of the pictures' accuracies. Count over all pictures together.": _colour_of_pictures}, 1e-3),
    NumberQuestion("colour_balanced", lambda student: balanced_accuracy(_matrix(student)), {
        "It is the plain accuracy.": lambda student: _plain_accuracy(_matrix(student)),
        "It is the mean IoU.": lambda student: _mean_iou(_matrix(student))}, 1e-3),
    ScoreQuestion("network", "the network on your test pictures", _pictures, _predicted, _accuracy,
                  lambda student: max(_constant(student), _plain_accuracy(_matrix(student))) + 0.05),
)}
grade = partial(questions.grade, QUESTIONS)
