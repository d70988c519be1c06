"""Tests of the tests: lessons that are broken, or were not looked at, are red."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CHECK = ["nbval-check-output"]
IMAGE = new_output("display_data", {"image/png": "iVBORw0KGgo="})

STOPPED = """
import time
try:
    time.sleep(60)  # longer than a cell may take
except KeyboardInterrupt:
    print("Stopped by hand")
"""


def cell(source: str, *, printed: str | None = None, tags: list[str] | None = None, count: int | None = 1,
         outputs: list[NotebookNode] | None = None) -> NotebookNode:
    found = outputs or ([new_output("stream", text=printed)] if printed else [])
    return new_code_cell(source, execution_count=count, metadata={"tags": tags or []}, outputs=found)


#: Name of a lesson -> its cells, and for each what must come of it: "" passes, else words of the failure.
LESSONS = {
    "sound": [(cell("x = 2"), ""), (cell("print(x)", printed="2\n", tags=CHECK), ""),
              (cell("1 / 0", tags=["raises-exception"]), "")],
    "too_slow": [(cell("x = 1"), ""), (cell(STOPPED), "ran past its time"),
                 (cell("assert False, 'a claim that does not hold'"), "not run: Cell 1 ran past its time"),
                 (cell("x"), "not run: Cell 1 ran past its time")],
    "dies": [(cell("import os"), ""), (cell("os._exit(1)"), "the kernel died"),
             (cell("2"), "not run: the kernel died")],
    "dies_at_its_end": [(cell("import os, threading\nthreading.Timer(0.2, os._exit, [1]).start()\n"
                              "threading.Event().wait()"), "the kernel died")],
    "not_looked_at": [
        (cell("print(1)", tags=CHECK, count=None), "not executed"),
        (cell("None", tags=CHECK, outputs=[IMAGE]), "no stored output holds text"),
        (cell("None", tags=CHECK), "no stored output holds text"),
        (cell("1", tags=["nbval-check-outputs"]), "knows no tag 'nbval-check-outputs'"),
        (cell("1 / 0", tags=["nbval-skip"]), "never skipped"),
        (cell("# NBVAL_SKIP\n1 / 0"), "never skipped"),
        (cell("1", tags=["raises-exception"]), "it raises none"),
        (cell("print(2)", printed="3\n", tags=CHECK), "Cell outputs differ"),
        (cell("None", printed="3\n", tags=CHECK), "Cell outputs differ"),
        (cell("1 / 0"), "ZeroDivisionError")],
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], str]:
    """(lesson, cell) -> the message of its failure, or ""; all of them ran in one pytest of its own."""
    folder = tmp_path_factory.mktemp("lessons")
    for name, cells in LESSONS.items():
        notebook = new_notebook(cells=[cell for cell, _ in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_"))}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.lesson_cells", "-p", "no:cacheprovider", "--nbval-lax",
         "--nbval-cell-timeout=5", "--junitxml=report.xml", "."],
        cwd=folder, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    cases = ElementTree.parse(folder / "report.xml").iter("testcase")
    return {(case.get("classname").split(".")[0], int(case.get("name").removeprefix("Cell "))):
            "".join(f"{child.tag}: {child.get('message', '')} {child.text}" for child in case) for case in cases}


@pytest.mark.parametrize("name", LESSONS)
def test_no_cell_is_green_without_having_been_run_and_looked_at(outcomes, name):
    for place, (_, words) in enumerate(LESSONS[name]):
        found = outcomes[name, place]
        assert (found == "") == (words == ""), f"cell {place}: {found or 'passed'}"
        assert words in found
    assert sum(lesson == name for lesson, _ in outcomes) == len(LESSONS[name])
