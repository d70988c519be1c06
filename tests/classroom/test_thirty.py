"""Thirty submissions of each assignment, right, wrong and hostile ones in one pile, and what grading them takes."""

import importlib
import sys

import nbformat
import pytest

from seglab.classroom.confine import available
from seglab.classroom.course import Course
from tests.assignments.notebooks import ASSIGNMENTS, NAMES, graded, handed_in, lost, master, solutions
from tests.classroom.hostile import CURIOUS, HOSTILE

THIRTY = 30


def pile(name, released, outside):
    """{student: (notebook, graded cells that it must lose, whether it may lose others)}."""
    answers = importlib.import_module(f"tests.assignments.answers.{name}")
    right, cells = solutions(name), graded(master(name))
    made = {"right-0": (handed_in(released, right), set(), False), "untouched": (released, set(cells), False)}
    for number, other in enumerate(answers.RIGHT[:3], 1):
        made[f"right-{number}"] = handed_in(released, right | other), set(), False
    place = next(iter(right))
    for number, (what, code) in enumerate((HOSTILE | CURIOUS).items()):
        code = code.replace("PLACE", str(outside)).replace("GRADER", str(ASSIGNMENTS / "grader" / f"{name}.py"))
        without = set(lost(name, {place: "raise ValueError"}, f"hostile-{number}"))
        made[f"hostile-{number}"] = handed_in(released, right | {place: code}), without, what in HOSTILE
    half = handed_in(released, right)
    half.cells = [cell for cell in half.cells if not cell.metadata.get("nbgrader", {}).get("grade")]
    made["hostile-deletes-all-tests"] = half, set(), False
    made["hostile-no-notebook"] = "{", set(cells), False
    step = len(answers.WRONG) / (THIRTY - len(made))
    for number in range(THIRTY - len(made)):
        wrong = answers.WRONG[int(number * step)][1]
        # On the data of some students, a mistake makes no difference.
        expected = set(lost(name, wrong, f"wrong-{number}"))
        made[f"wrong-{number}"] = handed_in(released, right | wrong), expected, False
    return made


@pytest.mark.slow
@pytest.mark.weekly
@pytest.mark.skipif(not all(available().values()), reason="this system cannot confine a process")
@pytest.mark.parametrize("name", NAMES)
def test_thirty_submissions_get_exactly_their_points(name, tmp_path):
    import resource

    course, outside = Course.new(tmp_path / "course"), tmp_path / "outside.txt"
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text().replace("cell_seconds = 120.0", "cell_seconds = 60.0"))
    submissions = pile(name, nbformat.read(course.release(name) / f"{name}.ipynb", as_version=4), outside)
    assert len(submissions) == THIRTY
    for student, (notebook, *_) in submissions.items():
        path = course.root / "submitted" / student / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(notebook if isinstance(notebook, str) else nbformat.writes(notebook))
    slow = {cell.metadata.nbgrader.grade_id for cell in master(name).cells if "slow" in cell.metadata.get("tags", [])}
    found, wrong = {}, []
    for student, (_, expected, more) in sorted(submissions.items(), key=lambda one: "hostile" in one[0]):
        (found[student],) = course.grade(name, [student])
        missing = _missing(course, student, name)
        # A wrong answer was tried without the trainings; here they run with it.
        if not (expected <= missing if more else expected - slow == missing - slow):
            wrong.append(f"{student}: {sorted(missing)}, and not {sorted(expected)}")
        if "hostile" not in student:
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of all that this process started so far
    seconds = sorted(one.seconds for one in found.values())
    unit = 1 if sys.platform == "darwin" else 1024
    print(f"\n{name}: {len(found)} submissions, {sum(seconds) / len(seconds):.1f} s each (median {seconds[15]:.1f}, "
          f"slowest {seconds[-1]:.1f}); kernels that are not hostile at most {peak * unit / 1e9:.2f} GB, grader "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB")
    assert not wrong, "\n".join(wrong)
    assert not outside.exists()
    assert [student for student, one in found.items() if one.problem] == ["hostile-no-notebook"]


def _missing(course, student, name):
    """grade_ids of the graded cells in which there is an error."""
    path = course.root / "autograded" / student / name / f"{name}.ipynb"
    return {cell.metadata.nbgrader.grade_id for cell in nbformat.read(path, as_version=4).cells
            if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"
            and any(output.output_type == "error" for output in cell.outputs)}
