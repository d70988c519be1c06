"""Run an assignment's master in this process, with other answers in some of its cells, and say what that costs."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import nbformat
from nbformat import NotebookNode

from seglab.classroom.grading import questions_of

ASSIGNMENTS = Path(__file__).parents[2] / "assignments"
NAMES = sorted(path.name for path in (ASSIGNMENTS / "source").iterdir() if path.is_dir())
STUDENT = "ada"


def master(name: str) -> NotebookNode:
    """The solved notebook of an assignment."""
    return nbformat.read(ASSIGNMENTS / "source" / name / f"{name}.ipynb", as_version=4)


def graded(notebook: NotebookNode) -> dict[str, float]:
    """{grade_id: points} of the cells that a machine grades."""
    return {cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points for cell in notebook.cells
            if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")}


def lost(name: str, answers: Mapping[str, str], student: str = STUDENT) -> dict[str, str]:
    """{grade_id: message} of the graded cells that fail when some answers are replaced.

    Cells tagged "slow" (a training), and the tests tagged so, are left out, unless one of them is replaced.
    """
    notebook, failed, folder = master(name), {}, ASSIGNMENTS / "source" / name
    slow = {cell.metadata.nbgrader.grade_id for cell in notebook.cells if "slow" in cell.metadata.get("tags", [])}
    space: dict[str, object] = {"__name__": "__main__"}
    with _place(folder, student), contextlib.redirect_stdout(io.StringIO()):
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            own = cell.metadata.nbgrader.grade_id
            if own in slow and not slow & answers.keys():
                continue
            try:
                exec(compile(answers.get(own, cell.source), f"<{own}>", "exec"), space)
            except Exception as error:  # whatever an answer raises, it costs the points of this cell
                failed[own] = f"{type(error).__name__}: {error}"
    return {own: message for own, message in failed.items() if own in graded(notebook)}


@contextlib.contextmanager
def _place(folder: Path, student: str):
    before, path, here = os.environ.get("SEGLAB_STUDENT"), list(sys.path), Path.cwd()
    # What was imported from this very folder stays: it remembers the pictures of a student.
    own = {name: module for name, module in sys.modules.items() if name.partition("_")[0] == folder.name
           and Path(getattr(module, "__file__", None) or "").parent != folder}
    for name in own:
        del sys.modules[name]
    importlib.invalidate_caches()
    questions_of(ASSIGNMENTS, folder.name)  # our grader, and not that of a course which another test has made
    backend = mpl.get_backend()
    mpl.use("agg")
    try:
        os.environ["SEGLAB_STUDENT"] = student
        sys.path[:0] = [str(folder), str(ASSIGNMENTS)]
        os.chdir(folder)
        yield
    finally:
        os.chdir(here)
        sys.path[:] = path
        mpl.use(backend)
        import matplotlib.pyplot as plt

        plt.close("all")
        if before is None:
            os.environ.pop("SEGLAB_STUDENT")
        else:
            os.environ["SEGLAB_STUDENT"] = before


def solutions(name: str) -> dict[str, str]:
    """{grade_id: what a student would hand in} of the cells in which students write."""
    return {cell.metadata.nbgrader.grade_id: "\n".join(
        line for line in cell.source.splitlines() if line.strip() not in {"# BEGIN SOLUTION", "# END SOLUTION"})
        for cell in master(name).cells if cell.metadata.get("nbgrader", {}).get("solution")}


def handed_in(release: NotebookNode, answers: Mapping[str, str]) -> NotebookNode:
    """The release with answers in its cells."""
    made = copy.deepcopy(release)
    for cell in made.cells:
        cell.source = answers.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
    return made
