"""nbgrader's steps that run a submission: its answers in the release's cells, executed confined, judged from outside.

nbgrader gives a graded cell its points if its outputs hold no error. Here the outputs of a graded cell are written by
this process, from its own verdicts: the student's code cannot write them.
"""

from __future__ import annotations

import ast
import copy
import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade, is_solution
from traitlets import Float

from seglab.checks.exercise import Verdict
from seglab.classroom.answers import MIME, packed, unpacked
from seglab.classroom.kernel import ConfinedKernel
from seglab.classroom.questions import Question
from seglab.errors import DataError
from seglab.lessons import with_mathml

#: In Markdown, what begins a tag of HTML, a link, a picture, or a link in a formula.
_ACTIVE = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(\[:])|\\href", re.IGNORECASE)
_HIDDEN = re.compile(r"^#+ BEGIN HIDDEN TESTS\n(.*?)^#+ END HIDDEN TESTS\n?", re.MULTILINE | re.DOTALL)


class FillRelease(NbGraderPreprocessor):  # type: ignore[misc]
    """The released notebook with the student's answers in it, and cells that the student added.

    So it does not matter which cells a student deleted, moved, copied or changed.
    """

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """nbgrader's protocol."""
        ids = resources["nbgrader"]
        release = Path("release", ids["assignment"], f"{ids['notebook']}.ipynb")
        return filled(nbformat.read(release, as_version=4), nb), resources


def filled(release: NotebookNode, submission: NotebookNode) -> NotebookNode:
    """The cells of the release in their order; where students write, what the submission has there.

    A cell that the student added stands behind the cell of the release before it.
    """
    made, answers = copy.deepcopy(release), {}
    added: dict[str | None, list[NotebookNode]] = {}
    known = {_id(cell): cell for cell in release.cells if _id(cell) is not None}
    last = None
    for cell in submission.cells:
        name = _id(cell)
        if name not in known:
            same = next((one for one in release.cells if one.source == cell.source), None)
            if same is not None:
                last = same.get("id")
            elif cell.cell_type == "code":
                extra = copy.deepcopy(cell)
                extra.metadata = NotebookNode()
                added.setdefault(last, []).append(extra)
            continue
        last = known[name].get("id")
        if is_solution(known[name]) and (name not in answers or cell.source != known[name].source):
            answers[name] = cell.source  # of several copies the last that was changed
    cells = list(added.get(None, []))
    for cell in made.cells:
        cell.source = answers.get(_id(cell), cell.source)
        if cell.cell_type == "markdown" and _id(cell) in answers:  # text alone, in pages that teachers read
            cell.source = _ACTIVE.sub(lambda found: {"<": "&lt;", "]": "] "}.get(found[0], ""), cell.source)
        cells += [cell, *added.get(cell.get("id"), [])]
    made.cells = cells
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return made


def _id(cell: NotebookNode) -> str | None:
    """nbgrader's name of a cell."""
    found = cell.get("metadata", {}).get("nbgrader", {})
    name = found.get("grade_id") if isinstance(found, Mapping) else None
    return name if isinstance(name, str) else None


class RunConfined(NbGraderPreprocessor):  # type: ignore[misc]
    """Execute all cells in a confined kernel, and put the verdicts of the hidden tests into the graded cells."""

    memory = Float(4.0, help="GB that a submission may take").tag(config=True)
    cell_seconds = Float(120.0, help="that a cell may take").tag(config=True)
    seconds = Float(900.0, help="that all cells of a submission may take together").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """nbgrader's protocol."""
        student, assignment = resources["nbgrader"]["student"], resources["nbgrader"]["assignment"]
        questions = questions_of(Path.cwd(), assignment)
        folder = Path(resources["metadata"]["path"])
        files = [path for path in folder.iterdir() if path.suffix != ".ipynb" and path.name != "timestamp.txt"]
        with ConfinedKernel(student, files, memory=self.memory, seconds=self.seconds) as kernel:
            for number, cell in enumerate((cell for cell in nb.cells if cell.cell_type == "code"), 1):
                cell.execution_count, cell.outputs = number, self._outputs(cell, kernel, questions, student)
        return nb, resources

    def _outputs(self, cell: NotebookNode, kernel: ConfinedKernel, questions: Mapping[str, Question],
                 student: str) -> list[NotebookNode]:
        graded = is_grade(cell) and not is_solution(cell)
        visible, calls = hidden_tests(cell.source) if graded else (cell.source, [])
        if graded and not calls:
            raise DataError(f"cell {_id(cell)}", found="no hidden test", expected="`grade(…)` in each graded cell",
                            fix="The points of a cell come from hidden tests alone. See assignments/README.md.")
        done = kernel.run(visible, self.cell_seconds)
        outputs = done.outputs
        if done.stopped is not None:
            outputs.append(_error("Stopped", done.stopped))
        if not graded:
            return outputs
        # nbgrader reads a number as points, and a warning as an error.
        outputs = [one for one in outputs if one.output_type == "error" or one.get("name") == "stdout"]
        for name, expression in calls:
            verdict = self._verdict(questions[name], expression, kernel, student)
            outputs.append(new_output("stream", text=f"{verdict.text}\n") if verdict.passed else
                           _error("HiddenTest", verdict.text))
        return outputs

    def _verdict(self, question: Question, expression: str, kernel: ConfinedKernel, student: str) -> Verdict:
        asked = question.ask(student)
        text = packed(asked.run, list(asked.cases), asked.errors, asked.seconds)
        done = kernel.run("", asked.seconds + 60, "__import__('seglab.classroom.answers', fromlist=['answer'])"
                                                  f".answer({expression}, {text!r})")
        if done.stopped is not None:
            return Verdict(False, f"{question.name}: {done.stopped}")
        if "error" in done.data:
            return Verdict(False, f"{question.name}: {done.data['error']}")
        try:
            return question.judge(unpacked(done.data.get(MIME, ""), len(asked.cases)), student)
        except Exception as error:  # what a result is made of is the student's affair: it may raise anything
            return Verdict(False, f"{question.name}: what it gives cannot be compared ({str(error)[:200]})")


class Formulas(NbGraderPreprocessor):  # type: ignore[misc]
    """The course's own formulas as MathML, so that a page of feedback needs no script and no network."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """nbgrader's protocol."""
        for cell in nb.cells:
            if cell.cell_type == "markdown" and not is_solution(cell):
                cell.source = with_mathml(cell.source)
        return nb, resources


def hidden_tests(source: str) -> tuple[str, list[tuple[str, str]]]:
    """What a student sees of a cell, and the hidden calls `grade(name, answer, …)` in it as (name, answer).

    Raises:
        DataError: something else stands in the hidden part.
    """
    calls = []
    for found in _HIDDEN.finditer(source):
        for statement in ast.parse(found[1]).body:
            match statement:
                case ast.Import() | ast.ImportFrom():
                    continue
                case ast.Expr(ast.Call(ast.Name("grade"), [ast.Constant(str(name)), answer, *_])):
                    calls.append((name, ast.unparse(answer)))
                case _:
                    raise DataError("hidden tests", found=ast.unparse(statement),
                                    expected='imports, and `grade("name", answer, STUDENT)`')
    return _HIDDEN.sub("", source), calls


def questions_of(course: Path, assignment: str) -> Mapping[str, Question]:
    """The questions of an assignment: `QUESTIONS` of `grader/ASSIGNMENT.py` in a course's folder.

    Raises:
        DataError: there are none.
    """
    if not (course / "grader" / f"{assignment}.py").is_file():
        raise DataError(f"{course / 'grader'}", found=f"no {assignment}.py", expected="the grader's module",
                        fix="Make the course anew with `seglab classroom new`, or write the module.")
    if (known := sys.modules.get("grader")) is not None and Path(str(known.__file__)).parent != course / "grader":
        for name in [name for name in sys.modules if name.partition(".")[0] == "grader"]:  # of another course
            del sys.modules[name]
    sys.path.insert(0, str(course))
    try:
        return importlib.import_module(f"grader.{assignment}").QUESTIONS
    finally:
        sys.path.remove(str(course))


def _error(name: str, text: str) -> NotebookNode:
    text = text.encode("utf-8", "replace").decode()  # it may quote a student's result
    return new_output("error", ename=name, evalue=text, traceback=[text])
