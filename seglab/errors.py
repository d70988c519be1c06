"""Errors that a student can act on: what was expected, what was found, and the next step."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text as every terminal and file can hold it: where a file's name is no UTF-8, its bytes are written out.

    Example:
        >>> printable("caf\\udce9.png")
        'caf\\\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode()


class SeglabError(Exception):
    """Base of every error that seglab raises on purpose.

    The message names the file or argument, what was found, what was expected and what to do next.
    Catch this class to catch them all.

    Args:
        what: the file or argument, and what is wrong with it.
        found: what was there.
        expected: what should have been there.
        fix: the next step for the reader.

    Example:
        >>> print(SeglabError("mask.png", found="class id 31", expected="ids 0 to 22 or 255",
        ...                   fix="Check the label set."))
        mask.png
          found:    class id 31
          expected: ids 0 to 22 or 255
          next:     Check the label set.
    """

    def __init__(self, what: str, *, found: object = None, expected: object = None,
                 fix: str | None = None) -> None:
        lines = [str(what)]
        if found is not None:
            lines.append(f"  found:    {found}")
        if expected is not None:
            lines.append(f"  expected: {expected}")
        if fix is not None:
            lines.append(f"  next:     {fix}")
        super().__init__(printable("\n".join(lines)))


class ArgumentError(SeglabError, ValueError):
    """An argument has a value or shape that the function cannot use."""


class DataError(SeglabError):
    """A picture, a mask or a dataset folder cannot be used as it is."""


class CacheError(SeglabError):
    """A cache on disk cannot be read or written."""


class CheckpointError(SeglabError):
    """A checkpoint cannot be read, does not fit, or cannot be written."""


class WriteError(SeglabError, OSError):
    """A file or folder cannot be written: no room, no right, no such folder.

    `errno` and `strerror` are the system's.
    """

    def __str__(self) -> str:
        return str(self.args[0])  # OSError's own would show nothing but these two


class TrainingError(SeglabError):
    """Training cannot go on, for instance because the loss is no longer a number."""


def first_line(error: BaseException) -> str:
    """What an error says, or its name if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
