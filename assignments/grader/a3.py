"""Assignment 3: how far can you trust it? The right answers, and the mistakes that are named."""

import math
from functools import cache, partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from grader import handed_out
from seglab.checks import Case, seed_of
from seglab.classroom import questions
from seglab.classroom.questions import FunctionQuestion, NumberQuestion, ScoreQuestion

data = handed_out("a3", "a3_data")
KS = (1, 3, 7, 21)  # neighbours
BITS = 18  # of a fingerprint that a copy may change
NEW = 160  # pictures that the stretch is scored on
GAIN = 0.01  # by which it is to be better than the given head


# --- right answers --------------------------------------------------------------------------------------------------

def _blocks(picture):
    height, width = np.asarray(picture).shape
    return np.asarray(picture, dtype=float).reshape(8, height // 8, 8, width // 8).mean(axis=(1, 3))


def fingerprint(picture, blocks=_blocks, brighter=np.greater):
    found = blocks(picture)
    return np.concatenate([brighter(found[:, 1:], found[:, :-1]).ravel(), brighter(found[1:], found[:-1]).ravel()])


def train_last(model, count):
    first = len(model) - count
    for number, block in enumerate(model):
        block.train(number >= first)
        for parameter in block.parameters():
            parameter.requires_grad_(number >= first)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _cosine(queries, features):
    rows, others = (np.asarray(x, dtype=float) for x in (queries, features))
    return (rows @ others.T) / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(others, axis=1)


def neighbour_votes(queries, features, labels, classes, k, near=_cosine, least=False):
    order = np.argsort(near(queries, features) * (1 if least else -1), axis=1, kind="stable")[:, :k]
    chosen = np.asarray(labels)[order]
    return np.stack([(chosen == number).mean(axis=1) for number in range(classes)], axis=1)


def _only(first, second):
    """On how many pictures only the first one is right, and only the second one."""
    first, second = (np.asarray(x, dtype=bool) for x in (first, second))
    return int((first & ~second).sum()), int((second & ~first).sum())


def _doubled_tail(first, second):
    only = _only(first, second)
    return 2 * sum(math.comb(sum(only), i) for i in range(min(only) + 1)) / 2 ** sum(only)


def paired_p(first, second):
    return min(1.0, _doubled_tail(first, second))


def _loss(logits, labels, t=1.0):
    z = np.asarray(logits, dtype=float) / t
    z = z - z.max(axis=1, keepdims=True)
    own = z[np.arange(len(z)), np.asarray(labels)]
    return float((np.log(np.exp(z).sum(axis=1)) - own).mean())


def temperature(logits, labels):
    # Of 1 / T, the loss is convex; so it has one valley in log T, too.
    low, high = math.log(0.05), math.log(20)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        one, other = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(logits, labels, math.exp(one)) <= _loss(logits, labels, math.exp(other)):
            high = other
        else:
            low = one
    return min((math.exp((low + high) / 2), 0.05, 20.0), key=lambda t: _loss(logits, labels, t))


def _sure_and_right(probabilities, labels):
    probabilities = np.asarray(probabilities, dtype=float)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == np.asarray(labels)


def threshold(probabilities, labels, target):
    sure, right = _sure_and_right(probabilities, labels)
    good = [value for value in sure if right[sure >= value].mean() >= target]
    return float(min(good, default=np.inf))


# --- mistakes -------------------------------------------------------------------------------------------------------

def _corner(picture):
    height, width = np.asarray(picture).shape
    return np.asarray(picture)[::height // 8, ::width // 8].astype(float)


def _columns_of_blocks(picture):
    found = _blocks(picture)
    return np.concatenate([(found[:, 1:] > found[:, :-1]).T.ravel(), (found[1:] > found[:-1]).T.ravel()])


def _parts_exchanged(picture):
    found = fingerprint(picture)
    return np.concatenate([found[56:], found[:56]])


def _above_the_mean(picture):
    found = _blocks(picture)
    return (found > found.mean()).ravel()


def _first_blocks_train(model, count):
    for number, block in enumerate(model):
        block.train(number < count)
        for parameter in block.parameters():
            parameter.requires_grad_(number < count)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _not_freed(model, count):
    """As `train_last`, but it does not make anything train that did not before."""
    before = [parameter.requires_grad for parameter in model.parameters()]
    train_last(model, count)
    for parameter, trains in zip(model.parameters(), before, strict=True):
        parameter.requires_grad_(parameter.requires_grad and trains)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _counts_tensors(model, count):
    train_last(model, count)
    return sum(parameter.requires_grad for parameter in model.parameters())


def _counts_all(model, count):
    train_last(model, count)
    return sum(parameter.numel() for parameter in model.parameters())


def _blocks_with_parameters(model, count):
    return train_last(nn.Sequential(*[block for block in model if list(block.parameters())]), count)


def _minus_zero(model, count):
    return train_last(model, count or len(model))  # model[-0:] is all of it


def _whole_mode(model, count, mode):
    found = train_last(model, count)
    model.train(mode)
    return found


def _euclidean(queries, features):
    rows, others = (np.asarray(x, dtype=float) for x in (queries, features))
    return -np.linalg.norm(rows[:, None] - others, axis=2)


def _dot(queries, features):
    return np.asarray(queries, dtype=float) @ np.asarray(features, dtype=float).T


def _vote_numbers(queries, features, labels, classes, k):
    return neighbour_votes(queries, features, labels, classes, k) * min(k, len(features))


def _divided_by_k(queries, features, labels, classes, k):
    return _vote_numbers(queries, features, labels, classes, k) / k


def _classes_that_occur(queries, features, labels, classes, k):
    return neighbour_votes(queries, features, labels, int(np.max(np.asarray(labels))) + 1, k)


def _one_sided(first, second):
    return paired_p(first, second) / 2


def _of_all_pictures(first, second):
    n = len(np.asarray(first))
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(min(_only(first, second)) + 1)) / 2 ** n)


def _of_one_number(first, second):
    b, c = _only(first, second)
    return min(1.0, 2 * math.comb(b + c, min(b, c)) / 2 ** (b + c))


def _approximate_from_25(first, second):
    return paired_p(first, second) if sum(_only(first, second)) < 25 else _chi_square(first, second)


def _chi_square(first, second):
    b, c = _only(first, second)
    return math.erfc(abs(b - c) / math.sqrt(2 * (b + c))) if b + c else 1.0


def _inverse(logits, labels):
    return 1 / temperature(logits, labels)


def _one(logits, labels):
    return 1.0


def _unlimited(logits, labels):
    found = temperature(logits, labels)
    return {0.05: 1e-3, 20.0: 1e3}.get(round(found, 6), found)


def _sorted_threshold(probabilities, labels, target, stops=False):
    """Picture by picture, from the surest down, as if no two had the same confidence."""
    sure, right = _sure_and_right(probabilities, labels)
    order = np.argsort(-sure, kind="stable")
    share = right[order].cumsum() / np.arange(1, len(order) + 1)
    good = share >= target
    if stops:
        good = np.logical_and.accumulate(good)
    return float(sure[order][good].min()) if good.any() else np.inf


def _above(probabilities, labels, target):
    sure, right = _sure_and_right(probabilities, labels)
    good = [value for value in sure if (sure > value).any() and right[sure > value].mean() >= target]
    return float(min(good, default=np.inf))


def _surest(probabilities, labels, target):
    sure, right = _sure_and_right(probabilities, labels)
    return float(max((value for value in sure if right[sure >= value].mean() >= target), default=np.inf))


def _lowest(probabilities, labels, target):
    found = threshold(probabilities, labels, target)
    return float(np.asarray(probabilities).max(axis=1).max()) if found == np.inf else found


def _zero_threshold(probabilities, labels, target):
    found = threshold(probabilities, labels, target)
    return 0.0 if found == np.inf else found


# --- how answers are run: this goes to the student's kernel -----------------------------------------------------------

def _fingerprint_run(answer, picture):
    made = np.asarray(answer(picture))
    return {"bits": made, "True or False (bool)": made.dtype == bool}


def _network(sizes, frozen):
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Conv2d(a, b, 3), nn.Sequential(nn.BatchNorm2d(b), nn.ReLU()))
              for a, b in pairwise(sizes)]
    model = nn.Sequential(*blocks, nn.Conv2d(sizes[-1], 2, 1))
    return model.requires_grad_(not frozen).train(not frozen)


def _trains_run(answer, sizes, count, frozen, apart=False):
    model = _network(sizes, frozen)
    if apart:  # some blocks have no parameters
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1),
                              nn.ReLU())
    returned = answer(model, count)
    return {"the parameters that train": [parameter.requires_grad for parameter in model.parameters()],
            "what is returned": returned}


def _modes_run(answer, sizes, count, frozen):
    model = _network(sizes, frozen)
    answer(model, count)
    return {"which modules are in train mode": [part.training for block in model for part in block.modules()]}


def _columns_run(answer, queries, features, labels, classes, k):
    made = np.asarray(answer(queries, features, labels, classes, k), dtype=float)
    absent = [c for c in range(made.shape[1]) if c not in labels.tolist()]
    return {"the number of rows and columns": made.shape, "the sum of each row": made.sum(axis=1),
            "the votes for a class that no row has": made[:, absent].sum()}


def _temperature_run(answer, logits, labels):
    t = float(answer(logits, labels))
    return {"between 0.05 and 20": 0.05 * 0.999 <= t <= 20 * 1.001,
            "mean loss at this temperature": torch.nn.functional.cross_entropy(logits.double() / t, labels)}


def _range_run(answer, logits, labels):
    t = float(answer(logits, labels))
    return {"between 0.05 and 20": 0.05 * 0.999 <= t <= 20 * 1.001, "its order of magnitude": round(np.log2(t))}


def _limits_run(answer, first, second):
    p = float(answer(first, second))
    return {"above 0, and up to 1": 0 < p <= 1, "above one half": p > 0.5}


def _logits_run(head, features):
    if isinstance(head, nn.Module):
        head.eval()
    with torch.no_grad():
        return torch.as_tensor(head(features)).float()


_rng = np.random.default_rng(2)  # no two neighbouring blocks of its pictures are equal
_PICTURES = [_rng.integers(0, 256, size, dtype=np.uint8) for size in ((16, 16), (24, 40))]
#: 8×8 blocks of 8×8 pixels, each with another number of pixels that are a little brighter.
_PALE = np.uint8(100 + (np.arange(64) < _rng.permutation(64)[:, None])).reshape(8, 8, 8, 8)
_PALE = _PALE.swapaxes(1, 2).reshape(64, 64)
_FLAT = [np.full((side, side), shade, np.uint8) for side, shade in ((16, 77), (24, 200))]
_ROWS = torch.from_numpy(_rng.normal(0, 1, (9, 5)) * _rng.uniform(0.2, 5, (9, 1))).float()
_QUERIES = torch.from_numpy(_rng.normal(0, 1, (6, 5)) * _rng.uniform(0.2, 5, (6, 1))).float()
_LABELS = torch.tensor([0, 2, 1, 0, 1, 2, 2, 0, 1])


def _answers(both, first, second, none):
    return (torch.tensor([True] * both + [True] * first + [False] * second + [False] * none),
            torch.tensor([True] * both + [False] * first + [True] * second + [False] * none))


def _made_logits(count, classes, scale, seed):
    """Logits whose labels are drawn by the softmax of logits that are `scale` times smaller."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, classes))
    odds = np.exp(logits)
    labels = (rng.random((count, 1)) > (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1)).sum(axis=1)
    return torch.from_numpy(logits * scale), torch.from_numpy(labels)


_SURE, _UNSURE, _THREE = _made_logits(60, 2, 4.0, 1), _made_logits(80, 2, 0.4, 2), _made_logits(90, 3, 2.5, 3)
_SHIFTED = 1.3 * _SURE[0] + 900 * torch.arange(60)[:, None], _SURE[1]
_RIGHT = torch.tensor([[0.5, 0.0], [0.0, 0.4], [0.0, 0.6]]).double(), torch.tensor([0, 1, 1])
_WRONG = torch.tensor([[30.0, 0.0], [0.0, 25.0], [0.0, 40.0], [2.0, 0.0]]).double(), torch.tensor([1, 0, 0, 0])


def _odds(sure, right, classes=2):
    """Probabilities with these confidences, and labels that make their answers right or wrong."""
    said = np.arange(len(sure)) % classes
    rest = (1 - np.asarray(sure))[:, None] / (classes - 1)
    found = np.where(np.arange(classes) == said[:, None], np.asarray(sure)[:, None], rest)
    return torch.from_numpy(found), torch.from_numpy(np.where(right, said, (said + 1) % classes))


_FALLS = _odds([0.6, 0.95, 0.7, 0.9, 0.8, 0.65], [False, True, True, False, True, True])
_THREE_ODDS = _odds([0.5, 0.55, 0.99, 0.8, 0.45, 0.62, 0.7], [True, False, True, True, False, True, False], classes=3)
_TIED = [_odds([0.6, 0.8, 0.9, 0.8, 0.8], right) for right in ([False, True, True, True, False],
                                                              [False, False, True, True, True])]
_NEVER = _odds([0.9, 0.8, 0.7], [False, True, False])


# --- on the student's own data --------------------------------------------------------------------------------------

@cache
def _features(student, split):
    """Features of a split, and its labels."""
    found, labels = data.pictures(student, split)
    return data.features_of(found), labels


@cache
def _new(student):
    """Features and labels of pictures that the student does not have."""
    found, labels = data._drawn(seed_of(f"{student} / new"), 0, NEW)
    return data.features_of(found), labels


@cache
def _head(student, count=80):
    features, labels = _features(student, "train")
    return data.train_head(features[:count], labels[:count])


def _logits(student, split, count=80):
    return _head(student, count)(_features(student, split)[0]).double(), _features(student, split)[1]


def _is_copy(student, of="train"):
    more, others = (np.stack([fingerprint(data.gray(one)) for one in data.pictures(student, split)[0]])
                    for split in ("more", of))
    return ((more[:, None] != others).sum(axis=2) <= BITS).any(axis=1)


def _left_out(student, near=_cosine, itself=False):
    features, labels = _features(student, "train")
    close = near(features, features)
    if not itself:
        np.fill_diagonal(close, -np.inf)
    order = np.argsort(-close, axis=1)
    votes = np.asarray(labels)[order]
    return [float(((votes[:, :k].mean(axis=1) > 0.5) == np.asarray(labels)).mean()) for k in KS]


def _neighbours_on(student, split):
    features, labels = _features(student, split)
    found = [neighbour_votes(features, *_features(student, "train"), 2, k).argmax(axis=1) for k in KS]
    return [float((one == np.asarray(labels)).mean()) for one in found]


def _right(student, split, count):
    logits, labels = _logits(student, split, count)
    return logits.argmax(dim=1) == labels


def _p_value(student, split="test", p=paired_p):
    return p(_right(student, split, 80), _right(student, split, 20))


def _confidences(student, split="val", scored="test"):
    logits = _logits(student, scored)[0]
    return [float((logits / t).softmax(dim=1).max(dim=1).values.mean())
            for t in (1.0, temperature(*_logits(student, split)))]


def _answered(student, chosen="val", scored="test", target=0.875):
    odds = {split: _logits(student, split)[0].softmax(dim=1) for split in (chosen, scored)}
    sure, right = _sure_and_right(odds[scored], _logits(student, scored)[1])
    there = sure >= threshold(odds[chosen], _logits(student, chosen)[1], target)
    return [float(there.mean()), float(right[there].mean()) if there.any() else np.nan]


def _answered_of_all(student):
    coverage, accuracy = _answered(student)
    return [coverage, coverage * accuracy]


def _typical(logits, student):
    """The geometric mean of the probabilities of the true classes."""
    labels = _new(student)[1]
    if np.shape(logits) != (NEW, 2):
        raise ValueError(f"logits of shape {np.shape(logits)}, and {(NEW, 2)} is needed")
    return math.exp(-_loss(logits, labels))


def _given(student):
    return _typical(_head(student)(_new(student)[0]).numpy() / temperature(*_logits(student, "val")), student)


QUESTIONS = {one.name: one for one in (
    FunctionQuestion(
        "fingerprint", [Case("a square picture", (_PICTURES[0],)),
                        Case("a picture of 24 rows and 40 columns", (_PICTURES[1],)),
                        Case("a picture with little contrast", (_PALE,))],
        fingerprint, {"The means are rounded.": partial(fingerprint, blocks=lambda picture: _blocks(picture).round()),
                      "Only one pixel of each block is used, and not the block's mean.":
                      partial(fingerprint, blocks=_corner),
                      "The two parts are exchanged: the comparisons with the left neighbour come first.":
                      _parts_exchanged,
                      "The order is column by column. It should be row by row.": _columns_of_blocks,
                      "A bit is True where the block is darker. It should be brighter.":
                      partial(fingerprint, brighter=np.less),
                      "Blocks are compared with the mean of the picture, and not with their neighbours.":
                      _above_the_mean}),
    FunctionQuestion(
        "fingerprint_flat", [Case("one shade of gray", (_FLAT[0],)), Case("another one", (_FLAT[1],))], fingerprint,
        {"Two equal blocks give True. It should be False: brighter means more.":
         partial(fingerprint, brighter=np.greater_equal)}, run=_fingerprint_run),
    NumberQuestion("is_copy", _is_copy, {
        "True and False are exchanged.": lambda student: ~_is_copy(student),
        "No picture is a copy here. Is it compared with the training pictures? It is enough that one of them is near.":
        partial(_is_copy, of="test")}),
    FunctionQuestion(
        "train_last", [Case("the last two of four blocks", ((3, 4, 5, 6), 2, False)),
                       Case("the last block", ((3, 4, 6), 1, False)),
                       Case("all three blocks, and before all was frozen", ((3, 4, 6), 3, True)),
                       Case("the last two, and before all was frozen", ((3, 8, 4, 6), 2, True)),
                       Case("three blocks, two of which are ReLUs", ((3, 4), 3, False, True))],
        train_last, {"It is the first blocks that train.": _first_blocks_train,
                     "What was frozen before stays frozen. Set requires_grad of the last blocks to True.": _not_freed,
                     "It counts tensors, and not the numbers in them.": _counts_tensors,
                     "It counts all parameters, also the frozen ones.": _counts_all,
                     "Blocks without parameters, such as a ReLU, are blocks, too.": _blocks_with_parameters},
        run=_trains_run),
    FunctionQuestion(
        "train_last_none", [Case("none of three blocks", ((3, 4, 6), 0, False))], train_last,
        {"All blocks train if count is 0: model[-0:] is model[0:].": _minus_zero}, run=_trains_run),
    FunctionQuestion(
        "train_last_modes", [Case("a network that was in train mode", ((3, 4, 5, 6), 2, False)),
                             Case("a network that was in eval mode", ((3, 4, 6), 1, True))], train_last,
        {"All of it is in train mode, so that BatchNorm changes in the frozen blocks.":
         partial(_whole_mode, mode=True),
         "All of it is in eval mode, also the blocks that train.": partial(_whole_mode, mode=False)},
        run=_modes_run),
    FunctionQuestion(
        "neighbour_votes", [Case("the nearest", (_QUERIES, _ROWS, _LABELS, 3, 1)),
                            Case("three neighbours", (_QUERIES, _ROWS, _LABELS, 3, 3)),
                            Case("four neighbours", (_QUERIES[:2], _ROWS, _LABELS, 3, 4))],
        neighbour_votes, {"It is the distance, and not the cosine: lengths should not matter.":
                          partial(neighbour_votes, near=_euclidean),
                          "It is the dot product, and not the cosine: divide by both lengths.":
                          partial(neighbour_votes, near=_dot),
                          "These are the least similar ones.": partial(neighbour_votes, least=True),
                          "It is the number of votes. Divide, so that each row sums to 1.": _vote_numbers}),
    FunctionQuestion(
        "neighbour_votes_few", [Case("fewer rows than k", (_QUERIES, _ROWS[:3], _LABELS[:3], 3, 5)),
                                Case("a class that no row has", (_QUERIES, _ROWS, _LABELS, 5, 9))],
        neighbour_votes, {"It is divided by k, also where fewer vote. Each row should sum to 1.": _divided_by_k,
                          "A class that no row has is missing. It has a column, too.": _classes_that_occur},
        run=_columns_run),
    NumberQuestion("left_out", _left_out, {
        "Each picture is among its own neighbours. Leave it out.": partial(_left_out, itself=True),
        "It is the distance, and not the cosine.": partial(_left_out, near=_euclidean),
        "It is the accuracy on the test pictures.": partial(_neighbours_on, split="test"),
        "It is the accuracy on the validation pictures.": partial(_neighbours_on, split="val")}, 1e-3),
    FunctionQuestion(
        "paired_p", [Case("7 to 1", _answers(20, 7, 1, 4)), Case("3 to 10", _answers(5, 3, 10, 2)),
                     Case("5 to 0", _answers(0, 5, 0, 9)), Case("35 to 22", _answers(10, 35, 22, 3))],
        paired_p, {"It is one-sided: the factor 2 is missing.": _one_sided,
                   "The n of the formula is the number of pictures on which the two differ, not of all pictures.":
                   _of_all_pictures,
                   "It is one term of the sum.": _of_one_number,
                   "It is the approximation with the normal distribution. Use the formula.":
                   [_chi_square, _approximate_from_25]}),
    FunctionQuestion(
        "paired_p_limits", [Case("equally many", _answers(3, 4, 4, 3)), Case("no difference", _answers(6, 0, 0, 2)),
                            Case("more than a thousand", _answers(10, 700, 600, 10))],
        paired_p, {"A probability is at most 1.": _doubled_tail}, run=_limits_run),
    NumberQuestion("p_value", _p_value, {
        "It is one-sided: the factor 2 is missing.": partial(_p_value, p=_one_sided),
        "It is computed on the validation pictures.": partial(_p_value, split="val"),
        "It is computed on the training pictures.": partial(_p_value, split="train")}, 1e-4),
    FunctionQuestion(
        "temperature", [Case("too sure", _SURE), Case("not sure enough", _UNSURE), Case("three classes", _THREE)],
        temperature, {"It is 1 / T: the logits are divided by T.": _inverse,
                      "It is always 1.": _one}, run=_temperature_run),
    FunctionQuestion(
        "temperature_limits", [Case("large numbers are added to the logits", _SHIFTED),
                               Case("all answers are right", _RIGHT), Case("most answers are wrong", _WRONG)],
        temperature, {"It goes out of the range from 0.05 to 20.": _unlimited}, run=_range_run),
    NumberQuestion("confidences", _confidences, {
        "Without a temperature comes first.": lambda student: _confidences(student)[::-1],
        "The temperature is chosen on the test pictures. Choose it on the validation pictures.":
        partial(_confidences, split="test"),
        "The temperature is chosen on the training pictures. Choose it on the validation pictures.":
        partial(_confidences, split="train"),
        "It is the confidence on the validation pictures.": partial(_confidences, scored="val")}, 3e-3),
    FunctionQuestion(
        "threshold", [Case("six pictures", (*_FALLS, 0.75)), Case("the same, but half is enough", (*_FALLS, 0.5)),
                      Case("three classes", (*_THREE_ODDS, 0.75))],
        threshold, {"Stop at the smallest one, also if some larger ones are too low.":
                    partial(_sorted_threshold, stops=True),
                    "It is the largest one. The smallest answers more pictures.": _surest,
                    "Pictures whose confidence is equal to the threshold are answered, too.": _above}),
    FunctionQuestion(
        "threshold_ties", [Case("three pictures with the same confidence", (*_TIED[0], 0.9)),
                           Case("the same in another order", (*_TIED[1], 0.9)),
                           Case("none is enough", (*_NEVER, 0.75))],
        threshold, {"Pictures with the same confidence are answered all, or none.": _sorted_threshold,
                    "If no threshold is enough, it is infinity: nothing is answered.": [_lowest, _zero_threshold]}),
    NumberQuestion("answered", _answered, {
        "The threshold is chosen on the test pictures. Choose it on the validation pictures.":
        partial(_answered, chosen="test"),
        "Both numbers are those of the validation pictures.": partial(_answered, scored="val"),
        "The accuracy is that of the pictures that are answered, not of all.": _answered_of_all}, 1e-3),
    ScoreQuestion("my_head", "on new pictures, your head", lambda student: (_new(student)[0],), _logits_run, _typical,
                  lambda student: _given(student) + GAIN),
)}
grade = partial(questions.grade, QUESTIONS)
