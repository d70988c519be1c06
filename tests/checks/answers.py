"""What is asked of every check, for the tests of each lesson's."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from seglab.checks import Exercise


def assert_recognises(exercises: Mapping[str, Exercise], others: Mapping[str, Sequence[Callable[..., Any]]],
                      wrong: Sequence[tuple[str, Callable[..., Any], str]]) -> None:
    """Right answers pass, also of other styles; each known mistake and each wrong answer is told what is wrong."""
    for name, exercise in exercises.items():
        assert len(exercise.mistakes) >= 5 and len(exercise.cases) >= 2 and len(set(exercise.hints)) == 3
        for answer in (exercise.right, *others[name], last_hint(exercise)):
            start = time.monotonic()
            verdict = exercise.verdict(answer)
            assert verdict.passed, verdict.text
            assert time.monotonic() - start < 30, "2 s on an idle machine; a loop over cases of thousands would show"
        for sentence, mistakes in exercise.mistakes.items():
            for mistake in [mistakes] if callable(mistakes) else mistakes:
                verdict = exercise.verdict(mistake)
                assert not verdict.passed and sentence in " ".join(verdict.text.split()), (name, sentence, verdict.text)
    told = [(name, words, exercises[name].verdict(answer)) for name, answer, words in wrong]
    assert not [each for each in told if each[2].passed or not re.search(each[1], each[2].text)]


def last_hint(exercise: Exercise) -> Callable[..., Any]:
    """The third hint, "nearly all", run as an answer."""
    code, scope = exercise.hints[2], {"F": F, "cv2": cv2, "double": nn.Upsample(scale_factor=2, mode="bilinear"),
                                      "nn": nn, "np": np, "torch": torch}
    if "self." in code and not code.startswith("class "):  # the class is given, and its forward is to be written
        names = ", ".join(signature(exercise.right.forward).parameters)
        code = f"class Answer(Right):\n    def forward({names}):\n{textwrap.indent(code, '        ')}"
        scope["Right"] = exercise.right
    elif not code.startswith("class "):
        names = ", ".join(one.name for one in signature(exercise.right).parameters.values()
                          if one.kind == one.POSITIONAL_OR_KEYWORD and one.default is one.empty)
        code = f"def answer({names}):\n{textwrap.indent(code, '    ')}"
    from seglab.checks import confusion_matrix
    from seglab.checks.deeplab import conv_block, mean_block

    # The lessons have them before they are needed.
    scope |= {"confusion_matrix": confusion_matrix.right, "conv_block": conv_block, "mean_block": mean_block}
    exec(code, scope)
    return scope["answer"] if "answer" in scope else scope[re.match(r"class (\w+)", code)[1]]
