"""Run a learner's code so that it cannot hurt: endless loops end, errors become sentences, random numbers stay."""

from __future__ import annotations

import contextlib
import ctypes
import io
import random
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

#: Seconds that all calls of a check may take together.
SECONDS = 1.5
_LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, str(Path(__file__).parents[1]))
_MEANINGS = {
    "Boolean value of Tensor": "Python's `and`, `or` and `if` want one value. For whole tensors write & and |, with "
                               "brackets: (a == 1) & (b == 2).",
    "truth value of an array": "Python's `and`, `or` and `if` want one value. For whole arrays write & and |, with "
                               "brackets: (a == 1) & (b == 2).",
    "before Module.__init__()": "The first line of __init__ must be super().__init__().",
    "__init__() takes": "Leave the lines with `def` as they are given. super().__init__() is called without "
                        "arguments.",
    "forward() takes": "Leave the lines with `def` as they are given.",
    '"forward" function': "The class has no method forward. Check its spelling and its indentation.",
    "has no attribute 'conv'": "self.conv is not set in __init__. Is `self.` missing?",
    "(ReLU, ": "nn.ReLU(x) makes a layer and does not apply it. Write F.relu(x).",
    "stack expects each tensor": "The pictures have different sizes and cannot be stacked: go through them one by one.",
    "255 is out of bounds": "255 is not a class: leave the ignored pixels out first.",
    "scalar type Long": "Class ids must be int64 here: mask.long(). (And the logits come first, then the mask.)",
    "not implemented for 'Long'": "Are the arguments exchanged? The logits come first, then the mask.",
    "int32/int64": "Class ids must be int64 here: mask.long().",
    "must be long, int": "Class ids must be int64 here: mask.long().",
    "too many indices": "A uint8 tensor as an index is read as True and False. Convert it: .long().",
    "The shape of the mask": "A uint8 tensor as an index is read as True and False. Convert it: .long().",
    "only supports 1-d": "torch.bincount wants a single axis: mask.flatten().",
    "only for scalar outputs": "The loss has a value for each pixel. Take their mean first.",
    "'float' object has no attribute 'backward'": "loss.item() is a plain number. Call loss.backward() before it.",
    "does not require grad": "The loss has no gradient. Is the network called in torch.no_grad(), was something "
                             "detached, or does argmax come before the loss?",
    "class probabilities, got": "F.cross_entropy wants the logits, not the classes of argmax.",
    "to have 23 channels": "nn.Conv2d takes the channels that come in first, then those that go out.",
    "invalid data type 'str'": "This model returns the logits themselves.",
}


class _TooLongError(BaseException):
    """Raised inside code that runs too long. No Exception: `except Exception` in a loop must not stop it."""


class RefusedError(Exception):
    """Raised by a check that cannot compare an answer: what is wrong with it, as a sentence."""


class Ran(NamedTuple):
    """What came of a call: its value, or else what went wrong, as a sentence; and what it printed.

    `stub` is the name of the function that nobody has written yet, if one was called.
    """

    value: Any = None
    problem: str | None = None
    printed: str = ""
    stub: str | None = None


def call(function: Callable[[], Any], seconds: float = SECONDS, errors: Mapping[str, str] | None = None,
         together: float | None = None) -> Ran:
    """Call a learner's code; whatever it raises or prints, and however long it runs, this returns.

    `errors` are {a part of an exception's text: what it means}, before those that are known everywhere. `together` are
    the seconds of several calls, of which `seconds` are left.
    """
    printed, stub, value, problem = io.StringIO(), None, None, None
    try:
        with (_state_kept(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()),
              _time_limit(seconds)):
            value = function()
    except _TooLongError:
        problem = (f"It took longer than {together or seconds:g} s. Is there a loop that does not end, or one over "
                   "single pixels? (If it imports a library, run this cell once more.)")
    except (Exception, SystemExit) as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(_LIBRARIES)]
        problem = _in_words(error, frames, errors or {})
        if isinstance(error, NotImplementedError) and not str(error) and frames:  # torch raises it, too, with words
            stub = frames[-1].name
    lines = printed.getvalue().splitlines()
    return Ran(value, problem, "\n".join([line[:120] for line in lines[:8]] + ["…"] * (len(lines) > 8)), stub)


def _in_words(error: BaseException, frames: Sequence[traceback.FrameSummary], errors: Mapping[str, str]) -> str:
    """An exception with the line of the learner's that led to it: the last one of no library's."""
    message = str(error).splitlines()[0][:160] if str(error) else ""
    if isinstance(error, RefusedError):
        return message[0].upper() + message[1:] + "." * (message[-1] not in ".?…")
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    meaning = next((f"\n{words}" for part, words in [*errors.items(), *_MEANINGS.items()] if part in text), "")
    if not frames:
        return f"It stops with {text}{meaning}"
    source = f"\n    {frames[-1].line}" if frames[-1].line else ""
    return f"Line {frames[-1].lineno}, in {frames[-1].name}, stops with {text}{source}{meaning}"


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_TooLongError` in this thread after some seconds, and again, should the code catch it."""
    thread, ended = ctypes.c_ulong(threading.get_ident()), threading.Event()

    def watch() -> None:
        ended.wait(seconds)
        while not ended.is_set():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TooLongError))
            ended.wait(0.05)

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        watcher.start()
        yield
    finally:
        while True:  # it may be raised here, too, as long as the watcher lives
            try:
                ended.set()
                watcher.join()
                # One that is on its way comes here. (Taken back with SetAsyncExc(…, None), Python 3.11 goes on to look
                # for it at each step, and never ends under a profiler or a debugger.)
                for _ in range(3):
                    pass
                break
            except _TooLongError:
                continue


@contextlib.contextmanager
def _state_kept() -> Iterator[None]:
    """The same random numbers afterwards as without the check, and for the code the same ones in every check."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state(), torch.is_grad_enabled()
    dtype = torch.get_default_dtype()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said by the check, in words
            random.seed(0)
            np.random.seed(0)
            torch.default_generator.manual_seed(0)
            torch.set_grad_enabled(True)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_grad_enabled(states[3])
        torch.set_default_dtype(dtype)
