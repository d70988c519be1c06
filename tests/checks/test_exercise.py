"""What checks do with any answer: stubs, errors, endless loops, and what must stay as it was."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from seglab import checks
from seglab.checks import EXERCISES, Case, Exercise
from seglab.checks.exercise import run_cases
from seglab.checks.guard import call
from seglab.errors import ArgumentError

DOUBLE = Exercise("double", [Case("a number", (2.0,)), Case("a row", (torch.tensor([1.0, 2.0]),))],
                  right=lambda x: 2 * x, mistakes={"This squares.": lambda x: x**2},
                  hints=("Think.", "Multiply.", "return 2 * x"), errors={"division": "Nothing is to be divided."})


def not_written(x):
    """Twice a number."""
    raise NotImplementedError


def endless(x):
    while True:
        with contextlib.suppress(Exception):
            time.perf_counter()


def stubborn(x):
    while True:
        with contextlib.suppress(BaseException):
            time.perf_counter()


def changes(x):
    if isinstance(x, torch.Tensor):
        x *= 2
        return x
    return 2 * x


def leaves(x):
    raise SystemExit


def calls_a_stub(x):
    return not_written(x)


def ambiguous(x):
    return 2 * x if torch.ones(2) > 0 and x is not None else x


def broken(x):
    y = [x]
    return y["key"]


@pytest.mark.parametrize(("answer", "words"), [
    (not_written, "○ double: it is your turn"), (lambda x: None, "returns nothing"), (lambda x: "four", "found 'four'"),
    (lambda x: x**2, "This squares."), (lambda x: -2 * x, "sign is wrong"), (lambda x: 200 * x, "a hundred times"),
    (lambda x: x / 0, "Nothing is to be divided."), (leaves, "stops with SystemExit"),
    (calls_a_stub, "your not_written is not written yet"), (ambiguous, r"write & and \|"),
    (endless, "took longer than 1.5 s"), (stubborn, "took longer than 1.5 s"),
    (changes, "changes its arguments"), (lambda x: x * torch.ones(3), "several numbers"),
    (lambda x: torch.nan * x, "NaN stands"), (4, "found 4. Pass its name alone")],
    ids=lambda value: value if isinstance(value, str) else "")  # workers must agree, and functions have addresses
def test_what_is_wrong_is_said(answer, words):
    start = time.monotonic()
    verdict = DOUBLE.verdict(answer)
    assert not verdict.passed
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(verdict.text)
    assert time.monotonic() - start < 30, "2 s on an idle machine"
    assert "Traceback" not in verdict.text


def test_a_check_that_ran_too_long_leaves_nothing_behind():
    threads = threading.active_count()
    for seconds in (0.001, 0.01, 0.02, 0.03):
        assert "took longer" in call(lambda: endless(1), seconds).problem
        assert threading.active_count() == threads
        time.sleep(0.1)  # an exception that was late would come here


def test_after_a_check_profilers_and_debuggers_work():
    code = ("import cProfile; from seglab.checks.guard import call\n"
            "call(int); call(lambda: exec('while True: pass'), 0.05)\n"
            "with cProfile.Profile(): sum(i for i in range(3))\nprint('done')")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "done\n"


def test_the_time_of_all_cases_together_is_named():
    cases = [Case("short", (0.1,)), Case("long", (0.5,))]
    last = run_cases(lambda answer, seconds: answer(seconds), time.sleep, cases, {}, seconds=0.2)[-1]
    assert "took longer than 0.2 s" in last.problem


def test_an_error_is_named_with_the_line_that_led_to_it():
    text = DOUBLE.verdict(broken).text
    line = broken.__code__.co_firstlineno + 2
    assert f"Line {line}, in broken, stops with TypeError: list indices" in text and 'return y["key"]' in text


def test_what_passes_is_listed(capsys):
    DOUBLE(lambda x: x + x)
    assert capsys.readouterr().out.splitlines() == ["✓ double: 2 of 2 cases are right", "  ✓ a number", "  ✓ a row"]
    DOUBLE(lambda x: x + 2)  # right for 2 alone; outside of notebooks nothing is raised
    assert capsys.readouterr().out.splitlines()[:6] == [
        "✗ double: 1 of 2 cases are right. The first that is not:", "  ✓ a number", "  ✗ a row", "      x: [1. 2.]",
        "      yours:    [3. 4.]", "      expected: [2. 4.]"]


def test_prints_are_shown_where_something_is_wrong():
    def talks(x):
        for _ in range(99):
            print("x is", x)
        return x

    text = DOUBLE.verdict(talks).text
    assert "Your code printed:\n      x is 2.0\n" in text and text.count("x is 2.0") == 8 and "…" in text


def test_random_state_is_left_alone_and_the_same_in_each_check():
    seen = []

    def draws(x):
        seen.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
        return 2 * x

    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(5)
    wanted = random.random(), float(np.random.rand()), float(torch.rand(()))
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(5)
    for _ in range(2):
        assert DOUBLE.verdict(draws).passed
    assert EXERCISES["single_conv"].verdict(EXERCISES["single_conv"].right).passed  # networks draw their weights
    assert (random.random(), float(np.random.rand()), float(torch.rand(()))) == wanted
    assert seen[:2] == seen[2:]


def test_hints_come_one_after_the_other(capsys):
    checks._given.clear()
    for level in (1, 2, 3, 3):
        checks.hint("iou")
        assert capsys.readouterr().out == f"Hint {level} of 3:\n{EXERCISES['iou'].hints[level - 1]}\n"
    checks.hint("iou", 1)
    assert "Hint 1 of 3" in capsys.readouterr().out
    for wrong in (("ious",), ("iou", 4), ("iou", 0)):
        with pytest.raises(ArgumentError):
            checks.hint(*wrong)
    with pytest.raises(ArgumentError, match="'ious'"):
        checks.solution("ious")
