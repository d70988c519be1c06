"""A pytest plugin that keeps nbval honest: no cell of a lesson passes without having been run and looked at.

What nbval 0.11 lets pass, and fails here:

- a cell that ran past its time. nbval interrupts it; code that takes an interrupt for the stop button, as `fit` does,
  then ends in good order, the cell passes, and all later cells are marked as expected to fail;
- the cells after one that timed out, or whose kernel died;
- a kernel that dies in the last cell; and one that dies in any other is noticed at once, not after the time-out;
- a cell tagged `nbval-check-output` that was not executed, or whose stored outputs hold no text to compare;
- a cell tagged `raises-exception` that raises none;
- a cell that is skipped, and a tag that nbval does not know.

The root's `conftest.py` loads it; this is the only file that knows nbval from inside.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from queue import Empty

import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile, metadata_tags

BROKEN = pytest.StashKey[str]()

#: How long to wait for the outputs of a cell that has ended. nbval's 5 s are too few on a machine with other work.
OUTPUT_SECONDS = 60


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if isinstance(item, IPyNbCell):
        item.output_timeout = OUTPUT_SECONDS
        _watch(item.parent.kernel)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    if not isinstance(item, IPyNbCell):
        return (yield)
    lesson: IPyNbFile = item.parent
    if reason := lesson.stash.get(BROKEN, None):
        pytest.fail(f"not run: {reason}", pytrace=False)
    if reason := _not_looked_at(item):
        pytest.fail(reason, pytrace=False)
    try:
        result = yield
    finally:
        if lesson.timed_out:
            lesson.timed_out = False  # or nbval expects all later cells to fail
            lesson.stash[BROKEN] = f"{item.name} ran past its time"
        elif not lesson.kernel.is_alive():
            lesson.stash[BROKEN] = f"the kernel died in {item.name}"
    if reason := lesson.stash.get(BROKEN, None):
        pytest.fail(f"{reason} (--nbval-cell-timeout={item.config.option.nbval_cell_timeout:g})", pytrace=False)
    if item.options["check_exception"] and not any(out.output_type == "error" for out in item.test_outputs):
        pytest.fail("tagged raises-exception, but it raises none", pytrace=False)
    return result


def _not_looked_at(item: IPyNbCell) -> str | None:
    """Why running this cell would prove less than it seems to, if so."""
    if unknown := [tag for tag in item.cell.metadata.get("tags", []) if tag.startswith("nbval") and
                   tag not in metadata_tags]:
        return f"nbval knows no tag {unknown[0]!r}"
    if item.options["skip"]:
        return "a cell of a lesson is never skipped"
    if item.options["check"]:
        if item.cell.execution_count is None:
            return "tagged nbval-check-output, but not executed: nbval would compare nothing. Run make store."
        texts = [out.get("text") or out.get("data", {}).get("text/plain") for out in item.cell.outputs]
        if not any(texts):
            return "tagged nbval-check-output, but no stored output holds text to compare"
    return None


def _watch(kernel: RunningKernel) -> None:
    """Let it notice within a second that its process has died."""
    if "await_reply" in vars(kernel):
        return
    wait = kernel.await_reply

    def await_reply(msg_id: str, timeout: float) -> None:
        end = time.monotonic() + timeout
        while True:
            try:
                return wait(msg_id, timeout=min(1.0, max(0.0, end - time.monotonic())))
            except Empty:
                if not kernel.is_alive():
                    raise RuntimeError("the kernel died") from None
                if time.monotonic() >= end:
                    raise

    kernel.await_reply = await_reply
