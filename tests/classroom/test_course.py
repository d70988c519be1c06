"""The course's folder, and the command."""

import nbformat
import pytest
from typer.testing import CliRunner

from seglab.classroom.course import Course, masters
from seglab.cli import app
from seglab.errors import ArgumentError, DataError
from tests.assignments.notebooks import NAMES, graded, handed_in, lost, master, solutions


def seglab(*args):
    return CliRunner().invoke(app, ["classroom", *map(str, args)])


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(ArgumentError, match="not empty"):
        Course.new(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(DataError, match="seglab classroom new"):
        Course(tmp_path)


def test_a_wheel_has_no_assignments_and_says_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setattr("seglab.classroom.course.__file__", str(tmp_path / "seglab" / "classroom" / "course.py"))
    with pytest.raises(DataError, match="Clone seglab"):
        masters()


@pytest.mark.slow
def test_the_commands_in_the_order_of_the_guide(tmp_path):
    course = tmp_path / "mycourse"
    assert "a1" in seglab("new", course).output
    wrong = seglab("release", course, "unknown")
    assert (wrong.exit_code, "expected: a1" in wrong.output) == (1, True)
    assert "seglab classroom release" in seglab("grade", course, "a1").output
    result = seglab("release", course, "a1")
    assert result.exit_code == 0, result.output
    released = nbformat.read(course / "release/a1/a1.ipynb", as_version=4)
    for student, notebook in (("Grace", handed_in(released, solutions("a1"))), ("alan", released)):
        (tmp_path / "in" / student).mkdir(parents=True)
        nbformat.write(notebook, tmp_path / "in" / student / "a1.ipynb")
    assert "2 collected: Grace, alan" in seglab("collect", course, "a1", tmp_path / "in").output
    graded = seglab("grade", course, "a1").output
    assert "Grace" in graded
    assert "27.0 of 27" in graded
    assert " 0.0 of 27" in graded
    assert "2 pages" in seglab("feedback", course, "a1").output
    assert seglab("export", course, "--to", tmp_path / "grades.csv").exit_code == 0
    assert "Grace" in (tmp_path / "grades.csv").read_text()
    assert "alan" in seglab("similar", course, "a1").output
    again = seglab("grade", course, "a1", "--student", "nobody")
    assert again.exit_code == 1
    assert "nobody" in again.output


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "a1"])  # a1 is in the test above
def test_a_solution_gets_all_points_and_an_untouched_release_none(name, tmp_path):
    """The release is graded in this process: a kernel grades one above, and of each assignment in `test_thirty`."""
    course = Course.new(tmp_path / "course")
    released = nbformat.read(course.release(name) / f"{name}.ipynb", as_version=4)
    path = course.root / "submitted" / "Grace" / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(handed_in(released, solutions(name)), path)
    (solved,) = course.grade(name)
    assert (solved.points, solved.problem) == (solved.most, None)
    assert solved.most >= 20
    stubs = {cell.metadata.nbgrader.grade_id: cell.source for cell in released.cells
             if cell.cell_type == "code" and cell.metadata.nbgrader.solution}
    assert stubs.keys() == solutions(name).keys() - {"words"}
    assert lost(name, stubs).keys() == graded(master(name)).keys()
