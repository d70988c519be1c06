"""In the student's kernel: run an answer on the cases of a question, and send back what it gives, as plain data."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from seglab.checks.exercise import Case, run_cases
from seglab.checks.guard import Ran

#: The type under which the reply stands among the kernel's outputs.
MIME = "application/x-seglab-answers"
#: Bytes of arrays that a reply may hold.
MOST = 16_000_000


class Reply:
    """Shows itself as JSON text under `MIME`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {MIME: self.text}


def answer(value: Any, question: str) -> Reply:
    """Run an answer.

    Args:
        value: the answer.
        question: what `packed` gave.
    """
    import cloudpickle

    run, cases, errors, seconds = cloudpickle.loads(base64.b64decode(question))
    results = run_cases(run, value, cases, errors, seconds)
    return Reply(json.dumps([[_encoded(one.value), one.problem, one.printed, one.stub] for one in results]))


def packed(run: Any, cases: list[Case], errors: Mapping[str, str], seconds: float) -> str:
    """A question for `answer`: with the code of `run`, but without anything that `run` does not mention."""
    import sys

    import cloudpickle

    if (module := sys.modules.get(run.__module__)) is not None and not run.__module__.startswith("seglab."):
        cloudpickle.register_pickle_by_value(module)
    return base64.b64encode(cloudpickle.dumps((run, list(cases), dict(errors), seconds))).decode()


def unpacked(text: str, count: int) -> list[Ran]:
    """The results in a reply, one for each of `count` cases, or up to one with a problem; nothing in it is trusted.

    Raises:
        ValueError: it is not a reply.
    """
    try:
        found = json.loads(text)
        results = [Ran(_decoded(value), None if problem is None else str(problem)[:1000], str(printed)[:2000],
                    None if stub is None else str(stub)[:100]) for value, problem, printed, stub in found]
        if len(results) != count and (not 0 < len(results) < count or not results[-1].problem):
            raise ValueError(f"{len(results)} results for {count} cases")
        return results
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise ValueError(f"no reply of an answer: {error}") from error


def _encoded(value: Any, depth: int = 4) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        if array.dtype.kind not in "biuf" or array.nbytes > MOST:
            return {"text": f"an array of {array.dtype} with shape {array.shape}"}
        return {"dtype": array.dtype.str, "shape": array.shape, "data": base64.b64encode(
            np.ascontiguousarray(array).tobytes()).decode()}
    if isinstance(value, (bool, int, float)) or value is None:
        return {"value": value}
    if isinstance(value, Mapping) and depth:
        return {"map": {str(name): _encoded(one, depth - 1) for name, one in value.items()}}
    if isinstance(value, (list, tuple)) and depth and len(value) <= 10_000:
        return {"list": [_encoded(one, depth - 1) for one in value]}
    return {"text": repr(value)[:200]}


def _decoded(found: Any) -> Any:
    if "data" in found:
        dtype = np.dtype(str(found["dtype"]))
        if dtype.kind not in "biuf":
            raise ValueError(f"numbers of type {dtype}")
        return np.frombuffer(base64.b64decode(found["data"]), dtype).reshape(found["shape"])
    if "map" in found:
        return {name: _decoded(one) for name, one in found["map"].items()}
    if "list" in found:
        return [_decoded(one) for one in found["list"]]
    return found["value"] if "value" in found else str(found["text"])
