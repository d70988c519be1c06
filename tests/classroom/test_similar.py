"""Copies are found, also with other names, spaces and comments; what all students write alike is not."""

import random
import shutil

import pytest
from nbformat.v4 import new_code_cell

from seglab.classroom.similar import pieces, similar
from seglab.errors import DataError
from tests.classroom.toy import hand_in, submission, toy_course

LONG = """
def double(values):
    result = []
    for number, value in enumerate(values):  # go on
        if value is None or number % 3 == 1:
            result.append(value)
        else:
            result += [value * 2, {name: value for name in 'abc'}]
    return [one for one in result if one not in (None, 7)][::-1]
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    course = toy_course(tmp_path_factory.mktemp("similar") / "course")
    hand_in(course, "first", submission(course, {"double": LONG}))
    renamed = LONG.replace("values", "xs").replace("result", "out").replace("number", "i").replace("  # go on", "")
    hand_in(course, "copy", submission(course, {"double": "# mine\n\n" + renamed.replace("7", "9")}))
    words = ["x + {}", "x * {} - {}", "max(x, {})", "[x, {}]", "x ** {} / {}", "{{x: {}}}", "(x, {}, {})", "-x + {}",
             "abs(x - {})", "x if x > {} else {}", "str(x)[{}:]", "x @ {}", "not x or {}", "x << {}"]
    for student in range(9):
        rng = random.Random(student)
        lines = [f"    x = {rng.choice(words)}".format(*range(1, 4)) for _ in range(12)]
        hand_in(course, f"other{student}", submission(course, {"double": "\n".join(["def double(x):", *lines])}))
    hand_in(course, "broken", "{")
    return course


def test_a_copy_with_other_names_is_first_and_unusual(course):
    first, second, *_ = similar(course.root, "toy")
    assert {first.first, first.second} == {"first", "copy"}
    assert first.share > 0.95
    assert first.unusual
    assert first.cells == ["double"]
    assert not second.unusual


def test_a_copy_that_is_moved_to_an_added_cell_is_found(course):
    moved = submission(course, {"double": "double = other"})
    moved.cells.insert(1, new_code_cell("!true\n" + LONG.replace("double", "other")))
    hand_in(course, "moved", moved)
    try:
        first = [pair for pair in similar(course.root, "toy", 200) if {pair.first, pair.second} == {"first", "moved"}]
        assert first[0].share > 0.95
    finally:
        shutil.rmtree(course.root / "submitted" / "moved")


def test_short_answers_that_all_write_alike_are_no_copies(course):
    assert all("half" not in pair.cells for pair in similar(course.root, "toy", most=100))


def test_names_numbers_strings_comments_and_spaces_do_not_count():
    assert pieces("total = sum(a[i] * 2 for i in b)") == pieces("s=sum(x[k]*3 for k in values)  # the sum")
    assert pieces("if a:\n  b = 'x' + c[1:] * d") == pieces("if q:\n\n        r = 'y' + s[5:] * t")
    assert pieces("a = b + c[1:] * d - e") != pieces("a = b - c[1:] * d - e")
    assert pieces("def f(:") == set()


def test_one_submission_cannot_be_compared(tmp_path):
    course = toy_course(tmp_path / "course")
    hand_in(course, "ada", submission(course))
    with pytest.raises(DataError, match="two or more"):
        similar(course.root, "toy")
    shutil.rmtree(course.root / "release")
    with pytest.raises(DataError, match="the released assignment"):
        similar(course.root, "toy")
