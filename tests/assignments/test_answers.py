"""The graders are tested: right answers get all points, and wrong ones lose the points that they should."""

import importlib

import pytest

from seglab.classroom.grading import hidden_tests, questions_of
from seglab.classroom.questions import NumberQuestion, grade
from tests.assignments.notebooks import ASSIGNMENTS, NAMES, graded, lost, master
from tools.mistakes import PAGE, page

ANSWERS = {name: importlib.import_module(f"tests.assignments.answers.{name}") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_master_is_as_nbgrader_wants_it(name):
    notebook = master(name)
    own = [cell.metadata.nbgrader.grade_id for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert len(own) == len(set(own))
    written = [cell for cell in notebook.cells if cell.cell_type == "markdown"
               and cell.metadata.get("nbgrader", {}).get("grade")]
    assert len(written) == 1
    assert "Mark scheme" in written[0].source
    assert 5 <= sum("\n## " in f"\n{cell.source}" for cell in notebook.cells) <= 9
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code":
            shown, calls = hidden_tests(cell.source)
            assert calls, cell.metadata.nbgrader.grade_id
            assert "public checks passed" in shown


@pytest.mark.parametrize(("name", "number"), [(name, i) for name in NAMES for i in range(len(ANSWERS[name].RIGHT))])
def test_answers_that_are_right_in_another_way_get_all_points(name, number):
    assert lost(name, ANSWERS[name].RIGHT[number]) == {}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [30, pytest.param(None, marks=pytest.mark.weekly, id="all")])
def test_every_wrong_answer_loses_exactly_the_points_that_it_should(name, count):
    points, table, wrong = graded(master(name)), [], []
    step = -(-len(ANSWERS[name].WRONG) // count) if count else 1  # all of them take four minutes
    for what, answers, expected in ANSWERS[name].WRONG[::step]:
        found = lost(name, answers)
        costs = sum(points[one] for one in found)
        table.append(f"{costs:4.0f}  {what:<70} {', '.join(found)}")
        if set(found) != set(expected):
            wrong.append(f"{what}: {found}, and not {expected}")
    print(f"\n{name}: points lost, and by what", *table, sep="\n")
    assert not wrong
    assert len(ANSWERS[name].WRONG) >= 12
    assert len(ANSWERS[name].RIGHT) >= 3


@pytest.mark.parametrize("name", NAMES)
def test_a_question_names_each_of_its_known_mistakes(name):
    questions = questions_of(ASSIGNMENTS, name)
    for question in questions.values():
        of_students = isinstance(question, NumberQuestion)
        for sentence, answers in getattr(question, "mistakes", {}).items():
            for answer in answers if isinstance(answers, (list, tuple)) else [answers]:
                # Some mistakes give the right number on the pictures of some students.
                told = [_told(questions, question.name, answer(student) if of_students else answer, student)
                        for student in (("ada", "grace", "alan", "7") if of_students else ("ada",))]
                assert any(sentence in one for one in told), f"{question.name}: {sentence}: {told}"


@pytest.mark.parametrize("name", NAMES)
def test_the_guide_lists_the_assignment_with_its_title_and_points(name):
    cells = master(name).cells
    title = cells[0].source.splitlines()[0].partition(" · ")[2]
    written = sum(cell.metadata.nbgrader.points for cell in cells
                  if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("grade"))
    rows = (ASSIGNMENTS / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = [row for row in rows if row.startswith(f"| `{name}` {title} |")]
    assert row.endswith(f"| {sum(graded(master(name)).values()):g} + {written:g} |")


def test_the_page_of_mistakes_is_that_of_the_graders():
    assert PAGE.read_text(encoding="utf-8") == page(), "Write it anew: python -m tools.mistakes"


def _told(questions, name, answer, student):
    try:
        grade(questions, name, answer, student)
    except AssertionError as error:
        return str(error)
    return "all is right"
