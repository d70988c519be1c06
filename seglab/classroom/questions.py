"""Hidden tests: what is asked of a student's answer, and how the results are judged. The answer runs elsewhere.

A question has two halves. `ask` gives what the student's kernel needs: how an answer is called, and on what. `judge`
takes what came back; it needs the right answer, which therefore never gets into the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from seglab.checks.exercise import Case, Exercise, Verdict, run_cases
from seglab.checks.guard import Ran
from seglab.errors import ArgumentError

#: Seconds that an answer may take for all cases of a question.
SECONDS = 20.0


class Asked(NamedTuple):
    """What the student's kernel gets: `run(answer, *case.args)` for each case."""

    run: Callable[..., Any]
    cases: Sequence[Case]
    errors: Mapping[str, str]
    seconds: float = SECONDS


class Question(Protocol):
    """One hidden test."""

    @property
    def name(self) -> str:
        """As in `grade(name, answer)`."""

    def ask(self, student: str) -> Asked:
        """What the student's kernel is to do."""

    def judge(self, results: Sequence[Ran], student: str) -> Verdict:
        """Whether that is right; the text goes into the feedback and gives no expected value away."""


@dataclass(frozen=True)
class FunctionQuestion(Exercise):
    """A function or class that is right if it gives the same as ours in all cases."""

    hints: tuple[str, str, str] = ("", "", "")

    def ask(self, student: str) -> Asked:
        """The cases, which are the same for all."""
        return Asked(self.run, self.cases, self.errors)

    def judge(self, results: Sequence[Ran], student: str) -> Verdict:
        """Right in all cases; else what the first case that is not is about, and the mistake, if it is known."""
        wrong = self.first_wrong(results)
        if wrong is None:
            return Verdict(True, f"{self.name}: {len(self.cases)} of {len(self.cases)} hidden cases are right")
        number, _, difference = wrong
        if results[number].stub is not None:
            return Verdict(False, f"{self.name}: {results[number].stub} is not written")
        # A difference may quote expected values; a problem is the student's own exception.
        known = results[number].problem or self.mistake(results)
        if known is None and number and (perhaps := self.mistake(results[:number + 1])):
            known = f"Perhaps this: {perhaps}"
        if known is None and difference.startswith(("The shape is", "It returns nothing", "NaN stands", "A number")):
            known = difference
        return Verdict(False, f"{self.name}: wrong in the hidden case \"{self.cases[number].what}\""
                              + (f". {known}" if known else ""))


@dataclass(frozen=True)
class NumberQuestion:
    """A number, or an array of them, that is found on the student's own data.

    Attributes:
        name: as in `grade(name, answer)`.
        right: student -> the right value.
        mistakes: {what is wrong, as a sentence: student -> the value that this gives}.
        tolerance: how far, at most, the answer may be away.
    """

    name: str
    right: Callable[[str], Any]
    mistakes: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    tolerance: float = 1e-4

    def ask(self, student: str) -> Asked:
        """The value itself."""
        return Asked(_itself, [Case("the number", ())], {})

    def judge(self, results: Sequence[Ran], student: str) -> Verdict:
        """Right if it is close to the right value for this student."""
        if (problem := results[0].problem) is not None:
            return Verdict(False, f"{self.name}: {problem}")
        try:
            found = np.asarray(results[0].value, dtype=np.float64)
        except (TypeError, ValueError):
            return Verdict(False, f"{self.name}: expected a number, found {str(results[0].value)[:80]!r}")
        right = np.asarray(self.right(student), dtype=np.float64)
        if found.shape != right.shape:
            return Verdict(False, f"{self.name}: expected "
                                  + (f"an array of shape {right.shape}" if right.ndim else "one number")
                                  + f", found shape {found.shape}")
        if self._close(found, right):
            return Verdict(True, f"{self.name}: right for the data of {student}")
        for sentence, wrong in self.mistakes.items():
            if self._close(found, np.asarray(wrong(student), dtype=np.float64)):
                return Verdict(False, f"{self.name}: {sentence}")
        return Verdict(False, f"{self.name}: not the value for the data of {student}")

    def _close(self, one: np.ndarray, other: np.ndarray) -> bool:
        return one.shape == other.shape and np.allclose(one, other, rtol=0, atol=self.tolerance, equal_nan=True)


@dataclass(frozen=True)
class ScoreQuestion:
    """Something that has to reach a score on the student's own data, such as a trained network.

    Attributes:
        name: as in `grade(name, answer)`.
        what: is asked, in some words.
        data: student -> arguments.
        run: (answer, *arguments) -> what the answer says, such as masks.
        score: (what it says, student) -> the score; more is better.
        floor: student -> the score that is to be reached.
        seconds: that `run` may take.
    """

    name: str
    what: str
    data: Callable[[str], tuple[Any, ...]]
    run: Callable[..., Any]
    score: Callable[[Any, str], float]
    floor: Callable[[str], float]
    seconds: float = 60.0

    def ask(self, student: str) -> Asked:
        """One case: the student's data."""
        return Asked(self.run, [Case(self.what, self.data(student))], {}, self.seconds)

    def judge(self, results: Sequence[Ran], student: str) -> Verdict:
        """Right if the score is reached."""
        if (problem := results[0].problem) is not None:
            return Verdict(False, f"{self.name}: {problem}")
        try:
            score = float(self.score(results[0].value, student))
        except (TypeError, ValueError, RuntimeError, IndexError, KeyError) as error:
            return Verdict(False, f"{self.name}: what it returns cannot be scored: {str(error)[:160]}")
        floor = self.floor(student)
        return Verdict(score >= floor, f"{self.name}: {self.what} reaches {score:.3f}, {floor:.3f} is asked")


def _itself(answer: Any) -> Any:
    return answer


def grade(questions: Mapping[str, Question], name: str, answer: Any, student: str) -> None:
    """Ask and judge in this process: for the masters, which their makers trust.

    Raises:
        AssertionError: the answer is wrong.
        ArgumentError: no such question.
    """
    if name not in questions:
        raise ArgumentError("question", found=repr(name), expected=f"one of {', '.join(questions)}")
    asked = questions[name].ask(student)
    verdict = questions[name].judge(run_cases(asked.run, answer, asked.cases, asked.errors, asked.seconds), student)
    assert verdict.passed, verdict.text
