"""A course's folder, and nbgrader's steps in it: release, grade, feedback, export."""

from __future__ import annotations

import csv
import logging
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbformat.v4 import new_markdown_cell

from seglab.classroom.collect import read_notebook, shown
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_file, atomic_write, output_file

_CONFIG = '''"""Settings of nbgrader for this course; its own commands read them, too."""

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.preprocessors import (
    AssignLatePenalties, CheckCellMetadata, ClearOutput, DeduplicateIds, GetGrades, LimitOutput, OverwriteCells,
    OverwriteKernelspec, SaveAutoGrades)
from seglab.classroom.grading import FillRelease, Formulas, RunConfined

c = get_config()
c.CourseDirectory.course_id = "seglab"
c.Autograde.sanitize_preprocessors = [
    FillRelease, ClearOutput, DeduplicateIds, OverwriteKernelspec, OverwriteCells, CheckCellMetadata]
c.Autograde.autograde_preprocessors = [RunConfined, LimitOutput, SaveAutoGrades, AssignLatePenalties, CheckCellMetadata]
c.GenerateFeedback.preprocessors = [Formulas, GetGrades, CSSHTMLHeaderPreprocessor]

# Limits of a submission: GB, seconds a cell, seconds of all cells together.
c.RunConfined.memory = 4.0
c.RunConfined.cell_seconds = 120.0
c.RunConfined.seconds = 900.0
'''

#: What nbgrader's page loads from a content network: MathJax, for formulas that are MathML already.
_SCRIPT = re.compile(rb'<script[^>]* src="https://[^>]*>\s*</script>')


class Graded(NamedTuple):
    """A submission after grading: the points of the machine, the most it can give, seconds, and what went wrong."""

    student: str
    points: float
    most: float
    seconds: float
    problem: str | None


def masters() -> Path:
    """The folder `assignments/` of the clone that seglab runs from; the wheel, which students have, does not hold it.

    Raises:
        DataError: there is none.
    """
    folder = Path(__file__).parents[2] / "assignments"
    if not (folder / "grader").is_dir():
        raise DataError("assignments", found=f"none in {folder}", expected="a clone of the course",
                        fix="Clone seglab's repository, and install from there: pip install --editable '.[classroom]'.")
    return folder


class Course:
    """A folder that `Course.new` made.

    Args:
        root: that folder.

    Raises:
        DataError: it is not a course's.
        ArgumentError: nbgrader is not installed.
    """

    def __init__(self, root: str | Path) -> None:
        try:
            import nbgrader  # noqa: F401
        except ImportError as error:
            raise ArgumentError("seglab classroom", found="nbgrader is not installed",
                                expected="the packages for teachers",
                                fix="pip install 'seglab[classroom]', or make setup in a clone") from error
        self.root = Path(root).expanduser().resolve()
        if not (self.root / "nbgrader_config.py").is_file():
            raise DataError(f"{root}", found="no nbgrader_config.py", expected="a course's folder",
                            fix=f"Make one: seglab classroom new {root}")

    @classmethod
    def new(cls, root: str | Path) -> Course:
        """Make a course's folder with all assignments: solved in `source/`, with their graders in `grader/`.

        Raises:
            ArgumentError: there is something already.
        """
        root, ours = Path(root).expanduser(), masters()
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise ArgumentError("folder", found=f"{root}, which is not empty", expected="a new or empty folder")
        hidden = shutil.ignore_patterns("__pycache__", ".*")
        for name in ("source", "grader"):
            shutil.copytree(ours / name, root / name, ignore=hidden)
        for name in ("README.md", "MISTAKES.md"):
            shutil.copy(ours / name, root / name)
        atomic_write(root / "nbgrader_config.py", _CONFIG.encode())
        return cls(root)

    @property
    def assignments(self) -> list[str]:
        """Names of the assignments."""
        return sorted({path.parent.name for path in (self.root / "source").glob("*/*.ipynb")})

    @contextmanager
    def _gradebook(self) -> Iterator[Any]:
        """nbgrader's points.

        Raises:
            DataError: they cannot be read.
        """
        from nbgrader.api import Gradebook
        from sqlalchemy.exc import DatabaseError

        try:
            with _quiet(), Gradebook(self._database) as gradebook:
                yield gradebook
        except DatabaseError as error:
            raise DataError(f"{self.root / 'gradebook.db'}", found=str(error.orig), expected="nbgrader's points",
                            fix="Take it from a backup, or remove it, and release and grade again.") from error

    def check(self, assignment: str) -> None:
        """Whether there is such an assignment.

        Raises:
            ArgumentError: there is none.
        """
        if assignment not in self.assignments:
            raise ArgumentError("assignment", found=repr(assignment),
                                expected=", ".join(self.assignments) or f"a notebook in {self.root / 'source'}")

    def release(self, assignment: str) -> Path:
        """Write the students' edition; returns its folder, which is to be handed out."""
        from nbgrader.converters import GenerateAssignment

        self.check(assignment)
        self._convert(GenerateAssignment, assignment)
        return self.root / "release" / assignment

    def grade(self, assignment: str, students: list[str] | None = None) -> Iterator[Graded]:
        """Grade submissions, one after the other; yields each when it is done.

        Args:
            students: of these only; by default of all who handed something in. Who is graded already is graded anew.

        Raises:
            DataError: the assignment was not released, or nobody handed it in.
        """
        from nbgrader.converters import Autograde

        from seglab.classroom.grading import questions_of

        self.check(assignment)
        if not (self.root / "release" / assignment).is_dir():
            raise DataError(f"{self.root / 'release' / assignment}", found="nothing",
                            expected="the released assignment",
                            fix=f"seglab classroom release {self.root} {assignment}")
        there = sorted(path.parent.name for path in (self.root / "submitted").glob(f"*/{assignment}"))
        if unknown := sorted(set(students or ()) - set(there)) or ([] if there else ["nobody"]):
            raise DataError(f"submissions of {assignment}", found=f"none of {', '.join(unknown)}",
                            expected=f"a folder {self.root / 'submitted' / 'STUDENT' / assignment}",
                            fix=f"seglab classroom collect {self.root} {assignment} FOLDER_OR_ZIP")
        questions_of(self.root, assignment)  # what is wrong with them is not wrong with each submission
        for student in students or there:
            start, problem = time.monotonic(), self._readable(assignment, student)
            try:
                self._convert(Autograde, assignment, student)
            except Exception as error:  # whatever it is, the others are graded
                problem = f"could not be graded: {type(error).__name__}: {shown(str(error))[:300]}"
            with self._gradebook() as gradebook:
                points, most = _points(gradebook, assignment, student)
            yield Graded(shown(student), points, most, time.monotonic() - start, problem)

    def feedback(self, assignment: str) -> list[Path]:
        """Write a page for each graded submission; returns them."""
        from nbgrader.converters import GenerateFeedback

        self.check(assignment)
        if not any((self.root / "autograded").glob(f"*/{assignment}/*.ipynb")):
            raise DataError(f"{self.root / 'autograded'}", found=f"no submission of {assignment}",
                            expected="graded submissions", fix=f"seglab classroom grade {self.root} {assignment}")
        self._convert(GenerateFeedback, assignment, "*")
        pages = sorted((self.root / "feedback").glob(f"*/{assignment}/*.html"))
        for page in pages:
            atomic_write(page, _SCRIPT.sub(b"", page.read_bytes()))
        return pages

    def export(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write all points as a table, CSV in UTF-8, a row a student and assignment.

        Spreadsheets take what begins with = + - @ for a formula: names that do get a ' before it.

        Raises:
            ArgumentError: the file is there already, or cannot be written.
        """
        path = output_file(path, "grades.csv", {".csv"}, overwrite)
        with (self._gradebook() as gradebook, atomic_file(path) as temporary,
              open(temporary, "w", newline="", encoding="utf-8") as file):
            table = csv.writer(file, lineterminator="\n")  # nbgrader's own puts commas between names as they are
            table.writerow(["assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email",
                            "raw_score", "late_submission_penalty", "score", "max_score"])
            for assignment in gradebook.assignments:
                for student in gradebook.students:
                    table.writerow([assignment.name, assignment.duedate, *_graded(gradebook, assignment, student)])
        return path

    @property
    def _database(self) -> str:
        return f"sqlite:///{self.root / 'gradebook.db'}"

    def _convert(self, step: type, assignment: str, student: str | None = None) -> None:
        from nbgrader.coursedir import CourseDirectory
        from traitlets.config.loader import PyFileConfigLoader

        with _quiet() as log:
            config = PyFileConfigLoader("nbgrader_config.py", path=str(self.root)).load_config()
            config.CourseDirectory.root, config.CourseDirectory.db_url = str(self.root), self._database
            where = CourseDirectory(config=config, assignment_id=assignment)
            where.student_id = student or where.student_id
            made = step(coursedir=where, config=config)
            made.force = True
            try:
                made.start()
            except Exception as error:
                if told := [line for line in log if "Traceback" in line]:
                    raise RuntimeError(told[0].strip().splitlines()[-1]) from error
                raise

    def _readable(self, assignment: str, student: str) -> str | None:
        """Put the empty release in place of notebooks that are none, so that they can be graded: with no points.

        What was handed in is kept beside it. Returns what is wrong.
        """
        problems, folder = [], self.root / "submitted" / student / assignment
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() and path.suffix != ".ipynb":  # nbgrader would copy what it leads to
                path.unlink()
                problems.append(f"{shown(path.name)} was a link to another file, and is left out")
        for release in sorted((self.root / "release" / assignment).glob("*.ipynb")):
            path = folder / release.name
            if not path.is_file() and not path.is_symlink():
                problems.append(f"{release.name} is missing")
                continue
            try:
                read_notebook(path)
            except Exception as error:  # nbformat raises whatever json, jsonschema and its own converters do
                if path.is_symlink():
                    path.unlink()
                else:
                    path.rename(_free(path.with_name(f"{path.name}.unreadable")))
                empty = nbformat.read(release, as_version=4)
                told = f"This submission is not a notebook that can be read: {type(error).__name__}: {str(error)[:200]}"
                empty.cells.insert(0, new_markdown_cell(told))
                nbformat.write(empty, path)
                problems.append(f"{release.name} cannot be read ({type(error).__name__})")
        return "; ".join(problems) or None


def _free(path: Path) -> Path:
    """The path, or the first of PATH-2, PATH-3 … that is free."""
    more = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(one for one in chain([path], more) if not one.exists())


def _graded(gradebook: Any, assignment: Any, student: Any) -> list[Any]:
    """The rest of a row of the table."""
    from nbgrader.api import MissingEntry

    names = [student.id, student.last_name, student.first_name, student.email]
    names = [f"'{name}" if str(name).startswith(("=", "+", "-", "@", "\t", "\r")) else name for name in names]
    try:
        found = gradebook.find_submission(assignment.name, student.id)
    except MissingEntry:
        return ["", *names, 0.0, 0.0, 0.0, assignment.max_score]
    penalty = found.late_submission_penalty
    return [found.timestamp, *names, found.score, penalty, max(0.0, found.score - penalty), assignment.max_score]


def _points(gradebook: Any, assignment: str, student: str) -> tuple[float, float]:
    """Of the machine: what a submission has, and the most that it can have."""
    from nbgrader.api import MissingEntry

    try:
        grades = [grade for notebook in gradebook.find_submission(assignment, student).notebooks
                  for grade in notebook.grades]
    except MissingEntry:
        return 0.0, 0.0
    mine = [grade for grade in grades if grade.cell_type == "code"]
    return sum(grade.auto_score or 0.0 for grade in mine), sum(grade.max_score for grade in mine)


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep what nbgrader logs, instead of printing it."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, logger = Keep(level=logging.WARNING), logging.getLogger("traitlets")
    before, propagate, path = list(logger.handlers), logger.propagate, os.environ.get("PATH", "")
    logger.handlers, logger.propagate = [handler], False
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])  # it calls `alembic` by its name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbgrader's own, of sqlalchemy: about its order of saving
            yield lines
    finally:
        logger.handlers, logger.propagate = before, propagate
        os.environ["PATH"] = path
