"""Visible tests of assignments: `expect` compares, and names the mistake; `student` and `seed_of` for own data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from seglab.checks.exercise import _difference, _short


class WrongAnswer(AssertionError):  # noqa: N818  # it is no error of the program
    """A visible test has found something wrong; in a notebook only its words are shown."""

    def _render_traceback_(self) -> list[str]:
        return [f"✗ {self}"]


def expect(found: Any, expected: Any, what: str, mistakes: Mapping[str, Any] | None = None) -> None:
    """Compare a result with the right one.

    Args:
        found: number, array, tensor or list of them.
        expected: the right value.
        what: is compared, in some words.
        mistakes: {what is wrong, as a sentence: the value that this gives}.

    Raises:
        WrongAnswer: they differ by more than rounding.

    Example:
        >>> expect(0.5, 0.5, "half of the pixels")
        >>> expect(50.0, 0.5, "half of the pixels")
        Traceback (most recent call last):
        seglab.checks.visible.WrongAnswer: half of the pixels: found 50., expected 0.5.
        It is a hundred times what it should be: a share lies between 0 and 1.
    """
    if (difference := _difference(found, expected)) is None:
        return
    known = next((sentence for sentence, value in (mistakes or {}).items() if _difference(found, value) is None), None)
    lines = _short(found), _short(expected)
    shown = (f"found {lines[0]}, expected {lines[1]}." if "\n" not in "".join(lines) else
             f"found\n{lines[0]}\nexpected\n{lines[1]}")
    raise WrongAnswer(f"{what}: {shown}\n{known or difference}")


def student(name: str) -> str:
    """Whose notebook this is: the name, or while it is graded, the one under which it was handed in.

    Raises:
        WrongAnswer: the name is empty.

    Example:
        >>> student("ada")
        'ada'
    """
    name = os.environ.get("SEGLAB_STUDENT") or name
    if not isinstance(name, str) or not name.strip():
        raise WrongAnswer("STUDENT: your name is missing. Write it between the quotation marks, as your teacher has it "
                          "in the list.")
    return name


def seed_of(name: str) -> int:
    """The number with which a student's own data are drawn; spaces around the name, and capitals, do not matter.

    Example:
        >>> seed_of("Ada") == seed_of(" ada ") != seed_of("Grace")
        True
    """
    return int.from_bytes(hashlib.sha256(name.strip().casefold().encode()).digest()[:4], "big") >> 1
