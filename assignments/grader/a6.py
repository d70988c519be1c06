"""Assignment 6: from labels to a program. The right answers, and the mistakes that are named."""

from functools import cache, partial
from itertools import permutations

import numpy as np
import torch

from grader import handed_out
from seglab.checks import Case
from seglab.classroom import questions
from seglab.classroom.questions import FunctionQuestion, NumberQuestion, ScoreQuestion

data = handed_out("a6", "a6_data")


def ids_of(picture, colours):
    number = {tuple(colour): class_id for class_id, colour in enumerate(np.asarray(colours).tolist())}
    return np.array([[number.get(tuple(pixel), 255) for pixel in row] for row in picture.tolist()], np.uint8)


def kappa(first, second, *, known=lambda a, b: (a != 255) & (b != 255), each=False, nan=np.nan):
    """The right answer; the keywords are what can be wrong about it. each: shares of what each person labelled."""
    both = known(first, second)
    a, b = first[both], second[both]
    if not a.size:
        return nan
    same, chance = float((a == b).mean()), 0.0
    for class_id in np.union1d(a, b):
        shares = [(one == class_id).sum() / (one != 255).sum() if each else (kept == class_id).mean()
                  for one, kept in ((first, a), (second, b))]
        chance += float(shares[0] * shares[1])
    return (same - chance) / (1 - chance) if chance < 1 else nan


def folds(places, pixels, count, *, order=lambda total, first: (-total, first),
          pick=lambda loads: loads.index(min(loads)), weight=lambda pixels: pixels):
    """The right answer; the keywords are what can be wrong about it."""
    total = dict.fromkeys(places, 0)
    for place, one in zip(places, pixels, strict=True):
        total[place] += weight(one)
    names, loads, fold = [*total], [0] * count, {}
    for place in sorted(names, key=lambda place: order(total[place], names.index(place))):
        fold[place] = pick(loads)
        loads[fold[place]] += total[place]
    return [fold[place] for place in places]


def resampled_miou(matrices, picks, *, absent=None, once=False, union=None):
    """The right answer; the keywords are what can be wrong about it."""
    values = []
    for chosen in picks:
        matrix = matrices[np.unique(chosen) if once else chosen].sum(axis=0).astype(float)
        right = np.diag(matrix)
        below = matrix.sum(axis=0) + matrix.sum(axis=1) - right if union is None else union(matrix)
        there = below > 0
        found = right[there] / below[there]
        values.append(found.mean() if absent is None else (found.sum() + absent * (~there).sum()) / len(matrix))
    return np.array(values)


def card_of(picture, inputs):
    height, width = picture.shape[:2]
    pixels = picture.reshape(-1, 3) / 255
    values = inputs[0, :, :height, :width].reshape(3, -1).astype(float)
    best = None
    for order in permutations(range(3)):
        lines = [np.polyfit(pixels[:, colour], value, 1) for colour, value in zip(order, values, strict=True)]
        away = sum(np.abs(slope * pixels[:, colour] + start - value).max() + 1e9 * (slope <= 0)
                   for (slope, start), colour, value in zip(lines, order, values, strict=True))
        if best is None or away < best[0]:
            best = away, order, lines
    _, order, lines = best
    return list(order), [-start / slope for slope, start in lines], [1 / slope for slope, _ in lines]


def raw_weights(weight, bias, order, mean, std):
    made, shift, pad = torch.zeros_like(weight), torch.zeros(len(weight)), torch.zeros(3)
    for channel, colour in enumerate(order):
        made[:, colour] = weight[:, channel] / (255 * float(std[channel]))
        shift += weight[:, channel].sum(dim=(1, 2)) * float(mean[channel]) / float(std[channel])
        pad[colour] = 255 * float(mean[channel])
    return made, -shift if bias is None else bias - shift, pad


# --- mistakes -------------------------------------------------------------------------------------------------------

def _nearest_colour(picture, colours):
    away = np.abs(picture[:, :, None].astype(int) - np.asarray(colours).astype(int)).sum(axis=-1)
    return away.argmin(axis=-1).astype(np.uint8)


def _unknown_is_0(picture, colours):
    found = ids_of(picture, colours)
    return np.where(found == 255, np.uint8(0), found)


def _any_channel(picture, colours):
    same = (picture[:, :, None] == colours).any(axis=-1)
    return np.where(same.any(axis=-1), same.argmax(axis=-1), 255).astype(np.uint8)


def _by_sum(picture, colours):
    same = picture.sum(axis=-1)[:, :, None] == np.asarray(colours).sum(axis=-1)
    return np.where(same.any(axis=-1), same.argmax(axis=-1), 255).astype(np.uint8)


def _by_red(picture, colours):
    return ids_of(np.repeat(picture[..., :1], 3, axis=-1), np.repeat(np.asarray(colours)[:, :1], 3, axis=-1))


def _agreement(first, second):
    both = (first != 255) & (second != 255)
    return float((first[both] == second[both]).mean())


def _nan_if_all_agree(first, second):
    return np.nan if _agreement(first, second) == 1 else kappa(first, second)


def _equal_chances(first, second):
    classes = len(np.union1d(first, second))
    return (_agreement(first, second) - 1 / classes) / (1 - 1 / classes)


def _common_shares(first, second):
    a, b = first.ravel(), second.ravel()
    chance = sum(float(((a == c).mean() + (b == c).mean()) ** 2 / 4) for c in np.union1d(a, b))
    return (float((a == b).mean()) - chance) / (1 - chance)


def _undivided(first, second):
    a, b = first.ravel(), second.ravel()
    return float((a == b).mean()) - sum(float((a == c).mean() * (b == c).mean()) for c in np.union1d(a, b))


def _either_known(first, second):
    return kappa(first, second, known=lambda a, b: (a != 255) | (b != 255))


def _all_known(first, second):
    return kappa(first, second, known=lambda a, b: np.ones(a.shape, bool))


def _single_pictures(places, pixels, count):
    return folds([f"{number}" for number in range(len(places))], pixels, count)


def _dealt(places, pixels, count):
    turns = {place: turn % count for turn, place in enumerate(dict.fromkeys(places))}
    return [turns[place] for place in places]


def _dealt_by_size(places, pixels, count):
    total = {place: sum(one for other, one in zip(places, pixels, strict=True) if other == place) for place in places}
    order = sorted(dict.fromkeys(places), key=lambda place: -total[place])
    return [order.index(place) % count for place in places]


def _places_without_pixels_in_0(places, pixels, count):
    there = [place for place, one in zip(places, pixels, strict=True) if one]
    found = dict(zip(there, folds(there, [one for one in pixels if one], count), strict=True))
    return [found.get(place, 0) for place in places]


def _mean_of_pictures(matrices, picks):
    alone = resampled_miou(matrices, np.arange(len(matrices))[:, None])
    return alone[picks].mean(axis=1)


def _accuracy(matrices, picks):
    summed = matrices[picks].sum(axis=1)
    return np.trace(summed, axis1=1, axis2=2) / summed.sum(axis=(1, 2))


def _card_turned(picture, inputs):
    order, mean, std = card_of(picture, inputs)
    return [order.index(colour) for colour in range(3)], mean, std


def _card_by_colours(picture, inputs):
    order, mean, std = card_of(picture, inputs)
    back = [order.index(colour) for colour in range(3)]
    return order, [mean[channel] for channel in back], [std[channel] for channel in back]


def _card_changed(picture, inputs, change):
    order, mean, std = card_of(picture, inputs)
    return order, *zip(*(change(m, s) for m, s in zip(mean, std, strict=True)), strict=True)


def _card_kept_order(picture, inputs):
    pixels = picture.reshape(-1, 3) / 255
    values = inputs[0, :, :picture.shape[0], :picture.shape[1]].reshape(3, -1)
    std = pixels.std(axis=0) / values.std(axis=1)
    return [0, 1, 2], pixels.mean(axis=0) - values.mean(axis=1) * std, std


def _card_with_border(picture, inputs):
    """Means and deviations of all that is in the inputs, also of what was added."""
    order, *_ = card_of(picture, inputs)
    pixels, values = picture.reshape(-1, 3) / 255, inputs[0].reshape(3, -1)
    std = pixels.std(axis=0)[order] / values.std(axis=1)
    return order, pixels.mean(axis=0)[order] - values.mean(axis=1) * std, std


def _raw(weight, bias, order, mean, std, *, scale=255.0, divide=1, shift=1.0, turned=False):
    if turned:
        order = [order.index(colour) for colour in range(3)]
    made, right, pad = raw_weights(weight, torch.zeros(len(weight)), order, mean, std)
    made = made * 255 / scale * (torch.as_tensor(std)[torch.as_tensor(order).argsort()][:, None, None] ** (1 - divide))
    return made, right * shift + (0 if bias is None else bias), pad


def _raw_order_ignored(weight, bias, order, mean, std):
    return raw_weights(weight, bias, [0, 1, 2], mean, std)


def _raw_mean_by_colours(weight, bias, order, mean, std):
    """Mean and deviation are taken in the order of the picture's colours."""
    return raw_weights(weight, bias, order, [mean[colour] for colour in order], [std[colour] for colour in order])


def _raw_mean_only(weight, bias, order, mean, std):
    made, _, pad = raw_weights(weight, bias, order, mean, std)
    return made, bias - torch.einsum("dchw,c->d", weight, torch.as_tensor(mean)), pad


def _raw_centre(weight, bias, order, mean, std):
    """The bias sees one weight of each kernel, not all of them."""
    made, _, pad = raw_weights(weight, bias, order, mean, std)
    return made, bias - weight.mean(dim=(2, 3)) @ (torch.as_tensor(mean) / torch.as_tensor(std)), pad


def _raw_zero_biases(weight, bias, order, mean, std):
    made, shift, pad = raw_weights(weight, bias, order, mean, std)
    return made, torch.zeros(len(weight)) if bias is None else shift, pad


def _pad(change):
    def answer(weight, bias, order, mean, std):
        *made, _ = raw_weights(weight, bias, order, mean, std)
        return *made, change(torch.as_tensor(mean), torch.as_tensor(std), order)
    return answer


def _ids_run(answer, picture, colours):
    import numpy as np
    made = np.asarray(answer(picture, colours))
    return {"ids": made, "one byte a pixel (uint8)": made.dtype == np.uint8}


def _nan_run(answer, first, second):
    """The value where there is nothing to measure, and elsewhere whether it is a number, right or wrong."""
    import numpy as np
    value, both = float(answer(first, second)), (first != 255) & (second != 255)
    return value if len(np.union1d(first[both], second[both])) < 2 else {"it is NaN": bool(np.isnan(value))}


def _without_255_run(answer, first, second):
    """Whether pixels that one of the two left out make no difference: so what kappa is does not matter here."""
    import numpy as np
    both = (first != 255) & (second != 255)
    a, b = first[both][None, None], second[both][None, None]
    whole, alone, turned = (float(answer(*two)) for two in ((first, second), (a, b), (a, b[..., ::-1].copy())))
    return {"away from the value without them": np.round(whole - alone, 6), "it depends on the masks": alone != turned}


def _groups_run(answer, *args):
    """Fold numbers, renamed in the order in which they occur: which fold has which number is another question."""
    found = [int(one) for one in answer(*args)]
    names = [*dict.fromkeys(found)]
    return [names.index(one) for one in found]


def _folds_run(answer, *args):
    return [int(one) for one in answer(*args)]


def _card_run(answer, picture, inputs):
    order, mean, std = answer(picture, inputs)
    return {"the order": [int(one) for one in order], "the means": [float(one) for one in mean],
            "the deviations": [float(one) for one in std]}


def _weights_run(answer, *args):
    import torch
    weight, bias, _ = answer(*args)
    return {"the weights": torch.as_tensor(weight).detach(), "the biases": torch.as_tensor(bias).detach()}


def _order_run(answer, weight, bias, order, mean, std):
    """Whether the order moves weights, and nothing else: so it does not matter here if the weights are right."""
    import torch
    made = [[torch.as_tensor(one).detach().double() for one in answer(weight, bias, chosen, mean, std)[:2]]
            for chosen in (order, [0, 1, 2])]
    return {"the weights": made[0][0][:, order] / made[1][0], "the biases": made[0][1] - made[1][1]}


def _none_run(answer, weight, order, mean, std):
    import torch
    made = [[torch.as_tensor(one).detach().double() for one in answer(weight, bias, order, mean, std)[:2]]
            for bias in (None, torch.zeros(len(weight)))]
    return {"the weights": made[0][0] / made[1][0], "the biases": made[0][1] - made[1][1],
            "there is one bias for each channel": tuple(made[0][1].shape) == (len(weight),)}


def _larger_run(answer, picture, inputs):
    """Whether added rows and columns make no difference, and the rest does."""
    import numpy as np
    height, width = picture.shape[:2]
    own = np.ascontiguousarray(inputs[:, :, :height, :width])
    with_more, without, other = ([[float(number) for number in one] for one in answer(picture, x)]
                                 for x in (inputs, own, own * 2 + 1))
    return {"the same as without them": np.subtract(with_more, without),
            "it depends on the inputs": with_more[1:] != other[1:]}


def _pad_run(answer, *args):
    import torch
    return torch.as_tensor(answer(*args)[2]).detach()


_rng = np.random.default_rng(6)
#: A class is black, but not the first one; two have the same sum; two the same red; two are turned around.
_PALETTE = np.array([[200, 10, 30], [30, 10, 200], [0, 0, 0], [200, 60, 60], [100, 130, 10], [255, 255, 254]], np.uint8)
_COLOURED = _PALETTE[_rng.integers(0, len(_PALETTE), (5, 7))]
_SMOOTH = _PALETTE[_rng.integers(0, 4, (4, 5))]
_SMOOTH[1, 1:4] = [[199, 10, 30], [10, 30, 200], [255, 255, 255]]
_SMOOTH[3, :3] = [[200, 10, 200], [0, 0, 1], [80, 80, 80]]
_PICTURES = (2, 6, 5)
_ONE = _rng.choice([0, 1, 4], _PICTURES, p=[0.7, 0.2, 0.1]).astype(np.uint8)
_TWO = np.where(_rng.random(_PICTURES) < 0.3, _rng.integers(0, 5, _PICTURES), _ONE).astype(np.uint8)
_HOLES, _OTHER_HOLES = _ONE.copy(), _TWO.copy()
_HOLES[_ONE == 1] = np.where(_rng.random((_ONE == 1).sum()) < 0.6, 255, 1)
_OTHER_HOLES[:, 4:] = 255
_ALL_ONE = np.ones((1, 2, 3), np.uint8)
_PLACES = ["mill", "east", "quay", "north", "east", "north", "quay", "west", "north", "hill", "south"]
_COUNTS = [85, 64, 52, 29, 32, 6, 10, 4, 20, 81, 65]  # mill 85, east 96, quay 62, north 55, west 4, hill 81, south 65
_EVEN, _EVEN_COUNTS = ["d", "b", "a", "d", "c", "b", "c", "a"], [5, 5, 5, 5, 5, 5, 5, 5]
_MATRICES = _rng.integers(0, 40, (6, 3, 3)) + 30 * np.eye(3, dtype=int)
_MATRICES[4] //= 9
_SPARSE = _MATRICES.copy()
_SPARSE[:5, 2] = _SPARSE[:5, :, 2] = 0  # class 2 is in the last picture only
_ABSENT = _MATRICES.copy()
_ABSENT[:, 1] = _ABSENT[:, :, 1] = 0
_ABSENT[3, 0, 1] = 30  # class 1 is in no picture, but one prediction says so
_PICKS = _rng.integers(0, 6, (7, 6))
_LAST = np.array([[0, 1, 2, 3, 4, 4], [5, 1, 2, 0, 5, 3], [4, 4, 4, 3, 3, 3], [1, 1, 1, 1, 1, 5]])


def _made(height, width, order, mean, std, grey=1.0, size=None):
    rng = np.random.default_rng(height)
    picture = rng.integers(0, 256, (height, width, 1)) * (1 - grey) + rng.integers(0, 256, (height, width, 3)) * grey
    picture = (picture * [1.0, 0.8, 0.5] if grey < 1 else picture).astype(np.uint8)  # blue has little contrast
    inputs = np.zeros((1, 3, *(size or (height, width))), np.float32)
    inputs[0, :, :height, :width] = ((picture[..., order] / 255 - mean) / std).transpose(2, 0, 1)
    return picture, inputs


_IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_UNEVEN = np.array([0.31, 0.62, 0.44]), np.array([0.35, 0.18, 0.27])
_KERNELS = [torch.from_numpy(_rng.normal(0, 1, shape)).float() for shape in ((4, 3, 3, 3), (2, 3, 5, 5), (3, 3, 1, 1))]
_BIASES = [torch.from_numpy(_rng.normal(0, 1, len(one))).float() for one in _KERNELS]
_MEAN, _STD = (torch.from_numpy(one).float() for one in _IMAGENET)
_MEAN_2, _STD_2 = (torch.from_numpy(one).float() for one in _UNEVEN)


# --- on the student's own data --------------------------------------------------------------------------------------

@cache
def _of_pairs(student, score=kappa):
    anna, ben, cleo = data.annotators(student)[1].values()
    return np.array([score(anna, ben), score(anna, cleo), score(ben, cleo)])


@cache
def _networks(student):
    return data.two_networks(student)


@cache
def _interval(student, score=resampled_miou, level=0.95):
    old, new, picks = _networks(student)
    return np.quantile(score(new, picks) - score(old, picks), [(1 - level) / 2, (1 + level) / 2])


def _interval_unpaired(student):
    old, new, picks = _networks(student)
    ends = [np.quantile(resampled_miou(one, picks), [0.025, 0.975]) for one in (old, new)]
    return np.array([ends[1][0] - ends[0][1], ends[1][1] - ends[0][0]])


def _interval_of_ends(student):
    old, new, picks = _networks(student)
    return np.quantile(resampled_miou(new, picks), [0.025, 0.975]) - np.quantile(resampled_miou(old, picks),
                                                                               [0.025, 0.975])


def _interval_of_new(student):
    return np.quantile(resampled_miou(_networks(student)[1], _networks(student)[2]), [0.025, 0.975])


#: Which sets are hidden: nobody has seen them.
_PARTS = 37, 58, 71


@cache
def _pools(student):
    return [data.pool(student, part) for part in _PARTS]


def _pool_args(student):
    return ([(maps, masks) for maps, masks, _ in _pools(student)],)


def _suspects_run(answer, sets):
    return [[int(number) for number in answer(maps.clone(), masks.clone(), 6)] for maps, masks in sets]


def _found(said, student):
    hits = 0
    for numbers, (_, _, wrong) in zip(said, _pools(student), strict=True):
        if len(numbers) != 6 or len(set(numbers)) != 6:
            raise ValueError("it should be six different numbers of pictures")
        hits += len(set(numbers) & set(wrong))
    return float(hits)


QUESTIONS = {one.name: one for one in (
    FunctionQuestion(
        "ids_of", [Case("six classes, one of which is black", (_COLOURED, _PALETTE)),
                   Case("other colours", (_PALETTE[::-1][[[0, 3, 1], [4, 4, 2]]], _PALETTE[::-1]))], ids_of,
        {"The sums of red, green and blue are compared: different colours may have the same.": _by_sum,
         "Only red is compared. All three numbers of a colour must be equal.": _by_red,
         "It is enough here that one of the three numbers is equal. All of them must be.": _any_channel},
        run=_ids_run),
    FunctionQuestion(
        "ids_of_unknown", [Case("colours between two classes, and other ones", (_SMOOTH, _PALETTE)),
                           Case("no known colour at all", (np.full((2, 3, 3), 7, np.uint8), _PALETTE))], ids_of,
        {"A colour that is in no row gets the class with the nearest colour. It should be 255.": _nearest_colour,
         "A colour that is in no row becomes class 0. It should be 255.": _unknown_is_0},
        run=lambda answer, *args: answer(*args)),
    FunctionQuestion(
        "kappa", [Case("two pictures", (_ONE, _TWO)), Case("the other way round", (_TWO, _ONE)),
                  Case("they agree less than by chance", (_ALL_ONE * np.uint8([0, 1, 2]),
                                                          _ALL_ONE * np.uint8([1, 0, 0])))],
        kappa, {"It is the share of the pixels on which both agree.": _agreement,
                "By chance, each class is not equally likely: take the shares of the two people.": _equal_chances,
                "Each person has shares of their own: multiply those of the first with those of the second.":
                _common_shares,
                "It is not divided by 1 - p_e.": _undivided}),
    FunctionQuestion(
        "kappa_255", [Case("pixels that one of the two left out", (_HOLES, _OTHER_HOLES))], kappa,
        {"255 counts as a class.": _all_known,
         "Leave out a pixel if one of the two gave no class, not only if both did.": _either_known,
         "The shares are those of all pixels that a person labelled. Take the pixels that both labelled.":
         partial(kappa, each=True)}, run=_without_255_run),
    FunctionQuestion(
        "kappa_nan", [Case("both call each pixel by the same class", (_ALL_ONE, _ALL_ONE.copy())),
                      Case("nobody labelled anything", (np.full((1, 2, 3), 255, np.uint8),) * 2),
                      Case("they agree everywhere, on several classes", (_ONE, _ONE.copy()))], kappa,
        {"There is nothing to measure: NaN, and not 0.": partial(kappa, nan=0.0),
         "There is nothing to measure: NaN, and not 1.": partial(kappa, nan=1.0),
         "Two people who agree everywhere have the kappa 1, if they used several classes.": _nan_if_all_agree},
        run=_nan_run),
    NumberQuestion("kappas", _of_pairs, {
        "These are the shares of equal pixels.": lambda student: _of_pairs(student, _agreement),
        "255 counts as a class.": lambda student: _of_pairs(student, _all_known)}, 1e-4),
    FunctionQuestion(
        "folds", [Case("seven places in three folds", (_PLACES, _COUNTS, 3)),
                  Case("the same in two folds", (_PLACES, _COUNTS, 2)),
                  Case("places without the rare class", (["b", "a", "c", "b"], [0, 7, 0, 0], 3))], folds,
        {"Pictures of one place are in different folds. Places stay whole.": _single_pictures,
         "Places are taken in the order of the list. Begin with the one that has the most pixels.":
         partial(folds, order=lambda total, first: first),
         "Begin with the place that has the most pixels, and look each time which fold has the fewest so far.":
         [partial(folds, order=lambda total, first: (total, first)), _dealt_by_size],
         "Places are dealt to the folds in turn, in the order of the list.": _dealt,
         "It counts pictures. Add up the pixels of the places.": partial(folds, weight=lambda pixels: 1),
         "Places without a pixel of the rare class go to the fold with the fewest, too.": _places_without_pixels_in_0},
        run=_groups_run),
    FunctionQuestion(
        "folds_ties", [Case("places with equal sums", (_EVEN, _EVEN_COUNTS, 3)),
                       Case("more folds than places", (["y", "x"], [7, 7], 4))], folds,
        {"Of places with equal sums, the one that occurs first in the list comes first.":
         partial(folds, order=lambda total, first: (-total, -first)),
         "Of folds with equal sums, take the one with the lowest number.":
         partial(folds, pick=lambda loads: len(loads) - 1 - loads[::-1].index(min(loads)))}, run=_folds_run),
    FunctionQuestion(
        "resampled_miou", [Case("six pictures, three classes", (_MATRICES, _PICKS)),
                           Case("one sample, each picture once", (_MATRICES, np.arange(6)[None]))], resampled_miou,
        {"It is the mean of the pictures' mIoUs. Add up the matrices of a sample first.": _mean_of_pictures,
         "A picture that is drawn twice counts twice.": partial(resampled_miou, once=True),
         "It is the pixel accuracy.": _accuracy,
         "It is the mean recall: divide by the union, not by the pixels of the class.":
         partial(resampled_miou, union=lambda matrix: matrix.sum(axis=1)),
         "In the union, pixels that are right count once.":
         partial(resampled_miou, union=lambda matrix: matrix.sum(axis=0) + matrix.sum(axis=1))}),
    FunctionQuestion(
        "resampled_miou_absent", [Case("a class that is in one picture only", (_SPARSE, _LAST)),
                                  Case("a class that only some predictions name", (_ABSENT, _LAST))], resampled_miou,
        {"A class that does not occur in a sample counts as 0. Leave it out of the mean.":
         partial(resampled_miou, absent=0.0),
         "A class that does not occur in a sample counts as 1. Leave it out of the mean.":
         partial(resampled_miou, absent=1.0)}),
    NumberQuestion("interval", _interval, {
        "Subtract sample by sample, and take the quantiles then. Here each network has an interval of its own.":
        _interval_unpaired,
        "Subtract sample by sample, and take the quantiles then. Here quantiles are subtracted.": _interval_of_ends,
        "It is old minus new.": lambda student: -_interval(student)[::-1],
        "It is the interval of the new network alone.": _interval_of_new,
        "Between these ends lie 90 % of the samples. It should be 95 %.": lambda student: _interval(student, level=0.9),
        "It is the mean of the pictures' mIoUs.": lambda student: _interval(student, _mean_of_pictures)}, 5e-4),
    FunctionQuestion(
        "card_of", [Case("mean and deviation of ImageNet, colours in their order", _made(9, 7, [0, 1, 2], *_IMAGENET)),
                    Case("blue first", _made(8, 11, [2, 1, 0], *_UNEVEN)),
                    Case("another order", _made(10, 6, [1, 2, 0], *_UNEVEN)),
                    Case("a picture that is nearly grey", _made(12, 9, [2, 0, 1], *_IMAGENET, grey=0.2))], card_of,
        {"The order is the other way round: for each channel of the inputs, it names the colour of the picture.":
         _card_turned,
         "Means and deviations belong to the channels of the inputs. Here they are listed by the picture's colours.":
         _card_by_colours,
         "The colours are taken in their own order. Find out which colour each channel comes from.": _card_kept_order,
         "Mean and deviation are those of pixels from 0 to 255. Divide the pixels by 255 first.":
         partial(_card_changed, change=lambda m, s: (255 * m, 255 * s)),
         "The deviation is the inverse of that.": partial(_card_changed, change=lambda m, s: (m, 1 / s)),
         "The means have the wrong sign.": partial(_card_changed, change=lambda m, s: (-m, s)),
         "The mean is divided by the deviation.": partial(_card_changed, change=lambda m, s: (m / s, s))},
        run=_card_run),
    FunctionQuestion(
        "card_of_larger", [Case("rows and columns were added", _made(9, 7, [1, 0, 2], *_UNEVEN, size=(32, 32))),
                           Case("only columns were added", _made(8, 11, [0, 1, 2], *_IMAGENET, size=(8, 32)))], card_of,
        {"What was added to the picture is used, too. Look at its own rows and columns only.": _card_with_border},
        run=_larger_run),
    FunctionQuestion(
        "raw_weights", [Case("kernels of 3×3 weights", (_KERNELS[0], _BIASES[0], [0, 1, 2], _MEAN, _STD)),
                        Case("kernels of 5×5 weights", (_KERNELS[1], _BIASES[1], [0, 1, 2], _MEAN_2, _STD_2))],
        raw_weights, {
            "The pixels are 0 to 255 now: divide the weights by 255, too.": partial(_raw, scale=1.0),
            "The weights are not divided by the deviations.": partial(_raw, divide=0),
            "The biases stay as they are here. The mean must get into them.": partial(_raw, shift=0.0),
            "The mean is added. It should be subtracted.": partial(_raw, shift=-1.0),
            "In the bias, the mean is not divided by the deviation.": _raw_mean_only,
            "Each weight of a kernel meets the mean: add up all of them in the bias.": _raw_centre}, run=_weights_run),
    FunctionQuestion(
        "raw_weights_order", [Case("blue first", (_KERNELS[0], _BIASES[0], [2, 1, 0], _MEAN, _STD)),
                              Case("another order", (_KERNELS[2], _BIASES[2], [1, 2, 0], _MEAN_2, _STD_2))],
        raw_weights, {
            "The order is not used.": _raw_order_ignored,
            "Weights go to the wrong colours: those of channel c belong to the colour order[c] of the picture.":
            partial(_raw, turned=True),
            "Mean and deviation belong to the channels, not to the picture's colours.": _raw_mean_by_colours},
        run=_order_run),
    FunctionQuestion(
        "raw_weights_none", [Case("a convolution without biases", (_KERNELS[1], [0, 1, 2], _MEAN, _STD))],
        raw_weights, {"The new convolution always has biases, since the mean gets into them.": _raw_zero_biases},
        run=_none_run),
    FunctionQuestion(
        "raw_weights_pad", [Case("colours in their order", (_KERNELS[0], _BIASES[0], [0, 1, 2], _MEAN_2, _STD_2)),
                            Case("blue first", (_KERNELS[1], _BIASES[1], [2, 1, 0], _MEAN_2, _STD_2))], raw_weights,
        {"A pixel of the picture goes from 0 to 255, and not from 0 to 1.": _pad(
            lambda mean, std, order: mean[order]),
         "0 in the picture is black, and black does not become 0 by the preprocessing.": _pad(
             lambda mean, std, order: torch.zeros(3)),
         "The colour is that which 0 becomes. It should be the one that becomes 0.": _pad(
             lambda mean, std, order: (-mean / std)[order]),
         "The three numbers are those of the channels. Give them in the order of the picture's colours.": _pad(
             lambda mean, std, order: 255 * mean)}, run=_pad_run),
    ScoreQuestion("suspects", "the number of wrong masks that it finds in three other sets of yours", _pool_args,
                  _suspects_run, _found, lambda student: 11.0),
)}
grade = partial(questions.grade, QUESTIONS)
