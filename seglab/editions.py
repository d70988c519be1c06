"""A lesson's master, solved and executed, and what is made of it: the learner's copy, with the solutions taken out.

In a master, what a learner is to write stands between `# BEGIN SOLUTION` and `# END SOLUTION`, the marks of nbgrader.
Its cell carries the tag `exercise:NAME`, the name of its check.
"""

from __future__ import annotations

import copy
import datetime
import re
from collections.abc import Sequence
from importlib import resources
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_write, output_folder

#: What stands in the learner's copy instead of a solution, as nbgrader has it.
STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
_SOLUTION = re.compile(r"^(?P<indent>[ \t]*)# BEGIN SOLUTION\n.*?^[ \t]*# END SOLUTION$", re.MULTILINE | re.DOTALL)
_STUB = re.compile("\n".join(rf"[ \t]*{re.escape(line)}" for line in STUB.splitlines()) + "$", re.MULTILINE)


def masters() -> list[Path]:
    """The lessons that came with this package, in their order: of a clone, `notebooks/`; of a wheel, a copy of it.

    Raises:
        DataError: there are none.
    """
    inside, clone = Path(str(resources.files("seglab") / "notebooks")), Path(__file__).parents[1] / "notebooks"
    folder = inside if inside.is_dir() else clone
    if not (found := sorted(folder.glob("[0-9A]*_*.ipynb"))):
        raise DataError("lessons", found=f"none in {folder}", expected="the notebooks of the course",
                        fix="Install seglab from its wheel, or from a clone with its notebooks/.")
    return found


def learners_copy(master: NotebookNode) -> NotebookNode:
    """A master without its solutions and outputs: a stub stands where a learner is to write.

    Example:
        >>> from nbformat.v4 import new_code_cell, new_notebook
        >>> cell = new_code_cell("def one():\\n    # BEGIN SOLUTION\\n    return 1\\n    # END SOLUTION")
        >>> print(learners_copy(new_notebook(cells=[cell])).cells[0].source)
        def one():
            # YOUR CODE HERE
            raise NotImplementedError()
    """
    made = copy.deepcopy(master)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = _SOLUTION.sub(_stub, cell.source)
    return made


def with_solutions(notebook: NotebookNode, master: NotebookNode) -> NotebookNode:
    """A learner's copy with the master's solutions in place of the stubs that are left."""
    made, solved = copy.deepcopy(notebook), {cell.id: cell.source for cell in master.cells}
    for cell in made.cells:
        if cell.cell_type == "code" and cell.id in solved:
            found = [one.group() for one in _SOLUTION.finditer(solved[cell.id])]
            if len(_STUB.findall(cell.source)) == len(found):
                pairs = zip_longest(_STUB.split(cell.source), found, fillvalue="")
                cell.source = "".join(part for pair in pairs for part in pair)
    return made


def solution_of(name: str) -> str:
    """The source of an exercise's cell in its master, without the marks.

    Raises:
        ArgumentError: no lesson has an exercise of this name.
    """
    for path in masters():
        for cell in nbformat.read(path, as_version=4).cells:
            if f"exercise:{name}" in cell.metadata.get("tags", []):
                return "\n".join(line for line in cell.source.splitlines() if not line.strip().startswith(
                    ("# BEGIN SOLUTION", "# END SOLUTION")))
    raise ArgumentError("exercise", found=repr(name), expected="one that a lesson has")


def start(folder: str | Path, again: Sequence[str] = ()) -> list[str]:
    """Write the learner's copies of all lessons into a folder; one that is there already is left as it is.

    Args:
        folder: of the learner's; it is made.
        again: lessons to begin anew: their numbers, such as "1", or "A1" for an appendix. The copy that is there gets
            the date into its name.

    Returns:
        a line for each lesson: what was done.

    Raises:
        ArgumentError: a number that no lesson has, a file in place of the folder.
    """
    folder, lessons = Path(folder).expanduser(), {_number(path): path for path in masters()}
    if wrong := sorted(set(again) - lessons.keys()):
        raise ArgumentError("again", found=wrong[0], expected=", ".join(lessons))
    if folder.exists() and not folder.is_dir():
        raise ArgumentError("folder", found=f"{folder} is a file", expected="a folder, or a name that is free")
    if folder.resolve() == masters()[0].parent.resolve():
        raise ArgumentError("folder", found=f"{folder}, where the solved lessons are", expected="a folder of your own")
    output_folder(folder, "folder")
    lines = []
    for number, master in lessons.items():
        mine, kept = folder / master.name, ""
        if mine.exists() and number not in again:
            lines.append(f"{mine.name}: yours is kept")
            continue
        if mine.exists():
            dated = _free_name(mine)
            mine.rename(dated)
            kept = f"; yours is {dated.name} now"
        fresh = learners_copy(nbformat.read(master, as_version=4))
        atomic_write(mine, (nbformat.writes(fresh) + "\n").encode())
        lines.append(f"{mine.name}: a fresh copy{kept}")
    for page in masters()[0].parent.glob("*.md"):  # what lessons link to
        mine = folder / page.name
        if not mine.exists():
            atomic_write(mine, page.read_bytes())
        elif mine.read_bytes() != page.read_bytes():
            lines.append(f"{mine.name}: yours is kept")
    return lines


def _number(path: Path) -> str:
    return path.name.partition("_")[0].lstrip("0") or "0"


def _free_name(path: Path) -> Path:
    """The name with today's date, and a number where a copy of today is there already."""
    dated = path.with_name(f"{path.stem}.{datetime.date.today().isoformat()}{path.suffix}")
    names = (dated.with_name(f"{dated.stem}-{n}{dated.suffix}") if n > 1 else dated for n in range(1, 10_000))
    return next(name for name in names if not name.exists())


def _stub(found: re.Match[str]) -> str:
    return "\n".join(found["indent"] + line for line in STUB.splitlines())
