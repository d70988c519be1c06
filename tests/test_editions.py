"""Learner's copies: what is left out of them, what is put back, and the folder of a learner's own."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from typer.testing import CliRunner

from seglab import checks
from seglab.cli import app
from seglab.editions import STUB, learners_copy, masters, solution_of, start, with_solutions
from seglab.errors import ArgumentError

ROOT = Path(__file__).parents[1]
WITH_EXERCISES = [path for path in masters() if "exercise:" in path.read_text(encoding="utf-8")]
SOLVED = ("def f(x):\n    '''Twice.'''\n    # BEGIN SOLUTION\n    y = 2 * x\n\n    return y\n    # END SOLUTION\n\n\n"
          "f(1)")


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def test_a_solution_becomes_a_stub_and_comes_back():
    two = "class A:\n    def a(self):\n        # BEGIN SOLUTION\n        return 1\n        # END SOLUTION\n\n" \
          "    def b(self):\n        # BEGIN SOLUTION\n        return 2\n        # END SOLUTION"
    cells = [new_code_cell(source, execution_count=n, outputs=[new_output("stream", text="2\n")])
             for n, source in enumerate((SOLVED, two, "1 + 1"), 1)]
    master = new_notebook(cells=cells)
    copy = learners_copy(master)
    stub = textwrap.indent(STUB, "    ")
    assert copy.cells[0].source == f"def f(x):\n    '''Twice.'''\n{stub}\n\n\nf(1)"
    assert copy.cells[1].source.count(f"    {stub[:24]}") == 2 and "return" not in copy.cells[1].source
    assert all(cell.outputs == [] and cell.execution_count is None for cell in copy.cells)
    assert master.cells[0].source == SOLVED and master.cells[0].outputs, "the master is left alone"
    assert [cell.source for cell in with_solutions(copy, master).cells] == [SOLVED, two, "1 + 1"]
    copy.cells[0].source = "def f(x):\n    return x + x"
    assert with_solutions(copy, master).cells[0].source == copy.cells[0].source, "a learner's own stays"


@pytest.mark.parametrize("path", masters(), ids=lambda path: path.stem)
def test_a_copy_with_its_solutions_is_the_master(path):
    master, copy = read(path), learners_copy(read(path))
    solved = with_solutions(copy, master)
    for cell in master.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    assert solved == master
    text = nbformat.writes(copy)
    assert "SOLUTION" not in text and text.count("YOUR CODE HERE") == nbformat.writes(master).count("# BEGIN SOLUTION")
    for cell in copy.cells:
        if cell.cell_type == "code" and "%" not in cell.source:
            compile(cell.source, path.name, "exec")


def test_every_check_stands_below_its_exercise_and_has_a_solution():
    found = []
    for path in masters():
        cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
        for cell, below in pairwise(cells):
            for name in re.findall(r"exercise:(\w+)", " ".join(cell.metadata.get("tags", []))):
                found.append(name)
                assert "# BEGIN SOLUTION" in cell.source and below.source.startswith(f"check.{name}(")
                solution = solution_of(name)
                assert "SOLUTION" not in solution and re.search(r"^(def|class) ", solution, re.MULTILINE)
    assert found == list(checks.EXERCISES)


def up_to_the_first_check(path: Path) -> list[NotebookNode]:
    """The code cells of a learner's copy, the last two of which are an exercise and its check."""
    cells = [cell for cell in learners_copy(read(path)).cells if cell.cell_type == "code"]
    return cells[:next(i for i, cell in enumerate(cells) if cell.source.startswith("check.")) + 1]


def executed(cells: list[NotebookNode], folder: Path) -> NotebookNode:
    found = new_notebook(cells=[new_code_cell(cell.source) for cell in cells])
    return NotebookClient(found, timeout=300, kernel_name="python3", allow_errors=True,
                          resources={"metadata": {"path": str(folder)}}).execute()


def assert_only_checks_stop(notebook: NotebookNode) -> None:
    """Cells that begin with a check stop, and say what to do; in no other cell there is an error."""
    for cell in notebook.cells:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert len(errors) == cell.source.startswith("check."), (cell.source, errors)
        if errors:
            assert errors[0].ename == "StopCells"
            assert errors[0].traceback == ["The cells below wait until this check passes."], "no traceback"
            assert "it is your turn" in cell.outputs[0].text


@pytest.mark.slow
def test_the_first_check_of_every_untouched_copy_says_what_to_do(tmp_path):
    """In one kernel, each below the imports of its lesson. The cells between them are those of the lesson itself."""
    cells: list[NotebookNode] = []
    for path in WITH_EXERCISES:
        *above, exercise, check = up_to_the_first_check(path)
        master = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
        assert [cell.source for cell in above] == master[:len(above)], "nbval runs them"
        imports = [cell for cell in above if cell.source.startswith(("import ", "from "))]
        cells += [new_code_cell("%reset -sf"), *imports, exercise, check]
    assert_only_checks_stop(executed(cells, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("path", [WITH_EXERCISES[0], *(pytest.param(path, marks=pytest.mark.weekly)
                                                       for path in WITH_EXERCISES[1:])], ids=lambda path: path.stem)
def test_an_untouched_copy_runs_up_to_its_first_check(path, tmp_path):
    """In `make test` the first lesson alone: of the others, the test above has the check, and nbval all before it."""
    assert_only_checks_stop(executed(up_to_the_first_check(path), tmp_path))


# ------------------------------------------------------------------------------------------------ a learner's folder

def test_start_writes_copies_and_keeps_what_is_there(tmp_path):
    mine = tmp_path / "new" / "mine"
    lines = start(mine)
    assert [path.name for path in sorted(mine.iterdir())] == [*(path.name for path in masters()), "glossary.md"]
    assert all(line.endswith(": a fresh copy") for line in lines)
    lesson = mine / masters()[1].name
    lesson.write_text("my work", encoding="utf-8")
    assert f"{lesson.name}: yours is kept" in start(mine) and lesson.read_text(encoding="utf-8") == "my work"


def test_a_lesson_begins_again_and_the_old_copy_gets_the_date(tmp_path):
    start(tmp_path)
    lesson, today = tmp_path / masters()[1].name, datetime.date.today().isoformat()
    for number, suffix in ((1, ""), (2, "-2"), (3, "-3")):
        lesson.write_text(f"work {number}", encoding="utf-8")
        lines = start(tmp_path, again=["1"])
        dated = tmp_path / f"{lesson.stem}.{today}{suffix}.ipynb"
        assert dated.read_text(encoding="utf-8") == f"work {number}"
        assert f"{lesson.name}: a fresh copy; yours is {dated.name} now" in lines
    assert read(lesson).cells == learners_copy(read(masters()[1])).cells


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for folder, again, words in ((tmp_path / "file", (), "is a file"), (tmp_path, ["77"], "77"),
                                 (ROOT / "notebooks", (), "solved lessons")):
        with pytest.raises(ArgumentError, match=words):
            start(folder, again)
    result = CliRunner().invoke(app, ["start", str(tmp_path / "a"), "--again", "99"])
    assert result.exit_code == 1 and "99" in result.stderr and not (tmp_path / "a").exists()


def test_the_command(tmp_path):
    result = CliRunner().invoke(app, ["start", str(tmp_path / "a")])
    assert result.exit_code == 0 and result.stdout.count("a fresh copy") == len(masters())
    result = CliRunner().invoke(app, ["start", str(tmp_path / "a"), "--again", "1", "--again", "A1"])
    assert result.stdout.count("a fresh copy; yours is") == 2
    assert result.stdout.count("yours is kept") == len(masters()) - 2


@pytest.mark.slow
def test_lessons_travel_in_the_wheel(tmp_path):
    """Built from the tree, installed into a folder, and used from elsewhere: no clone is near."""
    source, site = tmp_path / "source", tmp_path / "site"
    for name in ("seglab", "notebooks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tools").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "tools/build_wheel.py"):
        shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    shutil.rmtree(source)
    assert (site / "seglab" / "inference" / "cpp" / "segment.cpp").is_file()  # what is no Python travels too
    code = "import seglab.checks as check, seglab.cli as cli; check.solution('iou'); cli.app(['start', 'lessons'])"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)},
                           capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("a fresh copy") == len(masters()) and "return" in found.stdout
    assert STUB.splitlines()[0] in (tmp_path / "lessons" / masters()[1].name).read_text(encoding="utf-8")
