"""What a check is: cases with known answers, known mistakes, and hints; and how it tells a learner what is wrong."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch

from seglab.checks.guard import SECONDS, Ran, call


class Verdict(NamedTuple):
    """What a check found: whether all is right, and the text for the learner."""

    passed: bool
    text: str


class Case(NamedTuple):
    """One call with a known answer.

    Attributes:
        what: it is about, in some words.
        args: of the call.
        shown: of the arguments, what a learner sees if the case fails; by default all that is small.
    """

    what: str
    args: tuple[Any, ...]
    shown: str | None = None


class StopCells(Exception):  # noqa: N818  # it is no error: it keeps "Run All" from going on to cells that must fail
    """A check has said what is wrong; the cells below need what is to be written."""

    def _render_traceback_(self) -> list[str]:
        return ["The cells below wait until this check passes."]


@dataclass(frozen=True)
class Exercise:
    """The check of something that a learner writes; call it with the answer.

    Attributes:
        name: of the check, as in `check.hint(name)`.
        cases: calls to compare.
        right: the right answer, which says what is expected.
        mistakes: {what is wrong, as a sentence: an answer, or several, that makes this mistake}, the most telling
            first. Who gives the same in all cases is told the sentence; else who gives the same up to the first case
            that fails, if there is a case before it.
        hints: three, from a nudge to nearly all.
        errors: {a part of an exception's text: what it means here, as a sentence}.
        run: (answer, *args) -> what is compared: a value, or {name: value}. By default the answer is called.
    """

    name: str
    cases: Sequence[Case]
    right: Callable[..., Any]
    mistakes: Mapping[str, Callable[..., Any] | Sequence[Callable[..., Any]]]
    hints: tuple[str, str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    run: Callable[..., Any] = field(default=lambda answer, *args: answer(*args))

    def __call__(self, answer: Any) -> None:
        """Print what passed, or the first case that does not and why. In a notebook, cells below then wait."""
        verdict = self.verdict(answer)
        print(verdict.text)
        if not verdict.passed and _in_notebook():
            raise StopCells

    def verdict(self, answer: Any) -> Verdict:
        """The same, without printing it."""
        if not callable(answer):
            return Verdict(False, f"✗ {self.name}: expected a function or a class, found {_short(answer)}. Pass its "
                                  "name alone, without brackets.")
        return self.judged(self.results(answer), getattr(answer, "__name__", ""))

    def results(self, answer: Any, seconds: float = SECONDS) -> list[Ran]:
        """What the answer gives in each case, up to the first that stops; together they may take some seconds."""
        # Of the right one first, since that also imports.
        call(partial(self.run, self.right, *copy.deepcopy(self.cases[0].args)), 60)
        return run_cases(self.run, answer, self.cases, self.errors, seconds)

    def judged(self, results: Sequence[Ran], name: str = "") -> Verdict:
        """The verdict about results; `name` is that of the function or class that gave them."""
        if (wrong := self.first_wrong(results)) is not None:
            return Verdict(False, self._failure(name, *wrong, results))
        count = len(self.cases)
        return Verdict(True, "\n".join([f"✓ {self.name}: {count} of {count} cases are right",
                                        *(f"  ✓ {case.what}" for case in self.cases)]))

    def first_wrong(self, results: Sequence[Ran]) -> tuple[int, Any, str] | None:
        """(number of the case, what is expected, how the result differs, as a sentence); None if all are right."""
        # Like the answer's, in a call of its own, since networks draw their weights.
        wanted = [call(partial(self.run, self.right, *copy.deepcopy(case.args)), 60).value for case in self.cases]
        for number, (ran, expected) in enumerate(zip(results, wanted, strict=False)):
            if (difference := ran.problem or _difference(ran.value, expected)) is not None:
                return number, expected, difference
        return None

    def _failure(self, name: str, number: int, expected: Any, difference: str, results: Sequence[Ran]) -> str:
        from seglab.editions import STUB  # here: reading notebooks takes two seconds to import

        case, ran = self.cases[number], results[number]
        hint = f'check.hint("{self.name}") gives a hint.'
        if ran.stub is not None and ran.stub not in {name, "__init__", "forward"}:
            return f"○ {self.name}: your {ran.stub} is not written yet, and is needed here."
        if ran.stub is not None:
            return (f"○ {self.name}: it is your turn. Replace the line `{STUB.splitlines()[-1]}` above by your "
                    f"code, run that cell, and then this one.\n  {hint}")
        lines = [f"✗ {self.name}: {number} of {len(self.cases)} cases are right. The first that is not:"]
        lines += [f"  ✓ {before.what}" for before in self.cases[:number]]
        lines += [f"  ✗ {case.what}"]
        for name, value in zip(signature(self.right).parameters, case.args, strict=False) if case.shown is None else ():
            if (array := _array(value)) is None or array.size <= 64:
                lines += _indented(f"{name}: ", _short(value))
        lines += [f"      {line}" for line in (case.shown or "").splitlines()]
        known = None
        if ran.problem is None:
            parts = ran.value, expected
            if isinstance(expected, Mapping):  # of several values, the first that differs
                name = next(name for name, value in expected.items() if _difference(ran.value[name], value))
                parts = ran.value[name], expected[name]
                lines += [f"      {name}:"]
            lines += [*_indented("yours:    ", _short(parts[0])), *_indented("expected: ", _short(parts[1]))]
            known = self.mistake(results)
            if known is None and number and (perhaps := self.mistake(results[:number + 1])):
                known = f"Perhaps this: {perhaps}"
        lines += [f"  {line}" for line in (known or difference).splitlines()]
        if ran.printed:
            lines += ["  Your code printed:", *_indented("", ran.printed.rstrip())]
        return "\n".join([*lines, f"  {hint}"])

    def mistake(self, results: Sequence[Ran]) -> str | None:
        """The known mistake that gives exactly these results, where there is one."""
        finished = [(case, ran) for case, ran in zip(self.cases, results, strict=False) if ran.problem is None]
        for sentence, answers in self.mistakes.items():
            for wrong in [answers] if callable(answers) else answers:
                known = (call(partial(self.run, wrong, *copy.deepcopy(case.args))) for case, _ in finished)
                if finished and all(one.problem is None and _difference(ran.value, one.value) is None
                                    for (_, ran), one in zip(finished, known, strict=True)):
                    return sentence
        return None


def run_cases(run: Callable[..., Any], answer: Any, cases: Sequence[Case], errors: Mapping[str, str],
              seconds: float = SECONDS) -> list[Ran]:
    """What an answer gives in each case, up to the first that stops; together they may take some seconds."""
    deadline, results = time.monotonic() + seconds, []
    for case in cases:
        args = copy.deepcopy(case.args)
        ran = call(partial(_listed, run, answer, *args), max(0.05, deadline - time.monotonic()), errors,
                   together=seconds)
        if ran.problem is None and not _same_arguments(args, case.args):
            ran = ran._replace(problem="It changes its arguments. Work on a copy: whoever calls it needs them as "
                                       "they were.")
        results.append(ran)
        if ran.problem is not None:
            break
    return results


def _listed(run: Callable[..., Any], *args: Any) -> Any:
    """What a run gives, with the values of an iterator in a list; here, since one may be endless."""
    found = run(*args)
    return list(found) if isinstance(found, (Iterator, KeysView, ValuesView)) else found


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return get_ipython() is not None


def _array(value: Any) -> np.ndarray | None:
    """A number, a tensor or a sequence of numbers as an array; None for what is none of them."""
    if isinstance(value, torch.Tensor) and value.device.type != "meta":
        value = value.detach().cpu()
    try:
        found = np.asarray(value)
    except Exception:  # what an object says to it is its own affair
        return None
    return found if found.dtype.kind in "biuf" else None


def _difference(found: Any, expected: Any) -> str | None:
    """How a result differs from the expected one, as a sentence; None if it does not, but for rounding."""
    if isinstance(expected, Mapping):
        for name, value in expected.items():
            if (text := _difference(found[name], value)) is not None:
                few = found[name] is not None and (array := _array(value)) is not None and array.size <= 8
                return f"{name}: {_short(found[name])} instead of {_short(value)}." if few else f"{name}: {text}"
        return None
    if found is None:
        return "It returns nothing. Is there a `return`?"
    array, wanted = _array(found), _array(expected)
    assert wanted is not None  # checks compare numbers
    if array is None:
        return f"Expected {_kind(wanted)}, found {_short(found)}."
    if wanted.ndim == 0 and array.size == 1:
        array = array.reshape(())  # a list or tensor with one number will do
    if array.shape != wanted.shape:
        turned = array.shape == wanted.shape[::-1] and array.ndim > 1
        return ("It returns several numbers, and should return one." if wanted.ndim == 0 else
                f"The shape is {array.shape}, and should be {wanted.shape}."
                + (" Are the axes exchanged?" if turned else ""))
    if _close(array, wanted):
        return None
    if not np.array_equal(np.isnan(array), np.isnan(wanted)):
        return ("NaN stands where a number should be." if (np.isnan(array) & ~np.isnan(wanted)).any() else
                "A number stands where NaN should be.")
    zeros = np.where(np.isnan(wanted), wanted, 0.0)
    for sentence, other in (("It is a hundred times what it should be: a share lies between 0 and 1.", wanted * 100.0),
                            ("The sign is wrong.", -1.0 * wanted),
                            ("All values are 0." + " Is it a division of whole numbers, //?" * bool(
                                (wanted != np.round(wanted)).any()), zeros),
                            ("Rows and columns are exchanged.", wanted.T if wanted.ndim == 2 else wanted),
                            ("The order of the last axis is reversed.", wanted[..., ::-1] if wanted.ndim else wanted)):
        if other.shape == array.shape and _close(array, other):
            return sentence
    wrong = int((~np.isclose(array, wanted, 1e-4, 1e-5, equal_nan=True)).sum())
    return f"{wrong} of {wanted.size} values {'is' if wrong == 1 else 'are'} wrong." if wanted.ndim else (
        "The value is wrong.")


def _close(array: np.ndarray, wanted: np.ndarray) -> bool:
    return np.allclose(array.astype(np.float64), wanted.astype(np.float64), 1e-4, 1e-5, equal_nan=True)


def _kind(wanted: np.ndarray) -> str:
    return "a number" if wanted.ndim == 0 else f"an array or tensor of shape {wanted.shape}"


def _same_arguments(before: Any, after: Any) -> bool:
    if isinstance(before, (list, tuple)):
        return len(before) == len(after) and all(map(_same_arguments, before, after))
    array, other = _array(before), _array(after)
    return array is None or other is None or (array.shape == other.shape and np.array_equal(
        array, other, equal_nan=array.dtype.kind == "f"))


def _short(value: Any) -> str:
    """A value in a few lines."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_short(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (int, float)):
        return "\n".join(_short(one) for one in value)
    array = _array(value)
    if array is None:
        text = repr(value) if type(value).__module__ == "builtins" else f"a {type(value).__name__}"
        return text if len(text) <= 80 else f"{text[:77]}…"
    if array.size > 64:
        return f"shape {array.shape}"
    return np.array2string(array, precision=4, suppress_small=True)


def _indented(name: str, text: str) -> list[str]:
    """A value behind its name; further lines of it stand under the first."""
    first, *rest = text.splitlines() or [""]
    return [f"      {name}{first}", *(f"      {' ' * len(name)}{line}" for line in rest)]
