"""Checks about the pets: trimaps, the best epoch, and accuracy by protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from seglab.checks.exercise import Case, Exercise
from seglab.labels import IGNORE
from seglab.metrics.boundary import boundary_distance

_TRIMAP = np.array([[2, 3, 1, 1], [2, 2, 3, 1]], np.uint8)


def _mask(trimap: np.ndarray, name: str, *, values: tuple[int | None, int, int] = (None, 0, IGNORE),
          species: Callable[[str], int] = lambda name: 1 if name[0].isupper() else 2) -> np.ndarray:
    pet, background, border = values
    table = np.zeros(256, int)
    table[1], table[2], table[3] = species(name) if pet is None else pet, background, border
    return table[trimap]


def _one_by_one(trimap: np.ndarray, name: str, order: Sequence[int]) -> np.ndarray:
    """Values replaced in place, one after the other: what was replaced is replaced again."""
    mask, to = trimap.copy(), {1: 1 if name[0].isupper() else 2, 2: 0, 3: IGNORE}
    for value in order:
        mask[mask == value] = to[value]
    return mask


trimap_to_mask = Exercise(
    "trimap_to_mask",
    [Case("a cat", (_TRIMAP, "Abyssinian_12")), Case("a dog", (_TRIMAP, "american_bulldog_7")),
     Case("a cat whose breed has two words", (_TRIMAP[:, ::-1].copy(), "Egyptian_Mau_101")),
     Case("a dog, and no border", (np.array([[1, 2]], np.uint8), "beagle_3"))],
    right=_mask,
    mistakes={
        "In a dog's mask, the pet is gone: 1 became 2, and then every 2 became 0. Write into a new array, or replace 2 "
        "first.": lambda trimap, name: _one_by_one(trimap, name, (1, 2, 3)),
        "Cats and dogs are exchanged: names of cats begin with a capital letter, and a cat is class 1.":
            lambda *a: _mask(*a, species=lambda name: 2 if name[0].isupper() else 1),
        "All pets are cats. Look at the first letter of the name.": lambda *a: _mask(*a, species=lambda name: 1),
        "All pets are dogs. Look at the first letter alone, name[0].isupper(): name.isupper() asks whether all letters "
        "are capital.": lambda *a: _mask(*a, species=lambda name: 1 if name.isupper() else 2),
        "The border is counted as the pet. It becomes 255.":
            lambda trimap, name: np.where(trimap == 3, _mask(trimap, name).max(
                where=_mask(trimap, name) != IGNORE, initial=0), _mask(trimap, name)),
        "The border is counted as background. It becomes 255.": lambda *a: _mask(*a, values=(None, 0, 0)),
        "The border keeps its 3, which is no class. It becomes 255.": lambda *a: _mask(*a, values=(None, 0, 3)),
        "Background and border are exchanged: in a trimap, 2 is background and 3 the border.":
            lambda *a: _mask(*a, values=(None, IGNORE, 0)),
        "Pet and background are exchanged: in a trimap, 1 is the pet and 2 the background.":
            lambda trimap, name: _mask(np.array([0, 2, 1, 3])[trimap], name),
        "This is the trimap minus 1, so that the pet is 0. Background is class 0, and a pet the class of its species.":
            lambda trimap, name: trimap.astype(int) - 1},
    errors={"has no attribute 'isupper'": "The name comes second: trimap_to_mask(trimap, name).",
            "out of bounds for uint8": "A byte holds 0 to 255."},
    hints=("Three values become three others, and one of them depends on the name. How do you keep what is replaced "
           "from being replaced again?",
           "A table does it in one step: table = np.zeros(256, np.uint8), table[1] = the species, table[2] = 0, "
           "table[3] = 255, and then table[trimap].",
           "table = np.zeros(256, np.uint8)\ntable[1] = 1 if name[0].isupper() else 2\ntable[2], table[3] = 0, 255\n"
           "return table[trimap]"))


def _best(values: Sequence[float], mode: str, *, rule: Callable[[float, float], bool] | None = None, count: int = 1,
          nan: float | None = None, fixed: str = "") -> int:
    sign = -1 if (fixed or mode) == "min" else 1
    best, found = -math.inf, 0
    for epoch, value in enumerate(values, start=count):
        value = sign * value if not math.isnan(value) else math.nan if nan is None else nan
        if not math.isnan(value) and (rule or float.__gt__)(float(value), best):
            best, found = float(value), epoch
    return found


def _by_python(values: Sequence[float], mode: str) -> int:
    chosen = (max if mode == "max" else min)(values)
    return next((i for i, value in enumerate(values, 1) if value is chosen or value == chosen), 0)


def _by_numpy(values: Sequence[float], mode: str) -> int:
    return int((np.argmax if mode == "max" else np.argmin)(values)) + 1


_NAN = math.nan
best_epoch = Exercise(
    "best_epoch",
    [Case("mIoU grows, then falls", ([0.3, 0.5, 0.7, 0.6], "max")),
     Case("of a loss, the smallest", ([1.2, 0.4, 0.6], "min")),
     Case("two epochs are equally good: the earlier one", ([0.4, 0.8, 0.8, 0.7], "max")),
     Case("NaN in the first epoch", ([_NAN, 0.2, 0.6, 0.5], "max")),
     Case("NaN later on", ([0.2, 0.6, _NAN, 0.5], "min")),
     Case("scores below 0", ([-3.0, -1.0, -2.0], "max")),
     Case("NaN in all epochs: none is best", ([_NAN, _NAN], "max"))],
    right=_best,
    mistakes={
        "NaN is taken for the best, or hides a better epoch: each comparison with NaN is False. Leave it out first.": [
            _by_python, _by_numpy, lambda values, mode: _best(values, mode, nan=math.inf),
            lambda values, mode: max(range(len(values)), key=lambda i: values[i] if mode == "max" else -values[i]) + 1],
        "If all values are NaN, none is the best: return 0.": [
            lambda values, mode: _best(values, mode) or 1, lambda values, mode: _best(values, mode) or len(values)],
        "mode is not used: of a loss, the smallest value is the best.":
            lambda values, mode: _best(values, mode, fixed="max"),
        "max and min are exchanged.":
            lambda values, mode: _best(values, mode, fixed={"max": "min", "min": "max"}[mode]),
        "Of two equal epochs, this is the later one. Take the earlier: only a better value is a new best (>, not >=).":
            lambda values, mode: _best(values, mode, rule=float.__ge__),
        "Epochs are counted from 1.": lambda values, mode: _best(values, mode) - 1,
        "This is the best value. Return the number of its epoch.":
            lambda values, mode: (max if mode == "max" else min)(
                [v for v in values if not math.isnan(v)], default=0),
        "This is the last epoch.": lambda values, mode: len(values),
        "The search begins at 0, so that no value below it can be the best. Begin with the first number, or with minus "
        "infinity.": lambda values, mode: next((e for e in [_best(
            [v if mode == "min" or v > 0 else _NAN for v in values], mode)] if e), 0)},
    errors={"empty sequence": "If all values are NaN, nothing is left. Return 0 then.",
            "empty iterable": "If all values are NaN, nothing is left. Return 0 then.",
            "All-NaN": "If all values are NaN, none is the best. Return 0 then."},
    hints=("Keep the best value so far and its epoch. When does a new value take its place? What does Python say to "
           "float(\"nan\") > 0.5, and to 0.5 > float(\"nan\")?",
           "Go through enumerate(values, start=1). Skip a value with math.isnan. With sign = 1 for \"max\" and -1 for "
           "\"min\", a value is better if sign * value > best, where best begins at -infinity.",
           "sign = 1 if mode == \"max\" else -1\nbest, found = float(\"-inf\"), 0\n"
           "for epoch, value in enumerate(values, start=1):\n    if value == value and sign * value > best:\n"
           "        best, found = sign * value, epoch\nreturn found"))

_Masks = Sequence[np.ndarray]


def _rows(*rows: list[int]) -> list[np.ndarray]:
    return [np.array([row], np.uint8) for row in rows]


def _accuracies(guesses: _Masks, masks: _Masks, ignored: str = "out") -> np.ndarray:
    found = []
    for guess, mask in zip(guesses, masks, strict=True):
        labelled = mask != IGNORE
        right = (guess == mask) & labelled
        below = labelled.sum() if ignored == "out" else mask.size
        found.append((right.sum() + (~labelled).sum() * (ignored == "right")) / below if below else math.nan)
    return np.array(found)


def _pooled(guesses: _Masks, masks: _Masks) -> float:
    right = sum(((g == m) & (m != IGNORE)).sum() for g, m in zip(guesses, masks, strict=True))
    return float(right / sum((m != IGNORE).sum() for m in masks))


per_picture_accuracy = Exercise(
    "per_picture_accuracy",
    [Case("one picture", (_rows([0, 1, 1, 0]), _rows([0, 1, 0, 0]))),
     Case("two pictures, one larger", (_rows([0, 0, 0, 0, 0, 0, 0, 1], [0, 1]), _rows([0] * 8, [1, 1]))),
     Case("pixels that nobody labelled", (_rows([0, 1, 1], [2, 0]), _rows([0, 255, 0], [2, 255]))),
     Case("a picture without a labelled pixel is left out", (_rows([0, 0], [1, 1]), _rows([255, 255], [1, 0])))],
    right=lambda guesses, masks: np.nanmean(_accuracies(guesses, masks)),
    mistakes={
        "This is the dataset accuracy: all pixels of all pictures together. Compute the accuracy of each picture, then "
        "the mean.": _pooled,
        "Ignored pixels count in the number that you divide by. Divide by the labelled pixels of the picture.":
            lambda guesses, masks: np.nanmean(_accuracies(guesses, masks, "wrong")),
        "Ignored pixels are counted as right.": lambda guesses, masks: np.nanmean(_accuracies(guesses, masks, "right")),
        "A picture without a labelled pixel makes the mean NaN. Leave it out.": lambda *a: np.mean(_accuracies(*a)),
        "A picture without a labelled pixel counts as 0. Leave it out.":
            lambda *a: np.nan_to_num(_accuracies(*a)).mean(),
        "A picture without a labelled pixel counts as 1. Leave it out.":
            lambda *a: np.nan_to_num(_accuracies(*a), nan=1.0).mean(),
        "This is the sum over the pictures. Take the mean.": lambda *a: np.nansum(_accuracies(*a)),
        "This is the share of wrong pixels.": lambda *a: 1 - np.nanmean(_accuracies(*a)),
        "Only the first picture is counted. Is `return` inside of the loop?":
            lambda guesses, masks: _accuracies(guesses[:1], masks[:1])[0],
        "Only the last picture is counted.": lambda guesses, masks: _accuracies(guesses[-1:], masks[-1:])[0],
        "These are the accuracies of the pictures. Return their mean.":
            lambda *a: [x for x in _accuracies(*a) if not math.isnan(x)]},
    errors={"division by zero": "A picture without a labelled pixel has no accuracy. Leave it out of the mean.",
            "index did not match": "Compare each guess with its own mask: zip(guesses, masks)."},
    hints=("First one picture: which share of its labelled pixels is right? Then the mean over the pictures.",
           "labelled = mask != 255, and (guess == mask)[labelled].mean() is a picture's accuracy, if labelled.any(). "
           "np.mean of a list of them is the result.",
           "shares = []\nfor guess, mask in zip(guesses, masks):\n    labelled = mask != 255\n"
           "    if labelled.any():\n        shares.append((guess == mask)[labelled].mean())\nreturn np.mean(shares)"))


def _folded(mask: np.ndarray, value: int | None = None) -> np.ndarray:
    pets = mask[(mask != 0) & (mask != IGNORE)]
    return np.where(mask == IGNORE, pets.max() if value is None else value, mask)


fold_border = Exercise(
    "fold_border",
    [Case("a cat with its border", (np.array([[0, 255, 1, 1, 255]], np.uint8),)),
     Case("a dog with its border", (np.array([[0, 255], [255, 2]], np.uint8),)),
     Case("a dog without one", (np.array([[0, 2, 2]], np.uint8),))],
    right=_folded,
    mistakes={
        "The border becomes a cat in every picture. Take the class of this picture's pet.":
            lambda mask: _folded(mask, 1),
        "The border becomes a dog in every picture. Take the class of this picture's pet.":
            lambda mask: _folded(mask, 2),
        "The border becomes background.": lambda mask: _folded(mask, 0),
        "The border is still 255.": [lambda mask: mask, lambda mask: _folded(mask, int(mask.max()))],
        "All pets become class 1: keep the species.": lambda mask: (mask != 0).astype(int),
        "The border becomes 3, as in a trimap. It should be the class of the pet.": lambda mask: _folded(mask, 3),
        "Only the border is left. Keep the other pixels as they are.":
            lambda mask: np.where(mask == IGNORE, _folded(mask), 0)},
    errors={"index 0 is out of bounds": "Which pixels have the pet's class? (mask != 0) & (mask != 255)."},
    hints=("Which class has the pet of this picture? Its pixels are neither 0 nor 255.",
           "pet = mask[(mask != 0) & (mask != 255)][0], and np.where puts it where the mask is 255.",
           "pet = mask[(mask != 0) & (mask != 255)][0]\nreturn np.where(mask == 255, pet, mask)"))


def _band(guess: np.ndarray, truth: np.ndarray, width: float, *, lines: str = "truth", ignored: str = "out",
          strict: bool = False, beyond: bool = False, side: str = "both", empty: float = math.nan,
          divide: str = "band") -> float:
    outline = {"truth": truth, "guess": guess, "no border": np.where(truth == IGNORE, 0, truth)}[lines]
    distance = boundary_distance(outline)
    band = distance < width if strict else distance <= width
    band = ~band if beyond else band
    if side != "both":
        band &= truth != 0 if side == "pet" else truth == 0
    scored = band & (truth != IGNORE) if ignored == "out" else band
    right = ((guess == truth) & scored).sum()
    below = scored.sum() if divide == "band" else (truth != IGNORE).sum()
    return float(right / below) if below else empty


def _square(size: int, border: int) -> np.ndarray:
    truth = np.zeros((size, size), np.uint8)
    truth[5 - border:size - 5 + border, 5 - border:size - 5 + border] = IGNORE if border else 2
    truth[5:-5, 5:-5] = 2
    return truth


_PLAIN, _WITH_BORDER = _square(16, 0), _square(18, 2)
_SHIFTED = np.roll(_PLAIN, 2, axis=1)
_SHIFTED_WIDE = np.where(np.roll(_square(18, 0), 3, axis=0) > 0, 2, 0).astype(np.uint8)
_SHIFTED_WIDE[8, 9] = 1
_SHORT = np.array([[0, 0, 0, 1, 1, 1]], np.uint8)
band_accuracy = Exercise(
    "band_accuracy",
    [Case("a row of pixels, width 1", (np.array([[0, 0, 1, 1, 1, 1]], np.uint8), _SHORT, 1)),
     Case("the same, width 2", (np.array([[0, 0, 1, 1, 1, 1]], np.uint8), _SHORT, 2)),
     Case("a border that is not scored: distances begin there", (
         np.array([[0, 1, 1, 1, 1, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 255, 255, 1, 1, 1]], np.uint8), 1)),
     Case("a square, moved by two pixels, width 2", (_SHIFTED, _PLAIN, 2), "16×16, a square of class 2"),
     Case("a square with a border, width 3", (_SHIFTED_WIDE, _WITH_BORDER, 3), "18×18, class 2 in a border of 2"),
     Case("one class everywhere: no outline", (np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8), 4))],
    right=_band,
    mistakes={
        "This is the accuracy of the whole picture. Score only the pixels in the band.":
            lambda guess, truth, width: _band(guess, truth, math.inf),
        "The outline is that of the guess. Distances are measured in the truth.": lambda *a: _band(*a, lines="guess"),
        "Ignored pixels are scored, as wrong. Leave out what is 255 in the truth.": lambda *a: _band(*a, ignored="in"),
        "The border counts as background, so that distances begin at its inner side. A value of its own, 255, begins "
        "the band on both sides.": lambda *a: _band(*a, lines="no border"),
        "The pixels at a distance of exactly width are left out: distance <= width.": lambda *a: _band(*a, strict=True),
        "These are the pixels beyond the band.": lambda *a: _band(*a, beyond=True),
        "Only the pet's side of the outline is scored. A band lies on both sides.": lambda *a: _band(*a, side="pet"),
        "Only the background's side of the outline is scored. A band lies on both sides.":
            lambda *a: _band(*a, side="background"),
        "The band is half as wide as it should be: width counts on each side.":
            lambda guess, truth, width: _band(guess, truth, width / 2),
        "This is the share of wrong pixels.": lambda *a: 1 - _band(*a),
        "The number of right pixels is divided by that of all pixels. Divide by the scored pixels of the band.":
            lambda *a: _band(*a, divide="all"),
        "Without an outline there is no band, and its accuracy is NaN, not 0.": lambda *a: _band(*a, empty=0.0),
        "Without an outline there is no band, and its accuracy is NaN, not 1.": lambda *a: _band(*a, empty=1.0)},
    errors={"is not a numpy array": "cv2.distanceTransform wants bytes: inside.astype(np.uint8).",
            "Unsupported format": "cv2.distanceTransform wants bytes: inside.astype(np.uint8).",
            "src.type()": "cv2.distanceTransform wants bytes: inside.astype(np.uint8).",
            "src data type = bool": "cv2.distanceTransform wants bytes: inside.astype(np.uint8).",
            "index did not match": "guess, truth and the band have the same shape, (H, W)."},
    hints=("How far is each pixel from the nearest one of another value? Do it for one value of the truth after the "
           "other: inside = truth == value. Which pixels are then in the band, and which of these are scored?",
           "distance = np.full(truth.shape, np.inf). For each value in np.unique(truth), if there are several: "
           "distance[inside] = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)"
           "[inside]. band = (distance <= width) & (truth != 255).",
           "distance = np.full(truth.shape, np.inf)\nvalues = np.unique(truth)\n"
           "for value in values if len(values) > 1 else []:\n    inside = truth == value\n"
           "    distance[inside] = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2,\n"
           "                                             cv2.DIST_MASK_PRECISE)[inside]\n"
           "band = (distance.round(3) <= width) & (truth != 255)\n"
           "return (guess == truth)[band].mean() if band.any() else np.nan"))


def _rates(values: Sequence[float], rate: float, patience: int, factor: float, *, more: int = 1, reset: bool = True,
           better: Callable[[float, float], bool] = float.__gt__, subtract: bool = False, late: bool = False,
           keep: bool = False) -> list[float]:
    best, waited, rates = -math.inf, 0, []
    for value in values:
        before = rate
        if better(float(value), best):
            best, waited = float(value), 0
        else:
            waited += 1
        if waited >= patience + more:
            rate = rate - factor if subtract else rate * factor
            waited = 0 if reset else waited
            best = best if not keep else -math.inf
        rates.append(before if late else rate)
    return rates


plateau_rates = Exercise(
    "plateau_rates",
    [Case("the score always grows", ([0.1, 0.2, 0.3], 0.1, 1, 0.1)),
     Case("patience 1: the second epoch without a new best", ([0.5, 0.4, 0.45, 0.6], 1.0, 1, 0.5)),
     Case("the same score is no progress", ([0.5, 0.5, 0.5, 0.5], 1.0, 2, 0.1)),
     Case("a new best begins the count anew", ([0.5, 0.4, 0.6, 0.5, 0.5, 0.5], 1.0, 1, 0.1)),
     Case("it falls several times", ([0.9] + [0.1] * 8, 1.0, 2, 0.5))],
    right=lambda values, rate, patience, factor: _rates(values, rate, patience, factor),
    mistakes={
        "The rate falls an epoch too early: `patience` epochs without a new best are allowed, and the next one is too "
        "many.": lambda *a: _rates(*a, more=0),
        "The rate falls an epoch too late.": lambda *a: _rates(*a, more=2),
        "After a fall, the count goes on. Begin again at 0.": lambda *a: _rates(*a, reset=False),
        "An equal score counts as progress. Only a larger one is a new best.":
            lambda *a: _rates(*a, better=float.__ge__),
        "The factor is subtracted. Multiply by it.": lambda *a: _rates(*a, subtract=True),
        "These are the rates before each epoch's score is known. Return those after it.":
            lambda *a: _rates(*a, late=True),
        "Each score is compared with the one before. Compare it with the best so far.":
            lambda values, rate, patience, factor: _by_the_last(values, rate, patience, factor),
        "After a fall, the best score is forgotten. Keep it.": lambda *a: _rates(*a, keep=True),
        "The rate never falls.": lambda values, rate, patience, factor: [rate for _ in values]},
    hints=("Two things to remember from epoch to epoch: the best score so far, and for how many epochs there was no "
           "better one.",
           "If value > best: best = value, waited = 0. Else waited += 1. If waited > patience: rate = rate * factor, "
           "waited = 0. Then append the rate.",
           "best, waited, rates = float(\"-inf\"), 0, []\nfor value in values:\n    if value > best:\n"
           "        best, waited = value, 0\n    else:\n        waited += 1\n    if waited > patience:\n"
           "        rate, waited = rate * factor, 0\n    rates.append(rate)\nreturn rates"))


def _by_the_last(values: Sequence[float], rate: float, patience: int, factor: float) -> list[float]:
    last, waited, rates = -math.inf, 0, []
    for value in values:
        waited = 0 if value > last else waited + 1
        if waited > patience:
            rate, waited = rate * factor, 0
        last = value
        rates.append(rate)
    return rates
