"""Grading: right answers get all points, and whatever a submission does costs its own points only."""

import copy
import csv
import os
import re
import socket
import sys
import threading

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell

import seglab
from seglab.classroom.answers import unpacked
from seglab.classroom.collect import CELLS, WRITTEN
from seglab.classroom.confine import available
from seglab.classroom.grading import filled, hidden_tests
from seglab.classroom.kernel import ConfinedKernel, _Outputs
from seglab.errors import ArgumentError, DataError
from tests.assignments.notebooks import ASSIGNMENTS
from tests.classroom.hostile import GREEDY, HOSTILE
from tests.classroom.toy import ANSWERS, hand_in, submission, toy_course

CAN = available()
confined = pytest.mark.skipif(not (CAN["files"] and CAN["network"]), reason="this system cannot confine a process")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy_course(tmp_path_factory.mktemp("classroom") / "course")


@pytest.fixture(scope="module")
def released(course):
    return nbformat.read(course.root / "release/toy/toy.ipynb", as_version=4)


def points_of(course, student, notebook):
    hand_in(course, student, notebook)
    (found,) = course.grade("toy", [student])
    return found


def told(course, student):
    """The messages in a graded notebook's errors."""
    graded = nbformat.read(course.root / "autograded" / student / "toy" / "toy.ipynb", as_version=4)
    return "\n".join(output.evalue for cell in graded.cells for output in cell.get("outputs", [])
                     if output.output_type == "error")


def test_the_release_gives_nothing_away(course, released):
    text = nbformat.writes(released)
    assert not [word for word in ("BEGIN", "from grader", "x + x", "Because") if word in text]
    assert sorted(path.name for path in (course.root / "release/toy").iterdir()) == ["toy.ipynb", "toy_data.py"]


def test_right_answers_get_all_points_and_the_untouched_release_none(course, released):
    right = points_of(course, "right", submission(course))
    assert (right.points, right.most, right.problem) == (6.0, 6.0, None)
    untouched = points_of(course, "untouched", released)
    assert (untouched.points, untouched.problem) == (0.0, None)


def test_where_nothing_can_be_confined_it_is_graded_too(course, monkeypatch):
    monkeypatch.setattr("seglab.classroom.kernel._PLAIN", True)  # as on Windows
    assert points_of(course, "plain", submission(course)).points == 6.0


def test_a_wrong_answer_costs_its_points_and_the_feedback_names_the_mistake_but_no_answer(course):
    found = points_of(course, "wrong", submission(course, {"half": "def half(x):\n    return x // 2",
                                                           "own": "own = 5 * 1.5 + 3  # somebody else's"}))
    assert found.points == 2.0
    assert "// cuts the rest off." in told(course, "wrong")
    course.feedback("toy")
    page = (course.root / "feedback/wrong/toy/toy.html").read_text(encoding="utf-8")
    assert "cuts the rest off" in page
    assert "<msup>" in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', page)  # nothing is loaded from elsewhere
    assert not [value for value in ("2.5", "7.5") if value in told(course, "wrong")]


@pytest.mark.parametrize("name", ["deleted", "changed", "moved", "twice", "old format", "metadata"])
def test_it_does_not_matter_what_a_student_did_to_the_cells_of_tests(course, released, name):
    notebook = submission(course)
    tests = [cell for cell in notebook.cells if cell.get("id", "").startswith("test-")]
    if name == "deleted":
        notebook.cells = [cell for cell in notebook.cells if cell not in tests]
    elif name == "changed":
        for cell in tests:
            cell.source, cell.metadata.nbgrader["points"] = "pass", 100.0
    elif name == "moved":
        notebook.cells = notebook.cells[::-1]
    elif name == "twice":
        notebook.cells = [copy.deepcopy(cell) for cell in notebook.cells for _ in range(2)]
    elif name == "old format":
        notebook.nbformat_minor = 4
        for cell in notebook.cells:
            cell.pop("id", None)
    else:
        for cell in tests:
            cell.metadata = nbformat.NotebookNode()
    made = filled(released, notebook)
    wanted = [cell.source for cell in filled(released, submission(course)).cells]
    assert [cell.source for cell in made.cells if cell.source in wanted] == wanted
    extra = [cell.source for cell in made.cells if cell.source not in wanted]
    assert extra == (["pass"] * 0 if name != "changed" else [])
    nbformat.validate(made)


def test_cells_that_a_student_added_stay_where_they_are_needed(course, released):
    notebook = submission(course, {"double": "def double(x):\n    return times(2, x)"})
    place = next(i for i, cell in enumerate(notebook.cells) if cell.get("id") == "double")
    notebook.cells.insert(place, new_code_cell("def times(a, b):\n    return a * b"))
    assert points_of(course, "added", notebook).points == 6.0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 5}', '{"nbformat": 4, "cells": [{}]}', "\0" * 50,
                                  "[" * 100_000])
def test_what_is_no_notebook_is_kept_and_an_empty_one_takes_its_place(course, released, text):
    student = f"broken-{len(text)}"
    hand_in(course, student, text)
    assert "cannot be read" in course._readable("toy", student)
    folder = course.root / "submitted" / student / "toy"
    assert (folder / "toy.ipynb.unreadable").read_text() == text
    instead = nbformat.read(folder / "toy.ipynb", as_version=4)
    assert "not a notebook that can be read" in instead.cells[0].source
    assert [cell.source for cell in instead.cells[1:]] == [cell.source for cell in released.cells]


def test_of_several_that_cannot_be_read_each_is_kept(course):
    hand_in(course, "twice-broken", "{")
    folder = course.root / "submitted" / "twice-broken" / "toy"
    for text in ("{", "[", "("):
        (folder / "toy.ipynb").write_text(text)
        assert "cannot be read" in course._readable("toy", "twice-broken")
    kept = sorted(path for path in folder.iterdir() if "unreadable" in path.name)
    assert [path.read_text() for path in kept] == ["{", "[", "("]


def test_what_is_no_notebook_gets_no_points(course):
    found = points_of(course, "broken", "{")
    assert (found.points, found.most) == (0.0, 6.0)
    assert "cannot be read" in found.problem


@pytest.mark.slow
def test_hostile_submissions_cost_their_own_points_and_the_grading_goes_on(course, monkeypatch):
    config = course.root / "nbgrader_config.py"
    for name, value in (("cell_seconds", "4.0"), ("memory", "2.0")):
        config.write_text(re.sub(rf"(RunConfined.{name} =) .*", rf"\1 {value}", config.read_text()))
    monkeypatch.setattr("seglab.classroom.kernel._DISK", 300_000_000)
    monkeypatch.setattr("seglab.classroom.kernel._LATE", 2.0)
    names = HOSTILE | (GREEDY if all(CAN.values()) else {})
    for name, code in names.items():
        hand_in(course, f"hostile {name}", submission(course, {"double": f"{code}\ndouble = 1", "half": "half = None",
                                                               "own": "own = 0.5"}))
    hand_in(course, "hostile z after all", submission(course))
    graded = {one.student: one for one in course.grade("toy", [f"hostile {name}" for name in
                                                               (*names, "z after all")])}
    assert graded.pop("hostile z after all").points == 6.0
    for student, found in graded.items():
        assert (found.points, found.problem) == (0.0, None), student
        assert found.seconds < 120, student
    if all(CAN.values()):
        for name, words in (("starts processes without an end", "more than 64 processes"),
                            ("takes memory in many processes", "more than 2 GB together"),
                            ("takes memory that no process has", "more than 2 GB together"),
                            ("fills the disk", "The disk filled")):
            assert words in told(course, f"hostile {name}"), name


@confined
def test_a_submission_reads_writes_and_connects_to_nothing_of_ours(course, tmp_path):
    secret, target = course.root / "grader" / "toy.py", tmp_path / "written"
    place = course.root / "s"  # a socket that is a file, as Docker's
    with socket.socket(socket.AF_UNIX) as other, socket.socket() as server:
        other.bind(str(place))
        other.listen()
        server.bind(("127.0.0.1", 0))
        server.listen()
        threading.Thread(target=_answer, args=(server,), daemon=True).start()
        code = f"""
found = {{}}
for name, act in {{
    "grader": lambda: open({str(secret)!r}).read(),
    "clone": lambda: open({str(ASSIGNMENTS / "grader" / "a1.py")!r}).read(),
    "rights": lambda: __import__("os").chmod({seglab.__file__!r}, 0o644),
    "times": lambda: __import__("os").utime({seglab.__file__!r}),
    "devices": lambda: __import__("os").listdir("/dev"),
    "command": lambda: open("/proc/{os.getpid()}/cmdline").read(),
    "others": lambda: __import__("os").listdir({str(course.root / 'submitted')!r}),
    "write": lambda: open({str(target)!r}, "w").write("x"),
    "home": lambda: open(__import__("os").path.expanduser("~root/.bashrc"), "a").write("x"),
    "socket": lambda: __import__("socket").create_connection(("127.0.0.1", {server.getsockname()[1]}), 2),
    "file": lambda: __import__("socket").socket(__import__("socket").AF_UNIX).connect({str(place)!r}),
    "outside": lambda: __import__("socket").create_connection(("192.0.2.1", 80), 2),
    "processes": lambda: __import__("os").kill({os.getpid()}, 0),
    "environment": lambda: __import__("os").environ["SEGLAB_SECRET"],
}}.items():
    try:
        act()
        found[name] = "done"
    except Exception as error:
        found[name] = type(error).__name__
open("own.txt", "w").write("may be written")
raise ValueError(str(found))
"""
        os.environ["SEGLAB_SECRET"] = "ours"
        try:
            points_of(course, "curious", submission(course, {"double": code}))
        finally:
            del os.environ["SEGLAB_SECRET"]
    messages = told(course, "curious")
    assert "'grader': " in messages
    assert "done" not in messages, messages
    assert not target.exists()


@confined
def test_nothing_of_a_submission_is_left(tmp_path):
    code = ("import ctypes, os\nctypes.CDLL(None).prctl(1, 0)\nos.setsid()\nopen('/dev/shm/left', 'w').write('x')\n"
            "for _ in range(2000):\n    os.mkdir('d')\n    os.chdir('d')\nos.chmod('.', 0)\nos.chmod('..', 0)")
    with ConfinedKernel("ada", memory=2.0, seconds=60) as kernel:
        assert not [one for one in kernel.run(code, 20).outputs if one.output_type == "error"]
        started = kernel._processes()
        assert len(started) == 3  # one outside that waits, the first of its namespace, and the kernel
    assert not kernel.folder.exists()
    assert not os.path.exists("/dev/shm/left")
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_after_all_its_time_no_cell_runs():
    with ConfinedKernel("ada", seconds=600) as kernel:
        assert kernel.run("", 20, "1 + 1").data == {"text/plain": "2"}
        kernel._end = 0.0
        assert "All cells together" in kernel.run("", 20, "1 + 1").stopped


def test_results_that_are_too_few_end_with_a_problem():
    one = '[{"value": 6}, %s, "", null]'
    assert [ran.value for ran in unpacked(f"[{one % 'null'}, {one % 'null'}]", 2)] == [6, 6]
    assert [ran.problem for ran in unpacked("[" + one % '"it stops"' + "]", 2)] == ["it stops"]
    for problem in ("null", '""'):  # nothing, or a text that counts as none
        with pytest.raises(ValueError, match="1 results for 2 cases"):
            unpacked(f"[{one % problem}]", 2)


def test_all_outputs_together_have_a_limit():
    outputs = _Outputs(room=2000)
    for _ in range(50):
        outputs.add({"msg_type": "display_data", "content": {"data": {"image/png": "x" * 500}}})
        outputs.add({"msg_type": "stream", "content": {"name": "stdout", "text": "x" * 100}})
    assert 1000 < len(str(outputs.kept)) < 4000


@pytest.mark.skipif(not hasattr(os, "symlink") or sys.platform == "win32", reason="links")
def test_links_lead_to_no_file_of_others(course):
    hand_in(course, "linked", submission(course))
    folder = course.root / "submitted" / "linked" / "toy"
    hand_in(course, "owner", submission(course))
    (folder / "toy.ipynb").unlink()
    (folder / "toy.ipynb").symlink_to(course.root / "submitted/owner/toy/toy.ipynb")
    (folder / "notes.txt").symlink_to(course.root / "grader" / "toy.py")
    (found,) = course.grade("toy", ["linked"])
    assert (found.points, found.most) == (0.0, 6.0)
    assert "notes.txt was a link" in found.problem
    assert {path.name for path in (course.root / "autograded/linked/toy").iterdir()} == {"toy.ipynb", "toy_data.py"}


@pytest.mark.parametrize("what", ["cells", "text", "half a character"])
def test_what_would_take_hours_to_show_is_no_notebook(course, what):
    notebook = submission(course)
    if what == "cells":
        notebook.cells += [new_code_cell("") for _ in range(CELLS)]
    else:
        notebook.cells[0].source += "x" * WRITTEN if what == "text" else "\ud800"
    hand_in(course, f"large {what}", nbformat.writes(notebook, ensure_ascii=True))
    assert "cannot be read" in course._readable("toy", f"large {what}")


def _answer(server):
    try:
        server.accept()
    except OSError:
        return  # the test is over


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits of a process")
def test_the_grader_itself_stays_small_when_a_submission_prints_much(course):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = points_of(course, "loud", submission(course, {"double": "print('x' * 100_000_000)\n" + ANSWERS["double"]}))
    assert found.points == 6.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KB
    graded = course.root / "autograded/loud/toy/toy.ipynb"
    assert graded.stat().st_size < 200_000


def test_what_a_student_shows_runs_no_script_in_the_teachers_browser(course):
    show = ("from IPython.display import HTML, Javascript, display\ndisplay(HTML('<script>evil(1)</script>'))\n"
            "display(Javascript('evil(2)'))\ndisplay({'text/plain': '', 'image/png': 'x'}, raw=True, "
            "metadata={'image/png': {'width': '\" onload=\"evil(5)'}})\n")
    points_of(course, "scripts", submission(course, {"double": show + ANSWERS["double"], "words":
                                                     "Because <script>evil(3)</script><img src=x onerror=evil(4)>"
                                                     "[a](javascript:evil(6)) [b] and ![p](http://evil.example)\n\n"
                                                     "[b]: javascript:evil(7)"}))
    graded = nbformat.read(course.root / "autograded/scripts/toy/toy.ipynb", as_version=4)
    kinds = {kind for cell in graded.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert kinds == {"text/plain", "image/png"}
    course.feedback("toy")
    page = (course.root / "feedback/scripts/toy/toy.html").read_text(encoding="utf-8")
    assert "Because" in page
    assert "<script>evil" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;evil(3)" in page
    assert not re.findall(r"<[^>]*(?:onload=|javascript:|src=[\"']?http)[^>]*>", page)


def test_hidden_parts_hold_calls_of_grade_only():
    shown, calls = hidden_tests("print(1)\n# BEGIN HIDDEN TESTS\nfrom grader.a import grade\n"
                                "grade('b', f(x)[0], STUDENT)\n# END HIDDEN TESTS\n")
    assert (shown, calls) == ("print(1)\n", [("b", "f(x)[0]")])
    with pytest.raises(DataError, match="assert x"):
        hidden_tests("# BEGIN HIDDEN TESTS\nassert x\n# END HIDDEN TESTS")


def test_what_a_course_lacks_is_said(course, tmp_path):
    other = toy_course(tmp_path / "other")
    with pytest.raises(DataError, match="no submission of toy"):
        other.feedback("toy")
    with pytest.raises(ArgumentError, match="expected: toy"):
        other.check("../toy")
    hand_in(other, "ada", submission(other))
    (other.root / "grader" / "toy.py").rename(tmp_path / "toy.py")
    with pytest.raises(DataError, match="no toy.py"):
        next(other.grade("toy"))
    (other.root / "gradebook.db").write_text("no database" * 100)
    with pytest.raises(DataError, match="not a database"):
        other.export(tmp_path / "grades.csv")
    for path in (other.root / "source" / "toy").iterdir():
        path.unlink()
    with pytest.raises(ArgumentError, match="a notebook in"):
        other.check("toy")


def test_names_break_no_table(course, tmp_path):
    for student in ("=1+1", "Curie, Marie"):
        points_of(course, student, "{")
    with open(course.export(tmp_path / "grades.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {11}
    assert {"'=1+1", "Curie, Marie"} <= {row[3] for row in rows}


def test_a_table_of_all_points(course, tmp_path):
    points_of(course, "listed", submission(course))
    rows = course.export(tmp_path / "grades.csv").read_text().splitlines()
    mine = next(row for row in rows if ",listed," in row)
    assert mine.split(",")[-2:] == ["6.0", "8.0"]
    with pytest.raises(ArgumentError, match="is there already"):
        course.export(tmp_path / "grades.csv")
    assert course.export(tmp_path / "grades.csv", overwrite=True).read_text().splitlines() == rows
