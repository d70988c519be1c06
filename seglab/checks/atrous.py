"""Checks about convolutions with holes: what they compute, which of their weights work, and a rate that falls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.checks.exercise import Case, Exercise


def _atrous(signal: Tensor, kernel: Tensor, rate: int, *, flipped: bool = False, used: int | None = None,
            pad: str = "rate", stride: int = 1) -> Tensor:
    """The right answer, with what can be wrong about it."""
    used, reach = rate if used is None else used, len(kernel) // 2
    sides = {"rate": (rate * reach,) * 2, "one": (reach,) * 2, "none": (0, 0), "left": (2 * rate * reach, 0),
             "right": (0, 2 * rate * reach)}[pad]
    padded = F.pad(signal.float()[None, None], sides)
    return F.conv1d(padded, (kernel.flip(0) if flipped else kernel).float()[None, None], dilation=used,
                    stride=stride)[0, 0]


def _extended(signal: Tensor, kernel: Tensor, rate: int, *, mode: str) -> Tensor:
    reach = rate * (len(kernel) // 2)
    around = np.pad(signal.numpy(), reach, mode=mode)  # type: ignore[call-overload]  # its modes are Literals
    padded = torch.from_numpy(around).float()
    return F.conv1d(padded[None, None], kernel.float()[None, None], dilation=rate)[0, 0]


def _signal(count: int, seed: int = 0) -> Tensor:
    return torch.randint(-3, 9, (count,), generator=torch.Generator().manual_seed(seed)).float()


atrous_conv = Exercise(
    "atrous_conv",
    [Case("rate 1, a plain convolution", (_signal(6), torch.tensor([1.0, 2.0, 3.0]), 1)),
     Case("rate 2", (_signal(8, 1), torch.tensor([-1.0, 0.0, 2.0]), 2)),
     Case("rate 3, five weights", (_signal(14, 2), torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0]), 3)),
     Case("a rate as large as the signal: only the middle weight works", (
         _signal(4, 3), torch.tensor([1.0, 2.0, 3.0]), 4))],
    right=_atrous,
    mistakes={
        "The kernel is turned round. In deep learning, a convolution does not do that: w[0] belongs to the left.":
            lambda *a: _atrous(*a, flipped=True),
        "The rate is not used: neighbours are next to each other.": lambda *a: _atrous(*a, used=1, pad="one"),
        "There is no padding: the result should be as long as the signal. What lies outside is 0.":
            lambda *a: _atrous(*a, pad="none"),
        "The padding is too small: the kernel reaches rate · (K // 2) places to each side.":
            lambda *a: _atrous(*a, pad="one"),
        "The kernel begins at place i. Its *middle* lies there: x[i + rate · (k - K // 2)].":
            lambda *a: _atrous(*a, pad="right"),
        "The kernel ends at place i. Its *middle* lies there: x[i + rate · (k - K // 2)].":
            lambda *a: _atrous(*a, pad="left"),
        "Beyond its ends, the signal begins again on the other side. What lies outside is 0. (torch.roll, or a "
        "negative index?)": lambda *a: _extended(*a, mode="wrap"),
        "Beyond its ends, the first and the last value are repeated. What lies outside is 0.":
            lambda *a: _extended(*a, mode="edge"),
        "Beyond its ends, the signal is mirrored. What lies outside is 0.": lambda *a: _extended(*a, mode="symmetric"),
        "Only every rate-th place is computed. That is a stride. A rate leaves out neighbours, and no results.":
            lambda signal, kernel, rate: _atrous(signal, kernel, 1, stride=rate)},
    errors={"out of bounds": "Beyond the ends of the signal there is nothing to index: pad it with zeros first, or "
                             "leave these places out.",
            "out of range": "Beyond the ends of the signal there is nothing to index: pad it with zeros first, or "
                            "leave these places out.",
            "must match the size": "The shifted copies have different lengths. Pad the signal by rate · (K // 2) zeros "
                                   "on both sides; each copy is padded[k * rate : k * rate + n]."},
    hints=("It is a sum of shifted copies of the signal, one for each weight. How far is copy k shifted?",
           "Pad by rate · (K // 2) zeros on both sides. Then weight k meets padded[k * rate : k * rate + n].",
           "n, reach = len(signal), rate * (len(kernel) // 2)\npadded = F.pad(signal, (reach, reach))\n"
           "return sum(weight * padded[k * rate : k * rate + n] for k, weight in enumerate(kernel))"))


def _working(width: int, rate: int, *, left: bool = True, right: bool = True, off: int = 0,
             join: Callable[[Any, Any], Any] = np.multiply) -> np.ndarray:
    x = np.arange(width)
    across = 1 + left * (x >= rate + off) + right * (x < width - rate - off)
    return np.asarray(join(across[:, None], across[None]))


weights_on_map = Exercise(
    "weights_on_map",
    [Case("5×5 places, rate 1", (5, 1)), Case("6×6 places, rate 2", (6, 2)), Case("7×7 places, rate 5", (7, 5)),
     Case("a rate as large as the map", (4, 4)), Case("a rate larger than the map", (3, 12))],
    right=_working,
    mistakes={
        "Only neighbours to the right and below are counted. Those to the left and above count, too.":
            lambda *a: _working(*a, left=False),
        "Only neighbours to the left and above are counted. Those to the right and below count, too.":
            lambda *a: _working(*a, right=False),
        "It is off by one place: x - rate lies on the map if x >= rate, and x + rate if x < width - rate.": [
            lambda *a: _working(*a, off=1), lambda *a: _working(*a, off=-1)],
        "Rows and columns are added. Each row of weights meets each column of weights: multiply.":
            lambda *a: _working(*a, join=np.add),
        "The smaller of both numbers is taken. Each row of weights meets each column of weights: multiply.":
            lambda *a: _working(*a, join=np.minimum),
        "This is the count along one axis. A 3×3 kernel has two: multiply that of the row by that of the column.":
            lambda width, rate: np.sqrt(np.diag(_working(width, rate))),
        "This is for rate 1, whatever the rate.": lambda width, rate: _working(width, 1)},
    hints=("Begin with one axis: of the places x - rate, x and x + rate, how many lie between 0 and width - 1?",
           "across = 1 + (x >= rate) + (x < width - rate), for x = np.arange(width). Nine weights are three rows by "
           "three columns.",
           "x = np.arange(width)\nacross = 1 + (x >= rate).astype(int) + (x < width - rate)\n"
           "return np.outer(across, across)"))


poly_rate = Exercise(
    "poly_rate",
    [Case("the first step", (0, 100, 0.01, 0.9)), Case("half-way", (50, 100, 0.01, 0.9)),
     Case("after the last step it is 0", (100, 100, 0.01, 0.9)),
     Case("power 1 is a straight line", (30, 40, 0.2, 1.0)), Case("another power", (7, 10, 0.1, 2.0))],
    right=lambda step, steps, start, power: start * (1 - step / steps) ** power,
    mistakes={
        "The power is left out.": lambda step, steps, start, power: start * (1 - step / steps),
        "The power belongs to the whole bracket: (1 - step / steps) ** power.":
            lambda step, steps, start, power: start * (1 - (step / steps) ** power),
        "The rate rises. It is 1 - step / steps, to the power.":
            lambda step, steps, start, power: start * (step / steps) ** power,
        "start is raised to the power, too.": lambda step, steps, start, power: (start * (1 - step / steps)) ** power,
        "step // steps is a division of whole numbers: use /.":
            lambda step, steps, start, power: start * (1 - step // steps) ** power,
        "The last step still has a rate: divide by steps, not by steps + 1.":
            lambda step, steps, start, power: start * (1 - step / (steps + 1)) ** power,
        "The rate is 0 one step too early: divide by steps, not by steps - 1.":
            lambda step, steps, start, power: start * max(0.0, 1 - step / (steps - 1)) ** power,
        "It is multiplied by the power, instead of raised to it: ** is the power.":
            lambda step, steps, start, power: start * (1 - step / steps) * power,
        "The rate of the start is missing: multiply by start.":
            lambda step, steps, start, power: (1 - step / steps) ** power},
    errors={"^": "The power is written ** in Python."},
    hints=("How much of the way is left: 1 at the start, 0 at the end? Raise that to the power.",
           "1 - step / steps is what is left. ** raises to a power.",
           "return start * (1 - step / steps) ** power"))
