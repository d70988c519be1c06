"""Checks about the way from a checkpoint to a program: time, inputs without a framework, files, masks that agree."""

from __future__ import annotations

import contextlib
import re
import statistics
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from inspect import unwrap
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError

_CLOCKS = {name: 1e9 if name.endswith("_ns") else 1.0 for name in (
    "perf_counter", "perf_counter_ns", "time", "time_ns", "monotonic", "monotonic_ns", "process_time",
    "process_time_ns")}
_SLOW = 0.05  # s that the first call takes


class _Timed(nn.Module):
    """A network whose calls take as long as a list says: the first one long, the others in turn.

    No time passes: the clocks are ahead by `passed`.
    """

    def __init__(self, seconds: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seconds, self.passed, self.calls = seconds, 0.0, [0, 0, 0]  # all, in train mode, with gradients

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        first = self.calls[0] == 0
        self.passed += _SLOW if first else self.seconds[(self.calls[0] - 1) % len(self.seconds)]
        self.calls = [one + more for one, more in zip(self.calls, (1, self.training, torch.is_grad_enabled()),
                                                      strict=True)]
        return {"out": images[:, :2] * self.weight}


@contextlib.contextmanager
def _ahead(model: _Timed, answer: Callable[..., Any]) -> Iterator[None]:
    """The clocks of the time module, also those that the answer imported by name, stand still but for `passed`."""
    def standing(name: str) -> Callable[[], float]:
        begin, unit = getattr(time, name)(), _CLOCKS[name]
        return lambda: begin + type(begin)(model.passed * unit)

    fake = {name: standing(name) for name in _CLOCKS}
    real = {getattr(time, name): fake[name] for name in _CLOCKS}
    scope = getattr(unwrap(answer), "__globals__", {})
    named = {key: real[value] for key, value in scope.items() if callable(value) and value in [*real]}
    with contextlib.ExitStack() as stack:
        for name, clock in fake.items():
            stack.enter_context(mock.patch.object(time, name, clock))
        stack.enter_context(mock.patch.dict(scope, named))
        stack.enter_context(mock.patch.object(timeit, "default_timer", fake["perf_counter"]))
        for function in (timeit.timeit, timeit.repeat, timeit.Timer.__init__):  # they hold the clock as a default
            values = tuple(fake["perf_counter"] if one in [*real] else one for one in function.__defaults__ or ())
            stack.enter_context(mock.patch.object(function, "__defaults__", values))
        yield


def _measured(answer: Callable[..., Any], seconds: Sequence[float], repeats: int) -> dict[str, Any]:
    """The seconds that an answer finds, and how it called the network."""
    model = _Timed(seconds).train()
    with _ahead(model, answer):
        found = answer(model, torch.zeros(1, 3, 4, 4), repeats)
    calls, train_mode, gradients = model.calls
    if not calls:
        raise RefusedError("it does not call the network: model(images)")
    return {"calls in train mode": train_mode, "calls with gradients": gradients, "seconds": found}


def _time(model: nn.Module, images: Tensor, repeats: int, *, warm: int = 1, evaluating: bool = True, gradients: bool =
          False, of: Callable[[Sequence[float]], float] = statistics.median, within: bool = False) -> float:
    """The right answer, with what can be wrong about it; `within` takes the warm-up's time along."""
    if evaluating:
        model.eval()
    found = []
    with torch.set_grad_enabled(gradients):
        for number in range(warm + repeats):
            start = time.perf_counter()
            model(images)
            if number >= warm or within:
                found.append(time.perf_counter() - start)
    return of(found)


measure_speed = Exercise(
    "measure_speed",
    [Case("five calls that count", ([0.007, 0.040, 0.009, 0.002, 0.006], 5),
          "a network whose first call takes 50 ms, the next ones 7, 40, 9, 2 and 6 ms"),
     Case("three calls", ([0.012, 0.004, 0.030], 3),
          "a network whose first call takes 50 ms, the next ones 12, 4 and 30 ms")],
    right=lambda model, images, repeats: _time(model, images, repeats), run=_measured,
    mistakes={
        "The first call counts. It is slower than the others: call the network once before you measure.": [
            lambda *a: _time(*a, warm=0), lambda *a: _time(*a, within=True)],
        "This is the mean. A single slow call, while the computer did something else, changes it much: take the "
        "median.": [lambda *a: _time(*a, of=statistics.fmean), lambda *a: _time(*a, of=statistics.fmean, warm=0),
                    lambda *a: _time(*a, of=statistics.fmean, within=True)],
        "This is the shortest time. Take the median.": lambda *a: _time(*a, of=min),
        "This is the longest time. Take the median.": lambda *a: _time(*a, of=max),
        "This is the time of all calls together. Take the median of the single ones.": [
            lambda *a: _time(*a, of=sum), lambda *a: _time(*a, of=sum, warm=0)],
        "This is the time of the last call. Keep all of them in a list, and take the median.":
            lambda *a: _time(*a, of=lambda found: found[-1]),
        "These are milliseconds. Return seconds.": lambda *a: 1000 * _time(*a),
        "These are pictures in a second. Return seconds.": lambda *a: 1 / _time(*a),
        "The network is in train mode: BatchNorm and dropout do other work there. model.eval() comes first.": [
            lambda *a: _time(*a, evaluating=False), lambda *a: _time(*a, evaluating=False, gradients=True)],
        "The calls keep their inputs for a backward pass, which costs time and memory. Put them into `with "
        "torch.no_grad():`.": lambda *a: _time(*a, gradients=True)},
    errors={"'float' object is not iterable": "Collect the times in a list first.",
            "no median for empty data": "Append each time to the list that the median is taken of."},
    hints=("Read a clock before and after each call, and keep the differences. One call before them does not count. "
           "What else must be switched, so that the network does what it does in use?",
           "model.eval(), then `with torch.no_grad():` around everything. Call model(images) once. Then, `repeats` "
           "times: start = time.perf_counter(); model(images); times.append(time.perf_counter() - start).",
           "import statistics, time\nmodel.eval()\ntimes = []\nwith torch.no_grad():\n    model(images)\n"
           "    for _ in range(repeats):\n        start = time.perf_counter()\n        model(images)\n"
           "        times.append(time.perf_counter() - start)\nreturn statistics.median(times)"))


def _input(answer: Callable[..., Any], *args: Any) -> dict[str, Any]:
    """The numbers of an input, and the bytes of one of them: ONNX knows no conversion."""
    found = answer(*args)
    if isinstance(found, Tensor):
        raise RefusedError("it returns a tensor of PyTorch. The program should need NumPy only: return a NumPy array")
    if not isinstance(found, np.ndarray):
        raise RefusedError("it returns nothing. Is there a `return`?" if found is None else
                           f"it returns a {type(found).__name__}, and should return a NumPy array")
    return {"shape": list(found.shape), "values": found, "bytes of one number": found.itemsize}


def _prepare(picture: np.ndarray, mean: np.ndarray, std: np.ndarray, *, scale: float = 255.0, minus: bool = True,
             divide: int = 1, axes: Callable[[np.ndarray], np.ndarray] = lambda x: x.transpose(2, 0, 1),
             batch: Callable[[np.ndarray], np.ndarray] = lambda x: x[None], kind: Any = np.float32,
             picture_of: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> np.ndarray:
    x = picture_of(picture).astype(np.float64) / scale
    x = (x - mean * minus) / std**divide
    return batch(axes(x)).astype(kind)


_MEAN, _STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def _photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)


preprocess = Exercise(
    "preprocess",
    [Case("a picture of 2×3 pixels, mean 0 and deviation 1", (
        _photo(2, 3), np.zeros(3, np.float32), np.ones(3, np.float32))),
     Case("the mean and the deviation of ImageNet", (_photo(3, 2), _MEAN, _STD)),
     Case("a picture of one pixel", (_photo(1, 1), _MEAN, _STD))],
    right=lambda picture, mean, std: _prepare(picture, mean, std), run=_input,
    mistakes={
        "The pixels are still 0 to 255. Mean and deviation are those of pixels in [0, 1]: divide by 255 first.":
            lambda *a: _prepare(*a, scale=1),
        "The pixels are divided by 256. 255 should become 1.": lambda *a: _prepare(*a, scale=256),
        "The mean is not subtracted.": lambda *a: _prepare(*a, minus=False),
        "The numbers are not divided by the deviation.": lambda *a: _prepare(*a, divide=0),
        "The numbers are multiplied by the deviation. Divide.": lambda *a: _prepare(*a, divide=-1),
        "Mean and deviation are not used, only the division by 255.": lambda *a: _prepare(*a, minus=False, divide=0),
        "The colours are still the last axis. Networks want (N, 3, H, W): transpose(2, 0, 1).":
            lambda *a: _prepare(*a, axes=lambda x: x),
        "reshape changes the shape, and leaves the numbers in their order: colours and places are mixed up. Use "
        "transpose(2, 0, 1).": lambda *a: _prepare(*a, axes=lambda x: x.reshape(3, *x.shape[:2])),
        "Height and width are exchanged: transpose(2, 0, 1) keeps the rows before the columns.":
            lambda *a: _prepare(*a, axes=lambda x: x.T),
        "The first axis, of the pictures in the batch, is missing: x[None].":
            lambda *a: _prepare(*a, batch=lambda x: x),
        "The colours are in the order of OpenCV, blue first. The picture has red first already.":
            lambda *a: _prepare(*a, picture_of=lambda x: x[..., ::-1]),
        "The numbers have 64 bits. The file wants 32: .astype(np.float32).": lambda *a: _prepare(*a, kind=np.float64),
        "The numbers have 16 bits. The file wants 32: .astype(np.float32).": lambda *a: _prepare(*a, kind=np.float16)},
    errors={"could not be broadcast": "mean and std have one number a colour: use them while the colours are the last "
                                      "axis, or write mean[:, None, None] afterwards.",
            "has no attribute 'permute'": "That is PyTorch's word. NumPy calls it transpose(2, 0, 1).",
            "has no attribute 'unsqueeze'": "That is PyTorch's word. In NumPy: x[None].",
            "has no attribute 'float'": "That is PyTorch's word. In NumPy: x.astype(np.float32).",
            "Cannot cast ufunc": "A uint8 array cannot hold the result: write x = x / 255 instead of x /= 255."},
    hints=("There are four steps: numbers from 0 to 1, mean and deviation of each colour, the order of the axes, the "
           "axis of the batch. Which type does the file want?",
           "x = picture / 255; (x - mean) / std works while the colours are the last axis. transpose(2, 0, 1) puts "
           "them first, [None] adds the axis of the batch, astype(np.float32) sets the type.",
           "x = (picture / 255 - mean) / std\nreturn x.transpose(2, 0, 1)[None].astype(np.float32)"))


def _ids(*rows: str, kind: Any = np.uint8) -> np.ndarray:
    return np.array([[int(one) for one in row.split()] for row in rows], kind)


differing_pixels = Exercise(
    "differing_pixels",
    [Case("one pixel differs, by one class", (_ids("0 0 1", "0 1 1"), _ids("0 1 1", "0 1 1"))),
     Case("three pixels differ, in opposite directions", (_ids("0 2 1", "1 1 0"), _ids("0 1 2", "1 1 2"))),
     Case("classes 5 and 3, then 3 and 5; one mask is int64", (
         _ids("5 3 3", "0 0 0"), _ids("3 5 3", "0 0 0", kind=np.int64))),
     Case("the same mask twice", (_ids("4 4", "0 255"), _ids("4 4", "0 255"))),
     Case("all pixels differ", (_ids("0 0 0"), _ids("1 2 255")))],
    right=lambda first, second: int((first != second).sum()),
    mistakes={
        "These are the pixels that are the same. Count those that differ: first != second.":
            lambda a, b: int((a == b).sum()),
        "This is a share. Return the number of pixels.": lambda a, b: float((a != b).mean()),
        "The differences of the class ids are added up. Ids are names, not amounts: count where they differ.":
            [lambda a, b: int(np.abs(a.astype(int) - b).sum()), lambda a, b: float(((a.astype(int) - b)**2).sum())],
        "Differences of opposite signs cancel out. Count where first != second.": [
            lambda a, b: int((a.astype(int) - b).sum()), lambda a, b: abs(int((a.astype(int) - b).sum())),
            lambda a, b: int(a.sum()) - int(b.sum()), lambda a, b: abs(int(a.sum()) - int(b.sum()))],
        "A uint8 cannot be negative: 0 - 1 is 255 there. Count where first != second.": [
            lambda a, b: int((a - b).sum()), lambda a, b: int(np.abs(a - b).sum())],
        "This counts pixels of which the first id is larger. Count both directions: first != second.": [
            lambda a, b: int((a > b).sum()), lambda a, b: int((a < b).sum())],
        "This is 1 if the masks differ anywhere. Count the pixels.": lambda a, b: int(not np.array_equal(a, b)),
        "This is 1 if the masks are the same. Count the pixels that differ.": lambda a, b: int(np.array_equal(a, b)),
        "This is the largest difference of two ids. Count the pixels that differ.":
            lambda a, b: int(np.abs(a.astype(int) - b).max()),
        "This counts rows in which something differs. Count the pixels.": lambda a, b: int((a != b).any(1).sum())},
    errors={"truth value": "first != second is an array of True and False. Its sum is the number of True.",
            "'bool' object has no attribute": "first != second is one value for lists; the masks are arrays."},
    hints=("first != second is True where the two differ. How do you count the True of an array?",
           "The sum of an array of True and False counts the True: .sum(). int(…) makes it a plain number.",
           "return int((first != second).sum())"))


def _read_ppm(answer: Callable[..., Any], picture: np.ndarray) -> dict[str, Any]:
    """What a program that reads PPM files finds in the bytes of an answer."""
    found = answer(picture)
    if not isinstance(found, (bytes, bytearray)):
        raise RefusedError("it returns nothing. Is there a `return`?" if found is None else
                           f"it returns a {type(found).__name__}, and should return bytes: "
                           + ("text becomes bytes with .encode()" if isinstance(found, str) else "picture.tobytes()"))
    head = re.match(rb"(P\d)\s+(?:#[^\n]*\s+)*(\d+)\s+(?:#[^\n]*\s+)*(\d+)\s+(?:#[^\n]*\s+)*(\d+)\s", bytes(found))
    if head is None:
        raise RefusedError(f"the header is {bytes(found[:16])!r}. It should be b'P6', the width, the height and 255, "
                           "with line ends or spaces between them, and one line end behind the 255")
    kind, width, height, brightest = head[1].decode(), int(head[2]), int(head[3]), int(head[4])
    if kind != "P6":
        raise RefusedError(f"the file is of kind {kind}. The pixels of P6 are bytes, three a pixel")
    pixels = np.frombuffer(found[head.end():], np.uint8)
    return {"width": width, "height": height, "largest value": brightest, "bytes of pixels": len(pixels),
            "pixels": pixels}


def _ppm(picture: np.ndarray, *, size: Callable[[int, int], tuple[int, int]] = lambda h, w: (w, h), largest: int = 255,
         pixels: Callable[[np.ndarray], np.ndarray] = lambda x: x, extra: bytes = b"") -> bytes:
    width, height = size(*picture.shape[:2])
    return f"P6\n{width} {height}\n{largest}\n".encode() + extra + np.ascontiguousarray(pixels(picture)).tobytes()


to_ppm = Exercise(
    "to_ppm",
    [Case("a picture of 2×3 pixels", (_photo(2, 3),)), Case("a picture of 4×1 pixels", (_photo(4, 1),)),
     Case("an array that does not lie row by row in memory", (_photo(5, 3).transpose(1, 0, 2),),
          "a picture of 3×5 pixels, turned without being copied")],
    right=lambda picture: _ppm(picture), run=_read_ppm,
    mistakes={
        "Height and width are exchanged. The file has the width first; picture.shape has the height first.":
            lambda x: _ppm(x, size=lambda h, w: (h, w)),
        "The colours come one plane after the other. In the file, the three colours of a pixel follow each other, as "
        "they do in (H, W, 3).": lambda x: _ppm(x, pixels=lambda p: p.transpose(2, 0, 1)),
        "Columns come before rows. The pixels go row by row.": lambda x: _ppm(x, pixels=lambda p: p.transpose(1, 0, 2)),
        "Blue comes first. The file has red, green, blue.": lambda x: _ppm(x, pixels=lambda p: p[..., ::-1]),
        "The pixels are numbers of 8 or 4 bytes. The file has one byte a colour: uint8.": [
            lambda x, kind=kind: _ppm(x, pixels=lambda p: p.astype(kind)) for kind in (
                np.int64, np.float64, np.float32, np.int32)],
        "The pixels are missing.": lambda x: _ppm(x, pixels=lambda p: p[:0]),
        "There is an empty line behind the 255. One line end, and then the pixels.": lambda x: _ppm(x, extra=b"\n"),
        "The largest value is 255, not 256.": lambda x: _ppm(x, largest=256),
        "The largest value of the picture stands in the header. It is the largest value that a byte can have, 255.":
            lambda x: _ppm(x, largest=int(x.max())),
        "The picture is upside down.": lambda x: _ppm(x, pixels=lambda p: p[::-1])},
    errors={"can't concat": "A text and bytes cannot be added: text.encode() makes bytes of it.",
            "can only concatenate str": "A text and bytes cannot be added: text.encode() makes bytes of it.",
            "too many values to unpack": "picture.shape has three numbers: height, width, 3.",
            "codec can't": "Pixels are no text. picture.tobytes() gives their bytes."},
    hints=("A PPM file is a short text, followed by the bytes of the pixels. Which number comes first in "
           "picture.shape, and which in the header?",
           "height, width, _ = picture.shape; the header is f\"P6\\n{width} {height}\\n255\\n\", and .encode() makes "
           "bytes of it. picture.tobytes() are the pixels, row by row.",
           "height, width, _ = picture.shape\nheader = f\"P6\\n{width} {height}\\n255\\n\"\n"
           "return header.encode() + picture.tobytes()"))


def _rounded(weights: Tensor, bits: int, *, levels: Callable[[int], float] = lambda bits: 2**(bits - 1) - 1,
             largest: Callable[[Tensor], Tensor] = lambda w: w.abs().max(), nearest: Callable[[Tensor], Tensor] =
             torch.round, back: bool = True) -> Tensor:
    """The right answer, with what can be wrong about it."""
    step = largest(weights) / levels(bits)
    whole = nearest(weights / step).clamp(-levels(bits), levels(bits))
    return whole * step if back else whole


def _weights(*shape: int) -> Tensor:
    found = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    return found - 0.4  # the largest is negative


quantise = Exercise(
    "quantise",
    [Case("five numbers, 3 bits: -3 to 3", (torch.tensor([-0.9, -0.4, 0.1, 0.25, 0.6]), 3)),
     Case("8 bits: -127 to 127", (_weights(4, 3), 8)), Case("a kernel, 4 bits: -7 to 7", (_weights(3, 2, 3, 3), 4)),
     Case("the largest number is positive", (torch.tensor([0.2, -0.31, 1.3]), 4))],
    right=lambda weights, bits: _rounded(weights, bits),
    mistakes={
        "These are the whole numbers. Multiply by the step again.": lambda *a: _rounded(*a, back=False),
        "The numbers are cut off, not rounded: use round().": [
            lambda *a: _rounded(*a, nearest=torch.trunc), lambda *a: _rounded(*a, nearest=torch.floor)],
        "The step goes by the largest weight, and forgets negative ones: take the largest absolute value.":
            [lambda *a: _rounded(*a, largest=torch.max), lambda weights, bits: (
                (step := weights.max() / (2**(bits - 1) - 1)) * (weights / step).round())],
        "Whole numbers of b bits with a sign go up to 2 ** (bits - 1) - 1, which is 127 for 8 bits. This goes up to "
        "2 ** (bits - 1).": lambda *a: _rounded(*a, levels=lambda b: 2**(b - 1)),
        "Whole numbers of b bits with a sign go up to 2 ** (bits - 1) - 1, which is 127 for 8 bits. This forgets the "
        "sign.": [lambda *a: _rounded(*a, levels=lambda b: 2**b - 1), lambda *a: _rounded(*a, levels=lambda b: 2**b)],
        "It always takes 8 bits. Use bits.": lambda weights, bits: _rounded(weights, 8),
        "Each row has a step of its own. Here one step is for all weights.": lambda weights, bits: torch.stack(
            [_rounded(one, bits) for one in weights]) if weights.ndim > 1 else _rounded(weights, bits),
        "The step goes from the smallest to the largest weight. Here it is the same on both sides of 0: the largest "
        "absolute value divided by the largest whole number.": lambda weights, bits: _rounded(
            weights, bits, levels=lambda b: 2**b - 1, largest=lambda w: w.max() - w.min())},
    errors={"has no attribute 'item'": "weights is a tensor: weights.abs().max()."},
    hints=("How large is one step, if the largest absolute weight is to become the largest whole number?",
           "step = weights.abs().max() / (2 ** (bits - 1) - 1). weights / step, rounded, are the whole numbers; times "
           "the step, they are weights again.",
           "step = weights.abs().max() / (2 ** (bits - 1) - 1)\n"
           "return (weights / step).round() * step"))
