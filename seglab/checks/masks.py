"""Checks about masks: their colours, how frequent classes are, and what follows from that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.labels import IGNORE

_PALETTE = np.full((256, 3), 200, np.uint8)
_PALETTE[:4] = (128, 64, 128), (130, 76, 0), (0, 102, 0), (255, 22, 96)
_MASK = np.array([[0, 1, 1], [3, 2, 255]], np.uint8)


def _per_channel(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    return np.stack([palette[:, c][mask] for c in range(3)])


def _picture_of(answer: Callable[..., Any], mask: np.ndarray, palette: np.ndarray) -> Any:
    found = answer(mask, palette)
    if isinstance(found, np.ndarray) and found.dtype.kind == "f" and found.max() > 1:
        raise RefusedError("the colours are floats, which imshow takes for white above 1: make them dtype=np.uint8")
    return found


colourise = Exercise(
    "colourise",
    [Case("one pixel of each class", (np.array([[0, 1, 2, 3]], np.uint8), _PALETTE)),
     Case("a mask that is not square, with an ignored pixel", (_MASK, _PALETTE))],
    right=lambda mask, palette: palette[mask], run=_picture_of,
    mistakes={
        "The colours come first: (3, H, W). matplotlib wants them last, (H, W, 3).": _per_channel,
        "Rows and columns of the mask are exchanged.": lambda mask, palette: palette[mask.T],
        "Red and blue are exchanged: OpenCV's order is blue, green, red; matplotlib's is red, green, blue.":
            lambda mask, palette: palette[mask][..., ::-1],
        "The ignored pixel stays black. 255 has a row in the palette, too.":
            lambda mask, palette: palette[mask] * (mask != IGNORE)[..., None],
        "The ignored pixel is painted like a class. 255 has a row in the palette of its own.":
            lambda mask, palette: palette[np.where(mask == IGNORE, 0, mask)],
        "Every id is painted as the next one: ids count from 0.":
            [lambda mask, palette: palette[np.minimum(mask.astype(int) + 1, IGNORE)],
             lambda mask, palette: palette[mask + np.uint8(1)]],
        "The colours lie in [0, 1]. Leave them as they are, 0 to 255 in uint8.":
            lambda mask, palette: palette[mask] / 255},
    hints=("The table has a row for each id. What does NumPy give you if you index an array with an array?",
           "table[[0, 0, 1]] is three rows of the table. A mask (H, W) instead of the list gives (H, W) rows.",
           "return palette[mask]"))


def _dataset(*masks: Sequence[Sequence[int]]) -> list[tuple[Tensor, Tensor]]:
    found = [torch.tensor(mask, dtype=torch.uint8) for mask in masks]
    return [(torch.zeros(3, *mask.shape, dtype=torch.uint8), mask) for mask in found]


def _shares(split: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> Tensor:
    counts = _counts(split)[:num_classes]
    return counts / counts.sum()


def _counts(split: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """How often each value occurs, (256,): 255, too."""
    return sum((torch.bincount(mask.flatten(), minlength=256) for _, mask in split), torch.zeros(256))


def _masks_shown(*args: Any) -> str:
    split, num_classes = args
    return "\n".join(f"mask {i}:    {mask.tolist()}" for i, (_, mask) in enumerate(split)) + f"\n{num_classes} classes"


def _shares_case(what: str, split: list[tuple[Tensor, Tensor]], num_classes: int) -> Case:
    return Case(what, (split, num_classes), _masks_shown(split, num_classes) if split[0][1].numel() < 20 else
                f"{len(split)} masks of {tuple(split[0][1].shape)}, {num_classes} classes")


class_shares = Exercise(
    "class_shares",
    [_shares_case("one mask", _dataset([[0, 0, 1], [2, 0, 1]]), 3),
     _shares_case("a class that does not occur", _dataset([[0, 0, 1]]), 3),
     _shares_case("two masks of different sizes", _dataset([[0, 0, 0, 0], [0, 0, 1, 1]], [[2, 2]]), 3),
     _shares_case("pixels that nobody labelled", _dataset([[255, 255, 0, 1]], [[1, 2, 255, 255]]), 3),
     _shares_case("more than 255 pixels of a class", [(torch.zeros(3, 30, 30), torch.ones(30, 30, dtype=torch.uint8)),
                                                      *_dataset([[0] * 100])], 2)],
    right=_shares,
    mistakes={
        "Ignored pixels count in the sum that you divide by. Leave 255 out of it: the shares add up to 1.":
            lambda split, n: _counts(split)[:n] / _counts(split).sum(),
        "Ignored pixels are counted as the last class. Leave them out: keep the first num_classes counts.":
            lambda split, n: torch.bincount(
            torch.cat([mask.flatten().long().clamp(max=n - 1) for _, mask in split]), minlength=n) / sum(
                mask.numel() for _, mask in split),
        "Ignored pixels are counted as class 0. Leave them out: keep the first num_classes counts.":
            lambda split, n: torch.bincount(
            torch.cat([torch.where(mask == IGNORE, 0, mask).flatten() for _, mask in split]), minlength=n) / sum(
                mask.numel() for _, mask in split),
        "This is the mean of the pictures' shares. Add up the counts of all pictures first, then divide once: a large "
        "picture counts more.": lambda split, n: sum(_shares([one], n) for one in split) / len(split),
        "Only the first picture is counted.": lambda split, n: _shares(split[:1], n),
        "Only the last picture is counted. Is the table of counts made anew for each?":
            lambda split, n: _shares(split[-1:], n),
        "These are counts. Divide them by their sum.": lambda split, n: _counts(split)[:n],
        "These are shares of the pictures that a class occurs in, not of the pixels.":
            lambda split, n: sum((_shares([one], n) > 0).float() for one in split) / len(split),
        "You divided by the largest count. Divide by the sum of the counts.":
            lambda split, n: _counts(split)[:n] / _counts(split)[:n].max()},
    errors={"only supports 1-d": "torch.bincount wants a single axis: mask.flatten().",
            "must match the size": "The counts have different lengths: torch.bincount(…, minlength=256) helps.",
            "'tuple' object has no attribute": "The split gives pairs: for image, mask in split."},
    hints=("Count first, for all pictures together. Divide once, at the end.",
           "torch.bincount(mask.flatten(), minlength=256) counts each value of a mask, 255 too. Add these up; keep the "
           "first num_classes of the 256 counts.",
           "counts = sum(torch.bincount(mask.flatten(), minlength=256) for _, mask in split)[:num_classes]\n"
           "return counts / counts.sum()"))


def _rows(*rows: list[list[int]]) -> list[Tensor]:
    return [torch.tensor(row).byte() for row in rows]


def _with(mask: Tensor, value: int) -> Tensor:
    return torch.where(mask == IGNORE, value, mask)


def _constant(train_masks: Sequence[Tensor], mask: Tensor, num_classes: int) -> Tensor:
    return torch.full_like(mask, int(_counts([(m, m) for m in train_masks])[:num_classes].argmax()))


constant_rule = Exercise(
    "constant_rule",
    [Case("class 3 is the most frequent of 5", (_rows([[0, 3, 3], [1, 4, 3]]), _rows([[2, 2, 1]])[0], 5)),
     Case("another class in the picture than in training", (_rows([[2, 2, 1, 0]]), _rows([[3, 3, 3, 1]])[0], 4)),
     Case("most pixels are not labelled", (_rows([[255, 255, 255, 1]], [[255, 0, 1, 255]]),
                                           _rows([[2, 255]])[0], 3)),
     Case("it is ahead in one picture, and not in most", (
         _rows([[2]], [[0, 0]], [[0, 0]], [[1, 1, 1, 1, 1]], [[3]]), _rows([[0, 0], [2, 2]])[0], 4))],
    right=_constant,
    mistakes={
        "This looks at the mask of the picture that is to be predicted. The rule may only use the training masks.":
            lambda train, mask, n: _constant([mask], mask, n),
        "This is the class alone. Return a whole mask of it, as large as the given one.":
            lambda train, mask, n: _constant(train, mask, n).flatten()[0],
        "Ignored pixels are counted: 255 is the most frequent value, and no class.":
            lambda train, mask, n: torch.full_like(mask, int(_counts([(m, m) for m in train]).argmax())),
        "Ignored pixels are counted as class 0.":
            lambda train, mask, n: _constant([_with(m, 0) for m in train], mask, n),
        "Ignored pixels are counted as the last class.":
            lambda train, mask, n: _constant([_with(m, n - 1) for m in train], mask, n),
        "This is the rarest class.": lambda train, mask, n: torch.full_like(
            mask, int(_counts([(m, m) for m in train])[:n].argmin())),
        "This is the class that is ahead in most pictures. Count the pixels of all pictures together.":
            lambda train, mask, n: torch.full_like(mask, int(torch.stack(
                [_counts([(m, m)])[:n].argmax() for m in train]).mode().values)),
        "This is the mean of the pictures' shares. Count the pixels of all pictures together.":
            lambda train, mask, n: torch.full_like(mask, int(sum(
                (_shares([(m, m)], n).nan_to_num() for m in train), torch.zeros(n)).argmax())),
        "This is class 0, always. Is something counted?": lambda train, mask, n: torch.zeros_like(mask),
        "Only the last training picture is counted.": lambda train, mask, n: _constant(train[-1:], mask, n),
        "Only the first training picture is counted.": lambda train, mask, n: _constant(train[:1], mask, n)},
    hints=("Which class has the most pixels in the training masks? The answer is that class, everywhere.",
           "Count as in class_shares, take the argmax, and fill a mask that is as large as the given one: "
           "torch.full_like.",
           "counts = sum(torch.bincount(m.flatten(), minlength=256) for m in train_masks)[:num_classes]\n"
           "return torch.full_like(mask, int(counts.argmax()))"))


def _weights(shares: Tensor, *, power: float = 1.0, least: float = 0.0, scaled: bool = True) -> Tensor:
    weights = torch.where(shares > 0, shares.clamp(min=1e-9) ** -power, least)
    return weights / weights[shares > 0].mean() if scaled else weights


class_weights = Exercise(
    "class_weights",
    [Case("three classes", (torch.tensor([0.5, 0.3, 0.2]),)),
     Case("two classes, one three times as frequent", (torch.tensor([0.75, 0.25]),)),
     Case("a class that does not occur", (torch.tensor([0.8, 0.0, 0.2]),))],
    right=_weights,
    mistakes={
        "The weights are not scaled: divide them by their mean over the classes that occur.":
            lambda shares: _weights(shares, scaled=False),
        "A class that does not occur: 1 / 0 is infinite, and so is the mean. Set it to 0 before you take the mean.": [
            lambda shares: 1 / shares, lambda shares: 1 / shares / (1 / shares).mean(),
            lambda shares: torch.where(shares > 0, 1 / shares / (1 / shares).mean(), 0.0),
            lambda shares: 1 / (shares + 1e-6) / (1 / (shares + 1e-6)).mean()],
        "A class that does not occur counts in the mean that you divide by.":
            lambda shares: _weights(shares, scaled=False) / _weights(shares, scaled=False).mean(),
        "A class that does not occur has the weight 1. Give it 0.":
            lambda shares: torch.where(shares > 0, _weights(shares), 1.0),
        "Frequent classes have the larger weights. It is one over the share.":
            lambda shares: shares / shares[shares > 0].mean(),
        "These are 1 - share. Take 1 / share.": lambda shares: 1 - shares,
        "The weights add up to 1. Their mean over the classes that occur should be 1.":
            lambda shares: _weights(shares) / _weights(shares).sum(),
        "This is one over the square root of the share.": lambda shares: _weights(shares, power=0.5),
        "The largest weight is 1. The mean should be 1.": lambda shares: _weights(shares) / _weights(shares).max()},
    errors={"division by zero": "A class that does not occur has the share 0, and one over it is no number."},
    hints=("One over the share; then divide by the mean. What is one over 0?",
           "torch.where(shares > 0, 1 / shares, 0.0) keeps infinity out. The mean is that of the weights above 0.",
           "weights = torch.where(shares > 0, 1 / shares, 0.0)\nreturn weights / weights[weights > 0].mean()"))
