"""A course with one small assignment, which imports little: to test the grading itself."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from seglab.classroom.course import _CONFIG, Course
from tests.assignments.notebooks import handed_in

GRADER = '''
from functools import partial
from seglab.checks.exercise import Case
from seglab.classroom import questions
from seglab.classroom.questions import FunctionQuestion, NumberQuestion

QUESTIONS = {one.name: one for one in (
    FunctionQuestion("double", [Case("three", (3,)), Case("minus seven", (-7,))], lambda x: 2 * x,
                     {"It is the square.": lambda x: x * x}),
    FunctionQuestion("half", [Case("an odd number", (5,))], lambda x: x / 2,
                     {"// cuts the rest off.": lambda x: x // 2}),
    NumberQuestion("own", lambda student: len(student) * 1.5,
                   {"It is the length itself.": lambda student: len(student)}),
)}
grade = partial(questions.grade, QUESTIONS)
'''
ANSWERS = {"double": "def double(x):\n    return x + x", "half": "def half(x):\n    return x / 2",
           "own": "own = len(STUDENT) * 1.5", "words": "Because."}


def toy_course(root: Path) -> Course:
    """Made and released."""
    for name, text in (("nbgrader_config.py", _CONFIG), ("grader/__init__.py", ""), ("grader/toy.py", GRADER)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "source" / "toy").mkdir(parents=True)
    nbformat.write(_master(), root / "source" / "toy" / "toy.ipynb")
    (root / "source" / "toy" / "toy_data.py").write_text("VALUE = 5\n")
    course = Course(root)
    course.release("toy")
    return course


def submission(course: Course, answers: dict[str, str] | None = None) -> NotebookNode:
    """The release with the right answers, or others in some cells."""
    return handed_in(nbformat.read(course.root / "release/toy/toy.ipynb", as_version=4), ANSWERS | (answers or {}))


def hand_in(course: Course, student: str, notebook: NotebookNode | str) -> None:
    """Put a submission where nbgrader looks for it."""
    path = course.root / "submitted" / student / "toy" / "toy.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(notebook if isinstance(notebook, str) else nbformat.writes(notebook))


def _master() -> NotebookNode:
    cells = [new_code_cell("import os\nfrom toy_data import VALUE\nSTUDENT = os.environ['SEGLAB_STUDENT']",
                           id="start", metadata=_meta("start", False, False))]
    for name, points in (("double", 2.0), ("half", 1.0), ("own", 3.0)):
        cells += [new_markdown_cell(f"Write {name}, with $x^2$.", id=f"text-{name}"),
                  new_code_cell(f"# BEGIN SOLUTION\n{ANSWERS[name]}\n# END SOLUTION", id=name,
                                metadata=_meta(name, False, True)),
                  new_code_cell(f"assert {name} is not None\nprint('public checks passed')\n# BEGIN HIDDEN TESTS\n"
                                f"from grader.toy import grade\ngrade('{name}', {name}, STUDENT)\n# END HIDDEN TESTS",
                                id=f"test-{name}", metadata=_meta(f"test-{name}", True, False, points))]
    cells.append(new_markdown_cell("### BEGIN SOLUTION\nBecause.\n### END SOLUTION", id="words",
                                   metadata=_meta("words", True, True, 2.0)))
    return new_notebook(cells=cells, metadata={"kernelspec": {
        "display_name": "Python 3", "language": "python", "name": "python3"}})


def _meta(name: str, grade: bool, solution: bool, points: float | None = None) -> dict:
    about = {"grade": grade, "grade_id": name, "locked": not solution, "schema_version": 3, "solution": solution,
             "task": False}
    return {"nbgrader": about if points is None else about | {"points": points}}
