"""Other processes for the tests, which have torch and seglab at once and not after seconds of imports."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext


def prepared() -> BaseContext:
    """A context whose processes are forked from a server that did all the imports; it starts with the first of them.

    As with "spawn", what they are given is pickled, and they share neither memory nor threads with this process.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.runs"])
    return context
