"""Pairs of submissions whose code is suspiciously alike, for a person to look at."""

from __future__ import annotations

import io
import keyword
import re
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from seglab.classroom.collect import read_notebook, shown
from seglab.errors import DataError

#: Tokens of a piece of code that are compared as one.
_LENGTH = 8
_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
            tokenize.ENDMARKER}


class Pair(NamedTuple):
    """Two submissions: the share of their rare pieces of code that both have, and in which cells."""

    first: str
    second: str
    share: float
    unusual: bool
    cells: list[str]


def similar(course: Path, assignment: str, most: int = 20) -> list[Pair]:
    """The pairs that share most, the most alike first.

    Code is compared without names, numbers, strings, comments and spaces: runs of 8 tokens of the cells in which
    students write, and of cells that they added. What the release holds, and what more than a third of all have (and
    more than two), does not count: short exercises have one natural answer. "Unusual" is a share above 0.3 and far
    above those of the other pairs: more than six median absolute deviations above the median.

    Args:
        course: the course's folder.
        assignment: its name.
        most: pairs.

    Raises:
        DataError: fewer than two submissions, or no release.
    """
    released = course / "release" / assignment / f"{assignment}.ipynb"
    if not released.is_file():
        raise DataError(f"{released}", found="nothing", expected="the released assignment",
                        fix=f"seglab classroom release {course} {assignment}")
    release = _cells(released)
    paths = sorted((course / "submitted").glob(f"*/{assignment}/{assignment}.ipynb"))
    of: dict[str, dict[str, set[tuple[str, ...]]]] = {}
    for path in paths:
        try:
            written = _cells(path)
        except Exception:  # not a notebook: nothing to compare; `grade` reports it
            continue
        of[shown(path.parts[-3])] = {name: pieces(source) - pieces(release.get(name, ""))
                                     for name, source in written.items()}
    if len(of) < 2:
        raise DataError(f"submissions of {assignment}", found=len(of), expected="two or more that can be read")
    own = {student: set().union(*cells.values()) for student, cells in of.items()}
    counts = Counter(piece for found in own.values() for piece in found)
    common = {piece for piece, count in counts.items() if count > max(2, len(of) / 3)}
    rare = {student: found - common for student, found in own.items()}
    pairs = []
    for first, second in combinations(sorted(of), 2):
        shared = rare[first] & rare[second]
        smaller = min(len(rare[first]), len(rare[second]))
        share = len(shared) / smaller if smaller >= 3 * _LENGTH else 0.0
        both = [name for name in of[first] if len((of[first][name] & of[second].get(name, set())) & shared) >= _LENGTH]
        pairs.append(Pair(first, second, share, False, both))
    middle = statistics.median(pair.share for pair in pairs)
    spread = statistics.median(abs(pair.share - middle) for pair in pairs)
    pairs = [pair._replace(unusual=pair.share > max(0.3, middle + 6 * spread)) for pair in pairs]
    return sorted(pairs, key=lambda pair: -pair.share)[:most]


def pieces(source: str) -> set[tuple[str, ...]]:
    """Runs of tokens, without names, numbers and strings.

    Example:
        >>> pieces("total = sum(a[i] * 2 for i in b)") == pieces("s=sum(x[k]*3 for k in values)  # the sum")
        True
    """
    words = list(_words(source))
    return {tuple(words[i:i + _LENGTH]) for i in range(max(0, len(words) - _LENGTH + 1))}


def _words(source: str) -> Iterable[str]:
    source = re.sub(r"^\s*[%!?].*", "", source, flags=re.MULTILINE)  # of IPython: tokenize may stop there
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in _SKIPPED:
                continue
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                yield "name"
            elif token.type in (tokenize.NUMBER, tokenize.STRING):
                yield "value"
            else:
                yield token.string
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return  # code that does not run: what came before is compared


def _cells(path: Path) -> Mapping[str, str]:
    """{grade_id: source} of the code cells in which students write; "added": of those that are not nbgrader's."""
    found: dict[str, str] = {}
    for cell in read_notebook(path).cells:
        about = cell.get("metadata", {}).get("nbgrader", {})
        if cell.cell_type == "code" and isinstance(about, Mapping) and (about.get("solution") or not about):
            name = shown(str(about.get("grade_id", "added")))[:80]
            found[name] = "\n".join([*([found[name]] if name in found else []), cell.source])
    return found
